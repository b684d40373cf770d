//! Signed notes (C2SP signed-note): a text, and lines that say who signed it.

use core::fmt;

use ed25519_dalek::{Signature as Ed25519Signature, Signer, VerifyingKey};

use crate::error::Error;
use crate::hash::digest_parts;
use crate::text::{base64_decode, base64_encode, hex_decode, hex_encode};

/// Signature lines that a note may carry; more is refused.
pub const NOTE_SIGNATURES_MAX: usize = 100;

/// Bytes that a note may have; more is refused.
pub const NOTE_BYTES_MAX: usize = 1 << 20;

/// What a key signs, and how: the byte that stands before the public key in a verifier key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum KeyKind {
    /// 0x01: Ed25519 over the note's text; how a log signs its checkpoints.
    Ed25519,
    /// 0x04: Ed25519 over `cosignature/v1`, a time and the note's text; how a witness cosigns.
    CosignatureV1,
}

impl KeyKind {
    fn byte(self) -> u8 {
        match self {
            Self::Ed25519 => 0x01,
            Self::CosignatureV1 => 0x04,
        }
    }
}

/// A key's name and the public part that checks its signatures, written `name+id+base64` (a *vkey*).
#[derive(Clone, PartialEq, Eq)]
pub struct VerifierKey {
    name: String,
    kind: KeyKind,
    public: [u8; 32],
}

impl VerifierKey {
    /// A key of this name, which may hold neither spaces, nor control characters, nor `+`.
    pub fn new(name: &str, kind: KeyKind, public: [u8; 32]) -> Result<Self, Error> {
        if !is_key_name(name) {
            return Err(Error::KeyName);
        }
        VerifyingKey::from_bytes(&public).map_err(|_| Error::KeyBytes)?;
        Ok(Self { name: name.to_owned(), kind, public })
    }

    /// Reads a vkey.
    pub fn parse(text: &str) -> Result<Self, Error> {
        let mut parts = text.splitn(3, '+');
        let (Some(name), Some(id), Some(key)) = (parts.next(), parts.next(), parts.next()) else {
            return Err(Error::KeyShape);
        };
        let id = hex_decode(id).ok_or(Error::KeyShape)?;
        let key = base64_decode(key)?;
        let (kind, public) = key.split_first().ok_or(Error::KeyShape)?;
        let kind = match kind {
            0x01 => KeyKind::Ed25519,
            0x04 => KeyKind::CosignatureV1,
            other => return Err(Error::KeyKind { kind: *other }),
        };
        let key = Self::new(name, kind, public.try_into().map_err(|_| Error::KeyBytes)?)?;
        if key.id()[..] == id[..] { Ok(key) } else { Err(Error::KeyId) }
    }

    /// The key's name; for a log, its origin.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// What the key signs.
    pub fn kind(&self) -> KeyKind {
        self.kind
    }

    /// The public key itself.
    pub fn public(&self) -> &[u8; 32] {
        &self.public
    }

    /// The four bytes that stand before each of its signatures.
    pub fn id(&self) -> [u8; 4] {
        let hash = digest_parts(&[self.name.as_bytes(), b"\n", &[self.kind.byte()], &self.public]);
        [hash.0[0], hash.0[1], hash.0[2], hash.0[3]]
    }

    /// Checks a bare Ed25519 signature by this key over these bytes.
    pub(crate) fn check(&self, message: &[u8], signature: &[u8]) -> Result<(), Error> {
        let signature = Ed25519Signature::from_slice(signature).map_err(|_| self.bad_signature())?;
        let key = VerifyingKey::from_bytes(&self.public).map_err(|_| Error::KeyBytes)?;
        key.verify_strict(message, &signature).map_err(|_| self.bad_signature())
    }

    fn bad_signature(&self) -> Error {
        Error::Signature { key: self.name.clone() }
    }
}

impl fmt::Display for VerifierKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut key = vec![self.kind.byte()];
        key.extend_from_slice(&self.public);
        write!(f, "{}+{}+{}", self.name, hex_encode(&self.id()), base64_encode(&key))
    }
}

impl fmt::Debug for VerifierKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// A log's private key. It is never shown by `Debug`, and is wiped from memory when dropped.
pub struct SigningKey {
    key: ed25519_dalek::SigningKey,
    verifier: VerifierKey,
}

/// How private keys in this text form begin.
const PRIVATE_PREFIX: &str = "PRIVATE+KEY+";

impl SigningKey {
    /// The key of this name that grows from 32 random bytes.
    pub fn from_seed(name: &str, seed: &[u8; 32]) -> Result<Self, Error> {
        let key = ed25519_dalek::SigningKey::from_bytes(seed);
        let verifier = VerifierKey::new(name, KeyKind::Ed25519, key.verifying_key().to_bytes())?;
        Ok(Self { key, verifier })
    }

    /// Reads `PRIVATE+KEY+name+id+base64`.
    pub fn parse(text: &str) -> Result<Self, Error> {
        let rest = text.strip_prefix(PRIVATE_PREFIX).ok_or(Error::KeyShape)?;
        let mut parts = rest.splitn(3, '+');
        let (Some(name), Some(id), Some(seed)) = (parts.next(), parts.next(), parts.next()) else {
            return Err(Error::KeyShape);
        };
        let seed = base64_decode(seed)?;
        let (&kind, seed) = seed.split_first().ok_or(Error::KeyShape)?;
        if kind != KeyKind::Ed25519.byte() {
            return Err(Error::KeyKind { kind });
        }
        let key = Self::from_seed(name, seed.try_into().map_err(|_| Error::KeyBytes)?)?;
        if hex_encode(&key.verifier.id()) == id { Ok(key) } else { Err(Error::KeyId) }
    }

    /// Writes `PRIVATE+KEY+name+id+base64`.
    pub fn to_text(&self) -> String {
        let mut seed = vec![KeyKind::Ed25519.byte()];
        seed.extend_from_slice(&self.key.to_bytes());
        let (name, id) = (&self.verifier.name, hex_encode(&self.verifier.id()));
        format!("{PRIVATE_PREFIX}{name}+{id}+{}", base64_encode(&seed))
    }

    /// The public part.
    pub fn verifier(&self) -> &VerifierKey {
        &self.verifier
    }

    /// Signs a text, which must end its last line, and returns the whole note.
    pub fn sign_note(&self, text: &str) -> Vec<u8> {
        debug_assert!(text.ends_with('\n') && !text.contains("\n\n"), "a note's text is whole, unbroken lines");
        let signature = self.key.sign(text.as_bytes()).to_bytes();
        format!("{text}\n{}", signature_line(&self.verifier, &signature)).into_bytes()
    }
}

impl fmt::Debug for SigningKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "the private key of {:?}", self.verifier)
    }
}

/// A signature line of a note, its line end included.
pub(crate) fn signature_line(key: &VerifierKey, signature: &[u8]) -> String {
    let mut bytes = key.id().to_vec();
    bytes.extend_from_slice(signature);
    format!("\u{2014} {} {}\n", key.name, base64_encode(&bytes))
}

/// One signature line: a name, a key id, and bytes that only that key's kind can read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NoteSignature {
    name: String,
    id: [u8; 4],
    bytes: Vec<u8>,
}

/// A note as it came: nothing is verified before [`Note::signed_by`] says so.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Note {
    text: String,
    signatures: Vec<NoteSignature>,
}

impl Note {
    /// Takes a note apart.
    pub fn parse(bytes: &[u8]) -> Result<Self, Error> {
        if bytes.len() > NOTE_BYTES_MAX {
            return Err(Error::NoteTooLong { bytes: bytes.len() });
        }
        let note = core::str::from_utf8(bytes).map_err(|_| Error::NoteNotText)?;
        if note.chars().any(|c| c < ' ' && c != '\n') {
            return Err(Error::NoteNotText);
        }
        let (text, lines) = note.rsplit_once("\n\n").ok_or(Error::NoteWithoutSignatures)?;
        let lines = lines.strip_suffix('\n').ok_or(Error::NoteLine)?;
        let signatures = lines.split('\n').map(parse_signature).collect::<Result<Vec<_>, _>>()?;
        if signatures.len() > NOTE_SIGNATURES_MAX {
            return Err(Error::NoteSignatures { count: signatures.len() });
        }
        Ok(Self { text: format!("{text}\n"), signatures })
    }

    /// What is signed, its last line end included.
    pub fn text(&self) -> &str {
        &self.text
    }

    /// The signature bytes that claim to be by this key, those of unknown keys left aside.
    pub(crate) fn signatures_of(&self, key: &VerifierKey) -> impl Iterator<Item = &[u8]> {
        let id = key.id();
        self.signatures.iter().filter(move |line| line.id == id && line.name == key.name).map(|line| &line.bytes[..])
    }

    /// Checks that this key signed the text. A signature in its name that fails spoils the note.
    pub fn signed_by(&self, key: &VerifierKey) -> Result<(), Error> {
        if key.kind != KeyKind::Ed25519 {
            return Err(Error::KeyKind { kind: key.kind.byte() });
        }
        let mut found = false;
        for signature in self.signatures_of(key) {
            key.check(self.text.as_bytes(), signature)?;
            found = true;
        }
        if found { Ok(()) } else { Err(Error::NotSignedBy { key: key.to_string() }) }
    }
}

fn parse_signature(line: &str) -> Result<NoteSignature, Error> {
    let rest = line.strip_prefix("\u{2014} ").ok_or(Error::NoteLine)?;
    let (name, signature) = rest.split_once(' ').ok_or(Error::NoteLine)?;
    if !is_key_name(name) {
        return Err(Error::KeyName);
    }
    let bytes = base64_decode(signature)?;
    let (id, bytes) = bytes.split_first_chunk::<4>().ok_or(Error::NoteLine)?;
    if bytes.is_empty() {
        return Err(Error::NoteLine);
    }
    Ok(NoteSignature { name: name.to_owned(), id: *id, bytes: bytes.to_vec() })
}

/// Key names are what a line can hold between two spaces; `+` would break a vkey apart.
fn is_key_name(name: &str) -> bool {
    !name.is_empty() && !name.chars().any(|c| c.is_whitespace() || c.is_control() || c == '+')
}
