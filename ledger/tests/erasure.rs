//! Erasing a request: nothing of it can be opened again, and everything else still verifies.

mod support;

use std::fs;
use std::path::Path;

use loam_ledger::home::MemoryHome;
use loam_ledger::memory::Fault;
use loam_ledger::{Error, ExportFolder, Folder, Ledger, Level, RowScope};
use loam_ledger_core::Hash;
use loam_ledger_core::audit::{Options as AuditOptions, Scope, audit_ledger, audit_log};
use loam_ledger_core::granted::{GrantedRow, decode_granted, split_row_bundle};
use loam_ledger_core::origin::LogId;
use loam_ledger_core::receipt::Held;
use loam_ledger_core::row::Row;
use support::{Running, append, boot_info, options, paid_request, usage_step, whole_request};

/// The clear rows of a request, as a settlement export shows them.
fn rows_of(out: &Path, request: &Hash) -> Vec<Vec<u8>> {
    let bundle = fs::read(out.join("usage/1/rows/000.p/5")).expect("rows");
    let entries = split_row_bundle(&bundle, 5).expect("five entries");
    let granted =
        entries.into_iter().filter(|rows| !rows.is_empty()).flat_map(|rows| decode_granted(rows).expect("rows"));
    let clear = granted.filter_map(|row| match row {
        GrantedRow::Open { row, .. } => Some(row),
        _ => None,
    });
    clear.filter(|row| Row::decode(row).expect("a row").request() == *request).collect()
}

fn find(bytes: &[u8], needle: &[u8]) -> bool {
    bytes.windows(needle.len()).any(|window| window == needle)
}

fn all_files(folder: &Path) -> Vec<Vec<u8>> {
    let entries = fs::read_dir(folder).expect("a folder").map(|each| each.expect("an entry").path());
    entries
        .flat_map(|path| if path.is_dir() { all_files(&path) } else { vec![fs::read(path).expect("a file")] })
        .collect()
}

/// The bytes of a request's secret: the slots hold them at 64 bytes each, behind number and state.
fn secret_of(data: &Path, slot: usize) -> Vec<u8> {
    fs::read(data.join("secrets").join("slots")).expect("slots")[slot * 64 + 16..slot * 64 + 48].to_vec()
}

#[test]
fn an_erased_request_leaves_no_trace_and_every_other_proof_verifies() {
    let top = tempfile::tempdir().expect("a temporary folder");
    let data = top.path().join("data");
    let home = Folder::new(&data, None);
    let ledger = Ledger::create(&home, "test.example/erasure", options()).expect("a new ledger");
    let writer = ledger.boot(boot_info(1)).expect("a boot");
    let (gone, _) = whole_request(&ledger, &writer, "clay").expect("a request");
    let (stays, _) = whole_request(&ledger, &writer, "loess").expect("a request");
    let receipt = ledger.receipt(&stays, 0).expect("a receipt");
    ledger.export_all(&RowScope::Settlement, &top.path().join("before")).expect("an export");
    let (secret, other) = (secret_of(&data, 1), secret_of(&data, 2));
    let rows = rows_of(&top.path().join("before"), &gone);
    assert_eq!(rows.len(), 3);
    assert!(secret.iter().any(|byte| *byte != 0));
    assert!(all_files(&data).iter().any(|file| find(file, &secret)), "before, the secret is there to be found");

    ledger.erase(&gone, 1).expect("it is erased");
    ledger.erase(&gone, 1).expect("once more changes nothing");
    assert_eq!(ledger.receipt(&gone, 0).map(drop), Err(Error::Erased));
    assert_eq!(ledger.erased_requests(), Ok(1));
    ledger.export_all(&RowScope::Settlement, &top.path().join("after")).expect("an export");
    writer.stop().expect("a stop");
    ledger.close().expect("a clean end");

    for file in all_files(&data) {
        assert!(!find(&file, &secret), "the secret is still in a file");
        for row in &rows {
            assert!(!find(&file, row), "a row is in a file in clear");
        }
    }
    assert!(all_files(&data).iter().any(|file| find(file, &other)), "the other request's secret is not touched");

    let ledger = Ledger::open(&home, options()).expect("it opens");
    assert_eq!(ledger.read_only(), None);
    assert_eq!(ledger.receipt(&stays, 0).expect("a receipt").opening, receipt.opening);
    let key = ledger.verifier(LogId::Usage(1)).expect("a key");
    assert_eq!(receipt.check(&key, &Held { nonce: Some(&[7; 32]), ..Held::default() }).refused(), None);
    assert!(rows_of(&top.path().join("after"), &gone).is_empty());
    assert_eq!(rows_of(&top.path().join("after"), &stays).len(), 3);

    // Three of six rows are more than one in a hundred: an audit says so unless it is told to allow it.
    let records = ledger.verifier(LogId::Records).expect("a key");
    let (out, after) = (top.path().join("after"), AuditOptions::default());
    let report = audit_ledger(&ExportFolder::new(&out), &records, after, &mut |_, _, _| ());
    assert!(report.expect_err("too many are erased").to_string().contains("3 of 6 rows are erased"));
    let allowed = AuditOptions { allow_erased: true, ..after };
    let report =
        audit_ledger(&ExportFolder::new(&out), &records, allowed, &mut |_, _, _| ()).expect("otherwise it is whole");
    assert_eq!((report.logs[1].1.rows_erased, report.logs[1].1.rows_open), (3, 3));
    // And the redaction names nobody.
    let redaction = ledger.entry(LogId::Records, 1).expect("the second record");
    assert!(!find(&redaction, &gone.0));
}

#[test]
fn a_running_request_is_not_erased_and_a_crashed_one_can_be() {
    let home = MemoryHome::default();
    let ledger = Ledger::create(&home, "test.example/erasure", options()).expect("a new ledger");
    let writer = ledger.boot(boot_info(1)).expect("a boot");
    let mut running = Running::begin(&ledger, "clay", None).expect("a request");
    append(&writer, Level::Durable, |sequence| usage_step(&mut running, sequence)).expect("a step");
    assert_eq!(ledger.erase(&running.name(), 1), Err(Error::StillOpen));
    assert_eq!(ledger.receipt(&running.name(), 0).map(drop), Err(Error::NotCompleted));
    drop((writer, ledger));
    let ledger = Ledger::open(&home, options()).expect("it opens");
    let _writer = ledger.boot(boot_info(1)).expect("another boot");
    ledger.erase(&running.name(), 2).expect("its boot is over");
    assert_eq!(ledger.erased_requests(), Ok(1));
    let examined = Ledger::examine(&home, &[]).expect("it can be read");
    assert_eq!(examined.wrong, Vec::<String>::new());
    assert_eq!(ledger.erase(&Hash::ZERO, 1), Err(Error::UnknownRequest));
}

/// A disk on which a request's erasing was stopped before it was signed: with its secret overwritten, or not even that.
fn stopped_while_erasing(overwritten: bool) -> (MemoryHome, Hash) {
    let home = MemoryHome::default();
    let ledger = Ledger::create(&home, "test.example/erasure", options()).expect("a new ledger");
    let writer = ledger.boot(boot_info(1)).expect("a boot");
    let (gone, _) = whole_request(&ledger, &writer, "clay").expect("a request");
    ledger.publish().expect("all is signed");
    if !overwritten {
        // The first effect after the announcement and the floor is that the overwritten slot lasts.
        let announced = home.disk.effects().len() + ["commit", "floor"].len();
        home.disk.fail_at(announced, Fault::Lost);
    }
    assert_eq!(ledger.erase(&gone, 1).is_ok(), overwritten);
    assert_eq!(home.disk.effects().last(), Some(&"slots"));
    (MemoryHome { disk: home.disk.after_power_cut(), keys: home.keys.clone() }, gone)
}

/// Rows of such a request read as erased, and the entry that says so lies behind what is signed. Exported, that is what
/// fraud looks like.
#[test]
fn an_erasure_that_nothing_signs_yet_is_told_and_not_exported() {
    for overwritten in [true, false] {
        let (home, gone) = stopped_while_erasing(overwritten);
        let top = tempfile::tempdir().expect("a temporary folder");
        let ledger = Ledger::open_read_only(&home).expect("it can be read");
        let unsigned = Err(Error::ErasureUnsigned { index: 1, signed: 1 });
        for (name, scope) in [("all", RowScope::Settlement), ("one", RowScope::Request(gone))] {
            assert_eq!(ledger.export_all(&scope, &top.path().join(name)), unsigned, "{name}, {overwritten}");
        }
        assert_eq!(ledger.export_all(&RowScope::Public, &top.path().join("public")), Ok(()), "it shows no rows");

        let ledger = Ledger::open(&home, options()).expect("it opens");
        ledger.erase(&gone, 1).expect("once more changes nothing");
        assert_eq!(ledger.erased_requests(), Ok(1));
        ledger.close().expect("a clean end");
        let (ledger, out) = (Ledger::open_read_only(&home).expect("it can be read"), top.path().join("signed"));
        ledger.export_all(&RowScope::Settlement, &out).expect("it is signed");
        let (key, options) =
            (ledger.verifier(LogId::Records), AuditOptions { allow_erased: true, ..Default::default() });
        let audited = audit_ledger(&ExportFolder::new(&out), &key.expect("a key"), options, &mut |_, _, _| ());
        assert_eq!(audited.expect("it is whole").logs[1].1.rows_erased, 3, "{overwritten}");
    }
}

/// A slot's number is never used again, neither after an erasure nor after a restart.
#[test]
fn a_slot_is_never_used_again() {
    let home = MemoryHome::default();
    let ledger = Ledger::create(&home, "test.example/erasure", options()).expect("a new ledger");
    let writer = ledger.boot(boot_info(1)).expect("a boot");
    let (first, _) = whole_request(&ledger, &writer, "clay").expect("a request");
    ledger.erase(&first, 1).expect("it is erased");
    drop((writer, ledger));
    let ledger = Ledger::open(&home, options()).expect("it opens");
    let writer = ledger.boot(boot_info(1)).expect("a boot");
    let (second, _) = whole_request(&ledger, &writer, "clay").expect("a request");
    assert!(ledger.receipt(&second, 0).is_ok());
    assert_eq!(ledger.receipt(&first, 0).map(drop), Err(Error::Erased));
}

/// A scope grants what it says, and an auditor sees what it does not grant.
#[test]
fn scopes_grant_what_they_say() {
    let top = tempfile::tempdir().expect("a temporary folder");
    let home = MemoryHome::default();
    let ledger = Ledger::create(&home, "test.example/erasure", options()).expect("a new ledger");
    let writer = ledger.boot(boot_info(1)).expect("a boot");
    let (mine, _) = whole_request(&ledger, &writer, "clay").expect("a request");
    whole_request(&ledger, &writer, "loess").expect("a request");
    let shard = LogId::Usage(1);
    let key = ledger.verifier(shard).expect("a key");
    for (name, scope, expected, open) in [
        ("public", RowScope::Public, Scope::Public, 0),
        ("mine", RowScope::Request(mine), Scope::Part, 3),
        ("all", RowScope::Settlement, Scope::All, 6),
    ] {
        let out = top.path().join(name);
        ledger.export(shard, &scope, &out).expect("an export");
        let report =
            audit_log(&ExportFolder::new(&out), &key, AuditOptions::default(), &mut |_, _| ()).expect("it is whole");
        assert_eq!((report.scope, report.rows_open), (expected, open), "{name}");
        assert_eq!(out.join("rows").exists(), open > 0, "{name}");
    }
    let unknown = ledger.export(shard, &RowScope::Request(Hash::ZERO), &top.path().join("unknown"));
    assert_eq!(unknown, Err(Error::UnknownRequest));
}

/// A tenant's scope opens its own complete requests, and says nothing of whose the others are: erased ones, running ones,
/// another's.
#[test]
fn a_tenant_is_granted_its_own_and_no_more() {
    let home = MemoryHome::default();
    let ledger = Ledger::create(&home, "test.example/erasure", options()).expect("a new ledger");
    let writer = ledger.boot(boot_info(1)).expect("a boot");
    let (mine, _) = paid_request(&ledger, &writer, "clay", "mine").expect("a request");
    let (erased, _) = paid_request(&ledger, &writer, "clay", "mine").expect("a request");
    let (theirs, _) = paid_request(&ledger, &writer, "clay", "theirs").expect("a request");
    let mut running = Running::begin(&ledger, "clay", None).expect("a request");
    append(&writer, Level::Durable, |sequence| usage_step(&mut running, sequence)).expect("a step");
    ledger.erase(&erased, 1).expect("it has ended");
    assert_eq!((ledger.pays(&mine, "mine"), ledger.pays(&mine, "theirs")), (Ok(true), Ok(false)));
    assert_eq!(
        ledger.pays(&running.name(), "tenant"),
        Ok(false),
        "nobody is known to pay before an answer is complete"
    );
    assert_eq!(ledger.pays(&erased, "mine"), Err(Error::Erased));
    assert_eq!(ledger.pays(&Hash::ZERO, "mine"), Err(Error::UnknownRequest));
    for (tenant, own) in [("mine", Some(mine)), ("theirs", Some(theirs)), ("nobody", None), ("", None)] {
        let (shard, scope) = (LogId::Usage(1), RowScope::Tenant(tenant.to_owned()));
        let entries = 0..ledger.size(shard).expect("a size");
        let granted = entries.filter_map(|index| ledger.rows(shard, index, &scope).expect("rows"));
        let mut opened = Vec::new();
        for row in granted.flatten() {
            match row {
                GrantedRow::Open { row, .. } => opened.push(Row::decode(&row).expect("a row").request()),
                GrantedRow::Hidden(_) => {}
                GrantedRow::Erased(_) => panic!("that it is erased says that it was somebody's"),
            }
        }
        assert_eq!(opened, own.map_or(Vec::new(), |own| vec![own; 3]), "{tenant}");
    }
}
