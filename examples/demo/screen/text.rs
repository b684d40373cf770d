//! Texts by others, made fit for a terminal.

/// A text without characters that a terminal would obey.
pub(super) fn printable(text: &str) -> String {
    text.chars().map(|c| if c.is_control() && c != '\n' { char::REPLACEMENT_CHARACTER } else { c }).collect()
}

/// Lines of so many columns at most, broken between words where that is possible.
pub(super) fn wrapped(text: &str, columns: usize) -> Vec<String> {
    let mut lines = Vec::new();
    for paragraph in text.split('\n') {
        let (mut line, mut used) = (String::new(), 0);
        for word in paragraph.split(' ') {
            let wide = width(word);
            if used > 0 && used + 1 + wide > columns {
                lines.push(std::mem::take(&mut line));
                used = 0;
            } else if used > 0 {
                line.push(' ');
                used += 1;
            }
            for c in word.chars() {
                if used + columns_of(c) > columns {
                    lines.push(std::mem::take(&mut line));
                    used = 0;
                }
                line.push(c);
                used += columns_of(c);
            }
        }
        lines.push(line);
    }
    lines
}

fn width(text: &str) -> usize {
    text.chars().map(columns_of).sum()
}

/// Near enough: scripts from Hangul on are mostly wide, and a line that is too short does no harm.
fn columns_of(c: char) -> usize {
    if c >= '\u{1100}' && c != char::REPLACEMENT_CHARACTER { 2 } else { 1 }
}

/// Lines for a shell that ask a model for an answer.
pub(super) fn curl(url: &str, is_chat: bool, model: &str, question: &str) -> String {
    let mut body = serde_json::json!({ "model": model, "max_tokens": 120, "temperature": 0 });
    let path = if is_chat {
        body["messages"] = serde_json::json!([{ "role": "user", "content": question }]);
        "chat/completions"
    } else {
        body["prompt"] = question.into();
        "completions"
    };
    let body = body.to_string().replace('\'', r"'\''");
    format!("  curl -s {url}/v1/{path} -H 'Content-Type: application/json' \\\n    -d '{body}'")
}

#[cfg(test)]
mod tests {
    use super::{curl, printable, wrapped};

    #[test]
    fn lines_break_between_words_and_inside_long_ones() {
        let check = |text: &str, columns, lines: &[&str]| assert_eq!(wrapped(text, columns), lines, "{text:?}");
        check("worms like it damp", 10, &["worms like", "it damp"]);
        check("one\n\ntwo", 10, &["one", "", "two"]);
        check("unbreakable", 4, &["unbr", "eaka", "ble"]);
        check("", 4, &[""]);
        check("\u{571f}\u{571f}\u{571f}", 4, &["\u{571f}\u{571f}", "\u{571f}"]);
    }

    #[test]
    fn what_a_terminal_would_obey_is_shown_as_a_mark() {
        assert_eq!(printable("a\x1b[2Jb\n"), "a\u{fffd}[2Jb\n");
    }

    #[test]
    fn a_question_with_quotes_stays_one_argument() {
        let line = curl("http://127.0.0.1:1", true, "base", "what's \"loam\"?");
        assert!(line.contains(r#"what'\''s \"loam\"?"#), "{line}");
    }
}
