//! Adapters: `A` by dot products over gathered rows, `B` by adding its rows.

use std::ops::Range;

use super::dot::COLUMNS;
use super::dots::{Dots, Target};
use super::memory::{AnyOut, In, Out};
use super::pool::share;
use super::simd::{Kernel, Level, Load, Simd, Store};
use super::{Cpu, CpuAdapters, CpuStep, for_activation, for_weight};
use crate::backend::{Expand, Lora, Shrink};
use crate::error::Error;
use crate::layout::{B_TILE_COLUMNS, Group, ModulePlace, PairList, RANK_MAX, SiteKind};

/// Bytes of `A` that make a task worth telling another thread of.
const TASK_BYTES: usize = 32 << 10;

/// Pairs of one adapter that a task takes at most.
const TASK_PAIRS: usize = 96;

impl Lora for Cpu {
    fn lora_shrink(&self, step: &CpuStep, mut op: Shrink<'_, Self>) -> Result<(), Error> {
        let pairs = step.0.pairs(op.set);
        op.adapters.check(op.site, pairs)?;
        op.check(&step.0, op.adapters.site(op.site), op.adapters.places(op.site, pairs))?;
        op.h.memory_mut().expect_output()?;
        if op.adapters.site(op.site).kind == SiteKind::Embedding {
            self.shrink_tokens(&step.tokens(), op.adapters, op.site, pairs, &Out::of(&mut op.h));
            return Ok(());
        }
        let Some(x) = &op.x else { return Ok(()) };
        x.memory().expect_unchanged()?;
        let h = AnyOut::F32(Out::of(&mut op.h));
        let tasks = shrink_tasks(op.adapters, op.site, pairs);
        let bytes = tasks.iter().map(|task| task.bytes).sum();
        self.pool.each(tasks.len(), bytes, |index| {
            let ShrinkTask { slot, ranks, run, .. } = &tasks[index];
            let adapter = op.adapters.adapter(*slot);
            let place = &adapter.layout().sites()[op.site];
            for_activation!(x.dtype(), X => for_weight!(adapter.layout().dtype(), W => {
                let a = &adapter.memory().values::<W>()[place.a_at..];
                self.level.run(Dots {
                    x: In::<X>::of(x),
                    gathered: Some(pairs.pairs()),
                    rows: run.clone(),
                    w: In::packed(a, place.rank, place.shape.in_features),
                    columns: ranks.clone(),
                    bias: None,
                    to: Target { out: &h, row: run.start, column: ranks.start },
                });
            }));
        });
        Ok(())
    }

    fn lora_expand(&self, step: &CpuStep, mut op: Expand<'_, Self>) -> Result<(), Error> {
        let pairs = step.0.pairs(op.set);
        op.adapters.check(op.site, pairs)?;
        op.check(&step.0, op.adapters.site(op.site), op.adapters.places(op.site, pairs))?;
        op.h.memory().expect_unchanged()?;
        op.delta.memory_mut().expect_output()?;
        let shrunk = Shrunk { adapters: op.adapters, site: op.site, pairs, h: In::of(&op.h) };
        let delta = Out::of(&mut op.delta);
        let units = delta.width.div_ceil(B_TILE_COLUMNS);
        let groups = pairs.groups().iter().zip(op.adapters.places(op.site, pairs));
        let bytes = groups.map(|(group, place)| {
            let pairs = group.to - group.from;
            place
                .modules
                .iter()
                .map(|module| module.out_features * (module.rank * 2 + 4) * pairs.div_ceil(4))
                .sum::<usize>()
        });
        let bytes = bytes.sum();
        let tasks = self.pool.tasks(units, bytes);
        self.pool.each(tasks, bytes, |task| {
            let units = share(task, tasks, units);
            let columns = units.start * B_TILE_COLUMNS..(units.end * B_TILE_COLUMNS).min(delta.width);
            for group in pairs.groups() {
                let to = Deltas { delta, row_at: None, column_at: 0 };
                shrunk.expand(self.level, group, columns.clone(), to);
            }
        });
        Ok(())
    }
}

impl Cpu {
    /// An embedding's first half: each pair's token chooses a row of `A`, which is kept `[vocabulary, rank]`.
    fn shrink_tokens(&self, tokens: &[u32], adapters: &CpuAdapters, site: usize, pairs: &PairList, h: &Out<'_, f32>) {
        for group in pairs.groups() {
            let adapter = adapters.adapter(group.slot);
            let place = &adapter.layout().sites()[site];
            for_weight!(adapter.layout().dtype(), W => {
                let a = &adapter.memory().values::<W>()[place.a_at..];
                let from = In::packed(a, place.shape.in_features, place.rank);
                for index in group.from..group.to {
                    let token = tokens[pairs.pairs()[index].row as usize] as usize;
                    self.level.run(Widened { from: from.row(token), h: *h, row: index });
                }
            });
        }
    }
}

/// Some ranks of an adapter's `A` over some of its pairs.
struct ShrinkTask {
    slot: u32,
    ranks: Range<usize>,
    run: Range<usize>,
    bytes: usize,
}

fn shrink_tasks(adapters: &CpuAdapters, site: usize, pairs: &PairList) -> Vec<ShrinkTask> {
    let mut tasks = Vec::new();
    for (group, place) in pairs.groups().iter().zip(adapters.places(site, pairs)) {
        let rank_bytes = place.shape.in_features * adapters.adapter(group.slot).layout().dtype().bytes();
        let ranks_a_task = (TASK_BYTES / rank_bytes.max(1)).next_multiple_of(COLUMNS).max(COLUMNS);
        for from in (group.from..group.to).step_by(TASK_PAIRS) {
            let run = from..(from + TASK_PAIRS).min(group.to);
            for rank in (0..place.rank).step_by(ranks_a_task) {
                let ranks = rank..(rank + ranks_a_task).min(place.rank);
                let bytes = ranks.len() * rank_bytes * run.len().div_ceil(4);
                tasks.push(ShrinkTask { slot: group.slot, ranks, run: run.clone(), bytes });
            }
        }
    }
    tasks
}

/// Where deltas go.
#[derive(Clone, Copy)]
struct Deltas<'a> {
    delta: Out<'a, f32>,
    /// Which row all go to, where it is not their own.
    row_at: Option<usize>,
    /// The column that the first column of `delta` stands for.
    column_at: usize,
}

/// Pairs after the first half.
pub(super) struct Shrunk<'a> {
    pub(super) adapters: &'a CpuAdapters,
    pub(super) site: usize,
    pub(super) pairs: &'a PairList,
    pub(super) h: In<'a, f32>,
}

impl Shrunk<'_> {
    /// One row's delta for some columns, as [`Lora::lora_expand`] makes it, on this thread. False, and nothing written,
    /// for a row without an adapter.
    pub(super) fn expand_row(&self, level: Level, row: usize, columns: Range<usize>, out: &mut [f32]) -> bool {
        let delta = Out::packed(out, 1, columns.len());
        for &index in self.pairs.of_row(row) {
            let from = index as usize;
            let group = Group { slot: self.pairs.pairs()[from].slot, from, to: from + 1 };
            let to = Deltas { delta, row_at: Some(0), column_at: columns.start };
            self.expand(level, &group, columns.clone(), to);
        }
        !self.pairs.of_row(row).is_empty()
    }

    /// Adds what one adapter gives to its rows, in some columns.
    fn expand(&self, level: Level, group: &Group, columns: Range<usize>, to: Deltas<'_>) {
        let adapter = self.adapters.adapter(group.slot);
        for module in &adapter.layout().sites()[self.site].modules {
            let end = module.out_at + module.out_features;
            let (from, until) = (columns.start.max(module.out_at), columns.end.min(end));
            if from >= until {
                continue;
            }
            for_weight!(adapter.layout().dtype(), W => {
                let b = &adapter.memory().values::<W>()[module.b_at..][..module.rank * module.out_features];
                let (module, group, columns) = (*module, *group, from..until);
                level.run(ExpandRun { b, module, pairs: self.pairs, group, h: self.h, columns, to });
            });
        }
    }
}

struct Widened<'a, W> {
    from: &'a [W],
    h: Out<'a, f32>,
    row: usize,
}

impl<W: Load> Kernel for Widened<'_, W> {
    type Output = ();

    #[inline(always)]
    fn run<S: Simd>(self, simd: S) {
        // SAFETY: one thread does this.
        let to = unsafe { self.h.part(self.row, 0, self.from.len()) };
        super::memory::widen(simd, self.from, to);
    }
}

/// Rows of `B`, times the rows' coefficients, added in order of rank.
struct ExpandRun<'a, W> {
    b: &'a [W],
    module: ModulePlace,
    pairs: &'a PairList,
    group: Group,
    h: In<'a, f32>,
    /// Of the delta.
    columns: Range<usize>,
    to: Deltas<'a>,
}

/// Rows that share what is read of `B`.
const ROWS: usize = 4;

/// How far ahead of what is read of `B` more is fetched: its tiles lie one after the other.
const AHEAD_BYTES: usize = 4 << 10;

type Coefficients = [[f32; RANK_MAX as usize]; ROWS];

impl<W: Load> Kernel for ExpandRun<'_, W> {
    type Output = ();

    #[inline(always)]
    fn run<S: Simd>(self, simd: S) {
        let mut coefficients: Coefficients = [[0.0; RANK_MAX as usize]; ROWS];
        let mut index = self.group.from;
        while index < self.group.to {
            let count = if self.group.to - index >= ROWS { ROWS } else { 1 };
            for (r, coefficients) in coefficients[..count].iter_mut().enumerate() {
                let factor = self.pairs.pairs()[index + r].weight * self.module.scale;
                let h = &self.h.row(index + r)[self.module.h_at..][..self.module.rank];
                for (coefficient, h) in coefficients.iter_mut().zip(h) {
                    *coefficient = h * factor;
                }
            }
            if count == ROWS {
                self.rows::<S, ROWS, 4>(simd, index, &coefficients);
            } else {
                self.rows::<S, 1, 4>(simd, index, &coefficients);
            }
            index += count;
        }
    }
}

impl<W: Load> ExpandRun<'_, W> {
    /// `R` rows, `V` vectors of columns at a time.
    #[inline(always)]
    fn rows<S: Simd, const R: usize, const V: usize>(&self, simd: S, index: usize, coefficients: &Coefficients) {
        let mut delta = [std::ptr::null_mut::<f32>(); R];
        let mut begun = [false; R];
        for r in 0..R {
            let row = self.pairs.pairs()[index + r].row as usize;
            begun[r] = self.pairs.of_row(row)[0] as usize != index + r;
            let row = self.to.row_at.unwrap_or(row);
            // SAFETY: threads have disjoint columns, and one thread takes the pairs of a row in turn.
            let part = unsafe { self.to.delta.part(row, self.columns.start - self.to.column_at, self.columns.len()) };
            delta[r] = part.as_mut_ptr();
        }
        if self.module.rank == 0 && begun.iter().all(|begun| *begun) {
            return;
        }
        // Columns of the module, and of the tile that each is in.
        let (mut at, end) = (self.columns.start - self.module.out_at, self.columns.end - self.module.out_at);
        let begin = at;
        while at < end {
            let tile = at / B_TILE_COLUMNS * B_TILE_COLUMNS;
            let width = B_TILE_COLUMNS.min(self.module.out_features - tile);
            let b = &self.b[tile * self.module.rank..][..width * self.module.rank];
            let until = end.min(tile + width);
            // A module without rank has no values to read: its columns are zeros.
            let column = |at: usize| &b[(at - tile).min(b.len())..];
            // SAFETY: `at .. until` are columns of this tile, and of each delta from `begin` on.
            unsafe {
                while at + V * S::LANES <= until {
                    let to = delta.map(|delta| delta.add(at - begin));
                    self.block::<S, R, V>(simd, &to, &begun, coefficients, column(at), width, S::LANES);
                    at += V * S::LANES;
                }
                while at < until {
                    let count = S::LANES.min(until - at);
                    let to = delta.map(|delta| delta.add(at - begin));
                    self.block::<S, R, 1>(simd, &to, &begun, coefficients, column(at), width, count);
                    at += count;
                }
            }
        }
    }

    /// # Safety
    /// Each delta has `V` vectors of columns, the last (where `V` is 1) of `count` values, and so has each of the ranks'
    /// rows in `b`, which begin `stride` values apart.
    #[inline(always)]
    #[expect(clippy::too_many_arguments, reason = "a block, and where it is")]
    unsafe fn block<S: Simd, const R: usize, const V: usize>(
        &self,
        simd: S,
        delta: &[*mut f32; R],
        begun: &[bool; R],
        coefficients: &Coefficients,
        b: &[W],
        stride: usize,
        count: usize,
    ) {
        let whole = count == S::LANES;
        let mut sums = [[simd.splat(0.0); V]; R];
        // SAFETY: the caller's.
        unsafe {
            for r in 0..R {
                for v in 0..V {
                    if begun[r] {
                        let from = delta[r].add(v * S::LANES);
                        sums[r][v] = if whole { simd.load(from) } else { f32::load_part(simd, from, count) };
                    }
                }
            }
            for rank in 0..self.module.rank {
                let b = b.as_ptr().add(rank * stride);
                for line in (0..V * S::LANES * W::DTYPE.bytes()).step_by(64) {
                    simd.prefetch(b.cast::<u8>().wrapping_add(AHEAD_BYTES + line));
                }
                for v in 0..V {
                    let from = b.add(v * S::LANES);
                    let column = if whole { W::load(simd, from) } else { W::load_part(simd, from, count) };
                    for r in 0..R {
                        sums[r][v] = simd.mul_add(simd.splat(coefficients[r][rank]), column, sums[r][v]);
                    }
                }
            }
            for r in 0..R {
                for v in 0..V {
                    let to = delta[r].add(v * S::LANES);
                    if whole {
                        simd.store(to, sums[r][v]);
                    } else {
                        f32::store_part(simd, to, sums[r][v], count);
                    }
                }
            }
        }
    }
}
