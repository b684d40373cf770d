//! Roofs: how fast this machine reads memory, and how fast it multiplies what is in cache.

use std::ops::Range;
use std::sync::Arc;

use loam_kernels::Cpu;
use loam_kernels::backend::{ApplyLinear, Dense as _, Device as _};
use loam_kernels::cpu::CpuMemory;
use loam_kernels::layout::{DType, Linear, Rows, RowsMut, Split};
use loam_rivals::Problem;
use memmap2::{Advice, MmapMut};
use rayon::prelude::*;

use super::Figure;
use crate::contest::{Contestant, Times, contest};
use crate::counts::counted;
use crate::filled::{floats, values};

/// What the machine could do at best. Each can be put into a contest, so that it meets what the others meet.
pub(super) struct Roofs {
    /// Of memory in pages such as the system gives unasked.
    pub(super) small_pages: Reader,
    /// Of memory in large pages.
    pub(super) large_pages: Reader,
    pub(super) in_cache_f32: InCache,
    pub(super) in_cache_bf16: InCache,
}

/// Reads memory on all threads, as fast as a loop can.
pub(super) struct Reader {
    memory: MmapMut,
    way: Way,
}

/// A way to read: each thread takes a share of the pieces, and each piece in streams side by side.
#[derive(Clone, Copy)]
struct Way {
    pieces_per_thread: usize,
    streams: usize,
}

/// Far more than a last-level cache holds.
const READ_BYTES: usize = 512 << 20;

const WAYS: [Way; 6] = [
    Way { pieces_per_thread: 1, streams: 1 },
    Way { pieces_per_thread: 1, streams: 4 },
    Way { pieces_per_thread: 8, streams: 1 },
    Way { pieces_per_thread: 8, streams: 4 },
    Way { pieces_per_thread: 64, streams: 2 },
    Way { pieces_per_thread: 64, streams: 8 },
];

impl Roofs {
    pub(super) fn measured(cpu: &Cpu, quick: bool) -> anyhow::Result<(Self, Vec<Figure>)> {
        let rounds = if quick { 3 } else { 9 };
        let mut figures = Vec::new();
        let roofs = Self {
            small_pages: Reader::best(false, rounds, &mut figures)?,
            large_pages: Reader::best(true, rounds, &mut figures)?,
            in_cache_f32: InCache::best(cpu, DType::F32, rounds, &mut figures)?,
            in_cache_bf16: InCache::best(cpu, DType::Bf16, rounds, &mut figures)?,
        };
        Ok((roofs, figures))
    }
}

impl Reader {
    /// A reader in the best way.
    fn best(large_pages: bool, rounds: usize, figures: &mut Vec<Figure>) -> anyhow::Result<Self> {
        let mut memory = MmapMut::map_anon(READ_BYTES)?;
        #[cfg(target_os = "linux")]
        memory.advise(if large_pages { Advice::HugePage } else { Advice::NoHugePage })?;
        memory.fill(7);
        let mut readers = WAYS.map(|way| {
            let memory = &memory;
            move |round| Ok(way.read(memory, round))
        });
        let mut contestants: Vec<Contestant<'_>> = readers.iter_mut().map(|it| it as Contestant<'_>).collect();
        let times = contest(rounds, &mut contestants)?;
        let best = (0..WAYS.len()).min_by(|a, b| times.median(*a).total_cmp(&times.median(*b))).unwrap_or(0);
        let pages = if large_pages { "large pages" } else { "small pages" };
        let Way { pieces_per_thread, streams } = WAYS[best];
        let note = format!(
            "best of {} ways: {} a thread, {}",
            WAYS.len(),
            counted(pieces_per_thread, "piece"),
            counted(streams, "stream")
        );
        let (median, fastest) = (times.median(best), times.best(best));
        figures.push(Figure::new(&format!("memory read rate, {pages}"), 1e-9 / median, "GB/s", None, note));
        let note = "the round that went best";
        figures.push(Figure::new(&format!("memory read rate, {pages}, best"), 1e-9 / fastest, "GB/s", None, note));
        Ok(Self { memory, way: WAYS[best] })
    }

    /// A contestant that reads, for each round of a contest; its time is for a byte.
    pub(super) fn contestant(&self) -> impl FnMut(usize) -> anyhow::Result<usize> {
        |round| Ok(self.way.read(&self.memory, round))
    }
}

impl Way {
    /// Reads half of the memory, the other half in the next round. Returns how many bytes that are.
    fn read(self, memory: &[u8], round: usize) -> usize {
        let half = memory.len() / 2;
        let memory = &memory[round % 2 * half..][..half];
        let piece = half.div_ceil(rayon::current_num_threads() * self.pieces_per_thread).next_multiple_of(4096);
        let sum = memory.par_chunks(piece).map(|piece| match self.streams {
            1 => sum::<1>(piece),
            2 => sum::<2>(piece),
            4 => sum::<4>(piece),
            _ => sum::<8>(piece),
        });
        // The sum is looked at, so that nothing is left out.
        std::hint::black_box(sum.reduce(|| 0, u64::wrapping_add));
        half
    }
}

/// The sum of all words, a cache line of each stream at a time.
fn sum<const STREAMS: usize>(bytes: &[u8]) -> u64 {
    let (lines, _) = bytes.as_chunks::<64>();
    let each = lines.len() / STREAMS;
    let streams: [&[[u8; 64]]; STREAMS] = std::array::from_fn(|stream| &lines[stream * each..][..each]);
    let mut sums = [[0_u64; 8]; STREAMS];
    for at in 0..each {
        for (stream, sums) in streams.iter().zip(&mut sums) {
            let (words, _) = stream[at].as_chunks::<8>();
            for (sum, word) in sums.iter_mut().zip(words) {
                *sum = sum.wrapping_add(u64::from_ne_bytes(*word));
            }
        }
    }
    sums.as_flattened().iter().fold(0, |sum, word| sum.wrapping_add(*word))
}

/// Products of what stays in cache: rows with weights, on all threads.
pub(super) struct InCache {
    dtype: DType,
    shape: (usize, usize, usize),
    weights: Linear<CpuMemory>,
    x: CpuMemory,
    rival_w: Vec<f32>,
    rival_x: Vec<f32>,
    /// Whether `gemm` is the faster one here.
    by_gemm: bool,
}

/// Shapes (rows, length of sums, columns) whose operands stay in cache; long sums spend least on their ends.
const IN_CACHE: [(usize, usize, usize); 4] = [(96, 512, 256), (24, 4096, 64), (48, 2048, 128), (64, 4096, 256)];

/// Operations of a turn: some milliseconds.
const OPERATIONS: usize = 2_000_000_000;

impl InCache {
    /// The best of all shapes: ours, and in f32 also `gemm`'s.
    fn best(cpu: &Cpu, dtype: DType, rounds: usize, figures: &mut Vec<Figure>) -> anyhow::Result<Self> {
        let all: Vec<Self> = IN_CACHE.iter().map(|shape| Self::new(cpu, dtype, *shape)).collect::<Result<_, _>>()?;
        let times = Self::contest_of(&all, cpu, dtype, rounds)?;
        let fastest = |places: Range<usize>| {
            let least = places.min_by(|a, b| times.median(*a).total_cmp(&times.median(*b)));
            least.expect("there are shapes")
        };
        let rate = |place| 1e-9 / times.median(place);
        let mut best = fastest(0..all.len());
        let note = format!("best of {} small linears, {}", all.len(), cpu.describe());
        figures.push(Figure::new(&format!("in-cache rate, {dtype}"), rate(best), "GF/s", None, note));
        if dtype == DType::F32 {
            let rival = fastest(all.len()..2 * all.len());
            let note = "the same products; the faster of both is the roof of what is computed in f32";
            figures.push(Figure::new("in-cache rate, f32, gemm's", rate(rival), "GF/s", None, note));
            best = fastest(0..2 * all.len());
        }
        let (by_gemm, place) = (best >= all.len(), best % all.len());
        let chosen = all.into_iter().nth(place).expect("it is one of them");
        Ok(Self { by_gemm, ..chosen })
    }

    /// Our times of all shapes, then in f32 those of `gemm`.
    fn contest_of(all: &[Self], cpu: &Cpu, dtype: DType, rounds: usize) -> anyhow::Result<Times> {
        let mut ours: Vec<_> = all.iter().map(|it| it.by_us(cpu)).collect::<Result<_, _>>()?;
        let mut rivals: Vec<_> = all.iter().map(Self::by_gemm).collect();
        let mut contestants: Vec<Contestant<'_>> = ours.iter_mut().map(|it| it as Contestant<'_>).collect();
        if dtype == DType::F32 {
            contestants.extend(rivals.iter_mut().map(|it| it as Contestant<'_>));
        }
        contest(rounds, &mut contestants)
    }

    fn new(cpu: &Cpu, dtype: DType, shape: (usize, usize, usize)) -> anyhow::Result<Self> {
        let (rows, k, columns) = shape;
        let weights = Linear::dense(k, Split::Replicated, Arc::new(values(cpu, dtype, k * columns)?), None)?;
        let (x, rival_w, rival_x) = (values(cpu, dtype, rows * k)?, floats(k * columns), floats(rows * k));
        Ok(Self { dtype, shape, weights, x, rival_w, rival_x, by_gemm: false })
    }

    /// Its time is for one operation: a multiplication and an addition are two.
    pub(super) fn contestant<'a>(
        &'a self,
        cpu: &'a Cpu,
    ) -> anyhow::Result<impl FnMut(usize) -> anyhow::Result<usize> + use<'a>> {
        let (mut by_us, mut by_gemm) = (self.by_us(cpu)?, self.by_gemm());
        Ok(move |round| if self.by_gemm { by_gemm(round) } else { by_us(round) })
    }

    const fn repeats(&self) -> usize {
        let (rows, k, columns) = self.shape;
        OPERATIONS / (2 * rows * k * columns)
    }

    fn by_us<'a>(&'a self, cpu: &'a Cpu) -> anyhow::Result<impl FnMut(usize) -> anyhow::Result<usize> + use<'a>> {
        let (rows, k, columns) = self.shape;
        let mut out = cpu.allocate(self.dtype, rows * columns)?;
        Ok(move |_| {
            cpu.run(None, &mut || {
                (0..self.repeats()).try_for_each(|_| {
                    let (x, out) = (Rows::new(&self.x, rows, k)?, RowsMut::new(&mut out, rows, columns)?);
                    cpu.linear(ApplyLinear { x, weights: &self.weights, out })
                })
            })?;
            Ok(self.repeats() * 2 * rows * k * columns)
        })
    }

    fn by_gemm(&self) -> impl FnMut(usize) -> anyhow::Result<usize> {
        let (rows, k, columns) = self.shape;
        let mut out = vec![0.0; rows * columns];
        move |_| {
            for _ in 0..self.repeats() {
                Problem { rows, k, columns, x: &self.rival_x, w: &self.rival_w, out: &mut out }.by_gemm();
            }
            Ok(self.repeats() * 2 * rows * k * columns)
        }
    }
}

#[test]
fn every_word_is_summed() {
    let bytes: Vec<u8> = (0..64 * 16).map(|at| if at % 8 == 0 { 1 } else { 0 }).collect();
    assert_eq!((sum::<1>(&bytes), sum::<2>(&bytes), sum::<8>(&bytes)), (128, 128, 128));
}
