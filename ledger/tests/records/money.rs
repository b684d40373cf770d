//! Prices, epochs, and what is erased around them: every fee is settled once.

use std::path::Path;

use loam_ledger::{Error, Level, RowScope};
use loam_ledger_core::Hash;
use loam_ledger_core::division::epoch_seed;
use loam_ledger_core::entry::Entry;
use loam_ledger_core::epoch::{Account, Carried, RowPlace, Settlement};
use loam_ledger_core::hash::digest;
use loam_ledger_core::origin::LogId;
use loam_ledger_core::record::{Act, EpochClosed};
use loam_ledger_core::registry::{Refusal, commitment};
use loam_ledger_core::sum_tree::Kind;

use crate::people::{Village, Who};
use crate::support::{Running, append, boot_info, usage_step};
use crate::{after_power_cut, whole};

/// Three tokens of prompt at 10, one reused at 1, five delivered at 100.
const FEE: u128 = 531;

fn seed(epoch: u32) -> Hash {
    digest(format!("seed {epoch}").as_bytes())
}

impl Village {
    /// Answers some requests, each in a step of its own, by the prices in force.
    fn answer(&self, count: usize) -> Vec<Hash> {
        self.answer_for(0, count)
    }

    /// The same for this fee, by a policy of nobody's; by the prices in force where it is 0.
    fn answer_for(&self, fee_nano: u64, count: usize) -> Vec<Hash> {
        let writer = self.ledger.boot(boot_info(9)).expect("a boot");
        let mut names = Vec::new();
        for _ in 0..count {
            let mut running = Running::begin(&self.ledger, "clay", None).expect("a request");
            append(&writer, Level::Durable, |sequence| {
                let mut step = usage_step(&mut running, sequence);
                step.rows.push(running.completion(writer.boot_id(), sequence, fee_nano));
                step
            })
            .expect("a step");
            names.push(running.name());
        }
        writer.stop().expect("a stop");
        names
    }

    /// Lets the clock go by: it moves with each look.
    fn wait(&self) {
        for _ in 0..60 {
            self.ledger.begin_request(None).expect("a request");
            self.answer(0);
        }
    }

    fn draft(&self, epoch: u32) -> Result<EpochClosed, Error> {
        let opened = if epoch == 1 { Hash::ZERO } else { seed(epoch) };
        self.ledger.draft_epoch(opened, commitment(&seed(epoch + 1))).map(|draft| draft.act)
    }

    fn close(&mut self, epoch: u32) -> EpochClosed {
        let act = self.draft(epoch).expect("a draft");
        self.say(Who::Operator, Act::EpochClosed(act.clone())).expect("a close");
        act
    }

    fn priced() -> Self {
        let mut village = Self::new();
        village.policy(100);
        village.wait();
        village
    }
}

#[test]
fn rows_name_the_policy_in_force_at_their_first_step() {
    let mut village = Village::new();
    village.answer(1);
    let first = village.policy(100);
    village.wait();
    village.answer(2);
    let second = village.policy(200);
    village.wait();
    village.answer(1);
    let act = village.close(1);
    assert_eq!((act.usage.count, act.policy), (4, second));
    // One before any price, two at 531, one at 1,031.
    assert_eq!(act.totals.fees, 2 * FEE + FEE + 500);
    let draft = village.draft(2).expect("another");
    assert_eq!(draft.usage.count, 0);
    assert_ne!(first, second);
    whole(&village.home);
}

#[test]
fn settled_findings_are_none() {
    let village = Village::priced();
    village.answer(3);
    let draft = village.ledger.draft_epoch(Hash::ZERO, commitment(&seed(2))).expect("a draft");
    assert_eq!(draft.settled.findings.count, 0, "{:?}", draft.settled.findings.first);
    assert_eq!(draft.act.totals.fees, 3 * FEE);
}

#[test]
fn only_the_last_draft_closes_an_epoch() {
    let mut village = Village::priced();
    village.answer(1);
    let old = village.draft(1).expect("a draft");
    village.answer(1);
    let new = village.draft(1).expect("a draft");
    let refused = village.say(Who::Operator, Act::EpochClosed(old));
    assert!(matches!(refused, Err(Error::NotDrafted { .. })));
    let mut more = new.clone();
    more.totals.paid += 1;
    assert!(matches!(village.say(Who::Operator, Act::EpochClosed(more)), Err(Error::NotDrafted { .. })));
    // Ann may sign it, and the rules refuse her.
    let by_ann = village.say(Who::Ann, Act::EpochClosed(new.clone()));
    assert_eq!(by_ann, Err(Error::Refused(Refusal::NotOperator)));
    village.say(Who::Operator, Act::EpochClosed(new)).expect("a close");
    whole(&village.home);
}

#[test]
fn a_draft_is_forgotten_by_a_restart_and_made_again() {
    let mut village = Village::priced();
    village.answer(2);
    let act = village.draft(1).expect("a draft");
    let (home, ledger) = after_power_cut(&village.home);
    (village.home, village.ledger) = (home, ledger);
    let refused = village.say(Who::Operator, Act::EpochClosed(act.clone()));
    assert!(matches!(refused, Err(Error::NotDrafted { .. })));
    let again = village.close(1);
    assert_eq!(again, act);
}

#[test]
fn without_a_policy_no_epoch_is_drafted() {
    let village = Village::new();
    village.answer(1);
    let refused = village.draft(1).expect_err("nothing says what a token costs").to_string();
    assert!(refused.contains("no price policy is in force"), "{refused}");
}

/// Rows are erased before a draft, between two drafts, between a draft and its close, and after the close. Each fee is in
/// one epoch, once, and whoever settles again comes to the same.
#[test]
fn each_fee_is_settled_once_whenever_its_row_is_erased() {
    let mut village = Village::priced();
    let first = village.answer(5);
    village.ledger.erase(&first[0], 1).expect("before any draft");
    village.draft(1).expect("a first draft");
    village.ledger.erase(&first[1], 1).expect("between the drafts");
    let act = village.draft(1).expect("a second draft");
    assert_eq!((act.totals.fees, act.totals.erased), (3 * FEE, 2 * FEE));
    village.ledger.erase(&first[2], 1).expect("between draft and close");
    let late = village.answer(2);
    village.ledger.erase(&late[0], 1).expect("behind what the draft covers");
    village.say(Who::Operator, Act::EpochClosed(act)).expect("a close");
    village.ledger.erase(&first[3], 1).expect("after the close");
    let second = village.close(2);
    assert_eq!((second.totals.fees, second.totals.erased), (FEE, FEE));

    let left = village.ledger.erased_of_epoch(1).expect("what is left of it");
    let sum = |rows: &[loam_ledger_core::epoch::ErasedRows]| rows.iter().map(|rows| rows.fee_nano).sum::<u64>();
    assert_eq!((sum(&left.erased), sum(&left.forgotten), left.fees.len()), (2 * 531, 2 * 531, 2));
    let left = village.ledger.erased_of_epoch(2).expect("what is left of it");
    assert_eq!((sum(&left.erased), sum(&left.forgotten), left.fees.len()), (531, 0, 0));
    let (after, ledger) = after_power_cut(&village.home);
    assert_eq!(ledger.erased_accounts().expect("accounts").iter().map(|rows| rows.fee_nano).sum::<u64>(), 5 * 531);
    drop(ledger);
    whole(&after);
    settle_again(&village);
}

/// What erased answers came to is kept in 64 bits until an epoch takes it: one that does not fit waits for that, and is told.
#[test]
fn an_erasure_that_no_account_can_hold_is_done_after_a_close() {
    let mut village = Village::priced();
    let names = village.answer_for(u64::MAX, 2);
    village.ledger.erase(&names[0], 1).expect("it fits alone");
    let full = village.ledger.erase(&names[1], 1);
    assert_eq!(full, Err(Error::ErasedFull));
    let words = Error::ErasedFull.to_string();
    assert!(words.ends_with("close the epoch with `loam epoch close`, then erase again"), "{words}");
    assert!(village.ledger.receipt(&names[1], 0).is_ok(), "nothing of it is erased");
    village.close(1);
    village.ledger.erase(&names[1], 1).expect("the epoch took the other");
    whole(&village.home);
    settle_again(&village);
}

/// An auditor's way: entries and granted rows in order, what is left of the others beside them.
fn settle_again(village: &Village) {
    let ledger = &village.ledger;
    let epochs = ledger.with_registry(|registry| registry.money().epochs().to_vec()).expect("epochs");
    let mut carried = Carried::default();
    for (_, act) in epochs {
        let mut by = loam_ledger_core::registry::Registry::new("test.example/records/records");
        for entry in ledger.record_entries(0, act.records).expect("entries") {
            by.fold(&Entry::decode(&entry).expect("an entry")).expect("none is void");
        }
        let last = act.covered.last().expect("something is covered").root;
        let mut settlement = Settlement::new(&by, epoch_seed(&act.seed, &last), carried);
        let left = ledger.erased_of_epoch(act.epoch).expect("what is left");
        for part in &act.covered {
            let log = LogId::Usage(part.shard);
            for index in part.from..part.to {
                settlement.entry(&Entry::decode(&ledger.entry(log, index).expect("an entry")).expect("an entry"));
                let rows = ledger.rows(log, index, &RowScope::Settlement).expect("rows").unwrap_or_default();
                for (row, granted) in (0..).zip(rows) {
                    let place = RowPlace { shard: part.shard, index, row };
                    let fee = left.fees.iter().find(|(of, _)| *of == place);
                    match (&granted, fee) {
                        (loam_ledger_core::granted::GrantedRow::Open { row, .. }, None) => {
                            let row = loam_ledger_core::row::Row::decode(row).expect("a row");
                            if let loam_ledger_core::row::Row::Completion(row) = row {
                                settlement.completion(place, &granted.leaf(), &row);
                            }
                        }
                        (_, Some((_, fee))) => settlement.forgotten(place, &granted.leaf(), *fee),
                        _ => {}
                    }
                }
            }
        }
        left.erased.iter().for_each(|rows| settlement.erased(rows));
        left.forgotten.iter().for_each(|rows| settlement.forgotten_mix(rows));
        let settled = settlement.finish();
        assert_eq!(loam_ledger_core::audit::compare(&act, &settled), [], "epoch {}", act.epoch);
        carried = settled.carried();
    }
}

#[test]
fn a_payee_is_shown_their_statement_with_its_proof() {
    let mut village = Village::priced();
    village.answer(4);
    let act = village.close(1);
    let operator = village.operator.contributor();
    let (_, ledger) = after_power_cut(&village.home);
    let (_, closed, statement) = ledger.statement(1, &operator).expect("a statement");
    assert_eq!(closed, act);
    assert_eq!(statement.paid.sum_nano(), act.totals.paid);
    let proof = statement.proof.expect("a proof");
    assert!(proof.check_member(Kind::Payouts, &act.payouts).is_ok());
    assert_eq!((proof.value, proof.amount), (statement.paid.digest(), statement.paid.sum_nano()));
    let (_, _, of_ann) = ledger.statement(1, &village.ann.contributor()).expect("a statement");
    let absent = of_ann.proof.expect("the way to another's leaf");
    assert!(absent.check_absent(Kind::Payouts, &act.payouts, &village.ann.contributor().0).is_ok());
    let accounts = ledger.accounts_of(1).expect("accounts");
    assert_eq!(accounts.tree(None).0, act.payouts);
    let waiting = accounts.of(&Account::LineageData(digest(b"clay"))).expect("nobody published it");
    assert!(waiting.sum_nano() > 0);
    assert!(ledger.statement(2, &operator).is_err());
}

#[test]
fn a_receipt_holder_is_shown_that_their_answer_is_in() {
    let mut village = Village::priced();
    let names = village.answer(3);
    let act = village.close(1);
    let receipt = village.ledger.receipt(&names[1], 0).expect("a receipt");
    let place = RowPlace { shard: 1, index: receipt.proof.index, row: receipt.opening.row_index };
    let (_, closed, proof) = village.ledger.usage_proof(&place).expect("a proof");
    let proof = proof.expect("a proof");
    assert_eq!((closed, proof.amount), (act.clone(), FEE));
    assert!(proof.check_member(Kind::Usage, &act.usage).is_ok());
    // Erased after it was settled, its neighbour still counts.
    village.ledger.erase(&names[0], 1).expect("an erasure");
    let (_, _, again) = village.ledger.usage_proof(&place).expect("a proof");
    assert_eq!(again, Some(proof));
    let nowhere = RowPlace { index: 10_000, ..place };
    assert!(village.ledger.usage_proof(&nowhere).is_err());
}

#[test]
fn another_policy_is_simulated_without_changing_anything() {
    let mut village = Village::priced();
    village.answer(4);
    let act = village.close(1);
    let (_, mut policy) = village.ledger.with_registry(|registry| registry.money().policies()[0].clone()).expect("it");
    policy.prices[0].delivered_nano = 200;
    let simulated = village.ledger.simulate_epoch(1, &policy).expect("a simulation");
    assert_eq!((simulated.act.totals.fees, simulated.act.covered.len()), (4 * (FEE + 500), act.covered.len()));
    policy.prices[0].delivered_nano = 100;
    assert_eq!(village.ledger.simulate_epoch(1, &policy).expect("a simulation").act, act);
}

/// A shard is frozen in the middle of an epoch, and another after one.
#[test]
fn epochs_go_on_over_shards() {
    let mut village = Village::priced();
    village.answer(1);
    village.ledger.freeze_shard().expect("a new shard");
    village.answer(2);
    let first = village.close(1);
    assert_eq!((first.covered.len(), first.usage.count), (2, 3));
    village.answer(1);
    village.ledger.freeze_shard().expect("a new shard");
    village.answer(1);
    let second = village.close(2);
    assert_eq!(second.usage.count, 2);
    village.ledger.freeze_shard().expect("a new shard");
    let third = village.close(3);
    assert_eq!(third.usage.count, 0);
    settle_again(&village);
    whole(&village.home);
}

#[test]
fn an_export_for_settling_has_what_erased_rows_left() {
    let mut village = Village::priced();
    let names = village.answer(3);
    village.ledger.erase(&names[0], 1).expect("an erasure");
    village.close(1);
    village.ledger.erase(&names[1], 1).expect("an erasure");
    let folder = tempfile::tempdir().expect("a folder");
    let there = |out: &Path, what: &str| out.join("records/epochs/1").join(what).exists();
    let (all, public) = (folder.path().join("all"), folder.path().join("public"));
    village.ledger.export_all(&RowScope::Settlement, &all).expect("an export");
    village.ledger.export_all(&RowScope::Public, &public).expect("an export");
    for what in ["erased", "forgotten", "fees"] {
        assert!(there(&all, what) && !there(&public, what), "{what}");
    }
    assert_eq!(std::fs::read(all.join("records/epochs/1/fees")).expect("a file").len(), 24);
}
