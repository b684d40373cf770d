//! How things are shown: what people wrote cannot move a cursor or turn a line around, and ids are as long as is
//! useful.

use loam_ledger_core::Hash;
use loam_ledger_core::record::Millionths;

/// Digits of a shortened id.
pub const SHORT: usize = 12;

/// An id's first digits.
pub fn short(id: &Hash) -> String {
    let mut hex = id.to_hex();
    hex.truncate(SHORT);
    hex
}

/// A share as a percentage: `100%`, `33.3333%`.
pub fn percent(share: Millionths) -> String {
    format!("{}%", loam_ledger_core::text::millionths(i64::from(share) * 100))
}

/// Text on one line, at most so many characters, with controls and marks of direction as escapes.
pub fn line(text: &str, most: usize) -> String {
    let mut shown = String::with_capacity(text.len().min(most));
    for (place, letter) in text.chars().enumerate() {
        if place == most {
            shown.push_str("...");
            break;
        }
        let turns =
            matches!(letter, '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2060}'..='\u{206f}' | '\u{feff}');
        if letter.is_control() || turns {
            shown.extend(letter.escape_unicode());
        } else {
            shown.push(letter);
        }
    }
    shown
}

/// Characters of a name that a fault repeats: enough to find it in the file.
const NAMED: usize = 80;

/// What a file calls something, on one line and cut, for words that say what is wrong with it.
pub(crate) fn named(text: &str) -> String {
    line(text, NAMED)
}

/// The same in quotes, with escapes as Rust has them.
pub(crate) fn quoted(text: &str) -> String {
    let end = text.char_indices().nth(NAMED).map_or(text.len(), |(end, _)| end);
    let more = if end < text.len() { "..." } else { "" };
    format!("{:?}{more}", &text[..end])
}
