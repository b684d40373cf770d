//! How much of a text one token can stand for: a text that is longer than all of a context's tokens can be needs no
//! tokenising to be refused.

use serde_json::Value;

/// How much shorter than a text its normal form by Unicode can be. A composed character has four parts at most, each from
/// a character of four bytes at most: 12 bytes become 2 at worst.
const UNICODE_SHRINKS: usize = 8;

/// A lower-case letter can have fewer bytes than its capital: four become one at worst.
const LOWERCASE_SHRINKS: usize = 4;

/// Bytes of text that a token stands for at the most, by its `tokenizer.json`; none where a token can stand for any
/// number, or text can leave none.
pub(crate) fn token_bytes_max(file: &Value) -> Option<usize> {
    let shrinks = shrinks(&file["normalizer"])?;
    let model = &file["model"];
    let keeps = keeps_all(&file["pre_tokenizer"]) && knows_every_byte(file);
    if !keeps || model["type"] != "BPE" {
        return None;
    }
    let words = model["vocab"].as_object()?.keys().map(String::len);
    let added = file["added_tokens"].as_array().map_or(&[][..], Vec::as_slice);
    // Such tokens take in whatever spaces stand beside them.
    if added.iter().any(|token| token["lstrip"] == true || token["rstrip"] == true) {
        return None;
    }
    let added = added.iter().filter_map(|token| token["content"].as_str()).map(str::len);
    // What a vocabulary spells has no fewer bytes than what it stands for.
    let longest = words.chain(added).max().filter(|longest| *longest > 0)?;
    longest.checked_mul(shrinks)
}

/// How many times shorter a normaliser can make a text; none where that has no limit.
fn shrinks(normalizer: &Value) -> Option<usize> {
    match normalizer["type"].as_str() {
        None => normalizer.is_null().then_some(1),
        Some("Sequence") => {
            let parts = normalizer["normalizers"].as_array()?;
            parts.iter().try_fold(1, |all: usize, part| all.checked_mul(shrinks(part)?))
        }
        Some("Prepend" | "ByteLevel") => Some(1),
        Some("Replace") => {
            let (from, to) = (normalizer["pattern"]["String"].as_str()?, normalizer["content"].as_str()?);
            (to.len() >= from.len()).then_some(1)
        }
        Some("NFC" | "NFD" | "NFKC" | "NFKD") => Some(UNICODE_SHRINKS),
        Some("Lowercase") => Some(LOWERCASE_SHRINKS),
        Some(_) => None,
    }
}

/// Whether what splits a text into words drops none of it.
fn keeps_all(pre_tokenizer: &Value) -> bool {
    match pre_tokenizer["type"].as_str() {
        None => pre_tokenizer.is_null(),
        Some("Sequence") => pre_tokenizer["pretokenizers"].as_array().is_some_and(|parts| parts.iter().all(keeps_all)),
        Some("Split") => pre_tokenizer["behavior"].as_str().is_some_and(|behavior| behavior != "Removed"),
        Some("ByteLevel" | "Metaspace" | "Digits" | "UnicodeScripts") => true,
        Some(_) => false,
    }
}

/// Whether there is a token for each byte, so that nothing is unknown: unknown text leaves nothing, or one token.
fn knows_every_byte(file: &Value) -> bool {
    let vocabulary = &file["model"]["vocab"];
    let has = |token: &str| vocabulary.get(token).is_some();
    let falls_back =
        file["model"]["byte_fallback"] == true && (0..=u8::MAX).all(|byte| has(&format!("<0x{byte:02X}>")));
    let speaks_bytes = has_part(&file["pre_tokenizer"], "ByteLevel") || has_part(&file["normalizer"], "ByteLevel");
    falls_back || speaks_bytes && byte_letters().all(|letter| has(&letter.to_string()))
}

fn has_part(part: &Value, kind: &str) -> bool {
    let inner = part["pretokenizers"].as_array().or_else(|| part["normalizers"].as_array());
    part["type"] == kind || inner.is_some_and(|parts| parts.iter().any(|part| has_part(part, kind)))
}

/// The letters by which vocabularies of bytes spell them: bytes that can be seen stand for themselves, the others for
/// what follows Latin-1.
fn byte_letters() -> impl Iterator<Item = char> {
    let seen = ('!'..='~').chain('\u{a1}'..='\u{ac}').chain('\u{ae}'..='\u{ff}');
    seen.chain('\u{100}'..='\u{143}')
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    /// A tokenizer of bytes and a token of ten.
    fn bytes() -> Value {
        let mut words: serde_json::Map<_, _> =
            (0_u32..).zip(byte_letters()).map(|(id, letter)| (letter.to_string(), id.into())).collect();
        words.insert("abcdefghij".to_owned(), 256.into());
        json!({"pre_tokenizer": {"type": "ByteLevel"}, "model": {"type": "BPE", "vocab": words}})
    }

    #[test]
    fn a_token_stands_for_so_many_bytes() {
        let with = |field: &str, value: Value| {
            let mut file = bytes();
            file[field] = value;
            token_bytes_max(&file)
        };
        assert_eq!(byte_letters().count(), 256);
        assert_eq!(token_bytes_max(&bytes()), Some(10));
        assert_eq!(with("normalizer", json!({"type": "NFC"})), Some(80));
        assert_eq!(with("added_tokens", json!([{"content": "<|a long one|>"}])), Some(14));
    }

    #[test]
    fn where_text_can_leave_nothing_no_bound_is_told() {
        let with = |field: &str, value: Value| {
            let mut file = bytes();
            file[field] = value;
            assert_eq!(token_bytes_max(&file), None, "{field}");
        };
        with("normalizer", json!({"type": "Strip"}));
        with("normalizer", json!({"type": "Replace", "pattern": {"String": "aa"}, "content": "a"}));
        with("normalizer", json!({"type": "Replace", "pattern": {"Regex": " +"}, "content": "          "}));
        with("normalizer", json!({"type": "Sequence", "normalizers": [{"type": "NFC"}, {"type": "BertNormalizer"}]}));
        with("pre_tokenizer", json!({"type": "Whitespace"}));
        with("pre_tokenizer", json!({"type": "Split", "behavior": "Removed"}));
        with("pre_tokenizer", Value::Null);
        with("added_tokens", json!([{"content": "<s>", "rstrip": true}]));
        let mut unknown = bytes();
        unknown["model"]["vocab"].as_object_mut().unwrap().remove("~");
        assert_eq!(token_bytes_max(&unknown), None);
        unknown["model"]["type"] = json!("WordLevel");
        assert_eq!(token_bytes_max(&unknown), None);
    }
}
