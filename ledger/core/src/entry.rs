//! Entries: what the leaves of a log say. Ids, numbers and commitments only, never free text.

use crate::cbor::{Decoder, Encoder};
use crate::error::Error;
use crate::hash::Hash;
use crate::record::Record;

/// Bytes of an engine's or a boot's id.
pub type Id16 = [u8; 16];

/// The largest entry that is no record: a batch entry has under half of this, whatever its batch.
pub const LOAM_ENTRY_BYTES_MAX: usize = 1023;

/// The largest record: what an entry bundle can hold.
pub const RECORD_ENTRY_BYTES_MAX: usize = 65_535;

/// Tokens of either kind that one entry can count, so that no log's sums overflow.
pub const STEP_TOKENS_MAX: u64 = 1 << 40;

/// Rows that one entry can have.
pub const ROWS_MAX: u32 = 65_535;

/// The version that every entry of this format has.
const VERSION: u64 = 1;

/// One leaf of a Loam log.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Entry {
    /// Usage log: an engine started.
    Boot(Boot),
    /// Usage log: an engine ran one token batch.
    Batch(Batch),
    /// Records log: a usage shard begins.
    ShardOpened(ShardOpened),
    /// Records log: a usage shard takes no more entries.
    ShardFrozen(ShardHead),
    /// Records log: a usage shard stood here at a clean stop.
    ShardStopped(ShardHead),
    /// Records log: a usage shard stood here when an epoch was closed.
    ShardClosed(ShardHead),
    /// Records log: rows of a usage shard can no longer be opened.
    Redaction(Redaction),
    /// Records log: somebody signed something.
    Record(Box<Record>),
}

/// Where one engine's chain of entries stands: its place in a boot, and what came before.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Place {
    /// Which engine.
    pub engine: Id16,
    /// Which start of it.
    pub boot: Id16,
    /// Which entry of that start; the boot entry is 0.
    pub sequence: u64,
}

/// Tokens and requests that a boot's entries count, but that no row covers.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Unrowed {
    /// Requests with tokens not yet in a row.
    pub requests: u64,
    /// Prompt tokens computed.
    pub prefilled_tokens: u64,
    /// Tokens sampled and kept.
    pub emitted_tokens: u64,
}

/// An engine started. Sequence 0 of its boot.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Boot {
    /// Which engine.
    pub engine: Id16,
    /// This start of it, drawn at random.
    pub boot: Id16,
    /// The engine's previous boot and how it ended; none for an engine's first.
    pub previous: Option<PreviousBoot>,
    /// When, in milliseconds since 1970; never less than in the engine's previous entry.
    pub time_ms: u64,
    /// The digest of the base model that is served.
    pub base: Hash,
    /// The digest of the program.
    pub build: Hash,
    /// The digest of the configuration.
    pub config: Hash,
}

/// What a boot entry knows of the boot before it, and closes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PreviousBoot {
    /// Its id.
    pub boot: Id16,
    /// Its last durable sequence.
    pub sequence: u64,
    /// The leaf hash of its last durable entry.
    pub leaf: Hash,
    /// Whether it said that it stopped.
    pub clean: bool,
    /// What its entries count and no row will ever cover.
    pub unrowed: Unrowed,
}

/// An engine ran one token batch.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Batch {
    /// The place in the engine's chain.
    pub place: Place,
    /// The leaf hash of this engine's previous entry.
    pub previous: Hash,
    /// When, in milliseconds since 1970; never less than in the engine's previous entry.
    pub time_ms: u64,
    /// The digest of the base model that ran.
    pub base: Hash,
    /// The digest of the program that ran it.
    pub build: Hash,
    /// Prompt tokens that the batch computed for the first time.
    pub prefilled_tokens: u64,
    /// Tokens that the batch sampled and kept.
    pub emitted_tokens: u64,
    /// Rows of this entry.
    pub row_count: u32,
    /// The root of the tree over the rows' leaves; the empty tree's where there are none.
    pub rows_root: Hash,
    /// Requests with tokens not yet in a row, after this entry's rows.
    pub open_requests: u64,
}

/// A usage shard begins.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ShardOpened {
    /// When, in milliseconds since 1970.
    pub time_ms: u64,
    /// The shard's number; its origin is `NAME/usage/NUMBER`.
    pub shard: u32,
    /// The Ed25519 public key that will sign its checkpoints.
    pub public_key: [u8; 32],
}

/// A usage shard stood here.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ShardHead {
    /// When, in milliseconds since 1970.
    pub time_ms: u64,
    /// The shard's number.
    pub shard: u32,
    /// Entries in it.
    pub size: u64,
    /// The root over them.
    pub root: Hash,
}

/// Rows of a usage shard can no longer be opened. Whose they were is not said.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Redaction {
    /// When, in milliseconds since 1970.
    pub time_ms: u64,
    /// The shard's number.
    pub shard: u32,
    /// The first entry that has such a row.
    pub first_index: u64,
    /// The last entry that has such a row.
    pub last_index: u64,
    /// How many rows.
    pub row_count: u64,
    /// Why: 1 the person asked, 2 retention ended, 3 a court or authority ordered, 255 none of these.
    pub reason: u8,
}

const BOOT: u64 = 1;
const BATCH: u64 = 2;
const SHARD_OPENED: u64 = 16;
const SHARD_FROZEN: u64 = 17;
const SHARD_STOPPED: u64 = 18;
const SHARD_CLOSED: u64 = 19;
const REDACTION: u64 = 20;
const RECORD: u64 = 32;

/// How a record begins: a map of five fields, of type 32. No other entry does.
const RECORD_HEAD: [u8; 4] = [0xa5, 0x00, 0x18, 0x20];

impl Entry {
    /// The entry's bytes.
    pub fn encode(&self) -> Vec<u8> {
        let mut e = Encoder::with_capacity(320);
        match self {
            Self::Boot(boot) => boot.encode(&mut e),
            Self::Batch(batch) => batch.encode(&mut e),
            Self::ShardOpened(opened) => {
                begin(&mut e, 5, SHARD_OPENED);
                e.uint(2).uint(opened.time_ms).uint(3).uint(opened.shard.into()).uint(4).bytes(&opened.public_key);
            }
            Self::ShardFrozen(head) => head.encode(&mut e, SHARD_FROZEN),
            Self::ShardStopped(head) => head.encode(&mut e, SHARD_STOPPED),
            Self::ShardClosed(head) => head.encode(&mut e, SHARD_CLOSED),
            Self::Redaction(redaction) => {
                begin(&mut e, 8, REDACTION);
                e.uint(2).uint(redaction.time_ms).uint(3).uint(redaction.shard.into());
                e.uint(4).uint(redaction.first_index).uint(5).uint(redaction.last_index);
                e.uint(6).uint(redaction.row_count).uint(7).uint(redaction.reason.into());
            }
            Self::Record(record) => {
                begin(&mut e, 5, RECORD);
                record.encode(&mut e);
            }
        }
        e.finish()
    }

    /// Reads an entry strictly: bytes that [`Entry::encode`] would not write are refused by name.
    pub fn decode(bytes: &[u8]) -> Result<Self, Error> {
        let is_record = bytes.starts_with(&RECORD_HEAD);
        if bytes.len() > if is_record { RECORD_ENTRY_BYTES_MAX } else { LOAM_ENTRY_BYTES_MAX } {
            return Err(Error::EntryTooLong { bytes: bytes.len() });
        }
        let mut d = Decoder::new(bytes);
        let fields = d.map()?;
        let kind = d.key(0)?.uint()?;
        let version = d.key(1)?.uint()?;
        if version != VERSION {
            return Err(Error::Version { what: "entry", version });
        }
        let of = |expected| {
            if fields == expected { Ok(()) } else { Err(Error::CborFields { expected, found: fields }) }
        };
        let entry = match kind {
            BOOT => of(9).and_then(|()| Boot::decode(&mut d)).map(Self::Boot)?,
            BATCH => of(14).and_then(|()| Batch::decode(&mut d)).map(Self::Batch)?,
            SHARD_OPENED => of(5).and_then(|()| ShardOpened::decode(&mut d)).map(Self::ShardOpened)?,
            SHARD_FROZEN => of(6).and_then(|()| ShardHead::decode(&mut d)).map(Self::ShardFrozen)?,
            SHARD_STOPPED => of(6).and_then(|()| ShardHead::decode(&mut d)).map(Self::ShardStopped)?,
            SHARD_CLOSED => of(6).and_then(|()| ShardHead::decode(&mut d)).map(Self::ShardClosed)?,
            REDACTION => of(8).and_then(|()| Redaction::decode(&mut d)).map(Self::Redaction)?,
            RECORD => of(5).and_then(|()| Record::decode(&mut d)).map(|record| Self::Record(Box::new(record)))?,
            kind => return Err(Error::EntryKind { kind }),
        };
        d.finish()?;
        Ok(entry)
    }

    /// The place in an engine's chain, for the entries of usage logs.
    pub fn place(&self) -> Option<Place> {
        match self {
            Self::Boot(boot) => Some(Place { engine: boot.engine, boot: boot.boot, sequence: 0 }),
            Self::Batch(batch) => Some(batch.place),
            _ => None,
        }
    }

    /// When the entry was made, in milliseconds since 1970.
    pub fn time_ms(&self) -> u64 {
        match self {
            Self::Boot(boot) => boot.time_ms,
            Self::Batch(batch) => batch.time_ms,
            Self::ShardOpened(opened) => opened.time_ms,
            Self::ShardFrozen(head) | Self::ShardStopped(head) | Self::ShardClosed(head) => head.time_ms,
            Self::Redaction(redaction) => redaction.time_ms,
            Self::Record(record) => record.time_ms,
        }
    }
}

fn begin(e: &mut Encoder, fields: usize, kind: u64) {
    e.map(fields).uint(0).uint(kind).uint(1).uint(VERSION);
}

impl Boot {
    fn encode(&self, e: &mut Encoder) {
        begin(e, 9, BOOT);
        e.uint(2).bytes(&self.engine).uint(3).bytes(&self.boot).uint(4);
        match &self.previous {
            None => e.null(),
            Some(previous) => {
                let unrowed = &previous.unrowed;
                e.array(5).bytes(&previous.boot).uint(previous.sequence).bytes(&previous.leaf.0).bool(previous.clean);
                e.array(3).uint(unrowed.requests).uint(unrowed.prefilled_tokens).uint(unrowed.emitted_tokens)
            }
        };
        e.uint(5).uint(self.time_ms);
        e.uint(6).bytes(&self.base.0).uint(7).bytes(&self.build.0).uint(8).bytes(&self.config.0);
    }

    fn decode(d: &mut Decoder<'_>) -> Result<Self, Error> {
        Ok(Self {
            engine: d.key(2)?.bytes_of()?,
            boot: d.key(3)?.bytes_of()?,
            previous: if d.key(4)?.null() { None } else { Some(PreviousBoot::decode(d)?) },
            time_ms: d.key(5)?.uint()?,
            base: Hash(d.key(6)?.bytes_of()?),
            build: Hash(d.key(7)?.bytes_of()?),
            config: Hash(d.key(8)?.bytes_of()?),
        })
    }
}

impl PreviousBoot {
    fn decode(d: &mut Decoder<'_>) -> Result<Self, Error> {
        d.array_of(5)?;
        let (boot, sequence, leaf, clean) = (d.bytes_of()?, d.uint()?, Hash(d.bytes_of()?), d.bool()?);
        d.array_of(3)?;
        let unrowed = Unrowed { requests: d.uint()?, prefilled_tokens: d.uint()?, emitted_tokens: d.uint()? };
        Ok(Self { boot, sequence, leaf, clean, unrowed })
    }
}

impl Batch {
    fn encode(&self, e: &mut Encoder) {
        begin(e, 14, BATCH);
        e.uint(2).bytes(&self.place.engine).uint(3).bytes(&self.place.boot).uint(4).uint(self.place.sequence);
        e.uint(5).bytes(&self.previous.0).uint(6).uint(self.time_ms);
        e.uint(7).bytes(&self.base.0).uint(8).bytes(&self.build.0);
        e.uint(9).uint(self.prefilled_tokens).uint(10).uint(self.emitted_tokens);
        e.uint(11).uint(self.row_count.into()).uint(12);
        if self.row_count == 0 {
            e.null()
        } else {
            e.bytes(&self.rows_root.0)
        };
        e.uint(13).uint(self.open_requests);
    }

    fn decode(d: &mut Decoder<'_>) -> Result<Self, Error> {
        let place = Place { engine: d.key(2)?.bytes_of()?, boot: d.key(3)?.bytes_of()?, sequence: d.key(4)?.uint()? };
        let previous = Hash(d.key(5)?.bytes_of()?);
        let time_ms = d.key(6)?.uint()?;
        let (base, build) = (Hash(d.key(7)?.bytes_of()?), Hash(d.key(8)?.bytes_of()?));
        let (prefilled_tokens, emitted_tokens) = (d.key(9)?.uint()?, d.key(10)?.uint()?);
        let row_count = d.key(11)?.u32()?;
        let rows_root = if d.key(12)?.null() { None } else { Some(Hash(d.bytes_of()?)) };
        let open_requests = d.key(13)?.uint()?;
        let too_many = prefilled_tokens.max(emitted_tokens) > STEP_TOKENS_MAX;
        if place.sequence == 0 || too_many || row_count > ROWS_MAX || rows_root.is_some() != (row_count > 0) {
            return Err(Error::EntryFields);
        }
        let rows_root = rows_root.unwrap_or(Hash::EMPTY_TREE);
        Ok(Self {
            place,
            previous,
            time_ms,
            base,
            build,
            prefilled_tokens,
            emitted_tokens,
            row_count,
            rows_root,
            open_requests,
        })
    }
}

impl ShardOpened {
    fn decode(d: &mut Decoder<'_>) -> Result<Self, Error> {
        Ok(Self { time_ms: d.key(2)?.uint()?, shard: d.key(3)?.u32()?, public_key: d.key(4)?.bytes_of()? })
    }
}

impl ShardHead {
    fn encode(&self, e: &mut Encoder, kind: u64) {
        begin(e, 6, kind);
        e.uint(2).uint(self.time_ms).uint(3).uint(self.shard.into());
        e.uint(4).uint(self.size).uint(5).bytes(&self.root.0);
    }

    fn decode(d: &mut Decoder<'_>) -> Result<Self, Error> {
        Ok(Self {
            time_ms: d.key(2)?.uint()?,
            shard: d.key(3)?.u32()?,
            size: d.key(4)?.uint()?,
            root: Hash(d.key(5)?.bytes_of()?),
        })
    }
}

impl Redaction {
    fn decode(d: &mut Decoder<'_>) -> Result<Self, Error> {
        let redaction = Self {
            time_ms: d.key(2)?.uint()?,
            shard: d.key(3)?.u32()?,
            first_index: d.key(4)?.uint()?,
            last_index: d.key(5)?.uint()?,
            row_count: d.key(6)?.uint()?,
            reason: d.key(7)?.u8()?,
        };
        let of_nothing = redaction.first_index > redaction.last_index || redaction.row_count == 0;
        if of_nothing { Err(Error::EntryFields) } else { Ok(redaction) }
    }
}
