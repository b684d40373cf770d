//! What a command goes on from: a dataset, one of its revisions, its rows and what they say.

use std::collections::{BTreeMap, BTreeSet};

use anyhow::{Context as _, bail};
use loam_datanet::Row;
use loam_datanet::shown::short;
use loam_ledger_core::Hash;
use loam_ledger_core::record::{Act, ContributionProposed, ContributorId, RecordId, Rows};
use loam_ledger_core::registry::Dataset;

use crate::progress::Bar;
use crate::records::book::{Book, Found, rows};
use crate::records::names::{self, About};

/// A dataset, as somebody called it.
pub(super) struct Ground {
    pub(super) dataset: RecordId,
    pub(super) about: About,
    /// None before the first.
    pub(super) revision: Option<RecordId>,
    pub(super) rows: Rows,
}

/// What rows say, by the digests of it; those that can be opened.
pub(super) type Texts = BTreeMap<Hash, Row>;

impl Ground {
    /// On the revision that is asked for; else on the newest, or on nothing where there is none yet.
    pub(super) fn find(book: &dyn Book, word: &str, revision: Option<&str>) -> anyhow::Result<Self> {
        let dataset = names::dataset(book, word)?;
        let revision = match revision {
            Some(word) => Some(find_revision(book, &dataset, word)?),
            None => newest(book, &dataset)?,
        };
        Self::on(book, dataset, revision)
    }

    /// On a revision, or on nothing.
    pub(super) fn on(book: &dyn Book, dataset: RecordId, revision: Option<RecordId>) -> anyhow::Result<Self> {
        let rows = revision.map_or_else(|| Ok(Rows::new()), |revision| rows(book, &revision))?;
        Ok(Self { dataset, about: names::about(book, &dataset)?, revision, rows })
    }

    /// What the registry knows of the dataset.
    pub(super) fn noted<'b>(&self, book: &'b dyn Book) -> anyhow::Result<&'b Dataset> {
        noted(book, &self.dataset)
    }

    /// The revision, where a command needs one.
    pub(super) fn revision(&self) -> anyhow::Result<RecordId> {
        self.revision.with_context(|| {
            format!("{} has no revision yet: its owner makes one with `loam datanet commit`", self.about.name)
        })
    }

    /// The revision as people call it.
    pub(super) fn revision_word(&self) -> String {
        self.revision.map_or_else(|| "no rows yet".to_owned(), |revision| format!("revision {}", short(&revision)))
    }

    /// The dataset as it can be typed: its name, or its id where a shell would make something else of the name.
    pub(super) fn word(&self) -> String {
        typed(&self.about.name, &self.dataset)
    }

    /// The row that somebody calls by its id, or the beginning of it.
    pub(super) fn row(&self, word: &str) -> anyhow::Result<Hash> {
        names::one_of(word, self.rows.keys().copied(), &format!("rows of {}", self.revision_word()))
    }
}

/// A name where it can be typed as it stands, or the beginning of an id.
pub(super) fn typed(name: &str, id: &RecordId) -> String {
    let plain = name.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-_.".contains(&byte));
    if plain && !name.starts_with('-') { name.to_owned() } else { short(id) }
}

/// Whether somebody owns the dataset, or stands for who does.
pub(super) fn owns(book: &dyn Book, ground: &Ground, signer: &ContributorId) -> anyhow::Result<bool> {
    let people = book.registry().people();
    Ok(ground.noted(book)?.owners.iter().any(|owner| people.standing(owner) == people.standing(signer)))
}

/// What the registry knows of a dataset.
pub(super) fn noted<'b>(book: &'b dyn Book, dataset: &RecordId) -> anyhow::Result<&'b Dataset> {
    book.registry().datasets().dataset(dataset).with_context(|| format!("{dataset} is no dataset"))
}

/// A dataset's revision that somebody calls by its id, the beginning of it, or its number from 1.
pub(super) fn find_revision(book: &dyn Book, dataset: &RecordId, word: &str) -> anyhow::Result<RecordId> {
    let datasets = book.registry().datasets();
    let revisions = datasets.revisions_of(dataset).map(|(id, _)| *id);
    let Some(number) = word.parse::<usize>().ok().filter(|_| word.len() < names::PREFIX_MIN) else {
        return names::one_of(word, revisions, "revisions of this dataset");
    };
    let found: Vec<RecordId> = revisions.filter(|id| datasets.chain(id).count() == number).collect();
    match found[..] {
        [id] => Ok(id),
        [] => bail!("there is no revision {number} of this dataset"),
        _ => bail!("{} revisions have the number {number}: name one by its id, {}", found.len(), listed(&found)),
    }
}

fn listed(ids: &[RecordId]) -> String {
    ids.iter().map(Hash::to_hex).collect::<Vec<_>>().join(", ")
}

/// Revisions that nothing goes on from, in the order of the log.
pub(super) fn heads(book: &dyn Book, dataset: &RecordId) -> Vec<RecordId> {
    let registry = book.registry();
    let revisions = || registry.datasets().revisions_of(dataset);
    let gone_on: BTreeSet<&RecordId> = revisions().flat_map(|(_, revision)| &revision.parents).collect();
    let mut heads: Vec<RecordId> = revisions().map(|(id, _)| *id).filter(|id| !gone_on.contains(id)).collect();
    heads.sort_by_key(|id| place(book, id));
    heads
}

/// The newest revision, where one is; nothing before the first.
pub(super) fn newest(book: &dyn Book, dataset: &RecordId) -> anyhow::Result<Option<RecordId>> {
    match heads(book, dataset)[..] {
        [] => Ok(None),
        [newest] => Ok(Some(newest)),
        ref heads => {
            bail!(
                "{} revisions stand side by side; say which with --revision, or join them (`loam datanet commit --join`): {}",
                heads.len(),
                listed(heads)
            )
        }
    }
}

/// Where a record lies in the log.
pub(super) fn place(book: &dyn Book, id: &RecordId) -> u64 {
    book.registry().record(id).map_or(u64::MAX, |noted| noted.index)
}

/// What a contribution's record says.
pub(super) fn proposed(book: &dyn Book, id: &RecordId) -> anyhow::Result<ContributionProposed> {
    match book.record(id)?.body.act {
        Act::ContributionProposed(act) => Ok(act),
        act => bail!("{id} is no contribution, but {}", act.words()),
    }
}

/// Opens what rows say. What was redacted, or is no row in its one spelling, is left out.
pub(super) fn texts<'h>(book: &dyn Book, contents: impl IntoIterator<Item = &'h Hash>) -> anyhow::Result<Texts> {
    let wanted: Vec<Hash> = contents.into_iter().copied().collect();
    let (mut texts, mut bar, mut done) = (Texts::new(), Bar::new("opening rows"), 0);
    book.payloads(&wanted, &mut |content, found| {
        if let Found::Here(payload) = found
            && let Some(row) = Row::stored(&payload.bytes)
        {
            texts.insert(*content, row);
        }
        done += 1;
        bar.count(done, wanted.len());
        Ok(())
    })?;
    bar.end();
    Ok(texts)
}
