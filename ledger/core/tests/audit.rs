//! Honest exports pass the audit, and the report says what the world knows of itself, and what was not looked at.

mod town;
mod world;

use std::collections::BTreeSet;

use loam_ledger_core::Hash;
use loam_ledger_core::audit::{
    Class, Failure, Fault, Folder, LedgerReport, LogReport, Options, ReadError, Scope, audit_ledger, audit_log,
};
use loam_ledger_core::entry::{Batch, Boot, Entry};
use loam_ledger_core::note::{Note, SigningKey};
use loam_ledger_core::origin::LogId;
use loam_ledger_core::policy::Policy;
use loam_ledger_core::row::Row;

use world::{Files, Grant, Sealed, Witness, World, key};

/// Whoever audits `world` in one shard finds what the world knows of itself.
fn check(world: &World, grant: Grant, scope: Scope) {
    let sealed = world.seal();
    let log = &sealed.logs(grant)[1];
    let files = log.export();
    let mut told = Vec::new();
    let report = audit_log(&files, key(log.id).verifier(), Options::default(), &mut |done, of| told.push((done, of)))
        .unwrap_or_else(|failure| panic!("{} entries, {scope:?}: {failure}", world.entries.len()));
    assert_eq!(report.scope, scope);
    assert_eq!(known(world), of(&report));
    assert_eq!(report.manifest_files, files.0.len() as u64 - 1, "all but the manifest itself");
    let tiles = files.0.keys().filter(|path| path.starts_with("tile/") && !path.contains("entries"));
    assert_eq!(report.tiles, tiles.count() as u64);
    let older = files.0.keys().filter(|path| path.starts_with("checkpoints/"));
    assert_eq!(report.checkpoints, older.count() as u64 + 1);
    assert!(told.is_sorted() && told.iter().all(|(_, of)| *of == report.size), "{told:?}");
    assert_eq!(told.last().map_or(0, |(done, _)| *done), report.size);
}

/// What does not depend on how much is shown.
#[derive(Debug, PartialEq, Eq)]
struct Counts {
    size: u64,
    engines: u64,
    boots: u64,
    crashes: u64,
    prefilled_tokens: u64,
    emitted_tokens: u64,
    rows: u64,
}

fn known(world: &World) -> Counts {
    let entries = || world.entries.iter().map(|drafted| &drafted.entry);
    let boots = || entries().filter(|entry| matches!(entry, Entry::Boot(_)));
    let tokens = |count: fn(&Batch) -> u64| -> u64 {
        entries()
            .filter_map(|entry| match entry {
                Entry::Batch(batch) => Some(count(batch)),
                _ => None,
            })
            .sum()
    };
    let crashed = |entry: &&Entry| matches!(entry, Entry::Boot(Boot { previous: Some(p), .. }) if !p.clean);
    let engines: BTreeSet<_> = entries().filter_map(Entry::place).map(|place| place.engine).collect();
    Counts {
        size: world.entries.len() as u64,
        engines: engines.len() as u64,
        boots: boots().count() as u64,
        crashes: boots().filter(crashed).count() as u64,
        prefilled_tokens: tokens(|batch| batch.prefilled_tokens),
        emitted_tokens: tokens(|batch| batch.emitted_tokens),
        rows: world.rows_where(|_| true).len() as u64,
    }
}

fn of(report: &LogReport) -> Counts {
    Counts {
        size: report.size,
        engines: report.engines,
        boots: report.boots,
        crashes: report.crashes,
        prefilled_tokens: report.prefilled_tokens,
        emitted_tokens: report.emitted_tokens,
        rows: report.rows,
    }
}

#[test]
fn honest_logs_of_every_kind_of_size_pass() {
    for entries in [0, 1, 2, 3, 255, 256, 257, 511, 512, 700] {
        let world = World::new(entries);
        let rows = !known(&world).rows.eq(&0);
        check(&world, Grant::Nothing, Scope::Public);
        check(&world, Grant::All, if entries > 0 { Scope::All } else { Scope::Public });
        if rows {
            let request = world.requests[world.requests.len() / 2].id();
            check(&world, Grant::Request(request), Scope::Part);
        }
    }
}

#[test]
fn an_honest_log_of_three_tile_levels_passes() {
    // Sixty-five thousand entries fill 256 tiles, whose roots fill one tile above them.
    check(&World::of(65_536 + 300, 5, 400), Grant::All, Scope::All);
}

#[test]
fn every_boot_may_be_the_last() {
    // An engine that does nothing but boot, clean or not, is odd but honest.
    check(&World::of(300, 3, 1), Grant::All, Scope::All);
    check(&World::of(600, 3, 2), Grant::All, Scope::All);
}

fn audit_all(files: &Files, options: Options<'_>) -> Result<LedgerReport, Failure> {
    audit_ledger(files, key(LogId::Records).verifier(), options, &mut |_, _, _| ())
}

/// Audits one shard as if there were no others.
fn audit_alone(files: &Files, shard: u32, options: Options<'_>) -> Result<LogReport, Failure> {
    let log = LogId::Usage(shard);
    let folder = Folder { files, path: log.to_string() };
    audit_log(&folder, key(log).verifier(), options, &mut |_, _| ())
}

/// Three shards, cut wherever boots and requests happened to be.
fn three_shards() -> (World, Sealed) {
    let world = World::new(900);
    let sealed = world.seal_in(&[311, 600], &BTreeSet::new());
    (world, sealed)
}

fn says(unchecked: &[String], words: &str) -> bool {
    unchecked.iter().any(|line| line.contains(words))
}

#[test]
fn an_honest_ledger_passes_whole() {
    let (world, sealed) = three_shards();
    for (grant, scope) in [(Grant::All, Scope::All), (Grant::Nothing, Scope::Public)] {
        let report = audit_all(&sealed.export(grant), Options::default()).unwrap();
        let logs: Vec<(LogId, u64, u64)> =
            report.logs.iter().map(|(id, log)| (*id, log.size, log.recorded_heads)).collect();
        let (records, shards) = (LogId::Records, LogId::Usage);
        let sizes = [(records, 9, 0), (shards(1), 311, 2), (shards(2), 289, 2), (shards(3), 300, 2)];
        assert_eq!(logs, sizes);
        let usage = || report.logs[1..].iter().map(|(_, log)| log);
        assert!(usage().all(|log| log.scope == scope));
        let sum = |count: fn(&LogReport) -> u64| usage().map(count).sum::<u64>();
        let expected = known(&world);
        assert_eq!(sum(|log| log.rows), expected.rows);
        assert_eq!(sum(|log| log.boots), expected.boots);
        assert_eq!(sum(|log| log.emitted_tokens), expected.emitted_tokens);
        if scope == Scope::All {
            let completions = world.rows_where(|row| matches!(row, Row::Completion(_)));
            assert_eq!(sum(|log| log.completions), completions.len() as u64);
            assert!(usage().all(|log| log.unchecked.is_empty()), "{report:?}");
        }
        assert!(says(&report.logs[0].1.unchecked, "no witness quorum was asked for"));
    }
}

/// A shard that was cut in the middle of boots and requests is honest when it is looked at alone: its first rows count
/// steps that it does not hold.
#[test]
fn each_shard_passes_alone() {
    let (_, sealed) = three_shards();
    let files = sealed.export(Grant::All);
    for shard in 1..=3 {
        let report = audit_alone(&files, shard, Options::default()).unwrap();
        assert_eq!(report.scope, Scope::All);
        assert!(says(&report.unchecked, "the other logs"));
        assert_eq!(says(&report.unchecked, "chains before this shard"), shard > 1, "{:?}", report.unchecked);
        assert_eq!(says(&report.unchecked, "completions that began before"), shard > 1, "{:?}", report.unchecked);
    }
    // Every cut is honest, wherever it falls.
    let world = World::new(120);
    for cut in 1..120 {
        let files = world.seal_in(&[cut], &BTreeSet::new()).export(Grant::All);
        audit_alone(&files, 2, Options::default()).unwrap_or_else(|failure| panic!("cut at {cut}: {failure}"));
        audit_all(&files, Options::default()).unwrap_or_else(|failure| panic!("cut at {cut}: {failure}"));
    }
}

/// Retention ends shard by shard, and an export of the rest is honest.
#[test]
fn a_ledger_without_one_of_its_shards_passes() {
    let (_, sealed) = three_shards();
    for missing in 1..=3 {
        let mut files = sealed.export(Grant::All);
        files.0.retain(|path, _| !path.starts_with(&format!("usage/{missing}/")));
        let report =
            audit_all(&files, Options::default()).unwrap_or_else(|failure| panic!("without {missing}: {failure}"));
        assert_eq!(report.logs.len(), 3);
        assert!(says(&report.logs[0].1.unchecked, &format!("usage/{missing}: it is not in this export")));
    }
}

#[test]
fn erased_rows_pass_below_one_in_a_hundred_or_where_allowed() {
    let world = World::new(700);
    let (few, many): (Vec<Hash>, Vec<Hash>) =
        (vec![world.requests[10].id()], world.requests.iter().take(20).map(|request| request.id()).collect());
    let (strict, lenient) = (Options::default(), Options { allow_erased: true, ..Options::default() });
    for (erased, options, passes) in [(&few, strict, true), (&many, strict, false), (&many, lenient, true)] {
        let erased: BTreeSet<Hash> = erased.iter().copied().collect();
        let rows = world.rows_where(|row| erased.contains(&row.request())).len() as u64;
        let sealed = world.seal_in(&[], &erased);
        for grant in [Grant::All, Grant::Nothing] {
            match audit_all(&sealed.export(grant), options) {
                Ok(report) => {
                    let usage = &report.logs[1].1;
                    assert!(passes, "{rows} of {} rows", usage.rows);
                    let shown = u64::from(matches!(grant, Grant::All));
                    assert_eq!(usage.rows_erased, rows * shown);
                    assert_eq!(usage.rows_announced_erased, rows);
                }
                Err(Failure::Invalid(Fault { class, .. })) => assert!(!passes && class == Class::Erased, "{class:?}"),
                Err(other) => panic!("{other}"),
            }
        }
    }
}

#[test]
fn witnesses_are_asked_for_by_the_policy_alone() {
    let (_, sealed) = three_shards();
    let (one, two) = (Witness::new("witness.test/one"), Witness::new("witness.test/two"));
    let policy = format!(
        "witness one {}\nwitness two {}\ngroup both all one two\nquorum both\n",
        one.verifier(),
        two.verifier()
    );
    let policy = Policy::parse(&policy).unwrap();
    let options = Options { policy: Some(&policy), ..Options::default() };
    let mut files = sealed.export(Grant::Nothing);
    files.0.remove("records/MANIFEST.sha256");
    let plain = files.file("records/checkpoint").clone();
    let quorum_fails =
        |files: &Files| matches!(audit_all(files, options), Err(Failure::Invalid(f)) if f.class == Class::Quorum);
    assert!(quorum_fails(&files));
    *files.file("records/checkpoint") = one.cosign(&plain, 1_700_000_000);
    assert!(quorum_fails(&files));
    *files.file("records/checkpoint") = two.cosign(&one.cosign(&plain, 1_700_000_000), 1_700_000_001);
    let report = audit_all(&files, options).unwrap();
    assert!(!says(&report.logs[0].1.unchecked, "witness"), "{report:?}");
    // Without a policy nobody asks, and cosignatures of strangers do not disturb.
    assert!(says(&audit_all(&files, Options::default()).unwrap().logs[0].1.unchecked, "witness"));
}

#[test]
fn a_log_of_anything_passes_where_its_entries_do_not_matter() {
    let mut log = World::new(10).seal().logs(Grant::Nothing).remove(1);
    log.entries = (0..300u32).map(|n| format!("anything {n}").into_bytes()).collect();
    let files = log.export();
    let opaque = Options { opaque: true, ..Options::default() };
    let report = audit_log(&files, key(log.id).verifier(), opaque, &mut |_, _| ()).unwrap();
    assert_eq!((report.size, report.tiles), (300, 3));
    assert!(says(&report.unchecked, "what the entries say"));
    let strict = audit_log(&files, key(log.id).verifier(), Options::default(), &mut |_, _| ());
    assert!(matches!(strict, Err(Failure::Invalid(f)) if f.class == Class::Malformed));
}

/// A file that cannot be read is not a lie: nothing is known.
#[test]
fn what_cannot_be_read_is_said_apart_from_what_is_wrong() {
    struct Broken<'a>(&'a Files, &'a str);
    impl loam_ledger_core::audit::Files for Broken<'_> {
        fn read(&self, path: &str) -> Result<Vec<u8>, ReadError> {
            if path == self.1 {
                return Err(ReadError::Failed("the disk is tired".to_owned()));
            }
            self.0.read(path)
        }

        fn list(&self, folder: &str) -> Result<Vec<String>, ReadError> {
            if folder == self.1 {
                return Err(ReadError::Failed("the disk is tired".to_owned()));
            }
            self.0.list(folder)
        }
    }
    let (_, sealed) = three_shards();
    let files = sealed.export(Grant::All);
    let key = key(LogId::Records);
    let folders = ["usage", "usage/2/checkpoints"].map(str::to_owned);
    for path in files.0.keys().filter(|path| !path.ends_with("policy.txt")).chain(&folders) {
        let broken = Broken(&files, path);
        let failure = audit_ledger(&broken, key.verifier(), Options::default(), &mut |_, _, _| ()).unwrap_err();
        assert!(matches!(&failure, Failure::Unreadable { path: at, .. } if at == path), "{path}: {failure}");
    }
    let nothing = audit_all(&Files::default(), Options::default()).unwrap_err();
    assert!(matches!(&nothing, Failure::Unreadable { path, .. } if path == "records/checkpoint"), "{nothing}");
}

#[test]
fn a_ledger_is_audited_with_the_key_of_its_records_log() {
    let (_, sealed) = three_shards();
    let files = sealed.export(Grant::Nothing);
    let elsewhere = SigningKey::from_seed("no.loam.test/log", &[1; 32]).unwrap();
    for key in [key(LogId::Usage(1)), elsewhere] {
        let failure = audit_ledger(&files, key.verifier(), Options::default(), &mut |_, _, _| ()).unwrap_err();
        assert!(matches!(&failure, Failure::Invalid(f) if f.class == Class::Signature), "{failure}");
    }
}

/// How a ledger examines itself: its head is its own, everything else is checked as ever, and nobody else is given such
/// an export.
#[test]
fn a_head_without_a_signature_passes_for_its_owner_alone() {
    let log = World::new(300).seal().logs(Grant::All).remove(1);
    let mut files = log.export();
    files.0.remove("MANIFEST.sha256");
    let note = Note::parse(files.file("checkpoint")).unwrap();
    *files.file("checkpoint") = note.text().as_bytes().to_vec();
    let audit = |files: &Files, unsigned_head| {
        let options = Options { unsigned_head, ..Options::default() };
        audit_log(files, key(log.id).verifier(), options, &mut |_, _| ()).map(|report| report.size)
    };
    assert_eq!(audit(&files, true), Ok(300));
    assert!(matches!(audit(&files, false), Err(Failure::Invalid(f)) if f.class == Class::Malformed));
    files.file("checkpoints/150")[150] ^= 1;
    assert!(
        matches!(audit(&files, true), Err(Failure::Invalid(f)) if f.class == Class::Signature || f.class == Class::Malformed)
    );
}

#[test]
fn void_records_are_reported_and_end_nothing() {
    let mut sealed = World::new(40).seal();
    let mut town = town::Town::empty(&world::origin(LogId::Records));
    town.register("gatherer", loam_ledger_core::record::ContributorKind::Person, None).unwrap();
    let time_ms = sealed.records.last().unwrap().time_ms();
    // The last record once more, as a writer might who hopes that nobody reads.
    for entry in town.entries.iter().chain(town.entries.last()) {
        let Entry::Record(record) = entry else { panic!("{entry:?} is no record") };
        let record = loam_ledger_core::record::Record { time_ms, ..(**record).clone() };
        sealed.records.push(Entry::Record(Box::new(record)));
    }
    let last = sealed.records.len() - 1;
    let report = audit_all(&sealed.export(Grant::All), Options::default()).unwrap();
    let records = &report.logs[0].1;
    let id = town.id("gatherer");
    let void = format!("entry {last}, contributor registered: {id} is registered already");
    assert_eq!((records.records, records.records_void, records.void_records.as_slice()), (3, 1, &[void][..]));
    assert_eq!(report.registry.people().all().count(), 2);
    assert_eq!(report.registry.size(), sealed.records.len() as u64);
}
