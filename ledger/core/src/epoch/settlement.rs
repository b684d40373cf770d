//! Settlement: completion rows go by once, in the order of the logs, and what is kept of them grows with generations and
//! policies, not with rows.

use std::collections::{BTreeMap, HashMap};

use crate::cbor::{Decoder, Encoder};
use crate::division::{Part, divide, tie};
use crate::entry::Entry;
use crate::epoch::carried::Carried;
use crate::epoch::distribution::{Distribution, Owed};
use crate::epoch::settled::{Finding, Findings, Settled};
use crate::error::Error;
use crate::fee::{fee_nano, split_to_lanes};
use crate::hash::{Hash, leaf_hash};
use crate::record::field::{Field, fields};
use crate::record::{Generation, Lane, ListRoot, PerLane, PolicyChanged, RecordId};
use crate::registry::Registry;
use crate::row::{Completion, PAIRS_MAX, Pair};
use crate::sum_tree::{Builder, Kind};
use crate::tree::Edge;

/// Where a completion row lies.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct RowPlace {
    /// In which usage shard.
    pub shard: u32,
    /// In which of its entries.
    pub index: u64,
    /// Which of the entry's rows.
    pub row: u32,
}

impl RowPlace {
    /// The row's key in the usage tree: shard in 4 bytes, index in 8, row in 4.
    pub fn key(&self) -> [u8; 16] {
        let mut key = [0; 16];
        key[..4].copy_from_slice(&self.shard.to_be_bytes());
        key[4..12].copy_from_slice(&self.index.to_be_bytes());
        key[12..].copy_from_slice(&self.row.to_be_bytes());
        key
    }
}

impl Field for Pair {
    fn put(&self, e: &mut Encoder) {
        e.array(2);
        self.generation.put(e);
        self.weight_millionths.put(e);
    }

    fn take(d: &mut Decoder<'_>) -> Result<Self, Error> {
        d.array_of(2)?;
        Ok(Self { generation: Hash::take(d)?, weight_millionths: i64::take(d)? })
    }

    fn words(&self) -> String {
        format!("{} {}", self.generation, self.weight_millionths)
    }
}

fields! {
    /// What erased completion rows of one mix and one policy came to: all that is left of them.
    ErasedRows {
        /// The adapters, as the rows had them.
        pairs: Vec<Pair>,
        /// The policy that they named.
        policy: RecordId,
        /// Tokens that they emitted.
        emitted_tokens: u64,
        /// Tokens that were delivered.
        delivered_tokens: u64,
        /// Their fees.
        fee_nano: u64,
    }
}

impl ErasedRows {
    /// The bytes that the epoch's list of them commits to.
    pub fn encode(&self) -> Vec<u8> {
        let mut e = Encoder::with_capacity(128);
        self.put(&mut e);
        e.finish()
    }

    /// Reads them strictly.
    pub fn decode(bytes: &[u8]) -> Result<Self, Error> {
        let mut d = Decoder::new(bytes);
        let rows = Self::take(&mut d)?;
        d.finish()?;
        let ascending = rows.pairs.is_sorted_by(|a, b| a.generation < b.generation);
        if ascending && rows.pairs.len() <= PAIRS_MAX { Ok(rows) } else { Err(Error::RowFields) }
    }
}

/// A policy by which everything is settled, whatever rows say: what would have been paid.
#[derive(Clone, Copy, Debug)]
pub struct Simulated<'a>(pub &'a PolicyChanged);

/// An epoch in the making.
pub struct Settlement<'a> {
    registry: &'a Registry,
    simulated: Option<&'a PolicyChanged>,
    epoch_seed: Hash,
    carried: Carried,
    usage: Builder,
    lanes: PerLane<u128>,
    /// What lanes have by the policy that says who is paid from them.
    hosts: BTreeMap<RecordId, Hosted>,
    generations: HashMap<Generation, Earned>,
    others: Others,
    erased: (Edge, u128),
    base: Hash,
    findings: Findings,
}

/// What one policy's rows brought to lanes with a payee of the policy's.
#[derive(Clone, Copy, Debug, Default)]
struct Hosted {
    host: u128,
    base: u128,
}

/// What one generation's use brought to its lanes.
#[derive(Clone, Copy, Debug)]
struct Earned {
    adapter: u128,
    data: u128,
    tie: Hash,
}

/// Money that goes by no generation.
#[derive(Clone, Copy, Debug, Default)]
struct Others {
    upkeep: u128,
    bond: u128,
    reserve: u128,
    not_in_force: u128,
}

impl<'a> Settlement<'a> {
    /// Begins an epoch: with what waited at the last close, and the seed of its ties.
    pub fn new(registry: &'a Registry, epoch_seed: Hash, carried: Carried) -> Self {
        Self {
            registry,
            simulated: None,
            epoch_seed,
            carried,
            usage: Builder::new(Kind::Usage),
            lanes: PerLane::default(),
            hosts: BTreeMap::new(),
            generations: HashMap::new(),
            others: Others::default(),
            erased: (Edge::default(), 0),
            base: Hash::ZERO,
            findings: Findings::default(),
        }
    }

    /// The same, by another policy: its prices, lanes and payees, for all rows.
    #[must_use]
    pub fn simulating(self, policy: Simulated<'a>) -> Self {
        Self { simulated: Some(policy.0), ..self }
    }

    /// The same, proving on the way where one row's leaf is, or that it has none.
    #[must_use]
    pub fn seeking(self, place: &RowPlace) -> Self {
        Self { usage: Builder::seeking(Kind::Usage, &place.key()), ..self }
    }

    /// Takes the next entry of the covered usage logs; its rows come after it.
    pub fn entry(&mut self, entry: &Entry) {
        self.carried.pace.follow(self.registry.money().policies(), entry);
        if let Entry::Batch(batch) = entry {
            self.base = batch.base;
        }
    }

    /// Takes a completion row of the last entry. `leaf` is its row leaf, which lies below the entry's row root.
    pub fn completion(&mut self, place: RowPlace, leaf: &Hash, row: &Completion) {
        let priced = self.priced(place, row);
        let fee = match self.simulated {
            Some(policy) => fee_nano(policy, &self.base, row).unwrap_or(0),
            None => row.fee_nano,
        };
        self.usage.push(&place.key(), leaf, fee.into());
        self.spread(fee, &row.pairs, priced);
    }

    /// Takes what is left of erased rows of one mix; mixes come in ascending order of their bytes, each once.
    pub fn erased(&mut self, rows: &ErasedRows) {
        self.erased.0.append(leaf_hash(&rows.encode()), |_, _, _| {});
        self.erased.1 += u128::from(rows.fee_nano);
        self.spread_mix(rows);
    }

    fn spread_mix(&mut self, rows: &ErasedRows) {
        let policies = self.registry.money().policies();
        let found = policies.iter().find(|(id, _)| *id == rows.policy).map(|(id, policy)| (*id, policy));
        let priced = self.simulated.map(|policy| (Hash::ZERO, policy)).or(found);
        self.spread(rows.fee_nano, &rows.pairs, priced);
    }

    /// Takes a row that was settled in this epoch and erased since: its leaf is kept, its fee is told. An auditor needs no
    /// more to come to the epoch's usage; what the fee went to is in [`Self::forgotten_mix`].
    pub fn forgotten(&mut self, place: RowPlace, leaf: &Hash, fee_nano: u64) {
        self.usage.push(&place.key(), leaf, fee_nano.into());
    }

    /// Takes what is left of rows that were settled and then erased. No record commits to it, and none need: with another
    /// mix the accounts would be others than those that were closed.
    pub fn forgotten_mix(&mut self, rows: &ErasedRows) {
        self.spread_mix(rows);
    }

    /// The policy by which a row's fee is split: the one that was in force at its first step, if the row names it.
    fn priced(&mut self, place: RowPlace, row: &Completion) -> Option<(RecordId, &'a PolicyChanged)> {
        if let Some(policy) = self.simulated {
            return Some((Hash::ZERO, policy));
        }
        let Ok(in_force) = self.carried.pace.at(&row.first) else {
            self.findings.add(Finding::FirstStepUnknown { place });
            return None;
        };
        if in_force.unwrap_or(Hash::ZERO) != row.price_policy {
            self.findings.add(Finding::PolicyNotInForce { place, named: row.price_policy });
            return None;
        }
        let policies = self.registry.money().policies();
        let (id, policy) = policies.iter().rev().find(|(id, _)| Some(*id) == in_force)?;
        let computed = fee_nano(policy, &self.base, row);
        if computed != Some(row.fee_nano) {
            self.findings.add(Finding::FeeDiffers { place, recorded: row.fee_nano, computed });
        }
        Some((*id, policy))
    }

    /// Splits a fee to lanes, and two of them on to generations, by |weight|.
    fn spread(&mut self, fee: u64, pairs: &[Pair], priced: Option<(RecordId, &PolicyChanged)>) {
        let Some((id, policy)) = priced else {
            *self.lanes.of_mut(Lane::Reserve) += u128::from(fee);
            self.others.not_in_force += u128::from(fee);
            return;
        };
        let mut lanes = split_to_lanes(fee, &policy.lanes);
        // Where no adapter had a part, what adapters and their data would have is the base's.
        if pairs.iter().all(|pair| pair.weight_millionths == 0) {
            *lanes.of_mut(Lane::Base) += lanes.of(Lane::Adapter) + lanes.of(Lane::Data);
            (*lanes.of_mut(Lane::Adapter), *lanes.of_mut(Lane::Data)) = (0, 0);
        }
        for (sum, part) in self.lanes.0.iter_mut().zip(lanes.0) {
            *sum += u128::from(part);
        }
        let hosted = self.hosts.entry(id).or_default();
        hosted.host += u128::from(lanes.of(Lane::Host));
        hosted.base += u128::from(lanes.of(Lane::Base));
        self.others.upkeep += u128::from(lanes.of(Lane::Upkeep));
        self.others.bond += u128::from(lanes.of(Lane::Bond));
        self.others.reserve += u128::from(lanes.of(Lane::Reserve));
        self.credit(lanes.of(Lane::Adapter), lanes.of(Lane::Data), pairs);
    }

    fn credit(&mut self, adapter: u64, data: u64, pairs: &[Pair]) {
        let seed = self.epoch_seed;
        let fresh = |generation: &Generation| Earned { adapter: 0, data: 0, tie: tie(&seed, generation) };
        if let [pair] = pairs {
            let earned = self.generations.entry(pair.generation).or_insert_with(|| fresh(&pair.generation));
            earned.adapter += u128::from(adapter);
            earned.data += u128::from(data);
            return;
        }
        let part = |pair: &Pair| {
            let earned = self.generations.entry(pair.generation).or_insert_with(|| fresh(&pair.generation));
            Part { weight: pair.weight_millionths.unsigned_abs(), tie: earned.tie }
        };
        let parts: Vec<Part> = pairs.iter().map(part).collect();
        let Some(of_adapter) = divide(adapter.into(), &parts) else { return };
        let of_data = divide(data.into(), &parts).expect("the same weights divided the other lane");
        for (pair, (adapter, data)) in pairs.iter().zip(of_adapter.into_iter().zip(of_data)) {
            let earned = self.generations.get_mut(&pair.generation).expect("it was entered above");
            earned.adapter += adapter;
            earned.data += data;
        }
    }

    /// Divides what came together, by what was recorded up to now: whose evaluations count is asked of the policy in force
    /// when the last record was.
    pub fn finish(self) -> Settled {
        let mut distribution = Distribution::new(self.registry, self.epoch_seed);
        let opening = self.carried.waiting.iter().map(|(_, amount)| amount).sum();
        distribution.release(&self.carried.waiting);
        let mut owed: Vec<(Generation, Owed)> = self
            .generations
            .iter()
            .map(|(generation, earned)| (*generation, Owed { adapter: earned.adapter, data: earned.data }))
            .collect();
        owed.sort_unstable_by_key(|(generation, _)| *generation);
        distribution.owe(&owed);
        for (id, hosted) in &self.hosts {
            let found = self.registry.money().policies().iter().find(|(known, _)| known == id);
            let policy = self.simulated.or(found.map(|(_, policy)| policy)).expect("its rows were split by it");
            distribution.pay_hosts(policy, hosted.host, hosted.base);
        }
        let Others { upkeep, bond, reserve, not_in_force } = self.others;
        let subsidies = self.registry.money().subsidies_nano();
        distribution.keep(upkeep, bond, reserve, not_in_force, subsidies);
        let erased = ListRoot { root: self.erased.0.root(), count: self.erased.0.size() };
        let (usage, proof) = self.usage.finish_with_proof();
        Settled::new(
            distribution.finish(),
            (usage, proof),
            (erased, self.erased.1),
            self.lanes,
            (opening, subsidies),
            self.findings,
            self.carried.pace,
        )
    }
}
