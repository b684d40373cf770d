//! Making, opening and examining ledgers.

use std::fs;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use loam_ledger::home::{MemoryHome, Plain};
use loam_ledger::memory::Fault;
use loam_ledger::store::{Batch, Space, Store};
use loam_ledger::{Error, Folder, Ledger, Level, Options, StepRecord};
use loam_ledger_core::origin::LogId;

use crate::hooked::{Hook, Hooked};
use crate::support::{append, boot_info, options, whole_request};
use crate::{SHARD, in_memory, whole};

/// The machine stopped between the store's commit and the floor; the next open signed what lay above the floor. A
/// snapshot at the floor was then put back, and another root was signed at the same size: a fork.
#[test]
fn nothing_is_signed_above_the_floor() {
    let top = tempfile::tempdir().expect("a temporary folder");
    let (data, snapshot) = (top.path().join("data"), top.path().join("snapshot"));
    let folder = || Folder::new(&data, None);
    drop(Ledger::create(&folder(), "test.example/stories", options()).expect("a new ledger"));
    let power = Arc::new(AtomicBool::new(true));
    let on = Arc::clone(&power);
    let hook: Hook =
        Arc::new(
            move |_| {
                if on.load(Ordering::SeqCst) { Ok(()) } else { Err(Error::Store("the power is off".to_owned())) }
            },
        );
    let ledger = Ledger::open(&Hooked { inner: folder(), which: Plain::Floor, hook }, options()).expect("it opens");
    ledger.snapshot(&snapshot).expect("a snapshot at the floor");
    power.store(false, Ordering::SeqCst);
    assert!(ledger.boot(boot_info(1)).is_err());
    drop(ledger);
    let ledger = Ledger::open(&folder(), options()).expect("it opens");
    ledger.publish().expect("it signs what it found");
    drop(ledger);
    fs::remove_dir_all(data.join("store")).expect("the store goes");
    fs::rename(&snapshot, data.join("store")).expect("the snapshot comes back");
    assert!(Ledger::open(&folder(), options()).expect("it opens for reading").read_only().is_some());
}

/// A name that ends with a slash made logs of names like `example.org//records`, which nobody can mend later.
#[test]
fn a_ledgers_name_has_no_empty_part() {
    for name in ["", "/", "example.org/", "/a", "example.org//a"] {
        let refused = Ledger::create(&MemoryHome::default(), name, options()).err();
        assert_eq!(refused, Some(Error::LedgerName { name: name.to_owned() }));
    }
    assert!(Ledger::create(&MemoryHome::default(), "a", options()).is_ok());
}

/// An older copy of the secrets was put back, shorter than the rows' slots; laying out the file then wiped new ones.
#[test]
fn a_short_file_of_secrets_takes_new_ones_whole() {
    let top = tempfile::tempdir().expect("a temporary folder");
    let data = top.path().join("data");
    let home = Folder::new(&data, None);
    let ledger = Ledger::create(&home, "test.example/stories", options()).expect("a new ledger");
    let writer = ledger.boot(boot_info(1)).expect("a boot");
    // Slots are laid out by 16,384 at a time; requests that never got a row use numbers too.
    for _ in 0..40_000 {
        ledger.begin_request(None).expect("a request");
    }
    whole_request(&ledger, &writer, "clay").expect("a request");
    writer.stop().expect("a stop");
    ledger.close().expect("a clean end");
    let slots = fs::OpenOptions::new().write(true).open(data.join("secrets/slots")).expect("slots");
    slots.set_len(64 * 1000).expect("an older copy");
    let ledger = Ledger::open(&home, options()).expect("it opens");
    assert_eq!(ledger.missing_secrets(), 39_002);
    let writer = ledger.boot(boot_info(1)).expect("a boot");
    for adapter in ["clay", "loess", "peat"] {
        let (name, _) = whole_request(&ledger, &writer, adapter).expect("a request");
        assert!(ledger.receipt(&name, 0).is_ok());
    }
}

/// An interval without end overflowed, and a wait without end did too.
#[test]
fn no_time_is_too_long() {
    let home = MemoryHome::default();
    let endless = Options { publish_interval: Duration::MAX, ..options() };
    let ledger = Ledger::create(&home, "test.example/stories", endless).expect("a new ledger");
    assert_eq!(ledger.tail(LogId::Records, 0, u64::MAX, Duration::MAX).expect("entries").len(), 1);
    assert!(matches!(ledger.prove(SHARD, u64::MAX), Err(Error::NotInLog { .. })));
}

/// What the machine stopped in the midst of was not acknowledged; a restart finds it, and stands by it.
#[test]
fn what_a_restart_finds_is_raised_to_the_floor() {
    let (home, ledger) = in_memory();
    let writer = ledger.boot(boot_info(1)).expect("a boot");
    // The commit lasts; the floor after it does not.
    home.disk.fail_at(home.disk.effects().len() + 1, Fault::Lost);
    assert!(append(&writer, Level::Durable, |_| StepRecord::default()).is_err());
    let after = MemoryHome { disk: home.disk.after_power_cut(), keys: home.keys.clone() };
    let ledger = Ledger::open(&after, options()).expect("it opens");
    assert_eq!(ledger.size(SHARD), Ok(2));
    assert_eq!(after.disk.effects(), ["slots", "floor"], "before anything is signed");
}

/// An examination called stores whole that had lost rows, requests, or their secrets.
#[test]
fn an_examination_misses_nothing() {
    let (home, ledger) = in_memory();
    let writer = ledger.boot(boot_info(1)).expect("a boot");
    let (name, acked) = whole_request(&ledger, &writer, "clay").expect("a request");
    writer.stop().expect("a stop");
    ledger.close().expect("a clean end");
    whole(&home);
    let wrong = |damage: &dyn Fn(&MemoryHome)| {
        let other = MemoryHome { disk: home.disk.after_power_cut(), keys: home.keys.clone() };
        damage(&other);
        Ledger::examine(&other, &[]).map_or(1, |examined| examined.wrong.len())
    };
    let put = |space, key: Vec<u8>, value: Vec<u8>| {
        let mut damage = Batch::default();
        damage.put(space, key, value);
        wrong(&|home| home.disk.store().commit(damage.clone()).expect("a damaged store"))
    };
    let place = |log: u32, number: u64| [&log.to_be_bytes()[..], &number.to_be_bytes()].concat();
    let at = place(1, acked[1].index);
    assert_ne!(put(Space::Rows, at.clone(), Vec::new()), 0, "rows that are gone");
    assert_ne!(put(Space::Rows, at, vec![7; 20]), 0, "rows that are garbage");
    assert_ne!(put(Space::Request, name.0.to_vec(), Vec::new()), 0, "a request's record that is gone");
    let answer = [&name.0[..], &[0; 4]].concat();
    assert_ne!(put(Space::Request, answer, Vec::new()), 0, "an answer's record that is gone");
    assert_ne!(put(Space::Meta, b"slots-used".to_vec(), 1u64.to_be_bytes().to_vec()), 0, "slots that come again");
    assert_ne!(put(Space::Engine, vec![1; 16], Vec::new()), 0, "an engine's position that is garbage");
    assert_ne!(put(Space::Checkpoint, place(1, 1000), b"x".to_vec()), 0, "a checkpoint beyond its log");
    assert_ne!(put(Space::Entry, place(1, 0), Vec::new()), 0, "entries that are gone");
    assert_ne!(wrong(&|home| home.disk.remove_file("slots")), 0, "secrets that are gone");
    assert_ne!(wrong(&|home| home.disk.remove_file("floor")), 0, "a floor that is gone");
    let keyless = MemoryHome { disk: home.disk.after_power_cut(), ..MemoryHome::default() };
    assert_ne!(Ledger::examine(&keyless, &[]).expect("it can be read").wrong.len(), 0, "keys that are gone");
}

/// A ledger whose making was cut short barred the folder for ever; then making one removed folders that were not its
/// own, and took another ledger's floor.
#[test]
fn a_ledger_that_was_cut_short_is_made_again_and_nothing_else_is_touched() {
    let top = tempfile::tempdir().expect("a temporary folder");
    let (data, floor) = (top.path().join("deep").join("data"), top.path().join("floor-elsewhere"));
    fs::create_dir_all(data.join("store")).expect("what an earlier attempt left");
    fs::write(data.join("unfinished"), floor.display().to_string()).expect("and its mark");
    fs::write(&floor, b"half").expect("and its floor");
    let home = Folder::new(&data, Some(&floor));
    assert!(matches!(Ledger::open(&home, options()).map(drop), Err(Error::NotALedger { .. })));
    drop(Ledger::create(&home, "test.example/stories", options()).expect("it is made again"));
    assert!(data.join("store/CURRENT").exists() && !data.join("unfinished").exists() && !data.join("floor").exists());
    assert_eq!(Ledger::open(&home, options()).expect("it opens").read_only(), None);

    // A folder of somebody else's, which has a file of that name by chance.
    let theirs = top.path().join("theirs");
    fs::create_dir_all(theirs.join("store")).expect("a folder of theirs");
    fs::write(theirs.join("unfinished"), "chapter one").expect("a letter of theirs");
    let refused = Ledger::create(&Folder::new(&theirs, None), "test.example/stories", options()).map(drop);
    assert!(matches!(refused, Err(Error::NotEmpty { .. })) && theirs.join("store").exists());

    let other = Folder::new(&top.path().join("other"), Some(&floor));
    let refused = Ledger::create(&other, "test.example/other", options()).map(drop);
    assert_eq!(refused, Err(Error::NotEmpty { path: floor.display().to_string() }));
    assert_eq!(Ledger::open(&home, options()).expect("it opens").read_only(), None);
}

/// Folders that are spelled in other ways, or lie where nothing can be made beside them.
#[test]
fn a_ledger_is_made_in_its_folder_however_that_is_spelled() {
    let top = tempfile::tempdir().expect("a temporary folder");
    fs::create_dir(top.path().join("real")).expect("a folder");
    std::os::unix::fs::symlink("real", top.path().join("link")).expect("a link");
    for spelled in ["data/", "there/.", "link", "a/b/c"] {
        if spelled == "there/." {
            fs::create_dir(top.path().join("there")).expect("a folder");
        }
        let home = Folder::new(&top.path().join(spelled), None);
        drop(Ledger::create(&home, "test.example/stories", options()).unwrap_or_else(|e| panic!("{spelled}: {e}")));
        whole(&home);
    }
}

/// Opening for writing beside a writer at work said that the store was below its floor, and to put back another one.
#[test]
fn beside_a_writer_a_ledger_is_in_use() {
    let top = tempfile::tempdir().expect("a temporary folder");
    let home = Folder::new(&top.path().join("data"), None);
    let ledger = Ledger::create(&home, "test.example/stories", options()).expect("a new ledger");
    let writer = ledger.boot(boot_info(1)).expect("a boot");
    let stop = AtomicBool::new(false);
    std::thread::scope(|scope| {
        scope.spawn(|| {
            while !stop.load(Ordering::Relaxed) {
                append(&writer, Level::Durable, |_| StepRecord::default()).expect("a step");
            }
        });
        for _ in 0..5 {
            assert!(matches!(Ledger::open(&home, options()).map(drop), Err(Error::InUse { .. } | Error::Store(_))));
            assert_eq!(Ledger::why_read_only(&home), Ok(None));
        }
        stop.store(true, Ordering::Relaxed);
    });
}

/// A writer that outlived its ledger kept the store locked.
#[test]
fn a_closed_ledger_can_be_opened_again() {
    let top = tempfile::tempdir().expect("a temporary folder");
    let home = Folder::new(&top.path().join("data"), None);
    let ledger = Ledger::create(&home, "test.example/stories", options()).expect("a new ledger");
    let writer = ledger.boot(boot_info(1)).expect("a boot");
    ledger.close().expect("a clean end");
    drop(Ledger::open(&home, options()).expect("it opens"));
    assert!(writer.ticket().is_err() || append(&writer, Level::Durable, |_| StepRecord::default()).is_err());
}

/// An engine's position that was not that of its last entry was believed, and the next boot spoiled the log.
#[test]
fn a_stale_position_is_noticed() {
    let (home, ledger) = in_memory();
    let writer = ledger.boot(boot_info(1)).expect("a boot");
    let stale = home.disk.store().value(Space::Engine, &[1; 16]).expect("a store").expect("a position");
    append(&writer, Level::Durable, |_| StepRecord::default()).expect("a step");
    drop((writer, ledger));
    let mut damage = Batch::default();
    damage.put(Space::Engine, vec![1; 16], stale);
    home.disk.store().commit(damage).expect("a damaged store");
    assert!(matches!(Ledger::open(&home, options()).map(drop), Err(Error::Damaged { .. })));
    assert_eq!(Ledger::examine(&home, &[]).expect("it can be read").wrong.len(), 1);
}
