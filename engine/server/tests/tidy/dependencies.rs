//! Dependencies point one way, and RocksDB is built once.

use std::collections::{BTreeMap, BTreeSet};
use std::process::Command;

use serde_json::Value;

use super::check;
use super::checkout::{Source, top};

/// For each of our crates, what it must never reach, through whatever other. `name*` stands for all that begin so.
const NEVER_REACHES: &[(&str, &str)] = &[
    // No I/O, no clock, no chance: the same bytes in give the same bytes out, on every machine, for ever.
    ("loam-ledger-core", "loam* rocksdb librocksdb-sys tokio mio socket2 rustix rand rand_core getrandom chrono time"),
    // Rows in and out: bytes and salts are handed to it.
    (
        "loam-datanet",
        "loam loam-ledger loam-engine loam-kernels loam-proto rocksdb librocksdb-sys tokio mio socket2 rustix rand \
         rand_core getrandom chrono time",
    ),
    // An auditor builds it in a minute, on a machine that never saw a server, a database or a GPU.
    (
        "loam-audit",
        "loam loam-ledger loam-engine loam-kernels rocksdb librocksdb-sys bindgen cudarc tokio prost* tonic*",
    ),
    ("loam-ledger", "loam loam-engine loam-kernels loam-proto cudarc tokio prost* tonic* clap"),
    ("loam-engine", "loam loam-ledger loam-proto rocksdb librocksdb-sys prost* tonic* clap"),
    ("loam-kernels", "loam* rocksdb librocksdb-sys tokenizers tokio prost* tonic* clap"),
    ("loam-proto", "loam* rocksdb librocksdb-sys cudarc"),
    // What the network says, as values: its fuzzers are built without a database.
    ("loam-wire", "loam loam-ledger rocksdb librocksdb-sys cudarc clap"),
];

#[test]
fn dependencies_point_one_way() {
    let members = members();
    let ours = NEVER_REACHES.iter().filter(|(name, _)| members.contains_key(*name));
    let found = ours.flat_map(|(name, forbidden)| {
        let mut reached = names(&["-p", name, "-e", "normal,build"]);
        reached.retain(|package| package != name && forbidden.split_whitespace().any(|rule| covers(rule, package)));
        reached.into_iter().map(move |package| format!("{name} -> {package}"))
    });
    check(
        "a crate never reaches what NEVER_REACHES says (by which way it does: cargo tree -p CRATE -i PACKAGE)",
        found,
    );
}

fn covers(rule: &str, package: &str) -> bool {
    rule.strip_suffix('*').map_or(rule == package, |prefix| package.starts_with(prefix))
}

#[test]
fn rocksdb_is_used_by_loam_ledger_alone() {
    let uses =
        |dependencies: &BTreeSet<String>| ["rocksdb", "librocksdb-sys"].iter().any(|it| dependencies.contains(*it));
    let found = members().into_iter().filter(|(name, dependencies)| name != "loam-ledger" && uses(dependencies));
    check("RocksDB is in loam-ledger and nowhere else; others ask for its Store", found.map(|(name, _)| name));
}

#[test]
fn auditor_depends_on_what_is_listed() {
    // Of the platform most auditors have; on others some packages come or go.
    let selection = "-p loam-audit -e normal --target x86_64-unknown-linux-gnu";
    let list = "ledger/audit/tests/dependencies.txt";
    let reached = names(&selection.split(' ').collect::<Vec<_>>());
    let listed = Source::read(list.to_owned()).expect("the list is UTF-8").text;
    let listed: BTreeSet<String> = listed.lines().map(str::to_owned).collect();
    let rule = format!(
        "an auditor trusts these packages, so that a change to them must show in review. If it is meant:\n  \
        cargo tree --locked {selection} --prefix none -f '{{p}}' | cut -d' ' -f1 | LC_ALL=C sort -u >{list}"
    );
    let added = reached.difference(&listed).map(|package| format!("+ {package}"));
    let gone = listed.difference(&reached).map(|package| format!("- {package}"));
    check(&rule, added.chain(gone));
}

#[test]
fn rocksdb_is_built_once() {
    let first = "-p loam-ledger -e normal,build";
    let others =
        ["-p loam-ledger -e normal,build,dev", "--workspace -e normal,build", "--workspace -e normal,build,dev"];
    let expected = rocksdb_subtree(first);
    let found = others.into_iter().flat_map(|selection| {
        let subtree = rocksdb_subtree(selection);
        let differ = subtree.symmetric_difference(&expected).map(|package| format!("{selection}: {package}"));
        differ.collect::<Vec<_>>()
    });
    let rule = format!(
        "what RocksDB is built from must have the same features under each selection, else RocksDB is built once for\n\
        each of them, at 20 CPU-minutes. These differ from `{first}`: another crate of the workspace turns a\n\
        feature on. Turn it off there, or on in loam-ledger too"
    );
    check(&rule, found);
}

/// RocksDB's binding and all it is built from, each with its version and features.
fn rocksdb_subtree(selection: &str) -> BTreeSet<String> {
    let arguments = ["--no-dedupe", "--prefix", "depth", "-f", "{p} {f}"].into_iter().chain(selection.split(' '));
    let tree = tree(&arguments.collect::<Vec<_>>());
    let mut packages = tree.lines().filter_map(|line| {
        let package = line.trim_start_matches(|c: char| c.is_ascii_digit());
        let depth: usize = line[..line.len() - package.len()].parse().ok()?;
        Some((depth, package.trim_end().to_owned()))
    });
    let (depth, top) =
        packages.find(|(_, package)| package.starts_with("librocksdb-sys ")).expect("loam-ledger reaches RocksDB");
    packages.take_while(|(below, _)| *below > depth).map(|(_, package)| package).chain([top]).collect()
}

/// The names of all packages in a tree.
fn names(selection: &[&str]) -> BTreeSet<String> {
    let tree = tree(&[&["--prefix", "none", "-f", "{p}"], selection].concat());
    tree.lines().filter_map(|line| line.split_whitespace().next()).map(str::to_owned).collect()
}

fn tree(arguments: &[&str]) -> String {
    cargo(&[&["tree", "--locked", "--offline"], arguments].concat())
}

/// Our crates, each with the names it depends on directly, for whatever purpose.
fn members() -> BTreeMap<String, BTreeSet<String>> {
    let name = |value: &Value| value["name"].as_str().expect("cargo names what it lists").to_owned();
    let metadata = metadata(&["--no-deps"]);
    let list = |value: &Value| value.as_array().expect("cargo lists packages and dependencies").clone();
    let packages = list(&metadata["packages"]);
    packages.iter().map(|package| (name(package), list(&package["dependencies"]).iter().map(name).collect())).collect()
}

pub(crate) fn metadata(arguments: &[&str]) -> Value {
    let output = cargo(&[&["metadata", "--locked", "--offline", "--format-version", "1"], arguments].concat());
    serde_json::from_str(&output).expect("cargo metadata writes JSON")
}

/// The cargo that runs this test. It never goes to the network for us: to build this test it has fetched all we ask for.
pub(crate) fn cargo(arguments: &[&str]) -> String {
    let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let output = Command::new(cargo).current_dir(top()).args(arguments).output().expect("cargo can be started");
    assert!(output.status.success(), "cargo {}: {}", arguments.join(" "), String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).expect("cargo writes UTF-8")
}
