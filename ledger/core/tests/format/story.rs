//! The small ledger that FORMAT.md's examples are taken from: one engine, two boots, two requests, all values round.

use ed25519_dalek::Signer;
use loam_ledger_core::Hash;
use loam_ledger_core::checkpoint::Checkpoint;
use loam_ledger_core::commitment::{Key16, RequestSeed, What, commit, token_bytes};
use loam_ledger_core::entry::{Batch, Boot, Entry, Place, PreviousBoot, Redaction, ShardHead, ShardOpened, Unrowed};
use loam_ledger_core::granted::{GrantedRow, encode_granted, push_to_row_bundle};
use loam_ledger_core::hash::{leaf_hash, row_leaf_hash};
use loam_ledger_core::note::{KeyKind, SigningKey, VerifierKey};
use loam_ledger_core::proof::Proof;
use loam_ledger_core::receipt::{Opening, Receipt};
use loam_ledger_core::row::{Completion, Finish, Pair, Row, Step, Tokens, Usage};
use loam_ledger_core::text::base64_encode;
use loam_ledger_core::tree::{prove_inclusion, root_of_leaves};

pub(crate) const NAME: &str = "example.org/loam";
pub(crate) const USAGE: &str = "example.org/loam/usage/1";
pub(crate) const WITNESS: &str = "witness.example/w1";
pub(crate) const LOG_SEED: [u8; 32] = [0x01; 32];
pub(crate) const WITNESS_SEED: [u8; 32] = [0x03; 32];
const ENGINE: [u8; 16] = [0xe1; 16];
const FIRST_BOOT: [u8; 16] = [0xb1; 16];
const SECOND_BOOT: [u8; 16] = [0xb2; 16];
const BASE: Hash = Hash([0xba; 32]);
const BUILD: Hash = Hash([0xbd; 32]);
const MONDAY_MS: u64 = 1_767_571_200_000;

/// Who sent the first request gave a nonce; who sent the second did not.
pub(crate) const SEEDS: [RequestSeed; 2] = [
    RequestSeed { client_nonce: Some([0x4e; 32]), server_random: [0x51; 16] },
    RequestSeed { client_nonce: None, server_random: [0x52; 16] },
];
pub(crate) const SALTS: [Key16; 3] = [[0x50; 16], [0x5a; 16], [0x5c; 16]];
pub(crate) const KEYS: [Key16; 6] = [[0x71; 16], [0x72; 16], [0x73; 16], [0x74; 16], [0x75; 16], [0x76; 16]];

/// What the first request's completion row commits to.
pub(crate) fn committed(what: What) -> Vec<u8> {
    match what {
        What::Tenant => b"acme".to_vec(),
        What::Request => br#"{"prompt":"What is loam?","max_tokens":3}"#.to_vec(),
        What::Prompt => token_bytes(&[1, 1724, 338, 658, 314, 29_973, 2]),
        What::Text => b"Good soil.".to_vec(),
        What::Tokens => token_bytes(&[7197, 22_473, 29_889]),
        What::Sampling => b"greedy".to_vec(),
    }
}

fn batch(sequence: u64, previous: Hash, counted: [u64; 2], rows: &[Hash], open_requests: u64) -> Batch {
    Batch {
        place: Place { engine: ENGINE, boot: FIRST_BOOT, sequence },
        previous,
        time_ms: MONDAY_MS + 16 * sequence,
        base: BASE,
        build: BUILD,
        prefilled_tokens: counted[0],
        emitted_tokens: counted[1],
        row_count: u32::try_from(rows.len()).expect("three rows"),
        rows_root: root_of_leaves(rows),
        open_requests,
    }
}

fn boot(boot: [u8; 16], previous: Option<PreviousBoot>, time_ms: u64) -> Boot {
    Boot { engine: ENGINE, boot, previous, time_ms, base: BASE, build: BUILD, config: Hash([0xc0; 32]) }
}

/// The rows of entry 2: what the first request used, what it came to, and what the second used so far.
pub(crate) fn rows() -> [Row; 3] {
    let pairs = vec![
        Pair { generation: Hash([0x61; 32]), weight_millionths: 750_000 },
        Pair { generation: Hash([0x62; 32]), weight_millionths: -250_000 },
    ];
    let [one, two] = SEEDS.map(|seed| seed.commitment(NAME));
    let tokens = Tokens { prefilled: 5, reused: 2, recomputed: 0, discarded: 1, emitted: 3 };
    let step = |sequence| Step { boot: FIRST_BOOT, sequence };
    let commitment =
        |what| commit(what, &KEYS[What::ALL.iter().position(|&w| w == what).expect("all")], &committed(what));
    let completion = Completion {
        request: one,
        choice: 0,
        tenant: commitment(What::Tenant),
        pairs: pairs.clone(),
        first: step(1),
        last: step(2),
        tokens,
        delivered_tokens: 3,
        finish: Finish::LENGTH,
        fee_nano: 1_500,
        price_policy: Hash([0x9d; 32]),
        request_bytes: commitment(What::Request),
        prompt: commitment(What::Prompt),
        text: commitment(What::Text),
        output_tokens: commitment(What::Tokens),
        sampling: commitment(What::Sampling),
    };
    let usage = |request, pairs, first_sequence, tokens| {
        Row::Usage(Usage { request, choice: 0, pairs, first_sequence, last_sequence: 2, tokens })
    };
    let of_second = Tokens { prefilled: 4, emitted: 1, ..Tokens::default() };
    [usage(one, pairs, 1, tokens), Row::Completion(Box::new(completion)), usage(two, Vec::new(), 2, of_second)]
}

pub(crate) fn row_leaves() -> [Hash; 3] {
    let rows = rows();
    [0, 1, 2].map(|n| row_leaf_hash(&SALTS[n], &rows[n].encode()))
}

/// The five entries of the usage shard.
pub(crate) fn usage_entries() -> [Entry; 5] {
    let leaf = |entry: &Entry| leaf_hash(&entry.encode());
    let start = Entry::Boot(boot(FIRST_BOOT, None, MONDAY_MS));
    let first = Entry::Batch(batch(1, leaf(&start), [5, 1], &[], 1));
    let second = Entry::Batch(batch(2, leaf(&first), [4, 3], &row_leaves(), 0));
    let third = Entry::Batch(batch(3, leaf(&second), [0, 1], &[], 1));
    let crashed = PreviousBoot {
        boot: FIRST_BOOT,
        sequence: 3,
        leaf: leaf(&third),
        clean: false,
        unrowed: Unrowed { requests: 1, prefilled_tokens: 0, emitted_tokens: 1 },
    };
    let again = Entry::Boot(boot(SECOND_BOOT, Some(crashed), MONDAY_MS + 60_000));
    [start, first, second, third, again]
}

pub(crate) fn usage_leaves() -> Vec<Hash> {
    usage_entries().iter().map(|entry| leaf_hash(&entry.encode())).collect()
}

/// One entry of each type that a records log has.
pub(crate) fn records_entries() -> [(&'static str, Entry); 5] {
    let head = |minutes: u64, size: usize| ShardHead {
        time_ms: MONDAY_MS + minutes * 60_000,
        shard: 1,
        size: size as u64,
        root: root_of_leaves(&usage_leaves()[..size]),
    };
    let opened = ShardOpened { time_ms: MONDAY_MS, shard: 1, public_key: *log_key().verifier().public() };
    let redaction =
        Redaction { time_ms: MONDAY_MS + 180_000, shard: 1, first_index: 2, last_index: 2, row_count: 1, reason: 1 };
    [
        ("entry-shard-opened", Entry::ShardOpened(opened)),
        ("entry-shard-stopped", Entry::ShardStopped(head(1, 5))),
        ("entry-shard-closed", Entry::ShardClosed(head(2, 5))),
        ("entry-redaction", Entry::Redaction(redaction)),
        ("entry-shard-frozen", Entry::ShardFrozen(head(4, 5))),
    ]
}

pub(crate) fn log_key() -> SigningKey {
    SigningKey::from_seed(USAGE, &LOG_SEED).expect("an origin is a key's name")
}

pub(crate) fn witness_key() -> VerifierKey {
    let public = ed25519_dalek::SigningKey::from_bytes(&WITNESS_SEED).verifying_key();
    VerifierKey::new(WITNESS, KeyKind::CosignatureV1, public.to_bytes()).expect("the name is a key's")
}

pub(crate) fn checkpoint() -> Checkpoint {
    Checkpoint { origin: USAGE.to_owned(), size: 5, root: root_of_leaves(&usage_leaves()) }
}

pub(crate) fn signed_checkpoint() -> Vec<u8> {
    checkpoint().sign(&log_key()).expect("the key is the log's")
}

/// The same, with a witness's line after the log's.
pub(crate) fn cosigned_checkpoint() -> Vec<u8> {
    let (time_s, witness) = (1_767_571_300_u64, witness_key());
    let message = format!("cosignature/v1\ntime {time_s}\n{}", checkpoint().to_text());
    let signature = ed25519_dalek::SigningKey::from_bytes(&WITNESS_SEED).sign(message.as_bytes());
    let bytes = [&witness.id()[..], &time_s.to_be_bytes(), &signature.to_bytes()].concat();
    let line = format!("\u{2014} {WITNESS} {}\n", base64_encode(&bytes));
    [signed_checkpoint(), line.into_bytes()].concat()
}

pub(crate) fn policy() -> String {
    let (log, witness) = (log_key(), witness_key());
    format!("# whom we trust\nlog {}\nwitness w1 {witness}\ngroup ours 1 w1\nquorum ours\n", log.verifier())
}

/// The proof that entry 2 is in the shard.
pub(crate) fn proof() -> Proof {
    let Ok(path) = prove_inclusion(&usage_leaves()[..], 2, 5);
    Proof { extra: None, index: 2, path, checkpoint: cosigned_checkpoint() }
}

pub(crate) fn opening() -> Opening {
    let Ok(row_path) = prove_inclusion(&row_leaves()[..], 1, 3);
    Opening {
        entry: usage_entries()[2].encode(),
        row_index: 1,
        row_path,
        row: rows()[1].encode(),
        salt: SALTS[1],
        seed: SEEDS[0],
        keys: KEYS,
    }
}

pub(crate) fn receipt() -> Receipt {
    Receipt { proof: proof(), opening: opening() }
}

/// Entry 2's rows as an export shows them: those of the first request in clear, that of the second as `other` has it.
pub(crate) fn granted(other: fn(Hash) -> GrantedRow) -> Vec<GrantedRow> {
    let open = |n: usize| GrantedRow::Open { salt: SALTS[n], row: rows()[n].encode() };
    vec![open(0), open(1), other(row_leaves()[2])]
}

/// The row bundle beside the shard's only entry bundle.
pub(crate) fn row_bundle() -> Vec<u8> {
    let mut bundle = Vec::new();
    for index in 0..5 {
        let rows = if index == 2 { encode_granted(&granted(GrantedRow::Erased)) } else { Vec::new() };
        push_to_row_bundle(&mut bundle, &rows);
    }
    bundle
}
