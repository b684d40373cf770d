//! Counts, as factors of rates and in words.

/// A count as a factor of a rate.
#[expect(clippy::cast_precision_loss, reason = "counts here are far below 2^52")]
pub(crate) const fn float(count: usize) -> f64 {
    count as f64
}

/// `1 row`, `8 rows`.
pub(crate) fn counted(count: usize, what: &str) -> String {
    format!("{count} {what}{}", if count == 1 { "" } else { "s" })
}
