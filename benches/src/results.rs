//! Results: one line a figure, printed as they come, and kept as files named by time, machine and commit.

use std::fs;
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::Context as _;
use serde_json::json;

/// One measured figure.
pub(crate) struct Figure {
    pub(crate) figure: String,
    /// Nothing where it was not measured; the note says why.
    pub(crate) value: Option<f64>,
    pub(crate) unit: &'static str,
    /// What this machine could do at best, measured in the same run.
    pub(crate) roof: Option<f64>,
    pub(crate) note: String,
}

impl Figure {
    /// A figure, printed as soon as it is known.
    pub(crate) fn new(
        figure: &str,
        value: f64,
        unit: &'static str,
        roof: Option<f64>,
        note: impl Into<String>,
    ) -> Self {
        let figure = Self { figure: figure.to_owned(), value: Some(value), unit, roof, note: note.into() };
        println!("{}", figure.line());
        figure
    }

    /// A figure that was not measured, and why.
    pub(crate) fn unmeasured(figure: &str, unit: &'static str, why: impl Into<String>) -> Self {
        let figure = Self { figure: figure.to_owned(), value: None, unit, roof: None, note: why.into() };
        println!("{}", figure.line());
        figure
    }

    /// As it stands in a file of results.
    fn json(&self) -> String {
        let Self { figure, value, unit, roof, note } = self;
        json!({"figure": figure, "value": value, "unit": unit, "roof": roof, "note": note}).to_string()
    }

    /// Adds it to a file, so that whatever ends a run leaves what was measured before.
    pub(crate) fn append(&self, path: &Path) -> anyhow::Result<()> {
        let told = || format!("writing {}: is its folder there, and is there room?", path.display());
        let mut file = fs::OpenOptions::new().create(true).append(true).open(path).with_context(told)?;
        file.write_all((self.json() + "\n").as_bytes()).with_context(told)
    }

    fn line(&self) -> String {
        let value = self.value.map_or("not measured".to_owned(), number);
        let roof = self.roof.map_or(String::new(), |roof| format!(" (roof {})", number(roof)));
        format!("{:<44} {value:>12} {:<10}{roof}  {}", self.figure, self.unit, self.note)
    }
}

/// A number with three digits that count.
fn number(value: f64) -> String {
    match value.abs() {
        size if size >= 1000.0 => format!("{value:.0}"),
        size if size >= 10.0 => format!("{value:.1}"),
        size if size >= 0.1 => format!("{value:.2}"),
        _ => format!("{value:.4}"),
    }
}

/// Writes the .md and the .json, and returns their path without its end. `beside` says what else ran on the machine.
pub(crate) fn write(folder: &Path, figures: &[Figure], beside: Option<&str>) -> anyhow::Result<PathBuf> {
    let time = said_by("date", &["-u", "+%Y-%m-%d-%H%M"])?;
    let commit = said_by("git", &["rev-parse", "--short", "HEAD"])?;
    let dirty = if said_by("git", &["status", "--porcelain"])?.is_empty() { "" } else { ", with changes on top" };
    let (machine, words) = machine();
    let path = folder.join(format!("{time}-{machine}-{commit}"));
    fs::create_dir_all(folder)?;
    let lines: String = figures.iter().map(|figure| figure.json() + "\n").collect();
    fs::write(path.with_extension("json"), lines).context("writing the results")?;
    let mut text = format!("# {time}, {words}\n\nCommit {commit}{dirty}. Shared machine: quote ratios, not times.\n\n");
    text += &beside.map_or(String::new(), |beside| format!("Beside it ran: {beside}\n\n"));
    text += "| figure | value | unit | roof | note |\n|---|---:|---|---:|---|\n";
    for figure in figures {
        let cell = |value: Option<f64>| value.map_or(String::new(), number);
        let (value, roof) = (figure.value.map_or("not measured".to_owned(), number), cell(figure.roof));
        text += &format!("| {} | {value} | {} | {roof} | {} |\n", figure.figure, figure.unit, figure.note);
    }
    fs::write(path.with_extension("md"), text).context("writing the results")?;
    Ok(path)
}

/// The machine in a word that a file's name can hold, and in words.
fn machine() -> (String, String) {
    let info = fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    let model = info.lines().find_map(|line| line.strip_prefix("model name")).unwrap_or(": unknown processor");
    let model = model.trim_start_matches([' ', '\t', ':']);
    let cores = std::thread::available_parallelism().map_or(1, usize::from);
    let vendor = ["EPYC", "Xeon", "Ryzen", "Core", "Neoverse"].iter().find(|word| model.contains(**word));
    (format!("{}-{cores}core", vendor.unwrap_or(&"cpu").to_lowercase()), format!("{model}, {cores} cores"))
}

fn said_by(program: &str, arguments: &[&str]) -> anyhow::Result<String> {
    let output = Command::new(program).args(arguments).output().with_context(|| format!("running {program}"))?;
    Ok(String::from_utf8(output.stdout)?.trim().to_owned())
}
