//! Loading happens beside the engine's loop: in bounds, uploads first, and a failure is of one adapter alone.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use loam_engine::Error;
use loam_engine::adapter::{
    AdapterId, Catalog, CatalogOptions, Expected, HostAdapter, Job, Loader, LoaderEvent, LoaderOptions, NoBaseTensors,
    Read, Source, Way,
};
use loam_engine::executor::{Uploaded, Uploader};

use crate::folder::small_sites;

const PATIENCE: Duration = Duration::from_secs(20);

/// A loader whose events arrive in order of their jobs' ends.
fn loader(threads: usize, waiting_max: usize, read: Read) -> (Loader, Receiver<LoaderEvent>) {
    let (sender, receiver) = channel();
    let sender = Mutex::new(sender);
    let notify = Box::new(move |event| sender.lock().unwrap().send(event).unwrap());
    (Loader::start(LoaderOptions { threads, waiting_max }, read, notify).unwrap(), receiver)
}

fn dummies() -> Catalog {
    let (sites, base) = (Arc::new(small_sites()), Arc::new(NoBaseTensors));
    Catalog::new(CatalogOptions { roots: Vec::new(), way: Way::Any, dummies: true, rank_max: None, sites, base })
        .unwrap()
}

fn any_adapter() -> Arc<HostAdapter> {
    dummies().load("a", &Source::parse("dummy:7").unwrap(), Expected::Anything).unwrap().adapter
}

/// Reads nothing before it is told to.
fn gated() -> (Read, Sender<()>) {
    let (sender, receiver) = channel();
    let (receiver, adapter) = (Mutex::new(receiver), any_adapter());
    let read = move |_| {
        receiver.lock().unwrap().recv_timeout(PATIENCE).expect("the gate is opened in time");
        Ok(Arc::clone(&adapter))
    };
    (Box::new(read), sender)
}

#[derive(Default)]
struct Counting(AtomicUsize);

impl Uploader for Counting {
    fn upload(&self, adapter: &HostAdapter) -> Result<Uploaded, Error> {
        self.0.fetch_add(1, Ordering::SeqCst);
        if adapter.slab.is_empty() {
            return Err(Error::Stopped { reason: "no such device".to_owned() });
        }
        Ok(Uploaded(Arc::new(adapter.slab.len())))
    }
}

#[test]
fn an_adapter_is_loaded_and_uploaded() {
    let catalog = dummies();
    let id = catalog.register("a", &Source::parse("dummy:1").unwrap()).unwrap();
    let reading = catalog.clone();
    let (loader, events) = loader(2, 8, Box::new(move |id| reading.read(id)));
    loader.submit(Job::Load(id)).ok().unwrap();
    let Ok(LoaderEvent::Loaded(loaded, Ok(adapter), _)) = events.recv_timeout(PATIENCE) else { panic!("not loaded") };
    assert_eq!((loaded, Some(adapter.generation)), (id, catalog.generation(id)));
    let uploader = Arc::new(Counting::default());
    let len = adapter.slab.len();
    loader.submit(Job::Upload(id, adapter, Arc::clone(&uploader) as Arc<dyn Uploader>)).ok().unwrap();
    let Ok(LoaderEvent::Uploaded(_, Ok(uploaded), _)) = events.recv_timeout(PATIENCE) else { panic!("not uploaded") };
    assert_eq!(uploaded.0.downcast_ref::<usize>(), Some(&len));
}

#[test]
fn a_failure_is_of_one_adapter_alone() {
    let adapter = any_adapter();
    let read = move |AdapterId(number)| match number {
        1 => Err(Error::AdapterUnknown { name: "one".to_owned() }),
        2 => panic!("number {number} is cursed"),
        _ => Ok(Arc::clone(&adapter)),
    };
    let (loader, events) = loader(1, 8, Box::new(read));
    for number in [1, 2, 3] {
        loader.submit(Job::Load(AdapterId(number))).ok().unwrap();
    }
    let mut texts = Vec::new();
    for _ in 0..3 {
        let Ok(LoaderEvent::Loaded(id, result, _)) = events.recv_timeout(PATIENCE) else { panic!("no event") };
        texts.push((id.0, result.map(|_| ()).map_err(|error| error.to_string())));
    }
    let unknown = "no adapter is called `one`".to_owned();
    let panicked = "a thread panicked over an adapter: number 2 is cursed".to_owned();
    assert_eq!(texts, [(1, Err(unknown)), (2, Err(panicked)), (3, Ok(()))]);
}

#[test]
fn a_failed_upload_says_why() {
    let (loader, events) = loader(1, 8, Box::new(|_| Ok(any_adapter())));
    let adapter = any_adapter();
    let empty = HostAdapter { generation: adapter.generation, layout: adapter.layout.clone(), slab: Vec::new() };
    loader.submit(Job::Upload(AdapterId(1), Arc::new(empty), Arc::new(Counting::default()))).ok().unwrap();
    let Ok(LoaderEvent::Uploaded(AdapterId(1), Err(error), _)) = events.recv_timeout(PATIENCE) else {
        panic!("no error")
    };
    assert!(error.to_string().contains("no such device"));
}

#[test]
fn a_full_queue_gives_the_job_back() {
    let (read, gate) = gated();
    let (loader, events) = loader(1, 2, read);
    loader.submit(Job::Load(AdapterId(0))).ok().unwrap();
    while loader.waiting() > 0 {
        std::thread::yield_now();
    }
    loader.submit(Job::Load(AdapterId(1))).ok().unwrap();
    loader.submit(Job::Load(AdapterId(2))).ok().unwrap();
    let Err(Job::Load(AdapterId(3))) = loader.submit(Job::Load(AdapterId(3))) else { panic!("it was taken") };
    gate.send(()).unwrap();
    events.recv_timeout(PATIENCE).unwrap();
    while loader.waiting() > 1 {
        std::thread::yield_now();
    }
    loader.submit(Job::Load(AdapterId(3))).ok().unwrap();
    for _ in 0..3 {
        gate.send(()).unwrap();
    }
    for _ in 0..3 {
        assert!(matches!(events.recv_timeout(PATIENCE), Ok(LoaderEvent::Loaded(_, Ok(_), _))));
    }
}

#[test]
fn uploads_come_before_loads() {
    let (read, gate) = gated();
    let (loader, events) = loader(1, 8, read);
    loader.submit(Job::Load(AdapterId(0))).ok().unwrap();
    while loader.waiting() > 0 {
        std::thread::yield_now();
    }
    loader.submit(Job::Load(AdapterId(1))).ok().unwrap();
    loader.submit(Job::Upload(AdapterId(2), any_adapter(), Arc::new(Counting::default()))).ok().unwrap();
    gate.send(()).unwrap();
    gate.send(()).unwrap();
    let order = [(); 3].map(|()| match events.recv_timeout(PATIENCE).unwrap() {
        LoaderEvent::Loaded(id, ..) | LoaderEvent::Uploaded(id, ..) => id.0,
    });
    assert_eq!(order, [0, 2, 1]);
}

/// A load that takes long holds up its own thread only.
#[test]
fn another_thread_goes_on_meanwhile() {
    let (read, gate) = gated();
    let (loader, events) = loader(2, 8, read);
    loader.submit(Job::Load(AdapterId(0))).ok().unwrap();
    loader.submit(Job::Upload(AdapterId(1), any_adapter(), Arc::new(Counting::default()))).ok().unwrap();
    assert!(matches!(events.recv_timeout(PATIENCE), Ok(LoaderEvent::Uploaded(AdapterId(1), Ok(_), _))));
    gate.send(()).unwrap();
    assert!(matches!(events.recv_timeout(PATIENCE), Ok(LoaderEvent::Loaded(AdapterId(0), Ok(_), _))));
}

#[test]
fn dropping_it_ends_the_job_at_hand_and_forgets_the_rest() {
    let (read, gate) = gated();
    let (loader, events) = loader(1, 8, read);
    for number in 0..4 {
        loader.submit(Job::Load(AdapterId(number))).ok().unwrap();
    }
    while loader.waiting() > 3 {
        std::thread::yield_now();
    }
    let (sender, dropping) = channel();
    let dropped = std::thread::spawn(move || {
        sender.send(()).unwrap();
        drop(loader);
    });
    dropping.recv().unwrap();
    // Long enough for the drop to begin; it cannot end before the job at hand does.
    std::thread::sleep(Duration::from_millis(200));
    assert!(!dropped.is_finished());
    gate.send(()).unwrap();
    dropped.join().unwrap();
    assert_eq!(events.iter().count(), 1);
}

#[test]
fn a_listener_that_panics_hears_of_the_next_job() {
    let adapter = any_adapter();
    let (sender, receiver) = channel();
    let sender = Mutex::new(sender);
    let notify = move |event| match event {
        LoaderEvent::Loaded(AdapterId(0), ..) => panic!("not this one"),
        LoaderEvent::Loaded(id, ..) | LoaderEvent::Uploaded(id, ..) => sender.lock().unwrap().send(id.0).unwrap(),
    };
    let read: Read = Box::new(move |_| Ok(Arc::clone(&adapter)));
    let loader = Loader::start(LoaderOptions { threads: 1, waiting_max: 8 }, read, Box::new(notify)).unwrap();
    loader.submit(Job::Load(AdapterId(0))).ok().unwrap();
    loader.submit(Job::Load(AdapterId(1))).ok().unwrap();
    assert_eq!(receiver.recv_timeout(PATIENCE), Ok(1));
}
