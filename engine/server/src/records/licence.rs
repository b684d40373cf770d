//! Licences: people name one, records have the digest of its text.

use std::path::Path;

use anyhow::{Context as _, bail};
use loam_ledger_core::Hash;
use loam_ledger_core::hash::digest;

/// Bytes of a licence's text, at most: the longest that are in use have a tenth of it.
const TEXT_BYTES_MAX: usize = 1 << 20;

/// Characters of a text's first line, which it is called by.
const TITLE_CHARS_MAX: usize = 100;

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
