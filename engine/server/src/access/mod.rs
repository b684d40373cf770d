//! Who asks, and what they may: API keys, their tenants and scopes, and how much each may ask at once.
//!
//! A key itself is never kept, only its SHA-256. Keys are drawn at random and long, so that a plain digest hides them.

mod file;
mod fresh;
mod scope;
#[cfg(test)]
mod tests;

use std::collections::BTreeSet;
use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use loam_ledger_core::Hash;
use loam_ledger_core::hash::digest;
use loam_wire::{Kind, Problem};
use subtle::{Choice, ConditionallySelectable as _, ConstantTimeEq as _};

pub(crate) use fresh::{FreshKey, fresh_key};
pub(crate) use scope::{Scope, Scopes};

/// Who pays where nobody says otherwise.
pub(crate) const DEFAULT_TENANT: &str = "default";

/// Keys that one server knows at most: all of them are compared at every request.
pub(crate) const KEYS_MAX: usize = 4096;

/// The keys that a server knows.
pub(crate) struct Keys {
    keys: Vec<Key>,
    /// Who asks where no key is known at all.
    local: Arc<Holder>,
}

struct Key {
    sha256: Hash,
    holder: Arc<Holder>,
}

/// What is known of whoever holds a key.
struct Holder {
    name: Arc<str>,
    tenant: Arc<str>,
    scopes: Scopes,
    requests_max: usize,
    requests: AtomicUsize,
}

/// Why keys were not taken.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct KeysError {
    /// The file, or the setting.
    place: String,
    /// What is wrong and what to do, without any key.
    reason: String,
}

/// One who may ask, for as long as a request lives.
#[derive(Clone)]
pub(crate) struct Caller {
    holder: Arc<Holder>,
}

/// One request of a key's; dropping it makes room for another.
pub(crate) struct Permit {
    holder: Arc<Holder>,
}

impl Keys {
    /// The keys of `--api-key`, and those of a file's text. `requests_max` is how many requests each may have at once
    /// where the file does not say.
    pub(crate) fn new(plain: &[&str], file: Option<(&str, &str)>, requests_max: usize) -> Result<Self, KeysError> {
        let mut keys = Self { keys: Vec::new(), local: Arc::new(Holder::local(requests_max)) };
        for (at, key) in plain.iter().enumerate() {
            let name = if plain.len() == 1 { "api-key".to_owned() } else { format!("api-key-{}", at + 1) };
            let scopes = Scopes::of(&[Scope::Infer, Scope::AuditSelf]);
            keys.add("--api-key", digest(key.as_bytes()), name, DEFAULT_TENANT, scopes, requests_max)?;
        }
        if let Some((path, text)) = file {
            for stanza in file::read(path, text)? {
                let requests_max = stanza.requests_max.unwrap_or(requests_max);
                keys.add(path, stanza.sha256, stanza.name, &stanza.tenant, stanza.scopes, requests_max)?;
            }
        }
        keys.check_names(file.map_or("--api-key", |(path, _)| path))?;
        Ok(keys)
    }

    /// Whether anybody may ask for anything, because no key is known.
    pub(crate) fn is_open(&self) -> bool {
        self.keys.is_empty()
    }

    /// Who holds the key that was presented. How long this takes says nothing of the keys that are known: every one of
    /// them is compared whole, and digests of what was presented tell nobody how near it came.
    pub(crate) fn identify(&self, presented: Option<&str>) -> Result<Caller, Problem> {
        if self.is_open() {
            return Ok(Caller { holder: Arc::clone(&self.local) });
        }
        let Some(presented) = presented else {
            let message = "an API key is needed: send it as `Authorization: Bearer KEY`";
            return Err(Problem::new(Kind::Unauthenticated, message));
        };
        let sha256 = digest(presented.as_bytes());
        let (mut found, mut at) = (Choice::from(0), 0_u64);
        for (number, key) in (0_u64..).zip(&self.keys) {
            let same = sha256.0.ct_eq(&key.sha256.0);
            at.conditional_assign(&number, same);
            found |= same;
        }
        let key = usize::try_from(at).ok().filter(|_| found.into()).and_then(|at| self.keys.get(at));
        match key {
            Some(key) => Ok(Caller { holder: Arc::clone(&key.holder) }),
            None => Err(Problem::new(Kind::Unauthenticated, "the API key is not known here")),
        }
    }

    fn add(
        &mut self,
        place: &str,
        sha256: Hash,
        name: String,
        tenant: &str,
        scopes: Scopes,
        requests_max: usize,
    ) -> Result<(), KeysError> {
        if let Some(other) = self.keys.iter().find(|other| other.sha256 == sha256) {
            let other = &other.holder.name;
            return Err(KeysError::new(place, format!("{name} and {other} are the same key; each key has one name")));
        }
        if self.keys.len() == KEYS_MAX {
            return Err(KeysError::new(place, format!("there are more than {KEYS_MAX} keys; take some out")));
        }
        let requests = AtomicUsize::new(0);
        let (name, tenant) = (name.into(), tenant.into());
        let holder = Arc::new(Holder { name, tenant, scopes, requests_max, requests });
        self.keys.push(Key { sha256, holder });
        Ok(())
    }

    fn check_names(&self, place: &str) -> Result<(), KeysError> {
        let mut names = BTreeSet::new();
        match self.keys.iter().find(|key| !names.insert(&*key.holder.name)) {
            Some(key) => Err(KeysError::new(place, format!("two keys are named {:?}", key.holder.name))),
            None => Ok(()),
        }
    }
}

/// Digests of keys are no secrets, and yet nobody's business.
impl fmt::Debug for Keys {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries(self.keys.iter().map(|key| &key.holder.name)).finish()
    }
}

impl Holder {
    /// Whoever can reach a server that knows no key; it listens to its own machine alone.
    fn local(requests_max: usize) -> Self {
        let (scopes, requests) = (Scopes::of(&Scope::ALL), AtomicUsize::new(0));
        Self { name: "local".into(), tenant: DEFAULT_TENANT.into(), scopes, requests_max, requests }
    }
}

impl Caller {
    /// The key's name, for the log.
    pub(crate) fn name(&self) -> &Arc<str> {
        &self.holder.name
    }

    /// Who pays, and whose requests and receipts these are.
    pub(crate) fn tenant(&self) -> &Arc<str> {
        &self.holder.tenant
    }

    /// Refuses whoever lacks a scope, and says which.
    pub(crate) fn need(&self, scope: Scope) -> Result<(), Problem> {
        if self.holder.scopes.has(scope) {
            return Ok(());
        }
        let message = format!("the key {} lacks the scope {scope}, which this needs", self.holder.name);
        Err(Problem::new(Kind::Forbidden, message))
    }

    /// Refuses whoever may neither ask nor administer: how the server stands is both's to see.
    pub(crate) fn need_to_see(&self) -> Result<(), Problem> {
        self.need(Scope::Admin).or_else(|_| self.need(Scope::Infer))
    }

    /// Takes one more request of this key's, or refuses it for now.
    pub(crate) fn admit(&self) -> Result<Permit, Problem> {
        let holder = &self.holder;
        // Nothing but the number itself is agreed upon here, so that no order with other memory is needed.
        let one_more = |running: usize| (running < holder.requests_max).then_some(running + 1);
        match holder.requests.fetch_update(Ordering::Relaxed, Ordering::Relaxed, one_more) {
            Ok(_) => Ok(Permit { holder: Arc::clone(holder) }),
            Err(_) => {
                let Holder { name, requests_max, .. } = &**holder;
                let message =
                    format!("the key {name} has {requests_max} requests running, which is its limit; try later");
                Err(Problem::new(Kind::Busy, message))
            }
        }
    }
}

impl fmt::Debug for Caller {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Holder { name, tenant, scopes, .. } = &*self.holder;
        write!(f, "{name} of {tenant} ({scopes})")
    }
}

impl Drop for Permit {
    fn drop(&mut self) {
        self.holder.requests.fetch_sub(1, Ordering::Relaxed);
    }
}

impl fmt::Debug for Permit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "a permit of {}", self.holder.name)
    }
}

impl KeysError {
    fn new(place: &str, reason: impl Into<String>) -> Self {
        Self { place: place.to_owned(), reason: reason.into() }
    }
}

impl fmt::Display for KeysError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.place, self.reason)
    }
}

impl std::error::Error for KeysError {}

/// The key in an `Authorization` header. The scheme's letters may be of either case, as RFC 9110 has it.
pub(crate) fn bearer(header: &str) -> Option<&str> {
    let (scheme, key) = header.trim().split_once(' ')?;
    let key = key.trim_start();
    (scheme.eq_ignore_ascii_case("bearer") && !key.is_empty() && !key.contains(' ')).then_some(key)
}
