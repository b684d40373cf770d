//! Text for people: numbers that can be read, times, and lines with a label.

/// A number with its thousands apart: `1,234,567`.
pub(crate) fn number(value: impl Into<u128>) -> String {
    let digits = value.into().to_string();
    let mut text = String::with_capacity(digits.len() * 4 / 3);
    for (place, digit) in digits.chars().enumerate() {
        if place > 0 && (digits.len() - place).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

/// A number and its noun: `1 tile`, `2 tiles`, `3 entries`, `4 hashes`, `5 epochs`.
pub(crate) fn count(value: u64, noun: &str) -> String {
    let number = number(value);
    match noun.strip_suffix('y') {
        _ if value == 1 => format!("{number} {noun}"),
        Some(stem) => format!("{number} {stem}ies"),
        None if noun.ends_with("sh") => format!("{number} {noun}es"),
        None => format!("{number} {noun}s"),
    }
}

/// A share in percent, to two places.
pub(crate) fn percent(part: u64, whole: u64) -> String {
    let hundredths = u128::from(part) * 10_000 / u128::from(whole.max(1));
    format!("{}.{:02} %", number(hundredths / 100), hundredths % 100)
}

/// A time as it stands in entries: `2026-01-05 00:00:00.016 UTC`.
pub(crate) fn utc(time_ms: u64) -> String {
    let (days, ms) = (time_ms / 86_400_000, time_ms % 86_400_000);
    // Years that begin in March end with the day that leap years add; 400 of them have 146,097 days.
    let shifted = days + 719_468;
    let (era, day_of_era) = (shifted / 146_097, shifted % 146_097);
    let year_of_era = (day_of_era - day_of_era / 1_460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let month_from_march = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * month_from_march + 2) / 5 + 1;
    let month = (month_from_march + 2) % 12 + 1;
    let year = era * 400 + year_of_era + u64::from(month <= 2);
    let (hours, minutes, seconds) = (ms / 3_600_000, ms / 60_000 % 60, ms / 1_000 % 60);
    format!("{year:04}-{month:02}-{day:02} {hours:02}:{minutes:02}:{seconds:02}.{:03} UTC", ms % 1_000)
}

/// A text without characters that a terminal would obey: what is shown was written by others.
pub(crate) fn printable(text: &str) -> String {
    text.chars().map(|c| if c.is_control() && c != '\n' { char::REPLACEMENT_CHARACTER } else { c }).collect()
}

/// Lines of `label  text`, labels in a column of their own.
#[derive(Default)]
pub(crate) struct Lines {
    text: String,
}

impl Lines {
    const LABEL_WIDTH: usize = 15;

    /// A line without a label.
    pub(crate) fn plain(&mut self, text: &str) -> &mut Self {
        self.text += text.trim_end();
        self.text.push('\n');
        self
    }

    /// A line with its label; further lines of the text stand below.
    pub(crate) fn line(&mut self, label: &str, text: impl AsRef<str>) -> &mut Self {
        let mut label = label;
        for part in text.as_ref().lines() {
            self.plain(&format!("  {label:<width$} {part}", width = Self::LABEL_WIDTH));
            label = "";
        }
        self
    }

    /// Several texts below one label; without any, nothing.
    pub(crate) fn lines(&mut self, label: &str, texts: &[String]) -> &mut Self {
        self.line(label, texts.join("\n"))
    }

    pub(crate) fn finish(self) -> String {
        self.text
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_grouped() {
        let texts = [0_u64, 999, 1_000, 70_001, 1_234_567, u64::MAX].map(number);
        let right = ["0", "999", "1,000", "70,001", "1,234,567", "18,446,744,073,709,551,615"];
        assert_eq!(texts, right);
    }

    #[test]
    fn nouns_have_plurals() {
        let texts = [count(1, "entry"), count(0, "entry"), count(2_000, "tile"), count(2, "hash"), count(2, "epoch")];
        assert_eq!(texts, ["1 entry", "0 entries", "2,000 tiles", "2 hashes", "2 epochs"]);
    }

    #[test]
    fn times_are_civil() {
        assert_eq!(utc(0), "1970-01-01 00:00:00.000 UTC");
        assert_eq!(utc(951_782_400_000), "2000-02-29 00:00:00.000 UTC");
        assert_eq!(utc(1_767_571_200_016), "2026-01-05 00:00:00.016 UTC");
        assert_eq!(utc(4_107_542_399_999), "2100-02-28 23:59:59.999 UTC");
        // The largest has its year in nine digits, and no panic.
        assert!(utc(u64::MAX).starts_with("584556019-"));
    }

    #[test]
    fn shares_are_rounded_down() {
        assert_eq!(percent(1, 3), "33.33 %");
        assert_eq!(percent(0, 0), "0.00 %");
        assert_eq!(percent(5, 5), "100.00 %");
    }
}
