//! What a ledger on disk does when its disk, its floor or its keys are not what they were.

mod support;

use std::fs;
use std::path::{Path, PathBuf};

use loam_ledger::{Acked, Error, Folder, Ledger, Level, WhyReadOnly};
use loam_ledger_core::origin::LogId;
use support::{append, boot_info, options, whole_request};
use tempfile::TempDir;

const NAME: &str = "test.example/recovery";

/// A ledger on disk with a dozen commits, and what was acknowledged of it.
fn ledger_on_disk() -> (TempDir, PathBuf, Vec<Acked>) {
    let top = tempfile::tempdir().expect("a temporary folder");
    let data = top.path().join("data");
    let home = Folder::new(&data, None);
    let ledger = Ledger::create(&home, NAME, options()).expect("a new ledger");
    let writer = ledger.boot(boot_info(1)).expect("a boot");
    let mut acks = Vec::new();
    for adapter in ["clay", "loess", "peat"] {
        let (_, acked) = whole_request(&ledger, &writer, adapter).expect("a request");
        acks.extend(acked.iter().map(|each| Acked { index: each.index, leaf: each.leaf }));
    }
    let last = append(&writer, Level::Published, |_| Default::default()).expect("an entry");
    acks.push(Acked { index: last.index, leaf: last.leaf });
    writer.stop().expect("a stop");
    ledger.close().expect("a clean end");
    (top, data, acks)
}

fn copy(from: &Path, to: &Path) {
    fs::create_dir_all(to).expect("a folder");
    for each in fs::read_dir(from).expect("a folder") {
        let each = each.expect("an entry of a folder");
        let to = to.join(each.file_name());
        if each.file_type().expect("a type").is_dir() {
            copy(&each.path(), &to);
        } else {
            fs::copy(each.path(), to).expect("a copy");
        }
    }
}

fn open(data: &Path) -> Result<Ledger, Error> {
    Ledger::open(&Folder::new(data, None), options())
}

/// The log that RocksDB replays when it opens.
fn wal(data: &Path) -> PathBuf {
    let logs = fs::read_dir(data.join("store")).expect("a store").map(|each| each.expect("a file").path());
    let mut logs: Vec<_> = logs.filter(|path| path.extension().is_some_and(|end| end == "log")).collect();
    logs.sort_by_key(|path| fs::metadata(path).expect("a file").len());
    logs.pop().expect("a store has a log")
}

/// Spoils the log in one way at one offset. What then opens for writing must hold all that was acknowledged.
fn check_spoiled(data: &Path, spoiled: &Path, acks: &[Acked], spoil: &dyn Fn(&mut Vec<u8>)) -> bool {
    let _ = fs::remove_dir_all(spoiled);
    copy(data, spoiled);
    let path = wal(spoiled);
    let mut bytes = fs::read(&path).expect("a log");
    spoil(&mut bytes);
    fs::write(&path, bytes).expect("a spoiled log");
    let before = fs::read(&path).expect("a log");
    match open(spoiled) {
        Err(Error::Damaged { .. } | Error::Store(_) | Error::NotALedger { .. }) => false,
        Err(other) => panic!("an unexpected refusal: {other}"),
        Ok(ledger) => match ledger.read_only() {
            Some(WhyReadOnly::BelowFloor { floor, store, .. }) => {
                assert!(store.0 < floor.0);
                assert!(matches!(ledger.publish(), Err(Error::ReadOnly { .. })));
                drop(ledger);
                assert_eq!(fs::read(&path).expect("a log"), before, "looking changed the evidence");
                false
            }
            Some(other) => panic!("an unexpected refusal: {other}"),
            None => {
                drop(ledger);
                let examined = Ledger::examine(&Folder::new(spoiled, None), acks).expect("it can be read");
                assert_eq!(examined.wrong, Vec::<String>::new());
                true
            }
        },
    }
}

/// Every offset in the long tier; a prime stride and the end in the fast one.
fn offsets(length: usize) -> Vec<usize> {
    let long = std::env::var("LOAM_TEST_TIER").is_ok_and(|tier| tier == "long");
    let stride = if long { 1 } else { 211 };
    (0..length).step_by(stride).chain(length.saturating_sub(3)..=length).collect()
}

#[test]
fn a_log_cut_anywhere_is_never_opened_silently() {
    let (top, data, acks) = ledger_on_disk();
    let length = fs::metadata(wal(&data)).expect("a log").len() as usize;
    assert!(length > 2000, "the entries lie in the log");
    let (mut opened, mut refused) = (0, 0);
    for offset in offsets(length) {
        let whole = check_spoiled(&data, &top.path().join("cut"), &acks, &|bytes| bytes.truncate(offset));
        if whole { opened += 1 } else { refused += 1 }
    }
    assert!(opened >= 1 && refused > 8, "{opened} opened, {refused} refused");
}

#[test]
fn a_log_zeroed_from_anywhere_is_never_opened_silently() {
    let (top, data, acks) = ledger_on_disk();
    let length = fs::metadata(wal(&data)).expect("a log").len() as usize;
    for offset in offsets(length) {
        check_spoiled(&data, &top.path().join("zeroed"), &acks, &|bytes| bytes[offset..].fill(0));
    }
}

#[test]
fn a_flipped_bit_in_the_log_is_never_opened_silently() {
    let (top, data, acks) = ledger_on_disk();
    let length = fs::metadata(wal(&data)).expect("a log").len() as usize;
    for offset in offsets(length - 1) {
        check_spoiled(&data, &top.path().join("flipped"), &acks, &|bytes| bytes[offset] ^= 0x10);
    }
}

/// A disk was put back from yesterday; the floor was not.
#[test]
fn a_store_from_yesterday_is_below_its_floor() {
    let (top, data, _) = ledger_on_disk();
    let yesterday = top.path().join("yesterday");
    copy(&data.join("store"), &yesterday);
    {
        let ledger = open(&data).expect("it opens");
        let writer = ledger.boot(boot_info(1)).expect("a boot");
        append(&writer, Level::Durable, |_| Default::default()).expect("an entry");
    }
    fs::remove_dir_all(data.join("store")).expect("the store goes");
    fs::rename(&yesterday, data.join("store")).expect("and comes back old");
    let ledger = open(&data).expect("it opens for reading");
    let why = ledger.read_only().expect("and for no more").to_string();
    assert!(matches!(ledger.read_only(), Some(WhyReadOnly::BelowFloor { .. })), "{why}");
    assert!(why.contains("floor: ") && why.contains("store: ") && why.contains("Put back"), "{why}");
    assert_eq!(ledger.entry(LogId::Usage(1), 0).map(|entry| entry.is_empty()), Ok(false), "reading still works");
    assert!(ledger.prove(LogId::Usage(1), 0).is_ok(), "and proving under what was signed");
    let examined = Ledger::examine(&Folder::new(&data, None), &[]).expect("it can be read");
    assert_eq!(examined.wrong.len(), 1, "{:?}", examined.wrong);
}

#[test]
fn a_torn_floor_slot_leaves_the_other() {
    let (_top, data, _) = ledger_on_disk();
    let floor = data.join("floor");
    let whole = fs::read(&floor).expect("a floor");
    for slot in [0, 4096] {
        let mut torn = whole.clone();
        torn[slot + 100] ^= 1;
        fs::write(&floor, &torn).expect("a torn floor");
        assert_eq!(open(&data).expect("it opens").read_only(), None, "slot at {slot}");
    }
    let mut torn = whole.clone();
    torn[100] ^= 1;
    torn[4196] ^= 1;
    fs::write(&floor, &torn).expect("a lost floor");
    assert_eq!(open(&data).expect("it opens").read_only(), Some(&WhyReadOnly::DamagedFloor));
}

#[test]
fn without_a_floor_nothing_is_signed() {
    let (_top, data, _) = ledger_on_disk();
    fs::remove_file(data.join("floor")).expect("the floor goes");
    assert_eq!(open(&data).expect("it opens").read_only(), Some(&WhyReadOnly::NoFloor));
}

#[test]
fn a_foreign_floor_is_refused() {
    let ((_top, data, _), (_other_top, other, _)) = (ledger_on_disk(), ledger_on_disk());
    fs::copy(other.join("floor"), data.join("floor")).expect("another floor");
    assert_eq!(open(&data).expect("it opens").read_only(), Some(&WhyReadOnly::ForeignFloor));
}

#[test]
fn a_lost_key_is_never_made_anew() {
    let (_top, data, _) = ledger_on_disk();
    let key = data.join("keys").join("usage-1.key");
    let text = fs::read_to_string(&key).expect("a key");
    fs::remove_file(&key).expect("the key goes");
    let ledger = open(&data).expect("it opens");
    assert_eq!(ledger.read_only(), Some(&WhyReadOnly::LostKey { log: LogId::Usage(1) }));
    assert!(matches!(ledger.boot(boot_info(1)).map(drop), Err(Error::ReadOnly { .. })));
    drop(ledger);
    assert!(!key.exists());
    fs::write(&key, text).expect("the key comes back");
    assert_eq!(open(&data).expect("it opens").read_only(), None);
}

#[test]
fn a_foreign_key_is_refused() {
    let ((_top, data, _), (_other_top, other, _)) = (ledger_on_disk(), ledger_on_disk());
    let key = Path::new("keys").join("records.key");
    fs::copy(other.join(&key), data.join(&key)).expect("another key");
    assert_eq!(open(&data).expect("it opens").read_only(), Some(&WhyReadOnly::ForeignKey { log: LogId::Records }));
}

#[test]
fn without_secrets_nothing_is_written_and_proofs_still_work() {
    let (_top, data, _) = ledger_on_disk();
    fs::remove_file(data.join("secrets").join("slots")).expect("the secrets go");
    let ledger = open(&data).expect("it opens");
    assert_eq!(ledger.read_only(), Some(&WhyReadOnly::NoSecrets));
    assert!(ledger.prove(LogId::Usage(1), 2).is_ok());
}

#[test]
fn a_folder_that_is_no_ledger_is_left_alone() {
    let top = tempfile::tempdir().expect("a temporary folder");
    fs::write(top.path().join("letter.txt"), "dear you").expect("a file");
    let home = Folder::new(top.path(), None);
    assert!(matches!(Ledger::create(&home, NAME, options()).map(drop), Err(Error::NotEmpty { .. })));
    assert!(matches!(Ledger::open(&home, options()).map(drop), Err(Error::NotALedger { .. })));
    assert_eq!(fs::read_dir(top.path()).expect("a folder").count(), 1);
}

#[test]
fn one_process_writes_and_others_may_read() {
    let (_top, data, _) = ledger_on_disk();
    let ledger = open(&data).expect("it opens");
    assert!(matches!(open(&data).map(drop), Err(Error::InUse { .. })));
    let reading = Ledger::open_read_only(&Folder::new(&data, None)).expect("it opens for reading");
    assert_eq!(reading.size(LogId::Usage(1)), ledger.size(LogId::Usage(1)));
}

/// Keys are for their owner's eyes, and so are secrets.
#[test]
fn keys_and_secrets_are_private() {
    use std::os::unix::fs::PermissionsExt as _;
    let (_top, data, _) = ledger_on_disk();
    for path in ["keys/records.key", "keys/usage-1.key", "secrets/slots", "floor"] {
        let mode = fs::metadata(data.join(path)).expect("a file").permissions().mode();
        assert_eq!(mode & 0o777, 0o600, "{path}");
    }
}
