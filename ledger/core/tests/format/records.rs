//! The examples of records, sum trees and epochs: all of one small story, in which each kind of record occurs.

#[path = "../every_act/mod.rs"]
mod every_act;

use every_act::town::{correct, named};
use every_act::{STORY_ORIGIN, Story};
use loam_ledger_core::Hash;
use loam_ledger_core::division::{Part, divide, epoch_seed, tie};
use loam_ledger_core::entry::Entry;
use loam_ledger_core::epoch::{
    Account, ErasedRows, LeafFile, RowPlace, Statement, decode_fees, decode_mixes, encode_fees, encode_mixes,
};
use loam_ledger_core::fee::split_to_lanes;
use loam_ledger_core::hash::{digest, leaf_hash};
use loam_ledger_core::record::{
    Act, Lane, Operation, PerLane, RecordId, Rows, SumStep, addendum, key_id, message, operations_root,
    rotation_message, rows_root,
};
use loam_ledger_core::registry::commitment;
use loam_ledger_core::row::Pair;
use loam_ledger_core::sum_tree::{Builder, Kind, SumProof, sum_leaf_hash};
use loam_ledger_core::text::{hex_decode, hex_encode};

use super::{Fresh, bytes, examples, fields, hash, joined, read};

fn name_of(entry: &loam_ledger_core::record::Record) -> String {
    format!("record-{}", entry.body.act.words().replace(' ', "-"))
}

fn spaced<T: ToString>(items: impl IntoIterator<Item = T>) -> String {
    items.into_iter().map(|item| item.to_string()).collect::<Vec<_>>().join(" ")
}

pub(super) fn fresh_records(fresh: &mut Fresh) {
    let story = Story::new();
    for (id, record) in story.each_kind() {
        let name = name_of(&record);
        let bytes = Entry::Record(Box::new(record)).encode();
        fresh.fields(&name, &[("bytes", hex_encode(&bytes)), ("id", id.to_hex())]);
    }
    let records = story.records();
    let (id, record) = &records[1];
    let signed = &record.signed[0];
    let signed_bytes = message(STORY_ORIGIN, &signed.key, signed.sequence, &signed.previous, &record.body.encode());
    let Act::ContributorRegistered(act) = &record.body.act else { panic!("the gatherer registers second") };
    fresh.fields(
        "author",
        &[
            ("seed", named("gatherer").to_hex()),
            ("public", hex_encode(&act.public_key)),
            ("key_id", key_id(&act.public_key).to_hex()),
            ("message", hex_encode(&signed_bytes)),
            ("signature", hex_encode(&signed.signature)),
            ("id", id.to_hex()),
        ],
    );
    let (_, rotated) = records.last().expect("the key is rotated last");
    let Act::KeyRotated(act) = &rotated.body.act else { panic!("the key is rotated last") };
    let contributor = rotated.body.authors[0].contributor;
    fresh.fields(
        "rotation",
        &[
            ("message", hex_encode(&rotation_message(STORY_ORIGIN, &contributor, &act.public_key))),
            ("public", hex_encode(&act.public_key)),
            ("proof", hex_encode(&act.proof)),
        ],
    );
    let text = b"Clear, and from where it says.";
    let digest = addendum(&[0x5a; 16], text);
    let salt = hex_encode(&[0x5a; 16]);
    fresh.fields("addendum", &[("salt", salt), ("bytes", hex_encode(text)), ("digest", digest.to_hex())]);
    fresh_payload(fresh);
    fresh_operations(fresh, &story);
    fresh_sum_trees(fresh, &story);
    fresh_divisions(fresh);
    fresh_accounts(fresh, &story);
    fresh_leaf_files(fresh, &story);
}

fn fresh_operations(fresh: &mut Fresh, story: &Story) {
    let operation = correct("a", "a", "A");
    let root = operations_root(std::slice::from_ref(&operation));
    let bytes = operation.encode();
    fresh.fields("operation", &[("bytes", hex_encode(&bytes)), ("leaf", root.root.to_hex())]);
    let rows: &Rows = story.town.rows.values().find(|rows| rows.values().any(|c| *c == named("A"))).expect("it is one");
    let (keys, values): (Vec<Hash>, Vec<Hash>) = rows.iter().map(|(row, content)| (*row, *content)).unzip();
    let leaves: Vec<Hash> = rows.iter().map(|(row, c)| sum_leaf_hash(Kind::Rows, &row.0, c, 1)).collect();
    fresh.fields(
        "rows-of-a-revision",
        &[
            ("rows", joined(&keys)),
            ("contents", joined(&values)),
            ("leaves", joined(&leaves)),
            ("root", rows_root(rows).root.to_hex()),
        ],
    );
}

fn proof_fields(proof: &SumProof) -> Vec<(&'static str, String)> {
    vec![
        ("bytes", hex_encode(&proof.encode())),
        ("key", hex_encode(&proof.key)),
        ("value", proof.value.to_hex()),
        ("amount", proof.amount.to_string()),
        ("bits", spaced(proof.path.iter().map(|step| step.bit))),
        ("sums", spaced(proof.path.iter().map(|step| step.sum))),
        ("hashes", joined(&proof.path.iter().map(|step| step.hash).collect::<Vec<_>>())),
    ]
}

fn fresh_sum_trees(fresh: &mut Fresh, story: &Story) {
    let settled = &story.settled;
    let (usage, payouts) = (settled.usage, settled.payouts);
    let leaves = |builder: &mut Builder| {
        for (index, used) in (0..).zip(&story.usage.used) {
            let place = RowPlace { shard: 1, index, row: 0 };
            let leaf = every_act::town::leaf(index, &used.row);
            builder.push(&place.key(), &leaf, used.row.fee_nano.into());
        }
    };
    for (name, place) in [("usage-member", 1), ("usage-absent", 7)] {
        let sought = RowPlace { shard: 1, index: place, row: 0 }.key();
        let mut builder = Builder::seeking(Kind::Usage, &sought);
        leaves(&mut builder);
        let (root, proof) = builder.finish_with_proof();
        assert_eq!(root, usage);
        let mut fields = vec![("sought", hex_encode(&sought))];
        fields.extend(proof_fields(&proof.expect("there are rows")));
        fields.extend([("root", root.hash.to_hex()), ("sum", root.sum.to_string())]);
        fresh.fields(name, &fields);
    }
    let account = Account::Contributor(story.town.id("corrector"));
    let mut fields = proof_fields(&settled.prove(&account).expect("there are accounts"));
    fields.extend([("root", payouts.hash.to_hex()), ("sum", payouts.sum.to_string())]);
    fresh.fields("payout-member", &fields);
}

fn fresh_divisions(fresh: &mut Fresh) {
    let lanes = PerLane([1_000, 1_000, 2_000, 5_000, 500, 200, 300]);
    let parts = split_to_lanes(11_030, &lanes);
    fresh.fields("fee", &[("fee", "11030".to_owned()), ("points", spaced(lanes.0)), ("lanes", spaced(parts.0))]);
    let (seed, root) = (named("seed after epoch 1"), Hash([0x77; 32]));
    let epoch = epoch_seed(&seed, &root);
    fresh.fields(
        "epoch-seed",
        &[
            ("seed", seed.to_hex()),
            ("commitment", commitment(&seed).to_hex()),
            ("last_root", root.to_hex()),
            ("epoch_seed", epoch.to_hex()),
        ],
    );
    let ids = [0xa1, 0xa2, 0xa3].map(|byte| Hash([byte; 32]));
    let parts = ids.map(|id| Part { weight: 1, tie: tie(&epoch, &id) });
    fresh.fields(
        "division",
        &[
            ("amount", "11".to_owned()),
            ("weights", spaced([1, 1, 1])),
            ("ids", joined(&ids)),
            ("ties", joined(&parts.map(|part| part.tie))),
            ("parts", spaced(divide(11, &parts).expect("there is weight"))),
        ],
    );
}

fn fresh_accounts(fresh: &mut Fresh, story: &Story) {
    let subject = Hash([0x61; 32]);
    let accounts = [
        ("lineage_adapter", Account::LineageAdapter(subject)),
        ("lineage_data", Account::LineageData(subject)),
        ("sources", Account::Sources(subject)),
        ("revision", Account::Revision(subject)),
        ("upkeep", Account::Lane(Lane::Upkeep)),
        ("subsidies", Account::Subsidies),
    ];
    let mut of: Vec<(&str, String)> = vec![("subject", subject.to_hex())];
    of.extend(accounts.iter().map(|(name, account)| (*name, account.id().to_hex())));
    fresh.fields("accounts", &of);
    let account = Account::Contributor(story.town.id("corrector"));
    let statement = story.settled.accounts.of(&account).expect("the corrector is paid");
    let fields = [("bytes", hex_encode(&statement.encode())), ("digest", statement.digest().to_hex())];
    fresh.fields("statement", &fields);
    let erased = ErasedRows {
        pairs: vec![Pair { generation: subject, weight_millionths: 1_000_000 }],
        policy: Hash([0x9d; 32]),
        emitted_tokens: 7,
        delivered_tokens: 6,
        fee_nano: 96,
    };
    let bytes = erased.encode();
    fresh.fields("erased-rows", &[("bytes", hex_encode(&bytes)), ("leaf", leaf_hash(&bytes).to_hex())]);
    let base = ErasedRows { pairs: Vec::new(), fee_nano: 30, ..erased.clone() };
    let mixes = encode_mixes(&[base, erased]).expect("they are in order");
    fresh.fields("epoch-erased", &[("bytes", hex_encode(&mixes))]);
    let place = |index| RowPlace { shard: 1, index, row: 1 };
    let fees = encode_fees(&[(place(2), 96), (place(7), 30)]).expect("they are in order");
    fresh.fields("epoch-fees", &[("bytes", hex_encode(&fees))]);
}

fn fresh_leaf_files(fresh: &mut Fresh, story: &Story) {
    let close = story.each_kind().into_iter().find(|(_, record)| matches!(record.body.act, Act::EpochClosed(_)));
    let (close, _) = close.expect("each kind is there");
    let usage = |index| {
        let place = RowPlace { shard: 1, index, row: 0 };
        let mut builder = Builder::seeking(Kind::Usage, &place.key());
        for (index, used) in (0..).zip(&story.usage.used) {
            let key = RowPlace { shard: 1, index, row: 0 }.key();
            builder.push(&key, &every_act::town::leaf(index, &used.row), used.row.fee_nano.into());
        }
        LeafFile::usage(close, &place, builder.finish_with_proof().1)
    };
    let told = story.settled.statement(&story.town.registry, &story.town.id("corrector"));
    let payout = LeafFile::payout(close, &told.contributor, &told.paid, told.proof);
    for (name, file) in [("leaf-file-usage", usage(1)), ("leaf-file-payout", payout), ("leaf-file-absent", usage(7))] {
        fresh.fields(name, &[("bytes", hex_encode(&file.encode()))]);
    }
}

#[test]
fn leaf_files_show_what_they_say() {
    let examples = examples(read());
    let story = Story::new();
    let close = story.each_kind().into_iter().find_map(|(id, record)| match record.body.act {
        Act::EpochClosed(act) => Some((id, act)),
        _ => None,
    });
    let (id, act) = close.expect("each kind is there");
    let of = |name: &str| LeafFile::decode(&bytes(&fields(&examples, name), "bytes")).unwrap();
    let usage = of("leaf-file-usage");
    assert_eq!(usage.check(&id, &act).unwrap().unwrap().amount, 1_141);
    let payout = of("leaf-file-payout");
    let proof = payout.check(&id, &act).unwrap().unwrap();
    assert_eq!(proof.amount, payout.statement.as_ref().unwrap().sum_nano());
    assert_eq!(of("leaf-file-absent").check(&id, &act), Ok(None));
    for name in ["leaf-file-usage", "leaf-file-payout", "leaf-file-absent"] {
        let bytes = bytes(&fields(&examples, name), "bytes");
        assert_eq!(LeafFile::decode(&bytes).unwrap().encode(), bytes, "{name}");
        assert!((0..bytes.len()).all(|end| LeafFile::decode(&bytes[..end]).is_err()), "{name}");
    }
    let mixes = bytes(&fields(&examples, "epoch-erased"), "bytes");
    assert_eq!(encode_mixes(&decode_mixes(&mixes).unwrap()).unwrap(), mixes);
    let fees = bytes(&fields(&examples, "epoch-fees"), "bytes");
    assert_eq!(encode_fees(&decode_fees(&fees).unwrap()).unwrap(), fees);
}

#[test]
fn records_read_back() {
    let examples = examples(read());
    let names: Vec<&String> = examples.keys().filter(|name| name.starts_with("record-")).collect();
    assert_eq!(names.len(), 29, "{names:?}");
    for name in names {
        let fields = fields(&examples, name);
        let bytes = bytes(&fields, "bytes");
        let Ok(Entry::Record(record)) = Entry::decode(&bytes) else { panic!("{name} is no record") };
        let id: RecordId = record.id(STORY_ORIGIN);
        assert_eq!((id, name_of(&record)), (hash(&fields, "id"), name.clone()));
        assert_eq!(Entry::Record(record).encode(), bytes, "{name}");
    }
}

#[test]
fn sums_are_proven() {
    let examples = examples(read());
    let table = [("usage-member", Kind::Usage), ("usage-absent", Kind::Usage), ("payout-member", Kind::Payouts)];
    for (name, kind) in table {
        let of = fields(&examples, name);
        let numbers = |key: &str| -> Vec<u128> { of[key].split_whitespace().map(|n| n.parse().unwrap()).collect() };
        let hashes = super::hashes(&of, "hashes");
        let steps = numbers("bits").into_iter().zip(numbers("sums")).zip(hashes);
        let path = steps.map(|((bit, sum), hash)| SumStep { bit: u16::try_from(bit).unwrap(), sum, hash }).collect();
        let (key, value) = (bytes(&of, "key"), hash(&of, "value"));
        let proof = SumProof { key, value, amount: numbers("amount")[0], path };
        assert_eq!(SumProof::decode(&bytes(&of, "bytes")).as_ref(), Ok(&proof));
        let root = loam_ledger_core::record::SumRoot { hash: hash(&of, "root"), sum: numbers("sum")[0], count: 0 };
        proof.check_member(kind, &root).unwrap();
        if name == "usage-absent" {
            proof.check_absent(kind, &root, &bytes(&of, "sought")).unwrap();
        }
    }
    let statement = bytes(&fields(&examples, "statement"), "bytes");
    let digest = hash(&fields(&examples, "statement"), "digest");
    assert_eq!(Statement::decode(&statement).unwrap().digest(), digest);
    assert_eq!(digest, hash(&fields(&examples, "payout-member"), "value"));
    let erased = bytes(&fields(&examples, "erased-rows"), "bytes");
    assert_eq!(ErasedRows::decode(&erased).unwrap().encode(), erased);
    let operation = hex_decode(&fields(&examples, "operation")["bytes"]).unwrap();
    assert_eq!(Operation::decode(&operation).unwrap().encode(), operation);
}

/// A dataset's row as somebody gave it and as it is kept; that the spelling is the one is tested where rows are read.
fn fresh_payload(fresh: &mut Fresh) {
    let (dataset, salt) = (digest(b"dataset"), [0x5a; 16]);
    let (given, text) = (r#"{"text": "A\u0062c", "n": 1.50}"#, r#"{"n":1.5,"text":"Abc"}"#);
    let id = digest(&[b"loam/row-id/v1\0", &dataset.0[..], &salt, text.as_bytes()].concat());
    let fields = [
        ("dataset", dataset.to_hex()),
        ("given", hex_encode(given.as_bytes())),
        ("salt", hex_encode(&salt)),
        ("text", hex_encode(text.as_bytes())),
        ("content", addendum(&salt, text.as_bytes()).to_hex()),
        ("row_id", id.to_hex()),
    ];
    fresh.fields("payload", &fields);
}
