//! One changed byte, anywhere in an export, is noticed, and so is every missing file of a log.

use std::collections::BTreeSet;

use loam_ledger_core::audit::{Class, Failure, Options, audit_ledger};
use loam_ledger_core::origin::LogId;

use super::tier::times;
use super::world::{Chance, Files, Grant, World, key};

/// Two shards with two bundles each, some rows of which are erased or hidden.
fn export(grant: fn(&World) -> Grant) -> Files {
    let world = World::new(570);
    let erased = BTreeSet::from([world.requests[7].id()]);
    let mut files = world.seal_in(&[280], &erased).export(grant(&world));
    // A manifest would notice everything; without it, each part of the audit must notice its own.
    files.0.retain(|path, _| !path.ends_with("MANIFEST.sha256"));
    files
}

fn audit(files: &Files) -> Result<(), Failure> {
    let key = key(LogId::Records);
    let options = Options { allow_erased: true, ..Options::default() };
    audit_ledger(files, key.verifier(), options, &mut |_, _, _| ()).map(|_| ())
}

/// Flips one bit at some places of each file that `concerns`, and finds one of these classes of fault.
#[track_caller]
fn check(grant: fn(&World) -> Grant, concerns: fn(&str) -> bool, classes: &[Class]) {
    let honest = export(grant);
    assert_eq!(audit(&honest), Ok(()));
    let mut chance = Chance(1);
    let paths: Vec<&String> = honest.0.keys().filter(|path| concerns(path)).collect();
    assert!(paths.len() > 1, "{paths:?}");
    for path in paths {
        let length = honest.0[path].len();
        let mut places = vec![0, length - 1];
        places.extend((0..times(8)).map(|_| chance.at(length)));
        for place in places {
            let mut files = honest.clone();
            let bit = 1 << chance.below(8);
            files.file(path)[place] ^= bit;
            match audit(&files) {
                Err(Failure::Invalid(fault)) if classes.contains(&fault.class) => {}
                other => panic!("byte {place} of {path}, bit {bit:#04x}: {other:?}"),
            }
        }
    }
}

const ALL: fn(&World) -> Grant = |_| Grant::All;
const PART: fn(&World) -> Grant = |world| Grant::Request(world.requests[9].id());

#[test]
fn a_byte_of_a_checkpoint() {
    let concerns = |path: &str| path.contains("checkpoint");
    check(ALL, concerns, &[Class::Malformed, Class::Signature]);
}

#[test]
fn a_byte_of_a_bundle() {
    let concerns = |path: &str| path.contains("tile/entries/");
    check(ALL, concerns, &[Class::Malformed, Class::Tree]);
}

#[test]
fn a_byte_of_a_tile() {
    let concerns = |path: &str| path.contains("/tile/") && !path.contains("entries");
    check(ALL, concerns, &[Class::Tree]);
}

#[test]
fn a_byte_of_rows() {
    let concerns = |path: &str| path.contains("/rows/");
    let classes = [Class::Malformed, Class::Rows];
    check(ALL, concerns, &classes);
    check(PART, concerns, &classes);
}

#[test]
fn a_byte_that_only_a_manifest_knows() {
    let honest = World::new(570).seal_in(&[280], &BTreeSet::new()).export(Grant::All);
    assert_eq!(audit(&honest), Ok(()));
    let paths: Vec<&String> = honest.0.keys().filter(|path| path.ends_with("policy.txt")).collect();
    assert_eq!(paths.len(), 3);
    for path in paths {
        let mut files = honest.clone();
        files.file(path)[3] ^= 1;
        let fault = audit(&files).unwrap_err();
        assert!(matches!(&fault, Failure::Invalid(f) if f.class == Class::Manifest), "{path}: {fault}");
    }
}

#[test]
fn a_missing_file() {
    let honest = export(ALL);
    let needed = |path: &&String| path.contains("/tile/") || path.contains("/rows/");
    let needed: Vec<&String> = honest.0.keys().filter(needed).collect();
    assert!(needed.len() > 10, "{needed:?}");
    for path in needed {
        let mut files = honest.clone();
        files.0.remove(path);
        let fault = audit(&files).unwrap_err();
        assert!(matches!(&fault, Failure::Invalid(f) if f.class == Class::Missing), "{path}: {fault}");
    }
}
