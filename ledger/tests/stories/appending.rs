//! Appending, publishing, freezing.

use std::fs;
use std::sync::{Arc, Mutex, Weak, mpsc};
use std::time::Duration;

use loam_ledger::home::MemoryHome;
use loam_ledger::memory::Fault;
use loam_ledger::{Error, Folder, Ledger, Level, Options, StepRecord};
use loam_ledger_core::origin::LogId;

use crate::support::{append, boot_info, options};
use crate::{in_memory, whole};

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
    assert!(matches!(old.stop(), Err(Error::UnknownBoot { .. })));
    append(&new, Level::Durable, |_| StepRecord::default()).expect("the new one goes on");
}

/// What an old writer appended after its new one had booted was lost, and it heard that all was well, up to its stop.
#[test]
fn a_writer_is_told_what_was_refused() {
    let (_, ledger) = in_memory();
    let (one, two) = (ledger.boot(boot_info(1)).expect("a boot"), ledger.boot(boot_info(2)).expect("a boot"));
    let new = [1, 2].map(|engine| ledger.boot(boot_info(engine)).expect("another"));
    for old in [&one, &two] {
        old.append(StepRecord::default(), Level::Durable, None).expect("it is taken");
    }
    assert!(matches!(one.stop(), Err(Error::UnknownBoot { .. })));
    append(&new[0], Level::Durable, |_| StepRecord::default()).expect("all before it was decided on");
    let next = two.append(StepRecord::default(), Level::Durable, None);
    assert!(matches!(next, Err(Error::UnknownBoot { .. })), "{next:?}");
}

/// A boot said where the one before it stood on disk, while the queue held more of it, and was refused for that.
#[test]
fn a_boot_follows_what_is_queued() {
    let (_, ledger) = in_memory();
    for _ in 0..200 {
        let old = ledger.boot(boot_info(1)).expect("a boot");
        old.append(StepRecord::default(), Level::Durable, None).expect("it is taken");
    }
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
