//! Requests, with everything that their clients hold.

use loam_ledger_core::Hash;
use loam_ledger_core::commitment::{Key16, RequestSeed, What, commit, token_bytes};
use loam_ledger_core::row::{Completion, Finish, Pair, Step, Tokens, WEIGHT_ONE};

use super::{NAME, bytes16, bytes32};

/// One request.
#[derive(Clone, Debug)]
pub(crate) struct Request {
    pub(crate) number: u64,
    pub(crate) seed: RequestSeed,
    pub(crate) keys: [Key16; What::ALL.len()],
    /// The adapters, in order of generation.
    pub(crate) pairs: Vec<Pair>,
}

impl Request {
    /// The request of this number: every fourth has no nonce, and it mixes none to two of seven adapters.
    pub(crate) fn new(number: u64) -> Self {
        let mut pairs: Vec<Pair> = (0..number % 3)
            .map(|nth| Pair {
                generation: Hash(bytes32("generation", (number / 3 + nth) % 7)),
                weight_millionths: WEIGHT_ONE - 250_000 * i64::from(nth == 1),
            })
            .collect();
        pairs.sort_unstable();
        Self {
            number,
            seed: RequestSeed {
                client_nonce: (number % 4 != 3).then(|| bytes32("nonce", number)),
                server_random: bytes16("random", number),
            },
            keys: core::array::from_fn(|nth| bytes16(What::ALL[nth].word(), number)),
            pairs,
        }
    }

    /// Its commitment, by which its rows name it.
    pub(crate) fn id(&self) -> Hash {
        self.seed.commitment(NAME)
    }

    /// What one of its commitments opens to.
    pub(crate) fn said(&self, what: What) -> Vec<u8> {
        let number = self.number;
        match what {
            What::Tenant => format!("tenant {}", number % 5).into_bytes(),
            What::Request => format!("{{\"prompt\": \"what is {number}?\"}}").into_bytes(),
            What::Prompt => token_bytes(&[1, 2, 3, u32::try_from(number).expect("few requests")]),
            What::Text => format!("{number} is a number").into_bytes(),
            What::Tokens => token_bytes(&[7, 8, 9]),
            What::Sampling => b"temperature 0, seed 1, bf16, deterministic".to_vec(),
        }
    }

    /// The row with which one of its answers ends.
    pub(crate) fn completion(&self, choice: u32, first: Step, last: Step, tokens: Tokens) -> Completion {
        let commitment = |what: What| {
            let place = What::ALL.iter().position(|&each| each == what);
            commit(what, &self.keys[place.expect("ALL lists it")], &self.said(what))
        };
        Completion {
            request: self.id(),
            choice,
            tenant: commitment(What::Tenant),
            pairs: self.pairs.clone(),
            first,
            last,
            tokens,
            delivered_tokens: tokens.emitted.saturating_sub(1),
            finish: Finish::STOP,
            fee_nano: 0,
            price_policy: Hash::ZERO,
            request_bytes: commitment(What::Request),
            prompt: commitment(What::Prompt),
            text: commitment(What::Text),
            output_tokens: commitment(What::Tokens),
            sampling: commitment(What::Sampling),
        }
    }
}
