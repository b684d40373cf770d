//! `loam adapter train`: a training is recorded, whatever came of it; and the same beside what is published.

use std::path::PathBuf;

use anyhow::Context as _;
use clap::Args;
use loam_datanet::shown::{line, percent, short};
use loam_ledger_core::Hash;
use loam_ledger_core::record::{Act, Generation, RecordId, RevisionShare, TrainRunFinished};
use serde_json::json;

use super::called;
use super::content::{Content, Digests, digest_of_file};
use crate::records::book::Book;
use crate::records::shares::{Part, part, whole};
use crate::records::{Said, Signing, names};

/// How something was trained.
#[derive(Args)]
pub(super) struct Training {
    /// A dataset revision that it saw, by its id or the beginning of that, with its share: 3f2a9c41=60%, or 0.6. All of
    /// them sum to 100%; one alone needs no share.
    #[arg(long = "source", value_name = "REVISION=SHARE", value_parser = part)]
    sources: Vec<Part>,
    /// A grant under which it used them, where a dataset is not open.
    #[arg(long = "grant", value_name = "RECORD")]
    grants: Vec<String>,
    /// The file that configured the training, seed included. Its digest alone is recorded.
    #[arg(long, value_name = "FILE")]
    configuration: Option<PathBuf>,
    /// The program that trained. Its digest alone is recorded.
    #[arg(long, value_name = "FILE")]
    code: Option<PathBuf>,
}

impl Training {
    /// Whether anything is said of it.
    pub(super) fn is_said(&self) -> bool {
        !self.sources.is_empty() || !self.grants.is_empty() || self.configuration.is_some() || self.code.is_some()
    }

    /// As a record says it; revisions and grants are known ones.
    pub(super) fn act(
        &self,
        book: &dyn Book,
        digests: &Digests,
        mut parents: Vec<Generation>,
    ) -> anyhow::Result<TrainRunFinished> {
        let datasets = book.registry().datasets();
        let revision = |word: &str| one(book, word, "revisions", |id| datasets.revision(id).is_some());
        let sources = whole(&self.sources, "sources", revision)?;
        let grant = |word: &String| one(book, word, "grants", |id| datasets.grant(id).is_some());
        let mut grants = self.grants.iter().map(grant).collect::<anyhow::Result<Vec<_>>>()?;
        parents.sort_unstable();
        parents.dedup();
        grants.sort_unstable();
        grants.dedup();
        Ok(TrainRunFinished {
            generation: digests.generation,
            base: digests.base,
            parents,
            sources: sources.into_iter().map(|(revision, share)| RevisionShare { revision, share }).collect(),
            grants,
            configuration: digest_of_file(self.configuration.as_deref())?,
            code: digest_of_file(self.code.as_deref())?,
        })
    }
}

/// The record of one kind that somebody calls by its id or the beginning of it.
pub(super) fn one(
    book: &dyn Book,
    word: &str,
    what: &str,
    is_one: impl Fn(&RecordId) -> bool,
) -> anyhow::Result<RecordId> {
    names::one_of(word, book.registry().records().map(|(id, _)| *id).filter(|id| is_one(id)), what)
}

/// What was seen, a line each: `  60% of soil-talk, revision 3f2a9c41d0aa`.
pub(super) fn told(book: &dyn Book, sources: &[RevisionShare]) -> anyhow::Result<Vec<String>> {
    let told = |source: &RevisionShare| {
        let RevisionShare { revision, share } = source;
        let dataset = book.registry().datasets().revision(revision).context("a source is a revision")?.dataset;
        let (share, name) = (percent(*share), names::about(book, &dataset)?.name);
        Ok(format!("{share} of {}, revision {}", line(&name, 64), short(revision)))
    };
    sources.iter().map(told).collect()
}

/// What `loam adapter train` takes.
#[derive(Args)]
pub(crate) struct Train {
    #[command(flatten)]
    signing: Signing,
    #[command(flatten)]
    content: Content,
    #[command(flatten)]
    training: Training,
    /// A generation that it went on from: its digest, or what a published adapter is called by.
    #[arg(long = "parent", value_name = "GENERATION")]
    parents: Vec<String>,
    /// What was tried and what came of it, in your own words. They are kept beside the record.
    #[arg(long, value_name = "WORDS")]
    note: Option<String>,
    /// Say it as one JSON object.
    #[arg(long)]
    json: bool,
}

/// Records a training alone.
pub(super) fn run(train: &Train) -> anyhow::Result<()> {
    let digests = train.content.digests()?;
    let mut pen = train.signing.open()?;
    // One that a training went on from need not be published.
    let parent = |word: &String| Hash::from_hex(word).or_else(|_| called::find(&*pen.book, word));
    let parents = train.parents.iter().map(parent).collect::<anyhow::Result<Vec<_>>>()?;
    let act = train.training.act(&*pen.book, &digests, parents)?;
    let told = told(&*pen.book, &act.sources)?;
    let said = Said { text: train.note.clone(), ..Act::TrainRunFinished(act).into() };
    let at = pen.say(said)?.at;
    pen.book.close()?;
    if train.json {
        let generation = digests.generation.map(|generation| generation.to_hex());
        println!("{}", json!({"run": at.id.to_hex(), "entry": at.index, "generation": generation}));
        return Ok(());
    }
    match digests.generation {
        Some(generation) => println!("a training that made {generation}"),
        None => println!("a training that led nowhere"),
    }
    told.iter().for_each(|line| println!("  {line}"));
    println!("recorded as {}, entry {}", at.id, at.index);
    if digests.generation.is_some() {
        println!("`loam adapter publish NAME --run {}` publishes what it made", at.id);
    }
    Ok(())
}
