//! Steps that the world's device computes before anybody knows what the one before drew.

use loam_engine::scheduler::{Plan, SequenceId};

use crate::random::mix;
use crate::world::{World, drawn};

impl World {
    /// The step after one that is being run, if one is laid: its rows are written at once, as a device does in the order in
    /// which steps are launched, whoever ends meanwhile.
    pub(crate) fn lay_ahead(&mut self, before: &Plan) -> Option<Plan> {
        let plan = self.scheduler.schedule_ahead(before, self.now_ms)?;
        self.steps_ahead += 1;
        self.digest = format!("{plan:?}").bytes().fold(self.digest, |digest, byte| mix(digest, u64::from(byte)));
        assert!(plan.installs.is_empty() && plan.copies.is_empty(), "nothing changes under a step in flight");
        assert!(plan.ended.is_empty() && plan.preempted.is_empty() && plan.admitted.is_empty(), "nothing is decided");
        assert!(!plan.chunks.is_empty() && plan.rows() <= self.options.step_tokens_max as usize);
        let digests: Vec<Vec<u64>> = plan.chunks.iter().map(|chunk| self.digests_after(before, chunk.id)).collect();
        for (chunk, digests) in plan.chunks.iter().zip(&digests) {
            let known = &self.live[&chunk.id];
            assert!(known.running && !known.asked.gated, "{:?} only goes on", chunk.id);
            assert!(chunk.follows && chunk.samples && chunk.tokens.len() == 1 && chunk.recomputed_rows == 0);
            assert_eq!(chunk.first_position as usize, known.tokens.len(), "the row of the token to come");
            assert!(known.drawn() + 1 < known.asked.output_tokens_max, "{:?} draws no more than it may", chunk.id);
            assert_eq!(chunk.pages, self.scheduler.table(chunk.id));
            self.memory.write(chunk, digests);
        }
        for (chunk, digests) in plan.chunks.iter().zip(&digests) {
            self.memory.expect(&chunk.pages, digests, digests.len(), &format!("{:?}, ahead", chunk.id));
        }
        Some(plan)
    }

    /// What a sequence's prefixes are with the token that it draws in a step.
    fn digests_after(&self, step: &Plan, id: SequenceId) -> Vec<u64> {
        assert!(step.chunks.iter().any(|chunk| chunk.id == id && chunk.samples), "{id:?} draws in the step before");
        let mut digests = self.live[&id].digests.clone();
        let last = digests[digests.len() - 1];
        digests.push(mix(last, u64::from(drawn(last, id))));
        digests
    }
}
