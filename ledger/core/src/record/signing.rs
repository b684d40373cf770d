//! Signatures of people: what exactly is signed, and the key that signs.

use ed25519_dalek::{Signature, Signer, VerifyingKey};

use crate::hash::{Hash, digest_parts};
use crate::record::body::{Body, Record, Signed};
use crate::record::{ContributorId, KeyId, RecordId, Signature64};

/// The id of a key: `H("loam/author-key/v1\0" || public key)`. A contributor's id is that of their first.
pub fn key_id(public_key: &[u8; 32]) -> KeyId {
    digest_parts(&[b"loam/author-key/v1\0", public_key])
}

/// What an author signs: this log, this key, this place in the author's own chain, these words.
///
/// `"loam/record/v1\0" || u16 length of origin || origin || key id || u64 sequence || previous record || body`
pub fn message(origin: &str, key: &KeyId, sequence: u64, previous: &RecordId, body: &[u8]) -> Vec<u8> {
    let length = u16::try_from(origin.len()).expect("an origin is short").to_be_bytes();
    [b"loam/record/v1\0", &length[..], origin.as_bytes(), &key.0, &sequence.to_be_bytes(), &previous.0, body].concat()
}

/// What a new key signs, so that nobody can rotate to a key that is not theirs.
///
/// `"loam/key-rotation/v1\0" || u16 length of origin || origin || contributor || new public key`
pub fn rotation_message(origin: &str, contributor: &ContributorId, public_key: &[u8; 32]) -> Vec<u8> {
    let length = u16::try_from(origin.len()).expect("an origin is short").to_be_bytes();
    [b"loam/key-rotation/v1\0", &length[..], origin.as_bytes(), &contributor.0, public_key].concat()
}

/// Whether a key made a signature, checked strictly as those of notes are.
pub fn is_signed(public_key: &[u8; 32], message: &[u8], signature: &Signature64) -> bool {
    let key = VerifyingKey::from_bytes(public_key);
    key.is_ok_and(|key| key.verify_strict(message, &Signature::from_bytes(signature)).is_ok())
}

/// What is signed of an envelope (DSSE's pre-authentication encoding). It begins as no record's message does, so neither
/// signature can be taken for the other.
///
/// `"DSSEv1 " || length of type || " " || type || " " || length of payload || " " || payload`, lengths in decimal
pub fn envelope_message(payload_type: &str, payload: &[u8]) -> Vec<u8> {
    let head = format!("DSSEv1 {} {payload_type} {} ", payload_type.len(), payload.len());
    [head.as_bytes(), payload].concat()
}

/// A contributor's private key, and where their own chain of records stands. It is wiped from memory when dropped.
pub struct AuthorKey {
    key: ed25519_dalek::SigningKey,
    contributor: ContributorId,
    /// How many records were signed.
    pub sequence: u64,
    /// The last of them.
    pub previous: RecordId,
}

impl AuthorKey {
    /// The key that grows from 32 random bytes, of a contributor who has signed nothing yet.
    pub fn from_seed(seed: &[u8; 32]) -> Self {
        let key = ed25519_dalek::SigningKey::from_bytes(seed);
        let contributor = key_id(key.verifying_key().as_bytes());
        Self { key, contributor, sequence: 0, previous: Hash::ZERO }
    }

    /// The key of a contributor who signed records before, perhaps under another key: the last of so many is `previous`.
    pub fn resumed(seed: &[u8; 32], contributor: ContributorId, sequence: u64, previous: RecordId) -> Self {
        Self { contributor, sequence, previous, ..Self::from_seed(seed) }
    }

    /// Who signs.
    pub fn contributor(&self) -> ContributorId {
        self.contributor
    }

    /// The key's public part.
    pub fn public_key(&self) -> [u8; 32] {
        self.key.verifying_key().to_bytes()
    }

    /// Signs for a place in this author's chain. The chain does not move on: see [`Self::moved_on`].
    pub fn sign(&self, origin: &str, body: &[u8]) -> Signed {
        let key = key_id(&self.public_key());
        let message = message(origin, &key, self.sequence, &self.previous, body);
        let signature = self.key.sign(&message).to_bytes();
        Signed { key, sequence: self.sequence, previous: self.previous, signature }
    }

    /// Signs an envelope's payload for other tools. The author's chain of records is not touched.
    pub fn sign_envelope(&self, payload_type: &str, payload: &[u8]) -> Signature64 {
        self.key.sign(&envelope_message(payload_type, payload)).to_bytes()
    }

    /// A record of this author's was taken: the next one follows it.
    pub fn moved_on(&mut self, record: RecordId) {
        self.sequence += 1;
        self.previous = record;
    }

    /// The same contributor under a new key, which proves that it is held.
    pub fn rotated(&self, origin: &str, seed: &[u8; 32]) -> (Self, Signature64) {
        let key = ed25519_dalek::SigningKey::from_bytes(seed);
        let message = rotation_message(origin, &self.contributor, key.verifying_key().as_bytes());
        let proof = key.sign(&message).to_bytes();
        (Self { key, contributor: self.contributor, sequence: self.sequence, previous: self.previous }, proof)
    }
}

/// Signs a body as all of its authors, whose keys stand in the same order, and moves their chains on.
pub fn sign_record(origin: &str, time_ms: u64, body: Body, authors: &mut [&mut AuthorKey]) -> Record {
    let bytes = body.encode();
    let signed = authors.iter().map(|author| author.sign(origin, &bytes)).collect();
    let record = Record { time_ms, body, signed };
    let id = record.id(origin);
    authors.iter_mut().for_each(|author| author.moved_on(id));
    record
}
