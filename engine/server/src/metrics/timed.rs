//! How long the record takes: any recorder, with a clock beside it.

use std::sync::Arc;
use std::time::Instant;

use loam_engine::recorder::{Acknowledge, Key, NotBegun, RecordFailed, Recorder, RequestFacts, StepRecord};
use loam_ledger_core::Hash;

use super::meters::Meters;

/// A recorder whose steps are timed from their arrival until they are durable.
pub(crate) struct Timed {
    recorder: Box<dyn Recorder>,
    meters: Arc<Meters>,
}

impl Timed {
    /// The same recorder, timed.
    pub(crate) fn new(recorder: Box<dyn Recorder>, meters: Arc<Meters>) -> Self {
        Self { recorder, meters }
    }
}

impl Recorder for Timed {
    fn begin(&mut self, request: &RequestFacts) -> Result<(Key, Option<Hash>), NotBegun> {
        self.recorder.begin(request)
    }

    fn sequence(&mut self) -> Result<u64, RecordFailed> {
        self.recorder.sequence()
    }

    fn append(&mut self, step: StepRecord, done: Acknowledge) -> Result<(), RecordFailed> {
        let (began, meters) = (Instant::now(), Arc::clone(&self.meters));
        // Dropped uncalled, this drops `done` uncalled: what that means is the engine's to say.
        let heard: Acknowledge = Box::new(move |fate| {
            if fate.is_ok() {
                meters.committed(began.elapsed().as_secs_f64());
            }
            done(fate);
        });
        self.recorder.append(step, heard)
    }

    fn stop(&mut self) -> Result<(), RecordFailed> {
        self.recorder.stop()
    }
}
