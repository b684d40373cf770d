//! Rows: who used what. They hang below their entry's `rows_root`, each hidden by a salt, and can be erased alone.

use crate::cbor::{Decoder, Encoder};
use crate::entry::Id16;
use crate::error::Error;
use crate::hash::Hash;

/// Adapters that one request can mix.
pub const PAIRS_MAX: usize = 64;

/// The largest row.
pub const ROW_BYTES_MAX: usize = 4096;

/// The version that every row of this format has.
const VERSION: u64 = 1;

/// A weight of one, in millionths.
pub const WEIGHT_ONE: i64 = 1_000_000;

/// One row of an entry.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Row {
    /// What a request used in a stretch of steps.
    Usage(Usage),
    /// What a request came to.
    Completion(Box<Completion>),
}

/// An adapter generation and how much of it was mixed in.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Pair {
    /// The adapter's content, by digest.
    pub generation: Hash,
    /// Its weight in millionths; rounded once, at admission.
    pub weight_millionths: i64,
}

/// Tokens by what was done with them.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Tokens {
    /// Prompt tokens computed for the first time.
    pub prefilled: u64,
    /// Prompt tokens that were taken from the cache.
    pub reused: u64,
    /// Tokens computed once more after a preemption.
    pub recomputed: u64,
    /// Tokens computed and thrown away.
    pub discarded: u64,
    /// Tokens sampled and kept.
    pub emitted: u64,
}

impl Tokens {
    /// The sum, or nothing where it does not fit.
    pub fn checked_add(&self, other: &Self) -> Option<Self> {
        Some(Self {
            prefilled: self.prefilled.checked_add(other.prefilled)?,
            reused: self.reused.checked_add(other.reused)?,
            recomputed: self.recomputed.checked_add(other.recomputed)?,
            discarded: self.discarded.checked_add(other.discarded)?,
            emitted: self.emitted.checked_add(other.emitted)?,
        })
    }
}

/// What a request used from one step to another of its entry's boot. The row lies in the entry of the last of them, or
/// in the next one where a request ended while its engine was idle.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Usage {
    /// The request.
    pub request: Hash,
    /// Which of the request's answers, from 0.
    pub choice: u32,
    /// The adapters, in order of generation.
    pub pairs: Vec<Pair>,
    /// The first sequence that the row counts.
    pub first_sequence: u64,
    /// The last one.
    pub last_sequence: u64,
    /// The tokens.
    pub tokens: Tokens,
}

/// A step, across boots.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Step {
    /// Which boot of the engine.
    pub boot: Id16,
    /// Which entry of that boot.
    pub sequence: u64,
}

/// What a request came to. Its tokens are the sums over its usage rows.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Completion {
    /// The request.
    pub request: Hash,
    /// Which of the request's answers, from 0.
    pub choice: u32,
    /// A commitment to who pays.
    pub tenant: Hash,
    /// The adapters, in order of generation.
    pub pairs: Vec<Pair>,
    /// The first step that worked on it.
    pub first: Step,
    /// The last one.
    pub last: Step,
    /// The tokens.
    pub tokens: Tokens,
    /// Tokens of those emitted that reached the client.
    pub delivered_tokens: u64,
    /// Why it ended.
    pub finish: Finish,
    /// What it costs, in nano-units.
    pub fee_nano: u64,
    /// The price policy that says so; zeros until one is recorded.
    pub price_policy: Hash,
    /// A commitment to the request's bytes as received.
    pub request_bytes: Hash,
    /// A commitment to the rendered prompt's token ids.
    pub prompt: Hash,
    /// A commitment to the text delivered.
    pub text: Hash,
    /// A commitment to the token ids delivered.
    pub output_tokens: Hash,
    /// A commitment to sampling parameters, seed, data type and mode.
    pub sampling: Hash,
}

/// Why a request ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Finish(pub u8);

impl Finish {
    /// The model ended its answer.
    pub const STOP: Self = Self(1);
    /// A stop sequence of the request's was met.
    pub const STOP_SEQUENCE: Self = Self(2);
    /// The answer reached its limit.
    pub const LENGTH: Self = Self(3);
    /// The client went away or said so.
    pub const CANCELLED: Self = Self(4);
    /// Its time ran out.
    pub const DEADLINE: Self = Self(5);
    /// The engine could not go on.
    pub const FAILED: Self = Self(6);
}

const USAGE: u64 = 1;
const COMPLETION: u64 = 2;

impl Row {
    /// The row's bytes.
    pub fn encode(&self) -> Vec<u8> {
        let mut e = Encoder::with_capacity(448);
        match self {
            Self::Usage(usage) => usage.encode(&mut e),
            Self::Completion(completion) => completion.encode(&mut e),
        }
        e.finish()
    }

    /// Reads a row strictly: bytes that [`Row::encode`] would not write are refused by name.
    pub fn decode(bytes: &[u8]) -> Result<Self, Error> {
        if bytes.len() > ROW_BYTES_MAX {
            return Err(Error::RowTooLong { bytes: bytes.len() });
        }
        let mut d = Decoder::new(bytes);
        let fields = d.map()?;
        let kind = d.key(0)?.uint()?;
        let version = d.key(1)?.uint()?;
        if version != VERSION {
            return Err(Error::Version { what: "row", version });
        }
        let of = |expected| {
            if fields == expected { Ok(()) } else { Err(Error::CborFields { expected, found: fields }) }
        };
        let row = match kind {
            USAGE => of(12).and_then(|()| Usage::decode(&mut d)).map(Self::Usage)?,
            COMPLETION => of(22).and_then(|()| Completion::decode(&mut d)).map(|c| Self::Completion(Box::new(c)))?,
            kind => return Err(Error::RowKind { kind }),
        };
        d.finish()?;
        Ok(row)
    }

    /// The request that the row belongs to.
    pub fn request(&self) -> Hash {
        match self {
            Self::Usage(usage) => usage.request,
            Self::Completion(completion) => completion.request,
        }
    }
}

impl Usage {
    fn encode(&self, e: &mut Encoder) {
        e.map(12).uint(0).uint(USAGE).uint(1).uint(VERSION);
        e.uint(2).bytes(&self.request.0).uint(3).uint(self.choice.into());
        encode_pairs(e.uint(4), &self.pairs);
        e.uint(5).uint(self.first_sequence).uint(6).uint(self.last_sequence);
        encode_tokens(e, 7, &self.tokens);
    }

    fn decode(d: &mut Decoder<'_>) -> Result<Self, Error> {
        let usage = Self {
            request: Hash(d.key(2)?.bytes_of()?),
            choice: d.key(3)?.u32()?,
            pairs: decode_pairs(d.key(4)?)?,
            first_sequence: d.key(5)?.uint()?,
            last_sequence: d.key(6)?.uint()?,
            tokens: decode_tokens(d, 7)?,
        };
        if usage.first_sequence == 0 || usage.first_sequence > usage.last_sequence {
            return Err(Error::RowFields);
        }
        Ok(usage)
    }
}

impl Completion {
    fn encode(&self, e: &mut Encoder) {
        e.map(22).uint(0).uint(COMPLETION).uint(1).uint(VERSION);
        e.uint(2).bytes(&self.request.0).uint(3).uint(self.choice.into()).uint(4).bytes(&self.tenant.0);
        encode_pairs(e.uint(5), &self.pairs);
        e.uint(6).array(2).bytes(&self.first.boot).uint(self.first.sequence);
        e.uint(7).array(2).bytes(&self.last.boot).uint(self.last.sequence);
        encode_tokens(e, 8, &self.tokens);
        e.uint(13).uint(self.delivered_tokens).uint(14).uint(self.finish.0.into());
        e.uint(15).uint(self.fee_nano).uint(16).bytes(&self.price_policy.0);
        e.uint(17).bytes(&self.request_bytes.0).uint(18).bytes(&self.prompt.0);
        e.uint(19).bytes(&self.text.0).uint(20).bytes(&self.output_tokens.0).uint(21).bytes(&self.sampling.0);
    }

    fn decode(d: &mut Decoder<'_>) -> Result<Self, Error> {
        let completion = Self {
            request: Hash(d.key(2)?.bytes_of()?),
            choice: d.key(3)?.u32()?,
            tenant: Hash(d.key(4)?.bytes_of()?),
            pairs: decode_pairs(d.key(5)?)?,
            first: decode_step(d.key(6)?)?,
            last: decode_step(d.key(7)?)?,
            tokens: decode_tokens(d, 8)?,
            delivered_tokens: d.key(13)?.uint()?,
            finish: Finish(d.key(14)?.u8()?),
            fee_nano: d.key(15)?.uint()?,
            price_policy: Hash(d.key(16)?.bytes_of()?),
            request_bytes: Hash(d.key(17)?.bytes_of()?),
            prompt: Hash(d.key(18)?.bytes_of()?),
            text: Hash(d.key(19)?.bytes_of()?),
            output_tokens: Hash(d.key(20)?.bytes_of()?),
            sampling: Hash(d.key(21)?.bytes_of()?),
        };
        let ordered =
            completion.first.boot != completion.last.boot || completion.first.sequence <= completion.last.sequence;
        // A fee that no recorded policy explains is no fee.
        let explained = completion.fee_nano == 0 || completion.price_policy != Hash::ZERO;
        if !ordered || !explained || completion.delivered_tokens > completion.tokens.emitted || completion.finish.0 == 0
        {
            return Err(Error::RowFields);
        }
        Ok(completion)
    }

    /// The commitment to `what` that the row holds.
    pub fn commitment(&self, what: crate::commitment::What) -> Hash {
        use crate::commitment::What;
        match what {
            What::Tenant => self.tenant,
            What::Request => self.request_bytes,
            What::Prompt => self.prompt,
            What::Text => self.text,
            What::Tokens => self.output_tokens,
            What::Sampling => self.sampling,
        }
    }
}

fn encode_pairs(e: &mut Encoder, pairs: &[Pair]) {
    e.array(pairs.len());
    for pair in pairs {
        e.array(2).bytes(&pair.generation.0).int(pair.weight_millionths);
    }
}

/// Pairs stand in strictly ascending order of generation, so that a mix has one spelling.
fn decode_pairs(d: &mut Decoder<'_>) -> Result<Vec<Pair>, Error> {
    let count = usize::try_from(d.array()?).map_err(|_| Error::CborRange)?;
    if count > PAIRS_MAX {
        return Err(Error::RowPairs { count });
    }
    let mut pairs = Vec::with_capacity(count);
    for _ in 0..count {
        d.array_of(2)?;
        pairs.push(Pair { generation: Hash(d.bytes_of()?), weight_millionths: d.int()? });
    }
    if pairs.is_sorted_by(|a, b| a.generation < b.generation) { Ok(pairs) } else { Err(Error::RowFields) }
}

fn encode_tokens(e: &mut Encoder, first_key: u64, tokens: &Tokens) {
    let kinds = [tokens.prefilled, tokens.reused, tokens.recomputed, tokens.discarded, tokens.emitted];
    for (key, count) in (first_key..).zip(kinds) {
        e.uint(key).uint(count);
    }
}

fn decode_tokens(d: &mut Decoder<'_>, first_key: u64) -> Result<Tokens, Error> {
    Ok(Tokens {
        prefilled: d.key(first_key)?.uint()?,
        reused: d.key(first_key + 1)?.uint()?,
        recomputed: d.key(first_key + 2)?.uint()?,
        discarded: d.key(first_key + 3)?.uint()?,
        emitted: d.key(first_key + 4)?.uint()?,
    })
}

fn decode_step(d: &mut Decoder<'_>) -> Result<Step, Error> {
    d.array_of(2)?;
    Ok(Step { boot: d.bytes_of()?, sequence: d.uint()? })
}
