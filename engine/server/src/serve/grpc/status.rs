//! Problems as gRPC statuses, with what a program needs to act on them.

use std::time::Duration;

use loam_wire::{Kind, Problem};
use tonic::{Code, Status};
use tonic_types::{ErrorDetails, StatusExt as _};

/// A problem's status: which field, which limit, and when to try again.
pub(crate) fn status(problem: &Problem) -> Status {
    let mut details = ErrorDetails::new();
    if let Some(field) = &problem.field {
        details.add_bad_request_violation(field, &problem.message);
    }
    if let Some(ms) = problem.retry_ms {
        details.set_retry_info(Some(Duration::from_millis(ms)));
    }
    if matches!(problem.kind, Kind::Busy | Kind::TooLarge) {
        details.add_quota_failure_violation("requests", &problem.message);
    }
    Status::with_error_details(code(problem.kind), &problem.message, details)
}

/// The kind that a status tells of, for whoever counts; none where all went well, or the client itself ended it.
pub(crate) const fn kind(code: i32) -> Option<Kind> {
    Some(match Code::from_i32(code) {
        Code::Ok | Code::Cancelled => return None,
        Code::InvalidArgument | Code::OutOfRange => Kind::Invalid,
        Code::Unauthenticated => Kind::Unauthenticated,
        Code::PermissionDenied => Kind::Forbidden,
        Code::NotFound => Kind::NotFound,
        Code::FailedPrecondition | Code::AlreadyExists | Code::Aborted => Kind::Conflict,
        Code::ResourceExhausted => Kind::Busy,
        Code::Unavailable => Kind::Unavailable,
        Code::DeadlineExceeded => Kind::Deadline,
        Code::Unimplemented => Kind::Unsupported,
        Code::Internal | Code::Unknown | Code::DataLoss => Kind::Internal,
    })
}

const fn code(kind: Kind) -> Code {
    match kind {
        Kind::Invalid | Kind::ContextFull => Code::InvalidArgument,
        Kind::Unauthenticated => Code::Unauthenticated,
        Kind::Forbidden => Code::PermissionDenied,
        Kind::NotFound => Code::NotFound,
        Kind::Conflict => Code::FailedPrecondition,
        Kind::TooLarge | Kind::Busy => Code::ResourceExhausted,
        Kind::Unavailable => Code::Unavailable,
        Kind::Deadline => Code::DeadlineExceeded,
        Kind::Unsupported => Code::Unimplemented,
        Kind::Internal => Code::Internal,
    }
}
