//! Accounts: where an epoch's money can be, and why it is there.

use std::collections::BTreeMap;

use crate::cbor::{Decoder, Encoder};
use crate::error::Error;
use crate::hash::{Hash, digest_parts};
use crate::lineage::{Node, links};
use crate::record::field::{Field, codes, items};
use crate::record::{ContributorId, Generation, Lane, RecordId, SumRoot};
use crate::registry::Registry;
use crate::sum_tree::{Builder, Kind, SumProof};

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

    /// A code, 0 for a contributor's account and else as in [`Self::id`], and the subject: for whoever keeps accounts.
    pub fn encode(&self) -> [u8; 33] {
        let (code, subject) = match *self {
            Self::Contributor(id) => (0, id),
            Self::LineageAdapter(generation) => (1, generation),
            Self::LineageData(generation) => (2, generation),
            Self::Sources(generation) => (3, generation),
            Self::Revision(revision) => (4, revision),
            Self::Lane(lane) => (16 + lane.code(), Hash::ZERO),
            Self::Subsidies => (32, Hash::ZERO),
        };
        let mut bytes = [code; 33];
        bytes[1..].copy_from_slice(&subject.0);
        bytes
    }

    /// Reads an account strictly.
    pub fn decode(bytes: &[u8; 33]) -> Result<Self, Error> {
        let [code, subject @ ..] = *bytes;
        let (subject, lane) = (Hash(subject), |lane: &&Lane| 16 + lane.code() == code);
        let account = match code {
            0 => Self::Contributor(subject),
            1 => Self::LineageAdapter(subject),
            2 => Self::LineageData(subject),
            3 => Self::Sources(subject),
            4 => Self::Revision(subject),
            32 => Self::Subsidies,
            _ => Self::Lane(*Lane::ALL.iter().find(lane).ok_or(Error::CborRange)?),
        };
        if account.encode() == *bytes { Ok(account) } else { Err(Error::CborRange) }
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

/// What one contributor is told.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ContributorStatement {
    /// Who.
    pub contributor: ContributorId,
    /// What they are paid, with the digest that their leaf holds.
    pub paid: Statement,
    /// The way from that leaf to the root of payouts; or from another, which shows that they have none.
    pub proof: Option<SumProof>,
    /// Accounts in which they may have a part, once evidence comes: nobody knows how large.
    pub waiting: Vec<(Account, Statement)>,
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

    /// What one contributor is told: what they are paid, and what waits for evidence that concerns them.
    pub fn statement(&self, registry: &Registry, contributor: &ContributorId) -> ContributorStatement {
        let account = Account::Contributor(*contributor);
        let concerns = |account: &Account| {
            let people = match account {
                Account::Revision(revision) => registry.datasets().contributors(revision).clone(),
                Account::LineageAdapter(generation) => registry.adapters().parties(generation),
                Account::LineageData(generation) | Account::Sources(generation) => {
                    let links = links(registry, generation);
                    links.iter().filter_map(|link| person(&link.to)).collect()
                }
                Account::Lane(_) | Account::Subsidies | Account::Contributor(_) => return false,
            };
            people.iter().any(|person| registry.people().standing(person) == *contributor)
        };
        let waiting = self.all().filter(|(account, _)| account.waits() && concerns(account));
        ContributorStatement {
            contributor: *contributor,
            paid: self.of(&account).cloned().unwrap_or_default(),
            proof: self.tree(Some(&account)).1,
            waiting: waiting.map(|(account, statement)| (*account, statement.clone())).collect(),
        }
    }

    /// The payouts tree over all accounts: each account's id, the digest of its statement, and its amount. With an account,
    /// also the way from its leaf to the root; from another's, where it has none.
    pub fn tree(&self, sought: Option<&Account>) -> (SumRoot, Option<SumProof>) {
        let leaf =
            |(account, statement): (&Account, &Statement)| (account.id(), statement.digest(), statement.sum_nano());
        let mut leaves: Vec<(Hash, Hash, u128)> = self.all().map(leaf).collect();
        leaves.sort_unstable();
        let mut builder = match sought {
            Some(account) => Builder::seeking(Kind::Payouts, &account.id().0),
            None => Builder::new(Kind::Payouts),
        };
        leaves.iter().for_each(|(id, digest, amount)| builder.push(&id.0, digest, *amount));
        builder.finish_with_proof()
    }

    pub(super) fn add(&mut self, account: Account, reason: Reason, subject: Hash, amount_nano: u128) {
        if amount_nano > 0 {
            self.statements.entry(account).or_default().add(reason, subject, amount_nano);
        }
    }
}

impl FromIterator<(Account, Statement)> for Accounts {
    fn from_iter<I: IntoIterator<Item = (Account, Statement)>>(accounts: I) -> Self {
        Self { statements: accounts.into_iter().collect() }
    }
}

fn person(node: &Node) -> Option<ContributorId> {
    match node {
        Node::Contributor(id) => Some(*id),
        _ => None,
    }
}
