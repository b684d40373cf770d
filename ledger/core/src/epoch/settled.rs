//! A settled epoch: its accounts, its trees, and the record that closes it.

use crate::epoch::account::{Account, Accounts, ContributorStatement};
use crate::epoch::carried::Carried;
use crate::epoch::pace::Pace;
use crate::epoch::settlement::RowPlace;
use crate::hash::Hash;
use crate::record::{ContributorId, Covered, EpochClosed, ListRoot, PerLane, SumRoot, Totals};
use crate::registry::Registry;
use crate::sum_tree::SumProof;

/// Findings that are kept one by one; the others are counted.
pub const FINDINGS_MAX: usize = 1_000;

/// Something wrong with a row's money. It never stops a settlement: a fee is divided as its row has it, or goes to the
/// reserve where the row's policy is not the one in force or not known.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[expect(missing_docs, reason = "each variant's message is its documentation")]
pub enum Finding {
    #[error("{place}: the fee is {recorded} nano-units, and the policy makes it {}; it is divided as the row has it",
        computed.map_or_else(|| "more than a fee can be".to_owned(), |fee| fee.to_string()))]
    FeeDiffers { place: RowPlace, recorded: u64, computed: Option<u64> },
    #[error(
        "{place}: the row names policy {named}, and another was in force at its first step; its fee waits in the reserve"
    )]
    PolicyNotInForce { place: RowPlace, named: Hash },
    #[error(
        "{place}: the row's first step lies before what was read, so its policy is not known; its fee waits in the reserve"
    )]
    FirstStepUnknown { place: RowPlace },
}

impl core::fmt::Display for RowPlace {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        write!(f, "usage/{}, entry {}, row {}", self.shard, self.index, self.row)
    }
}

/// What was found, bounded.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Findings {
    /// The first of them.
    pub first: Vec<Finding>,
    /// How many there are.
    pub count: u64,
}

impl Findings {
    pub(super) fn add(&mut self, finding: Finding) {
        self.count += 1;
        if self.first.len() < FINDINGS_MAX {
            self.first.push(finding);
        }
    }
}

/// An epoch whose money is divided.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Settled {
    /// Every account.
    pub accounts: Accounts,
    /// One leaf for each completion row.
    pub usage: SumRoot,
    /// Where the row is that was sought, if one was.
    pub usage_proof: Option<SumProof>,
    /// One leaf for each account.
    pub payouts: SumRoot,
    /// What erased rows came to.
    pub erased: ListRoot,
    /// Fees by lane.
    pub lanes: PerLane<u128>,
    /// The sums.
    pub totals: Totals,
    /// What is wrong with rows.
    pub findings: Findings,
    pace: Pace,
}

impl Settled {
    pub(super) fn new(
        accounts: Accounts,
        (usage, usage_proof): (SumRoot, Option<SumProof>),
        (erased, erased_nano): (ListRoot, u128),
        lanes: PerLane<u128>,
        (opening, subsidies): (u128, u128),
        findings: Findings,
        pace: Pace,
    ) -> Self {
        let (payouts, _) = accounts.tree(None);
        let sum = |of: fn(&Account) -> bool| accounts.sum_where(of);
        let totals = Totals {
            opening,
            fees: usage.sum,
            erased: erased_nano,
            subsidies,
            paid: sum(|account| matches!(account, Account::Contributor(_))),
            awaiting_revisions: sum(|account| matches!(account, Account::Revision(_))),
            awaiting_generations: sum(|account| {
                matches!(account, Account::LineageAdapter(_) | Account::LineageData(_) | Account::Sources(_))
            }),
            lanes: sum(|account| matches!(account, Account::Lane(_))),
            subsidies_waiting: sum(|account| *account == Account::Subsidies),
        };
        Self { accounts, usage, usage_proof, payouts, erased, lanes, totals, findings, pace }
    }

    /// The record that closes the next epoch of the registry by which it was settled; none where no policy is in force.
    /// `seed` is what the epoch before it committed to, `next_seed` the [`commitment`](crate::registry::commitment) of this
    /// one: whose seed it is keeps it until then.
    pub fn close(
        &self,
        registry: &Registry,
        covered: Vec<Covered>,
        seed: Hash,
        next_seed: Hash,
    ) -> Option<EpochClosed> {
        let (policy, _) = registry.money().policy_at(registry.time_ms())?;
        Some(EpochClosed {
            epoch: registry.money().next_epoch(),
            covered,
            records: registry.size(),
            policy: *policy,
            seed,
            next_seed,
            usage: self.usage,
            payouts: self.payouts,
            erased: self.erased,
            lanes: self.lanes,
            totals: self.totals,
        })
    }

    /// What the next epoch begins with.
    pub fn carried(&self) -> Carried {
        Carried { waiting: self.accounts.waiting(), pace: self.pace.clone() }
    }

    /// The way from an account's leaf to the root of payouts; from another's, where it has none.
    pub fn prove(&self, account: &Account) -> Option<SumProof> {
        self.accounts.tree(Some(account)).1
    }

    /// What one contributor is told.
    pub fn statement(&self, registry: &Registry, contributor: &ContributorId) -> ContributorStatement {
        self.accounts.statement(registry, contributor)
    }
}
