//! Secrets: one for each request, in a slot of a file outside the store, and everything that grows from it.
//!
//! A store keeps old values long after they are deleted, so what must be erasable cannot lie in one. A slot is
//! written once, synced before any row that uses it is acknowledged, and overwritten in place to erase.
//! A slot's number is never used again.

use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use chacha20::ChaCha20;
use chacha20::cipher::{KeyIvInit as _, StreamCipher as _};
use hmac::{Hmac, KeyInit as _, Mac as _};
use loam_ledger_core::Hash;
use loam_ledger_core::commitment::{Key16, RequestSeed, What, commit};
use loam_ledger_core::entry::Id16;
use loam_ledger_core::hash::digest;
use sha2::Sha256;
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
    /// The next slot that nobody has, and up to where the file is laid out.
    growth: Mutex<Growth>,
    /// Slots below this are on disk.
    synced: AtomicU64,
}

struct Growth {
    next: u64,
    laid_out: u64,
}

impl Secrets {
    /// Makes an empty file of slots.
    pub(crate) fn create(file: Box<dyn PlainFile>, store: &StoreId) -> Result<Self, Error> {
        file.write_at(0, &header_bytes(store))?;
        file.sync()?;
        Ok(Self { file, growth: Mutex::new(Growth { next: 1, laid_out: 1 }), synced: AtomicU64::new(1) })
    }

    /// Opens a file of slots. `used` is the first slot that no row of the store can have used.
    pub(crate) fn open(file: Box<dyn PlainFile>, store: &StoreId, used: u64) -> Result<Self, Error> {
        let mut header = [0; SLOT_BYTES];
        if file.read_at(0, &mut header)? != SLOT_BYTES || header != header_bytes(store) {
            return Err(Error::damaged("the file of secrets", "it does not belong to this store"));
        }
        let laid_out = file.length()? / SLOT_BYTES as u64;
        let next = first_untouched(&*file, used.max(1), laid_out)?;
        Ok(Self { file, growth: Mutex::new(Growth { next, laid_out }), synced: AtomicU64::new(next) })
    }

    /// Draws a secret for a new request and writes it into a slot of its own. [`Self::sync_below`] makes it last.
    pub(crate) fn draw(&self, ledger_name: &str, client_nonce: Option<[u8; 32]>) -> Result<Request, Error> {
        let mut secret = Zeroizing::new([0; 32]);
        getrandom::fill(&mut *secret).map_err(|e| Error::Store(format!("no randomness: {e}")))?;
        let slot = {
            let mut growth = self.growth.lock().expect("nobody panics while slots are laid out");
            if growth.next >= growth.laid_out {
                let zeros = vec![0; SLOT_BYTES * usize::try_from(SLOTS_AT_ONCE).expect("a megabyte")];
                self.file.write_at(growth.laid_out * SLOT_BYTES as u64, &zeros)?;
                growth.laid_out += SLOTS_AT_ONCE;
            }
            growth.next += 1;
            growth.next - 1
        };
        self.file.write_at(slot * SLOT_BYTES as u64, &*slot_bytes(slot, LIVE, &secret))?;
        Ok(Request::new(ledger_name, slot, &secret, client_nonce))
    }

    /// Whether slots below this are on disk already.
    pub(crate) fn synced_below(&self, slot: u64) -> bool {
        self.synced.load(Ordering::Acquire) >= slot
    }

    /// Returns when all slots that were drawn before the call are on disk.
    pub(crate) fn sync(&self) -> Result<(), Error> {
        let drawn = self.growth.lock().expect("nobody panics while slots are laid out").next;
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
fn first_untouched(file: &dyn PlainFile, used: u64, laid_out: u64) -> Result<u64, Error> {
    let mut next = used;
    let mut bytes = [0; SLOT_BYTES];
    for slot in used..laid_out {
        file.read_at(slot * SLOT_BYTES as u64, &mut bytes)?;
        if bytes != [0; SLOT_BYTES] {
            next = slot + 1;
        }
    }
    Ok(next)
}

/// A request that is running, or whose secret was read again: what its rows are salted, hidden and opened with.
pub struct Request {
    mac: Hmac<Sha256>,
    slot: u64,
    seed: RequestSeed,
    commitment: Hash,
    /// Whether one of its rows went to the committer, which then wrote where they begin.
    pub(crate) begun: AtomicBool,
}

impl Request {
    fn new(ledger_name: &str, slot: u64, secret: &[u8; 32], client_nonce: Option<[u8; 32]>) -> Self {
        let mac = Hmac::new_from_slice(secret).expect("HMAC takes keys of any length");
        let server_random = first_16(derive(&mac, b"loam/server-random/v1", &[]));
        let seed = RequestSeed { client_nonce, server_random };
        Self { mac, slot, seed, commitment: seed.commitment(ledger_name), begun: AtomicBool::new(false) }
    }

    /// Reads a request again from its slot and what the store keeps of its nonce.
    pub(crate) fn again(
        ledger_name: &str,
        secrets: &Secrets,
        slot: u64,
        masked_nonce: Option<[u8; 32]>,
    ) -> Result<Self, Error> {
        let secret = secrets.secret(slot)?;
        let mac = Hmac::new_from_slice(&*secret).expect("HMAC takes keys of any length");
        Ok(Self::new(ledger_name, slot, &secret, masked_nonce.map(|masked| mask(&mac, masked))))
    }

    /// The request's public name: its rows carry it, and its receipt is asked for by it.
    pub fn commitment(&self) -> Hash {
        self.commitment
    }

    /// The commitment to some bytes of the request, for its completion row.
    pub fn commit(&self, what: What, choice: u32, bytes: &[u8]) -> Hash {
        commit(what, &self.key(what, choice), bytes)
    }

    pub(crate) fn slot(&self) -> u64 {
        self.slot
    }

    pub(crate) fn seed(&self) -> RequestSeed {
        self.seed
    }

    /// The client's nonce as the store may keep it: unreadable when the secret is gone.
    pub(crate) fn masked_nonce(&self) -> Option<[u8; 32]> {
        self.seed.client_nonce.map(|nonce| mask(&self.mac, nonce))
    }

    /// The key of a commitment: one for each thing committed to, and each answer.
    pub(crate) fn key(&self, what: What, choice: u32) -> Key16 {
        let label = format!("loam/key/{}/v1", what.word());
        first_16(derive(&self.mac, label.as_bytes(), &choice.to_be_bytes()))
    }

    /// The salt of a row: one for each place that a row can have.
    pub(crate) fn salt(&self, boot: &Id16, sequence: u64, row: u32) -> Key16 {
        first_16(derive(&self.mac, b"loam/salt/v1", &place(boot, sequence, row)))
    }

    /// Hides a row at rest, or shows it again. The key serves one row, so the nonce can be constant.
    pub(crate) fn veil(&self, boot: &Id16, sequence: u64, row: u32, bytes: &mut [u8]) {
        let key = Zeroizing::new(derive(&self.mac, b"loam/row-key/v1", &place(boot, sequence, row)));
        ChaCha20::new((&*key).into(), &[0; 12].into()).apply_keystream(bytes);
    }
}

fn place(boot: &Id16, sequence: u64, row: u32) -> [u8; 28] {
    let mut place = [0; 28];
    place[..16].copy_from_slice(boot);
    place[16..24].copy_from_slice(&sequence.to_be_bytes());
    place[24..].copy_from_slice(&row.to_be_bytes());
    place
}

/// `HMAC-SHA256(secret, label || 0x00 || context)`: one value discloses no other.
fn derive(mac: &Hmac<Sha256>, label: &[u8], context: &[u8]) -> [u8; 32] {
    let mut mac = mac.clone();
    mac.update(label);
    mac.update(&[0]);
    mac.update(context);
    mac.finalize().into_bytes().into()
}

fn mask(mac: &Hmac<Sha256>, mut nonce: [u8; 32]) -> [u8; 32] {
    let pad = derive(mac, b"loam/nonce/v1", &[]);
    nonce.iter_mut().zip(pad).for_each(|(byte, pad)| *byte ^= pad);
    nonce
}

fn first_16(bytes: [u8; 32]) -> [u8; 16] {
    bytes[..16].try_into().expect("16 of 32 bytes")
}
