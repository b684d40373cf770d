//! A proof as a file: what a payee is handed of an epoch's payouts, and a receipt holder of its usage.

use crate::cbor::{Decoder, Encoder};
use crate::epoch::{RowPlace, Statement};
use crate::error::Error;
use crate::hash::Hash;
use crate::record::field::{Field, codes};
use crate::record::{ContributorId, EpochClosed, RecordId};
use crate::sum_tree::{Kind, SumProof};

const VERSION: u64 = 1;

codes! {
    /// Of which of an epoch's trees a file shows a leaf.
    LeafOf {
        /// Usage: a receipt holder's row.
        Usage = 1,
        /// Payouts: a payee's statement.
        Payouts = 2,
    }
}

impl LeafOf {
    /// The tree.
    pub fn kind(self) -> Kind {
        match self {
            Self::Usage => Kind::Usage,
            Self::Payouts => Kind::Payouts,
        }
    }
}

/// One leaf of a closed epoch with its way to the root, or the way to another that shows it to be absent.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LeafFile {
    /// Of which tree.
    pub of: LeafOf,
    /// The record that closed the epoch.
    pub close: RecordId,
    /// The key that was asked for.
    pub sought: Vec<u8>,
    /// The way to its leaf, or to where a search for it ends; none in a tree without leaves.
    pub proof: Option<SumProof>,
    /// Of payouts: the statement that the leaf commits to; none where there is no such leaf.
    pub statement: Option<Statement>,
}

/// Why a leaf file does not show what it says.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[expect(missing_docs, reason = "each variant's message is its documentation")]
pub enum LeafFault {
    #[error("the file is of another epoch: its close is record {close}")]
    OtherEpoch { close: RecordId },
    #[error("the proof does not lead to what epoch {epoch} was closed over: {why}")]
    Proof { epoch: u32, why: ProofFault },
    #[error("the reasons in the file are not those that epoch {epoch} commits to for this amount")]
    OtherReasons { epoch: u32 },
    #[error("the lines in the file sum to {stated} nano-units, and epoch {epoch} paid {paid}")]
    OtherAmount { epoch: u32, stated: u128, paid: u128 },
}

/// What is wrong with a proof.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[expect(missing_docs, reason = "each variant's message is its documentation")]
pub enum ProofFault {
    #[error("its leaf or its path is not of that tree")]
    Root,
    #[error("the sums on its way are not what they should be")]
    Sums,
    #[error("its bits do not lie in the key in their order")]
    Bits,
    #[error("it ends at another leaf, to which no search for this one leads")]
    Elsewhere,
    #[error("it shows nothing, and the tree is not empty")]
    Nothing,
}

impl LeafFile {
    /// A payee's, of what an epoch's close committed to.
    pub fn payout(close: RecordId, payee: &ContributorId, paid: &Statement, proof: Option<SumProof>) -> Self {
        let statement = proof.as_ref().is_some_and(|proof| proof.key == payee.0).then(|| paid.clone());
        Self { of: LeafOf::Payouts, close, sought: payee.0.to_vec(), proof, statement }
    }

    /// A receipt holder's.
    pub fn usage(close: RecordId, place: &RowPlace, proof: Option<SumProof>) -> Self {
        Self { of: LeafOf::Usage, close, sought: place.key().to_vec(), proof, statement: None }
    }

    /// Whether the leaf that was asked for is there, if the proof holds.
    pub fn is_member(&self) -> bool {
        self.proof.as_ref().is_some_and(|proof| proof.key == self.sought)
    }

    /// The file's bytes.
    pub fn encode(&self) -> Vec<u8> {
        let mut e = Encoder::with_capacity(1_024);
        e.map(6).uint(0).uint(VERSION);
        self.of.put(e.uint(1));
        self.close.put(e.uint(2));
        e.uint(3).bytes(&self.sought).uint(4);
        self.proof.put(&mut e);
        e.uint(5);
        match &self.statement {
            Some(statement) => e.bytes(&statement.encode()),
            None => e.null(),
        };
        e.finish()
    }

    /// Reads a file strictly. Nothing is shown by it before it was checked.
    pub fn decode(bytes: &[u8]) -> Result<Self, Error> {
        let mut d = Decoder::new(bytes);
        d.map_of(6)?;
        match d.key(0)?.uint()? {
            VERSION => {}
            version => return Err(Error::Version { what: "leaf file", version }),
        }
        let of = LeafOf::take(d.key(1)?)?;
        let close = Hash::take(d.key(2)?)?;
        let sought = d.key(3)?.bytes()?.to_vec();
        let proof: Option<SumProof> = Field::take(d.key(4)?)?;
        let statement = d.key(5)?.bytes_if_next()?.map(Statement::decode).transpose()?;
        if statement.is_none() && !d.null() {
            return Err(Error::RecordFields { what: "a leaf file" });
        }
        d.finish()?;
        let file = Self { of, close, sought, proof, statement };
        if file.sought.len() != of.kind().key_bytes() {
            return Err(Error::SumKey);
        }
        // A statement belongs to a payee's own leaf, and to nothing else.
        let stated = of == LeafOf::Payouts && file.is_member();
        if stated == file.statement.is_some() { Ok(file) } else { Err(Error::RecordFields { what: "a leaf file" }) }
    }

    /// Checks the file against the close that it names: what is proven to be there, or that nothing is.
    pub fn check(&self, id: &RecordId, act: &EpochClosed) -> Result<Option<&SumProof>, LeafFault> {
        let epoch = act.epoch;
        if self.close != *id {
            return Err(LeafFault::OtherEpoch { close: self.close });
        }
        let (kind, root) = match self.of {
            LeafOf::Usage => (Kind::Usage, &act.usage),
            LeafOf::Payouts => (Kind::Payouts, &act.payouts),
        };
        let wrong = |why| LeafFault::Proof { epoch, why };
        let Some(proof) = &self.proof else {
            return if root.count == 0 { Ok(None) } else { Err(wrong(ProofFault::Nothing)) };
        };
        if !self.is_member() {
            return proof.check_absent(kind, root, &self.sought).map(|()| None).map_err(|e| wrong(fault(&e)));
        }
        proof.check_member(kind, root).map_err(|e| wrong(fault(&e)))?;
        if let Some(statement) = &self.statement {
            let (stated, paid) = (statement.sum_nano(), proof.amount);
            if stated != paid {
                return Err(LeafFault::OtherAmount { epoch, stated, paid });
            }
            if statement.digest() != proof.value {
                return Err(LeafFault::OtherReasons { epoch });
            }
        }
        Ok(Some(proof))
    }
}

fn fault(error: &Error) -> ProofFault {
    match error {
        Error::SumTotal => ProofFault::Sums,
        Error::SumBits | Error::SumKey => ProofFault::Bits,
        Error::SumPresent => ProofFault::Elsewhere,
        _ => ProofFault::Root,
    }
}
