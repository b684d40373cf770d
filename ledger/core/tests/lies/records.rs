//! The records log: shards open and freeze in order, and its heads are those of the shards; what is erased is announced.

use loam_ledger_core::Hash;
use loam_ledger_core::entry::{Boot, Entry, Redaction, ShardHead};
use loam_ledger_core::origin::LogId;

use super::Lie::{Recorded, Stored};
use super::world::{World, bytes32, key};

lies! {
    shard_opened_out_of_order: Records, "is opened where 2 is next",
        Recorded(|records| match opened(records, 1) {
            Entry::ShardOpened(opened) => opened.shard = 3,
            other => panic!("{other:?} opens no shard"),
        });
    shard_opened_twice: Records, "is not frozen yet",
        Recorded(|records| records.insert(1, records[0].clone()));
    shard_opened_before_the_last_is_frozen: Records, "is not frozen yet",
        Recorded(|records| records.retain(|entry| !matches!(entry, Entry::ShardFrozen(_))));
    first_shard_is_not_the_first: Records, "is opened where 1 is next",
        Recorded(|records| match opened(records, 0) {
            Entry::ShardOpened(opened) => opened.shard = 2,
            other => panic!("{other:?} opens no shard"),
        });
    shard_under_another_key: Signature, "no signature by the given key",
        Recorded(|records| match opened(records, 1) {
            Entry::ShardOpened(opened) => opened.public_key = *key(LogId::Records).verifier().public(),
            other => panic!("{other:?} opens no shard"),
        });
    shard_under_no_key: Records, "not an Ed25519 key",
        Recorded(|records| match opened(records, 1) {
            // Two is the y of no point of the curve.
            Entry::ShardOpened(opened) => opened.public_key = [2; 32],
            other => panic!("{other:?} opens no shard"),
        });
    head_of_an_unopened_shard: Records, "was never opened",
        Recorded(|records| head(records, 0).shard = 9);
    head_turns_back: Records, "turns back from",
        Recorded(|records| {
            let frozen = records.iter_mut().find(|entry| matches!(entry, Entry::ShardFrozen(_)));
            match frozen.unwrap() {
                Entry::ShardFrozen(head) => head.size = 1,
                other => panic!("{other:?} freezes nothing"),
            }
        });
    two_heads_of_one_size: Records, "turns back from",
        Recorded(|records| {
            let again = Entry::ShardClosed(ShardHead { root: Hash::ZERO, ..head(records, 0).clone() });
            records.insert(2, again);
        });
    head_after_freezing: Records, "is frozen already",
        Recorded(|records| {
            let at = records.iter().position(|entry| matches!(entry, Entry::ShardFrozen(_))).unwrap();
            records.insert(at + 1, records[at].clone());
        });
    records_turn_back_in_time: Records, "turns back in time",
        Recorded(|records| head(records, 0).time_ms = 0);
    redaction_of_an_unopened_shard: Records, "was never opened",
        Recorded(|records| redaction(records).shard = 9);
    boot_in_the_records_log: Records, "belongs to a usage log",
        Recorded(|records| match &World::new(1).entries[0].entry {
            Entry::Boot(boot) => records.push(Entry::Boot(Boot { time_ms: u64::MAX, ..boot.clone() })),
            other => panic!("{other:?} is no boot"),
        });
    records_in_a_usage_log: Records, "belongs to the records log",
        Stored(|shards| shards[0][3].bytes = Entry::ShardClosed(ShardHead {
            time_ms: 0,
            shard: 1,
            size: 0,
            root: Hash::EMPTY_TREE,
        }).encode());
    garbage_in_a_usage_log: Malformed, "expected a map",
        Stored(|shards| shards[0][3].bytes = b"garbage".to_vec());
    nothing_in_a_usage_log: Malformed, "ends early",
        Stored(|shards| shards[0][3].bytes.clear());
    head_contradicts_the_shard: Fork, "its root is not that of the first",
        Recorded(|records| head(records, 0).root = Hash(bytes32("another root", 0)));
    head_beyond_the_shard: Fork, "but the export ends at",
        Recorded(|records| match records.last_mut() {
            Some(Entry::ShardStopped(head)) => head.size = 1_000,
            other => panic!("{other:?} is no head"),
        });
    frozen_shard_grew: Records, "it was frozen at 150 entries and has 300",
        Recorded(|records| {
            // The head at half of the shard is true; only that it was the last is not.
            let half = head(records, 0).clone();
            let frozen = records.iter_mut().find(|entry| matches!(entry, Entry::ShardFrozen(_)));
            *frozen.unwrap() = Entry::ShardFrozen(half);
        });
    erased_without_a_word: Erased, "but the records log announces 0",
        Recorded(|records| records.retain(|entry| !matches!(entry, Entry::Redaction(_))));
    more_erased_than_announced: Erased, "rows are erased, but the records log announces",
        Recorded(|records| redaction(records).row_count -= 1);
    erased_elsewhere_than_announced: Erased, "are erased without a word",
        Recorded(|records| (redaction(records).first_index, redaction(records).last_index) = (0, 0));
    too_many_are_announced: Erased, "more than one in 100",
        Recorded(|records| redaction(records).row_count = 20);
    more_are_announced_than_there_are: Erased, "rows are announced as erased, and there are",
        Recorded(|records| redaction(records).row_count = u64::MAX);
    entries_are_announced_that_there_are_not: Erased, "there is no such entry",
        Recorded(|records| redaction(records).last_index = 1_000_000);
}

/// The entry that opens the shard after so many.
fn opened(records: &mut [Entry], after: usize) -> &mut Entry {
    let mut opened = records.iter_mut().filter(|entry| matches!(entry, Entry::ShardOpened(_)));
    opened.nth(after).expect("the world has two shards")
}

/// The head of the shard after so many, at the close of an epoch.
fn head(records: &mut [Entry], after: usize) -> &mut ShardHead {
    let mut heads = records.iter_mut().filter_map(|entry| match entry {
        Entry::ShardClosed(head) => Some(head),
        _ => None,
    });
    heads.nth(after).expect("each shard has a head")
}

fn redaction(records: &mut [Entry]) -> &mut Redaction {
    let found = records.iter_mut().find_map(|entry| match entry {
        Entry::Redaction(redaction) => Some(redaction),
        _ => None,
    });
    found.expect("a request is erased")
}
