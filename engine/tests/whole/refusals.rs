//! What is refused is refused before it is queued, by the field's name; and nobody else notices.

use loam_engine::adapter::{Expected, Source};
use loam_engine::request::{AdapterUse, Generate, Prompt};
use loam_engine::{Engine, Error};

use crate::ask::{all, golden, open, options, prompt, request};

#[track_caller]
fn refused(engine: &Engine, request: Generate, names: &str) {
    let error = engine.generate(request).err().expect("this is refused");
    assert!(error.to_string().contains(names), "{error}");
}

#[test]
fn requests_that_the_model_cannot_answer() {
    let engine = open(&options("llama-gqa"));
    let good = request(&prompt(1, 20), &[], 4);
    refused(&engine, request(&[], &[], 4), "prompt_tokens");
    refused(&engine, request(&[512], &[], 4), "prompt_tokens");
    refused(&engine, request(&prompt(1, 512), &[], 4), "prompt");
    refused(&engine, request(&prompt(1, 500), &[], 13), "max_tokens");
    refused(&engine, Generate { stop_token_ids: vec![512], ..good.clone() }, "stop_token_ids");
    refused(&engine, Generate { n: 0, ..good.clone() }, "`n`");
    let mut biased = good.clone();
    biased.sampling.logit_bias = vec![(9999, 1.0)];
    refused(&engine, biased, "logit_bias");
    let unknown = vec![AdapterUse { name: "nobody".to_owned(), weight: 1.0 }];
    refused(&engine, Generate { adapters: unknown, ..good.clone() }, "nobody");
    let chat = Prompt::Text("x".repeat(5000));
    refused(&engine, Generate { prompt: chat, ..good.clone() }, "prompt");
    assert_eq!(all(&engine, vec![good]).remove(0).one().tokens.len(), 4, "the engine serves on");
}

#[test]
fn a_full_queue_says_so_now() {
    let mut small = options("llama-gqa");
    small.requests_max = 2;
    let engine = open(&small);
    let long = || request(&prompt(1, 20), &[], 400);
    let first = engine.generate(long()).unwrap();
    let second = engine.generate(long()).unwrap();
    let full = engine.generate(long()).err().expect("there is no third place");
    assert!(matches!(full, Error::Full { .. }), "{full}");
    drop((first, second));
}

#[test]
fn adapters_that_are_not_computed_exactly() {
    let engine =
        Engine::open(&options("llama-gqa"), Box::new(loam_engine::MemoryRecorder::default()), &mut |_| {}).unwrap();
    for (folder, field) in [("dora", "use_dora"), ("bias-all", "bias"), ("modules-to-save", "modules_to_save")] {
        let source = Source::Folder(golden().join("llama-gqa/special").join(folder));
        let error =
            engine.load_adapter(folder, &source, Expected::Anything).err().expect("this is refused").to_string();
        assert!(error.contains(field), "{error}");
        let uses = vec![AdapterUse { name: folder.to_owned(), weight: 1.0 }];
        refused(&engine, Generate { adapters: uses, ..request(&prompt(1, 4), &[], 4) }, folder);
    }
}

#[test]
fn the_head_is_adapted_exactly() {
    let cases = crate::ask::cases();
    let engine = open(&options("llama-gqa"));
    engine
        .load_adapter("lm-head", &Source::Folder(golden().join("llama-gqa/special/lm-head")), Expected::Anything)
        .unwrap();
    let case = &cases["models"]["llama-gqa"]["refuse"]["lm-head"]["cases"][0];
    let tokens = |value: &serde_json::Value| -> Vec<u32> {
        value.as_array().unwrap().iter().map(|token| token.as_u64().unwrap() as u32).collect()
    };
    let expected = tokens(&case["greedy"]);
    let asked = Generate {
        prompt_logprobs: true,
        ..request(&tokens(&case["prompt"]), &[("lm-head", 1.0)], expected.len() as u32)
    };
    let said = all(&engine, vec![asked]).remove(0);
    assert_eq!(said.one().tokens, expected);
    for (got, wanted) in said.prompt_logprobs.iter().zip(case["prompt_logprobs"].as_array().unwrap()) {
        let wanted = wanted.as_f64().unwrap();
        assert!((f64::from(*got) - wanted).abs() <= 2e-3 * wanted.abs().max(1.0), "{got} for {wanted}");
    }
}

/// Zeros were let in, or refused by names that the options do not have.
#[test]
fn options_that_no_model_is_opened_with() {
    let check = |set: fn(&mut loam_engine::OpenOptions), names: &str| {
        let mut options = options("llama-gqa");
        set(&mut options);
        let opened = Engine::open(&options, Box::new(loam_engine::MemoryRecorder::default()), &mut |_| {});
        let error = opened.err().expect("this is refused").to_string();
        assert!(error.starts_with(&format!("`{names}` is ")), "{error}");
    };
    check(|it| it.running_max = 0, "running_max");
    check(|it| it.step_tokens_max = 0, "step_tokens_max");
    check(|it| it.requests_max = 0, "requests_max");
    check(|it| it.slots = 0, "slots");
    check(|it| it.page_tokens = 0, "page_tokens");
    check(|it| it.positions_max = Some(1), "positions_max");
    check(|it| it.positions_max = Some(1 << 20), "positions_max");
}

/// "Pinned" was said of what could not be held; the pins beyond the slots were left out without a word.
#[test]
fn pins_beyond_the_slots() {
    let mut options = options("llama-gqa");
    options.slots = 3;
    let engine = open(&options);
    engine
        .load_adapter("again", &Source::Folder(golden().join("llama-gqa/adapters/qv-r8")), Expected::Anything)
        .unwrap();
    for name in ["qv-r8", "again", "all-r16", "qv-r8"] {
        engine.pin_adapter(name, true).unwrap();
    }
    let error = engine.pin_adapter("patterns", true).unwrap_err().to_string();
    assert!(error.contains("3 different adapters with 3 slots") && error.contains("2 at most"), "{error}");
    assert!(!engine.catalog().find("patterns").unwrap().pinned, "nothing was changed");
    engine.pin_adapter("all-r16", false).unwrap();
    engine.pin_adapter("patterns", true).unwrap();
    assert!(matches!(engine.pin_adapter("nobody", true), Err(Error::AdapterUnknown { .. })));
}

/// A weight that is recorded as 0 was answered as if the adapter had taken part.
#[test]
fn weights_that_round_to_nothing() {
    let engine = open(&options("llama-gqa"));
    refused(&engine, request(&prompt(1, 4), &[("qv-r8", 4e-7)], 4), "adapters.weight");
    refused(&engine, request(&prompt(1, 4), &[("qv-r8", -4e-7)], 4), "adapters.weight");
    for weight in [0.0, -0.0, 5e-7, 1e-6] {
        assert!(engine.generate(request(&prompt(1, 4), &[("qv-r8", weight)], 4)).is_ok(), "{weight}");
    }
}

/// Each name of an adapter had the greatest weight, and together they went beyond it.
#[test]
fn weights_of_two_names_are_one() {
    let engine = open(&options("llama-gqa"));
    engine
        .load_adapter("again", &Source::Folder(golden().join("llama-gqa/adapters/qv-r8")), Expected::Anything)
        .unwrap();
    let asked = |one, two| request(&prompt(1, 4), &[("qv-r8", one), ("again", two)], 4);
    let said = all(&engine, vec![asked(900.0, 200.0), asked(900.0, -200.0)]);
    let failure = said[0].failure.as_ref().expect("1100 is too much");
    assert!(failure.contains("adapters.weight") && failure.contains("1100"), "{failure}");
    assert_eq!(said[1].failure, None);
}
