//! A request: its secret, what its rows are salted, hidden and opened with, and how far its answers are.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard};

use chacha20::ChaCha20;
use chacha20::cipher::{KeyIvInit as _, StreamCipher as _};
use hmac::{Hmac, KeyInit as _, Mac as _};
use loam_ledger_core::Hash;
use loam_ledger_core::commitment::{Key16, RequestSeed, What, commit};
use loam_ledger_core::entry::Id16;
use loam_ledger_core::row::{Completion, Pair, Row, Tokens, Usage};
use sha2::Sha256;
use zeroize::Zeroizing;

use crate::error::Error;
use crate::slots::{LiveSlot, Secrets};

/// A request that is running: while anybody holds it, rows of it can come, and it cannot be erased.
pub struct Request {
    secret: Secret,
    slot: LiveSlot,
    seed: RequestSeed,
    commitment: Hash,
    answers: Mutex<Answers>,
}

impl fmt::Debug for Request {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "request {}", self.commitment)
    }
}

impl Request {
    /// Begins a request under a secret of its own.
    pub(crate) fn begin(
        ledger_name: &str,
        secrets: &Arc<Secrets>,
        client_nonce: Option<[u8; 32]>,
    ) -> Result<Self, Error> {
        let (slot, secret) = secrets.draw()?;
        let secret = Secret::new(&secret);
        let seed = secret.seed(client_nonce);
        let commitment = seed.commitment(ledger_name);
        Ok(Self { secret, slot, seed, commitment, answers: Mutex::default() })
    }

    /// The request's public name: its rows carry it, and its receipt is asked for by it.
    pub fn commitment(&self) -> Hash {
        self.commitment
    }

    /// The commitment to some bytes of the request, for the completion row of one of its answers.
    pub fn commit(&self, what: What, choice: u32, bytes: &[u8]) -> Hash {
        commit(what, &self.secret.key(what, choice), bytes)
    }

    pub(crate) fn secret(&self) -> &Secret {
        &self.secret
    }

    pub(crate) fn slot(&self) -> u64 {
        self.slot.slot
    }

    /// Whether the request was begun under these secrets: another ledger, or this one opened anew, has others.
    pub(crate) fn is_of(&self, secrets: &Arc<Secrets>) -> bool {
        Arc::ptr_eq(&self.slot.secrets, secrets)
    }

    /// The client's nonce as the store may keep it: unreadable when the secret is gone.
    pub(crate) fn masked_nonce(&self) -> Option<[u8; 32]> {
        self.seed.client_nonce.map(|nonce| self.secret.mask(nonce))
    }

    pub(crate) fn answers(&self) -> MutexGuard<'_, Answers> {
        self.answers.lock().expect("nobody panics while answers are held")
    }
}

/// A request's secret, ready to derive from. It is read again from its slot for reading rows back.
pub(crate) struct Secret {
    mac: Hmac<Sha256>,
}

impl Secret {
    pub(crate) fn new(secret: &Zeroizing<[u8; 32]>) -> Self {
        Self { mac: Hmac::new_from_slice(&**secret).expect("HMAC takes keys of any length") }
    }

    /// What makes the request one of a kind: the client's nonce, and randomness that grows from the secret.
    pub(crate) fn seed(&self, client_nonce: Option<[u8; 32]>) -> RequestSeed {
        RequestSeed { client_nonce, server_random: first_16(self.derive(b"loam/server-random/v1", &[])) }
    }

    /// The key of a commitment: one for each thing committed to, and each answer.
    pub(crate) fn key(&self, what: What, choice: u32) -> Key16 {
        let label = format!("loam/key/{}/v1", what.word());
        first_16(self.derive(label.as_bytes(), &choice.to_be_bytes()))
    }

    /// The salt of a row: one for each place that a row can have.
    pub(crate) fn salt(&self, boot: &Id16, sequence: u64, row: u32) -> Key16 {
        first_16(self.derive(b"loam/salt/v1", &place(boot, sequence, row)))
    }

    /// Hides a row at rest, or shows it again. The key serves one row, so the nonce can be constant.
    pub(crate) fn veil(&self, boot: &Id16, sequence: u64, row: u32, bytes: &mut [u8]) {
        let key = Zeroizing::new(self.derive(b"loam/row-key/v1", &place(boot, sequence, row)));
        ChaCha20::new((&*key).into(), &[0; 12].into()).apply_keystream(bytes);
    }

    /// Hides a payload at rest, or shows it again. The secret hides nothing else.
    pub(crate) fn veil_payload(&self, bytes: &mut [u8]) {
        let key = Zeroizing::new(self.derive(b"loam/payload-key/v1", &[]));
        ChaCha20::new((&*key).into(), &[0; 12].into()).apply_keystream(bytes);
    }

    /// Masks a nonce, or unmasks it.
    pub(crate) fn mask(&self, mut nonce: [u8; 32]) -> [u8; 32] {
        let pad = self.derive(b"loam/nonce/v1", &[]);
        nonce.iter_mut().zip(pad).for_each(|(byte, pad)| *byte ^= pad);
        nonce
    }

    /// `HMAC-SHA256(secret, label || 0x00 || context)`: one value discloses no other.
    fn derive(&self, label: &[u8], context: &[u8]) -> [u8; 32] {
        let mut mac = self.mac.clone();
        mac.update(label);
        mac.update(&[0]);
        mac.update(context);
        mac.finalize().into_bytes().into()
    }
}

fn place(boot: &Id16, sequence: u64, row: u32) -> [u8; 28] {
    let mut place = [0; 28];
    place[..16].copy_from_slice(boot);
    place[16..24].copy_from_slice(&sequence.to_be_bytes());
    place[24..].copy_from_slice(&row.to_be_bytes());
    place
}

fn first_16(bytes: [u8; 32]) -> [u8; 16] {
    bytes[..16].try_into().expect("16 of 32 bytes")
}

/// How far a request's answers are. A row that no auditor would accept is refused before it is chained.
#[derive(Clone, Default)]
pub(crate) struct Answers {
    /// The boot that the request runs in; it does not outlive it.
    boot: Option<Id16>,
    choices: BTreeMap<u32, Answer>,
}

#[derive(Clone)]
struct Answer {
    pairs: Vec<Pair>,
    first: u64,
    last: u64,
    tokens: Tokens,
    completed: bool,
}

/// What a row changes about its answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Change {
    Nothing,
    /// It is the answer's first row.
    Begins,
    /// It is the last one.
    Completes,
}

impl Answers {
    /// Whether no row came yet.
    pub(crate) fn untouched(&self) -> bool {
        self.choices.is_empty()
    }

    /// Takes the next row, which lies in the entry of this sequence.
    pub(crate) fn take(&mut self, row: &Row, boot: &Id16, sequence: u64) -> Result<Change, Error> {
        if *self.boot.get_or_insert(*boot) != *boot {
            return Err(Error::Row { what: "its request began in another boot" });
        }
        match row {
            Row::Usage(usage) => self.usage(usage, sequence),
            Row::Completion(completion) => self.completion(completion, boot, sequence),
        }
    }

    fn usage(&mut self, usage: &Usage, sequence: u64) -> Result<Change, Error> {
        let wrong = |what| Err(Error::Row { what });
        if usage.last_sequence > sequence {
            return wrong("it counts steps that lie after its entry");
        }
        let Some(answer) = self.choices.get_mut(&usage.choice) else {
            self.choices.insert(
                usage.choice,
                Answer {
                    pairs: usage.pairs.clone(),
                    first: usage.first_sequence,
                    last: usage.last_sequence,
                    tokens: usage.tokens,
                    completed: false,
                },
            );
            return Ok(Change::Begins);
        };
        if answer.completed {
            return wrong("its answer is complete");
        }
        if usage.first_sequence <= answer.last {
            return wrong("it counts a step once more");
        }
        if usage.pairs != answer.pairs {
            return wrong("its answer's adapters changed on the way");
        }
        answer.tokens = answer.tokens.checked_add(&usage.tokens).ok_or(Error::Row { what: "its tokens overflow" })?;
        answer.last = usage.last_sequence;
        Ok(Change::Nothing)
    }

    fn completion(&mut self, row: &Completion, boot: &Id16, sequence: u64) -> Result<Change, Error> {
        let wrong = |what| Err(Error::Row { what });
        if (row.first.boot, row.last.boot) != (*boot, *boot) || row.last.sequence > sequence {
            return wrong("it names steps of another boot, or after its entry");
        }
        let answer = self.choices.entry(row.choice).or_insert_with(|| Answer {
            pairs: row.pairs.clone(),
            first: row.first.sequence,
            last: row.last.sequence,
            tokens: Tokens::default(),
            completed: false,
        });
        if answer.completed {
            return wrong("its answer is complete");
        }
        if row.tokens != answer.tokens {
            return wrong("its tokens are not the sum of its answer's usage rows");
        }
        if (row.first.sequence, row.last.sequence) != (answer.first, answer.last) {
            return wrong("its steps are not those of its answer's usage rows");
        }
        if row.pairs != answer.pairs {
            return wrong("its adapters are not those of its answer's usage rows");
        }
        answer.completed = true;
        Ok(Change::Completes)
    }
}
