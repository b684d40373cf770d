//! The rules of this repository, each a test that lists its offenders.
//!
//! A rule that only a reviewer remembers is soon forgotten. These read the checkout and what cargo resolved for it, need
//! no network, and stand here because `loam` is at the top of the graph: it may look at everything. A word that a rule
//! forbids is written in two halves, so that this folder keeps its own rules.

mod checkout;
mod dependencies;
mod licences;

use std::collections::BTreeSet;

use checkout::{Source, files, has_word, is_code, sources};

const FILE_LINES_MAX: usize = 500;
const FUNCTION_LINES_MAX: usize = 70;

/// The one file that may be longer: it is carried alone to a machine with a GPU and nothing else, and compiled there.
const ALONE: &str = "kernels/cuda/gpu_probe.cu";

/// What may be seen at the top; tool settings are hidden files.
const VISIBLE: &str = "Cargo.toml Cargo.lock rust-toolchain.toml Makefile README.md LICENSE CHANGELOG.md \
    proto kernels ledger engine benches examples";

/// What every rule ends in. `rule` says what holds and why, so that its offender can be mended without a search.
#[track_caller]
fn check(rule: &str, offenders: impl IntoIterator<Item = String>) {
    let offenders: Vec<String> = offenders.into_iter().collect();
    assert!(offenders.is_empty(), "{rule}\n\n  {}\n", offenders.join("\n  "));
}

#[test]
fn files_are_short() {
    let bounded = sources(&["rs", "cu", "cuh", "h", "cpp"]).filter(|source| source.path != ALONE);
    let long = bounded.filter_map(|source| {
        let lines = source.text.lines().count();
        (lines > FILE_LINES_MAX).then(|| format!("{}: {lines} lines", source.path))
    });
    check(&format!("a file has at most {FILE_LINES_MAX} lines: one noun a file"), long);
}

#[test]
fn functions_are_short() {
    let long = sources(&["rs"]).flat_map(|source| {
        let functions = source.functions().into_iter().filter(|(_, lines)| *lines > FUNCTION_LINES_MAX);
        functions.map(|(at, lines)| format!("{}:{at}: {lines} lines", source.path)).collect::<Vec<_>>()
    });
    check(&format!("a function has at most {FUNCTION_LINES_MAX} lines: it fits on a screen"), long);
}

#[test]
fn modules_say_what_they_are() {
    let silent = sources(&["rs"]).filter(|source| !source.text.starts_with("//!"));
    check("a module's first line is its `//!` sentence", silent.map(|source| source.path));
}

#[test]
fn dangerous_code_is_in_kernels_only() {
    let word = concat!("un", "safe");
    let found = sources(&["rs"])
        .filter(|source| !source.path.starts_with("kernels/") && !source.path.starts_with("benches/rivals/"))
        .flat_map(|source| source.lines_where(|line| is_code(line) && has_word(line, word)));
    check(&format!("`{word}` has one address: kernels/ (and benches/rivals/, where rivals take raw pointers)"), found);
}

#[test]
fn assembly_is_in_ptx_only() {
    // What device code is written in beside C++; and the switch of the emulation's fibers, which is host code.
    let homes = ["kernels/cuda/ptx.cuh", "kernels/cuda/host/fiber.cpp", ALONE];
    let word = concat!("as", "m");
    let found = sources(&["rs", "cu", "cuh", "h", "cpp"])
        .filter(|source| source.path.starts_with("kernels/cuda/") && !homes.contains(&source.path.as_str()))
        .flat_map(|source| source.lines_where(|line| is_code(line) && has_word(line, word)));
    check("inline assembly has one address, kernels/cuda/ptx.cuh, where each instruction has its emulation", found);
}

#[test]
fn kernels_are_written_for_device_and_emulation() {
    // Static shared arrays have no bounds that the emulation knows, and only `launch` may start a kernel.
    let forbidden = [concat!("__sha", "red__"), concat!("<", "<<"), concat!("cudaLaunch", "Kernel")];
    let homes = ["kernels/cuda/ptx.cuh", "kernels/cuda/launch.cuh", ALONE];
    let found = sources(&["cu", "cuh", "h"])
        .filter(|source| source.path.starts_with("kernels/cuda/") && !homes.contains(&source.path.as_str()))
        .flat_map(|source| {
            source.lines_where(|line| is_code(line) && forbidden.iter().any(|word| line.contains(word)))
        });
    check("a kernel has one shared window, SHARED_BYTES, and is started by launch()", found);
}

#[test]
fn foreign_functions_are_declared_in_ffi_only() {
    let word = concat!("extern", " \"C\"");
    let found = sources(&["rs"])
        .filter(|source| source.path.starts_with("kernels/src/") && source.path != "kernels/src/cuda/ffi.rs")
        .flat_map(|source| source.lines_where(|line| is_code(line) && line.contains(word)));
    check("what C calls and is called by is declared in kernels/src/cuda/ffi.rs, beside its mirror kernels.h", found);
}

#[test]
fn nothing_is_left_unfinished() {
    let marks = [concat!("to", "do!("), concat!("unimpl", "emented!("), concat!("FIX", "ME"), concat!("#[ig", "nore")];
    let found = sources(&["rs", "cu", "cuh", "h", "cpp"])
        .flat_map(|source| source.lines_where(|line| marks.iter().any(|mark| line.contains(mark))));
    check("what is not finished is not committed, and a test that is skipped proves nothing", found);
}

#[test]
fn modules_are_named_after_what_they_hold() {
    let empty = ["common", "helper", "helpers", "misc", "util", "utils"];
    let found = sources(&["rs"]).flat_map(|source| {
        let in_path = source.path.split(['/', '.']).any(|part| empty.contains(&part));
        let mut found = source.lines_where(|line| empty.iter().any(|name| has_word(line, &format!("mod {name}"))));
        found.extend(in_path.then_some(source.path));
        found
    });
    check("a module's name says what is inside, and these say nothing", found);
}

#[test]
fn ledger_core_touches_nothing_outside() {
    let modules = ["env", "fs", "net", "process", "thread", "time"];
    let outside = |line: &str| {
        let imported = line.contains("std::{") && modules.iter().any(|module| has_word(line, module));
        let named = modules.iter().any(|module| has_word(line, &format!("std::{module}")));
        let float = has_word(line, "f32") || has_word(line, "f64");
        is_code(line) && (imported || named || float)
    };
    let core = sources(&["rs"]).filter(|source| source.path.starts_with("ledger/core/src/"));
    let found = core.flat_map(|source| source.lines_where(outside));
    check(
        "ledger/core knows no file, network, clock, thread, environment or float: a proof is the same everywhere",
        found,
    );
}

#[test]
fn sources_are_ascii() {
    // Prose may be in any script, and test data in any encoding; data has none of these extensions.
    let settings = sources(&[""]).filter(|source| !source.path.contains('/') || source.path.starts_with('.'));
    let code = sources(&["rs", "cu", "cuh", "h", "cpp", "proto", "toml", "sh", "py", "yml"]).chain(settings);
    let found = code.flat_map(|source| source.lines_where(|line| !line.is_ascii()));
    check("source is ASCII; another character is written as its escape, such as \\u{2014}", found);
}

#[test]
fn no_machine_and_no_registry_is_named() {
    let paths = [concat!("/ho", "me/"), concat!("/ro", "ot/"), concat!("/Us", "ers/"), concat!("/wo", "rk/")];
    let hosts = [
        concat!("crates", ".io"),
        concat!("py", "pi.org"),
        concat!("python", "hosted.org"),
        concat!("npm", "js.org"),
        concat!("deb.", "debian.org"),
        concat!("archive.", "ubuntu.com"),
        concat!("proxy.", "golang.org"),
    ];
    let offends =
        |line: &str| paths.iter().any(|path| begins_path(line, path)) || hosts.iter().any(|host| line.contains(host));
    let texts = files().into_iter().filter(|path| !path.ends_with("Cargo.lock")).filter_map(Source::read);
    let found = texts.flat_map(|source| source.lines_where(offends));
    check("no path of somebody's machine and no registry's host: both are true in one place only", found);
}

/// At its beginning: in the middle of a longer path, or of an address, the same letters mean something else.
fn begins_path(line: &str, path: &str) -> bool {
    let continues = |before: char| before.is_alphanumeric() || "})~.-_*".contains(before);
    line.match_indices(path).any(|(at, _)| !line[..at].ends_with(continues))
}

#[test]
fn top_shows_the_design() {
    let visible: BTreeSet<&str> = VISIBLE.split_whitespace().collect();
    let top = files().into_iter().filter_map(|path| path.split('/').next().map(str::to_owned));
    let strange = top.filter(|name| !name.starts_with('.') && !visible.contains(name.as_str()));
    check("the visible top is the design's, and settings are hidden files", strange.collect::<BTreeSet<_>>());
}
