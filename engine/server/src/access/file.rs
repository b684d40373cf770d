//! The file of keys: `[[key]]` after `[[key]]`, digests only.

use std::ops::Range;

use loam_engine::request::NAME_BYTES_MAX;
use loam_ledger_core::Hash;
use toml::de::{DeArray, DeTable, DeValue};

use super::KeysError;
use super::scope::{Scope, Scopes};

const FIELDS: &str = "name, tenant, sha256, scopes, max_requests";

/// One key of the file.
pub(super) struct Stanza {
    pub(super) name: String,
    pub(super) tenant: String,
    pub(super) sha256: Hash,
    pub(super) scopes: Scopes,
    pub(super) requests_max: Option<usize>,
}

/// Reads a file's text; its path is for messages. A file without keys is refused: it would leave the server open.
pub(super) fn read(path: &str, text: &str) -> Result<Vec<Stanza>, KeysError> {
    // Errors say the line: a file of keys is long, and what stands in it is not repeated.
    let failed = |at: Option<Range<usize>>, reason: &str| {
        let before = |at: Range<usize>| &text.as_bytes()[..at.start.min(text.len())];
        let line = at.map(|at| format!("line {}: ", before(at).iter().filter(|byte| **byte == b'\n').count() + 1));
        KeysError::new(path, format!("{}{reason}", line.unwrap_or_default()))
    };
    let table = DeTable::parse(text).map_err(|error| failed(error.span(), error.message()))?;
    let mut stanzas = Vec::new();
    for (key, found) in table.get_ref() {
        let DeValue::Array(items) = found.get_ref() else {
            return Err(failed(Some(key.span()), "the file holds [[key]] and nothing else"));
        };
        if key.get_ref() != "key" {
            return Err(failed(Some(key.span()), &format!("[[{}]] is not known; write [[key]]", key.get_ref())));
        }
        for item in items {
            let stanza = item.get_ref().as_table().ok_or_else(|| "write [[key]]".to_owned()).and_then(stanza);
            stanzas.push(stanza.map_err(|reason| failed(Some(item.span()), &reason))?);
        }
    }
    if stanzas.is_empty() {
        return Err(failed(None, "there is no [[key]] in it; `loam key new` writes one"));
    }
    Ok(stanzas)
}

fn stanza(table: &DeTable<'_>) -> Result<Stanza, String> {
    if let Some(unknown) = table.keys().find(|key| !FIELDS.split(", ").any(|field| field == *key.get_ref())) {
        return Err(format!("a key has no field `{}`; it has {FIELDS}", unknown.get_ref()));
    }
    let name = text(table, "name")?;
    let named = |reason: String| format!("key {name:?}: {reason}");
    let tenant = text(table, "tenant").map_err(named)?;
    for text in [&name, &tenant] {
        if text.is_empty() || text.len() > NAME_BYTES_MAX || text.chars().any(char::is_control) {
            return Err(named(format!(
                "names and tenants have 1 to {NAME_BYTES_MAX} bytes, without control characters"
            )));
        }
    }
    let sha256 = Hash::from_hex(&text(table, "sha256").map_err(named)?);
    let sha256 =
        sha256.map_err(|_| named("sha256 is not 64 lower-case hexadecimal digits, the SHA-256 of the key".into()))?;
    let scopes = scopes(table).map_err(named)?;
    let requests_max = table.get("max_requests").map(|found| number(found.get_ref())).transpose().map_err(named)?;
    Ok(Stanza { name, tenant, sha256, scopes, requests_max })
}

fn text(table: &DeTable<'_>, field: &str) -> Result<String, String> {
    let found = table.get(field).and_then(|found| found.get_ref().as_str());
    found.map(str::to_owned).ok_or_else(|| format!("{field} is missing, or no text"))
}

fn scopes(table: &DeTable<'_>) -> Result<Scopes, String> {
    let wrong = || "scopes is missing, or no array of texts".to_owned();
    let items: &DeArray<'_> = table.get("scopes").and_then(|found| found.get_ref().as_array()).ok_or_else(wrong)?;
    let scope = |item: &DeValue<'_>| Scope::parse(item.as_str().ok_or_else(wrong)?);
    let scopes = items.iter().map(|item| scope(item.get_ref())).collect::<Result<Vec<_>, _>>()?;
    if scopes.is_empty() {
        Err("scopes is empty; such a key allows nothing".to_owned())
    } else {
        Ok(Scopes::of(&scopes))
    }
}

fn number(found: &DeValue<'_>) -> Result<usize, String> {
    let number = found.as_integer().and_then(|number| usize::from_str_radix(number.as_str(), number.radix()).ok());
    number.filter(|number| *number > 0).ok_or_else(|| "max_requests is no whole number of 1 or more".to_owned())
}
