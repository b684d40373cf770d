//! Why settings were not taken.

use std::fmt;

use super::value::Origin;

/// Why settings were not taken: what is wrong, who said it, and what may be said instead.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum SettingsError {
    /// A value that its setting does not have.
    Wrong {
        /// Which.
        setting: &'static str,
        /// Who said it.
        origin: Origin,
        /// What was said; never a secret.
        found: String,
        /// What may be said.
        allowed: String,
    },
    /// A key of the file that no setting has.
    Unknown {
        /// As it stands there.
        key: String,
        /// Where.
        origin: Origin,
        /// The key that was probably meant.
        nearest: Option<String>,
    },
    /// The file could not be read, or is no TOML.
    File {
        /// Which.
        path: String,
        /// Why, in one line.
        reason: String,
    },
    /// Two settings, or one and this build, do not go together.
    Rule(String),
}

impl fmt::Display for SettingsError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Wrong { setting, origin, found, allowed } => {
                write!(f, "{setting} ({origin}): found {found}; it must be {allowed}")
            }
            Self::Unknown { key, origin, nearest: Some(nearest) } => {
                write!(f, "{origin}: there is no setting `{key}`; is `{nearest}` meant?")
            }
            Self::Unknown { key, origin, nearest: None } => {
                write!(f, "{origin}: there is no setting `{key}`; `loam serve --help` lists them")
            }
            Self::File { path, reason } => write!(f, "{path}: {reason}"),
            Self::Rule(rule) => f.write_str(rule),
        }
    }
}

impl std::error::Error for SettingsError {}
