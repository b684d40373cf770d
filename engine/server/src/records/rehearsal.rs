//! Records tried out before they are said, so that what the rules refuse is known while nothing is recorded yet.

use loam_ledger_core::record::{Act, AuthorKey, Body, RecordId, sign_record};
use loam_ledger_core::registry::{Refusal, Registry};

use super::{Pen, policy};

/// A copy of the registry and of the key, which take what is said without anybody hearing it.
pub(super) struct Rehearsal {
    registry: Registry,
    key: AuthorKey,
}

impl Rehearsal {
    pub(super) fn of(pen: &Pen) -> anyhow::Result<Self> {
        Ok(Self { registry: pen.book.registry().clone(), key: pen.file.standing(&*pen.book)? })
    }

    /// Says one thing after the other. What it returns is the record's name among what is rehearsed after it.
    pub(super) fn say(&mut self, act: Act) -> Result<RecordId, Refusal> {
        let time_ms = policy::now_ms().max(self.registry.time_ms());
        let body = Body::by(self.key.contributor(), act);
        let record = sign_record(self.registry.origin(), time_ms, body, &mut [&mut self.key]);
        self.registry.admit(&record, None)
    }
}
