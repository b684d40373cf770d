//! Accounts: where an epoch's money can be, and why it is there.

use std::collections::BTreeMap;

use crate::cbor::{Decoder, Encoder};
use crate::error::Error;
use crate::hash::{Hash, digest_parts};
use crate::record::field::{Field, codes, items};
use crate::record::{ContributorId, Generation, Lane, RecordId};

/// Somewhere that money is, when an epoch is closed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Account {
    /// Somebody's: it is theirs, and is paid.
    Contributor(ContributorId),
    /// What adapters' authors are owed for a generation, while its lineage is not known or agreed.
    LineageAdapter(Generation),
    /// What is owed for a generation's data, while its lineage is not known or agreed.
    LineageData(Generation),
    /// What is owed for a generation's own data, while nobody agreed which revisions it came from.
    Sources(Generation),
    /// What is owed for a dataset revision, while not all contributors agreed on shares.
    Revision(RecordId),
    /// In a lane that nobody is paid from yet.
    Lane(Lane),
    /// Given by somebody, paid by no request.
    Subsidies,
}

impl Account {
    /// The account's key in the payouts tree: a contributor's own id, or `H("loam/account/v1\0" || code || subject)`.
    pub fn id(&self) -> Hash {
        let derived = |code: u8, subject: &Hash| digest_parts(&[b"loam/account/v1\0", &[code], &subject.0]);
        match self {
            Self::Contributor(id) => *id,
            Self::LineageAdapter(generation) => derived(1, generation),
            Self::LineageData(generation) => derived(2, generation),
            Self::Sources(generation) => derived(3, generation),
            Self::Revision(revision) => derived(4, revision),
            Self::Lane(lane) => derived(16 + lane.code(), &Hash::ZERO),
            Self::Subsidies => derived(32, &Hash::ZERO),
        }
    }

    /// Whether what is here stays here until a later epoch.
    pub fn waits(&self) -> bool {
        !matches!(self, Self::Contributor(_))
    }
}

codes! {
    /// Why an amount is in an account.
    Reason {
        /// Paid: for running requests.
        Host = 1,
        /// Paid: for the base model.
        Base = 2,
        /// Paid: for an adapter, by its authors' signed shares.
        Adapter = 3,
        /// Paid: for a dataset revision, by shares that all its contributors signed.
        Data = 4,
        /// Paid later: as for an adapter, out of what waited when the last epoch was closed.
        AdapterLater = 5,
        /// Paid later: as for a revision, out of what waited when the last epoch was closed.
        DataLater = 6,
        /// Waits: no record says who made the generation.
        Unpublished = 32,
        /// Waits: the shares of its parents are neither signed by all their authors nor measured by evaluations.
        LineageOpen = 33,
        /// Waits: no train run, or one without revisions, says what the generation was made of.
        NoSources = 34,
        /// Waits: the shares of the revisions are not signed by all owners.
        SourcesOpen = 35,
        /// Waits: not all contributors of the revision signed shares.
        SharesOpen = 36,
        /// Waits: a dispute about the record was upheld.
        Contested = 37,
        /// Waits: the policy names nobody for this lane.
        NoPayee = 38,
        /// Waits: for effects of quiet work that a later version can measure.
        UpkeepWaits = 39,
        /// Waits: behind claims.
        BondLane = 40,
        /// Waits: kept in reserve.
        ReserveLane = 41,
        /// Waits: the row names another policy than was in force, so no lane may have its fee.
        PolicyNotInForce = 42,
        /// Waits: a subsidy; nothing divides it in this version.
        Subsidy = 43,
    }
}

items! {
    /// One amount in an account, with its reason.
    Line [
        /// Why.
        reason: Reason,
        /// What for: a generation, a revision, or zeros.
        subject: Hash,
        /// How much, in nano-units.
        amount_nano: u128,
    ]
}

/// All that came to one account in one epoch, or waits there at its close.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Statement {
    lines: BTreeMap<(Reason, Hash), u128>,
}

impl Statement {
    /// The lines, in order of reason and subject; none is of nothing.
    pub fn lines(&self) -> impl Iterator<Item = Line> {
        self.lines.iter().map(|(&(reason, subject), &amount_nano)| Line { reason, subject, amount_nano })
    }

    /// What they sum to.
    pub fn sum_nano(&self) -> u128 {
        self.lines.values().sum()
    }

    /// The value of the account's leaf: `H("loam/statement/v1\0" || lines)`, so that nobody can be shown another reason
    /// for the same amount.
    pub fn digest(&self) -> Hash {
        digest_parts(&[b"loam/statement/v1\0", &self.encode()])
    }

    /// The lines' bytes.
    pub fn encode(&self) -> Vec<u8> {
        let mut e = Encoder::with_capacity(64 * self.lines.len() + 8);
        e.array(self.lines.len());
        self.lines().for_each(|line| line.put(&mut e));
        e.finish()
    }

    /// Reads a statement strictly. It is the payee's if the digest is their leaf's value.
    pub fn decode(bytes: &[u8]) -> Result<Self, Error> {
        let mut d = Decoder::new(bytes);
        let (mut statement, mut sum) = (Self::default(), 0_u128);
        for _ in 0..d.array()? {
            let Line { reason, subject, amount_nano } = Line::take(&mut d)?;
            let last = statement.lines.last_key_value().map(|(key, _)| *key);
            if amount_nano == 0 || last.is_some_and(|last| last >= (reason, subject)) {
                return Err(Error::RecordFields { what: "a statement" });
            }
            sum = sum.checked_add(amount_nano).ok_or(Error::CborRange)?;
            statement.lines.insert((reason, subject), amount_nano);
        }
        d.finish()?;
        Ok(statement)
    }

    pub(super) fn add(&mut self, reason: Reason, subject: Hash, amount_nano: u128) {
        if amount_nano > 0 {
            let sum = self.lines.entry((reason, subject)).or_default();
            *sum = sum.checked_add(amount_nano).expect("all money there is fits 128 bits");
        }
    }
}

/// Every account with what is in it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Accounts {
    statements: BTreeMap<Account, Statement>,
}

impl Accounts {
    /// One account's statement.
    pub fn of(&self, account: &Account) -> Option<&Statement> {
        self.statements.get(account)
    }

    /// All accounts.
    pub fn all(&self) -> impl Iterator<Item = (&Account, &Statement)> {
        self.statements.iter()
    }

    /// What is in all accounts of a kind.
    pub fn sum_where(&self, of: impl Fn(&Account) -> bool) -> u128 {
        self.statements.iter().filter(|(account, _)| of(account)).map(|(_, statement)| statement.sum_nano()).sum()
    }

    /// What waits, as the next epoch begins with.
    pub fn waiting(&self) -> Vec<(Account, u128)> {
        let waiting = self.statements.iter().filter(|(account, _)| account.waits());
        waiting.map(|(account, statement)| (*account, statement.sum_nano())).collect()
    }

    pub(super) fn add(&mut self, account: Account, reason: Reason, subject: Hash, amount_nano: u128) {
        if amount_nano > 0 {
            self.statements.entry(account).or_default().add(reason, subject, amount_nano);
        }
    }
}
