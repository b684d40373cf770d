//! The story once more, and an operator who cheats when the epoch is closed: a log that is signed and whole, in which only
//! the money is wrong. Whoever holds a receipt, or an export, finds it with the auditor's program alone, and the same
//! program finds nothing in the honest copy.

use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use loam_ledger_core::Hash;
use loam_ledger_core::epoch::{LeafFile, RowPlace};
use loam_ledger_core::receipt::Receipt;
use serde_json::Value;

use crate::cheat;
use crate::scene::text;
use crate::story::{People, Served, audit, served, word};

/// A ledger after the server that kept it, and everybody's files.
struct Left {
    folder: tempfile::TempDir,
    people: People,
    receipts: [PathBuf; 2],
    /// The records log's key, as it was published while all were honest.
    key: String,
}

/// What a program said, whichever way.
fn said(output: &Output) -> String {
    format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr))
}

fn loam(arguments: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_loam")).env_clear().args(arguments).output().unwrap()
}

#[track_caller]
fn done(arguments: &[&str]) -> Output {
    let output = loam(arguments);
    assert!(output.status.success(), "{arguments:?}: {}", said(&output));
    output
}

#[track_caller]
fn passes(arguments: &[&str]) {
    let output = audit(arguments);
    assert!(output.status.success(), "{arguments:?}: {}", said(&output));
}

/// The auditor names what is wrong.
#[track_caller]
fn finds(arguments: &[&str], finding: &str) {
    let output = audit(arguments);
    let said = said(&output);
    assert_eq!(output.status.code(), Some(1), "{arguments:?}: {said}");
    assert!(said.contains(finding), "{arguments:?} should find {finding:?}: {said}");
    // What is wrong is the money, and not the logs that it stands in.
    assert!(said.contains("signed, whole, without a gap") && said.contains(" 0 of them void"), "{said}");
}

impl Left {
    fn behind() -> Self {
        let Served { scene, people, receipts, .. } = served();
        let folder = scene.stopped();
        let key = done(&["ledger", "key", "show", "--log", "records", "--data", text(&folder.path().join("ledger"))]);
        let key = String::from_utf8(key.stdout).unwrap().trim().to_owned();
        Self { folder, people, receipts, key }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// The ledger again, for another course of things.
    fn copied(&self, name: &str) -> PathBuf {
        let copy = self.path(name);
        let copied = Command::new("cp").arg("-a").arg(self.path("ledger")).arg(&copy).status();
        assert!(copied.unwrap().success());
        copy
    }

    /// All logs of a ledger, as its operator exports them.
    fn exported(&self, data: &Path, scope: &str) -> PathBuf {
        let out = data.with_extension(scope);
        done(&["ledger", "export", "--log", "all", "--scope", scope, "--out", text(&out), "--data", text(data)]);
        out
    }

    /// The same ledger, closed by our program: nobody finds anything in it. What was divided, and what Ben is paid.
    fn honest(&self) -> (Value, u128) {
        let data = self.copied("honest");
        let closed = done(&["epoch", "close", "--data", text(&data), "--id", &self.people.operator, "--json"]);
        let closed: Value = serde_json::from_slice(&closed.stdout).unwrap();
        assert_eq!((closed["answers"].as_u64(), closed["findings"].as_u64()), (Some(2), Some(0)));
        let (all, public) = (self.exported(&data, "settlement"), self.exported(&data, "public"));
        passes(&["rewards", text(&all), "--vkey", &self.key]);
        for receipt in &self.receipts {
            passes(&["trace", text(receipt), text(&all), "--vkey", &self.key]);
            let proof = data.with_extension("usage");
            done(&["epoch", "usage", text(receipt), "--out", text(&proof), "--data", text(&data)]);
            passes(&["trace", text(receipt), text(&public), "--vkey", &self.key, "--usage", text(&proof)]);
        }
        done(&["epoch", "verify", "--data", text(&data)]);
        (closed, self.paid_to_ben(&data, &public))
    }

    /// What the operator's ledger tells Ben that he is paid: it is what the epoch was closed over, whatever that is.
    fn paid_to_ben(&self, data: &Path, public: &Path) -> u128 {
        let leaf = data.with_extension("leaf");
        let ben = ["epoch", "statement", &self.people.ben.1, "--out", text(&leaf), "--json", "--data", text(data)];
        let told: Value = serde_json::from_slice(&done(&ben).stdout).unwrap();
        passes(&["rewards", text(public), "--vkey", &self.key, "--statement", text(&leaf)]);
        word(&told, "paid_nano").parse().unwrap()
    }
}

/// Where the answer lies that a receipt is of.
fn place_of(receipt: &Path) -> RowPlace {
    let Receipt { proof, opening } = Receipt::parse(&std::fs::read(receipt).unwrap()).unwrap();
    RowPlace { shard: 1, index: proof.index, row: opening.row_index }
}

#[test]
fn an_answer_that_is_left_out_is_found_by_whoever_holds_its_receipt() {
    let left = Left::behind();
    let (honest, _) = left.honest();
    let data = left.copied("dropped");
    let [first, second] = &left.receipts;
    let place = place_of(first);
    let operator = left.people.operator.as_ref();
    let (close, absence) = cheat::close(&data, operator, |ledger, draft| cheat::without(ledger, draft, &place));
    let (all, public) = (left.exported(&data, "settlement"), left.exported(&data, "public"));

    // By the receipt and what the public has: that the answer is in, nobody can prove to its holder; that it is not, the
    // operator can.
    let proof = data.with_extension("usage");
    let asked = loam(&["epoch", "usage", text(first), "--out", text(&proof), "--data", text(&data)]);
    assert_eq!(asked.status.code(), Some(1), "{}", said(&asked));
    assert!(said(&asked).contains("the proof does not lead to what epoch 1 was closed over"), "{}", said(&asked));
    std::fs::write(&proof, LeafFile::usage(close, &place, absence).encode()).unwrap();
    let trace = ["trace", text(first), text(&public), "--vkey", &left.key, "--usage", text(&proof)];
    finds(&trace, "epoch 1 covers the answer's entry, and leaves the answer out");
    // Who holds no receipt and sees no rows has nothing to complain of.
    passes(&["rewards", text(&public), "--vkey", &left.key]);

    // With rows, by everybody: the sums are those of one answer, and there are two.
    let fees = word(&honest, "fees_nano");
    let (short, whole) =
        ("epoch 1 was closed over 1 completion rows of ", format!(" nano-units; there are 2 of {fees}"));
    for arguments in [&["rewards"][..], &["trace", text(first)], &["trace", text(second)]] {
        let arguments = [arguments, &[text(&all), "--vkey", &left.key]].concat();
        finds(&arguments, short);
        finds(&arguments, &whole);
    }
    let verified = loam(&["epoch", "verify", "--data", text(&data)]);
    assert_eq!(verified.status.code(), Some(1), "{}", said(&verified));
    assert!(said(&verified).contains(short) && said(&verified).contains(&whole), "{}", said(&verified));
}

#[test]
fn one_changed_unit_is_found_by_everybody() {
    let left = Left::behind();
    let (_, paid) = left.honest();
    let data = left.copied("bent");
    let [ben, ann] = [&left.people.ben.1, &left.people.ann.1].map(|id| Hash::from_hex(id).unwrap());
    cheat::close(&data, left.people.operator.as_ref(), |_, draft| cheat::moving_a_unit(draft, &ben, &ann));
    let (all, public) = (left.exported(&data, "settlement"), left.exported(&data, "public"));
    // All that Ben is shown fits: his statement, its proof, the sums. A unit of his is Ann's.
    assert_eq!(left.paid_to_ben(&data, &public), paid - 1);

    // Whoever has an export settles it again, and whoever holds a receipt besides sees whose money it is.
    let divided = "accounts in another way than the rules do";
    finds(&["rewards", text(&all), "--vkey", &left.key], divided);
    let leaf = data.with_extension("leaf");
    finds(&["rewards", text(&all), "--vkey", &left.key, "--statement", text(&leaf)], divided);
    for receipt in &left.receipts {
        let trace = ["trace", text(receipt), text(&all), "--vkey", &left.key];
        finds(&trace, &format!("the proof of {ben} does not lead to the payouts of epoch 1"));
        finds(&trace, &format!("the proof of {ann} does not lead to the payouts of epoch 1"));
    }
    let verified = loam(&["epoch", "verify", "--data", text(&data)]);
    assert_eq!(verified.status.code(), Some(1), "{}", said(&verified));
    assert!(said(&verified).contains(divided), "{}", said(&verified));
}
