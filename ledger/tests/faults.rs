//! Every effect of commit and publish fails, with and without having lasted; then the power goes; then all is well.

mod support;

use loam_ledger::home::MemoryHome;
use loam_ledger::memory::Fault;
use loam_ledger::{Acked, Committed, Error, Ledger, Level};
use loam_ledger_core::checkpoint::Checkpoint;
use loam_ledger_core::note::VerifierKey;
use loam_ledger_core::origin::LogId;
use support::{append, boot_info, options, whole_request};

/// What somebody outside was told in one life of the ledger.
#[derive(Default)]
struct Told {
    acked: Vec<Committed>,
    checkpoints: Vec<(VerifierKey, LogId, Vec<u8>)>,
}

impl Told {
    fn checkpoints_of(&mut self, ledger: &Ledger) -> Result<(), Error> {
        for log in ledger.logs() {
            if let Some(note) = ledger.checkpoint(log)? {
                self.checkpoints.push((ledger.verifier(log)?, log, note));
            }
        }
        Ok(())
    }
}

/// A life with everything in it: boots, rows, receipts, a freeze, an erasure, a clean stop.
fn live(ledger: Ledger, told: &mut Told) -> Result<(), Error> {
    let writer = ledger.boot(boot_info(1))?;
    let (first, acked) = whole_request(&ledger, &writer, "clay")?;
    told.acked.extend(acked);
    ledger.receipt(&first, 0)?;
    told.checkpoints_of(&ledger)?;
    told.acked.push(append(&writer, Level::Published, |_| Default::default())?);
    told.checkpoints_of(&ledger)?;
    ledger.erase(&first, 1)?;
    ledger.freeze_shard()?;
    let (second, acked) = whole_request(&ledger, &writer, "loess")?;
    told.acked.extend(acked);
    ledger.receipt(&second, 0)?;
    told.checkpoints_of(&ledger)?;
    writer.stop()?;
    ledger.close()
}

/// How many effects an undisturbed life has after the ledger was made.
fn effects_of_a_life() -> (usize, usize) {
    let home = MemoryHome::default();
    let ledger = Ledger::create(&home, "test.example/faults", options()).expect("an undisturbed disk");
    let made = home.disk.effects().len();
    live(ledger, &mut Told::default()).expect("an undisturbed life");
    (made, home.disk.effects().len())
}

fn check(fault: Fault) {
    let (made, all) = effects_of_a_life();
    assert!(all - made > 20, "a life has many effects, not {}", all - made);
    for effect in made..all {
        let home = MemoryHome::default();
        let ledger = Ledger::create(&home, "test.example/faults", options()).expect("nothing fails yet");
        home.disk.fail_at(effect, fault);
        let mut told = Told::default();
        let outcome = live(ledger, &mut told);
        assert!(outcome.is_err(), "{fault:?} at effect {effect}: a failed effect must be heard of");

        // The power goes. What was synced is there, and so is what failed and was kept.
        let after = MemoryHome { disk: home.disk.after_power_cut(), keys: home.keys.clone() };
        let at = |what: &str| format!("{what}, after {fault:?} at effect {effect} ({})", home.disk.effects()[effect]);
        verify(&after, &told, &at);
        // It goes on, and ends well.
        let ledger = Ledger::open(&after, options()).unwrap_or_else(|e| panic!("{}: {e}", at("reopening")));
        assert_eq!(ledger.read_only(), None, "{}", at("it opens for writing"));
        live(ledger, &mut told).unwrap_or_else(|e| panic!("{}: {e}", at("another life")));
        verify(&after, &told, &at);
    }
}

/// All that anybody was told is so.
fn verify(home: &MemoryHome, told: &Told, at: &dyn Fn(&str) -> String) {
    let acks: Vec<Acked> = told.acked.iter().map(|each| Acked { index: each.index, leaf: each.leaf }).collect();
    let examined = Ledger::examine(home, &acks).unwrap_or_else(|e| panic!("{}: {e}", at("examining")));
    assert_eq!(examined.wrong, Vec::<String>::new(), "{}", at("examining"));
    let ledger = Ledger::open_read_only(home).unwrap_or_else(|e| panic!("{}: {e}", at("reading")));
    for (key, log, note) in &told.checkpoints {
        let signed = Checkpoint::open(note, key).expect("a checkpoint that was shown is signed");
        assert_eq!(ledger.root_at(*log, signed.size), Ok(signed.root), "{}", at("an earlier checkpoint"));
    }
}

#[test]
fn failed_and_lost() {
    check(Fault::Lost);
}

#[test]
fn failed_but_kept() {
    check(Fault::Kept);
}

#[test]
fn failed_and_torn() {
    check(Fault::Torn);
}

/// Where making a ledger is cut short, there is none: it is never opened half-made, and can be made again elsewhere.
#[test]
fn making_a_ledger_is_all_or_nothing() {
    let home = MemoryHome::default();
    drop(Ledger::create(&home, "test.example/faults", options()));
    let all = home.disk.effects().len();
    for fault in [Fault::Lost, Fault::Kept, Fault::Torn] {
        for effect in 0..all {
            let home = MemoryHome::default();
            home.disk.fail_at(effect, fault);
            let outcome = Ledger::create(&home, "test.example/faults", options()).map(drop);
            assert!(outcome.is_err(), "{fault:?} at effect {effect}");
            let after = MemoryHome { disk: home.disk.after_power_cut(), keys: home.keys.clone() };
            if let Ok(ledger) = Ledger::open(&after, options())
                && ledger.read_only().is_none()
            {
                live(ledger, &mut Told::default()).expect("what opens is whole");
                verify(&after, &Told::default(), &|what| format!("{what}, after {fault:?} at effect {effect}"));
            }
        }
    }
}

/// A failure is sticky: nothing is tried again on the same store, and every call says so.
#[test]
fn a_failed_ledger_stays_failed() {
    let home = MemoryHome::default();
    let ledger = Ledger::create(&home, "test.example/faults", options()).expect("nothing fails yet");
    let writer = ledger.boot(boot_info(1)).expect("nothing fails yet");
    home.disk.fail_at(home.disk.effects().len(), Fault::Lost);
    let failed = append(&writer, Level::Durable, |_| Default::default());
    assert!(failed.is_err());
    let effects = home.disk.effects().len();
    let again = append(&writer, Level::Durable, |_| Default::default());
    assert!(matches!(again, Err(Error::Failed { .. })), "{again:?}");
    assert!(matches!(ledger.publish(), Err(Error::Failed { .. })));
    assert!(matches!(ledger.freeze_shard(), Err(Error::Failed { .. })));
    assert!(matches!(ledger.begin_request(None).map(drop), Err(Error::Failed { .. })));
    assert!(matches!(ledger.health(), Err(Error::Failed { .. })));
    assert!(ledger.close().is_err());
    assert_eq!(home.disk.effects().len(), effects, "nothing was written after the failure");
}
