//! Usage of the town: completion rows in one shard, and the epochs that settle them.

use loam_ledger_core::Hash;
use loam_ledger_core::division::epoch_seed;
use loam_ledger_core::entry::{Batch, Entry, Place};
use loam_ledger_core::epoch::{Account, Carried, ErasedRows, RowPlace, Settled, Settlement};
use loam_ledger_core::fee::fee_nano;
use loam_ledger_core::hash::row_leaf_hash;
use loam_ledger_core::record::{Act, Covered, EpochClosed, Generation, RecordId};
use loam_ledger_core::registry::{Refusal, commitment};
use loam_ledger_core::row::{Completion, Finish, Pair, Row, Step, Tokens};

use super::{OPERATOR, Town, base, named};

/// One entry with one completion row, as settlement sees it.
#[derive(Clone)]
pub(crate) struct Used {
    pub(crate) entry: Entry,
    pub(crate) row: Completion,
}

/// A usage shard of the town's.
#[derive(Clone, Default)]
pub(crate) struct Usage {
    pub(crate) used: Vec<Used>,
    pub(crate) erased: Vec<ErasedRows>,
    /// Where the epoch begins.
    pub(crate) from: usize,
}

pub(crate) fn one(generation: Generation) -> Vec<Pair> {
    vec![Pair { generation, weight_millionths: 1_000_000 }]
}

pub(crate) fn salt(index: u64) -> [u8; 16] {
    named(&format!("salt {index}")).0[..16].try_into().expect("16 of 32")
}

pub(crate) fn place(index: u64) -> RowPlace {
    RowPlace { shard: 1, index, row: 0 }
}

pub(crate) fn leaf(index: u64, row: &Completion) -> Hash {
    row_leaf_hash(&salt(index), &Row::Completion(Box::new(row.clone())).encode())
}

impl Usage {
    /// A request that delivers so many tokens with these adapters, at the town's time, under the policy in force.
    pub(crate) fn request(&mut self, town: &Town, pairs: Vec<Pair>, delivered: u64) {
        let index = self.used.len() as u64;
        let boot = [0xb0; 16];
        let time_ms = town.now_ms();
        let place = Place { engine: [0xe0; 16], boot, sequence: index + 1 };
        let entry = Entry::Batch(Batch {
            place,
            previous: Hash::ZERO,
            time_ms,
            base: base(),
            build: Hash::ZERO,
            prefilled_tokens: 10,
            emitted_tokens: delivered,
            row_count: 1,
            rows_root: named("rows"),
            open_requests: 0,
        });
        let step = Step { boot, sequence: index + 1 };
        let mut row = Completion {
            request: named(&format!("request {index}")),
            choice: 0,
            tenant: named("tenant"),
            pairs,
            first: step,
            last: step,
            tokens: Tokens { prefilled: 10, emitted: delivered, ..Tokens::default() },
            delivered_tokens: delivered,
            finish: Finish::STOP,
            fee_nano: 0,
            price_policy: Hash::ZERO,
            request_bytes: Hash::ZERO,
            prompt: Hash::ZERO,
            text: Hash::ZERO,
            output_tokens: Hash::ZERO,
            sampling: Hash::ZERO,
        };
        if let Some((id, policy)) = town.registry.money().policy_at(time_ms) {
            row.price_policy = *id;
            row.fee_nano = fee_nano(policy, &base(), &row).expect("a small fee");
        }
        self.used.push(Used { entry, row });
    }

    pub(crate) fn root(&self) -> Hash {
        named(&format!("the shard's root at {}", self.used.len()))
    }

    pub(crate) fn covered(&self) -> Covered {
        Covered { shard: 1, from: self.from as u64, to: self.used.len() as u64, root: self.root() }
    }

    /// Feeds a settlement with what the epoch covers.
    pub(crate) fn feed(&self, settlement: &mut Settlement<'_>) {
        for (index, used) in (0..).zip(&self.used).skip(self.from) {
            settlement.entry(&used.entry);
            settlement.completion(place(index), &leaf(index, &used.row), &used.row);
        }
        self.erased.iter().for_each(|rows| settlement.erased(rows));
    }

    /// Settles what the epoch covers, with this seed.
    pub(crate) fn settle(&self, town: &Town, seed: &Hash, carried: Carried) -> Settled {
        let mut settlement = Settlement::new(&town.registry, epoch_seed(seed, &self.root()), carried);
        self.feed(&mut settlement);
        settlement.finish()
    }
}

/// The seed that an epoch commits to for the next.
pub(crate) fn seed_after(epoch: u32) -> Hash {
    named(&format!("seed after epoch {epoch}"))
}

impl Town {
    /// What this epoch's seed is: nothing in the first.
    pub(crate) fn seed(&self) -> Hash {
        match self.registry.money().next_epoch() {
            1 => Hash::ZERO,
            next => seed_after(next - 1),
        }
    }

    /// The record that would close the epoch that runs.
    pub(crate) fn closing(&self, usage: &Usage, settled: &Settled) -> EpochClosed {
        let next_seed = seed_after(self.registry.money().next_epoch());
        let act = settled.close(&self.registry, vec![usage.covered()], self.seed(), commitment(&next_seed));
        act.expect("there is a policy")
    }

    /// The shard's head enters the records log, as it does before an epoch is closed.
    pub(crate) fn note_head(&mut self, usage: &Usage) {
        if self.registry.money().next_epoch() == 1 && usage.from == 0 {
            self.shard_opened(1);
        }
        let head = self.head(1, usage.used.len() as u64, usage.root());
        self.note(Entry::ShardClosed(head));
    }

    /// Settles and closes the epoch that runs; the next begins behind it.
    pub(crate) fn close(&mut self, usage: &mut Usage, carried: Carried) -> Settled {
        self.note_head(usage);
        let settled = usage.settle(self, &self.seed(), carried);
        let act = self.closing(usage, &settled);
        self.say(&[OPERATOR], Act::EpochClosed(act)).expect("the epoch's sums are right");
        usage.from = usage.used.len();
        usage.erased.clear();
        settled
    }

    pub(crate) fn paid(&self, settled: &Settled, role: &str) -> u128 {
        settled.accounts.of(&Account::Contributor(self.id(role))).map_or(0, |statement| statement.sum_nano())
    }

    pub(crate) fn try_close(&mut self, act: EpochClosed) -> Result<RecordId, Refusal> {
        self.say(&[OPERATOR], Act::EpochClosed(act))
    }
}
