//! A record's body, which its authors sign; and the record, which is the body with their signatures.

use crate::cbor::{Decoder, Encoder};
use crate::entry::{Entry, RECORD_ENTRY_BYTES_MAX};
use crate::error::Error;
use crate::hash::{Hash, digest, digest_parts};
use crate::record::act::Act;
use crate::record::field::{Field, is_set, items};
use crate::record::signing::message;
use crate::record::{ContributorId, KeyId, MILLION, Millionths, RecordId, Signature64};

/// Authors that one record can have.
pub const AUTHORS_MAX: usize = 256;

/// Earlier records that one record can cite.
pub const CITES_MAX: usize = 64;

/// Bytes that a body can have; with the signatures of its authors it must fit into an entry.
pub const BODY_BYTES_MAX: usize = 32_768;

/// The version that every body of this format has.
const VERSION: u64 = 1;

items! {
    /// One of a record's authors.
    Author [
        /// Who.
        contributor: ContributorId,
        /// Their share in what the record may come to be worth, in millionths. Nothing: they agree, and ask for nothing.
        share: Millionths,
    ]

    /// One author's signature, and the place in their own chain of records that it is for.
    Signed [
        /// By which key.
        key: KeyId,
        /// How many records this contributor signed before.
        sequence: u64,
        /// The last of them; zeros before the first.
        previous: RecordId,
        /// Ed25519 over the [`message`].
        signature: Signature64,
    ]
}

/// What the authors say.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Body {
    /// Who, with shares that sum to one. Each of them signs.
    pub authors: Vec<Author>,
    /// Whom the operator speaks for, where it does. It never counts as that contributor's own word.
    pub attested_for: Option<ContributorId>,
    /// Earlier records that this one rests on; ascending.
    pub cites: Vec<RecordId>,
    /// The salted digest of a text that is kept beside the log.
    pub text: Option<Hash>,
    /// What is said.
    pub act: Act,
}

impl Body {
    /// A body by one author alone.
    pub fn by(contributor: ContributorId, act: Act) -> Self {
        Self {
            authors: vec![Author { contributor, share: MILLION }],
            attested_for: None,
            cites: Vec::new(),
            text: None,
            act,
        }
    }

    /// The bytes that are signed.
    pub fn encode(&self) -> Vec<u8> {
        let mut e = Encoder::with_capacity(512);
        e.map(7).uint(0).uint(self.act.code()).uint(1).uint(VERSION).uint(2);
        self.authors.put(&mut e);
        self.attested_for.put(e.uint(3));
        self.cites.put(e.uint(4));
        self.text.put(e.uint(5));
        self.act.put(e.uint(6));
        e.finish()
    }

    /// Reads a body strictly.
    pub fn decode(bytes: &[u8]) -> Result<Self, Error> {
        if bytes.len() > BODY_BYTES_MAX {
            return Err(Error::RecordTooLong { bytes: bytes.len() });
        }
        let mut d = Decoder::new(bytes);
        d.map_of(7)?;
        let code = d.key(0)?.uint()?;
        let version = d.key(1)?.uint()?;
        if version != VERSION {
            return Err(Error::Version { what: "record", version });
        }
        let authors = Vec::<Author>::take(d.key(2)?)?;
        let attested_for = <Option<Hash> as Field>::take(d.key(3)?)?;
        let cites = Vec::take(d.key(4)?)?;
        let text = <Option<Hash> as Field>::take(d.key(5)?)?;
        let act = Act::take(code, d.key(6)?)?;
        d.finish()?;
        let mut people: Vec<ContributorId> = authors.iter().map(|author| author.contributor).collect();
        people.sort_unstable();
        let sum: u64 = authors.iter().map(|author| u64::from(author.share)).sum();
        let authored = !authors.is_empty() && authors.len() <= AUTHORS_MAX && is_set(&people);
        if !authored || sum != u64::from(MILLION) {
            return Err(Error::RecordAuthors);
        }
        if cites.len() > CITES_MAX || !is_set(&cites) {
            return Err(Error::RecordCites);
        }
        Ok(Self { authors, attested_for, cites, text, act })
    }
}

/// A body with its signatures. Nothing is verified before a [`Registry`](crate::registry::Registry) takes it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Record {
    /// When it was appended, in milliseconds since 1970: the log's word, not the authors'.
    pub time_ms: u64,
    /// What the authors say.
    pub body: Body,
    /// One for each author, in their order.
    pub signed: Vec<Signed>,
}

impl Record {
    /// The record's name in the log of this origin: the hash of what its first author signed. It does not depend on when
    /// the record is appended, so that an author can sign several records before the first of them is.
    pub fn id(&self, origin: &str) -> RecordId {
        digest(&message(
            origin,
            &self.signed[0].key,
            self.signed[0].sequence,
            &self.signed[0].previous,
            &self.body.encode(),
        ))
    }

    /// Whether the record can be an entry at all: its fields are as a decoder asks for them, each author signed, and it is
    /// not too long. What was decoded is.
    pub fn check_form(&self) -> Result<(), Error> {
        let bytes = Entry::Record(Box::new(self.clone())).encode();
        if bytes.len() > RECORD_ENTRY_BYTES_MAX {
            return Err(Error::EntryTooLong { bytes: bytes.len() });
        }
        Entry::decode(&bytes).map(|_| ())
    }

    pub(crate) fn encode(&self, e: &mut Encoder) {
        e.uint(2).uint(self.time_ms).uint(3).bytes(&self.body.encode());
        self.signed.put(e.uint(4));
    }

    pub(crate) fn decode(d: &mut Decoder<'_>) -> Result<Self, Error> {
        let time_ms = d.key(2)?.uint()?;
        let body = Body::decode(d.key(3)?.bytes()?)?;
        let signed = Vec::<Signed>::take(d.key(4)?)?;
        if signed.len() != body.authors.len() {
            return Err(Error::RecordAuthors);
        }
        Ok(Self { time_ms, body, signed })
    }
}

/// The digest of a text that is kept beside the log: `H("loam/addendum/v1\0" || salt16 || bytes)`.
///
/// The salt goes with the text, and is forgotten with it: whoever has neither learns nothing from the digest.
pub fn addendum(salt: &[u8; 16], bytes: &[u8]) -> Hash {
    digest_parts(&[b"loam/addendum/v1\0", salt, bytes])
}
