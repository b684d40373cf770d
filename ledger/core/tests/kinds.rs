//! Every kind of record: written, read back, and taken; and what its fields alone may not say.

use std::collections::BTreeSet;

use loam_ledger_core::Error;
use loam_ledger_core::entry::{Entry, RECORD_ENTRY_BYTES_MAX};
use loam_ledger_core::record::{AUTHORS_MAX, Act, Author, BODY_BYTES_MAX, Body, LIST_MAX, MILLION, Record};
use loam_ledger_core::registry::Registry;

mod every_act;
mod tier;

use every_act::{STORY_ORIGIN, Story};

#[test]
fn each_kind_is_read_back_and_taken() {
    let story = Story::new();
    let mut registry = Registry::new(STORY_ORIGIN);
    for (index, entry) in (0..).zip(&story.town.entries) {
        let bytes = entry.encode();
        assert_eq!(Entry::decode(&bytes).as_ref(), Ok(entry));
        registry.fold(entry).unwrap_or_else(|refusal| panic!("entry {index}: {refusal}"));
    }
    let kinds: BTreeSet<u64> = story.records().iter().map(|(_, record)| record.body.act.code()).collect();
    let all: BTreeSet<u64> = (1..=3).chain(16..=23).chain(32..=40).chain(48..=56).collect();
    assert_eq!(kinds, all);
}

/// At its very place in the log, where everything else about it fits, a record with another bit is not taken.
#[test]
fn no_bit_of_a_record_is_free() {
    let story = Story::new();
    let mut registry = Registry::new(STORY_ORIGIN);
    let every = if tier::times(1) == 1 { 5 } else { 1 };
    let mut looked_at = BTreeSet::new();
    for entry in &story.town.entries {
        if let Entry::Record(record) = entry
            && looked_at.insert(record.body.act.code())
        {
            let bytes = entry.encode();
            for bit in (record.body.act.code() as usize % every..bytes.len() * 8).step_by(every) {
                let mut changed = bytes.clone();
                changed[bit / 8] ^= 1 << (bit % 8);
                let Ok(read) = Entry::decode(&changed) else { continue };
                assert_eq!(read.encode(), changed, "{}: bit {bit} makes another spelling", record.body.act.words());
                let Entry::Record(read) = read else { continue };
                // The time is the log's own word.
                let timed = (&read.body, &read.signed) == (&record.body, &record.signed);
                assert!(timed || registry.clone().admit(&read, None).is_err(), "{}: bit {bit}", read.body.act.words());
            }
        }
        registry.fold(entry).unwrap();
    }
}

/// The first record of a kind, changed: its bytes are refused so.
#[track_caller]
fn check(words: &str, change: impl FnOnce(&mut Record), expected: &Error) {
    let story = Story::new();
    let found = story.each_kind().into_iter().find(|(_, record)| record.body.act.words() == words);
    let (_, mut record) = found.expect("every kind is in the story");
    change(&mut record);
    assert_eq!(Entry::decode(&Entry::Record(Box::new(record)).encode()).as_ref(), Err(expected), "{words}");
}

/// A change of one kind's act, after which its fields contradict each other.
macro_rules! contradictions {
    ($($name:ident: $words:literal, $kind:ident, $change:expr;)*) => {$(
        #[test]
        fn $name() {
            let change = |record: &mut Record| match &mut record.body.act {
                Act::$kind(act) => {
                    let change: fn(&mut loam_ledger_core::record::$kind) = $change;
                    change(act);
                }
                other => panic!("{other:?} is of another kind"),
            };
            check($words, change, &Error::RecordFields { what: $words });
        }
    )*};
}

contradictions! {
    owners_out_of_order: "owners changed", OwnersChanged, |act| act.owners.reverse();
    dataset_without_owners: "dataset created", DatasetCreated, |act| act.owners.clear();
    acts_that_are_not_the_operations: "contribution proposed", ContributionProposed, |act| act.acts[0].count += 1;
    surer_than_sure: "review", Review, |act| act.probability = 1_000_001;
    contribution_twice: "revision committed", RevisionCommitted, |act| act.contributions.push(act.contributions[0]);
    sources_that_do_not_sum: "train run finished", TrainRunFinished, |act| act.sources[0].share -= 1;
    change_to_the_same_state: "adapter state changed", AdapterStateChanged, |act| act.to = act.from;
    passed_and_blocked: "gate", Gate, |act| act.blocked_by.push(act.evaluation);
    weights_of_agreed_shares: "attribution computed", AttributionComputed, |act| act.weights.count = 1;
    lanes_that_do_not_sum: "policy changed", PolicyChanged, |act| act.lanes.0[0] += 1;
    no_default_price: "policy changed", PolicyChanged, |act| act.prices.clear();
    covers_backwards: "epoch closed", EpochClosed, |act| act.covered[0].from = u64::MAX;
    nothing_given: "subsidy injected", SubsidyInjected, |act| act.amount_nano = 0;
    nothing_posted: "bond posted", BondPosted, |act| act.amount_nano = 0;
    path_that_goes_down: "payout settled", PayoutSettled, |act| act.path.reverse();
}

#[test]
fn authors() {
    let words = "review";
    check(words, |record| record.body.authors[0].share = MILLION - 1, &Error::RecordAuthors);
    check(words, |record| record.body.authors.clear(), &Error::RecordAuthors);
    check(words, |record| record.signed.clear(), &Error::RecordAuthors);
    let twice = |record: &mut Record| {
        record.body.authors.push(Author { share: 0, ..record.body.authors[0] });
        record.signed.push(record.signed[0]);
    };
    check(words, twice, &Error::RecordAuthors);
    let crowd = |record: &mut Record| {
        let more = (0..=AUTHORS_MAX).map(|n| Author { contributor: every_act::town::named(&n.to_string()), share: 0 });
        record.body.authors.extend(more);
    };
    check(words, crowd, &Error::RecordAuthors);
}

#[test]
fn lists_and_sizes() {
    let words = "agent acted";
    let many = |record: &mut Record| match &mut record.body.act {
        Act::AgentActed(act) => act.requests = vec![loam_ledger_core::Hash::ZERO; LIST_MAX + 1],
        other => panic!("{other:?} is no agent's act"),
    };
    // A list beyond its limit is beyond the body's as well, which is looked at first.
    let story = Story::new();
    let (_, mut record) = story.each_kind().into_iter().find(|(_, r)| r.body.act.words() == words).unwrap();
    many(&mut record);
    let bytes = Entry::Record(Box::new(record)).encode();
    assert!(matches!(Entry::decode(&bytes), Err(Error::RecordTooLong { bytes }) if bytes > BODY_BYTES_MAX));
    let mut long = story.town.entries[0].encode();
    long.resize(RECORD_ENTRY_BYTES_MAX + 1, 0);
    assert_eq!(Entry::decode(&long), Err(Error::EntryTooLong { bytes: RECORD_ENTRY_BYTES_MAX + 1 }));
    check(words, |record| record.body.cites = vec![loam_ledger_core::Hash::ZERO; 2], &Error::RecordCites);
}

#[test]
fn largest_record_fits_an_entry() {
    let authors: Vec<Author> = (0..AUTHORS_MAX)
        .map(|n| Author {
            contributor: every_act::town::named(&n.to_string()),
            share: if n == 0 { MILLION } else { 0 },
        })
        .collect();
    let story = Story::new();
    let (_, record) = story.records().swap_remove(0);
    let body = Body { authors, ..record.body };
    let signed = vec![record.signed[0]; AUTHORS_MAX];
    let entry = Entry::Record(Box::new(Record { body, signed, ..record }));
    let bytes = entry.encode();
    assert!(bytes.len() <= RECORD_ENTRY_BYTES_MAX, "{} bytes", bytes.len());
    assert_eq!(Entry::decode(&bytes), Ok(entry));
}

#[test]
fn unknown_kinds_codes_and_versions() {
    let story = Story::new();
    let body = story.records()[0].1.body.encode();
    let with = |at: usize, byte: u8| {
        let mut changed = body.clone();
        changed[at] = byte;
        Body::decode(&changed)
    };
    assert_eq!(body[..5], [0xa7, 0x00, 0x01, 0x01, 0x01]);
    assert_eq!(with(2, 15), Err(Error::RecordKind { kind: 15 }));
    assert_eq!(with(4, 2), Err(Error::Version { what: "record", version: 2 }));
    let kind_at = body.len() - 3;
    assert_eq!(body[kind_at], 4, "an operator's kind, before the heir that is none");
    assert_eq!(with(kind_at - 1, 9), Err(Error::CborKey { expected: 1 }));
    assert_eq!(with(kind_at, 5), Err(Error::RecordCode { what: "ContributorKind", code: 5 }));
}
