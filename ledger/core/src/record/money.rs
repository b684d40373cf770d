//! Acts about money: prices and lanes, epochs, payouts, subsidies, bonds, disputes.

use crate::cbor::{Decoder, Encoder};
use crate::error::Error;
use crate::hash::Hash;
use crate::record::field::{Field, codes, fields, items};
use crate::record::{ContributorId, RecordId};

/// Lanes that a fee is split to.
pub const LANES: usize = 7;

codes! {
    /// What a part of a fee is for.
    Lane {
        /// Who ran the request.
        Host = 1,
        /// Who made the base model.
        Base = 2,
        /// Who made the adapters.
        Adapter = 3,
        /// Whose rows the adapters were made of.
        Data = 4,
        /// Quiet work whose effect is shown later.
        Upkeep = 5,
        /// What stands behind claims.
        Bond = 6,
        /// What is kept for what nobody foresaw.
        Reserve = 7,
    }
}

/// One number for each lane, in the order of their codes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct PerLane<T>(pub [T; LANES]);

impl<T: Copy> PerLane<T> {
    /// One lane's.
    pub fn of(&self, lane: Lane) -> T {
        self.0[usize::from(lane.code()) - 1]
    }

    /// One lane's, to be changed.
    pub fn of_mut(&mut self, lane: Lane) -> &mut T {
        &mut self.0[usize::from(lane.code()) - 1]
    }
}

impl<T: Field + Copy + Default> Field for PerLane<T> {
    fn put(&self, e: &mut Encoder) {
        e.array(LANES);
        self.0.iter().for_each(|value| value.put(e));
    }

    fn take(d: &mut Decoder<'_>) -> Result<Self, Error> {
        d.array_of(LANES as u64)?;
        let mut lanes = [T::default(); LANES];
        for lane in &mut lanes {
            *lane = T::take(d)?;
        }
        Ok(Self(lanes))
    }

    fn words(&self) -> String {
        self.0.iter().map(T::words).collect::<Vec<_>>().join(" ")
    }
}

items! {
    /// What tokens cost on one base model, in nano-units each.
    Price [
        /// The base model; none for all that are not listed.
        base: Option<Hash>,
        /// A prompt token that was computed.
        prefilled_nano: u64,
        /// A prompt token that was taken from the cache.
        reused_nano: u64,
        /// A token that was delivered.
        delivered_nano: u64,
    ]

    /// A stretch of a usage log that an epoch covers.
    Covered [
        /// The shard.
        shard: u32,
        /// The first entry; where the epoch before this one ended.
        from: u64,
        /// The first entry that is not covered.
        to: u64,
        /// The shard's root at that size.
        root: Hash,
    ]

    /// A sum tree: its root, what its leaves sum to, how many they are.
    SumRoot [
        /// The root's hash.
        hash: Hash,
        /// The sum, in nano-units.
        sum: u128,
        /// The number of leaves.
        count: u64,
    ]

    /// From a leaf of a sum tree towards its root.
    SumStep [
        /// The bit by which the node above branches.
        bit: u16,
        /// The sum on its other side.
        sum: u128,
        /// The hash on its other side.
        hash: Hash,
    ]

    /// Where an epoch's money came from and went, in nano-units: the first four sum to what the last five do.
    Totals [
        /// What waited in accounts when the epoch before this one was closed.
        opening: u128,
        /// Fees of completion rows: the usage tree's sum.
        fees: u128,
        /// Fees of rows that were erased before they were settled.
        erased: u128,
        /// Subsidies injected since the epoch before this one was closed.
        subsidies: u128,
        /// To contributors.
        paid: u128,
        /// Awaiting evidence, by revision.
        awaiting_revisions: u128,
        /// Awaiting evidence, by generation.
        awaiting_generations: u128,
        /// In lanes that nobody is paid from yet.
        lanes: u128,
        /// Subsidies that wait.
        subsidies_waiting: u128,
    ]
}

fields! {
    /// Prices, lanes and notice from a time on. The policy's digest, which completion rows name, is this record's id.
    PolicyChanged {
        /// One more than that of the policy before it; the first is 1.
        number: u32,
        /// In force for requests whose first entry is of this time or later, in milliseconds since 1970.
        effective_ms: u64,
        /// How long before its time the next policy must be recorded.
        notice_ms: u64,
        /// How a fee is split to lanes, in basis points.
        lanes: PerLane<u32>,
        /// Prices: first those of all models that are not listed, then the listed ones, ascending.
        prices: Vec<Price>,
        /// Who is paid from the host's lane.
        host: ContributorId,
        /// Who is paid from the base's lane; while there is nobody, it waits.
        base: Option<ContributorId>,
        /// Whose evaluations divide money; ascending.
        evaluators: Vec<ContributorId>,
        /// Whether an adapter must pass a gate before it is published.
        gate_required: bool,
    }

    /// An epoch's money is divided.
    EpochClosed {
        /// One more than that of the epoch before it; the first is 1.
        epoch: u32,
        /// What it covers: each usage log from where the epoch before it ended, without a gap.
        covered: Vec<Covered>,
        /// How many entries of the records log it was divided by: all before that, and none after. What is recorded while
        /// an epoch is being settled counts for the next.
        records: u64,
        /// The policy in force at the time of the last of these.
        policy: RecordId,
        /// The seed that the epoch before this one committed to; zeros in the first.
        seed: Hash,
        /// The commitment to the next epoch's seed: `H("loam/epoch-seed-commitment/v1\0" || seed)`.
        next_seed: Hash,
        /// One leaf for each completion row.
        usage: SumRoot,
        /// One leaf for each account.
        payouts: SumRoot,
        /// What erased rows came to, as a root and their number.
        erased: crate::record::ListRoot,
        /// Fees by lane, erased ones included.
        lanes: PerLane<u128>,
        /// The sums.
        totals: Totals,
    }

    /// A payout reached its payee.
    PayoutSettled {
        /// Of which epoch.
        epoch: u32,
        /// To whom.
        contributor: ContributorId,
        /// How much, in nano-units: all of it.
        amount_nano: u128,
        /// The digest of the payee's statement.
        statement: Hash,
        /// From the payee's leaf to the root of the epoch's payouts.
        path: Vec<SumStep>,
        /// A salted digest of what the payment is known by outside.
        reference: Hash,
    }

    /// Money that no request paid. It is kept apart, under its own name.
    SubsidyInjected {
        /// How much, in nano-units.
        amount_nano: u128,
    }

    /// Money is put behind something. The bond's id is this record's.
    BondPosted {
        /// How much, in nano-units.
        amount_nano: u128,
        /// The record or generation that it stands behind.
        backs: Hash,
    }

    /// A bond goes back to its holder.
    BondReleased {
        /// Which bond.
        bond: RecordId,
    }

    /// A bond is lost.
    BondForfeited {
        /// Which bond.
        bond: RecordId,
        /// The dispute that was upheld, or the claim that did not hold.
        because: RecordId,
    }

    /// Somebody contests a record. The dispute's id is this record's.
    DisputeOpened {
        /// Which record.
        target: RecordId,
    }

    /// A dispute is decided.
    DisputeResolved {
        /// Which dispute.
        dispute: RecordId,
        /// Whether the record is wrong. Money that would be divided by it then waits.
        upheld: bool,
    }
}
