//! Statements of adapters, and envelopes of them.

use loam_datanet::statement::{Envelope, Statement};
use loam_ledger_core::hash::digest;
use loam_ledger_core::record::{AuthorKey, ParentShare, RevisionShare};

use super::refused;

/// The key of somebody.
fn key(name: &str) -> AuthorKey {
    AuthorKey::from_seed(&digest(name.as_bytes()).0)
}

/// What the author signed; nothing else that a fuzzer can have seen.
pub(super) fn signed() -> [Statement; 2] {
    let id = |name: &str| digest(name.as_bytes());
    let whole = Statement {
        name: "Boiler \"talk\" \u{e9}".to_owned(),
        generation: id("generation"),
        base: id("base"),
        licence: id("licence"),
        author: key("author").contributor(),
        train_run: Some(id("run")),
        parents: vec![ParentShare { generation: id("parent"), share: 400_000 }],
        revisions: vec![
            RevisionShare { revision: id("one"), share: 250_000 },
            RevisionShare { revision: id("two"), share: 750_000 },
        ],
    };
    let bare = Statement { train_run: None, parents: Vec::new(), revisions: Vec::new(), ..whole.clone() };
    [whole, bare]
}

/// Envelopes that the author signed, the first together with another.
pub(super) fn envelopes() -> [Envelope; 2] {
    let [whole, bare] = signed();
    let (author, other) = (key("author"), key("other"));
    [Envelope::signed(&whole, &[&author, &other]), Envelope::signed(&bare, &[&author])]
}

/// Envelopes, and the statements in them; says whether the author signed one.
pub(crate) fn statement(data: &[u8]) -> bool {
    payload(data);
    let envelope = match Envelope::read(data) {
        Ok(envelope) => envelope,
        Err(fault) => {
            refused(&fault);
            return false;
        }
    };
    payload(&envelope.payload);
    let again = Envelope::read(envelope.to_json().as_bytes());
    assert_eq!(again.as_ref(), Ok(&envelope), "what is written is read");
    let author = key("author").public_key();
    let verified = envelope.verify(&[author]);
    match &verified {
        Ok(statement) => assert!(signed().contains(statement), "{statement:?} was never signed"),
        Err(fault) => refused(fault),
    }
    assert!(envelope.verify(&[]).is_err(), "nobody vouches for it");
    assert!(envelope.verify(&[author, key("stranger").public_key()]).is_err(), "the stranger signed nothing");
    verified.is_ok()
}

/// Statements have one spelling, and are the same after somebody signed them.
fn payload(data: &[u8]) {
    let statement = match Statement::read(data) {
        Ok(statement) => statement,
        Err(fault) => return refused(&fault),
    };
    assert_eq!(statement.payload(), data, "another spelling was accepted");
    let publisher = key("publisher");
    let envelope = Envelope::signed(&statement, &[&publisher]);
    assert_eq!(envelope.digest(), digest(data));
    assert_eq!(envelope.verify(&[publisher.public_key()]), Ok(statement));
}
