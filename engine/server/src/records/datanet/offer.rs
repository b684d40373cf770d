//! `loam datanet add` and `propose`: rows, and edits of rows, offered to a dataset's owners as one contribution.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, bail, ensure};
use clap::Args;
use loam_datanet::edits::{self, Salt};
use loam_datanet::rows::{Format, Placed, Reader};
use loam_datanet::shown::short;
use loam_datanet::{Proposal, What};
use loam_ledger::Payload;
use loam_ledger_core::Hash;
use loam_ledger_core::record::{Act, ActCount, ContributionProposed, RowId, apply, operations_root};
use serde_json::{Value, json};

use super::ground::{Ground, Texts, owns, texts};
use super::many;
use super::twins::Twins;
use crate::progress::Bar;
use crate::records::book::Book;
use crate::records::book::Taken;
use crate::records::licence::Licence;
use crate::records::{CoSigning, Pen, Said, salt};

/// Bytes of a record's text, at most: the ledger keeps no longer ones.
const TEXT_BYTES_MAX: usize = 65_535;

#[derive(Args)]
pub(crate) struct Add {
    #[command(flatten)]
    signing: CoSigning,
    /// The dataset, by its name or its id.
    dataset: String,
    /// The rows: a JSON object a line, CSV with a header, or paragraphs of text.
    file: PathBuf,
    /// How rows stand in the file, where its name does not say it.
    #[arg(long, value_parser = ["jsonl", "csv", "text"])]
    format: Option<String>,
    #[command(flatten)]
    onto: Onto,
    #[command(flatten)]
    terms: Terms,
}

#[derive(Args)]
pub(crate) struct Propose {
    #[command(flatten)]
    signing: CoSigning,
    /// The dataset, by its name or its id.
    dataset: String,
    /// The edits, a JSON object a line, such as {"act":"correct","row":"ID","to":{...}}. Other acts are told by any that is
    /// wrong: add, relabel, dedupe, split, merge, document-decision and more.
    edits: PathBuf,
    #[command(flatten)]
    onto: Onto,
    #[command(flatten)]
    terms: Terms,
}

/// What something is offered to.
#[derive(Args)]
struct Onto {
    /// The licence that you give your work under, as a check: it must be the dataset's.
    #[arg(long, value_name = "SPDX-or-FILE")]
    licence: Option<String>,
    /// The revision that it is made on; the newest where it is absent.
    #[arg(long, value_name = "REVISION")]
    revision: Option<String>,
}

/// How something is offered.
#[derive(Args)]
pub(super) struct Terms {
    /// What reviewers should know.
    #[arg(long, value_name = "TEXT")]
    pub(super) message: Option<String>,
    /// Leave out rows to add that say, to the byte, what another row says.
    #[arg(long)]
    pub(super) skip_duplicates: bool,
    /// Show what would be offered, and record nothing.
    #[arg(long)]
    pub(super) dry_run: bool,
    /// Say it as one JSON object.
    #[arg(long)]
    pub(super) json: bool,
}

pub(super) fn add(add: &Add) -> anyhow::Result<()> {
    let format = format(&add.file, add.format.as_deref())?;
    let placed = read_rows(&add.file, format)?;
    let mut pen = add.signing.open(add.terms.json)?;
    let ground = add.onto.ground(&*pen.book, &add.dataset)?;
    let texts = texts(&*pen.book, ground.rows.values())?;
    let work = work_of_rows(&ground, placed)?;
    offer(&mut pen, &ground, work, texts, &add.terms)?;
    pen.book.close()
}

pub(super) fn propose(propose: &Propose) -> anyhow::Result<()> {
    let shown = || propose.edits.display().to_string();
    let file = std::fs::read(&propose.edits).with_context(shown)?;
    let mut pen = propose.signing.open(propose.terms.json)?;
    let ground = propose.onto.ground(&*pen.book, &propose.dataset)?;
    let texts = texts(&*pen.book, ground.rows.values())?;
    let text = &mut |row: &RowId| Ok(ground.rows.get(row).and_then(|content| texts.get(content)).cloned());
    let proposal =
        drawing(|salt| edits::read(edits::Ground { dataset: ground.dataset, rows: &ground.rows, text, salt }, &file))?;
    let proposal = proposal.with_context(shown)?;
    offer(&mut pen, &ground, Work { proposal, lines: BTreeMap::new() }, texts, &propose.terms)?;
    pen.book.close()
}

/// A proposal, and where its new rows stand in the file that they are from.
pub(super) struct Work {
    proposal: Proposal,
    lines: BTreeMap<RowId, u64>,
}

/// Rows of a file, one operation for each.
pub(super) fn work_of_rows(ground: &Ground, placed: Vec<Placed>) -> anyhow::Result<Work> {
    let (lines, rows): (Vec<u64>, Vec<_>) = placed.into_iter().map(|placed| (placed.line, placed.row)).unzip();
    let proposal = drawing(|salt| edits::add(&ground.dataset, rows, salt))?;
    let ids = proposal.operations.iter().flat_map(|operation| &operation.to).map(|to| to.row);
    let lines = ids.zip(lines).collect();
    Ok(Work { proposal, lines })
}

/// Gives salts to whoever cannot say that there are none; then nothing of what they made is used.
fn drawing<T>(make: impl FnOnce(&mut dyn FnMut() -> Salt) -> T) -> anyhow::Result<T> {
    let mut failed = None;
    let made = make(&mut || {
        salt().unwrap_or_else(|error| {
            failed = Some(error);
            Salt::default()
        })
    });
    failed.map_or(Ok(made), Err)
}

/// Shows what says the same, signs the work, and offers it.
pub(super) fn offer(pen: &mut Pen, ground: &Ground, work: Work, texts: Texts, terms: &Terms) -> anyhow::Result<()> {
    let Work { mut proposal, lines } = work;
    let mut after = ground.rows.clone();
    apply(&mut after, &proposal.operations)?;
    let mut bar = Bar::new("comparing rows");
    bar.begin();
    let twins = Twins::of(&proposal, &after, texts, lines);
    bar.end();
    if !terms.json {
        twins.tell();
        if !(twins.is_empty() || terms.skip_duplicates || terms.dry_run) {
            println!(
                "all of them are offered: --skip-duplicates leaves copies out, --dry-run shows them and offers nothing"
            );
        }
    }
    let left_out = if terms.skip_duplicates { twins.leave_out(&mut proposal) } else { 0 };
    ensure!(!proposal.operations.is_empty(), "all rows are there already: nothing is left to offer");
    let (acts, new_rows) = (proposal.acts(), proposal.new_rows().count());
    let mut told = json!({
        "dataset": (ground.dataset != Hash::ZERO).then(|| ground.dataset.to_hex()),
        "revision": ground.revision.map(|revision| revision.to_hex()),
        "new_rows": new_rows, "operations": proposal.operations.len(), "acts": acts_shown(&acts),
        "left_out": left_out, "same": if terms.json { twins.shown() } else { Value::Null },
    });
    if left_out > 0 && !terms.json {
        println!("left out: {}", many(left_out, "copy", "copies"));
    }
    let name = &ground.about.name;
    let what = format!("to {name}, on {}: {}", ground.revision_word(), acts_told(&acts));
    if terms.dry_run {
        tell(terms, &told, &format!("nothing was recorded; this would be offered {what}"));
        return Ok(());
    }
    let text = message(terms.message.as_deref(), &proposal.decisions)?;
    let mut bar = Bar::new("recording rows");
    bar.begin();
    let offered = pen.say_together(said(&*pen.book, ground, proposal, text)?)?;
    bar.end();
    let Some(Taken { at, .. }) = offered else { return Ok(()) };
    told["contribution"] = at.id.to_hex().into();
    told["entry"] = at.index.into();
    told["receipt"] = pen.receipt.as_ref().map(|path| path.display().to_string()).into();
    let id = short(&at.id);
    let mut next = format!("next: somebody else looks at it: loam datanet review {id} --verdict accept");
    if owns(&*pen.book, ground, &pen.file.contributor())? {
        next += &format!("\nor you commit it without: loam datanet commit {} {id}", ground.word());
    }
    tell(terms, &told, &format!("contribution {}, entry {}\n  offered {what}\n{next}", at.id, at.index));
    Ok(())
}

fn tell(terms: &Terms, told: &Value, words: &str) {
    if terms.json {
        println!("{told}");
    } else {
        println!("{words}");
    }
}

/// The record that offers the work.
fn said(book: &dyn Book, ground: &Ground, proposal: Proposal, text: Option<String>) -> anyhow::Result<Said> {
    let act = ContributionProposed {
        dataset: ground.dataset,
        revision: ground.revision,
        operations: operations_root(&proposal.operations),
        acts: proposal.acts(),
        licence: ground.noted(book)?.licence,
    };
    let payload =
        |payload: edits::Payload| Payload { salt: payload.salt, bytes: payload.row.text().as_bytes().to_vec() };
    Ok(Said {
        act: Act::ContributionProposed(act),
        cites: Vec::new(),
        text,
        operations: proposal.operations,
        payloads: proposal.payloads.into_values().map(payload).collect(),
    })
}

/// What the author says of it, and then each decision that is in it: a paragraph each.
pub(super) fn message(message: Option<&str>, decisions: &[String]) -> anyhow::Result<Option<String>> {
    let parts: Vec<&str> = message.into_iter().chain(decisions.iter().map(String::as_str)).collect();
    let text = parts.join("\n\n");
    ensure!(
        text.len() <= TEXT_BYTES_MAX,
        "message and decisions have {} bytes together, and {TEXT_BYTES_MAX} are the most: shorten them, or offer the \
         work in parts",
        text.len()
    );
    Ok((!parts.is_empty()).then_some(text))
}

/// Operations by their kinds, for a person: `3 add, 1 correct`.
pub(super) fn acts_told(acts: &[ActCount]) -> String {
    let count = |act: &ActCount| {
        let count = usize::try_from(act.count).unwrap_or(usize::MAX);
        format!("{} {}", super::thousands(count), act.kind.word())
    };
    acts.iter().map(count).collect::<Vec<_>>().join(", ")
}

/// The same for a program.
pub(super) fn acts_shown(acts: &[ActCount]) -> Value {
    Value::Object(acts.iter().map(|act| (act.kind.word(), act.count.into())).collect())
}

impl Onto {
    /// Work is under the dataset's licence and no other, so that whoever uses a row need not ask under which it is.
    fn ground(&self, book: &dyn Book, dataset: &str) -> anyhow::Result<Ground> {
        let ground = Ground::find(book, dataset, self.revision.as_deref())?;
        let given = self.licence.as_deref().map(Licence::named).transpose()?;
        let own = ground.noted(book)?.licence;
        if let Some(given) = given.filter(|given| given.digest != own) {
            let (name, own) = (&ground.about.name, &ground.about.licence);
            bail!(
                "{name} is under {own}, and takes no work under {}: offer it under {own}, or to a dataset with your \
                 licence",
                given.words
            );
        }
        Ok(ground)
    }
}

fn format(file: &Path, asked: Option<&str>) -> anyhow::Result<Format> {
    match asked {
        Some("csv") => Ok(Format::Csv),
        Some("text") => Ok(Format::Text),
        Some(_) => Ok(Format::JsonLines),
        None => file.file_name().and_then(|name| Format::of_name(&name.to_string_lossy())).with_context(|| {
            format!("{}: the name does not say what is in it; say it with --format jsonl, csv or text", file.display())
        }),
    }
}

/// All rows of a file, or what is wrong with it and where.
fn read_rows(path: &Path, format: Format) -> anyhow::Result<Vec<Placed>> {
    let shown = || path.display().to_string();
    let file = std::fs::read(path).with_context(shown)?;
    let lines = file.iter().filter(|byte| **byte == b'\n').count() + 1;
    let (mut placed, mut bar) = (Vec::new(), Bar::new("reading rows"));
    for row in Reader::new(format, &file).with_context(shown)? {
        let row = row.with_context(shown)?;
        bar.count(usize::try_from(row.line).unwrap_or(lines), lines);
        placed.push(row);
    }
    bar.end();
    ensure!(!placed.is_empty(), "{}: {}", shown(), What::NoRows);
    Ok(placed)
}
