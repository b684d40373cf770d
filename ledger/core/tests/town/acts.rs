//! What people of the town usually do: datasets, contributions, revisions, training, publishing, policies.

use loam_ledger_core::Hash;
use loam_ledger_core::record::{
    Access, Act, ActCount, ActKind, AdapterPublished, AdapterState, AdapterStateChanged, AttributionComputed,
    ContributionProposed, DatasetCreated, EvaluationRun, Generation, ListRoot, Method, Operation, ParentShare, PerLane,
    PolicyChanged, Price, RecordId, RevisionCommitted, RevisionShare, RowContent, Rows, TrainRunFinished, apply,
    operations_root, rows_root,
};
use loam_ledger_core::registry::{Lists, Refusal};

use super::{OPERATOR, Town, named};

/// A list of nothing.
pub(crate) const NOTHING: ListRoot = ListRoot { root: Hash::EMPTY_TREE, count: 0 };

pub(crate) fn licence() -> Hash {
    named("licence")
}

pub(crate) fn base() -> Hash {
    named("base model")
}

pub(crate) fn row(words: &str, content: &str) -> RowContent {
    RowContent { row: named(words), content: named(content) }
}

pub(crate) fn add(words: &str) -> Operation {
    Operation { kind: ActKind::Add, from: Vec::new(), to: vec![row(words, words)] }
}

pub(crate) fn correct(words: &str, old: &str, new: &str) -> Operation {
    Operation { kind: ActKind::Correct, from: vec![row(words, old)], to: vec![row(words, new)] }
}

pub(crate) fn counts(operations: &[Operation]) -> Vec<ActCount> {
    let mut acts: Vec<ActCount> = Vec::new();
    let mut kinds: Vec<ActKind> = operations.iter().map(|operation| operation.kind).collect();
    kinds.sort_unstable();
    for kind in kinds {
        match acts.last_mut() {
            Some(last) if last.kind == kind => last.count += 1,
            _ => acts.push(ActCount { kind, count: 1 }),
        }
    }
    acts
}

/// Lanes in basis points: host 10 %, base 10 %, adapter 20 %, data 50 %, upkeep 5 %, bond 2 %, reserve 3 %.
pub(crate) const LANES: PerLane<u32> = PerLane([1_000, 1_000, 2_000, 5_000, 500, 200, 300]);

impl Town {
    pub(crate) fn policy(&self) -> PolicyChanged {
        let number = u32::try_from(self.registry.money().policies().len()).expect("the town keeps the rules") + 1;
        PolicyChanged {
            number,
            effective_ms: self.now_ms() + if number == 1 { 0 } else { 3_600_000 },
            notice_ms: 3_600_000,
            lanes: LANES,
            prices: vec![Price { base: None, prefilled_nano: 3, reused_nano: 1, delivered_nano: 11 }],
            host: self.id(OPERATOR),
            base: None,
            evaluators: Vec::new(),
            gate_required: false,
        }
    }

    pub(crate) fn set_policy(&mut self) -> RecordId {
        let policy = self.policy();
        self.say(&[OPERATOR], Act::PolicyChanged(policy)).expect("the town keeps the rules")
    }

    pub(crate) fn dataset(&mut self, owners: &[&str], access: Access) -> RecordId {
        let mut ids: Vec<Hash> = owners.iter().map(|role| self.id(role)).collect();
        ids.sort_unstable();
        let act = DatasetCreated { owners: ids, access, licence: licence() };
        self.say(owners, Act::DatasetCreated(act)).expect("the town keeps the rules")
    }

    pub(crate) fn proposal(
        &self,
        dataset: RecordId,
        revision: Option<RecordId>,
        operations: &[Operation],
    ) -> ContributionProposed {
        ContributionProposed {
            dataset,
            revision,
            operations: operations_root(operations),
            acts: counts(operations),
            licence: licence(),
        }
    }

    /// Offers operations, with their list at hand.
    pub(crate) fn propose(
        &mut self,
        roles: &[&str],
        dataset: RecordId,
        revision: Option<RecordId>,
        operations: &[Operation],
    ) -> Result<RecordId, Refusal> {
        let rows = revision.map(|revision| self.rows[&revision].clone()).unwrap_or_default();
        let act = Act::ContributionProposed(self.proposal(dataset, revision, operations));
        let body = self.body(roles, act);
        let id = self.record(&body, Some(Lists { operations: &[operations.to_vec()], rows: &rows }))?;
        self.operations.insert(id, operations.to_vec());
        Ok(id)
    }

    /// What committing these contributions on a revision would say, and the rows that it gives.
    pub(crate) fn revision(
        &self,
        dataset: RecordId,
        parent: Option<RecordId>,
        contributions: &[RecordId],
    ) -> (RevisionCommitted, Rows) {
        let mut rows = parent.map(|parent| self.rows[&parent].clone()).unwrap_or_default();
        let all: Vec<Operation> = contributions.iter().flat_map(|id| self.operations[id].clone()).collect();
        apply(&mut rows, &all).expect("the town's operations can be applied");
        let act = RevisionCommitted {
            dataset,
            parents: parent.into_iter().collect(),
            contributions: contributions.to_vec(),
            operations: operations_root(&all),
            rows: rows_root(&rows),
        };
        (act, rows)
    }

    /// Commits contributions, with their lists at hand.
    pub(crate) fn commit(
        &mut self,
        shares: &[(&str, u32)],
        dataset: RecordId,
        parent: Option<RecordId>,
        contributions: &[RecordId],
    ) -> Result<RecordId, Refusal> {
        let (act, rows) = self.revision(dataset, parent, contributions);
        let body = self.shared(shares, Act::RevisionCommitted(act));
        let lists: Vec<Vec<Operation>> = contributions.iter().map(|id| self.operations[id].clone()).collect();
        let before = parent.map(|parent| self.rows[&parent].clone()).unwrap_or_default();
        let id = self.record(&body, Some(Lists { operations: &lists, rows: &before }))?;
        self.rows.insert(id, rows);
        Ok(id)
    }

    /// All contributors of a revision sign shares, later.
    pub(crate) fn agree(&mut self, shares: &[(&str, u32)], revision: RecordId) -> Result<RecordId, Refusal> {
        let act = AttributionComputed { subject: revision, method: Method::AgreedShares, tier: 0, weights: NOTHING };
        let body = self.shared(shares, Act::AttributionComputed(act));
        self.record(&body, None)
    }

    pub(crate) fn training(
        &self,
        generation: Generation,
        parents: &[Generation],
        sources: &[(RecordId, u32)],
    ) -> TrainRunFinished {
        let mut parents = parents.to_vec();
        parents.sort_unstable();
        let mut sources: Vec<RevisionShare> =
            sources.iter().map(|(revision, share)| RevisionShare { revision: *revision, share: *share }).collect();
        sources.sort_unstable();
        TrainRunFinished {
            generation: Some(generation),
            base: base(),
            parents,
            sources,
            grants: Vec::new(),
            configuration: named("configuration"),
            code: named("code"),
        }
    }

    pub(crate) fn publication(
        &self,
        generation: Generation,
        train_run: Option<RecordId>,
        parents: &[(Generation, u32)],
    ) -> AdapterPublished {
        let mut parents: Vec<ParentShare> =
            parents.iter().map(|(generation, share)| ParentShare { generation: *generation, share: *share }).collect();
        parents.sort_unstable();
        let statement = named("statement");
        AdapterPublished { generation, base: base(), train_run, parents, licence: licence(), statement }
    }

    /// Trains and publishes a generation from revisions and parents.
    pub(crate) fn publish(
        &mut self,
        roles: &[&str],
        words: &str,
        parents: &[(Generation, u32)],
        sources: &[(RecordId, u32)],
    ) -> Generation {
        let generation = named(words);
        let froms: Vec<Generation> = parents.iter().map(|(generation, _)| *generation).collect();
        let training = self.training(generation, &froms, sources);
        let run = self.say(roles, Act::TrainRunFinished(training)).expect("the town keeps the rules");
        let publication = self.publication(generation, Some(run), parents);
        self.say(roles, Act::AdapterPublished(publication)).expect("the town keeps the rules");
        generation
    }

    pub(crate) fn change(
        &mut self,
        role: &str,
        generation: Generation,
        from: AdapterState,
        to: AdapterState,
    ) -> Result<RecordId, Refusal> {
        self.say(&[role], Act::AdapterStateChanged(AdapterStateChanged { generation, from, to }))
    }

    pub(crate) fn evaluate(&mut self, role: &str, subject: Generation, suite: RecordId, score: i64) -> RecordId {
        let results = ListRoot { root: named("results"), count: 10 };
        self.say(&[role], Act::EvaluationRun(EvaluationRun { subject, suite, score, results }))
            .expect("the town keeps the rules")
    }
}
