//! Names, what they stand for, and who still uses it: the catalog's state, without files or locks.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use super::files::Stamp;
use super::source::Source;
use super::{AdapterId, Generation};
use crate::error::Error;

/// Adapters that can be known at a time.
pub const ADAPTERS_MAX: usize = 1 << 20;

/// All names and all contents.
///
/// A content is known as long as it has a name or a reference. What is read of it first is what it is; after that its
/// generation never changes.
#[derive(Debug, Default)]
pub(super) struct Aliases {
    names: BTreeMap<String, Named>,
    contents: HashMap<AdapterId, Content>,
    by_generation: HashMap<Generation, AdapterId>,
    by_source: HashMap<Arc<Source>, AdapterId>,
    next: u32,
    retired: Vec<AdapterId>,
    /// Whether other contents may be pinned than when this was last asked.
    pins_moved: bool,
}

#[derive(Clone, Copy, Debug)]
struct Named {
    id: AdapterId,
    pinned: bool,
}

/// What an id stands for.
#[derive(Clone, Debug)]
pub(super) struct Content {
    pub(super) source: Arc<Source>,
    /// None until it is read.
    pub(super) generation: Option<Generation>,
    /// Of the files it was read from.
    pub(super) stamp: Option<Stamp>,
    names: usize,
    pins: usize,
    pub(super) references: usize,
}

impl Aliases {
    /// What a name stands for, and whether it is pinned.
    pub(super) fn find(&self, name: &str) -> Option<(AdapterId, bool)> {
        self.names.get(name).map(|named| (named.id, named.pinned))
    }

    /// All names in order.
    pub(super) fn names(&self) -> impl Iterator<Item = &str> {
        self.names.keys().map(String::as_str)
    }

    /// What is known of an id.
    pub(super) fn content(&self, id: AdapterId) -> Option<&Content> {
        self.contents.get(&id)
    }

    /// The generation that a name stands for, as far as that is known.
    pub(super) fn generation_of(&self, name: &str) -> Option<Generation> {
        self.find(name).and_then(|(id, _)| self.contents[&id].generation)
    }

    /// What has this generation: with a name, or only with users that are left.
    pub(super) fn known_with(&self, generation: &Generation) -> Option<AdapterId> {
        self.by_generation.get(generation).copied()
    }

    /// What has this generation and a name.
    pub(super) fn named_with(&self, generation: &Generation) -> Option<AdapterId> {
        self.known_with(generation).filter(|id| self.contents[id].names > 0)
    }

    /// What is to be read, or was read, from this source.
    pub(super) fn known_at(&self, source: &Source) -> Option<AdapterId> {
        self.by_source.get(source).copied()
    }

    /// Whether some name of it is pinned.
    pub(super) fn is_pinned(&self, id: AdapterId) -> bool {
        self.contents.get(&id).is_some_and(|content| content.pins > 0)
    }

    /// All that have a pinned name.
    pub(super) fn pinned(&self) -> Vec<AdapterId> {
        let mut ids: Vec<AdapterId> = self.names.values().filter(|named| named.pinned).map(|named| named.id).collect();
        ids.sort_unstable();
        ids.dedup();
        ids
    }

    /// The same, if it can be something else than when this was last asked.
    pub(super) fn take_pinned(&mut self) -> Option<Vec<AdapterId>> {
        std::mem::take(&mut self.pins_moved).then(|| self.pinned())
    }

    /// A new content, not yet read and without a name: name it before anything else is asked.
    pub(super) fn add(&mut self, source: Arc<Source>) -> Result<AdapterId, Error> {
        if self.contents.len() >= ADAPTERS_MAX {
            return Err(Error::Full { what: "the catalog of adapters", limit: ADAPTERS_MAX });
        }
        let id = AdapterId(self.next);
        let next = self.next.checked_add(1);
        self.next = next.ok_or(Error::Full { what: "the numbers of adapters", limit: u32::MAX as usize })?;
        self.by_source.insert(Arc::clone(&source), id);
        let content = Content { source, generation: None, stamp: None, names: 0, pins: 0, references: 0 };
        self.contents.insert(id, content);
        Ok(id)
    }

    /// Lets a name stand for a content from now on. What it stood for before is returned.
    pub(super) fn name(&mut self, name: &str, id: AdapterId) -> Option<AdapterId> {
        let before = self.names.get(name).copied();
        let pinned = before.is_some_and(|named| named.pinned);
        if before.is_some_and(|named| named.id == id) {
            return None;
        }
        self.names.insert(name.to_owned(), Named { id, pinned });
        let content = self.contents.get_mut(&id).expect("a name is given to what is known");
        content.names += 1;
        content.pins += usize::from(pinned);
        self.pins_moved |= pinned;
        before.map(|before| {
            self.unname(before);
            before.id
        })
    }

    /// Takes a name away. What it stood for is returned.
    pub(super) fn remove(&mut self, name: &str) -> Option<AdapterId> {
        let named = self.names.remove(name)?;
        self.unname(named);
        Some(named.id)
    }

    /// Pins a name, or no longer. False where there is no such name.
    pub(super) fn pin(&mut self, name: &str, pinned: bool) -> bool {
        let Some(named) = self.names.get_mut(name) else { return false };
        if named.pinned != pinned {
            named.pinned = pinned;
            self.pins_moved = true;
            let pins = &mut self.contents.get_mut(&named.id).expect("a name stands for what is known").pins;
            *pins = if pinned { *pins + 1 } else { *pins - 1 };
        }
        true
    }

    /// Says what was read for an id the first time. Names move on to what has the same generation already.
    pub(super) fn read(&mut self, id: AdapterId, generation: Generation, stamp: Option<Stamp>) {
        let Some(content) = self.contents.get_mut(&id) else { return };
        debug_assert!(content.generation.is_none_or(|known| known == generation), "a content never becomes another");
        (content.generation, content.stamp) = (Some(generation), stamp);
        let first = *self.by_generation.entry(generation).or_insert(id);
        if first == id {
            return;
        }
        let moving: Vec<String> =
            self.names.iter().filter(|(_, named)| named.id == id).map(|(n, _)| n.clone()).collect();
        for name in moving {
            self.name(&name, first);
        }
    }

    /// Says that a content can also be read from here, where it was just found: here it is looked for from now on.
    pub(super) fn found_at(&mut self, id: AdapterId, source: Arc<Source>, stamp: Option<Stamp>) {
        self.by_source.insert(Arc::clone(&source), id);
        if let Some(content) = self.contents.get_mut(&id) {
            let before = std::mem::replace(&mut content.source, Arc::clone(&source));
            content.stamp = stamp;
            if before != source && self.by_source.get(&before) == Some(&id) {
                self.by_source.remove(&before);
            }
        }
    }

    /// One more user of it.
    pub(super) fn reference(&mut self, id: AdapterId) {
        self.contents.get_mut(&id).expect("what is referred to is known").references += 1;
    }

    /// One user fewer.
    pub(super) fn release(&mut self, id: AdapterId) {
        self.contents.get_mut(&id).expect("what is referred to is known").references -= 1;
        self.retire_unused(id);
    }

    /// What nobody can use any more, since this was last asked.
    pub(super) fn take_retired(&mut self) -> Vec<AdapterId> {
        std::mem::take(&mut self.retired)
    }

    fn unname(&mut self, Named { id, pinned }: Named) {
        let content = self.contents.get_mut(&id).expect("a name stands for what is known");
        content.names -= 1;
        content.pins -= usize::from(pinned);
        self.pins_moved |= pinned;
        self.retire_unused(id);
    }

    fn retire_unused(&mut self, id: AdapterId) {
        let content = &self.contents[&id];
        if content.names > 0 || content.references > 0 {
            return;
        }
        let Content { source, generation, .. } = self.contents.remove(&id).expect("it was just looked at");
        if self.by_source.get(&source) == Some(&id) {
            self.by_source.remove(&source);
        }
        if let Some(generation) = generation.filter(|generation| self.by_generation.get(generation) == Some(&id)) {
            self.by_generation.remove(&generation);
        }
        self.retired.push(id);
    }
}
