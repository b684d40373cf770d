//! A step between its launch and its outputs.

use loam_ledger_core::row::Tokens;

use super::Worker;
use crate::batch::Laid;
use crate::error::Error;
use crate::executor::Ticket;
use crate::scheduler::{Plan, SequenceId};

/// A step that was launched.
pub(super) struct Flight {
    pub(super) plan: Plan,
    pub(super) laid: Laid,
    /// Or why it was not: it is told when it is its turn.
    pub(super) ticket: Result<Ticket, Error>,
}

impl Worker {
    /// What of an answer that ends now is in flight, and comes to nothing: it is computed, and thrown away.
    pub(super) fn discarded(&self, id: SequenceId) -> Tokens {
        let flight = self.flight.as_ref().filter(|flight| flight.ticket.is_ok());
        let chunks = flight.into_iter().flat_map(|flight| &flight.plan.chunks);
        let rows = chunks.filter(|chunk| chunk.id == id).map(|chunk| chunk.tokens.len() as u64);
        Tokens { discarded: rows.sum(), ..Tokens::default() }
    }
}
