//! One town in which everything that a record can say is said, and is right: each kind at least once.
#![allow(dead_code, unused_imports, reason = "each test uses the part of the story that it needs")]

#[path = "../town/mod.rs"]
pub(crate) mod town;

use loam_ledger_core::Hash;
use loam_ledger_core::entry::Entry;
use loam_ledger_core::epoch::{Carried, Settled};
use loam_ledger_core::record::{
    Access, Act, AdapterState, AgentActed, Body, BondForfeited, BondPosted, BondReleased, ClaimMade, ClaimResolved,
    ContributorKind, DisputeOpened, DisputeResolved, Gate, GrantGiven, GrantRevoked, GrantUse, KeyRotated, MILLION,
    OwnersChanged, PayoutSettled, PolicyChanged, Record, RecordId, RedactionReason, Review, RowRedacted,
    SubsidyInjected, Succession, Verdict, addendum,
};

use town::{OPERATOR, Town, Usage, add, correct, named, one};

/// The log's origin, as in FORMAT.md's other examples.
pub(crate) const STORY_ORIGIN: &str = "example.org/loam/records";

/// The town, its usage, and its only epoch.
pub(crate) struct Story {
    pub(crate) town: Town,
    pub(crate) usage: Usage,
    pub(crate) settled: Settled,
}

const OWN: &str = "the story keeps the rules";

impl Story {
    pub(crate) fn new() -> Self {
        let mut town = Town::empty(STORY_ORIGIN);
        for role in ["gatherer", "corrector", "trainer", "evaluator", "heir"] {
            town.register(role, ContributorKind::Person, None).expect(OWN);
        }
        let heir = town.id("heir");
        town.register("elder", ContributorKind::Person, Some(heir)).expect(OWN);
        town.register("agent", ContributorKind::Tool, None).expect(OWN);
        let policy = PolicyChanged { evaluators: vec![town.id("evaluator")], gate_required: true, ..town.policy() };
        town.say(&[OPERATOR], Act::PolicyChanged(policy)).expect(OWN);
        let (dataset, revision) = rows(&mut town);
        let generation = adapter(&mut town, dataset, revision);
        claims(&mut town, generation, revision);
        let mut usage = Usage::default();
        (0..3).for_each(|n| usage.request(&town, one(generation), 100 + n));
        let settled = town.close(&mut usage, Carried::default());
        money(&mut town, &settled);
        places(&mut town, generation, dataset);
        Self { town, usage, settled }
    }

    /// The records in order, each with its id.
    pub(crate) fn records(&self) -> Vec<(RecordId, Record)> {
        let records = self.town.entries.iter().filter_map(|entry| match entry {
            Entry::Record(record) => Some((record.id(STORY_ORIGIN), (**record).clone())),
            _ => None,
        });
        records.collect()
    }

    /// The first record of each kind.
    pub(crate) fn each_kind(&self) -> Vec<(RecordId, Record)> {
        let mut records = self.records();
        records.sort_by_key(|(_, record)| record.body.act.code());
        records.dedup_by_key(|(_, record)| record.body.act.code());
        records
    }
}

fn rows(town: &mut Town) -> (RecordId, RecordId) {
    let dataset = town.dataset(&["gatherer"], Access::ByGrant);
    let work = town.propose(&["gatherer"], dataset, None, &["a", "b"].map(add)).expect(OWN);
    let praise = Review { target: work, verdict: Verdict::Accept, probability: 900_000 };
    let why = Some(addendum(&[0x5a; 16], b"Clear, and from where it says."));
    let body = Body { text: why, ..town.body(&["corrector"], Act::Review(praise)) };
    town.record(&body, None).expect(OWN);
    let first = town.commit(&[("gatherer", MILLION)], dataset, None, &[work]).expect(OWN);
    let fix = town.propose(&["corrector"], dataset, Some(first), &[correct("a", "a", "A")]).expect(OWN);
    let second = town.commit(&[("gatherer", MILLION)], dataset, Some(first), &[fix]).expect(OWN);
    town.agree(&[("gatherer", 600_000), ("corrector", 400_000)], second).expect(OWN);
    let mut owners = vec![town.id("gatherer"), town.id("corrector")];
    owners.sort_unstable();
    let owners = OwnersChanged { dataset, owners };
    town.say(&["gatherer", "corrector"], Act::OwnersChanged(owners)).expect(OWN);
    (dataset, second)
}

fn adapter(town: &mut Town, dataset: RecordId, revision: RecordId) -> Hash {
    let given = GrantGiven { dataset, grantee: town.id("trainer"), allows: GrantUse::Train };
    let grant = town.say(&["gatherer"], Act::GrantGiven(given)).expect(OWN);
    let generation = Hash([0x61; 32]);
    let mut training = town.training(generation, &[], &[(revision, MILLION)]);
    training.grants = vec![grant];
    let run = town.say(&["trainer"], Act::TrainRunFinished(training)).expect(OWN);
    let publication = town.publication(generation, Some(run), &[]);
    let body = Body { cites: vec![run], ..town.body(&["trainer"], Act::AdapterPublished(publication)) };
    town.record(&body, None).expect(OWN);
    let evaluation = town.evaluate("evaluator", generation, revision, 820_000);
    let gate = Gate { generation, evaluation, passed: true, blocked_by: Vec::new() };
    town.say(&["evaluator"], Act::Gate(gate)).expect(OWN);
    town.change("trainer", generation, AdapterState::Draft, AdapterState::Gated).expect(OWN);
    town.change("trainer", generation, AdapterState::Gated, AdapterState::Published).expect(OWN);
    generation
}

fn claims(town: &mut Town, subject: Hash, suite: RecordId) {
    let mut post = |backs| {
        let act = Act::BondPosted(BondPosted { amount_nano: 1_000_000_000, backs });
        let body = town.shared(&[("corrector", MILLION), (OPERATOR, 0)], act);
        town.record(&body, None).expect(OWN)
    };
    let (lost, returned) = (post(subject), post(subject));
    town.say(&[OPERATOR], Act::BondReleased(BondReleased { bond: returned })).expect(OWN);
    let claim =
        ClaimMade { subject, suite, at_least: 900_000, probability: 750_000, deadline_epoch: 1, bond: Some(lost) };
    let claim = town.say(&["corrector"], Act::ClaimMade(claim)).expect(OWN);
    let evaluation = town.evaluate("evaluator", subject, suite, 830_000);
    town.say(&["evaluator"], Act::ClaimResolved(ClaimResolved { claim, evaluation, held: false })).expect(OWN);
    town.say(&[OPERATOR], Act::BondForfeited(BondForfeited { bond: lost, because: claim })).expect(OWN);
    let acted = AgentActed {
        principal: town.id("trainer"),
        policy: named("rules of the agent"),
        requests: vec![named("request 0")],
        tool: named("a tool"),
        arguments: addendum(&[0x5b; 16], b"arguments"),
        result: addendum(&[0x5c; 16], b"result"),
    };
    town.say(&["agent"], Act::AgentActed(acted)).expect(OWN);
}

fn money(town: &mut Town, settled: &Settled) {
    let contributor = town.id("corrector");
    let statement = settled.statement(&town.registry, &contributor);
    let proof = statement.proof.expect("there are accounts");
    let payout = PayoutSettled {
        epoch: 1,
        contributor,
        amount_nano: proof.amount,
        statement: statement.paid.digest(),
        path: proof.path,
        reference: addendum(&[0x5d; 16], b"transfer 17"),
    };
    town.say(&[OPERATOR], Act::PayoutSettled(payout)).expect(OWN);
    town.say(&[OPERATOR], Act::SubsidyInjected(SubsidyInjected { amount_nano: 5_000_000_000 })).expect(OWN);
}

fn places(town: &mut Town, generation: Hash, dataset: RecordId) {
    let redacted = RowRedacted { dataset, row: named("b"), reason: RedactionReason::Asked };
    town.say(&["corrector"], Act::RowRedacted(redacted)).expect(OWN);
    let target = town.registry.adapters().adapter(&generation).expect("it is published").record;
    let dispute = town.say(&["heir"], Act::DisputeOpened(DisputeOpened { target })).expect(OWN);
    let resolved = DisputeResolved { dispute, upheld: false };
    town.say(&[OPERATOR], Act::DisputeResolved(resolved)).expect(OWN);
    let of = town.id("elder");
    town.say(&["heir"], Act::Succession(Succession { of })).expect(OWN);
    let grants = town.registry.records().find(|(_, noted)| noted.words == "grant given");
    let grant = *grants.expect("one was given").0;
    town.say(&["gatherer"], Act::GrantRevoked(GrantRevoked { grant })).expect(OWN);
    let (next, proof) = town.people["gatherer"].rotated(&town.origin, &named("gatherer's next key").0);
    let rotated = KeyRotated { public_key: next.public_key(), proof, heir: None };
    town.say(&["gatherer"], Act::KeyRotated(rotated)).expect(OWN);
}
