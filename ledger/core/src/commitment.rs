//! Commitments: what a row says of things that it must not show.
//!
//! Each is `H("loam/" what "/v1\0" || key16 || bytes)` under a key of its own, which the client's receipt opens alone.

use crate::hash::{Hash, digest_parts};

/// A key of a commitment, or a salt of a row: 16 bytes that nobody else can guess.
pub type Key16 = [u8; 16];

/// What a completion row commits to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum What {
    /// The name of the tenant who pays.
    Tenant,
    /// The request's bytes as they were received.
    Request,
    /// The token ids of the rendered prompt, each as four big-endian bytes.
    Prompt,
    /// The text that was delivered, in UTF-8.
    Text,
    /// The token ids that were delivered, each as four big-endian bytes.
    Tokens,
    /// Sampling parameters, seed, data type and mode, as the server encodes them.
    Sampling,
}

impl What {
    /// All of them, in the order of a receipt's openings.
    pub const ALL: [Self; 6] = [Self::Tenant, Self::Request, Self::Prompt, Self::Text, Self::Tokens, Self::Sampling];

    /// The word in the commitment's label.
    pub fn word(self) -> &'static str {
        match self {
            Self::Tenant => "tenant",
            Self::Request => "request-bytes",
            Self::Prompt => "prompt",
            Self::Text => "text",
            Self::Tokens => "tokens",
            Self::Sampling => "sampling",
        }
    }
}

/// Commits to some bytes under a key.
pub fn commit(what: What, key: &Key16, bytes: &[u8]) -> Hash {
    digest_parts(&[b"loam/", what.word().as_bytes(), b"/v1\0", key, bytes])
}

/// Token ids as the bytes that are committed to.
pub fn token_bytes(ids: &[u32]) -> Vec<u8> {
    ids.iter().flat_map(|id| id.to_be_bytes()).collect()
}

/// What makes a request one of a kind: no row serves two clients, for each covers its client's nonce or says that
/// there was none, and the server's own randomness in any case.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RequestSeed {
    /// What the client chose, where it chose.
    pub client_nonce: Option<[u8; 32]>,
    /// What the server drew.
    pub server_random: [u8; 16],
}

impl RequestSeed {
    /// The request's commitment, which is also the name by which its receipt is asked for.
    ///
    /// `H("loam/request/v1\0" || u16 length of name || ledger's name || 0x00 or 0x01 || nonce if 0x01 || random16)`
    pub fn commitment(&self, ledger_name: &str) -> Hash {
        let length = u16::try_from(ledger_name.len()).expect("a ledger's name is short").to_be_bytes();
        let flag = [u8::from(self.client_nonce.is_some())];
        let nonce = self.client_nonce.as_ref().map_or(&[][..], |nonce| nonce);
        digest_parts(&[b"loam/request/v1\0", &length, ledger_name.as_bytes(), &flag, nonce, &self.server_random])
    }
}
