//! An operator who cheats. The data folder is theirs, with the keys of all logs, and so is the program: this one puts
//! another close in the place of the one that was drafted, with statements that fit it, and signs it like any other.

use std::fs;
use std::path::Path;
use std::sync::{Arc, Mutex};

use loam_ledger::home::{Access, Home, Plain};
use loam_ledger::store::{Batch, Pair, PlainFile, Space, Store, Visit};
use loam_ledger::{EpochDraft, Error, Folder, Keys, Ledger, Offer, Options, RowScope};
use loam_ledger_core::Hash;
use loam_ledger_core::division::epoch_seed;
use loam_ledger_core::entry::Entry;
use loam_ledger_core::epoch::{Account, Accounts, Carried, RowPlace, Settled, Settlement, Statement};
use loam_ledger_core::granted::GrantedRow;
use loam_ledger_core::hash::digest;
use loam_ledger_core::origin::LogId;
use loam_ledger_core::record::{Act, AuthorKey, Body, ContributorId, EpochClosed, RecordId, sign_record};
use loam_ledger_core::registry::{Registry, commitment};
use loam_ledger_core::row::Row;
use loam_ledger_core::sum_tree::SumProof;

/// What an epoch is closed with: the record, and the statements that are kept with it.
pub(crate) struct Forged {
    act: EpochClosed,
    accounts: Accounts,
    /// Where a search for the answer that is left out ends, in the tree over those that are not.
    absence: Option<SumProof>,
}

/// Divides an epoch anew, and leaves one answer out of it.
pub(crate) fn without(ledger: &Ledger, draft: &EpochDraft, left_out: &RowPlace) -> Forged {
    let registry = ledger.with_registry(Registry::clone).unwrap();
    let [covered] = &draft.act.covered[..] else { panic!("there is one shard") };
    let log = LogId::Usage(covered.shard);
    let seed = epoch_seed(&draft.act.seed, &covered.root);
    let mut settlement = Settlement::new(&registry, seed, Carried::default()).seeking(left_out);
    for index in covered.from..covered.to {
        settlement.entry(&Entry::decode(&ledger.entry(log, index).unwrap()).unwrap());
        let rows = ledger.rows(log, index, &RowScope::Settlement).unwrap().unwrap_or_default();
        for (row, granted) in (0..).zip(&rows) {
            let place = RowPlace { shard: covered.shard, index, row };
            let GrantedRow::Open { row, .. } = granted else { panic!("nothing was erased") };
            match Row::decode(row).unwrap() {
                Row::Completion(row) if place != *left_out => settlement.completion(place, &granted.leaf(), &row),
                _ => {}
            }
        }
    }
    let Settled { accounts, usage, usage_proof: absence, payouts, lanes, totals, .. } = settlement.finish();
    Forged { act: EpochClosed { usage, payouts, lanes, totals, ..draft.act.clone() }, accounts, absence }
}

/// Takes a unit from somebody, and gives it to somebody else.
pub(crate) fn moving_a_unit(draft: &EpochDraft, from: &ContributorId, to: &ContributorId) -> Forged {
    let bent = |(account, statement): (&Account, &Statement)| {
        let statement = match account {
            Account::Contributor(id) if id == from => changed(statement, -1),
            Account::Contributor(id) if id == to => changed(statement, 1),
            _ => statement.clone(),
        };
        (*account, statement)
    };
    let accounts: Accounts = draft.settled.accounts.all().map(bent).collect();
    let payouts = accounts.tree(None).0;
    assert_eq!(payouts.sum, draft.act.payouts.sum);
    assert_ne!(payouts.hash, draft.act.payouts.hash);
    Forged { act: EpochClosed { payouts, ..draft.act.clone() }, accounts, absence: None }
}

/// A statement whose last line is of another amount: its bytes end with the amount's.
fn changed(statement: &Statement, by: i8) -> Statement {
    let mut bytes = statement.encode();
    let last = bytes.last_mut().unwrap();
    *last = last.checked_add_signed(by).unwrap();
    let changed = Statement::decode(&bytes).unwrap();
    assert_eq!(changed.sum_nano(), statement.sum_nano().checked_add_signed(by.into()).unwrap());
    changed
}

/// Closes the first epoch of a ledger as the operator likes it. The record, and what the operator can show of an answer
/// that is left out.
pub(crate) fn close(
    data: &Path,
    operator: &Path,
    forge: impl FnOnce(&Ledger, &EpochDraft) -> Forged,
) -> (RecordId, Option<SumProof>) {
    let forged = Arc::default();
    let home = Cheat { folder: Folder::new(data, None), forged: Arc::clone(&forged) };
    let ledger = Ledger::open(&home, Options { reserve_bytes: 1 << 20, ..Options::default() }).unwrap();
    let draft = ledger.draft_epoch(Hash::ZERO, commitment(&digest(b"the second epoch's"))).unwrap();
    let what = forge(&ledger, &draft);
    let (act, absence) = (Act::EpochClosed(what.act.clone()), what.absence.clone());
    *forged.lock().unwrap() = Some(what);
    let (origin, mut key) = ledger.with_registry(|registry| standing(registry, operator)).unwrap();
    let record = sign_record(&origin, 0, Body::by(key.contributor(), act), &mut [&mut key]);
    let (operations, payloads) = Default::default();
    let offer = Offer { body: record.body, signed: record.signed, operations, payloads, text: None };
    let closed = ledger.offer(offer).unwrap();
    ledger.close().unwrap();
    (closed.id, absence)
}

/// The log's name, and the key in somebody's file at its place in the log.
fn standing(registry: &Registry, file: &Path) -> (String, AuthorKey) {
    let text = fs::read_to_string(file).unwrap();
    let value = |name: &str| Hash::from_hex(text.lines().find_map(|line| line.strip_prefix(name)).unwrap()).unwrap();
    let (seed, id) = (value("seed ").0, value("contributor "));
    let found = registry.people().find(&id).unwrap();
    (registry.origin().to_owned(), AuthorKey::resumed(&seed, id, found.sequence, found.previous))
}

/// The operator's folder, as their program sees it.
struct Cheat {
    folder: Folder,
    forged: Arc<Mutex<Option<Forged>>>,
}

struct CheatStore {
    store: Arc<dyn Store>,
    forged: Arc<Mutex<Option<Forged>>>,
}

impl Home for Cheat {
    fn begin(&self) -> Result<Box<dyn Send>, Error> {
        self.folder.begin()
    }

    fn finish(&self) -> Result<(), Error> {
        self.folder.finish()
    }

    fn store(&self, access: Access) -> Result<Arc<dyn Store>, Error> {
        Ok(Arc::new(CheatStore { store: self.folder.store(access)?, forged: Arc::clone(&self.forged) }))
    }

    fn file(&self, which: Plain, access: Access) -> Result<Option<Box<dyn PlainFile>>, Error> {
        self.folder.file(which, access)
    }

    fn keys(&self) -> Arc<dyn Keys> {
        self.folder.keys()
    }
}

impl Store for CheatStore {
    /// Statements are kept as an epoch's number and an account, behind a letter: those that were drafted make room.
    fn commit(&self, mut batch: Batch) -> Result<(), Error> {
        if let Some(Forged { act, accounts, .. }) = &*self.forged.lock().unwrap() {
            let prefix = [b"a", &act.epoch.to_be_bytes()[..]].concat();
            let all = batch.puts.len();
            batch.puts.retain(|(space, key, _)| *space != Space::Epoch || !key.starts_with(&prefix));
            if batch.puts.len() < all {
                for (account, statement) in accounts.all() {
                    batch.put(Space::Epoch, [&prefix[..], &account.encode()].concat(), statement.encode());
                }
            }
        }
        self.store.commit(batch)
    }

    /// The draft is known by a digest, behind its stage and its epoch: that of the forged close is told.
    fn value(&self, space: Space, key: &[u8]) -> Result<Option<Vec<u8>>, Error> {
        let mut value = self.store.value(space, key)?;
        if let (Space::Epoch, b"draft", Some(bytes), Some(Forged { act, .. })) =
            (space, key, &mut value, &*self.forged.lock().unwrap())
        {
            let body = Body::by(Hash::ZERO, Act::EpochClosed(act.clone()));
            bytes[12..44].copy_from_slice(&digest(&body.encode()).0);
        }
        Ok(value)
    }

    fn scan(&self, space: Space, first: &[u8], end: &[u8], visit: &mut Visit<'_>) -> Result<(), Error> {
        self.store.scan(space, first, end, visit)
    }

    fn last(&self, space: Space, first: &[u8], last: &[u8]) -> Result<Option<Pair>, Error> {
        self.store.last(space, first, last)
    }

    fn free_bytes(&self) -> Result<u64, Error> {
        self.store.free_bytes()
    }

    fn snapshot(&self, folder: &Path) -> Result<(), Error> {
        self.store.snapshot(folder)
    }
}
