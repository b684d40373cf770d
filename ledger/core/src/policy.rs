//! Trust policies (C2SP tlog-policy): which logs, which witnesses, and how many of them make a quorum.

use std::collections::{BTreeMap, BTreeSet};

use crate::cosignature::cosigned_at;
use crate::error::Error;
use crate::note::{KeyKind, Note, VerifierKey};
use crate::text::decimal;

/// Definitions that a policy may have; more is refused.
pub const POLICY_LINES_MAX: usize = 1024;

/// A policy, read whole: every name is defined before it is used.
#[derive(Clone, Debug, Default)]
pub struct Policy {
    logs: Vec<VerifierKey>,
    witnesses: BTreeMap<String, VerifierKey>,
    /// In the order of their definition, so that members stand before the groups that name them.
    groups: Vec<Group>,
    quorum: Option<String>,
}

#[derive(Clone, Debug)]
struct Group {
    name: String,
    threshold: usize,
    members: Vec<String>,
}

impl Policy {
    /// Reads a policy file.
    pub fn parse(text: &str) -> Result<Self, Error> {
        let mut policy = Self::default();
        let mut quorum_seen = false;
        for (number, line) in text.split('\n').enumerate() {
            let at = |why: &'static str| Error::Policy { line: number + 1, why };
            if line.contains(|c: char| c.is_ascii_control() && c != '\t') {
                return Err(at("a control character"));
            }
            if number >= POLICY_LINES_MAX && !line.is_empty() {
                return Err(at("more lines than a policy may have"));
            }
            let words: Vec<&str> = line.split_ascii_whitespace().collect();
            match words[..] {
                [] => {}
                [comment, ..] if comment.starts_with('#') => {}
                ["log", key] | ["log", key, _] => policy.log(key).map_err(at)?,
                ["witness", name, key] | ["witness", name, key, _] => policy.witness(name, key).map_err(at)?,
                ["group", name, threshold, ref members @ ..] => policy.group(name, threshold, members).map_err(at)?,
                ["quorum", name] => {
                    if core::mem::replace(&mut quorum_seen, true) {
                        return Err(at("a second quorum"));
                    }
                    policy.quorum(name).map_err(at)?;
                }
                _ => return Err(at("neither log, witness, group nor quorum")),
            }
        }
        if quorum_seen { Ok(policy) } else { Err(Error::Policy { line: 0, why: "no quorum line" }) }
    }

    /// The logs that the policy trusts.
    pub fn logs(&self) -> &[VerifierKey] {
        &self.logs
    }

    /// Whether this policy asks for witnesses at all.
    pub fn needs_witnesses(&self) -> bool {
        self.quorum.is_some()
    }

    /// Checks that the cosignatures on a checkpoint make the quorum.
    pub fn check_quorum(&self, note: &Note) -> Result<(), Error> {
        let Some(quorum) = &self.quorum else { return Ok(()) };
        let mut held = BTreeSet::new();
        for (name, witness) in &self.witnesses {
            if cosigned_at(note, witness)?.is_some() {
                held.insert(name.as_str());
            }
        }
        for group in &self.groups {
            if group.members.iter().filter(|member| held.contains(member.as_str())).count() >= group.threshold {
                held.insert(&group.name);
            }
        }
        if held.contains(quorum.as_str()) { Ok(()) } else { Err(Error::Quorum { quorum: quorum.clone() }) }
    }

    fn log(&mut self, key: &str) -> Result<(), &'static str> {
        let key = VerifierKey::parse(key).map_err(|_| "not a log's vkey")?;
        if key.kind() != KeyKind::Ed25519 {
            return Err("a log's key must be of type 01");
        }
        is_new(&key, self.logs.iter())?;
        self.logs.push(key);
        Ok(())
    }

    fn witness(&mut self, name: &str, key: &str) -> Result<(), &'static str> {
        let key = VerifierKey::parse(key).map_err(|_| "not a witness's vkey")?;
        if key.kind() != KeyKind::CosignatureV1 {
            return Err("a witness's key must be of type 04");
        }
        is_new(&key, self.witnesses.values())?;
        self.unused(name)?;
        self.witnesses.insert(name.to_owned(), key);
        Ok(())
    }

    fn group(&mut self, name: &str, threshold: &str, members: &[&str]) -> Result<(), &'static str> {
        let distinct: BTreeSet<&&str> = members.iter().collect();
        if members.is_empty() || distinct.len() != members.len() {
            return Err("a group needs members, each once");
        }
        if !members.iter().all(|member| self.is_defined(member)) {
            return Err("a group's member is not defined before it");
        }
        let is_member = |name: &&str| self.groups.iter().any(|group| group.members.iter().any(|m| m == name));
        if members.iter().any(is_member) {
            return Err("a member of another group already");
        }
        let threshold = match threshold {
            "any" => 1,
            "all" => members.len(),
            number => {
                decimal(number).ok().and_then(|n| usize::try_from(n).ok()).ok_or("a threshold is k, any or all")?
            }
        };
        if threshold == 0 || threshold > members.len() {
            return Err("a threshold lies between 1 and the number of members");
        }
        self.unused(name)?;
        let members = members.iter().map(|&member| member.to_owned()).collect();
        self.groups.push(Group { name: name.to_owned(), threshold, members });
        Ok(())
    }

    fn quorum(&mut self, name: &str) -> Result<(), &'static str> {
        if name != "none" {
            if !self.is_defined(name) {
                return Err("the quorum is not defined before it");
            }
            self.quorum = Some(name.to_owned());
        }
        Ok(())
    }

    fn is_defined(&self, name: &str) -> bool {
        self.witnesses.contains_key(name) || self.groups.iter().any(|group| group.name == name)
    }

    fn unused(&self, name: &str) -> Result<(), &'static str> {
        if name == "none" || self.is_defined(name) { Err("a name that is taken") } else { Ok(()) }
    }
}

/// No key counts twice, whatever names it goes by: else one witness could make a quorum alone.
fn is_new<'a>(key: &VerifierKey, mut listed: impl Iterator<Item = &'a VerifierKey>) -> Result<(), &'static str> {
    if listed.any(|other| other.public() == key.public()) { Err("a key that is listed already") } else { Ok(()) }
}
