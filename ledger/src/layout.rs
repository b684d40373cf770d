//! Keys and values of the store, byte by byte. Numbers are big-endian, so that keys sort as numbers do.

use loam_ledger_core::Hash;
use loam_ledger_core::entry::Id16;
use loam_ledger_core::origin::LogId;
use loam_ledger_core::tree::Edge;

use crate::error::Error;
use crate::floor::StoreId;

/// The format that this program writes and reads.
pub const STORE_FORMAT: u64 = 2;

/// The key of the store's identity.
pub(crate) const IDENTITY: &[u8] = b"identity";

/// The key of the first slot that no row can have used.
pub(crate) const SLOTS_USED: &[u8] = b"slots-used";

const HEAD: &[u8] = b"head/";
const ERASING: &[u8] = b"erasing/";
const ERASING_ROW: &[u8] = b"erasing-row/";

/// A log's number in keys and in the floor.
pub(crate) fn log_number(log: LogId) -> u32 {
    match log {
        LogId::Records => 0,
        LogId::Usage(shard) => shard,
    }
}

/// The log of this number.
pub(crate) fn log_of(number: u32) -> LogId {
    if number == 0 { LogId::Records } else { LogId::Usage(number) }
}

pub(crate) fn head_key(log: u32) -> Vec<u8> {
    [HEAD, &log.to_be_bytes()].concat()
}

/// From the first head's key up to, but without, the key that follows the last.
pub(crate) fn head_range() -> (Vec<u8>, Vec<u8>) {
    (HEAD.to_vec(), b"head0".to_vec())
}

pub(crate) fn erasing_key(request: &Hash) -> Vec<u8> {
    [ERASING, &request.0].concat()
}

/// The mark of a row's content that is being erased; it sorts beside those of requests, and reads like them.
pub(crate) fn erasing_row_key(content: &Hash) -> Vec<u8> {
    [ERASING_ROW, &content.0].concat()
}

/// From the first mark of a row's content up to, but without, the key that follows the last.
pub(crate) fn erasing_rows_range() -> (Vec<u8>, Vec<u8>) {
    (ERASING_ROW.to_vec(), b"erasing-row0".to_vec())
}

pub(crate) fn erasing_range() -> (Vec<u8>, Vec<u8>) {
    (ERASING.to_vec(), b"erasing0".to_vec())
}

/// The key of entries, rows and checkpoints: a log, and an index or size.
pub(crate) fn place_key(log: u32, number: u64) -> [u8; 12] {
    let mut key = [0; 12];
    key[..4].copy_from_slice(&log.to_be_bytes());
    key[4..].copy_from_slice(&number.to_be_bytes());
    key
}

/// The number in a [`place_key`].
pub(crate) fn place_number(key: &[u8]) -> Result<u64, Error> {
    let bytes = key.get(4..12).and_then(|bytes| bytes.try_into().ok());
    bytes.map(u64::from_be_bytes).ok_or_else(|| Error::damaged("a key of the store", "it is too short"))
}

pub(crate) fn tile_key(log: u32, level: u8, index: u64) -> [u8; 13] {
    let mut key = [0; 13];
    key[..4].copy_from_slice(&log.to_be_bytes());
    key[4] = level;
    key[5..].copy_from_slice(&index.to_be_bytes());
    key
}

pub(crate) fn answer_key(request: &Hash, choice: u32) -> Vec<u8> {
    [&request.0[..], &choice.to_be_bytes()].concat()
}

/// From the first answer's key of a request up to, but without, the key that follows the last.
pub(crate) fn answer_range(request: &Hash) -> (Vec<u8>, Vec<u8>) {
    ([&request.0[..], &[0; 4]].concat(), [&request.0[..], &[0xff; 5]].concat())
}

/// The key of a boot of an engine.
pub(crate) fn boot_key(engine: &Id16, boot: &Id16) -> Vec<u8> {
    [&engine[..], boot].concat()
}

/// Takes a stored value apart.
struct Fields<'a> {
    what: &'static str,
    rest: &'a [u8],
}

impl<'a> Fields<'a> {
    fn new(what: &'static str, rest: &'a [u8]) -> Self {
        Self { what, rest }
    }

    fn bytes<const N: usize>(&mut self) -> Result<[u8; N], Error> {
        let (field, rest) =
            self.rest.split_first_chunk::<N>().ok_or_else(|| Error::damaged(self.what, "it is too short"))?;
        self.rest = rest;
        Ok(*field)
    }

    fn u64(&mut self) -> Result<u64, Error> {
        self.bytes().map(u64::from_be_bytes)
    }

    fn u32(&mut self) -> Result<u32, Error> {
        self.bytes().map(u32::from_be_bytes)
    }

    fn flag(&mut self) -> Result<bool, Error> {
        match self.bytes::<1>()? {
            [0] => Ok(false),
            [1] => Ok(true),
            _ => Err(Error::damaged(self.what, "a flag is neither 0 nor 1")),
        }
    }

    fn end(self) -> Result<(), Error> {
        if self.rest.is_empty() { Ok(()) } else { Err(Error::damaged(self.what, "it is too long")) }
    }
}

/// Which ledger this is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Identity {
    pub(crate) store: StoreId,
    /// The engine id of whoever appends through this folder and brings no id of its own.
    pub(crate) engine: Id16,
    pub(crate) name: String,
}

impl Identity {
    pub(crate) fn encode(&self) -> Vec<u8> {
        [&STORE_FORMAT.to_be_bytes()[..], &self.store, &self.engine, self.name.as_bytes()].concat()
    }

    pub(crate) fn decode(bytes: &[u8]) -> Result<Self, Error> {
        let mut fields = Fields::new("the store's identity", bytes);
        let format = fields.u64()?;
        if format != STORE_FORMAT {
            return Err(Error::Format { found: format, known: STORE_FORMAT });
        }
        let (store, engine) = (fields.bytes()?, fields.bytes()?);
        let name = String::from_utf8(fields.rest.to_vec());
        Ok(Self { store, engine, name: name.map_err(|_| Error::damaged("the store's identity", "no name"))? })
    }
}

/// Where a log stands.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Head {
    pub(crate) edge: Edge,
    pub(crate) frozen: bool,
    /// The time of its last entry.
    pub(crate) time_ms: u64,
    pub(crate) public_key: [u8; 32],
    /// The size of the shard that the records log last holds a head of; of no use in the records log itself.
    pub(crate) recorded_size: u64,
}

impl Head {
    pub(crate) fn encode(&self) -> Vec<u8> {
        let mut bytes = self.edge.size().to_be_bytes().to_vec();
        bytes.push(u8::from(self.frozen));
        bytes.extend_from_slice(&self.time_ms.to_be_bytes());
        bytes.extend_from_slice(&self.recorded_size.to_be_bytes());
        bytes.extend_from_slice(&self.public_key);
        self.edge.peaks().iter().for_each(|peak| bytes.extend_from_slice(&peak.0));
        bytes
    }

    pub(crate) fn decode(bytes: &[u8]) -> Result<Self, Error> {
        let mut fields = Fields::new("a log's head", bytes);
        let (size, frozen, time_ms, recorded_size) = (fields.u64()?, fields.flag()?, fields.u64()?, fields.u64()?);
        let public_key = fields.bytes()?;
        let peaks = fields.rest.chunks(Hash::LEN).map(Hash::from_slice).collect::<Result<_, _>>();
        let edge = peaks.and_then(|peaks| Edge::new(size, peaks)).map_err(|e| Error::damaged("a log's head", e))?;
        Ok(Self { edge, frozen, time_ms, public_key, recorded_size })
    }
}

/// Where an engine stands in its chain, and what its boot's entries count that rows do not.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct EnginePosition {
    pub(crate) boot: Id16,
    pub(crate) sequence: u64,
    pub(crate) leaf: Hash,
    pub(crate) time_ms: u64,
    pub(crate) open_requests: u64,
    pub(crate) unrowed_prefilled: u64,
    pub(crate) unrowed_emitted: u64,
    /// The engine said that it stopped.
    pub(crate) clean: bool,
}

impl EnginePosition {
    pub(crate) fn encode(&self) -> Vec<u8> {
        let mut bytes = Vec::with_capacity(97);
        bytes.extend_from_slice(&self.boot);
        bytes.extend_from_slice(&self.sequence.to_be_bytes());
        bytes.extend_from_slice(&self.leaf.0);
        for number in [self.time_ms, self.open_requests, self.unrowed_prefilled, self.unrowed_emitted] {
            bytes.extend_from_slice(&number.to_be_bytes());
        }
        bytes.push(u8::from(self.clean));
        bytes
    }

    pub(crate) fn decode(bytes: &[u8]) -> Result<Self, Error> {
        let mut fields = Fields::new("an engine's position", bytes);
        let position = Self {
            boot: fields.bytes()?,
            sequence: fields.u64()?,
            leaf: Hash(fields.bytes()?),
            time_ms: fields.u64()?,
            open_requests: fields.u64()?,
            unrowed_prefilled: fields.u64()?,
            unrowed_emitted: fields.u64()?,
            clean: fields.flag()?,
        };
        fields.end()?;
        Ok(position)
    }
}

/// An entry's place across logs.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct LogPlace {
    pub(crate) log: u32,
    pub(crate) index: u64,
}

/// Where a request's rows begin, and the slot of its secret.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct RequestRecord {
    pub(crate) slot: u64,
    pub(crate) first: LogPlace,
    pub(crate) masked_nonce: Option<[u8; 32]>,
}

impl LogPlace {
    pub(crate) fn encode(&self) -> [u8; 12] {
        place_key(self.log, self.index)
    }

    pub(crate) fn decode(bytes: &[u8]) -> Result<Self, Error> {
        let mut fields = Fields::new("a place", bytes);
        let place = Self { log: fields.u32()?, index: fields.u64()? };
        fields.end()?;
        Ok(place)
    }
}

impl RequestRecord {
    pub(crate) fn encode(&self) -> Vec<u8> {
        let mut bytes = self.slot.to_be_bytes().to_vec();
        bytes.extend_from_slice(&self.first.log.to_be_bytes());
        bytes.extend_from_slice(&self.first.index.to_be_bytes());
        bytes.push(u8::from(self.masked_nonce.is_some()));
        bytes.extend_from_slice(&self.masked_nonce.unwrap_or_default());
        bytes
    }

    pub(crate) fn decode(bytes: &[u8]) -> Result<Self, Error> {
        let mut fields = Fields::new("a request's record", bytes);
        let (slot, first) = (fields.u64()?, LogPlace { log: fields.u32()?, index: fields.u64()? });
        let (has_nonce, nonce) = (fields.flag()?, fields.bytes()?);
        fields.end()?;
        Ok(Self { slot, first, masked_nonce: has_nonce.then_some(nonce) })
    }
}

/// Where an answer's rows begin, and its completion row where there is one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct AnswerRecord {
    /// The entry of its first row, and, when it is complete, that of its completion.
    pub(crate) place: LogPlace,
    /// The number of the completion row in its entry.
    pub(crate) completed: Option<u32>,
}

impl AnswerRecord {
    pub(crate) fn encode(&self) -> Vec<u8> {
        let Self { place, completed } = self;
        let flag = [u8::from(completed.is_some())];
        [&place.encode()[..], &flag, &completed.unwrap_or_default().to_be_bytes()].concat()
    }

    pub(crate) fn decode(bytes: &[u8]) -> Result<Self, Error> {
        let mut fields = Fields::new("an answer's record", bytes);
        let place = LogPlace { log: fields.u32()?, index: fields.u64()? };
        let (complete, row) = (fields.flag()?, fields.u32()?);
        fields.end()?;
        Ok(Self { place, completed: complete.then_some(row) })
    }
}

/// What erased rows came to, for one mix of adapters under one price policy.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct ErasedAccount {
    /// Tokens that erased usage rows count as emitted.
    pub(crate) emitted_tokens: u64,
    /// Tokens that erased completions delivered.
    pub(crate) delivered_tokens: u64,
    /// What they cost, in nano-units.
    pub(crate) fee_nano: u64,
}

impl ErasedAccount {
    /// The sum; an account that overflows is refused rather than cut.
    pub(crate) fn plus(&self, other: &Self) -> Result<Self, Error> {
        let add = |a: u64, b: u64| a.checked_add(b).ok_or(Error::ErasedFull);
        Ok(Self {
            emitted_tokens: add(self.emitted_tokens, other.emitted_tokens)?,
            delivered_tokens: add(self.delivered_tokens, other.delivered_tokens)?,
            fee_nano: add(self.fee_nano, other.fee_nano)?,
        })
    }

    pub(crate) fn encode(&self) -> Vec<u8> {
        [self.emitted_tokens.to_be_bytes(), self.delivered_tokens.to_be_bytes(), self.fee_nano.to_be_bytes()].concat()
    }

    pub(crate) fn decode(bytes: &[u8]) -> Result<Self, Error> {
        let mut fields = Fields::new("an erased account", bytes);
        let account = Self { emitted_tokens: fields.u64()?, delivered_tokens: fields.u64()?, fee_nano: fields.u64()? };
        fields.end()?;
        Ok(account)
    }
}
