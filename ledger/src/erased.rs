//! What erased rows came to, so that each fee is counted once: in the epoch that settles its row, or as erased.
//!
//! Accounts are kept by stage and epoch. A stage begins with each draft of an epoch. The epoch is the one that covers the
//! row, closed or drafted; 0 where none does yet. Nothing is ever moved, for which accounts an epoch takes follows:
//!
//! | of epoch N, closed by the draft of stage f(N) | stages | epoch of the row |
//! |---|---|---|
//! | erased before N was closed | from f(N - 1) up to, without, f(N) | 0 or N |
//! | settled in N, and erased since | from f(N) on | N |
//!
//! Of rows that were settled, each is also kept alone, for a fee is split to lanes row by row.

use std::collections::BTreeMap;
use std::ops::ControlFlow;

use loam_ledger_core::Hash;
use loam_ledger_core::epoch::{ErasedRows, RowPlace};
use loam_ledger_core::record::Covered;
use loam_ledger_core::row::{Completion, Pair};

use crate::error::Error;
use crate::layout::ErasedAccount;
use crate::ledger::Ledger;
use crate::reader::Reader;
use crate::settling::Drafted;
use crate::store::Space;

/// Where in the map single rows begin; accounts lie before them.
const ROWS: u8 = 0xff;

/// When a row is erased, as settling sees it.
#[derive(Clone, Debug, Default)]
pub(crate) struct Stage {
    number: u64,
    /// What each closed epoch covers, and the one that is drafted.
    covered: Vec<(u32, Vec<Covered>)>,
}

impl Stage {
    /// The epoch that covers a row; 0 where none does.
    fn epoch_of(&self, place: &RowPlace) -> u32 {
        let within = |part: &Covered| part.shard == place.shard && (part.from..part.to).contains(&place.index);
        self.covered.iter().find(|(_, parts)| parts.iter().any(within)).map_or(0, |(epoch, _)| *epoch)
    }

    /// The key of the account that an erased row counts to.
    pub(crate) fn account_key(&self, place: &RowPlace, price_policy: &Hash, pairs: &[Pair]) -> Vec<u8> {
        let mut key = [&self.number.to_be_bytes()[..], &self.epoch_of(place).to_be_bytes(), &price_policy.0].concat();
        for pair in pairs {
            key.extend_from_slice(&pair.generation.0);
            key.extend_from_slice(&pair.weight_millionths.to_be_bytes());
        }
        key
    }

    /// What is kept of a settled row alone, for whoever settles again; nothing where no epoch covers it. A fee is split to
    /// lanes row by row, so that a sum of fees would be split otherwise.
    pub(crate) fn settled_row(&self, place: &RowPlace, row: &Completion) -> Option<(Vec<u8>, Vec<u8>)> {
        let epoch = Some(self.epoch_of(place)).filter(|epoch| *epoch > 0)?;
        let left = ErasedRows {
            pairs: row.pairs.clone(),
            policy: row.price_policy,
            emitted_tokens: row.tokens.emitted,
            delivered_tokens: row.delivered_tokens,
            fee_nano: row.fee_nano,
        };
        let key = [&[ROWS][..], &epoch.to_be_bytes(), &self.number.to_be_bytes(), &place.key()].concat();
        Some((key, left.encode()))
    }
}

/// Erased rows of one epoch.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ErasedOfEpoch {
    /// Before it was closed: in the ascending order of their bytes, as the epoch's record commits to them.
    pub erased: Vec<ErasedRows>,
    /// Since: each row alone, in the ascending order of their bytes.
    pub forgotten: Vec<ErasedRows>,
    /// The same rows, each place with its fee; ascending.
    pub fees: Vec<(RowPlace, u64)>,
}

impl Reader {
    /// The stage that runs.
    pub(crate) fn stage(&self) -> Result<Stage, Error> {
        let closed = self.recorded()?.look(|registry| {
            let epochs = registry.money().epochs().iter();
            epochs.map(|(_, act)| (act.epoch, act.covered.clone())).collect::<Vec<_>>()
        });
        let mut stage = Stage { number: 0, covered: closed };
        if let Some(Drafted { stage: number, epoch, covered, .. }) = self.drafted()? {
            stage.number = number;
            if stage.covered.iter().all(|(closed, _)| *closed != epoch) {
                stage.covered.push((epoch, covered));
            }
        }
        Ok(stage)
    }

    /// Accounts in a stretch of stages, of rows of certain epochs, added up by mix and policy.
    fn accounts(&self, stages: std::ops::Range<u64>, of_epoch: impl Fn(u32) -> bool) -> Result<Vec<ErasedRows>, Error> {
        let mut sums: BTreeMap<Vec<u8>, ErasedAccount> = BTreeMap::new();
        let (first, end) = (stages.start.to_be_bytes(), stages.end.min(u64::from(ROWS) << 56).to_be_bytes());
        self.store.scan(Space::Erased, &first, &end, &mut |key, account| {
            let short = || Error::damaged("an erased account's key", "it is too short");
            let (epoch, mix) = key.get(8..).and_then(|rest| rest.split_first_chunk::<4>()).ok_or_else(short)?;
            if of_epoch(u32::from_be_bytes(*epoch)) {
                let sum = sums.entry(mix.to_vec()).or_default();
                *sum = sum.plus(&ErasedAccount::decode(account)?)?;
            }
            Ok(ControlFlow::Continue(()))
        })?;
        let rows = sums.iter().map(|(mix, account)| erased_rows(mix, account));
        let mut rows = rows.collect::<Result<Vec<_>, Error>>()?;
        rows.sort_by_cached_key(ErasedRows::encode);
        Ok(rows)
    }

    /// What was erased since the last epoch was closed, for a draft of this stage.
    pub(crate) fn erased_before(&self, closed_stage: u64, stage: u64, epoch: u32) -> Result<Vec<ErasedRows>, Error> {
        self.accounts(closed_stage..stage, |of| of == 0 || of == epoch)
    }

    /// What was settled in an epoch, closed by the draft of this stage, and erased since, row by row.
    pub(crate) fn forgotten(&self, stage: u64, epoch: u32) -> Result<Vec<(RowPlace, ErasedRows)>, Error> {
        let key = |epoch: u32, stage: u64| [&[ROWS][..], &epoch.to_be_bytes(), &stage.to_be_bytes()].concat();
        let mut rows = Vec::new();
        let end = key(epoch.saturating_add(1), 0);
        self.store.scan(Space::Erased, &key(epoch, stage), &end, &mut |key, left| {
            let short = || Error::damaged("an erased row's key", "it is too short");
            let place = key.get(13..).and_then(|place| <[u8; 16]>::try_from(place).ok()).ok_or_else(short)?;
            rows.push((place_of(&place), ErasedRows::decode(left)?));
            Ok(ControlFlow::Continue(()))
        })?;
        Ok(rows)
    }
}

impl Ledger {
    /// What all erased rows came to, whatever epoch they are of.
    pub fn erased_accounts(&self) -> Result<Vec<ErasedRows>, Error> {
        self.reader.accounts(0..u64::MAX, |_| true)
    }

    /// The erased rows of an epoch that was closed.
    pub fn erased_of_epoch(&self, epoch: u32) -> Result<ErasedOfEpoch, Error> {
        self.reader.erased_of_epoch(epoch)
    }
}

/// A row's place, from its key in a usage tree.
fn place_of(key: &[u8; 16]) -> RowPlace {
    let four = |at: usize| u32::from_be_bytes(key[at..at + 4].try_into().expect("four of sixteen bytes"));
    let index = u64::from_be_bytes(key[4..12].try_into().expect("eight of sixteen bytes"));
    RowPlace { shard: four(0), index, row: four(12) }
}

/// An account, from its key's price policy and adapters with their weights.
fn erased_rows(mix: &[u8], account: &ErasedAccount) -> Result<ErasedRows, Error> {
    let short = || Error::damaged("an erased account's key", "it is too short");
    let (policy, pairs) = mix.split_at_checked(Hash::LEN).ok_or_else(short)?;
    let pairs = pairs.chunks(40).map(|pair| {
        let (generation, weight) = pair.split_at_checked(Hash::LEN).ok_or_else(short)?;
        let weight_millionths = i64::from_be_bytes(weight.try_into().map_err(|_| short())?);
        Ok(Pair { generation: Hash::from_slice(generation)?, weight_millionths })
    });
    Ok(ErasedRows {
        pairs: pairs.collect::<Result<_, Error>>()?,
        policy: Hash::from_slice(policy)?,
        emitted_tokens: account.emitted_tokens,
        delivered_tokens: account.delivered_tokens,
        fee_nano: account.fee_nano,
    })
}
