//! Adapters on their way: reads and uploads go to the loader's threads, and what came of them comes back as messages.

use std::sync::Arc;
use std::time::{Duration, Instant};

use super::Worker;
use super::inbox::RequestId;
use crate::adapter::pool::PoolAction;
use crate::adapter::{AdapterId, HostAdapter, Job, LoaderEvent};
use crate::error::Error;
use crate::event::{Event, Failure};
use crate::recorder::RecordFailed;

impl Worker {
    /// Does what the pool decided.
    pub(super) fn act(&mut self) {
        for action in self.scheduler.actions() {
            match action {
                PoolAction::Load(adapter) => match self.state.host.get(&adapter) {
                    // It was read for a request before anybody knew what it is.
                    Some(host) => self.scheduler.adapter_loaded(adapter, host.slab.len()),
                    None => self.read_adapter(adapter),
                },
                PoolAction::Upload { adapter, .. } => {
                    let host = self.state.host.get(&adapter).expect("the pool uploads what it holds in host memory");
                    let job = Job::Upload(adapter, Arc::clone(host), self.executor.uploader());
                    self.state.jobs.push_back(job);
                }
                PoolAction::DropHost(adapter) => {
                    self.state.host.remove(&adapter);
                }
            }
        }
        self.hand_jobs_on();
    }

    /// Has an adapter read, unless it is there or on its way.
    pub(super) fn read_adapter(&mut self, adapter: AdapterId) {
        if !self.state.host.contains_key(&adapter) && self.state.reading.insert(adapter) {
            self.state.jobs.push_back(Job::Load(adapter));
        }
    }

    /// Hands jobs to the loader, as many as it takes.
    pub(super) fn hand_jobs_on(&mut self) {
        while let Some(job) = self.state.jobs.pop_front() {
            if let Err(job) = self.loader.submit(job) {
                self.state.jobs.push_front(job);
                return;
            }
        }
    }

    /// Forgets adapters that have no name and no user any more.
    pub(super) fn forget_the_retired(&mut self) {
        for adapter in self.catalog.take_retired() {
            self.scheduler.forget(adapter);
        }
    }

    /// An adapter was read or copied, or could not be.
    pub(super) fn adapter_moved(&mut self, event: LoaderEvent) -> Result<(), RecordFailed> {
        match event {
            LoaderEvent::Loaded(adapter, outcome, took) => {
                self.state.reading.remove(&adapter);
                self.time_load(took, outcome.is_ok());
                match outcome {
                    Ok(host) => self.adapter_read(adapter, host),
                    Err(error) => self.adapter_failed(adapter, error),
                }
            }
            LoaderEvent::Uploaded(adapter, Ok(uploaded), _) => {
                self.state.uploaded.insert(adapter, uploaded);
                self.scheduler.adapter_uploaded(adapter);
                Ok(())
            }
            LoaderEvent::Uploaded(adapter, Err(error), _) => self.adapter_failed(adapter, error),
        }
    }

    fn adapter_read(&mut self, adapter: AdapterId, host: Arc<HostAdapter>) -> Result<(), RecordFailed> {
        let (generation, bytes) = (host.generation, host.slab.len());
        for admitted in self.state.unread.values_mut() {
            let uses = admitted.adapters.iter_mut().filter(|mixed| mixed.id == adapter);
            uses.for_each(|mixed| mixed.generation = Some(generation));
        }
        self.state.host.insert(adapter, host);
        self.scheduler.adapter_loaded(adapter, bytes);
        self.begin_read(adapter)
    }

    /// Begins the requests that waited for this adapter alone.
    fn begin_read(&mut self, adapter: AdapterId) -> Result<(), RecordFailed> {
        let waited = |request: &RequestId, state: &super::State| {
            let admitted = &state.unread[request];
            admitted.adapters.iter().any(|mixed| mixed.id == adapter) && admitted.unread().is_empty()
        };
        let ready: Vec<RequestId> =
            self.state.unread.keys().filter(|request| waited(request, &self.state)).copied().collect();
        for request in ready {
            let admitted = self.state.unread.remove(&request).expect("it was just found");
            self.begin(admitted)?;
        }
        Ok(())
    }

    /// The failure stays with the requests that asked for this adapter.
    fn adapter_failed(&mut self, adapter: AdapterId, error: Arc<Error>) -> Result<(), RecordFailed> {
        let failure = Failure::Adapter(error);
        let asked = |state: &super::State| -> Vec<RequestId> {
            let uses = state.unread.iter().filter(|(_, it)| it.adapters.iter().any(|mixed| mixed.id == adapter));
            uses.map(|(request, _)| *request).collect()
        };
        for request in asked(&self.state) {
            let admitted = self.state.unread.remove(&request).expect("it was just found");
            admitted.outlet.send(Event::Failed(failure.clone()));
        }
        for sequence in self.scheduler.adapter_failed(adapter) {
            if let Some((request, _)) = self.state.choices.get(&sequence).copied() {
                self.fail(request, &failure)?;
            }
        }
        Ok(())
    }

    fn time_load(&mut self, took: Duration, succeeded: bool) {
        let ms = u64::try_from(took.as_millis()).unwrap_or(u64::MAX);
        let loads = &mut self.state.metrics.loads;
        loads.count += u64::from(succeeded);
        loads.failed += u64::from(!succeeded);
        loads.ms_sum += ms;
        loads.ms_max = loads.ms_max.max(ms);
    }

    /// When the first of the requests that wait for a read runs out of time.
    pub(super) fn next_deadline_ms(&self) -> Option<u64> {
        let deadlines = self.state.unread.values().filter_map(|admitted| admitted.deadline);
        let since_began = |at: Instant| at.saturating_duration_since(self.state.began).as_millis();
        deadlines.min().map(|at| u64::try_from(since_began(at)).unwrap_or(u64::MAX))
    }

    /// Ends the requests that waited for a read for too long.
    pub(super) fn end_the_late(&mut self) {
        let now = Instant::now();
        let late = |admitted: &super::Admitted| admitted.deadline.is_some_and(|deadline| deadline <= now);
        let late: Vec<RequestId> =
            self.state.unread.iter().filter(|(_, it)| late(it)).map(|(request, _)| *request).collect();
        for request in late {
            let admitted = self.state.unread.remove(&request).expect("it was just found");
            admitted.outlet.send(Event::Failed(Failure::Deadline));
        }
    }
}
