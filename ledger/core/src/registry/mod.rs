//! The registry: what the records log comes to, record by record.
//!
//! [`Registry::admit`] is asked by whoever appends a record, before it does, and by whoever reads a log, for every record
//! that is there: the same function, so that what one refuses is void for the other. A record that is refused changes
//! nothing, its author's chain included.

mod adapters;
mod datasets;
mod money;
mod people;
mod refusal;

use std::collections::BTreeMap;

pub use adapters::{Adapter, Adapters, Claim, Evaluation, TrainRun};
pub use datasets::{Contribution, Dataset, Datasets, Grant, ListsWanted, Revision};
pub use money::{Bond, BondState, Dispute, Money, POLICY_AHEAD_MS_MAX, commitment};
pub use people::{Contributor, People};
pub use refusal::Refusal;

use adapters::Beside;

use crate::entry::Entry;
use crate::record::{Act, Body, ContributorId, Method, Operation, Record, RecordId, Rows};

/// State of all that was recorded.
#[derive(Clone, Debug)]
pub struct Registry {
    origin: String,
    /// When each entry of the log was appended, void ones too.
    times_ms: Vec<u64>,
    records: BTreeMap<RecordId, Noted>,
    people: People,
    datasets: Datasets,
    adapters: Adapters,
    money: Money,
}

/// A valid record, as later ones cite it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Noted {
    /// Where it lies in the log.
    pub index: u64,
    /// When it was appended.
    pub time_ms: u64,
    /// Its kind's number.
    pub code: u64,
    /// Its kind in words.
    pub words: &'static str,
    /// Who signed it.
    pub authors: Vec<ContributorId>,
    /// For whom the operator signed it, where it did.
    pub attested_for: Option<ContributorId>,
    /// Whether lists that it has roots of were at hand and fit; always, where it has none.
    pub lists_checked: bool,
}

/// Lists that a record has roots of, where they are at hand.
#[derive(Clone, Copy, Debug)]
pub struct Lists<'a> {
    /// One list of operations for each contribution of a revision, or the contribution's own.
    pub operations: &'a [Vec<Operation>],
    /// The rows that they were made on: those of the first parent, or of the revision that the contribution names.
    pub rows: &'a Rows,
}

/// A record with what the rules ask of it.
pub(crate) struct Said<'a> {
    id: RecordId,
    index: u64,
    time_ms: u64,
    body: &'a Body,
    authors: Vec<ContributorId>,
}

impl Registry {
    /// Of a records log with this origin, before its first record.
    pub fn new(origin: &str) -> Self {
        Self {
            origin: origin.to_owned(),
            times_ms: Vec::new(),
            records: BTreeMap::new(),
            people: People::default(),
            datasets: Datasets::default(),
            adapters: Adapters::default(),
            money: Money::default(),
        }
    }

    /// The log's origin, which every author signs.
    pub fn origin(&self) -> &str {
        &self.origin
    }

    /// Who signs.
    pub fn people(&self) -> &People {
        &self.people
    }

    /// What rows there are.
    pub fn datasets(&self) -> &Datasets {
        &self.datasets
    }

    /// What was made of them.
    pub fn adapters(&self) -> &Adapters {
        &self.adapters
    }

    /// Prices, epochs, payouts.
    pub fn money(&self) -> &Money {
        &self.money
    }

    /// How many entries of the log were taken.
    pub fn size(&self) -> u64 {
        self.times_ms.len() as u64
    }

    /// When the last of them was appended.
    pub fn time_ms(&self) -> u64 {
        self.times_ms.last().copied().unwrap_or(0)
    }

    /// A valid record.
    pub fn record(&self, id: &RecordId) -> Option<&Noted> {
        self.records.get(id)
    }

    /// All valid records.
    pub fn records(&self) -> impl Iterator<Item = (&RecordId, &Noted)> {
        self.records.iter()
    }

    /// Takes the next entry of the records log; `Err` where it is a record, and void.
    pub fn fold(&mut self, entry: &Entry) -> Result<(), Refusal> {
        if let Entry::Record(record) = entry {
            let taken = self.admit(record, None);
            if taken.is_err() {
                self.times_ms.push(record.time_ms);
            }
            return taken.map(|_| ());
        }
        match entry {
            Entry::ShardOpened(opened) => self.money.head(opened.shard, None, false),
            Entry::ShardStopped(head) | Entry::ShardClosed(head) => {
                self.money.head(head.shard, Some((head.size, head.root)), false);
            }
            Entry::ShardFrozen(head) => self.money.head(head.shard, Some((head.size, head.root)), true),
            Entry::Redaction(_) | Entry::Boot(_) | Entry::Batch(_) | Entry::Record(_) => {}
        }
        self.times_ms.push(entry.time_ms());
        Ok(())
    }

    /// Takes a record for the log's next place, or says which rule it breaks; then nothing is changed.
    pub fn admit(&mut self, record: &Record, lists: Option<Lists<'_>>) -> Result<RecordId, Refusal> {
        record.check_form()?;
        self.people.check_authors(&self.origin, record)?;
        let body = &record.body;
        if let Some(unknown) = body.cites.iter().find(|cited| !self.records.contains_key(*cited)) {
            return Err(Refusal::UnknownRecord(*unknown));
        }
        let said = Said {
            id: record.id(&self.origin),
            index: self.size(),
            time_ms: record.time_ms,
            body,
            authors: body.authors.iter().map(|author| author.contributor).collect(),
        };
        self.take(&said, lists)?;
        self.people.advance(&said.authors, said.id);
        self.times_ms.push(record.time_ms);
        let has_lists = matches!(body.act, Act::ContributionProposed(_) | Act::RevisionCommitted(_));
        let noted = Noted {
            index: said.index,
            time_ms: record.time_ms,
            code: body.act.code(),
            words: body.act.words(),
            authors: said.authors,
            attested_for: body.attested_for,
            lists_checked: !has_lists || lists.is_some(),
        };
        self.records.insert(said.id, noted);
        Ok(said.id)
    }

    /// Whether a record would be taken now, its lists apart. It costs a copy of all state: for whoever must know before they
    /// do what cannot be undone.
    pub fn would_admit(&self, record: &Record) -> Result<(), Refusal> {
        let mut tried = record.clone();
        tried.time_ms = tried.time_ms.max(self.time_ms());
        self.clone().admit(&tried, None).map(|_| ())
    }

    /// Whether every author signed a record for this log, and for the next place in their chain: the part of the rules that
    /// whoever takes a record looks at before anything else of it.
    pub fn check_authors(&self, record: &Record) -> Result<(), Refusal> {
        self.people.check_authors(&self.origin, record)
    }

    /// What the lists must be that an act has roots of; nothing where it has none.
    pub fn lists_wanted(&self, act: &Act) -> Result<Option<ListsWanted>, Refusal> {
        match act {
            Act::ContributionProposed(act) => self.datasets.wanted_by_proposal(act).map(Some),
            Act::RevisionCommitted(act) => self.datasets.wanted_by_commit(act).map(Some),
            _ => Ok(None),
        }
    }

    /// Applies what is said. Whatever refuses does so before it changes anything.
    fn take(&mut self, said: &Said<'_>, lists: Option<Lists<'_>>) -> Result<(), Refusal> {
        match &said.body.act {
            Act::ContributorRegistered(act) => {
                self.people.register(act);
                Ok(())
            }
            Act::KeyRotated(act) => self.people.rotate(&self.origin, &said.authors, act),
            Act::Succession(act) => self.people.succeed(&said.authors, act),
            Act::DatasetCreated(act) => self.datasets.create(said, act),
            Act::OwnersChanged(act) => self.datasets.change_owners(&self.people, said, act),
            Act::ContributionProposed(act) => self.datasets.propose(said, act, lists),
            Act::Review(act) => self.review(said, &act.target),
            Act::RevisionCommitted(act) => self.datasets.commit(&self.people, said, act, lists),
            Act::RowRedacted(act) => self.datasets.redact(&self.people, said, act),
            Act::GrantGiven(act) => self.datasets.give(&self.people, said, act),
            Act::GrantRevoked(act) => self.datasets.revoke(&self.people, said, act),
            Act::AdapterPublished(act) => self.adapters.publish(&self.people, said, act),
            Act::EvaluationRun(act) => self.adapters.evaluate(&self.datasets, said, act),
            Act::AttributionComputed(act) if act.method == Method::AgreedShares => {
                self.datasets.agree(&self.people, said, &act.subject)
            }
            Act::AttributionComputed(act) => self.must_know(&act.subject),
            Act::AgentActed(act) => self.people.is_known(&act.principal),
            Act::TrainRunFinished(_)
            | Act::AdapterStateChanged(_)
            | Act::Gate(_)
            | Act::ClaimMade(_)
            | Act::ClaimResolved(_) => self.take_of_adapters(said),
            _ => self.take_of_money(said),
        }
    }

    fn take_of_adapters(&mut self, said: &Said<'_>) -> Result<(), Refusal> {
        let beside = Beside { people: &self.people, datasets: &self.datasets, money: &self.money };
        match &said.body.act {
            Act::TrainRunFinished(act) => self.adapters.train(&beside, said, act),
            Act::AdapterStateChanged(act) => self.adapters.change_state(&beside, said, act),
            Act::Gate(act) => self.adapters.gate(&beside, said, act),
            Act::ClaimMade(act) => self.adapters.claim_made(&beside, said, act),
            Act::ClaimResolved(act) => self.adapters.claim_resolved(&beside, said, act),
            _ => unreachable!("other acts are not of adapters"),
        }
    }

    /// Money is said by the operator, who holds it; anybody may open a dispute.
    fn take_of_money(&mut self, said: &Said<'_>) -> Result<(), Refusal> {
        if let Act::DisputeOpened(act) = &said.body.act {
            self.must_know(&act.target)?;
            self.money.open(said, act);
            return Ok(());
        }
        let operator = self.people.operator().filter(|operator| said.authors.contains(operator));
        let operator = operator.ok_or(Refusal::NotOperator)?;
        match &said.body.act {
            Act::PolicyChanged(act) => self.money.change_policy(&self.people, said, act),
            Act::EpochClosed(act) => self.money.close(&self.times_ms, said, act),
            Act::PayoutSettled(act) => self.money.settle(act),
            Act::SubsidyInjected(act) => self.money.inject(said, act),
            Act::BondPosted(act) => self.money.post(operator, said, act),
            Act::BondReleased(act) => {
                let held = self.adapters.leans_on(&act.bond) || self.money.is_disputed(&act.bond);
                self.money.end_bond(&act.bond, held, BondState::Released)
            }
            Act::BondForfeited(act) => {
                let lost = self.adapters.lost(&act.because, &act.bond);
                let held = !lost && !self.money.was_upheld(&act.because, &act.bond);
                self.money.end_bond(&act.bond, held, BondState::Forfeited)
            }
            Act::DisputeResolved(act) => {
                let target = self.money.dispute(&act.dispute).map(|dispute| dispute.target);
                let parties = target.map(|target| self.parties(&target)).unwrap_or_default();
                self.money.resolve(&self.people, &parties, said, act)
            }
            _ => unreachable!("other acts are not of money"),
        }
    }

    fn must_know(&self, id: &RecordId) -> Result<(), Refusal> {
        if self.records.contains_key(id) { Ok(()) } else { Err(Refusal::UnknownRecord(*id)) }
    }

    /// Nobody reviews what they have a part in, through whatever share, key or place.
    fn review(&self, said: &Said<'_>, target: &RecordId) -> Result<(), Refusal> {
        let noted = self.records.get(target).ok_or(Refusal::UnknownRecord(*target))?;
        if !["contribution proposed", "revision committed", "train run finished", "adapter published"]
            .contains(&noted.words)
        {
            return Err(Refusal::WrongRecord(*target));
        }
        let parties = self.parties(target);
        let mut reviewers = said.authors.iter().chain(&said.body.attested_for);
        if reviewers.any(|reviewer| self.people.is_among(reviewer, &parties)) {
            return Err(Refusal::OwnWork);
        }
        Ok(())
    }

    /// Who has a part in a record: those who signed it or for whom it was signed, and those whose work is in it.
    fn parties(&self, id: &RecordId) -> Vec<ContributorId> {
        let noted = self.records.get(id);
        let mut parties: Vec<ContributorId> = noted.into_iter().flat_map(|noted| noted.authors.clone()).collect();
        parties.extend(noted.and_then(|noted| noted.attested_for));
        parties.extend(self.datasets.contributors(id).iter().copied());
        let adapter = self.adapters.all().find(|(_, adapter)| adapter.record == *id);
        parties.extend(adapter.into_iter().flat_map(|(generation, _)| self.adapters.parties(generation)));
        parties
    }
}
