//! The floor: how large each open log was when something was last acknowledged, kept outside the store.
//!
//! A store that lost the end of its log opens without a word. The floor is what notices: two checksummed slots,
//! written in turn and synced at every commit before anything of it is acknowledged. A store below its floor is
//! opened for reading only, so that nothing is ever signed that contradicts what was said before.
//!
//! Slots lie 4,096 bytes apart, so that a torn write spoils one of them at most; the other holds the commit before.

use loam_ledger_core::Hash;
use loam_ledger_core::hash::digest;

use crate::error::Error;
use crate::store::PlainFile;

/// Open logs that a floor can hold: the records log and the newest usage shard, and room for what comes.
pub(crate) const FLOOR_LOGS_MAX: usize = 9;

const MAGIC: &[u8; 8] = b"loamflr1";
const SLOT_STRIDE: u64 = 4096;
const SLOT_BYTES: usize = 512;
const CHECKED_BYTES: usize = SLOT_BYTES - Hash::LEN;

/// Names a store, so that the floor of one is not taken for that of another.
pub(crate) type StoreId = [u8; 16];

/// One log's head, as the floor knows it. Logs are numbered as keys are: 0 for records, then by shard.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct FloorHead {
    /// Which log.
    pub(crate) log: u32,
    /// Its entries.
    pub(crate) size: u64,
    /// The root over them.
    pub(crate) root: Hash,
}

/// The floor file, and which of its slots is next.
pub(crate) struct Floor {
    file: Box<dyn PlainFile>,
    store: StoreId,
    generation: u64,
}

impl Floor {
    /// Makes a floor in an empty file.
    pub(crate) fn create(file: Box<dyn PlainFile>, store: StoreId, heads: &[FloorHead]) -> Result<Self, Error> {
        // Both slots are there from the beginning, so that later writes never change the file's length.
        file.write_at(SLOT_STRIDE, &slot_bytes(&store, 0, heads))?;
        let mut floor = Self { file, store, generation: 1 };
        floor.raise(heads)?;
        Ok(floor)
    }

    /// Opens a floor, and says what it holds; nothing where neither of its slots is whole.
    pub(crate) fn open(file: Box<dyn PlainFile>) -> Result<Option<(Self, StoreId, Vec<FloorHead>)>, Error> {
        let mut newest = None;
        for offset in [0, SLOT_STRIDE] {
            let mut bytes = [0; SLOT_BYTES];
            let read = file.read_at(offset, &mut bytes)?;
            let slot = if read == SLOT_BYTES { read_slot(&bytes) } else { None };
            newest = newest.into_iter().chain(slot).max_by_key(|(generation, _, _)| *generation);
        }
        Ok(newest.map(|(generation, store, heads)| (Self { file, store, generation }, store, heads)))
    }

    /// Raises the floor. When this returns, these heads survive.
    pub(crate) fn raise(&mut self, heads: &[FloorHead]) -> Result<(), Error> {
        self.generation += 1;
        let slot = (self.generation % 2) * SLOT_STRIDE;
        self.file.write_at(slot, &slot_bytes(&self.store, self.generation, heads))?;
        self.file.sync()
    }
}

fn slot_bytes(store: &StoreId, generation: u64, heads: &[FloorHead]) -> [u8; SLOT_BYTES] {
    assert!(heads.len() <= FLOOR_LOGS_MAX, "no ledger has so many open logs");
    let mut bytes = Vec::with_capacity(SLOT_BYTES);
    bytes.extend_from_slice(MAGIC);
    bytes.extend_from_slice(&generation.to_be_bytes());
    bytes.extend_from_slice(store);
    bytes.extend_from_slice(&u32::try_from(heads.len()).expect("at most nine").to_be_bytes());
    for head in heads {
        bytes.extend_from_slice(&head.log.to_be_bytes());
        bytes.extend_from_slice(&head.size.to_be_bytes());
        bytes.extend_from_slice(&head.root.0);
    }
    bytes.resize(CHECKED_BYTES, 0);
    let check = digest(&bytes);
    bytes.extend_from_slice(&check.0);
    bytes.try_into().expect("a slot is filled to its end")
}

/// What a slot says, unless it is torn.
fn read_slot(bytes: &[u8; SLOT_BYTES]) -> Option<(u64, StoreId, Vec<FloorHead>)> {
    let (body, check) = bytes.split_at(CHECKED_BYTES);
    if digest(body).0 != *check {
        return None;
    }
    let (magic, rest) = body.split_first_chunk::<8>()?;
    let (generation, rest) = rest.split_first_chunk::<8>()?;
    let (store, rest) = rest.split_first_chunk::<16>()?;
    let (count, mut rest) = rest.split_first_chunk::<4>()?;
    if magic != MAGIC {
        return None;
    }
    let mut heads = Vec::new();
    for _ in 0..u32::from_be_bytes(*count) {
        let (log, tail) = rest.split_first_chunk::<4>()?;
        let (size, tail) = tail.split_first_chunk::<8>()?;
        let (root, tail) = tail.split_first_chunk::<{ Hash::LEN }>()?;
        heads.push(FloorHead { log: u32::from_be_bytes(*log), size: u64::from_be_bytes(*size), root: Hash(*root) });
        rest = tail;
    }
    Some((u64::from_be_bytes(*generation), *store, heads))
}
