//! Acts of people: who they are, by which key they sign, and who follows them.

use crate::record::field::{codes, fields};
use crate::record::{ContributorId, Signature64};

codes! {
    /// What stands behind a contributor's key.
    ContributorKind {
        /// A person.
        Person = 1,
        /// An organisation.
        Organisation = 2,
        /// A program that acts for somebody.
        Tool = 3,
        /// Who runs the ledger; its first record, and no other, registers one.
        Operator = 4,
    }
}

fields! {
    /// Somebody begins to sign. The contributor's id is the id of this first key, for ever.
    ContributorRegistered {
        /// The Ed25519 public key.
        public_key: [u8; 32],
        /// What stands behind it.
        kind: ContributorKind,
        /// Who may take this one's place, by the id of their first key; they need not be registered yet.
        heir: Option<ContributorId>,
    }

    /// From the next record on this contributor signs with another key.
    KeyRotated {
        /// The new Ed25519 public key.
        public_key: [u8; 32],
        /// The new key's own signature (see [`rotation_message`](crate::record::rotation_message)): nobody can take a
        /// key that they do not hold.
        proof: Signature64,
        /// Who may take this one's place from now on.
        heir: Option<ContributorId>,
    }

    /// The author, whom another contributor named as heir, takes that one's place.
    Succession {
        /// Whose place.
        of: ContributorId,
    }
}
