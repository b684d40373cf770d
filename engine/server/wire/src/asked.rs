//! What a client asks for beside the answer itself.

use loam_engine::request::Generate;

/// A request, and what its answer carries besides.
#[derive(Clone, Debug, PartialEq)]
pub struct Asked {
    /// What the engine is asked for.
    pub generate: Generate,
    /// 32 bytes of the client's choice, so that no receipt of its serves anybody else.
    pub nonce: Option<[u8; 32]>,
    /// Whether the answer ends with a receipt for each choice.
    pub receipt: bool,
}

/// Reads a nonce as headers and JSON have it, in digits of either case.
pub fn nonce_from_hex(text: &str) -> Option<[u8; 32]> {
    loam_ledger_core::Hash::from_hex(&text.to_ascii_lowercase()).ok().map(|hash| hash.0)
}
