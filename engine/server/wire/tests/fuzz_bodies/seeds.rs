//! Where fuzzing begins: files for the corpus of each target, honest ones and hostile ones.

use loam_proto::v1::form::Form as Shape;
use loam_proto::v1::generate_request::Prompt;
use loam_proto::v1::{AdapterUse, Chat, ChatMessage, Choices, Ends, Form, GenerateRequest, Sampling, TokenIds};
use prost::Message as _;

/// Fields of both endpoints.
const BOTH: &[(&str, &str)] = &[
    ("smallest", ""),
    (
        "sampling",
        r#""temperature": 0.5, "top_k": -1, "top_p": 0.5, "min_p": 0.25, "repetition_penalty": 1.5,
        "presence_penalty": -1, "frequency_penalty": 0.5, "logit_bias": {"5": -100, "7": 1.5}, "seed": -1"#,
    ),
    (
        "ends",
        r#""max_tokens": 9, "min_tokens": 2, "stop": ["a", "\n"], "stop_token_ids": [3], "ignore_eos": true,
        "include_stop_str_in_output": true, "skip_special_tokens": false"#,
    ),
    ("stop", r#""stop": "\ud83d\ude42", "n": 3, "best_of": 3, "stream": true"#),
    (
        "stream",
        r#""stream": true, "n": 2,
        "stream_options": {"include_usage": true, "continuous_usage_stats": true, "include_obfuscation": false}"#,
    ),
    ("adapter", r#""model": "qv-r8", "priority": -2"#),
    ("adapters", r#""model": "base", "adapters": [{"name": "a", "weight": 0.25}, {"name": "b", "weight": -1e3}]"#),
    ("adapter-id", r#""adapter_id": "a", "adapter_source": "local""#),
    ("structured", r#""structured_outputs": {"json": {"type": "object", "properties": {"a": {"type": "null"}}}}"#),
    ("guided", r#""guided_json": "{\"type\": [\"string\", \"null\"]}""#),
    ("choice", r#""guided_choice": ["yes", "no"]"#),
    ("format", r#""response_format": {"type": "json_schema", "json_schema": {"name": "n", "schema": {}}}"#),
    (
        "ours",
        r#""loam": {"receipt": true,
        "nonce": "00112233445566778899aabbccddeeff00112233445566778899aabbccddeeff"}, "request_id": "a-1""#,
    ),
    ("token-ids", r#""return_token_ids": true, "return_tokens_as_token_ids": true, "prompt_logprobs": 0"#),
    (
        "neutral",
        r#""user": "u", "metadata": {"a": "b"}, "use_beam_search": false, "length_penalty": 1.0,
        "bad_words": [], "vllm_xargs": {}, "service_tier": "auto", "store": false, "thinking_token_budget": -1"#,
    ),
    ("nulls", r#""model": null, "n": null, "stop": null, "loam": null, "cache_salt": null, "stream_options": null"#),
    ("unknown", r#""temprature": 1"#),
    ("key-twice", r#""n": 1, "n": 2"#),
    ("numbers", r#""temperature": 1e308, "seed": 18446744073709551615, "top_p": 5e-324"#),
    ("refused", r#""use_beam_search": true"#),
];

const CHAT: &[(&str, &str)] = &[
    (
        "chat",
        r#"{"messages": [{"role": "system", "content": "s"},
        {"role": "user", "content": [{"type": "text", "text": "a"}, {"type": "text", "text": "b"}]}],
        "max_completion_tokens": 5, "logprobs": true, "top_logprobs": 2, "chat_template_kwargs": {"k": [1]}}"#,
    ),
    (
        "tools",
        r#"{"messages": [{"role": "user", "content": "q"},
        {"role": "assistant", "content": null, "tool_calls": [
            {"id": "1", "type": "function", "function": {"name": "f", "arguments": "{\"z\": 1}"}}]},
        {"role": "tool", "tool_call_id": "1", "content": "4"}],
        "tools": [{"type": "function", "function": {"name": "f", "parameters": {}}}], "tool_choice": "auto"}"#,
    ),
    ("image", r#"{"messages": [{"role": "user", "content": [{"type": "image_url", "image_url": {"url": "u"}}]}]}"#),
    ("came-back", r#"{"messages": [{"role": "assistant", "content": "a", "refusal": null, "annotations": []}]}"#),
];

const COMPLETION: &[(&str, &str)] = &[
    ("texts", r#"{"prompt": ["a", "b"], "n": 2, "logprobs": 2}"#),
    ("ids", r#"{"prompt": [1, 2, 3], "echo": true, "logprobs": 0}"#),
    ("several-ids", r#"{"prompt": [[1, 2], [3]], "echo": true, "stream": true}"#),
    ("empty", r#"{"prompt": ""}"#),
    ("mixed", r#"{"prompt": [1, "a"]}"#),
    ("echo", r#"{"prompt": "\u00e9\ud83d\ude42", "echo": true, "suffix": "", "add_special_tokens": true}"#),
];

/// Target, name and bytes.
pub(crate) fn seeds() -> Vec<(&'static str, &'static str, Vec<u8>)> {
    let endpoints = [
        ("openai_chat", r#""messages": [{"role": "user", "content": "hi"}]"#, CHAT),
        ("openai_completion", r#""prompt": "hi""#, COMPLETION),
    ];
    let mut seeds = Vec::new();
    for (target, smallest, own) in endpoints {
        for (name, fields) in BOTH {
            let comma = if fields.is_empty() { "" } else { ", " };
            seeds.push((target, *name, format!("{{{smallest}{comma}{fields}}}").into_bytes()));
        }
        seeds.extend(own.iter().map(|(name, body)| (target, *name, body.as_bytes().to_vec())));
        seeds.push((target, "deep", format!("{{\"metadata\": {}1{}}}", "[".repeat(200), "]".repeat(200)).into_bytes()));
        seeds.push((target, "not-utf8", b"{\"model\": \"\xff\"}".to_vec()));
    }
    seeds.extend(messages().into_iter().map(|(name, it)| ("grpc_generate", name, it.encode_to_vec())));
    seeds
}

fn messages() -> Vec<(&'static str, GenerateRequest)> {
    let text = |text: &str| Some(Prompt::Text(text.to_owned()));
    let with = |request: GenerateRequest| GenerateRequest { prompt: text("hi"), ..request };
    let form = |form| with(GenerateRequest { form: Some(Form { form: Some(form) }), ..GenerateRequest::default() });
    let adapter = |name: &str, weight| AdapterUse { name: name.to_owned(), weight };
    let sampling = Sampling {
        temperature: Some(0.5),
        top_k: Some(4),
        top_p: Some(0.5),
        min_p: Some(0.25),
        repetition_penalty: Some(1.5),
        presence_penalty: Some(-1.0),
        frequency_penalty: Some(0.5),
        // One: a map on the wire has no order, and a seed has.
        logit_bias: [(5, -100.0)].into(),
        seed: Some(u64::MAX),
    };
    let ends = Ends {
        max_tokens: Some(9),
        min_tokens: 2,
        stop: vec!["a".to_owned(), "\n".to_owned()],
        stop_token_ids: vec![3],
        include_stop: true,
        ignore_eos: true,
    };
    let adapters = vec![adapter("a", Some(0.25)), adapter("b", None)];
    let ours = GenerateRequest { nonce: vec![7; 32], receipt: true, ..GenerateRequest::default() };
    let several =
        GenerateRequest { n: 3, logprobs: Some(5), prompt_logprobs: true, priority: -2, ..Default::default() };
    let ids = Prompt::Tokens(TokenIds { ids: vec![1, 2] });
    vec![
        ("text", with(GenerateRequest::default())),
        ("ids", GenerateRequest { prompt: Some(ids), special_tokens: true, ..GenerateRequest::default() }),
        ("chat", GenerateRequest { prompt: Some(Prompt::Chat(chat())), ..GenerateRequest::default() }),
        ("no-prompt", GenerateRequest::default()),
        ("sampling", with(GenerateRequest { sampling: Some(sampling), ..GenerateRequest::default() })),
        ("ends", with(GenerateRequest { ends: Some(ends), ..GenerateRequest::default() })),
        ("adapters", with(GenerateRequest { adapters, ..GenerateRequest::default() })),
        ("several", with(several)),
        ("ours", with(ours)),
        ("short-nonce", with(GenerateRequest { nonce: vec![7], ..GenerateRequest::default() })),
        ("schema", form(Shape::JsonSchema(r#"{"type": "object"}"#.to_owned()))),
        ("object", form(Shape::JsonObject(true))),
        ("choice", form(Shape::Choice(Choices { texts: vec!["a".to_owned()] }))),
    ]
}

fn chat() -> Chat {
    let message = |role: &str, content: &str, more: &str| ChatMessage {
        role: role.to_owned(),
        content: content.to_owned(),
        more_json: more.to_owned(),
    };
    Chat {
        messages: vec![message("user", "hi", ""), message("assistant", "", r#"{"tool_calls": []}"#)],
        tools_json: "[]".to_owned(),
        documents_json: r#"[{"text": "d"}]"#.to_owned(),
        no_generation_prompt: true,
        template_arguments_json: [("k".to_owned(), "[1]".to_owned())].into(),
    }
}
