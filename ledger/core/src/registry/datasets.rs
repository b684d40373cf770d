//! Datasets: owners, contributions, revisions, grants, redacted rows.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use crate::hash::Hash;
use crate::record::{
    Access, ActCount, Author, ContributionProposed, ContributorId, DatasetCreated, GrantGiven, GrantRevoked, GrantUse,
    ListRoot, OperationFault, OwnersChanged, RecordId, RevisionCommitted, RowId, RowRedacted, Rows, apply,
    operations_root, rows_root,
};
use crate::registry::people::People;
use crate::registry::refusal::Refusal;
use crate::registry::{Lists, Said};

/// What is known of datasets.
#[derive(Clone, Debug, Default)]
pub struct Datasets {
    datasets: BTreeMap<RecordId, Dataset>,
    contributions: BTreeMap<RecordId, Contribution>,
    /// Those that are in some revision.
    committed: BTreeSet<RecordId>,
    revisions: BTreeMap<RecordId, Revision>,
    grants: BTreeMap<RecordId, Grant>,
}

/// A dataset.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Dataset {
    /// Who may commit.
    pub owners: Vec<ContributorId>,
    /// Who may train on it.
    pub access: Access,
    /// The digest of the licence's text.
    pub licence: Hash,
    /// Rows that can no longer be opened.
    pub redacted: BTreeSet<RowId>,
}

/// Work that was offered.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Contribution {
    /// Which dataset it is for.
    pub dataset: RecordId,
    /// Its operations.
    pub operations: ListRoot,
    /// How many there are of each kind.
    pub acts: Vec<ActCount>,
    /// Who signed it, with shares.
    pub authors: Vec<Author>,
    /// For whom the operator offered it, where it did: nobody signed it then but the operator.
    pub attested_for: Option<ContributorId>,
}

/// A state of a dataset's rows.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Revision {
    /// Which dataset.
    pub dataset: RecordId,
    /// What it was made from.
    pub parents: Vec<RecordId>,
    /// Whose work came in.
    pub contributions: Vec<RecordId>,
    /// The rows there are.
    pub rows: ListRoot,
    /// Who signed it, with shares.
    pub authors: Vec<Author>,
    /// Shares that all contributors signed, in this record or a later one.
    pub agreed: Option<Vec<Author>>,
    /// The revision whose rows these are: this one, or an earlier one that nothing was changed since.
    pub stands_for: RecordId,
    /// Everybody whose work is in it; most revisions share the set of the one before.
    contributors: Arc<BTreeSet<ContributorId>>,
}

/// The contributors of what is no revision.
static NOBODY: BTreeSet<ContributorId> = BTreeSet::new();

/// Leave to use a dataset.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Grant {
    /// Which dataset.
    pub dataset: RecordId,
    /// Who may.
    pub grantee: ContributorId,
    /// What for.
    pub allows: GrantUse,
    /// Whether it was taken back.
    pub revoked: bool,
}

impl Datasets {
    /// One dataset.
    pub fn dataset(&self, id: &RecordId) -> Option<&Dataset> {
        self.datasets.get(id)
    }

    /// One contribution.
    pub fn contribution(&self, id: &RecordId) -> Option<&Contribution> {
        self.contributions.get(id)
    }

    /// One revision.
    pub fn revision(&self, id: &RecordId) -> Option<&Revision> {
        self.revisions.get(id)
    }

    /// One grant.
    pub fn grant(&self, id: &RecordId) -> Option<&Grant> {
        self.grants.get(id)
    }

    /// The revision whose rows these are: one that changed nothing stands for the one before it, so that an edit without
    /// effect changes nobody's part.
    pub fn effective(&self, revision: &RecordId) -> RecordId {
        self.revisions.get(revision).map_or(*revision, |revision| revision.stands_for)
    }

    /// Revisions from this one back to the first, along first parents.
    pub fn chain(&self, revision: &RecordId) -> impl Iterator<Item = (RecordId, &Revision)> {
        let found = |id: RecordId| self.revisions.get(&id).map(|revision| (id, revision));
        core::iter::successors(found(*revision), move |(_, now)| now.parents.first().and_then(|id| found(*id)))
    }

    /// Everybody whose work is in a revision: authors of the contributions from the first revision to it, but for those that
    /// changed no row. Whom the operator attested for is among them, and so waits to be asked.
    pub fn contributors(&self, revision: &RecordId) -> &BTreeSet<ContributorId> {
        self.revisions.get(revision).map_or(&NOBODY, |revision| &*revision.contributors)
    }

    /// Those of the revision before, and of the contributions that come in now.
    fn contributors_after(&self, act: &RevisionCommitted, changes: bool) -> Arc<BTreeSet<ContributorId>> {
        let parent = act.parents.first().and_then(|parent| self.revisions.get(parent));
        let mut people = parent.map(|parent| Arc::clone(&parent.contributors)).unwrap_or_default();
        let new = act.contributions.iter().filter(|_| changes).filter_map(|id| self.contributions.get(id));
        for contribution in new {
            let authors = contribution.authors.iter().map(|author| author.contributor);
            let signed = authors.filter(|_| contribution.attested_for.is_none());
            for person in signed.chain(contribution.attested_for) {
                if !people.contains(&person) {
                    Arc::make_mut(&mut people).insert(person);
                }
            }
        }
        people
    }

    /// All datasets, in the order of their ids.
    pub fn all(&self) -> impl Iterator<Item = (&RecordId, &Dataset)> {
        self.datasets.iter()
    }

    /// All contributions to a dataset, in the order of their ids, in a revision or not.
    pub fn contributions_to(&self, dataset: &RecordId) -> impl Iterator<Item = (&RecordId, &Contribution)> {
        self.contributions.iter().filter(move |(_, contribution)| contribution.dataset == *dataset)
    }

    /// All revisions of a dataset, in the order of their ids.
    pub fn revisions_of(&self, dataset: &RecordId) -> impl Iterator<Item = (&RecordId, &Revision)> {
        self.revisions.iter().filter(move |(_, revision)| revision.dataset == *dataset)
    }

    /// Whether some revision has a contribution's work.
    pub fn is_committed(&self, contribution: &RecordId) -> bool {
        self.committed.contains(contribution)
    }

    pub(super) fn wanted_by_proposal(&self, act: &ContributionProposed) -> Result<ListsWanted, Refusal> {
        let rows = |base: &RecordId| self.revisions.get(base).map(|revision| revision.rows);
        let before = match &act.revision {
            Some(base) => rows(base).ok_or(Refusal::UnknownRecord(*base))?,
            None => EMPTY_ROWS,
        };
        Ok(ListsWanted { parts: vec![act.operations], before, of: Of::Proposal { acts: act.acts.clone() } })
    }

    pub(super) fn wanted_by_commit(&self, act: &RevisionCommitted) -> Result<ListsWanted, Refusal> {
        let parts = self.parts(act)?;
        let before = act.parents.first().map_or(Ok(EMPTY_ROWS), |parent| {
            self.revisions.get(parent).map(|revision| revision.rows).ok_or(Refusal::UnknownRecord(*parent))
        })?;
        Ok(wanted_by_commit(act, parts, before))
    }

    pub(super) fn must_find(&self, dataset: &RecordId) -> Result<&Dataset, Refusal> {
        self.datasets.get(dataset).ok_or(Refusal::UnknownRecord(*dataset))
    }

    pub(super) fn create(&mut self, said: &Said<'_>, act: &DatasetCreated) -> Result<(), Refusal> {
        if !act.owners.iter().all(|owner| said.authors.contains(owner)) {
            return Err(Refusal::NotOwner);
        }
        let (owners, access, licence) = (act.owners.clone(), act.access, act.licence);
        self.datasets.insert(said.id, Dataset { owners, access, licence, redacted: BTreeSet::new() });
        Ok(())
    }

    pub(super) fn change_owners(
        &mut self,
        people: &People,
        said: &Said<'_>,
        act: &OwnersChanged,
    ) -> Result<(), Refusal> {
        let dataset = self.must_find(&act.dataset)?;
        let all = people.all_among(&dataset.owners, &said.authors);
        if !all || !act.owners.iter().all(|owner| said.authors.contains(owner)) {
            return Err(Refusal::NotOwner);
        }
        self.datasets.get_mut(&act.dataset).expect("it was found").owners.clone_from(&act.owners);
        Ok(())
    }

    pub(super) fn propose(
        &mut self,
        said: &Said<'_>,
        act: &ContributionProposed,
        lists: Option<Lists<'_>>,
    ) -> Result<(), Refusal> {
        if self.must_find(&act.dataset)?.licence != act.licence {
            return Err(Refusal::Licence);
        }
        if let Some(base) = &act.revision {
            self.revision_of(base, &act.dataset)?;
        }
        if let Some(lists) = lists {
            self.wanted_by_proposal(act)?.check(lists)?;
        }
        let contribution = Contribution {
            dataset: act.dataset,
            operations: act.operations,
            acts: act.acts.clone(),
            authors: said.body.authors.clone(),
            attested_for: said.body.attested_for,
        };
        self.contributions.insert(said.id, contribution);
        Ok(())
    }

    pub(super) fn commit(
        &mut self,
        people: &People,
        said: &Said<'_>,
        act: &RevisionCommitted,
        lists: Option<Lists<'_>>,
    ) -> Result<(), Refusal> {
        let dataset = self.must_find(&act.dataset)?;
        if !said.authors.iter().any(|author| people.is_among(author, &dataset.owners)) {
            return Err(Refusal::NotOwner);
        }
        for parent in &act.parents {
            self.revision_of(parent, &act.dataset)?;
        }
        let parts = self.parts(act)?;
        let count = parts.iter().try_fold(0_u64, |sum, part| sum.checked_add(part.count));
        let alone = match parts[..] {
            [part] => part == act.operations,
            _ => true,
        };
        if count != Some(act.operations.count) || !alone {
            return Err(Refusal::Operations);
        }
        let before = act.parents.first().map_or(EMPTY_ROWS, |parent| self.revisions[parent].rows);
        if act.operations.count == 0 && act.rows != before {
            return Err(Refusal::RowsChanged);
        }
        if let Some(lists) = lists {
            wanted_by_commit(act, parts, before).check(lists)?;
        }
        // Nothing at all was there before the first revision, so even one without rows is a beginning.
        let same = act.parents.first().filter(|_| act.rows == before);
        let revision = Revision {
            stands_for: same.map_or(said.id, |parent| self.effective(parent)),
            contributors: self.contributors_after(act, same.is_none()),
            dataset: act.dataset,
            parents: act.parents.clone(),
            contributions: act.contributions.clone(),
            rows: act.rows,
            authors: said.body.authors.clone(),
            agreed: None,
        };
        self.committed.extend(&act.contributions);
        self.revisions.insert(said.id, revision);
        // Whoever commits alone what they alone made has agreed with themselves.
        let _ = self.agree(people, said, &said.id);
        Ok(())
    }

    /// The operations of a revision's contributions, none of which was in before.
    fn parts(&self, act: &RevisionCommitted) -> Result<Vec<ListRoot>, Refusal> {
        let mut before = BTreeSet::new();
        // Walking back is for what was committed before, perhaps on another branch.
        let again = act.contributions.iter().any(|id| self.committed.contains(id));
        if let Some(parent) = act.parents.first().filter(|_| again) {
            before.extend(self.chain(parent).flat_map(|(_, revision)| revision.contributions.iter().copied()));
        }
        let part = |id: &RecordId| {
            let contribution = self.contributions.get(id).ok_or(Refusal::UnknownRecord(*id))?;
            if contribution.dataset != act.dataset {
                return Err(Refusal::WrongRecord(*id));
            }
            if before.contains(id) { Err(Refusal::CommittedAlready(*id)) } else { Ok(contribution.operations) }
        };
        act.contributions.iter().map(part).collect()
    }

    /// All contributors signed these shares.
    pub(super) fn agree(&mut self, people: &People, said: &Said<'_>, revision: &RecordId) -> Result<(), Refusal> {
        if !self.revisions.contains_key(revision) {
            return Err(Refusal::UnknownRecord(*revision));
        }
        if !people.all_among(self.contributors(revision), &said.authors) {
            return Err(Refusal::SharesNotAgreed);
        }
        let effective = self.effective(revision);
        let found = self.revisions.get_mut(&effective).expect("it was found");
        found.agreed = Some(said.body.authors.clone());
        Ok(())
    }

    pub(super) fn redact(&mut self, people: &People, said: &Said<'_>, act: &RowRedacted) -> Result<(), Refusal> {
        let dataset = self.must_find(&act.dataset)?;
        let may =
            |author: &ContributorId| people.is_among(author, &dataset.owners) || people.operator() == Some(*author);
        if !said.authors.iter().any(may) {
            return Err(Refusal::NotOwner);
        }
        let redacted = &mut self.datasets.get_mut(&act.dataset).expect("it was found").redacted;
        if redacted.insert(act.row) { Ok(()) } else { Err(Refusal::DoneAlready) }
    }

    pub(super) fn give(&mut self, people: &People, said: &Said<'_>, act: &GrantGiven) -> Result<(), Refusal> {
        self.must_own(people, said, &act.dataset)?;
        people.is_known(&act.grantee)?;
        let grant = Grant { dataset: act.dataset, grantee: act.grantee, allows: act.allows, revoked: false };
        self.grants.insert(said.id, grant);
        Ok(())
    }

    pub(super) fn revoke(&mut self, people: &People, said: &Said<'_>, act: &GrantRevoked) -> Result<(), Refusal> {
        let grant = *self.grants.get(&act.grant).ok_or(Refusal::UnknownRecord(act.grant))?;
        self.must_own(people, said, &grant.dataset)?;
        if grant.revoked {
            return Err(Refusal::DoneAlready);
        }
        self.grants.get_mut(&act.grant).expect("it was found").revoked = true;
        Ok(())
    }

    /// Whether these people may train on a revision, under one of these grants or without.
    pub(super) fn check_access(
        &self,
        people: &People,
        said: &Said<'_>,
        revision: &RecordId,
        grants: &[RecordId],
    ) -> Result<(), Refusal> {
        let id = self.revisions.get(revision).ok_or(Refusal::UnknownRecord(*revision))?.dataset;
        let dataset = self.must_find(&id)?;
        let owns = said.authors.iter().any(|author| people.is_among(author, &dataset.owners));
        let granted = grants.iter().filter_map(|grant| self.grants.get(grant)).any(|grant| {
            let theirs = people.is_among(&grant.grantee, &said.authors);
            grant.dataset == id && grant.allows == GrantUse::Train && !grant.revoked && theirs
        });
        if dataset.access == Access::Open || owns || granted { Ok(()) } else { Err(Refusal::NoGrant(id)) }
    }

    fn must_own(&self, people: &People, said: &Said<'_>, dataset: &RecordId) -> Result<(), Refusal> {
        let owners = &self.must_find(dataset)?.owners;
        let owns = said.authors.iter().any(|author| people.is_among(author, owners));
        if owns { Ok(()) } else { Err(Refusal::NotOwner) }
    }

    fn revision_of(&self, revision: &RecordId, dataset: &RecordId) -> Result<(), Refusal> {
        let found = self.revisions.get(revision).ok_or(Refusal::UnknownRecord(*revision))?;
        if found.dataset == *dataset { Ok(()) } else { Err(Refusal::WrongRecord(*revision)) }
    }
}

/// The root of no rows.
const EMPTY_ROWS: ListRoot = ListRoot { root: EMPTY_ROWS_HASH, count: 0 };

/// `H(0x04 || 0x01)`: see [`crate::sum_tree::empty_hash`], which a test holds against this.
const EMPTY_ROWS_HASH: Hash = Hash([
    0x38, 0xb8, 0xbc, 0x5c, 0x86, 0xdb, 0x41, 0xa8, 0x06, 0x15, 0xb2, 0xf4, 0x69, 0x4f, 0xc7, 0x54, 0xcc, 0xcf, 0xfb,
    0x95, 0xe8, 0x93, 0x3d, 0x5b, 0x37, 0x60, 0x21, 0xfe, 0xab, 0x83, 0xce, 0xa3,
]);

fn wanted_by_commit(act: &RevisionCommitted, parts: Vec<ListRoot>, before: ListRoot) -> ListsWanted {
    ListsWanted { parts, before, of: Of::Commit { operations: act.operations, rows: act.rows } }
}

/// What the lists must be that a record has roots of. It is a copy, so that whoever checks long lists holds up nobody.
#[derive(Clone, Debug)]
pub struct ListsWanted {
    /// Each contribution's operations.
    parts: Vec<ListRoot>,
    /// The rows that they begin with.
    before: ListRoot,
    of: Of,
}

#[derive(Clone, Debug)]
enum Of {
    Proposal { acts: Vec<ActCount> },
    Commit { operations: ListRoot, rows: ListRoot },
}

impl ListsWanted {
    /// Holds the lists at hand against their roots, and gives the rows that come of them.
    pub fn check(&self, lists: Lists<'_>) -> Result<Rows, Refusal> {
        if rows_root(lists.rows) != self.before || lists.operations.len() != self.parts.len() {
            return Err(OperationFault::RowsRoot.into());
        }
        let mut rows = lists.rows.clone();
        for (operations, part) in lists.operations.iter().zip(&self.parts) {
            if operations_root(operations) != *part {
                return Err(OperationFault::Root.into());
            }
            apply(&mut rows, operations)?;
        }
        match &self.of {
            Of::Proposal { acts } if counts(lists) != *acts => Err(OperationFault::Counts.into()),
            Of::Commit { operations, .. } if operations_root(&lists.operations.concat()) != *operations => {
                Err(OperationFault::Root.into())
            }
            Of::Commit { rows: after, .. } if rows_root(&rows) != *after => Err(OperationFault::RowsRoot.into()),
            Of::Proposal { .. } | Of::Commit { .. } => Ok(rows),
        }
    }
}

/// How many operations of each kind there are.
fn counts(lists: Lists<'_>) -> Vec<ActCount> {
    let mut counts = BTreeMap::new();
    for operation in lists.operations.iter().flatten() {
        *counts.entry(operation.kind).or_insert(0_u64) += 1;
    }
    counts.into_iter().map(|(kind, count)| ActCount { kind, count }).collect()
}
