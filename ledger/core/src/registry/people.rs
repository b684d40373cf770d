//! Contributors: their keys, the chain that each of them signs, and who took whose place.

use std::collections::BTreeMap;

use crate::hash::Hash;
use crate::record::{
    Act, Body, ContributorId, ContributorKind, ContributorRegistered, KeyId, KeyRotated, Record, RecordId, Signed,
    Succession, is_signed, key_id, message, rotation_message,
};
use crate::registry::refusal::Refusal;

/// Who signs, and where each of them stands.
#[derive(Clone, Debug, Default)]
pub struct People {
    contributors: BTreeMap<ContributorId, Contributor>,
    /// Every key that was ever signed with, and whose it is.
    keys: BTreeMap<KeyId, ContributorId>,
    operator: Option<ContributorId>,
}

/// Somebody who signs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Contributor {
    /// What stands behind them.
    pub kind: ContributorKind,
    /// The key they sign with.
    pub public_key: [u8; 32],
    /// Who may take their place.
    pub heir: Option<ContributorId>,
    /// Who took it.
    pub succeeded_by: Option<ContributorId>,
    /// How many records they signed.
    pub sequence: u64,
    /// The last of them.
    pub previous: RecordId,
}

impl People {
    /// One contributor.
    pub fn find(&self, id: &ContributorId) -> Option<&Contributor> {
        self.contributors.get(id)
    }

    /// All of them, in the order of their ids.
    pub fn all(&self) -> impl Iterator<Item = (&ContributorId, &Contributor)> {
        self.contributors.iter()
    }

    /// Who runs the ledger.
    pub fn operator(&self) -> Option<ContributorId> {
        self.operator
    }

    /// Who stands in this contributor's place today: an heir, an heir's heir, or they themselves.
    pub fn standing(&self, id: &ContributorId) -> ContributorId {
        let mut stands = *id;
        // A chain ends: whoever takes a place has not lost their own, and whoever lost it takes none.
        while let Some(next) = self.contributors.get(&stands).and_then(|it| it.succeeded_by) {
            stands = next;
        }
        stands
    }

    /// Whether all of some people, or who stands in their places, are among these.
    pub(super) fn all_among<'a>(
        &self,
        some: impl IntoIterator<Item = &'a ContributorId>,
        these: &[ContributorId],
    ) -> bool {
        some.into_iter().all(|one| self.is_among(one, these))
    }

    /// Whether somebody, or who stands in their place, is among these.
    pub(crate) fn is_among(&self, one: &ContributorId, these: &[ContributorId]) -> bool {
        let stands = self.standing(one);
        these.iter().any(|other| self.standing(other) == stands)
    }

    pub(super) fn is_known(&self, id: &ContributorId) -> Result<(), Refusal> {
        if self.contributors.contains_key(id) { Ok(()) } else { Err(Refusal::UnknownAuthor(*id)) }
    }

    /// Checks that every author signed for this log and for the next place in their chain.
    pub(super) fn check_authors(&self, origin: &str, record: &Record) -> Result<(), Refusal> {
        let bytes = record.body.encode();
        if let Act::ContributorRegistered(act) = &record.body.act {
            return self.check_first(origin, &record.body, act, &record.signed[0], &bytes);
        }
        for (author, signed) in record.body.authors.iter().zip(&record.signed) {
            let id = author.contributor;
            let known = self.contributors.get(&id).ok_or(Refusal::UnknownAuthor(id))?;
            if known.succeeded_by.is_some() {
                return Err(Refusal::Succeeded(id));
            }
            if signed.key != key_id(&known.public_key) {
                let was = self.keys.get(&signed.key) == Some(&id);
                return Err(if was { Refusal::KeyRetired(id) } else { Refusal::WrongKey(id) });
            }
            let (expected, found) = (known.sequence, signed.sequence);
            match found.cmp(&expected) {
                core::cmp::Ordering::Less => return Err(Refusal::Replayed { author: id, expected, found }),
                core::cmp::Ordering::Greater => return Err(Refusal::SequenceGap { author: id, expected, found }),
                core::cmp::Ordering::Equal if signed.previous != known.previous => {
                    return Err(Refusal::PreviousRecord(id));
                }
                core::cmp::Ordering::Equal => {}
            }
            check_signature(origin, &id, &known.public_key, signed, &bytes)?;
        }
        self.check_attested(&record.body)
    }

    fn check_first(
        &self,
        origin: &str,
        body: &Body,
        act: &ContributorRegistered,
        signed: &Signed,
        bytes: &[u8],
    ) -> Result<(), Refusal> {
        let id = key_id(&act.public_key);
        if body.authors.len() != 1 || body.authors[0].contributor != id || signed.key != id {
            return Err(Refusal::ContributorId);
        }
        // A key that somebody rotated to is theirs, and begins no second person.
        if self.keys.contains_key(&id) {
            return Err(Refusal::RegisteredAlready(id));
        }
        if body.attested_for.is_some() {
            return Err(Refusal::Attested);
        }
        match (act.kind == ContributorKind::Operator, self.operator) {
            (false, None) => return Err(Refusal::NoOperator),
            (true, Some(_)) => return Err(Refusal::SecondOperator),
            _ => {}
        }
        if signed.sequence != 0 {
            return Err(Refusal::SequenceGap { author: id, expected: 0, found: signed.sequence });
        }
        if signed.previous != Hash::ZERO {
            return Err(Refusal::PreviousRecord(id));
        }
        check_signature(origin, &id, &act.public_key, signed, bytes)
    }

    /// What the operator says for somebody else is marked so, and is limited to what gives nobody a right.
    fn check_attested(&self, body: &Body) -> Result<(), Refusal> {
        let Some(whom) = body.attested_for else { return Ok(()) };
        let offered =
            matches!(body.act, Act::ContributionProposed(_) | Act::Review(_) | Act::ClaimMade(_) | Act::AgentActed(_));
        let by_operator = body.authors.len() == 1 && Some(body.authors[0].contributor) == self.operator;
        if offered && by_operator && Some(whom) != self.operator { Ok(()) } else { Err(Refusal::Attested) }
    }

    pub(super) fn register(&mut self, act: &ContributorRegistered) {
        let id = key_id(&act.public_key);
        if act.kind == ContributorKind::Operator {
            self.operator = Some(id);
        }
        self.keys.insert(id, id);
        let contributor = Contributor {
            kind: act.kind,
            public_key: act.public_key,
            heir: act.heir,
            succeeded_by: None,
            sequence: 0,
            previous: Hash::ZERO,
        };
        self.contributors.insert(id, contributor);
    }

    pub(super) fn rotate(&mut self, origin: &str, authors: &[ContributorId], act: &KeyRotated) -> Result<(), Refusal> {
        let [id] = *authors else { return Err(Refusal::ContributorId) };
        let new = key_id(&act.public_key);
        let proven = is_signed(&act.public_key, &rotation_message(origin, &id, &act.public_key), &act.proof);
        if !proven || self.keys.contains_key(&new) {
            return Err(Refusal::NewKey);
        }
        self.keys.insert(new, id);
        let contributor = self.contributors.get_mut(&id).expect("its authors were checked");
        (contributor.public_key, contributor.heir) = (act.public_key, act.heir);
        Ok(())
    }

    /// An heir takes a place; the operator's place cannot be taken so: whoever runs the ledger rotates its key.
    pub(super) fn succeed(&mut self, authors: &[ContributorId], act: &Succession) -> Result<(), Refusal> {
        let [heir] = *authors else { return Err(Refusal::ContributorId) };
        let operator = self.operator;
        let of = self.contributors.get_mut(&act.of).ok_or(Refusal::UnknownAuthor(act.of))?;
        if of.succeeded_by.is_some() {
            return Err(Refusal::DoneAlready);
        }
        if of.heir != Some(heir) || heir == act.of || operator == Some(act.of) {
            return Err(Refusal::NotHeir(act.of));
        }
        of.succeeded_by = Some(heir);
        Ok(())
    }

    /// Every author's chain has one record more.
    pub(super) fn advance(&mut self, authors: &[ContributorId], record: RecordId) {
        for author in authors {
            let contributor = self.contributors.get_mut(author).expect("its authors were checked");
            // 2^64 records by one person do not happen.
            contributor.sequence = contributor.sequence.saturating_add(1);
            contributor.previous = record;
        }
    }
}

fn check_signature(
    origin: &str,
    id: &ContributorId,
    public_key: &[u8; 32],
    signed: &Signed,
    body: &[u8],
) -> Result<(), Refusal> {
    let message = message(origin, &signed.key, signed.sequence, &signed.previous, body);
    if is_signed(public_key, &message, &signed.signature) { Ok(()) } else { Err(Refusal::Signature(*id)) }
}
