//! Texts, keys, notes, checkpoints and proofs.

use loam_ledger_core::checkpoint::Checkpoint;
use loam_ledger_core::note::{KeyKind, NOTE_BYTES_MAX, NOTE_SIGNATURES_MAX, Note, SigningKey, VerifierKey};
use loam_ledger_core::origin::{LogId, LogName};
use loam_ledger_core::proof::Proof;
use loam_ledger_core::receipt::Receipt;
use loam_ledger_core::text::{base64_decode, base64_encode, base64_hash, decimal, hex_decode, millionths};
use loam_ledger_core::{Error, Hash};

use super::check;

const EMPTY_ROOT: &str = "47DEQpj8HBSa+/TImW+5JCeuQeRkm5NMpJWZG3hSuFU=";

fn log() -> SigningKey {
    SigningKey::from_seed("loam.test/a", &[1; 32]).expect("the name fits a key")
}

/// A table of texts.
fn texts<const N: usize>(table: [(&'static str, &str, Error); N]) -> [(&'static str, Box<str>, Error); N] {
    table.map(|(name, text, error)| (name, text.into(), error))
}

#[test]
fn decimals() {
    let not = |text: &'static str| (text, text.into(), Error::NotDecimal);
    let table = ["", "-1", "+1", " 1", "1 ", "01", "00", "1.0", "1_0", "0x1", "a", "18446744073709551616", "\u{0661}"];
    check(decimal, &table.map(not));
    assert_eq!(decimal("18446744073709551615"), Ok(u64::MAX));
    assert_eq!(decimal("0"), Ok(0));
}

#[test]
fn hexadecimal_and_base64() {
    assert!(["0", "A0", "0g", " 00", "00 ", "\u{e9}"].iter().all(|text| hex_decode(text).is_none()));
    let hash = "00".repeat(32);
    let table = texts([
        ("upper case", &hash.replace("00", "0A"), Error::NotHex),
        ("odd", &hash[1..], Error::NotHex),
        ("short", &hash[2..], Error::HashLength { found: 31 }),
        ("long", &format!("00{hash}"), Error::HashLength { found: 33 }),
    ]);
    check(Hash::from_hex, &table);
    let not = |text: &'static str| (text, text.into(), Error::NotBase64);
    // No padding, too much of it, bits beyond the last byte, the other alphabet, spaces, line ends.
    check(base64_decode, &["AA", "AA=", "AA===", "AB==", "AAB=", "_-8=", "A A==", "AA==\n", "=", "AA==AA=="].map(not));
    let table = texts([
        ("short", &base64_encode(&[0; 31]), Error::HashLength { found: 31 }),
        ("empty", "", Error::HashLength { found: 0 }),
        ("no padding", EMPTY_ROOT.trim_end_matches('='), Error::NotBase64),
        ("not canonical", &EMPTY_ROOT.replace("FU=", "FV="), Error::NotBase64),
    ]);
    check(base64_hash, &table);
}

#[test]
fn weights_are_shown_as_people_read_them() {
    let shown = [0, 1, 250_000, 1_000_000, -1, -1_250_000, 12_000_000, i64::MIN].map(millionths);
    let expected = ["0", "0.000001", "0.25", "1", "-0.000001", "-1.25", "12", "-9223372036854.775808"];
    assert_eq!(shown, expected);
}

#[test]
fn origins() {
    let unknown = |origin: &'static str| (origin, origin.into(), Error::LogOrigin { origin: origin.to_owned() });
    let table = [
        "",
        "records",
        "loam.test",
        "loam.test/usage",
        "loam.test/usage/",
        "loam.test/usage/0",
        "loam.test/usage/01",
        "loam.test/usage/4294967296",
        "loam.test/usage/-1",
        "loam.test/usage/1/",
        "loam.test/Records",
    ];
    check(LogName::parse, &table.map(unknown));
    let name = |origin: &str| -> (&'static str, Box<str>, Error) { ("name", origin.into(), Error::KeyName) };
    let long = "n".repeat(201);
    check(LogName::parse, &[name("/records"), name("a b/records"), name("a+b/usage/1"), name("a\n/records")]);
    check(LogName::parse, &[name(&format!("{long}/records")), name("a\u{2003}b/records"), name("\u{85}/usage/1")]);
    let longest = LogName::new(&long[1..], LogId::Usage(u32::MAX)).unwrap();
    assert_eq!(LogName::parse(&longest.to_string()), Ok(longest));
}

#[test]
fn verifier_keys() {
    let key = log().verifier().to_string();
    let (id, base64) = (&key[12..20], &key[21..]);
    let encoded = |bytes: &[u8]| format!("loam.test/a+{id}+{}", base64_encode(bytes));
    let kind = |kind: u8| encoded(&[&[kind], &log().verifier().public()[..]].concat());
    // The y of no point of the curve.
    let off_curve = [&[1][..], &[2; 32]].concat();
    let table = texts([
        ("nothing", "", Error::KeyShape),
        ("a name", "loam.test/a", Error::KeyShape),
        ("no key", &key[..20], Error::KeyShape),
        ("an id in upper case", &key.replace(id, &id.to_uppercase()), Error::KeyShape),
        ("an empty key", &format!("loam.test/a+{id}+"), Error::KeyShape),
        ("another id", &key.replace(id, "00000000"), Error::KeyId),
        ("a short id", &key.replace(id, &id[..6]), Error::KeyId),
        ("a long id", &key.replace(id, &format!("{id}00")), Error::KeyId),
        ("another name", &key.replace("test/a", "test/b"), Error::KeyId),
        ("an empty name", &format!("+{id}+{base64}"), Error::KeyName),
        ("a space", &key.replace("test/a", "test a"), Error::KeyName),
        ("a wide space", &key.replace("test/a", "test\u{3000}a"), Error::KeyName),
        ("a line end", &key.replace("test/a", "test\na"), Error::KeyName),
        ("ECDSA", &kind(2), Error::KeyKind { kind: 2 }),
        ("RFC 6962", &kind(5), Error::KeyKind { kind: 5 }),
        ("ML-DSA", &kind(6), Error::KeyKind { kind: 6 }),
        ("a witness's key with a log's id", &kind(4), Error::KeyId),
        ("a short key", &encoded(&[1; 32]), Error::KeyBytes),
        ("a long key", &encoded(&[1; 34]), Error::KeyBytes),
        ("no point", &encoded(&off_curve), Error::KeyBytes),
    ]);
    assert!(id.chars().any(|c| c.is_ascii_lowercase()), "upper case is another spelling of {id}");
    check(VerifierKey::parse, &table);
}

#[test]
fn signing_keys() {
    let key = log().to_text();
    let public = log().verifier().to_string();
    let kind = |kind: u8| {
        let seed = [&[kind], &[1; 32][..]].concat();
        format!("{}{}", &key[..33], base64_encode(&seed))
    };
    assert_eq!(kind(1), key);
    let table = texts([
        ("nothing", "", Error::KeyShape),
        ("a public key", &public, Error::KeyShape),
        ("lower case", &key.to_lowercase(), Error::KeyShape),
        ("no seed", &key[..32], Error::KeyShape),
        ("an empty seed", &key[..33], Error::KeyShape),
        ("a witness's key", &kind(4), Error::KeyKind { kind: 4 }),
        ("another id", &format!("{}00000000{}", &key[..24], &key[32..]), Error::KeyId),
        ("another name", &key.replace("test/a", "test/b"), Error::KeyId),
        ("another seed", &format!("{}{}", &key[..33], base64_encode(&[&[1], &[2; 32][..]].concat())), Error::KeyId),
        ("a short seed", &format!("{}{}", &key[..33], base64_encode(&[1; 32])), Error::KeyBytes),
    ]);
    // What was read is left aside: a failing test prints its table, and a key is secret.
    check(|text: &str| SigningKey::parse(text).map(|_| ()), &table);
    for name in ["", "a b", "a+b", "a\tb"] {
        assert_eq!(SigningKey::from_seed(name, &[1; 32]).map(|_| ()), Err(Error::KeyName));
    }
}

fn note(lines: &[&str]) -> String {
    let signed = String::from_utf8(log().sign_note("text\n")).expect("a note is text");
    let line = signed.lines().last().expect("a signed note has lines").to_owned();
    lines.iter().map(|part| part.replace("$line", &line)).collect::<Vec<_>>().join("\n")
}

#[test]
fn notes() {
    let many = |count: usize| note(&["text", "", &"$line\n".repeat(count)]);
    let dash = "\u{2014}";
    let table: [(&str, String, Error); 21] = [
        ("nothing", String::new(), Error::NoteWithoutSignatures),
        ("a text", note(&["text", ""]), Error::NoteWithoutSignatures),
        ("no blank line", note(&["text", "$line", ""]), Error::NoteWithoutSignatures),
        ("no signature", note(&["text", "", ""]), Error::NoteLine),
        ("an empty signature line", note(&["text", "", "", ""]), Error::NoteLine),
        ("no line end", note(&["text", "", "$line"]), Error::NoteLine),
        ("a hyphen", note(&["text", "", "$line", ""]).replace(dash, "-"), Error::NoteLine),
        ("no space after the dash", note(&["text", "", "$line", ""]).replace("\u{2014} ", dash), Error::NoteLine),
        ("a dash alone", format!("text\n\n{dash} \n"), Error::NoteLine),
        ("a name alone", format!("text\n\n{dash} a\n"), Error::NoteLine),
        ("an id alone", format!("text\n\n{dash} a AAAAAA==\n"), Error::NoteLine),
        ("half an id", format!("text\n\n{dash} a AAAA\n"), Error::NoteLine),
        ("no name", format!("text\n\n{dash}  AAAAAAA=\n"), Error::KeyName),
        ("a plus sign", format!("text\n\n{dash} a+b AAAAAAA=\n"), Error::KeyName),
        ("a wide space", format!("text\n\n{dash} a\u{2003}b AAAAAAA=\n"), Error::KeyName),
        ("three words", format!("text\n\n{dash} a AAAAAAA= b\n"), Error::NotBase64),
        ("no padding", format!("text\n\n{dash} a AAAAAAA\n"), Error::NotBase64),
        ("not canonical", format!("text\n\n{dash} a AAAAAAB=\n"), Error::NotBase64),
        ("a tab", note(&["te\txt", "", "$line", ""]), Error::NoteNotText),
        ("a carriage return", note(&["text\r", "", "$line", ""]), Error::NoteNotText),
        ("101 signatures", many(NOTE_SIGNATURES_MAX + 1), Error::NoteSignatures { count: 101 }),
    ];
    let mut table: Vec<(&str, Box<[u8]>, Error)> =
        table.into_iter().map(|(name, text, error)| (name, text.into_bytes().into(), error)).collect();
    table.push(("not UTF-8", (*b"te\xffxt\n\n").into(), Error::NoteNotText));
    table.push(("a null byte", (*b"te\0xt\n\n").into(), Error::NoteNotText));
    let bytes = NOTE_BYTES_MAX + 1;
    table.push(("over-long", vec![b'a'; bytes].into(), Error::NoteTooLong { bytes }));
    check(Note::parse, &table);
    for allowed in [1, 16, NOTE_SIGNATURES_MAX] {
        let read = Note::parse(many(allowed).as_bytes());
        assert_eq!(read.and_then(|note| note.signed_by(log().verifier())), Ok(()), "{allowed} signatures");
    }
}

#[test]
fn signatures() {
    let key = log();
    let signed = note(&["text", "", "$line", ""]);
    let by = |text: &str, key: &SigningKey| Note::parse(text.as_bytes()).unwrap().signed_by(key.verifier());
    let other = SigningKey::from_seed("loam.test/a", &[2; 32]).unwrap();
    let namesake = SigningKey::from_seed("loam.test/b", &[1; 32]).unwrap();
    assert_eq!(by(&signed, &key), Ok(()));
    for stranger in [other, namesake] {
        let refused = Error::NotSignedBy { key: stranger.verifier().to_string() };
        assert_eq!(by(&signed, &stranger), Err(refused));
    }
    let spoiled = Err(Error::Signature { key: "loam.test/a".to_owned() });
    assert_eq!(by(&signed.replace("text", "Text"), &key), spoiled);
    // A second line in the key's name must hold as well; one in another's is left aside.
    let id = base64_encode(&[&key.verifier().id()[..], &[0; 64]].concat());
    assert_eq!(by(&format!("{signed}\u{2014} loam.test/a {id}\n"), &key), spoiled);
    assert_eq!(by(&format!("{signed}\u{2014} loam.test/b {id}\n"), &key), Ok(()));
    let short = base64_encode(&[&key.verifier().id()[..], &[0; 63]].concat());
    assert_eq!(by(&format!("text\n\n\u{2014} loam.test/a {short}\n"), &key), spoiled);
    // The neutral point signs everything for whoever is careless.
    let mut neutral = [0; 32];
    neutral[0] = 1;
    let weak = VerifierKey::new("weak", KeyKind::Ed25519, neutral).unwrap();
    let zero = base64_encode(&[&weak.id()[..], &neutral, &[0; 32]].concat());
    let note = Note::parse(format!("text\n\n\u{2014} weak {zero}\n").as_bytes()).unwrap();
    assert_eq!(note.signed_by(&weak), Err(Error::Signature { key: "weak".to_owned() }));
}

#[test]
fn checkpoints() {
    let shape = Error::CheckpointShape;
    let table = texts([
        ("nothing", "", shape.clone()),
        ("no last line end", &format!("a\n0\n{EMPTY_ROOT}"), shape.clone()),
        ("two lines", "a\n0\n", shape.clone()),
        ("no origin", &format!("\n0\n{EMPTY_ROOT}\n"), shape.clone()),
        ("an extension line", &format!("a\n0\n{EMPTY_ROOT}\nmore\n"), shape.clone()),
        ("an empty line", &format!("a\n0\n{EMPTY_ROOT}\n\n"), shape),
        ("a leading zero", &format!("a\n00\n{EMPTY_ROOT}\n"), Error::NotDecimal),
        ("a sign", &format!("a\n+1\n{EMPTY_ROOT}\n"), Error::NotDecimal),
        ("no size", &format!("a\n\n{EMPTY_ROOT}\n"), Error::NotDecimal),
        ("size 2^64", &format!("a\n18446744073709551616\n{EMPTY_ROOT}\n"), Error::NotDecimal),
        ("a short root", "a\n1\nAAAA\n", Error::HashLength { found: 3 }),
        ("a root that is not canonical", &format!("a\n1\n{}\n", EMPTY_ROOT.replace("FU=", "FV=")), Error::NotBase64),
        (
            "another root of nothing",
            &format!("a\n0\n{}\n", EMPTY_ROOT.replace("47DE", "57DE")),
            Error::CheckpointEmptyRoot,
        ),
    ]);
    check(Checkpoint::parse, &table);
    // Signed, but in another log's name.
    let foreign = Error::Origin { origin: "loam.test/b".to_owned(), key: "loam.test/a".to_owned() };
    let text = format!("loam.test/b\n0\n{EMPTY_ROOT}\n");
    let opened = Checkpoint::open(&log().sign_note(&text), log().verifier());
    assert_eq!(opened, Err(foreign.clone()));
    assert_eq!(Checkpoint::parse(&text).unwrap().sign(&log()), Err(foreign));
}

#[test]
fn proofs_and_receipts() {
    const HEAD: &str = "c2sp.org/tlog-proof@v1\n";
    let shape = Error::ProofShape;
    let path = |count: usize| format!("{HEAD}index 0\n{}\n", format!("{EMPTY_ROOT}\n").repeat(count));
    let table = texts([
        ("nothing", "", shape.clone()),
        ("no blank line", &format!("{HEAD}index 0\n"), shape.clone()),
        ("another version", "c2sp.org/tlog-proof@v2\nindex 0\n\n", shape.clone()),
        ("a head alone", &format!("{HEAD}\n"), shape.clone()),
        ("no index", &format!("{HEAD}{EMPTY_ROOT}\n\n"), shape.clone()),
        ("extra alone", &format!("{HEAD}extra AA==\n\n"), shape.clone()),
        ("extra twice", &format!("{HEAD}extra AA==\nextra AA==\nindex 0\n\n"), shape.clone()),
        ("extra after index", &format!("{HEAD}index 0\nextra AA==\n\n"), Error::NotBase64),
        ("index in upper case", &format!("{HEAD}Index 0\n\n"), shape.clone()),
        ("index with a leading zero", &format!("{HEAD}index 00\n\n"), Error::NotDecimal),
        ("index with two spaces", &format!("{HEAD}index  0\n\n"), Error::NotDecimal),
        ("extra that is not canonical", &format!("{HEAD}extra AB==\nindex 0\n\n"), Error::NotBase64),
        ("a short hash", &format!("{HEAD}index 0\nAAAA\n\n"), Error::HashLength { found: 3 }),
        ("carriage returns", &format!("{HEAD}index 0\n\n").replace('\n', "\r\n"), shape),
        ("a path of 65", &path(65), Error::ProofTooLong),
    ]);
    check(|text: &str| Proof::parse(text.as_bytes()), &table);
    assert!(Proof::parse(path(64).as_bytes()).is_ok());
    assert_eq!(Proof::parse(b"\xff\n\n"), Err(Error::ProofShape));
    assert_eq!(Receipt::parse(path(0).as_bytes()), Err(Error::ReceiptExtra));
    let garbage = format!("{HEAD}extra AA==\nindex 0\n\n");
    assert_eq!(Receipt::parse(garbage.as_bytes()), Err(Error::CborType { expected: "a map" }));
}
