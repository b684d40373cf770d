//! The three text encodings of the outside formats: plain decimals, hexadecimal and canonical base64.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

use crate::error::Error;
use crate::hash::Hash;

/// Writes lower-case hexadecimal.
pub fn hex_encode(bytes: &[u8]) -> String {
    const DIGITS: &[u8; 16] = b"0123456789abcdef";
    let mut text = String::with_capacity(bytes.len() * 2);
    for byte in bytes {
        text.push(char::from(DIGITS[usize::from(byte >> 4)]));
        text.push(char::from(DIGITS[usize::from(byte & 0x0f)]));
    }
    text
}

/// Reads lower-case hexadecimal; anything else is `None`.
pub fn hex_decode(text: &str) -> Option<Vec<u8>> {
    let digit = |c: u8| match c {
        b'0'..=b'9' => Some(c - b'0'),
        b'a'..=b'f' => Some(c - b'a' + 10),
        _ => None,
    };
    if !text.len().is_multiple_of(2) {
        return None;
    }
    text.as_bytes().chunks_exact(2).map(|pair| Some((digit(pair[0])? << 4) | digit(pair[1])?)).collect()
}

/// Writes standard base64 with padding.
pub fn base64_encode(bytes: &[u8]) -> String {
    STANDARD.encode(bytes)
}

/// Reads standard base64 with padding; only the one canonical spelling of each value is accepted.
pub fn base64_decode(text: &str) -> Result<Vec<u8>, Error> {
    STANDARD.decode(text).map_err(|_| Error::NotBase64)
}

/// Reads a hash from a line of base64.
pub fn base64_hash(text: &str) -> Result<Hash, Error> {
    Hash::from_slice(&base64_decode(text)?)
}

/// Reads a decimal without sign, leading zeros or spaces, as the formats write every number.
pub fn decimal(text: &str) -> Result<u64, Error> {
    let plain = !text.is_empty() && text.bytes().all(|c| c.is_ascii_digit()) && (text == "0" || !text.starts_with('0'));
    if !plain {
        return Err(Error::NotDecimal);
    }
    text.parse().map_err(|_| Error::NotDecimal)
}

/// A weight in millionths as a person reads it: `1`, `0.5`, `-1.25`.
pub fn millionths(value: i64) -> String {
    let (sign, magnitude) = (if value < 0 { "-" } else { "" }, value.unsigned_abs());
    let (whole, part) = (magnitude / 1_000_000, magnitude % 1_000_000);
    let text = format!("{sign}{whole}.{part:06}");
    text.trim_end_matches('0').trim_end_matches('.').to_owned()
}
