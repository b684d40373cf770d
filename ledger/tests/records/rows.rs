//! Datasets: rows come with their records, and can be forgotten without a proof changing.

use loam_ledger::{Error, Offer, Payload};
use loam_ledger_core::hash::digest;
use loam_ledger_core::origin::LogId;
use loam_ledger_core::record::{
    Access, Act, ActCount, ActKind, ContributionProposed, DatasetCreated, Operation, RedactionReason, RowRedacted,
    operations_root,
};
use loam_ledger_core::registry::Refusal;

use crate::people::{Village, Who, add, correct, licence, row, row_id};
use crate::{after_power_cut, whole};

const OLD: &str = "clay holds water";
const NEW: &str = "clay holds water for weeks";

/// One row in a first revision, corrected in a second.
fn corrected() -> (Village, [loam_ledger_core::record::RecordId; 3]) {
    let mut village = Village::new();
    let dataset = village.dataset();
    let ((old, old_says), (new, new_says)) = (row("clay", OLD), row("clay", NEW));
    let first = vec![add(vec![old])];
    let offer = village.proposal(dataset, None, first.clone(), vec![old_says]);
    let work = village.offer(Who::Ann, offer).expect("an offer").id;
    let one = village.commit(dataset, None, &[(work, first)]).expect("a revision").id;
    let second = vec![correct(old, new)];
    let offer = village.proposal(dataset, Some(one), second.clone(), vec![new_says]);
    let work = village.offer(Who::Ann, offer).expect("an offer").id;
    let two = village.commit(dataset, Some(one), &[(work, second)]).expect("a revision").id;
    (village, [dataset, one, two])
}

#[test]
fn rows_are_there_after_a_power_cut() {
    let (village, [_, one, two]) = corrected();
    let (after, ledger) = after_power_cut(&village.home);
    for (revision, words) in [(one, OLD), (two, NEW)] {
        let rows = ledger.rows_of(&revision).expect("rows");
        let payload = ledger.payload(&rows[&row_id("clay")]).expect("it opens").expect("it is there");
        assert_eq!(payload.bytes, words.as_bytes());
    }
    drop(ledger);
    whole(&after);
}

#[test]
fn what_rows_say_lies_nowhere_in_clear() {
    let (village, _) = corrected();
    let found = |bytes: &Vec<u8>| bytes.windows(OLD.len()).any(|window| window == OLD.as_bytes());
    assert!(!village.home.disk.all_bytes().iter().any(found));
}

#[test]
fn a_redacted_row_is_gone_in_every_revision_and_every_proof_stays() {
    let (mut village, [dataset, one, two]) = corrected();
    let before = village.ledger.prove(LogId::Records, 4).expect("a proof");
    let act = RowRedacted { dataset, row: row_id("clay"), reason: RedactionReason::Asked };
    village.say(Who::Ann, Act::RowRedacted(act)).expect("a redaction");
    let (after, ledger) = after_power_cut(&village.home);
    for revision in [one, two] {
        let rows = ledger.rows_of(&revision).expect("what rows there are stays known");
        assert_eq!(ledger.payload(&rows[&row_id("clay")]), Err(Error::Erased));
    }
    let entry = ledger.entry(LogId::Records, 4).expect("an entry");
    let key = ledger.verifier(LogId::Records).expect("a key");
    assert!(before.check(&loam_ledger_core::hash::leaf_hash(&entry), &key).is_ok());
    drop(ledger);
    whole(&after);
}

/// The same words offered twice lay under two secrets, of which redacting erased one.
#[test]
fn words_that_came_twice_are_redacted_and_do_not_come_back() {
    let mut village = Village::new();
    let dataset = village.dataset();
    let (clay, says) = row("clay", OLD);
    for _ in 0..2 {
        let offer = village.proposal(dataset, None, vec![add(vec![clay])], vec![says.clone()]);
        village.offer(Who::Ann, offer).expect("an offer");
    }
    let act = RowRedacted { dataset, row: row_id("clay"), reason: RedactionReason::Asked };
    village.say(Who::Ann, Act::RowRedacted(act)).expect("a redaction");
    assert_eq!(village.ledger.payload(&clay.content), Err(Error::Erased));
    let offer = village.proposal(dataset, None, vec![add(vec![clay])], vec![says]);
    let refused = village.offer(Who::Ann, offer).expect_err("it is refused").to_string();
    assert!(refused.contains("was redacted"), "{refused}");
    assert_eq!(village.ledger.payload(&clay.content), Err(Error::Erased));
    let (anew, says) = row("clay", NEW);
    let offer = village.proposal(dataset, None, vec![add(vec![anew])], vec![says]);
    assert!(village.offer(Who::Ann, offer).expect_err("it is refused").to_string().contains("was redacted"));
    assert_eq!(village.ledger.payload(&anew.content), Ok(None));
}

/// Whoever comes first: what is redacted is gone, also what somebody offers at that very moment.
#[test]
fn rows_are_offered_beside_their_redaction() {
    for _ in 0..20 {
        let mut village = Village::new();
        let dataset = village.dataset();
        let (clay, says) = row("clay", OLD);
        let offer = village.proposal(dataset, None, vec![add(vec![clay])], vec![says]);
        let act = RowRedacted { dataset, row: row_id("clay"), reason: RedactionReason::Asked };
        let redaction = village.signed(Who::Operator, Act::RowRedacted(act));
        let ledger = &village.ledger;
        std::thread::scope(|scope| {
            let offered = scope.spawn(|| ledger.offer(offer));
            ledger.offer(redaction).expect("a redaction");
            let _ = offered.join().expect("the thread ends");
        });
        assert!(matches!(ledger.payload(&clay.content), Ok(None) | Err(Error::Erased)));
        whole(&village.home);
    }
}

/// Of two records that somebody signed for the same place one is refused, and no row of it is stored, at whatever moment
/// the other comes.
#[test]
fn rows_of_who_comes_too_late_are_not_kept() {
    for round in 0..40_u32 {
        let mut village = Village::new();
        let dataset = village.dataset();
        let (clay, says) = row("clay", OLD);
        let offer = village.proposal(dataset, None, vec![add(vec![clay])], vec![says]);
        let (loess, says) = row("loess", "loess is blown");
        // One that stores, in every second round, and one that does not.
        let other = match round % 2 {
            0 => village.proposal(dataset, None, vec![add(vec![loess])], vec![says]),
            _ => {
                let owners = vec![village.ann.contributor()];
                let act = DatasetCreated { owners, access: Access::Open, licence: licence() };
                village.signed(Who::Ann, Act::DatasetCreated(act))
            }
        };
        let ledger = &village.ledger;
        let (one, two) = std::thread::scope(|scope| {
            let offered = scope.spawn(|| ledger.offer(offer));
            std::thread::sleep(std::time::Duration::from_micros(u64::from(round) * 20));
            (ledger.offer(other), offered.join().expect("the thread ends"))
        });
        assert!(one.is_ok() != two.is_ok(), "{one:?} {two:?}");
        let kept = |content| ledger.payload(content).expect("it opens").is_some();
        assert_eq!(kept(&clay.content), two.is_ok());
        assert_eq!(kept(&loess.content), one.is_ok() && round % 2 == 0);
    }
}

#[test]
fn redacting_a_row_leaves_the_others() {
    let mut village = Village::new();
    let dataset = village.dataset();
    let ((clay, clay_says), (loess, loess_says)) = (row("clay", OLD), row("loess", "loess is blown"));
    let offer = village.proposal(dataset, None, vec![add(vec![clay, loess])], vec![clay_says, loess_says]);
    village.offer(Who::Ann, offer).expect("an offer");
    let act = RowRedacted { dataset, row: row_id("clay"), reason: RedactionReason::Asked };
    village.say(Who::Ann, Act::RowRedacted(act)).expect("a redaction");
    assert_eq!(village.ledger.payload(&clay.content), Err(Error::Erased));
    assert!(village.ledger.payload(&loess.content).expect("it opens").is_some());
}

/// Offers that must be refused, each by what it says, and leave the log as it was.
fn check(change: impl FnOnce(&mut Vec<Operation>, &mut Vec<Payload>), says: &str) {
    let mut village = Village::new();
    let dataset = village.dataset();
    let (clay, says_clay) = row("clay", OLD);
    let offer = village.proposal(dataset, None, vec![add(vec![clay])], vec![says_clay]);
    village.offer(Who::Ann, offer).expect("an offer");
    let size = village.ledger.size(LogId::Records);
    let (loess, says_loess) = row("loess", "loess is blown");
    let (mut operations, mut payloads) = (vec![add(vec![loess])], vec![says_loess]);
    change(&mut operations, &mut payloads);
    let offer = village.proposal(dataset, None, operations, payloads);
    let refused = village.offer(Who::Ann, offer).expect_err("it is refused").to_string();
    assert!(refused.contains(says), "{refused}");
    assert_eq!(village.ledger.size(LogId::Records), size);
    whole(&village.home);
}

#[test]
fn a_row_without_words_is_refused() {
    check(|_, payloads| payloads.clear(), "did not come with it");
}

#[test]
fn words_without_a_row_are_refused() {
    check(|_, payloads| payloads.push(row("x", "nobody's").1), "no operation brings");
}

/// Else redacting the copy would take the original with it.
#[test]
fn content_of_another_row_is_refused() {
    let (clay, says) = row("clay", OLD);
    let copy = loam_ledger_core::record::RowContent { row: row_id("copy"), ..clay };
    check(|operations, payloads| (*operations, *payloads) = (vec![add(vec![copy])], vec![says]), "another row's");
}

#[test]
fn two_rows_with_one_salt_are_refused() {
    check(|_, payloads| payloads.push(payloads[0].clone()), "draw a salt for each");
}

#[test]
fn a_row_that_is_too_long_is_refused() {
    let (long, says) = row("long", &"x".repeat(loam_ledger::PAYLOAD_BYTES_MAX + 1));
    check(|operations, payloads| (*operations, *payloads) = (vec![add(vec![long])], vec![says]), "65536 are the most");
}

/// What a rule refuses is stored nowhere: nobody could redact it.
#[test]
fn rows_of_a_refused_contribution_are_not_kept() {
    let mut village = Village::new();
    let dataset = village.dataset();
    let (clay, says) = row("clay", OLD);
    let act = ContributionProposed {
        dataset,
        revision: None,
        operations: operations_root(&[add(vec![clay])]),
        acts: vec![ActCount { kind: ActKind::Add, count: 1 }],
        licence: digest(b"another licence"),
    };
    let signed = village.signed(Who::Ann, Act::ContributionProposed(act));
    let offer = Offer { operations: vec![add(vec![clay])], payloads: vec![says], ..signed };
    assert!(matches!(village.offer(Who::Ann, offer), Err(Error::Refused(Refusal::Licence))));
    assert_eq!(village.ledger.payload(&clay.content), Ok(None));
}

#[test]
fn operations_that_are_not_those_signed_are_refused() {
    let mut village = Village::new();
    let dataset = village.dataset();
    let ((clay, says_clay), (loess, says_loess)) = (row("clay", OLD), row("loess", "loess is blown"));
    let mut offer = village.proposal(dataset, None, vec![add(vec![clay])], vec![says_clay]);
    (offer.operations, offer.payloads) = (vec![add(vec![loess])], vec![says_loess]);
    assert!(matches!(village.offer(Who::Ann, offer), Err(Error::Refused(_))));
}

/// A record that was signed for one place is not taken again, nor one by a stranger; and nothing is stored for them.
#[test]
fn what_is_not_signed_for_this_place_is_refused() {
    let mut village = Village::new();
    let dataset = village.dataset();
    let (clay, says) = row("clay", OLD);
    let offer = village.proposal(dataset, None, vec![add(vec![clay])], vec![says.clone()]);
    village.offer(Who::Ann, offer.clone()).expect("an offer");
    assert!(matches!(village.ledger.offer(offer), Err(Error::Refused(_))));
    let mut forged = village.proposal(dataset, None, vec![add(vec![row("x", "forged").0])], vec![row("x", "forged").1]);
    forged.signed[0].signature[7] ^= 1;
    assert!(matches!(village.ledger.offer(forged), Err(Error::Refused(_))));
    assert_eq!(village.ledger.payload(&row("x", "forged").1.digest()), Ok(None));
}

#[test]
fn many_rows_are_one_record() {
    let mut village = Village::new();
    let dataset = village.dataset();
    let rows: Vec<_> =
        (0..5_000).map(|n| row(&n.to_string(), &format!("{n} {}", "of many rows ".repeat(40)))).collect();
    let operations: Vec<Operation> = rows.iter().map(|(content, _)| add(vec![*content])).collect();
    let offer =
        village.proposal(dataset, None, operations.clone(), rows.iter().map(|(_, says)| says.clone()).collect());
    let size = village.ledger.size(LogId::Records).expect("a size");
    let work = village.offer(Who::Ann, offer).expect("an offer").id;
    village.commit(dataset, None, &[(work, operations.clone())]).expect("a revision");
    assert_eq!(village.ledger.size(LogId::Records), Ok(size + 2));
    let (after, ledger) = after_power_cut(&village.home);
    let list = loam_ledger_core::record::operations_root(&operations);
    assert_eq!(ledger.operations(&list).expect("a list"), Some(operations));
    let last = ledger.payload(&rows[4_999].0.content).expect("it opens");
    assert_eq!(last.as_ref(), Some(&rows[4_999].1));
    drop(ledger);
    whole(&after);
}
