//! `loam datanet redact`: what a row says, and ever said, can be opened by nobody any more; every proof stays.

use std::collections::BTreeSet;

use anyhow::{Context as _, ensure};
use clap::Args;
use loam_datanet::shown::short;
use loam_ledger_core::record::{Act, RecordId, RedactionReason, RowId, RowRedacted, touched};
use serde_json::json;

use super::ground::noted;
use crate::records::book::Book;
use crate::records::{Signing, names};

#[derive(Args)]
pub(crate) struct Redact {
    #[command(flatten)]
    signing: Signing,
    /// The dataset, by its name or its id.
    dataset: String,
    /// The row, by its id or the beginning of it; also one that is in no revision any more, or never was.
    row: String,
    /// A person asked, its retention ended, an authority ordered it, or something else.
    #[arg(long, value_parser = ["asked", "retention", "ordered", "other"])]
    reason: String,
    /// Say it as one JSON object.
    #[arg(long)]
    json: bool,
}

pub(super) fn run(redact: &Redact) -> anyhow::Result<()> {
    let mut pen = redact.signing.open()?;
    let dataset = names::dataset(&*pen.book, &redact.dataset)?;
    let row =
        names::one_of(&redact.row, all_rows(&*pen.book, &dataset)?.into_iter(), "rows ever offered to this dataset")?;
    let redacted = noted(&*pen.book, &dataset)?.redacted.contains(&row);
    ensure!(!redacted, "row {row} was redacted before: nothing of it is left here");
    let reason = RedactionReason::ALL.iter().copied().find(|reason| reason.word() == redact.reason);
    let reason = reason.context("clap takes no other reasons")?;
    let at = pen.say(Act::RowRedacted(RowRedacted { dataset, row, reason }))?.at;
    if redact.json {
        let (record, row) = (at.id.to_hex(), row.to_hex());
        println!("{}", json!({"redaction": record, "entry": at.index, "row": row, "reason": reason.word()}));
    } else {
        println!("redaction {}, entry {}", at.id, at.index);
        println!("  whatever row {} said can be opened by nobody here any more; its proofs stay valid", short(&row));
        println!("  copies elsewhere, exports and backups among them, are for you to find");
    }
    pen.book.close()
}

/// Rows that any contribution to a dataset has to do with.
fn all_rows(book: &dyn Book, dataset: &RecordId) -> anyhow::Result<BTreeSet<RowId>> {
    let mut rows = BTreeSet::new();
    for (_, contribution) in book.registry().datasets().contributions_to(dataset) {
        rows.extend(touched(&book.operations(&contribution.operations)?));
    }
    Ok(rows)
}
