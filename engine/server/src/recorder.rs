//! The engine's record, kept in a ledger: what the engine counts becomes salted rows under an entry for each step.

use std::collections::HashMap;
use std::sync::Arc;

use loam_engine::recorder::{
    Acknowledge, CompletionRecord, Key, NotBegun, RecordFailed, Recorded, Recorder, RequestFacts, RowRecord, StepRecord,
};
use loam_ledger::{Error, Ledger, Level, Request, Writer};
use loam_ledger_core::Hash;
use loam_ledger_core::commitment::{What, token_bytes};
use loam_ledger_core::row::{Completion, Row, Usage};

/// One boot of an engine, recorded.
pub(crate) struct LedgerRecorder {
    ledger: Arc<Ledger>,
    /// None once it stopped.
    writer: Option<Writer>,
    /// Which sequence the next step will have.
    next: u64,
    requests: HashMap<Key, Begun>,
    keys: u64,
}

/// A request with rows still to come.
struct Begun {
    request: Arc<Request>,
    facts: RequestFacts,
}

impl LedgerRecorder {
    /// Records a boot that just began.
    pub(crate) fn new(ledger: Arc<Ledger>, writer: Writer) -> Self {
        Self { ledger, writer: Some(writer), next: 1, requests: HashMap::new(), keys: 0 }
    }

    fn row(&self, row: RowRecord, sequence: u64) -> Result<(Arc<Request>, Row), RecordFailed> {
        match row {
            RowRecord::Usage(usage) => {
                let request = Arc::clone(&self.begun(usage.request)?.request);
                let usage = Usage {
                    request: request.commitment(),
                    choice: usage.choice,
                    pairs: usage.pairs,
                    first_sequence: usage.first_sequence,
                    last_sequence: usage.last_sequence,
                    tokens: usage.tokens,
                };
                Ok((request, Row::Usage(usage)))
            }
            RowRecord::Completion(completion) => {
                let begun = self.begun(completion.request)?;
                let row = self.completion(begun, &completion, sequence);
                Ok((Arc::clone(&begun.request), Row::Completion(Box::new(row))))
            }
        }
    }

    fn completion(&self, begun: &Begun, record: &CompletionRecord, sequence: u64) -> Completion {
        let Begun { request, facts } = begun;
        let writer = self.writer.as_ref().expect("rows come before the stop");
        let (first, last) = record.steps.unwrap_or((sequence, sequence));
        let commit = |what, bytes: &[u8]| request.commit(what, record.choice, bytes);
        Completion {
            request: request.commitment(),
            choice: record.choice,
            tenant: commit(What::Tenant, facts.tenant.as_bytes()),
            pairs: record.pairs.clone(),
            first: writer.step(first),
            last: writer.step(last),
            tokens: record.tokens,
            delivered_tokens: record.delivered_tokens,
            finish: record.finish,
            // No price policy is recorded yet, so that nothing costs anything.
            fee_nano: 0,
            price_policy: Hash::ZERO,
            request_bytes: commit(What::Request, &facts.request_bytes),
            prompt: commit(What::Prompt, &token_bytes(&record.prompt)),
            text: commit(What::Text, record.text.as_bytes()),
            output_tokens: commit(What::Tokens, &token_bytes(&record.output)),
            sampling: commit(What::Sampling, &record.sampling),
        }
    }

    fn begun(&self, key: Key) -> Result<&Begun, RecordFailed> {
        let unknown = || RecordFailed { reason: format!("a row names request {}, which is not open", key.0) };
        self.requests.get(&key).ok_or_else(unknown)
    }

    fn writer(&self) -> Result<&Writer, RecordFailed> {
        self.writer.as_ref().ok_or_else(|| RecordFailed { reason: "the boot has stopped".to_owned() })
    }
}

impl Recorder for LedgerRecorder {
    fn begin(&mut self, facts: &RequestFacts) -> Result<(Key, Option<Hash>), NotBegun> {
        let request = self.ledger.begin_request(facts.client_nonce).map_err(|error| match error {
            Error::LowSpace { .. } => NotBegun::Refused { reason: error.to_string() },
            error => NotBegun::Failed(failed(error)),
        })?;
        let name = request.commitment();
        self.keys += 1;
        let key = Key(self.keys);
        self.requests.insert(key, Begun { request, facts: facts.clone() });
        Ok((key, Some(name)))
    }

    fn sequence(&mut self) -> Result<u64, RecordFailed> {
        Ok(self.next)
    }

    fn append(&mut self, step: StepRecord, done: Acknowledge) -> Result<(), RecordFailed> {
        let sequence = self.next;
        let ended: Vec<Key> = step.rows.iter().filter_map(ends).collect();
        let rows = step.rows.into_iter().map(|row| self.row(row, sequence)).collect::<Result<Vec<_>, _>>()?;
        let ticket = self.writer()?.ticket_within_reserve().map_err(failed)?;
        if ticket.sequence() != sequence {
            return Err(RecordFailed { reason: format!("step {sequence} would be step {}", ticket.sequence()) });
        }
        let record = loam_ledger::StepRecord {
            prefilled_tokens: step.prefilled_tokens,
            emitted_tokens: step.emitted_tokens,
            open_requests: step.open_requests,
            rows,
        };
        let heard = move |fate: Result<loam_ledger::Committed, Error>| {
            done(fate.map(|committed| Recorded { index: committed.index }).map_err(failed));
        };
        ticket.append(record, Level::Durable, Some(Box::new(heard))).map_err(failed)?;
        self.next += 1;
        for key in ended {
            self.requests.remove(&key);
        }
        Ok(())
    }

    fn stop(&mut self) -> Result<(), RecordFailed> {
        self.requests.clear();
        match self.writer.take() {
            Some(writer) => writer.stop().map_err(failed),
            None => Ok(()),
        }
    }
}

/// The request that a row is the last of.
fn ends(row: &RowRecord) -> Option<Key> {
    match row {
        RowRecord::Completion(completion) if completion.last_of_request => Some(completion.request),
        _ => None,
    }
}

fn failed(error: Error) -> RecordFailed {
    RecordFailed { reason: error.to_string() }
}
