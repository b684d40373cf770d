//! Rewards: every closed epoch settled again from rows and records, and held against what its record says.

use std::collections::BTreeMap;

use crate::division::epoch_seed;
use crate::entry::Entry;
use crate::epoch::{Carried, ErasedRows, RowPlace, Settled, Settlement, Simulated};
use crate::hash::Hash;
use crate::record::{Act, EpochClosed, Lane, PerLane, PolicyChanged, RecordId, SumRoot};
use crate::registry::{Refusal, Registry};
use crate::row::Completion;

/// An epoch's close, with the state of the registry by which it was divided.
#[derive(Clone, Debug)]
pub struct Close {
    /// Where it lies in the records log.
    pub index: u64,
    /// The record's id.
    pub id: RecordId,
    /// What it says.
    pub act: EpochClosed,
    /// What was recorded up to the place that it names.
    pub by: Registry,
}

impl Close {
    /// Whether its lanes lie where the policies put them that were in force up to then: what anybody can check.
    pub fn lanes_follow(&self) -> bool {
        let policies = self.by.money().policies().iter().map(|(_, policy)| policy);
        lanes_follow(&self.act, policies.filter(|policy| policy.effective_ms <= self.by.time_ms()))
    }
}

/// What a records log comes to, for whoever recomputes money.
#[derive(Clone, Debug)]
pub struct Recorded {
    /// Every valid close, in order.
    pub closes: Vec<Close>,
    /// Records that break a rule, with their places: they are void.
    pub void: Vec<(u64, Refusal)>,
    /// The registry after the last entry.
    pub registry: Registry,
}

/// Folds a records log, whole and in order.
///
/// It goes through the log twice: which closes are valid is known at their own place, and by which place they were divided
/// only then. So nobody makes an auditor keep a state for a close that is void.
pub fn fold_records<'e>(origin: &str, entries: impl IntoIterator<Item = &'e Entry> + Clone) -> Recorded {
    let mut recorded = Recorded { closes: Vec::new(), void: Vec::new(), registry: Registry::new(origin) };
    let mut valid = Vec::new();
    for (index, entry) in (0..).zip(entries.clone()) {
        match (recorded.registry.fold(entry), entry) {
            (Err(refusal), _) => recorded.void.push((index, refusal)),
            (Ok(()), Entry::Record(record)) => valid.extend(closing(entry).map(|act| (index, record.id(origin), act))),
            (Ok(()), _) => {}
        }
    }
    let mut registry = Registry::new(origin);
    let mut entries = entries.into_iter();
    // Each was divided by more than the one before it.
    for (index, id, act) in valid {
        while registry.size() < act.records
            && let Some(entry) = entries.next()
        {
            // What is void was named above.
            let _ = registry.fold(entry);
        }
        recorded.closes.push(Close { index, id, act: act.clone(), by: registry.clone() });
    }
    recorded
}

fn closing(entry: &Entry) -> Option<&EpochClosed> {
    match entry {
        Entry::Record(record) => match &record.body.act {
            Act::EpochClosed(act) => Some(act),
            _ => None,
        },
        _ => None,
    }
}

/// Something that an epoch's record says, and that its rows do not come to.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[expect(missing_docs, reason = "each variant's message is its documentation")]
pub enum Difference {
    #[error("epoch {epoch} was closed over {} completion rows of {} nano-units; there are {} of {}",
        recorded.count, recorded.sum, computed.count, computed.sum)]
    Usage { epoch: u32, recorded: SumRoot, computed: SumRoot },
    #[error("epoch {epoch} divides {} nano-units into {} accounts in another way than the rules do",
        recorded.sum, recorded.count)]
    Payouts { epoch: u32, recorded: SumRoot, computed: SumRoot },
    #[error("epoch {epoch} commits to other erased rows than are at hand")]
    Erased { epoch: u32 },
    #[error("epoch {epoch} has {recorded} nano-units in the {} lane; rows bring {computed}",
        crate::fee::lane_word(*lane))]
    Lane { epoch: u32, lane: Lane, recorded: u128, computed: u128 },
    #[error("epoch {epoch} states other totals than its rows come to")]
    Totals { epoch: u32 },
}

/// Holds an epoch's record against what was recomputed.
pub fn compare(act: &EpochClosed, settled: &Settled) -> Vec<Difference> {
    let epoch = act.epoch;
    let mut found = Vec::new();
    if act.usage != settled.usage {
        found.push(Difference::Usage { epoch, recorded: act.usage, computed: settled.usage });
    }
    if act.payouts != settled.payouts {
        found.push(Difference::Payouts { epoch, recorded: act.payouts, computed: settled.payouts });
    }
    if act.erased != settled.erased {
        found.push(Difference::Erased { epoch });
    }
    for &lane in Lane::ALL {
        let (recorded, computed) = (act.lanes.of(lane), settled.lanes.of(lane));
        if recorded != computed {
            found.push(Difference::Lane { epoch, lane, recorded, computed });
        }
    }
    if act.totals != settled.totals {
        found.push(Difference::Totals { epoch });
    }
    found
}

/// What anybody can check of lanes without a row: each lies where the policies' basis points put it, but for less than a
/// unit of rounding a row. What adapters and data leave where there is no adapter is the base's, so these three are one.
pub fn lanes_follow<'p>(act: &EpochClosed, policies: impl IntoIterator<Item = &'p PolicyChanged>) -> bool {
    let groups: [&[Lane]; 5] =
        [&[Lane::Host], &[Lane::Base, Lane::Adapter, Lane::Data], &[Lane::Upkeep], &[Lane::Bond], &[Lane::Reserve]];
    let policies: Vec<&PerLane<u32>> = policies.into_iter().map(|policy| &policy.lanes).collect();
    let sum_of = |lanes: &[Lane]| lanes.iter().try_fold(0_u128, |sum, lane| sum.checked_add(act.lanes.of(*lane)));
    let rows = u128::from(act.usage.count) + u128::from(act.erased.count);
    let lies = |lanes: &[Lane], fees: u128| -> Option<bool> {
        let points = policies.iter().map(|of| lanes.iter().map(|lane| u128::from(of.of(*lane))).sum::<u128>());
        let (Some(least), Some(most)) = (points.clone().min(), points.max()) else { return Some(fees == 0) };
        let slack = rows.checked_mul(lanes.len() as u128)?;
        let sum = sum_of(lanes)?;
        let above = sum.checked_add(slack)?.checked_mul(10_000)? >= fees.checked_mul(least)?;
        let below = sum.checked_mul(10_000)? <= fees.checked_mul(most)?.checked_add(slack.checked_mul(10_000)?)?;
        Some(above && below)
    };
    // Sums that do not even fit are nowhere.
    sum_of(Lane::ALL).is_some_and(|fees| groups.iter().all(|lanes| lies(lanes, fees).unwrap_or(false)))
}

/// One epoch, settled again.
#[derive(Clone, Debug)]
pub struct EpochReport {
    /// Which.
    pub epoch: u32,
    /// What it comes to.
    pub settled: Settled,
    /// What its record says otherwise.
    pub differences: Vec<Difference>,
    /// Whether its lanes lie where the policies put them.
    pub lanes_follow: bool,
}

/// All epochs, settled again; and what no epoch covers yet.
#[derive(Clone, Debug, Default)]
pub struct RewardsReport {
    /// Every closed epoch.
    pub epochs: Vec<EpochReport>,
    /// Completion rows behind the last close.
    pub unsettled_rows: u64,
    /// Their fees.
    pub unsettled_nano: u128,
}

/// What is left of rows that nobody can open any more, for one epoch.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Left {
    /// Of those that were erased before the epoch was closed: the list that its record commits to.
    pub erased: Vec<ErasedRows>,
    /// Of those that were erased after it was.
    pub forgotten: Vec<ErasedRows>,
}

/// Settles all epochs again while usage logs go by, in the order of shards and entries.
pub struct Rewards<'a> {
    closes: &'a [Close],
    left: &'a BTreeMap<u32, Left>,
    simulated: Option<&'a PolicyChanged>,
    sought: Option<RowPlace>,
    at: usize,
    running: Option<Settlement<'a>>,
    carried: Carried,
    report: RewardsReport,
}

impl<'a> Rewards<'a> {
    /// Of these closes; `left` is what their erased rows left, by epoch.
    pub fn new(closes: &'a [Close], left: &'a BTreeMap<u32, Left>) -> Self {
        let mut rewards = Self {
            closes,
            left,
            simulated: None,
            sought: None,
            at: 0,
            running: None,
            carried: Carried::default(),
            report: RewardsReport::default(),
        };
        rewards.begin();
        rewards
    }

    /// The same by another policy, for all epochs: what would have been paid.
    #[must_use]
    pub fn simulating(mut self, policy: Simulated<'a>) -> Self {
        self.simulated = Some(policy.0);
        self.begin();
        self
    }

    /// The same, proving on the way where one row's leaf is.
    #[must_use]
    pub fn seeking(mut self, place: RowPlace) -> Self {
        self.sought = Some(place);
        self.begin();
        self
    }

    /// Takes the next entry of the usage logs.
    pub fn entry(&mut self, shard: u32, index: u64, entry: &Entry) {
        while let Some(close) = self.closes.get(self.at)
            && close.act.covered.last().is_some_and(|last| (shard, index) >= (last.shard, last.to))
        {
            self.end();
        }
        if let Some(running) = &mut self.running {
            running.entry(entry);
        }
    }

    /// Takes a completion row of the last entry.
    pub fn completion(&mut self, place: RowPlace, leaf: &Hash, row: &Completion) {
        match &mut self.running {
            Some(running) => running.completion(place, leaf, row),
            None => {
                self.report.unsettled_rows += 1;
                self.report.unsettled_nano += u128::from(row.fee_nano);
            }
        }
    }

    /// Takes a row of the last entry that was settled and erased since: its leaf is kept, its fee is told.
    pub fn forgotten(&mut self, place: RowPlace, leaf: &Hash, fee_nano: u64) {
        if let Some(running) = &mut self.running {
            running.forgotten(place, leaf, fee_nano);
        }
    }

    /// Settles what is left.
    pub fn finish(mut self) -> RewardsReport {
        while self.running.is_some() {
            self.end();
        }
        self.report
    }

    fn begin(&mut self) {
        let Some(close) = self.closes.get(self.at) else { return };
        let last = close.act.covered.last().map_or(Hash::EMPTY_TREE, |covered| covered.root);
        let seed = epoch_seed(&close.act.seed, &last);
        let mut settlement = Settlement::new(&close.by, seed, self.carried.clone());
        if let Some(policy) = self.simulated {
            settlement = settlement.simulating(Simulated(policy));
        }
        if let Some(place) = self.sought.filter(|place| covers(&close.act, place)) {
            settlement = settlement.seeking(&place);
        }
        self.running = Some(settlement);
    }

    fn end(&mut self) {
        let (Some(mut settlement), Some(close)) = (self.running.take(), self.closes.get(self.at)) else { return };
        if let Some(left) = self.left.get(&close.act.epoch) {
            left.erased.iter().for_each(|rows| settlement.erased(rows));
            left.forgotten.iter().for_each(|rows| settlement.forgotten_mix(rows));
        }
        let settled = settlement.finish();
        self.carried = settled.carried();
        self.report.epochs.push(EpochReport {
            epoch: close.act.epoch,
            differences: compare(&close.act, &settled),
            lanes_follow: close.lanes_follow(),
            settled,
        });
        self.at += 1;
        self.begin();
    }
}

/// Whether an epoch covers the entry of a row.
pub(super) fn covers(act: &EpochClosed, place: &RowPlace) -> bool {
    act.covered.iter().any(|part| part.shard == place.shard && (part.from..part.to).contains(&place.index))
}
