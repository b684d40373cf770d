//! Blame: which work made a row what it is, from the operation that brought it to the last that changed it.

use std::collections::BTreeMap;

use crate::record::{ActKind, Operation, RecordId, RowId};

/// One operation that changed a row.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Touch {
    /// In which contribution.
    pub contribution: RecordId,
    /// Which of its operations.
    pub operation: u64,
    /// What it did.
    pub kind: ActKind,
}

/// The chain of edits of every row that is there.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Blame {
    rows: BTreeMap<RowId, Vec<Touch>>,
}

impl Blame {
    /// Follows one contribution's operations, which were checked before against the rows.
    ///
    /// A row keeps the chain of those that it came from: what is split, merged or translated stays owed to whoever wrote
    /// it. An operation that changes nothing is on no chain.
    pub fn follow(&mut self, contribution: RecordId, operations: &[Operation]) {
        for (place, operation) in (0_u64..).zip(operations) {
            if !operation.changes() {
                continue;
            }
            let mut chain: Vec<Touch> = Vec::new();
            let mut old = BTreeMap::new();
            for row in &operation.from {
                let before = self.rows.remove(&row.row).unwrap_or_default();
                chain.extend(before.iter().filter(|touch| !chain.contains(touch)).copied().collect::<Vec<_>>());
                old.insert(*row, before);
            }
            let touch = Touch { contribution, operation: place, kind: operation.kind };
            for row in &operation.to {
                // A row that stays as it was, as the one that copies are removed of, keeps its own chain alone.
                let chain = old.remove(row).unwrap_or_else(|| chain.iter().copied().chain([touch]).collect());
                self.rows.insert(row.row, chain);
            }
        }
    }

    /// One row's chain, from the operation that brought it; nothing where there is no such row.
    pub fn of(&self, row: &RowId) -> &[Touch] {
        self.rows.get(row).map_or(&[], |chain| chain)
    }

    /// All rows, in the order of their ids.
    pub fn rows(&self) -> impl Iterator<Item = (&RowId, &[Touch])> {
        self.rows.iter().map(|(row, chain)| (row, &chain[..]))
    }
}
