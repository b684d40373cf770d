//! What the caller gives: keys, policies, files of its own. What cannot be used is the caller's to mend, so exit 2.

use std::path::Path;

use anyhow::{Context, bail};
use loam_ledger_core::note::{KeyKind, VerifierKey};
use loam_ledger_core::policy::Policy;

use crate::files::read_named;

/// Keys and policies are short.
const SETTING_BYTES_MAX: u64 = 1 << 20;

/// A log's key: a vkey, or a file that holds one.
pub(crate) fn log_key(given: &str) -> anyhow::Result<VerifierKey> {
    let path = Path::new(given);
    let text = if VerifierKey::parse(given).is_err() && path.exists() {
        String::from_utf8_lossy(&read_named(path, SETTING_BYTES_MAX)?).into_owned()
    } else {
        given.to_owned()
    };
    if text.trim_start().starts_with("PRIVATE+KEY+") {
        bail!("{given} is a log's private key; `loam ledger key show` prints the one that verifies");
    }
    let key = VerifierKey::parse(text.trim());
    let key = key.with_context(|| format!("{given} is neither a vkey nor a file that holds one"))?;
    if key.kind() != KeyKind::Ed25519 {
        bail!("{given} is a witness's key; the key of a log is needed here");
    }
    Ok(key)
}

/// A policy file.
pub(crate) fn policy(path: Option<&Path>) -> anyhow::Result<Option<Policy>> {
    let Some(path) = path else { return Ok(None) };
    let bytes = read_named(path, SETTING_BYTES_MAX)?;
    let text = String::from_utf8(bytes).with_context(|| format!("{} is not text", path.display()))?;
    let policy = Policy::parse(&text).with_context(|| format!("{} is not a policy", path.display()))?;
    Ok(Some(policy))
}
