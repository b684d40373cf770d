//! Steps that are recorded once and replayed: a graph for each key, which every step of that key writes its numbers
//! into.
//!
//! A recorded launch keeps the addresses and the counts that it was given. So a key's steps have their tables at one
//! place, with room for the most that any of them may need; scratch that a graph knows is never freed; and what differs
//! between steps kernels read from the tables. Before it is recorded a key's first step is run, which loads kernels and
//! makes scratch large enough: neither may happen within a capture.

use std::cell::RefCell;
use std::collections::HashMap;
use std::rc::Rc;
use std::sync::{Arc, Weak};

use super::adapters::Ranks;
use super::backend::{Cuda, CudaStep};
use super::device::{DeviceMemory, Event, Graph, Stream, watched};
use super::ffi::RawStream;
use super::work::{Rooms, StepTables};
use crate::backend::{Adapted, GraphKey};
use crate::error::{Error, expect_shape};
use crate::layout::{DType, RowSet, StepLimits, StepPlan};

/// Rows of the largest step that is recorded: larger ones take long enough to launch their kernels meanwhile.
const ROWS_MAX: usize = GraphKey::ROWS[GraphKey::ROWS.len() - 1] as usize;
/// Words of the largest tables that are kept for graphs.
const WORDS_MAX: usize = 1 << 26;

/// All graphs of a device.
#[derive(Debug, Default)]
pub(super) struct Graphs {
    recorded: HashMap<GraphKey, Recorded>,
    /// Keys whose recording the device refused, and what it said.
    refused: HashMap<GraphKey, String>,
    /// Where steps' tables lie, of all keys in turn; graphs keep those that were too small for later ones.
    tables: Option<Arc<DeviceMemory>>,
}

/// A key's graph, and what a step must be like to be replayed with it.
#[derive(Debug)]
struct Recorded {
    graph: Graph,
    tables: Arc<StepTables>,
    rooms: Rooms,
    sampled: usize,
    limits: StepLimits,
    uses: Vec<Use>,
    /// Of all memories that the graph knows.
    lives: Vec<Weak<()>>,
}

/// Adapters of a site through an `h` of some width.
#[derive(Debug)]
struct Use {
    ranks: Arc<Ranks>,
    site: usize,
    width: usize,
}

/// What this thread records: a capture belongs to one, and others load adapters meanwhile.
struct Recording {
    stream: Rc<Stream>,
    branch: Branch,
    uses: Vec<Use>,
}

/// What runs beside the rest of what is recorded.
struct Branch {
    stream: Stream,
    /// Where it begins, and where it ends.
    begun: Event,
    ended: Event,
    state: BranchState,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum BranchState {
    /// There is nothing that the rest would have to wait for.
    Joined,
    /// It is being recorded.
    Open,
    /// The rest has not waited for it yet.
    Ended,
}

impl Recording {
    fn new() -> Result<Self, Error> {
        let (stream, begun, ended) = (Stream::new()?, Event::new()?, Event::new()?);
        let branch = Branch { stream, begun, ended, state: BranchState::Joined };
        Ok(Self { stream: Rc::new(Stream::new()?), branch, uses: Vec::new() })
    }

    /// The stream that what is launched now belongs to.
    fn order(&self) -> &Stream {
        if self.branch.state == BranchState::Open { &self.branch.stream } else { &self.stream }
    }

    fn begin_branch(&mut self) -> Result<(), Error> {
        assert!(self.branch.state == BranchState::Joined, "a branch is joined before the next one begins");
        self.branch.begun.record(&self.stream)?;
        self.branch.stream.wait(&self.branch.begun)?;
        self.branch.state = BranchState::Open;
        Ok(())
    }

    fn end_branch(&mut self) -> Result<(), Error> {
        self.branch.state = BranchState::Ended;
        Ok(self.branch.ended.record(&self.branch.stream)?)
    }

    fn join(&mut self) -> Result<(), Error> {
        if self.branch.state == BranchState::Ended {
            self.stream.wait(&self.branch.ended)?;
            self.branch.state = BranchState::Joined;
        }
        Ok(())
    }
}

thread_local! {
    static RECORDING: RefCell<Option<Recording>> = const { RefCell::new(None) };
}

/// The stream whose launches this thread records, or the device's first.
pub(super) fn order() -> RawStream {
    recorded().unwrap_or_else(|| Stream::default().raw())
}

fn recorded() -> Option<RawStream> {
    RECORDING.with_borrow(|it| it.as_ref().map(|it| it.order().raw()))
}

/// Records operations as a branch; where nothing is recorded they just run.
pub(super) fn beside(operations: &mut dyn FnMut() -> Result<(), Error>) -> Result<(), Error> {
    let of_branch = |work: fn(&mut Recording) -> Result<(), Error>| {
        RECORDING.with_borrow_mut(|it| it.as_mut().map_or(Ok(()), work))
    };
    of_branch(Recording::begin_branch)?;
    operations()?;
    of_branch(Recording::end_branch)
}

/// What is recorded next waits for the branch.
pub(super) fn join() -> Result<(), Error> {
    RECORDING.with_borrow_mut(|it| it.as_mut().map_or(Ok(()), Recording::join))
}

/// Refuses what no graph can hold.
pub(super) fn refuse_recorded(what: &'static str) -> Result<(), Error> {
    if recorded().is_none() {
        return Ok(());
    }
    let (what, found) = ("an operation to record", format!("one with {what}"));
    Err(Error::Unsupported { what, found, allowed: "launches over what was allocated and written before" })
}

/// Notes that adapters of a site go through an `h` of this width.
pub(super) fn note(ranks: &Arc<Ranks>, site: usize, width: usize) {
    RECORDING.with_borrow_mut(|it| {
        let Some(recording) = it else { return };
        match recording.uses.iter_mut().find(|it| it.site == site && Arc::ptr_eq(&it.ranks, ranks)) {
            Some(known) => known.width = known.width.min(width),
            None => recording.uses.push(Use { ranks: Arc::clone(ranks), site, width }),
        }
    });
}

/// Ends a recording also where its operations panic.
struct Ended;

impl Drop for Ended {
    fn drop(&mut self) {
        RECORDING.take();
    }
}

type Operations<'a> = &'a mut (dyn FnMut() -> Result<(), Error> + Send);

impl Graphs {
    /// Runs a step that was checked against its key.
    pub(super) fn run(
        &mut self,
        gpu: &Cuda,
        key: GraphKey,
        step: &CudaStep,
        operations: Operations<'_>,
    ) -> Result<(), Error> {
        let (plan, lists) = (step.plan(), step.lists());
        // Whose memory is gone is gone, and nobody else has its key.
        if self.recorded.get(&key).is_none_or(Recorded::is_gone) {
            self.recorded.retain(|_, held| !held.is_gone());
        }
        if let Some(held) = self.recorded.get(&key) {
            held.expect_alike(plan)?;
            if !held.rooms.hold(&lists) {
                return operations();
            }
            held.tables.send(&gpu.stream(), &lists)?;
            return Ok(held.graph.launch(&gpu.stream())?);
        }
        let rooms = Rooms::of_decode(plan, key.adapted, gpu.mode());
        if !rooms.hold(&lists) || rooms.words() > WORDS_MAX || self.refused.contains_key(&key) {
            return operations();
        }
        let tables = Arc::new(StepTables::new(self.tables(rooms.words())?, rooms));
        tables.send(&gpu.stream(), &lists)?;
        let _placed = step.place(&tables);
        operations()?;
        let (recorded, lives) = watched(|| record(operations));
        let (graph, uses) = match recorded {
            Ok(recorded) => recorded,
            // The step was run; a GPU that cannot record it runs later ones too. The emulation names what it refuses.
            Err(Error::Launch { report }) if cfg!(feature = "driver") => {
                self.refused.insert(key, report);
                return Ok(());
            }
            Err(error) => return Err(error),
        };
        gpu.scratch().keep();
        gpu.outer_scratch().keep();
        gpu.adapters_scratch().keep();
        let (sampled, limits) = (plan.rows(RowSet::Sampled), *plan.limits());
        self.recorded.insert(key, Recorded { graph, tables, rooms, sampled, limits, uses, lives });
        Ok(())
    }

    /// Each node of a key's graph: its kernel's name, and how many nodes it waits for itself.
    pub(super) fn nodes(&self, key: GraphKey) -> Vec<(String, usize)> {
        self.recorded.get(&key).map(|held| held.graph.nodes()).unwrap_or_default()
    }

    /// What the device said where it refused to record a step; any of them, where there were several.
    pub(super) fn refusal(&self) -> Option<&str> {
        self.refused.values().next().map(String::as_str)
    }

    /// A memory of at least so many words.
    fn tables(&mut self, words: usize) -> Result<Arc<DeviceMemory>, Error> {
        match &self.tables {
            Some(held) if held.bytes() >= words * DType::U32.bytes() => Ok(Arc::clone(held)),
            _ => {
                let memory = Arc::new(DeviceMemory::new("tables of graphs", DType::U32, words)?);
                Ok(Arc::clone(self.tables.insert(memory)))
            }
        }
    }
}

/// What operations launch, and which adapters they use.
fn record(operations: Operations<'_>) -> Result<(Graph, Vec<Use>), Error> {
    let recording = Recording::new()?;
    let stream = Rc::clone(&recording.stream);
    RECORDING.set(Some(recording));
    let _ended = Ended;
    let graph = stream.capture(operations)?;
    Ok((graph, RECORDING.take().map(|it| it.uses).unwrap_or_default()))
}

/// Whether a step is of those that graphs are made of: one row a request, and no tokens to score, which come by the
/// host.
pub(super) fn is_recordable(plan: &StepPlan) -> bool {
    let rows = plan.rows(RowSet::Batch);
    (1..=ROWS_MAX).contains(&rows) && plan.is_decode() && plan.rows(RowSet::Scored) == 0
}

/// Refuses a key that says something else of a step.
pub(super) fn check_key(key: GraphKey, plan: &StepPlan) -> Result<(), Error> {
    expect_shape("a graph's rows", plan.rows(RowSet::Batch), key.rows as usize)?;
    let pairs = plan.pairs(RowSet::Batch).pairs().len();
    if key.adapted != Adapted::Nowhere || pairs == 0 {
        return Ok(());
    }
    let found = format!("with {pairs} pairs");
    Err(Error::Unsupported { what: "a step of the base's graph", found, allowed: "without pairs" })
}

impl Recorded {
    /// Whether a memory that it knows has ended.
    fn is_gone(&self) -> bool {
        self.lives.iter().any(|life| life.strong_count() == 0)
    }

    /// Refuses a step that the recorded operations are not for: what they looked at when they were called, nobody does
    /// now.
    fn expect_alike(&self, plan: &StepPlan) -> Result<(), Error> {
        expect_shape("a graph's sampled rows", plan.rows(RowSet::Sampled), self.sampled)?;
        if *plan.limits() != self.limits {
            let found = format!("{:?}", plan.limits());
            return Err(Error::Unsupported {
                what: "the limits of a graph's step",
                found,
                allowed: "those of its first",
            });
        }
        let groups = plan.pairs(RowSet::Batch).groups();
        self.uses.iter().try_for_each(|it| it.ranks.check(it.site, it.width, groups))
    }
}
