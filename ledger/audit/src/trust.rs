//! `loam-audit trust`: what no check can show.

use serde_json::{Value, json};

use crate::answer::Answer;
use crate::text::Lines;

/// What must be trusted, and why nothing here can show it.
const TRUSTED: &[(&str, &str)] = &[
    (
        "The key you gave is the log's.",
        "A key that came with the export proves nothing: whoever made the export could make the key. Get it by another \
         way, and check that its name is the log you mean. Every other key follows from the records log's.",
    ),
    (
        "The recorded model and adapters really ran.",
        "A record says which generations answered. That these weights computed these tokens can only be seen by running \
         the same request again, where it is deterministic.",
    ),
    (
        "What was never recorded did not happen.",
        "A gap in an engine's chain shows; an engine that no log knows does not. A client that asks for a receipt and \
         gets none has noticed; one that asks for none has not.",
    ),
    (
        "The server keeps its promises.",
        "That no token leaves before its record is on disk, that secrets are erased when it is said, that no copy was \
         made before: software keeps this, and a modified server need not.",
    ),
    (
        "Evaluation scores are true, and keys belong to whom they name.",
        "The ledger shows that a statement was made, by which key and when; not that it is right.",
    ),
    (
        "Everybody is shown the same log.",
        "Without witnesses, an operator can keep two logs and sign both, each one flawless. With a policy, this takes \
         the operator and enough of the witnesses together. Compare checkpoints with others, or ask for a quorum.",
    ),
    (
        "SHA-256 and Ed25519 hold, and this program does what it says.",
        "Everything here rests on them. FORMAT.md is enough to write another checker; then you need not trust this one.",
    ),
];

pub(crate) fn tell() -> Answer {
    let mut lines = Lines::default();
    lines.plain("What must be trusted, because no check can show it:");
    let mut trusted = Vec::with_capacity(TRUSTED.len());
    for (what, why) in TRUSTED {
        lines.plain("").plain(what);
        for line in wrapped(why, 96) {
            lines.plain(&format!("  {line}"));
        }
        trusted.push(json!({ "what": what, "why": why }));
    }
    Answer::shown(lines.finish(), json!({ "trusted": Value::Array(trusted) }))
}

/// A text in lines of at most so many characters.
fn wrapped(text: &str, width: usize) -> Vec<String> {
    let mut lines = vec![String::new()];
    for word in text.split_whitespace() {
        let last = lines.last_mut().expect("there is a first line");
        if !last.is_empty() && last.len() + 1 + word.len() > width {
            lines.push(word.to_owned());
        } else {
            if !last.is_empty() {
                last.push(' ');
            }
            *last += word;
        }
    }
    lines
}
