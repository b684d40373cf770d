//! What adapters are called: the registry knows generations alone, their statements have the names that people use.

use std::collections::BTreeMap;

use anyhow::bail;
use loam_datanet::statement::{Envelope, Statement};
use loam_ledger_core::Hash;
use loam_ledger_core::record::{Act, AdapterState, Generation};

use crate::records::book::{Book, Found};
use crate::records::names::by_id;

/// The names of all published adapters whose statements can be read here.
pub(super) fn names(book: &dyn Book) -> anyhow::Result<BTreeMap<Generation, String>> {
    // Who points at another's text takes nobody's name: all who do are looked at.
    let mut texts: BTreeMap<Hash, Vec<(Generation, Hash)>> = BTreeMap::new();
    for (generation, adapter) in book.registry().adapters().all() {
        let body = book.record(&adapter.record)?.body;
        if let (Act::AdapterPublished(act), Some(text)) = (body.act, body.text) {
            texts.entry(text).or_default().push((*generation, act.statement));
        }
    }
    let digests: Vec<Hash> = texts.keys().copied().collect();
    let mut names = BTreeMap::new();
    book.payloads(&digests, &mut |digest, found| {
        let Found::Here(text) = found else { return Ok(()) };
        let said = texts[digest].iter().filter_map(|(generation, statement)| {
            read(&text.bytes, statement).filter(|said| said.generation == *generation)
        });
        names.extend(said.map(|said| (said.generation, said.name)));
        Ok(())
    })?;
    Ok(names)
}

/// A statement, if it is the one that a record has the digest of.
fn read(text: &[u8], digest: &Hash) -> Option<Statement> {
    let envelope = Envelope::read(text).ok().filter(|envelope| envelope.digest() == *digest)?;
    Statement::read(&envelope.payload).ok()
}

/// What else has a name, and is not retired. Two people may use one name: a generation alone says which adapter it is.
pub(super) fn others(book: &dyn Book, name: &str, own: &Generation) -> anyhow::Result<Vec<Generation>> {
    let adapters = book.registry().adapters();
    let is_left = |one: &Generation| adapters.adapter(one).is_some_and(|it| it.state != AdapterState::Retired);
    let called = names(book)?.into_iter().filter(|(one, called)| called == name && one != own && is_left(one));
    Ok(called.map(|(one, _)| one).collect())
}

/// The published adapter that somebody calls by its generation, the beginning of that, or its name. A name stands for
/// what is not retired, where that is one.
pub(super) fn find(book: &dyn Book, word: &str) -> anyhow::Result<Generation> {
    let adapters = book.registry().adapters();
    if let Some(generation) = by_id(word, adapters.all().map(|(generation, _)| *generation), "published adapters")? {
        return Ok(generation);
    }
    let names = names(book)?;
    let called: Vec<Generation> =
        names.iter().filter(|(_, name)| *name == word).map(|(generation, _)| *generation).collect();
    let state = |generation: &Generation| adapters.adapter(generation).map(|adapter| adapter.state);
    let left: Vec<Generation> =
        called.iter().copied().filter(|one| state(one) != Some(AdapterState::Retired)).collect();
    match (&left[..], &called[..]) {
        ([one], _) | ([], [one]) => Ok(*one),
        ([], []) => {
            bail!("no adapter here is called {word:?}, by name or by generation: `loam adapter publish` publishes one")
        }
        _ => {
            let told =
                |one: &Generation| format!("{one} ({})", state(one).map_or_else(String::new, AdapterState::word));
            let all = called.iter().map(told).collect::<Vec<_>>().join(", ");
            bail!("{} adapters are called {word:?}: name one by its generation, {all}", called.len())
        }
    }
}
