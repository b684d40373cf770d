//! Money from the command line alone: a key, a price, answers, a close, a statement; and what an auditor makes of each,
//! and of a ledger that was changed afterwards.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

use serde_json::Value;

use crate::{run, said, text};

const POLICY: &str = r#"{
  "lanes": {"host": 3000, "base": 1000, "adapter": 2000, "data": 3000, "upkeep": 400, "bond": 300, "reserve": 300},
  "prices": [{"prefilled_nano": 10, "reused_nano": 1, "delivered_nano": 100}], "effective_in_s": 1}"#;

/// The program, from its first word on.
pub(crate) fn loam(arguments: &[&str]) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_loam"));
    command.args(arguments).stdin(Stdio::null()).output().expect("the program starts")
}

pub(crate) fn done(arguments: &[&str]) -> String {
    let output = loam(arguments);
    assert!(output.status.success(), "loam {arguments:?}: {}", said(&output));
    String::from_utf8(output.stdout).expect("text")
}

pub(crate) fn told(arguments: &[&str]) -> Value {
    serde_json::from_str(&done(arguments)).expect("JSON")
}

pub(crate) fn not_done(arguments: &[&str]) -> String {
    let output = loam(arguments);
    assert!(!output.status.success(), "loam {arguments:?} was not refused: {}", said(&output));
    String::from_utf8_lossy(&output.stderr).into_owned()
}

/// The auditor's program, which lies beside ours where the whole workspace was built.
pub(crate) fn audit(arguments: &[&str]) -> Option<Output> {
    let program = Path::new(env!("CARGO_BIN_EXE_loam")).with_file_name("loam-audit");
    if !program.exists() {
        eprintln!("skipped: loam-audit is not built");
        return None;
    }
    Some(Command::new(program).args(arguments).stdin(Stdio::null()).output().expect("it starts"))
}

struct Scene {
    top: tempfile::TempDir,
    data: PathBuf,
    operator: PathBuf,
    contributor: String,
}

impl Scene {
    /// A ledger with an operator and prices in force.
    fn priced() -> Self {
        let top = tempfile::tempdir().expect("a temporary folder");
        let (data, operator, policy) =
            (top.path().join("data"), top.path().join("operator.key"), top.path().join("policy.json"));
        run(&["init", "--data", text(&data), "--origin", "money.example/loam"]);
        let new = ["id", "new", "--data", text(&data), "--out", text(&operator), "--kind", "operator", "--json"];
        let contributor = told(&new)["contributor"].as_str().expect("an id").to_owned();
        fs::write(&policy, POLICY).expect("a file");
        done(&["policy", "set", "--data", text(&data), "--id", text(&operator), text(&policy)]);
        std::thread::sleep(std::time::Duration::from_millis(1_200));
        Self { top, data, operator, contributor }
    }

    /// Answers of so many tokens each, by prices in force.
    fn answers(&self, tokens: &[u64]) {
        let generation = "1".repeat(64);
        let line = |tokens: &u64| {
            format!(r#"{{"generations": ["{generation}"], "weights": [1000000], "tenant": "ann", "tokens": {tokens}}}"#)
        };
        self.given(&tokens.iter().map(line).collect::<Vec<_>>());
    }

    /// Answers as these lines have them.
    fn given(&self, lines: &[String]) {
        let given = self.top.path().join("given.jsonl");
        fs::write(&given, lines.join("\n")).expect("a file");
        let data = text(&self.data);
        run(&["bench", "--data", data, "--entries", "3", "--rows", "0", "--completions", text(&given)]);
    }

    fn close(&self) -> Value {
        told(&["epoch", "close", "--data", text(&self.data), "--id", text(&self.operator), "--json"])
    }

    fn export(&self, name: &str, scope: &str) -> (PathBuf, String) {
        let out = self.top.path().join(name);
        run(&["export", "--data", text(&self.data), "--out", text(&out), "--log", "all", "--scope", scope]);
        let key = run(&["key", "show", "--data", text(&self.data), "--log", "records"]);
        (out, key.trim_end().to_owned())
    }
}

/// What people read says what they can do with it.
#[test]
fn messages_of_the_commands_on_money_are_for_people() {
    let scene = Scene::priced();
    let data = text(&scene.data);
    let new = not_done(&["id", "new", "--data", data, "--out", text(&scene.operator), "--kind", "operator"]);
    assert!(new.contains("operator.key is there already") && new.contains("name a new file"), "{new}");
    let nobody = not_done(&["policy", "set", "--data", data, "--id", "/nowhere/key", "policy.json"]);
    assert_eq!(nobody.matches("/nowhere/key").count(), 1, "{nobody}");
    let policy = scene.top.path().join("policy.json");
    let set = done(&["policy", "set", "--data", data, "--id", text(&scene.operator), text(&policy)]);
    assert!(set.contains(" UTC)") && !set.contains("1970"), "{set}");
    let other = scene.top.path().join("ann.key");
    done(&["id", "new", "--data", data, "--out", text(&other), "--kind", "person"]);
    let close = not_done(&["epoch", "close", "--data", data, "--id", text(&other)]);
    let (why, again) = (close.find("only the operator"), close.find("run it again"));
    assert!(why.is_some() && why < again, "{close}");
}

#[test]
fn an_epoch_is_closed_and_everybody_can_check_it() {
    let scene = Scene::priced();
    scene.answers(&[7, 5]);
    let first = scene.close();
    assert_eq!((first["epoch"].as_u64(), first["answers"].as_u64()), (Some(1), Some(2)));
    assert_eq!((first["fees_nano"].as_str(), first["findings"].as_u64()), (Some("1200"), Some(0)));
    scene.answers(&[11]);
    let second = scene.close();
    assert_eq!(second["fees_nano"].as_str(), Some("1100"));
    let lane = |name: &str| second["lanes"][name].as_str().expect("an amount").to_owned();
    assert_eq!((lane("host"), lane("data")), ("330".to_owned(), "330".to_owned()));

    let leaf = scene.top.path().join("statement.leaf");
    let data = text(&scene.data);
    let of = |epoch: &str| {
        told(&[
            "epoch",
            "statement",
            "--data",
            data,
            &scene.contributor,
            "--epoch",
            epoch,
            "--out",
            text(&leaf),
            "--json",
        ])
    };
    assert_eq!(of("1")["paid_nano"].as_str(), Some("360"));
    assert_eq!(of("2")["paid_nano"].as_str(), Some("330"));
    let (all, key) = scene.export("all", "settlement");
    if let Some(checked) = audit(&["rewards", text(&all), "--vkey", &key, "--statement", text(&leaf)]) {
        assert!(checked.status.success(), "{}", said(&checked));
    }
    // A payee needs nobody's rows for it.
    let (public, key) = scene.export("public", "public");
    if let Some(checked) = audit(&["rewards", text(&public), "--vkey", &key, "--statement", text(&leaf)]) {
        assert!(checked.status.success(), "{}", said(&checked));
    }
    let mut bytes = fs::read(&leaf).expect("a file");
    let last = bytes.len() - 1;
    bytes[last] ^= 1;
    fs::write(&leaf, bytes).expect("a file");
    if let Some(checked) = audit(&["rewards", text(&public), "--vkey", &key, "--statement", text(&leaf)]) {
        assert!(!checked.status.success(), "{}", said(&checked));
    }
}

/// A close says of each fee that its policy does not make what becomes of it, which is not the same for all.
#[test]
fn fees_that_no_policy_makes_are_told_with_where_they_go() {
    let scene = Scene::priced();
    let (data, id) = (text(&scene.data), text(&scene.operator));
    let close = || done(&["epoch", "close", "--data", data, "--id", id]);
    let policies = told(&["policy", "show", "--data", data, "--json"]);
    let in_force = policies[0]["policy"].as_str().expect("an id").to_owned();
    let line = |policy: &str| {
        format!(r#"{{"generations": [], "weights": [], "tenant": "ann", "fee": 7000, "price_policy": "{policy}"}}"#)
    };
    scene.given(&[line(&in_force)]);
    let dearer = close();
    assert!(dearer.contains("1 row has a fee that the policy in force at the first step does not make"), "{dearer}");
    assert!(dearer.contains("makes it 100; it is divided as the row has it"), "{dearer}");
    assert!(!dearer.contains("waits in the reserve"), "{dearer}");
    let foreign = "7".repeat(64);
    scene.given(&[line(&foreign), line(&foreign)]);
    let foreign = close();
    assert!(foreign.contains("2 rows have fees that"), "{foreign}");
    assert_eq!(foreign.matches("its fee waits in the reserve").count(), 2, "{foreign}");
}

#[test]
fn another_policy_is_tried_without_a_trace() {
    let scene = Scene::priced();
    scene.answers(&[10]);
    scene.close();
    let dearer = scene.top.path().join("dearer.json");
    fs::write(&dearer, POLICY.replace("\"delivered_nano\": 100", "\"delivered_nano\": 250")).expect("a file");
    let data = text(&scene.data);
    let logs = || told(&["ledger", "status", "--data", data, "--json"])["logs"].clone();
    let before = logs();
    let tried = told(&["epoch", "simulate", "--data", data, "--policy", text(&dearer), "--json"]);
    assert_eq!(tried["fees_nano"].as_str(), Some("2500"));
    assert_eq!(logs(), before);
}

#[test]
fn what_is_wrong_is_said() {
    let scene = Scene::priced();
    let (data, id) = (text(&scene.data), text(&scene.operator));
    let again = scene.top.path().join("again.key");
    let second = not_done(&["id", "new", "--data", data, "--out", text(&again), "--kind", "operator"]);
    assert!(second.contains("an operator already") && !again.exists(), "{second}");
    let there = not_done(&["id", "new", "--data", data, "--out", id, "--kind", "person"]);
    assert!(there.contains("operator.key"), "{there}");
    let person = scene.top.path().join("ann.key");
    done(&["id", "new", "--data", data, "--out", text(&person), "--kind", "person"]);
    let hers = not_done(&["epoch", "close", "--data", data, "--id", text(&person)]);
    assert!(hers.contains("only the operator"), "{hers}");
    let none = not_done(&["epoch", "statement", "--data", data, &scene.contributor]);
    assert!(none.contains("no epoch is closed yet"), "{none}");
    let check = |change: (&str, &str), says: &str| {
        let file = scene.top.path().join("wrong.json");
        fs::write(&file, POLICY.replace(change.0, change.1)).expect("a file");
        let why = not_done(&["policy", "set", "--data", data, "--id", id, text(&file)]);
        assert!(why.contains(says), "{why}");
    };
    check(("\"host\": 3000", "\"host\": 2999"), "9999 basis points");
    check(("effective_in_s", "effective"), "unknown field effective");
    check(("\"effective_in_s\": 1", "\"effective_in_s\": 0"), "effective_in_s: at least 1");
    check(("\"reused_nano\": 1, ", ""), "reused_nano is missing");
    check(("\"prices\": [", "\"prices\": [{\"base\": 7},"), "base: 64 hexadecimal digits");
    check(("\"delivered_nano\": 100", "\"delivered_nano\": 100000000001"), "at most 100000000000 nano-units");
    let not_a_key = not_done(&["id", "show", text(&scene.data.join("absent"))]);
    assert!(not_a_key.contains("absent"), "{not_a_key}");
    let private = fs::read_to_string(&scene.operator).expect("a file");
    let seed = private.lines().last().and_then(|line| line.strip_prefix("seed ")).expect("a seed");
    assert!(!done(&["id", "show", id]).contains(seed));
}
