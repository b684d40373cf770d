//! Which policy was in force at a step: entries say their time, rows say their first step.

use std::collections::BTreeMap;

use crate::cbor::{Decoder, Encoder};
use crate::entry::{Entry, Id16};
use crate::error::Error;
use crate::hash::Hash;
use crate::record::field::Field;
use crate::record::{PolicyChanged, RecordId};
use crate::row::Step;

/// For each boot, from which of its steps on which policy was in force. A few words for each boot and policy, however many
/// entries there are; kept from epoch to epoch, for a request can begin in one and end in the next.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Pace {
    boots: BTreeMap<Id16, Vec<(u64, Option<RecordId>)>>,
}

impl Pace {
    /// Takes the next entry of a usage log, in order.
    pub fn follow(&mut self, policies: &[(RecordId, PolicyChanged)], entry: &Entry) {
        let Some(place) = entry.place() else { return };
        let in_force = policies.iter().rev().find(|(_, policy)| policy.effective_ms <= entry.time_ms());
        let in_force = in_force.map(|(id, _)| *id);
        let changes = self.boots.entry(place.boot).or_default();
        if changes.last().is_none_or(|(_, policy)| *policy != in_force) {
            changes.push((place.sequence, in_force));
        }
    }

    /// The policy in force at a step; `Err` where the step was never followed.
    pub fn at(&self, step: &Step) -> Result<Option<Hash>, UnknownStep> {
        let changes = self.boots.get(&step.boot).ok_or(UnknownStep)?;
        let after = changes.partition_point(|(sequence, _)| *sequence <= step.sequence);
        let (_, policy) = after.checked_sub(1).and_then(|last| changes.get(last)).ok_or(UnknownStep)?;
        Ok(*policy)
    }
}

impl Pace {
    pub(super) fn put(&self, e: &mut Encoder) {
        e.array(self.boots.len());
        for (boot, changes) in &self.boots {
            e.array(2).bytes(boot).array(changes.len());
            for (sequence, policy) in changes {
                policy.put(e.array(2).uint(*sequence));
            }
        }
    }

    pub(super) fn take(d: &mut Decoder<'_>) -> Result<Self, Error> {
        let mut boots = BTreeMap::new();
        for _ in 0..d.array()? {
            d.array_of(2)?;
            let (boot, mut changes) = (d.bytes_of()?, Vec::new());
            for _ in 0..d.array()? {
                d.array_of(2)?;
                changes.push((d.uint()?, Field::take(d)?));
            }
            boots.insert(boot, changes);
        }
        Ok(Self { boots })
    }
}

/// The step lies before what was followed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct UnknownStep;
