//! A small town of people who sign records: whoever is named by a role has a key, a chain and a place in the registry.
#![allow(dead_code, unused_imports, reason = "each test uses the part of the town that it needs")]

mod acts;
mod usage;

use std::collections::BTreeMap;

use loam_ledger_core::Hash;
use loam_ledger_core::entry::{Entry, ShardHead, ShardOpened};
use loam_ledger_core::hash::digest;
use loam_ledger_core::record::{
    Act, Author, AuthorKey, Body, ContributorId, ContributorKind, ContributorRegistered, MILLION, Operation, Record,
    RecordId, Rows, sign_record,
};
use loam_ledger_core::registry::{Lists, Refusal, Registry};

pub(crate) use acts::*;
pub(crate) use usage::*;

pub(crate) const ORIGIN: &str = "loam.test/town/records";

/// When the town begins, in milliseconds since 1970; every record is a second later than the one before it.
pub(crate) const BEGIN_MS: u64 = 1_770_000_000_000;

/// Who runs the ledger.
pub(crate) const OPERATOR: &str = "operator";

pub(crate) struct Town {
    pub(crate) origin: String,
    pub(crate) registry: Registry,
    pub(crate) entries: Vec<Entry>,
    pub(crate) people: BTreeMap<String, AuthorKey>,
    /// How much later than by its entries it is.
    pub(crate) later_ms: u64,
    /// Rows of each revision, and operations of each contribution.
    pub(crate) rows: BTreeMap<RecordId, Rows>,
    pub(crate) operations: BTreeMap<RecordId, Vec<Operation>>,
}

/// Thirty-two bytes that belong to some words.
pub(crate) fn named(words: &str) -> Hash {
    digest(words.as_bytes())
}

impl Town {
    /// An operator and nobody else.
    pub(crate) fn empty(origin: &str) -> Self {
        let mut town = Self {
            origin: origin.to_owned(),
            registry: Registry::new(origin),
            entries: Vec::new(),
            people: BTreeMap::new(),
            later_ms: 0,
            rows: BTreeMap::new(),
            operations: BTreeMap::new(),
        };
        town.register(OPERATOR, ContributorKind::Operator, None).expect("the town keeps the rules");
        town
    }

    /// The operator, and these people.
    pub(crate) fn of(roles: &[&str]) -> Self {
        let mut town = Self::empty(ORIGIN);
        for role in roles {
            town.register(role, ContributorKind::Person, None).expect("the town keeps the rules");
        }
        town
    }

    pub(crate) fn now_ms(&self) -> u64 {
        BEGIN_MS + self.later_ms + 1_000 * self.entries.len() as u64
    }

    pub(crate) fn id(&self, role: &str) -> ContributorId {
        self.people.get(role).unwrap_or_else(|| panic!("nobody is called {role}")).contributor()
    }

    /// Registers whoever is called so, under a key that grows from the name and the log.
    pub(crate) fn register(
        &mut self,
        role: &str,
        kind: ContributorKind,
        heir: Option<ContributorId>,
    ) -> Result<RecordId, Refusal> {
        let key = AuthorKey::from_seed(&named(role).0);
        let act = ContributorRegistered { public_key: key.public_key(), kind, heir };
        self.people.insert(role.to_owned(), key);
        self.say(&[role], Act::ContributorRegistered(act))
    }

    /// A body by these people: the first has what the others' equal parts leave.
    pub(crate) fn body(&self, roles: &[&str], act: Act) -> Body {
        let part = MILLION / u32::try_from(roles.len()).expect("the town keeps the rules");
        let rest = MILLION - part * (u32::try_from(roles.len()).expect("the town keeps the rules") - 1);
        let shares: Vec<(&str, u32)> =
            roles.iter().enumerate().map(|(n, role)| (*role, if n == 0 { rest } else { part })).collect();
        self.shared(&shares, act)
    }

    /// A body by these people, with these shares.
    pub(crate) fn shared(&self, shares: &[(&str, u32)], act: Act) -> Body {
        let authors = shares.iter().map(|(role, share)| Author { contributor: self.id(role), share: *share }).collect();
        Body { authors, ..Body::by(Hash::ZERO, act) }
    }

    /// The record that a body's authors would sign now, their chains left as they are.
    pub(crate) fn signed(&self, body: &Body) -> Record {
        let bytes = body.encode();
        let sign = |author: &Author| {
            let key = self.people.values().find(|key| key.contributor() == author.contributor);
            key.expect("every author lives here").sign(&self.origin, &bytes)
        };
        Record { time_ms: self.now_ms(), body: body.clone(), signed: body.authors.iter().map(sign).collect() }
    }

    /// Signs and records a body.
    pub(crate) fn record(&mut self, body: &Body, lists: Option<Lists<'_>>) -> Result<RecordId, Refusal> {
        let record = self.signed(body);
        self.admit(record, lists)
    }

    /// Records what was signed, and moves its authors' chains on.
    pub(crate) fn admit(&mut self, record: Record, lists: Option<Lists<'_>>) -> Result<RecordId, Refusal> {
        let id = self.registry.admit(&record, lists)?;
        for author in &record.body.authors {
            let key = self.people.values_mut().find(|key| key.contributor() == author.contributor);
            if let Some(key) = key {
                key.moved_on(id);
            }
        }
        self.entries.push(Entry::Record(Box::new(record)));
        Ok(id)
    }

    /// These people say something.
    pub(crate) fn say(&mut self, roles: &[&str], act: Act) -> Result<RecordId, Refusal> {
        let body = self.body(roles, act);
        self.record(&body, None)
    }

    /// An entry of the log's own.
    pub(crate) fn note(&mut self, entry: Entry) {
        self.registry.fold(&entry).expect("the town keeps the rules");
        self.entries.push(entry);
    }

    pub(crate) fn shard_opened(&mut self, shard: u32) {
        let time_ms = self.now_ms();
        self.note(Entry::ShardOpened(ShardOpened { time_ms, shard, public_key: [0; 32] }));
    }

    pub(crate) fn head(&self, shard: u32, size: u64, root: Hash) -> ShardHead {
        ShardHead { time_ms: self.now_ms(), shard, size, root }
    }
}
