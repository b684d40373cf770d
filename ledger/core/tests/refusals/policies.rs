//! Policies: the grammar of C2SP's tlog-policy, and quorums that are not met.

use loam_ledger_core::Error;
use loam_ledger_core::checkpoint::Checkpoint;
use loam_ledger_core::cosignature::cosigned_at;
use loam_ledger_core::note::{KeyKind, Note, SigningKey, VerifierKey};
use loam_ledger_core::policy::{POLICY_LINES_MAX, Policy};

use super::world::Witness;

fn witness(name: &str) -> Witness {
    Witness::new(&format!("witness.test/{name}"))
}

fn log() -> SigningKey {
    SigningKey::from_seed("loam.test/a", &[1; 32]).expect("the name fits a key")
}

/// A checkpoint of the log, which these witnesses cosigned.
fn cosigned(names: &[&str]) -> Note {
    let text = "loam.test/a\n0\n47DEQpj8HBSa+/TImW+5JCeuQeRkm5NMpJWZG3hSuFU=\n";
    let signed = Checkpoint::parse(text).and_then(|checkpoint| checkpoint.sign(&log())).expect("the text is right");
    let cosigned = names.iter().fold(signed, |note, name| witness(name).cosign(&note, 1_700_000_000));
    Note::parse(&cosigned).expect("what was cosigned is a note")
}

/// A policy whose `$a` to `$c` are witnesses' keys, and `$log` is the log's.
fn policy(text: &str) -> Result<Policy, Error> {
    let keys = ["a", "b", "c"].map(|name| (format!("${name}"), witness(name).verifier().to_string()));
    let text = keys.iter().fold(text.to_owned(), |text, (name, key)| text.replace(name, key));
    Policy::parse(&text.replace("$log", &log().verifier().to_string()))
}

#[test]
fn grammar() {
    let table: &[(&str, usize, &str)] = &[
        ("", 0, "no quorum line"),
        ("witness a $a\n", 0, "no quorum line"),
        ("quorum none\nquorum none\n", 2, "a second quorum"),
        ("quorum a\nwitness a $a\n", 1, "the quorum is not defined before it"),
        ("quorum\n", 1, "neither log, witness, group nor quorum"),
        ("quorum none none\n", 1, "neither log, witness, group nor quorum"),
        ("Quorum none\n", 1, "neither log, witness, group nor quorum"),
        ("\n# a comment\n  # another\nwitnesses a $a\n", 4, "neither log, witness, group nor quorum"),
        ("log\n", 1, "neither log, witness, group nor quorum"),
        ("log $log https://log.test more\n", 1, "neither log, witness, group nor quorum"),
        ("log loam.test/a\n", 1, "not a log's vkey"),
        ("log $a\n", 1, "a log's key must be of type 01"),
        ("log $log\nlog $log\n", 2, "a key that is listed already"),
        ("witness a\n", 1, "neither log, witness, group nor quorum"),
        ("witness a key\n", 1, "not a witness's vkey"),
        ("witness a $log\n", 1, "a witness's key must be of type 04"),
        ("witness none $a\n", 1, "a name that is taken"),
        ("witness a $a\nwitness a $b\n", 2, "a name that is taken"),
        ("witness a $a\nwitness b $a\n", 2, "a key that is listed already"),
        ("group g 1\n", 1, "a group needs members, each once"),
        ("group g\n", 1, "neither log, witness, group nor quorum"),
        ("group g any a\nwitness a $a\n", 1, "a group's member is not defined before it"),
        ("group g any g\n", 1, "a group's member is not defined before it"),
        ("group g any none\n", 1, "a group's member is not defined before it"),
        ("witness a $a\ngroup g any a a\n", 2, "a group needs members, each once"),
        ("witness a $a\ngroup g any a\ngroup h any a\n", 3, "a member of another group already"),
        ("witness a $a\ngroup a any a\n", 2, "a name that is taken"),
        ("witness a $a\ngroup none any a\n", 2, "a name that is taken"),
        ("witness a $a\ngroup g 0 a\n", 2, "a threshold lies between 1 and the number of members"),
        ("witness a $a\ngroup g 2 a\n", 2, "a threshold lies between 1 and the number of members"),
        ("witness a $a\ngroup g 01 a\n", 2, "a threshold is k, any or all"),
        ("witness a $a\ngroup g +1 a\n", 2, "a threshold is k, any or all"),
        ("witness a $a\ngroup g most a\n", 2, "a threshold is k, any or all"),
        ("witness a $a\ngroup g 99999999999999999999 a\n", 2, "a threshold is k, any or all"),
        ("quorum none\r\n", 1, "a control character"),
        ("quorum\u{c}none\n", 1, "a control character"),
        ("# \u{7f}\nquorum none\n", 1, "a control character"),
    ];
    let wrong = table.iter().filter_map(|&(text, line, why)| match policy(text) {
        Err(error) if error == Error::Policy { line, why } => None,
        other => Some(format!("{text:?}: expected line {line}, {why}; found {other:?}")),
    });
    assert_eq!(wrong.collect::<Vec<_>>(), [""; 0]);
    let long = "\n".repeat(POLICY_LINES_MAX) + "quorum none\n";
    let why = "more lines than a policy may have";
    assert_eq!(policy(&long).unwrap_err(), Error::Policy { line: POLICY_LINES_MAX + 1, why });
}

#[test]
fn what_is_allowed() {
    for text in [
        "quorum none",
        "\t quorum \t none \t\n\n   \n#\n",
        "witness a $a https://a.test\nquorum a\n",
        "log $log https://log.test\nquorum none\n",
        "witness \u{4e00} $a\nquorum \u{4e00}\n",
        "# one key may be a log's and a witness's name may be a log's\nlog $log\nwitness loam.test/a $a\nquorum none\n",
    ] {
        assert!(policy(text).is_ok(), "{text:?}: {:?}", policy(text));
    }
    assert!(!policy("quorum none").unwrap().needs_witnesses());
    assert!(policy("witness a $a\nquorum a").unwrap().needs_witnesses());
    assert_eq!(policy("log $log\nquorum none").unwrap().logs(), [log().verifier().clone()]);
}

#[test]
fn quorums() {
    let nested = "witness a $a\nwitness b $b\nwitness c $c\ngroup g any a b\ngroup h all g c\nquorum h\n";
    let table: &[(&str, &[&str], bool)] = &[
        ("quorum none", &[], true),
        ("witness a $a\nquorum none", &[], true),
        ("witness a $a\nquorum a", &["a"], true),
        ("witness a $a\nquorum a", &["a", "b", "z"], true),
        ("witness a $a\nquorum a", &["b"], false),
        ("witness a $a\nwitness b $b\ngroup g any a b\nquorum g", &["b"], true),
        ("witness a $a\nwitness b $b\ngroup g any a b\nquorum g", &[], false),
        ("witness a $a\nwitness b $b\ngroup g all a b\nquorum g", &["a"], false),
        ("witness a $a\nwitness b $b\ngroup g all a b\nquorum g", &["b", "a"], true),
        ("witness a $a\nwitness b $b\nwitness c $c\ngroup g 2 a b c\nquorum g", &["a"], false),
        ("witness a $a\nwitness b $b\nwitness c $c\ngroup g 2 a b c\nquorum g", &["a", "a"], false),
        ("witness a $a\nwitness b $b\nwitness c $c\ngroup g 2 a b c\nquorum g", &["a", "c"], true),
        (nested, &["a", "c"], true),
        (nested, &["a", "b"], false),
        (nested, &["c"], false),
    ];
    for (text, names, met) in table {
        let found = policy(text).unwrap().check_quorum(&cosigned(names));
        match found {
            Ok(()) => assert!(met, "{text:?} by {names:?}"),
            Err(Error::Quorum { .. }) => assert!(!met, "{text:?} by {names:?}"),
            Err(other) => panic!("{text:?} by {names:?}: {other}"),
        }
    }
}

#[test]
fn cosignatures() {
    let (a, b) = (witness("a"), witness("b"));
    let signed = Checkpoint::parse(cosigned(&[]).text()).unwrap().sign(&log()).unwrap();
    let at = |note: &[u8]| cosigned_at(&Note::parse(note).unwrap(), &a.verifier());
    let bad = || Err(Error::Signature { key: "witness.test/a".to_owned() });
    assert_eq!(at(&signed), Ok(None));
    assert_eq!(at(&b.cosign(&signed, 7)), Ok(None));
    assert_eq!(at(&a.cosign(&signed, 7)), Ok(Some(7)));
    assert_eq!(at(&a.cosign(&a.cosign(&signed, 9), 7)), Ok(Some(9)), "the newest counts");
    assert_eq!(at(&a.cosign(&signed, i64::MAX.unsigned_abs())), Ok(Some(i64::MAX.unsigned_abs())));
    assert_eq!(at(&a.cosign(&signed, 1 << 63)), bad(), "C2SP: a time does not exceed 2^63 - 1");
    // In a's name: cut short, by another key, of another time, of another checkpoint.
    let signature = |note: &[u8]| {
        let line = String::from_utf8(note.to_vec()).unwrap().lines().last().unwrap().to_owned();
        let bytes = loam_ledger_core::text::base64_decode(line.rsplit(' ').next().unwrap()).unwrap();
        bytes[4..].to_vec()
    };
    let right = signature(&a.cosign(&signed, 7));
    assert_eq!(at(&a.append(&signed, &right)), Ok(Some(7)));
    assert_eq!(at(&a.append(&signed, &right[..7])), bad());
    assert_eq!(at(&a.append(&signed, &right[..71])), bad());
    assert_eq!(at(&a.append(&signed, &[&right[..], &[0]].concat())), bad());
    assert_eq!(at(&a.append(&signed, &[&[0; 8], &right[8..]].concat())), bad());
    assert_eq!(at(&a.append(&signed, &signature(&b.cosign(&signed, 7)))), bad());
    let other = log().sign_note("loam.test/a\n1\n47DEQpj8HBSa+/TImW+5JCeuQeRkm5NMpJWZG3hSuFU=\n");
    assert_eq!(at(&a.append(&signed, &signature(&a.cosign(&other, 7)))), bad());
    // One that fails spoils the note, whatever else is there.
    assert_eq!(at(&a.append(&a.cosign(&signed, 7), &right[..8])), bad());
    // The same key under another name is another witness.
    assert_eq!(at(&a.renamed("witness.test/z").cosign(&signed, 7)), Ok(None));
    // Keys of the two kinds do not stand for each other.
    let kind = |kind| VerifierKey::new("witness.test/a", kind, *a.verifier().public()).unwrap();
    let note = Note::parse(&a.cosign(&signed, 7)).unwrap();
    let refused = Err(Error::WitnessKey { key: "witness.test/a".to_owned() });
    assert_eq!(cosigned_at(&note, &kind(KeyKind::Ed25519)), refused);
    assert_eq!(note.signed_by(&kind(KeyKind::CosignatureV1)), Err(Error::KeyKind { kind: 4 }));
}
