//! Descriptions of datasets, and the files that they describe.

use std::collections::BTreeMap;

use loam_datanet::Row;
use loam_datanet::croissant::{CroissantFault, Description, Source, Written, write};
use loam_datanet::json::{canonical, parse};
use loam_datanet::rows::{Format, Placed, read};
use loam_ledger_core::hash::digest;
use loam_ledger_core::record::ContributorKind;
use serde_json::Value;

use super::refused;

/// A description, and after a byte of zero the file that it is of. `$sha256` in it stands for that file's digest, which
/// no fuzzer finds by itself. Says whether both are taken.
pub(crate) fn croissant(data: &[u8]) -> bool {
    let cut = data.iter().position(|byte| *byte == 0);
    let (metadata, file) = cut.map_or((data, &[][..]), |cut| (&data[..cut], &data[cut + 1..]));
    let metadata = match core::str::from_utf8(metadata) {
        Ok(text) => text.replace("$sha256", &digest(file).to_hex()).into_bytes(),
        Err(_) => metadata.to_vec(),
    };
    let source = match Source::read(&metadata) {
        Ok(source) => source,
        Err(fault) => {
            refused(&fault);
            return false;
        }
    };
    let spelled = canonical(&value(&metadata));
    assert_eq!(Source::read(spelled.as_bytes()).as_ref(), Ok(&source), "another spelling of the same");
    let found = source.rows(file);
    let is_described = source.sha256 == digest(file);
    match &found {
        Ok(placed) => {
            assert!(is_described, "another file was taken");
            assert_eq!(read(source.format, file).as_ref(), Ok(placed), "rows are the file's");
            described(&source, placed);
        }
        Err(fault) => {
            assert_eq!(matches!(fault, CroissantFault::Digest { .. }), !is_described, "{fault}");
            refused(fault);
        }
    }
    found.is_ok()
}

fn value(metadata: &[u8]) -> Value {
    let text = core::str::from_utf8(metadata).expect("a description is text");
    parse(text.strip_prefix('\u{feff}').unwrap_or(text), 64).expect("it was read before")
}

/// What is written of rows is read back: under any name, with any fields.
fn described(source: &Source, placed: &[Placed]) {
    let rows: Vec<Row> = placed.iter().map(|placed| placed.row.clone()).collect();
    let [dataset, revision, work, ada] = ["dataset", "revision", "work", "ada"].map(|name| digest(name.as_bytes()));
    let about = Description {
        name: source.name.clone(),
        description: "Questions and answers about boilers".to_owned(),
        url: "https://example.org/boiler-talk".to_owned(),
        licence: source.licence.clone().unwrap_or_default(),
        date: "2026-11-27".to_owned(),
        number: 1,
        dataset,
        revision,
        parents: Vec::new(),
        contributions: vec![(work, vec![ada])],
        people: BTreeMap::from([(ada, ContributorKind::Person)]),
        file: source.file.clone(),
    };
    let Written { metadata, data } = write(&about, &rows);
    assert_eq!(canonical(&value(metadata.as_bytes())) + "\n", metadata, "the one spelling");
    let again = Source::read(metadata.as_bytes()).expect("what is written is read");
    assert_eq!((&again.name, &again.file, again.format), (&source.name, &source.file, Format::JsonLines));
    let back = again.rows(data.as_bytes()).expect("it is the file");
    assert!(back.iter().map(|placed| &placed.row).eq(&rows), "{data}");
}
