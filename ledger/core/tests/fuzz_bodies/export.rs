//! Exports: bytes are read as changes, either to the files of an honest export or to what is stored before it is signed.
//! Whoever changes files holds no key; whoever changes what is stored is the operator, and holds all of them.

use std::collections::BTreeSet;
use std::sync::OnceLock;

use loam_ledger_core::audit::{LedgerReport, LogReport, Options, audit_ledger};
use loam_ledger_core::checkpoint::Checkpoint;
use loam_ledger_core::entry::Entry;
use loam_ledger_core::granted::GrantedRow;
use loam_ledger_core::origin::LogId;

use crate::world::{Files, Grant, Leaf, Sealed, World, key};

/// An honest ledger of two shards, with an erased request.
struct Honest {
    sealed: Sealed,
    files: Files,
    report: LedgerReport,
}

fn honest() -> &'static Honest {
    static HONEST: OnceLock<Honest> = OnceLock::new();
    HONEST.get_or_init(|| {
        let world = World::of(24, 2, 8);
        let sealed = world.seal_in(&[12], &BTreeSet::from([world.requests[1].id()]));
        let files = signed(&sealed, Grant::All);
        let report = audit(&files).expect("the honest export passes");
        Honest { sealed, files, report }
    })
}

/// An export with one older checkpoint of each log: signatures are most of the time that a run takes.
fn signed(sealed: &Sealed, grant: Grant) -> Files {
    let mut files = Files::default();
    for log in sealed.logs(grant) {
        let below = log.export_with(&[log.entries.len() / 2]).0.into_iter();
        files.0.extend(below.map(|(path, bytes)| (format!("{}/{path}", log.id), bytes)));
    }
    files
}

fn audit(files: &Files) -> Option<LedgerReport> {
    let options = Options { allow_erased: true, ..Options::default() };
    let key = key(LogId::Records);
    audit_ledger(files, key.verifier(), options, &mut |_, _, _| ()).ok()
}

/// Reads changes from bytes; where they end, so do the changes.
struct Changes<'a>(&'a [u8]);

impl Changes<'_> {
    fn byte(&mut self) -> u8 {
        let (first, rest) = self.0.split_first().unwrap_or((&0, &[]));
        self.0 = rest;
        *first
    }

    /// A place below `end`, which is not 0.
    fn below(&mut self, end: usize) -> usize {
        usize::from(u16::from_be_bytes([self.byte(), self.byte()])) % end
    }

    /// As many bytes as the next one says.
    fn bytes(&mut self) -> Vec<u8> {
        let (taken, rest) = self.0.split_at(usize::from(self.byte_count()).min(self.0.len()));
        let taken = taken.to_vec();
        self.0 = rest;
        taken
    }

    fn byte_count(&mut self) -> u8 {
        self.byte()
    }

    /// Changes some bytes in one of a few ways.
    fn change(&mut self, bytes: &mut Vec<u8>) {
        let way = self.byte();
        let at = self.below(bytes.len() + 1);
        match way % 4 {
            0 if at < bytes.len() => bytes[at] ^= 1 << (way / 4 % 8),
            1 if at < bytes.len() => bytes[at] = self.byte(),
            2 => bytes.truncate(at),
            _ => drop(bytes.splice(at..at, self.bytes())),
        }
    }
}

/// Audits an export with the changes that the bytes say.
pub(crate) fn export(data: &[u8]) {
    let Some((who, rest)) = data.split_first() else { return };
    let mut changes = Changes(rest);
    if who % 2 == 0 {
        let mut files = honest().files.clone();
        while !changes.0.is_empty() {
            change_files(&mut files, &mut changes);
        }
        if let Some(report) = audit(&files) {
            nothing_else_is_accepted(&report);
        }
    } else {
        let mut sealed = honest().sealed.clone();
        while !changes.0.is_empty() {
            change_stored(&mut sealed, &mut changes);
        }
        if who / 2 % 2 == 0 {
            sealed.record();
        }
        let grant = if who / 4 % 2 == 0 { Grant::All } else { Grant::Nothing };
        if let Some(report) = audit(&signed(&sealed, grant)) {
            sizes_are_those_stored(&report, &sealed);
        }
    }
}

fn change_files(files: &mut Files, changes: &mut Changes<'_>) {
    let paths: Vec<String> = files.0.keys().cloned().collect();
    if paths.is_empty() {
        changes.0 = &[];
        return;
    }
    let path = &paths[changes.below(paths.len())];
    match changes.byte() % 8 {
        0 => drop(files.0.remove(path)),
        1 => {
            let other = files.0[&paths[changes.below(paths.len())]].clone();
            files.0.insert(path.clone(), other);
        }
        2 => drop(files.0.insert(path.clone(), changes.bytes())),
        3 => {
            let name = String::from_utf8_lossy(&changes.bytes()).into_owned();
            files.0.insert(name, changes.bytes());
        }
        4 => files.0.retain(|path, _| !path.ends_with("MANIFEST.sha256")),
        _ => changes.change(files.file(path)),
    }
}

fn change_stored(sealed: &mut Sealed, changes: &mut Changes<'_>) {
    if changes.byte().is_multiple_of(4) {
        change_records(&mut sealed.records, changes);
        return;
    }
    let shard = changes.below(sealed.shards.len());
    let leaves = &mut sealed.shards[shard];
    let at = changes.below(leaves.len() + 1);
    if at == leaves.len() {
        leaves.push(Leaf { bytes: changes.bytes(), rows: Vec::new() });
        return;
    }
    match changes.byte() % 6 {
        0 => drop(leaves.remove(at)),
        1 => leaves.insert(at, leaves[at].clone()),
        2 => leaves.swap(at, 0),
        3 => changes.change(&mut leaves[at].bytes),
        4 => leaves[at].rows.push(GrantedRow::Open { salt: [0; 16], row: changes.bytes() }),
        _ => match leaves[at].rows.first_mut() {
            Some(GrantedRow::Open { row, .. }) => changes.change(row),
            Some(GrantedRow::Hidden(leaf) | GrantedRow::Erased(leaf)) => leaf.0[0] ^= changes.byte(),
            None => {}
        },
    }
}

fn change_records(records: &mut Vec<Entry>, changes: &mut Changes<'_>) {
    let at = changes.below(records.len() + 1);
    let way = changes.byte() % 4;
    if at == records.len() || way == 0 {
        if let Ok(entry) = Entry::decode(&changes.bytes()) {
            records.insert(at, entry);
        }
        return;
    }
    match way {
        1 => drop(records.remove(at)),
        2 => records.swap(at, 0),
        _ => {
            let mut bytes = records[at].encode();
            changes.change(&mut bytes);
            // What is no entry is refused by its decoder; here only what an operator could have written matters.
            if let Ok(entry) = Entry::decode(&bytes) {
                records[at] = entry;
            }
        }
    }
}

/// Without a key, all that can pass is what was signed: less may be shown of it, but nothing else.
fn nothing_else_is_accepted(report: &LedgerReport) {
    let real = &honest().report.logs;
    for (id, log) in &report.logs {
        let (_, real) = real.iter().find(|(real, _)| real == id).expect("no log comes from nowhere");
        if log.size == real.size {
            assert_eq!(figures(log), figures(real), "{id}");
        } else {
            let older = format!("{id}/checkpoints/{}", log.size);
            let older = honest().files.0.get(&older).expect("an accepted head was signed");
            let older = Checkpoint::open(older, key(*id).verifier()).expect("the honest export is signed");
            assert_eq!((log.size, log.root), (older.size, older.root), "{id}");
        }
    }
}

fn figures(log: &LogReport) -> impl PartialEq + core::fmt::Debug {
    let tokens = (log.prefilled_tokens, log.emitted_tokens);
    (log.origin.clone(), log.root, log.boots, log.crashes, tokens, log.rows)
}

fn sizes_are_those_stored(report: &LedgerReport, sealed: &Sealed) {
    for (id, log) in &report.logs {
        let stored = match id {
            LogId::Records => sealed.records.len(),
            LogId::Usage(shard) => sealed.shards[usize::try_from(*shard).expect("few shards") - 1].len(),
        };
        assert_eq!(log.size, stored as u64, "{id}");
        assert!(log.rows_open + log.rows_erased <= log.rows, "{id}");
    }
}

/// Changes to begin with: one of each way.
pub(crate) fn seeds() -> Vec<(&'static str, Vec<u8>)> {
    vec![
        ("files-as-they-are", vec![0]),
        ("file-removed", vec![0, 0, 12, 0]),
        ("file-copied", vec![0, 0, 3, 1, 0, 5]),
        ("file-replaced", vec![0, 0, 3, 2, 4, b'a', b'b', b'c', b'd']),
        ("file-added", vec![0, 0, 0, 3, 3, b'a', b'/', b'b', 2, 1, 2]),
        ("bit-flipped", vec![0, 0, 7, 4, 0, 7, 5, 0, 0, 9]),
        ("stored-as-it-is", vec![1]),
        ("stored-without-rows", vec![5]),
        ("entry-removed", vec![1, 1, 0, 0, 0, 5, 0]),
        ("entry-twice", vec![1, 1, 0, 1, 0, 5, 1]),
        ("entry-changed", vec![1, 1, 0, 0, 0, 9, 3, 1, 0, 60, 77]),
        ("row-changed", vec![1, 1, 0, 0, 0, 8, 5, 1, 0, 40, 77]),
        ("record-changed", vec![3, 0, 0, 1, 3, 1, 0, 8, 77]),
        ("record-removed", vec![3, 0, 0, 1, 1]),
    ]
}
