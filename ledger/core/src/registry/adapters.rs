//! Adapters: training runs, generations with their lineage and state, evaluations, gates, claims.

use std::collections::{BTreeMap, BTreeSet};

use crate::hash::Hash;
use crate::record::{
    AdapterPublished, AdapterState, AdapterStateChanged, Author, ClaimMade, ClaimResolved, ContributorId,
    EvaluationRun, Gate, Generation, ParentShare, RecordId, RevisionShare, TrainRunFinished,
};
use crate::registry::Said;
use crate::registry::datasets::Datasets;
use crate::registry::money::Money;
use crate::registry::people::People;
use crate::registry::refusal::Refusal;

/// What is known of adapters.
#[derive(Clone, Debug, Default)]
pub struct Adapters {
    runs: BTreeMap<RecordId, TrainRun>,
    /// Runs that claim to have made a generation.
    made: BTreeMap<Generation, Vec<RecordId>>,
    adapters: BTreeMap<Generation, Adapter>,
    evaluations: BTreeMap<RecordId, Evaluation>,
    /// The evaluations of each subject, in the order of the log.
    evaluated: BTreeMap<Generation, Vec<RecordId>>,
    claims: BTreeMap<RecordId, Claim>,
}

/// A training that ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TrainRun {
    /// What came of it.
    pub generation: Option<Generation>,
    /// The base model.
    pub base: Hash,
    /// What it went on from.
    pub parents: Vec<Generation>,
    /// What it saw, with shares.
    pub sources: Vec<RevisionShare>,
    /// Whether all owners of these datasets signed the shares, or there is one source alone.
    pub agreed: bool,
    /// Under which grants.
    pub grants: Vec<RecordId>,
    /// Who trained.
    pub authors: Vec<Author>,
}

/// A published generation.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Adapter {
    /// The record that published it.
    pub record: RecordId,
    /// Where that lies in the log: behind those of its parents.
    pub index: u64,
    /// The base model.
    pub base: Hash,
    /// The training that made it.
    pub train_run: Option<RecordId>,
    /// What it goes on from, with shares.
    pub parents: Vec<ParentShare>,
    /// Whether all parents' authors signed the shares.
    pub agreed: bool,
    /// Who made it, with shares.
    pub authors: Vec<Author>,
    /// Where it stands.
    pub state: AdapterState,
    /// The operator suspended it, and alone lifts that.
    pub suspended_by_operator: bool,
    /// What the last gate said.
    pub passed_gate: Option<bool>,
}

/// A measurement.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Evaluation {
    /// Of what.
    pub subject: Generation,
    /// On what.
    pub suite: RecordId,
    /// In millionths.
    pub score: i64,
    /// Who measured.
    pub authors: Vec<ContributorId>,
    /// Where it lies in the log.
    pub index: u64,
}

/// Something that was foretold.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Claim {
    /// By whom.
    pub authors: Vec<ContributorId>,
    /// What.
    pub made: ClaimMade,
    /// Where it lies in the log.
    pub index: u64,
    /// Whether it held, once that is known.
    pub held: Option<bool>,
}

/// What the rules for adapters look at beside adapters.
pub(super) struct Beside<'a> {
    pub(super) people: &'a People,
    pub(super) datasets: &'a Datasets,
    pub(super) money: &'a Money,
}

impl Adapters {
    /// One training.
    pub fn run(&self, id: &RecordId) -> Option<&TrainRun> {
        self.runs.get(id)
    }

    /// One adapter.
    pub fn adapter(&self, generation: &Generation) -> Option<&Adapter> {
        self.adapters.get(generation)
    }

    /// All adapters, in the order of their generations.
    pub fn all(&self) -> impl Iterator<Item = (&Generation, &Adapter)> {
        self.adapters.iter()
    }

    /// One evaluation.
    pub fn evaluation(&self, id: &RecordId) -> Option<&Evaluation> {
        self.evaluations.get(id)
    }

    /// All evaluations of one subject, in the order of the log.
    pub fn evaluations_of(&self, subject: &Generation) -> impl Iterator<Item = &Evaluation> {
        let ids = self.evaluated.get(subject).into_iter().flatten();
        ids.filter_map(|id| self.evaluations.get(id))
    }

    /// One claim.
    pub fn claim(&self, id: &RecordId) -> Option<&Claim> {
        self.claims.get(id)
    }

    /// Who has a part in an adapter: its authors, those who trained it, and those of every generation it goes on from.
    pub fn parties(&self, generation: &Generation) -> BTreeSet<ContributorId> {
        let (mut people, mut open) = (BTreeSet::new(), vec![*generation]);
        let mut seen = BTreeSet::new();
        while let Some(next) = open.pop() {
            if !seen.insert(next) {
                continue;
            }
            let Some(adapter) = self.adapters.get(&next) else { continue };
            people.extend(adapter.authors.iter().map(|author| author.contributor));
            let run = adapter.train_run.and_then(|run| self.runs.get(&run));
            people.extend(run.into_iter().flat_map(|run| &run.authors).map(|author| author.contributor));
            open.extend(adapter.parents.iter().map(|parent| parent.generation));
        }
        people
    }

    /// Whether a grant was revoked under which this adapter, or one that it goes on from, was trained.
    pub fn must_retrain(&self, datasets: &Datasets, generation: &Generation) -> bool {
        let mut open = vec![*generation];
        let mut seen = BTreeSet::new();
        while let Some(next) = open.pop() {
            let Some(adapter) = self.adapters.get(&next).filter(|_| seen.insert(next)) else { continue };
            let run = adapter.train_run.and_then(|run| self.runs.get(&run));
            let mut grants = run.into_iter().flat_map(|run| &run.grants);
            if grants.any(|grant| datasets.grant(grant).is_some_and(|grant| grant.revoked)) {
                return true;
            }
            open.extend(adapter.parents.iter().map(|parent| parent.generation));
        }
        false
    }

    /// Whether a way leads from some generations back to one, through whatever run claims to have made them.
    fn leads_back(&self, from: &[Generation], to: &Generation) -> bool {
        let (mut open, mut seen) = (from.to_vec(), BTreeSet::new());
        while let Some(next) = open.pop() {
            if next == *to {
                return true;
            }
            if !seen.insert(next) {
                continue;
            }
            for run in self.made.get(&next).into_iter().flatten().filter_map(|run| self.runs.get(run)) {
                open.extend(&run.parents);
            }
            let parents = self.adapters.get(&next).map(|adapter| &adapter.parents);
            open.extend(parents.into_iter().flatten().map(|parent| parent.generation));
        }
        false
    }

    pub(super) fn train(
        &mut self,
        beside: &Beside<'_>,
        said: &Said<'_>,
        act: &TrainRunFinished,
    ) -> Result<(), Refusal> {
        for source in &act.sources {
            beside.datasets.check_access(beside.people, said, &source.revision, &act.grants)?;
        }
        if let Some(unknown) = act.grants.iter().find(|grant| beside.datasets.grant(grant).is_none()) {
            return Err(Refusal::UnknownRecord(*unknown));
        }
        if let Some(generation) = &act.generation
            && self.leads_back(&act.parents, generation)
        {
            return Err(Refusal::LineageCycle(*generation));
        }
        let signed = |source: &RevisionShare| {
            let owners = beside
                .datasets
                .revision(&source.revision)
                .and_then(|revision| beside.datasets.dataset(&revision.dataset))
                .map(|dataset| &dataset.owners);
            owners.is_some_and(|owners| beside.people.all_among(owners, &said.authors))
        };
        let run = TrainRun {
            generation: act.generation,
            base: act.base,
            parents: act.parents.clone(),
            sources: act.sources.clone(),
            agreed: act.sources.len() == 1 || act.sources.iter().all(signed),
            grants: act.grants.clone(),
            authors: said.body.authors.clone(),
        };
        if let Some(generation) = act.generation {
            self.made.entry(generation).or_default().push(said.id);
        }
        self.runs.insert(said.id, run);
        Ok(())
    }

    pub(super) fn publish(&mut self, people: &People, said: &Said<'_>, act: &AdapterPublished) -> Result<(), Refusal> {
        if self.adapters.contains_key(&act.generation) {
            return Err(Refusal::DoneAlready);
        }
        let parents: Vec<Generation> = act.parents.iter().map(|parent| parent.generation).collect();
        if self.leads_back(&parents, &act.generation) {
            return Err(Refusal::LineageCycle(act.generation));
        }
        let mut agreed = true;
        for parent in &parents {
            let adapter = self.adapters.get(parent).ok_or(Refusal::UnknownGeneration(*parent))?;
            if adapter.base != act.base {
                return Err(Refusal::TrainRun);
            }
            agreed &= people.all_among(adapter.authors.iter().map(|author| &author.contributor), &said.authors);
        }
        if let Some(id) = &act.train_run {
            let run = self.runs.get(id).ok_or(Refusal::UnknownRecord(*id))?;
            if run.generation != Some(act.generation) || run.base != act.base || run.parents != parents {
                return Err(Refusal::TrainRun);
            }
        }
        // Nobody publishes as theirs what others trained, and recorded: neither by naming the run nor by leaving it out.
        let counts = |(id, run): &(&RecordId, &TrainRun)| match &act.train_run {
            Some(named) => *id == named,
            None => run.generation == Some(act.generation),
        };
        let mut trainers = self.runs.iter().filter(counts).flat_map(|(_, run)| &run.authors);
        if !trainers.all(|author| people.is_among(&author.contributor, &said.authors)) {
            return Err(Refusal::NotTrainer);
        }
        let adapter = Adapter {
            record: said.id,
            index: said.index,
            base: act.base,
            train_run: act.train_run,
            parents: act.parents.clone(),
            agreed,
            authors: said.body.authors.clone(),
            state: AdapterState::Draft,
            suspended_by_operator: false,
            passed_gate: None,
        };
        self.adapters.insert(act.generation, adapter);
        Ok(())
    }

    pub(super) fn change_state(
        &mut self,
        beside: &Beside<'_>,
        said: &Said<'_>,
        act: &AdapterStateChanged,
    ) -> Result<(), Refusal> {
        use AdapterState::{Draft, Gated, Published, Retired, Suspended};
        let adapter = self.adapters.get(&act.generation).ok_or(Refusal::UnknownGeneration(act.generation))?;
        let owns = adapter.authors.iter().any(|author| beside.people.is_among(&author.contributor, &said.authors));
        let operates = beside.people.operator().is_some_and(|operator| said.authors.contains(&operator));
        let stops = matches!(act.to, Suspended | Retired);
        if !owns && (!operates || !(stops || adapter.suspended_by_operator)) {
            return Err(Refusal::NotOperator);
        }
        if adapter.suspended_by_operator && !operates && act.to != Retired {
            return Err(Refusal::NotOperator);
        }
        let leads = matches!(
            (act.from, act.to),
            (Draft, Gated | Published) | (Gated, Published) | (Published, Suspended) | (Suspended, Published)
        ) || act.to == Retired;
        if adapter.state != act.from || act.from == Retired || !leads {
            return Err(Refusal::Transition);
        }
        let passed = adapter.passed_gate == Some(true);
        let gated = act.to == Gated || (act.to == Published && beside.money.gate_required(said.time_ms));
        if gated && !passed {
            return Err(Refusal::GateRequired);
        }
        if act.to == Published && self.must_retrain(beside.datasets, &act.generation) {
            return Err(Refusal::MustRetrain);
        }
        let adapter = self.adapters.get_mut(&act.generation).expect("it was found");
        adapter.state = act.to;
        adapter.suspended_by_operator = act.to == Suspended && operates;
        Ok(())
    }

    pub(super) fn evaluate(
        &mut self,
        datasets: &Datasets,
        said: &Said<'_>,
        act: &EvaluationRun,
    ) -> Result<(), Refusal> {
        if datasets.revision(&act.suite).is_none() {
            return Err(Refusal::UnknownRecord(act.suite));
        }
        let evaluation = Evaluation {
            subject: act.subject,
            suite: act.suite,
            score: act.score,
            authors: said.authors.clone(),
            index: said.index,
        };
        self.evaluated.entry(act.subject).or_default().push(said.id);
        self.evaluations.insert(said.id, evaluation);
        Ok(())
    }

    /// Whether an evaluation's word counts at a time: the policy names all its authors, and none of them has a part.
    pub fn counts(&self, people: &People, money: &Money, time_ms: u64, evaluation: &Evaluation) -> bool {
        let parties: Vec<ContributorId> = self.parties(&evaluation.subject).into_iter().collect();
        let independent = !evaluation.authors.iter().any(|author| people.is_among(author, &parties));
        let evaluators = money.policy_at(time_ms).map(|(_, policy)| &policy.evaluators);
        let named = |author: &ContributorId| evaluators.is_some_and(|named| people.is_among(author, named));
        independent && evaluation.authors.iter().all(named)
    }

    /// A gate's and a resolution's evaluation must count, and so must whoever says so have no part in the subject.
    fn check_evaluation(
        &self,
        beside: &Beside<'_>,
        said: &Said<'_>,
        evaluation: &RecordId,
        subject: &Generation,
    ) -> Result<&Evaluation, Refusal> {
        let found = self.evaluations.get(evaluation).ok_or(Refusal::UnknownRecord(*evaluation))?;
        if found.subject != *subject {
            return Err(Refusal::WrongRecord(*evaluation));
        }
        let parties: Vec<ContributorId> = self.parties(subject).into_iter().collect();
        let mut people = said.authors.iter().chain(&found.authors);
        if people.any(|author| beside.people.is_among(author, &parties)) {
            return Err(Refusal::OwnWork);
        }
        if self.counts(beside.people, beside.money, said.time_ms, found) {
            Ok(found)
        } else {
            Err(Refusal::NotEvaluator)
        }
    }

    pub(super) fn gate(&mut self, beside: &Beside<'_>, said: &Said<'_>, act: &Gate) -> Result<(), Refusal> {
        if !self.adapters.contains_key(&act.generation) {
            return Err(Refusal::UnknownGeneration(act.generation));
        }
        self.check_evaluation(beside, said, &act.evaluation, &act.generation)?;
        for id in &act.blocked_by {
            let case = beside.datasets.contribution(id).ok_or(Refusal::UnknownRecord(*id))?;
            if !case.acts.iter().any(|act| act.kind == crate::record::ActKind::AddTestCase) {
                return Err(Refusal::WrongRecord(*id));
            }
        }
        self.adapters.get_mut(&act.generation).expect("it was found").passed_gate = Some(act.passed);
        Ok(())
    }

    pub(super) fn claim_made(&mut self, beside: &Beside<'_>, said: &Said<'_>, act: &ClaimMade) -> Result<(), Refusal> {
        if beside.datasets.revision(&act.suite).is_none() {
            return Err(Refusal::UnknownRecord(act.suite));
        }
        if act.deadline_epoch < beside.money.next_epoch() {
            return Err(Refusal::Deadline);
        }
        if let Some(bond) = &act.bond
            && !beside.money.is_posted_by(bond, &said.authors)
        {
            return Err(Refusal::Bond);
        }
        let claim = Claim { authors: said.authors.clone(), made: act.clone(), index: said.index, held: None };
        self.claims.insert(said.id, claim);
        Ok(())
    }

    pub(super) fn claim_resolved(
        &mut self,
        beside: &Beside<'_>,
        said: &Said<'_>,
        act: &ClaimResolved,
    ) -> Result<(), Refusal> {
        let claim = self.claims.get(&act.claim).ok_or(Refusal::UnknownRecord(act.claim))?;
        if claim.held.is_some() {
            return Err(Refusal::DoneAlready);
        }
        let evaluation = self.check_evaluation(beside, said, &act.evaluation, &claim.made.subject)?;
        let mut judges = said.authors.iter().chain(&evaluation.authors);
        if judges.any(|judge| beside.people.is_among(judge, &claim.authors)) {
            return Err(Refusal::OwnWork);
        }
        if claim.made.deadline_epoch < beside.money.next_epoch() {
            return Err(Refusal::Deadline);
        }
        let measured = evaluation.suite == claim.made.suite && evaluation.index > claim.index;
        if !measured || act.held != (evaluation.score >= claim.made.at_least) {
            return Err(Refusal::Outcome);
        }
        self.claims.get_mut(&act.claim).expect("it was found").held = Some(act.held);
        Ok(())
    }

    /// Whether an unresolved claim leans on a bond.
    pub(super) fn leans_on(&self, bond: &RecordId) -> bool {
        self.claims.values().any(|claim| claim.made.bond == Some(*bond) && claim.held.is_none())
    }

    /// Whether a claim did not hold, and this bond stood behind it.
    pub(super) fn lost(&self, claim: &RecordId, bond: &RecordId) -> bool {
        self.claims.get(claim).is_some_and(|claim| claim.made.bond == Some(*bond) && claim.held == Some(false))
    }
}
