//! What was said of a setting, by whom, and whether it may be said.

use std::fmt;

use super::error::SettingsError;
use super::table::{Kind, Otherwise, Setting};

/// A value of its setting's kind.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Value {
    /// Nothing was said, and nothing stands in its place.
    Absent,
    /// A text, or a word as we say it.
    Text(String),
    /// A number within its bounds.
    Number(u64),
    /// Yes or no.
    Switch(bool),
    /// Some texts, in the order that they were said in.
    Many(Vec<String>),
}

/// Who said it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Origin {
    /// The command line, under this name.
    Flag(String),
    /// The environment, under this name.
    Variable(String),
    /// A file, in this line.
    File(String, usize),
    /// Nobody.
    Default,
}

impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Flag(flag) => f.write_str(flag),
            Self::Variable(variable) => f.write_str(variable),
            Self::File(path, line) => write!(f, "{path} line {line}"),
            Self::Default => f.write_str("default"),
        }
    }
}

/// A setting's value and its origin.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Said {
    /// What holds.
    pub(crate) value: Value,
    /// Who said so.
    pub(crate) origin: Origin,
}

impl Said {
    /// Reads texts as a setting's value. The command line and the environment know nothing but texts.
    pub(crate) fn read(setting: &Setting, texts: &[String], origin: Origin) -> Result<Self, SettingsError> {
        let last = || texts.last().map(String::as_str).unwrap_or_default();
        let value = match setting.kind {
            Kind::Many(_) | Kind::Secrets(_) => Some(Value::Many(texts.to_vec())),
            Kind::Text(_) => (!last().is_empty()).then(|| Value::Text(last().to_owned())),
            Kind::Number(_, least, most) => last()
                .parse()
                .ok()
                .filter(|number| (least..=most).contains(number) && last().bytes().all(|byte| byte.is_ascii_digit()))
                .map(Value::Number),
            Kind::Choice(words) => words
                .iter()
                .find(|word| word.word == last() || word.also.contains(&last()))
                .map(|word| Value::Text(word.word.to_owned())),
            Kind::Switch => match last() {
                "true" | "yes" | "on" | "1" => Some(Value::Switch(true)),
                "false" | "no" | "off" | "0" => Some(Value::Switch(false)),
                _ => None,
            },
        };
        match value {
            Some(value) => Ok(Self { value, origin }),
            None => Err(wrong(setting, origin, format!("{:?}", last()))),
        }
    }

    /// What holds where nobody says anything.
    pub(crate) fn default(setting: &Setting) -> Self {
        match setting.default {
            Otherwise::Is(text) => {
                let said = Self::read(setting, &[text.to_owned()], Origin::Default);
                said.expect("the table's defaults are of their kinds")
            }
            Otherwise::Means(_) => Self { value: Value::Absent, origin: Origin::Default },
        }
    }
}

/// The error of a value that is not of its setting's kind. Secrets are not repeated.
pub(crate) fn wrong(setting: &Setting, origin: Origin, found: String) -> SettingsError {
    let found = if setting.kind.is_secret() { "something else".to_owned() } else { found };
    SettingsError::Wrong { setting: setting.name, origin, found, allowed: setting.kind.allowed() }
}

impl Kind {
    /// What may be said, in words.
    pub(crate) fn allowed(self) -> String {
        match self {
            Self::Text(_) => "a text that is not empty".to_owned(),
            Self::Number(_, least, most) => format!("a whole number from {least} to {most}"),
            Self::Choice(words) => {
                let words: Vec<&str> = words.iter().map(|word| word.word).collect();
                format!("one of {}", words.join(", "))
            }
            Self::Switch => "true or false".to_owned(),
            Self::Many(_) | Self::Secrets(_) => "a list of texts".to_owned(),
        }
    }
}
