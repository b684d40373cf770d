//! Records: signed entries of the records log that say who stands behind what. Ids, numbers and commitments only.
//!
//! A [`Body`] says one [`Act`], by one author or several. Each author signs it for this log, and for the next place in
//! their own chain of records, so that no signature can be used again: not here, not in another log. A record earns
//! nothing by being written; what it is worth, a later record shows.

mod act;
mod adapter;
mod body;
mod dataset;
pub(crate) mod field;
mod money;
mod operation;
mod people;
mod signing;

pub use act::Act;
pub use adapter::{
    AdapterPublished, AdapterState, AdapterStateChanged, AgentActed, AttributionComputed, ClaimMade, ClaimResolved,
    EvaluationRun, Gate, Method, ParentShare, RevisionShare, TrainRunFinished,
};
pub use body::{AUTHORS_MAX, Author, BODY_BYTES_MAX, Body, CITES_MAX, Record, Signed, addendum};
pub use dataset::{
    Access, ActCount, ActKind, ContributionProposed, DatasetCreated, GrantGiven, GrantRevoked, GrantUse, ListRoot,
    OwnersChanged, RedactionReason, Review, RevisionCommitted, RowId, RowRedacted, Verdict,
};
pub use field::LIST_MAX;
pub use money::{
    BondForfeited, BondPosted, BondReleased, Covered, DisputeOpened, DisputeResolved, EpochClosed, LANES, Lane,
    PayoutSettled, PerLane, PolicyChanged, Price, SubsidyInjected, SumRoot, SumStep, Totals,
};
pub use operation::{
    OPERATION_ROWS_MAX, Operation, OperationFault, RowContent, Rows, apply, operations_root, rows_root, touched,
};
pub use people::{ContributorKind, ContributorRegistered, KeyRotated, Succession};
pub use signing::{AuthorKey, envelope_message, is_signed, key_id, message, rotation_message, sign_record};

use crate::hash::Hash;

/// A contributor: the id of their first key, whatever key they sign with today.
pub type ContributorId = Hash;

/// A key, by the hash of its public part.
pub type KeyId = Hash;

/// A record, by the hash of what its first author signed; also the dataset, revision, grant, bond or claim that it began.
pub type RecordId = Hash;

/// An adapter's or a base model's content, by digest.
pub type Generation = Hash;

/// A share or a probability, in millionths.
pub type Millionths = u32;

/// The whole, in millionths.
pub const MILLION: Millionths = 1_000_000;

/// An Ed25519 signature.
pub type Signature64 = [u8; 64];
