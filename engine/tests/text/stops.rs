//! When answers end, against a search in their whole text.

use std::sync::Arc;

use loam_engine::detokenizer::Detokenizer;
use loam_engine::event::StoppedBy;
use loam_engine::request::Generate;
use loam_engine::stops::{Progress, Stops};
use loam_engine::tokenizer::Tokenizer;
use loam_ledger_core::row::Finish;
use proptest::prelude::*;
use proptest::test_runner::TestRunner;

use super::golden::tokenizer;
use super::tier::cases;

/// A request with these stop strings.
fn stopping(stop: &[&str]) -> Generate {
    Generate { stop: stop.iter().map(|text| (*text).to_owned()).collect(), ..Generate::default() }
}

/// What each token of an answer brings, until it ends.
fn answer(request: &Generate, tokens: &[u32], max_tokens: u32) -> Vec<Progress> {
    let tokenizer = tokenizer("llama-gqa");
    let mut detokenizer = Detokenizer::new(tokenizer, request.skip_special_tokens);
    let mut stops = Stops::new(request, &[1], max_tokens);
    let mut progress = Vec::new();
    for token in tokens {
        progress.push(stops.push(*token, Some(&mut detokenizer)));
        if stops.finish().is_some() {
            break;
        }
    }
    assert_eq!(stops.tokens() as usize, progress.len());
    progress
}

/// Text delivered, token by token, and why the answer ended.
fn delivered(request: &Generate, text: &str, max_tokens: u32) -> (Vec<String>, Option<Finish>) {
    let tokens = tokenizer("llama-gqa").encode(text, false).unwrap();
    let progress = answer(request, &tokens, max_tokens);
    let finish = progress.last().and_then(|last| last.finish);
    (progress.into_iter().map(|progress| progress.text).collect(), finish)
}

const MANY: u32 = 1000;

#[test]
fn which_stop_ended_it_is_known() {
    let by = |stop: &[&str], text: &str, stop_token: Option<u32>| {
        let tokenizer = tokenizer("llama-gqa");
        let mut detokenizer = Detokenizer::new(Arc::clone(&tokenizer), true);
        let tokens = tokenizer.encode(text, false).unwrap();
        let stop_token_ids = stop_token.map(|place| tokens[place as usize]).into_iter().collect();
        let request = Generate { stop_token_ids, ..stopping(stop) };
        let mut stops = Stops::new(&request, &[1], MANY);
        tokens.iter().for_each(|token| drop(stops.push(*token, Some(&mut detokenizer))));
        (stops.stopped_by(), tokens)
    };
    assert_eq!(by(&["zz", "XY"], "abXYcd", None).0, Some(StoppedBy::Text(1)));
    // Of those that end together the longest, though another stands before it.
    assert_eq!(by(&["Y", "zz", "XY"], "abXYcd", None).0, Some(StoppedBy::Text(2)));
    let (found, tokens) = by(&["zz"], "abXYcd", Some(1));
    assert_eq!(found, Some(StoppedBy::Token(tokens[1])));
    assert_eq!(by(&["zz"], "abXYcd", None).0, None);
}

#[test]
fn without_stops_all_text_is_delivered_at_once() {
    let (texts, finish) = delivered(&stopping(&[]), "abcd", MANY);
    assert_eq!((texts.concat().as_str(), finish), ("abcd", None));
    assert!(texts.iter().all(|text| !text.is_empty()));
}

#[test]
fn a_stop_string_ends_the_answer_before_it() {
    let (texts, finish) = delivered(&stopping(&["XY"]), "abXYcd", MANY);
    assert_eq!((texts.concat().as_str(), finish), ("ab", Some(Finish::STOP_SEQUENCE)));
}

#[test]
fn a_stop_string_can_be_included() {
    let request = Generate { include_stop: true, ..stopping(&["XY"]) };
    assert_eq!(delivered(&request, "abXYcd", MANY).0.concat(), "abXY");
}

#[test]
fn text_is_held_back_only_as_far_as_it_could_begin_a_stop() {
    let (texts, finish) = delivered(&stopping(&["XYZ"]), "XQXYQ", MANY);
    assert_eq!((texts, finish), (["", "XQ", "", "", "XYQ"].map(str::to_owned).into(), None));
}

#[test]
fn the_stop_that_is_complete_first_counts() {
    assert_eq!(delivered(&stopping(&["ABCD", "BC"]), "xABCD", MANY).0.concat(), "xA");
    assert_eq!(delivered(&stopping(&["BC", "ABC"]), "xABCD", MANY).0.concat(), "x");
}

#[test]
fn what_was_held_back_comes_with_the_end() {
    let (texts, finish) = delivered(&stopping(&["XYZ"]), "QXY", 3);
    assert_eq!((texts.concat().as_str(), finish), ("QXY", Some(Finish::LENGTH)));
    let tokens = [tokenizer("llama-gqa").encode("QXY", false).unwrap(), vec![1]].concat();
    let progress = answer(&stopping(&["XYZ"]), &tokens, MANY);
    assert_eq!(progress.last(), Some(&Progress { text: "XY".to_owned(), finish: Some(Finish::STOP) }));
}

#[test]
fn a_stop_string_met_with_the_last_token_is_the_reason() {
    assert_eq!(
        delivered(&stopping(&["Z"]), "QZ", 2),
        (vec!["Q".to_owned(), String::new()], Some(Finish::STOP_SEQUENCE))
    );
}

#[test]
fn ends_of_the_model_and_of_the_request_differ() {
    let request = Generate { stop_token_ids: vec![50], ..Generate::default() };
    assert_eq!(answer(&request, &[44, 1], MANY)[1].finish, Some(Finish::STOP));
    let progress = answer(&request, &[44, 50], MANY);
    assert_eq!(progress[1], Progress { text: String::new(), finish: Some(Finish::STOP_SEQUENCE) });
    let included = Generate { include_stop: true, ..request };
    assert_eq!(answer(&included, &[44, 50], MANY)[1].text, tokenizer("llama-gqa").token(50).unwrap());
}

#[test]
fn ends_can_be_ignored() {
    let request = Generate { ignore_eos: true, ..Generate::default() };
    assert_eq!(answer(&request, &[44, 1, 44], 3)[2].finish, Some(Finish::LENGTH));
    let both = Generate { stop_token_ids: vec![1], ..request };
    assert_eq!(answer(&both, &[44, 1], MANY)[1].finish, Some(Finish::STOP_SEQUENCE));
}

#[test]
fn a_least_length_forbids_ends_and_looks_for_no_stop() {
    let request = Generate { min_tokens: 2, stop_token_ids: vec![50, 7], ..stopping(&["a"]) };
    let tokenizer = tokenizer("llama-gqa");
    let token = tokenizer.encode("a", false).unwrap()[0];
    let mut detokenizer = Detokenizer::new(Arc::clone(&tokenizer), true);
    let mut stops = Stops::new(&request, &[1], MANY);
    for _ in 0..2 {
        assert_eq!(stops.forbidden(), [1, 7, 50]);
        assert_eq!(stops.push(token, Some(&mut detokenizer)), Progress { text: "a".to_owned(), finish: None });
    }
    assert!(stops.forbidden().is_empty());
    assert_eq!(stops.push(token, Some(&mut detokenizer)).finish, Some(Finish::STOP_SEQUENCE));
}

#[test]
fn answers_without_a_tokenizer_have_ends_and_no_text() {
    let mut stops = Stops::new(&Generate::default(), &[1], 3);
    assert_eq!(stops.push(9, None), Progress::default());
    assert_eq!(stops.push(1, None), Progress { text: String::new(), finish: Some(Finish::STOP) });
}

#[test]
fn an_answer_cut_short_gives_up_what_it_held() {
    let tokenizer = tokenizer("llama-gqa");
    let mut detokenizer = Detokenizer::new(Arc::clone(&tokenizer), true);
    let mut stops = Stops::new(&stopping(&["XYZ"]), &[1], MANY);
    for token in tokenizer.encode("QXY", false).unwrap() {
        stops.push(token, Some(&mut detokenizer));
    }
    assert_eq!(stops.flush(Some(&mut detokenizer)), "XY");
    assert_eq!(stops.flush(Some(&mut detokenizer)), "");
}

/// Where in a text the first complete stop string ends, and how long the longest is that ends there.
fn found(text: &str, stops: &[String]) -> Option<(usize, usize)> {
    (1..=text.len()).find_map(|end| {
        let ending = stops.iter().filter(|stop| text.as_bytes()[..end].ends_with(stop.as_bytes()));
        ending.map(String::len).max().map(|length| (end, length))
    })
}

#[test]
fn any_stops_in_any_tokens_end_as_in_the_whole_text() {
    let tokenizer = tokenizer("llama-gqa");
    // Few characters, so that stops overlap each other and themselves; one of several tokens.
    let stop = proptest::collection::vec("[ab\u{e9}]{1,4}", 1..4);
    let given = (stop, proptest::collection::vec("[ab\u{e9}]{1,3}", 0..12), any::<bool>());
    let outcome = TestRunner::new(cases()).run(&given, |(stop, words, include_stop)| {
        let text = words.concat();
        let tokens: Vec<u32> = words.iter().flat_map(|word| tokenizer.encode(word, false).unwrap()).collect();
        let request = Generate { stop: stop.clone(), include_stop, ..Generate::default() };
        let (ended, sent) = run(&tokenizer, &request, &tokens);
        let whole = tokenizer.decode(&tokens, true);
        prop_assert_eq!(&whole, &text);
        match found(&text, &stop) {
            None => prop_assert_eq!((ended, sent), (None, text)),
            Some((end, length)) => {
                let kept = if include_stop { end } else { end - length };
                prop_assert_eq!((ended, sent.as_str()), (Some(Finish::STOP_SEQUENCE), &text[..kept]));
            }
        }
        Ok(())
    });
    outcome.unwrap();
}

fn run(tokenizer: &Arc<Tokenizer>, request: &Generate, tokens: &[u32]) -> (Option<Finish>, String) {
    let mut detokenizer = Detokenizer::new(Arc::clone(tokenizer), true);
    let mut stops = Stops::new(request, &[1], MANY);
    let mut sent = String::new();
    for token in tokens {
        sent += &stops.push(*token, Some(&mut detokenizer)).text;
        if stops.finish().is_some() {
            return (stops.finish(), sent);
        }
    }
    sent += &stops.flush(Some(&mut detokenizer));
    (None, sent)
}
