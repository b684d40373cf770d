//! A small engine for tests: requests that run a few steps, each step durable before the next.
#![allow(dead_code, reason = "each test file uses a part of it")]

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, mpsc};
use std::time::Duration;

use loam_ledger::{BootInfo, Committed, Error, Ledger, Level, Options, Request, StepRecord, Writer};
use loam_ledger_core::Hash;
use loam_ledger_core::commitment::{What, token_bytes};
use loam_ledger_core::hash::digest;
use loam_ledger_core::row::{Completion, Finish, Pair, Row, Step, Tokens, Usage};

pub(crate) const PROMPT: &[u8] = b"{\"prompt\":\"what grows here?\"}";
pub(crate) const ANSWER: &[u8] = b"whatever is sown";

/// Options without surprises: a clock of its own, and nothing signed unless somebody asks.
pub(crate) fn options() -> Options {
    let now = AtomicU64::new(1_700_000_000_000);
    Options {
        publish_interval: Duration::from_secs(3600),
        reserve_bytes: 0,
        clock: Arc::new(move || now.fetch_add(1, Ordering::Relaxed)),
        ..Options::default()
    }
}

pub(crate) fn boot_info(engine: u8) -> BootInfo {
    BootInfo { engine: [engine; 16], base: digest(b"base"), build: digest(b"build"), config: digest(b"config") }
}

/// One request of one answer.
pub(crate) struct Running {
    pub(crate) request: Arc<Request>,
    pub(crate) pairs: Vec<Pair>,
    tenant: &'static str,
    tokens: Tokens,
    steps: Option<(u64, u64)>,
}

impl Running {
    pub(crate) fn begin(ledger: &Ledger, adapter: &str, nonce: Option<[u8; 32]>) -> Result<Self, Error> {
        let pairs = vec![Pair { generation: digest(adapter.as_bytes()), weight_millionths: 1_000_000 }];
        let (request, tenant) = (ledger.begin_request(nonce)?, "tenant");
        Ok(Self { request, pairs, tenant, tokens: Tokens::default(), steps: None })
    }

    /// The same request, as if none of its rows had been made.
    pub(crate) fn again(other: &Self) -> Self {
        let (request, pairs) = (Arc::clone(&other.request), other.pairs.clone());
        Self { request, pairs, tenant: other.tenant, tokens: Tokens::default(), steps: None }
    }

    pub(crate) fn name(&self) -> Hash {
        self.request.commitment()
    }

    pub(crate) fn usage(&mut self, sequence: u64, tokens: Tokens) -> (Arc<Request>, Row) {
        self.tokens = self.tokens.checked_add(&tokens).expect("tests count few tokens");
        self.steps = Some((self.steps.map_or(sequence, |(first, _)| first), sequence));
        let usage = Usage {
            request: self.name(),
            choice: 0,
            pairs: self.pairs.clone(),
            first_sequence: sequence,
            last_sequence: sequence,
            tokens,
        };
        (Arc::clone(&self.request), Row::Usage(usage))
    }

    pub(crate) fn completion(&self, boot: [u8; 16], sequence: u64, fee_nano: u64) -> (Arc<Request>, Row) {
        let (first, last) = self.steps.unwrap_or((sequence, sequence));
        let commit = |what, bytes: &[u8]| self.request.commit(what, 0, bytes);
        let completion = Completion {
            request: self.name(),
            choice: 0,
            tenant: commit(What::Tenant, self.tenant.as_bytes()),
            pairs: self.pairs.clone(),
            first: Step { boot, sequence: first },
            last: Step { boot, sequence: last },
            tokens: self.tokens,
            delivered_tokens: self.tokens.emitted,
            finish: Finish::STOP,
            fee_nano,
            price_policy: if fee_nano == 0 { Hash::ZERO } else { digest(b"policy") },
            request_bytes: commit(What::Request, PROMPT),
            prompt: commit(What::Prompt, &token_bytes(&[1, 2, 3])),
            text: commit(What::Text, ANSWER),
            output_tokens: commit(What::Tokens, &token_bytes(&[7, 8])),
            sampling: commit(What::Sampling, b"greedy"),
        };
        (Arc::clone(&self.request), Row::Completion(Box::new(completion)))
    }
}

pub(crate) const TOKENS: Tokens = Tokens { prefilled: 3, reused: 1, recomputed: 0, discarded: 0, emitted: 5 };

/// A step in which one request uses [`TOKENS`].
pub(crate) fn usage_step(running: &mut Running, sequence: u64) -> StepRecord {
    StepRecord {
        prefilled_tokens: TOKENS.prefilled,
        emitted_tokens: TOKENS.emitted,
        open_requests: 0,
        rows: vec![running.usage(sequence, TOKENS)],
    }
}

/// Appends a step and waits for its level.
pub(crate) fn append(writer: &Writer, level: Level, step: impl FnOnce(u64) -> StepRecord) -> Result<Committed, Error> {
    let (sender, outcome) = mpsc::channel();
    let ticket = writer.ticket()?;
    let step = step(ticket.sequence());
    ticket.append(step, level, Some(Box::new(move |result| drop(sender.send(result)))))?;
    outcome.recv().expect("an append that was taken is acknowledged or refused")
}

/// A request that uses two steps and completes in the second.
pub(crate) fn whole_request(ledger: &Ledger, writer: &Writer, adapter: &str) -> Result<(Hash, Vec<Committed>), Error> {
    paid_request(ledger, writer, adapter, "tenant")
}

/// The same, of a tenant.
pub(crate) fn paid_request(
    ledger: &Ledger,
    writer: &Writer,
    adapter: &str,
    tenant: &'static str,
) -> Result<(Hash, Vec<Committed>), Error> {
    let mut running = Running { tenant, ..Running::begin(ledger, adapter, Some([7; 32]))? };
    let first = append(writer, Level::Durable, |sequence| usage_step(&mut running, sequence))?;
    let second = append(writer, Level::Durable, |sequence| {
        let mut step = usage_step(&mut running, sequence);
        step.rows.push(running.completion(writer.boot_id(), sequence, 1000));
        step
    })?;
    Ok((running.name(), vec![first, second]))
}
