//! Adapters come and go while requests run; stops, forms and streams do what they say.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, mpsc};
use std::time::{Duration, Instant};

use loam_engine::adapter::{Expected, Source};
use loam_engine::constraint::Constraint;
use loam_engine::request::{Generate, Prompt};
use loam_engine::{DeliveryMode, Engine, Error, Event};
use loam_ledger_core::row::Finish;

use crate::ask::{ADAPTERS, all, golden, heard, open, options, prompt, request};

/// A name is loaded, reloaded with another content, and unloaded, again and again, while others ask by it: every answer
/// is one of the two contents' own, whole.
#[test]
fn reloads_never_mix() {
    let options = options("llama-gqa");
    let folder = |name: &str| Source::Folder(golden().join("llama-gqa/adapters").join(name));
    let engine = open(&options);
    let question = |name: &str| request(&prompt(5, 33), &[(name, 1.0)], 24);
    let whole: Vec<_> =
        ["qv-r8", "all-r16"].iter().map(|name| all(&engine, vec![question(name)]).remove(0).invariant()).collect();
    assert!(whole[0].0 != whole[1].0, "the two contents answer differently");

    let done = AtomicBool::new(false);
    let answered = std::thread::scope(|scope| {
        scope.spawn(|| {
            for turn in 0..40 {
                engine.catalog().load("moving", &folder(["qv-r8", "all-r16"][turn % 2]), Expected::Anything).unwrap();
                std::thread::sleep(std::time::Duration::from_millis(10));
                if turn % 5 == 4 {
                    engine.catalog().unload("moving", Expected::Anything).unwrap();
                }
            }
            done.store(true, Ordering::Relaxed);
        });
        let mut answered = [0, 0];
        while !done.load(Ordering::Relaxed) {
            // Between an unload and the next load the name is unknown, which is said at once.
            let Ok(stream) = engine.generate(question("moving")) else { continue };
            let said = heard(stream);
            assert_eq!(said.failure, None);
            let which = whole.iter().position(|whole| *whole == said.invariant());
            answered[which.expect("an answer is one content's own")] += 1;
        }
        answered
    });
    assert!(answered.iter().all(|count| *count > 0), "{answered:?}");
}

#[test]
fn an_unloaded_name_serves_what_is_in_flight() {
    let engine = open(&options("llama-gqa"));
    let stream = engine.generate(request(&prompt(1, 30), &[("all-r16", 1.0)], 60)).unwrap();
    engine.catalog().unload("all-r16", Expected::Anything).unwrap();
    assert!(engine.generate(request(&prompt(1, 30), &[("all-r16", 1.0)], 60)).is_err());
    assert_eq!(heard(stream).one().tokens.len(), 60);
}

#[test]
fn more_adapters_than_slots() {
    let mut options = options("llama-gqa");
    options.slots = 2;
    let engine = open(&options);
    let requests: Vec<Generate> =
        (0..20).map(|index| request(&prompt(index, 20), &[(ADAPTERS[index as usize % 5], 1.0)], 20)).collect();
    let expected = all(&open(&crate::ask::options("llama-gqa")), requests.clone());
    for (said, expected) in all(&engine, requests).iter().zip(&expected) {
        assert!(said.failure.is_none() && said.invariant() == expected.invariant());
    }
}

#[test]
fn an_adapter_that_cannot_be_read_fails_its_own_requests() {
    let folder = tempfile::tempdir().unwrap();
    let source = golden().join("llama-gqa/adapters/qv-r8");
    for file in ["adapter_config.json", "adapter_model.safetensors"] {
        std::fs::copy(source.join(file), folder.path().join(file)).unwrap();
    }
    let engine = open(&options("llama-gqa"));
    engine.catalog().register("breaks", &Source::Folder(folder.path().to_owned())).unwrap();
    std::fs::write(folder.path().join("adapter_model.safetensors"), b"not any more").unwrap();
    let said = all(
        &engine,
        vec![
            request(&prompt(1, 20), &[("breaks", 1.0)], 10),
            request(&prompt(1, 20), &[("qv-r8", 1.0)], 10),
            request(&prompt(1, 20), &[], 10),
        ],
    );
    assert!(
        said[0].failure.as_ref().is_some_and(|why| why.contains("adapter_model.safetensors")),
        "{:?}",
        said[0].failure
    );
    assert_eq!((said[1].one().tokens.len(), said[2].one().tokens.len()), (10, 10));
}

#[test]
fn registered_adapters_are_read_when_first_used() {
    let engine =
        Engine::open(&options("llama-gqa"), Box::new(loam_engine::MemoryRecorder::default()), &mut |_| {}).unwrap();
    let folder = golden().join("llama-gqa/adapters/qv-r8");
    engine.catalog().register("later", &Source::Folder(folder)).unwrap();
    assert_eq!(engine.catalog().find("later").unwrap().generation, None);
    let said = all(&engine, vec![request(&prompt(1, 20), &[("later", 1.0)], 10)]).remove(0);
    let expected = all(&open(&options("llama-gqa")), vec![request(&prompt(1, 20), &[("qv-r8", 1.0)], 10)]).remove(0);
    assert!(said.invariant() == expected.invariant());
    assert!(engine.catalog().find("later").unwrap().generation.is_some());
}

#[test]
fn stop_strings_end_answers_and_leave_no_trace() {
    let engine = open(&options("llama-gqa"));
    let long = all(&engine, vec![request(&prompt(2, 20), &[], 60)]).remove(0);
    let text = &long.one().text;
    let middle = text.char_indices().map(|(at, _)| at).nth(text.chars().count() / 2).unwrap();
    let end = text[middle..].char_indices().map(|(at, _)| middle + at).nth(3).unwrap();
    let stop = text[middle..end].to_owned();
    let stopping = Generate { stop: vec![stop.clone()], ..request(&prompt(2, 20), &[], 60) };
    let said = all(&engine, vec![stopping]).remove(0);
    assert_eq!(said.one().finish, Some(Finish::STOP_SEQUENCE));
    assert_eq!(said.one().text, text[..text.find(&stop).unwrap()]);
}

#[test]
fn forms_hold_beside_requests_without_one() {
    let engine = open(&options("llama-gqa"));
    let mut formed = Generate {
        constraint: Some(Constraint::Regex("[0-9]{3}-[a-f]{2,4}".to_owned())),
        ignore_eos: false,
        ..request(&prompt(3, 20), &[("qv-r8", 1.0)], 30)
    };
    formed.sampling.temperature = Some(1.0);
    formed.sampling.seed = Some(5);
    let free = request(&prompt(4, 20), &[], 30);
    let expected = all(&engine, vec![free.clone()]).remove(0);
    let said = all(&engine, vec![formed, free]);
    let text = &said[0].one().text;
    assert_eq!(said[0].one().finish, Some(Finish::STOP), "{text}");
    let (digits, letters) = text.split_once('-').expect("the form has a dash");
    assert!(digits.len() == 3 && digits.bytes().all(|byte| byte.is_ascii_digit()), "{text}");
    assert!((2..=4).contains(&letters.len()) && letters.bytes().all(|byte| (b'a'..=b'f').contains(&byte)), "{text}");
    assert!(said[1].invariant() == expected.invariant());
}

#[test]
fn chats_are_rendered_by_the_models_template() {
    let cases = crate::ask::cases();
    let chat = &cases["models"]["llama-gqa"]["text"]["chat"];
    let engine = open(&options("llama-gqa"));
    let messages = loam_engine::json::Json::parse(&chat["messages"].to_string()).unwrap();
    let asked = loam_engine::request::ChatPrompt { messages, ..Default::default() };
    let mut stream = engine.generate(Generate { prompt: Prompt::Chat(asked), ..request(&[1], &[], 4) }).unwrap();
    let Some(Event::Started(started)) = stream.next() else { panic!("a stream begins with its start") };
    let ids: Vec<u32> = chat["ids"].as_array().unwrap().iter().map(|id| id.as_u64().unwrap() as u32).collect();
    assert_eq!(started.prompt.to_vec(), ids);
}

#[test]
fn eager_delivery_says_the_same() {
    let mut options = options("llama-gqa");
    let question = request(&prompt(6, 20), &[("patterns", 1.0)], 30);
    let recorded = all(&open(&options), vec![question.clone()]).remove(0);
    options.delivery = DeliveryMode::Eager;
    assert!(all(&open(&options), vec![question]).remove(0) == recorded);
}

/// Choices of one request had deadlines a moment apart: one ended while another was still planned, and the loop broke off.
#[test]
fn choices_share_one_deadline() {
    let engine = open(&options("llama-gqa"));
    for deadline_ms in 1..12 {
        let late = Generate { n: 64, deadline_ms: Some(deadline_ms), ..request(&prompt(deadline_ms, 300), &[], 100) };
        all(&engine, vec![late]);
    }
    assert_eq!(all(&engine, vec![request(&prompt(1, 20), &[], 4)]).remove(0).one().tokens.len(), 4, "it serves on");
}

/// A sink runs on threads that others depend on: one that panics ends its own request.
#[test]
fn a_sink_that_panics_harms_nobody_else() {
    let engine = open(&options("llama-gqa"));
    let breaks = Box::new(|event| match event {
        Event::Tokens(_) => panic!("a sink broke"),
        _ => true,
    });
    let handle = engine.submit(request(&prompt(1, 20), &[], 400), breaks).unwrap();
    assert_eq!(all(&engine, vec![request(&prompt(2, 20), &[], 30)]).remove(0).one().tokens.len(), 30);
    drop(handle);
    engine.stop().unwrap();
}

/// Each answer of a request had its form's tables to itself, from the moment that it was asked for: 128 took 17 GB.
#[test]
fn many_answers_of_one_form() {
    let engine = open(&options("llama-gqa"));
    let mut formed = Generate {
        n: 40,
        constraint: Some(Constraint::Regex("a?".repeat(1000))),
        ignore_eos: false,
        logits: false,
        ..request(&prompt(3, 20), &[], 1)
    };
    formed.sampling.temperature = Some(1.0);
    let said = all(&engine, vec![formed]).remove(0);
    assert_eq!((said.failure, said.answers.len()), (None, 40));
    assert!(said.answers.values().all(|answer| answer.text.bytes().all(|byte| byte == b'a')), "{:?}", said.answers);
}

/// What was read for a request that was gone by then stayed in host memory for ever, in nobody's budget.
#[test]
fn an_adapter_that_nobody_waits_for_any_more_is_dropped() {
    let engine =
        Engine::open(&options("llama-gqa"), Box::new(loam_engine::MemoryRecorder::default()), &mut |_| {}).unwrap();
    let folder = golden().join("llama-gqa/adapters/all-r16");
    engine.catalog().register("later", &Source::Folder(folder)).unwrap();
    engine.generate(request(&prompt(1, 20), &[("later", 1.0)], 10)).unwrap().handle().cancel();
    let began = Instant::now();
    while engine.metrics().loads.count == 0 || engine.metrics().adapters.host_bytes > 0 {
        assert!(began.elapsed() < Duration::from_secs(20), "{:?}", engine.metrics().adapters);
        std::thread::sleep(Duration::from_millis(5));
    }
    let said = all(&engine, vec![request(&prompt(1, 20), &[("later", 1.0)], 10)]).remove(0);
    assert_eq!(said.one().tokens.len(), 10, "it is read again");
}

/// `stop` after `stop_now` gave what ran all its patience again, and whoever called it second was told at once that all had
/// ended well.
#[test]
fn the_least_patience_counts_and_all_wait_for_the_end() {
    let engine = open(&options("llama-gqa"));
    let requests: Vec<Generate> = (0..64).map(|seed| request(&prompt(seed, 30), &[], 470)).collect();
    let streams: Vec<_> = requests.into_iter().map(|request| engine.generate(request).unwrap()).collect();
    engine.stop_now();
    let began = Instant::now();
    std::thread::scope(|scope| {
        let stops: Vec<_> = (0..2).map(|_| scope.spawn(|| engine.stop())).collect();
        for stop in stops {
            assert!(stop.join().unwrap().is_ok());
        }
    });
    let said: Vec<_> = streams.into_iter().map(heard).collect();
    assert!(said.iter().any(|said| said.failure.is_some()), "not all came to their end, in {:?}", began.elapsed());
    assert!(engine.stop().is_ok(), "and whoever asks later is told the same");
}

/// A sink that stopped its engine waited for itself: the loop's panic was swallowed, or it hung.
#[test]
fn an_engine_is_not_stopped_in_a_sink() {
    let engine = Arc::new(open(&options("llama-gqa")));
    let (sender, told) = mpsc::channel();
    let inside = Arc::downgrade(&engine);
    let sink = Box::new(move |event| {
        if let (Event::Tokens(_), Some(engine)) = (event, inside.upgrade()) {
            sender.send(engine.stop()).unwrap();
        }
        true
    });
    let _handle = engine.submit(request(&prompt(1, 20), &[], 1), sink).unwrap();
    assert!(matches!(told.recv().unwrap(), Err(Error::StopInside)));
    assert_eq!(all(&engine, vec![request(&prompt(2, 20), &[], 4)]).remove(0).one().tokens.len(), 4, "it serves on");
    assert!(engine.stop().is_ok());
}

/// Text that could have been the beginning of a stop string was lost where a deadline came first.
#[test]
fn a_deadline_releases_what_was_held_back() {
    let engine = open(&options("llama-gqa"));
    let question = |deadline_ms| Generate { deadline_ms, logits: false, ..request(&prompt(1, 30), &[], 470) };
    let whole = all(&engine, vec![question(None)]).remove(0).one().text.clone();
    // All of it might still be the beginning of this one.
    let stop = format!("{}#", &whole[..whole.floor_char_boundary(1000)]);
    for deadline_ms in [10, 20, 40, 80, 160] {
        let mut tokens = 0;
        let mut text = String::new();
        for event in engine.generate(Generate { stop: vec![stop.clone()], ..question(Some(deadline_ms)) }).unwrap() {
            if let Event::Tokens(more) = event {
                tokens += more.tokens.len();
                text += &more.text;
            }
        }
        if (1..470).contains(&tokens) {
            assert!(!text.is_empty() && whole.starts_with(&text), "{tokens} tokens, {text:?}");
            return;
        }
    }
    panic!("no deadline came in the midst of an answer");
}

/// An adapter of numbers beyond all bounds was answered with, token 0 after token 0, as if all were well.
#[test]
fn logits_that_are_not_finite_end_the_answer() {
    let folder = tempfile::tempdir().unwrap();
    let source = golden().join("llama-gqa/adapters/qv-r8");
    std::fs::copy(source.join("adapter_config.json"), folder.path().join("adapter_config.json")).unwrap();
    let mut tensors = std::fs::read(source.join("adapter_model.safetensors")).unwrap();
    let data = 8 + u64::from_le_bytes(tensors[..8].try_into().unwrap()) as usize;
    // Of finite numbers, which a loader takes, and whose products are infinite.
    tensors[data..].fill(0x7e);
    std::fs::write(folder.path().join("adapter_model.safetensors"), tensors).unwrap();
    let engine = open(&options("llama-gqa"));
    engine.load_adapter("broken", &Source::Folder(folder.path().to_owned()), Expected::Anything).unwrap();
    let broken = Generate { n: 3, logits: false, ..request(&prompt(1, 20), &[("broken", 1.0)], 10) };
    let said = all(&engine, vec![broken, request(&prompt(1, 20), &[], 10)]);
    assert!(said[0].failure.as_ref().is_some_and(|why| why.contains("not finite")), "{:?}", said[0]);
    assert_eq!(said[1].one().tokens.len(), 10, "and nobody else's");
}
