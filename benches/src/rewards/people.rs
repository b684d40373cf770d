//! Who is paid: an operator, gatherers with a dataset each, trainers whose adapters go on from one another.

use anyhow::Context as _;
use loam_ledger::{Ledger, Offer, Payload};
use loam_ledger_core::Hash;
use loam_ledger_core::hash::digest;
use loam_ledger_core::record::{
    Access, Act, ActCount, ActKind, AdapterPublished, AuthorKey, Body, ContributionProposed, ContributorId,
    ContributorKind, ContributorRegistered, DatasetCreated, Generation, MILLION, Operation, ParentShare, PerLane,
    PolicyChanged, Price, RecordId, RevisionCommitted, RevisionShare, RowContent, Rows, TrainRunFinished, apply,
    operations_root, rows_root, sign_record,
};

/// Lineages, each with a gatherer and a trainer of its own.
pub(super) const LINEAGES: u64 = 4;

/// Adapters of a lineage, each made from the one before it.
pub(super) const GENERATIONS: u64 = 4;

/// What a child leaves to its parent.
const TO_PARENT: u32 = 400_000;

/// Rows of each dataset.
const ROWS: u64 = 64;

/// When a policy comes into force after it is recorded.
pub(super) const NOTICE_MS: u64 = 2_000;

/// The base model that all adapters are of.
pub(super) fn base() -> Hash {
    digest(b"base")
}

/// Who signs, beside the ledger that they sign for.
pub(super) struct People<'a> {
    ledger: &'a Ledger,
    pub(super) operator: AuthorKey,
    pub(super) trainers: Vec<AuthorKey>,
    /// All adapters, lineage by lineage.
    pub(super) adapters: Vec<Generation>,
}

impl<'a> People<'a> {
    /// Registers everybody, and records datasets, training, adapters and prices.
    pub(super) fn of(ledger: &'a Ledger) -> anyhow::Result<Self> {
        let mut operator = key("operator");
        register(ledger, &mut operator, ContributorKind::Operator)?;
        let mut people = Self { ledger, operator, trainers: Vec::new(), adapters: Vec::new() };
        for lineage in 0..LINEAGES {
            people.lineage(lineage)?;
        }
        people.policy()?;
        Ok(people)
    }

    /// The operator says something.
    pub(super) fn operator_says(&mut self, act: Act) -> anyhow::Result<RecordId> {
        say(self.ledger, &mut self.operator, act)
    }

    fn lineage(&mut self, lineage: u64) -> anyhow::Result<()> {
        let (mut gatherer, mut trainer) = (key(&format!("gatherer {lineage}")), key(&format!("trainer {lineage}")));
        register(self.ledger, &mut gatherer, ContributorKind::Person)?;
        register(self.ledger, &mut trainer, ContributorKind::Person)?;
        let revision = self.dataset(lineage, &mut gatherer)?;
        let mut parent: Option<Generation> = None;
        for number in 0..GENERATIONS {
            let generation = digest(format!("adapter {lineage}.{number}").as_bytes());
            let run = TrainRunFinished {
                generation: Some(generation),
                base: base(),
                parents: parent.into_iter().collect(),
                sources: vec![RevisionShare { revision, share: MILLION }],
                grants: Vec::new(),
                configuration: digest(b"configuration"),
                code: digest(b"code"),
            };
            let train_run = Some(say(self.ledger, &mut trainer, Act::TrainRunFinished(run))?);
            let parents = parent.map(|generation| ParentShare { generation, share: TO_PARENT });
            let adapter = AdapterPublished {
                generation,
                base: base(),
                train_run,
                parents: parents.into_iter().collect(),
                licence: licence(),
                statement: digest(b"statement"),
            };
            say(self.ledger, &mut trainer, Act::AdapterPublished(adapter))?;
            self.adapters.push(generation);
            parent = Some(generation);
        }
        self.trainers.push(trainer);
        Ok(())
    }

    /// A dataset of one revision, all of it the gatherer's.
    fn dataset(&self, lineage: u64, gatherer: &mut AuthorKey) -> anyhow::Result<RecordId> {
        let act = DatasetCreated { owners: vec![gatherer.contributor()], access: Access::Open, licence: licence() };
        let dataset = say(self.ledger, gatherer, Act::DatasetCreated(act))?;
        let payload = |row: u64| Payload {
            salt: digest(&row.to_be_bytes()).0[..16].try_into().expect("16 of 32 bytes"),
            bytes: format!("{{\"text\":\"row {row} of {lineage}\"}}").into_bytes(),
        };
        let payloads: Vec<Payload> = (0..ROWS).map(payload).collect();
        let row = |payload: &Payload| RowContent { row: digest(&payload.bytes), content: payload.digest() };
        let mut to: Vec<RowContent> = payloads.iter().map(row).collect();
        to.sort_unstable();
        let operations = vec![Operation { kind: ActKind::Add, from: Vec::new(), to }];
        let (list, mut rows) = (operations_root(&operations), Rows::new());
        apply(&mut rows, &operations).map_err(|why| anyhow::anyhow!("{why}"))?;
        let acts = vec![ActCount { kind: ActKind::Add, count: 1 }];
        let act = ContributionProposed { dataset, revision: None, operations: list, acts, licence: licence() };
        let offer = Offer { operations, payloads, ..signed(self.ledger, gatherer, Act::ContributionProposed(act))? };
        let contribution = self.ledger.offer(offer)?.id;
        gatherer.moved_on(contribution);
        let act = RevisionCommitted {
            dataset,
            parents: Vec::new(),
            contributions: vec![contribution],
            operations: list,
            rows: rows_root(&rows),
        };
        say(self.ledger, gatherer, Act::RevisionCommitted(act))
    }

    fn policy(&mut self) -> anyhow::Result<()> {
        let recorded_ms = self.ledger.with_registry(|registry| registry.time_ms())?;
        let policy = PolicyChanged {
            number: 1,
            effective_ms: recorded_ms + NOTICE_MS,
            notice_ms: 0,
            lanes: PerLane([1_000, 1_000, 2_000, 5_000, 500, 200, 300]),
            prices: vec![Price { base: None, prefilled_nano: 10, reused_nano: 1, delivered_nano: 100 }],
            host: self.operator.contributor(),
            base: None,
            evaluators: Vec::new(),
            gate_required: false,
        };
        self.operator_says(Act::PolicyChanged(policy)).map(drop)
    }

    /// Somebody who is paid for adapters.
    pub(super) fn payee(&self) -> ContributorId {
        self.trainers[0].contributor()
    }
}

fn key(name: &str) -> AuthorKey {
    AuthorKey::from_seed(&digest(name.as_bytes()).0)
}

fn licence() -> Hash {
    digest(b"CC-BY-4.0")
}

fn register(ledger: &Ledger, key: &mut AuthorKey, kind: ContributorKind) -> anyhow::Result<()> {
    let act = ContributorRegistered { public_key: key.public_key(), kind, heir: None };
    say(ledger, key, Act::ContributorRegistered(act)).map(drop)
}

fn say(ledger: &Ledger, key: &mut AuthorKey, act: Act) -> anyhow::Result<RecordId> {
    let words = act.words();
    let appended = ledger.offer(signed(ledger, key, act)?).with_context(|| format!("the record {words:?}"))?;
    key.moved_on(appended.id);
    Ok(appended.id)
}

/// An act signed, the key's chain left as it is until the ledger has taken it.
fn signed(ledger: &Ledger, key: &mut AuthorKey, act: Act) -> anyhow::Result<Offer> {
    let origin = ledger.with_registry(|registry| registry.origin().to_owned())?;
    let (sequence, previous) = (key.sequence, key.previous);
    let record = sign_record(&origin, 0, Body::by(key.contributor(), act), &mut [&mut *key]);
    (key.sequence, key.previous) = (sequence, previous);
    let (operations, payloads) = (Vec::new(), Vec::new());
    Ok(Offer { body: record.body, signed: record.signed, operations, payloads, text: None })
}
