//! Requests, their secrets and rows.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Condvar, Mutex};
use std::time::Duration;

use loam_ledger::home::{MemoryHome, Plain};
use loam_ledger::store::{Batch, Space, Store};
use loam_ledger::{Error, Ledger, Level, StepRecord, Writer};
use loam_ledger_core::hash::digest;
use loam_ledger_core::row::{Completion, Row, Tokens, Usage};

use crate::hooked::{Hook, Hooked};
use crate::support::{Running, TOKENS, append, boot_info, options, usage_step, whole_request};
use crate::{in_memory, whole};

/// The same through erasing, where an account could not be read.
#[test]
fn an_erasure_that_fails_changes_nothing() {
    let (home, ledger) = in_memory();
    let writer = ledger.boot(boot_info(1)).expect("a boot");
    let (request, _) = whole_request(&ledger, &writer, "clay").expect("a request");
    // Of stage 0, and of no epoch yet.
    let mut key = [&[0; 12][..], &digest(b"policy").0, &digest(b"clay").0].concat();
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
        Row::Usage(usage) => Row::Usage(Usage { choice, ..usage }),
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
    let accounts = ledger.erased_accounts().expect("accounts");
    assert_eq!(accounts.iter().map(|account| account.emitted_tokens).sum::<u64>(), 10);
    assert_eq!(accounts.iter().map(|account| account.fee_nano).sum::<u64>(), 5);
    whole(&home);
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
    let completion = |row: &mut Row, change: &dyn Fn(&mut Completion)| match row {
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

/// A request outlived its ledger, and a step of the ledger that was opened next took its rows, past the hold against
/// erasing; a request of another ledger was taken too.
#[test]
fn a_request_belongs_to_the_ledger_that_began_it() {
    let (home, ledger) = in_memory();
    let writer = ledger.boot(boot_info(1)).expect("a boot");
    let mut running = Running::begin(&ledger, "clay", None).expect("a request");
    append(&writer, Level::Durable, |sequence| usage_step(&mut running, sequence)).expect("a step");
    let ticket = writer.ticket().expect("a ticket");
    let step = usage_step(&mut running, ticket.sequence());
    let prepared = ticket.prepare(step).expect("a step that nobody appended yet");
    drop((writer, ledger));
    let ledger = Ledger::open(&home, options()).expect("it opens");
    assert_eq!(ledger.append_durable(&prepared), Err(Error::ForeignRequest));
    let writer = ledger.boot(boot_info(1)).expect("a boot");
    let refused = append(&writer, Level::Durable, |sequence| usage_step(&mut Running::again(&running), sequence));
    assert_eq!(refused, Err(Error::ForeignRequest));
    assert_eq!(ledger.erase(&running.name(), 1), Ok(()));
    whole(&home);
}

/// Two writers took rows of one request at once, each in a boot of its own.
#[test]
fn a_request_runs_in_one_boot() {
    let (home, ledger) = in_memory();
    let (one, other) = (ledger.boot(boot_info(1)).expect("a boot"), ledger.boot(boot_info(2)).expect("a boot"));
    for _ in 0..50 {
        let running = Running::begin(&ledger, "clay", None).expect("a request");
        let try_in = |writer: &Writer| {
            let mut mine = Running::again(&running);
            append(writer, Level::Durable, |sequence| usage_step(&mut mine, sequence)).is_ok()
        };
        let (first, second) = std::thread::scope(|scope| {
            let first = scope.spawn(|| try_in(&one));
            (try_in(&other), first.join().expect("no panic"))
        });
        assert!(first ^ second, "exactly one boot has it");
    }
    whole(&home);
}
