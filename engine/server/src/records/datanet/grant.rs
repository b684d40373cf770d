//! `loam datanet grant` and `revoke`: who may use a dataset that is not open.

use anyhow::Context as _;
use clap::Args;
use loam_datanet::shown::short;
use loam_ledger_core::Hash;
use loam_ledger_core::record::{Act, GrantGiven, GrantRevoked, GrantUse};
use serde_json::json;

use crate::records::{Signing, names, parse_contributor};

#[derive(Args)]
pub(crate) struct Grant {
    #[command(flatten)]
    signing: Signing,
    /// The dataset, by its name or its id. An owner signs.
    dataset: String,
    /// Who may use it.
    #[arg(value_parser = parse_contributor)]
    grantee: Hash,
    /// What for.
    #[arg(long = "use", value_name = "USE", value_parser = ["train", "evaluate", "retrieve"], default_value = "train")]
    allows: String,
    /// Say it as one JSON object.
    #[arg(long)]
    json: bool,
}

#[derive(Args)]
pub(crate) struct Revoke {
    #[command(flatten)]
    signing: Signing,
    /// The grant, as `loam datanet grant` named it. An owner signs.
    #[arg(value_parser = parse_grant)]
    grant: Hash,
    /// Say it as one JSON object.
    #[arg(long)]
    json: bool,
}

pub(super) fn give(grant: &Grant) -> anyhow::Result<()> {
    let mut pen = grant.signing.open()?;
    let dataset = names::dataset(&*pen.book, &grant.dataset)?;
    let allows = GrantUse::ALL.iter().copied().find(|allows| allows.word() == grant.allows);
    let allows = allows.context("clap takes no other uses")?;
    let at = pen.say(Act::GrantGiven(GrantGiven { dataset, grantee: grant.grantee, allows }))?.at;
    if grant.json {
        println!("{}", json!({"grant": at.id.to_hex(), "entry": at.index, "dataset": dataset.to_hex()}));
    } else {
        println!("grant {}, entry {}", at.id, at.index);
        println!("  {} may use {} to {}", short(&grant.grantee), grant.dataset, grant.allows);
    }
    pen.book.close()
}

pub(super) fn take_back(revoke: &Revoke) -> anyhow::Result<()> {
    let mut pen = revoke.signing.open()?;
    let at = pen.say(Act::GrantRevoked(GrantRevoked { grant: revoke.grant }))?.at;
    if revoke.json {
        println!("{}", json!({"revoked": revoke.grant.to_hex(), "entry": at.index}));
    } else {
        println!("revoked, entry {}: what was trained under it must be retrained or retired", at.index);
    }
    pen.book.close()
}

fn parse_grant(text: &str) -> Result<Hash, String> {
    Hash::from_hex(text).map_err(|_| "a grant is named by 64 hexadecimal digits".to_owned())
}
