//! What is checked after each step, and at the end.

use std::collections::BTreeSet;
use std::ops::Range;

use loam_engine::adapter::{AdapterId, Generation};
use loam_engine::batch::{Requested, lay};
use loam_engine::scheduler::{Plan, SchedulerOptions, SequenceId};
use loam_kernels::layout::{RowSet, StepLimits, StepPlan};

use crate::world::{VOCABULARY, World};

impl World {
    /// Pages are held by those, and as often, as tables say; what is still to be written has one holder.
    pub(crate) fn check_tables(&self) {
        let (mut holders, pages) = (vec![0; self.options.pages as usize], self.scheduler.pages());
        for (id, known) in &self.live {
            let table = self.scheduler.table(*id);
            assert_eq!(known.running, !table.is_empty(), "who runs has pages, and nobody else");
            table.iter().for_each(|page| holders[*page as usize] += 1);
            let written = (known.computed / self.options.page_tokens) as usize;
            for page in table.iter().skip(written) {
                assert_eq!(pages.holders(*page), 1, "page {page} is written by {id:?} alone");
            }
        }
        for (page, holders) in (0..).zip(&holders) {
            assert_eq!(pages.holders(page), *holders, "holders of page {page}");
        }
        let used = holders.iter().filter(|holders| **holders > 0).count() as u32;
        let counts = self.scheduler.counts();
        assert_eq!((counts.pages_used, counts.pages_used + pages.available()), (used, self.options.pages));
    }

    pub(crate) fn check_plan(&mut self, plan: &Plan) {
        assert!(plan.rows() <= self.options.step_tokens_max as usize, "a step has so many rows");
        self.devices.install(&plan.installs, &self.in_use());
        let mut seen = BTreeSet::new();
        for chunk in &plan.chunks {
            let known = &self.live[&chunk.id];
            let (first, end) = (chunk.first_position, chunk.first_position + chunk.tokens.len() as u32);
            assert!(seen.insert(chunk.id) && known.running, "{:?} has one chunk and runs", chunk.id);
            assert_eq!(first, known.computed, "rows of {:?} come in order", chunk.id);
            assert_eq!(chunk.tokens, known.tokens[first as usize..end as usize], "tokens of {:?}", chunk.id);
            assert_eq!(chunk.pages, self.scheduler.table(chunk.id));
            assert_eq!(chunk.recomputed_rows, known.held.clamp(first, end) - first);
            let draws = end as usize == known.tokens.len() && known.drawn() < known.asked.output_tokens_max;
            assert_eq!(chunk.samples, draws, "{:?} draws after its last token", chunk.id);
            assert!(!draws || !known.asked.gated || known.gate_open, "{:?} waits at its gate", chunk.id);
            let held: Vec<Option<AdapterId>> =
                chunk.slots.iter().map(|slot| self.devices.slots[*slot as usize]).collect();
            assert_eq!(
                held,
                known.asked.adapters.iter().copied().map(Some).collect::<Vec<_>>(),
                "slots of {:?}",
                chunk.id
            );
        }
        self.check_laid(plan);
    }

    /// Kernels take the step, and find each row's adapters in order of generation.
    pub(crate) fn check_laid(&self, plan: &Plan) {
        let laid = lay(plan, self);
        let SchedulerOptions { pages, page_tokens, slots, .. } = self.options;
        let (pages, page_tokens, slots) = (pages as usize, page_tokens as usize, slots as usize);
        let limits = StepLimits { vocabulary: VOCABULARY as usize, positions: 100_000, pages, page_tokens, slots };
        let step = StepPlan::new(laid.inputs, limits).expect("kernels take the step");
        let pairs = step.pairs(RowSet::Batch);
        for (row, segment) in (0..).zip(step.segment_of_row()) {
            let used = pairs.of_row(row).iter().map(|place| pairs.pairs()[*place as usize].slot);
            assert_eq!(used.collect::<Vec<_>>(), plan.chunks[*segment as usize].slots);
        }
        let draws = plan.chunks.iter().filter(|chunk| chunk.samples).count();
        assert_eq!(laid.sampled.len(), draws);
    }

    pub(crate) fn check_end(&self) {
        let counts = self.scheduler.counts();
        assert!(self.scheduler.idle());
        assert_eq!((counts.waiting, counts.running, counts.pages_used), (0, 0, 0), "nothing is left");
        for adapter in self.scheduler.adapters() {
            assert_eq!((adapter.waiting, adapter.running), (0, 0), "{adapter:?} is wanted by nobody");
        }
        if let (1, Some((tenant, given))) = (self.given.len(), self.given.first_key_value()) {
            assert_eq!(self.scheduler.level(*tenant), *given, "whoever is alone is counted what it was given");
        }
        for (id, story) in &self.stories {
            assert!(self.live.is_empty() && story.ended_ms >= story.submitted_ms, "{id:?} has ended");
        }
    }
}

impl Requested for World {
    fn adapters(&self, id: SequenceId) -> &[(Generation, f32)] {
        &self.live[&id].weights
    }
    fn scored(&self, _: SequenceId) -> &[u32] {
        &[]
    }
    fn logits(&self, _: SequenceId) -> Range<u32> {
        0..0
    }
}
