//! What pages hold: for each position, a digest of all tokens up to it.

use loam_engine::scheduler::Chunk;
use loam_ledger_core::Hash;

use crate::random::mix;

/// Digests of each prefix of some tokens, under what else keys and values depend on.
pub(crate) fn prefixes(root: &Hash, tokens: &[u32]) -> Vec<u64> {
    let root = root.0.iter().fold(7, |digest, byte| mix(digest, u64::from(*byte)));
    let mut digests = Vec::with_capacity(tokens.len());
    for token in tokens {
        digests.push(mix(digests.last().copied().unwrap_or(root), u64::from(*token)));
    }
    digests
}

/// All pages' content.
pub(crate) struct Memory {
    page_tokens: usize,
    pages: Vec<Vec<Option<u64>>>,
}

impl Memory {
    pub(crate) fn new(pages: u32, page_tokens: u32) -> Self {
        let page_tokens = page_tokens as usize;
        Self { page_tokens, pages: vec![vec![None; page_tokens]; pages as usize] }
    }

    /// Copies pages, all at once: none may be copied to and from.
    pub(crate) fn copy(&mut self, copies: &[(u32, u32)]) {
        for (from, to) in copies {
            assert!(copies.iter().all(|(other, _)| other != to), "page {to} is copied to and from");
            assert_eq!(copies.iter().filter(|(_, other)| other == to).count(), 1, "page {to} is copied to twice");
            self.pages[*to as usize] = self.pages[*from as usize].clone();
        }
    }

    /// Writes a chunk's rows.
    pub(crate) fn write(&mut self, chunk: &Chunk, digests: &[u64]) {
        let rows = digests.iter().enumerate().skip(chunk.first_position as usize).take(chunk.tokens.len());
        for (position, digest) in rows {
            let page = chunk.pages[position / self.page_tokens] as usize;
            self.pages[page][position % self.page_tokens] = Some(*digest);
        }
    }

    /// Reads positions `0..end` of a table, which must hold exactly these.
    pub(crate) fn expect(&self, pages: &[u32], digests: &[u64], end: usize, who: &str) {
        for (position, digest) in digests[..end].iter().enumerate() {
            let page = pages[position / self.page_tokens];
            let found = self.pages[page as usize][position % self.page_tokens];
            assert_eq!(found, Some(*digest), "{who}: position {position} in page {page}");
        }
    }
}
