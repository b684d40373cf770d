//! What a record can say: one variant for each kind, with its number, and the form that holds within one act.

use crate::cbor::{Decoder, Encoder};
use crate::error::Error;
use crate::record::adapter::{
    AdapterPublished, AdapterStateChanged, AgentActed, AttributionComputed, ClaimMade, ClaimResolved, EvaluationRun,
    Gate, Method, TrainRunFinished,
};
use crate::record::dataset::{
    ActCount, ContributionProposed, DatasetCreated, GrantGiven, GrantRevoked, OwnersChanged, Review, RevisionCommitted,
    RowRedacted,
};
use crate::record::field::{Field, is_set};
use crate::record::money::{
    BondForfeited, BondPosted, BondReleased, DisputeOpened, DisputeResolved, EpochClosed, PayoutSettled, PolicyChanged,
    SubsidyInjected,
};
use crate::record::people::{ContributorRegistered, KeyRotated, Succession};
use crate::record::{ListRoot, MILLION, Millionths};

macro_rules! acts {
    ($($(#[$doc:meta])* $name:ident = $code:literal $words:literal,)*) => {
        /// What a record says.
        #[derive(Clone, Debug, PartialEq, Eq)]
        #[expect(clippy::large_enum_variant, reason = "records are few, and each is looked at once")]
        pub enum Act {
            $($(#[$doc])* $name($name),)*
        }

        impl Act {
            /// The kind's number.
            pub fn code(&self) -> u64 {
                match self {
                    $(Self::$name(_) => $code,)*
                }
            }

            /// The kind in words.
            pub fn words(&self) -> &'static str {
                match self {
                    $(Self::$name(_) => $words,)*
                }
            }

            /// Each field's name, and its value for a person to read.
            pub fn fields(&self) -> Vec<(&'static str, String)> {
                match self {
                    $(Self::$name(act) => act.fields(),)*
                }
            }

            pub(super) fn put(&self, e: &mut Encoder) {
                match self {
                    $(Self::$name(act) => act.put(e),)*
                }
            }

            pub(super) fn take(code: u64, d: &mut Decoder<'_>) -> Result<Self, Error> {
                let act = match code {
                    $($code => $name::take(d).map(Self::$name)?,)*
                    kind => return Err(Error::RecordKind { kind }),
                };
                if act.is_well_formed() { Ok(act) } else { Err(Error::RecordFields { what: act.words() }) }
            }
        }
    };
}

acts! {
    /// Somebody begins to sign.
    ContributorRegistered = 1 "contributor registered",
    /// Somebody signs with another key from now on.
    KeyRotated = 2 "key rotated",
    /// Somebody takes another's place.
    Succession = 3 "succession",
    /// A dataset begins.
    DatasetCreated = 16 "dataset created",
    /// A dataset gets other owners.
    OwnersChanged = 17 "owners changed",
    /// Work is offered.
    ContributionProposed = 18 "contribution proposed",
    /// Work was looked at.
    Review = 19 "review",
    /// Work becomes rows.
    RevisionCommitted = 20 "revision committed",
    /// A row can no longer be opened.
    RowRedacted = 21 "row redacted",
    /// A dataset may be used.
    GrantGiven = 22 "grant given",
    /// It no longer may.
    GrantRevoked = 23 "grant revoked",
    /// A training ended.
    TrainRunFinished = 32 "train run finished",
    /// A generation is bound to its makers.
    AdapterPublished = 33 "adapter published",
    /// An adapter's state changes.
    AdapterStateChanged = 34 "adapter state changed",
    /// Something was measured.
    EvaluationRun = 35 "evaluation run",
    /// A measurement let an adapter through, or did not.
    Gate = 36 "gate",
    /// Something is foretold.
    ClaimMade = 37 "claim made",
    /// It came so, or not.
    ClaimResolved = 38 "claim resolved",
    /// Effects were traced to causes.
    AttributionComputed = 39 "attribution computed",
    /// A program acted for somebody.
    AgentActed = 40 "agent acted",
    /// Prices and lanes change.
    PolicyChanged = 48 "policy changed",
    /// Money is divided.
    EpochClosed = 49 "epoch closed",
    /// Money arrived.
    PayoutSettled = 50 "payout settled",
    /// Money was given without a request.
    SubsidyInjected = 51 "subsidy injected",
    /// Money stands behind something.
    BondPosted = 52 "bond posted",
    /// It goes back.
    BondReleased = 53 "bond released",
    /// It is lost.
    BondForfeited = 54 "bond forfeited",
    /// A record is contested.
    DisputeOpened = 55 "dispute opened",
    /// That is decided.
    DisputeResolved = 56 "dispute resolved",
}

impl Act {
    /// What holds within the act alone, whatever was recorded before. Lists that are sets have one spelling, and numbers
    /// that state one thing twice agree.
    pub fn is_well_formed(&self) -> bool {
        match self {
            Self::DatasetCreated(act) => is_owners(&act.owners),
            Self::OwnersChanged(act) => is_owners(&act.owners),
            Self::ContributionProposed(act) => is_list(&act.operations) && counts_are(&act.acts, act.operations.count),
            Self::Review(act) => act.probability <= MILLION,
            Self::RevisionCommitted(act) => revision_is_well_formed(act),
            Self::TrainRunFinished(act) => {
                let shares = act.sources.iter().map(|source| source.share);
                is_set(&act.parents)
                    && is_set(&act.grants)
                    && act.sources.is_sorted_by(|a, b| a.revision < b.revision)
                    && (act.sources.is_empty() || sum_of(shares) == u64::from(MILLION))
            }
            Self::AdapterPublished(act) => {
                act.parents.is_sorted_by(|a, b| a.generation < b.generation)
                    && sum_of(act.parents.iter().map(|parent| parent.share)) <= u64::from(MILLION)
            }
            Self::AdapterStateChanged(act) => act.from != act.to,
            Self::EvaluationRun(act) => is_list(&act.results) && act.score.unsigned_abs() <= SCORE_MAX,
            Self::Gate(act) => is_set(&act.blocked_by) && (!act.passed || act.blocked_by.is_empty()),
            Self::ClaimMade(act) => act.probability <= MILLION,
            Self::AttributionComputed(act) => {
                is_list(&act.weights)
                    && act.tier <= 3
                    && (act.method == Method::AgreedShares) == (act.weights.count == 0)
            }
            Self::AgentActed(act) => is_set(&act.requests),
            Self::PolicyChanged(act) => policy_is_well_formed(act),
            Self::EpochClosed(act) => epoch_is_well_formed(act),
            Self::SubsidyInjected(act) => (1..=AMOUNT_MAX).contains(&act.amount_nano),
            Self::BondPosted(act) => (1..=AMOUNT_MAX).contains(&act.amount_nano),
            Self::PayoutSettled(act) => act.amount_nano > 0 && act.path.is_sorted_by(|a, b| a.bit > b.bit),
            _ => true,
        }
    }
}

fn is_owners(owners: &[crate::Hash]) -> bool {
    !owners.is_empty() && is_set(owners)
}

/// Scores beyond this, in millionths, are refused, so that sums of gains never overflow.
const SCORE_MAX: u64 = 1_000_000_000_000_000;

/// Nano-units that one record can bring: far more than there are, and so few that sums of them fit 128 bits.
const AMOUNT_MAX: u128 = 1 << 100;

/// A list of nothing has the root of nothing.
fn is_list(list: &ListRoot) -> bool {
    (list.count == 0) == (list.root == crate::Hash::EMPTY_TREE)
}

fn sum_of(shares: impl Iterator<Item = Millionths>) -> u64 {
    shares.map(u64::from).sum()
}

fn counts_are(acts: &[ActCount], operations: u64) -> bool {
    let sum = acts.iter().try_fold(0_u64, |sum, act| sum.checked_add(act.count));
    acts.is_sorted_by(|a, b| a.kind < b.kind) && acts.iter().all(|act| act.count > 0) && sum == Some(operations)
}

fn revision_is_well_formed(act: &RevisionCommitted) -> bool {
    let once = |ids: &[crate::Hash]| {
        let mut sorted = ids.to_vec();
        sorted.sort_unstable();
        is_set(&sorted)
    };
    once(&act.parents) && once(&act.contributions) && is_list(&act.operations)
}

fn policy_is_well_formed(act: &PolicyChanged) -> bool {
    let basis_points = act.lanes.0.iter().map(|&lane| u64::from(lane)).sum::<u64>();
    let default_first = act.prices.first().is_some_and(|price| price.base.is_none());
    let rest = act.prices.get(1..).unwrap_or_default();
    act.number > 0
        && basis_points == 10_000
        && default_first
        && rest.iter().all(|price| price.base.is_some())
        && rest.is_sorted_by(|a, b| a.base < b.base)
        && is_set(&act.evaluators)
}

fn epoch_is_well_formed(act: &EpochClosed) -> bool {
    let ranges = act.covered.iter().all(|covered| covered.shard > 0 && covered.from <= covered.to);
    let adjacent = act.covered.is_sorted_by(|a, b| a.shard.checked_add(1) == Some(b.shard));
    act.epoch > 0 && !act.covered.is_empty() && ranges && adjacent && is_list(&act.erased)
}
