//! Receipts: one file that shows a client what was recorded of its request, checked against what the client holds.
//!
//! A receipt is a tlog-proof of a batch entry. Its `extra` opens one completion row below that entry.

use crate::cbor::{Decoder, Encoder};
use crate::checkpoint::Checkpoint;
use crate::commitment::{Key16, RequestSeed, What, commit};
use crate::entry::{Batch, Entry, LOAM_ENTRY_BYTES_MAX, ROWS_MAX};
use crate::error::Error;
use crate::hash::{Hash, leaf_hash, row_leaf_hash};
use crate::note::{Note, VerifierKey};
use crate::origin::{LogId, LogName};
use crate::policy::Policy;
use crate::proof::Proof;
use crate::row::{Completion, ROW_BYTES_MAX, Row};
use crate::tree::inclusion_root;

const VERSION: u64 = 1;

/// Hashes that a row's path can have: rows are at most 65,535.
const ROW_PATH_MAX: usize = 16;

/// What a receipt opens, beside the proof that carries it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Opening {
    /// The batch entry's bytes.
    pub entry: Vec<u8>,
    /// Which row of the entry.
    pub row_index: u32,
    /// From the row's sibling up to the row root's child.
    pub row_path: Vec<Hash>,
    /// The completion row's bytes.
    pub row: Vec<u8>,
    /// The row's salt.
    pub salt: Key16,
    /// What the request's commitment covers.
    pub seed: RequestSeed,
    /// The keys of the row's commitments, in the order of [`What::ALL`].
    pub keys: [Key16; What::ALL.len()],
}

impl Opening {
    /// Writes the bytes of a proof's `extra`.
    pub fn encode(&self) -> Vec<u8> {
        let mut e = Encoder::with_capacity(1536);
        e.map(9).uint(0).uint(VERSION).uint(1).bytes(&self.entry).uint(2).uint(self.row_index.into());
        e.uint(3).array(self.row_path.len());
        for hash in &self.row_path {
            e.bytes(&hash.0);
        }
        e.uint(4).bytes(&self.row).uint(5).bytes(&self.salt).uint(6);
        match &self.seed.client_nonce {
            Some(nonce) => e.bytes(nonce),
            None => e.null(),
        };
        e.uint(7).bytes(&self.seed.server_random).uint(8).array(self.keys.len());
        for key in &self.keys {
            e.bytes(key);
        }
        e.finish()
    }

    /// Reads the bytes of a proof's `extra`, strictly.
    pub fn decode(bytes: &[u8]) -> Result<Self, Error> {
        let mut d = Decoder::new(bytes);
        d.map_of(9)?;
        let version = d.key(0)?.uint()?;
        if version != VERSION {
            return Err(Error::Version { what: "receipt", version });
        }
        let entry = d.key(1)?.bytes()?.to_vec();
        let row_index = d.key(2)?.u32()?;
        let hashes = d.key(3)?.array()?;
        if entry.len() > LOAM_ENTRY_BYTES_MAX || row_index >= ROWS_MAX || hashes > ROW_PATH_MAX as u64 {
            return Err(Error::CborRange);
        }
        let row_path = (0..hashes).map(|_| d.bytes_of().map(Hash)).collect::<Result<_, _>>()?;
        let row = d.key(4)?.bytes()?.to_vec();
        if row.len() > ROW_BYTES_MAX {
            return Err(Error::RowTooLong { bytes: row.len() });
        }
        let salt = d.key(5)?.bytes_of()?;
        let client_nonce = if d.key(6)?.null() { None } else { Some(d.bytes_of()?) };
        let seed = RequestSeed { client_nonce, server_random: d.key(7)?.bytes_of()? };
        d.key(8)?.array_of(What::ALL.len() as u64)?;
        let mut keys = [[0; 16]; What::ALL.len()];
        for key in &mut keys {
            *key = d.bytes_of()?;
        }
        d.finish()?;
        Ok(Self { entry, row_index, row_path, row, salt, seed, keys })
    }
}

/// A receipt, taken apart: nothing is verified before [`Receipt::check`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Receipt {
    /// The proof that the entry is in the log.
    pub proof: Proof,
    /// What it opens.
    pub opening: Opening,
}

impl Receipt {
    /// Writes the file.
    pub fn to_bytes(&self) -> Vec<u8> {
        Proof { extra: Some(self.opening.encode()), ..self.proof.clone() }.to_bytes()
    }

    /// Reads the file.
    pub fn parse(bytes: &[u8]) -> Result<Self, Error> {
        let proof = Proof::parse(bytes)?;
        let opening = Opening::decode(proof.extra.as_deref().ok_or(Error::ReceiptExtra)?)?;
        Ok(Self { proof, opening })
    }

    /// Checks the receipt against the log's key and whatever else the caller holds, line by line.
    pub fn check(&self, key: &VerifierKey, held: &Held<'_>) -> Checked {
        let mut checked = Checked::default();
        let Some((checkpoint, batch, row)) = self.check_place(key, held, &mut checked) else {
            return checked;
        };
        checked.line("request", self.check_request(&checkpoint, &row));
        checked.held(
            "nonce",
            held.nonce.map(|nonce| self.check_nonce(nonce)),
            match self.opening.seed.client_nonce {
                Some(_) => "the request carried a nonce; give it with --nonce",
                None => "the client gave none, so only the server's randomness sets this request apart",
            },
        );
        checked.held(
            "request bytes",
            held.request.map(|bytes| self.opens(&row, What::Request, bytes, "this request")),
            "committed to; give them with --request",
        );
        checked.held(
            "output",
            held.output.map(|bytes| self.opens(&row, What::Text, bytes, "this output")),
            "committed to; give it with --output",
        );
        checked.held(
            "adapter",
            held.adapter.map(|generation| check_adapter(&row, generation)),
            "said below; give it with --adapter",
        );
        checked.held(
            "tokens",
            held.tokens.map(|count| check_tokens(&row, count)),
            "said below; give their number with --tokens",
        );
        checked.found = Some(Found { checkpoint, batch, row: *row });
        checked
    }

    /// The lines that need nothing but the key: who signed, and that the row lies where it says.
    fn check_place(
        &self,
        key: &VerifierKey,
        held: &Held<'_>,
        checked: &mut Checked,
    ) -> Option<(Checkpoint, Batch, Box<Completion>)> {
        let note = Note::parse(&self.proof.checkpoint);
        let opened = note.clone().and_then(|note| Checkpoint::open_parsed(&note, key));
        let checkpoint = checked.value("checkpoint", opened, |c| {
            format!("{} at size {} is signed by the key you gave", c.origin, c.size)
        })?;
        match held.policy {
            Some(policy) => {
                let quorum = note.and_then(|note| policy.check_quorum(&note));
                checked.line("witnesses", quorum.map(|()| "the policy's quorum is met".to_owned()));
            }
            None => checked.not_held("witnesses", "give a policy with --policy"),
        }
        let leaf = leaf_hash(&self.opening.entry);
        let (index, size) = (self.proof.index, checkpoint.size);
        let included = crate::tree::check_inclusion(index, size, &leaf, &self.proof.path, &checkpoint.root);
        checked.value("entry", included, |()| format!("is at index {index} of that log"))?;
        let batch = checked.value("batch", self.batch(), |batch| {
            format!("step {} of its engine's boot, {} rows", batch.place.sequence, batch.row_count)
        })?;
        let row = checked.value("row", self.completion(&batch), |_| {
            format!("is at index {} of the entry's {} rows", self.opening.row_index, batch.row_count)
        })?;
        Some((checkpoint, batch, row))
    }

    fn batch(&self) -> Result<Batch, Error> {
        match Entry::decode(&self.opening.entry)? {
            Entry::Batch(batch) => Ok(batch),
            _ => Err(Error::ReceiptEntry),
        }
    }

    /// The completion row, once it is shown to lie below the entry's row root.
    fn completion(&self, batch: &Batch) -> Result<Box<Completion>, Error> {
        let leaf = row_leaf_hash(&self.opening.salt, &self.opening.row);
        let (index, count) = (u64::from(self.opening.row_index), u64::from(batch.row_count));
        if inclusion_root(index, count, &leaf, &self.opening.row_path)? != batch.rows_root {
            return Err(Error::RowRoot);
        }
        match Row::decode(&self.opening.row)? {
            Row::Completion(row) if row.last.boot == batch.place.boot && row.last.sequence <= batch.place.sequence => {
                Ok(row)
            }
            _ => Err(Error::ReceiptRow),
        }
    }

    fn check_request(&self, checkpoint: &Checkpoint, row: &Completion) -> Result<String, Error> {
        let LogName { ledger, log: LogId::Usage(_) } = LogName::parse(&checkpoint.origin)? else {
            return Err(Error::ReceiptEntry);
        };
        if self.opening.seed.commitment(&ledger) == row.request {
            Ok(format!("{} is this row's alone", row.request))
        } else {
            Err(Error::NotCommitted { subject: "this request's nonce and randomness" })
        }
    }

    fn check_nonce(&self, nonce: &[u8; 32]) -> Result<String, Error> {
        match &self.opening.seed.client_nonce {
            Some(recorded) if recorded == nonce => Ok("is the one that you gave".to_owned()),
            _ => Err(Error::NotCommitted { subject: "this nonce" }),
        }
    }

    fn opens(&self, row: &Completion, what: What, bytes: &[u8], subject: &'static str) -> Result<String, Error> {
        let place = What::ALL.iter().position(|&each| each == what).expect("ALL lists every commitment");
        if commit(what, &self.opening.keys[place], bytes) == row.commitment(what) {
            Ok(format!("{} bytes as you hold them", bytes.len()))
        } else {
            Err(Error::NotCommitted { subject })
        }
    }
}

fn check_adapter(row: &Completion, generation: &Hash) -> Result<String, Error> {
    let pair = row.pairs.iter().find(|pair| pair.generation == *generation);
    let pair = pair.ok_or(Error::NotCommitted { subject: "this adapter" })?;
    if pair.weight_millionths == 0 {
        return Err(Error::NoPart { generation: *generation });
    }
    Ok(format!("{generation} took part with weight {}", crate::text::millionths(pair.weight_millionths)))
}

fn check_tokens(row: &Completion, count: u64) -> Result<String, Error> {
    if row.delivered_tokens == count {
        Ok(format!("{count} were delivered"))
    } else {
        Err(Error::NotCommitted { subject: "this number of delivered tokens" })
    }
}

/// What the caller of a check holds of its own.
#[derive(Clone, Copy, Default)]
pub struct Held<'a> {
    /// Whom to trust beside the log.
    pub policy: Option<&'a Policy>,
    /// The nonce that the client sent.
    pub nonce: Option<&'a [u8; 32]>,
    /// The request's bytes as they were sent.
    pub request: Option<&'a [u8]>,
    /// The text that came back.
    pub output: Option<&'a [u8]>,
    /// An adapter generation that should have taken part.
    pub adapter: Option<&'a Hash>,
    /// How many tokens came back.
    pub tokens: Option<u64>,
}

/// What a check found, in the order in which it looked.
#[must_use = "a receipt is valid only where no line is refused"]
#[derive(Clone, Debug, Default)]
pub struct Checked {
    /// One line for each thing that was, or could have been, checked.
    pub lines: Vec<Line>,
    /// What the receipt says; there unless its place in the log is refused.
    pub found: Option<Found>,
}

/// One thing that a check looked at.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Line {
    /// What was looked at.
    pub subject: &'static str,
    /// What came of it.
    pub verdict: Verdict,
}

/// What came of one line.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// It holds; this is what was seen.
    Holds(String),
    /// It is wrong.
    Refused(Error),
    /// The caller holds nothing to check it against; this is what could be given.
    NotHeld(&'static str),
}

/// What a receipt that lies in its log says.
#[derive(Clone, Debug)]
pub struct Found {
    /// The signed head of the log.
    pub checkpoint: Checkpoint,
    /// The batch entry.
    pub batch: Batch,
    /// The completion row.
    pub row: Completion,
}

impl Checked {
    /// What a valid receipt says; of any other, the first line that is refused.
    pub fn valid(self) -> Result<Found, (&'static str, Error)> {
        match self.refused() {
            Some((subject, error)) => Err((subject, error.clone())),
            None => Ok(self.found.expect("a receipt whose place is not refused was found there")),
        }
    }

    /// The first line that is refused.
    pub fn refused(&self) -> Option<(&'static str, &Error)> {
        self.lines.iter().find_map(|line| match &line.verdict {
            Verdict::Refused(error) => Some((line.subject, error)),
            _ => None,
        })
    }

    /// Whether any line compared the receipt with something of the caller's beside the key.
    pub fn bound(&self) -> bool {
        const OWN: [&str; 5] = ["nonce", "request bytes", "output", "adapter", "tokens"];
        self.lines.iter().any(|line| OWN.contains(&line.subject) && !matches!(line.verdict, Verdict::NotHeld(_)))
    }

    fn line(&mut self, subject: &'static str, outcome: Result<String, Error>) {
        let verdict = outcome.map_or_else(Verdict::Refused, Verdict::Holds);
        self.lines.push(Line { subject, verdict });
    }

    fn value<T>(
        &mut self,
        subject: &'static str,
        outcome: Result<T, Error>,
        seen: impl FnOnce(&T) -> String,
    ) -> Option<T> {
        let verdict =
            outcome.as_ref().map_or_else(|error| Verdict::Refused(error.clone()), |v| Verdict::Holds(seen(v)));
        self.lines.push(Line { subject, verdict });
        outcome.ok()
    }

    fn held(&mut self, subject: &'static str, outcome: Option<Result<String, Error>>, otherwise: &'static str) {
        match outcome {
            Some(outcome) => self.line(subject, outcome),
            None => self.not_held(subject, otherwise),
        }
    }

    fn not_held(&mut self, subject: &'static str, otherwise: &'static str) {
        self.lines.push(Line { subject, verdict: Verdict::NotHeld(otherwise) });
    }
}
