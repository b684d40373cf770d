//! A paper: a record that several people sign, on its way from one to the next, with all that it brings. It is a line, and
//! behind that the messages of an offer, in which whoever has not signed yet stands with a signature of zeros.

use std::collections::BTreeSet;
use std::fmt::Write as _;
use std::path::Path;

use anyhow::{Context as _, bail, ensure};
use loam_datanet::shown;
use loam_ledger::{Offer, Payload};
use loam_ledger_core::Hash;
use loam_ledger_core::record::{
    Act, Author, AuthorKey, Body, Record, RecordId, Signed, is_signed, message, operations_root,
};
use loam_ledger_core::registry::Registry;
use loam_proto::v1;
use prost::Message as _;
use serde_json::{Map, Value, json};

use super::write_private;
use crate::offered;

const FIRST_LINE: &str = "loam-paper-v1 ";

/// Where somebody will sign.
const UNSIGNED: Signed = Signed { key: Hash::ZERO, sequence: 0, previous: Hash::ZERO, signature: [0; 64] };

/// Characters of a text that are shown to whoever signs it.
const TEXT_CHARS_MAX: usize = 2_000;

/// A record that some have signed.
pub(super) struct Paper {
    /// For which log.
    origin: String,
    pub(super) offer: Offer,
}

impl Paper {
    /// A paper that nobody has signed.
    pub(super) fn new(origin: &str, mut offer: Offer) -> Self {
        offer.signed = vec![UNSIGNED; offer.body.authors.len()];
        Self { origin: origin.to_owned(), offer }
    }

    pub(super) fn read(path: &Path) -> anyhow::Result<Self> {
        let bytes = std::fs::read(path).with_context(|| path.display().to_string())?;
        Self::decode(&bytes).with_context(|| format!("{} is no paper to be signed", path.display()))
    }

    pub(super) fn write(self, path: &Path) -> anyhow::Result<()> {
        write_private(path, self.encode())
    }

    fn encode(self) -> Vec<u8> {
        let mut bytes = format!("{FIRST_LINE}{}\n", self.origin).into_bytes();
        offered::messages(self.offer).for_each(|message| bytes.extend(message.encode_length_delimited_to_vec()));
        bytes
    }

    fn decode(bytes: &[u8]) -> anyhow::Result<Self> {
        let end = bytes.iter().position(|byte| *byte == b'\n').context("its first line is missing")?;
        let line = std::str::from_utf8(&bytes[..end]).context("its first line is no text")?;
        let origin = line.strip_prefix(FIRST_LINE).context("its first line is another")?.to_owned();
        let (mut left, mut offer) = (&bytes[end + 1..], None);
        while !left.is_empty() {
            let message = v1::OfferRequest::decode_length_delimited(&mut left)?;
            offered::add(&mut offer, message).map_err(|problem| anyhow::anyhow!(problem.message))?;
        }
        let offer = offer.context("nothing is said on it")?;
        check(&offer)?;
        Ok(Self { origin, offer })
    }

    /// Signs as one of the authors, and takes away what was signed by others for a place in their chains where something
    /// else came to lie since.
    pub(super) fn sign(&mut self, registry: &Registry, key: &AuthorKey) -> anyhow::Result<()> {
        let origin = registry.origin();
        ensure!(self.origin == origin, "it is for the log {}, and this is {origin}", self.origin);
        let body = self.offer.body.encode();
        let place = self.offer.body.authors.iter().position(|author| author.contributor == key.contributor());
        let Some(place) = place else { bail!("{} is none of its authors", key.contributor()) };
        for (author, signed) in self.offer.body.authors.iter().zip(&mut self.offer.signed) {
            let stands = registry.people().find(&author.contributor).is_some_and(|found| {
                let message = message(origin, &signed.key, signed.sequence, &signed.previous, &body);
                (signed.sequence, signed.previous) == (found.sequence, found.previous)
                    && is_signed(&found.public_key, &message, &signed.signature)
            });
            if !stands {
                *signed = UNSIGNED;
            }
        }
        self.offer.signed[place] = key.sign(origin, &body);
        Ok(())
    }

    /// The record that the log has of this paper already, if it has one. A paper that is signed once more is another record:
    /// its authors' chains went on.
    pub(super) fn recorded(&self, registry: &Registry) -> Option<RecordId> {
        let Offer { body, signed, .. } = &self.offer;
        let record = Record { time_ms: 0, body: body.clone(), signed: signed.clone() };
        Some(record.id(&self.origin)).filter(|id| registry.record(id).is_some())
    }

    /// Who has not signed, or must again.
    pub(super) fn missing(&self) -> Vec<Hash> {
        let authors = self.offer.body.authors.iter().zip(&self.offer.signed);
        authors.filter(|(_, signed)| **signed == UNSIGNED).map(|(author, _)| author.contributor).collect()
    }

    /// What whoever signs says by it.
    pub(super) fn words(&self) -> String {
        let Offer { body, operations, text, .. } = &self.offer;
        let Body { authors, act, .. } = body;
        let mut words = format!("{}\n", act.words());
        let mut line = |name: &str, value: &str| {
            let _ = writeln!(words, "  {name:>14}  {value}");
        };
        act.fields().iter().for_each(|(name, value)| line(name, value));
        if !operations.is_empty() {
            line("brings", &format!("{} operations", operations.len()));
        }
        if let Some(text) = text {
            line("says", &shown::line(&String::from_utf8_lossy(&text.bytes), TEXT_CHARS_MAX));
        }
        for author in authors {
            line("author", &format!("{}, share {}", author.contributor, shown::percent(author.share)));
        }
        words
    }

    /// The same for a program, and who has signed.
    pub(super) fn shown(&self) -> Value {
        let Offer { body, signed, operations, text, .. } = &self.offer;
        let fields: Map<String, Value> =
            body.act.fields().into_iter().map(|(name, value)| (name.to_owned(), value.into())).collect();
        let author = |(author, signed): (&Author, &Signed)| {
            json!({
                "contributor": author.contributor.to_hex(), "share_millionths": author.share,
                "signed": *signed != UNSIGNED,
            })
        };
        json!({
            "log": self.origin, "record": body.act.words(), "fields": fields, "operations": operations.len(),
            "text": text.as_ref().map(|text| String::from_utf8_lossy(&text.bytes).into_owned()),
            "authors": body.authors.iter().zip(signed).map(author).collect::<Vec<_>>(),
        })
    }
}

/// Whether what is shown beside the record is what the record has digests of: it is shown to whoever signs.
fn check(offer: &Offer) -> anyhow::Result<()> {
    let text = offer.text.as_ref().map(Payload::digest);
    ensure!(text.is_none() || text == offer.body.text, "its text is not the one that would be signed");
    let list = match &offer.body.act {
        Act::ContributionProposed(act) => act.operations,
        _ => operations_root(&[]),
    };
    ensure!(operations_root(&offer.operations) == list, "its operations are not those that would be signed");
    let brought: BTreeSet<Hash> = offer.operations.iter().flat_map(|it| &it.to).map(|to| to.content).collect();
    let known = offer.payloads.iter().all(|row| brought.contains(&row.digest()));
    ensure!(known, "it brings rows that no operation of it has");
    Ok(())
}
