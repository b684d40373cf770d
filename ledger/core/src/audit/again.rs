//! Settling again from an export: rows go by once, and of each no more is kept than sums.

use std::collections::BTreeMap;

use crate::audit::files::{Files, Folder, ReadError};
use crate::audit::report::{Class, Failure, LedgerReport, Scope, fault};
use crate::audit::rewards::{Close, Difference, EpochReport, Left, Recorded, Rewards, RewardsReport};
use crate::entry::Entry;
use crate::epoch::{Finding, RowPlace, decode_fees, decode_mixes, decode_rows, erased_path, fees_path, forgotten_path};
use crate::error::Error;
use crate::granted::{GrantedRow, decode_granted, split_row_bundle};
use crate::hash::Hash;
use crate::origin::LogId;
use crate::row::Row;
use crate::tile::{TILE_WIDTH, bundle_path, bundles_of, row_bundle_path, split_bundle};

/// What an export showed of the rows that one epoch covers.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Seen {
    /// Rows that this export hides from its reader.
    pub hidden: u64,
    /// Rows that nobody can open any more, and that were erased before the close.
    pub erased: u64,
    /// Completion rows that were settled, and erased since.
    pub forgotten: u64,
    /// Whether a shard that the epoch covers is not in this export.
    pub absent: bool,
    /// Fees that are told of rows which are not erased, or not there at all.
    pub misplaced: u64,
}

impl Seen {
    /// Whether every row that can be opened by anybody was there.
    pub fn is_whole(&self) -> bool {
        self.hidden == 0 && !self.absent
    }
}

/// What an export shows in place of a row that was looked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Shown {
    /// The row.
    Open,
    /// Its leaf alone: this export's reader may not see it.
    Hidden,
    /// Its leaf alone: it was erased before an epoch settled it, or was settled by none.
    Erased,
    /// Its leaf and its fee: it was settled, and erased since.
    Forgotten,
}

/// All epochs, settled again from an export.
#[derive(Clone, Debug, Default)]
pub struct Again {
    /// What they come to.
    pub report: RewardsReport,
    /// What was there of each one's rows.
    pub seen: Vec<Seen>,
    /// What erased rows left, by epoch, as the export tells it.
    pub left: BTreeMap<u32, Left>,
    /// What there is in place of the row that was looked for.
    pub sought: Option<Shown>,
}

impl Again {
    /// Whether an epoch could be settled again, accounts included: its rows are there, and those of all before it.
    pub fn is_whole(&self, at: usize) -> bool {
        self.seen.iter().take(at + 1).all(Seen::is_whole)
    }

    /// What the record of an epoch says otherwise, as far as that can be told from what was there.
    pub fn differences(&self, at: usize) -> Vec<Difference> {
        let (Some(epoch), Some(seen)) = (self.report.epochs.get(at), self.seen.get(at)) else { return Vec::new() };
        let told = |difference: &&Difference| match difference {
            _ if !seen.is_whole() => false,
            Difference::Usage { .. } | Difference::Erased { .. } => true,
            // What waited before it is not known, nor which policy was in force when its first rows began.
            _ => self.is_whole(at),
        };
        epoch.differences.iter().filter(told).cloned().collect()
    }

    /// What is wrong with an epoch's rows, and how often, as far as that can be told.
    pub fn findings(&self, at: usize) -> (&[Finding], u64) {
        let paced = self.seen.iter().take(at + 1).all(|seen| !seen.absent);
        match self.report.epochs.get(at) {
            Some(EpochReport { settled, .. }) if paced => (&settled.findings.first, settled.findings.count),
            _ => (&[], 0),
        }
    }
}

/// The entries of a log that was audited before.
pub fn entries_of(files: &dyn Files, log: LogId, size: u64) -> Result<Vec<Entry>, Failure> {
    let folder = Folder { files, path: log.to_string() };
    let mut entries = Vec::new();
    for (number, width) in bundles_of(size) {
        for bytes in split_bundle(&read(&folder, log, &bundle_path(number, width))?, width).map_err(bad(log, number))? {
            entries.push(Entry::decode(bytes).map_err(bad(log, number))?);
        }
    }
    Ok(entries)
}

/// Settles every close again from an export that was audited before, proving on the way where a row's leaf is.
pub fn settle_again(
    files: &dyn Files,
    audited: &LedgerReport,
    recorded: &Recorded,
    sought: Option<RowPlace>,
    progress: &mut dyn FnMut(LogId, u64, u64),
) -> Result<Again, Failure> {
    let left = left_of(files, &recorded.closes)?;
    let mut rewards = Rewards::new(&recorded.closes, &left);
    if let Some(place) = sought {
        rewards = rewards.seeking(place);
    }
    let there = |shard| audited.logs.iter().any(|(log, _)| *log == LogId::Usage(shard));
    let absent = |close: &Close| close.act.covered.iter().any(|part| part.from < part.to && !there(part.shard));
    let seen = recorded.closes.iter().map(|close| Seen { absent: absent(close), ..Seen::default() }).collect();
    let mut walk =
        Walk { files, closes: &recorded.closes, at: 0, rewards, seen, fees: Vec::new(), sought, shown: None };
    walk.open_fees()?;
    for (log, report) in &audited.logs {
        let LogId::Usage(shard) = *log else { continue };
        let folder = Folder { files, path: log.to_string() };
        for (number, width) in bundles_of(report.size) {
            let bundle = read(&folder, *log, &bundle_path(number, width))?;
            let entries = split_bundle(&bundle, width).map_err(bad(*log, number))?;
            let rows = match report.scope {
                Scope::Public => Vec::new(),
                Scope::Part | Scope::All => read(&folder, *log, &row_bundle_path(number, width))?,
            };
            let granted =
                split_row_bundle(&rows, if rows.is_empty() { 0 } else { width }).map_err(bad(*log, number))?;
            for (place, bytes) in entries.iter().enumerate() {
                let index = number * TILE_WIDTH + place as u64;
                let entry = Entry::decode(bytes).map_err(bad(*log, number))?;
                walk.move_on(shard, index)?;
                walk.entry(shard, index, &entry, granted.get(place).copied().unwrap_or_default())
                    .map_err(bad(*log, number))?;
            }
            progress(*log, (number * TILE_WIDTH + width).min(report.size), report.size);
        }
    }
    while walk.at < walk.closes.len() {
        walk.next_epoch()?;
    }
    let (report, seen, sought) = (walk.rewards.finish(), walk.seen, walk.shown);
    Ok(Again { report, seen, left, sought })
}

fn read(folder: &Folder<'_>, log: LogId, path: &str) -> Result<Vec<u8>, Failure> {
    folder.read(path).map_err(|why| match why {
        ReadError::Missing => fault(Class::Missing, format_args!("{log}/{path}"), "it was there a moment ago"),
        why @ ReadError::Failed(_) => Failure::unreadable(path, why).within(log),
    })
}

fn bad(log: LogId, bundle: u64) -> impl Fn(Error) -> Failure {
    move |why| fault(Class::Malformed, format_args!("{log}, bundle {bundle}"), why)
}

/// A file of the records log's folder that may be left out.
fn optional<T>(files: &dyn Files, path: &str, decode: fn(&[u8]) -> Result<Vec<T>, Error>) -> Result<Vec<T>, Failure> {
    match files.read(&format!("records/{path}")) {
        Ok(bytes) => decode(&bytes).map_err(|why| fault(Class::Malformed, format_args!("records/{path}"), why)),
        Err(ReadError::Missing) => Ok(Vec::new()),
        Err(why) => Err(Failure::unreadable(path, why).within(LogId::Records)),
    }
}

fn left_of(files: &dyn Files, closes: &[Close]) -> Result<BTreeMap<u32, Left>, Failure> {
    let of = |close: &Close| {
        let epoch = close.act.epoch;
        let erased = optional(files, &erased_path(epoch), decode_mixes)?;
        let forgotten = optional(files, &forgotten_path(epoch), decode_rows)?;
        Ok((epoch, Left { erased, forgotten }))
    };
    closes.iter().map(of).collect()
}

/// Rows as they go by, and the epoch that covers them.
struct Walk<'a> {
    files: &'a dyn Files,
    closes: &'a [Close],
    at: usize,
    rewards: Rewards<'a>,
    seen: Vec<Seen>,
    /// Of rows of the running epoch that were erased since; the next one last.
    fees: Vec<(RowPlace, u64)>,
    sought: Option<RowPlace>,
    shown: Option<Shown>,
}

impl Walk<'_> {
    fn open_fees(&mut self) -> Result<(), Failure> {
        let Some(close) = self.closes.get(self.at) else { return Ok(()) };
        self.fees = optional(self.files, &fees_path(close.act.epoch), decode_fees)?;
        self.fees.reverse();
        Ok(())
    }

    /// The next epoch's rows come, from here on.
    fn next_epoch(&mut self) -> Result<(), Failure> {
        self.seen[self.at].misplaced += self.fees.len() as u64;
        self.at += 1;
        self.fees.clear();
        self.open_fees()
    }

    fn move_on(&mut self, shard: u32, index: u64) -> Result<(), Failure> {
        while let Some(close) = self.closes.get(self.at)
            && close.act.covered.last().is_some_and(|last| (shard, index) >= (last.shard, last.to))
        {
            self.next_epoch()?;
        }
        Ok(())
    }

    fn entry(&mut self, shard: u32, index: u64, entry: &Entry, granted: &[u8]) -> Result<(), Error> {
        self.rewards.entry(shard, index, entry);
        let Entry::Batch(batch) = entry else { return Ok(()) };
        if granted.is_empty() {
            self.count(|seen| seen.hidden += u64::from(batch.row_count));
            if self.sought.is_some_and(|sought| (sought.shard, sought.index) == (shard, index)) {
                self.shown = Some(Shown::Hidden);
            }
            return Ok(());
        }
        for (row, granted) in (0..).zip(decode_granted(granted)?) {
            let place = RowPlace { shard, index, row };
            let fee_nano = self.fee(&place);
            let leaf = granted.leaf();
            let shown = match (&granted, fee_nano) {
                (GrantedRow::Erased(_), Some(fee_nano)) => {
                    self.rewards.forgotten(place, &leaf, fee_nano);
                    self.count(|seen| seen.forgotten += 1);
                    Shown::Forgotten
                }
                (_, Some(_)) => {
                    self.count(|seen| seen.misplaced += 1);
                    self.plain(place, &leaf, &granted)?
                }
                (_, None) => self.plain(place, &leaf, &granted)?,
            };
            if self.sought == Some(place) {
                self.shown = Some(shown);
            }
        }
        Ok(())
    }

    fn plain(&mut self, place: RowPlace, leaf: &Hash, granted: &GrantedRow) -> Result<Shown, Error> {
        Ok(match granted {
            GrantedRow::Hidden(_) => {
                self.count(|seen| seen.hidden += 1);
                Shown::Hidden
            }
            GrantedRow::Erased(_) => {
                self.count(|seen| seen.erased += 1);
                Shown::Erased
            }
            GrantedRow::Open { row, .. } => {
                if let Row::Completion(row) = Row::decode(row)? {
                    self.rewards.completion(place, leaf, &row);
                }
                Shown::Open
            }
        })
    }

    /// The fee that is told of a row, if one is. Those of places that went by are of no row that was erased.
    fn fee(&mut self, place: &RowPlace) -> Option<u64> {
        while let Some((next, fee_nano)) = self.fees.last().copied()
            && next <= *place
        {
            self.fees.pop();
            if next == *place {
                return Some(fee_nano);
            }
            self.count(|seen| seen.misplaced += 1);
        }
        None
    }

    fn count(&mut self, add: impl FnOnce(&mut Seen)) {
        if let Some(seen) = self.seen.get_mut(self.at) {
            add(seen);
        }
    }
}
