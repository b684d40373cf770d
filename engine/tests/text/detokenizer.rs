//! Tokens to text, one at a time, against the decoding of all of them at once.

use std::collections::BTreeMap;
use std::panic;
use std::sync::Arc;

use loam_engine::detokenizer::Detokenizer;
use loam_engine::tokenizer::Tokenizer;
use proptest::prelude::*;
use proptest::test_runner::TestRunner;
use serde_json::{Value, json};

use super::golden::tokenizer;
use super::tier::cases;

/// A tokenizer with such tokens and such a decoder. The last two tokens are added ones: `<|end|>` is special.
fn made(tokens: &[&str], decoder: Value) -> Vec<u8> {
    let mut vocabulary: BTreeMap<String, usize> =
        tokens.iter().enumerate().map(|(id, token)| ((*token).to_owned(), id)).collect();
    assert_eq!(vocabulary.len(), tokens.len(), "tokens differ");
    let (special, added) = (tokens.len(), tokens.len() + 1);
    vocabulary.insert("<|end|>".to_owned(), special);
    let token = |id: usize, content: &str, special: bool| {
        json!({"id": id, "content": content, "special": special, "single_word": false, "lstrip": false,
            "rstrip": false, "normalized": false})
    };
    let file = json!({
        "version": "1.0", "truncation": null, "padding": null, "normalizer": null, "pre_tokenizer": null,
        "post_processor": null, "decoder": decoder,
        "added_tokens": [token(special, "<|end|>", true), token(added, "added token", false)],
        "model": {"type": "BPE", "dropout": null, "unk_token": null, "continuing_subword_prefix": null,
            "end_of_word_suffix": null, "fuse_unk": false, "byte_fallback": true, "vocab": vocabulary, "merges": []},
    });
    serde_json::to_vec(&file).unwrap()
}

/// Tokens as a vocabulary of sentence pieces has them: marks for spaces, and bytes.
const PIECES: [&str; 26] = [
    "<0xE6>",
    "<0xBC>",
    "<0xA2>",
    "<0xFF>",
    "<0xC3>",
    "<0xA9>",
    "<0xF0>",
    "<0x9F>",
    "<0x99>",
    "<0x82>",
    "<0x41>",
    "<0x20>",
    "<0x0A>",
    "<0xZZ>",
    "\u{2581}",
    "\u{2581}\u{2581}",
    "\u{2581}Hi",
    "Hi",
    "a",
    "\u{e9}",
    "\u{6f22}",
    " ",
    "  x ",
    "\u{2581}a\u{2581}",
    "x",
    ".",
];

fn replace(from: &str, to: &str) -> Value {
    json!({"type": "Replace", "pattern": {"String": from}, "content": to})
}

fn strip(start: usize, stop: usize) -> Value {
    json!({"type": "Strip", "content": " ", "start": start, "stop": stop})
}

fn sequence(decoders: &[Value]) -> Value {
    json!({"type": "Sequence", "decoders": decoders})
}

fn metaspace(scheme: &str) -> Value {
    json!({"type": "Metaspace", "replacement": "\u{2581}", "prepend_scheme": scheme, "split": true})
}

/// All deltas together are what the tokenizers crate makes of all tokens, and no delta is taken back or broken.
fn check(bytes: &[u8], ids: u32) {
    let ours = Arc::new(Tokenizer::from_bytes("made".as_ref(), bytes).unwrap());
    let theirs = tokenizers::Tokenizer::from_bytes(bytes).unwrap();
    // Two ids more than there are: what the vocabulary does not have leaves no text.
    let sequences = (proptest::collection::vec(0..ids + 2, 0..40), any::<bool>());
    let outcome = TestRunner::new(cases()).run(&sequences, |(tokens, skip)| {
        let mut detokenizer = Detokenizer::new(Arc::clone(&ours), skip);
        let mut text: String = tokens.iter().map(|token| detokenizer.push(*token)).collect();
        text += &detokenizer.finish();
        // Theirs panics where a strip at the end finds less than it may take.
        let whole = panic::catch_unwind(|| theirs.decode(&tokens, skip).unwrap());
        let whole = if tokens.is_empty() { String::new() } else { whole.unwrap_or_else(|_| text.clone()) };
        prop_assert_eq!(&text, &whole);
        prop_assert_eq!(&ours.decode(&tokens, skip), &whole);
        prop_assert_eq!(detokenizer.finish(), "");
        Ok(())
    });
    outcome.unwrap();
}

fn check_pieces(decoder: Value) {
    check(&made(&PIECES, decoder), PIECES.len() as u32 + 2);
}

#[test]
fn byte_level() {
    check(&std::fs::read(super::golden::testdata("golden/llama-gqa/base/tokenizer.json")).unwrap(), 426);
}

#[test]
fn byte_level_within_a_sequence() {
    // Three bytes of a character, a broken byte, a token that is no run of bytes.
    let tokens = ["\u{e6}", "\u{bc}", "\u{a2}", "\u{120}a", "\u{ff}", "\u{142}", "a b", "\u{6f22}", "\u{143}", "z"];
    let byte_level = json!({"type": "ByteLevel", "add_prefix_space": true, "trim_offsets": true, "use_regex": true});
    check(&made(&tokens, sequence(&[byte_level])), 12);
}

#[test]
fn replace_byte_fallback_fuse_strip() {
    check_pieces(sequence(&[
        replace("\u{2581}", " "),
        json!({"type": "ByteFallback"}),
        json!({"type": "Fuse"}),
        strip(1, 0),
    ]));
}

#[test]
fn strips_at_both_ends() {
    check_pieces(sequence(&[replace("\u{2581}", " "), json!({"type": "Fuse"}), strip(2, 3)]));
}

#[test]
fn several_strips() {
    let fused = [replace("\u{2581}", " "), json!({"type": "Fuse"}), strip(1, 1), strip(1, 2)];
    check_pieces(sequence(&fused));
}

#[test]
fn strips_of_tokens() {
    check_pieces(sequence(&[replace("\u{2581}", " "), strip(1, 0), json!({"type": "ByteFallback"})]));
}

#[test]
fn byte_fallback_alone() {
    check_pieces(json!({"type": "ByteFallback"}));
}

#[test]
fn metaspace_that_loses_the_first() {
    check_pieces(metaspace("always"));
    check_pieces(metaspace("first"));
}

#[test]
fn metaspace_that_keeps_the_first() {
    check_pieces(metaspace("never"));
}

#[test]
fn metaspace_after_byte_fallback() {
    check_pieces(sequence(&[json!({"type": "ByteFallback"}), metaspace("always")]));
}

#[test]
fn no_decoder() {
    check_pieces(Value::Null);
}

#[test]
fn decoders_that_look_at_the_whole_text() {
    check_pieces(json!({"type": "WordPiece", "prefix": "##", "cleanup": true}));
    check_pieces(sequence(&[json!({"type": "Fuse"}), replace(" ", "_")]));
    let expression = json!({"type": "Replace", "pattern": {"Regex": "a+"}, "content": "b"});
    check_pieces(sequence(&[expression, json!({"type": "ByteFallback"})]));
}

/// Deltas of tokens spelled so, and the rest.
fn deltas(tokenizer: &Arc<Tokenizer>, tokens: &[&str]) -> Vec<String> {
    let mut detokenizer = Detokenizer::new(Arc::clone(tokenizer), true);
    let ids = tokens.iter().map(|token| tokenizer.id_of(token).expect("a token"));
    let mut deltas: Vec<String> = ids.map(|id| detokenizer.push(id)).collect();
    deltas.push(detokenizer.finish());
    deltas
}

fn llama2() -> Arc<Tokenizer> {
    let decoder =
        sequence(&[replace("\u{2581}", " "), json!({"type": "ByteFallback"}), json!({"type": "Fuse"}), strip(1, 0)]);
    Arc::new(Tokenizer::from_bytes("made".as_ref(), &made(&PIECES, decoder)).unwrap())
}

#[test]
fn text_comes_as_soon_as_it_is_certain() {
    let tokens = ["\u{2581}Hi", "\u{2581}Hi", "<0xE6>", "<0xBC>", "<0xA2>", "x", "<|end|>", "."];
    assert_eq!(deltas(&llama2(), &tokens), ["Hi", " Hi", "", "", "", "\u{6f22}x", "", ".", ""]);
}

#[test]
fn broken_bytes_are_replaced_only_at_the_end_of_their_run() {
    assert_eq!(deltas(&llama2(), &["<0xE6>", "<0xBC>", "x"]), ["", "", "\u{fffd}\u{fffd}x", ""]);
    assert_eq!(deltas(&llama2(), &["a", "<0xE6>"]), ["a", "", "\u{fffd}"]);
}

#[test]
fn a_character_of_many_tokens_is_never_broken() {
    let tokens = ["\u{e6}", "\u{bc}", "\u{a2}", "a"];
    let byte_level = json!({"type": "ByteLevel", "add_prefix_space": true, "trim_offsets": true, "use_regex": true});
    let tokenizer = Arc::new(Tokenizer::from_bytes("made".as_ref(), &made(&tokens, byte_level)).unwrap());
    assert_eq!(deltas(&tokenizer, &tokens), ["", "", "\u{6f22}", "a", ""]);
    assert_eq!(deltas(&tokenizer, &["\u{e6}", "a", "\u{bc}"]), ["", "\u{fffd}a", "\u{fffd}", ""]);
}

#[test]
fn special_tokens_are_shown_where_they_are_wanted() {
    let tokenizer = tokenizer("llama-gqa");
    let tokens = tokenizer.encode("<|user|>Hello<|end|>", false).unwrap();
    assert_eq!(tokenizer.decode(&tokens, true), "Hello");
    assert_eq!(tokenizer.decode(&tokens, false), "<|user|>Hello<|end|>");
}

#[test]
fn a_long_answer_costs_the_same_for_each_token() {
    let tokenizer = tokenizer("llama-gqa");
    let mut detokenizer = Detokenizer::new(Arc::clone(&tokenizer), true);
    let tokens = tokenizer.encode("Hello, ledger! \u{6f22}", false).unwrap();
    // Were each token to decode all before it, these would be some hundred thousand million steps.
    let bytes: usize = tokens.iter().cycle().take(500_000).map(|token| detokenizer.push(*token).len()).sum();
    assert!(bytes > 500_000);
}
