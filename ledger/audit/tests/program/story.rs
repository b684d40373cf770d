//! A small ledger that the sessions look at: two usage shards, one engine with a crash, and a request every three steps.

use loam_ledger_core::Hash;
use loam_ledger_core::checkpoint::Checkpoint;
use loam_ledger_core::commitment::{Key16, RequestSeed, What, commit, token_bytes};
use loam_ledger_core::entry::{Batch, Boot, Entry, Place, PreviousBoot, Redaction, ShardHead, ShardOpened, Unrowed};
use loam_ledger_core::granted::GrantedRow;
use loam_ledger_core::hash::{digest, leaf_hash, row_leaf_hash};
use loam_ledger_core::note::SigningKey;
use loam_ledger_core::origin::{LogId, LogName};
use loam_ledger_core::proof::Proof;
use loam_ledger_core::receipt::{Opening, Receipt};
use loam_ledger_core::row::{Completion, Finish, Pair, Row, Step, Tokens, Usage};
use loam_ledger_core::tree::{prove_inclusion, root_of_leaves};

pub(crate) const NAME: &str = "example.org/loam";
pub(crate) const REQUEST: &[u8] = b"{\"prompt\":\"What is loam?\"}";
pub(crate) const OUTPUT: &[u8] = b"Good soil.";
pub(crate) const NONCE: [u8; 32] = [0x4e; 32];
pub(crate) const GENERATION: Hash = Hash([0x61; 32]);
const ENGINE: [u8; 16] = [0xe1; 16];
const MONDAY_MS: u64 = 1_767_571_200_000;

/// What is not as it should be.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Lie {
    None,
    /// An engine leaves a sequence out.
    Gap,
    /// An entry counts a token that no row has.
    Totals,
    /// A row in the export is not the one that its entry committed to.
    OtherRow,
    /// Four of the shard's rows are erased, and said to be.
    ErasedMany,
    /// Two rows are erased, and nobody says so.
    ErasedQuietly,
    /// A frozen shard goes on.
    Thaw,
    /// An entry is not one of Loam's.
    Gibberish,
}

/// One log before it is signed: its entries, their rows as an export shows them, and sizes at which it was signed.
#[derive(Clone)]
pub(crate) struct Log {
    pub(crate) id: LogId,
    pub(crate) entries: Vec<Vec<u8>>,
    pub(crate) rows: Vec<Vec<GrantedRow>>,
    pub(crate) signed: Vec<usize>,
}

impl Log {
    pub(crate) fn new(id: LogId) -> Self {
        let (entries, rows, signed) = (Vec::new(), Vec::new(), Vec::new());
        Self { id, entries, rows, signed }
    }

    pub(crate) fn push(&mut self, entry: &Entry, rows: Vec<GrantedRow>) -> Hash {
        self.entries.push(entry.encode());
        self.rows.push(rows);
        leaf_hash(&entry.encode())
    }

    pub(crate) fn name(&self) -> String {
        LogName::new(NAME, self.id).expect("the name is short").to_string()
    }

    pub(crate) fn key(&self) -> SigningKey {
        SigningKey::from_seed(&self.name(), &digest(self.name().as_bytes()).0).expect("an origin is a key's name")
    }

    pub(crate) fn leaves(&self) -> Vec<Hash> {
        self.entries.iter().map(|entry| leaf_hash(entry)).collect()
    }

    pub(crate) fn root(&self, size: usize) -> Hash {
        root_of_leaves(&self.leaves()[..size])
    }

    pub(crate) fn checkpoint(&self, size: usize) -> Vec<u8> {
        let checkpoint = Checkpoint { origin: self.name(), size: size as u64, root: self.root(size) };
        checkpoint.sign(&self.key()).expect("the key is the log's")
    }

    pub(crate) fn proof(&self, index: usize, size: usize) -> Proof {
        let Ok(path) = prove_inclusion(&self.leaves()[..size], index as u64, size as u64);
        Proof { extra: None, index: index as u64, path, checkpoint: self.checkpoint(size) }
    }
}

/// The engine, at its last entry.
pub(crate) struct Engine {
    pub(crate) place: Place,
    leaf: Hash,
    pub(crate) time_ms: u64,
    open: u64,
}

impl Engine {
    /// An engine that has not begun.
    pub(crate) fn new(time_ms: u64) -> Self {
        let place = Place { engine: ENGINE, boot: [0; 16], sequence: 0 };
        Self { place, leaf: Hash::ZERO, time_ms, open: 0 }
    }

    pub(crate) fn boot(&mut self, log: &mut Log, number: u8, left: Option<Unrowed>) {
        self.time_ms += 1_000;
        let previous = left.map(|unrowed| PreviousBoot {
            boot: self.place.boot,
            sequence: self.place.sequence,
            leaf: self.leaf,
            clean: unrowed == Unrowed::default(),
            unrowed,
        });
        self.place = Place { engine: ENGINE, boot: [number; 16], sequence: 0 };
        self.open = 0;
        let boot = Boot {
            engine: ENGINE,
            boot: self.place.boot,
            previous,
            time_ms: self.time_ms,
            base: Hash([0xba; 32]),
            build: Hash([0xbd; 32]),
            config: Hash([0xc0; 32]),
        };
        self.leaf = log.push(&Entry::Boot(boot), Vec::new());
    }

    pub(crate) fn step(
        &mut self,
        log: &mut Log,
        [prefilled_tokens, emitted_tokens]: [u64; 2],
        rows: &[Row],
        open: u64,
    ) {
        self.place.sequence += 1;
        self.time_ms += 16;
        let salted = |(number, row): (usize, &Row)| GrantedRow::Open {
            salt: salt(log.entries.len(), number),
            row: row.encode(),
        };
        let granted: Vec<GrantedRow> = rows.iter().enumerate().map(salted).collect();
        let leaves: Vec<Hash> = granted.iter().map(GrantedRow::leaf).collect();
        let batch = Batch {
            place: self.place,
            previous: self.leaf,
            time_ms: self.time_ms,
            base: Hash([0xba; 32]),
            build: Hash([0xbd; 32]),
            prefilled_tokens,
            emitted_tokens,
            row_count: u32::try_from(rows.len()).expect("two rows"),
            rows_root: root_of_leaves(&leaves),
            open_requests: open,
        };
        self.open = open;
        self.leaf = log.push(&Entry::Batch(batch), granted);
    }

    /// A request from its prefill to its completion, in three steps.
    fn request(&mut self, log: &mut Log, number: u64) {
        self.step(log, [7, 1], &[], 1);
        self.step(log, [0, 1], &[], 1);
        let rows = rows_of(number, self.place.boot, self.place.sequence + 1);
        self.step(log, [0, 1], &rows, 0);
    }
}

fn salt(index: usize, row: usize) -> Key16 {
    let hash = digest(format!("salt {index} {row}").as_bytes());
    *hash.0.first_chunk().expect("16 of 32 bytes")
}

pub(crate) fn seed_of(number: u64) -> RequestSeed {
    RequestSeed {
        // The first of all gave no nonce.
        client_nonce: (number > 0).then_some(NONCE),
        server_random: *digest(&number.to_be_bytes()).0.first_chunk().expect("16 of 32 bytes"),
    }
}

pub(crate) fn keys() -> [Key16; 6] {
    [1, 2, 3, 4, 5, 6].map(|n| [0x70 + n; 16])
}

fn commitment(what: What) -> Hash {
    let bytes = match what {
        What::Tenant => b"acme".to_vec(),
        What::Request => REQUEST.to_vec(),
        What::Prompt => token_bytes(&[1, 2, 3, 4, 5, 6, 7]),
        What::Text => OUTPUT.to_vec(),
        What::Tokens => token_bytes(&[8, 9, 10]),
        What::Sampling => b"greedy".to_vec(),
    };
    let place = What::ALL.iter().position(|&each| each == what).expect("ALL has each");
    commit(what, &keys()[place], &bytes)
}

pub(crate) fn rows_of(number: u64, boot: [u8; 16], last: u64) -> [Row; 2] {
    let request = seed_of(number).commitment(NAME);
    let pairs = vec![Pair { generation: GENERATION, weight_millionths: 750_000 }];
    let tokens = Tokens { prefilled: 7, reused: 2, emitted: 3, ..Tokens::default() };
    let step = |sequence| Step { boot, sequence };
    let usage =
        Usage { request, choice: 0, pairs: pairs.clone(), first_sequence: last - 2, last_sequence: last, tokens };
    let completion = Completion {
        request,
        choice: 0,
        tenant: commitment(What::Tenant),
        pairs,
        first: step(last - 2),
        last: step(last),
        tokens,
        delivered_tokens: 3,
        finish: Finish::STOP,
        fee_nano: 0,
        price_policy: Hash::ZERO,
        request_bytes: commitment(What::Request),
        prompt: commitment(What::Prompt),
        text: commitment(What::Text),
        output_tokens: commitment(What::Tokens),
        sampling: commitment(What::Sampling),
    };
    [Row::Usage(usage), Row::Completion(Box::new(completion))]
}

/// The receipt of a request whose rows are the last two of entry `index`, at some size of its log.
pub(crate) fn receipt(log: &Log, number: u64, index: usize, size: usize) -> Receipt {
    let rows = &log.rows[index];
    let leaves: Vec<Hash> = rows.iter().map(GrantedRow::leaf).collect();
    let place = rows.len() - 1;
    let GrantedRow::Open { salt, row } = &rows[place] else {
        panic!("the row is in clear");
    };
    let Ok(row_path) = prove_inclusion(&leaves[..], place as u64, rows.len() as u64);
    let opening = Opening {
        entry: log.entries[index].clone(),
        row_index: u32::try_from(place).expect("few rows"),
        row_path,
        row: row.clone(),
        salt: *salt,
        seed: seed_of(number),
        keys: keys(),
    };
    Receipt { proof: log.proof(index, size), opening }
}

/// The ledger's logs: records, shard 1, shard 2.
pub(crate) fn ledger(lie: Lie) -> [Log; 3] {
    let [mut first, mut second] = [1, 2].map(|shard| Log::new(LogId::Usage(shard)));
    let mut engine = Engine::new(MONDAY_MS);
    engine.boot(&mut first, 0xb1, None);
    for number in 0..100 {
        engine.request(&mut first, number);
    }
    if lie == Lie::Gap {
        engine.place.sequence += 1;
    }
    engine.step(&mut first, [7, 1], &[], 1);
    let unrowed = Unrowed { requests: 1, prefilled_tokens: 7, emitted_tokens: 1 };
    engine.boot(&mut first, 0xb2, Some(unrowed));
    if lie == Lie::Totals {
        engine.step(&mut first, [0, 1], &[], 1);
    }
    for number in 100..103 {
        engine.request(&mut first, number);
    }
    // This request ends in the next shard.
    engine.step(&mut first, [7, 1], &[], 1);
    engine.step(&mut second, [0, 1], &[], 1);
    let rows = rows_of(103, engine.place.boot, engine.place.sequence + 1);
    engine.step(&mut second, [0, 1], &rows, 0);
    engine.request(&mut second, 104);
    first.signed = vec![0, 100, 256, first.entries.len()];
    second.signed = vec![0, 2];
    if lie == Lie::Gibberish {
        first.entries[200] = b"\xa2\x00\x18\x63\x01\x01".to_vec();
    }
    hide(&mut first, lie);
    let mut records = Log::new(LogId::Records);
    record(&mut records, &[&first, &second], lie);
    records.signed = vec![1, records.entries.len()];
    [records, first, second]
}

/// Rows of the first shard that the export does not show as they are.
fn hide(first: &mut Log, lie: Lie) {
    let erased = match lie {
        Lie::ErasedMany => &[6, 9][..],
        _ => &[6],
    };
    for index in erased {
        for row in &mut first.rows[*index] {
            *row = GrantedRow::Erased(row.leaf());
        }
    }
    if lie == Lie::OtherRow {
        first.rows[12][0] = GrantedRow::Erased(row_leaf_hash(&[0; 16], b"another"));
    }
}

fn record(records: &mut Log, shards: &[&Log; 2], lie: Lie) {
    let mut time_ms = MONDAY_MS;
    let mut push = |entry: &dyn Fn(u64) -> Entry| {
        time_ms += 60_000;
        records.push(&entry(time_ms), Vec::new());
    };
    let opened = |time_ms, shard: &Log, number| {
        Entry::ShardOpened(ShardOpened { time_ms, shard: number, public_key: *shard.key().verifier().public() })
    };
    let head = |time_ms, number, size: usize| ShardHead {
        time_ms,
        shard: number,
        size: size as u64,
        root: shards[number as usize - 1].root(size),
    };
    let end = shards[0].entries.len();
    push(&|time_ms| opened(time_ms, shards[0], 1));
    push(&|time_ms| Entry::ShardStopped(head(time_ms, 1, 302)));
    push(&|time_ms| Entry::ShardFrozen(head(time_ms, 1, end)));
    if lie == Lie::Thaw {
        push(&|time_ms| Entry::ShardStopped(head(time_ms, 1, end)));
    }
    push(&|time_ms| opened(time_ms, shards[1], 2));
    let row_count = match lie {
        Lie::ErasedMany => 4,
        _ => 2,
    };
    let redaction = |time_ms| Redaction { time_ms, shard: 1, first_index: 6, last_index: 9, row_count, reason: 1 };
    if lie != Lie::ErasedQuietly {
        push(&|time_ms| Entry::Redaction(redaction(time_ms)));
    }
}
