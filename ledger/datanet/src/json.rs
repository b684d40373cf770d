//! JSON in one spelling, that of RFC 8785: a value has the same bytes whoever writes it.
//!
//! No spaces; keys by their UTF-16 code units; strings with the fewest escapes; numbers as ECMAScript writes doubles.
//! What that spelling cannot keep is refused when read: a key that stands twice, an integer that a double does not
//! hold.

use core::fmt;

use serde::de::{DeserializeSeed, Error as _, MapAccess, SeqAccess, Visitor};
use serde_json::{Map, Number, Value};

use crate::fault::What;

/// Integers up to this one, and down to its negative, are doubles without loss.
const EXACT_MAX: u64 = 1 << 53;

/// Why a text is not taken, and at which of its bytes, from 1.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct JsonFault {
    /// Line within the text, from 1.
    pub line: usize,
    /// Byte within the line, from 1; 0 where it is before the first.
    pub byte: usize,
    /// Why.
    pub what: What,
}

/// Reads one value, with at most `depth` levels of objects and lists, no key twice in one object, nothing after it.
pub fn parse(text: &str, depth: usize) -> Result<Value, JsonFault> {
    let mut reader = serde_json::Deserializer::from_str(text);
    let read = Level { left: depth }.deserialize(&mut reader).and_then(|value| reader.end().map(|()| value));
    read.map_err(|error| JsonFault { line: error.line(), byte: error.column(), what: reason(&error) })
}

/// Marks of our own reasons within the reader's, followed by what they are about.
const TWICE: &str = "key twice: ";
const DEEP: &str = "too deep";
const INEXACT: &str = "inexact: ";

fn reason(error: &serde_json::Error) -> What {
    let mut why = error.to_string();
    if let Some(end) = why.rfind(" at line ") {
        why.truncate(end);
    }
    if let Some(key) = why.strip_prefix(TWICE) {
        What::KeyTwice { key: key.to_owned() }
    } else if let Some(number) = why.strip_prefix(INEXACT) {
        What::Number { number: number.to_owned() }
    } else if why == DEEP || why.starts_with("recursion limit") {
        What::Depth
    } else {
        What::Json { why }
    }
}

/// A large integer, if its double is spelled with the same digits: then no reader sees another number.
fn spelled<E: serde::de::Error>(digits: &str, double: f64) -> Result<Value, E> {
    let value = Value::from(double);
    if canonical(&value) == digits { Ok(value) } else { Err(E::custom(format!("{INEXACT}{digits}"))) }
}

/// How many levels may still be opened.
#[derive(Clone, Copy)]
struct Level {
    left: usize,
}

impl Level {
    fn below<E: serde::de::Error>(self) -> Result<Self, E> {
        self.left.checked_sub(1).map(|left| Self { left }).ok_or_else(|| E::custom(DEEP))
    }
}

impl<'de> DeserializeSeed<'de> for Level {
    type Value = Value;

    fn deserialize<D: serde::Deserializer<'de>>(self, reader: D) -> Result<Value, D::Error> {
        reader.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Level {
    type Value = Value;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a JSON value")
    }

    fn visit_unit<E>(self) -> Result<Value, E> {
        Ok(Value::Null)
    }

    fn visit_bool<E>(self, value: bool) -> Result<Value, E> {
        Ok(Value::Bool(value))
    }

    fn visit_u64<E: serde::de::Error>(self, value: u64) -> Result<Value, E> {
        if value <= EXACT_MAX { Ok(value.into()) } else { spelled(&value.to_string(), value as f64) }
    }

    fn visit_i64<E: serde::de::Error>(self, value: i64) -> Result<Value, E> {
        if value.unsigned_abs() <= EXACT_MAX { Ok(value.into()) } else { spelled(&value.to_string(), value as f64) }
    }

    fn visit_f64<E: serde::de::Error>(self, value: f64) -> Result<Value, E> {
        Number::from_f64(value).map(Value::Number).ok_or_else(|| E::custom(format!("{INEXACT}{value}")))
    }

    fn visit_str<E>(self, value: &str) -> Result<Value, E> {
        Ok(Value::String(value.to_owned()))
    }

    fn visit_string<E>(self, value: String) -> Result<Value, E> {
        Ok(Value::String(value))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<Value, A::Error> {
        let below = self.below()?;
        let mut list = Vec::new();
        while let Some(item) = items.next_element_seed(below)? {
            list.push(item);
        }
        Ok(Value::Array(list))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut fields: A) -> Result<Value, A::Error> {
        let below = self.below()?;
        let mut map = Map::new();
        while let Some(key) = fields.next_key::<String>()? {
            if map.contains_key(&key) {
                return Err(A::Error::custom(format!("{TWICE}{key}")));
            }
            let value = fields.next_value_seed(below)?;
            map.insert(key, value);
        }
        Ok(Value::Object(map))
    }
}

/// Writes a value in its one spelling. An integer beyond what a double holds is written as the double next to it; what
/// [`parse`] gave has none.
pub fn canonical(value: &Value) -> String {
    let mut text = String::new();
    write_value(&mut text, value);
    text
}

/// The same for an object's fields.
pub fn canonical_object(map: &Map<String, Value>) -> String {
    let mut text = String::new();
    write_object(&mut text, map);
    text
}

fn write_value(text: &mut String, value: &Value) {
    match value {
        Value::Null => text.push_str("null"),
        Value::Bool(value) => text.push_str(if *value { "true" } else { "false" }),
        Value::Number(number) => write_number(text, number),
        Value::String(value) => write_string(text, value),
        Value::Array(list) => {
            text.push('[');
            for (place, item) in list.iter().enumerate() {
                if place > 0 {
                    text.push(',');
                }
                write_value(text, item);
            }
            text.push(']');
        }
        Value::Object(map) => write_object(text, map),
    }
}

fn write_object(text: &mut String, map: &Map<String, Value>) {
    let mut fields: Vec<(&String, &Value)> = map.iter().collect();
    fields.sort_by(|a, b| a.0.encode_utf16().cmp(b.0.encode_utf16()));
    text.push('{');
    for (place, (key, value)) in fields.into_iter().enumerate() {
        if place > 0 {
            text.push(',');
        }
        write_string(text, key);
        text.push(':');
        write_value(text, value);
    }
    text.push('}');
}

fn write_string(text: &mut String, value: &str) {
    // Quote, backslash and control characters alone are escaped, the latter in lower case: as the RFC has it.
    text.push_str(&serde_json::to_string(value).expect("a string can always be written"));
}

fn write_number(text: &mut String, number: &Number) {
    let exact = |value: u64| value <= EXACT_MAX;
    match (number.as_u64(), number.as_i64(), number.as_f64()) {
        (Some(value), _, _) if exact(value) => text.push_str(&value.to_string()),
        (_, Some(value), _) if exact(value.unsigned_abs()) => text.push_str(&value.to_string()),
        (_, _, Some(value)) => write_double(text, value),
        _ => unreachable!("a number is an integer or a finite double"),
    }
}

/// As ECMAScript's Number::toString does: the fewest digits that lead back to the same double, laid out by their
/// exponent.
fn write_double(text: &mut String, value: f64) {
    if value == 0.0 {
        return text.push('0');
    }
    let (digits, point) = shortest_digits(value);
    let count = digits.len() as i64;
    let zeros = |count: i64| "0".repeat(usize::try_from(count).expect("a count is not negative"));
    let split = |at: i64| digits.split_at(usize::try_from(at).expect("a place is not negative"));
    if value < 0.0 {
        text.push('-');
    }
    if count <= point && point <= 21 {
        *text += &(digits.clone() + &zeros(point - count));
    } else if 0 < point && point <= 21 {
        let (whole, part) = split(point);
        *text += &format!("{whole}.{part}");
    } else if -6 < point && point <= 0 {
        *text += &format!("0.{}{digits}", zeros(-point));
    } else {
        let (first, rest) = split(1);
        let rest = if rest.is_empty() { String::new() } else { format!(".{rest}") };
        *text += &format!("{first}{rest}e{:+}", point - 1);
    }
}

/// A double's shortest digits, and after how many of them the point stands. Where two are as short and as near, the
/// even one: so ECMAScript has it, and so does serde_json, but not the standard library.
fn shortest_digits(value: f64) -> (String, i64) {
    let text = serde_json::to_string(&value.abs()).expect("a finite double can be written");
    let (digits, exponent) = text.split_once('e').unwrap_or((&text, "0"));
    let (whole, part) = digits.split_once('.').unwrap_or((digits, ""));
    let point = whole.len() as i64 + exponent.parse::<i64>().expect("an exponent is a number");
    let digits = format!("{whole}{part}");
    let significant = digits.trim_start_matches('0');
    let point = point - (digits.len() - significant.len()) as i64;
    (significant.trim_end_matches('0').to_owned(), point)
}
