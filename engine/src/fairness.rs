//! Whose turn it is: what each tenant was given is counted, and who was given least goes first.
//!
//! There are two levels: tenants, and within a tenant its *lines*, one for each set of adapters. A tenant gains nothing
//! by naming many adapters, and one adapter's crowd does not hold up the tenant's others. What is admitted but not
//! computed yet is owed, and counts as given. Who was away is lifted to the least of those present: absence saves
//! nothing up.
//!
//! Priorities order requests within their tenant and nowhere else: no tenant overtakes another by claiming them. Within
//! a tenant they are strict, so that its low ones wait as long as its high ones keep coming; that is its own choice.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet, BinaryHeap, VecDeque};
use std::ops::Bound::{Included, Unbounded};
use std::sync::Arc;

use crate::adapter::AdapterId;
use crate::scheduler::{SequenceId, TenantId};

/// A set of adapters, in order of generation: all requests for it wait in one line.
pub type Line = Arc<[AdapterId]>;

/// Accounts of the absent are cleared away when so many more than those present are kept.
const ABSENT_KEPT: usize = 64;

/// What each of several parties was given.
#[derive(Debug)]
struct Accounts<K> {
    accounts: BTreeMap<K, Account>,
    /// Where the last one stood who left nobody behind.
    floor: u64,
    present: usize,
}

#[derive(Clone, Copy, Debug, Default)]
struct Account {
    given: u64,
    owed: u64,
    requests: u32,
}

impl Account {
    const fn level(&self) -> u64 {
        self.given.saturating_add(self.owed)
    }
}

impl<K> Default for Accounts<K> {
    fn default() -> Self {
        Self { accounts: BTreeMap::new(), floor: 0, present: 0 }
    }
}

impl<K: Ord + Clone> Accounts<K> {
    fn least(&self) -> u64 {
        let present = self.accounts.values().filter(|account| account.requests > 0);
        present.map(Account::level).min().unwrap_or(self.floor)
    }

    /// One request more; whoever was away is lifted.
    fn enter(&mut self, key: &K) {
        let away = self.accounts.get(key).is_none_or(|account| account.requests == 0);
        if !away {
            self.of(key).requests += 1;
            return;
        }
        let least = self.least();
        self.present += 1;
        let account = self.accounts.entry(key.clone()).or_default();
        account.given = account.given.max(least);
        account.requests = 1;
    }

    /// One request less.
    fn leave(&mut self, key: &K) {
        let account = self.of(key);
        account.requests = account.requests.checked_sub(1).expect("a request leaves once");
        if account.requests > 0 {
            return;
        }
        let level = account.level();
        self.present -= 1;
        if self.present == 0 {
            self.floor = self.floor.max(level);
        }
        if self.accounts.len() > 2 * self.present + ABSENT_KEPT {
            // Who is below the least would be lifted to it anyway.
            let least = self.least();
            self.accounts.retain(|_, account| account.requests > 0 || account.level() > least);
        }
    }

    fn of(&mut self, key: &K) -> &mut Account {
        self.accounts.get_mut(key).expect("whoever has requests has an account")
    }

    fn level(&self, key: &K) -> u64 {
        self.accounts.get(key).map_or(0, Account::level)
    }
}

/// A request's place in its line: higher priority first, then who came first. A preempted one keeps its number, and so
/// stands before all that came after it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Place {
    /// Higher ones first.
    pub priority: Reverse<i32>,
    /// Its number, in order of arrival.
    pub number: u64,
    /// Who it is.
    pub id: SequenceId,
}

/// All who wait, and what all were given.
#[derive(Debug, Default)]
pub struct Queue {
    tenants: BTreeMap<TenantId, Tenant>,
    accounts: Accounts<TenantId>,
}

#[derive(Debug, Default)]
struct Tenant {
    accounts: Accounts<Line>,
    lines: BTreeMap<Line, BTreeSet<Place>>,
    running: u32,
}

/// A line whose first one could be next.
#[derive(Clone, Debug)]
pub struct Candidate {
    /// The tenant.
    pub tenant: TenantId,
    /// The line.
    pub line: Line,
    /// Its first one.
    pub place: Place,
}

impl Queue {
    /// A request came; it waits, or runs, until [`Queue::leave`].
    pub fn enter(&mut self, tenant: TenantId, line: &Line) {
        self.accounts.enter(&tenant);
        self.tenants.entry(tenant).or_default().accounts.enter(line);
    }

    /// A request ended.
    pub fn leave(&mut self, tenant: TenantId, line: &Line) {
        self.accounts.leave(&tenant);
        let it = self.of(tenant);
        it.accounts.leave(line);
        if it.accounts.present == 0 {
            self.tenants.remove(&tenant);
        }
    }

    /// A request stands in its line.
    pub fn push(&mut self, tenant: TenantId, line: &Line, place: Place) {
        let it = self.of(tenant);
        it.lines.entry(Arc::clone(line)).or_default().insert(place);
    }

    /// A request stands there no longer.
    pub fn remove(&mut self, tenant: TenantId, line: &Line, place: &Place) {
        let it = self.of(tenant);
        let places = it.lines.get_mut(line).expect("its line exists");
        let was_there = places.remove(place);
        if places.is_empty() {
            it.lines.remove(line);
        }
        assert!(was_there, "a request leaves its line once");
    }

    /// More, or fewer, of a tenant's requests run.
    pub fn run(&mut self, tenant: TenantId, change: i32) {
        let it = self.of(tenant);
        it.running = it.running.checked_add_signed(change).expect("what stops ran");
    }

    /// Something was given.
    pub fn charge(&mut self, tenant: TenantId, line: &Line, cost: u64) {
        let account = self.accounts.of(&tenant);
        account.given = account.given.saturating_add(cost);
        let account = self.of(tenant).accounts.of(line);
        account.given = account.given.saturating_add(cost);
    }

    /// What is owed to a request changes.
    pub fn owe(&mut self, tenant: TenantId, line: &Line, before: u64, after: u64) {
        let change = |account: &mut Account| account.owed = account.owed.saturating_sub(before).saturating_add(after);
        change(self.accounts.of(&tenant));
        change(self.of(tenant).accounts.of(line));
    }

    /// How many of a tenant's requests wait, in lines or elsewhere.
    pub fn waiting_of(&self, tenant: TenantId) -> usize {
        let requests = self.accounts.accounts.get(&tenant).map_or(0, |account| account.requests);
        (requests - self.running_of(tenant)) as usize
    }

    /// How many of a tenant's requests run.
    pub fn running_of(&self, tenant: TenantId) -> u32 {
        self.tenants.get(&tenant).map_or(0, |it| it.running)
    }

    /// Whether there is a tenant who waits and of whom nothing runs.
    pub fn anybody_has_nothing(&self) -> bool {
        self.tenants.values().any(|it| it.running == 0)
    }

    /// What a tenant was given and is owed.
    pub fn level(&self, tenant: TenantId) -> u64 {
        self.accounts.level(&tenant)
    }

    /// Who is next: of the tenant that was given least (then: with fewest running, then whose request came first), its
    /// highest priority, of that the line that was given least, of that the first. Lines whose adapters are not all
    /// among `ready`, and tenants that may not go, are passed over.
    pub fn next(&self, ready: &BTreeSet<AdapterId>, may_go: impl Fn(TenantId) -> bool) -> Option<Candidate> {
        let mut best: Option<((u64, u32, u64, TenantId), Candidate)> = None;
        for (&tenant, it) in &self.tenants {
            let level = self.level(tenant);
            if best.as_ref().is_some_and(|(key, _)| (level, it.running) > (key.0, key.1)) || !may_go(tenant) {
                continue;
            }
            let Some((_, _, place, line)) = it.first_ready(ready) else { continue };
            let key = (level, it.running, place.number, tenant);
            if best.as_ref().is_none_or(|(other, _)| key < *other) {
                best = Some((key, Candidate { tenant, line: Arc::clone(line), place }));
            }
        }
        best.map(|(_, candidate)| candidate)
    }

    /// All lines in the order in which their adapters are fetched: the first of each tenant, the second of each, ...
    /// Whoever asks for few of many has only those sorted.
    pub fn lines(&self) -> impl Iterator<Item = (TenantId, &Line)> {
        let mut tenants: Vec<_> = self.tenants.iter().map(|(tenant, it)| (self.level(*tenant), *tenant, it)).collect();
        tenants.sort_unstable_by_key(|(level, tenant, _)| (*level, *tenant));
        let mut turns: VecDeque<_> = tenants.into_iter().map(|(_, tenant, it)| (tenant, it.ranks())).collect();
        std::iter::from_fn(move || {
            loop {
                let (tenant, mut ranks) = turns.pop_front()?;
                let Some(Reverse((_, _, _, line))) = ranks.pop() else { continue };
                turns.push_back((tenant, ranks));
                return Some((tenant, line));
            }
        })
    }

    /// The first one in a line.
    pub fn first(&self, tenant: TenantId, line: &Line) -> Option<Place> {
        self.tenants.get(&tenant)?.lines.get(line)?.first().copied()
    }

    fn of(&mut self, tenant: TenantId) -> &mut Tenant {
        self.tenants.get_mut(&tenant).expect("whoever has requests is known")
    }
}

/// What decides which of a tenant's lines is first; the least is.
type Rank<'a> = (Reverse<i32>, u64, Place, &'a Line);

fn first_of(waiting: &BTreeSet<Place>) -> Place {
    *waiting.first().expect("an empty line is removed")
}

impl Tenant {
    fn rank<'a>(&self, line: &'a Line, waiting: &BTreeSet<Place>) -> Rank<'a> {
        let place = first_of(waiting);
        (place.priority, self.accounts.level(line), place, line)
    }

    /// All lines' ranks; each line's account is found by walking both maps at once.
    fn ranks(&self) -> BinaryHeap<Reverse<Rank<'_>>> {
        let mut accounts = self.accounts.accounts.iter();
        let mut level = |line: &Line| accounts.find(|(other, _)| *other == line).map_or(0, |(_, it)| it.level());
        let rank = |(line, waiting): (&'_ Line, &BTreeSet<Place>)| (first_of(waiting), level(line));
        let keys: Vec<(Place, u64)> = self.lines.iter().map(rank).collect();
        let ranks = keys.into_iter().zip(self.lines.keys());
        ranks.map(|((place, level), line)| Reverse((place.priority, level, place, line))).collect()
    }

    fn first_ready(&self, ready: &BTreeSet<AdapterId>) -> Option<Rank<'_>> {
        let goes = |(line, _): &(&Line, &BTreeSet<Place>)| line.iter().all(|adapter| ready.contains(adapter));
        if self.lines.len() <= 2 * ready.len() + 1 {
            return self.lines.iter().filter(goes).map(|(line, waiting)| self.rank(line, waiting)).min();
        }
        // Of many lines, only those that begin with an adapter that is ready.
        let from = |first: &[AdapterId]| self.lines.range::<[AdapterId], _>((Included(first), Unbounded));
        let base = from(&[]).take(1);
        let begun =
            ready.iter().flat_map(|first| from(&[*first]).take_while(move |(line, _)| line.first() == Some(first)));
        base.chain(begun).filter(goes).map(|(line, waiting)| self.rank(line, waiting)).min()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_comes_is_lifted_to_the_least_of_those_present() {
        let mut accounts: Accounts<u32> = Accounts::default();
        accounts.enter(&1);
        accounts.of(&1).given = 100;
        accounts.enter(&2);
        assert_eq!(accounts.level(&2), 100);
        accounts.of(&2).given = 300;
        accounts.of(&2).owed = 50;
        accounts.leave(&1);
        accounts.enter(&3);
        assert_eq!(accounts.level(&3), 350, "1 is not there");
        accounts.enter(&1);
        assert_eq!(accounts.level(&1), 350);
    }

    #[test]
    fn who_was_given_more_than_others_keeps_that_while_away() {
        let mut accounts: Accounts<u32> = Accounts::default();
        accounts.enter(&1);
        accounts.enter(&2);
        accounts.of(&1).given = 500;
        accounts.leave(&1);
        accounts.enter(&1);
        assert_eq!(accounts.level(&1), 500);
        accounts.leave(&1);
        accounts.leave(&2);
        accounts.enter(&3);
        assert_eq!(accounts.level(&3), 0, "2 left last");
    }

    #[test]
    fn accounts_of_the_absent_do_not_pile_up() {
        let mut accounts: Accounts<u32> = Accounts::default();
        accounts.enter(&0);
        for key in 1..1000 {
            accounts.enter(&key);
            accounts.leave(&key);
        }
        assert!(accounts.accounts.len() <= ABSENT_KEPT + 3, "{}", accounts.accounts.len());
    }

    /// One request in a line, with a place of its own.
    fn stand(queue: &mut Queue, tenant: u32, adapters: &[u32], number: u64, priority: i32) {
        let line: Line = adapters.iter().copied().map(AdapterId).collect();
        queue.enter(TenantId(tenant), &line);
        let place = Place { priority: Reverse(priority), number, id: SequenceId(number) };
        queue.push(TenantId(tenant), &line, place);
    }

    #[test]
    fn adapters_are_fetched_for_each_tenant_in_turn() {
        let mut queue = Queue::default();
        (0..4).for_each(|adapter| stand(&mut queue, 1, &[adapter], u64::from(adapter), 0));
        stand(&mut queue, 1, &[4], 9, 3);
        (10..12).for_each(|adapter| stand(&mut queue, 2, &[adapter], u64::from(adapter), 0));
        let given: Line = [AdapterId(0)].into();
        queue.charge(TenantId(1), &given, 5);
        let order: Vec<u32> = queue.lines().map(|(_, line)| line[0].0).collect();
        assert_eq!(
            order,
            [10, 4, 11, 1, 2, 3, 0],
            "given least; then priority, what each line was given, who came first"
        );
    }

    #[test]
    fn of_many_lines_the_first_that_can_go_is_found() {
        let mut queue = Queue::default();
        (0..50).for_each(|adapter| stand(&mut queue, 1, &[adapter, adapter + 1], u64::from(adapter), 0));
        stand(&mut queue, 1, &[], 100, 0);
        let next = |ready: &[u32]| {
            let ready = ready.iter().copied().map(AdapterId).collect();
            queue.next(&ready, |_| true).map(|candidate| candidate.place.number)
        };
        assert_eq!(next(&[]), Some(100), "the base is always there");
        assert_eq!((next(&[7, 9]), next(&[9, 8, 30])), (Some(100), Some(8)), "all of a set must be there");
        let all: Vec<u32> = (3..52).collect();
        assert_eq!(next(&all), Some(3));
        assert!(queue.next(&BTreeSet::new(), |_| false).is_none());
    }
}
