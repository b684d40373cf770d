//! Bugs that were found, each with its story. None of them comes back.

mod support;

use std::fs;
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Condvar, Mutex, Weak, mpsc};
use std::time::Duration;

use loam_ledger::home::{Access, Home, MemoryHome, Plain};
use loam_ledger::memory::Fault;
use loam_ledger::store::{Batch, PlainFile, Space, Store};
use loam_ledger::{Error, Folder, Keys, Ledger, Level, Options, StepRecord};
use loam_ledger_core::hash::digest;
use loam_ledger_core::origin::LogId;
use loam_ledger_core::row::{Row, Tokens};
use support::{Running, TOKENS, append, boot_info, options, usage_step, whole_request};

const SHARD: LogId = LogId::Usage(1);

fn in_memory() -> (MemoryHome, Ledger) {
    let home = MemoryHome::default();
    let ledger = Ledger::create(&home, "test.example/stories", options()).expect("a new ledger");
    (home, ledger)
}

fn whole(home: &dyn Home) {
    assert_eq!(Ledger::examine(home, &[]).expect("it can be read").wrong, Vec::<String>::new());
}

/// Told of every write (its offset and length) and sync of a file, before it happens.
type Hook = Arc<dyn Fn(Option<(u64, usize)>) -> Result<(), Error> + Send + Sync>;

/// A home whose plain files are watched, or made to fail.
struct Hooked<H> {
    inner: H,
    which: Plain,
    hook: Hook,
}

struct HookedFile {
    inner: Box<dyn PlainFile>,
    hook: Hook,
}

impl PlainFile for HookedFile {
    fn read_at(&self, offset: u64, buffer: &mut [u8]) -> Result<usize, Error> {
        self.inner.read_at(offset, buffer)
    }

    fn write_at(&self, offset: u64, bytes: &[u8]) -> Result<(), Error> {
        (self.hook)(Some((offset, bytes.len())))?;
        self.inner.write_at(offset, bytes)
    }

    fn sync(&self) -> Result<(), Error> {
        (self.hook)(None)?;
        self.inner.sync()
    }

    fn length(&self) -> Result<u64, Error> {
        self.inner.length()
    }
}

impl<H: Home> Home for Hooked<H> {
    fn begin(&self) -> Result<Box<dyn Home>, Error> {
        self.inner.begin()
    }

    fn finish(&self) -> Result<(), Error> {
        self.inner.finish()
    }

    fn store(&self, access: Access) -> Result<Arc<dyn Store>, Error> {
        self.inner.store(access)
    }

    fn file(&self, which: Plain, access: Access) -> Result<Option<Box<dyn PlainFile>>, Error> {
        let file = self.inner.file(which, access)?;
        if which != self.which {
            return Ok(file);
        }
        Ok(file.map(|inner| Box::new(HookedFile { inner, hook: Arc::clone(&self.hook) }) as Box<dyn PlainFile>))
    }

    fn keys(&self) -> Arc<dyn Keys> {
        self.inner.keys()
    }
}

/// Freezing grew the records log in memory, then failed to draw a key. The ledger went on over an entry that was
/// nowhere, signed over it, and could never be opened again.
#[test]
fn a_freeze_that_fails_changes_nothing() {
    let top = tempfile::tempdir().expect("a temporary folder");
    let data = top.path().join("data");
    let home = Folder::new(&data, None);
    let ledger = Ledger::create(&home, "test.example/stories", options()).expect("a new ledger");
    let writer = ledger.boot(boot_info(1)).expect("a boot");
    fs::write(data.join("keys/usage-2.key"), b"").expect("a key that was cut short");
    assert!(matches!(ledger.freeze_shard(), Err(Error::Damaged { .. })));
    append(&writer, Level::Published, |_| StepRecord::default()).expect("the ledger goes on");
    fs::remove_file(data.join("keys/usage-2.key")).expect("the key goes");
    assert_eq!(ledger.freeze_shard(), Ok(LogId::Usage(2)));
    writer.stop().expect("a stop");
    ledger.close().expect("a clean end");
    whole(&home);
}

/// The same through erasing, where an account could not be read.
#[test]
fn an_erasure_that_fails_changes_nothing() {
    let (home, ledger) = in_memory();
    let writer = ledger.boot(boot_info(1)).expect("a boot");
    let (request, _) = whole_request(&ledger, &writer, "clay").expect("a request");
    let mut key = [&1u32.to_be_bytes()[..], &digest(b"policy").0, &digest(b"clay").0].concat();
    key.extend(1_000_000u64.to_be_bytes());
    let mut damage = Batch::default();
    damage.put(Space::Erased, key, vec![1]);
    home.disk.store().commit(damage).expect("a damaged account");
    assert!(matches!(ledger.erase(&request, 1), Err(Error::Damaged { .. })));
    append(&writer, Level::Published, |_| StepRecord::default()).expect("the ledger goes on");
    writer.stop().expect("a stop");
    ledger.close().expect("a clean end");
    whole(&home);
}

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

/// A slot's number was out before its bytes were; whoever synced in between took it for synced, and a row was
/// acknowledged whose secret a power cut lost.
#[test]
fn a_secret_is_synced_before_its_row() {
    let home = MemoryHome::default();
    drop(Ledger::create(&home, "test.example/stories", options()).expect("a new ledger"));
    let (reached, waits) = (Arc::new(AtomicBool::new(false)), Arc::new((Mutex::new(true), Condvar::new())));
    let (seen, gate) = (Arc::clone(&reached), Arc::clone(&waits));
    let hook: Hook = Arc::new(move |write| {
        if write == Some((128, 64)) {
            seen.store(true, Ordering::SeqCst);
            let closed = gate.0.lock().expect("no panic");
            let wait = gate.1.wait_timeout_while(closed, Duration::from_millis(300), |closed| *closed);
            drop(wait.expect("no panic"));
        }
        Ok(())
    });
    let ledger = Ledger::open(&Hooked { inner: home.clone(), which: Plain::Slots, hook }, options()).expect("it opens");
    let writer = ledger.boot(boot_info(1)).expect("a boot");
    let mut one = Running::begin(&ledger, "clay", None).expect("a request");
    let name = std::thread::scope(|scope| {
        let second = scope.spawn(|| Running::begin(&ledger, "loess", None).expect("a request"));
        while !reached.load(Ordering::SeqCst) {
            std::thread::yield_now();
        }
        append(&writer, Level::Durable, |sequence| usage_step(&mut one, sequence)).expect("a step");
        *waits.0.lock().expect("no panic") = false;
        waits.1.notify_all();
        let mut two = second.join().expect("no panic");
        append(&writer, Level::Durable, |sequence| {
            let mut step = usage_step(&mut two, sequence);
            step.rows.push(two.completion(writer.boot_id(), sequence, 0));
            step
        })
        .expect("a step");
        two.name()
    });
    let after = MemoryHome { disk: home.disk.after_power_cut(), keys: home.keys.clone() };
    let ledger = Ledger::open(&after, options()).expect("it opens");
    assert!(ledger.receipt(&name, 0).is_ok());
    whole(&after);
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

/// A step that was refused had already said where its request begins; the right step after it did not say so again,
/// and the request could be neither receipted nor erased.
#[test]
fn a_refused_step_leaves_no_mark() {
    let (home, ledger) = in_memory();
    let writer = ledger.boot(boot_info(1)).expect("a boot");
    let mut one = Running::begin(&ledger, "clay", None).expect("a request");
    let other = Running::begin(&ledger, "loess", None).expect("a request");
    let refused = append(&writer, Level::Durable, |sequence| {
        let mut step = usage_step(&mut one, sequence);
        let (_, row) = step.rows[0].clone();
        step.rows.push((Arc::clone(&other.request), row));
        step
    });
    assert_eq!(refused, Err(Error::RowOfAnotherRequest));
    one = Running::again(&one);
    append(&writer, Level::Durable, |sequence| {
        let mut step = usage_step(&mut one, sequence);
        step.rows.push(one.completion(writer.boot_id(), sequence, 0));
        step
    })
    .expect("the right step");
    let name = one.name();
    assert!(ledger.receipt(&name, 0).is_ok());
    drop((one, other));
    assert_eq!(ledger.erase(&name, 1), Ok(()));
    whole(&home);
}

/// A request was erased while one of its answers went on; rows came in that no redaction announced.
#[test]
fn a_request_that_can_get_rows_is_not_erased() {
    let (home, ledger) = in_memory();
    let writer = ledger.boot(boot_info(1)).expect("a boot");
    let mut running = Running::begin(&ledger, "clay", None).expect("a request");
    let second = |row: Row, choice| match row {
        Row::Usage(usage) => Row::Usage(loam_ledger_core::row::Usage { choice, ..usage }),
        Row::Completion(completion) => Row::Completion(completion),
    };
    append(&writer, Level::Durable, |sequence| {
        let mut step = usage_step(&mut running, sequence);
        let (request, row) = step.rows[0].clone();
        step.rows.push((request, second(row, 1)));
        step.prefilled_tokens += TOKENS.prefilled;
        step.emitted_tokens += TOKENS.emitted;
        step.rows.push(running.completion(writer.boot_id(), sequence, 5));
        step
    })
    .expect("two answers, one of them complete");
    let name = running.name();
    assert_eq!(ledger.erase(&name, 1), Err(Error::StillOpen));
    drop(running);
    assert_eq!(ledger.erase(&name, 1), Ok(()));
    let accounts = ledger.erased_accounts(SHARD).expect("accounts");
    assert_eq!(accounts.iter().map(|(_, account)| account.emitted_tokens).sum::<u64>(), 10);
    assert_eq!(accounts.iter().map(|(_, account)| account.fee_nano).sum::<u64>(), 5);
    whole(&home);
}

/// A caller's callback panicked, and with it the committer; everybody else waited for ever, and health said all well.
#[test]
fn a_panicking_callback_fails_the_ledger() {
    let (_, ledger) = in_memory();
    let writer = ledger.boot(boot_info(1)).expect("a boot");
    let panics = Box::new(|_| panic!("a caller's bug"));
    writer.append(StepRecord::default(), Level::Durable, Some(panics)).expect("it is taken");
    while ledger.health().is_ok() {
        std::thread::sleep(Duration::from_millis(1));
    }
    let failed = append(&writer, Level::Durable, |_| StepRecord::default());
    assert!(matches!(failed, Err(Error::Failed { .. })), "{failed:?}");
    assert!(matches!(ledger.freeze_shard(), Err(Error::Failed { .. })));
    assert!(matches!(ledger.publish(), Err(Error::Failed { .. })));
}

/// The publisher failed while a group was being acknowledged; what was handed to it afterwards was never answered.
#[test]
fn a_publisher_that_ended_still_answers() {
    let home = MemoryHome::default();
    drop(Ledger::create(&home, "test.example/stories", options()).expect("a new ledger"));
    let held: Arc<Mutex<Option<Weak<Ledger>>>> = Arc::default();
    let seen = Arc::clone(&held);
    let observe = Box::new(move |_: &[_]| {
        let ledger = seen.lock().expect("no panic").as_ref().and_then(Weak::upgrade);
        let Some(ledger) = ledger else { return };
        // The publisher may run at any speed; here it is faster than the group's acknowledgements.
        for _ in 0..1000 {
            if ledger.health().is_err() {
                break;
            }
            std::thread::sleep(Duration::from_millis(1));
        }
    });
    let options = Options { publish_interval: Duration::ZERO, observe: Some(observe), ..options() };
    let ledger = Arc::new(Ledger::open(&home, options).expect("it opens"));
    let writer = ledger.boot(boot_info(1)).expect("a boot");
    ledger.publish().expect("it signs");
    *held.lock().expect("no panic") = Some(Arc::downgrade(&ledger));
    // A commit, the floor, and then the checkpoint.
    home.disk.fail_at(home.disk.effects().len() + 2, Fault::Lost);
    let (sender, outcome) = mpsc::channel();
    let acknowledge = Box::new(move |result: Result<_, _>| drop(sender.send(result)));
    writer.append(StepRecord::default(), Level::Published, Some(acknowledge)).expect("it is taken");
    let outcome = outcome.recv_timeout(Duration::from_secs(20)).expect("an answer");
    assert!(matches!(outcome, Err(Error::Failed { .. })), "{outcome:?}");
}

/// Space was low for a moment while two steps were out; the first was refused, and the boot was dead for ever.
#[test]
fn a_step_that_has_its_number_is_taken() {
    let home = MemoryHome::default();
    drop(Ledger::create(&home, "test.example/stories", options()).expect("a new ledger"));
    let ledger = Ledger::open(&home, Options { reserve_bytes: 1000, ..options() }).expect("it opens");
    let writer = ledger.boot(boot_info(1)).expect("a boot");
    let (one, two) = (writer.ticket().expect("room"), writer.ticket().expect("room"));
    home.disk.set_free_bytes(10);
    std::thread::sleep(Duration::from_millis(30));
    assert!(matches!(writer.ticket().map(drop), Err(Error::LowSpace { .. })));
    one.append(StepRecord::default(), Level::Durable, None).expect("it has its number");
    two.append(StepRecord::default(), Level::Durable, None).expect("and so has this one");
}

/// An engine's old writer stopped after its new one had booted, and stopped the new one.
#[test]
fn an_old_writer_stops_itself_alone() {
    let (_, ledger) = in_memory();
    let old = ledger.boot(boot_info(1)).expect("a boot");
    let new = ledger.boot(boot_info(1)).expect("another");
    old.stop().expect("a stop");
    append(&new, Level::Durable, |_| StepRecord::default()).expect("the new one goes on");
}

/// After a freeze and a restart, the last entry of the old shard was "too long ago" to be recognised.
#[test]
fn a_repetition_is_recognised_across_a_freeze() {
    let (home, ledger) = in_memory();
    let writer = ledger.boot(boot_info(1)).expect("a boot");
    let prepared = writer.ticket().and_then(|ticket| ticket.prepare(StepRecord::default())).expect("a step");
    let first = ledger.append_durable(&prepared).expect("it is new");
    ledger.freeze_shard().expect("it freezes");
    assert_eq!(ledger.append_durable(&prepared), Ok(first));
    drop((writer, ledger));
    let ledger = Ledger::open(&home, options()).expect("it opens");
    assert_eq!(ledger.append_durable(&prepared), Ok(first));
}

/// Rows that every auditor refuses were taken, and spoiled the log for ever; and a row that was refused ended the boot.
#[test]
fn rows_that_no_auditor_takes_are_refused_and_the_boot_goes_on() {
    let (home, ledger) = in_memory();
    let writer = ledger.boot(boot_info(1)).expect("a boot");
    let mut running = Running::begin(&ledger, "clay", None).expect("a request");
    append(&writer, Level::Durable, |sequence| usage_step(&mut running, sequence)).expect("a step");
    let name = running.name();
    let check = |expected: &str, change: &dyn Fn(&mut Row)| {
        let refused = append(&writer, Level::Durable, |sequence| {
            let mut step = StepRecord::default();
            let (request, mut row) = running.completion(writer.boot_id(), sequence, 0);
            change(&mut row);
            step.rows.push((request, row));
            step
        });
        match refused {
            Err(Error::Row { what }) => assert!(what.contains(expected), "{what}"),
            other => panic!("{expected}: {other:?}"),
        }
    };
    let completion = |row: &mut Row, change: &dyn Fn(&mut loam_ledger_core::row::Completion)| match row {
        Row::Completion(completion) => change(completion),
        Row::Usage(_) => unreachable!("it is a completion"),
    };
    check("not the sum", &|row| completion(row, &|c| c.tokens = Tokens { emitted: 6, ..TOKENS }));
    check("not those of its answer", &|row| completion(row, &|c| c.pairs.clear()));
    check("another boot", &|row| completion(row, &|c| c.first.boot = [9; 16]));
    let complete = |sequence| StepRecord {
        rows: vec![running.completion(writer.boot_id(), sequence, 0)],
        ..StepRecord::default()
    };
    append(&writer, Level::Durable, complete).expect("the right one");
    check("is complete", &|_| ());
    assert!(ledger.receipt(&name, 0).is_ok());
    whole(&home);
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

/// A ledger whose making was cut short barred the folder for ever.
#[test]
fn a_ledger_that_was_cut_short_is_made_again() {
    let top = tempfile::tempdir().expect("a temporary folder");
    let data = top.path().join("deep").join("data");
    let unfinished = top.path().join("deep").join("data.unfinished");
    fs::create_dir_all(unfinished.join("store")).expect("what an earlier attempt left");
    fs::write(unfinished.join("floor"), b"half").expect("and more of it");
    let home = Folder::new(&data, Some(&top.path().join("floor-elsewhere")));
    drop(Ledger::create(&home, "test.example/stories", options()).expect("it is made again"));
    assert!(!unfinished.exists() && Path::new(&data).join("store/CURRENT").exists());
    assert!(top.path().join("floor-elsewhere").exists() && !data.join("floor").exists());
    assert_eq!(Ledger::open(&home, options()).expect("it opens").read_only(), None);
}
