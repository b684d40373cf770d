//! `loam config show`: what holds, and who says so.

use std::fmt::Write as _;

use loam_ledger_core::Hash;
use loam_ledger_core::hash::digest;

use super::gathered::Gathered;
use super::table::{CONFIG, Otherwise, SETTINGS, Setting};
use super::value::Value;

/// All settings as a file of settings could have them, each with its origin. Secrets, and what was not said, are
/// remarks.
pub(crate) fn show(gathered: &Gathered) -> String {
    let lines: Vec<(&Setting, String)> = SETTINGS.iter().map(|setting| (setting, line(setting, gathered))).collect();
    let width = lines.iter().map(|(_, line)| line.chars().count()).filter(|width| *width <= 48).max().unwrap_or(0);
    let (mut shown, mut heading) = (String::new(), "");
    for (setting, line) in lines {
        if setting.heading != heading {
            let blank = if heading.is_empty() { "" } else { "\n" };
            heading = setting.heading;
            let _ = writeln!(shown, "{blank}# {heading}");
        }
        let _ = writeln!(shown, "{line:width$}  # {}", gathered.said(setting.name).origin);
    }
    shown
}

/// The SHA-256 of what holds, whoever said it: of the lines of [`show`] without headings and origins.
pub(super) fn digest_of(gathered: &Gathered) -> Hash {
    let lines = SETTINGS.iter().filter(|setting| setting.name != CONFIG).map(|setting| line(setting, gathered) + "\n");
    digest(lines.collect::<String>().as_bytes())
}

fn line(setting: &Setting, gathered: &Gathered) -> String {
    let (key, said) = (setting.key(), gathered.said(setting.name));
    let value = match &said.value {
        Value::Many(values) if setting.kind.is_secret() => return format!("# {key}: {} hidden", values.len()),
        Value::Absent => {
            let (Otherwise::Is(means) | Otherwise::Means(means)) = setting.default;
            return format!("# {key}: {means}");
        }
        // A file of settings cannot name another.
        Value::Text(text) if setting.name == CONFIG => return format!("# {key}: {text}"),
        Value::Text(text) => quoted(text),
        Value::Number(number) => number.to_string(),
        Value::Switch(on) => on.to_string(),
        Value::Many(values) => {
            let values: Vec<String> = values.iter().map(|value| quoted(value)).collect();
            format!("[{}]", values.join(", "))
        }
    };
    format!("{key} = {value}")
}

/// A text as TOML has it.
fn quoted(text: &str) -> String {
    toml::Value::String(text.to_owned()).to_string()
}
