//! `loam datanet agree`: the contributors to a revision say which part each of them has in what it earns.

use anyhow::ensure;
use clap::Args;
use loam_ledger_core::Hash;
use loam_ledger_core::record::{Act, AttributionComputed, Method, operations_root};
use loam_ledger_core::registry::Registry;
use serde_json::json;

use crate::records::{CoSigning, names};

#[derive(Args)]
pub(crate) struct Agree {
    #[command(flatten)]
    signing: CoSigning,
    /// The revision, by its id or the beginning of it. The shares hold until contributors agree on others.
    revision: String,
    /// Say it as one JSON object.
    #[arg(long)]
    json: bool,
}

/// Writes the paper that all contributors sign; alone, agrees with oneself.
pub(super) fn run(agree: &Agree) -> anyhow::Result<()> {
    let mut pen = agree.signing.open(agree.json)?;
    let registry = pen.book.registry();
    let datasets = registry.datasets();
    let all = datasets.all().flat_map(|(dataset, _)| datasets.revisions_of(dataset)).map(|(id, _)| *id);
    let revision = names::one_of(&agree.revision, all, "revisions")?;
    let signing: Vec<Hash> = pen.authors()?.iter().map(|author| author.contributor).collect();
    let missing = missing(registry, &revision, &signing);
    ensure!(
        missing.is_empty(),
        "these made the revision too, and each of them must sign; name them, with --with ID=SHARE: {}",
        missing.iter().map(Hash::to_hex).collect::<Vec<_>>().join(", ")
    );
    let act =
        AttributionComputed { subject: revision, method: Method::AgreedShares, tier: 0, weights: operations_root(&[]) };
    if let Some(taken) = pen.say_together(Act::AttributionComputed(act))? {
        if agree.json {
            println!(
                "{}",
                json!({"record": taken.at.id.to_hex(), "index": taken.at.index, "revision": revision.to_hex()})
            );
        } else {
            println!("agreed for revision {revision} by record {}, entry {}", taken.at.id, taken.at.index);
        }
    }
    pen.book.close()
}

/// Contributors for whom nobody of these signs, neither they nor who stands in their place.
fn missing(registry: &Registry, revision: &Hash, signing: &[Hash]) -> Vec<Hash> {
    let stands = |contributor: &Hash| registry.people().standing(contributor);
    let signs = |contributor: &Hash| signing.iter().any(|author| stands(author) == stands(contributor));
    registry.datasets().contributors(revision).iter().filter(|contributor| !signs(contributor)).copied().collect()
}
