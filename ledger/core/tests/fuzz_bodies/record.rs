//! Records: whatever is read is written the same way; and nobody but their authors gets one past the registry.

use std::sync::OnceLock;

use loam_ledger_core::entry::Entry;
use loam_ledger_core::hash::leaf_hash;
use loam_ledger_core::record::{Body, Operation, operations_root};
use loam_ledger_core::registry::Registry;

use super::canonical;

#[path = "../every_act/mod.rs"]
mod every_act;

use every_act::{STORY_ORIGIN, Story};

fn story() -> &'static (Story, Registry) {
    static STORY: OnceLock<(Story, Registry)> = OnceLock::new();
    STORY.get_or_init(|| {
        let story = Story::new();
        let registry = story.town.registry.clone();
        (story, registry)
    })
}

/// Bodies, operations, and records as entries.
pub(crate) fn record(data: &[u8]) {
    canonical(data, Body::decode, Body::encode);
    if let Some(operation) = canonical(data, Operation::decode, Operation::encode) {
        assert_eq!(operations_root(&[operation]).root, leaf_hash(data));
    }
    if let Some(Entry::Record(record)) = canonical(data, Entry::decode, Entry::encode) {
        // All that people signed stands in the story's log already, so nothing they signed fits its end.
        let mut registry = story().1.clone();
        let before = registry.records().count();
        let refused = registry.admit(&record, None);
        // A stranger who registers under a key of theirs needs a key that signs: no fuzzer has one.
        assert!(refused.is_err(), "{refused:?}");
        assert_eq!(registry.records().count(), before);
        let id = record.id(STORY_ORIGIN);
        assert_eq!(registry.record(&id).is_some(), story().1.record(&id).is_some());
    }
}

/// One record of each kind, one body, one operation.
pub(crate) fn seeds() -> Vec<(String, Vec<u8>)> {
    let mut seeds = Vec::new();
    for (_, record) in story().0.each_kind() {
        let name = record.body.act.words().replace(' ', "-");
        seeds.push((name, Entry::Record(Box::new(record)).encode()));
    }
    seeds.push(("body".to_owned(), story().0.records()[0].1.body.encode()));
    let operation = every_act::town::correct("a", "a", "A");
    seeds.push(("operation".to_owned(), operation.encode()));
    seeds
}
