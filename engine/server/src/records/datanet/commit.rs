//! `loam datanet commit`: an owner makes a revision of what was offered and found good.

use std::collections::BTreeSet;

use anyhow::{Context as _, bail, ensure};
use clap::Args;
use loam_datanet::diff::Diff;
use loam_datanet::shown::short;
use loam_ledger_core::record::{
    Act, ContributorId, LIST_MAX, ListRoot, Operation, OperationFault, RecordId, RevisionCommitted, Rows, Verdict,
    apply, operations_root, rows_root,
};
use serde_json::json;

use super::ground::{Ground, find_revision, newest, owns, place};
use super::join::{self, Join, Joined};
use super::review::{Recorded, find_contribution, recorded};
use super::{many, thousands};
use crate::progress::Bar;
use crate::records::book::Book;
use crate::records::{Said, Signing, names};

/// Contributions that one revision takes by itself: their ids fit a record, with room for who signs it.
const TAKEN_MAX: usize = 512;

#[derive(Args)]
pub(crate) struct Commit {
    #[command(flatten)]
    signing: Signing,
    /// The dataset, by its name or its id.
    dataset: String,
    /// What to commit, in this order. Without any: all that somebody else accepted and nobody rejects.
    contributions: Vec<String>,
    #[command(flatten)]
    join: Join,
    /// The revision that it goes on from; the newest where it is absent.
    #[arg(long, value_name = "REVISION")]
    revision: Option<String>,
    /// What people should know of the revision.
    #[arg(long, value_name = "TEXT")]
    message: Option<String>,
    /// Say it as one JSON object.
    #[arg(long)]
    json: bool,
}

pub(super) fn run(commit: &Commit) -> anyhow::Result<()> {
    let mut pen = commit.signing.open()?;
    let dataset = names::dataset(&*pen.book, &commit.dataset)?;
    let asked = commit.revision.as_deref().map(|word| find_revision(&*pen.book, &dataset, word)).transpose()?;
    let (joined, onto) = commit.join.revisions(&*pen.book, &dataset, asked)?;
    let onto = onto.map_or_else(|| newest(&*pen.book, &dataset), |onto| Ok(Some(onto)))?;
    let ground = Ground::on(&*pen.book, dataset, onto)?;
    check_owner(&*pen.book, &ground, &pen.file.contributor())?;
    let joined = joined.map(|joined| commit.join.work(&*pen.book, &ground, joined)).transpose()?;
    let mut bar = Bar::new("committing");
    bar.begin();
    let taken = match &joined {
        Some(joined) => Draft::joining(&*pen.book, &ground, joined)?,
        None if commit.contributions.is_empty() => {
            let found = found_good(&*pen.book, &ground)?;
            Draft::as_far_as_they_fit(&*pen.book, &ground, &found)?
        }
        None => Draft::all_of(&*pen.book, &ground, &named(&*pen.book, &ground, &commit.contributions)?)?,
    };
    let act = RevisionCommitted {
        dataset: ground.dataset,
        parents: ground.revision.into_iter().chain(joined.iter().map(|joined| joined.revision)).collect(),
        contributions: taken.contributions.clone(),
        operations: operations_root(&taken.operations),
        rows: rows_root(&taken.rows),
    };
    let (rows, number) = (act.rows, number(&*pen.book, &ground) + 1);
    let at = pen.say(Said { text: commit.message.clone(), ..Act::RevisionCommitted(act).into() })?.at;
    bar.end();
    let diff = Diff::between(&ground.rows, &taken.rows);
    if commit.json {
        let before = rows_root(&ground.rows);
        let ids = |ids: &[RecordId]| ids.iter().map(|id| id.to_hex()).collect::<Vec<_>>();
        println!(
            "{}",
            json!({
                "revision": at.id.to_hex(), "entry": at.index, "number": number, "dataset": ground.dataset.to_hex(),
                "contributions": ids(&taken.contributions), "do_not_fit": ids(&taken.unfit), "left": taken.left,
                "joined": joined.as_ref().map(|joined| joined.revision.to_hex()),
                "left_out": joined.as_ref().map(|joined| ids(&joined.left_out)),
                "rows": rows.count, "rows_root": rows.root.to_hex(), "rows_before": before.count,
                "added": diff.added.len(), "removed": diff.removed.len(), "changed": diff.changed.len(),
            })
        );
    } else {
        for id in &taken.unfit {
            println!("left out: contribution {} ({DOES_NOT_FIT})", short(id));
        }
        if taken.left > 0 {
            println!("left for the next revision: {}", many(taken.left, "contribution", "contributions"));
        }
        println!("revision {}, entry {}", at.id, at.index);
        if let Some(joined) = &joined {
            println!("  joins revision {}", short(&joined.revision));
        }
        tell(&ground, &taken, &rows, &diff, number);
    }
    pen.book.close()
}

const DOES_NOT_FIT: &str = "rows that it goes on from have changed: its author can offer it again on the new revision";

fn tell(ground: &Ground, taken: &Draft, rows: &ListRoot, diff: &Diff, number: usize) {
    let Diff { added, removed, changed } = diff;
    let count = usize::try_from(rows.count).unwrap_or(usize::MAX);
    println!("  revision {number} of {}, with {}", ground.about.name, many(count, "row", "rows"));
    let [added, removed, changed] = [added, removed, changed].map(|rows| thousands(rows.len()));
    println!("  {added} added, {removed} removed, {changed} changed, by:");
    for id in &taken.contributions {
        println!("    contribution {}", short(id));
    }
}

/// How many revisions lead to the one that is gone on from, itself included.
fn number(book: &dyn Book, ground: &Ground) -> usize {
    ground.revision.map_or(0, |revision| book.registry().datasets().chain(&revision).count())
}

fn check_owner(book: &dyn Book, ground: &Ground, signer: &ContributorId) -> anyhow::Result<()> {
    let names: Vec<String> = ground.noted(book)?.owners.iter().map(short).collect();
    ensure!(owns(book, ground, signer)?, "only an owner of {} commits to it: {}", ground.about.name, names.join(", "));
    Ok(())
}

/// Contributions that somebody named.
fn named(book: &dyn Book, ground: &Ground, words: &[String]) -> anyhow::Result<Vec<RecordId>> {
    ensure!(words.len() <= LIST_MAX, "one revision takes {LIST_MAX} contributions at the most");
    let ids = words.iter().map(|word| find_contribution(book, word)).collect::<anyhow::Result<Vec<_>>>()?;
    let (mut seen, before) = (BTreeSet::new(), committed_before(book, ground));
    for id in &ids {
        let of = book.registry().datasets().contribution(id).map(|contribution| contribution.dataset);
        ensure!(of == Some(ground.dataset), "contribution {} is to another dataset", short(id));
        ensure!(seen.insert(*id), "contribution {} is named twice", short(id));
        ensure!(!before.contains(id), "contribution {} is in {} already", short(id), ground.revision_word());
    }
    let reviews = recorded(book)?;
    for id in &ids {
        match standing(reviews.get(id).map_or(&[], |reviews| reviews)) {
            Standing::Accepted => {}
            Standing::Waits => {
                eprintln!("loam: nobody else accepted contribution {}; you commit it all the same", short(id));
            }
            Standing::Rejected => {
                eprintln!("loam: a reviewer rejected contribution {}; you commit it all the same", short(id));
            }
        }
    }
    Ok(ids)
}

fn committed_before(book: &dyn Book, ground: &Ground) -> BTreeSet<RecordId> {
    let datasets = book.registry().datasets();
    let chain = ground.revision.iter().flat_map(|revision| datasets.chain(revision));
    chain.flat_map(|(_, revision)| revision.contributions.iter().copied()).collect()
}

/// What reviewers make of a contribution.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Standing {
    /// Somebody accepts it, and nobody rejects it.
    Accepted,
    /// Nobody accepts it yet.
    Waits,
    /// Somebody rejects it.
    Rejected,
}

/// Of each reviewer the last word counts. The ledger takes no review of anybody's own work.
pub(super) fn standing(reviews: &[Recorded]) -> Standing {
    let last = |review: &&Recorded| {
        let later = reviews.iter().filter(|other| other.index > review.index);
        !later.into_iter().any(|other| other.reviewers == review.reviewers)
    };
    let verdicts: Vec<Verdict> = reviews.iter().filter(last).map(|review| review.found.verdict).collect();
    if verdicts.contains(&Verdict::Reject) {
        Standing::Rejected
    } else if verdicts.contains(&Verdict::Accept) {
        Standing::Accepted
    } else {
        Standing::Waits
    }
}

/// Contributions in no revision yet that somebody accepts and nobody rejects, in the order of the log.
fn found_good(book: &dyn Book, ground: &Ground) -> anyhow::Result<Vec<RecordId>> {
    let (datasets, reviews) = (book.registry().datasets(), recorded(book)?);
    let mut open: Vec<RecordId> =
        datasets.contributions_to(&ground.dataset).map(|(id, _)| *id).filter(|id| !datasets.is_committed(id)).collect();
    open.sort_by_key(|id| place(book, id));
    let stands = |id: &RecordId| standing(reviews.get(id).map_or(&[], |reviews| reviews));
    let good: Vec<RecordId> = open.iter().copied().filter(|id| stands(id) == Standing::Accepted).collect();
    if good.is_empty() {
        let name = &ground.about.name;
        let waiting: Vec<String> = open.iter().filter(|id| stands(id) == Standing::Waits).map(short).collect();
        if waiting.is_empty() {
            bail!("nothing is offered to {name} that is not committed or rejected: nothing was recorded");
        }
        bail!(
            "nothing that is offered to {name} was accepted by somebody else; these wait for a review: {}; name one to \
             commit it without",
            waiting.join(", ")
        );
    }
    Ok(good)
}

/// Contributions that are committed, and what they come to.
struct Draft {
    contributions: Vec<RecordId>,
    operations: Vec<Operation>,
    rows: Rows,
    /// Those that rows have changed under.
    unfit: Vec<RecordId>,
    /// How many wait for the next revision, because this one has no place for more.
    left: usize,
}

impl Draft {
    fn on(ground: &Ground) -> Self {
        Self {
            contributions: Vec::new(),
            operations: Vec::new(),
            rows: ground.rows.clone(),
            unfit: Vec::new(),
            left: 0,
        }
    }

    fn take(&mut self, book: &dyn Book, ground: &Ground, id: &RecordId) -> anyhow::Result<Result<(), OperationFault>> {
        let contribution = book.registry().datasets().contribution(id);
        let operations = book.operations(&contribution.context("it was found in the registry")?.operations)?;
        if let Err(fault) = apply(&mut self.rows, &operations) {
            // It may have begun. What came before it is applied again, which is dear, and seldom.
            self.rows = ground.rows.clone();
            apply(&mut self.rows, &self.operations)?;
            return Ok(Err(fault));
        }
        self.operations.extend(operations);
        self.contributions.push(*id);
        Ok(Ok(()))
    }

    fn all_of(book: &dyn Book, ground: &Ground, ids: &[RecordId]) -> anyhow::Result<Self> {
        let mut taken = Self::on(ground);
        for id in ids {
            let fits = taken.take(book, ground, id)?;
            fits.with_context(|| format!("contribution {} does not fit: {DOES_NOT_FIT}", short(id)))?;
        }
        Ok(taken)
    }

    /// All that is joined and not left out; without any of it, the joined revision is a parent all the same.
    fn joining(book: &dyn Book, ground: &Ground, joined: &Joined) -> anyhow::Result<Self> {
        let (ids, mut taken) = (&joined.contributions, Self::on(ground));
        ensure!(
            ids.len() <= TAKEN_MAX,
            "one revision takes {TAKEN_MAX} contributions, and {} would come in",
            ids.len()
        );
        for id in ids {
            if taken.take(book, ground, id)?.is_err() {
                taken.unfit.push(*id);
            }
        }
        ensure!(taken.unfit.is_empty(), "{}", join::does_not_fit(ground, &taken.unfit));
        Ok(taken)
    }

    fn as_far_as_they_fit(book: &dyn Book, ground: &Ground, ids: &[RecordId]) -> anyhow::Result<Self> {
        let mut taken = Self::on(ground);
        for (place, id) in ids.iter().enumerate() {
            if taken.contributions.len() == TAKEN_MAX {
                taken.left = ids.len() - place;
                break;
            }
            if taken.take(book, ground, id)?.is_err() {
                taken.unfit.push(*id);
            }
        }
        let unfit = taken.unfit.iter().map(short).collect::<Vec<_>>().join(", ");
        ensure!(!taken.contributions.is_empty(), "nothing can be committed, {unfit}: {DOES_NOT_FIT}");
        Ok(taken)
    }
}
