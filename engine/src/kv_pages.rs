//! Pages of keys and values: who holds which, and which of them hold a prefix that somebody may want again.
//!
//! A page is *held* (by one writer, or by many readers once it is full), *cached* (held by nobody, its content known),
//! or *free*. Full pages are known by a key that is chained over all tokens before: equal keys, equal content. Free
//! pages are given out first, then cached ones, the longest unused first.

use std::collections::{BTreeSet, HashMap};

use loam_ledger_core::Hash;
use sha2::{Digest, Sha256};

/// Marks a key, so that it can never be mistaken for another hash of the same bytes.
const KEY_LABEL: &[u8] = b"loam/kv/v1\0";

/// The key of a full page: `H("loam/kv/v1\0" || key of the page before || tokens)`, each token as four bytes, the
/// lowest first. Before the first page stands what else the values depend on: base, adapters, types, mode, tenant.
pub fn page_key(before: &Hash, tokens: impl IntoIterator<Item = u32>) -> Hash {
    let mut state = Sha256::new().chain_update(KEY_LABEL).chain_update(before.0);
    for token in tokens {
        state.update(token.to_le_bytes());
    }
    Hash(state.finalize().into())
}

/// All pages there are.
#[derive(Debug)]
pub struct KvPages {
    pages: Vec<Page>,
    free: Vec<u32>,
    /// Known content. Only ever asked for one key: its order means nothing.
    index: HashMap<Hash, u32>,
    /// Cached pages by when they were let go.
    cached: BTreeSet<(u64, u32)>,
    clock: u64,
}

#[derive(Clone, Copy, Debug, Default)]
struct Page {
    holders: u32,
    key: Option<Hash>,
    let_go: u64,
}

impl KvPages {
    /// So many pages, all free.
    pub fn new(pages: u32) -> Self {
        Self {
            pages: vec![Page::default(); pages as usize],
            free: (0..pages).rev().collect(),
            index: HashMap::new(),
            cached: BTreeSet::new(),
            clock: 0,
        }
    }

    /// Pages that exist.
    pub fn total(&self) -> u32 {
        self.pages.len() as u32
    }

    /// Pages that hold nothing.
    pub fn free(&self) -> u32 {
        self.free.len() as u32
    }

    /// Pages that nobody holds and whose content is known.
    pub fn cached(&self) -> u32 {
        self.cached.len() as u32
    }

    /// Pages that can be given out.
    pub fn available(&self) -> u32 {
        self.free() + self.cached()
    }

    /// How many hold a page.
    pub fn holders(&self, page: u32) -> u32 {
        self.pages[page as usize].holders
    }

    /// The longest run of pages that hold the first of these keys' content.
    pub fn find(&self, keys: &[Hash]) -> Vec<u32> {
        keys.iter().map_while(|key| self.index.get(key).copied()).collect()
    }

    /// One more holder of a page that [`KvPages::find`] named.
    pub fn hold(&mut self, page: u32) {
        let it = &mut self.pages[page as usize];
        debug_assert!(it.key.is_some() || it.holders > 0, "only known content is shared");
        if it.holders == 0 {
            self.cached.remove(&(it.let_go, page));
        }
        it.holders += 1;
    }

    /// A page to write, with one holder. What a cached one held is forgotten.
    pub fn take(&mut self) -> Option<u32> {
        let page = self.free.pop().or_else(|| {
            let (_, page) = self.cached.pop_first()?;
            let key = self.pages[page as usize].key.take().expect("a cached page's content is known");
            self.index.remove(&key);
            Some(page)
        })?;
        self.pages[page as usize] = Page { holders: 1, ..Page::default() };
        Some(page)
    }

    /// One holder less. Known content stays, as long as nobody needs the page.
    pub fn let_go(&mut self, page: u32) {
        let it = &mut self.pages[page as usize];
        it.holders = it.holders.checked_sub(1).expect("a page is let go by who holds it");
        if it.holders > 0 {
            return;
        }
        if it.key.is_none() {
            return self.free.push(page);
        }
        self.clock += 1;
        it.let_go = self.clock;
        self.cached.insert((self.clock, page));
    }

    /// Makes a full page's content known. Where another page holds the same already, this one stays private.
    pub fn publish(&mut self, page: u32, key: Hash) {
        let it = &mut self.pages[page as usize];
        debug_assert!(it.holders > 0, "a page is published by who wrote it");
        if it.key.is_none() && !self.index.contains_key(&key) {
            it.key = Some(key);
            self.index.insert(key, page);
        }
    }

    /// Pages that would become available if all these holds were given up.
    pub fn freed_by(&self, holds: impl IntoIterator<Item = u32>) -> u32 {
        let mut given_up = HashMap::new();
        for page in holds {
            *given_up.entry(page).or_insert(0_u32) += 1;
        }
        given_up.iter().filter(|&(page, count)| self.holders(*page) == *count).count() as u32
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key(number: u32) -> Hash {
        page_key(&Hash::ZERO, [number])
    }

    #[test]
    fn keys_are_chained_over_everything_before() {
        let first = page_key(&Hash::ZERO, [1, 2]);
        assert_ne!(page_key(&first, [3]), page_key(&page_key(&Hash::ZERO, [2, 1]), [3]));
        assert_ne!(page_key(&Hash::ZERO, [0x0102]), page_key(&Hash::ZERO, [0x0201]));
        // By hand: the label, 32 zero bytes, 1 and 2 as four bytes each.
        let bytes = [b"loam/kv/v1\0".as_slice(), &[0; 32], &[1, 0, 0, 0, 2, 0, 0, 0]].concat();
        assert_eq!(first.0, <[u8; 32]>::from(Sha256::digest(bytes)));
    }

    #[test]
    fn free_pages_go_first_and_then_what_was_unused_longest() {
        let mut pages = KvPages::new(3);
        let taken: Vec<u32> = (0..3).map(|_| pages.take().expect("three pages")).collect();
        assert_eq!((pages.take(), pages.available()), (None, 0));
        pages.publish(taken[0], key(0));
        pages.publish(taken[1], key(1));
        pages.let_go(taken[1]);
        pages.let_go(taken[0]);
        pages.let_go(taken[2]);
        assert_eq!((pages.free(), pages.cached()), (1, 2));
        assert_eq!(pages.take(), Some(taken[2]), "the free one");
        assert_eq!(pages.take(), Some(taken[1]), "let go before the other");
        assert!(pages.find(&[key(1)]).is_empty());
        assert_eq!(pages.find(&[key(0), key(1)]), [taken[0]]);
    }

    #[test]
    fn a_cached_page_that_is_held_again_cannot_be_taken() {
        let mut pages = KvPages::new(1);
        let page = pages.take().expect("one page");
        pages.publish(page, key(7));
        pages.let_go(page);
        pages.hold(page);
        pages.hold(page);
        assert_eq!((pages.available(), pages.holders(page)), (0, 2));
        assert_eq!((pages.freed_by([page]), pages.freed_by([page, page])), (0, 1));
        pages.let_go(page);
        assert_eq!(pages.take(), None);
    }

    #[test]
    fn content_known_twice_is_indexed_once() {
        let mut pages = KvPages::new(2);
        let (first, second) = (pages.take().expect("two pages"), pages.take().expect("two pages"));
        pages.publish(first, key(1));
        pages.publish(second, key(1));
        pages.let_go(second);
        assert_eq!((pages.free(), pages.find(&[key(1)])), (1, vec![first]));
    }
}
