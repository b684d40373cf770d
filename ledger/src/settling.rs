//! Settling: an epoch is drafted from rows and records, closed by a record of the operator's, and its statements kept.
//!
//! ```text
//! draft_epoch: the newest head is recorded -> rows go by -> accounts        (nothing is erased meanwhile)
//! the operator signs the draft
//! offer: the same draft, or nothing -> the record, statements and what is carried on, durable together
//! ```
//!
//! Between draft and close rows may be erased: a new stage begins with each draft, see `erased`.

use std::collections::BTreeMap;
use std::ops::ControlFlow;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, mpsc};

use loam_ledger_core::Hash;
use loam_ledger_core::division::epoch_seed;
use loam_ledger_core::entry::{Entry, ShardHead};
use loam_ledger_core::epoch::{
    Account, Accounts, Carried, ContributorStatement, ErasedRows, RowPlace, Settled, Settlement, Simulated, Statement,
};
use loam_ledger_core::hash::digest;
use loam_ledger_core::origin::LogId;
use loam_ledger_core::record::{Act, Body, ContributorId, Covered, EpochClosed, PolicyChanged, RecordId};
use loam_ledger_core::registry::Registry;
use loam_ledger_core::sum_tree::{Builder, Kind, SumProof};

use crate::committer::Command;
use crate::erased::ErasedOfEpoch;
use crate::error::Error;
use crate::layout::log_of;
use crate::ledger::Ledger;
use crate::reader::Reader;
use crate::store::{Batch, Space};

const DRAFT: &[u8] = b"draft";
const CLOSED: u8 = b'c';
const ACCOUNT: u8 = b'a';

/// The last draft, as it lies in the store: which rows it covers is what erasing must know.
pub(crate) struct Drafted {
    pub(crate) stage: u64,
    pub(crate) epoch: u32,
    digest: Hash,
    pub(crate) covered: Vec<Covered>,
}

/// The last draft, whole, until it is closed; a restart forgets it.
#[derive(Default)]
pub(crate) struct Draft(Mutex<Option<(u64, Arc<Settled>)>>);

impl Draft {
    fn lock(&self) -> MutexGuard<'_, Option<(u64, Arc<Settled>)>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// An epoch in which everything is divided, and which nobody has closed yet.
#[derive(Clone, Debug)]
pub struct EpochDraft {
    /// What the operator signs.
    pub act: EpochClosed,
    /// What it comes to, account by account.
    pub settled: Arc<Settled>,
}

/// What a closed epoch left with whoever closed it.
struct Closed {
    stage: u64,
    carried: Carried,
}

impl Ledger {
    /// Divides what came in since the last close. `seed` is what that close committed to (zeros before the first), and
    /// `next_seed` this one's commitment. The draft is closed by offering a record of exactly its act.
    pub fn draft_epoch(&self, seed: Hash, next_seed: Hash) -> Result<EpochDraft, Error> {
        self.inlet()?.check()?;
        let _alone = self.reader.shared.erasing();
        let head = self.record_close()?;
        let registry = self.with_registry(Registry::clone)?;
        let epoch = registry.money().next_epoch();
        let covered = self.reader.covered(&registry, &head)?;
        let stage = self.reader.drafted()?.map_or(0, |drafted| drafted.stage) + 1;
        let last_root = covered.last().expect("the newest shard is covered").root;
        let settled = self.reader.settle(&registry, epoch_seed(&seed, &last_root), epoch, stage, &covered, None)?;
        let act = settled.close(&registry, covered.clone(), seed, next_seed);
        let act =
            act.ok_or_else(|| Error::Offer { what: "no price policy is in force: record one first".to_owned() })?;
        let mut batch = Batch::default();
        batch.put(Space::Epoch, DRAFT, Drafted { stage, epoch, digest: digest_of(&act), covered }.encode());
        self.put(batch, 0)?;
        let settled = Arc::new(settled);
        *self.reader.draft.lock() = Some((stage, Arc::clone(&settled)));
        Ok(EpochDraft { act, settled })
    }

    /// What an epoch would have come to by another policy, for all its rows; and its close with these sums.
    pub fn simulate_epoch(&self, epoch: u32, policy: &PolicyChanged) -> Result<EpochDraft, Error> {
        let _together = self.reader.shared.exporting();
        let registry = self.with_registry(Registry::clone)?;
        let (_, act) = find_epoch(&registry, epoch)?;
        let last_root = act.covered.last().map_or(Hash::EMPTY_TREE, |covered| covered.root);
        let by = self.reader.registry_at(act.records)?;
        let closed = self.reader.closed(epoch)?;
        let seed = epoch_seed(&act.seed, &last_root);
        let settled = Arc::new(self.reader.settle(&by, seed, epoch, closed.stage, &act.covered, Some(policy))?);
        let Settled { usage, payouts, erased, lanes, totals, .. } = &*settled;
        let (usage, payouts, erased, lanes, totals) = (*usage, *payouts, *erased, *lanes, *totals);
        Ok(EpochDraft { act: EpochClosed { usage, payouts, erased, lanes, totals, ..act }, settled })
    }

    /// What a contributor was paid in a closed epoch, with its proof, and what waits; and the record that closed it.
    pub fn statement(
        &self,
        epoch: u32,
        contributor: &ContributorId,
    ) -> Result<(RecordId, EpochClosed, ContributorStatement), Error> {
        let accounts = self.reader.accounts_of(epoch)?;
        self.with_registry(|registry| {
            let (id, act) = find_epoch(registry, epoch)?;
            Ok((id, act, accounts.statement(registry, contributor)))
        })?
    }

    /// All accounts of a closed epoch.
    pub fn accounts_of(&self, epoch: u32) -> Result<Accounts, Error> {
        self.reader.accounts_of(epoch)
    }

    /// The way from a completion row's leaf to the root of the usage that an epoch was closed over; from another's leaf,
    /// where the row was left out.
    pub fn usage_proof(&self, place: &RowPlace) -> Result<(RecordId, EpochClosed, Option<SumProof>), Error> {
        let _together = self.reader.shared.exporting();
        let within = |part: &Covered| part.shard == place.shard && (part.from..part.to).contains(&place.index);
        let found = self.with_registry(|registry| {
            let mut epochs = registry.money().epochs().iter();
            epochs.find(|(_, act)| act.covered.iter().any(within)).cloned()
        })?;
        let (id, act) =
            found.ok_or_else(|| Error::Offer { what: "no epoch has settled this answer yet".to_owned() })?;
        let fees: BTreeMap<RowPlace, u64> = self.erased_of_epoch(act.epoch)?.fees.into_iter().collect();
        let mut usage = Builder::seeking(Kind::Usage, &place.key());
        self.reader.each_row(&act.covered, &mut |_| (), &mut |place, leaf, row| match row {
            Some(row) => usage.push(&place.key(), leaf, row.fee_nano.into()),
            None => {
                if let Some(fee) = fees.get(&place) {
                    usage.push(&place.key(), leaf, (*fee).into());
                }
            }
        })?;
        let (_, proof) = usage.finish_with_proof();
        Ok((id, act, proof))
    }

    /// Records where the newest shard stands, as what an epoch covers.
    fn record_close(&self) -> Result<ShardHead, Error> {
        let (sender, outcome) = mpsc::sync_channel(1);
        let done = Box::new(move |head| drop(sender.send(head)));
        self.inlet()?.push(Command::RecordClose(done), true)?;
        outcome.recv().unwrap_or_else(|_| Err(self.health().err().unwrap_or(Error::Closed)))
    }

    /// What becomes durable together with the record that closes an epoch. It must be the last draft's.
    pub(crate) fn closing(&self, act: &EpochClosed, beside: &mut Batch) -> Result<(), Error> {
        let other = || Error::NotDrafted { what: "the record is not that of the last draft" };
        let drafted = self.reader.drafted()?.filter(|drafted| drafted.digest == digest_of(act)).ok_or_else(other)?;
        let draft = self.reader.draft.lock().clone().filter(|(stage, _)| *stage == drafted.stage);
        let (stage, settled) = draft.ok_or(Error::NotDrafted { what: "the ledger was opened anew since the draft" })?;
        let closed = [&stage.to_be_bytes()[..], &settled.carried().encode()].concat();
        beside.put(Space::Epoch, closed_key(act.epoch), closed);
        for (account, statement) in settled.accounts.all() {
            beside.put(Space::Epoch, account_key(act.epoch, account), statement.encode());
        }
        Ok(())
    }
}

impl Reader {
    /// The last draft, closed or not.
    pub(crate) fn drafted(&self) -> Result<Option<Drafted>, Error> {
        self.store.value(Space::Epoch, DRAFT)?.map(|bytes| Drafted::decode(&bytes)).transpose()
    }

    fn closed(&self, epoch: u32) -> Result<Closed, Error> {
        let missing = || Error::damaged(format!("epoch {epoch}"), "what its close left is not in the store");
        let bytes = self.store.value(Space::Epoch, &closed_key(epoch))?.ok_or_else(missing)?;
        let (stage, carried) = bytes.split_first_chunk::<8>().ok_or_else(missing)?;
        Ok(Closed { stage: u64::from_be_bytes(*stage), carried: Carried::decode(carried)? })
    }

    fn accounts_of(&self, epoch: u32) -> Result<Accounts, Error> {
        self.recorded()?.look(|registry| find_epoch(registry, epoch).map(|_| ()))?;
        let mut accounts = Vec::new();
        let prefix = |epoch: u32| [&[ACCOUNT][..], &epoch.to_be_bytes()].concat();
        self.store.scan(Space::Epoch, &prefix(epoch), &prefix(epoch.saturating_add(1)), &mut |key, statement| {
            let key = key.get(5..).and_then(|key| key.try_into().ok());
            let account = Account::decode(&key.ok_or_else(|| Error::damaged("an account's key", "its length"))?)?;
            accounts.push((account, Statement::decode(statement)?));
            Ok(ControlFlow::Continue(()))
        })?;
        Ok(accounts.into_iter().collect())
    }

    pub(crate) fn erased_of_epoch(&self, epoch: u32) -> Result<ErasedOfEpoch, Error> {
        let stage = self.closed(epoch)?.stage;
        let before = if epoch > 1 { self.closed(epoch - 1)?.stage } else { 0 };
        let rows = self.forgotten(stage, epoch)?;
        let mut fees: Vec<(RowPlace, u64)> = rows.iter().map(|(place, rows)| (*place, rows.fee_nano)).collect();
        fees.sort_unstable();
        let mut forgotten: Vec<ErasedRows> = rows.into_iter().map(|(_, rows)| rows).collect();
        forgotten.sort_by_cached_key(ErasedRows::encode);
        Ok(ErasedOfEpoch { erased: self.erased_before(before, stage, epoch)?, forgotten, fees })
    }

    /// The registry as it was after so many entries of its log.
    fn registry_at(&self, size: u64) -> Result<Registry, Error> {
        let mut registry = Registry::new(&self.name(LogId::Records)?.to_string());
        for first in (0..size).step_by(4_096) {
            for entry in self.entries(LogId::Records, first, size.min(first + 4_096))? {
                let _ = registry.fold(&Entry::decode(&entry)?);
            }
        }
        Ok(registry)
    }

    /// What the next epoch covers: each log from where the last one ended, up to the head that is recorded.
    fn covered(&self, registry: &Registry, head: &ShardHead) -> Result<Vec<Covered>, Error> {
        let (first, begun) = registry.money().frontier();
        let mut covered = Vec::new();
        for shard in first..=head.shard {
            let (size, root) = match shard == head.shard {
                true => (head.size, head.root),
                false => self.log_view(log_of(shard)).map(|view| (view.size, view.root))?,
            };
            let from = if shard == first { begun } else { 0 };
            // A shard that is covered whole is left out, but for the newest one.
            if from < size || shard == head.shard {
                covered.push(Covered { shard, from, to: size, root });
            }
        }
        Ok(covered)
    }

    /// Settles what some stretches of usage logs hold, by a draft of this stage.
    fn settle(
        &self,
        registry: &Registry,
        epoch_seed: Hash,
        epoch: u32,
        stage: u64,
        covered: &[Covered],
        simulated: Option<&PolicyChanged>,
    ) -> Result<Settled, Error> {
        let before = if epoch > 1 { Some(self.closed(epoch - 1)?) } else { None };
        let (closed_stage, carried) = before.map_or_else(Default::default, |before| (before.stage, before.carried));
        let mut settlement = Settlement::new(registry, epoch_seed, carried);
        if let Some(policy) = simulated {
            settlement = settlement.simulating(Simulated(policy));
        }
        let settlement = std::cell::RefCell::new(settlement);
        // Those that were settled and erased since have no row to be read, yet a fee that was divided.
        self.each_row(covered, &mut |entry| settlement.borrow_mut().entry(entry), &mut |place, leaf, row| {
            if let Some(row) = row {
                settlement.borrow_mut().completion(place, leaf, row);
            }
        })?;
        let mut settlement = settlement.into_inner();
        self.erased_before(closed_stage, stage, epoch)?.iter().for_each(|rows| settlement.erased(rows));
        if simulated.is_some() {
            self.forgotten(stage, epoch)?.iter().for_each(|(_, rows)| settlement.forgotten_mix(rows));
        }
        Ok(settlement.finish())
    }
}

impl Drafted {
    fn encode(&self) -> Vec<u8> {
        let mut bytes = [&self.stage.to_be_bytes()[..], &self.epoch.to_be_bytes(), &self.digest.0].concat();
        for part in &self.covered {
            bytes.extend_from_slice(&part.shard.to_be_bytes());
            bytes.extend_from_slice(&part.from.to_be_bytes());
            bytes.extend_from_slice(&part.to.to_be_bytes());
            bytes.extend_from_slice(&part.root.0);
        }
        bytes
    }

    fn decode(bytes: &[u8]) -> Result<Self, Error> {
        let short = || Error::damaged("the draft of an epoch", "it is cut short");
        let (stage, rest) = bytes.split_first_chunk::<8>().ok_or_else(short)?;
        let (epoch, rest) = rest.split_first_chunk::<4>().ok_or_else(short)?;
        let (digest, rest) = rest.split_first_chunk::<32>().ok_or_else(short)?;
        let parts = rest.chunks(52).map(|part| {
            let part: &[u8; 52] = part.try_into().map_err(|_| short())?;
            let eight = |at: usize| u64::from_be_bytes(part[at..at + 8].try_into().expect("eight of 52 bytes"));
            let shard = u32::from_be_bytes(part[..4].try_into().expect("four of 52 bytes"));
            Ok(Covered { shard, from: eight(4), to: eight(12), root: Hash::from_slice(&part[20..])? })
        });
        Ok(Self {
            stage: u64::from_be_bytes(*stage),
            epoch: u32::from_be_bytes(*epoch),
            digest: Hash(*digest),
            covered: parts.collect::<Result<_, Error>>()?,
        })
    }
}

fn find_epoch(registry: &Registry, epoch: u32) -> Result<(RecordId, EpochClosed), Error> {
    let found = registry.money().epochs().iter().find(|(_, act)| act.epoch == epoch).cloned();
    let last = registry.money().next_epoch() - 1;
    found.ok_or_else(|| Error::Offer { what: format!("epoch {epoch} is not closed; the last that is, is {last}") })
}

/// The same acts have the same digest.
fn digest_of(act: &EpochClosed) -> Hash {
    digest(&Body::by(Hash::ZERO, Act::EpochClosed(act.clone())).encode())
}

fn closed_key(epoch: u32) -> Vec<u8> {
    [&[CLOSED][..], &epoch.to_be_bytes()].concat()
}

fn account_key(epoch: u32, account: &Account) -> Vec<u8> {
    [&[ACCOUNT][..], &epoch.to_be_bytes(), &account.encode()].concat()
}
