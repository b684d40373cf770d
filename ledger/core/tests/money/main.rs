//! Money: who gets what, that parts sum to the whole, and what nobody can take by a trick.

mod attacks;
mod epochs;
mod rate;
mod splits;
#[path = "../tier/mod.rs"]
mod tier;
#[path = "../town/mod.rs"]
mod town;
mod worlds;

use loam_ledger_core::epoch::{Account, Carried, Reason, Settled};
use town::{Town, Usage};

/// What an epoch must have come to: amounts by role, and what waits by reason.
#[track_caller]
fn check(town: &Town, settled: &Settled, paid: &[(&str, u128)], waits: &[(Reason, u128)]) {
    for (role, amount) in paid {
        assert_eq!(town.paid(settled, role), *amount, "{role} of {:#?}", settled.accounts);
    }
    for (reason, amount) in waits {
        let lines = settled.accounts.all().filter(|(account, _)| account.waits());
        let found: u128 =
            lines.flat_map(|(_, it)| it.lines()).filter(|line| line.reason == *reason).map(|l| l.amount_nano).sum();
        assert_eq!(found, *amount, "{reason:?} of {:#?}", settled.accounts);
    }
    check_sums(settled);
}

/// What came in went somewhere, once; every account's proof leads to the root.
#[track_caller]
fn check_sums(settled: &Settled) {
    let totals = &settled.totals;
    let came = totals.opening + totals.fees + totals.erased + totals.subsidies;
    assert_eq!(came, settled.payouts.sum);
    assert_eq!(came, settled.accounts.sum_where(|_| true));
    let went = totals.awaiting_revisions + totals.awaiting_generations + totals.lanes + totals.subsidies_waiting;
    assert_eq!(came, totals.paid + went);
    assert_eq!(settled.lanes.0.iter().sum::<u128>(), totals.fees + totals.erased);
}

/// Settles once, from nothing.
fn settle(town: &Town, usage: &Usage) -> Settled {
    usage.settle(town, &loam_ledger_core::Hash::ZERO, Carried::default())
}

/// The account of a role.
fn account(town: &Town, role: &str) -> Account {
    Account::Contributor(town.id(role))
}
