//! Attention over pages: what is divided among threads, and how partial results come together.

mod block;
mod rope;

use self::block::{Block, Merge, Query, state_len};
use super::memory::{AnyOut, In, Out, room};
use super::simd::Load;
use super::{Cpu, CpuMemory, CpuStep, for_activation};
use crate::backend::{Attend, Attention, CopyPages, HeadShape, RopeStore};
use crate::error::Error;
use crate::layout::{DecodeWork, PagedKv, Rows, Segment, StepPlan, first_seen};

/// Query rows (tokens times heads that share keys) that walk the keys together.
const BLOCK_QUERIES: usize = 32;

impl Attention for Cpu {
    fn rope_store(&self, step: &CpuStep, mut op: RopeStore<'_, CpuMemory>) -> Result<(), Error> {
        op.check(&step.0)?;
        op.angles.memory().expect_unchanged()?;
        op.qkv.memory_mut().expect_output()?;
        op.kv.memory_mut().expect_output()?;
        self.rope_rows(&step.0, op)
    }

    fn attention(&self, step: &CpuStep, mut op: Attend<'_, CpuMemory>) -> Result<(), Error> {
        op.check(&step.0)?;
        op.q.memory().expect_unchanged()?;
        op.kv.memory().expect_unchanged()?;
        op.out.memory_mut().expect_output()?;
        if let Some(log_sum_exp) = &mut op.log_sum_exp {
            log_sum_exp.memory_mut().expect_output()?;
        }
        let heads = op.heads();
        let to = Results { out: AnyOut::of(&mut op.out), log_sum_exp: op.log_sum_exp.as_mut().map(Out::of), heads };
        for_activation!(op.q.dtype(), Q => for_activation!(op.kv.dtype(), K => {
            let over = Over::<Q, K>::new(&op.q, op.kv, op.layer, op.scale, op.window, &step.0, heads);
            // First what may find no memory.
            self.attend_decode(&over, &to)?;
            self.attend_prefill(&over, &to);
            Ok(())
        }))
    }

    fn copy_pages(&self, op: CopyPages<'_, CpuMemory>) -> Result<(), Error> {
        op.check()?;
        op.kv.memory_mut().expect_output()?;
        let page = op.kv.shape().page_len();
        for &(from, to) in op.copies {
            op.kv.memory_mut().copy(from as usize * page, to as usize * page, page);
        }
        Ok(())
    }
}

/// What a step's attention reads.
pub(super) struct Over<'a, Q, K> {
    q: In<'a, Q>,
    kv: &'a PagedKv<CpuMemory>,
    values: &'a [K],
    layer: usize,
    scale: f32,
    window: Option<u32>,
    step: &'a StepPlan,
    heads: HeadShape,
}

/// Where results go.
struct Results<'a> {
    out: AnyOut<'a>,
    log_sum_exp: Option<Out<'a, f32>>,
    heads: HeadShape,
}

impl<'a, Q: Load, K: Load> Over<'a, Q, K> {
    fn new(
        q: &Rows<'a, CpuMemory>,
        kv: &'a PagedKv<CpuMemory>,
        layer: usize,
        scale: f32,
        window: Option<u32>,
        step: &'a StepPlan,
        heads: HeadShape,
    ) -> Self {
        Self { q: In::of(q), kv, values: kv.memory().values(), layer, scale, window, step, heads }
    }

    /// Query heads that share one of keys.
    const fn group(&self) -> usize {
        self.heads.q_heads / self.heads.kv_heads
    }

    /// A block of a segment's tokens, with all heads that share the keys of one: token after token.
    fn queries(&self, segment: &Segment, kv_head: usize, tokens: std::ops::Range<usize>) -> Vec<Query> {
        let heads = kv_head * self.group()..(kv_head + 1) * self.group();
        let token = |token: usize| {
            let (row, position) = (segment.first_row as usize + token, segment.first_position + token as u32);
            heads.clone().map(move |head| Query { row, head, position, first: first_seen(position, self.window) })
        };
        tokens.flat_map(token).collect()
    }

    /// Bytes of keys and values that a token at a position walks.
    fn bytes(&self, position: u32) -> usize {
        let seen = position + 1 - first_seen(position, self.window);
        seen as usize * self.heads.head_dim * 2 * K::DTYPE.bytes()
    }
}

/// Tokens of one segment and one head of keys.
struct PrefillTask {
    segment: usize,
    kv_head: usize,
    from: usize,
    to: usize,
}

impl Cpu {
    /// Segments of several rows: blocks of tokens, each through all of its splits in order.
    fn attend_prefill<Q: Load, K: Load>(&self, over: &Over<'_, Q, K>, to: &Results<'_>) {
        let tokens_a_block = (BLOCK_QUERIES / over.group()).max(1);
        let (mut tasks, mut bytes) = (Vec::new(), 0);
        for (segment, it) in over.step.segments().iter().enumerate().filter(|(_, it)| it.rows > 1) {
            let rows = it.rows as usize;
            for kv_head in 0..over.heads.kv_heads {
                tasks.extend((0..rows).step_by(tokens_a_block).map(|from| {
                    let to = (from + tokens_a_block).min(rows);
                    PrefillTask { segment, kv_head, from, to }
                }));
                bytes += over.bytes(it.first_position + it.rows - 1) * rows;
            }
        }
        self.pool.each(tasks.len(), bytes, |index| {
            // The last tokens see the most: they go first, so that no thread is left with one at the end.
            let task = &tasks[tasks.len() - 1 - index];
            let segment = &over.step.segments()[task.segment];
            let queries = over.queries(segment, task.kv_head, task.from..task.to);
            let mut states = vec![0.0; queries.len() * state_len(over.heads.head_dim)];
            let block = Block { over, segment, kv_head: task.kv_head, queries: &queries, only: None };
            self.level.run(block.into_states(&mut states));
            to.write(&queries, &states);
        });
    }

    /// Segments of one row: every split is a piece of work of its own, and the pieces are merged in order.
    fn attend_decode<Q: Load, K: Load>(&self, over: &Over<'_, Q, K>, to: &Results<'_>) -> Result<(), Error> {
        let work = over.step.decode_work(over.kv.shape(), over.window);
        let len = over.group() * state_len(over.heads.head_dim);
        let mut partials = room("partial results of attention", work.len() * len)?;
        partials.resize(work.len() * len, 0.0);
        let bytes = work.iter().map(|_| crate::layout::KV_SPLIT_TOKENS * over.heads.head_dim * 2).sum::<usize>();
        let parts = Out::packed(&mut partials, work.len(), len);
        self.pool.each(work.len(), bytes, |index| {
            let DecodeWork { segment, kv_head, split } = work[index];
            let segment = &over.step.segments()[segment as usize];
            let queries = over.queries(segment, kv_head as usize, 0..1);
            // SAFETY: one piece of work, one row.
            let states = unsafe { parts.row(index) };
            let block = Block { over, segment, kv_head: kv_head as usize, queries: &queries, only: Some(split) };
            self.level.run(block.into_states(states));
        });
        // A head's splits stand one after the other.
        let mut runs: Vec<std::ops::Range<usize>> = Vec::new();
        for (index, it) in work.iter().enumerate() {
            match runs.last_mut() {
                Some(run) if (work[run.start].segment, work[run.start].kv_head) == (it.segment, it.kv_head) => {
                    run.end = index + 1;
                }
                _ => runs.push(index..index + 1),
            }
        }
        self.pool.each(runs.len(), partials.len() * 4, |index| {
            let run = runs[index].clone();
            let DecodeWork { segment, kv_head, .. } = work[run.start];
            let queries = over.queries(&over.step.segments()[segment as usize], kv_head as usize, 0..1);
            let mut states = partials[run.start * len..][..len].to_vec();
            for part in run.start + 1..run.end {
                let part = &partials[part * len..][..len];
                self.level.run(Merge { states: &mut states, parts: part, head_dim: over.heads.head_dim });
            }
            to.write(&queries, &states);
        });
        Ok(())
    }
}

impl Results<'_> {
    /// Divides by the sums and writes.
    fn write(&self, queries: &[Query], states: &[f32]) {
        let head_dim = self.heads.head_dim;
        for (query, state) in queries.iter().zip(states.chunks_exact(state_len(head_dim))) {
            let (greatest, sum, values) = (state[0], state[1], &state[2..]);
            let inverse = 1.0 / sum;
            let mut normed = [0.0; 256];
            for (to, value) in normed.iter_mut().zip(values) {
                *to = value * inverse;
            }
            // SAFETY: a query is in one task, and its columns are its own.
            unsafe {
                self.out.put(query.row, query.head * head_dim, &normed[..head_dim]);
                if let Some(out) = &self.log_sum_exp {
                    out.part(query.row, query.head, 1)[0] = greatest + sum.ln();
                }
            }
        }
    }
}
