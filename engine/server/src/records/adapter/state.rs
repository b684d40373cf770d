//! `loam adapter state`: an adapter is taken into use, out of it for a time, or for ever.

use anyhow::{Context as _, bail};
use clap::Args;
use loam_ledger_core::record::{Act, AdapterState, AdapterStateChanged};
use serde_json::json;

use super::called;
use crate::records::Signing;

/// What it takes.
#[derive(Args)]
pub(crate) struct State {
    #[command(flatten)]
    signing: Signing,
    /// The adapter: its generation, the beginning of that, or its name.
    #[arg(value_name = "GENERATION")]
    adapter: String,
    /// Where it stands from now on. Its authors say so; the operator can suspend it, and alone lifts that.
    #[arg(value_parser = ["gated", "published", "suspended", "retired"])]
    state: String,
    /// Say it as one JSON object.
    #[arg(long)]
    json: bool,
}

pub(super) fn run(state: &State) -> anyhow::Result<()> {
    let to = AdapterState::ALL.iter().copied().find(|to| to.word() == state.state).context("it is one of the words")?;
    let mut pen = state.signing.open()?;
    let generation = called::find(&*pen.book, &state.adapter)?;
    let adapter = pen.book.registry().adapters().adapter(&generation).context("it was found")?;
    let from = adapter.state;
    if from == to {
        bail!("{generation} is {} already", to.word());
    }
    let change = Act::AdapterStateChanged(AdapterStateChanged { generation, from, to });
    let at = pen.say(change).with_context(|| format!("{generation} is {} and stays so", from.word()))?.at;
    pen.book.close()?;
    if state.json {
        let (generation, record) = (generation.to_hex(), at.id.to_hex());
        println!(
            "{}",
            json!({"generation": generation, "from": from.word(), "to": to.word(), "record": record, "entry": at.index})
        );
    } else {
        println!("{generation} is {}, where it was {}", to.word(), from.word());
        println!("recorded as {}, entry {}", at.id, at.index);
    }
    Ok(())
}
