//! The file of settings: TOML whose keys are the settings' own, and no others.

use std::collections::BTreeMap;

use toml::de::{DeTable, DeValue};

use super::error::SettingsError;
use super::table::{CONFIG, Kind, SETTINGS, Setting};
use super::value::{Origin, Said, Value, wrong};

/// Reads a file's text. Its path is for messages.
pub(crate) fn read(path: &str, text: &str) -> Result<BTreeMap<&'static str, Said>, SettingsError> {
    let line = |at: usize| text.as_bytes()[..at.min(text.len())].iter().filter(|byte| **byte == b'\n').count() + 1;
    let table = DeTable::parse(text).map_err(|error| {
        let line = error.span().map(|span| format!("line {}: ", line(span.start))).unwrap_or_default();
        SettingsError::File { path: path.to_owned(), reason: format!("{line}{}", error.message()) }
    })?;
    let mut said = BTreeMap::new();
    for (key, found) in table.get_ref() {
        let origin = Origin::File(path.to_owned(), line(key.span().start));
        let setting = SETTINGS.iter().filter(|setting| setting.name != CONFIG).find(|s| s.key() == *key.get_ref());
        let Some(setting) = setting else {
            let key = key.get_ref().to_string();
            return Err(SettingsError::Unknown { nearest: nearest(&key), key, origin });
        };
        said.insert(setting.name, value(setting, found.get_ref(), origin)?);
    }
    Ok(said)
}

/// A value of the file: TOML has types, and they must be the setting's.
fn value(setting: &Setting, found: &DeValue<'_>, origin: Origin) -> Result<Said, SettingsError> {
    match (setting.kind, found) {
        (Kind::Text(_) | Kind::Choice(_), DeValue::String(text)) => Said::read(setting, &[text.to_string()], origin),
        (Kind::Number(..), DeValue::Integer(number)) => {
            // In other bases, and with `_`, as TOML allows.
            let digits = u64::from_str_radix(number.as_str(), number.radix()).map(|number| number.to_string());
            Said::read(setting, &[digits.unwrap_or_else(|_| number.as_str().to_owned())], origin)
        }
        (Kind::Switch, DeValue::Boolean(value)) => Ok(Said { value: Value::Switch(*value), origin }),
        (Kind::Many(_) | Kind::Secrets(_), DeValue::Array(items)) => {
            let items: Option<Vec<String>> = items.iter().map(|item| text(item.get_ref())).collect();
            let items =
                items.ok_or_else(|| wrong(setting, origin.clone(), "something that is no text in it".into()))?;
            Said::read(setting, &items, origin)
        }
        (Kind::Many(_) | Kind::Secrets(_), one @ DeValue::String(_)) => {
            let one = text(one).into_iter().collect::<Vec<_>>();
            Said::read(setting, &one, origin)
        }
        (_, DeValue::String(text)) => Err(wrong(setting, origin, format!("the text {text:?}"))),
        (_, other) => Err(wrong(setting, origin, article(other.type_str()))),
    }
}

/// A text of a list; a table of texts as the JSON that says the same, as `lora_modules` may have it.
fn text(found: &DeValue<'_>) -> Option<String> {
    match found {
        DeValue::String(text) => Some(text.to_string()),
        DeValue::Table(table) => {
            let mut object = serde_json::Map::new();
            for (key, value) in table {
                let DeValue::String(value) = value.get_ref() else { return None };
                object.insert(key.get_ref().to_string(), value.to_string().into());
            }
            Some(serde_json::Value::Object(object).to_string())
        }
        _ => None,
    }
}

fn article(kind: &str) -> String {
    let article = if kind.starts_with(['a', 'e', 'i', 'o', 'u']) { "an" } else { "a" };
    format!("{article} {kind}")
}

/// The setting's key that is least unlike this one, if it is like it at all.
fn nearest(key: &str) -> Option<String> {
    let keys = SETTINGS.iter().filter(|setting| setting.name != CONFIG).map(Setting::key);
    let (edits, nearest) = keys.map(|known| (edits(key, &known), known)).min()?;
    (edits <= 1 + key.len() / 4).then_some(nearest)
}

/// How many letters must change to make one word of another.
fn edits(from: &str, to: &str) -> usize {
    let to: Vec<char> = to.chars().collect();
    let mut row: Vec<usize> = (0..=to.len()).collect();
    for (at, letter) in from.chars().enumerate() {
        let mut diagonal = std::mem::replace(&mut row[0], at + 1);
        for (column, other) in to.iter().enumerate() {
            let changed = diagonal + usize::from(letter != *other);
            diagonal = row[column + 1];
            row[column + 1] = changed.min(diagonal + 1).min(row[column] + 1);
        }
    }
    row[to.len()]
}
