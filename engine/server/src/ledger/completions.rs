//! Completion rows from a file: one JSON object a line, for whoever wants a ledger with known accounts.
//!
//! `{"generations": ["<64 hex>"], "weights": [1000000], "fee": 1500, "tenant": "name", "tokens": 12}`:
//! weights in millionths, the fee in nano-units, tokens delivered (1 where absent), and the digest of the `price_policy`
//! (a synthetic one where absent). A line without fee and policy is priced by the policy in force.

use std::path::Path;

use anyhow::{Context as _, bail, ensure};
use loam_ledger_core::Hash;
use loam_ledger_core::hash::digest;
use loam_ledger_core::row::{PAIRS_MAX, Pair};
use serde_json::Value;

/// What one line says.
pub(crate) struct GivenCompletion {
    pub(crate) pairs: Vec<Pair>,
    pub(crate) fee_nano: u64,
    pub(crate) tenant: String,
    pub(crate) tokens: u64,
    pub(crate) price_policy: Hash,
}

pub(crate) fn read(path: &Path) -> anyhow::Result<Vec<GivenCompletion>> {
    let text = std::fs::read_to_string(path).with_context(|| path.display().to_string())?;
    let lines = text.lines().enumerate().filter(|(_, line)| !line.trim().is_empty());
    lines.map(|(number, line)| parse(line).with_context(|| format!("{} line {}", path.display(), number + 1))).collect()
}

fn parse(line: &str) -> anyhow::Result<GivenCompletion> {
    let value: Value = serde_json::from_str(line)?;
    let object = value.as_object().context("a line is a JSON object")?;
    const KNOWN: [&str; 6] = ["generations", "weights", "fee", "tenant", "tokens", "price_policy"];
    if let Some(unknown) = object.keys().find(|key| !KNOWN.contains(&key.as_str())) {
        bail!("unknown field {unknown}: known are {}", KNOWN.join(", "));
    }
    let list = |name: &str| object.get(name).and_then(Value::as_array).with_context(|| format!("{name}: a list"));
    let generations = list("generations")?.iter().map(|each| {
        let hash = each.as_str().and_then(|text| Hash::from_hex(text).ok());
        hash.context("generations: each is 64 hexadecimal digits")
    });
    let weights = list("weights")?.iter().map(|each| each.as_i64().context("weights: each is in whole millionths"));
    let (generations, weights) = (generations.collect::<Result<Vec<_>, _>>()?, weights.collect::<Result<Vec<_>, _>>()?);
    ensure!(generations.len() == weights.len(), "generations and weights: as many of each");
    ensure!(generations.len() <= PAIRS_MAX, "generations: {PAIRS_MAX} are the most");
    let pair = |(generation, weight_millionths)| Pair { generation, weight_millionths };
    let mut pairs: Vec<Pair> = generations.into_iter().zip(weights).map(pair).collect();
    pairs.sort_by_key(|pair| pair.generation);
    ensure!(pairs.windows(2).all(|two| two[0].generation != two[1].generation), "generations: each once");
    let number = |name: &str| object.get(name).map(|v| v.as_u64().with_context(|| format!("{name}: a whole number")));
    let policy = object.get("price_policy").map(|v| v.as_str().and_then(|text| Hash::from_hex(text).ok()));
    // A fee needs a policy to explain it; where there is neither, the ledger has both.
    let fee_is_given = object.contains_key("fee");
    let synthetic = if fee_is_given { digest(b"a synthetic price policy") } else { Hash::ZERO };
    Ok(GivenCompletion {
        pairs,
        fee_nano: number("fee").transpose()?.unwrap_or(0),
        tenant: object.get("tenant").and_then(Value::as_str).context("tenant: a name")?.to_owned(),
        tokens: number("tokens").transpose()?.unwrap_or(1),
        price_policy: policy.map_or(Ok(synthetic), |p| p.context("price_policy: 64 hexadecimal digits"))?,
    })
}
