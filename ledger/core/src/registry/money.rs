//! Money as records have it: policies, epochs, payouts, subsidies, bonds and disputes.

use std::collections::{BTreeMap, BTreeSet};

use crate::hash::{Hash, digest_parts};
use crate::record::{
    BondPosted, ContributorId, Covered, DisputeOpened, DisputeResolved, EpochClosed, PayoutSettled, PolicyChanged,
    RecordId, SubsidyInjected,
};
use crate::registry::Said;
use crate::registry::people::People;
use crate::registry::refusal::Refusal;
use crate::sum_tree::{Kind, SumProof};

/// How far ahead a policy can take effect: one that never came into force would let no other follow. A notice is no longer,
/// or none could give it.
pub const POLICY_AHEAD_MS_MAX: u64 = 366 * 24 * 3_600_000;

/// What is known of money.
#[derive(Clone, Debug, Default)]
pub struct Money {
    /// In the order of their numbers, and so of their times.
    policies: Vec<(RecordId, PolicyChanged)>,
    epochs: Vec<(RecordId, EpochClosed)>,
    /// Where the last of them lies in the log.
    closed_at: Option<u64>,
    settled: BTreeSet<(u32, ContributorId)>,
    /// Each with its place, from those on that no epoch has.
    subsidies: Vec<(u64, u128)>,
    bonds: BTreeMap<RecordId, Bond>,
    disputes: BTreeMap<RecordId, Dispute>,
    shards: BTreeMap<u32, Shard>,
}

/// Money that stands behind something.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Bond {
    /// Whose; the operator, who holds it, has signed too.
    pub holders: Vec<ContributorId>,
    /// How much.
    pub amount_nano: u128,
    /// Behind what.
    pub backs: Hash,
    /// Where it is.
    pub state: BondState,
}

/// Where a bond is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BondState {
    /// In force.
    Posted,
    /// Back with its holder.
    Released,
    /// Lost.
    Forfeited,
}

/// A contested record.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Dispute {
    /// Which record.
    pub target: RecordId,
    /// By whom.
    pub openers: Vec<ContributorId>,
    /// Whether it was upheld, once that is decided.
    pub upheld: Option<bool>,
}

/// Heads of a usage shard that the log holds.
#[derive(Clone, Debug, Default)]
struct Shard {
    heads: BTreeMap<u64, Hash>,
    frozen: bool,
}

impl Money {
    /// The policy in force at a time, with its digest.
    pub fn policy_at(&self, time_ms: u64) -> Option<&(RecordId, PolicyChanged)> {
        self.policies.iter().rev().find(|(_, policy)| policy.effective_ms <= time_ms)
    }

    /// All policies, in the order of their times.
    pub fn policies(&self) -> &[(RecordId, PolicyChanged)] {
        &self.policies
    }

    /// All epochs that were closed.
    pub fn epochs(&self) -> &[(RecordId, EpochClosed)] {
        &self.epochs
    }

    /// The number of the epoch that runs.
    pub fn next_epoch(&self) -> u32 {
        self.epochs.last().map_or(1, |(_, last)| last.epoch.saturating_add(1))
    }

    /// Subsidies that no epoch has yet.
    pub fn subsidies_nano(&self) -> u128 {
        self.subsidies_before(u64::MAX)
    }

    fn subsidies_before(&self, records: u64) -> u128 {
        self.subsidies.iter().filter(|(index, _)| *index < records).map(|(_, amount)| amount).sum()
    }

    /// Whether a payout reached its payee.
    pub fn is_settled(&self, epoch: u32, contributor: &ContributorId) -> bool {
        self.settled.contains(&(epoch, *contributor))
    }

    /// One bond.
    pub fn bond(&self, id: &RecordId) -> Option<&Bond> {
        self.bonds.get(id)
    }

    /// One dispute.
    pub fn dispute(&self, id: &RecordId) -> Option<&Dispute> {
        self.disputes.get(id)
    }

    /// Whether a dispute found a record to be wrong.
    pub fn is_contested(&self, record: &RecordId) -> bool {
        self.disputes.values().any(|dispute| dispute.target == *record && dispute.upheld == Some(true))
    }

    /// Where the next epoch begins: the last shard that an epoch covered, and the first entry that it did not.
    pub fn frontier(&self) -> (u32, u64) {
        let last = self.epochs.last().and_then(|(_, epoch)| epoch.covered.last());
        last.map_or((1, 0), |covered| (covered.shard, covered.to))
    }

    pub(super) fn gate_required(&self, time_ms: u64) -> bool {
        self.policy_at(time_ms).is_some_and(|(_, policy)| policy.gate_required)
    }

    pub(super) fn is_posted_by(&self, bond: &RecordId, people: &[ContributorId]) -> bool {
        self.bonds.get(bond).is_some_and(|bond| {
            bond.state == BondState::Posted && bond.holders.iter().any(|holder| people.contains(holder))
        })
    }

    /// The log holds this head of a shard.
    pub(super) fn head(&mut self, shard: u32, head: Option<(u64, Hash)>, frozen: bool) {
        let known = self.shards.entry(shard).or_default();
        known.heads.extend(head);
        known.frozen |= frozen;
    }

    pub(super) fn change_policy(
        &mut self,
        people: &People,
        said: &Said<'_>,
        act: &PolicyChanged,
    ) -> Result<(), Refusal> {
        let next = u32::try_from(self.policies.len() + 1).unwrap_or(u32::MAX);
        if act.number != next {
            return Err(Refusal::PolicyNumber(next));
        }
        for contributor in [act.host].iter().chain(&act.base).chain(&act.evaluators) {
            people.is_known(contributor)?;
        }
        let after = self.policies.last().is_none_or(|(_, last)| act.effective_ms > last.effective_ms);
        if !after || act.effective_ms < said.time_ms {
            return Err(Refusal::PolicyBackwards);
        }
        if (act.effective_ms - said.time_ms).max(act.notice_ms) > POLICY_AHEAD_MS_MAX {
            return Err(Refusal::PolicyFar);
        }
        // What was promised holds, in force already or not: else a policy that waits could shorten it for the next one.
        let in_force = self.policies.iter().rposition(|(_, policy)| policy.effective_ms <= said.time_ms).unwrap_or(0);
        let notice_ms = self.policies[in_force..].iter().map(|(_, policy)| policy.notice_ms).max().unwrap_or(0);
        if act.effective_ms - said.time_ms < notice_ms {
            return Err(Refusal::PolicyNotice(notice_ms));
        }
        self.policies.push((said.id, act.clone()));
        Ok(())
    }

    pub(super) fn close(&mut self, times_ms: &[u64], said: &Said<'_>, act: &EpochClosed) -> Result<(), Refusal> {
        let next = self.next_epoch();
        if act.epoch != next {
            return Err(Refusal::EpochNumber(next));
        }
        let last = act.records.checked_sub(1).filter(|last| self.closed_at.is_none_or(|before| *last >= before));
        let time_ms = last.and_then(|last| usize::try_from(last).ok()).and_then(|last| times_ms.get(last));
        let time_ms = *time_ms.ok_or(Refusal::EpochRecords)?;
        if self.policy_at(time_ms).is_none_or(|(id, _)| *id != act.policy) {
            return Err(Refusal::PolicyInForce);
        }
        let committed = self.epochs.last().map(|(_, last)| last.next_seed);
        if committed.map_or(act.seed != Hash::ZERO, |committed| commitment(&act.seed) != committed) {
            return Err(Refusal::EpochSeed);
        }
        self.check_covered(&act.covered)?;
        self.check_totals(act)?;
        self.subsidies.retain(|(index, _)| *index >= act.records);
        self.closed_at = Some(said.index);
        self.epochs.push((said.id, act.clone()));
        Ok(())
    }

    /// From where the last epoch ended, shard by shard, each to its end but the last.
    fn check_covered(&self, covered: &[Covered]) -> Result<(), Refusal> {
        let (mut shard, mut from) = self.frontier();
        let whole = |shard: u32, to: u64| {
            let known = self.shards.get(&shard);
            known.is_some_and(|known| known.frozen && known.heads.last_key_value().is_some_and(|(size, _)| *size == to))
        };
        for (place, part) in covered.iter().enumerate() {
            // The last epoch, or the part before this one, may have covered all of its shard.
            if shard.checked_add(1) == Some(part.shard) && (place > 0 || whole(shard, from)) {
                (shard, from) = (part.shard, 0);
            }
            let head = self.shards.get(&part.shard).and_then(|known| known.heads.get(&part.to));
            let known = head.is_some_and(|root| *root == part.root) || (part.to == 0 && part.root == Hash::EMPTY_TREE);
            let last = place + 1 == covered.len();
            if (part.shard, part.from) != (shard, from) || !known || !(last || whole(part.shard, part.to)) {
                return Err(Refusal::EpochCovers);
            }
        }
        Ok(())
    }

    /// What anyone can check of an epoch without a row: money that came in went somewhere, once.
    fn check_totals(&self, act: &EpochClosed) -> Result<(), Refusal> {
        let wrong = |what| Err(Refusal::EpochTotals(what));
        let sum = |parts: &[u128]| parts.iter().try_fold(0_u128, |sum, part| sum.checked_add(*part));
        let totals = &act.totals;
        let came = sum(&[totals.opening, totals.fees, totals.erased, totals.subsidies]);
        let waits = [totals.awaiting_revisions, totals.awaiting_generations, totals.lanes, totals.subsidies_waiting];
        let went = sum(&waits).and_then(|waits| waits.checked_add(totals.paid));
        if came.is_none() || came != went {
            return wrong("what came in is not what went out");
        }
        if went != Some(act.payouts.sum) {
            return wrong("the accounts' tree has another sum");
        }
        if totals.fees != act.usage.sum {
            return wrong("the usage tree has another sum than the fees");
        }
        if sum(&act.lanes.0) != totals.fees.checked_add(totals.erased) {
            return wrong("the lanes do not sum to the fees");
        }
        if totals.subsidies != self.subsidies_before(act.records) {
            return wrong("other subsidies were injected");
        }
        let opening = self.epochs.last().map_or(Some(0), |(_, last)| {
            let last = &last.totals;
            sum(&[last.awaiting_revisions, last.awaiting_generations, last.lanes, last.subsidies_waiting])
        });
        if opening != Some(totals.opening) {
            return wrong("something else waited when the last epoch was closed");
        }
        Ok(())
    }

    pub(super) fn settle(&mut self, act: &PayoutSettled) -> Result<(), Refusal> {
        let (_, epoch) = self.epochs.iter().find(|(_, epoch)| epoch.epoch == act.epoch).ok_or(Refusal::PayoutProof)?;
        let (key, value, amount) = (act.contributor.0.to_vec(), act.statement, act.amount_nano);
        let proof = SumProof { key, value, amount, path: act.path.clone() };
        proof.check_member(Kind::Payouts, &epoch.payouts).map_err(|_| Refusal::PayoutProof)?;
        let once = self.settled.insert((act.epoch, act.contributor));
        if once { Ok(()) } else { Err(Refusal::DoneAlready) }
    }

    pub(super) fn inject(&mut self, said: &Said<'_>, act: &SubsidyInjected) -> Result<(), Refusal> {
        let fits = self.subsidies_nano().checked_add(act.amount_nano);
        fits.ok_or(Refusal::EpochTotals("the subsidies overflow"))?;
        self.subsidies.push((said.index, act.amount_nano));
        Ok(())
    }

    pub(super) fn post(&mut self, operator: ContributorId, said: &Said<'_>, act: &BondPosted) -> Result<(), Refusal> {
        let holders: Vec<ContributorId> = said.authors.iter().copied().filter(|author| *author != operator).collect();
        if holders.is_empty() {
            return Err(Refusal::Bond);
        }
        let bond = Bond { holders, amount_nano: act.amount_nano, backs: act.backs, state: BondState::Posted };
        self.bonds.insert(said.id, bond);
        Ok(())
    }

    /// A bond leaves its state, where nothing holds it there.
    pub(super) fn end_bond(&mut self, bond: &RecordId, held: bool, to: BondState) -> Result<(), Refusal> {
        let known = self.bonds.get_mut(bond).ok_or(Refusal::UnknownRecord(*bond))?;
        if held || known.state != BondState::Posted {
            return Err(Refusal::Bond);
        }
        known.state = to;
        Ok(())
    }

    /// Whether an open dispute is about a bond, or about what it backs.
    pub(super) fn is_disputed(&self, bond: &RecordId) -> bool {
        let backs = self.bonds.get(bond).map(|bond| bond.backs);
        let about = |dispute: &Dispute| dispute.target == *bond || Some(dispute.target) == backs;
        self.disputes.values().any(|dispute| dispute.upheld.is_none() && about(dispute))
    }

    /// Whether an upheld dispute is about what a bond backs.
    pub(super) fn was_upheld(&self, dispute: &RecordId, bond: &RecordId) -> bool {
        let backs = self.bonds.get(bond).map(|bond| bond.backs);
        self.disputes.get(dispute).is_some_and(|it| it.upheld == Some(true) && Some(it.target) == backs)
    }

    pub(super) fn open(&mut self, said: &Said<'_>, act: &DisputeOpened) {
        let dispute = Dispute { target: act.target, openers: said.authors.clone(), upheld: None };
        self.disputes.insert(said.id, dispute);
    }

    pub(super) fn resolve(
        &mut self,
        people: &People,
        parties: &[ContributorId],
        said: &Said<'_>,
        act: &DisputeResolved,
    ) -> Result<(), Refusal> {
        let dispute = self.disputes.get_mut(&act.dispute).ok_or(Refusal::UnknownRecord(act.dispute))?;
        if dispute.upheld.is_some() {
            return Err(Refusal::Dispute);
        }
        let mut interested = parties.iter().chain(&dispute.openers);
        if interested.any(|one| people.is_among(one, &said.authors)) {
            return Err(Refusal::OwnWork);
        }
        dispute.upheld = Some(act.upheld);
        Ok(())
    }
}

/// The commitment to an epoch's seed.
pub fn commitment(seed: &Hash) -> Hash {
    digest_parts(&[b"loam/epoch-seed-commitment/v1\0", &seed.0])
}
