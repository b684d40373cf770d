//! Adapters on their way: reads and uploads go to the loader's threads, and what came of them comes back as messages.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::{Duration, Instant};

use super::inbox::RequestId;
use super::{State, Worker};
use crate::adapter::pool::{PoolAction, Tier};
use crate::adapter::{AdapterId, HostAdapter, Job, LoaderEvent};
use crate::error::Error;
use crate::event::{Event, Failure};
use crate::recorder::RecordFailed;

/// Adapters that are read at once, or were and wait to be looked at. What is read ahead of the loop is in no budget yet.
const READS_AHEAD_MAX: usize = 8;

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
                    self.state.uploads.push_back(job);
                }
                PoolAction::DropHost(adapter) => {
                    self.state.ahead_of_pool.remove(&adapter);
                    if let Some(host) = self.state.host.remove(&adapter) {
                        self.state.metrics.adapters.host_bytes -= host.slab.len();
                    }
                }
            }
        }
        self.drop_unwanted();
        self.hand_jobs_on();
    }

    /// Drops what was read for requests that are gone: the pool never asked for it, so it never says when it can go.
    fn drop_unwanted(&mut self) {
        let State { ahead_of_pool, unread, host, metrics, .. } = &mut self.state;
        ahead_of_pool.retain(|adapter| {
            let it = self.scheduler.residency(*adapter);
            let is_the_pools = it.host != Tier::Absent;
            let waits = || unread.values().flat_map(|it| &it.adapters).any(|mixed| mixed.id == *adapter);
            if is_the_pools || it.is_asked_for() || waits() {
                return !is_the_pools;
            }
            if let Some(host) = host.remove(adapter) {
                metrics.adapters.host_bytes -= host.slab.len();
            }
            false
        });
    }

    /// Has an adapter read, unless it is there or on its way.
    pub(super) fn read_adapter(&mut self, adapter: AdapterId) {
        if !self.state.host.contains_key(&adapter) && self.state.reading.insert(adapter) {
            self.state.reads.push_back(adapter);
        }
    }

    /// Hands jobs to the loader, as many as it takes: uploads at once, reads a few at a time.
    pub(super) fn hand_jobs_on(&mut self) {
        while let Some(job) = self.state.uploads.pop_front() {
            if let Err(job) = self.loader.submit(job) {
                self.state.uploads.push_front(job);
                return;
            }
        }
        while self.state.reading.len() - self.state.reads.len() < READS_AHEAD_MAX {
            let Some(adapter) = self.state.reads.pop_front() else { return };
            if self.loader.submit(Job::Load(adapter)).is_err() {
                self.state.reads.push_front(adapter);
                return;
            }
        }
    }

    /// Follows the catalog: which adapters are to stay resident, and which have no name and no user any more.
    pub(super) fn follow_the_catalog(&mut self) {
        if let Some(pinned) = self.catalog.take_pinned() {
            let pinned: BTreeSet<AdapterId> = pinned.into_iter().collect();
            for adapter in self.state.pinned.difference(&pinned) {
                self.scheduler.pin(*adapter, false);
            }
            // A pin for which there is no slot is not made.
            self.state.pinned = pinned.into_iter().filter(|adapter| self.scheduler.pin(*adapter, true)).collect();
        }
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
                    Err(error) => {
                        self.adapter_failed(adapter, error);
                        Ok(())
                    }
                }
            }
            LoaderEvent::Uploaded(adapter, Ok(uploaded), _) => {
                self.state.uploaded.insert(adapter, uploaded);
                self.scheduler.adapter_uploaded(adapter);
                Ok(())
            }
            LoaderEvent::Uploaded(adapter, Err(error), _) => {
                self.adapter_failed(adapter, error);
                Ok(())
            }
        }
    }

    /// Whoever waited for it begins first, so that the pool finds it wanted and keeps it.
    fn adapter_read(&mut self, adapter: AdapterId, host: Arc<HostAdapter>) -> Result<(), RecordFailed> {
        let (generation, bytes) = (host.generation, host.slab.len());
        for admitted in self.state.unread.values_mut() {
            let uses = admitted.adapters.iter_mut().filter(|mixed| mixed.id == adapter);
            uses.for_each(|mixed| mixed.generation = Some(generation));
        }
        self.state.host.insert(adapter, host);
        self.state.ahead_of_pool.insert(adapter);
        let adapters = &mut self.state.metrics.adapters;
        adapters.host_bytes += bytes;
        adapters.host_bytes_max = adapters.host_bytes_max.max(adapters.host_bytes);
        self.begin_read(adapter)?;
        self.scheduler.adapter_loaded(adapter, bytes);
        Ok(())
    }

    /// Begins the requests that waited for this adapter alone.
    fn begin_read(&mut self, adapter: AdapterId) -> Result<(), RecordFailed> {
        let waited = |request: &RequestId, state: &State| {
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
    pub(super) fn adapter_failed(&mut self, adapter: AdapterId, error: Arc<Error>) {
        let failure = Failure::Adapter(error);
        let asked = |state: &State| -> Vec<RequestId> {
            let uses = state.unread.iter().filter(|(_, it)| it.adapters.iter().any(|mixed| mixed.id == adapter));
            uses.map(|(request, _)| *request).collect()
        };
        for request in asked(&self.state) {
            let admitted = self.state.unread.remove(&request).expect("it was just found");
            self.state.metrics.failed += 1;
            admitted.outlet.send(Event::Failed(failure.clone()));
        }
        for sequence in self.scheduler.adapter_failed(adapter) {
            if let Some((request, _)) = self.state.choices.get(&sequence).copied() {
                self.fail(request, &failure);
            }
        }
    }

    /// Counts where a request finds its adapters.
    pub(super) fn count_found(&mut self, admitted: &super::Admitted) {
        for mixed in &admitted.adapters {
            let it = self.scheduler.residency(mixed.id);
            let adapters = &mut self.state.metrics.adapters;
            let found = match (it.device, it.host) {
                (Tier::Ready | Tier::Here, _) => &mut adapters.found_on_device,
                (_, Tier::Here) => &mut adapters.found_in_host,
                _ => &mut adapters.found_nowhere,
            };
            *found += 1;
        }
    }

    fn time_load(&mut self, took: Duration, succeeded: bool) {
        let ms = u64::try_from(took.as_millis()).unwrap_or(u64::MAX);
        let loads = &mut self.state.metrics.loads;
        loads.count += u64::from(succeeded);
        loads.failed += u64::from(!succeeded);
        loads.micros_sum += u64::try_from(took.as_micros()).unwrap_or(u64::MAX);
        loads.ms_sum = loads.micros_sum / 1000;
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
