//! Engines' chains: each engine's entries follow one another without gap, repetition or turn back in time.

use std::collections::{BTreeSet, HashMap};

use crate::audit::report::{Class, Failure, fault};
use crate::entry::{Batch, Boot, Entry, Id16, Place, Unrowed};
use crate::hash::Hash;
use crate::text::hex_encode;

/// Where every engine stands, from one entry to the next and from one shard to the next.
#[derive(Default)]
pub(super) struct Chains {
    engines: HashMap<Id16, Engine>,
    /// The logs before this one were read too, so an engine that is met for the first time must be at its first boot.
    pub(super) from_the_beginning: bool,
}

/// Where one engine stands.
pub(super) struct Engine {
    pub(super) place: Place,
    leaf: Hash,
    time_ms: u64,
    /// What the last entry said of requests with tokens not yet in a row.
    pub(super) open_requests: u64,
    /// What the boot's entries count, and what their rows do; see `rows`.
    pub(super) counted: Counts,
    pub(super) rowed: Counts,
    /// Some rows of this boot cannot be seen, so what is rowed is a lower bound.
    pub(super) rows_unseen: bool,
    /// The first sequence of this boot that the audit saw; 0 unless the export begins in the middle of a boot.
    pub(super) first_seen: u64,
    boots: BTreeSet<Id16>,
}

/// Tokens by the two kinds that entries count.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Counts {
    pub(super) prefilled: u128,
    pub(super) emitted: u128,
}

/// What following an entry found.
pub(super) enum Followed<'a> {
    /// The engine's previous boot ended here; this is what it left.
    Boot(&'a Boot, Option<Engine>),
    /// A batch of the boot that is running.
    Batch(&'a Batch),
    /// Not an entry of a usage log.
    Other,
}

impl Chains {
    pub(super) fn engine(&mut self, id: &Id16) -> &mut Engine {
        self.engines.get_mut(id).expect("an engine is followed before its rows are read")
    }

    /// Engines that were met.
    pub(super) fn count(&self) -> u64 {
        self.engines.len() as u64
    }

    /// Takes the next entry of a usage log.
    pub(super) fn follow<'e>(&mut self, index: u64, entry: &'e Entry, leaf: Hash) -> Result<Followed<'e>, Failure> {
        let wrong = |why: String| fault(Class::Sequence, format_args!("entry {index}"), why);
        match entry {
            Entry::Boot(boot) => self.follow_boot(boot, leaf).map(|old| Followed::Boot(boot, old)).map_err(wrong),
            Entry::Batch(batch) => self.follow_batch(batch, leaf).map(|()| Followed::Batch(batch)).map_err(wrong),
            _ => Ok(Followed::Other),
        }
    }

    fn follow_boot(&mut self, boot: &Boot, leaf: Hash) -> Result<Option<Engine>, String> {
        let name = hex_encode(&boot.engine);
        let mut old = self.engines.remove(&boot.engine);
        match (&old, &boot.previous) {
            (None, None) => {}
            (None, Some(_)) if !self.from_the_beginning => {}
            (None, Some(_)) => return Err(format!("engine {name} boots after a boot that is not in the log")),
            (Some(_), None) => return Err(format!("engine {name} boots as if it never had")),
            (Some(engine), Some(previous)) => {
                if (previous.boot, previous.sequence) != (engine.place.boot, engine.place.sequence) {
                    return Err(format!(
                        "engine {name} boots after sequence {} of boot {}, but stands at {} of {}",
                        previous.sequence,
                        hex_encode(&previous.boot),
                        engine.place.sequence,
                        hex_encode(&engine.place.boot)
                    ));
                }
                if previous.leaf != engine.leaf {
                    return Err(format!("engine {name} boots after another entry than its last"));
                }
                if previous.unrowed.requests != engine.open_requests {
                    return Err(format!("engine {name} forgets requests that its previous boot left open"));
                }
                if previous.clean && previous.unrowed != Unrowed::default() {
                    return Err(format!("engine {name} calls a boot clean that left tokens without rows"));
                }
                if boot.time_ms < engine.time_ms {
                    return Err(format!("engine {name} turns back in time"));
                }
                if engine.boots.contains(&boot.boot) {
                    return Err(format!("engine {name} uses boot id {} again", hex_encode(&boot.boot)));
                }
            }
        }
        let mut boots = old.as_mut().map(|engine| core::mem::take(&mut engine.boots)).unwrap_or_default();
        boots.insert(boot.boot);
        let place = Place { engine: boot.engine, boot: boot.boot, sequence: 0 };
        self.engines.insert(boot.engine, Engine { boots, ..Engine::at(place, leaf, boot.time_ms) });
        Ok(old)
    }

    fn follow_batch(&mut self, batch: &Batch, leaf: Hash) -> Result<(), String> {
        let place = batch.place;
        let name = || hex_encode(&place.engine);
        let Some(engine) = self.engines.get_mut(&place.engine) else {
            if self.from_the_beginning {
                return Err(format!("engine {} runs without a boot entry", name()));
            }
            let engine =
                Engine { first_seen: place.sequence, rows_unseen: true, ..Engine::at(place, leaf, batch.time_ms) };
            self.engines.insert(place.engine, engine);
            self.engine(&place.engine).count(batch, leaf);
            return Ok(());
        };
        if place.boot != engine.place.boot {
            return Err(format!("engine {} runs as boot {} without a boot entry", name(), hex_encode(&place.boot)));
        }
        if engine.place.sequence.checked_add(1) != Some(place.sequence) {
            return Err(format!(
                "engine {} goes from sequence {} to {}",
                name(),
                engine.place.sequence,
                place.sequence
            ));
        }
        if batch.previous != engine.leaf {
            return Err(format!("engine {} follows another entry than its last", name()));
        }
        if batch.time_ms < engine.time_ms {
            return Err(format!("engine {} turns back in time", name()));
        }
        engine.count(batch, leaf);
        Ok(())
    }
}

impl Engine {
    fn at(place: Place, leaf: Hash, time_ms: u64) -> Self {
        Self {
            place,
            leaf,
            time_ms,
            open_requests: 0,
            counted: Counts::default(),
            rowed: Counts::default(),
            rows_unseen: false,
            first_seen: 0,
            boots: BTreeSet::from([place.boot]),
        }
    }

    fn count(&mut self, batch: &Batch, leaf: Hash) {
        (self.place, self.leaf, self.time_ms) = (batch.place, leaf, batch.time_ms);
        self.open_requests = batch.open_requests;
        // 2^64 entries of 2^64 tokens fit.
        self.counted.prefilled += u128::from(batch.prefilled_tokens);
        self.counted.emitted += u128::from(batch.emitted_tokens);
    }
}
