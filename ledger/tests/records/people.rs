//! A few people with keys, who sign what they offer.

use loam_ledger::home::MemoryHome;
use loam_ledger::{Appended, Error, Ledger, Offer, Payload};
use loam_ledger_core::Hash;
use loam_ledger_core::hash::digest;
use loam_ledger_core::record::{
    Access, Act, ActCount, ActKind, AuthorKey, Body, ContributionProposed, ContributorKind, ContributorRegistered,
    DatasetCreated, Operation, PerLane, PolicyChanged, Price, RecordId, RevisionCommitted, RowContent, RowId, apply,
    operations_root, rows_root, sign_record,
};

use crate::support::options;

pub(crate) struct Village {
    pub(crate) home: MemoryHome,
    pub(crate) ledger: Ledger,
    pub(crate) operator: AuthorKey,
    pub(crate) ann: AuthorKey,
}

pub(crate) fn licence() -> Hash {
    digest(b"CC-BY-4.0")
}

impl Village {
    /// A ledger with an operator, and Ann.
    pub(crate) fn new() -> Self {
        let home = MemoryHome::default();
        let ledger = Ledger::create(&home, "test.example/records", options()).expect("a new ledger");
        let (operator, ann) = (AuthorKey::from_seed(&[1; 32]), AuthorKey::from_seed(&[2; 32]));
        let mut village = Self { home, ledger, operator, ann };
        for (who, kind) in [(Who::Operator, ContributorKind::Operator), (Who::Ann, ContributorKind::Person)] {
            let public_key = village.key(who).public_key();
            let act = Act::ContributorRegistered(ContributorRegistered { public_key, kind, heir: None });
            village.say(who, act).expect("a registration");
        }
        village
    }

    pub(crate) fn key(&mut self, who: Who) -> &mut AuthorKey {
        match who {
            Who::Operator => &mut self.operator,
            Who::Ann => &mut self.ann,
        }
    }

    /// Signs an act without offering it.
    pub(crate) fn signed(&mut self, who: Who, act: Act) -> Offer {
        let origin = self.ledger.with_registry(|registry| registry.origin().to_owned()).expect("a registry");
        let key = self.key(who);
        let (sequence, previous) = (key.sequence, key.previous);
        let body = Body::by(key.contributor(), act);
        let record = sign_record(&origin, 0, body, &mut [key]);
        let key = self.key(who);
        (key.sequence, key.previous) = (sequence, previous);
        let (operations, payloads) = (Vec::new(), Vec::new());
        Offer { body: record.body, signed: record.signed, operations, payloads, text: None }
    }

    pub(crate) fn offer(&mut self, who: Who, offer: Offer) -> Result<Appended, Error> {
        let appended = self.ledger.offer(offer)?;
        self.key(who).moved_on(appended.id);
        Ok(appended)
    }

    pub(crate) fn say(&mut self, who: Who, act: Act) -> Result<Appended, Error> {
        let offer = self.signed(who, act);
        self.offer(who, offer)
    }

    pub(crate) fn dataset(&mut self) -> RecordId {
        let owners = vec![self.ann.contributor()];
        let act = Act::DatasetCreated(DatasetCreated { owners, access: Access::Open, licence: licence() });
        self.say(Who::Ann, act).expect("a dataset").id
    }

    /// Ann's offer of operations, with what their rows say.
    pub(crate) fn proposal(
        &mut self,
        dataset: RecordId,
        revision: Option<RecordId>,
        operations: Vec<Operation>,
        payloads: Vec<Payload>,
    ) -> Offer {
        let mut acts: Vec<ActCount> = Vec::new();
        for operation in &operations {
            match acts.iter_mut().find(|act| act.kind == operation.kind) {
                Some(act) => act.count += 1,
                None => acts.push(ActCount { kind: operation.kind, count: 1 }),
            }
        }
        acts.sort_by_key(|act| act.kind);
        let list = operations_root(&operations);
        let act = ContributionProposed { dataset, revision, operations: list, acts, licence: licence() };
        Offer { operations, payloads, ..self.signed(Who::Ann, Act::ContributionProposed(act)) }
    }

    /// Commits contributions on a revision.
    pub(crate) fn commit(
        &mut self,
        dataset: RecordId,
        parent: Option<RecordId>,
        contributions: &[(RecordId, Vec<Operation>)],
    ) -> Result<Appended, Error> {
        let mut rows = parent.map_or_else(Default::default, |id| (*self.ledger.rows_of(&id).expect("rows")).clone());
        let all: Vec<Operation> = contributions.iter().flat_map(|(_, operations)| operations.clone()).collect();
        apply(&mut rows, &all).expect("they can be applied");
        let act = RevisionCommitted {
            dataset,
            parents: parent.into_iter().collect(),
            contributions: contributions.iter().map(|(id, _)| *id).collect(),
            operations: operations_root(&all),
            rows: rows_root(&rows),
        };
        self.say(Who::Ann, Act::RevisionCommitted(act))
    }

    /// A policy in force from a while after it is recorded on: clocks here go by a millisecond a look.
    pub(crate) fn policy(&mut self, delivered_nano: u64) -> RecordId {
        // A record's time is the time: what was recorded before may be long ago.
        self.dataset();
        let (number, last) = self
            .ledger
            .with_registry(|registry| (registry.money().policies().len() as u32 + 1, registry.time_ms()))
            .expect("a registry");
        let price = Price { base: None, prefilled_nano: 10, reused_nano: 1, delivered_nano };
        let act = PolicyChanged {
            number,
            effective_ms: last + 40,
            notice_ms: 0,
            lanes: PerLane([3_000, 1_000, 2_000, 3_000, 400, 300, 300]),
            prices: vec![price],
            host: self.operator.contributor(),
            base: None,
            evaluators: Vec::new(),
            gate_required: false,
        };
        self.say(Who::Operator, Act::PolicyChanged(act)).expect("a policy").id
    }
}

#[derive(Clone, Copy, Debug)]
pub(crate) enum Who {
    Operator,
    Ann,
}

/// A row that says this, under a salt that follows from it.
pub(crate) fn row(id: &str, words: &str) -> (RowContent, Payload) {
    let salt = digest(words.as_bytes()).0[..16].try_into().expect("16 of 32 bytes");
    let payload = Payload { salt, bytes: words.as_bytes().to_vec() };
    (RowContent { row: row_id(id), content: payload.digest() }, payload)
}

pub(crate) fn row_id(id: &str) -> RowId {
    digest(id.as_bytes())
}

pub(crate) fn add(rows: Vec<RowContent>) -> Operation {
    let mut to = rows;
    to.sort_by_key(|content| content.row);
    Operation { kind: ActKind::Add, from: Vec::new(), to }
}

pub(crate) fn correct(old: RowContent, new: RowContent) -> Operation {
    Operation { kind: ActKind::Correct, from: vec![old], to: vec![new] }
}
