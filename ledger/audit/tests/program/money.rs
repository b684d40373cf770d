//! A small ledger with money in it: an adapter of a revision by two people, used, settled, agreed upon, settled again.

use loam_ledger_core::Hash;
use loam_ledger_core::audit::fold_records;
use loam_ledger_core::division::epoch_seed;
use loam_ledger_core::entry::{Entry, Redaction, ShardHead, ShardOpened};
use loam_ledger_core::epoch::{
    Carried, ErasedRows, LeafFile, RowPlace, Settled, Settlement, encode_fees, encode_mixes, encode_rows, erased_path,
    fees_path, forgotten_path,
};
use loam_ledger_core::fee::fee_nano;
use loam_ledger_core::granted::GrantedRow;
use loam_ledger_core::origin::LogId;
use loam_ledger_core::record::{
    Access, Act, ContributorKind, Covered, EpochClosed, Lane, PolicyChanged, Price, RecordId,
};
use loam_ledger_core::registry::commitment;
use loam_ledger_core::row::{Completion, Pair, Row};

use crate::story::{Engine, Log, receipt, rows_of};
use crate::town::{BEGIN_MS, OPERATOR, Town, add, correct, named, one, seed_after};
use crate::world::World;

const ORIGIN: &str = "example.org/loam/records";

/// What is not as it should be.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Lie {
    None,
    /// An answer of the first epoch is left out of it.
    Dropped,
    /// A unit goes from one payee to another.
    Unit,
    /// A unit more is said to be paid, and one less to wait.
    Totals,
    /// A unit goes from one lane to another.
    Lane,
    /// All that data brought goes to the host's lane.
    Lanes,
    /// A row's fee is a unit more than the policy makes it.
    Fee,
    /// A row names no policy.
    Policy,
    /// Two answers are erased, one before its epoch was closed and one after; nobody lies.
    Erased,
    /// The same; and of the first more is said to be left than the close committed to.
    ErasedMore,
    /// The same; and of the second another fee is told.
    ForgottenFee,
    /// The same; and a fee is told of a row that is there.
    ForgottenNone,
}

impl Lie {
    fn erases(self) -> bool {
        matches!(self, Self::Erased | Self::ErasedMore | Self::ForgottenFee | Self::ForgottenNone)
    }
}

/// The request that a lie is about, and those that are erased: before the close, and since.
pub(crate) const LIED: u64 = 3;
pub(crate) const ERASED: u64 = 2;
pub(crate) const FORGOTTEN: u64 = 4;

/// What an epoch was closed with.
pub(crate) struct Closed {
    pub(crate) id: RecordId,
    pub(crate) settled: Settled,
    pub(crate) by: loam_ledger_core::registry::Registry,
}

/// The ledger.
pub(crate) struct Season {
    pub(crate) town: Town,
    pub(crate) shard: Log,
    engine: Engine,
    lie: Lie,
    /// Where requests' rows lie.
    pub(crate) places: Vec<usize>,
    pub(crate) closed: Vec<Closed>,
    from: usize,
    erased: Vec<ErasedRows>,
    forgotten: Vec<(RowPlace, u64, ErasedRows)>,
}

impl Season {
    pub(crate) fn new(lie: Lie) -> Self {
        let mut town = Town::empty(ORIGIN);
        for role in ["trainer", "gatherer", "corrector"] {
            town.register(role, ContributorKind::Person, None).expect("nobody has this key");
        }
        let prices = vec![Price { base: None, prefilled_nano: 3_000, reused_nano: 1_000, delivered_nano: 11_001 }];
        let policy = PolicyChanged { prices, ..town.policy() };
        town.say(&[OPERATOR], Act::PolicyChanged(policy)).expect("the first policy");
        let dataset = town.dataset(&["gatherer"], Access::Open);
        let rows = town.propose(&["gatherer"], dataset, None, &["a", "b"].map(add)).expect("it fits");
        let first = town.commit(&[("gatherer", 1_000_000)], dataset, None, &[rows]).expect("it fits");
        let fix = town.propose(&["corrector"], dataset, Some(first), &[correct("a", "a", "A")]).expect("it fits");
        let second = town.commit(&[("gatherer", 1_000_000)], dataset, Some(first), &[fix]).expect("it fits");
        let generation = town.publish(&["trainer"], "g", &[], &[(second, 1_000_000)]);
        let mut shard = Log::new(LogId::Usage(1));
        let time_ms = town.now_ms();
        let public_key = *shard.key().verifier().public();
        town.note(Entry::ShardOpened(ShardOpened { time_ms, shard: 1, public_key }));
        let mut engine = Engine::new(time_ms);
        engine.boot(&mut shard, 0xb1, None);
        let (places, closed, erased, forgotten) = Default::default();
        let mut season = Self { town, shard, engine, lie, places, closed, from: 0, erased, forgotten };
        (0..6).for_each(|_| season.request(one(generation)));
        season.request(Vec::new());
        if lie.erases() {
            season.erase(ERASED, false);
        }
        season.close();
        season.town.agree(&[("gatherer", 500_000), ("corrector", 500_000)], second).expect("both sign");
        (0..4).for_each(|_| season.request(one(generation)));
        if lie.erases() {
            season.erase(FORGOTTEN, true);
        }
        season.close();
        (0..2).for_each(|_| season.request(one(generation)));
        season
    }

    /// A request in three steps, by the policy in force.
    pub(crate) fn request(&mut self, pairs: Vec<Pair>) {
        let number = self.places.len() as u64;
        self.engine.time_ms = self.engine.time_ms.max(self.town.now_ms());
        self.engine.step(&mut self.shard, [7, 1], &[], 1);
        self.engine.step(&mut self.shard, [0, 1], &[], 1);
        let mut rows = rows_of(number, self.engine.place.boot, self.engine.place.sequence + 1);
        for row in &mut rows {
            match row {
                Row::Usage(usage) => usage.pairs.clone_from(&pairs),
                Row::Completion(row) => self.price(row, &pairs, number),
            }
        }
        self.engine.step(&mut self.shard, [0, 1], &rows, 0);
        self.places.push(self.shard.entries.len() - 1);
    }

    /// So many requests at once, that end in one entry.
    fn crowd(&mut self, size: u64, pairs: &[Pair]) {
        let first = self.places.len() as u64;
        self.engine.step(&mut self.shard, [7 * size, size], &[], size);
        self.engine.step(&mut self.shard, [0, size], &[], size);
        let (boot, last) = (self.engine.place.boot, self.engine.place.sequence + 1);
        let mut rows: Vec<Row> = (first..first + size).flat_map(|number| rows_of(number, boot, last)).collect();
        for row in &mut rows {
            match row {
                Row::Usage(usage) => usage.pairs = pairs.to_vec(),
                Row::Completion(row) => self.price(row, pairs, first),
            }
        }
        self.engine.step(&mut self.shard, [0, size], &rows, 0);
        self.places.resize(self.places.len() + rows.len() / 2, self.shard.entries.len() - 1);
    }

    /// One more epoch, of many requests.
    pub(crate) fn with_many(mut self, requests: u64) -> Self {
        let generation = named("g");
        self.engine.time_ms = self.engine.time_ms.max(self.town.now_ms());
        (0..requests.div_ceil(64)).for_each(|_| self.crowd(64, &one(generation)));
        self.close();
        self
    }

    fn price(&self, row: &mut Completion, pairs: &[Pair], number: u64) {
        row.pairs = pairs.to_vec();
        let (id, policy) = self.town.registry.money().policy_at(self.engine.time_ms).expect("there is a policy");
        row.price_policy = *id;
        row.fee_nano = fee_nano(policy, &Hash([0xba; 32]), row).expect("a small fee");
        row.fee_nano += u64::from(self.lie == Lie::Fee && number == LIED);
        if self.lie == Lie::Policy && number == LIED {
            row.price_policy = named("a policy that nobody set");
        }
    }

    /// Overwrites the secret of a request: its leaves are left, and what its mix came to.
    fn erase(&mut self, number: u64, settled: bool) {
        let index = self.places[usize::try_from(number).expect("few requests")];
        let Row::Completion(row) = opened(&self.shard.rows[index][1]).expect("it is open") else {
            panic!("the second row is a completion")
        };
        let left = ErasedRows {
            pairs: row.pairs,
            policy: row.price_policy,
            emitted_tokens: row.tokens.emitted,
            delivered_tokens: row.delivered_tokens,
            fee_nano: row.fee_nano,
        };
        self.shard.rows[index].iter_mut().for_each(|row| *row = GrantedRow::Erased(row.leaf()));
        let index = index as u64;
        if settled {
            self.forgotten.push((RowPlace { shard: 1, index, row: 1 }, left.fee_nano, left));
        } else {
            self.erased.push(left);
        }
        let time_ms = self.town.now_ms();
        let redaction = Redaction { time_ms, shard: 1, first_index: index, last_index: index, row_count: 2, reason: 1 };
        self.town.note(Entry::Redaction(redaction));
    }

    /// Settles what came since the last close, and closes it; or says that it is so.
    fn close(&mut self) {
        let (from, to) = (self.from, self.shard.entries.len());
        let (first, root) = (self.closed.is_empty(), self.shard.root(to));
        let time_ms = self.town.now_ms();
        self.town.note(Entry::ShardClosed(ShardHead { time_ms, shard: 1, size: to as u64, root }));
        let seed = self.town.seed();
        let carried = self.closed.last().map_or_else(Carried::default, |closed| closed.settled.carried());
        let by = self.town.registry.clone();
        let mut settlement = Settlement::new(&by, epoch_seed(&seed, &root), carried);
        let lied = self.places[usize::try_from(LIED).expect("few requests")];
        if first {
            settlement = settlement.seeking(&RowPlace { shard: 1, index: lied as u64, row: 1 });
        }
        for index in from..to {
            settlement.entry(&Entry::decode(&self.shard.entries[index]).expect("it is an entry"));
            for (row, granted) in (0..).zip(&self.shard.rows[index]) {
                let Some(Row::Completion(completion)) = opened(granted) else { continue };
                if self.lie == Lie::Dropped && index == lied {
                    continue;
                }
                let place = RowPlace { shard: 1, index: index as u64, row };
                settlement.completion(place, &granted.leaf(), &completion);
            }
        }
        if first {
            self.erased.iter().for_each(|rows| settlement.erased(rows));
        }
        let settled = settlement.finish();
        let covered = Covered { shard: 1, from: from as u64, to: to as u64, root };
        let next = seed_after(by.money().next_epoch());
        let mut act = settled.close(&by, vec![covered], seed, commitment(&next)).expect("there is a policy");
        self.change(&mut act, first);
        let id = self.town.say(&[OPERATOR], Act::EpochClosed(act)).expect("its sums are right");
        self.closed.push(Closed { id, settled, by });
        self.from = to;
    }

    fn change(&self, act: &mut EpochClosed, first: bool) {
        match self.lie {
            Lie::Unit if first => act.payouts.hash = named("a tree with a unit moved"),
            // Of the last close: the next one would have to begin with what waited.
            Lie::Totals if !first => {
                act.totals.paid += 1;
                act.totals.lanes -= 1;
            }
            Lie::Lane if first => {
                *act.lanes.of_mut(Lane::Host) += 1;
                *act.lanes.of_mut(Lane::Base) -= 1;
            }
            Lie::Lanes if first => {
                *act.lanes.of_mut(Lane::Host) += act.lanes.of(Lane::Data);
                *act.lanes.of_mut(Lane::Data) = 0;
            }
            _ => {}
        }
    }

    /// The records log as it is exported.
    pub(crate) fn records(&self) -> Log {
        let mut records = Log::new(LogId::Records);
        for entry in &self.town.entries {
            records.push(entry, Vec::new());
        }
        records
    }

    /// The folder `all` with rows, `public` without, and files of people: receipts, and proofs of leaves.
    pub(crate) fn write(&self) -> World {
        let world = World::empty();
        let records = self.records();
        assert!(fold_records(ORIGIN, &self.town.entries).void.is_empty(), "every record keeps the rules");
        for (folder, rows) in [("all", true), ("public", false)] {
            world.write_log(&format!("{folder}/records"), &records, rows);
            world.write_log(&format!("{folder}/usage/1"), &self.shard, rows);
        }
        self.write_left(&world);
        world.write("records.vkey", format!("{}\n", records.key().verifier()).as_bytes());
        for (name, number) in
            [("receipt", LIED), ("receipt-erased", ERASED), ("receipt-of-base", 6), ("receipt-late", 11)]
        {
            let index = self.places[usize::try_from(number).expect("few requests")];
            let erased = matches!(self.shard.rows[index][1], GrantedRow::Erased(_));
            let honest = erased.then(|| Self::new(Lie::None));
            let shard = honest.as_ref().map_or(&self.shard, |honest| &honest.shard);
            let size = self.shard.entries.len();
            let mut receipt = receipt(shard, number, index, size);
            if erased {
                receipt.proof = self.shard.proof(index, size);
            }
            world.write(name, &receipt.to_bytes());
        }
        let lied = self.places[usize::try_from(LIED).expect("few requests")] as u64;
        let first = &self.closed[0];
        let usage =
            LeafFile::usage(first.id, &RowPlace { shard: 1, index: lied, row: 1 }, first.settled.usage_proof.clone());
        world.write("usage", &usage.encode());
        for (number, closed) in (1..).zip(&self.closed) {
            for role in ["trainer", "gatherer"] {
                world.write(&format!("{role}-{number}"), &closed.file(&self.town, role).encode());
            }
        }
        world
    }

    fn write_left(&self, world: &World) {
        let put = |path: String, bytes: &[u8]| world.write(&format!("all/records/{path}"), bytes);
        let mut erased = self.erased.clone();
        if self.lie == Lie::ErasedMore {
            erased.iter_mut().for_each(|rows| rows.fee_nano += 1);
        }
        let mut fees: Vec<(RowPlace, u64)> = self.forgotten.iter().map(|(place, fee, _)| (*place, *fee)).collect();
        if self.lie == Lie::ForgottenFee {
            fees.iter_mut().for_each(|(_, fee)| *fee += 1);
        }
        if self.lie == Lie::ForgottenNone {
            let index = self.places[5] as u64;
            fees.push((RowPlace { shard: 1, index, row: 1 }, 1));
        }
        let forgotten: Vec<ErasedRows> = self.forgotten.iter().map(|(_, _, rows)| rows.clone()).collect();
        if self.lie.erases() {
            put(erased_path(1), &encode_mixes(&erased).expect("one mix"));
            put(forgotten_path(1), &encode_rows(&forgotten).expect("one mix"));
            put(fees_path(1), &encode_fees(&fees).expect("in order"));
        }
        world.write_manifest("all/records");
    }
}

impl Closed {
    /// A role's statement, as it is handed out.
    pub(crate) fn file(&self, town: &Town, role: &str) -> LeafFile {
        let statement = self.settled.statement(&self.by, &town.id(role));
        LeafFile::payout(self.id, &statement.contributor, &statement.paid, statement.proof)
    }
}

fn opened(granted: &GrantedRow) -> Option<Row> {
    match granted {
        GrantedRow::Open { row, .. } => Some(Row::decode(row).expect("it is a row")),
        _ => None,
    }
}

/// The town's first moment is some day in 2026; sessions name it.
const _: () = assert!(BEGIN_MS == 1_770_000_000_000);
