//! Entries, rows, openings and granted rows: one spelling each, and read back as they were written.

use loam_ledger_core::Hash;
use loam_ledger_core::commitment::RequestSeed;
use loam_ledger_core::entry::{
    Batch, Boot, Entry, LOAM_ENTRY_BYTES_MAX, Place, PreviousBoot, Redaction, STEP_TOKENS_MAX, ShardHead, ShardOpened,
    Unrowed,
};
use loam_ledger_core::granted::{GrantedRow, decode_granted, encode_granted, push_to_row_bundle, split_row_bundle};
use loam_ledger_core::receipt::Opening;
use loam_ledger_core::row::{Completion, Finish, PAIRS_MAX, Pair, ROW_BYTES_MAX, Row, Step, Tokens, Usage};
use proptest::collection::vec;
use proptest::prelude::*;

use super::{Change, canonical, tier};

/// Numbers of every length that CBOR knows, and those at which the length changes.
fn number() -> impl Strategy<Value = u64> {
    let edges = [0, 23, 24, 0xff, 0x100, 0xffff, 0x1_0000, 0xffff_ffff, 0x1_0000_0000, u64::MAX];
    prop_oneof![prop::sample::select(edges.to_vec()), (0..64u32).prop_flat_map(|bits| 0..=u64::MAX >> bits),]
}

fn small() -> impl Strategy<Value = u32> {
    number().prop_map(|n| u32::try_from(n & u64::from(u32::MAX)).expect("it is masked"))
}

fn hash() -> impl Strategy<Value = Hash> {
    any::<[u8; 32]>().prop_map(Hash)
}

fn boot() -> impl Strategy<Value = Boot> {
    let unrowed = [number(), number(), number()].prop_map(|[requests, prefilled_tokens, emitted_tokens]| Unrowed {
        requests,
        prefilled_tokens,
        emitted_tokens,
    });
    let previous = (any::<[u8; 16]>(), number(), hash(), any::<bool>(), unrowed);
    let previous = previous.prop_map(|(boot, sequence, leaf, clean, unrowed)| PreviousBoot {
        boot,
        sequence,
        leaf,
        clean,
        unrowed,
    });
    let ids = (any::<[u8; 16]>(), any::<[u8; 16]>());
    (ids, prop::option::of(previous), number(), [hash(), hash(), hash()]).prop_map(
        |((engine, boot), previous, time_ms, [base, build, config])| Boot {
            engine,
            boot,
            previous,
            time_ms,
            base,
            build,
            config,
        },
    )
}

fn batch() -> impl Strategy<Value = Batch> {
    let place = (any::<[u8; 16]>(), any::<[u8; 16]>(), number()).prop_map(|(engine, boot, sequence)| Place {
        engine,
        boot,
        sequence: sequence.max(1),
    });
    let rows = prop::option::of((1..=65_535u32, hash())).prop_map(|rows| rows.unwrap_or((0, Hash::EMPTY_TREE)));
    let numbers = [number(), number(), number(), number()];
    (place, [hash(), hash(), hash()], numbers, rows).prop_map(
        |(place, [previous, base, build], [time_ms, prefilled_tokens, emitted_tokens, open_requests], rows)| Batch {
            place,
            previous,
            time_ms,
            base,
            build,
            prefilled_tokens: prefilled_tokens.min(STEP_TOKENS_MAX),
            emitted_tokens: emitted_tokens.min(STEP_TOKENS_MAX),
            row_count: rows.0,
            rows_root: rows.1,
            open_requests,
        },
    )
}

fn entry() -> impl Strategy<Value = Entry> {
    let opened = (number(), small(), any::<[u8; 32]>());
    let opened = opened.prop_map(|(time_ms, shard, public_key)| ShardOpened { time_ms, shard, public_key });
    let head = || {
        (number(), small(), number(), hash()).prop_map(|(time_ms, shard, size, root)| ShardHead {
            time_ms,
            shard,
            size,
            root,
        })
    };
    let redaction = (small(), [number(), number(), number(), number()], any::<u8>()).prop_map(
        |(shard, [time_ms, one, other, row_count], reason)| Redaction {
            time_ms,
            shard,
            first_index: one.min(other),
            last_index: one.max(other),
            row_count: row_count.max(1),
            reason,
        },
    );
    prop_oneof![
        boot().prop_map(Entry::Boot),
        batch().prop_map(Entry::Batch),
        opened.prop_map(Entry::ShardOpened),
        head().prop_map(Entry::ShardFrozen),
        head().prop_map(Entry::ShardStopped),
        head().prop_map(Entry::ShardClosed),
        redaction.prop_map(Entry::Redaction),
    ]
}

fn pairs() -> impl Strategy<Value = Vec<Pair>> {
    let weight = prop_oneof![any::<i64>(), -25..25i64, Just(i64::MIN), Just(i64::MAX)];
    let few = prop_oneof![9 => 0..4usize, 1 => Just(PAIRS_MAX)];
    let pairs = few.prop_flat_map(move |count| prop::collection::btree_map(any::<[u8; 32]>(), weight.clone(), count));
    pairs.prop_map(|pairs| {
        let pair = |(generation, weight_millionths)| Pair { generation: Hash(generation), weight_millionths };
        pairs.into_iter().map(pair).collect()
    })
}

fn tokens() -> impl Strategy<Value = Tokens> {
    [number(), number(), number(), number(), number()].prop_map(
        |[prefilled, reused, recomputed, discarded, emitted]| Tokens {
            prefilled,
            reused,
            recomputed,
            discarded,
            emitted,
        },
    )
}

fn row() -> impl Strategy<Value = Row> {
    let usage = (hash(), small(), pairs(), [number(), number()], tokens()).prop_map(
        |(request, choice, pairs, [one, other], tokens)| Usage {
            request,
            choice,
            pairs,
            first_sequence: one.min(other).max(1),
            last_sequence: one.max(other).max(1),
            tokens,
        },
    );
    let step = || (any::<[u8; 16]>(), number()).prop_map(|(boot, sequence)| Step { boot, sequence });
    let hashes = proptest::array::uniform8(hash());
    let rest = (hashes, [number(), number()], 1..=255u8, any::<bool>());
    let completion = (small(), pairs(), step(), step(), tokens(), rest).prop_map(
        |(choice, pairs, mut first, mut last, tokens, (hashes, [delivered, fee_nano], finish, same_boot))| {
            if same_boot {
                last.boot = first.boot;
                if first.sequence > last.sequence {
                    std::mem::swap(&mut first, &mut last);
                }
            }
            let [request, tenant, price_policy, request_bytes, prompt, text, output_tokens, sampling] = hashes;
            Completion {
                request,
                choice,
                tenant,
                pairs,
                first,
                last,
                tokens,
                delivered_tokens: delivered.min(tokens.emitted),
                finish: Finish(finish),
                fee_nano,
                price_policy,
                request_bytes,
                prompt,
                text,
                output_tokens,
                sampling,
            }
        },
    );
    prop_oneof![usage.prop_map(Row::Usage), completion.prop_map(|completion| Row::Completion(Box::new(completion))),]
}

fn opening() -> impl Strategy<Value = Opening> {
    let seed = (prop::option::of(any::<[u8; 32]>()), any::<[u8; 16]>());
    let seed = seed.prop_map(|(client_nonce, server_random)| RequestSeed { client_nonce, server_random });
    let bytes = |max: usize| vec(any::<u8>(), 0..=max);
    let entry = prop_oneof![entry().prop_map(|entry| entry.encode()), bytes(LOAM_ENTRY_BYTES_MAX)];
    let row = prop_oneof![row().prop_map(|row| row.encode()), bytes(ROW_BYTES_MAX)];
    let keys = proptest::array::uniform6(any::<[u8; 16]>());
    (entry, 0..65_535u32, vec(hash(), 0..=16), row, any::<[u8; 16]>(), seed, keys).prop_map(
        |(entry, row_index, row_path, row, salt, seed, keys)| Opening {
            entry,
            row_index,
            row_path,
            row,
            salt,
            seed,
            keys,
        },
    )
}

fn granted() -> impl Strategy<Value = Vec<GrantedRow>> {
    let open = (any::<[u8; 16]>(), vec(any::<u8>(), 0..60)).prop_map(|(salt, row)| GrantedRow::Open { salt, row });
    let row = prop_oneof![hash().prop_map(GrantedRow::Hidden), hash().prop_map(GrantedRow::Erased), open];
    vec(row, 0..40)
}

proptest! {
    #![proptest_config(tier::cases())]

    #[test]
    fn entries(entry in entry(), changes in Change::some()) {
        let bytes = entry.encode();
        prop_assert!(bytes.len() < 512, "an entry is far below its limit, whatever its batch");
        prop_assert_eq!(Entry::decode(&bytes), Ok(entry));
        canonical(&Change::apply_all(&changes, &bytes), Entry::decode, Entry::encode)?;
    }

    #[test]
    fn rows(row in row(), changes in Change::some()) {
        let bytes = row.encode();
        prop_assert_eq!(Row::decode(&bytes), Ok(row));
        canonical(&Change::apply_all(&changes, &bytes), Row::decode, Row::encode)?;
    }

    #[test]
    fn openings(opening in opening(), changes in Change::some()) {
        let bytes = opening.encode();
        prop_assert_eq!(Opening::decode(&bytes), Ok(opening));
        canonical(&Change::apply_all(&changes, &bytes), Opening::decode, Opening::encode)?;
    }

    #[test]
    fn granted_rows(rows in granted(), changes in Change::some()) {
        let bytes = encode_granted(&rows);
        prop_assert_eq!(decode_granted(&bytes), Ok(rows));
        canonical(&Change::apply_all(&changes, &bytes), decode_granted, |rows| encode_granted(rows))?;
    }

    #[test]
    fn row_bundles(granted in vec(vec(any::<u8>(), 0..50), 0..20), changes in Change::some()) {
        let join = |granted: &Vec<Vec<u8>>| {
            let mut bundle = Vec::new();
            granted.iter().for_each(|rows| push_to_row_bundle(&mut bundle, rows));
            bundle
        };
        let (bundle, width) = (join(&granted), granted.len() as u64);
        let cut = |bundle: &[u8]| split_row_bundle(bundle, width).map(|g| g.into_iter().map(<[u8]>::to_vec).collect());
        prop_assert_eq!(cut(&bundle), Ok(granted));
        canonical(&Change::apply_all(&changes, &bundle), cut, join)?;
    }

    #[test]
    fn anything(bytes in vec(any::<u8>(), 0..200)) {
        canonical(&bytes, Entry::decode, Entry::encode)?;
        canonical(&bytes, Row::decode, Row::encode)?;
        canonical(&bytes, Opening::decode, Opening::encode)?;
        canonical(&bytes, decode_granted, |rows| encode_granted(rows))?;
    }
}
