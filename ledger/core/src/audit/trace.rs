//! A trace: from one answer's receipt to the epoch that settled it, and on to everybody who was paid for it.

use crate::audit::rewards::{Close, EpochReport, covers};
use crate::epoch::{Account, Finding, RowPlace, Statement};
use crate::fee::split_to_lanes;
use crate::hash::{Hash, row_leaf_hash};
use crate::lineage::{Link, Node, links};
use crate::origin::{LogId, LogName};
use crate::receipt::{Found, Receipt};
use crate::record::{ContributorId, EpochClosed, PerLane, RecordId};
use crate::registry::Registry;
use crate::row::{Completion, Pair};
use crate::sum_tree::{Kind, SumProof};

/// What a receipt shows to be recorded, once it was checked.
#[derive(Clone, Copy, Debug)]
pub struct Answer<'a> {
    /// Where the row lies.
    pub place: RowPlace,
    /// Its leaf.
    pub leaf: Hash,
    /// The row.
    pub row: &'a Completion,
}

impl<'a> Answer<'a> {
    /// What a receipt shows, once it was checked; none where it is of no usage log.
    pub fn of(receipt: &Receipt, found: &'a Found) -> Option<Self> {
        let LogName { log: LogId::Usage(shard), .. } = LogName::parse(&found.checkpoint.origin).ok()? else {
            return None;
        };
        let place = RowPlace { shard, index: receipt.proof.index, row: receipt.opening.row_index };
        let leaf = row_leaf_hash(&receipt.opening.salt, &receipt.opening.row);
        Some(Self { place, leaf, row: &found.row })
    }
}

/// Something wrong on the way from an answer to its payees.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[expect(missing_docs, reason = "each variant's message is its documentation")]
pub enum TraceFinding {
    #[error("no epoch has settled this answer")]
    NotSettled,
    #[error("epoch {epoch} covers the answer's entry, and leaves the answer out")]
    LeftOut { epoch: u32 },
    #[error("epoch {epoch} settled this answer at {settled} nano-units, and its receipt says {recorded}")]
    OtherFee { epoch: u32, settled: u128, recorded: u64 },
    #[error("epoch {epoch} settled another row in the answer's place")]
    OtherRow { epoch: u32 },
    #[error("the proof does not lead to the usage that epoch {epoch} was closed over")]
    UsageProof { epoch: u32 },
    #[error("the proof of {payee} does not lead to the payouts of epoch {epoch}")]
    PayoutProof { epoch: u32, payee: Hash },
    #[error(transparent)]
    Row(#[from] Finding),
}

/// What a receipt holder checks alone, given an epoch's record and a proof by whomever: that the answer is in.
///
/// A proof of another leaf shows that the answer was left out: nobody can show both.
pub fn check_usage(act: &EpochClosed, answer: &Answer<'_>, proof: Option<&SumProof>) -> Result<(), TraceFinding> {
    let epoch = act.epoch;
    if !covers(act, &answer.place) {
        return Err(TraceFinding::NotSettled);
    }
    let key = answer.place.key();
    let Some(proof) = proof else {
        let empty = act.usage.count == 0;
        return Err(if empty { TraceFinding::LeftOut { epoch } } else { TraceFinding::UsageProof { epoch } });
    };
    if proof.check_absent(Kind::Usage, &act.usage, &key).is_ok() {
        return Err(TraceFinding::LeftOut { epoch });
    }
    if proof.key != key || proof.check_member(Kind::Usage, &act.usage).is_err() {
        return Err(TraceFinding::UsageProof { epoch });
    }
    if proof.amount != u128::from(answer.row.fee_nano) {
        return Err(TraceFinding::OtherFee { epoch, settled: proof.amount, recorded: answer.row.fee_nano });
    }
    if proof.value == answer.leaf { Ok(()) } else { Err(TraceFinding::OtherRow { epoch }) }
}

/// An adapter generation of an answer, with everything that it is owed to.
#[derive(Clone, Debug)]
pub struct TracedGeneration {
    /// The generation, and its weight in the answer.
    pub pair: Pair,
    /// The record that published it, if one did.
    pub record: Option<RecordId>,
    /// From it to train runs, revisions, contributions and people.
    pub links: Vec<Link>,
}

/// Somebody whom the answer's generations lead to, with what the epoch paid them, for whatever.
#[derive(Clone, Debug)]
pub struct TracedPayee {
    /// Who.
    pub contributor: ContributorId,
    /// The key they signed with at the close.
    pub public_key: [u8; 32],
    /// What the epoch paid them in all, by reason.
    pub statement: Statement,
    /// The way from their leaf to the root of payouts.
    pub proof: Option<SumProof>,
}

/// Everything between an answer and its payees.
#[derive(Clone, Debug)]
pub struct Trace {
    /// The epoch that covers the answer.
    pub epoch: Option<u32>,
    /// The answer's fee.
    pub fee_nano: u64,
    /// The same by lane, before the base takes what no adapter had a part in; zeros where no policy explains it.
    pub lanes: PerLane<u64>,
    /// The way from the answer's leaf to the root of usage, or to the leaf that shows it absent.
    pub usage_proof: Option<SumProof>,
    /// The answer's adapters.
    pub generations: Vec<TracedGeneration>,
    /// Who was paid.
    pub payees: Vec<TracedPayee>,
    /// What is wrong; nothing, where all holds.
    pub findings: Vec<TraceFinding>,
}

/// Follows an answer through epochs that were settled again by [`Rewards`](crate::audit::Rewards), seeking its row.
///
/// Where the report of its epoch is not among them, the trace ends at the people whom its adapters lead to.
pub fn trace(answer: &Answer<'_>, closes: &[Close], epochs: &[EpochReport], registry: &Registry) -> Trace {
    let close = closes.iter().find(|close| covers(&close.act, &answer.place));
    let report = close.and_then(|close| epochs.iter().find(|report| report.epoch == close.act.epoch));
    let registry = close.map_or(registry, |close| &close.by);
    let row = answer.row;
    let policies = registry.money().policies();
    let policy = policies.iter().find(|(id, _)| *id == row.price_policy).map(|(_, policy)| policy);
    let mut trace = Trace {
        epoch: close.map(|close| close.act.epoch),
        fee_nano: row.fee_nano,
        lanes: policy.map(|policy| split_to_lanes(row.fee_nano, &policy.lanes)).unwrap_or_default(),
        usage_proof: report.and_then(|report| report.settled.usage_proof.clone()),
        generations: row.pairs.iter().map(|pair| traced(registry, pair)).collect(),
        payees: Vec::new(),
        findings: Vec::new(),
    };
    let Some(close) = close else {
        trace.findings.push(TraceFinding::NotSettled);
        return trace;
    };
    // Without its rows the epoch's record alone says that it covers the answer.
    let Some(report) = report else { return trace };
    trace.findings.extend(check_usage(&close.act, answer, trace.usage_proof.as_ref()).err());
    let own = report.settled.findings.first.iter().filter(|finding| place_of(finding) == answer.place);
    trace.findings.extend(own.map(|finding| TraceFinding::Row(*finding)));
    trace.payees = payees(registry, &trace.generations, report);
    for payee in &trace.payees {
        let proven = payee.proof.as_ref().is_none_or(|proof| {
            let (absent, key) = (payee.statement.sum_nano() == 0, &payee.contributor.0);
            match absent {
                true => proof.check_absent(Kind::Payouts, &close.act.payouts, key).is_ok(),
                false => proof.check_member(Kind::Payouts, &close.act.payouts).is_ok(),
            }
        });
        if !proven {
            let (epoch, payee) = (close.act.epoch, payee.contributor);
            trace.findings.push(TraceFinding::PayoutProof { epoch, payee });
        }
    }
    trace
}

fn traced(registry: &Registry, pair: &Pair) -> TracedGeneration {
    let record = registry.adapters().adapter(&pair.generation).map(|adapter| adapter.record);
    TracedGeneration { pair: *pair, record, links: links(registry, &pair.generation) }
}

fn payees(registry: &Registry, generations: &[TracedGeneration], report: &EpochReport) -> Vec<TracedPayee> {
    let ends = generations.iter().flat_map(|generation| &generation.links).filter_map(|link| match link.to {
        Node::Contributor(id) => Some(registry.people().standing(&id)),
        _ => None,
    });
    let mut people: Vec<ContributorId> = ends.collect();
    people.sort_unstable();
    people.dedup();
    let payee = |contributor: ContributorId| {
        let account = Account::Contributor(contributor);
        let known = registry.people().find(&contributor)?;
        Some(TracedPayee {
            contributor,
            public_key: known.public_key,
            statement: report.settled.accounts.of(&account).cloned().unwrap_or_default(),
            proof: report.settled.prove(&account),
        })
    };
    people.into_iter().filter_map(payee).collect()
}

fn place_of(finding: &Finding) -> RowPlace {
    match finding {
        Finding::FeeDiffers { place, .. }
        | Finding::PolicyNotInForce { place, .. }
        | Finding::FirstStepUnknown { place } => *place,
    }
}
