//! Secrets: one for each request, in a slot of a file outside the store.
//!
//! A store keeps old values long after they are deleted, so what must be erasable cannot lie in one. A slot is
//! written once, synced before any row that uses it is committed, and overwritten in place to erase.
//! A slot's number is never used again.

use std::collections::HashSet;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use loam_ledger_core::hash::digest;
use zeroize::Zeroizing;

use crate::error::Error;
use crate::floor::StoreId;
use crate::store::PlainFile;

const MAGIC: &[u8; 8] = b"loamslt1";
const SLOT_BYTES: usize = 64;
const CHECKED_BYTES: usize = 48;
const LIVE: u8 = 1;
const ERASED: u8 = 2;

/// Slots by which the file grows, so that most writes change bytes alone and not the file's length.
const SLOTS_AT_ONCE: u64 = 16_384;

/// The file of slots. Slot 0 is its header.
pub(crate) struct Secrets {
    file: Box<dyn PlainFile>,
    growth: Mutex<Growth>,
    /// Slots below this are on disk.
    synced: AtomicU64,
    /// How many slots the file is short of those that rows of the store use, as it was found.
    missing: u64,
}

struct Growth {
    /// The next slot that nobody has. All below it are written, though perhaps not synced.
    next: u64,
    /// Up to where the file has been filled with zeros.
    laid_out: u64,
    /// Slots of requests that can still get rows.
    live: HashSet<u64>,
}

/// Holds a slot against erasing, for as long as rows under its secret can still come.
pub(crate) struct LiveSlot {
    pub(crate) secrets: Arc<Secrets>,
    pub(crate) slot: u64,
}

impl Drop for LiveSlot {
    fn drop(&mut self) {
        self.secrets.growth().live.remove(&self.slot);
    }
}

impl Secrets {
    /// Makes an empty file of slots.
    pub(crate) fn create(file: Box<dyn PlainFile>, store: &StoreId) -> Result<Self, Error> {
        file.write_at(0, &header_bytes(store))?;
        file.sync()?;
        Ok(Self::with(file, 1, 1, 0))
    }

    /// Opens a file of slots; none where it is that of another store. `used` is the first slot that no row of the
    /// store can have used.
    pub(crate) fn open(file: Box<dyn PlainFile>, store: &StoreId, used: u64) -> Result<Option<Self>, Error> {
        let mut header = [0; SLOT_BYTES];
        if file.read_at(0, &mut header)? != SLOT_BYTES || header != header_bytes(store) {
            return Ok(None);
        }
        let length = file.length()? / SLOT_BYTES as u64;
        let next = first_untouched(&*file, used.max(1), length)?;
        // Zeros go behind `next` alone, however short the file was found.
        Ok(Some(Self::with(file, next, length.max(next), used.saturating_sub(length))))
    }

    fn with(file: Box<dyn PlainFile>, next: u64, laid_out: u64, missing: u64) -> Self {
        let growth = Mutex::new(Growth { next, laid_out, live: HashSet::new() });
        Self { file, growth, synced: AtomicU64::new(1), missing }
    }

    fn growth(&self) -> MutexGuard<'_, Growth> {
        self.growth.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// How many slots the file was short of those that rows use: an older copy of it was put back.
    pub(crate) fn missing(&self) -> u64 {
        self.missing
    }

    /// Draws a secret and writes it into a slot of its own. [`Self::sync`] makes it last.
    pub(crate) fn draw(self: &Arc<Self>) -> Result<(LiveSlot, Zeroizing<[u8; 32]>), Error> {
        let mut secret = Zeroizing::new([0; 32]);
        getrandom::fill(&mut *secret).map_err(|e| Error::Store(format!("no randomness: {e}")))?;
        // Written before the number is out, so that whoever syncs all numbers that are out syncs what is written.
        let mut growth = self.growth();
        let slot = growth.next;
        if slot >= growth.laid_out {
            let zeros = vec![0; SLOT_BYTES * usize::try_from(SLOTS_AT_ONCE).expect("a megabyte")];
            self.file.write_at(growth.laid_out * SLOT_BYTES as u64, &zeros)?;
            growth.laid_out += SLOTS_AT_ONCE;
        }
        self.file.write_at(slot * SLOT_BYTES as u64, &*slot_bytes(slot, LIVE, &secret))?;
        growth.next = slot + 1;
        growth.live.insert(slot);
        Ok((LiveSlot { secrets: Arc::clone(self), slot }, secret))
    }

    /// Whether rows under this slot's secret can still come.
    pub(crate) fn is_live(&self, slot: u64) -> bool {
        self.growth().live.contains(&slot)
    }

    /// Whether slots below this are on disk already.
    pub(crate) fn synced_below(&self, slot: u64) -> bool {
        self.synced.load(Ordering::Acquire) >= slot
    }

    /// Returns when all slots that were drawn before the call are on disk.
    pub(crate) fn sync(&self) -> Result<(), Error> {
        let drawn = self.growth().next;
        self.file.sync()?;
        self.synced.fetch_max(drawn, Ordering::AcqRel);
        Ok(())
    }

    /// The secret in a slot: an error says whether it was erased, or is not here.
    pub(crate) fn secret(&self, slot: u64) -> Result<Zeroizing<[u8; 32]>, Error> {
        let mut bytes = Zeroizing::new([0; SLOT_BYTES]);
        let read = self.file.read_at(slot * SLOT_BYTES as u64, &mut *bytes)?;
        let whole = read == SLOT_BYTES && check_of(&bytes) == bytes[CHECKED_BYTES..];
        if !whole || bytes[..8] != slot.to_be_bytes() {
            return Err(Error::SecretMissing);
        }
        match bytes[8] {
            LIVE => Ok(Zeroizing::new(bytes[16..CHECKED_BYTES].try_into().expect("32 bytes"))),
            ERASED => Err(Error::Erased),
            _ => Err(Error::SecretMissing),
        }
    }

    /// Overwrites a slot. When this returns, its secret is on this disk no more.
    pub(crate) fn erase(&self, slot: u64) -> Result<(), Error> {
        self.file.write_at(slot * SLOT_BYTES as u64, &*slot_bytes(slot, ERASED, &[0; 32]))?;
        self.file.sync()
    }
}

fn header_bytes(store: &StoreId) -> [u8; SLOT_BYTES] {
    let mut bytes = [0; SLOT_BYTES];
    bytes[..8].copy_from_slice(MAGIC);
    bytes[8..24].copy_from_slice(store);
    let check = check_of(&bytes);
    bytes[CHECKED_BYTES..].copy_from_slice(&check);
    bytes
}

fn slot_bytes(slot: u64, state: u8, secret: &[u8; 32]) -> Zeroizing<[u8; SLOT_BYTES]> {
    let mut bytes = Zeroizing::new([0; SLOT_BYTES]);
    bytes[..8].copy_from_slice(&slot.to_be_bytes());
    bytes[8] = state;
    bytes[16..CHECKED_BYTES].copy_from_slice(secret);
    let check = check_of(&bytes);
    bytes[CHECKED_BYTES..].copy_from_slice(&check);
    bytes
}

fn check_of(bytes: &[u8; SLOT_BYTES]) -> [u8; 16] {
    let hash = digest(&bytes[..CHECKED_BYTES]);
    hash.0[..16].try_into().expect("16 of 32 bytes")
}

/// The first slot behind every one that was ever written: unsynced ones may have left holes before a written one.
fn first_untouched(file: &dyn PlainFile, used: u64, length: u64) -> Result<u64, Error> {
    let mut next = used;
    let mut bytes = vec![0; SLOT_BYTES * 1024];
    for chunk in (used..length).step_by(1024) {
        let read = file.read_at(chunk * SLOT_BYTES as u64, &mut bytes)?;
        for (slot, bytes) in (chunk..).zip(bytes[..read].chunks_exact(SLOT_BYTES)) {
            if bytes.iter().any(|byte| *byte != 0) {
                next = slot + 1;
            }
        }
    }
    Ok(next)
}
