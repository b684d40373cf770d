//! Names of licences, as SPDX has them: what is recorded under a mistyped one stays so for ever.

/// Licences, an empty line, and exceptions from them.
const LIST: &str = include_str!("spdx.txt");

/// Names that are told to whoever has mistyped one.
const NEAR_MAX: usize = 3;

/// The first word of an expression that is nobody's name, and the names that it may have been meant for.
pub(super) struct Unknown<'a> {
    pub(super) word: &'a str,
    pub(super) near: Vec<&'static str>,
}

/// Looks at every name in an expression, such as `MIT OR GPL-2.0-only WITH Classpath-exception-2.0`.
pub(super) fn check(expression: &str) -> Result<(), Unknown<'_>> {
    let (licences, exceptions) = lists();
    let mut list = &licences;
    for word in expression.split([' ', '(', ')']) {
        let names = match word {
            "" | "AND" | "OR" => continue,
            "WITH" => {
                list = &exceptions;
                continue;
            }
            _ => std::mem::replace(&mut list, &licences),
        };
        let name = word.strip_suffix('+').unwrap_or(word);
        let is_own = name.starts_with("LicenseRef-") || name.starts_with("DocumentRef-");
        if !is_own && !names.contains(&name) {
            return Err(Unknown { word, near: near(name, names) });
        }
    }
    Ok(())
}

fn lists() -> (Vec<&'static str>, Vec<&'static str>) {
    let (licences, exceptions) = LIST.split_once("\n\n").expect("the list has two parts");
    let names = |part: &'static str| part.lines().filter(|line| !line.starts_with('#')).flat_map(str::split_whitespace);
    (names(licences).collect(), names(exceptions).collect())
}

/// Names with the same letters and digits in the same order, or else those that begin with them, the shortest first.
fn near(word: &str, names: &[&'static str]) -> Vec<&'static str> {
    let bare = |name: &str| -> String {
        name.chars().filter(char::is_ascii_alphanumeric).map(|letter| letter.to_ascii_lowercase()).collect()
    };
    let sought = bare(word);
    let same: Vec<_> = names.iter().copied().filter(|name| bare(name) == sought).collect();
    if !same.is_empty() || sought.is_empty() {
        return same;
    }
    let mut longer: Vec<_> = names.iter().copied().filter(|name| bare(name).starts_with(&sought)).collect();
    longer.sort_by_key(|name| name.len());
    longer.truncate(NEAR_MAX);
    longer
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_of_the_list_are_known() {
        let with = "(MIT OR GPL-2.0-only WITH Classpath-exception-2.0) AND Apache-2.0+";
        for expression in
            ["MIT", "CC-BY-4.0", "CC0-1.0", "ODbL-1.0", with, "LicenseRef-own", "DocumentRef-a:LicenseRef-b"]
        {
            assert!(check(expression).is_ok(), "{expression}");
        }
    }

    #[test]
    fn a_mistyped_name_is_told_with_what_it_may_be() {
        for (expression, word, near) in [
            ("CC-BY4.0", "CC-BY4.0", &["CC-BY-4.0"][..]),
            ("cc-by-4.0", "cc-by-4.0", &["CC-BY-4.0"]),
            ("MIT OR Apache2", "Apache2", &["Apache-2.0"]),
            ("MIT or Apache-2.0", "or", &[]),
            ("GPL-2.0-only WITH MIT", "MIT", &[]),
            ("ours", "ours", &[]),
        ] {
            let unknown = check(expression).expect_err(expression);
            assert_eq!((unknown.word, &unknown.near[..]), (word, near), "{expression}");
        }
    }
}
