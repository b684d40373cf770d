//! Answers as they come: redrawn in place on a terminal, else one block after another.

use std::io::Write as _;
use std::time::{Duration, Instant};

use super::{Screen, VOICES, text};
use crate::asking::News;

/// A terminal is not redrawn more often than this: nobody sees more.
const REDRAW_EVERY: Duration = Duration::from_millis(50);

/// Rows of the terminal that stay above the answers while they grow.
const ROWS_ABOVE: usize = 4;

/// The answers on the screen.
pub(crate) struct Live<'a> {
    screen: &'a Screen,
    voices: Vec<Voice>,
    /// Rows that each answer may have while it grows; none where they are not redrawn.
    rows_each: Option<usize>,
    /// Columns of the longest name.
    label: usize,
    /// Rows that stand on the terminal and will be drawn over.
    drawn: usize,
    drawn_at: Option<Instant>,
    /// Answers that were printed as whole blocks.
    printed: usize,
}

struct Voice {
    name: String,
    text: String,
    is_complete: bool,
}

impl<'a> Live<'a> {
    pub(crate) fn new<'n>(screen: &'a Screen, names: impl Iterator<Item = &'n str>) -> Self {
        let voice = |name: &str| Voice { name: text::printable(name), text: String::new(), is_complete: false };
        let voices: Vec<Voice> = names.map(voice).collect();
        let label = voices.iter().map(|voice| voice.name.chars().count()).max().unwrap_or(0);
        // One row parts it from the next.
        let rows_each = screen.rows.map(|rows| rows.saturating_sub(ROWS_ABOVE) / voices.len().max(1));
        let rows_each = rows_each.and_then(|rows| rows.checked_sub(1)).filter(|rows| *rows > 0);
        Self { screen, voices, rows_each, label, drawn: 0, drawn_at: None, printed: 0 }
    }

    pub(crate) fn tell(&mut self, news: &News) {
        let voice = &mut self.voices[news.place];
        match &news.text {
            Some(text) => voice.text.push_str(&text::printable(text)),
            None => voice.is_complete = true,
        }
        if let Some(rows) = self.rows_each {
            if self.drawn_at.is_none_or(|at| at.elapsed() >= REDRAW_EVERY) {
                self.redraw(rows);
            }
        } else {
            // In the order of their names, each as soon as it and those before it are complete.
            while self.voices.get(self.printed).is_some_and(|voice| voice.is_complete) {
                self.print(&self.block(self.printed, usize::MAX));
                self.printed += 1;
            }
        }
    }

    /// The answers as they stay.
    pub(crate) fn end(self) {
        let rest = self.printed..self.voices.len();
        let blocks: Vec<String> = rest.flat_map(|place| self.block(place, usize::MAX)).collect();
        let up = self.up();
        print!("{up}");
        self.print(&blocks);
    }

    /// The last rows of each answer: what would not fit on the terminal could not be drawn over.
    fn redraw(&mut self, rows_each: usize) {
        let blocks: Vec<String> = (0..self.voices.len()).flat_map(|place| self.block(place, rows_each)).collect();
        let up = self.up();
        print!("{up}");
        self.print(&blocks);
        self.drawn = blocks.len();
        self.drawn_at = Some(Instant::now());
    }

    /// Back to the first row that was drawn, all below it wiped.
    fn up(&self) -> String {
        if self.drawn > 0 { format!("\x1b[{}A\r\x1b[J", self.drawn) } else { String::new() }
    }

    /// An answer behind its name and a bar; an empty row parts it from the one before it.
    fn block(&self, place: usize, rows_max: usize) -> Vec<String> {
        let Voice { name, text, is_complete } = &self.voices[place];
        let width = self.screen.columns.saturating_sub(self.label + 6).max(20);
        let lines = text::wrapped(text.trim(), width);
        let skipped = lines.len().saturating_sub(rows_max);
        let colour = VOICES[place % VOICES.len()];
        let row = |(number, line): (usize, &String)| {
            let label = if number == 0 { name.as_str() } else { "" };
            let bar = if *is_complete || number + 1 + skipped < lines.len() { "|" } else { ">" };
            let label = self.screen.paint(&format!("1;{colour}"), &format!("{label:<width$}", width = self.label));
            format!("  {label} {} {line}", self.screen.paint(colour, bar))
        };
        let between = (place > 0).then(String::new);
        between.into_iter().chain(lines[skipped..].iter().enumerate().map(row)).collect()
    }

    fn print(&self, rows: &[String]) {
        let mut out = std::io::stdout().lock();
        // Who reads no further has read enough; the receipts are checked all the same.
        let _ = rows.iter().try_for_each(|row| writeln!(out, "{row}")).and_then(|()| out.flush());
    }
}
