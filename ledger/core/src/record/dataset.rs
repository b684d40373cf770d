//! Acts on datasets: rows are added, corrected, reviewed, committed, redacted, and lent.

use crate::hash::Hash;
use crate::record::field::{codes, fields, items};
use crate::record::{ContributorId, Millionths, RecordId};

/// A row's name: it stays while the row's content is corrected.
pub type RowId = Hash;

codes! {
    /// What an operation does to rows.
    ActKind {
        /// Brings rows that were not there.
        Add = 1,
        /// Puts right what a row says.
        Correct = 2,
        /// Changes a row's label.
        Relabel = 3,
        /// Brings a row into a common form.
        Normalise = 4,
        /// Removes copies of a row that stays.
        Dedupe = 5,
        /// Removes a row that does harm.
        RemoveHarmful = 6,
        /// Puts right under which licence a row stands.
        LicenceFix = 7,
        /// Adds to a row.
        Annotate = 8,
        /// Brings a row by which models are tested.
        AddTestCase = 9,
        /// Writes down a decision; touches no row.
        DocumentDecision = 10,
        /// Brings a row in another language beside its original.
        Translate = 11,
        /// Makes several rows of one.
        Split = 12,
        /// Makes one row of several.
        Merge = 13,
    }

    /// Who may train on a dataset.
    Access {
        /// Everybody.
        Open = 1,
        /// Who was given a grant, and its owners.
        ByGrant = 2,
    }

    /// What a reviewer found.
    Verdict {
        /// It should be taken.
        Accept = 1,
        /// It should be taken when something is changed.
        Change = 2,
        /// It should not be taken.
        Reject = 3,
    }

    /// What a grant allows.
    GrantUse {
        /// Training.
        Train = 1,
        /// Evaluation.
        Evaluate = 2,
        /// Retrieval while answering.
        Retrieve = 3,
    }

    /// Why a row can no longer be opened; as in a redaction of usage rows.
    RedactionReason {
        /// The person asked.
        Asked = 1,
        /// Its retention ended.
        Retention = 2,
        /// An authority ordered it.
        Ordered = 3,
        /// None of these.
        Other = 255,
    }
}

items! {
    /// A list that is kept beside the log: the RFC 6962 root over its items, and how many they are.
    ListRoot [
        /// The root.
        root: Hash,
        /// The number of items.
        count: u64,
    ]

    /// How many operations of one kind a contribution has.
    ActCount [
        /// The kind.
        kind: ActKind,
        /// The number; not 0.
        count: u64,
    ]
}

fields! {
    /// A dataset begins. Its id is this record's.
    DatasetCreated {
        /// Who may commit revisions; each is an author of this record.
        owners: Vec<ContributorId>,
        /// Who may train on it.
        access: Access,
        /// The digest of the licence's text.
        licence: Hash,
    }

    /// A dataset gets other owners. All old and all new ones sign.
    OwnersChanged {
        /// Which dataset.
        dataset: RecordId,
        /// Who owns it from now on.
        owners: Vec<ContributorId>,
    }

    /// Work on a dataset's rows, offered to its owners. It is in no revision yet.
    ContributionProposed {
        /// Which dataset.
        dataset: RecordId,
        /// The revision that the operations were made on; none before the first.
        revision: Option<RecordId>,
        /// The operations, in order.
        operations: ListRoot,
        /// How many there are of each kind; ascending.
        acts: Vec<ActCount>,
        /// The digest of the licence's text that the authors give their work under.
        licence: Hash,
    }

    /// Somebody looked at another's work.
    Review {
        /// The contribution, revision, train run or adapter.
        target: RecordId,
        /// What was found.
        verdict: Verdict,
        /// How sure the reviewer is, in millionths.
        probability: Millionths,
    }

    /// Contributions become rows. The revision's id is this record's.
    RevisionCommitted {
        /// Which dataset.
        dataset: RecordId,
        /// What it was made from; rows are those of the first, changed by the operations. None for the first revision.
        parents: Vec<RecordId>,
        /// Whose operations were applied, in this order. None is in the first parent or one before it.
        contributions: Vec<RecordId>,
        /// All their operations, one behind another.
        operations: ListRoot,
        /// The rows that there are now: a sum tree keyed by row id, of amount 1 each.
        rows: ListRoot,
    }

    /// A row can no longer be opened. Roots stay as they are, and so does every proof.
    RowRedacted {
        /// Which dataset.
        dataset: RecordId,
        /// Which row.
        row: RowId,
        /// Why.
        reason: RedactionReason,
    }

    /// Somebody may use a dataset. The grant's id is this record's.
    GrantGiven {
        /// Which dataset.
        dataset: RecordId,
        /// Who may.
        grantee: ContributorId,
        /// What for.
        allows: GrantUse,
    }

    /// A grant ends. What was trained under it must be retrained or retired.
    GrantRevoked {
        /// Which grant.
        grant: RecordId,
    }
}
