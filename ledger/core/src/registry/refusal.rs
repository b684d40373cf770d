//! Why a record is refused before it is appended, and void where it is found in a log: one name for each rule.

use thiserror::Error as ThisError;

use crate::error::Error;
use crate::hash::Hash;
use crate::record::OperationFault;

/// The rule that a record breaks.
#[derive(Clone, Debug, PartialEq, Eq, ThisError)]
#[non_exhaustive]
#[expect(missing_docs, reason = "each variant's message is its documentation")]
pub enum Refusal {
    // What cannot be an entry.
    #[error(transparent)]
    Form(#[from] Error),

    // Who signs.
    #[error("no operator is registered: the first record registers one")]
    NoOperator,
    #[error("there is an operator already")]
    SecondOperator,
    #[error("{0} is not a registered contributor")]
    UnknownAuthor(Hash),
    #[error("{0} is registered already")]
    RegisteredAlready(Hash),
    #[error("the id of this contributor is that of another key")]
    ContributorId,
    #[error("another took the place of {0}, who signs nothing any more")]
    Succeeded(Hash),
    #[error("{0} signed with this key before, and rotated to another")]
    KeyRetired(Hash),
    #[error("this is not the key that {0} signs with")]
    WrongKey(Hash),
    #[error("the signature of {0} does not fit this record, in this log, at this place")]
    Signature(Hash),
    #[error("{author} signed {expected} records, and this one is for place {found}: it was used before")]
    Replayed { author: Hash, expected: u64, found: u64 },
    #[error("{author} signed {expected} records, and this one is for place {found}: records are missing between")]
    SequenceGap { author: Hash, expected: u64, found: u64 },
    #[error("the record before this one is not the last of {0}")]
    PreviousRecord(Hash),
    #[error("the new key is somebody's already, or did not sign that it may be used")]
    NewKey,
    #[error("{0} did not name this author as heir")]
    NotHeir(Hash),
    #[error("only the operator attests for others: offers, reviews, claims and agents' acts, and never for itself")]
    Attested,
    #[error("only the operator, alone or among the authors, can say this")]
    NotOperator,

    // What it rests on.
    #[error("no valid record {0} is in the log before this one")]
    UnknownRecord(Hash),
    #[error("record {0} is of another kind than belongs here, or of another object")]
    WrongRecord(Hash),
    #[error("no adapter of generation {0} is published in the records")]
    UnknownGeneration(Hash),
    #[error("this was done before, and cannot be done again")]
    DoneAlready,

    // Datasets.
    #[error("only owners of the dataset can do this; all of them where its owners change")]
    NotOwner,
    #[error("this licence is not the dataset's")]
    Licence,
    #[error("nobody reviews, resolves, evaluates or gates what they have a part in")]
    OwnWork,
    #[error("the operations are not those of the contributions")]
    Operations,
    #[error(transparent)]
    OperationFault(#[from] OperationFault),
    #[error("contribution {0} is in the revision before this one already")]
    CommittedAlready(Hash),
    #[error("nothing is applied, yet the rows are others")]
    RowsChanged,
    #[error("no grant in force covers this use of dataset {0}")]
    NoGrant(Hash),

    // Adapters.
    #[error("the lineage would lead back to {0}")]
    LineageCycle(Hash),
    #[error("train run, base and parents do not fit each other")]
    TrainRun,
    #[error("everybody who trained it signs, and an author among them")]
    NotTrainer,
    #[error("the adapter is in another state, or nothing leads from there to here")]
    Transition,
    #[error("a grant was revoked: the adapter must be retrained or retired")]
    MustRetrain,
    #[error("the policy asks for a gate, and none was passed")]
    GateRequired,
    #[error("the policy in force does not name this evaluator")]
    NotEvaluator,
    #[error("the outcome is not what the evaluation says, or the evaluation is older than the claim")]
    Outcome,
    #[error("the claim's deadline is over, or was when it was made")]
    Deadline,
    #[error("not all contributors signed these shares")]
    SharesNotAgreed,

    // Money.
    #[error("policies are numbered one by one; the next is {0}")]
    PolicyNumber(u32),
    #[error("a policy is applied backwards: before its own entry, or before the one that it follows")]
    PolicyBackwards,
    #[error("a policy takes effect no sooner than {0} ms after its entry: the notice that the one before it promised")]
    PolicyNotice(u64),
    #[error("a policy takes effect, and asks for notice, at most 366 days ahead")]
    PolicyFar,
    #[error("no policy is in force, or this is not the one")]
    PolicyInForce,
    #[error("epochs are numbered one by one; the next is {0}")]
    EpochNumber(u32),
    #[error("the epoch does not cover usage from where the last one ended to heads that are recorded")]
    EpochCovers,
    #[error("the epoch is divided by all records up to a place behind the last close and before its own")]
    EpochRecords,
    #[error("the seed is not the one that was committed to")]
    EpochSeed,
    #[error("the epoch's sums contradict each other, or what the records say: {0}")]
    EpochTotals(&'static str),
    #[error("the payout is not in the epoch that it names")]
    PayoutProof,
    #[error("the bond is not in force, is somebody else's, or is needed still")]
    Bond,
    #[error("the dispute is not open, or decides nothing here")]
    Dispute,
}
