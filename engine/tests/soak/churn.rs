//! Names come, change and go under traffic. A request's answer is that of what its name stood for when it was asked.

use std::path::Path;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use loam_engine::adapter::{Expected, Generation, Source};
use loam_engine::request::Generate;
use loam_engine::{Engine, Error};

use crate::ask::{Invariant, heard, options, prompt, request};
use crate::made::{Chance, alone, bare, bits, sized, turn, write_adapter};

const NAMES: usize = 6;
const CONTENTS: usize = 8;
const QUESTIONS: u64 = 3;

/// What can be loaded under a name.
struct Content {
    source: Source,
    generation: Generation,
    answers: Vec<Invariant>,
}

/// What a name stood for, by how often it was changed.
struct Name {
    name: String,
    /// One entry more than changes began: what it stands for after each.
    states: Mutex<Vec<Option<usize>>>,
    /// Changes that are over.
    over: AtomicUsize,
}

impl Name {
    fn begin(&self, state: Option<usize>) {
        self.states.lock().unwrap().push(state);
    }

    fn end(&self) {
        self.over.fetch_add(1, Ordering::SeqCst);
    }

    fn now(&self) -> Option<usize> {
        *self.states.lock().unwrap().last().unwrap()
    }
}

fn question(name: &str, which: u64) -> Generate {
    request(&prompt(100 + which, 9 + 7 * which as usize), &[(name, 1.0)], 10)
}

fn contents(root: &Path) -> Vec<Content> {
    let make = |index: usize| {
        let folder = root.join(format!("content-{index}"));
        write_adapter(&folder, 1000 + index as u64, 2 + 2 * (index % 3));
        let source = Source::Folder(folder);
        let questions: Vec<Generate> = (0..QUESTIONS).map(|which| question("it", which)).collect();
        let (said, _) = alone(&options("llama-gqa"), "it", &source, &questions);
        let engine = bare(&options("llama-gqa"));
        let generation = engine.load_adapter("it", &source, Expected::Nothing).unwrap().adapter.generation;
        Content { source, generation, answers: said.iter().map(bits).collect() }
    };
    (0..CONTENTS).map(make).collect()
}

/// One change of a name that only this thread changes.
fn change(engine: &Engine, name: &Name, contents: &[Content], chance: &mut Chance) {
    let (now, next) = (name.now(), chance.below(CONTENTS as u64) as usize);
    let generation_now = now.map(|now| contents[now].generation);
    if chance.below(5) == 0 && now.is_some() {
        name.begin(None);
        engine.catalog().unload(&name.name, generation_now.map_or(Expected::Nothing, Expected::Generation)).unwrap();
        return name.end();
    }
    // What is not expected changes nothing, unless the name stands for it already.
    let other = contents[(now.unwrap_or(next) + 1) % CONTENTS].generation;
    let wrong = engine.load_adapter(&name.name, &contents[next].source, Expected::Generation(other));
    match wrong {
        Ok(loaded) => assert!(!loaded.changed && now == Some(next)),
        Err(error) => assert!(matches!(error, Error::AdapterConflict { .. }), "{error}"),
    }
    let expected = match (chance.below(2), generation_now) {
        (0, _) => Expected::Anything,
        (_, Some(generation)) => Expected::Generation(generation),
        (_, None) => Expected::Nothing,
    };
    name.begin(Some(next));
    let loaded = engine.load_adapter(&name.name, &contents[next].source, expected).unwrap();
    assert_eq!((loaded.changed, loaded.adapter.generation), (now != Some(next), contents[next].generation));
    name.end();
}

/// Asks by a name, and holds the answer against what the name can have stood for meanwhile.
fn ask(engine: &Engine, name: &Name, contents: &[Content], which: u64) -> bool {
    let from = name.over.load(Ordering::SeqCst);
    let outcome = engine.generate(question(&name.name, which));
    let stood_for = name.states.lock().unwrap()[from..].to_vec();
    match outcome {
        Err(error) => {
            assert!(matches!(error, Error::AdapterUnknown { .. }), "{error}");
            assert!(stood_for.contains(&None), "{} was unknown while it stood for {stood_for:?}", name.name);
            false
        }
        Ok(stream) => {
            let said = bits(&heard(stream));
            let found = contents.iter().position(|content| content.answers[which as usize] == said);
            assert!(found.is_some() && stood_for.contains(&found), "{found:?} answered for one of {stood_for:?}");
            true
        }
    }
}

fn pin_at_random(engine: &Engine, names: &[Name], chance: &mut Chance) {
    let name = &names[chance.below(NAMES as u64) as usize].name;
    match engine.pin_adapter(name, chance.below(2) == 0) {
        Ok(()) | Err(Error::AdapterUnknown { .. }) => {}
        // One slot stays for those that are not pinned.
        Err(Error::Request { field: "pin", .. }) => {}
        Err(error) => panic!("{error}"),
    }
}

#[track_caller]
fn wait_for(what: &str, mut holds: impl FnMut() -> bool) {
    let start = Instant::now();
    while !holds() {
        assert!(start.elapsed() < Duration::from_secs(20), "{what}");
        std::thread::sleep(Duration::from_millis(10));
    }
}

#[test]
fn names_change_under_traffic() {
    let _turn = turn();
    let root = tempfile::tempdir().unwrap();
    let contents = contents(root.path());
    let mut options = options("llama-gqa");
    options.slots = 4;
    options.adapter_host_bytes = 200 << 10;
    let engine = bare(&options);
    let name =
        |index| Name { name: format!("name-{index}"), states: Mutex::new(vec![None]), over: AtomicUsize::new(0) };
    let names: Vec<Name> = (0..NAMES).map(name).collect();
    let (done, answered, unknown) = (AtomicBool::new(false), AtomicU64::new(0), AtomicU64::new(0));
    let going = || !done.load(Ordering::Relaxed);
    std::thread::scope(|scope| {
        for (index, name) in (0..).zip(&names) {
            let (engine, contents, going) = (&engine, &contents, &going);
            scope.spawn(move || {
                let mut chance = Chance::new(index);
                while going() {
                    change(engine, name, contents, &mut chance);
                    std::thread::sleep(Duration::from_millis(chance.below(12)));
                }
            });
        }
        scope.spawn(|| {
            let mut chance = Chance::new(50);
            while going() {
                pin_at_random(&engine, &names, &mut chance);
                std::thread::sleep(Duration::from_millis(5));
            }
        });
        for client in 0..4 {
            let (engine, contents, names, going) = (&engine, &contents, &names, &going);
            let (answered, unknown) = (&answered, &unknown);
            scope.spawn(move || {
                let mut chance = Chance::new(100 + client);
                while going() {
                    let name = &names[chance.below(NAMES as u64) as usize];
                    let count = if ask(engine, name, contents, chance.below(QUESTIONS)) { answered } else { unknown };
                    count.fetch_add(1, Ordering::Relaxed);
                }
            });
        }
        std::thread::sleep(sized(Duration::from_millis(1200), Duration::from_secs(90)));
        done.store(true, Ordering::Relaxed);
    });
    let changes: usize = names.iter().map(|name| name.over.load(Ordering::SeqCst)).sum();
    let (answered, unknown) = (answered.into_inner(), unknown.into_inner());
    eprintln!("{changes} changes of {NAMES} names: {answered} answers, {unknown} requests for a name not in use");
    assert!(answered > 0 && changes > NAMES);
    all_goes(&engine, &names);
}

/// Without names and requests nothing is kept.
fn all_goes(engine: &Engine, names: &[Name]) {
    for name in names.iter().filter(|name| name.now().is_some()) {
        engine.catalog().unload(&name.name, Expected::Anything).unwrap();
    }
    assert!(engine.catalog().list().is_empty());
    assert!(engine.catalog().pinned().is_empty());
    wait_for("adapters stay in host memory", || engine.metrics().adapters.host_bytes == 0);
    assert_eq!(engine.catalog().take_retired(), []);
    assert_eq!(engine.metrics().failed, 0);
    engine.stop().unwrap();
}

/// A pin is a name's: what the name stood for before has its slot no longer, or the slots would be used up by the third.
#[test]
fn pins_move_with_their_names() {
    let _turn = turn();
    let mut options = options("llama-gqa");
    options.slots = 2;
    let engine = bare(&options);
    let dummy = |seed: u64| Source::parse(&format!("dummy:{seed}:4")).unwrap();
    for turn in 0..4 {
        // A second name keeps each content known.
        engine.load_adapter(&format!("kept-{turn}"), &dummy(turn), Expected::Nothing).unwrap();
        engine.load_adapter("pinned", &dummy(turn), Expected::Anything).unwrap();
        engine.pin_adapter("pinned", true).unwrap();
        bits(&heard(engine.generate(question("pinned", 0)).unwrap()));
    }
    let both = request(&prompt(1, 9), &[("kept-0", 1.0), ("pinned", 1.0)], 3);
    bits(&heard(engine.generate(both).unwrap()));
    engine.catalog().unload("pinned", Expected::Anything).unwrap();
    // Pinned by nobody, both slots are everybody's.
    wait_for("a pin is left without its name", || {
        let both = request(&prompt(1, 9), &[("kept-0", 1.0), ("kept-1", 1.0)], 3);
        heard(engine.generate(both).unwrap()).failure.is_none()
    });
    engine.stop().unwrap();
}
