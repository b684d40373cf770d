//! Prometheus' text format, version 0.0.4.
//!
//! Written by hand, because `prometheus-client` writes OpenMetrics (`# EOF`, families without `_total`), which routers
//! that read vLLM's page line by line do not expect; and because most of our values are read when somebody looks, which
//! its registry knows only as collectors, each longer than this file.

use std::fmt::{Display, Write as _};

use super::histogram::Histogram;

/// The `Content-Type` of a page.
pub(crate) const CONTENT_TYPE: &str = "text/plain; version=0.0.4; charset=utf-8";

/// Labels and their values.
pub(super) type Labels<'a> = &'a [(&'a str, &'a str)];

/// A page being written.
#[derive(Default)]
pub(super) struct Page {
    text: String,
}

/// One metric of a page, of which samples are being written.
pub(super) struct Family<'a> {
    text: &'a mut String,
    name: &'static str,
}

impl Page {
    /// A value that only grows. Its name ends in `_total`.
    pub(super) fn counter(&mut self, name: &'static str, help: &str) -> Family<'_> {
        self.family(name, "counter", help)
    }

    /// A value that goes up and down.
    pub(super) fn gauge(&mut self, name: &'static str, help: &str) -> Family<'_> {
        self.family(name, "gauge", help)
    }

    /// Values by size.
    pub(super) fn histogram(&mut self, name: &'static str, help: &str, labels: Labels<'_>, values: &Histogram) {
        let mut family = self.family(name, "histogram", help);
        let mut count = 0;
        for (bound, values) in values.buckets() {
            count += values;
            let bound = if bound.is_finite() { format!("{bound:?}") } else { "+Inf".to_owned() };
            let labels: Vec<_> = labels.iter().copied().chain([("le", bound.as_str())]).collect();
            family.part("_bucket", &labels, count);
        }
        family.part("_sum", labels, values.sum());
        // What the buckets hold, and no number of its own: a page never contradicts itself.
        family.part("_count", labels, count);
    }

    /// How many values there were, and their sum.
    pub(super) fn summary(&mut self, name: &'static str, help: &str, sum: f64, count: u64) {
        let mut family = self.family(name, "summary", help);
        family.part("_sum", &[], sum);
        family.part("_count", &[], count);
    }

    /// The page.
    pub(super) fn finish(self) -> String {
        self.text
    }

    fn family(&mut self, name: &'static str, kind: &str, help: &str) -> Family<'_> {
        let help = help.replace('\\', "\\\\").replace('\n', "\\n");
        let _ = write!(self.text, "# HELP {name} {help}\n# TYPE {name} {kind}\n");
        Family { text: &mut self.text, name }
    }
}

impl Family<'_> {
    /// One sample.
    pub(super) fn sample(&mut self, labels: Labels<'_>, value: impl Display) {
        self.part("", labels, value);
    }

    fn part(&mut self, suffix: &str, labels: Labels<'_>, value: impl Display) {
        let Self { text, name } = self;
        let _ = write!(text, "{name}{suffix}");
        for (at, (label, value)) in labels.iter().enumerate() {
            let _ = write!(text, "{}{label}=\"{}\"", if at == 0 { '{' } else { ',' }, escaped(value));
        }
        let _ = writeln!(text, "{} {value}", if labels.is_empty() { "" } else { "}" });
    }
}

/// A label's value between its quotes.
fn escaped(value: &str) -> String {
    value.replace('\\', "\\\\").replace('"', "\\\"").replace('\n', "\\n")
}
