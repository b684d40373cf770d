//! Answers drawn at random through masks have the form that was asked for, and end where it does.

use std::sync::LazyLock;
use std::time::{Duration, Instant};

use loam_engine::Error;
use loam_engine::constraint::{Constraint, ConstraintFactory, ConstraintState, FORM_BYTES_MAX, REGEX_BYTES_MAX};
use loam_engine::json::Json;
use loam_engine::tokenizer::Tokenizer;
use serde_json::Value;

use super::golden;
use super::tier::times;

/// Rows of the golden models' logits: more than their tokenizer has tokens.
const VOCABULARY: usize = 512;
/// What ends an answer.
const EOS: [u32; 2] = [1, 4];

static TOKENIZER: LazyLock<std::sync::Arc<Tokenizer>> = LazyLock::new(|| golden::tokenizer("llama-gqa"));
static FACTORY: LazyLock<ConstraintFactory> =
    LazyLock::new(|| ConstraintFactory::new(&TOKENIZER, &EOS, VOCABULARY).unwrap());

/// Numbers that look random (SplitMix64).
struct Random(u64);

impl Random {
    fn below(&mut self, end: usize) -> usize {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mixed = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        ((mixed ^ (mixed >> 27)) % end as u64) as usize
    }
}

fn allowed(mask: &[u32]) -> Vec<u32> {
    (0..32 * mask.len() as u32).filter(|token| mask[*token as usize / 32] >> (token % 32) & 1 == 1).collect()
}

/// An answer drawn at random until it ends. Where it may end, it does so every other time, so that it stays short; and
/// spaces are drawn seldom.
fn drawn(constraint: &Constraint, random: &mut Random) -> String {
    let mut state = FACTORY.begin(constraint).unwrap();
    let mut tokens = Vec::new();
    for _ in 0..2000 {
        let mask = state.mask().unwrap();
        assert_eq!(mask.len(), VOCABULARY / 32);
        let choices = allowed(&mask);
        let ends = EOS.iter().all(|token| choices.contains(token));
        assert_eq!(state.may_end().unwrap(), ends, "ends are allowed exactly where the answer may end");
        assert_eq!(choices.iter().any(|token| EOS.contains(token)), ends);
        if ends && (choices.len() == EOS.len() || random.below(2) == 0) {
            state.accept(EOS[0]).unwrap();
            assert!(state.is_finished());
            return TOKENIZER.decode(&tokens, false);
        }
        let words: Vec<u32> = choices.iter().copied().filter(|token| !EOS.contains(token)).collect();
        let dense: Vec<u32> = words.iter().copied().filter(|token| !blank(*token)).collect();
        let among = if dense.is_empty() || random.below(20) == 0 { &words } else { &dense };
        let token = among[random.below(among.len())];
        state.accept(token).unwrap();
        tokens.push(token);
    }
    panic!("an answer without end: {}", TOKENIZER.decode(&tokens, false));
}

fn blank(token: u32) -> bool {
    TOKENIZER.bytes(token).iter().all(u8::is_ascii_whitespace)
}

/// Draws many answers and looks at each.
fn check(constraint: &Constraint, holds: impl Fn(&str) -> bool) {
    let mut random = Random(7);
    for _ in 0..times(25) {
        let text = drawn(constraint, &mut random);
        assert!(holds(&text), "{constraint:?}: {text:?}");
    }
}

fn schema(text: &str) -> Constraint {
    Constraint::JsonSchema(Json::parse(text).unwrap())
}

fn parsed(text: &str) -> Value {
    serde_json::from_str(text).unwrap_or_else(|error| panic!("{error}: {text}"))
}

#[test]
fn objects_of_a_schema() {
    let constraint = schema(
        r#"{"type": "object", "properties": {"name": {"type": "string", "maxLength": 8}, "age": {"type": "integer",
        "minimum": 0, "maximum": 120}, "tags": {"type": "array", "items": {"enum": ["a", "b"]}, "maxItems": 3}},
        "required": ["name", "age"], "additionalProperties": false}"#,
    );
    check(&constraint, |text| {
        let value = parsed(text);
        let fields = value.as_object().unwrap();
        let tags = fields.get("tags").map_or(&[][..], |tags| tags.as_array().unwrap());
        fields.keys().all(|key| ["name", "age", "tags"].contains(&key.as_str()))
            && value["name"].as_str().unwrap().chars().count() <= 8
            && (0..=120).contains(&value["age"].as_i64().unwrap())
            && tags.len() <= 3
            && tags.iter().all(|tag| tag == "a" || tag == "b")
    });
}

#[test]
fn properties_come_in_the_schemas_order() {
    let constraint = schema(
        r#"{"type": "object", "properties": {"z": {"const": 1}, "a": {"const": 2}, "m": {"const": 3}},
        "required": ["z", "a", "m"], "additionalProperties": false}"#,
    );
    check(&constraint, |text| {
        let Json::Object(fields) = Json::parse(text).unwrap() else { return false };
        fields.iter().map(|(key, _)| key.as_str()).eq(["z", "a", "m"])
    });
}

#[test]
fn schemas_that_refer_to_themselves() {
    let constraint = schema(
        r##"{"$ref": "#/$defs/tree", "$defs": {"tree": {"type": "object", "properties": {"left": {"anyOf":
        [{"$ref": "#/$defs/tree"}, {"type": "null"}]}}, "required": ["left"], "additionalProperties": false}}}"##,
    );
    fn depth(value: &Value) -> bool {
        value["left"].is_null() || depth(&value["left"])
    }
    check(&constraint, |text| depth(&parsed(text)));
}

#[test]
fn any_object() {
    let mut state = FACTORY.begin(&Constraint::JsonObject).unwrap();
    let first: Vec<u32> = allowed(&state.mask().unwrap());
    // Of texts that are not blank, only those that open an object.
    assert!(first.iter().all(|token| TOKENIZER.bytes(*token).trim_ascii().first().is_none_or(|byte| *byte == b'{')));
    let text = r#"{"a": [1, {"b": null}], "c": "x\n"}"#;
    for token in TOKENIZER.encode(text, false).unwrap() {
        assert!(allowed(&state.mask().unwrap()).contains(&token));
        state.accept(token).unwrap();
    }
    assert!(state.may_end().unwrap());
}

#[test]
fn regular_expressions() {
    let digits = |text: &str| text.bytes().all(|byte| byte.is_ascii_digit());
    check(&Constraint::Regex(r"[0-9]{3}-[0-9]{2}".to_owned()), |text| {
        text.len() == 6 && digits(&text[..3]) && &text[3..4] == "-" && digits(&text[4..])
    });
    check(&Constraint::Regex("(yes|no)!?".to_owned()), |text| ["yes", "no", "yes!", "no!"].contains(&text));
    check(&Constraint::Regex("/a\"'\\\\\n[/]".to_owned()), |text| text == "/a\"'\\\n/");
}

#[test]
fn characters_of_many_tokens() {
    check(&Constraint::Regex("[\u{6f22}\u{1f642}\u{e9}]{2}".to_owned()), |text| {
        text.chars().count() == 2 && text.chars().all(|character| "\u{6f22}\u{1f642}\u{e9}".contains(character))
    });
}

#[test]
fn grammars() {
    let grammar = "start: sum\nsum: term (\"+\" term)*\nterm: /[0-9]/ | \"(\" sum \")\"\n";
    check(&Constraint::Grammar(grammar.to_owned()), |text| {
        let open = text.bytes().try_fold(0_usize, |open, byte| match byte {
            b'(' => Some(open + 1),
            b')' => open.checked_sub(1),
            byte => (byte.is_ascii_digit() || byte == b'+').then_some(open),
        });
        open == Some(0) && !text.is_empty() && !text.starts_with('+') && !text.ends_with('+')
    });
}

#[test]
fn choices() {
    let texts = ["red", "red wine", "it's \"quoted\"\n", "\u{6f22}", " \\ ", "/*"].map(str::to_owned);
    let constraint = Constraint::Choice(texts.to_vec());
    let mut random = Random(11);
    let mut seen: Vec<String> = (0..200).map(|_| drawn(&constraint, &mut random)).collect();
    seen.sort();
    seen.dedup();
    let mut all = texts.to_vec();
    all.sort();
    assert_eq!(seen, all);
}

#[test]
fn a_token_that_is_not_allowed_is_an_error() {
    let mut state = FACTORY.begin(&Constraint::Choice(vec!["red".to_owned()])).unwrap();
    let blue = TOKENIZER.encode("b", false).unwrap()[0];
    assert!(!allowed(&state.mask().unwrap()).contains(&blue));
    assert!(matches!(state.accept(blue), Err(Error::Constraint { .. })));
    assert!(state.mask().is_err() && !state.is_finished());
}

#[test]
fn after_the_end_only_ends_may_come() {
    let mut state = FACTORY.begin(&Constraint::Choice(vec!["red".to_owned()])).unwrap();
    for token in TOKENIZER.encode("red", false).unwrap() {
        state.accept(token).unwrap();
    }
    assert!(state.is_finished() && state.may_end().unwrap());
    assert_eq!(allowed(&state.mask().unwrap()), EOS);
    state.accept(EOS[1]).unwrap();
    state.accept(9).unwrap();
}

#[test]
fn special_tokens_are_no_text() {
    let mut state = FACTORY.begin(&Constraint::Regex(".*".to_owned())).unwrap();
    let choices = allowed(&state.mask().unwrap());
    // <s> and <|user|> spell texts that the expression would match.
    assert!([0, 2, 3].iter().all(|token| !choices.contains(token)));
    assert!(choices.iter().all(|token| (*token as usize) < TOKENIZER.vocabulary()));
}

#[test]
fn states_can_be_sent_to_another_thread() {
    fn sent<T: Send>(_: &T) {}
    fn shared<T: Send + Sync>(_: &T) {}
    let state: ConstraintState = FACTORY.begin(&Constraint::JsonObject).unwrap();
    sent(&state);
    shared(&*FACTORY);
}

#[test]
fn a_model_without_ends_has_no_forms() {
    let error = ConstraintFactory::new(&TOKENIZER, &[], VOCABULARY).unwrap_err().to_string();
    assert!(error.contains("ends an answer"), "{error}");
    assert!(ConstraintFactory::new(&TOKENIZER, &[600], VOCABULARY).is_err());
}

#[test]
fn models_with_fewer_rows_than_tokens_have_masks_of_their_size() {
    let factory = ConstraintFactory::new(&TOKENIZER, &[1], 100).unwrap();
    assert_eq!(factory.begin(&Constraint::JsonObject).unwrap().mask().unwrap().len(), 4);
}

/// Refused by the field's name.
fn refused(constraint: &Constraint) -> String {
    match FACTORY.begin(constraint) {
        Err(Error::Request { field, found, .. }) if field == constraint.field() => found,
        other => panic!("{constraint:?}: {other:?}"),
    }
}

#[test]
fn what_means_nothing_is_refused_by_name() {
    refused(&schema(r#"{"type": "unheard-of"}"#));
    refused(&schema(r##"{"$ref": "#/nowhere"}"##));
    refused(&schema(r#"{"type": "string", "minLength": 5, "maxLength": 2}"#));
    refused(&schema("false"));
    refused(&Constraint::JsonSchema(Json::Integer(5)));
    refused(&Constraint::Regex("a(".to_owned()));
    refused(&Constraint::Regex("(?=a)b".to_owned()));
    let told = refused(&Constraint::Regex("[z-a]".to_owned()));
    assert!(told.contains("invalid character class range"), "what is wrong with it is told: {told}");
    refused(&Constraint::Grammar("start: nothing".to_owned()));
    refused(&Constraint::Grammar(String::new()));
    refused(&Constraint::Choice(Vec::new()));
    refused(&Constraint::Choice(vec![String::new()]));
}

/// What is wrong is not told as what is too large; and a schema without an end is told as that.
#[test]
fn a_refusal_says_what_would_be_right() {
    for (constraint, words) in [
        (Constraint::Regex("a(".to_owned()), "a valid regular expression"),
        (schema(r#"{"type": "unheard-of"}"#), "a valid JSON schema"),
        (Constraint::Grammar("start: nothing".to_owned()), "a valid grammar"),
    ] {
        let refused = FACTORY.begin(&constraint).err().unwrap().to_string();
        assert!(refused.contains(words), "{refused}");
    }
    let endless = FACTORY.begin(&schema(r##"{"$ref":"#"}"##)).and_then(|mut state| state.mask());
    let endless = endless.unwrap_err().to_string();
    assert!(endless.contains("refers to itself without an end"), "{endless}");
}

/// Each answer had tables of its own: 128 answers of one expression took 17 GB.
#[test]
fn answers_of_one_request_share_what_their_form_takes() {
    let factory = ConstraintFactory::new(&TOKENIZER, &EOS, VOCABULARY).unwrap();
    let mut beginning = factory.begin(&Constraint::Regex("[a-z]{1,40}".to_owned())).unwrap();
    let mask = beginning.mask().unwrap();
    let before = beginning.bytes();
    let mut answers: Vec<ConstraintState> = (0..128).map(|_| beginning.fork()).collect();
    let token = TOKENIZER.encode("a", false).unwrap()[0];
    answers[0].accept(token).unwrap();
    let second = answers[0].mask().unwrap();
    assert!(answers[0].bytes() > before, "a state more is known");
    assert!(answers.iter().all(|answer| answer.bytes() == answers[0].bytes()), "to all of them");
    assert_eq!(factory.bytes(), answers[0].bytes(), "and counted once");
    // What they share is no answer's own place in the form.
    assert_eq!(answers[1].mask().unwrap(), mask);
    answers[1].accept(token).unwrap();
    assert_eq!(answers[1].mask().unwrap(), second);
    drop((beginning, answers));
    assert_eq!(factory.bytes(), 0);
}

/// Expressions of 16 KiB took 137 MB, by the square of their length.
#[test]
fn what_one_form_takes_is_bounded() {
    let longest = Constraint::Regex("a?".repeat(REGEX_BYTES_MAX / 2));
    assert!(FACTORY.begin(&longest).unwrap().bytes() < FORM_BYTES_MAX);
    refused(&Constraint::Regex("a?".repeat(8000)));
    // The same by names of terminals, each twice the one before it.
    let doubled: String = (1..14).map(|at| format!("A{at}: A{0} A{0}\n", at - 1)).collect();
    let told = refused(&Constraint::Grammar(format!("start: A13\nA0: /a?/\n{doubled}")));
    assert!(told.contains("bytes"), "{told}");
}

/// Forms made to cost much: each is refused, or its first masks are there before long.
#[test]
fn hostile_forms_are_bounded() {
    let nested = |depth: usize| {
        let (open, close) = (r#"{"type":"array","items":"#.repeat(depth), "}".repeat(depth));
        format!(r#"{open}{{"type":"null"}}{close}"#)
    };
    let chain: String = (0..2_000).map(|rule| format!("r{rule}: r{}\n", rule + 1)).collect();
    let terminals: String = (0..2_000).map(|rule| format!("T{rule}: T{}\n", rule + 1)).collect();
    let wide: Vec<_> =
        (0..times(500).min(2000)).map(|property| format!(r#""p{property}":{{"type":"string"}}"#)).collect();
    let any_of = vec![r#"{"type":"object","properties":{"a":{"type":"string"}}}"#; 1000].join(",");
    let hostile = [
        Constraint::Regex("((a{1000}){1000}){1000}".to_owned()),
        Constraint::Regex("(.*a){200}".to_owned()),
        Constraint::Regex("(a|b|ab)*".repeat(1500)),
        Constraint::Regex("(".repeat(8000) + &")".repeat(8000)),
        Constraint::Regex("[^a]{0,100000}".to_owned()),
        Constraint::Regex(format!("(?i){}", "\\p{L}{1,50}".repeat(100))),
        Constraint::Regex("a?".repeat(times(1000).min(8000))),
        Constraint::Regex("a|".repeat(8000)),
        Constraint::Regex("(?:a&~b)*".repeat(1000)),
        Constraint::Grammar(format!("start: r0\n{chain}r2000: \"x\"\n")),
        Constraint::Grammar(format!("start: T0\n{terminals}T2000: \"x\"\n")),
        Constraint::Grammar(format!("start: {}\"x\"{}\n", "(".repeat(9000), ")".repeat(9000))),
        Constraint::Grammar("start: start start | \"a\" | \"\"\n".to_owned()),
        Constraint::Grammar("start: a\na: a\n".to_owned()),
        Constraint::Grammar(format!("start: {}\n", "\"a\"? ".repeat(times(1000).min(5000)))),
        Constraint::Grammar(format!("start: {}\"a\"\n", "~".repeat(30_000))),
        Constraint::Grammar(format!("start: \"a\"{}\n", "?".repeat(30_000))),
        Constraint::Grammar(format!("start: /{}a/\n", "~".repeat(30_000))),
        Constraint::Grammar("start: \"a\"{1000000000}\n".to_owned()),
        Constraint::Grammar("start: x\nx[lazy]: /.*/ x | x x\n".to_owned()),
        schema(&nested(60)),
        schema(&format!(r#"{{"type":"string","pattern":"{}"}}"#, "(a|b)?".repeat(8000))),
        schema(&format!(r#"{{"type":"object","properties":{{{}}}}}"#, wide.join(","))),
        schema(&format!(r#"{{"anyOf":[{any_of}]}}"#)),
        schema(r#"{"type":"string","minLength":100000000}"#),
        schema(r#"{"type":"string","pattern":"^(a{1000}){1000}$"}"#),
        schema(r#"{"type":"array","minItems":1000000000,"items":{"type":"string"}}"#),
        schema(r##"{"$ref":"#"}"##),
        schema(r##"{"allOf":[{"$ref":"#"},{"$ref":"#"}]}"##),
        schema(r#"{"type":"integer","minimum":-1e300,"maximum":1e300,"multipleOf":0.0000001}"#),
        schema(r#"{"type":"number","multipleOf":1e-300}"#),
    ];
    for constraint in hostile {
        let start = Instant::now();
        let state = FACTORY.begin(&constraint);
        let name = format!("{constraint:?}").chars().take(80).collect::<String>();
        if let Ok(mut state) = state {
            let mut random = Random(1);
            for _ in 0..3 {
                let Ok(mask) = state.mask() else { break };
                let choices = allowed(&mask);
                if state.accept(choices[random.below(choices.len())]).is_err() {
                    break;
                }
            }
        }
        assert!(start.elapsed() < Duration::from_secs(60), "{name} took {:?}", start.elapsed());
    }
}
