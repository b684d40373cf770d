//! Records: CBOR that is not deterministic, of another version or shape, or that contradicts itself.

use loam_ledger_core::Error;
use loam_ledger_core::entry::Entry;
use loam_ledger_core::granted::decode_granted;
use loam_ledger_core::receipt::Opening;
use loam_ledger_core::row::Row;
use loam_ledger_core::text::hex_decode;

const OPENED: &str = "a5 0010 0101 0200 0301 04H";
const FROZEN: &str = "a6 0011 0101 0200 0301 0400 05H";
const REDACTION: &str = "a8 0014 0101 0200 0301 0405 0505 0601 0701";
const BOOT: &str = "a9 0001 0101 02I 03I 04f6 0500 06H 07H 08H";
const LATER_BOOT: &str = "a9 0001 0101 02I 03I 0485I00Hf583000000 0500 06H 07H 08H";
const BATCH: &str = "ae 0002 0101 02I 03I 0401 05H 0600 07H 08H 0900 0a00 0b00 0cf6 0d00";
const BATCH_OF_ROWS: &str = "ae 0002 0101 02I 03I 0401 05H 0600 07H 08H 0900 0a00 0b01 0cH 0d00";
const USAGE: &str = "ac 0001 0101 02H 0300 0480 0502 0602 0700 0800 0900 0a00 0b00";
const COMPLETION: &str = "b6 0002 0101 02H 0300 04H 0580 0682I02 0782I02 0800 0900 0a00 0b00 0c05 0d05 0e01 0f00 \
    10H 11H 12H 13H 14H 15H";
const OPENING: &str = "a9 0001 0140 0200 0380 0440 05I 06f6 07I 0886IIIIII";

/// Hexadecimal in which `H` is a hash, `I` an id, key or salt, and spaces mean nothing.
fn bytes(hex: &str) -> Vec<u8> {
    let hash = format!("5820{}", "22".repeat(32));
    let id = format!("50{}", "11".repeat(16));
    let hex = hex.replace(' ', "").replace('H', &hash).replace('I', &id);
    hex_decode(&hex).unwrap_or_else(|| panic!("{hex} is not hexadecimal"))
}

/// A record in which one part stands for another.
fn with(record: &str, part: &str, other: &str) -> String {
    assert!(record.contains(part), "{record} has no {part}");
    record.replacen(part, other, 1)
}

/// Reads every record of a table, hexadecimal as above, and compares the refusals.
#[track_caller]
fn check<T: std::fmt::Debug>(read: fn(&[u8]) -> Result<T, Error>, table: &[(&str, String, Error)]) {
    let table: Vec<(&str, Box<[u8]>, Error)> =
        table.iter().map(|(name, hex, error)| (*name, bytes(hex).into(), error.clone())).collect();
    super::check(read, &table);
}

fn kind(expected: &'static str) -> Error {
    Error::CborType { expected }
}

#[test]
fn what_the_tables_change_is_right_before() {
    for entry in [OPENED, FROZEN, REDACTION, BOOT, LATER_BOOT, BATCH, BATCH_OF_ROWS] {
        let entry = bytes(entry);
        assert_eq!(Entry::decode(&entry).map(|read| read.encode()), Ok(entry));
    }
    for row in [USAGE, COMPLETION] {
        let row = bytes(row);
        assert_eq!(Row::decode(&row).map(|read| read.encode()), Ok(row));
    }
    let opening = bytes(OPENING);
    assert_eq!(Opening::decode(&opening).map(|read| read.encode()), Ok(opening));
}

#[test]
fn numbers_have_one_spelling() {
    let spelled = |number| with(OPENED, "0200", &format!("02{number}"));
    let table = [
        ("0 in one byte", spelled("1800")),
        ("23 in one byte", spelled("1817")),
        ("255 in two bytes", spelled("1900ff")),
        ("65,535 in four bytes", spelled("1a0000ffff")),
        ("2^32 - 1 in eight bytes", spelled("1b00000000ffffffff")),
        ("reserved length 28", spelled("1c")),
        ("reserved length 30", spelled("1e")),
        ("no length at all", spelled("1f")),
        ("a key in one byte", with(OPENED, "0200", "180200")),
        ("a map's length in one byte", with(OPENED, "a5", "b805")),
        ("a map without length", with(OPENED, "a5", "bf")),
        ("a byte string's length in two bytes", with(OPENED, "04H", &format!("04590020{}", "22".repeat(32)))),
        ("a byte string without length", with(OPENED, "04H", "045fHff")),
    ];
    let table = table.map(|(name, hex)| (name, hex, Error::CborNotCanonical));
    check(Entry::decode, &table);
}

#[test]
fn entries() {
    let version = |version| Error::Version { what: "entry", version };
    let fields = |expected, found| Error::CborFields { expected, found };
    check(
        Entry::decode,
        &[
            ("nothing", String::new(), Error::CborTruncated),
            ("half a head", "b9 00".to_owned(), Error::CborTruncated),
            ("no value", with(OPENED, "04H", "04"), Error::CborTruncated),
            ("half a hash", with(OPENED, "04H", "04582022"), Error::CborTruncated),
            ("a string of 2^64 - 1 bytes", with(OPENED, "04H", "045bffffffffffffffff"), Error::CborTruncated),
            ("one more byte", format!("{OPENED} 00"), Error::CborTrailing { bytes: 1 }),
            ("twice", format!("{OPENED} {OPENED}"), Error::CborTrailing { bytes: bytes(OPENED).len() }),
            ("over-long", "00".repeat(1024), Error::EntryTooLong { bytes: 1024 }),
            ("an array", with(OPENED, "a5", "85"), kind("a map")),
            ("a tagged map", format!("c0 {OPENED}"), kind("a map")),
            ("a number", "00".to_owned(), kind("a map")),
            ("a negative time", with(OPENED, "0200", "0220"), kind("an unsigned integer")),
            ("a time in floating point", with(OPENED, "0200", "02fa3f800000"), kind("an unsigned integer")),
            ("a text for a hash", with(OPENED, "04H", &format!("047820{}", "41".repeat(32))), kind("a byte string")),
            ("null for a hash", with(OPENED, "04H", "04f6"), kind("a byte string")),
            ("a short hash", with(OPENED, "04H", "0441aa"), Error::CborLength { expected: 32, found: 1 }),
            ("a long id", with(BOOT, "02I", "02H"), Error::CborLength { expected: 16, found: 32 }),
            ("unknown version", with(OPENED, "0101", "0102"), version(2)),
            ("version zero", with(OPENED, "0101", "0100"), version(0)),
            ("unknown version of an unknown type", with(OPENED, "0010 0101", "0003 0102"), version(2)),
            ("unknown type", with(OPENED, "0010", "0003"), Error::EntryKind { kind: 3 }),
            ("a field less", with(OPENED, "a5", "a4"), fields(5, 4)),
            ("a field more", format!("{} 0500", with(OPENED, "a5", "a6")), fields(5, 6)),
            ("the fields of another type", with(OPENED, "0010", "0011"), fields(6, 5)),
            ("type after version", with(OPENED, "0010 0101", "0101 0010"), Error::CborKey { expected: 0 }),
            ("a field left out", with(OPENED, "0301 04H", "04H 0500"), Error::CborKey { expected: 3 }),
            ("a field twice", with(OPENED, "0301", "0200"), Error::CborKey { expected: 3 }),
            ("fields out of order", with(OPENED, "0200 0301", "0301 0200"), Error::CborKey { expected: 2 }),
            ("a text for a key", with(OPENED, "0200", "613200"), kind("an unsigned integer")),
            ("shard 2^32", with(OPENED, "0301", "031b0000000100000000"), Error::CborRange),
            ("reason 256", with(REDACTION, "0701", "07190100"), Error::CborRange),
            ("a redaction that ends before it begins", with(REDACTION, "0505", "0504"), Error::EntryFields),
            ("a batch at its boot's place", with(BATCH, "0401", "0400"), Error::EntryFields),
            ("no rows, yet a root", with(BATCH, "0cf6", "0cH"), Error::EntryFields),
            ("rows, but no root", with(BATCH_OF_ROWS, "0cH", "0cf6"), Error::EntryFields),
            ("65,536 rows", with(BATCH_OF_ROWS, "0b01", "0b1a00010000"), Error::EntryFields),
            ("2^32 rows", with(BATCH_OF_ROWS, "0b01", "0b1b0000000100000000"), Error::CborRange),
            ("undefined for null", with(BOOT, "04f6", "04f7"), kind("an array")),
            ("false for null", with(BOOT, "04f6", "04f4"), kind("an array")),
            ("four things of a previous boot", with(LATER_BOOT, "0485", "0484"), Error::CborRange),
            ("two things without rows", with(LATER_BOOT, "83000000", "820000"), Error::CborRange),
            ("1 for true", with(LATER_BOOT, "Hf583", "H0183"), kind("a boolean")),
        ],
    );
}

#[test]
fn rows() {
    let pair = |fill: &str, weight: &str| format!("825820{}{weight}", fill.repeat(32));
    let pairs = |pairs: &[String]| with(USAGE, "0480", &format!("04{:02x}{}", 0x80 + pairs.len(), pairs.concat()));
    let weight = |weight| pairs(&[pair("aa", weight)]);
    check(
        Row::decode,
        &[
            ("nothing", String::new(), Error::CborTruncated),
            ("one more byte", format!("{USAGE} 00"), Error::CborTrailing { bytes: 1 }),
            ("over-long", "00".repeat(4097), Error::RowTooLong { bytes: 4097 }),
            ("an entry", OPENED.to_owned(), Error::RowKind { kind: 16 }),
            ("unknown version", with(USAGE, "0101", "0102"), Error::Version { what: "row", version: 2 }),
            ("unknown type", with(USAGE, "0001", "0003"), Error::RowKind { kind: 3 }),
            ("the fields of another type", with(USAGE, "0001", "0002"), Error::CborFields { expected: 22, found: 12 }),
            ("a field left out", with(USAGE, "0700 ", ""), Error::CborKey { expected: 7 }),
            ("choice 2^32", with(USAGE, "0300", "031b0000000100000000"), Error::CborRange),
            ("pairs out of order", pairs(&[pair("bb", "01"), pair("aa", "01")]), Error::RowFields),
            ("a pair twice", pairs(&[pair("aa", "01"), pair("aa", "01")]), Error::RowFields),
            ("a generation with two weights", pairs(&[pair("aa", "01"), pair("aa", "02")]), Error::RowFields),
            ("65 pairs", with(USAGE, "0480", "049841"), Error::RowPairs { count: 65 }),
            ("2^32 pairs", with(USAGE, "0480", "049b0000000100000000"), Error::RowPairs { count: 1 << 32 }),
            ("a pair of three", pairs(&[pair("aa", "01").replacen("82", "83", 1)]), Error::CborRange),
            ("a pair of one", with(USAGE, "0480", "048181H"), Error::CborRange),
            ("a weight of 2^63", weight("1b8000000000000000"), Error::CborRange),
            ("a weight of -2^63 - 1", weight("3b8000000000000000"), Error::CborRange),
            ("a weight that is spelled long", weight("3800"), Error::CborNotCanonical),
            ("a weight in bytes", weight("4101"), kind("an integer")),
            ("usage from the boot's own step", with(USAGE, "0502", "0500"), Error::RowFields),
            ("usage that ends before it begins", with(USAGE, "0602", "0601"), Error::RowFields),
            ("completion that ends before it begins", with(COMPLETION, "0782I02", "0782I01"), Error::RowFields),
            ("more delivered than emitted", with(COMPLETION, "0d05", "0d06"), Error::RowFields),
            ("no reason to end", with(COMPLETION, "0e01", "0e00"), Error::RowFields),
            ("reason 256", with(COMPLETION, "0e01", "0e190100"), Error::CborRange),
            ("a step of one", with(COMPLETION, "0682I02", "0681I"), Error::CborRange),
            ("a negative fee", with(COMPLETION, "0f00", "0f20"), kind("an unsigned integer")),
            ("no price policy", with(COMPLETION, "10H", "10f6"), kind("a byte string")),
        ],
    );
}

#[test]
fn openings() {
    let long = |length: usize| format!("59{length:04x}{}", "00".repeat(length));
    check(
        Opening::decode,
        &[
            ("nothing", String::new(), Error::CborTruncated),
            ("one more byte", format!("{OPENING} 00"), Error::CborTrailing { bytes: 1 }),
            ("unknown version", with(OPENING, "0001", "0002"), Error::Version { what: "receipt", version: 2 }),
            ("a field less", with(OPENING, "a9", "a8"), Error::CborFields { expected: 9, found: 8 }),
            ("an entry of 1,024 bytes", with(OPENING, "0140", &format!("01{}", long(1024))), Error::CborRange),
            ("row 65,535", with(OPENING, "0200", "0219ffff"), Error::CborRange),
            ("a path of 17", with(OPENING, "0380", &format!("0391{}", "H".repeat(17))), Error::CborRange),
            ("a path of 2^64 - 1", with(OPENING, "0380", "039bffffffffffffffff"), Error::CborRange),
            (
                "a row of 4,097 bytes",
                with(OPENING, "0440", &format!("04{}", long(4097))),
                Error::RowTooLong { bytes: 4097 },
            ),
            ("a nonce of 16", with(OPENING, "06f6", "06I"), Error::CborLength { expected: 32, found: 16 }),
            ("randomness of 32", with(OPENING, "07I", "07H"), Error::CborLength { expected: 16, found: 32 }),
            ("five keys", with(OPENING, "0886I", "0885"), Error::CborRange),
            ("seven keys", with(OPENING, "0886I", "0887II"), Error::CborRange),
        ],
    );
}

#[test]
fn granted_rows() {
    let long = format!("8182I591001{}", "00".repeat(4097));
    check(
        decode_granted,
        &[
            ("nothing", String::new(), Error::CborTruncated),
            ("a map", "a0".to_owned(), kind("an array")),
            ("one more byte", "80 00".to_owned(), Error::CborTrailing { bytes: 1 }),
            ("one row less", "82 H".to_owned(), Error::CborTruncated),
            ("65,536 rows", "9a00010000".to_owned(), Error::CborRange),
            ("2^64 - 1 rows", "9bffffffffffffffff".to_owned(), Error::CborRange),
            ("a short hidden row", "81 43010203".to_owned(), Error::HashLength { found: 3 }),
            ("a short erased row", "81 81 43010203".to_owned(), Error::CborLength { expected: 32, found: 3 }),
            ("a short salt", "81 82 4101 4101".to_owned(), Error::CborLength { expected: 16, found: 1 }),
            ("an over-long row", long, Error::RowTooLong { bytes: 4097 }),
            ("a row of three", "81 83 I 4101 00".to_owned(), Error::CborRange),
            ("a row of none", "81 80".to_owned(), Error::CborRange),
            ("null for a row", "81 f6".to_owned(), kind("an array")),
        ],
    );
}
