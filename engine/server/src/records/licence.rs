//! Licences: people name one, records have the digest of its text.

use std::path::Path;

use anyhow::{Context as _, bail};
use loam_ledger_core::Hash;
use loam_ledger_core::hash::digest;

/// Bytes of a licence's text, at most: the longest that are in use have a tenth of it.
const TEXT_BYTES_MAX: usize = 1 << 20;

/// Characters of a text's first line, which it is called by.
const TITLE_CHARS_MAX: usize = 100;

/// Where SPDX's list has a page for each of its identifiers.
const SPDX: &str = "https://spdx.org/licenses/";

/// A licence as somebody named it.
pub(super) struct Licence {
    /// An identifier, or the first line of a text.
    pub(super) words: String,
    /// Of the identifier, or of the whole text.
    pub(super) digest: Hash,
}

impl Licence {
    /// A file's text, where there is such a file; else the identifier itself.
    pub(super) fn named(word: &str) -> anyhow::Result<Self> {
        if Path::new(word).is_file() {
            let text = std::fs::read(word).with_context(|| word.to_owned())?;
            return Self::of_text(&text).with_context(|| word.to_owned());
        }
        let identifier = |letter: char| letter.is_ascii_alphanumeric() || "+-.:() ".contains(letter);
        if word.trim().is_empty() || word.contains("..") || !word.chars().all(identifier) {
            bail!(
                "the licence {word:?} is no file that is there, and no SPDX identifier such as CC-BY-4.0 or \
                 \"MIT OR Apache-2.0\""
            );
        }
        Ok(Self { words: word.trim().to_owned(), digest: digest(word.trim().as_bytes()) })
    }

    /// As a description states it: an identifier, an address or words, and never a file of this machine.
    pub(super) fn stated(words: &str) -> Self {
        Self { words: words.to_owned(), digest: digest(words.as_bytes()) }
    }

    fn of_text(text: &[u8]) -> anyhow::Result<Self> {
        if text.len() > TEXT_BYTES_MAX {
            bail!("a licence's text has {TEXT_BYTES_MAX} bytes at the most: is this the right file?");
        }
        let readable = std::str::from_utf8(text).context("a licence's text is UTF-8: is this the right file?")?;
        let title =
            readable.lines().map(str::trim).find(|line| !line.is_empty()).context("the licence says nothing")?;
        Ok(Self { words: title.chars().take(TITLE_CHARS_MAX).collect(), digest: digest(text) })
    }
}

/// A licence's address, where it is an identifier of SPDX's by its looks; else its words.
pub(super) fn address(words: &str, recorded: &Hash) -> String {
    let single = words.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-.".contains(&byte));
    let identifier = single && !words.starts_with("LicenseRef") && digest(words.as_bytes()) == *recorded;
    if identifier { format!("{SPDX}{words}") } else { words.to_owned() }
}

/// What an address of SPDX's list is the page of; anything else as it is.
pub(super) fn identifier(address: &str) -> &str {
    let page = address.strip_prefix(SPDX).or_else(|| address.strip_prefix("http://spdx.org/licenses/"));
    page.map_or(address, |page| page.strip_suffix(".html").unwrap_or(page))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_identifier_has_an_address_and_comes_back_from_it() {
        for words in ["MIT", "CC-BY-4.0", "CC-BY-SA-4.0"] {
            let there = address(words, &digest(words.as_bytes()));
            assert_eq!(there, format!("https://spdx.org/licenses/{words}"));
            assert_eq!(identifier(&there), words);
        }
        assert_eq!(identifier("https://spdx.org/licenses/MIT.html"), "MIT");
        assert_eq!(identifier("https://example.org/terms"), "https://example.org/terms");
    }

    #[test]
    fn words_of_a_text_are_no_identifier() {
        assert_eq!(address("MIT", &digest(b"MIT\n\nPermission is hereby granted")), "MIT");
        assert_eq!(address("MIT OR Apache-2.0", &digest(b"MIT OR Apache-2.0")), "MIT OR Apache-2.0");
        assert_eq!(address("LicenseRef-own", &digest(b"LicenseRef-own")), "LicenseRef-own");
    }

    #[test]
    fn what_is_neither_file_nor_identifier_is_refused() {
        for word in ["", " ", "no/such/file", "C:\\terms", "../terms", "terms?"] {
            assert!(Licence::named(word).is_err(), "{word:?}");
        }
        assert_eq!(Licence::named(" MIT ").expect("an identifier").digest, digest(b"MIT"));
    }
}
