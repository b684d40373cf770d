//! Runs steps of a model on a backend: adapters into their slots, rows through the decoder, answers back to the host.

use std::borrow::Cow;
use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use loam_kernels::backend::{Adapted, CopyPages, Device, GraphKey};
use loam_kernels::layout::{
    ADAPTERS_PER_ROW_MAX, Adapter, KvShape, PagedKv, RowSet, Sampling, Segment, SiteShape, StepInputs, StepLimits,
    StepPlan,
};
use loam_kernels::{Backend, Error as KernelsError};

use crate::adapter::HostAdapter;
use crate::coming::Coming;
use crate::error::Error;
use crate::executor::{Batch, Executor, ExecutorLimits, Outputs, Ticket, Uploaded, Uploader};
use crate::model::Tap;
use crate::model::decoder::{Decoder, Pass};
use crate::model::scratch::Scratch;
use crate::padding::Padding;

/// How much of everything there is.
#[derive(Clone, Copy, Debug)]
pub struct RunnerOptions {
    /// Pages of keys and values that requests can have. A device that records steps is given a few more, for rows of
    /// nobody's: as many as hold [`GraphKey::PADDING_ROWS_MAX`] positions.
    pub pages: usize,
    /// Positions in a page.
    pub page_tokens: usize,
    /// Slots for adapters.
    pub slots: usize,
    /// Rows of a step.
    pub rows_max: usize,
    /// The greatest rank that a module of an adapter may have.
    pub rank_max: u32,
}

/// Models so far: each runner's steps are recorded under a number of its own.
static MODELS: AtomicU64 = AtomicU64::new(0);

/// An adapter where steps can use it, or none.
type Slot<B> = Option<Arc<Adapter<<B as Device>::Memory>>>;

/// A model on a backend, with its pages and its adapters.
pub struct Runner<B: Backend> {
    backend: Arc<B>,
    decoder: Decoder<B>,
    kv: PagedKv<B::Memory>,
    adapters: B::Adapters,
    /// What lies in each slot, to know at which sites a step has anything to add.
    slots: Vec<Slot<B>>,
    scratch: Scratch<B::Memory>,
    limits: ExecutorLimits,
    rank_max: u32,
    model: u64,
    /// Where the device records steps.
    padding: Option<Padding>,
    /// Rows that the last step sampled: a step may take its tokens from there.
    sampled: usize,
    launched: VecDeque<Launched<B::Step>>,
    next_ticket: u64,
}

/// A step that may still be running.
struct Launched<S> {
    ticket: Ticket,
    coming: Coming,
    /// What it reads on the device, which is there until it is done.
    _step: Option<S>,
}

/// What of a step differs between devices.
struct Laid<'a> {
    /// Padded, where steps of a size are recorded.
    inputs: Cow<'a, StepInputs>,
    /// One for each sampled row.
    sampling: Cow<'a, [Sampling]>,
    /// Rows of the recorded steps that it is one of.
    rows: Option<u32>,
}

impl<B: Backend + 'static> Runner<B> {
    /// Reserves everything that steps will need.
    pub fn new(decoder: Decoder<B>, options: RunnerOptions) -> Result<Self, Error> {
        let backend = Arc::clone(&decoder.backend);
        let RunnerOptions { pages, page_tokens, slots, rows_max, rank_max } = options;
        let shape = decoder.shape;
        let kv = KvShape { layers: shape.layers, kv_heads: shape.kv_heads, head_dim: shape.head_dim, page_tokens };
        kv.check()?;
        let step = StepLimits { vocabulary: shape.vocabulary, positions: decoder.positions, pages, page_tokens, slots };
        let model = MODELS.fetch_add(1, Ordering::Relaxed);
        let padding = Padding::of(&*backend, &step);
        let held = pages.saturating_add(padding.as_ref().map_or(0, Padding::pages));
        let memory = backend.allocate(decoder.dtype, kv.page_len().saturating_mul(held))?;
        // The largest step may be padded as well.
        let padded = padding.as_ref().and_then(|_| GraphKey::rows_for(rows_max));
        let rows = rows_max.max(padded.unwrap_or(0) as usize);
        Ok(Self {
            kv: PagedKv::new(memory, kv)?,
            adapters: backend.adapters(decoder.sites.shapes(), slots)?,
            slots: vec![None; slots],
            scratch: Scratch::new(&*backend, &decoder, rows, rank_max)?,
            limits: ExecutorLimits { step, rows_max },
            rank_max,
            model,
            padding,
            sampled: 0,
            launched: VecDeque::new(),
            next_ticket: 0,
            decoder,
            backend,
        })
    }

    /// Its number among the models of this process: its steps' keys have it.
    pub const fn model(&self) -> u64 {
        self.model
    }

    /// On a device that records steps: runs the largest one, and one of each size that is recorded, so that no memory is
    /// first asked for, nothing recorded and nothing chosen by the clock while somebody waits. Nobody has the pages yet that
    /// this writes to.
    pub fn warm_up(&mut self) -> Result<(), Error> {
        if self.padding.is_none() {
            return Ok(());
        }
        let StepLimits { pages, page_tokens, positions, .. } = self.limits.step;
        let pages: Vec<u32> = (0..pages as u32).collect();
        let longest = self.limits.rows_max.min(positions).min(pages.len() * page_tokens);
        self.run_for_nobody(prompt_of_nobody(longest, &pages[..longest.div_ceil(page_tokens)]), None)?;
        for rows in GraphKey::ROWS {
            let held = pages.len() * page_tokens.min(positions);
            if rows as usize > self.limits.rows_max.min(held) {
                break;
            }
            for adapted in [Adapted::Nowhere, Adapted::Layers] {
                let mut inputs = StepInputs::default();
                inputs.pad(rows as usize, &pages, page_tokens.min(positions))?;
                self.run_for_nobody(inputs, Some(GraphKey { model: self.model, rows, adapted }))?;
            }
        }
        Ok(())
    }

    fn run_for_nobody(&mut self, inputs: StepInputs, key: Option<GraphKey>) -> Result<(), Error> {
        let sampling = vec![Sampling::default(); inputs.sampled.len()];
        let step = self.backend.step(inputs, self.step_limits())?;
        self.run(&step, (key, &sampling), None)?;
        // The step's tables end with it: it has to be over.
        self.backend.begin_read(&self.scratch.tokens, 0, size_of::<u32>())?.wait()?;
        Ok(())
    }

    /// Runs one step as [`Executor::execute`] does, and lets `tap` see the inputs of all sites.
    pub fn execute_tapped(&mut self, batch: &Batch, tap: &mut (dyn Tap<B::Memory> + Send)) -> Result<Outputs, Error> {
        let (coming, _step) = self.whole(batch, Some(tap))?;
        coming.wait()
    }

    /// One step, or nothing: what is refused is refused before anything changes, and what fails is undone. Only copied
    /// pages stay as they became; before a step their targets are nobody's.
    fn whole(
        &mut self,
        batch: &Batch,
        tap: Option<&mut (dyn Tap<B::Memory> + Send)>,
    ) -> Result<(Coming, Option<B::Step>), Error> {
        self.check(batch)?;
        // A step that is looked into has operations of its own, and so none of a name.
        let laid = self.lay(batch, tap.is_none())?;
        let step = match laid.inputs.tokens.len() {
            0 => None,
            _ => Some(self.backend.step(laid.inputs.into_owned(), self.step_limits())?),
        };
        if !batch.copies.is_empty() {
            self.backend.copy_pages(CopyPages { kv: &mut self.kv, copies: &batch.copies })?;
        }
        // What a step draws that fails is nobody's.
        self.sampled = 0;
        let mut replaced = Vec::new();
        let done = self.install(batch, &mut replaced).and_then(|()| match &step {
            None => Ok(Coming::default()),
            Some(step) => self.run_laid(step, (laid.rows, &laid.sampling), tap).and_then(|()| self.coming(batch)),
        });
        if done.is_err() {
            for (slot, adapter) in replaced.into_iter().rev() {
                self.put(slot, adapter)?;
            }
        } else {
            self.sampled = batch.inputs.sampled.len();
        }
        done.map(|coming| (coming, step))
    }

    /// Refuses by name what there is no room for.
    fn check(&self, batch: &Batch) -> Result<(), Error> {
        let (inputs, rows_max) = (&batch.inputs, self.limits.rows_max);
        let most = |field, found: usize, most: usize| {
            let allowed = format!("at most {most}");
            if found <= most { Ok(()) } else { Err(Error::Request { field, found: found.to_string(), allowed }) }
        };
        most("rows of a step", inputs.tokens.len(), rows_max)?;
        most("sampled rows of a step", inputs.sampled.len(), rows_max)?;
        most("scored rows of a step", inputs.scored.len(), rows_max)?;
        most("pairs of a step", inputs.pairs.len(), rows_max.saturating_mul(ADAPTERS_PER_ROW_MAX))?;
        let pages = inputs.pages.iter().chain(batch.copies.iter().flat_map(|(from, to)| [from, to]));
        let limit = self.limits.step.pages;
        if let Some(page) = pages.copied().find(|page| *page as usize >= limit) {
            return Err(KernelsError::Limit { what: "a page", value: page as usize, limit }.into());
        }
        if batch.sampling.len() != inputs.sampled.len() {
            let (found, allowed) = (batch.sampling.len().to_string(), format!("{}, one a row", inputs.sampled.len()));
            return Err(Error::Request { field: "sampling of a step", found, allowed });
        }
        if let Some(it) = inputs.taken.iter().find(|it| it.place as usize >= self.sampled) {
            let (what, limit) = ("a place that the step before samples", self.sampled);
            return Err(KernelsError::Limit { what, value: it.place as usize, limit }.into());
        }
        for place in &batch.logits {
            let below = inputs.sampled.len();
            if *place as usize >= below {
                let allowed = format!("places below {below}");
                return Err(Error::Request { field: "logits of a step", found: place.to_string(), allowed });
            }
        }
        Ok(())
    }

    /// Fills slots; `replaced` is what was there, so far.
    fn install(&mut self, batch: &Batch, replaced: &mut Vec<(u32, Slot<B>)>) -> Result<(), Error> {
        for (slot, uploaded) in &batch.installs {
            let before = self.put(*slot, ours::<B>(uploaded.as_ref())?)?;
            replaced.push((*slot, before));
        }
        Ok(())
    }

    fn put(&mut self, slot: u32, adapter: Slot<B>) -> Result<Slot<B>, Error> {
        let before = self.backend.install(&mut self.adapters, slot, adapter.clone())?;
        self.slots[slot as usize] = adapter;
        Ok(before)
    }

    /// Pages for padding are there for steps, but for nobody who asks what he may use.
    fn step_limits(&self) -> StepLimits {
        let pages = self.limits.step.pages + self.padding.as_ref().map_or(0, Padding::pages);
        StepLimits { pages, ..self.limits.step }
    }

    /// A step as it is computed: as it is, or padded to a size that the device has recorded, or will.
    fn lay<'a>(&self, batch: &'a Batch, may_replay: bool) -> Result<Laid<'a>, Error> {
        let (mut inputs, mut sampling) = (Cow::Borrowed(&batch.inputs), Cow::Borrowed(&*batch.sampling));
        let padding = self.padding.as_ref().filter(|_| may_replay);
        let Some((padding, rows)) = padding.and_then(|it| Some((it, it.rows(&inputs)?))) else {
            return Ok(Laid { inputs, sampling, rows: None });
        };
        if inputs.tokens.len() < rows as usize {
            padding.pad(inputs.to_mut(), rows)?;
            sampling.to_mut().resize(inputs.sampled.len(), Sampling::default());
        }
        Ok(Laid { inputs, sampling, rows: Some(rows) })
    }

    /// Under the name of steps of so many rows, where it is one of them.
    fn run_laid(
        &mut self,
        step: &B::Step,
        (rows, sampling): (Option<u32>, &[Sampling]),
        tap: Option<&mut (dyn Tap<B::Memory> + Send)>,
    ) -> Result<(), Error> {
        let adapted = self.adapted(step.as_ref());
        let key = rows.map(|rows| GraphKey { model: self.model, rows, adapted });
        self.run(step, (key, sampling), tap)
    }

    fn run(
        &mut self,
        step: &B::Step,
        (key, sampling): (Option<GraphKey>, &[Sampling]),
        tap: Option<&mut (dyn Tap<B::Memory> + Send)>,
    ) -> Result<(), Error> {
        let mut h_widths = self.h_widths(step.as_ref())?;
        let for_all_adapters = key.is_some_and(|key| key.adapted != Adapted::Nowhere);
        if for_all_adapters {
            // What is recorded serves whoever comes, at whichever of the key's sites these do something.
            let sites = self.decoder.sites.shapes().iter();
            h_widths = sites.map(|site| site.modules.len() * self.rank_max as usize).collect();
        }
        if key.is_some_and(|key| key.adapted == Adapted::Layers) {
            self.sites_of_vocabulary().for_each(|site| h_widths[site] = 0);
        }
        let asked = sampling.iter().map(|row| row.top_log_probabilities as usize).max();
        self.scratch.top_max = asked.unwrap_or(0).max(1);
        let Self { backend, decoder, kv, adapters, scratch, .. } = self;
        let tap = tap.map(|tap| -> &mut (dyn Tap<B::Memory> + Send) { tap });
        // What is recorded serves steps that take tokens and such as take none.
        let takes_tokens = key.is_some() || !AsRef::<StepPlan>::as_ref(step).taken().is_empty();
        let mut pass = Pass { step, kv, adapters, h_widths: &h_widths, for_all_adapters, takes_tokens, tap };
        backend.run(key.map(|key| (key, step)), &mut || decoder.forward(&mut pass, scratch))?;
        // How tokens are chosen is no part of what a device may replay: it is another matter with every step.
        backend.run(None, &mut || decoder.sample(step, sampling, scratch))?;
        Ok(())
    }

    fn sites_of_vocabulary(&self) -> impl Iterator<Item = usize> {
        [self.decoder.sites.embedding(), self.decoder.sites.head()].into_iter()
    }

    /// Where a step's rows use those who are in its slots now. Few are used at the vocabulary, and steps without them need not
    /// run there what does nothing.
    fn adapted(&self, plan: &StepPlan) -> Adapted {
        let groups = plan.pairs(RowSet::Batch).groups();
        let used = groups.iter().filter_map(|group| self.slots[group.slot as usize].as_ref());
        let mut ranks = used.flat_map(|it| self.sites_of_vocabulary().map(|site| it.layout().sites()[site].rank));
        match groups.is_empty() {
            true => Adapted::Nowhere,
            false if ranks.any(|rank| rank > 0) => Adapted::Everywhere,
            false => Adapted::Layers,
        }
    }

    /// For each site, what the step's adapters need of `h` there at most.
    fn h_widths(&self, plan: &StepPlan) -> Result<Vec<usize>, Error> {
        let mut widths = vec![0; self.decoder.sites.shapes().len()];
        for group in plan.pairs(RowSet::Batch).groups() {
            // No site would be asked for it, and the base would answer in its name.
            let empty = KernelsError::EmptySlot { slot: group.slot };
            let adapter = self.slots[group.slot as usize].as_ref().ok_or(empty)?;
            for (width, site) in widths.iter_mut().zip(adapter.layout().sites()) {
                *width = site.rank.max(*width);
            }
        }
        Ok(widths)
    }

    fn coming(&self, batch: &Batch) -> Result<Coming, Error> {
        Ok(Coming::of(&*self.backend, &self.scratch, batch, self.limits.step.vocabulary)?)
    }
}

impl<B: Backend + 'static> Executor for Runner<B> {
    fn limits(&self) -> ExecutorLimits {
        self.limits
    }

    fn uploader(&self) -> Arc<dyn Uploader> {
        let sites = self.decoder.sites.shapes().to_vec();
        Arc::new(DeviceUploader { backend: Arc::clone(&self.backend), sites, rank_max: self.rank_max })
    }

    fn steps_ahead(&self) -> usize {
        usize::from(self.backend.runs_apart())
    }

    fn launch(&mut self, batch: &Batch) -> Result<Ticket, Error> {
        let (coming, _step) = self.whole(batch, None)?;
        let number = self.next_ticket;
        self.next_ticket += 1;
        self.launched.push_back(Launched { ticket: Ticket(number), coming, _step });
        Ok(Ticket(number))
    }

    fn collect(&mut self, ticket: Ticket) -> Result<Outputs, Error> {
        match self.launched.pop_front_if(|first| first.ticket == ticket) {
            // The step ends with this, when all is read.
            Some(Launched { coming, _step, .. }) => coming.wait(),
            None => {
                let allowed = "the first that was launched and not collected".to_owned();
                Err(Error::Request { field: "a step to collect", found: ticket.0.to_string(), allowed })
            }
        }
    }

    fn describe(&self) -> String {
        self.backend.describe()
    }
}

/// A prompt of so many tokens, which has these pages.
fn prompt_of_nobody(rows: usize, pages: &[u32]) -> StepInputs {
    let segment =
        Segment { first_row: 0, rows: rows as u32, first_position: 0, first_page: 0, pages: pages.len() as u32 };
    StepInputs {
        tokens: vec![0; rows],
        segments: vec![segment],
        pages: pages.to_vec(),
        sampled: vec![rows as u32 - 1],
        ..StepInputs::default()
    }
}

/// What an uploader of this backend made.
fn ours<B: Backend>(uploaded: Option<&Uploaded>) -> Result<Slot<B>, Error> {
    let Some(Uploaded(any)) = uploaded else { return Ok(None) };
    let ours = Arc::clone(any).downcast::<Adapter<B::Memory>>().map_err(|_| {
        let found = "of another executor".to_owned();
        KernelsError::Unsupported { what: "an adapter to install", found, allowed: "one that this executor uploaded" }
    });
    Ok(Some(ours?))
}

/// Copies adapters into a backend's memory while it runs steps.
struct DeviceUploader<B> {
    backend: Arc<B>,
    sites: Vec<SiteShape>,
    rank_max: u32,
}

impl<B: Backend + 'static> Uploader for DeviceUploader<B> {
    fn upload(&self, adapter: &HostAdapter) -> Result<Uploaded, Error> {
        let HostAdapter { layout, slab, .. } = adapter;
        if !layout.sites().iter().map(|place| &place.shape).eq(&self.sites) {
            let (what, found) = ("an adapter to upload", "laid out for another model".to_owned());
            return Err(KernelsError::Unsupported { what, found, allowed: "laid out for this one" }.into());
        }
        for (site, place) in layout.sites().iter().enumerate() {
            let ranks = place.modules.iter().map(|module| module.rank as u32);
            if let Some((module, found)) = ranks.enumerate().find(|(_, rank)| *rank > self.rank_max) {
                return Err(KernelsError::Rank { site, module, found, max: self.rank_max }.into());
            }
        }
        let expected = layout.len() * layout.dtype().bytes();
        if slab.len() != expected {
            let (what, found) = ("an adapter's slab in bytes", slab.len());
            return Err(KernelsError::Shape { what, expected, found }.into());
        }
        let mut memory = self.backend.allocate(layout.dtype(), layout.len())?;
        self.backend.write(&mut memory, 0, slab)?;
        Ok(Uploaded(Arc::new(Adapter::new(memory, layout.clone())?)))
    }
}
