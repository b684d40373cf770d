//! `loam key new`: a key that nobody can guess, and what a file of keys says of it.

use std::fmt::Write as _;

use loam_ledger_core::Hash;
use loam_ledger_core::hash::digest;

use super::file;
use super::scope::Scope;

/// What a key begins with, so that people and scanners of leaks know it when they see it.
const PREFIX: &str = "loam_";

/// A key, and what is kept of it.
pub(crate) struct FreshKey {
    /// The key, shown once: `loam_` and 64 hexadecimal digits, 256 bits of entropy.
    pub(crate) key: String,
    /// The entry for the file of keys: its digest, without the key.
    pub(crate) stanza: String,
}

/// Makes a key of 32 bytes that were drawn at random.
pub(crate) fn fresh_key(random: [u8; 32], name: &str, tenant: &str, scopes: &[Scope]) -> Result<FreshKey, String> {
    let key = format!("{PREFIX}{}", Hash(random).to_hex());
    let quoted = |text: &str| toml::Value::String(text.to_owned()).to_string();
    let scopes: Vec<String> = scopes.iter().map(|scope| quoted(scope.word())).collect();
    let mut stanza = String::from("[[key]]\n");
    for (field, value) in [
        ("name", quoted(name)),
        ("tenant", quoted(tenant)),
        ("sha256", quoted(&digest(key.as_bytes()).to_hex())),
        ("scopes", format!("[{}]", scopes.join(", "))),
    ] {
        let _ = writeln!(stanza, "{field} = {value}");
    }
    // What is written can be read: names and scopes are refused here as they would be there.
    file::read("loam key new", &stanza).map_err(|error| error.to_string())?;
    Ok(FreshKey { key, stanza })
}
