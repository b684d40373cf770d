//! A row: a JSON object in its one spelling. That text is what salts, digests, encryption and exports are about.

use serde_json::{Map, Value};

use crate::fault::What;
use crate::json::{self, JsonFault};

/// Bytes that a row may have, in its one spelling.
pub const ROW_BYTES_MAX: usize = 65_536;

/// Levels of objects and lists in a row, the row itself included.
pub const DEPTH_MAX: usize = 32;

/// A row's text, in its one spelling.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Row(String);

impl Row {
    /// Reads a row from JSON, however it is spelled.
    pub fn parse(text: &str) -> Result<Self, JsonFault> {
        // An escape has at most six bytes for one of the spelling's.
        if text.len() > 8 * ROW_BYTES_MAX {
            return Err(JsonFault { line: 1, byte: 0, what: What::RowBytes { bytes: text.len() } });
        }
        let value = json::parse(text, DEPTH_MAX)?;
        Self::of(&value).map_err(|what| JsonFault { line: 1, byte: 0, what })
    }

    /// The row that an object is.
    pub fn of(value: &Value) -> Result<Self, What> {
        match value {
            Value::Object(map) => Self::of_fields(map),
            Value::Null => Err(What::NotObject { found: "null" }),
            Value::Bool(_) => Err(What::NotObject { found: "a truth value" }),
            Value::Number(_) => Err(What::NotObject { found: "a number" }),
            Value::String(_) => Err(What::NotObject { found: "a string" }),
            Value::Array(_) => Err(What::NotObject { found: "a list" }),
        }
    }

    /// The row with these fields.
    pub fn of_fields(map: &Map<String, Value>) -> Result<Self, What> {
        if map.is_empty() {
            return Err(What::Empty);
        }
        if !map.values().all(|value| is_within(value, DEPTH_MAX - 1)) {
            return Err(What::Depth);
        }
        let text = json::canonical_object(map);
        if text.len() > ROW_BYTES_MAX { Err(What::RowBytes { bytes: text.len() }) } else { Ok(Self(text)) }
    }

    /// A row of one field, `text`.
    pub fn of_text(text: &str) -> Result<Self, What> {
        Self::of_fields(&Map::from_iter([("text".to_owned(), Value::String(text.to_owned()))]))
    }

    /// Takes back what was stored; another spelling than the one is refused.
    pub fn stored(bytes: &[u8]) -> Option<Self> {
        let text = core::str::from_utf8(bytes).ok()?;
        Self::parse(text).ok().filter(|row| row.0 == text)
    }

    /// The text that is stored, digested and exported.
    pub fn text(&self) -> &str {
        &self.0
    }

    /// Its fields.
    pub fn fields(&self) -> Map<String, Value> {
        match json::parse(&self.0, DEPTH_MAX) {
            Ok(Value::Object(map)) => map,
            _ => unreachable!("a row was an object when it was read"),
        }
    }
}

/// Whether a value has at most so many levels.
fn is_within(value: &Value, levels: usize) -> bool {
    match value {
        Value::Array(list) => levels > 0 && list.iter().all(|item| is_within(item, levels - 1)),
        Value::Object(map) => levels > 0 && map.values().all(|item| is_within(item, levels - 1)),
        _ => true,
    }
}
