//! Distribution: up the lineage and down to people, once for each account, at the close of an epoch.
//!
//! Every function here moves an amount from one place to others that sum to it, or lets it wait under a reason.

use std::collections::BTreeMap;

use crate::division::{Part, divide, tie};
use crate::epoch::account::{Account, Accounts, Reason};
use crate::hash::Hash;
use crate::lineage::measure;
use crate::record::{Author, ContributorId, Generation, Lane, MILLION, PolicyChanged, RecordId};
use crate::registry::{Adapter, Registry};

/// What is owed for a generation, in nano-units.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Owed {
    pub(super) adapter: u128,
    pub(super) data: u128,
}

/// What some money is, while it moves: new fees, or what waited; and which accounts it comes to.
pub(super) struct Distribution<'a> {
    registry: &'a Registry,
    epoch_seed: Hash,
    accounts: Accounts,
}

/// How a generation's money goes on.
enum Way {
    /// These generations have it, each for itself: what is theirs is not divided along lineages again.
    Own(Vec<(Generation, u64)>),
    /// A part stays with the generation, and parents have parts, which go their own ways.
    Parents(u64, Vec<(Generation, u64)>),
    /// It waits.
    Waits(Reason),
}

impl<'a> Distribution<'a> {
    pub(super) fn new(registry: &'a Registry, epoch_seed: Hash) -> Self {
        Self { registry, epoch_seed, accounts: Accounts::default() }
    }

    pub(super) fn finish(self) -> Accounts {
        self.accounts
    }

    /// What waited is looked at again: evidence may have come. What is divided now is an adjustment, under its own reasons.
    pub(super) fn release(&mut self, waiting: &[(Account, u128)]) {
        let mut owed: BTreeMap<Generation, Owed> = BTreeMap::new();
        let (mut sources, mut revisions) = (BTreeMap::new(), BTreeMap::new());
        for (account, amount) in waiting {
            match account {
                Account::LineageAdapter(generation) => owed.entry(*generation).or_default().adapter += amount,
                Account::LineageData(generation) => owed.entry(*generation).or_default().data += amount,
                Account::Sources(generation) => *sources.entry(*generation).or_insert(0_u128) += amount,
                Account::Revision(revision) => *revisions.entry(*revision).or_insert(0_u128) += amount,
                Account::Lane(lane) => self.accounts.add(*account, reason_of_lane(*lane), Hash::ZERO, *amount),
                Account::Subsidies => self.accounts.add(*account, Reason::Subsidy, Hash::ZERO, *amount),
                Account::Contributor(_) => unreachable!("what is somebody's does not wait"),
            }
        }
        self.divide_all(owed, sources, revisions, true);
    }

    /// Divides what an epoch's fees brought.
    pub(super) fn owe(&mut self, owed: &[(Generation, Owed)]) {
        self.divide_all(owed.iter().copied().collect(), BTreeMap::new(), BTreeMap::new(), false);
    }

    pub(super) fn pay_hosts(&mut self, policy: &PolicyChanged, host: u128, base: u128) {
        self.pay(&policy.host, Reason::Host, Hash::ZERO, host);
        match &policy.base {
            Some(payee) => self.pay(payee, Reason::Base, Hash::ZERO, base),
            None => self.accounts.add(Account::Lane(Lane::Base), Reason::NoPayee, Hash::ZERO, base),
        }
    }

    pub(super) fn keep(&mut self, upkeep: u128, bond: u128, reserve: u128, not_in_force: u128, subsidies: u128) {
        for (lane, amount) in [(Lane::Upkeep, upkeep), (Lane::Bond, bond), (Lane::Reserve, reserve)] {
            self.accounts.add(Account::Lane(lane), reason_of_lane(lane), Hash::ZERO, amount);
        }
        self.accounts.add(Account::Lane(Lane::Reserve), Reason::PolicyNotInForce, Hash::ZERO, not_in_force);
        self.accounts.add(Account::Subsidies, Reason::Subsidy, Hash::ZERO, subsidies);
    }

    /// Children before parents, then sources, then revisions: each account is divided once, when all of it is there.
    fn divide_all(
        &mut self,
        owed: BTreeMap<Generation, Owed>,
        mut sources: BTreeMap<Generation, u128>,
        mut revisions: BTreeMap<RecordId, u128>,
        later: bool,
    ) {
        let mut own: BTreeMap<Generation, Owed> = BTreeMap::new();
        // The one that was published last comes first: nothing that it gives can come back to one that was done before.
        let mut open: BTreeMap<(Option<u64>, Generation), Owed> =
            owed.into_iter().map(|(generation, amount)| ((self.age(&generation), generation), amount)).collect();
        while let Some(((_, generation), amount)) = open.pop_last() {
            match self.way(&generation) {
                Way::Waits(reason) => self.hold(&generation, reason, amount),
                Way::Own(shares) => {
                    for (to, part) in self.share(amount, &shares) {
                        add(own.entry(to).or_default(), part);
                    }
                }
                Way::Parents(kept, parents) => {
                    let all: Vec<(Generation, u64)> = [(generation, kept)].into_iter().chain(parents).collect();
                    for (to, part) in self.share(amount, &all) {
                        let stays = to == generation;
                        let place = if stays {
                            own.entry(to).or_default()
                        } else {
                            open.entry((self.age(&to), to)).or_default()
                        };
                        add(place, part);
                    }
                }
            }
        }
        for (generation, amount) in own {
            if self.is_contested(&generation) {
                self.hold(&generation, Reason::Contested, amount);
                continue;
            }
            self.pay_authors(&generation, amount.adapter, later);
            *sources.entry(generation).or_default() += amount.data;
        }
        for (generation, amount) in sources {
            self.spread_to_revisions(&generation, amount, &mut revisions);
        }
        for (revision, amount) in revisions {
            self.pay_revision(&revision, amount, later);
        }
    }

    /// Where a generation was published; what nobody published gives nothing to others, and may come whenever.
    fn age(&self, generation: &Generation) -> Option<u64> {
        self.registry.adapters().adapter(generation).map(|adapter| adapter.index)
    }

    fn hold(&mut self, generation: &Generation, reason: Reason, amount: Owed) {
        self.accounts.add(Account::LineageAdapter(*generation), reason, *generation, amount.adapter);
        self.accounts.add(Account::LineageData(*generation), reason, *generation, amount.data);
    }

    fn is_contested(&self, generation: &Generation) -> bool {
        let adapter = self.registry.adapters().adapter(generation);
        adapter.is_some_and(|adapter| self.registry.money().is_contested(&adapter.record))
    }

    fn way(&self, generation: &Generation) -> Way {
        let Some(adapter) = self.registry.adapters().adapter(generation) else {
            return Way::Waits(Reason::Unpublished);
        };
        if self.is_contested(generation) {
            return Way::Waits(Reason::Contested);
        }
        if adapter.parents.is_empty() {
            return Way::Own(vec![(*generation, 1)]);
        }
        if adapter.agreed {
            return agreed_way(adapter);
        }
        match measure(self.registry, generation) {
            Some(measured) => Way::Own(measured.gains),
            None => Way::Waits(Reason::LineageOpen),
        }
    }

    /// Shares both lanes of a generation's money by the same weights, not all zero.
    fn share(&self, amount: Owed, shares: &[(Generation, u64)]) -> Vec<(Generation, Owed)> {
        let part =
            |(generation, weight): &(Generation, u64)| Part { weight: *weight, tie: tie(&self.epoch_seed, generation) };
        let parts: Vec<Part> = shares.iter().map(part).collect();
        let adapter = divide(amount.adapter, &parts).expect("a way leads somewhere");
        let data = divide(amount.data, &parts).expect("a way leads somewhere");
        let amounts = adapter.into_iter().zip(data).map(|(adapter, data)| Owed { adapter, data });
        shares.iter().map(|(generation, _)| *generation).zip(amounts).collect()
    }

    fn pay_authors(&mut self, generation: &Generation, amount: u128, later: bool) {
        let adapter = self.registry.adapters().adapter(generation).expect("only published generations have their own");
        let reason = if later { Reason::AdapterLater } else { Reason::Adapter };
        self.pay_shares(&adapter.authors, reason, *generation, amount);
    }

    fn spread_to_revisions(&mut self, generation: &Generation, amount: u128, revisions: &mut BTreeMap<RecordId, u128>) {
        let adapter = self.registry.adapters().adapter(generation);
        let id = adapter.and_then(|adapter| adapter.train_run);
        let run = id.and_then(|run| self.registry.adapters().run(&run)).filter(|run| !run.sources.is_empty());
        let contested = id.is_some_and(|run| self.registry.money().is_contested(&run));
        let reason = match run {
            None => Reason::NoSources,
            Some(_) if contested => Reason::Contested,
            Some(run) if !run.agreed => Reason::SourcesOpen,
            Some(run) => {
                let part = |source: &crate::record::RevisionShare| Part {
                    weight: source.share.into(),
                    tie: tie(&self.epoch_seed, &source.revision),
                };
                let parts: Vec<Part> = run.sources.iter().map(part).collect();
                let amounts = divide(amount, &parts).expect("shares sum to one");
                for (source, part) in run.sources.iter().zip(amounts) {
                    let effective = self.registry.datasets().effective(&source.revision);
                    *revisions.entry(effective).or_default() += part;
                }
                return;
            }
        };
        self.accounts.add(Account::Sources(*generation), reason, *generation, amount);
    }

    fn pay_revision(&mut self, id: &RecordId, amount: u128, later: bool) {
        let revision = self.registry.datasets().revision(id);
        let contested = self.registry.money().is_contested(id);
        match revision.and_then(|revision| revision.agreed.as_ref()) {
            Some(authors) if !contested => {
                let reason = if later { Reason::DataLater } else { Reason::Data };
                self.pay_shares(authors, reason, *id, amount);
            }
            _ => {
                let reason = if contested { Reason::Contested } else { Reason::SharesOpen };
                self.accounts.add(Account::Revision(*id), reason, *id, amount);
            }
        }
    }

    fn pay_shares(&mut self, authors: &[Author], reason: Reason, subject: Hash, amount: u128) {
        let part =
            |author: &Author| Part { weight: author.share.into(), tie: tie(&self.epoch_seed, &author.contributor) };
        let parts: Vec<Part> = authors.iter().map(part).collect();
        let amounts = divide(amount, &parts).expect("a record's shares sum to one");
        for (author, amount) in authors.iter().zip(amounts) {
            self.pay(&author.contributor, reason, subject, amount);
        }
    }

    /// Whoever stands in a contributor's place today is paid.
    fn pay(&mut self, contributor: &ContributorId, reason: Reason, subject: Hash, amount: u128) {
        let payee = self.registry.people().standing(contributor);
        self.accounts.add(Account::Contributor(payee), reason, subject, amount);
    }
}

fn agreed_way(adapter: &Adapter) -> Way {
    let parents: Vec<(Generation, u64)> =
        adapter.parents.iter().map(|parent| (parent.generation, parent.share.into())).collect();
    let given: u64 = parents.iter().map(|(_, share)| share).sum();
    Way::Parents(u64::from(MILLION) - given, parents)
}

fn add(owed: &mut Owed, amount: Owed) {
    owed.adapter += amount.adapter;
    owed.data += amount.data;
}

fn reason_of_lane(lane: Lane) -> Reason {
    match lane {
        Lane::Upkeep => Reason::UpkeepWaits,
        Lane::Bond => Reason::BondLane,
        Lane::Reserve => Reason::ReserveLane,
        Lane::Host | Lane::Base | Lane::Adapter | Lane::Data => Reason::NoPayee,
    }
}
