//! Payloads: what records hold salted digests of. Rows of datasets and texts lie here by their digests, each hidden under
//! a secret of its own, so that one can be forgotten and every proof of the others stays valid.

use std::ops::ControlFlow;

use loam_ledger_core::Hash;
use loam_ledger_core::record::{ListRoot, Operation, RecordId, RowId, addendum};
use zeroize::Zeroizing;

use crate::error::Error;
use crate::ledger::Ledger;
use crate::reader::Reader;
use crate::request::Secret;
use crate::slots::LiveSlot;
use crate::store::{Batch, Space};

/// Bytes that one payload can have.
pub const PAYLOAD_BYTES_MAX: usize = 65_536;

/// Bytes of one stored piece of a list, and of one commit of payloads: what others wait for at most.
const PIECE_BYTES: usize = 1 << 20;

/// Bytes with the salt of their digest.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Payload {
    /// Drawn at random by whoever signs the digest.
    pub salt: [u8; 16],
    /// A row's or a text's bytes.
    pub bytes: Vec<u8>,
}

impl Payload {
    /// The digest that a record, or a list under one, holds.
    pub fn digest(&self) -> Hash {
        addendum(&self.salt, &self.bytes)
    }
}

/// Whose a payload is: a row of a dataset, or, with zeros, the text of a record.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Owner {
    pub(crate) dataset: RecordId,
    pub(crate) row: RowId,
}

impl Owner {
    pub(crate) const TEXT: Self = Self { dataset: Hash::ZERO, row: Hash::ZERO };
}

/// A payload as it lies in the store.
struct Sealed {
    slot: u64,
    owner: Owner,
    hidden: Vec<u8>,
}

impl Sealed {
    fn encode(&self) -> Vec<u8> {
        [&self.slot.to_be_bytes()[..], &self.owner.dataset.0, &self.owner.row.0, &self.hidden].concat()
    }

    fn decode(bytes: &[u8]) -> Result<Self, Error> {
        let short = || Error::damaged("a payload", "it is too short");
        let (slot, rest) = bytes.split_first_chunk::<8>().ok_or_else(short)?;
        let (dataset, rest) = rest.split_first_chunk::<32>().ok_or_else(short)?;
        let (row, hidden) = rest.split_first_chunk::<32>().ok_or_else(short)?;
        let owner = Owner { dataset: Hash(*dataset), row: Hash(*row) };
        Ok(Self { slot: u64::from_be_bytes(*slot), owner, hidden: hidden.to_vec() })
    }
}

impl Reader {
    fn sealed_payload(&self, digest: &Hash) -> Result<Option<Sealed>, Error> {
        self.store.value(Space::Payload, &digest.0)?.map(|bytes| Sealed::decode(&bytes)).transpose()
    }

    /// The slot of a payload's secret.
    pub(crate) fn payload_slot(&self, digest: &Hash) -> Result<Option<u64>, Error> {
        Ok(self.sealed_payload(digest)?.map(|sealed| sealed.slot))
    }

    /// Whose a payload is, where it is here.
    pub(crate) fn payload_owner(&self, digest: &Hash) -> Result<Option<Owner>, Error> {
        Ok(self.sealed_payload(digest)?.map(|sealed| sealed.owner))
    }

    fn payload(&self, digest: &Hash) -> Result<Option<Payload>, Error> {
        let Some(sealed) = self.sealed_payload(digest)? else { return Ok(None) };
        let mut bytes = Zeroizing::new(sealed.hidden);
        self.secret_of(sealed.slot)?.veil_payload(&mut bytes);
        let (salt, rest) = bytes.split_first_chunk().ok_or_else(|| Error::damaged("a payload", "it is too short"))?;
        let payload = Payload { salt: *salt, bytes: rest.to_vec() };
        if payload.digest() == *digest { Ok(Some(payload)) } else { Err(Error::damaged("a payload", "it is another")) }
    }

    /// A list of operations, from the pieces that it lies in.
    pub(crate) fn operations(&self, list: &ListRoot) -> Result<Option<Vec<Operation>>, Error> {
        let (mut operations, mut fault) = (Vec::new(), None);
        let (first, end) = (list_key(list, 0), list_key(list, u32::MAX));
        self.store.scan(Space::List, &first, &end, &mut |_, piece| {
            let mut rest = piece;
            while let Some((length, tail)) = rest.split_first_chunk::<4>() {
                let length = usize::try_from(u32::from_be_bytes(*length)).unwrap_or(usize::MAX);
                let Some((operation, tail)) = tail.split_at_checked(length) else {
                    fault = Some(Error::damaged("a list of operations", "it ends early"));
                    return Ok(ControlFlow::Break(()));
                };
                operations.push(Operation::decode(operation)?);
                rest = tail;
            }
            Ok(ControlFlow::Continue(()))
        })?;
        match fault {
            Some(fault) => Err(fault),
            None if list.count == 0 => Ok(Some(operations)),
            None if operations.is_empty() => Ok(None),
            None if operations.len() as u64 != list.count => {
                Err(Error::damaged("a list of operations", "pieces of it are missing"))
            }
            None => Ok(Some(operations)),
        }
    }
}

impl Ledger {
    /// What a record, or a list under one, holds this digest of. `Err(Erased)` where it was redacted; nothing where it
    /// was never given here.
    pub fn payload(&self, digest: &Hash) -> Result<Option<Payload>, Error> {
        self.reader.payload(digest)
    }

    /// The operations under a root; nothing where they were never given here.
    pub fn operations(&self, list: &ListRoot) -> Result<Option<Vec<Operation>>, Error> {
        self.reader.operations(list)
    }
}

/// Payloads and lists on their way into the store, in commits that hold up others for a moment only.
pub(crate) struct Storing<'a> {
    ledger: &'a Ledger,
    batch: Batch,
    bytes: usize,
    /// Held until their payloads are durable.
    slots: Vec<LiveSlot>,
    /// The first slot that nothing here uses.
    pub(crate) slots_below: u64,
}

impl<'a> Storing<'a> {
    pub(crate) fn new(ledger: &'a Ledger) -> Self {
        Self { ledger, batch: Batch::default(), bytes: 0, slots: Vec::new(), slots_below: 0 }
    }

    /// Hides a payload under a secret of its own.
    pub(crate) fn payload(&mut self, owner: Owner, payload: &Payload) -> Result<(), Error> {
        let secrets = self.ledger.reader.secrets.as_ref().ok_or(Error::SecretMissing)?;
        let (slot, secret) = secrets.draw()?;
        let mut hidden = [&payload.salt[..], &payload.bytes].concat();
        Secret::new(&secret).veil_payload(&mut hidden);
        self.slots_below = self.slots_below.max(slot.slot + 1);
        let sealed = Sealed { slot: slot.slot, owner, hidden }.encode();
        self.slots.push(slot);
        self.put(Space::Payload, payload.digest().0.to_vec(), sealed)
    }

    /// Writes a list in pieces.
    pub(crate) fn operations(&mut self, list: &ListRoot, operations: &[Operation]) -> Result<(), Error> {
        let (mut piece, mut number) = (Vec::new(), 0);
        for operation in operations {
            let bytes = operation.encode();
            let length = u32::try_from(bytes.len()).expect("an operation has 256 rows at the most");
            piece.extend_from_slice(&length.to_be_bytes());
            piece.extend_from_slice(&bytes);
            if piece.len() >= PIECE_BYTES {
                self.put(Space::List, list_key(list, number), std::mem::take(&mut piece))?;
                number += 1;
            }
        }
        if piece.is_empty() { Ok(()) } else { self.put(Space::List, list_key(list, number), piece) }
    }

    fn put(&mut self, space: Space, key: Vec<u8>, value: Vec<u8>) -> Result<(), Error> {
        self.bytes += key.len() + value.len();
        self.batch.put(space, key, value);
        if self.bytes >= PIECE_BYTES { self.flush() } else { Ok(()) }
    }

    /// Returns when all that was given is durable.
    pub(crate) fn flush(&mut self) -> Result<(), Error> {
        if self.batch.puts.is_empty() {
            return Ok(());
        }
        self.bytes = 0;
        let (batch, slots_below) = (std::mem::take(&mut self.batch), self.slots_below);
        self.ledger.put(batch, slots_below)?;
        self.slots.clear();
        Ok(())
    }
}

fn list_key(list: &ListRoot, piece: u32) -> Vec<u8> {
    [&list.root.0[..], &list.count.to_be_bytes(), &piece.to_be_bytes()].concat()
}
