//! Log lines: for a person, or one JSON object each. Never a word of a prompt or an answer.

use tracing_subscriber::EnvFilter;

use crate::settings::Log;

/// Starts the log on standard error.
pub(super) fn start(log: &Log) {
    let filter = EnvFilter::try_new(&log.level).unwrap_or_else(|_| EnvFilter::new("info"));
    let lines = tracing_subscriber::fmt().with_env_filter(filter).with_writer(std::io::stderr).with_target(false);
    let started = if log.json {
        lines.json().flatten_event(true).with_current_span(true).with_span_list(false).try_init()
    } else {
        lines.with_ansi(false).try_init()
    };
    // Another log is there already only in a process that is not ours.
    let _ = started;
}
