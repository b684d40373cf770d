//! Which rows use which adapters.

use std::collections::HashSet;

use crate::error::{Error, expect_below};

/// Adapters that one row can mix.
pub const ADAPTERS_PER_ROW_MAX: usize = 4;

/// One row's use of one adapter.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Pair {
    /// The row.
    pub row: u32,
    /// Where the adapter is resident.
    pub slot: u32,
    /// What its delta is multiplied by, beside the scale of its own.
    pub weight: f32,
}

/// Pairs of neighbouring places in the list that use one adapter.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Group {
    /// The adapter's slot.
    pub slot: u32,
    /// Its first pair.
    pub from: usize,
    /// The pair after its last.
    pub to: usize,
}

/// Pairs grouped by adapter, and the way back from each row to its own.
///
/// Groups stand in order of generation: a row's deltas are added in that order, whoever else is in the step. A slot says
/// nothing of generations, so that the order is its caller's to keep.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct PairList {
    pairs: Vec<Pair>,
    groups: Vec<Group>,
    /// `of_row[row] .. of_row[row + 1]` are the row's places in `by_row`.
    of_row: Vec<u32>,
    by_row: Vec<u32>,
}

impl PairList {
    /// Pairs over `rows` rows. Refused: rows out of range, an adapter in two groups, a row twice in one.
    pub fn new(pairs: Vec<Pair>, rows: usize, slots: usize) -> Result<Self, Error> {
        let mut groups: Vec<Group> = Vec::new();
        let mut seen = HashSet::new();
        for (index, pair) in pairs.iter().enumerate() {
            let Pair { row, slot, weight } = *pair;
            expect_below("a pair's row", row as usize, rows)?;
            expect_below("a pair's slot", slot as usize, slots)?;
            if !weight.is_finite() {
                return Err(Error::NotFinite { what: "a pair's weight", value: weight, also: "" });
            }
            match groups.last_mut() {
                Some(group) if group.slot == slot && pairs[index - 1].row < row => group.to = index + 1,
                _ if !seen.insert(slot) => return Err(Error::PairOrder { pair: index, row, slot }),
                _ => groups.push(Group { slot, from: index, to: index + 1 }),
            }
        }
        let (of_row, by_row) = by_row(&pairs, rows);
        if let Some(row) = of_row.windows(2).position(|ends| (ends[1] - ends[0]) as usize > ADAPTERS_PER_ROW_MAX) {
            return Err(Error::PairsPerRow { row: row as u32, max: ADAPTERS_PER_ROW_MAX });
        }
        Ok(Self { pairs, groups, of_row, by_row })
    }

    /// The same uses seen from chosen rows: row `i` of the new list is row `rows[i]` of this one.
    pub(super) fn chosen(&self, rows: impl ExactSizeIterator<Item = u32> + Clone) -> Self {
        if self.pairs.is_empty() {
            return Self { of_row: vec![0; rows.len() + 1], ..Self::default() };
        }
        let mut places = vec![Vec::new(); self.rows()];
        for (place, row) in (0..).zip(rows.clone()) {
            places[row as usize].push(place);
        }
        let (mut pairs, mut groups) = (Vec::new(), Vec::new());
        for group in &self.groups {
            let from = pairs.len();
            for pair in &self.pairs[group.from..group.to] {
                pairs.extend(places[pair.row as usize].iter().map(|&row| Pair { row, ..*pair }));
            }
            pairs[from..].sort_by_key(|pair| pair.row);
            if pairs.len() > from {
                groups.push(Group { slot: group.slot, from, to: pairs.len() });
            }
        }
        let (of_row, by_row) = by_row(&pairs, rows.len());
        Self { pairs, groups, of_row, by_row }
    }

    /// All pairs, group after group.
    pub fn pairs(&self) -> &[Pair] {
        &self.pairs
    }

    /// One group for each adapter in use.
    pub fn groups(&self) -> &[Group] {
        &self.groups
    }

    /// Rows that the list is over, with and without adapters.
    pub fn rows(&self) -> usize {
        self.of_row.len().saturating_sub(1)
    }

    /// Places of a row's pairs in the list, in order of generation.
    pub fn of_row(&self, row: usize) -> &[u32] {
        &self.by_row[self.of_row[row] as usize..self.of_row[row + 1] as usize]
    }

    /// Whether nobody uses an adapter: nothing is to be done, and no delta is read.
    pub fn is_empty(&self) -> bool {
        self.pairs.is_empty()
    }
}

/// For each row where its pairs are, by counting.
fn by_row(pairs: &[Pair], rows: usize) -> (Vec<u32>, Vec<u32>) {
    let mut of_row = vec![0; rows + 1];
    for pair in pairs {
        of_row[pair.row as usize + 1] += 1;
    }
    for row in 0..rows {
        of_row[row + 1] += of_row[row];
    }
    let mut next = of_row.clone();
    let mut by_row = vec![0; pairs.len()];
    for (index, pair) in (0..).zip(pairs) {
        let place = &mut next[pair.row as usize];
        by_row[*place as usize] = index;
        *place += 1;
    }
    (of_row, by_row)
}
