//! An answer: what a command found, for a person and for a program, and the exit status that goes with it.

use std::io::{ErrorKind, Write as _};
use std::process::ExitCode;

use loam_ledger_core::audit::{Failure, Fault};
use serde_json::{Map, Value, json};

use crate::text::printable;

/// The status of whoever could not check, or could not say.
const CANNOT: u8 = 2;

/// What a command found.
pub(crate) struct Answer {
    /// For a person, on standard output.
    text: String,
    /// For a program, on standard output instead.
    fields: Map<String, Value>,
    outcome: Outcome,
}

enum Outcome {
    Valid,
    /// Nothing was checked, as asked.
    Shown,
    /// The first reason, and what the caller may try.
    Invalid(String, Option<String>),
    Cannot(String),
}

impl Answer {
    /// All that was checked holds.
    pub(crate) fn valid(text: String, fields: Value) -> Self {
        Self::new(text, fields, Outcome::Valid)
    }

    /// What was asked for, of which nothing was checked.
    pub(crate) fn shown(text: String, fields: Value) -> Self {
        Self::new(text, fields, Outcome::Shown)
    }

    /// Something is wrong; `text` is what was found before.
    pub(crate) fn invalid(text: String, fields: Value, reason: String) -> Self {
        Self::new(text, fields, Outcome::Invalid(reason, None))
    }

    /// What an audit that ended early says.
    pub(crate) fn failed(failure: &Failure) -> Self {
        match failure {
            Failure::Unreadable { .. } => Self::new(String::new(), json!({}), Outcome::Cannot(failure.to_string())),
            Failure::Invalid(Fault { class, place, why }) => {
                let fields = json!({ "fault": { "class": class.word(), "place": place, "why": why } });
                Self::invalid(String::new(), fields, failure.to_string())
            }
        }
    }

    /// Nothing could be checked.
    pub(crate) fn cannot(error: anyhow::Error) -> Self {
        Self::new(String::new(), json!({}), Outcome::Cannot(format!("{error:#}")))
    }

    fn new(text: String, fields: Value, outcome: Outcome) -> Self {
        let Value::Object(fields) = fields else {
            unreachable!("answers are JSON objects");
        };
        Self { text, fields, outcome }
    }

    /// Adds what the caller may try, where the content is invalid.
    pub(crate) fn hint(mut self, hint: Option<String>) -> Self {
        if let (Outcome::Invalid(_, place), Some(hint)) = (&mut self.outcome, hint) {
            *place = Some(hint);
        }
        self
    }

    /// Prints the answer. Whoever closed the pipe has read enough, and the status stays what it is; but where an answer is
    /// lost, a good one must not seem to have been given.
    pub(crate) fn print(mut self, command: &str, json: bool) -> ExitCode {
        let (word, status) = match &self.outcome {
            Outcome::Valid => ("valid", 0),
            Outcome::Shown => ("shown", 0),
            Outcome::Invalid(..) => ("invalid", 1),
            Outcome::Cannot(_) => ("unreadable", CANNOT),
        };
        let complaint = match &self.outcome {
            Outcome::Valid | Outcome::Shown => String::new(),
            Outcome::Invalid(reason, None) => format!("INVALID: {reason}\n"),
            Outcome::Invalid(reason, Some(hint)) => format!("INVALID: {reason}\n{hint}\n"),
            Outcome::Cannot(reason) => format!("CANNOT CHECK: {reason}\n"),
        };
        let text = if json {
            self.fields.insert("command".to_owned(), command.into());
            self.fields.insert("verdict".to_owned(), word.into());
            if let Outcome::Invalid(reason, _) | Outcome::Cannot(reason) = &self.outcome {
                self.fields.insert("reason".to_owned(), reason.as_str().into());
            }
            format!("{:#}\n", sorted(Value::Object(self.fields)))
        } else {
            printable(&self.text)
        };
        let mut out = std::io::stdout().lock();
        let written = out.write_all(text.as_bytes()).and_then(|()| out.flush());
        let lost = written.err().filter(|error| error.kind() != ErrorKind::BrokenPipe);
        let loss = lost.as_ref().map(|error| format!("the answer could not be written: {error}\n")).unwrap_or_default();
        // Nobody is left to tell when this fails.
        let _ = std::io::stderr().write_all(printable(&(complaint + &loss)).as_bytes());
        ExitCode::from(if lost.is_some() && status == 0 { CANNOT } else { status })
    }
}

/// The same value with every object's keys in order. Whether `serde_json` keeps them so by itself depends on which other
/// crates are built beside this one; what an auditor reads must not.
fn sorted(value: Value) -> Value {
    match value {
        Value::Object(fields) => {
            let mut fields: Vec<(String, Value)> = fields.into_iter().collect();
            fields.sort_by(|(one, _), (other, _)| one.cmp(other));
            Value::Object(fields.into_iter().map(|(key, value)| (key, sorted(value))).collect())
        }
        Value::Array(values) => Value::Array(values.into_iter().map(sorted).collect()),
        other => other,
    }
}
