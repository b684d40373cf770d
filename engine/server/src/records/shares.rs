//! Parts of a whole, as people write them: `WORD=60%`, `WORD=0.6`.

use anyhow::{Context as _, bail, ensure};
use loam_ledger_core::Hash;
use loam_ledger_core::record::{MILLION, Millionths};
use loam_ledger_core::text::millionths;

/// Digits behind the point of a decimal, and of a percentage: beyond them a share has no millionths.
const DECIMAL_DIGITS: usize = 6;
const PERCENT_DIGITS: usize = 4;

/// Something that somebody names, and its share.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Part {
    pub(super) word: String,
    /// None where nothing is said of it: then it is the whole.
    share: Option<Millionths>,
}

/// Reads one, for the command line.
pub(super) fn part(text: &str) -> Result<Part, String> {
    let (word, share) = match text.split_once('=') {
        None => (text, None),
        Some((word, share)) => (word, Some(read(share)?)),
    };
    if word.is_empty() {
        return Err("name what has the share, as NAME=60%".to_owned());
    }
    Ok(Part { word: word.to_owned(), share })
}

pub(super) fn read(text: &str) -> Result<Millionths, String> {
    let (number, digits) = match text.strip_suffix('%') {
        Some(percent) => (percent.trim_end(), PERCENT_DIGITS),
        None => (text, DECIMAL_DIGITS),
    };
    let wrong =
        || format!("{text:?} is no share: write a percentage such as 60% or a decimal such as 0.6, to the millionth");
    let share = scaled(number, digits).ok_or_else(wrong)?;
    match u32::try_from(share) {
        Ok(share) if share <= MILLION => Ok(share),
        _ => Err(format!("{text} is more than the whole: write a percentage such as 60% or a decimal such as 0.6")),
    }
}

/// A decimal number times ten to the power of `digits`, if that is whole.
fn scaled(number: &str, digits: usize) -> Option<u64> {
    let (whole, behind) = number.split_once('.').unwrap_or((number, ""));
    let is_number = |text: &str| text.bytes().all(|byte| byte.is_ascii_digit());
    let said = !(whole.is_empty() && behind.is_empty());
    if !said || behind.len() > digits || !is_number(whole) || !is_number(behind) {
        return None;
    }
    format!("{whole}{behind:0<digits$}").parse().ok()
}

/// Each part with what it was found to be, in the order of records. Together they are the whole; one alone is all of it.
pub(super) fn whole(
    parts: &[Part],
    what: &str,
    find: impl Fn(&str) -> anyhow::Result<Hash>,
) -> anyhow::Result<Vec<(Hash, Millionths)>> {
    if let [Part { word, share: None }] = parts {
        return Ok(vec![(find(word)?, MILLION)]);
    }
    let found = found(parts, what, find)?;
    match sum(&found) {
        0 if found.is_empty() => Ok(found),
        sum if sum == u64::from(MILLION) => Ok(found),
        sum => bail!("the shares of the {what} sum to {}: make them 100%", percent(sum)),
    }
}

/// The same where something may be left of the whole.
pub(super) fn rest_is_ours(
    parts: &[Part],
    what: &str,
    find: impl Fn(&str) -> anyhow::Result<Hash>,
) -> anyhow::Result<Vec<(Hash, Millionths)>> {
    let found = found(parts, what, find)?;
    let sum = sum(&found);
    ensure!(sum <= u64::from(MILLION), "the shares of the {what} sum to {}: 100% are the most", percent(sum));
    Ok(found)
}

fn found(
    parts: &[Part],
    what: &str,
    find: impl Fn(&str) -> anyhow::Result<Hash>,
) -> anyhow::Result<Vec<(Hash, Millionths)>> {
    let one = |part: &Part| {
        let word = &part.word;
        let share = part.share.with_context(|| format!("say the share of each of the {what}: {word}=60%"))?;
        Ok((find(word)?, share))
    };
    let mut found = parts.iter().map(one).collect::<anyhow::Result<Vec<_>>>()?;
    found.sort_unstable();
    match found.windows(2).find(|pair| pair[0].0 == pair[1].0) {
        Some(twice) => bail!("{} is named twice among the {what}: add its shares up", twice[0].0),
        None => Ok(found),
    }
}

fn sum(parts: &[(Hash, Millionths)]) -> u64 {
    parts.iter().map(|(_, share)| u64::from(*share)).sum()
}

fn percent(sum: u64) -> String {
    format!("{}%", millionths(i64::try_from(sum.saturating_mul(100)).unwrap_or(i64::MAX)))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn hash(word: &str) -> anyhow::Result<Hash> {
        Ok(loam_ledger_core::hash::digest(word.as_bytes()))
    }

    #[track_caller]
    fn check(text: &str, expected: Option<Millionths>) {
        assert_eq!(read(text).ok(), expected, "{text}");
    }

    #[test]
    fn shares_are_read_to_the_millionth_and_no_further() {
        check("60%", Some(600_000));
        check("60 %", Some(600_000));
        check("0.6", Some(600_000));
        check(".6", Some(600_000));
        check("1", Some(MILLION));
        check("1.", Some(MILLION));
        check("100%", Some(MILLION));
        check("33.3333%", Some(333_333));
        check("0.333333", Some(333_333));
        check("0", Some(0));
        for wrong in ["", "%", ".", "60", "100.0001%", "33.33333%", "0.3333333", "-1%", "1/3", "1e-1", "0,6", "+1"] {
            check(wrong, None);
        }
    }

    #[test]
    fn parts_make_a_whole() {
        let parts = |texts: &[&str]| texts.iter().map(|text| part(text).expect("a part")).collect::<Vec<_>>();
        let refused = |texts: &[&str]| whole(&parts(texts), "sources", hash).expect_err("refused").to_string();
        assert_eq!(whole(&parts(&["a"]), "sources", hash).expect("one").len(), 1);
        let two = whole(&parts(&["a=1", "b=0"]), "sources", hash).expect("two");
        assert!(two.is_sorted() && two.len() == 2);
        assert!(refused(&["a=60%", "b=30%"]).contains("sum to 90%"));
        assert!(refused(&["a=60%", "a=40%"]).contains("twice"));
        assert!(refused(&["a", "b=40%"]).contains("a=60%"));
        assert!(part("=4%").is_err());
        assert!(rest_is_ours(&parts(&["a=60%", "b=30%"]), "parents", hash).is_ok());
        assert!(rest_is_ours(&parts(&["a=60%", "b=60%"]), "parents", hash).is_err());
    }
}
