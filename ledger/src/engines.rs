//! Engines: who may append what next. A gap is refused, a repetition is told where it already lies.

use std::collections::{HashMap, VecDeque};

use loam_ledger_core::Hash;
use loam_ledger_core::entry::{Batch, Boot, Entry, Id16, PreviousBoot, Unrowed};

use crate::error::Error;
use crate::layout::{EnginePosition, LogPlace};

/// Entries of each engine's boot that a repetition is recognised among.
pub(crate) const RECENT_MAX: usize = 16_384;

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

/// Tokens that an entry's rows count.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Rowed {
    pub(crate) prefilled: u64,
    pub(crate) emitted: u64,
}

impl Engines {
    /// Takes an engine's stored position, when a ledger is opened.
    pub(crate) fn restore(&mut self, engine: Id16, position: EnginePosition) {
        self.engines.insert(
            engine,
            Engine {
                position,
                recent: VecDeque::new(),
            },
        );
    }

    /// Takes one of the newest entries, oldest first, when a ledger is opened.
    pub(crate) fn restore_recent(&mut self, entry: &Entry, leaf: Hash, place: LogPlace) {
        let Some(at) = entry.place() else { return };
        if let Some(engine) = self
            .engines
            .get_mut(&at.engine)
            .filter(|engine| engine.position.boot == at.boot)
        {
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
            _ => Err(Error::Chain {
                engine: [0; 16],
                what: "only boots and batches are an engine's",
            }),
        }
    }

    /// Takes an entry that was admitted as the next.
    pub(crate) fn advance(&mut self, engine: Id16, position: EnginePosition, place: LogPlace) {
        let known = self.engines.entry(engine).or_insert_with(|| Engine {
            position,
            recent: VecDeque::new(),
        });
        if known.position.boot != position.boot {
            known.recent.clear();
        }
        known.position = position;
        known.remember(position.leaf, place);
    }

    /// An engine said that it stopped.
    pub(crate) fn stop(&mut self, engine: &Id16) -> Option<&EnginePosition> {
        let engine = self.engines.get_mut(engine)?;
        engine.position.clean = true;
        Some(&engine.position)
    }

    fn admit_boot(&self, boot: &Boot, leaf: Hash) -> Result<Admission, Error> {
        let wrong = |what| {
            Err(Error::Chain {
                engine: boot.engine,
                what,
            })
        };
        if let Some(engine) = self.engines.get(&boot.engine) {
            if engine.position.boot == boot.boot {
                return engine
                    .again(boot.engine, 0, leaf)
                    .unwrap_or(Err(Error::BootAgain { boot: boot.boot }));
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
        let engine = self
            .engines
            .get(&id)
            .filter(|engine| engine.position.boot == batch.place.boot);
        let engine = engine.ok_or(Error::UnknownBoot {
            engine: id,
            boot: batch.place.boot,
        })?;
        let position = &engine.position;
        if sequence <= position.sequence {
            return engine
                .again(id, sequence, leaf)
                .unwrap_or(Err(Error::ReplayTooOld { engine: id, sequence }));
        }
        if position.clean {
            return Err(Error::UnknownBoot {
                engine: id,
                boot: batch.place.boot,
            });
        }
        if sequence != position.sequence + 1 {
            return Err(Error::Gap {
                engine: id,
                expected: position.sequence + 1,
                found: sequence,
            });
        }
        if batch.previous != position.leaf {
            return Err(Error::Chain {
                engine: id,
                what: "it names another entry before it",
            });
        }
        if batch.time_ms < position.time_ms {
            return Err(Error::Chain {
                engine: id,
                what: "time turns back",
            });
        }
        let left = |before: u64, counted: u64, rowed: u64| {
            before
                .checked_add(counted)
                .and_then(|sum| sum.checked_sub(rowed))
                .ok_or(Error::RowsExceedEntries)
        };
        let unrowed_prefilled = left(position.unrowed_prefilled, batch.prefilled_tokens, rowed.prefilled)?;
        let unrowed_emitted = left(position.unrowed_emitted, batch.emitted_tokens, rowed.emitted)?;
        if batch.open_requests == 0 && (unrowed_prefilled, unrowed_emitted) != (0, 0) {
            return Err(Error::TotalsDisagree);
        }
        Ok(Admission::Next(EnginePosition {
            boot: batch.place.boot,
            sequence,
            leaf,
            time_ms: batch.time_ms,
            open_requests: batch.open_requests,
            unrowed_prefilled,
            unrowed_emitted,
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
        Some(if same {
            Ok(Admission::Again(place))
        } else {
            Err(Error::Conflict { engine, sequence })
        })
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
