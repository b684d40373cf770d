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

#[derive(Clone, Debug)]
struct Named {
    id: AdapterId,
    /// Where whoever gave the name said that it lies.
    source: Arc<Source>,
    pinned: bool,
}

/// What an id stands for.
#[derive(Clone, Debug)]
pub(super) struct Content {
    /// Where it lies, in the order in which it was found there: at least one. As long as there are names, each place is
    /// some name's, and each name's place is here; so no name suffers from what becomes of another's folder.
    places: Vec<Place>,
    /// None until it is read.
    pub(super) generation: Option<Generation>,
    names: usize,
    pins: usize,
    pub(super) references: usize,
}

/// Where a content can be read.
#[derive(Clone, Debug)]
struct Place {
    source: Arc<Source>,
    /// Of the files it was read from there.
    stamp: Option<Stamp>,
    /// Names that were given to it there.
    names: usize,
}

impl Content {
    /// Where it can be read: where it was found last comes first.
    pub(super) fn sources(&self) -> Vec<Arc<Source>> {
        self.places.iter().rev().map(|place| Arc::clone(&place.source)).collect()
    }

    /// Whether it is looked for there.
    pub(super) fn is_at(&self, source: &Source) -> bool {
        self.places.iter().any(|place| *place.source == *source)
    }

    /// Whether the files there were like that when it was read from them.
    pub(super) fn was_read_from(&self, source: &Source, stamp: &Option<Stamp>) -> bool {
        self.places.iter().any(|place| *place.source == *source && place.stamp == *stamp)
    }

    /// The place of one more name.
    fn settle(&mut self, source: &Arc<Source>) {
        self.names += 1;
        match self.places.iter_mut().find(|place| place.source == *source) {
            Some(place) => place.names += 1,
            None => self.places.push(Place { source: Arc::clone(source), stamp: None, names: 1 }),
        }
    }

    /// One name fewer there.
    fn leave(&mut self, source: &Source) {
        self.names -= 1;
        let place = self.places.iter_mut().find(|place| *place.source == *source);
        place.expect("a name's place is its content's").names -= 1;
    }

    /// Takes away the places that are no name's; without any name, whoever still uses it keeps them all.
    fn take_empty_places(&mut self) -> Vec<Place> {
        if self.names == 0 { Vec::new() } else { self.places.extract_if(.., |place| place.names == 0).collect() }
    }
}

impl Aliases {
    /// What a name stands for, and whether it is pinned.
    pub(super) fn find(&self, name: &str) -> Option<(AdapterId, bool)> {
        self.names.get(name).map(|named| (named.id, named.pinned))
    }

    /// Where what a name stands for lies, as whoever gave the name said.
    pub(super) fn source_of(&self, name: &str) -> Option<Arc<Source>> {
        self.names.get(name).map(|named| Arc::clone(&named.source))
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
        let places = vec![Place { source, stamp: None, names: 0 }];
        let content = Content { places, generation: None, names: 0, pins: 0, references: 0 };
        self.contents.insert(id, content);
        Ok(id)
    }

    /// Lets a name stand for a content from now on, which lies there. What it stood for before is returned, where that was
    /// something else.
    pub(super) fn name(&mut self, name: &str, id: AdapterId, source: &Arc<Source>) -> Option<AdapterId> {
        let pinned = self.names.get(name).is_some_and(|named| named.pinned);
        let before = self.names.insert(name.to_owned(), Named { id, source: Arc::clone(source), pinned });
        let content = self.contents.get_mut(&id).expect("a name is given to what is known");
        content.settle(source);
        content.pins += usize::from(pinned);
        self.by_source.insert(Arc::clone(source), id);
        let before = before.map(|before| {
            let other = before.id;
            self.unname(before);
            other
        });
        self.leave_empty_places(id);
        self.pins_moved |= pinned && before != Some(id);
        before.filter(|before| *before != id)
    }

    /// Takes a name away. What it stood for is returned.
    pub(super) fn remove(&mut self, name: &str) -> Option<AdapterId> {
        let named = self.names.remove(name)?;
        let id = named.id;
        self.pins_moved |= named.pinned;
        self.unname(named);
        Some(id)
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

    /// Says what was read for an id the first time, and where. Names move on to what has the same generation already.
    pub(super) fn read(&mut self, id: AdapterId, generation: Generation, source: &Arc<Source>, stamp: Option<Stamp>) {
        let Some(content) = self.contents.get_mut(&id) else { return };
        debug_assert!(content.generation.is_none_or(|known| known == generation), "a content never becomes another");
        content.generation = Some(generation);
        self.found_at(id, source, stamp);
        let first = *self.by_generation.entry(generation).or_insert(id);
        if first == id {
            return;
        }
        let named = self.names.iter().filter(|(_, named)| named.id == id);
        let moving: Vec<(String, Arc<Source>)> = named.map(|(n, it)| (n.clone(), Arc::clone(&it.source))).collect();
        for (name, place) in moving {
            self.name(&name, first, &place);
        }
        self.found_at(first, source, stamp);
    }

    /// Says that a content was just found at this place of its own: here it is looked for first from now on.
    pub(super) fn found_at(&mut self, id: AdapterId, source: &Arc<Source>, stamp: Option<Stamp>) {
        let Some(content) = self.contents.get_mut(&id) else { return };
        // Its name may have gone meanwhile, and the place with it.
        let Some(at) = content.places.iter().position(|place| place.source == *source) else { return };
        let place = content.places.remove(at);
        content.places.push(Place { stamp, ..place });
        self.by_source.insert(Arc::clone(source), id);
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

    fn unname(&mut self, Named { id, source, pinned }: Named) {
        let content = self.contents.get_mut(&id).expect("a name stands for what is known");
        content.leave(&source);
        content.pins -= usize::from(pinned);
        self.leave_empty_places(id);
        self.retire_unused(id);
    }

    fn leave_empty_places(&mut self, id: AdapterId) {
        let empty = self.contents.get_mut(&id).map(Content::take_empty_places).unwrap_or_default();
        self.forget_places(id, &empty);
    }

    fn forget_places(&mut self, id: AdapterId, places: &[Place]) {
        for place in places {
            if self.by_source.get(&place.source) == Some(&id) {
                self.by_source.remove(&place.source);
            }
        }
    }

    fn retire_unused(&mut self, id: AdapterId) {
        let Some(content) = self.contents.get(&id) else { return };
        if content.names > 0 || content.references > 0 {
            return;
        }
        let Content { places, generation, .. } = self.contents.remove(&id).expect("it was just looked at");
        self.forget_places(id, &places);
        if let Some(generation) = generation.filter(|generation| self.by_generation.get(generation) == Some(&id)) {
            self.by_generation.remove(&generation);
        }
        self.retired.push(id);
    }
}
