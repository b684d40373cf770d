//! Patterns that PEFT hands to Python's `re`: matched as Python would, or refused.
//!
//! Python's dialect and ours agree on a large part of what people write. What lies outside that part is refused, because
//! nothing else would notice a scale that was meant for another module.

use fancy_regex::{Regex, RegexBuilder};

/// Bytes of a pattern.
const PATTERN_BYTES_MAX: usize = 16 * 1024;

/// Steps of one match, after which a pattern counts as hostile.
const BACKTRACKS_MAX: usize = 10_000;

/// Bytes that a compiled pattern may take.
const COMPILED_BYTES_MAX: usize = 1 << 20;

/// `re.fullmatch(pattern, path)`.
#[derive(Clone, Debug)]
pub(super) struct Whole(Regex);

impl Whole {
    /// Compiles one, or says why not.
    pub(super) fn new(pattern: &str) -> Result<Self, String> {
        // Alone first: brackets that only balance together with ours are an error in Python.
        compile(pattern, pattern)?;
        compile(pattern, &format!(r"\A(?:{pattern})\z")).map(Self)
    }

    /// Whether it matches all of `path`.
    pub(super) fn matches(&self, path: &str) -> Result<bool, String> {
        is_match(&self.0, path)
    }
}

/// A key of `rank_pattern` or `alpha_pattern`: `re.match(rf"(.*\.)?({key})$", path)`.
#[derive(Clone, Debug)]
pub(super) enum Ending {
    /// Letters, digits, `_`, `-` and dots, which stand for any character; perhaps held to the path's beginning.
    Plain { from_start: bool, text: String },
    /// Anything else.
    Pattern(Box<Regex>),
}

impl Ending {
    /// Compiles one, or says why not.
    pub(super) fn new(key: &str) -> Result<Self, String> {
        let text = key.strip_prefix('^').unwrap_or(key);
        if text.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"_-.".contains(&byte)) {
            return Ok(Self::Plain { from_start: text.len() < key.len(), text: text.to_owned() });
        }
        Self::pattern(key)
    }

    fn pattern(key: &str) -> Result<Self, String> {
        compile(key, &format!(r"\A(?:(.*\.)?({key})$)")).map(|regex| Self::Pattern(Box::new(regex)))
    }

    /// Whether it is more than a name.
    pub(super) const fn is_pattern(&self) -> bool {
        matches!(self, Self::Pattern(_))
    }

    /// Whether `path` ends so.
    pub(super) fn matches(&self, path: &str) -> Result<bool, String> {
        match self {
            Self::Pattern(regex) => is_match(regex, path),
            Self::Plain { from_start, text } => {
                let Some(start) = path.len().checked_sub(text.len()) else { return Ok(false) };
                let (before, end) = path.as_bytes().split_at(start);
                let alike = end.iter().zip(text.as_bytes()).all(|(found, wanted)| *wanted == b'.' || found == wanted);
                Ok(alike && (before.is_empty() || (!from_start && before.ends_with(b"."))))
            }
        }
    }
}

/// An entry of `layers_pattern`: the number after it, as `re.match(rf".*?\.{pattern}\.(\d+)\.", path)` finds it.
#[derive(Clone, Debug)]
pub(super) struct LayerOf(Regex);

impl LayerOf {
    /// Compiles one, or says why not.
    pub(super) fn new(pattern: &str) -> Result<Self, String> {
        let regex = compile(pattern, &format!(r"\A(?:.*?\.{pattern}\.(\d+)\.)"))?;
        // PEFT reads the first group: a group of the pattern's own would be taken for the number.
        if regex.captures_len() != 2 {
            return Err("it has groups of its own".to_owned());
        }
        Ok(Self(regex))
    }

    /// The layer's number; none where the pattern does not match.
    pub(super) fn find(&self, path: &str) -> Result<Option<u64>, String> {
        let Some(captures) = self.0.captures(path).map_err(|e| e.to_string())? else { return Ok(None) };
        let number = captures.get(1).ok_or("it matches without a layer's number")?;
        number.as_str().parse().map(Some).map_err(|_| format!("it finds layer {:?}", number.as_str()))
    }
}

/// Without a pattern: the first number that stands alone between dots, with two names or more before it.
pub(super) fn first_number(path: &str) -> Option<u64> {
    let segments: Vec<&str> = path.split('.').collect();
    let inner = segments.iter().take(segments.len() - 1).skip(2);
    let number = inner.copied().find(|segment| !segment.is_empty() && segment.bytes().all(|b| b.is_ascii_digit()))?;
    number.parse().ok()
}

fn compile(pattern: &str, whole: &str) -> Result<Regex, String> {
    check_dialect(pattern)?;
    RegexBuilder::new(whole)
        .backtrack_limit(BACKTRACKS_MAX)
        .delegate_size_limit(COMPILED_BYTES_MAX)
        .delegate_dfa_size_limit(COMPILED_BYTES_MAX)
        .build()
        .map_err(|e| e.to_string())
}

fn is_match(regex: &Regex, path: &str) -> Result<bool, String> {
    regex.is_match(path).map_err(|e| e.to_string())
}

/// Refuses what the two dialects read differently, or what only one of them knows.
fn check_dialect(pattern: &str) -> Result<(), String> {
    if pattern.len() > PATTERN_BYTES_MAX {
        return Err(format!("it has more than {PATTERN_BYTES_MAX} bytes"));
    }
    let mut rest = pattern;
    let mut in_class = false;
    let mut before = Repeat::No;
    while let Some(first) = rest.chars().next() {
        let mut repeat = Repeat::No;
        let length = match first {
            '\\' => check_escape(rest, in_class)?,
            '[' if !in_class => {
                in_class = true;
                // A bracket that closes at once is a letter.
                if rest.starts_with("[^]") { 3 } else { 1 + usize::from(rest[1..].starts_with([']', '^'])) }
            }
            ']' if in_class => {
                in_class = false;
                1
            }
            _ if in_class => check_in_class(rest, first)?,
            '(' if rest.starts_with("(?") => {
                const KNOWN: [&str; 8] = ["(?:", "(?=", "(?!", "(?<=", "(?<!", "(?P<", "(?P=", "(?>"];
                let known = KNOWN.into_iter().find(|open| rest.starts_with(open));
                known.map(str::len).ok_or_else(|| strange(rest, 3))?
            }
            '*' | '+' | '?' | '{' => {
                let length = if first == '{' { counted(rest).ok_or_else(|| strange(rest, 2))? } else { 1 };
                repeat = match (before, first) {
                    (Repeat::No, '{') => Repeat::Counted,
                    (Repeat::No, _) => Repeat::Yes,
                    (Repeat::Yes, '?' | '+') | (Repeat::Counted, '?') => Repeat::Modified,
                    // Python has either none of these, or (`{2}+`) another meaning for them.
                    _ => return Err(strange(rest, 1)),
                };
                length
            }
            _ => first.len_utf8(),
        };
        before = repeat;
        rest = &rest[length..];
    }
    Ok(())
}

/// Whether what was just read repeats what stands before it.
#[derive(Clone, Copy)]
enum Repeat {
    No,
    Yes,
    Counted,
    /// Lazy or possessive: nothing can be added to it.
    Modified,
}

/// The length of `{2}`, `{2,}` or `{2,3}`.
fn counted(rest: &str) -> Option<usize> {
    let (inside, _) = rest[1..].split_once('}')?;
    let (least, most) = inside.split_once(',').unwrap_or((inside, "0"));
    let is_number = |text: &str| text.bytes().all(|byte| byte.is_ascii_digit());
    (!least.is_empty() && is_number(least) && is_number(most)).then_some(inside.len() + 2)
}

fn check_in_class(rest: &str, first: char) -> Result<usize, String> {
    if first == '[' || ["&&", "--", "~~", "||"].iter().any(|operator| rest.starts_with(operator)) {
        return Err(strange(rest, 2));
    }
    Ok(first.len_utf8())
}

fn check_escape(rest: &str, in_class: bool) -> Result<usize, String> {
    let Some(letter) = rest.chars().nth(1) else { return Err("it ends in a backslash".to_owned()) };
    let known = match letter {
        'd' | 'D' | 'w' | 'W' | 's' | 'S' | 't' | 'n' | 'r' | 'f' | 'v' => true,
        'b' | 'B' => !in_class && !rest[2..].starts_with('{'),
        'A' | 'Z' | '1'..='9' => !in_class,
        '<' | '>' => false,
        _ => letter.is_ascii_punctuation(),
    };
    if known { Ok(2) } else { Err(strange(rest, 2)) }
}

fn strange(rest: &str, characters: usize) -> String {
    let found: String = rest.chars().take(characters).collect();
    format!("{found:?} has no certain meaning in it")
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        // A finding becomes a named test; no file of seeds stays behind.
        #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

        /// The short way for plain keys is a short way, and nothing else.
        #[test]
        fn plain_keys_match_as_their_patterns_do(key in r"\^?[a-c_.0-]{0,6}", path in "[a-c_.0-]{0,8}") {
            let plain = Ending::new(&key).unwrap();
            prop_assert!(!plain.is_pattern());
            let pattern = Ending::pattern(&key).unwrap();
            prop_assert_eq!(plain.matches(&path).unwrap(), pattern.matches(&path).unwrap());
        }

        /// As `.*?\.[^.]*\.(\d+)\.` finds it from the start.
        #[test]
        fn the_first_number_is_the_first_that_a_pattern_finds(path in "[a.07]{0,12}") {
            let regex = Regex::new(r"\A.*?\.[^.]*\.(\d+)\.").unwrap();
            let captures = regex.captures(&path).unwrap();
            let found = captures.map(|captures| captures.get(1).unwrap().as_str().parse().unwrap());
            prop_assert_eq!(first_number(&path), found);
        }

        /// Whatever is written there is compiled or refused, and what is compiled is matched or given up.
        #[test]
        fn no_pattern_brings_the_reader_down(pattern in r"[ab.*+?|()\[\]{}\\^$1,&:=!<P-]{0,24}") {
            if let Ok(whole) = Whole::new(&pattern) {
                let _ = whole.matches("a.b.1.ab");
            }
            if let Ok(ending) = Ending::new(&pattern) {
                let _ = ending.matches("a.b.1.ab");
            }
            if let Ok(layer) = LayerOf::new(&pattern) {
                let _ = layer.find("a.b.1.ab");
            }
        }
    }

    #[test]
    fn patterns_nested_without_end_are_refused() {
        for (open, close) in [("(", ")"), ("(?:", ")*"), ("(?=", ")"), ("(?>", ")"), ("(?<!", ")"), ("a|(", ")")] {
            let pattern = format!("{}a{}", open.repeat(3000), close.repeat(3000));
            assert!(Whole::new(&pattern).is_err(), "{open}");
        }
    }
}
