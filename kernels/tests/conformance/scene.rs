//! Steps for the cases: requests cut from rows, shuffled pages, adapters by popularity.

use loam_kernels::layout::{Pair, RowSet, Scored, Segment, StepInputs, StepLimits};

use crate::random::Random;

/// Rows of a step.
pub(crate) const ROWS: &[usize] = &[0, 1, 3, 17, 133, 257];

/// Which adapters rows ask for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Popularity {
    /// Nobody asks for any.
    Nobody,
    /// All for the same.
    Identical,
    /// Each for the next.
    Distinct,
    /// For any.
    Uniform,
    /// The second half as often as the first, the third a third.
    Zipf,
    /// Nine in ten for one, the rest for any.
    Skewed,
}

pub(crate) const POPULARITIES: &[Popularity] = &[
    Popularity::Nobody,
    Popularity::Identical,
    Popularity::Distinct,
    Popularity::Uniform,
    Popularity::Zipf,
    Popularity::Skewed,
];

/// Who uses adapters.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Demand {
    pub(crate) popularity: Popularity,
    /// Adapters there are.
    pub(crate) adapters: usize,
    /// Whether a third of the rows uses none.
    pub(crate) some_without: bool,
    /// Adapters that a row mixes at most.
    pub(crate) per_row_max: usize,
}

/// A step's numbers.
#[derive(Clone, Debug)]
pub(crate) struct Scene {
    pub(crate) inputs: StepInputs,
    pub(crate) limits: StepLimits,
}

pub(crate) const VOCABULARY: usize = 67;

impl Scene {
    /// Rows cut into requests of all lengths, empty ones among them.
    pub(crate) fn of_rows(random: &mut Random, rows: usize) -> Self {
        let (mut segments, mut left) = (vec![(0, 0)], rows as u32);
        while left > 0 {
            let rows = random.pick(&[0, 1, 1, 2, 9, left]).min(left);
            segments.push((random.below(40) as u32, rows));
            left -= rows;
        }
        Self::of_segments(random, &segments, 16, VOCABULARY)
    }

    /// Requests by first position and number of rows. Their pages are shuffled, and some stay unused.
    pub(crate) fn of_segments(
        random: &mut Random,
        segments: &[(u32, u32)],
        page_tokens: usize,
        vocabulary: usize,
    ) -> Self {
        let tables = segments.iter().map(|(first, rows)| {
            let spare = random.below(2);
            ((first + rows) as usize).div_ceil(page_tokens) + spare
        });
        let tables: Vec<usize> = tables.collect();
        let pages = tables.iter().sum::<usize>() + 3;
        let mut shuffled: Vec<u32> = (0..pages as u32).collect();
        random.shuffle(&mut shuffled);
        let mut inputs = StepInputs::default();
        for (&(first_position, rows), pages) in segments.iter().zip(tables) {
            let (first_row, first_page) = (inputs.tokens.len() as u32, inputs.pages.len() as u32);
            inputs.segments.push(Segment { first_row, rows, first_position, first_page, pages: pages as u32 });
            inputs.pages.extend(shuffled.drain(..pages));
            inputs.tokens.extend((0..rows).map(|_| random.below(vocabulary) as u32));
        }
        let positions = segments.iter().map(|(first, rows)| (first + rows) as usize).max().unwrap_or(0) + 3;
        Self { inputs, limits: StepLimits { vocabulary, positions, pages, page_tokens, slots: 0 } }
    }

    /// Adds who uses which adapter.
    pub(crate) fn with_pairs(mut self, random: &mut Random, demand: &Demand) -> Self {
        self.limits.slots = demand.adapters + 1;
        let wanted: Vec<Vec<usize>> =
            (0..self.inputs.tokens.len()).map(|row| adapters_of_row(random, demand, row)).collect();
        // The order of generation has nothing to do with slots.
        let mut slots: Vec<usize> = (0..demand.adapters).collect();
        random.shuffle(&mut slots);
        for slot in slots {
            for (row, _) in wanted.iter().enumerate().filter(|(_, wanted)| wanted.contains(&slot)) {
                let weight = (0.25 + 1.25 * random.unit()) as f32;
                self.inputs.pairs.push(Pair { row: row as u32, slot: slot as u32, weight });
            }
        }
        self
    }

    /// Adds rows to sample and to score, in any order and repeatedly.
    pub(crate) fn with_sets(mut self, random: &mut Random) -> Self {
        let rows = self.inputs.tokens.len();
        if rows > 0 {
            let mut any = |count: usize| (0..count).map(|_| random.below(rows) as u32).collect::<Vec<_>>();
            self.inputs.sampled = any(rows / 2 + 2);
            let scored = any(rows / 3 + 1);
            let token = |row: u32| Scored { row, token: random.below(self.limits.vocabulary) as u32 };
            self.inputs.scored = scored.into_iter().map(token).collect();
        }
        self
    }

    /// Rows of the batch that a set's rows are.
    pub(crate) fn rows(&self, set: RowSet) -> Vec<u32> {
        match set {
            RowSet::Batch => (0..self.inputs.tokens.len() as u32).collect(),
            RowSet::Sampled => self.inputs.sampled.clone(),
            RowSet::Scored => self.inputs.scored.iter().map(|scored| scored.row).collect(),
        }
    }

    /// A set's pairs, over its own rows: group after group in the batch's order, rows ascending.
    pub(crate) fn pairs(&self, set: RowSet) -> Vec<Pair> {
        let (rows, mut pairs, mut slots) = (self.rows(set), Vec::new(), Vec::new());
        for pair in &self.inputs.pairs {
            if !slots.contains(&pair.slot) {
                slots.push(pair.slot);
            }
        }
        for slot in slots {
            for (row, of) in (0..).zip(&rows) {
                let used = self.inputs.pairs.iter().find(|pair| pair.slot == slot && pair.row == *of);
                pairs.extend(used.map(|pair| Pair { row, ..*pair }));
            }
        }
        pairs
    }

    /// For each row of a set whether it uses an adapter.
    pub(crate) fn with_adapter(&self, set: RowSet) -> Vec<bool> {
        self.rows(set).iter().map(|row| self.inputs.pairs.iter().any(|pair| pair.row == *row)).collect()
    }

    /// Each row's position, page and place in that page.
    pub(crate) fn places(&self) -> Vec<(u32, u32, usize)> {
        let mut places = Vec::new();
        for segment in &self.inputs.segments {
            for position in segment.first_position..segment.first_position + segment.rows {
                let (page, place) = self.place(segment, position);
                places.push((position, page, place));
            }
        }
        places
    }

    /// A position's page and place in it.
    pub(crate) fn place(&self, segment: &Segment, position: u32) -> (u32, usize) {
        let tokens = self.limits.page_tokens;
        let page = self.inputs.pages[segment.first_page as usize + position as usize / tokens];
        (page, position as usize % tokens)
    }
}

fn adapters_of_row(random: &mut Random, demand: &Demand, row: usize) -> Vec<usize> {
    let adapters = demand.adapters;
    if demand.popularity == Popularity::Nobody || demand.some_without && random.below(3) == 0 {
        return Vec::new();
    }
    let mut wanted = Vec::new();
    for also in 0..1 + random.below(demand.per_row_max) {
        let adapter = match demand.popularity {
            Popularity::Nobody | Popularity::Identical => also % adapters,
            Popularity::Distinct => (row + also) % adapters,
            Popularity::Uniform => random.below(adapters),
            Popularity::Zipf => ((adapters as f64).powf(random.unit()) as usize - 1).min(adapters - 1),
            Popularity::Skewed if random.below(10) > 0 => also % adapters,
            Popularity::Skewed => random.below(adapters),
        };
        if !wanted.contains(&adapter) {
            wanted.push(adapter);
        }
    }
    wanted
}
