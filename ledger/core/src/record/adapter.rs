//! Acts on adapters: training, publishing, evaluating, gating, and what is claimed of them.

use crate::hash::Hash;
use crate::record::field::{codes, fields, items};
use crate::record::{ContributorId, Generation, Millionths, RecordId};

codes! {
    /// Where an adapter stands.
    AdapterState {
        /// Published as a record, not yet for use.
        Draft = 1,
        /// A gate let it through.
        Gated = 2,
        /// In use.
        Published = 3,
        /// Taken out of use for a time.
        Suspended = 4,
        /// Taken out of use for ever.
        Retired = 5,
    }

    /// How shares or scores were found.
    Method {
        /// All contributors of the subject signed this record's shares.
        AgreedShares = 1,
        /// Spans of answers found in rows. Recorded; divides nothing in this version.
        Spans = 2,
        /// Rows put into the prompt. Recorded; divides nothing in this version.
        Retrieval = 3,
        /// Gradients on a sample. Recorded; divides nothing in this version.
        Gradients = 4,
        /// Retraining with and without. Recorded; divides nothing in this version.
        Retrain = 5,
    }
}

items! {
    /// A part of something, for a dataset revision.
    RevisionShare [
        /// The revision.
        revision: RecordId,
        /// Its share, in millionths.
        share: Millionths,
    ]

    /// A part of something, for an adapter generation.
    ParentShare [
        /// The parent.
        generation: Generation,
        /// Its share, in millionths.
        share: Millionths,
    ]
}

fields! {
    /// A training ended, well or not.
    TrainRunFinished {
        /// What came of it; none where it led nowhere.
        generation: Option<Generation>,
        /// The base model.
        base: Hash,
        /// Generations that it went on from; ascending.
        parents: Vec<Generation>,
        /// Revisions that it saw, ascending, with shares that sum to one; these divide money only where all owners sign.
        sources: Vec<RevisionShare>,
        /// Grants under which it used them; ascending.
        grants: Vec<RecordId>,
        /// The digest of its configuration, seed included.
        configuration: Hash,
        /// The digest of its program.
        code: Hash,
    }

    /// A generation is bound to who made it and what from. It begins as a draft.
    AdapterPublished {
        /// The adapter's content, by digest.
        generation: Generation,
        /// The base model.
        base: Hash,
        /// The training that made it.
        train_run: Option<RecordId>,
        /// Generations that it goes on from, ascending; what they leave of one is the authors' own share. The shares
        /// divide money only where all parents' authors sign; else evaluations do.
        parents: Vec<ParentShare>,
        /// The digest of the licence's text.
        licence: Hash,
        /// The digest of the in-toto statement that says the same to other tools.
        statement: Hash,
    }

    /// An adapter goes from one state to another.
    AdapterStateChanged {
        /// Which.
        generation: Generation,
        /// Where it stood.
        from: AdapterState,
        /// Where it stands now.
        to: AdapterState,
    }

    /// A generation was measured on a suite.
    EvaluationRun {
        /// What was measured: a generation, or a base model.
        subject: Generation,
        /// The suite: a dataset revision.
        suite: RecordId,
        /// The score, in millionths of whatever the suite counts.
        score: i64,
        /// Results by case, as a root and their number.
        results: crate::record::ListRoot,
    }

    /// Somebody else than its authors let an adapter through, or did not.
    Gate {
        /// Which adapter.
        generation: Generation,
        /// The evaluation it was decided by.
        evaluation: RecordId,
        /// Whether it passed.
        passed: bool,
        /// Contributions whose test cases blocked it; ascending, and none where it passed.
        blocked_by: Vec<RecordId>,
    }

    /// A statement about a score that is not known yet.
    ClaimMade {
        /// Of what.
        subject: Generation,
        /// On which suite.
        suite: RecordId,
        /// The score will be at least this, in millionths.
        at_least: i64,
        /// How sure the claimant is, in millionths.
        probability: Millionths,
        /// The last epoch in which it can be resolved.
        deadline_epoch: u32,
        /// The claimant's bond behind it.
        bond: Option<RecordId>,
    }

    /// The score is known.
    ClaimResolved {
        /// Which claim.
        claim: RecordId,
        /// The evaluation that says so.
        evaluation: RecordId,
        /// Whether the score is at least what was claimed.
        held: bool,
    }

    /// Who or what an object owes its effect to.
    AttributionComputed {
        /// The object; a dataset revision where shares are agreed.
        subject: RecordId,
        /// How it was found.
        method: Method,
        /// How strong the evidence is: 0 lineage, 1 spans or retrieval, 2 sampled gradients, 3 retrained.
        tier: u8,
        /// The weights, as a root and their number; of nothing where shares are agreed.
        weights: crate::record::ListRoot,
    }

    /// A program did something for somebody.
    AgentActed {
        /// For whom.
        principal: ContributorId,
        /// The digest of the rules it acted by.
        policy: Hash,
        /// Requests that it made; ascending.
        requests: Vec<Hash>,
        /// The digest of the tool it used.
        tool: Hash,
        /// A salted digest of the tool's arguments.
        arguments: Hash,
        /// A salted digest of its result.
        result: Hash,
    }
}
