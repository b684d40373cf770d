//! Engines: who may append what next. A gap is refused, a repetition is told where it already lies.

use std::collections::{HashMap, VecDeque};

use loam_ledger_core::Hash;
use loam_ledger_core::entry::{Batch, Boot, Entry, Id16, PreviousBoot, Unrowed};

use crate::error::Error;
use crate::layout::{EnginePosition, LogPlace};

/// Entries of each engine's boot that a repetition is recognised among.
pub(crate) const RECENT_MAX: usize = 4096;

/// All engines that ever appended here.
#[derive(Default)]
pub(crate) struct Engines {
    engines: HashMap<Id16, Engine>,
}

pub(crate) struct Engine {
    pub(crate) position: EnginePosition,
    /// The newest entries of the boot, the last one at the back.
    recent: VecDeque<(Hash, LogPlace)>,
}

/// What to do with an entry.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Admission {
    /// It is the engine's next, after which the engine stands here.
    Next(EnginePosition),
    /// It lies here already.
    Again(LogPlace),
}

/// Tokens that rows count, or that entries count and rows do not.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Rowed {
    pub(crate) prefilled: u64,
    pub(crate) emitted: u64,
}

impl Rowed {
    pub(crate) fn plus(self, prefilled: u64, emitted: u64) -> Result<Self, Error> {
        let add = |a: u64, b: u64| a.checked_add(b).ok_or(Error::RowsExceedEntries);
        Ok(Self { prefilled: add(self.prefilled, prefilled)?, emitted: add(self.emitted, emitted)? })
    }

    /// What entries count and rows do not, after an entry of so many tokens whose rows count these.
    pub(crate) fn left(self, prefilled: u64, emitted: u64, rowed: Self, open_requests: u64) -> Result<Self, Error> {
        let all = self.plus(prefilled, emitted)?;
        let take = |a: u64, b: u64| a.checked_sub(b).ok_or(Error::RowsExceedEntries);
        let left =
            Self { prefilled: take(all.prefilled, rowed.prefilled)?, emitted: take(all.emitted, rowed.emitted)? };
        if open_requests == 0 && left != Self::default() { Err(Error::TotalsDisagree) } else { Ok(left) }
    }
}

impl Engines {
    /// Takes an engine's stored position, when a ledger is opened.
    pub(crate) fn restore(&mut self, engine: Id16, position: EnginePosition) {
        self.engines.insert(engine, Engine { position, recent: VecDeque::new() });
    }

    /// Takes one of the newest entries, oldest first, when a ledger is opened.
    pub(crate) fn restore_recent(&mut self, entry: &Entry, leaf: Hash, place: LogPlace) {
        let Some(at) = entry.place() else { return };
        if let Some(engine) = self.engines.get_mut(&at.engine).filter(|engine| engine.position.boot == at.boot) {
            engine.remember(leaf, place);
        }
    }

    pub(crate) fn position(&self, engine: &Id16) -> Option<&EnginePosition> {
        self.engines.get(engine).map(|engine| &engine.position)
    }

    /// Decides on an entry without taking it.
    pub(crate) fn admit(&self, entry: &Entry, leaf: Hash, rowed: Rowed) -> Result<Admission, Error> {
        match entry {
            Entry::Boot(boot) => self.admit_boot(boot, leaf),
            Entry::Batch(batch) => self.admit_batch(batch, leaf, rowed),
            _ => Err(Error::Chain { engine: [0; 16], what: "only boots and batches are an engine's" }),
        }
    }

    /// Takes an entry that was admitted as the next.
    pub(crate) fn advance(&mut self, engine: Id16, position: EnginePosition, place: LogPlace) {
        let known = self.engines.entry(engine).or_insert_with(|| Engine { position, recent: VecDeque::new() });
        if known.position.boot != position.boot {
            known.recent.clear();
        }
        known.position = position;
        known.remember(position.leaf, place);
    }

    /// A boot of an engine said that it stopped. Refused where another one runs by now, for which it cannot speak.
    pub(crate) fn stop(&mut self, engine: &Id16, boot: &Id16) -> Result<&EnginePosition, Error> {
        let known = self.engines.get_mut(engine).filter(|known| known.position.boot == *boot);
        let known = known.ok_or(Error::UnknownBoot { engine: *engine, boot: *boot })?;
        known.position.clean = true;
        Ok(&known.position)
    }

    fn admit_boot(&self, boot: &Boot, leaf: Hash) -> Result<Admission, Error> {
        let wrong = |what| Err(Error::Chain { engine: boot.engine, what });
        if let Some(engine) = self.engines.get(&boot.engine) {
            if engine.position.boot == boot.boot {
                return engine.again(boot.engine, 0, leaf).unwrap_or(Err(Error::BootAgain { boot: boot.boot }));
            }
            if boot.time_ms < engine.position.time_ms {
                return wrong("time turns back");
            }
        }
        let known = self.position(&boot.engine).map(EnginePosition::as_previous);
        if boot.previous != known {
            return wrong("the boot before it ended otherwise");
        }
        Ok(Admission::Next(EnginePosition {
            boot: boot.boot,
            sequence: 0,
            leaf,
            time_ms: boot.time_ms,
            open_requests: 0,
            unrowed_prefilled: 0,
            unrowed_emitted: 0,
            clean: false,
        }))
    }

    fn admit_batch(&self, batch: &Batch, leaf: Hash, rowed: Rowed) -> Result<Admission, Error> {
        let (id, sequence) = (batch.place.engine, batch.place.sequence);
        let engine = self.engines.get(&id).filter(|engine| engine.position.boot == batch.place.boot);
        let engine = engine.ok_or(Error::UnknownBoot { engine: id, boot: batch.place.boot })?;
        let position = &engine.position;
        if sequence <= position.sequence {
            return engine.again(id, sequence, leaf).unwrap_or(Err(Error::ReplayTooOld { engine: id, sequence }));
        }
        if position.clean {
            return Err(Error::UnknownBoot { engine: id, boot: batch.place.boot });
        }
        if sequence != position.sequence + 1 {
            return Err(Error::Gap { engine: id, expected: position.sequence + 1, found: sequence });
        }
        if batch.previous != position.leaf {
            return Err(Error::Chain { engine: id, what: "it names another entry before it" });
        }
        if batch.time_ms < position.time_ms {
            return Err(Error::Chain { engine: id, what: "time turns back" });
        }
        let before = Rowed { prefilled: position.unrowed_prefilled, emitted: position.unrowed_emitted };
        let left = before.left(batch.prefilled_tokens, batch.emitted_tokens, rowed, batch.open_requests)?;
        Ok(Admission::Next(EnginePosition {
            boot: batch.place.boot,
            sequence,
            leaf,
            time_ms: batch.time_ms,
            open_requests: batch.open_requests,
            unrowed_prefilled: left.prefilled,
            unrowed_emitted: left.emitted,
            clean: false,
        }))
    }
}

impl Engine {
    fn remember(&mut self, leaf: Hash, place: LogPlace) {
        if self.recent.len() == RECENT_MAX {
            self.recent.pop_front();
        }
        self.recent.push_back((leaf, place));
    }

    /// Where the entry of this sequence lies, if it is the same one; nothing where it is too long ago to say.
    fn again(&self, engine: Id16, sequence: u64, leaf: Hash) -> Option<Result<Admission, Error>> {
        let behind = usize::try_from(self.position.sequence.checked_sub(sequence)?).ok()?;
        let at = self.recent.len().checked_sub(behind + 1)?;
        let (known, place) = self.recent[at];
        let same = known == leaf;
        Some(if same { Ok(Admission::Again(place)) } else { Err(Error::Conflict { engine, sequence }) })
    }
}

impl EnginePosition {
    /// What the engine's next boot must say of this one.
    pub(crate) fn as_previous(&self) -> PreviousBoot {
        PreviousBoot {
            boot: self.boot,
            sequence: self.sequence,
            leaf: self.leaf,
            clean: self.clean && self.open_requests == 0,
            unrowed: Unrowed {
                requests: self.open_requests,
                prefilled_tokens: self.unrowed_prefilled,
                emitted_tokens: self.unrowed_emitted,
            },
        }
    }
}

#[cfg(test)]
mod tests {
    use loam_ledger_core::entry::Place;
    use loam_ledger_core::hash::leaf_hash;

    use super::*;

    const ENGINE: Id16 = [1; 16];
    const BOOT: Id16 = [2; 16];

    fn boot() -> Entry {
        let digest = Hash::ZERO;
        let (base, build, config) = (digest, digest, digest);
        Entry::Boot(Boot { engine: ENGINE, boot: BOOT, previous: None, time_ms: 5, base, build, config })
    }

    fn batch(sequence: u64, previous: &Entry, time_ms: u64) -> Entry {
        Entry::Batch(Batch {
            place: Place { engine: ENGINE, boot: BOOT, sequence },
            previous: leaf(previous),
            time_ms,
            base: Hash::ZERO,
            build: Hash::ZERO,
            prefilled_tokens: 0,
            emitted_tokens: 0,
            row_count: 0,
            rows_root: Hash::EMPTY_TREE,
            open_requests: 0,
        })
    }

    fn leaf(entry: &Entry) -> Hash {
        leaf_hash(&entry.encode())
    }

    fn admit(engines: &Engines, entry: &Entry) -> Result<Admission, Error> {
        engines.admit(entry, leaf(entry), Rowed::default())
    }

    fn take(engines: &mut Engines, entry: &Entry, index: u64) {
        let Ok(Admission::Next(position)) = admit(engines, entry) else { panic!("it is the next") };
        engines.advance(ENGINE, position, LogPlace { log: 1, index });
    }

    /// An engine that booted and ran as many steps as asked for.
    fn running(steps: u64) -> (Engines, Vec<Entry>) {
        let (mut engines, mut entries) = (Engines::default(), vec![boot()]);
        for sequence in 1..=steps {
            entries.push(batch(sequence, &entries[entries.len() - 1], 5 + sequence));
        }
        for (index, entry) in (0u64..).zip(&entries) {
            take(&mut engines, entry, index);
        }
        (engines, entries)
    }

    #[test]
    fn another_entry_of_the_same_number_is_a_conflict() {
        let (engines, entries) = running(3);
        assert_eq!(admit(&engines, &entries[2]), Ok(Admission::Again(LogPlace { log: 1, index: 2 })));
        let other = batch(2, &entries[1], 1000);
        assert_eq!(admit(&engines, &other), Err(Error::Conflict { engine: ENGINE, sequence: 2 }));
        let Entry::Boot(mut again) = boot() else { unreachable!("it is a boot") };
        again.config = Hash([9; 32]);
        let again = admit(&engines, &Entry::Boot(again));
        assert_eq!(again, Err(Error::Conflict { engine: ENGINE, sequence: 0 }));
    }

    #[test]
    fn the_recent_past_ends_somewhere() {
        let (engines, entries) = running(RECENT_MAX as u64 + 1);
        assert_eq!(admit(&engines, &entries[1]), Err(Error::ReplayTooOld { engine: ENGINE, sequence: 1 }));
        assert!(matches!(admit(&engines, &entries[2]), Ok(Admission::Again(_))));
        assert_eq!(admit(&engines, &entries[0]), Err(Error::BootAgain { boot: BOOT }));
    }

    #[test]
    fn a_chain_neither_forks_nor_turns_back() {
        let (engines, entries) = running(2);
        let wrong = |what| Err(Error::Chain { engine: ENGINE, what });
        assert_eq!(admit(&engines, &batch(3, &entries[1], 100)), wrong("it names another entry before it"));
        assert_eq!(admit(&engines, &batch(3, &entries[2], 6)), wrong("time turns back"));
        let gap = Err(Error::Gap { engine: ENGINE, expected: 3, found: 4 });
        assert_eq!(admit(&engines, &batch(4, &entries[2], 100)), gap);
        let Entry::Boot(mut next) = boot() else { unreachable!("it is a boot") };
        next.boot = [3; 16];
        next.time_ms = 1000;
        assert_eq!(admit(&engines, &Entry::Boot(next)), wrong("the boot before it ended otherwise"));
    }
}
