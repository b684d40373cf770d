//! Licences: people name one, records have the digest of its text.

use std::path::Path;

use anyhow::{Context as _, bail};
use loam_ledger_core::Hash;
use loam_ledger_core::hash::digest;

use super::spdx::{self, Unknown};

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
    /// The whole text, where it was given.
    pub(super) text: Option<String>,
}

impl Licence {
    /// A file's text, where the word is a path with a slash in it; else the identifier itself. What lies in the folder that
    /// somebody happens to be in says nothing of which it is.
    pub(super) fn named(word: &str) -> anyhow::Result<Self> {
        if word.contains('/') {
            let text = std::fs::read(word).with_context(|| format!("the licence {word:?} is the name of a file"))?;
            return Self::of_text(&text).with_context(|| word.to_owned());
        }
        let identifier = |letter: char| letter.is_ascii_alphanumeric() || "+-.:() ".contains(letter);
        if word.trim().is_empty() || word.contains("..") || !word.chars().all(identifier) {
            bail!(
                "the licence {word:?} is no SPDX identifier such as CC-BY-4.0 or \"MIT OR Apache-2.0\"; a file is named with \
                 a slash, as ./LICENSE"
            );
        }
        if is_named_as_files_are(word) {
            bail!("{word:?} is named as files are, and no SPDX identifier: for the text of that file write ./{word}");
        }
        if let Err(Unknown { word: unknown, near }) = spdx::check(word) {
            let meant = if near.is_empty() { String::new() } else { format!(" (did you mean {}?)", near.join(" or ")) };
            bail!(
                "no licence of SPDX's list is called {unknown:?}{meant}; a licence of your own is called LicenseRef-NAME, or \
                 named by the file of its text, as ./LICENSE"
            );
        }
        if Path::new(word).is_file() {
            eprintln!("loam: the licence is {word} as SPDX has it; for the text of the file here write ./{word}");
        }
        Ok(Self::stated(word.trim()))
    }

    /// As a description states it: an identifier, an address or words, and never a file of this machine.
    pub(super) fn stated(words: &str) -> Self {
        Self { words: words.to_owned(), digest: digest(words.as_bytes()), text: None }
    }

    fn of_text(text: &[u8]) -> anyhow::Result<Self> {
        if text.len() > TEXT_BYTES_MAX {
            bail!("a licence's text has {TEXT_BYTES_MAX} bytes at the most: is this the right file?");
        }
        let readable = std::str::from_utf8(text).context("a licence's text is UTF-8: is this the right file?")?;
        let title =
            readable.lines().map(str::trim).find(|line| !line.is_empty()).context("the licence says nothing")?;
        let words = title.chars().take(TITLE_CHARS_MAX).collect();
        Ok(Self { words, digest: digest(text), text: Some(readable.to_owned()) })
    }
}

/// Whether a word is what people call the files that licences are in, so that whoever gives it means one.
fn is_named_as_files_are(word: &str) -> bool {
    let word = word.to_ascii_lowercase();
    let begins = ["license", "licence", "copying", "notice", "terms"].iter().any(|name| word.starts_with(name));
    let ends = [".txt", ".md", ".rst", ".html", ".pdf"].iter().any(|ending| word.ends_with(ending));
    ends || begins && !word.starts_with("licenseref-")
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
        for word in ["", " ", "no/such/file", "C:\\terms", "../terms", "terms?", "LICENSE", "Licence-MIT", "terms.txt"]
        {
            assert!(Licence::named(word).is_err(), "{word:?}");
        }
        for word in
            [" MIT ", "LicenseRef-own", "GPL-2.0-only WITH Classpath-exception-2.0", "DocumentRef-a:LicenseRef-b"]
        {
            assert_eq!(Licence::named(word).expect("an identifier").digest, digest(word.trim().as_bytes()));
        }
    }

    #[test]
    fn a_file_is_named_with_a_slash() {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let path = folder.path().join("MIT");
        std::fs::write(&path, "\nDo as you like.\n").expect("a file");
        let licence = Licence::named(path.to_str().expect("text")).expect("a licence");
        assert_eq!((&*licence.words, licence.digest), ("Do as you like.", digest(b"\nDo as you like.\n")));
    }
}
