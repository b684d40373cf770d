//! Who signs: keys, chains of records, signatures used again, heirs, and what the operator says for others.

use loam_ledger_core::record::{
    Act, AuthorKey, Body, ContributorKind, ContributorRegistered, KeyRotated, Succession, key_id, sign_record,
};
use loam_ledger_core::registry::Refusal;
use loam_ledger_core::{Error, Hash};

use super::check;
use super::town::{NOTHING, OPERATOR, Town, licence, named};

fn a_dataset(town: &Town, role: &str) -> Body {
    let act = loam_ledger_core::record::DatasetCreated {
        owners: vec![town.id(role)],
        access: loam_ledger_core::record::Access::Open,
        licence: licence(),
    };
    town.body(&[role], Act::DatasetCreated(act))
}

#[test]
fn first_record_registers_the_operator() {
    let mut town = Town::empty("loam.test/other/records");
    town.registry = loam_ledger_core::registry::Registry::new("loam.test/other/records");
    check(town, |town| town.register("gatherer", ContributorKind::Person, None), &Refusal::NoOperator);
}

#[test]
fn second_operator() {
    check(Town::of(&[]), |town| town.register("usurper", ContributorKind::Operator, None), &Refusal::SecondOperator);
}

#[test]
fn unknown_author() {
    let mut town = Town::of(&[]);
    let stranger = AuthorKey::from_seed(&[7; 32]);
    let id = stranger.contributor();
    town.people.insert("stranger".to_owned(), stranger);
    let body = a_dataset(&town, "stranger");
    check(town, |town| town.record(&body, None), &Refusal::UnknownAuthor(id));
}

#[test]
fn registered_twice() {
    let town = Town::of(&["gatherer"]);
    let id = town.id("gatherer");
    let register = |town: &mut Town| town.register("gatherer", ContributorKind::Person, None);
    check(town, register, &Refusal::RegisteredAlready(id));
}

#[test]
fn forged_signature() {
    let town = Town::of(&["gatherer"]);
    let mut record = town.signed(&a_dataset(&town, "gatherer"));
    record.signed[0].signature[7] ^= 1;
    check(town, |town| town.admit(record, None), &Refusal::Signature(named_id("gatherer")));
}

#[test]
fn words_changed_under_a_signature() {
    let town = Town::of(&["gatherer"]);
    let mut record = town.signed(&a_dataset(&town, "gatherer"));
    record.body.text = Some(named("another text"));
    check(town, |town| town.admit(record, None), &Refusal::Signature(named_id("gatherer")));
}

#[test]
fn another_signs_in_ones_name() {
    let town = Town::of(&["gatherer", "thief"]);
    let body = a_dataset(&town, "gatherer");
    let mut record = town.signed(&body);
    record.signed[0] = town.people["thief"].sign(&town.origin, &body.encode());
    check(town, |town| town.admit(record, None), &Refusal::WrongKey(named_id("gatherer")));
}

#[test]
fn replayed_in_this_log() {
    let mut town = Town::of(&["gatherer"]);
    let record = town.signed(&a_dataset(&town, "gatherer"));
    town.admit(record.clone(), None).unwrap();
    let refusal = Refusal::Replayed { author: town.id("gatherer"), expected: 2, found: 1 };
    check(town, |town| town.admit(record, None), &refusal);
}

#[test]
fn replayed_in_another_log() {
    // The same person stands in both logs, at the same place of both chains but for the names of the records.
    let mut other = Town::empty("loam.test/other/records");
    other.register("gatherer", ContributorKind::Person, None).unwrap();
    let here = Town::of(&["gatherer"]);
    let mut record = here.signed(&a_dataset(&here, "gatherer"));
    let first = other.people["gatherer"].previous;
    let refused = Refusal::PreviousRecord(named_id("gatherer"));
    let replay = record.clone();
    check(other, |other| other.admit(replay, None), &refused);
    // With the place put right, the signature no longer fits: it names the log.
    let mut other = Town::empty("loam.test/other/records");
    other.register("gatherer", ContributorKind::Person, None).unwrap();
    record.signed[0].previous = first;
    check(other, |other| other.admit(record, None), &Refusal::Signature(named_id("gatherer")));
}

#[test]
fn first_record_replayed_in_another_log() {
    let body = |key: &AuthorKey| {
        let act = ContributorRegistered { public_key: key.public_key(), kind: ContributorKind::Person, heir: None };
        Body::by(key.contributor(), Act::ContributorRegistered(act))
    };
    let mut key = AuthorKey::from_seed(&[9; 32]);
    let record = sign_record("loam.test/other/records", 0, body(&key), &mut [&mut key]);
    let id = key.contributor();
    check(Town::of(&[]), |town| town.admit(record, None), &Refusal::Signature(id));
}

#[test]
fn gap_in_a_chain() {
    let mut town = Town::of(&["gatherer"]);
    let previous = town.people["gatherer"].previous;
    town.people.get_mut("gatherer").unwrap().moved_on(previous);
    let body = a_dataset(&town, "gatherer");
    let refusal = Refusal::SequenceGap { author: town.id("gatherer"), expected: 1, found: 2 };
    check(town, |town| town.record(&body, None), &refusal);
}

#[test]
fn another_previous_record() {
    let mut town = Town::of(&["gatherer"]);
    town.people.get_mut("gatherer").unwrap().previous = named("elsewhere");
    let body = a_dataset(&town, "gatherer");
    check(town, |town| town.record(&body, None), &Refusal::PreviousRecord(named_id("gatherer")));
}

#[test]
fn one_of_two_authors_did_not_sign() {
    let town = Town::of(&["gatherer", "corrector"]);
    let body = Body {
        authors: town.body(&["gatherer", "corrector"], Act::Succession(Succession { of: named("x") })).authors,
        ..a_dataset(&town, "gatherer")
    };
    let mut record = town.signed(&body);
    record.signed[1].signature = record.signed[0].signature;
    check(town, |town| town.admit(record, None), &Refusal::Signature(named_id("corrector")));
}

#[test]
fn an_author_without_a_signature() {
    let town = Town::of(&["gatherer", "corrector"]);
    let body = town.body(&["gatherer", "corrector"], a_dataset(&town, "gatherer").act);
    let mut record = town.signed(&body);
    record.signed.pop();
    check(town, |town| town.admit(record, None), &Refusal::Form(Error::RecordAuthors));
}

#[test]
fn shares_that_do_not_sum() {
    let town = Town::of(&["gatherer", "corrector"]);
    let act = a_dataset(&town, "gatherer").act;
    for shares in [(500_000, 500_001), (1_000_000, 1_000_000), (0, 0), (u32::MAX, 1_000_001)] {
        let body = town.shared(&[("gatherer", shares.0), ("corrector", shares.1)], act.clone());
        let town = Town::of(&["gatherer", "corrector"]);
        check(town, |town| town.record(&body, None), &Refusal::Form(Error::RecordAuthors));
    }
}

#[test]
fn shares_changed_after_one_signed() {
    let town = Town::of(&["gatherer", "corrector"]);
    let act = || a_dataset(&Town::of(&["gatherer"]), "gatherer").act;
    let agreed = town.shared(&[("gatherer", 500_000), ("corrector", 500_000)], act());
    let grabbed = town.shared(&[("gatherer", 900_000), ("corrector", 100_000)], act());
    let mut record = town.signed(&grabbed);
    record.signed[1] = town.signed(&agreed).signed[1];
    check(town, |town| town.admit(record, None), &Refusal::Signature(named_id("corrector")));
}

#[test]
fn rotated_key() {
    let mut town = Town::of(&["gatherer"]);
    let (mut next, proof) = town.people["gatherer"].rotated(&town.origin, &[0x77; 32]);
    let act = KeyRotated { public_key: next.public_key(), proof, heir: None };
    town.say(&["gatherer"], Act::KeyRotated(act)).unwrap();
    let mut old = AuthorKey::from_seed(&named("gatherer").0);
    (next.sequence, next.previous) = (town.people["gatherer"].sequence, town.people["gatherer"].previous);
    town.people.insert("gatherer".to_owned(), next);
    let body = a_dataset(&town, "gatherer");
    town.record(&body, None).unwrap();
    // Nobody gets at the person through the old key.
    (old.sequence, old.previous) = (town.people["gatherer"].sequence, town.people["gatherer"].previous);
    town.people.insert("gatherer".to_owned(), old);
    let again = a_dataset(&town, "gatherer");
    check(town, |town| town.record(&again, None), &Refusal::KeyRetired(named_id("gatherer")));
}

#[test]
fn rotation_to_anothers_key() {
    let mut town = Town::of(&["gatherer", "thief"]);
    let public_key = town.people["gatherer"].public_key();
    let (_, proof) = town.people["thief"].rotated(&town.origin, &[0x77; 32]);
    let act = KeyRotated { public_key, proof, heir: None };
    let body = town.body(&["thief"], Act::KeyRotated(act));
    let fresh = AuthorKey::from_seed(&[0x78; 32]).public_key();
    let unproven = town.body(&["thief"], Act::KeyRotated(KeyRotated { public_key: fresh, proof, heir: None }));
    assert_eq!(town.record(&unproven, None), Err(Refusal::NewKey), "whoever takes a key shows that they hold it");
    check(town, |town| town.record(&body, None), &Refusal::NewKey);
}

#[test]
fn succession() {
    let mut town = Town::of(&["heir", "stranger"]);
    let heir = town.id("heir");
    town.register("elder", ContributorKind::Person, Some(heir)).unwrap();
    let of = town.id("elder");
    assert_eq!(town.say(&["stranger"], Act::Succession(Succession { of })), Err(Refusal::NotHeir(of)));
    town.say(&["heir"], Act::Succession(Succession { of })).unwrap();
    assert_eq!(town.registry.people().standing(&of), heir);
    assert_eq!(town.say(&["heir"], Act::Succession(Succession { of })), Err(Refusal::DoneAlready));
    let body = a_dataset(&town, "elder");
    check(town, |town| town.record(&body, None), &Refusal::Succeeded(of));
}

#[test]
fn operator_has_no_heir() {
    let mut town = Town::of(&["heir"]);
    let of = town.id(OPERATOR);
    check(
        {
            town.register("other", ContributorKind::Person, None).unwrap();
            town
        },
        |town| town.say(&["heir"], Act::Succession(Succession { of })),
        &Refusal::NotHeir(of),
    );
}

#[test]
fn attested_by_others_than_the_operator() {
    let mut town = Town::of(&["gatherer", "thief"]);
    let dataset = town.dataset(&["gatherer"], loam_ledger_core::record::Access::Open);
    let act = Act::ContributionProposed(town.proposal(dataset, None, &[]));
    let body = Body { attested_for: Some(town.id("gatherer")), ..town.body(&["thief"], act) };
    check(town, |town| town.record(&body, None), &Refusal::Attested);
}

#[test]
fn operator_attests_no_shares_and_no_ownership() {
    let town = Town::of(&["gatherer"]);
    let body = Body { attested_for: Some(town.id("gatherer")), ..a_dataset(&town, OPERATOR) };
    check(town, |town| town.record(&body, None), &Refusal::Attested);
}

#[test]
fn cites_what_is_not_there() {
    let town = Town::of(&["gatherer"]);
    let body = Body { cites: vec![named("nowhere")], ..a_dataset(&town, "gatherer") };
    check(town, |town| town.record(&body, None), &Refusal::UnknownRecord(named("nowhere")));
}

#[test]
fn a_list_of_nothing_has_the_root_of_nothing() {
    assert_eq!(NOTHING.root, Hash::EMPTY_TREE);
}

fn named_id(role: &str) -> Hash {
    key_id(&AuthorKey::from_seed(&named(role).0).public_key())
}
