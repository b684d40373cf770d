//! Joining: a dataset that was forked has one head again, a revision of two parents. Its rows are the first's, changed by
//! the work that is in the second and not in it.

use std::collections::BTreeSet;

use anyhow::{bail, ensure};
use clap::Args;
use loam_datanet::shown::short;
use loam_ledger_core::record::RecordId;
use loam_ledger_core::registry::Datasets;

use super::ground::{Ground, find_revision, heads};
use crate::records::book::Book;
use crate::records::names;

#[derive(Args)]
pub(super) struct Join {
    /// Another revision, which this one joins, so that a forked dataset has one head again: all work that is in it, and not
    /// in the one that is gone on from, comes in.
    #[arg(long, value_name = "REVISION", conflicts_with = "contributions")]
    join: Option<String>,
    /// Work of the joined revision that is left out, where both sides changed the same rows. It can be offered again.
    #[arg(long, value_name = "CONTRIBUTION", requires = "join")]
    leave: Vec<String>,
}

/// A revision that is joined.
pub(super) struct Joined {
    pub(super) revision: RecordId,
    /// Its work that comes in, in its order.
    pub(super) contributions: Vec<RecordId>,
    pub(super) left_out: Vec<RecordId>,
}

impl Join {
    /// The revision that is joined, and the one that is gone on from where nobody says which: the only other head.
    pub(super) fn revisions(
        &self,
        book: &dyn Book,
        dataset: &RecordId,
        onto: Option<RecordId>,
    ) -> anyhow::Result<(Option<RecordId>, Option<RecordId>)> {
        let Some(word) = &self.join else { return Ok((None, onto)) };
        let joined = find_revision(book, dataset, word)?;
        if onto.is_some() {
            return Ok((Some(joined), onto));
        }
        let others: Vec<RecordId> = heads(book, dataset).into_iter().filter(|head| *head != joined).collect();
        match others[..] {
            [other] => Ok((Some(joined), Some(other))),
            [] => bail!("revision {} has no other beside it that it could be joined with", short(&joined)),
            _ => bail!("{} other revisions stand beside it: say with --revision which it is joined with", others.len()),
        }
    }

    /// What comes in of a revision, and what is left out.
    pub(super) fn work(&self, book: &dyn Book, ground: &Ground, joined: RecordId) -> anyhow::Result<Joined> {
        let datasets = book.registry().datasets();
        let onto = ground.revision()?;
        for (behind, of) in [(joined, onto), (onto, joined)] {
            let behind_it = all_behind(datasets, of).contains(&behind);
            ensure!(
                !behind_it,
                "revision {} goes on from {} already: nothing is to be joined",
                short(&of),
                short(&behind)
            );
        }
        let before = work_of(datasets, onto);
        let before: BTreeSet<&RecordId> = before.iter().collect();
        let brought: Vec<RecordId> = work_of(datasets, joined).into_iter().filter(|id| !before.contains(id)).collect();
        let what = format!("contributions that revision {} would bring", short(&joined));
        let left_out = self.leave.iter().map(|word| names::one_of(word, brought.iter().copied(), &what));
        let left_out = left_out.collect::<anyhow::Result<Vec<_>>>()?;
        let contributions = brought.into_iter().filter(|id| !left_out.contains(id)).collect();
        Ok(Joined { revision: joined, contributions, left_out })
    }
}

/// What to do where not all that is joined fits.
pub(super) fn does_not_fit(ground: &Ground, unfit: &[RecordId]) -> String {
    let leave: Vec<String> = unfit.iter().map(|id| format!("--leave {}", short(id))).collect();
    format!(
        "both sides changed the same rows: leave work out that does not fit {} any more, with {}; its authors can offer it \
         again on the joined revision",
        ground.revision_word(),
        leave.join(" ")
    )
}

/// The contributions that make a revision's rows, in their order.
fn work_of(datasets: &Datasets, revision: RecordId) -> Vec<RecordId> {
    let chain: Vec<_> = datasets.chain(&revision).collect();
    chain.iter().rev().flat_map(|(_, revision)| revision.contributions.iter().copied()).collect()
}

/// A revision, and all that it goes on from, whichever parent leads there.
fn all_behind(datasets: &Datasets, revision: RecordId) -> BTreeSet<RecordId> {
    let (mut behind, mut open) = (BTreeSet::new(), vec![revision]);
    while let Some(id) = open.pop() {
        if behind.insert(id) {
            open.extend(datasets.revision(&id).iter().flat_map(|revision| revision.parents.iter().copied()));
        }
    }
    behind
}
