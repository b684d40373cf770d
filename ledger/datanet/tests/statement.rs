//! Statements: signed, read back, and refused when a bit of them is another.

use loam_datanet::statement::{Envelope, Statement, StatementFault};
use loam_ledger_core::hash::digest;
use loam_ledger_core::record::{AuthorKey, ParentShare, RevisionShare, envelope_message, key_id};
use loam_ledger_core::text::base64_encode;
use serde_json::Value;

fn key(name: &str) -> AuthorKey {
    AuthorKey::from_seed(&digest(name.as_bytes()).0)
}

fn statement() -> Statement {
    let id = |name: &str| digest(name.as_bytes());
    Statement {
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
    }
}

/// What comes of an envelope, changed in some way, when these keys are asked for.
#[track_caller]
fn check(change: impl FnOnce(&mut Value), keys: &[&AuthorKey], expected: Result<(), StatementFault>) {
    let envelope = Envelope::signed(&statement(), &[&key("author"), &key("other")]);
    let mut value: Value = serde_json::from_str(&envelope.to_json()).expect("an envelope is JSON");
    change(&mut value);
    let keys: Vec<[u8; 32]> = keys.iter().map(|key| key.public_key()).collect();
    let found = Envelope::read(value.to_string().as_bytes()).and_then(|envelope| envelope.verify(&keys));
    assert_eq!(found, expected.map(|()| statement()));
}

#[test]
fn an_envelope_is_what_its_authors_signed() {
    let (author, other, stranger) = (key("author"), key("other"), key("stranger"));
    check(|_| {}, &[&author], Ok(()));
    check(|_| {}, &[&other, &author], Ok(()));
    check(|_| {}, &[], Err(StatementFault::Unsigned));
    check(|_| {}, &[&author, &stranger], Err(StatementFault::Unsigned));
    let swapped = |value: &mut Value| {
        let other = value["signatures"][1]["sig"].clone();
        value["signatures"][0]["sig"] = other;
    };
    check(swapped, &[&author], Err(StatementFault::Signature));
    check(swapped, &[&other], Ok(()));
    check(|value| value["payload"] = base64_encode(b"{}").into(), &[&author], Err(StatementFault::Signature));
    check(|value| value["payloadType"] = "text/plain".into(), &[&author], Err(StatementFault::PayloadType));
    check(|value| value["payload"] = 7.into(), &[&author], Err(StatementFault::Envelope));
    check(|value| value["signatures"] = Value::Null, &[&author], Err(StatementFault::Envelope));
    check(|value| value["signatures"][0]["sig"] = "AAAA".into(), &[&author], Err(StatementFault::Envelope));
    let flood = |value: &mut Value| value["signatures"] = vec![value["signatures"][0].clone(); 257].into();
    check(flood, &[&author], Err(StatementFault::Envelope));
}

#[test]
fn a_statement_comes_back_whole() {
    let whole = statement();
    assert_eq!(Statement::read(&whole.payload()), Ok(whole.clone()));
    let bare = Statement { train_run: None, parents: Vec::new(), revisions: Vec::new(), ..whole.clone() };
    assert_eq!(Statement::read(&bare.payload()), Ok(bare));
    let envelope = Envelope::signed(&whole, &[&key("author")]);
    assert_eq!(envelope.digest(), digest(&whole.payload()));
    assert_eq!(Envelope::read(envelope.to_json().as_bytes()), Ok(envelope));
}

#[test]
fn a_payload_with_anything_else_in_it_is_refused() {
    let text = String::from_utf8(statement().payload()).expect("it is JSON");
    let changes =
        [("\"subject\":[", "\"subject\": ["), ("\"_type\":", "\"a\":1,\"_type\":"), ("provenance/v1", "provenance/v2")];
    for (from, to) in changes {
        assert_eq!(Statement::read(text.replace(from, to).as_bytes()), Err(StatementFault::Statement), "{to}");
    }
    for at in 0..text.len() {
        // No byte may be another without the statement being another, or none.
        let mut bytes = text.clone().into_bytes();
        bytes[at] ^= 1;
        assert_ne!(Statement::read(&bytes), Ok(statement()), "byte {at}");
    }
}

#[test]
fn envelopes_of_any_shape_are_survived() {
    let whole = Envelope::signed(&statement(), &[&key("author")]).to_json();
    for at in 0..whole.len() {
        assert!(Envelope::read(&whole.as_bytes()[..at]).is_err(), "cut at {at}");
        for byte in [b'"', b'{', b'0', 0xff] {
            let mut bytes = whole.clone().into_bytes();
            bytes[at] = byte;
            if let Ok(envelope) = Envelope::read(&bytes) {
                let same = envelope.payload == statement().payload();
                assert!(envelope.verify(&[key("author").public_key()]).is_err() || same, "byte {at}");
            }
        }
    }
    for text in ["null", "7", "[]", "{}", "{\"payloadType\":7}", "{\"signatures\":[[]]}"] {
        assert_eq!(Envelope::read(text.as_bytes()), Err(StatementFault::Envelope), "{text}");
    }
}

#[test]
fn what_is_signed_is_as_the_protocol_has_it() {
    // DSSE's own example.
    let message = envelope_message("http://example.com/HelloWorld", b"hello world");
    assert_eq!(message, b"DSSEv1 29 http://example.com/HelloWorld 11 hello world");
    let envelope = Envelope::signed(&statement(), &[&key("author")]);
    assert_eq!(envelope.signatures[0].0, key_id(&key("author").public_key()));
}

/// Written for other tools where a path is named: an envelope and its author's public key in hexadecimal.
#[test]
fn an_envelope_is_written_for_other_tools() {
    if let Some(path) = std::env::var_os("LOAM_WRITE_STATEMENT") {
        let envelope = Envelope::signed(&statement(), &[&key("author")]);
        std::fs::write(path, envelope.to_json()).expect("the path can be written");
    }
}
