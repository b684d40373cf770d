//! Synthetic requests: what the bench appends rows of, with contents that anyone can know.

use std::sync::Arc;

use loam_ledger::{Ledger, Request};
use loam_ledger_core::Hash;
use loam_ledger_core::commitment::{What, token_bytes};
use loam_ledger_core::hash::digest;
use loam_ledger_core::row::{Completion, Finish, Pair, Row, Step, Tokens, Usage, WEIGHT_ONE};

use super::completions::GivenCompletion;

/// The request's bytes, and the answer's.
pub(crate) const REQUEST_BYTES: &[u8] = b"a synthetic request";
pub(crate) const ANSWER: &[u8] = b"a synthetic answer";

const ADAPTERS: u64 = 16;

/// One request while it runs.
pub(crate) struct Synthetic {
    request: Arc<Request>,
    pairs: Vec<Pair>,
    fee_nano: u64,
    tenant: String,
    price_policy: Hash,
    tokens: Tokens,
    steps: Option<(u64, u64)>,
}

impl Synthetic {
    /// Begins a request that uses one of a few adapters.
    pub(crate) fn begin(ledger: &Ledger, number: u64) -> Result<Self, loam_ledger::Error> {
        let generation = digest(format!("synthetic adapter {}", number % ADAPTERS).as_bytes());
        let pairs = vec![Pair { generation, weight_millionths: WEIGHT_ONE }];
        let (tenant, price_policy) = ("a synthetic tenant".to_owned(), Hash::ZERO);
        let request = ledger.begin_request(None)?;
        Ok(Self { request, pairs, fee_nano: 0, tenant, price_policy, tokens: Tokens::default(), steps: None })
    }

    /// Begins a request whose account is given.
    pub(crate) fn given(ledger: &Ledger, given: &GivenCompletion) -> Result<Self, loam_ledger::Error> {
        let synthetic = Self::begin(ledger, 0)?;
        Ok(Self {
            pairs: given.pairs.clone(),
            fee_nano: given.fee_nano,
            tenant: given.tenant.clone(),
            price_policy: given.price_policy,
            ..synthetic
        })
    }

    /// The name by which its receipt is asked for.
    pub(crate) fn name(&self) -> Hash {
        self.request.commitment()
    }

    /// A usage row for one step, and its request.
    pub(crate) fn usage(&mut self, sequence: u64, tokens: Tokens) -> (Arc<Request>, Row) {
        self.tokens = self.tokens.checked_add(&tokens).expect("a bench counts few tokens");
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

    /// The completion row, in the entry of this sequence or a later one.
    pub(crate) fn completion(self, boot: [u8; 16], sequence: u64) -> (Arc<Request>, Row) {
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
            fee_nano: self.fee_nano,
            price_policy: self.price_policy,
            request_bytes: commit(What::Request, REQUEST_BYTES),
            prompt: commit(What::Prompt, &token_bytes(&[1, 2, 3])),
            text: commit(What::Text, ANSWER),
            output_tokens: commit(What::Tokens, &token_bytes(&[4, 5, 6])),
            sampling: commit(What::Sampling, b""),
        };
        (self.request, Row::Completion(Box::new(completion)))
    }
}

/// A ledger's name that nobody else will draw: `loam.local/` and eight random digits.
pub(crate) fn random_name() -> anyhow::Result<String> {
    let mut bytes = [0; 4];
    getrandom::fill(&mut bytes).map_err(|e| anyhow::anyhow!("no randomness: {e}"))?;
    Ok(format!("loam.local/{}", loam_ledger_core::text::hex_encode(&bytes)))
}
