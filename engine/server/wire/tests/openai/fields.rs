//! Every known field: what it becomes, and that none is forgotten.

use loam_engine::constraint::Constraint;
use loam_engine::json::Json;
use loam_engine::request::{ChatPrompt, Generate, Prompt};
use loam_engine::sampler::SamplingOptions;
use loam_wire::openai::{Call, Endpoint, Names, fields};

use super::ask::{bare, call, refused, smallest, with};

const BOTH: &str = r#""model": "base", "max_tokens": 9, "min_tokens": 2, "temperature": 0.5, "top_k": -1,
    "top_p": 0.5, "min_p": 0.25, "repetition_penalty": 1.5, "presence_penalty": -1, "frequency_penalty": 0.5,
    "logit_bias": {"5": -100, "7": 1.5}, "seed": -1, "stop": ["a", "b"], "stop_token_ids": [3],
    "include_stop_str_in_output": true, "ignore_eos": true, "skip_special_tokens": false, "n": 3, "best_of": 3,
    "structured_outputs": {"regex": "a+"}, "priority": -2, "request_id": "my-id", "stream": true,
    "stream_options": {"include_usage": true, "continuous_usage_stats": true}, "return_token_ids": true,
    "return_tokens_as_token_ids": true,
    "loam": {"receipt": true, "nonce": "0101010101010101010101010101010101010101010101010101010101010101"}"#;

fn all(prompt: Prompt, logprobs: u32) -> Generate {
    Generate {
        prompt,
        max_tokens: Some(9),
        min_tokens: 2,
        sampling: SamplingOptions {
            temperature: Some(0.5),
            top_k: Some(0),
            top_p: Some(0.5),
            min_p: Some(0.25),
            repetition_penalty: Some(1.5),
            presence_penalty: Some(-1.0),
            frequency_penalty: Some(0.5),
            logit_bias: vec![(5, -100.0), (7, 1.5)],
            seed: Some(u64::MAX),
        },
        stop: vec!["a".to_owned(), "b".to_owned()],
        stop_token_ids: vec![3],
        include_stop: true,
        ignore_eos: true,
        skip_special_tokens: false,
        n: 3,
        logprobs: Some(logprobs),
        constraint: Some(Constraint::Regex("a+".to_owned())),
        priority: -2,
        ..Generate::default()
    }
}

fn all_of(endpoint: Endpoint, request: Generate) -> Call {
    Call {
        endpoint,
        model: "base".to_owned(),
        requests: vec![request],
        stream: true,
        usage_in_stream: true,
        continuous_usage: true,
        echo: false,
        prompt_logprobs: None,
        nonce: Some([1; 32]),
        receipt: true,
        return_token_ids: true,
        tokens_as_ids: true,
        request_id: Some("my-id".to_owned()),
        names: Names {
            max_tokens: if endpoint == Endpoint::Chat { "max_completion_tokens" } else { "max_tokens" },
            logprobs: if endpoint == Endpoint::Chat { "top_logprobs" } else { "logprobs" },
            adapter: "model",
            form: Some("structured_outputs"),
        },
    }
}

#[test]
fn chat_fields_are_read() {
    let fields = format!(
        r#"{BOTH}, "messages": [{{"role": "user", "content": "c"}}], "documents": [{{"text": "d"}}],
        "tools": [{{"type": "function", "function": {{"name": "f"}}}}], "tool_choice": "auto",
        "add_generation_prompt": false, "chat_template_kwargs": {{"k": 1}}, "max_completion_tokens": 9,
        "logprobs": true, "top_logprobs": 4"#
    );
    let parse = |text: &str| Json::parse(text).unwrap();
    let chat = ChatPrompt {
        messages: parse(r#"[{"role": "user", "content": "c"}]"#),
        tools: Some(parse(r#"[{"type": "function", "function": {"name": "f"}}]"#)),
        documents: Some(parse(r#"[{"text": "d"}]"#)),
        add_generation_prompt: false,
        kwargs: vec![("k".to_owned(), Json::Integer(1))],
    };
    assert_eq!(bare(Endpoint::Chat, &fields).unwrap(), all_of(Endpoint::Chat, all(Prompt::Chat(chat), 4)));
}

#[test]
fn completion_fields_are_read() {
    let fields = format!(r#"{BOTH}, "prompt": "p", "logprobs": 4"#);
    let request = Generate { usual_tokens: Some(16), ..all(Prompt::Text("p".to_owned()), 4) };
    assert_eq!(bare(Endpoint::Completion, &fields).unwrap(), all_of(Endpoint::Completion, request));
}

/// To JSON's schemas 3.0 is a whole number.
#[test]
fn a_whole_number_may_have_a_point() {
    let fields = r#""max_tokens": 3.0, "n": 2.0, "best_of": 2.0, "seed": -7.0, "top_k": -1.0, "priority": -2.0"#;
    let call = call(Endpoint::Chat, fields);
    let request = &call.requests[0];
    assert_eq!((request.max_tokens, request.n, request.priority), (Some(3), 2, -2));
    assert_eq!((request.sampling.seed, request.sampling.top_k), (Some(-7_i64 as u64), Some(0)));
}

#[test]
fn what_is_left_out_is_the_default() {
    let chat = call(Endpoint::Chat, "");
    let request = Generate { prompt: chat.requests[0].prompt.clone(), ..Generate::default() };
    assert_eq!(chat.requests, vec![request]);
    let completion = call(Endpoint::Completion, "");
    // OpenAI's word, and vLLM's: a completion that does not say how long it may be is short.
    let prompt = Prompt::Text("hi".to_owned());
    assert_eq!(completion.requests, vec![Generate { prompt, usual_tokens: Some(16), ..Generate::default() }]);
    for call in [chat, completion] {
        let flags = [call.stream, call.usage_in_stream, call.continuous_usage, call.echo, call.receipt];
        assert_eq!(flags, [false; 5]);
        assert_eq!((call.nonce, call.request_id, call.model.as_str()), (None, None, "base"));
    }
}

#[test]
fn null_counts_as_left_out() {
    for endpoint in [Endpoint::Chat, Endpoint::Completion] {
        let needed = if endpoint == Endpoint::Chat { "messages" } else { "prompt" };
        let nulls = fields(endpoint).into_iter().filter(|name| *name != needed);
        let nulls: Vec<String> = nulls.map(|name| format!("\"{name}\": null")).collect();
        assert_eq!(with(endpoint, &nulls.join(", ")).unwrap(), call(endpoint, ""));
    }
}

#[test]
fn each_known_field_is_named_once() {
    for endpoint in [Endpoint::Chat, Endpoint::Completion] {
        let mut names = fields(endpoint);
        let count = names.len();
        names.sort_unstable();
        names.dedup();
        assert_eq!(names.len(), count, "{names:?}");
    }
}

#[test]
fn what_says_nothing_is_accepted_and_changes_nothing() {
    let both = r#""user": "u", "safety_identifier": "s", "prompt_cache_key": "k", "session_id": "i",
        "metadata": {"a": "b"}, "use_beam_search": false, "length_penalty": 1.0, "bad_words": [],
        "logits_processors": [], "logprob_token_ids": [], "truncation_side": "left",
        "spaces_between_special_tokens": true, "watermarking": false, "thinking_token_budget": -1,
        "kv_transfer_params": {}, "ec_transfer_params": {}, "vllm_xargs": {}, "stream_interval": 1,
        "return_token_offsets": false, "return_mm_kwargs": true, "routed_experts_prompt_start": 0,
        "service_tier": "auto", "store": false, "best_of": 1, "adapters": [], "adapter_id": "",
        "adapter_source": "local", "n": 1, "min_tokens": 0, "stop": [], "stop_token_ids": [], "logit_bias": {},
        "response_format": {"type": "text"}, "stream": false, "return_token_ids": false, "priority": 0,
        "loam": {}"#;
    let chat = r#""echo": false, "continue_final_message": false, "add_special_tokens": false, "logprobs": false,
        "top_logprobs": 0, "parallel_tool_calls": true, "functions": [], "function_call": "none",
        "tool_choice": "none", "include_reasoning": true, "verbosity": "medium", "modalities": ["text"],
        "prompt_cache_options": {}, "prompt_cache_retention": "in_memory", "media_io_kwargs": {},
        "mm_processor_kwargs": {}, "return_prompt_text": false, "chat_template_kwargs": {}"#;
    let completion = r#""echo": false, "suffix": "", "add_special_tokens": true"#;
    for (endpoint, own) in [(Endpoint::Chat, chat), (Endpoint::Completion, completion)] {
        assert_eq!(call(endpoint, &format!("{both}, {own}")), call(endpoint, ""));
    }
}

#[test]
fn an_unknown_field_is_refused_by_name() {
    for endpoint in [Endpoint::Chat, Endpoint::Completion] {
        refused(with(endpoint, r#""temprature": 1"#), "temprature", "GET /openapi.json");
        refused(with(endpoint, r#""maxTokens": 1"#), "maxTokens", "`max_tokens` is one");
        refused(with(endpoint, r#""unheard_of": null"#), "unheard_of", "has no field");
    }
    // What the other endpoint has is no field here.
    refused(with(Endpoint::Chat, r#""prompt": "x""#), "prompt", "has no field");
    refused(with(Endpoint::Completion, r#""messages": []"#), "messages", "has no field");
    refused(with(Endpoint::Completion, r#""tools": []"#), "tools", "has no field");
}

#[test]
fn a_long_unknown_name_is_cut() {
    let problem = with(Endpoint::Chat, &format!("\"{}\": 1", "x".repeat(1 << 16))).unwrap_err();
    assert!(problem.message.len() < 500, "{}", problem.message.len());
}

#[test]
fn a_body_is_an_object_of_json() {
    for (body, words) in [
        (&b""[..], "not valid JSON"),
        (b"[]", "an array of 0"),
        (b"\"x\"", "an object"),
        (b"{", "not valid JSON"),
        (b"{\"model\": \"\xff\"}", "not UTF-8"),
        (b"{\"n\": 1e999}", "not valid JSON"),
    ] {
        let problem = loam_wire::openai::read(Endpoint::Chat, body, &[]).unwrap_err();
        assert!(problem.message.contains(words), "{}", problem.message);
        assert_eq!(problem.field, None);
    }
}

#[test]
fn a_key_stands_once() {
    let problem = with(Endpoint::Chat, r#""n": 1, "n": 2"#).unwrap_err();
    assert!(problem.message.contains("\"n\" stands twice"), "{}", problem.message);
}

#[test]
fn the_fields_that_every_request_needs() {
    refused(bare(Endpoint::Chat, ""), "messages", "absent");
    refused(bare(Endpoint::Completion, ""), "prompt", "absent");
    assert!(bare(Endpoint::Chat, smallest(Endpoint::Chat)).is_ok());
}
