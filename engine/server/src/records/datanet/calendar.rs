//! Times as people read them: the records have milliseconds since 1970.

const DAY_MS: u64 = 86_400_000;

/// A day: `2026-01-29`.
pub(super) fn day(time_ms: u64) -> String {
    let (year, month, day) = civil(time_ms / DAY_MS);
    format!("{year:04}-{month:02}-{day:02}")
}

/// A minute: `2026-01-29 14:05 UTC`.
pub(super) fn minute(time_ms: u64) -> String {
    let minutes = time_ms % DAY_MS / 60_000;
    format!("{} {:02}:{:02} UTC", day(time_ms), minutes / 60, minutes % 60)
}

/// A second: `2026-01-29 14:05:59 UTC`.
pub(crate) fn second(time_ms: u64) -> String {
    let seconds = time_ms % DAY_MS / 1_000;
    format!("{} {:02}:{:02}:{:02} UTC", day(time_ms), seconds / 3_600, seconds / 60 % 60, seconds % 60)
}

/// Year, month and day of a day since 1970. Years begin in March here, so that the day that comes and goes is the last.
fn civil(days: u64) -> (u64, u64, u64) {
    // From the first of March of the year 0, in turns of 400 years, which have the same number of days each.
    let days = days + 719_468;
    let (turn, day) = (days / 146_097, days % 146_097);
    let year = (day - day / 1_460 + day / 36_524 - day / 146_096) / 365;
    let day = day - (365 * year + year / 4 - year / 100);
    let month = (5 * day + 2) / 153;
    let (day, month) = (day - (153 * month + 2) / 5 + 1, if month < 10 { month + 3 } else { month - 9 });
    (400 * turn + year + u64::from(month <= 2), month, day)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn days_are_the_calendars() {
        for (days, shown) in [
            (0, "1970-01-01"),
            (58, "1970-02-28"),
            (59, "1970-03-01"),
            (11_016, "2000-02-29"),
            (11_017, "2000-03-01"),
            (20_482, "2026-01-29"),
            (47_540, "2100-02-28"),
            (47_541, "2100-03-01"),
        ] {
            assert_eq!(day(days * DAY_MS), shown);
            assert_eq!(day(days * DAY_MS + DAY_MS - 1), shown);
        }
        assert_eq!(minute(20_482 * DAY_MS + (14 * 60 + 5) * 60_000 + 59_999), "2026-01-29 14:05 UTC");
        assert_eq!(second(20_482 * DAY_MS + (14 * 60 + 5) * 60_000 + 59_999), "2026-01-29 14:05:59 UTC");
    }
}
