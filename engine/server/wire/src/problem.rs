//! Why a request was not answered, in words that both protocols have a form for.

use loam_engine::{Error, Failure};

/// What a client can make of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// The request is wrong, and stays so.
    Invalid,
    /// Prompt and answer have no room in the model's context.
    ContextFull,
    /// No key, or an unknown one.
    Unauthenticated,
    /// The key does not allow it.
    Forbidden,
    /// There is no such thing; or it is somebody else's, which looks the same.
    NotFound,
    /// Things are not as the request expects them.
    Conflict,
    /// The request is larger than it may be.
    TooLarge,
    /// Too much is asked at once; later it may do.
    Busy,
    /// Not now, and not by this process; another may.
    Unavailable,
    /// The time that the client gave ran out.
    Deadline,
    /// It is not there in this mode.
    Unsupported,
    /// The fault is here.
    Internal,
}

/// A refusal or a failure.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Problem {
    /// What a client can make of it.
    pub kind: Kind,
    /// What happened and what to do, for a person.
    pub message: String,
    /// The field that it is about.
    pub field: Option<String>,
    /// After how many milliseconds it can be tried again.
    pub retry_ms: Option<u64>,
}

/// How long a client waits where a queue was full.
const BUSY_RETRY_MS: u64 = 1_000;
/// How long a client waits where the process ends, or takes nothing for now.
const UNAVAILABLE_RETRY_MS: u64 = 5_000;

/// What a client is told where the record failed. Why is the log's to say: it may name the server's own files.
pub const LEDGER_FAILED: &str = "LEDGER_FAILED: nothing can be recorded here any more; ask another server";

/// What a client is told where the engine has ended, whatever ended it: that too is the log's to say.
const STOPPED: &str = "the engine has ended and takes nothing any more; ask another server";

/// What a client is told where the device is lost.
const DEVICE_LOST: &str = "DEVICE_LOST: nothing can be computed here any more; ask another server";

/// What a client is told where an adapter's files are not what they were. Which files is the log's to say.
const ADAPTER_UNREADABLE: &str = "ADAPTER_UNREADABLE: an adapter of this request cannot be read here any more; ask another \
     server, or whoever runs this one: its log says why";

impl Problem {
    /// A problem that is no field's.
    pub fn new(kind: Kind, message: impl Into<String>) -> Self {
        let retry_ms = match kind {
            Kind::Busy => Some(BUSY_RETRY_MS),
            Kind::Unavailable => Some(UNAVAILABLE_RETRY_MS),
            _ => None,
        };
        Self { kind, message: message.into(), field: None, retry_ms }
    }

    /// A field that is wrong.
    pub fn field(field: &str, message: impl Into<String>) -> Self {
        Self { field: Some(field.to_owned()), ..Self::new(Kind::Invalid, message) }
    }

    /// The same of a field that the client calls otherwise.
    pub fn called(self, theirs: &str) -> Self {
        let Some(ours) = self.field else { return self };
        let message = self.message.replace(&format!("`{ours}`"), &format!("`{theirs}`"));
        Self { message, field: Some(theirs.to_owned()), ..self }
    }
}

impl Problem {
    /// The same where the client's `model` named an adapter: it need not know that there are any.
    #[must_use]
    pub fn of_model(self) -> Self {
        let problem = self.called("model");
        if problem.kind != Kind::NotFound {
            return problem;
        }
        let message = problem.message.replacen("no adapter is called", "no model or adapter is called", 1);
        Self { message: format!("{message}; GET /v1/models lists those that there are"), ..problem }
    }
}

/// Fields are named as the engine does; each protocol says what it calls them ([`Problem::called`]).
impl From<&Error> for Problem {
    fn from(error: &Error) -> Self {
        let message = error.to_string();
        let (kind, field) = match error {
            Error::Request { field, .. } => (Kind::Invalid, Some((*field).to_owned())),
            Error::ContextFull { field, .. } => (Kind::ContextFull, Some((*field).to_owned())),
            Error::RequestField { field, .. } => (Kind::Invalid, Some(field.clone())),
            Error::RequestJson { .. } | Error::Tokenizer { .. } | Error::Template { .. } => (Kind::Invalid, None),
            Error::TemplateMissing { .. } => (Kind::Invalid, Some("messages".to_owned())),
            Error::Constraint { .. } => (Kind::Invalid, Some("form".to_owned())),
            Error::AdapterUnknown { .. } => (Kind::NotFound, Some("adapters.name".to_owned())),
            Error::AdapterForbidden { .. } => (Kind::Conflict, Some("adapters.name".to_owned())),
            Error::AdapterConflict { .. } | Error::AdapterChanged { .. } => (Kind::Conflict, None),
            // Whoever has an adapter loaded can mend its files, or name others.
            error if is_of_files(error) => (Kind::Invalid, None),
            Error::Full { .. } => (Kind::Busy, None),
            Error::Refused(refused) => (refused_kind(refused), None),
            Error::Record(_) => return Self::new(Kind::Unavailable, LEDGER_FAILED),
            Error::Stopped { .. } => return Self::new(Kind::Unavailable, STOPPED),
            Error::TenantsMany { .. } => (Kind::Unavailable, None),
            _ => (Kind::Internal, None),
        };
        Self { field, ..Self::new(kind, message) }
    }
}

/// Whether an adapter's files are not there, or do not hold what they should.
fn is_of_files(error: &Error) -> bool {
    matches!(
        error,
        Error::File { .. }
            | Error::Json { .. }
            | Error::Malformed { .. }
            | Error::Field { .. }
            | Error::TensorMissing { .. }
            | Error::TensorStrange { .. }
            | Error::TensorShape { .. }
            | Error::TensorType { .. }
    )
}

fn refused_kind(refused: &loam_engine::scheduler::Refused) -> Kind {
    use loam_engine::scheduler::Refused;
    match refused {
        Refused::Full { .. } | Refused::TenantFull { .. } => Kind::Busy,
        _ => Kind::Invalid,
    }
}

impl From<Error> for Problem {
    fn from(error: Error) -> Self {
        Self::from(&error)
    }
}

impl From<&Failure> for Problem {
    fn from(failure: &Failure) -> Self {
        match failure {
            // Whoever asks did not choose the files, and cannot mend them.
            Failure::Adapter(error) if is_of_files(error) || matches!(**error, Error::AdapterChanged { .. }) => {
                Self::new(Kind::Unavailable, ADAPTER_UNREADABLE)
            }
            Failure::Adapter(error) | Failure::Request(error) => Self::from(&**error),
            Failure::AdaptersTooLarge => Self::new(Kind::Busy, failure.to_string()),
            Failure::Deadline => Self::new(Kind::Deadline, failure.to_string()),
            Failure::Step(_) => Self::new(Kind::Internal, failure.to_string()),
            Failure::Ledger(_) => Self::new(Kind::Unavailable, LEDGER_FAILED),
            Failure::Device(_) => Self::new(Kind::Unavailable, DEVICE_LOST),
            Failure::Cancelled | Failure::Refused { .. } | Failure::Lost | Failure::Stopping => {
                Self::new(Kind::Unavailable, failure.to_string())
            }
        }
    }
}
