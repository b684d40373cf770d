//! Threads that read and upload adapters beside the engine's loop, which never waits for them.

use std::any::Any;
use std::collections::VecDeque;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use super::{AdapterId, HostAdapter};
use crate::error::Error;
use crate::executor::{Uploaded, Uploader};

/// What is to be done.
#[derive(Clone)]
pub enum Job {
    /// Read an adapter into host memory.
    Load(AdapterId),
    /// Copy one to the device.
    Upload(AdapterId, Arc<HostAdapter>, Arc<dyn Uploader>),
}

/// What came of a job. An error concerns this adapter and nothing else; those who waited for it share it.
pub enum LoaderEvent {
    /// Of a load.
    Loaded(AdapterId, Result<Arc<HostAdapter>, Arc<Error>>, Duration),
    /// Of an upload.
    Uploaded(AdapterId, Result<Uploaded, Arc<Error>>, Duration),
}

/// Reads an adapter: [`Catalog::read`](super::Catalog::read), or a test's.
pub type Read = Box<dyn Fn(AdapterId) -> Result<Arc<HostAdapter>, Error> + Send + Sync>;

/// Is told of each job that was done, on the thread that did it.
pub type Notify = Box<dyn Fn(LoaderEvent) + Send + Sync>;

/// How many threads, and how many jobs wait for one.
#[derive(Clone, Copy, Debug)]
pub struct LoaderOptions {
    /// At least one.
    pub threads: usize,
    /// Jobs that wait at most.
    pub waiting_max: usize,
}

/// The threads. Dropping this lets each finish the job it has, forgets the jobs that wait, and joins.
pub struct Loader {
    shared: Arc<Shared>,
    threads: Vec<JoinHandle<()>>,
}

struct Shared {
    queue: Mutex<Queue>,
    changed: Condvar,
    waiting_max: usize,
    read: Read,
    notify: Notify,
}

#[derive(Default)]
struct Queue {
    /// First: whoever waits for one has waited for its load as well.
    uploads: VecDeque<Job>,
    loads: VecDeque<Job>,
    is_closed: bool,
}

impl Loader {
    /// Starts the threads.
    pub fn start(options: LoaderOptions, read: Read, notify: Notify) -> Result<Self, Error> {
        let LoaderOptions { threads, waiting_max } = options;
        let queue = Mutex::new(Queue::default());
        let shared = Arc::new(Shared { queue, changed: Condvar::new(), waiting_max, read, notify });
        let mut loader = Self { shared, threads: Vec::new() };
        for number in 0..threads.max(1) {
            let shared = Arc::clone(&loader.shared);
            let thread = std::thread::Builder::new().name(format!("loam-loader-{number}")).spawn(move || shared.work());
            let stopped = |e| Error::Stopped { reason: format!("no thread for loading adapters: {e}") };
            loader.threads.push(thread.map_err(stopped)?);
        }
        Ok(loader)
    }

    /// Puts a job where a thread will find it. With as many waiting as may, it is given back.
    pub fn submit(&self, job: Job) -> Result<(), Job> {
        let mut queue = self.shared.lock();
        if queue.uploads.len() + queue.loads.len() >= self.shared.waiting_max {
            return Err(job);
        }
        match &job {
            Job::Load(_) => queue.loads.push_back(job),
            Job::Upload(..) => queue.uploads.push_back(job),
        }
        drop(queue);
        self.shared.changed.notify_one();
        Ok(())
    }

    /// Jobs that wait.
    pub fn waiting(&self) -> usize {
        let queue = self.shared.lock();
        queue.uploads.len() + queue.loads.len()
    }
}

impl Drop for Loader {
    fn drop(&mut self) {
        let mut queue = self.shared.lock();
        *queue = Queue { is_closed: true, ..Queue::default() };
        drop(queue);
        self.shared.changed.notify_all();
        for thread in self.threads.drain(..) {
            // A thread has nothing to say that its jobs did not.
            let _ = thread.join();
        }
    }
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, Queue> {
        self.queue.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn work(&self) {
        while let Some(job) = self.next() {
            let event = self.run(job);
            // A listener that panics has lost this event; the thread is there for the next.
            let _ = catch_unwind(AssertUnwindSafe(|| (self.notify)(event)));
        }
    }

    fn next(&self) -> Option<Job> {
        let mut queue = self.lock();
        loop {
            if queue.is_closed {
                return None;
            }
            let first = queue.uploads.pop_front();
            if let Some(job) = first.or_else(|| queue.loads.pop_front()) {
                return Some(job);
            }
            queue = self.changed.wait(queue).unwrap_or_else(PoisonError::into_inner);
        }
    }

    fn run(&self, job: Job) -> LoaderEvent {
        let start = Instant::now();
        match job {
            Job::Load(id) => {
                let result = guarded(|| (self.read)(id));
                LoaderEvent::Loaded(id, result, start.elapsed())
            }
            Job::Upload(id, adapter, uploader) => {
                let result = guarded(|| uploader.upload(&adapter));
                LoaderEvent::Uploaded(id, result, start.elapsed())
            }
        }
    }
}

/// Runs a job; a panic in it is its error.
fn guarded<T>(job: impl FnOnce() -> Result<T, Error>) -> Result<T, Arc<Error>> {
    let panicked = |panic: Box<dyn Any + Send>| {
        let text = panic.downcast_ref::<&str>().copied().or_else(|| panic.downcast_ref::<String>().map(String::as_str));
        Err(Error::AdapterPanic { reason: text.unwrap_or("no reason given").to_owned() })
    };
    catch_unwind(AssertUnwindSafe(job)).unwrap_or_else(panicked).map_err(Arc::new)
}
