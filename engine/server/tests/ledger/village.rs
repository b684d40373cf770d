//! A ledger on disk with an operator and two people, who have datasets before a test begins.

use std::fs;
use std::path::{Path, PathBuf};

use loam_ledger::{Folder, Ledger, Offer, Options, Payload};
use loam_ledger_core::Hash;
use loam_ledger_core::hash::digest;
use loam_ledger_core::record::{
    Access, Act, ActCount, ActKind, AuthorKey, Body, ContributionProposed, DatasetCreated, GrantGiven, GrantRevoked,
    GrantUse, Operation, RecordId, RevisionCommitted, RowContent, apply, operations_root, rows_root, sign_record,
};

use crate::money::told;
use crate::{run, text};

/// People with keys in files, around one ledger.
pub(crate) struct Village {
    pub(crate) top: tempfile::TempDir,
    pub(crate) data: PathBuf,
    /// Files with keys.
    pub(crate) operator: PathBuf,
    pub(crate) ann: PathBuf,
    pub(crate) bob: PathBuf,
}

impl Village {
    pub(crate) fn new() -> Self {
        let top = tempfile::tempdir().expect("a temporary folder");
        let path = |name: &str| top.path().join(name);
        let (data, operator, ann, bob) = (path("data"), path("operator.key"), path("ann.key"), path("bob.key"));
        run(&["init", "--data", text(&data), "--origin", "village.example/loam"]);
        for (file, kind) in [(&operator, "operator"), (&ann, "person"), (&bob, "person")] {
            told(&["id", "new", "--data", text(&data), "--out", text(file), "--kind", kind, "--json"]);
        }
        Self { top, data, operator, ann, bob }
    }

    /// A dataset of Ann's with a row of hers, and a second revision with Bob's correction of it.
    pub(crate) fn dataset(&self, name: &str, access: Access) -> (RecordId, [RecordId; 2]) {
        let writing = self.writing();
        let licence = digest(b"CC-BY-4.0");
        let about = format!("{{\"description\":\"\",\"licence\":\"CC-BY-4.0\",\"name\":\"{name}\"}}");
        let owners = vec![id_of(&self.ann)];
        let dataset = writing.say(&self.ann, Act::DatasetCreated(DatasetCreated { owners, access, licence }), &about);
        let (old, old_says) = row(name, "clay holds water");
        let (new, new_says) = row(name, "clay holds water for weeks");
        let add = Operation { kind: ActKind::Add, from: Vec::new(), to: vec![old] };
        let correct = Operation { kind: ActKind::Correct, from: vec![old], to: vec![new] };
        let first = writing.revision(&self.ann, dataset, None, &add, old_says);
        let second = writing.revision(&self.bob, dataset, Some(first), &correct, new_says);
        writing.ledger.close().expect("it is closed");
        (dataset, [first, second])
    }

    /// Ann's leave for Bob to train on a dataset of hers.
    pub(crate) fn grant(&self, dataset: RecordId) -> RecordId {
        self.once(
            &self.ann,
            Act::GrantGiven(GrantGiven { dataset, grantee: id_of(&self.bob), allows: GrantUse::Train }),
        )
    }

    /// She takes it back.
    pub(crate) fn revoke(&self, grant: RecordId) {
        self.once(&self.ann, Act::GrantRevoked(GrantRevoked { grant }));
    }

    fn once(&self, who: &Path, act: Act) -> RecordId {
        let writing = self.writing();
        let id = writing.say(who, act, "");
        writing.ledger.close().expect("it is closed");
        id
    }

    fn writing(&self) -> Writing<'_> {
        let ledger = Ledger::open(&Folder::new(&self.data, None), Options::default()).expect("the ledger opens");
        Writing { village: self, ledger }
    }
}

/// Somebody's id, from the file with their key.
pub(crate) fn id_of(file: &Path) -> Hash {
    line_of(file, "contributor ")
}

fn line_of(file: &Path, name: &str) -> Hash {
    let written = fs::read_to_string(file).expect("a key");
    let hex = written.lines().find_map(|line| line.strip_prefix(name)).expect("a line");
    Hash::from_hex(hex).expect("64 digits")
}

fn row(id: &str, words: &str) -> (RowContent, Payload) {
    let salt = digest(format!("{id} {words}").as_bytes()).0[..16].try_into().expect("16 of 32 bytes");
    let payload = Payload { salt, bytes: format!("{{\"text\":\"{words}\"}}").into_bytes() };
    (RowContent { row: digest(id.as_bytes()), content: payload.digest() }, payload)
}

/// The ledger while its records are written.
struct Writing<'v> {
    village: &'v Village,
    ledger: Ledger,
}

impl Writing<'_> {
    fn say(&self, who: &Path, act: Act, words: &str) -> RecordId {
        let words = Some(words).filter(|words| !words.is_empty());
        let words = words.map(|words| Payload { salt: [7; 16], bytes: words.as_bytes().to_vec() });
        self.offer(who, act, Vec::new(), Vec::new(), words)
    }

    fn offer(
        &self,
        who: &Path,
        act: Act,
        operations: Vec<Operation>,
        payloads: Vec<Payload>,
        words: Option<Payload>,
    ) -> RecordId {
        let (seed, id) = (line_of(who, "seed ").0, id_of(who));
        let (origin, mut key) = self
            .ledger
            .with_registry(|registry| {
                let found = registry.people().find(&id).expect("they are registered");
                let key = AuthorKey::resumed(&seed, id, found.sequence, found.previous);
                (registry.origin().to_owned(), key)
            })
            .expect("a registry");
        let body = Body { text: words.as_ref().map(Payload::digest), ..Body::by(id, act) };
        let record = sign_record(&origin, 0, body, &mut [&mut key]);
        let offer = Offer { body: record.body, signed: record.signed, operations, payloads, text: words };
        self.ledger.offer(offer).expect("it breaks no rule").id
    }

    /// One operation is offered by somebody, and Ann makes a revision of it.
    fn revision(
        &self,
        who: &Path,
        dataset: RecordId,
        parent: Option<RecordId>,
        operation: &Operation,
        says: Payload,
    ) -> RecordId {
        let operations = vec![operation.clone()];
        let act = ContributionProposed {
            dataset,
            revision: parent,
            operations: operations_root(&operations),
            acts: vec![ActCount { kind: operation.kind, count: 1 }],
            licence: digest(b"CC-BY-4.0"),
        };
        let work = self.offer(who, Act::ContributionProposed(act), operations.clone(), vec![says], None);
        let before = parent.map(|parent| self.ledger.rows_of(&parent).expect("rows"));
        let mut rows = before.map(|rows| (*rows).clone()).unwrap_or_default();
        apply(&mut rows, &operations).expect("it can be applied");
        let commit = RevisionCommitted {
            dataset,
            parents: parent.into_iter().collect(),
            contributions: vec![work],
            operations: operations_root(&operations),
            rows: rows_root(&rows),
        };
        let ann = self.village.ann.clone();
        self.say(&ann, Act::RevisionCommitted(commit), "")
    }
}
