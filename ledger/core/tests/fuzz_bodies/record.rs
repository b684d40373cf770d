//! Records: whatever is read is written the same way; and nobody but their authors gets one past the registry.

use std::sync::OnceLock;

use loam_ledger_core::entry::Entry;
use loam_ledger_core::epoch::{
    Account, ErasedRows, LeafFile, Statement, decode_fees, decode_mixes, encode_fees, encode_mixes,
};
use loam_ledger_core::hash::leaf_hash;
use loam_ledger_core::record::{Act, Body, Operation, operations_root};
use loam_ledger_core::registry::Registry;
use loam_ledger_core::row::Pair;
use loam_ledger_core::sum_tree::{Kind, SumProof};

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
    canonical(data, ErasedRows::decode, ErasedRows::encode);
    canonical(data, decode_mixes, |mixes| encode_mixes(mixes).expect("what was read can be written"));
    canonical(data, decode_fees, |fees| encode_fees(fees).expect("what was read can be written"));
    if let Some(file) = canonical(data, LeafFile::decode, LeafFile::encode) {
        // Whoever is shown a payout of the story's was paid it.
        let close = story().0.each_kind().into_iter().find_map(|(id, record)| match record.body.act {
            Act::EpochClosed(act) => Some((id, act)),
            _ => None,
        });
        let (id, act) = close.expect("each kind is there");
        if let (Ok(Some(proof)), Some(paid)) = (file.check(&id, &act), &file.statement) {
            assert_eq!(paid.sum_nano(), proof.amount);
            assert!(
                story().0.settled.accounts.all().any(|(account, of)| account.id().0[..] == file.sought && of == paid)
            );
        }
    }
    if let Some(statement) = canonical(data, Statement::decode, Statement::encode) {
        assert!(statement.lines().all(|line| line.amount_nano <= statement.sum_nano()));
    }
    if let Some(proof) = canonical(data, SumProof::decode, SumProof::encode) {
        // Whatever is proven of the story's payouts, some account has; nothing is both there and not.
        let payouts = &story().0.settled.payouts;
        if proof.check_member(Kind::Payouts, payouts).is_ok() {
            let mut accounts = story().0.settled.accounts.all();
            assert!(accounts.any(|(account, of)| account.id().0[..] == proof.key && of.sum_nano() == proof.amount));
            assert!(proof.check_absent(Kind::Payouts, payouts, &proof.key).is_err());
        }
    }
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
    let account = Account::Contributor(story().0.town.id("corrector"));
    let settled = &story().0.settled;
    seeds.push(("statement".to_owned(), settled.accounts.of(&account).expect("it was paid").encode()));
    seeds.push(("sum-proof".to_owned(), settled.prove(&account).expect("there are accounts").encode()));
    let generation = loam_ledger_core::Hash([0x61; 32]);
    let erased = ErasedRows {
        pairs: vec![Pair { generation, weight_millionths: -1 }],
        policy: generation,
        emitted_tokens: 7,
        delivered_tokens: 6,
        fee_nano: 96,
    };
    seeds.push(("erased-rows".to_owned(), erased.encode()));
    seeds.push(("epoch-erased".to_owned(), encode_mixes(&[erased]).expect("one is in order")));
    let place = loam_ledger_core::epoch::RowPlace { shard: 1, index: 2, row: 1 };
    seeds.push(("epoch-fees".to_owned(), encode_fees(&[(place, 96)]).expect("one is in order")));
    let close = story().0.each_kind().into_iter().find(|(_, record)| matches!(record.body.act, Act::EpochClosed(_)));
    let (close, _) = close.expect("each kind is there");
    let told = settled.statement(&story().1, &story().0.town.id("corrector"));
    let file = LeafFile::payout(close, &told.contributor, &told.paid, told.proof);
    seeds.push(("leaf-file".to_owned(), file.encode()));
    seeds
}
