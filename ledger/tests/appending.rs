//! Appending: what is refused by name, what is told again, and what each acknowledgement means.

mod support;

use std::time::Duration;

use loam_ledger::home::MemoryHome;
use loam_ledger::{Committed, Error, Ledger, Level, Options, StepRecord, Ticket};
use loam_ledger_core::hash::leaf_hash;
use loam_ledger_core::origin::LogId;
use loam_ledger_core::receipt::Held;
use loam_ledger_core::tree::check_consistency;
use support::{ANSWER, PROMPT, Running, TOKENS, append, boot_info, options, usage_step, whole_request};

const SHARD: LogId = LogId::Usage(1);

fn new_ledger(home: &MemoryHome) -> Ledger {
    Ledger::create(home, "test.example/appending", options()).expect("a new ledger")
}

fn empty(ticket: Ticket<'_>) -> loam_ledger::Prepared {
    ticket.prepare(StepRecord::default()).expect("an empty step")
}

#[test]
fn an_entry_that_comes_again_is_told_where_it_lies() {
    let home = MemoryHome::default();
    let ledger = new_ledger(&home);
    let writer = ledger.boot(boot_info(1)).expect("a boot");
    let prepared = empty(writer.ticket().expect("a ticket"));
    let first = ledger.append_durable(&prepared).expect("it is new");
    assert_eq!(ledger.append_durable(&prepared), Ok(first), "it is there already");
    drop((writer, ledger));
    let ledger = Ledger::open(&home, options()).expect("it opens");
    assert_eq!(ledger.append_durable(&prepared), Ok(first), "also after a restart");
    assert_eq!(ledger.size(SHARD), Ok(2));
}

#[test]
fn a_gap_is_refused_by_name() {
    let ledger = new_ledger(&MemoryHome::default());
    let writer = ledger.boot(boot_info(1)).expect("a boot");
    let (first, second) = (empty(writer.ticket().expect("a ticket")), empty(writer.ticket().expect("a ticket")));
    assert_eq!(
        ledger.append_durable(&second),
        Err(Error::Gap { engine: [1; 16], expected: 1, found: 2 }),
        "the first one never came"
    );
    ledger.append_durable(&first).expect("now it comes");
    ledger.append_durable(&second).expect("and the second fits");
    assert_eq!(ledger.size(SHARD), Ok(3));
}

#[test]
fn a_boot_that_is_not_here_is_refused_by_name() {
    let ledger = new_ledger(&MemoryHome::default());
    let writer = ledger.boot(boot_info(1)).expect("a boot");
    let prepared = empty(writer.ticket().expect("a ticket"));
    let other = new_ledger(&MemoryHome::default());
    assert!(matches!(other.append_durable(&prepared), Err(Error::UnknownBoot { .. })));
    writer.stop().expect("a stop");
    let stopped = ledger.append_durable(&prepared);
    assert!(matches!(stopped, Err(Error::UnknownBoot { .. })), "a boot that stopped takes no more");
}

#[test]
fn totals_that_disagree_are_refused_and_nothing_is_written() {
    let ledger = new_ledger(&MemoryHome::default());
    let check = |step: StepRecord, expected: Error| {
        let writer = ledger.boot(boot_info(3)).expect("a boot");
        let size = ledger.size(SHARD);
        let ticket = writer.ticket().expect("a ticket");
        let outcome = ticket.prepare(step).and_then(|prepared| ledger.append_durable(&prepared));
        assert_eq!(outcome.map(drop), Err(expected));
        assert_eq!(ledger.size(SHARD), size);
    };
    check(StepRecord { emitted_tokens: 5, ..StepRecord::default() }, Error::TotalsDisagree);
    let mut running = Running::begin(&ledger, "clay", None).expect("a request");
    check(
        StepRecord { rows: vec![running.usage(1, TOKENS)], open_requests: 1, ..StepRecord::default() },
        Error::RowsExceedEntries,
    );
}

#[test]
fn a_row_under_another_requests_secret_is_refused_and_the_chain_goes_on() {
    let ledger = new_ledger(&MemoryHome::default());
    let writer = ledger.boot(boot_info(1)).expect("a boot");
    let mut one = Running::begin(&ledger, "clay", None).expect("a request");
    let other = Running::begin(&ledger, "clay", None).expect("a request");
    let (_, row) = one.usage(1, TOKENS);
    let step = StepRecord { rows: vec![(other.request.clone(), row)], ..StepRecord::default() };
    assert_eq!(writer.append(step, Level::Durable, None), Err(Error::RowOfAnotherRequest));
    append(&writer, Level::Durable, |sequence| usage_step(&mut one, sequence)).expect("the number is free again");
}

/// A boot says where the one before it ended, and closes what it left.
#[test]
fn a_boot_closes_what_a_crash_left() {
    let home = MemoryHome::default();
    let ledger = new_ledger(&home);
    let writer = ledger.boot(boot_info(1)).expect("a boot");
    let open = |_| StepRecord { emitted_tokens: 9, open_requests: 2, ..StepRecord::default() };
    append(&writer, Level::Durable, open).expect("a step");
    drop((writer, ledger));
    let ledger = Ledger::open(&home, options()).expect("it opens");
    let writer = ledger.boot(boot_info(1)).expect("a boot");
    let entry = ledger.entry(SHARD, 2).expect("the second boot entry");
    let loam_ledger_core::entry::Entry::Boot(boot) = loam_ledger_core::entry::Entry::decode(&entry).expect("an entry")
    else {
        panic!("a boot entry")
    };
    let previous = boot.previous.expect("it had a boot before");
    assert_eq!((previous.sequence, previous.clean), (1, false));
    assert_eq!((previous.unrowed.requests, previous.unrowed.emitted_tokens), (2, 9));
    writer.stop().expect("a stop");
    let _third = ledger.boot(boot_info(1)).expect("a boot");
    assert_eq!(Ledger::examine(&home, &[]).expect("it can be read").wrong, Vec::<String>::new());
}

#[test]
fn published_means_covered_by_a_stored_checkpoint() {
    let ledger = new_ledger(&MemoryHome::default());
    let writer = ledger.boot(boot_info(1)).expect("a boot");
    append(&writer, Level::Durable, |_| StepRecord::default()).expect("a step");
    assert_eq!(ledger.signed_size(SHARD), Ok(Some(0)), "durable is not yet signed");
    let Committed { index, leaf, .. } = append(&writer, Level::Published, |_| StepRecord::default()).expect("a step");
    assert_eq!(ledger.signed_size(SHARD), Ok(Some(index + 1)));
    let proof = ledger.prove(SHARD, index).expect("a proof");
    let key = ledger.verifier(SHARD).expect("a key");
    assert_eq!(proof.check(&leaf, &key).map(|checkpoint| checkpoint.size), Ok(index + 1));
    assert_eq!(leaf_hash(&ledger.entry(SHARD, index).expect("an entry")), leaf);
}

#[test]
fn any_two_sizes_are_consistent() {
    let ledger = new_ledger(&MemoryHome::default());
    let writer = ledger.boot(boot_info(1)).expect("a boot");
    let sequences: Vec<_> =
        (0..600).map(|_| writer.append(StepRecord::default(), Level::Durable, None).expect("a step")).collect();
    ledger.publish().expect("it waits for nothing");
    append(&writer, Level::Published, |_| StepRecord::default()).expect("a step");
    let size = ledger.size(SHARD).expect("a size");
    assert_eq!(size, sequences.len() as u64 + 2);
    for old in [1, 2, 255, 256, 257, 511, 512, 513, size] {
        let path = ledger.consistency(SHARD, old, size).expect("a proof");
        let (old_root, new_root) =
            (ledger.root_at(SHARD, old).expect("a root"), ledger.root_at(SHARD, size).expect("a root"));
        assert_eq!(check_consistency(old, size, &old_root, &new_root, &path), Ok(()), "{old} to {size}");
    }
    assert!(ledger.consistency(SHARD, 0, size).is_err());
    assert!(matches!(ledger.consistency(SHARD, 1, size + 1), Err(Error::NotThatLarge { .. })));
    assert!(matches!(ledger.prove(SHARD, size), Err(Error::NotInLog { .. })));
}

#[test]
fn a_tail_waits_for_what_comes() {
    let ledger = new_ledger(&MemoryHome::default());
    assert_eq!(ledger.tail(SHARD, 0, 10, Duration::from_millis(1)), Ok(Vec::new()));
    let writer = ledger.boot(boot_info(1)).expect("a boot");
    std::thread::scope(|scope| {
        let tail = scope.spawn(|| ledger.tail(SHARD, 1, 10, Duration::from_secs(20)));
        append(&writer, Level::Durable, |_| StepRecord::default()).expect("a step");
        assert_eq!(tail.join().expect("no panic").expect("entries").len(), 1);
    });
    assert_eq!(ledger.tail(SHARD, 0, 1, Duration::ZERO).expect("entries").len(), 1);
}

#[test]
fn low_space_refuses_by_name_and_lifts_by_itself() {
    let home = MemoryHome::default();
    drop(new_ledger(&home));
    let ledger = Ledger::open(&home, Options { reserve_bytes: 1000, ..options() }).expect("it opens");
    let writer = ledger.boot(boot_info(1)).expect("a boot");
    home.disk.set_free_bytes(999);
    // A reading of the free space is believed for a moment.
    std::thread::sleep(Duration::from_millis(30));
    let low = Error::LowSpace { free: 999, reserve: 1000 };
    assert_eq!(writer.append(StepRecord::default(), Level::Durable, None), Err(low.clone()));
    assert_eq!(ledger.begin_request(None).map(drop), Err(low.clone()));
    assert_eq!(ledger.freeze_shard(), Err(low));
    // What runs already uses the reserve.
    let ticket = writer.ticket_within_reserve().expect("the ledger is well");
    ticket.append(StepRecord::default(), Level::Durable, None).expect("a step of what runs");
    home.disk.set_free_bytes(2000);
    std::thread::sleep(Duration::from_millis(30));
    append(&writer, Level::Durable, |_| StepRecord::default()).expect("there is room again");
}

#[test]
fn a_shard_freezes_and_the_next_goes_on() {
    let home = MemoryHome::default();
    let ledger = new_ledger(&home);
    let writer = ledger.boot(boot_info(1)).expect("a boot");
    let (first, _) = whole_request(&ledger, &writer, "clay").expect("a request");
    assert_eq!(ledger.freeze_shard(), Ok(LogId::Usage(2)));
    let (second, acked) = whole_request(&ledger, &writer, "clay").expect("a request");
    assert_eq!(acked[0].log, LogId::Usage(2));
    assert_eq!(acked[0].index, 0);
    for (request, log) in [(first, SHARD), (second, LogId::Usage(2))] {
        let receipt = ledger.receipt(&request, 0).expect("a receipt");
        let key = ledger.verifier(log).expect("a key");
        let held = Held { request: Some(PROMPT), output: Some(ANSWER), tokens: Some(10), ..Held::default() };
        let checked = receipt.check(&key, &held);
        assert_eq!(checked.refused(), None);
        assert!(checked.bound());
        let foreign = ledger.verifier(LogId::Records).expect("a key");
        assert_eq!(receipt.check(&foreign, &held).refused().map(|(line, _)| line), Some("checkpoint"));
    }
    assert_eq!(Ledger::examine(&home, &[]).expect("it can be read").wrong, Vec::<String>::new());
}

/// Many threads through one writer: each entry names the one before it, whoever made it.
#[test]
fn threads_share_a_writer() {
    let home = MemoryHome::default();
    let ledger = new_ledger(&home);
    let writer = ledger.boot(boot_info(1)).expect("a boot");
    std::thread::scope(|scope| {
        for adapter in ["clay", "loess", "peat", "silt"] {
            let (ledger, writer) = (&ledger, &writer);
            scope.spawn(move || {
                for _ in 0..50 {
                    whole_request(ledger, writer, adapter).expect("a request");
                }
            });
        }
    });
    assert_eq!(ledger.size(SHARD), Ok(401));
    writer.stop().expect("a stop");
    ledger.close().expect("a clean end");
    assert_eq!(Ledger::examine(&home, &[]).expect("it can be read").wrong, Vec::<String>::new());
}
