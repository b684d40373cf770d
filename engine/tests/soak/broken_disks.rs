//! Files that go, break or change after they were registered: whoever asks for them fails, by name, and nobody else.

use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use loam_engine::adapter::{Expected, Source, TENSORS_FILE};
use loam_engine::request::Generate;
use loam_engine::{Engine, OpenOptions};

use crate::ask::{Invariant, heard, options, prompt, request};
use crate::made::{Chance, alone, bare, bits, sized, turn, write_adapter};

const ADAPTERS: usize = 8;
const RANK: usize = 4;

struct World {
    root: tempfile::TempDir,
    engine: Engine,
    options: OpenOptions,
    answers: Vec<Invariant>,
}

fn name(adapter: usize) -> String {
    format!("adapter-{adapter}")
}

fn question(adapter: usize) -> Generate {
    request(&prompt(7, 12), &[(&name(adapter), 1.0)], 6)
}

impl World {
    /// Two slots, host memory for two.
    fn new() -> Self {
        let root = tempfile::tempdir().unwrap();
        let mut options = options("llama-gqa");
        let (mut answers, mut bytes) = (Vec::new(), 0);
        for adapter in 0..ADAPTERS {
            let folder = root.path().join(name(adapter));
            write_adapter(&folder, adapter as u64, RANK);
            let (said, len) = alone(&options, &name(adapter), &Source::Folder(folder), &[question(adapter)]);
            answers.push(bits(&said[0]));
            bytes = len;
        }
        options.slots = 2;
        options.adapter_host_bytes = 2 * bytes;
        options.adapter_device_bytes = 2 * bytes;
        let engine = bare(&options);
        for adapter in 0..ADAPTERS {
            let source = Source::Folder(root.path().join(name(adapter)));
            engine.catalog().register(&name(adapter), &source).unwrap();
        }
        Self { root, engine, options, answers }
    }

    fn folder(&self, adapter: usize) -> PathBuf {
        self.root.path().join(name(adapter))
    }

    fn tensors(&self, adapter: usize) -> PathBuf {
        self.folder(adapter).join(TENSORS_FILE)
    }

    #[track_caller]
    fn answers(&self, adapter: usize) {
        let said = heard(self.engine.generate(question(adapter)).unwrap());
        assert!(bits(&said) == self.answers[adapter], "{} answers otherwise", name(adapter));
    }

    #[track_caller]
    fn fails(&self, adapter: usize, why: &str) {
        let failure = heard(self.engine.generate(question(adapter)).unwrap()).failure.expect("this cannot be read");
        assert!(failure.contains(why) && failure.contains(&name(adapter)), "{failure}");
    }

    /// Fills all tiers with others.
    fn drive_out(&self) {
        (4..ADAPTERS).for_each(|adapter| self.answers(adapter));
    }
}

/// A file that is replaced whole: who reads the old one has the old one.
fn replace(path: &Path, bytes: &[u8]) {
    let new = path.with_extension("new");
    std::fs::write(&new, bytes).unwrap();
    std::fs::rename(&new, path).unwrap();
}

fn break_and_mend(world: &World, round: u64) {
    let good: Vec<Vec<u8>> = (0..4).map(|adapter| std::fs::read(world.tensors(adapter)).unwrap()).collect();
    world.drive_out();
    std::fs::remove_file(world.tensors(0)).unwrap();
    replace(&world.tensors(1), &good[1][..good[1].len() / 2]);
    std::fs::rename(world.folder(3), world.folder(3).with_extension("away")).unwrap();
    write_adapter(&world.folder(2), 500 + round, RANK);
    for _ in 0..2 {
        world.fails(0, TENSORS_FILE);
        world.fails(1, TENSORS_FILE);
        world.fails(2, "now holds");
        world.fails(3, "");
    }
    world.drive_out();
    // Back as they were, they are found without another word; and loading them again changes nothing.
    std::fs::write(world.tensors(0), &good[0]).unwrap();
    std::fs::rename(world.folder(3).with_extension("away"), world.folder(3)).unwrap();
    replace(&world.tensors(1), &good[1]);
    world.answers(3);
    for adapter in [0, 1] {
        let source = Source::Folder(world.folder(adapter));
        assert!(!world.engine.load_adapter(&name(adapter), &source, Expected::Anything).unwrap().changed);
        world.answers(adapter);
    }
    // What was replaced is another adapter, and is that once it is loaded under the name.
    let source = Source::Folder(world.folder(2));
    assert!(world.engine.load_adapter(&name(2), &source, Expected::Anything).unwrap().changed);
    let (said, _) = alone(&world.options, &name(2), &source, &[question(2)]);
    let other = heard(world.engine.generate(question(2)).unwrap());
    assert!(bits(&other) == bits(&said[0]) && bits(&other) != world.answers[2]);
    replace(&world.tensors(2), &good[2]);
    world.engine.load_adapter(&name(2), &source, Expected::Anything).unwrap();
    world.answers(2);
}

#[test]
fn broken_files_fail_who_asks_for_them() {
    let _turn = turn();
    let world = World::new();
    // Gone before it was ever read.
    let good = std::fs::read(world.tensors(0)).unwrap();
    std::fs::remove_file(world.tensors(0)).unwrap();
    world.fails(0, TENSORS_FILE);
    world.answers(1);
    std::fs::write(world.tensors(0), good).unwrap();
    (0..4).for_each(|adapter| world.answers(adapter));

    let (done, answered) = (AtomicBool::new(false), AtomicU64::new(0));
    std::thread::scope(|scope| {
        for client in 0..2 {
            let (world, done, answered) = (&world, &done, &answered);
            scope.spawn(move || {
                let mut chance = Chance::new(client);
                while !done.load(Ordering::Relaxed) {
                    world.answers(4 + chance.below(4) as usize);
                    answered.fetch_add(1, Ordering::Relaxed);
                }
            });
        }
        let outcome = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
            (0..sized(3, 200)).for_each(|round| break_and_mend(&world, round));
        }));
        done.store(true, Ordering::Relaxed);
        outcome.unwrap();
    });
    let metrics = world.engine.metrics();
    eprintln!("{} answers beside {} failed requests", answered.load(Ordering::Relaxed), metrics.failed);
    assert_eq!(metrics.failed, 1 + sized(3, 200) * 8);
    world.engine.stop().unwrap();
}
