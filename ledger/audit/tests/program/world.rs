//! A folder with exports, keys and files of clients, and sessions of the program in it.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use ed25519_dalek::Signer;
use loam_ledger_core::granted::{encode_granted, push_to_row_bundle};
use loam_ledger_core::hash::digest;
use loam_ledger_core::note::{KeyKind, VerifierKey};
use loam_ledger_core::text::base64_encode;
use loam_ledger_core::tile::{TILE_WIDTH, bundle_path, bundles_of, push_to_bundle, row_bundle_path, tiles_of};
use loam_ledger_core::tree::root_of_leaves;
use tempfile::TempDir;

use crate::story::{Lie, Log, OUTPUT, REQUEST, ledger, receipt};

const WITNESS: &str = "witness.example/w1";

/// The folder that sessions run in.
pub(crate) struct World {
    folder: TempDir,
}

impl World {
    /// The ledger as it is, with everything that a session can need.
    pub(crate) fn new() -> Self {
        let world = Self::empty();
        let logs = ledger(Lie::None);
        world.write_ledger("all", &logs, true);
        world.write_ledger("public", &logs, false);
        let [records, first, second] = &logs;
        for (name, log) in [("records", records), ("usage-1", first), ("usage-2", second)] {
            world.write(&format!("{name}.vkey"), format!("{}\n", log.key().verifier()).as_bytes());
        }
        world.write("request", REQUEST);
        world.write("output", OUTPUT);
        world.write("other", b"something else");
        // Request 7 ends in entry 24, and so on: three steps each, after the boot.
        world.write("receipt", &receipt(first, 7, 24, 256).to_bytes());
        world.write("receipt-without-nonce", &receipt(first, 0, 3, 256).to_bytes());
        world.write("receipt-of-shard-2", &receipt(second, 104, 4, 5).to_bytes());
        world.write("proof", &first.proof(24, 256).to_bytes());
        world.write("entry", &first.entries[24]);
        let witness = witness();
        world.write("policy", format!("witness w1 {witness}\nquorum w1\n").as_bytes());
        world.write("no-witnesses", b"quorum none\n");
        world.write_log("cosigned", first, false);
        let cosigned = cosign(&first.checkpoint(first.entries.len()));
        world.write("cosigned/checkpoint", &cosigned);
        world.write_manifest("cosigned");
        world
    }

    /// A folder with nothing in it.
    pub(crate) fn empty() -> Self {
        Self { folder: tempfile::tempdir().expect("a folder can be made") }
    }

    /// A ledger that lies, in the folder `lie`.
    pub(crate) fn lying(lie: Lie) -> Self {
        let world = Self::new();
        world.write_ledger("lie", &ledger(lie), true);
        world
    }

    pub(crate) fn path(&self, path: &str) -> PathBuf {
        self.folder.path().join(path)
    }

    pub(crate) fn write(&self, path: &str, bytes: &[u8]) {
        let path = self.path(path);
        fs::create_dir_all(path.parent().expect("it lies in the folder")).expect("folders can be made");
        fs::write(path, bytes).expect("files can be written");
    }

    /// Turns one byte of a file.
    pub(crate) fn change(&self, path: &str, at: usize) -> &Self {
        let mut bytes = fs::read(self.path(path)).expect("the file is there");
        bytes[at] ^= 1;
        self.write(path, &bytes);
        self
    }

    pub(crate) fn remove(&self, path: &str) -> &Self {
        fs::remove_file(self.path(path)).expect("the file is there");
        self
    }

    fn write_ledger(&self, folder: &str, logs: &[Log; 3], rows: bool) {
        for log in logs {
            self.write_log(&format!("{folder}/{}", log.id), log, rows);
        }
    }

    /// One log's export.
    pub(crate) fn write_log(&self, folder: &str, log: &Log, rows: bool) {
        let size = log.entries.len() as u64;
        for (number, width) in bundles_of(size) {
            let first = usize::try_from(number * TILE_WIDTH).expect("the log is small");
            let entries = first..first + usize::try_from(width).expect("at most 256");
            let (mut bundle, mut granted) = (Vec::new(), Vec::new());
            for index in entries {
                push_to_bundle(&mut bundle, &log.entries[index]).expect("the entry is short");
                let rows = &log.rows[index];
                push_to_row_bundle(&mut granted, &if rows.is_empty() { Vec::new() } else { encode_granted(rows) });
            }
            self.write(&format!("{folder}/{}", bundle_path(number, width)), &bundle);
            if rows && log.id != loam_ledger_core::origin::LogId::Records {
                self.write(&format!("{folder}/{}", row_bundle_path(number, width)), &granted);
            }
        }
        let leaves = log.leaves();
        for tile in tiles_of(size) {
            let below = 256_usize.pow(tile.level.into());
            let first = usize::try_from(tile.index).expect("the log is small") * 256;
            let slots = first..first + usize::try_from(tile.width).expect("at most 256");
            let hashes: Vec<u8> =
                slots.flat_map(|slot| root_of_leaves(&leaves[slot * below..(slot + 1) * below]).0).collect();
            self.write(&format!("{folder}/{}", tile.path()), &hashes);
        }
        for signed in &log.signed {
            self.write(&format!("{folder}/checkpoints/{signed}"), &log.checkpoint(*signed));
        }
        self.write(&format!("{folder}/checkpoint"), &log.checkpoint(log.entries.len()));
        self.write(&format!("{folder}/policy.txt"), format!("log {}\nquorum none\n", log.key().verifier()).as_bytes());
        self.write_manifest(folder);
    }

    /// Lists the files of an export as they are now.
    pub(crate) fn write_manifest(&self, folder: &str) {
        let top = self.path(folder);
        let mut paths = Vec::new();
        gather(&top, &mut paths);
        paths.sort_unstable();
        let mut manifest = String::new();
        for path in paths {
            let name = path.strip_prefix(&top).expect("it lies below").to_string_lossy().into_owned();
            if name != "MANIFEST.sha256" {
                manifest += &format!("{}  {name}\n", digest(&fs::read(&path).expect("it can be read")));
            }
        }
        self.write(&format!("{folder}/MANIFEST.sha256"), manifest.as_bytes());
    }

    /// Runs the program in the folder.
    pub(crate) fn run(&self, arguments: &[&str]) -> std::process::Output {
        let mut program = Command::new(env!("CARGO_BIN_EXE_loam-audit"));
        program.args(arguments).current_dir(&self.folder).output().expect("the program runs")
    }

    /// Runs the program, and holds all that it says against the session of this name.
    #[track_caller]
    pub(crate) fn check(&self, session: &str, arguments: &[&str]) {
        let output = self.run(arguments);
        let mut text = format!("$ loam-audit {}\n", arguments.join(" "));
        text += &String::from_utf8_lossy(&output.stdout);
        for line in String::from_utf8_lossy(&output.stderr).lines() {
            text += &format!("! {line}\n");
        }
        text += &format!("= {}\n", output.status.code().expect("it ended by itself"));
        let path = Path::new(env!("CARGO_MANIFEST_DIR")).join(format!("tests/sessions/{session}.txt"));
        if std::env::var_os("LOAM_WRITE_SESSIONS").is_some() {
            fs::write(&path, &text).expect("the checkout can be written");
        }
        let known = fs::read_to_string(&path).unwrap_or_default();
        assert_eq!(text, known, "the session {session}; LOAM_WRITE_SESSIONS=1 writes it anew");
    }
}

fn gather(folder: &Path, paths: &mut Vec<PathBuf>) {
    for item in fs::read_dir(folder).expect("the folder is there") {
        let path = item.expect("it can be read").path();
        if path.is_dir() {
            gather(&path, paths);
        } else {
            paths.push(path);
        }
    }
}

fn witness_seed() -> ed25519_dalek::SigningKey {
    ed25519_dalek::SigningKey::from_bytes(&[0x03; 32])
}

fn witness() -> VerifierKey {
    let public = witness_seed().verifying_key().to_bytes();
    VerifierKey::new(WITNESS, KeyKind::CosignatureV1, public).expect("the name is a key's")
}

fn cosign(note: &[u8]) -> Vec<u8> {
    let text = String::from_utf8(note.to_vec()).expect("a note is text");
    let (signed, _) = text.split_once("\n\n").expect("a note has signatures");
    let message = format!("cosignature/v1\ntime 1767571300\n{signed}\n");
    let signature = witness_seed().sign(message.as_bytes()).to_bytes();
    let bytes = [&witness().id()[..], &1_767_571_300_u64.to_be_bytes(), &signature].concat();
    format!("{text}\u{2014} {WITNESS} {}\n", base64_encode(&bytes)).into_bytes()
}
