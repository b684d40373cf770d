//! Operations: what a contribution does to rows, one by one. Their list is kept beside the log; records hold its root.

use std::collections::{BTreeMap, BTreeSet};

use crate::cbor::{Decoder, Encoder};
use crate::error::Error;
use crate::hash::{Hash, leaf_hash};
use crate::record::dataset::{ActKind, ListRoot, RowId};
use crate::record::field::{Field, fields, items};
use crate::sum_tree::{Builder, Kind};
use crate::tree::Edge;

/// Rows that one operation can read or write.
pub const OPERATION_ROWS_MAX: usize = 256;

/// A dataset's rows: each row's content, as a salted digest.
pub type Rows = BTreeMap<RowId, Hash>;

items! {
    /// A row as it is at one time.
    RowContent [
        /// Which row.
        row: RowId,
        /// The salted digest of what it says.
        content: Hash,
    ]
}

fields! {
    /// One change to rows.
    Operation {
        /// What kind of change.
        kind: ActKind,
        /// Rows that it goes on from, as they are before; ascending.
        from: Vec<RowContent>,
        /// Rows that there are afterwards in place of those; ascending.
        to: Vec<RowContent>,
    }
}

/// Why operations are not what their record says, or cannot be applied.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[expect(missing_docs, reason = "each variant's message is its documentation")]
pub enum OperationFault {
    #[error("operation {at} has not the rows of its kind: look up what each kind takes and gives")]
    Shape { at: usize },
    #[error("operation {at} goes on from a row that is not there as it says")]
    RowNotThere { at: usize },
    #[error("operation {at} brings a row whose id is taken")]
    RowTaken { at: usize },
    #[error("the operations do not give the root and count that the record has of them")]
    Root,
    #[error("the kinds of the operations are not those that the record counts")]
    Counts,
    #[error("the operations do not give the rows that the record has the root of")]
    RowsRoot,
}

impl Operation {
    /// The operation's bytes.
    pub fn encode(&self) -> Vec<u8> {
        let mut e = Encoder::with_capacity(256);
        self.put(&mut e);
        e.finish()
    }

    /// Reads an operation strictly.
    pub fn decode(bytes: &[u8]) -> Result<Self, Error> {
        let mut d = Decoder::new(bytes);
        let operation = Self::take(&mut d)?;
        d.finish()?;
        Ok(operation)
    }

    /// Whether rows are changed at all: an edit that leaves everything as it was is nobody's.
    pub fn changes(&self) -> bool {
        self.from != self.to
    }

    /// Whether it takes and gives what its kind does.
    fn has_its_shape(&self) -> bool {
        let ascending = |rows: &[RowContent]| rows.is_sorted_by(|a, b| a.row < b.row);
        let few = self.from.len().max(self.to.len()) <= OPERATION_ROWS_MAX;
        let (from, to) = (self.from.len(), self.to.len());
        let kept = || self.from.first().map(|row| row.row) == self.to.first().map(|row| row.row);
        let within = || self.to.iter().all(|row| self.from.contains(row));
        let shape = match self.kind {
            ActKind::Add | ActKind::AddTestCase => from == 0 && to >= 1,
            ActKind::Correct | ActKind::Relabel | ActKind::Normalise | ActKind::LicenceFix | ActKind::Annotate => {
                from == 1 && to == 1 && kept()
            }
            ActKind::Dedupe => from > to && to >= 1 && within(),
            ActKind::RemoveHarmful => from >= 1 && to == 0,
            ActKind::DocumentDecision => from == 0 && to == 0,
            ActKind::Translate => from >= 1 && to > from && self.from.iter().all(|row| self.to.contains(row)),
            ActKind::Split => from == 1 && to >= 2,
            ActKind::Merge => from >= 2 && to == 1,
        };
        shape && few && ascending(&self.from) && ascending(&self.to)
    }
}

/// The root and count of a list of operations: the tree of RFC 6962 over their bytes.
pub fn operations_root(operations: &[Operation]) -> ListRoot {
    let mut edge = Edge::default();
    for operation in operations {
        edge.append(leaf_hash(&operation.encode()), |_, _, _| {});
    }
    ListRoot { root: edge.root(), count: edge.size() }
}

/// Applies operations one by one. Nothing is changed for good where one cannot be: the caller's rows are a copy.
pub fn apply(rows: &mut Rows, operations: &[Operation]) -> Result<(), OperationFault> {
    for (at, operation) in operations.iter().enumerate() {
        if !operation.has_its_shape() {
            return Err(OperationFault::Shape { at });
        }
        for old in &operation.from {
            if rows.remove(&old.row) != Some(old.content) {
                return Err(OperationFault::RowNotThere { at });
            }
        }
        for new in &operation.to {
            if rows.insert(new.row, new.content).is_some() {
                return Err(OperationFault::RowTaken { at });
            }
        }
    }
    Ok(())
}

/// The root over rows: a sum tree keyed by row id, each row of amount 1.
pub fn rows_root(rows: &Rows) -> ListRoot {
    let mut builder = Builder::new(Kind::Rows);
    for (row, content) in rows {
        builder.push(&row.0, content, 1);
    }
    let root = builder.finish();
    ListRoot { root: root.hash, count: root.count }
}

/// The ids of rows that operations touch.
pub fn touched(operations: &[Operation]) -> BTreeSet<RowId> {
    operations.iter().flat_map(|op| op.from.iter().chain(&op.to)).map(|row| row.row).collect()
}
