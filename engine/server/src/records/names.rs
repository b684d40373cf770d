//! How people call things: a record by the beginning of its id, a dataset by its name too.

use anyhow::{Context as _, bail, ensure};
use loam_datanet::shown::line;
use loam_ledger_core::Hash;
use loam_ledger_core::entry::RECORD_ENTRY_BYTES_MAX;
use loam_ledger_core::hash::digest;
use loam_ledger_core::record::RecordId;
use serde_json::{Value, json};

use super::book::{Book, text_of};
use super::licence::Licence;

/// Digits by which a record may be called at least: fewer could be a word.
pub(super) const PREFIX_MIN: usize = 8;

/// Characters that are shown of a name and a licence, and of a description.
const LINE_MAX: usize = 200;
const TEXT_MAX: usize = 4_000;

/// What a dataset's text says of it; the registry knows nothing but digests.
pub(super) struct About {
    pub(super) name: String,
    pub(super) description: String,
    /// An SPDX identifier, or words.
    pub(super) licence: String,
    /// The licence's text, where it was given and has a place here: what the record holds the digest of.
    pub(super) licence_text: Option<String>,
}

impl About {
    /// What a new dataset's text will say. A licence that is too long to be kept in it is left to whoever has the file.
    pub(super) fn new(name: &str, description: &str, licence: &Licence) -> Self {
        let (name, description) = (name.to_owned(), description.to_owned());
        let licence_text = licence.text.clone();
        let mut about = Self { name, description, licence: licence.words.clone(), licence_text };
        if about.licence_text.is_some() && about.to_text().len() > RECORD_ENTRY_BYTES_MAX {
            eprintln!("loam: the licence is longer than what is kept beside a record: keep the file for whoever asks");
            about.licence_text = None;
        }
        about
    }

    /// As it is kept beside the record.
    pub(super) fn to_text(&self) -> String {
        let mut said = json!({"description": self.description, "licence": self.licence, "name": self.name});
        if let Some(text) = &self.licence_text {
            said["licence_text"] = text.as_str().into();
        }
        said.to_string()
    }

    /// As a terminal may have it: what somebody wrote moves no cursor.
    fn shown(self) -> Self {
        let Self { name, description, licence, licence_text } = self;
        Self {
            licence_text,
            name: line(&name, LINE_MAX),
            description: line(&description, TEXT_MAX),
            licence: line(&licence, LINE_MAX),
        }
    }

    fn read(text: &str) -> Option<Self> {
        let value: Value = serde_json::from_str(text).ok()?;
        let field = |name: &str| value.get(name)?.as_str().map(str::to_owned);
        let (name, description, licence) = (field("name")?, field("description")?, field("licence")?);
        Some(Self { name, description, licence, licence_text: field("licence_text") })
    }
}

/// What a dataset is called; by its id, where its text was never given here or cannot be read any more.
pub(super) fn about(book: &dyn Book, dataset: &RecordId) -> anyhow::Result<About> {
    let said = text_of(book, dataset)?.and_then(|text| About::read(&text)).map(About::shown);
    let (description, licence) = Default::default();
    let nameless = || About { name: dataset.to_hex(), description, licence, licence_text: None };
    let mut about = said.unwrap_or_else(nameless);
    // A text that is not the one that was recorded is nobody's licence.
    let recorded = book.registry().datasets().dataset(dataset).map(|dataset| dataset.licence);
    about.licence_text = about.licence_text.filter(|text| recorded == Some(digest(text.as_bytes())));
    Ok(about)
}

/// The dataset that somebody calls by its id, the beginning of its id, or its name.
pub(super) fn dataset(book: &dyn Book, word: &str) -> anyhow::Result<RecordId> {
    let all = || book.registry().datasets().all().map(|(id, _)| *id);
    if let Some(id) = by_id(word, all(), "datasets")? {
        return Ok(id);
    }
    let mut called = Vec::new();
    for id in all() {
        if about(book, &id)?.name == word {
            called.push(id);
        }
    }
    match called[..] {
        [id] => Ok(id),
        [] => bail!("no dataset here is called {word:?}, by name or by id"),
        // A name is whose was first: nobody takes it from them by using it again.
        _ => {
            called.sort_by_key(|id| book.registry().record(id).map(|noted| noted.index));
            eprintln!("loam: {} datasets are called {word:?}; the oldest is meant: {}", called.len(), listed(&called));
            Ok(called[0])
        }
    }
}

/// The one of some records that somebody calls by its id or the beginning of it.
pub(super) fn one_of(word: &str, all: impl Iterator<Item = RecordId>, what: &str) -> anyhow::Result<RecordId> {
    by_id(word, all, what)?.with_context(|| {
        let few = word.len() < PREFIX_MIN;
        let longer = if few { format!(": give {PREFIX_MIN} digits of its id or more") } else { String::new() };
        format!("{word:?} is none of the {what} here{longer}")
    })
}

/// The same where there may be none: a word that is no id, or the id of nothing here by its beginning.
pub(super) fn by_id(
    word: &str,
    mut all: impl Iterator<Item = RecordId>,
    what: &str,
) -> anyhow::Result<Option<RecordId>> {
    let word = word.to_ascii_lowercase();
    let is_hex = word.bytes().all(|byte| byte.is_ascii_hexdigit());
    if !is_hex || word.len() < PREFIX_MIN {
        return Ok(None);
    }
    if let Ok(id) = Hash::from_hex(&word) {
        ensure!(all.any(|one| one == id), "{id} is none of the {what} here");
        return Ok(Some(id));
    }
    let found: Vec<RecordId> = all.filter(|id| id.to_hex().starts_with(&word)).collect();
    match found[..] {
        [] => Ok(None),
        [id] => Ok(Some(id)),
        _ => bail!("{} of the {what} begin with {word}: {}", found.len(), listed(&found)),
    }
}

fn listed(ids: &[RecordId]) -> String {
    ids.iter().map(Hash::to_hex).collect::<Vec<_>>().join(", ")
}
