//! Generated worlds: many people, datasets, edits, adapters and requests, and what must hold whatever they do.

use std::collections::BTreeMap;

use loam_ledger_core::Hash;
use loam_ledger_core::audit::{Rewards, fold_records};
use loam_ledger_core::division::epoch_seed;
use loam_ledger_core::entry::Entry;
use loam_ledger_core::epoch::{Account, Carried, Settled, Settlement};
use loam_ledger_core::record::{
    Access, Act, Covered, DisputeOpened, DisputeResolved, MILLION, PolicyChanged, RecordId, SubsidyInjected, rows_root,
};
use loam_ledger_core::registry::commitment;
use loam_ledger_core::row::Pair;
use loam_ledger_core::sum_tree::Kind;

use super::town::{OPERATOR, ORIGIN, Town, Usage, Used, add, correct, leaf, named, place, seed_after};
use super::{check_sums, tier};

/// Chance that is the same in every run (SplitMix64).
struct Chance(u64);

impl Chance {
    fn below(&mut self, end: usize) -> usize {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        usize::try_from((z ^ (z >> 31)) % end as u64).expect("it is below a usize")
    }
}

struct World {
    town: Town,
    chance: Chance,
    people: Vec<String>,
    revisions: Vec<RecordId>,
    generations: Vec<Hash>,
}

impl World {
    fn new(seed: u64, people: usize) -> Self {
        let mut town = Town::empty(ORIGIN);
        let people: Vec<String> = (0..people).map(|n| format!("person {n}")).collect();
        for person in &people {
            town.register(person, loam_ledger_core::record::ContributorKind::Person, None).expect("a new name");
        }
        town.register("evaluator", loam_ledger_core::record::ContributorKind::Organisation, None).expect("a new name");
        let policy = PolicyChanged { evaluators: vec![town.id("evaluator")], ..town.policy() };
        town.say(&[OPERATOR], Act::PolicyChanged(policy)).expect("it is the first");
        Self { town, chance: Chance(seed), people, revisions: Vec::new(), generations: Vec::new() }
    }

    fn anybody(&mut self) -> String {
        let at = self.chance.below(self.people.len());
        self.people[at].clone()
    }

    /// A dataset with a few revisions: rows added, one corrected by somebody else, or nothing changed at all. Sometimes all
    /// agree on shares.
    fn dataset(&mut self, number: usize) {
        let owner = self.anybody();
        let dataset = self.town.dataset(&[&owner], Access::Open);
        let rows: Vec<_> = (0..3).map(|n| add(&format!("row {number} {n}"))).collect();
        let work = self.town.propose(&[&owner], dataset, None, &rows).expect("it fits");
        let mut tip = self.town.commit(&[(&owner, MILLION)], dataset, None, &[work]).expect("it fits");
        self.revisions.push(tip);
        for edit in 0..self.chance.below(4) {
            let editor = self.anybody();
            let name = format!("row {number} {}", self.chance.below(3));
            let old = self.town.rows[&tip][&named(&name)];
            let mut fix = correct(&name, &name, &format!("{name} as of {edit}"));
            fix.from[0].content = old;
            if self.chance.below(3) == 0 {
                fix.to[0].content = old;
            }
            let work = self.town.propose(&[&editor], dataset, Some(tip), &[fix]).expect("it fits");
            tip = self.town.commit(&[(&owner, MILLION)], dataset, Some(tip), &[work]).expect("it fits");
            assert_eq!(
                rows_root(&self.town.rows[&tip]),
                self.town.registry.datasets().revision(&tip).expect("it is").rows
            );
            self.revisions.push(tip);
        }
        if self.chance.below(2) == 0 {
            let all = self.town.registry.datasets().contributors(&tip);
            let of = |id: &Hash| self.people.iter().find(|role| self.town.id(role) == *id).expect("they live here");
            let roles: Vec<String> = all.iter().map(of).cloned().collect();
            let each = MILLION / u32::try_from(roles.len()).expect("a few");
            let rest = MILLION - each * (u32::try_from(roles.len()).expect("a few") - 1);
            let shares: Vec<(&str, u32)> =
                roles.iter().enumerate().map(|(n, role)| (role.as_str(), if n == 0 { rest } else { each })).collect();
            self.town.agree(&shares, tip).expect("all of them sign");
        }
    }

    fn adapter(&mut self, number: usize) {
        let author = self.anybody();
        let mut sources: Vec<RecordId> =
            (0..=self.chance.below(2)).map(|_| self.revisions[self.chance.below(self.revisions.len())]).collect();
        sources.sort_unstable();
        sources.dedup();
        let each = MILLION / u32::try_from(sources.len()).expect("one or two");
        let sources: Vec<(RecordId, u32)> = sources.into_iter().map(|source| (source, each)).collect();
        let parents: Vec<(Hash, u32)> = match self.generations.len() {
            0 => Vec::new(),
            known if self.chance.below(3) == 0 => vec![(self.generations[self.chance.below(known)], 300_000)],
            _ => Vec::new(),
        };
        let name = format!("adapter {number}");
        let generation = match parents.first() {
            // Some parents' authors sign what they are given, or are measured instead.
            Some((parent, _)) if self.chance.below(2) == 0 => {
                let theirs =
                    self.town.registry.adapters().adapter(parent).expect("it is published").authors[0].contributor;
                let role =
                    self.people.iter().find(|role| self.town.id(role) == theirs).expect("they live here").clone();
                self.publish_together(&author, &role, &name, *parent, &sources)
            }
            _ => self.town.publish(&[&author], &name, &parents, &sources),
        };
        self.generations.push(generation);
        if self.chance.below(2) == 0 {
            let score = i64::try_from(self.chance.below(1_000_000)).expect("small");
            self.town.evaluate("evaluator", generation, self.revisions[0], score);
        }
    }

    /// An author publishes, and the parent's author signs that a part is theirs.
    fn publish_together(
        &mut self,
        author: &str,
        parents_author: &str,
        name: &str,
        parent: Hash,
        sources: &[(RecordId, u32)],
    ) -> Hash {
        let signers: &[(&str, u32)] = match author == parents_author {
            true => &[(author, MILLION)],
            false => &[(author, MILLION), (parents_author, 0)],
        };
        let training = self.town.training(named(name), &[parent], sources);
        let body = self.town.shared(signers, Act::TrainRunFinished(training));
        let run = self.town.record(&body, None).expect("all sources are open");
        let publication = self.town.publication(named(name), Some(run), &[(parent, 300_000)]);
        let body = self.town.shared(signers, Act::AdapterPublished(publication));
        self.town.record(&body, None).expect("the parent is published");
        named(name)
    }

    /// Things that happen between epochs: somebody contests an adapter, somebody gives money.
    fn events(&mut self) {
        let at = self.chance.below(self.generations.len());
        let target = self.town.registry.adapters().adapter(&self.generations[at]).expect("it is published").record;
        let opener = self.anybody();
        let dispute = self.town.say(&[&opener], Act::DisputeOpened(DisputeOpened { target })).expect("it is there");
        let upheld = self.chance.below(2) == 0;
        let resolved = DisputeResolved { dispute, upheld };
        self.town.say(&[OPERATOR], Act::DisputeResolved(resolved)).expect("the operator has no part");
        let given = SubsidyInjected { amount_nano: 1 + self.chance.below(1_000_000) as u128 };
        self.town.say(&[OPERATOR], Act::SubsidyInjected(given)).expect("the operator holds it");
    }

    /// Request number `index`, the same each time it is asked for.
    fn request(&self, index: u64) -> Used {
        let mut chance = Chance(index.wrapping_mul(0x1234_5678_9abc_def1));
        let mut pairs: Vec<Pair> = (0..chance.below(4))
            .map(|_| Pair {
                // Now and then one that nobody published.
                generation: match chance.below(self.generations.len() + 1) {
                    at if at < self.generations.len() => self.generations[at],
                    _ => named("unpublished"),
                },
                weight_millionths: i64::try_from(chance.below(3_000_000)).expect("small") - 1_000_000,
            })
            .collect();
        pairs.sort_unstable_by_key(|pair| pair.generation);
        pairs.dedup_by_key(|pair| pair.generation);
        let mut usage = Usage::default();
        usage.request(&self.town, pairs, 1 + chance.below(300) as u64);
        let mut used = usage.used.pop().expect("one was made");
        if let Entry::Batch(batch) = &mut used.entry {
            batch.place.sequence = index + 1;
        }
        used.row.first.sequence = index + 1;
        used.row.last.sequence = index + 1;
        used.row.request = named(&format!("request {index}"));
        used
    }

    fn epoch(&mut self, covered: Covered, carried: Carried, requests: &dyn Fn(&Self, u64) -> Used) -> Settled {
        self.town.note(Entry::ShardClosed(self.town.head(1, covered.to, covered.root)));
        let seed = self.town.seed();
        let mut settlement = Settlement::new(&self.town.registry, epoch_seed(&seed, &covered.root), carried);
        for index in covered.from..covered.to {
            let used = requests(self, index);
            settlement.entry(&used.entry);
            settlement.completion(place(index), &leaf(index, &used.row), &used.row);
        }
        let settled = settlement.finish();
        let epoch = self.town.registry.money().next_epoch();
        let act = settled
            .close(&self.town.registry, vec![covered], seed, commitment(&seed_after(epoch)))
            .expect("there is a policy");
        self.town.say(&[OPERATOR], Act::EpochClosed(act)).expect("its sums are right");
        settled
    }
}

/// Everything that must hold of a world of so many people and requests.
fn check(seed: u64, people: usize, requests: u64) {
    let mut world = World::new(seed, people);
    (0..people).for_each(|number| world.dataset(number));
    world.town.evaluate("evaluator", super::town::base(), world.revisions[0], 1);
    (0..people / 2 + 1).for_each(|number| world.adapter(number));
    // What requests say of time and policy is settled before the first of them.
    let frozen: Vec<Used> =
        if requests <= 10_000 { (0..requests).map(|n| world.request(n)).collect() } else { Vec::new() };
    let at_ms = world.town.now_ms();
    let nth = |world: &World, index: u64| match frozen.get(usize::try_from(index).expect("small")) {
        Some(used) => used.clone(),
        None => {
            let mut used = world.request(index);
            if let Entry::Batch(batch) = &mut used.entry {
                batch.time_ms = at_ms;
            }
            used
        }
    };
    world.town.shard_opened(1);
    let (mut carried, mut from, mut all) = (Carried::default(), 0, Vec::new());
    for (epoch, to) in [requests / 3, requests / 2, requests].into_iter().enumerate() {
        let covered = Covered { shard: 1, from, to, root: named(&format!("root at {to}")) };
        let settled = world.epoch(covered, carried, &nth);
        // To the unit, and each payee by a proof.
        check_sums(&settled);
        for (account, statement) in settled.accounts.all() {
            let Account::Contributor(id) = account else { continue };
            let proof = settled.prove(account).expect("there are accounts");
            proof.check_member(Kind::Payouts, &settled.payouts).expect("a payee is in the tree");
            assert_eq!((&proof.key[..], proof.amount), (&id.0[..], statement.sum_nano()));
            assert!(world.town.registry.people().find(id).is_some(), "a payee has a key");
        }
        (carried, from) = (settled.carried(), to);
        all.push(settled);
        // Some agree only now, and some work more.
        (0..people / 4 + 1).for_each(|number| world.dataset(1_000_000 * (epoch + 1) + number));
        world.events();
    }
    let fees: u128 = all.iter().map(|settled| settled.totals.fees).sum();
    let paid: u128 = all.iter().map(|settled| settled.totals.paid).sum();
    let waits: u128 = carried.waiting.iter().map(|(_, amount)| amount).sum();
    let given: u128 = all.iter().map(|settled| settled.totals.subsidies).sum();
    assert!(given > 0);
    assert_eq!(fees + given, paid + waits, "what came in over all epochs was paid, or waits");
    // Somebody else, with the bytes alone, comes to the same.
    let reread: Vec<Entry> =
        world.town.entries.iter().map(|entry| Entry::decode(&entry.encode()).expect("it was written so")).collect();
    let recorded = fold_records(ORIGIN, &reread);
    assert_eq!(recorded.void, []);
    let none = BTreeMap::new();
    let mut rewards = Rewards::new(&recorded.closes, &none);
    for index in 0..requests {
        let used = nth(&world, index);
        rewards.entry(1, index, &used.entry);
        rewards.completion(place(index), &leaf(index, &used.row), &used.row);
    }
    let report = rewards.finish();
    for (again, settled) in report.epochs.iter().zip(&all) {
        assert_eq!(again.differences, []);
        assert!(again.lanes_follow && again.settled == *settled, "the same, to the bit");
    }
    assert_eq!((report.epochs.len(), report.unsettled_rows), (3, 0));
}

#[test]
fn small_worlds() {
    for seed in 0..6 {
        check(seed, 12, 400);
    }
}

#[test]
fn a_larger_world() {
    // In the long tier: 2,000 people, thousands of edits, a thousand adapters, a million requests.
    check(100, tier::times(100), if tier::times(1) == 1 { 5_000 } else { 1_000_000 });
}
