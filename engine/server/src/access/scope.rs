//! What a key allows.

use std::fmt;

/// One thing that a key may allow.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Scope {
    /// To ask for answers.
    Infer,
    /// To read one's own tenant's receipts and rows.
    AuditSelf,
    /// To read everybody's.
    AuditAll,
    /// To write to the records log, and to erase one's own tenant's requests, which the records log announces.
    RecordsWrite,
    /// To load, pin and unload adapters, to see how the server stands, and to erase what the law says.
    Admin,
}

/// What a key allows, all of it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Scopes(u8);

impl Scope {
    /// All there are, in the order that they are shown in.
    pub(crate) const ALL: [Self; 5] = [Self::Infer, Self::AuditSelf, Self::AuditAll, Self::RecordsWrite, Self::Admin];

    /// As files and messages have it.
    pub(crate) fn word(self) -> &'static str {
        match self {
            Self::Infer => "infer",
            Self::AuditSelf => "audit:self",
            Self::AuditAll => "audit:all",
            Self::RecordsWrite => "records:write",
            Self::Admin => "admin",
        }
    }

    /// Reads a word. The error says which there are.
    pub(crate) fn parse(word: &str) -> Result<Self, String> {
        let known = || Self::ALL.map(Self::word).join(", ");
        let found = Self::ALL.into_iter().find(|scope| scope.word() == word);
        found.ok_or_else(|| format!("there is no scope {word:?}; there are {}", known()))
    }

    fn bit(self) -> u8 {
        1 << (self as u8)
    }
}

impl fmt::Display for Scope {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.word())
    }
}

impl Scopes {
    /// These.
    pub(crate) fn of(scopes: &[Scope]) -> Self {
        Self(scopes.iter().fold(0, |bits, scope| bits | scope.bit()))
    }

    /// Whether this is one of them. Whoever may audit everybody may audit themselves.
    pub(crate) fn has(self, scope: Scope) -> bool {
        let implied = scope == Scope::AuditSelf && self.0 & Scope::AuditAll.bit() != 0;
        implied || self.0 & scope.bit() != 0
    }
}

impl fmt::Display for Scopes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let words: Vec<&str> = Scope::ALL.into_iter().filter(|scope| self.has(*scope)).map(Scope::word).collect();
        f.write_str(&words.join(", "))
    }
}
