//! What a person sees: short lines, and answers that grow side by side where there is a terminal to redraw them on.

mod live;
mod text;

use std::fs::File;
use std::io::IsTerminal as _;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Duration;

use loam_proto::v1;
use running::Spent;

use crate::Shown;
use crate::asking::Crowd;
use crate::choice::{BASE, Choice};
use crate::proving::{Audited, Auditor, Verdict};

pub(crate) use live::Live;

const BOLD: &str = "1";
const DIM: &str = "2";
const GREEN: &str = "1;32";
const RED: &str = "1;31";

/// Colours of those that answer, one after another.
const VOICES: [&str; 6] = ["37", "36", "33", "35", "34", "32"];

/// Where no terminal says how wide it is.
const COLUMNS: usize = 100;

/// Longer lines are hard to read, however wide the terminal is.
const COLUMNS_MAX: usize = 110;

/// Columns for the word that a line begins with.
const LABEL: usize = 9;

/// Standard output.
pub(crate) struct Screen {
    is_coloured: bool,
    columns: usize,
    /// Of a terminal whose size is known: only there can be drawn over what was drawn.
    rows: Option<usize>,
    /// Columns for the name of what a verdict is about.
    name: usize,
}

impl Screen {
    pub(crate) fn new(choice: &Choice) -> Self {
        let dumb = std::env::var_os("TERM").is_none_or(|term| term == "dumb");
        let is_terminal = std::io::stdout().is_terminal() && !dumb;
        let size = is_terminal.then(size).flatten();
        let (rows, columns) = (size.map(|(rows, _)| rows), size.map_or(COLUMNS, |(_, columns)| columns));
        let is_coloured = is_terminal && std::env::var_os("NO_COLOR").is_none_or(|value| value.is_empty());
        let name = choice.names().chain(["receipt"]).map(|name| name.chars().count()).max().unwrap_or(0);
        Self { is_coloured, columns: columns.clamp(40, COLUMNS_MAX), rows, name }
    }

    pub(crate) fn headline(&self, choice: &Choice) {
        let (answers, adapters) = (choice.names().count(), choice.adapters.len());
        println!(
            "\n{}",
            self.paint(
                BOLD,
                &format!("Loam: one model, {adapters} adapters, {answers} answers at once, a receipt of each")
            )
        );
        println!();
        self.line("model", &text::printable(&near(&choice.model).display().to_string()));
        let names: Vec<&str> = choice.adapters.iter().map(|(name, _)| name.as_str()).collect();
        self.line("adapters", &text::printable(&names.join(", ")));
        if choice.are_dummies {
            self.line("", "They have random weights, for none were given: what they say differs, and means nothing.");
        }
    }

    pub(crate) fn server(&self, url: &str, info: &v1::InfoResponse, took: Duration) {
        self.line("device", &format!("{}, {}", info.device, info.dtype));
        self.line("server", &format!("{url}, gRPC and HTTP, ready in {:.1} s", took.as_secs_f64()));
        let delivery = match info.delivery.as_str() {
            "recorded" => "no token leaves before its record is on disk",
            _ => "tokens leave at once, a little ahead of their record",
        };
        self.line("ledger", &format!("{}: {delivery}", info.ledger));
    }

    pub(crate) fn question(&self, choice: &Choice) {
        self.part(&format!("All are asked at once: \"{}\"", text::printable(&choice.question)));
    }

    /// The beginning of a part.
    pub(crate) fn part(&self, title: &str) {
        println!("\n{}\n", self.paint(BOLD, title));
    }

    /// One receipt, and what `loam-audit` says of it.
    pub(crate) fn receipt(&self, of: &str, verdict: &Verdict) {
        let told = if verdict.is_valid { verdict.held.clone() } else { verdict.reason.clone() };
        let verdict = if verdict.is_valid { self.paint(GREEN, "VALID  ") } else { self.paint(RED, "INVALID") };
        let begin = format!("  receipt: {verdict}  {:<width$}  ", text::printable(of), width = self.name);
        self.folded(&begin, self.name + 22, &told);
    }

    pub(crate) fn audited(&self, audited: &Audited) {
        let Audited { entries, logs, completions, tokens } = audited;
        println!(
            "  log:     {}  {entries} entries in {logs} logs: {completions} answers, {tokens} tokens, all add up",
            self.paint(GREEN, "VALID  ")
        );
    }

    pub(crate) fn figures(&self, crowd: &Crowd, spent: Option<Spent>) {
        let tokens: u64 = crowd.answers.iter().map(|answer| answer.tokens).sum();
        let seconds = crowd.took.as_secs_f64();
        self.part("Figures:");
        let (rate, answers) = (tokens as f64 / seconds.max(1e-9), crowd.answers.len());
        self.line("speed", &format!("{rate:.0} tokens/s: {tokens} tokens of {answers} answers in {seconds:.2} s"));
        let share = match spent {
            Some(spent) => {
                let (percent, all) = (spent.ledger_percent(), spent.all_s());
                format!("{percent:.1} % of the server's CPU time meanwhile, which was {all:.2} s")
            }
            None => "its share of CPU time is not known: this system has no /proc".to_owned(),
        };
        self.line("ledger", &share);
        if spent.is_some_and(|spent| spent.ledger_percent() >= 1.0) {
            self.line("", "It works per step, whatever the model: beside a larger one its share is smaller.");
        }
    }

    pub(crate) fn invitation(&self, shown: &Shown, choice: &Choice, folder: &Path) {
        self.part(&format!("The server goes on at {}. Ask it yourself:", shown.url));
        let adapter = choice.adapters.first().map(|(name, _)| name.as_str());
        for model in std::iter::once(BASE).chain(adapter) {
            println!("{}\n", text::curl(&shown.url, shown.is_chat, model, &choice.question));
        }
        let held = Auditor::folder(folder);
        println!("Receipts, and what they were held against, lie in {} meanwhile.", held.display());
        println!("{}", self.paint(BOLD, "Enter or Ctrl-C ends all of it."));
    }

    fn line(&self, label: &str, told: &str) {
        self.folded(&format!("  {} ", self.paint(DIM, &format!("{label:<LABEL$}"))), LABEL + 3, told);
    }

    /// A text behind a beginning of so many columns; what does not fit stands below it.
    fn folded(&self, begin: &str, columns: usize, told: &str) {
        let width = self.columns.saturating_sub(columns).max(20);
        for (number, line) in text::wrapped(&text::printable(told), width).iter().enumerate() {
            match number {
                0 => println!("{begin}{line}"),
                _ => println!("{:columns$}{line}", ""),
            }
        }
    }

    fn paint(&self, style: &str, text: &str) -> String {
        if self.is_coloured { format!("\x1b[{style}m{text}\x1b[0m") } else { text.to_owned() }
    }
}

/// A path as seen from the folder that one is in, where it is below it.
fn near(path: &Path) -> &Path {
    let here = std::env::current_dir().ok();
    here.and_then(|here| path.strip_prefix(here).ok()).filter(|path| !path.as_os_str().is_empty()).unwrap_or(path)
}

/// Rows and columns of the terminal.
fn size() -> Option<(usize, usize)> {
    let terminal = File::open("/dev/tty").ok()?;
    let output = Command::new("stty").arg("size").stdin(terminal).stderr(Stdio::null()).output().ok()?;
    let text = String::from_utf8(output.stdout).ok()?;
    let (rows, columns) = text.trim().split_once(' ')?;
    let (rows, columns) = (rows.parse().ok()?, columns.parse().ok()?);
    // Some terminals do not know.
    (rows > 0 && columns > 0).then_some((rows, columns))
}
