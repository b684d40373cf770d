//! Witnesses that cosign what they are given. Core only checks cosignatures, so they are made here from the primitives.

use ed25519_dalek::{Signer as _, SigningKey};
use loam_ledger_core::hash::digest;
use loam_ledger_core::note::{KeyKind, Note, VerifierKey};
use loam_ledger_core::text::base64_encode;

use super::bytes32;

/// A witness.
pub(crate) struct Witness {
    key: SigningKey,
    name: String,
}

impl Witness {
    pub(crate) fn new(name: &str) -> Self {
        Self { key: SigningKey::from_bytes(&bytes32(name, 0)), name: name.to_owned() }
    }

    /// The same key under another name.
    pub(crate) fn renamed(&self, name: &str) -> Self {
        Self { key: self.key.clone(), name: name.to_owned() }
    }

    pub(crate) fn verifier(&self) -> VerifierKey {
        let public = self.key.verifying_key().to_bytes();
        VerifierKey::new(&self.name, KeyKind::CosignatureV1, public).expect("a witness's name fits a key")
    }

    /// The note, with this witness's cosignature of that time at its end.
    pub(crate) fn cosign(&self, note: &[u8], time_s: u64) -> Vec<u8> {
        let text = Note::parse(note).expect("what is cosigned is a note").text().to_owned();
        let message = format!("cosignature/v1\ntime {time_s}\n{text}");
        let signature = self.key.sign(message.as_bytes()).to_bytes();
        self.append(note, &[&time_s.to_be_bytes()[..], &signature].concat())
    }

    /// The note, with any bytes as this witness's signature.
    pub(crate) fn append(&self, note: &[u8], signature: &[u8]) -> Vec<u8> {
        // Computed here from C2SP's words, not by the code under test.
        let id = digest(&[self.name.as_bytes(), b"\n\x04", &self.key.verifying_key().to_bytes()].concat());
        let line = base64_encode(&[&id.0[..4], signature].concat());
        [note, format!("\u{2014} {} {line}\n", self.name).as_bytes()].concat()
    }
}
