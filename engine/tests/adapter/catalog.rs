//! Names come and go; what they stand for does not change under whoever uses it.

use std::fs;
use std::path::PathBuf;
use std::sync::{Arc, Mutex};
use std::time::Instant;

use loam_engine::Error;
use loam_engine::adapter::{
    AdapterId, BaseTensor, BaseTensors, Catalog, CatalogOptions, Expected, Generation, Loaded, NAME_BYTES_MAX,
    NoBaseTensors, Resolved, Source, Way,
};
use loam_kernels::layout::DType;
use tempfile::TempDir;

use crate::folder::{Made, config, q_tensors, refusal, safetensors, small_sites, write};

/// A catalog over a folder of its own.
struct World {
    top: TempDir,
    catalog: Catalog,
}

impl World {
    fn new() -> Self {
        let top = TempDir::new().unwrap();
        let (sites, base) = (Arc::new(small_sites()), Arc::new(NoBaseTensors));
        let roots = vec![top.path().to_owned()];
        let catalog =
            Catalog::new(CatalogOptions { roots, way: Way::Any, dummies: true, rank_max: None, sites, base }).unwrap();
        Self { top, catalog }
    }

    /// Writes an adapter whose values depend on `version`.
    fn write(&self, folder: &str, version: u8) -> Source {
        let mut tensors = q_tensors("BF16");
        tensors[0].bytes[0] = version;
        // Under another name first: what is open is not written over.
        let path = self.top.path().join(folder);
        let _ = fs::remove_dir_all(&path);
        write(&path, &config(""), &safetensors(&tensors));
        Source::Folder(PathBuf::from(folder))
    }

    fn load(&self, name: &str, source: &Source) -> Loaded {
        self.catalog.load(name, source, Expected::Anything).unwrap()
    }

    fn generation(&self, name: &str) -> Option<Generation> {
        self.catalog.find(name).unwrap().generation
    }
}

#[track_caller]
fn check_conflict<T>(result: Result<T, Error>, expected: &str, found: &str) {
    match result {
        Err(Error::AdapterConflict { expected: e, found: f, .. }) => {
            assert_eq!((e.as_str(), f.as_str()), (expected, found))
        }
        Err(other) => panic!("{other}"),
        Ok(_) => panic!("it was done"),
    }
}

#[test]
fn a_registered_name_is_read_when_it_is_used() {
    let world = World::new();
    let source = world.write("one", 1);
    let id = world.catalog.register("a", &source).unwrap();
    assert_eq!(world.generation("a"), None);
    let Resolved { id: resolved, generation, reference } = world.catalog.resolve("a").unwrap();
    assert_eq!((resolved, generation, reference.id()), (id, None, id));
    let adapter = world.catalog.read(id).unwrap();
    assert_eq!(world.catalog.generation(id), Some(adapter.generation));
    assert_eq!(world.catalog.resolve("a").unwrap().generation, Some(adapter.generation));
}

#[test]
fn registering_again_changes_nothing() {
    let world = World::new();
    let (one, two) = (world.write("one", 1), world.write("two", 2));
    let id = world.catalog.register("a", &one).unwrap();
    assert_eq!(world.catalog.register("a", &one).unwrap(), id);
    check_conflict(world.catalog.register("a", &two), "nothing", "what was not read yet");
    let generation = world.catalog.read(id).unwrap().generation;
    assert_eq!(world.catalog.register("a", &one).unwrap(), id);
    // Another name for the same files is another name for the same content.
    assert_eq!(world.catalog.register("b", &one).unwrap(), id);
    check_conflict(world.catalog.register("a", &two), "nothing", &generation.to_string());
    // Other files in the same place are something else.
    world.write("one", 3);
    assert_ne!(world.catalog.register("c", &one).unwrap(), id);
    check_conflict(world.catalog.register("a", &one), "nothing", &generation.to_string());
}

#[test]
fn what_cannot_be_loaded_is_not_registered() {
    let world = World::new();
    let bad = world.top.path().join("bad");
    write(&bad, &config(r#""use_dora": true"#), &safetensors(&q_tensors("BF16")));
    let refused = refusal(world.catalog.register("a", &Source::Folder(bad.clone())));
    assert!(refused.contains("`use_dora`"), "{refused}");
    write(&bad, &config(r#""target_modules": ["c_attn"]"#), &safetensors(&q_tensors("BF16")));
    let refused = refusal(world.catalog.register("a", &Source::Folder(bad.clone())));
    assert!(refused.contains("`target_modules`"), "{refused}");
    // Its tensors are looked at when they are loaded.
    write(&bad, &config(r#""r": 3"#), &safetensors(&q_tensors("BF16")));
    let id = world.catalog.register("a", &Source::Folder(bad.clone())).unwrap();
    assert!(refusal(world.catalog.read(id)).contains("shape"));
    assert!(refusal(world.catalog.load("b", &Source::Folder(bad), Expected::Anything)).contains("shape"));
    assert_eq!(world.catalog.list().len(), 1);
}

#[test]
fn loading_again_changes_nothing() {
    let world = World::new();
    let source = world.write("one", 1);
    let first = world.load("a", &source);
    assert!(first.changed);
    let again = world.load("a", &source);
    assert_eq!((again.id, again.changed), (first.id, false));
    // Neither does the same content from elsewhere, nor an answer that was lost.
    let copy = world.write("copy", 1);
    assert_eq!(world.load("a", &copy).id, first.id);
    let retried = world.catalog.load("a", &copy, Expected::Nothing).unwrap();
    assert_eq!((retried.id, retried.changed), (first.id, false));
}

#[test]
fn a_name_changes_only_from_what_was_expected() {
    let world = World::new();
    let (one, two, three) = (world.write("one", 1), world.write("two", 2), world.write("three", 3));
    let first = world.catalog.load("a", &one, Expected::Nothing).unwrap().adapter.generation;
    check_conflict(world.catalog.load("a", &two, Expected::Nothing), "nothing", &first.to_string());
    check_conflict(world.catalog.load("b", &two, Expected::Generation(first)), &first.to_string(), "nothing");
    let second = world.catalog.load("a", &two, Expected::Generation(first)).unwrap().adapter.generation;
    // Whoever comes second with the same expectation has lost.
    let lost = world.catalog.load("a", &three, Expected::Generation(first));
    check_conflict(lost, &first.to_string(), &second.to_string());
    check_conflict(world.catalog.unload("a", Expected::Generation(first)), &first.to_string(), &second.to_string());
    assert_eq!(world.generation("a"), Some(second));
    world.catalog.unload("a", Expected::Generation(second)).unwrap();
    assert!(matches!(world.catalog.resolve("a"), Err(Error::AdapterUnknown { name }) if name == "a"));
}

#[test]
fn one_of_many_that_swap_at_once_wins() {
    let world = World::new();
    let first = world.load("a", &world.write("one", 1)).adapter.generation;
    let sources: Vec<Source> = (2..8).map(|version| world.write(&version.to_string(), version)).collect();
    let swap = |source| world.catalog.load("a", source, Expected::Generation(first)).is_ok();
    let won = std::thread::scope(|scope| {
        let threads: Vec<_> = sources.iter().map(|source| scope.spawn(move || swap(source))).collect();
        threads.into_iter().map(|thread| usize::from(thread.join().unwrap())).sum::<usize>()
    });
    assert_eq!(won, 1);
}

#[test]
fn requests_in_flight_keep_what_they_began_with() {
    let world = World::new();
    let source = world.write("one", 1);
    let old = world.load("a", &source);
    let in_flight = world.catalog.resolve("a").unwrap();
    let new = world.load("a", &world.write("two", 2));
    assert_ne!(new.id, old.id);
    assert_eq!((old.before, new.before), (None, Some(old.id)));
    assert_eq!(world.catalog.resolve("a").unwrap().id, new.id);
    // Evicted meanwhile, and read again: it is still the old one.
    assert_eq!(world.catalog.read(in_flight.id).unwrap().generation, old.adapter.generation);
    assert_eq!(world.catalog.take_retired(), []);
    let twin = in_flight.reference.clone();
    drop(in_flight);
    assert_eq!(world.catalog.take_retired(), []);
    drop(twin);
    assert_eq!(world.catalog.take_retired(), [old.id]);
    assert!(world.catalog.read(old.id).is_err());
}

#[test]
fn an_unloaded_name_is_gone_for_new_requests_only() {
    let world = World::new();
    let loaded = world.load("a", &world.write("one", 1));
    let in_flight = world.catalog.resolve("a").unwrap();
    assert_eq!(world.catalog.unload("a", Expected::Anything).unwrap(), loaded.id);
    assert!(world.catalog.resolve("a").is_err());
    assert!(world.catalog.resolve_generation(&loaded.adapter.generation).is_err());
    assert!(world.catalog.unload("a", Expected::Anything).is_err());
    assert_eq!(world.catalog.read(loaded.id).unwrap().generation, loaded.adapter.generation);
    // The same content under a name again, while it is in use: the same number.
    assert_eq!(world.load("b", &Source::Folder("one".into())).id, loaded.id);
    drop(in_flight);
    assert_eq!(world.catalog.take_retired(), []);
    world.catalog.unload("b", Expected::Anything).unwrap();
    assert_eq!(world.catalog.take_retired(), [loaded.id]);
    // And when it is not: a number is never used again.
    assert_ne!(world.load("c", &Source::Folder("one".into())).id, loaded.id);
}

#[test]
fn names_with_one_content_share_it() {
    let world = World::new();
    let one = world.load("a", &world.write("one", 1));
    let copy = world.load("b", &world.write("copy", 1));
    assert_eq!((copy.id, copy.changed), (one.id, true));
    let generation = one.adapter.generation;
    assert_eq!(world.catalog.resolve_generation(&generation).unwrap().id, one.id);
    world.catalog.unload("a", Expected::Anything).unwrap();
    assert_eq!(world.catalog.take_retired(), []);
    assert_eq!(world.catalog.resolve("b").unwrap().generation, Some(generation));
}

/// Two folders were registered, and hold the same: that is known once both were read, and then they are one.
#[test]
fn equal_contents_that_were_registered_apart_become_one() {
    let world = World::new();
    let one = world.catalog.register("a", &world.write("one", 1)).unwrap();
    let two = world.catalog.register("b", &world.write("two", 1)).unwrap();
    assert_ne!(one, two);
    let in_flight = world.catalog.resolve("b").unwrap();
    world.catalog.read(one).unwrap();
    world.catalog.pin("b").unwrap();
    world.catalog.read(two).unwrap();
    assert_eq!(world.catalog.resolve("b").unwrap().id, one);
    assert_eq!((world.catalog.is_pinned(one), world.catalog.is_pinned(two)), (true, false));
    assert_eq!(world.catalog.generation(in_flight.id), world.catalog.generation(one));
    drop(in_flight);
    assert_eq!(world.catalog.take_retired(), [two]);
}

/// Evicted from host memory and read again, a content must be what it was.
#[test]
fn files_that_changed_are_never_taken_for_what_was_read() {
    let world = World::new();
    let source = world.write("one", 1);
    let id = world.catalog.register("a", &source).unwrap();
    // Before the first reading nothing is promised: what is read first is what it is.
    world.write("one", 2);
    let generation = world.catalog.read(id).unwrap().generation;
    world.write("one", 3);
    match world.catalog.read(id) {
        Err(Error::AdapterChanged { origin, expected, found }) => {
            assert_eq!((origin.as_str(), expected), ("one", generation));
            assert_ne!(found, generation);
        }
        other => panic!("{:?}", other.map(|adapter| adapter.generation)),
    }
    assert_eq!(world.generation("a"), Some(generation));
    // Loaded again under its name, it is something new; put back, it is what it was.
    let new = world.load("a", &source);
    assert!(new.changed && new.id != id);
    world.write("one", 2);
    assert!(world.catalog.read(new.id).is_err());
    assert_eq!(world.load("a", &source).adapter.generation, generation);
}

/// A base that writes to an adapter's file when it is asked about its head: then the adapter is half-way loaded.
struct Meddling {
    file: PathBuf,
    head: Vec<u8>,
}

impl BaseTensors for Meddling {
    fn tensor(&self, _name: &str) -> Option<BaseTensor<'_>> {
        // Clocks of file systems have steps of some milliseconds.
        std::thread::sleep(std::time::Duration::from_millis(30));
        let bytes = fs::read(&self.file).unwrap();
        fs::write(&self.file, bytes).unwrap();
        Some(BaseTensor { dtype: DType::F32, shape: &[20, 8], bytes: &self.head })
    }
}

#[test]
fn a_file_that_is_written_while_it_is_read_is_not_loaded() {
    for name in ["adapter_config.json", "adapter_model.safetensors"] {
        let folder = TempDir::new().unwrap();
        let head = Made::new("base_model.model.lm_head.weight", "F32", &[20, 8]);
        write(folder.path(), &config(""), &safetensors(&[q_tensors("BF16"), vec![head.clone()]].concat()));
        let base = Arc::new(Meddling { file: folder.path().join(name), head: head.bytes });
        let sites = Arc::new(small_sites());
        let options = CatalogOptions { roots: Vec::new(), way: Way::Any, dummies: false, rank_max: None, sites, base };
        let catalog = Catalog::new(options).unwrap();
        let source = Source::Folder(folder.path().to_owned());
        let torn = refusal(catalog.load("a", &source, Expected::Anything));
        assert!(torn.contains("changed while it was read"), "{torn}");
        assert!(catalog.list().is_empty());
    }
}

#[test]
fn a_content_is_read_from_where_it_was_last_found() {
    let world = World::new();
    let id = world.load("a", &world.write("one", 1)).id;
    world.load("a", &world.write("moved", 1));
    fs::remove_dir_all(world.top.path().join("one")).unwrap();
    world.catalog.read(id).unwrap();
    fs::remove_dir_all(world.top.path().join("moved")).unwrap();
    assert!(refusal(world.catalog.read(id)).contains("moved/adapter_config.json"));
}

/// Two names of one content: what becomes of one and its folder is nothing to the other, read before or only registered.
#[test]
fn a_name_outlives_the_folder_of_another() {
    for load in [true, false] {
        let world = World::new();
        let give = |name: &str, source: &Source| match load {
            true => world.load(name, source).id,
            false => world.catalog.register(name, source).unwrap(),
        };
        let (own, copy) = (world.write("own", 1), world.write("copy", 1));
        let other = world.write("other", 1);
        world.catalog.read(give("a", &own)).unwrap();
        world.catalog.read(give("b", &copy)).unwrap();
        world.catalog.read(give("c", &other)).unwrap();
        let id = world.catalog.find("a").unwrap().id;
        let lies = |name: &str| world.catalog.find(name).unwrap().source.to_string();
        assert_eq!([lies("a"), lies("b"), lies("c")], ["own", "copy", "other"]);
        // Its folder goes while its name is there; then the name too, which leaves nothing to look at there.
        fs::remove_dir_all(world.top.path().join("other")).unwrap();
        world.catalog.read(id).unwrap();
        world.catalog.unload("c", Expected::Anything).unwrap();
        world.catalog.unload("b", Expected::Anything).unwrap();
        assert_eq!(world.catalog.read(id).unwrap().generation, world.generation("a").unwrap());
        fs::remove_dir_all(world.top.path().join("own")).unwrap();
        let told = refusal(world.catalog.read(id));
        assert!(told.contains("own/adapter_config.json"), "{told}");
    }
}

#[test]
fn a_name_registered_before_it_is_loaded_keeps_its_number() {
    let world = World::new();
    let source = world.write("one", 1);
    let id = world.catalog.register("a", &source).unwrap();
    let loaded = world.catalog.load("a", &source, Expected::Nothing).unwrap();
    assert_eq!((loaded.id, loaded.changed), (id, false));
    assert_eq!(world.generation("a"), Some(loaded.adapter.generation));
}

#[test]
fn pins_are_of_names_and_outlive_reloads() {
    let world = World::new();
    let old = world.load("a", &world.write("one", 1)).id;
    world.catalog.pin("a").unwrap();
    world.catalog.pin("a").unwrap();
    assert!(world.catalog.is_pinned(old) && world.catalog.find("a").unwrap().pinned);
    let in_flight = world.catalog.resolve("a").unwrap();
    let new = world.load("a", &world.write("two", 2)).id;
    assert_eq!((world.catalog.is_pinned(old), world.catalog.is_pinned(new)), (false, true));
    assert_eq!(world.catalog.pinned(), [new]);
    drop(in_flight);
    world.catalog.unpin("a").unwrap();
    assert!(!world.catalog.is_pinned(new));
    world.catalog.pin("a").unwrap();
    world.catalog.unload("a", Expected::Anything).unwrap();
    assert!(!world.catalog.is_pinned(new));
    assert!(world.catalog.pin("a").is_err() && world.catalog.unpin("a").is_err());
}

#[test]
fn names_are_listed_in_order() {
    let world = World::new();
    let source = world.write("one", 1);
    for name in ["b", "org/c", "a"] {
        world.catalog.register(name, &source).unwrap();
    }
    let _in_flight = (world.catalog.resolve("a").unwrap(), world.catalog.resolve("b").unwrap());
    let listed = world.catalog.list();
    assert_eq!(listed.iter().map(|listed| listed.name.as_str()).collect::<Vec<_>>(), ["a", "b", "org/c"]);
    assert!(listed.iter().all(|listed| listed.references == 2 && listed.source.to_string() == "one"));
}

#[test]
fn names_are_checked() {
    let world = World::new();
    let source = world.write("one", 1);
    let long = "x".repeat(NAME_BYTES_MAX + 1);
    for name in ["", " a", "a ", "..", "../a", "a/../b", "a\0", "a\nb", "\u{85}", "a,b", &long] {
        for refused in [
            refusal(world.catalog.register(name, &source)),
            refusal(world.catalog.load(name, &source, Expected::Anything)),
        ] {
            assert!(refused.starts_with("`name` is "), "{refused}");
        }
    }
    for name in ["a", "org/model-v1.2", "\u{e9}t\u{e9}", "a b", &long[1..]] {
        world.catalog.register(name, &source).unwrap();
    }
}

#[test]
fn dummies_are_made_where_they_are_allowed() {
    let world = World::new();
    let load = |text: &str| world.load("a", &Source::parse(text).unwrap());
    let first = load("dummy:1");
    assert_eq!(load("dummy:1:16:all-linear").id, first.id);
    assert!(load("dummy:2").changed);
    let some = load("dummy:1:4:q_proj,embed_tokens");
    let ranks: Vec<usize> = some.adapter.layout.sites().iter().map(|site| site.rank).collect();
    assert_eq!(ranks, [4, 0, 0, 0, 4, 0, 0, 0, 4, 0, 0, 0, 0, 4]);
    assert!(first.adapter.slab.iter().any(|byte| *byte != 0));
    let values = first.adapter.slab.chunks_exact(2).map(|b| half::bf16::from_le_bytes([b[0], b[1]]).to_f32());
    assert!(values.clone().all(|value| value.abs() < 1.0) && values.clone().any(|value| value < 0.0));

    let refused = refusal(world.catalog.register("a", &Source::parse("dummy:1:4:c_attn").unwrap()));
    assert!(refused.contains("`target_modules`"), "{refused}");
    for text in ["dummy:", "dummy:x", "dummy:-1", "dummy:1:0", "dummy:1:257", "dummy:1:x", ""] {
        assert!(Source::parse(text).is_err(), "{text}");
    }
    let (sites, base) = (Arc::new(small_sites()), Arc::new(NoBaseTensors));
    let options = CatalogOptions { roots: Vec::new(), way: Way::Any, dummies: false, rank_max: None, sites, base };
    let refused = refusal(Catalog::new(options).unwrap().register("a", &Source::parse("dummy:1").unwrap()));
    assert!(refused.contains("makes no dummy adapters"), "{refused}");
}

/// Ten thousand names over a hundred folders: nothing is read. What memory a name costs is measured by `tests/soak`, where
/// no other test of the process takes any meanwhile.
#[test]
fn ten_thousand_names_are_cheap() {
    let world = World::new();
    let sources: Vec<Source> = (0..100).map(|number| world.write(&format!("folder{number}"), number)).collect();
    let start = Instant::now();
    for number in 0..10_000 {
        world.catalog.register(&format!("tenant-{number}/adapter"), &sources[number % 100]).unwrap();
    }
    let elapsed = start.elapsed();
    assert!(elapsed.as_secs() < 20, "{elapsed:?} for 10,000 names");
    assert!(world.catalog.list().iter().all(|listed| listed.generation.is_none()));
    let ids: std::collections::HashSet<AdapterId> = world.catalog.list().iter().map(|listed| listed.id).collect();
    assert_eq!(ids.len(), 100);
}

/// Only what is permitted is used: a refusal changes nothing, and whoever has a generation keeps it.
#[test]
fn what_is_forbidden_is_neither_loaded_nor_begun_with() {
    let world = World::new();
    let (one, two) = (world.write("one", 1), world.write("two", 2));
    let forbidden = Arc::new(Mutex::new(Vec::new()));
    let asked = Arc::clone(&forbidden);
    world.catalog.permit(Box::new(move |generation| match asked.lock().unwrap().contains(generation) {
        true => Err("it is suspended".to_owned()),
        false => Ok(()),
    }));
    let loaded = world.load("a", &one);
    let generation = loaded.adapter.generation;
    let held = world.catalog.resolve("a").unwrap();
    let elsewhere = World::new();
    let other = elsewhere.load("b", &elsewhere.write("two", 2)).adapter.generation;
    *forbidden.lock().unwrap() = vec![generation, other];
    let refused = |error: Option<Error>| {
        let said = error.expect("it is refused").to_string();
        assert!(said.contains("may not be used") && said.contains("it is suspended"), "{said}");
    };
    refused(world.catalog.resolve("a").err());
    refused(world.catalog.resolve_generation(&generation).err());
    refused(world.catalog.load("a", &two, Expected::Anything).err());
    assert_eq!(world.generation("a"), Some(generation), "the name stands for what it did");
    assert!(world.catalog.read(held.id).is_ok(), "what is in use can be read again");
    let id = world.catalog.register("b", &two).unwrap();
    let unread = world.catalog.resolve("b").unwrap();
    refused(world.catalog.read(id).err());
    assert_eq!((unread.generation, world.generation("b")), (None, None));
    forbidden.lock().unwrap().clear();
    assert!(world.catalog.resolve("a").is_ok() && world.catalog.read(id).is_ok());
}

/// A rank above what the engine was opened for is refused by its field, read or registered; one that is within is taken.
#[test]
fn a_greater_rank_is_refused() {
    let world = World::new();
    let source = world.write("a", 1);
    for (rank_max, taken) in [(1, false), (2, true)] {
        let (sites, base) = (Arc::new(small_sites()), Arc::new(NoBaseTensors));
        let (roots, rank_max) = (vec![world.top.path().to_owned()], Some(rank_max));
        let options = CatalogOptions { roots, way: Way::Any, dummies: true, rank_max, sites, base };
        let catalog = Catalog::new(options).unwrap();
        for outcome in
            [catalog.register("a", &source).map(drop), catalog.load("b", &source, Expected::Anything).map(drop)]
        {
            assert_eq!(outcome.is_ok(), taken, "{rank_max:?}: {outcome:?}");
            if let Err(error) = outcome {
                assert!(error.to_string().contains("`r` is 2; it can be at most 1"), "{error}");
            }
        }
    }
}
