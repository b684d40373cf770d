//! The records log: which shards there are, by which keys, and where they stood; and what people signed.

use std::collections::BTreeMap;

use crate::audit::report::LogReport;
use crate::entry::{Entry, Redaction, ShardHead, ShardOpened};
use crate::hash::Hash;
use crate::registry::Registry;

/// Void records that a report names one by one.
const VOID_SHOWN_MAX: usize = 1_000;

/// What the records log says of shards so far.
#[derive(Default)]
pub(super) struct Records {
    pub(super) shards: BTreeMap<u32, Shard>,
    /// What signed records came to; there once the log was begun.
    pub(super) registry: Option<Registry>,
    time_ms: u64,
}

/// What it says of one.
pub(super) struct Shard {
    pub(super) public_key: [u8; 32],
    /// Heads in the order in which they were recorded.
    pub(super) heads: Vec<(u64, Hash)>,
    pub(super) frozen: bool,
    pub(super) redactions: Vec<Redaction>,
}

impl Shard {
    /// Rows that redactions announce, in sum.
    pub(super) fn rows_announced_erased(&self) -> u64 {
        let counts = self.redactions.iter().map(|redaction| redaction.row_count);
        counts.fold(0, u64::saturating_add)
    }
}

impl Records {
    /// Takes the next entry of a records log, or says what it contradicts.
    ///
    /// A record that breaks a rule is void: it is reported, changes nothing, and ends nothing. Whoever appended it was no
    /// honest writer of this log, but a reader loses nothing by it.
    pub(super) fn follow(&mut self, index: u64, entry: &Entry, report: &mut LogReport) -> Result<(), String> {
        if entry.time_ms() < self.time_ms {
            return Err("the log turns back in time".to_owned());
        }
        self.time_ms = entry.time_ms();
        let registry = self.registry.get_or_insert_with(|| Registry::new(&report.origin));
        let taken = registry.fold(entry);
        match entry {
            Entry::ShardOpened(opened) => self.open(opened),
            Entry::ShardFrozen(head) => {
                self.head(head)?.frozen = true;
                Ok(())
            }
            Entry::ShardStopped(head) => self.head(head).map(|_| ()),
            Entry::ShardClosed(head) => self.closed(head),
            Entry::Redaction(redaction) => self.redact(redaction),
            Entry::Record(record) => {
                report.records += 1;
                report.records_void += u64::from(taken.is_err());
                if let Err(refusal) = taken
                    && report.void_records.len() < VOID_SHOWN_MAX
                {
                    let what = record.body.act.words();
                    report.void_records.push(format!("entry {index}, {what}: {refusal}"));
                }
                Ok(())
            }
            Entry::Boot(_) | Entry::Batch(_) => Err("it belongs to a usage log".to_owned()),
        }
    }

    fn open(&mut self, opened: &ShardOpened) -> Result<(), String> {
        let next = match self.shards.last_key_value() {
            None => 1,
            Some((number, Shard { frozen: true, .. })) => number.checked_add(1).ok_or("no shard can follow")?,
            Some((number, _)) => return Err(format!("shard {number} is not frozen yet")),
        };
        if opened.shard != next {
            return Err(format!("shard {} is opened where {next} is next", opened.shard));
        }
        let shard = Shard { public_key: opened.public_key, heads: Vec::new(), frozen: false, redactions: Vec::new() };
        self.shards.insert(opened.shard, shard);
        Ok(())
    }

    /// An epoch can be closed after its shard was frozen, and then covers all of it.
    fn closed(&mut self, head: &ShardHead) -> Result<(), String> {
        let whole = Some(&(head.size, head.root));
        match self.shards.get(&head.shard) {
            Some(shard) if shard.frozen && shard.heads.last() == whole => Ok(()),
            _ => self.head(head).map(|_| ()),
        }
    }

    fn head(&mut self, head: &ShardHead) -> Result<&mut Shard, String> {
        let shard = self.shards.get_mut(&head.shard).ok_or_else(|| format!("shard {} was never opened", head.shard))?;
        if shard.frozen {
            return Err(format!("shard {} is frozen already", head.shard));
        }
        let (size, root) = shard.heads.last().copied().unwrap_or((0, Hash::EMPTY_TREE));
        if head.size < size || (head.size == size && head.root != root) {
            return Err(format!("shard {} turns back from {size} entries to {}", head.shard, head.size));
        }
        shard.heads.push((head.size, head.root));
        Ok(shard)
    }

    fn redact(&mut self, redaction: &Redaction) -> Result<(), String> {
        let shard = self.shards.get_mut(&redaction.shard);
        shard.ok_or_else(|| format!("shard {} was never opened", redaction.shard))?.redactions.push(redaction.clone());
        Ok(())
    }
}
