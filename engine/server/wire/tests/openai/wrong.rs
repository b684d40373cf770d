//! What is refused, each field by its name: what cannot be done, wrong types, values out of bounds.

use loam_wire::openai::Endpoint::{Chat, Completion};

use super::ask::{refused, with};

macro_rules! refuses {
    ($($name:ident: $($endpoint:ident)+, $field:literal as $value:literal => $words:literal;)*) => {
        $(
            #[test]
            fn $name() {
                $(refused(with($endpoint, &format!("{:?}: {}", outer($field), $value)), $field, $words);)+
            }
        )*
    };
}

/// The body's field that another stands in.
fn outer(field: &str) -> &str {
    field.split('.').next().unwrap()
}

// What others have and what is not done here.
refuses! {
    beams: Chat Completion, "use_beam_search" as "true" => "it can be false";
    beams_length: Chat Completion, "length_penalty" as "0.5" => "it can be 1";
    more_candidates_than_answers: Chat Completion, "best_of" as "2" => "it can be 1, which is `n`";
    allowed_tokens: Chat Completion, "allowed_token_ids" as "[1]" => "`structured_outputs`";
    allowed_tokens_none: Chat Completion, "allowed_token_ids" as "[]" => "absent";
    bad_words: Chat Completion, "bad_words" as "[\"x\"]" => "`logit_bias`";
    logits_processors: Chat Completion, "logits_processors" as "[\"x\"]" => "empty";
    logprobs_of_tokens: Chat Completion, "logprob_token_ids" as "[1]" => "absent";
    cut_prompts: Chat Completion, "truncate_prompt_tokens" as "5" => "never cut unseen";
    cut_side: Chat Completion, "truncation_side" as "\"middle\"" => "\"left\" or \"right\"";
    spaces_between: Chat Completion, "spaces_between_special_tokens" as "false" => "true";
    watermarks: Chat Completion, "watermarking" as "true" => "no watermark";
    repetition_detection: Chat Completion, "repetition_detection" as "{}" => "absent";
    thinking_budget: Chat Completion, "thinking_token_budget" as "9" => "-1";
    cache_salt: Chat Completion, "cache_salt" as "\"s\"" => "by tenant";
    kv_transfer: Chat Completion, "kv_transfer_params" as "{\"a\": 1}" => "absent";
    encoder_transfer: Chat Completion, "ec_transfer_params" as "{\"a\": 1}" => "absent";
    custom_extensions: Chat Completion, "vllm_xargs" as "{\"a\": 1}" => "empty";
    stream_interval: Chat Completion, "stream_interval" as "4" => "1";
    token_offsets: Chat Completion, "return_token_offsets" as "true" => "false";
    multimodal_arguments: Chat Completion, "return_mm_kwargs" as "false" => "true";
    routed_experts: Chat Completion, "routed_experts_prompt_start" as "1" => "0";
    guided_backend: Chat Completion, "guided_decoding_backend" as "\"x\"" => "absent";
    guided_white_space: Chat Completion, "guided_whitespace_pattern" as "\" \"" => "absent";
    structural_tag: Chat Completion, "structural_tag" as "\"{}\"" => "`structured_outputs`";
    service_tier: Chat Completion, "service_tier" as "\"flex\"" => "one tier";
    stored_answers: Chat Completion, "store" as "true" => "not stored";
    hub_token: Chat Completion, "api_token" as "\"t\"" => "absent";
    adapter_source: Chat Completion, "adapter_source" as "\"hub\"" => "\"local\"";
    merged_adapters: Chat Completion, "merged_adapters" as "{\"ids\": []}" => "`adapters`";
    chat_echo: Chat, "echo" as "true" => "/v1/completions";
    open_message: Chat, "continue_final_message" as "true" => "/v1/completions";
    chat_special_tokens: Chat, "add_special_tokens" as "true" => "template";
    chat_template: Chat, "chat_template" as "\"{{ x }}\"" => "the model's own";
    serial_tool_calls: Chat, "parallel_tool_calls" as "false" => "not parsed";
    functions: Chat, "functions" as "[{}]" => "`tools`";
    function_call: Chat, "function_call" as "\"auto\"" => "\"none\"";
    required_tool: Chat, "tool_choice" as "\"required\"" => "not parsed";
    named_tool: Chat, "tool_choice" as "{\"type\": \"function\"}" => "\"none\" or \"auto\"";
    reasoning_effort: Chat, "reasoning_effort" as "\"low\"" => "`chat_template_kwargs`";
    hidden_reasoning: Chat, "include_reasoning" as "false" => "true";
    verbosity: Chat, "verbosity" as "\"low\"" => "\"medium\"";
    sound: Chat, "modalities" as "[\"text\", \"audio\"]" => "text only";
    audio: Chat, "audio" as "{}" => "text only";
    prediction: Chat, "prediction" as "{}" => "absent";
    web_search: Chat, "web_search_options" as "{}" => "absent";
    moderation: Chat, "moderation" as "{\"model\": \"m\"}" => "absent";
    cache_options: Chat, "prompt_cache_options" as "{\"ttl\": \"1h\"}" => "absent";
    cache_retention: Chat, "prompt_cache_retention" as "\"24h\"" => "\"in_memory\"";
    media_arguments: Chat, "media_io_kwargs" as "{\"a\": {}}" => "absent";
    processor_arguments: Chat, "mm_processor_kwargs" as "{\"a\": 1}" => "absent";
    prompt_text: Chat, "return_prompt_text" as "true" => "`return_token_ids`";
    suffix: Completion, "suffix" as "\"s\"" => "absent";
    no_special_tokens: Completion, "add_special_tokens" as "false" => "token ids";
    prompt_embeddings: Completion, "prompt_embeds" as "\"AA==\"" => "token ids";
    prompt_top_logprobs: Chat Completion, "prompt_logprobs" as "2" => "0, 1 or absent";
    prompt_all_logprobs: Chat Completion, "prompt_logprobs" as "-1" => "0, 1 or absent";
}

// Wrong types.
refuses! {
    model_type: Chat Completion, "model" as "1" => "a string";
    temperature_type: Chat Completion, "temperature" as "\"1\"" => "a number";
    top_p_type: Chat Completion, "top_p" as "true" => "a number";
    top_k_type: Chat Completion, "top_k" as "-2" => "-1 or a whole number";
    min_p_type: Chat Completion, "min_p" as "[]" => "a number";
    repetition_penalty_type: Chat Completion, "repetition_penalty" as "\"1\"" => "a number";
    presence_penalty_type: Chat Completion, "presence_penalty" as "\"1\"" => "a number";
    frequency_penalty_type: Chat Completion, "frequency_penalty" as "\"1\"" => "a number";
    logit_bias_type: Chat Completion, "logit_bias" as "[]" => "an object";
    logit_bias_key: Chat Completion, "logit_bias" as "{\"x\": 1}" => "token ids";
    seed_type: Chat Completion, "seed" as "1.5" => "a whole number of 64 bits";
    n_type: Chat Completion, "n" as "-1" => "a whole number from 1 to 128";
    max_tokens_type: Chat Completion, "max_tokens" as "1.5" => "a whole number";
    max_completion_tokens_type: Chat, "max_completion_tokens" as "-1" => "a whole number";
    min_tokens_type: Chat Completion, "min_tokens" as "-1" => "a whole number";
    stop_type: Chat Completion, "stop" as "1" => "a string or an array of strings";
    stop_token_ids_type: Chat Completion, "stop_token_ids" as "[\"a\"]" => "a whole number";
    include_stop_type: Chat Completion, "include_stop_str_in_output" as "1" => "true or false";
    ignore_eos_type: Chat Completion, "ignore_eos" as "1" => "true or false";
    skip_special_tokens_type: Chat Completion, "skip_special_tokens" as "\"no\"" => "true or false";
    chat_logprobs_type: Chat, "logprobs" as "5" => "true or false";
    completion_logprobs_type: Completion, "logprobs" as "-1" => "a whole number from 0 to 64";
    top_logprobs_type: Chat, "top_logprobs" as "-1" => "a whole number from 0 to 64";
    prompt_logprobs_type: Chat Completion, "prompt_logprobs" as "true" => "0, 1 or absent";
    stream_type: Chat Completion, "stream" as "\"true\"" => "true or false";
    priority_type: Chat Completion, "priority" as "0.5" => "a whole number";
    request_id_type: Chat Completion, "request_id" as "1" => "a string";
    echo_type: Completion, "echo" as "1" => "true or false";
    token_ids_type: Chat Completion, "return_token_ids" as "1" => "true or false";
    tokens_as_ids_type: Chat Completion, "return_tokens_as_token_ids" as "1" => "true or false";
    user_type: Chat Completion, "user" as "1" => "a string";
    safety_identifier_type: Chat Completion, "safety_identifier" as "1" => "a string";
    prompt_cache_key_type: Chat Completion, "prompt_cache_key" as "1" => "a string";
    session_id_type: Chat Completion, "session_id" as "1" => "a string";
    metadata_type: Chat Completion, "metadata" as "\"x\"" => "an object";
    adapter_id_type: Chat Completion, "adapter_id" as "1" => "a string";
    adapters_type: Chat Completion, "adapters" as "{}" => "an array";
    loam_type: Chat Completion, "loam" as "true" => "an object";
    receipt_type: Chat Completion, "loam.receipt" as "{\"receipt\": 1}" => "true or false";
    nonce_type: Chat Completion, "loam.nonce" as "{\"nonce\": 1}" => "a string";
    tools_type: Chat, "tools" as "{}" => "an array";
    documents_type: Chat, "documents" as "{}" => "an array";
    add_generation_prompt_type: Chat, "add_generation_prompt" as "1" => "true or false";
    chat_template_kwargs_type: Chat, "chat_template_kwargs" as "[]" => "an object";
}

// Right types out of bounds.
refuses! {
    no_answers: Chat Completion, "n" as "0" => "1 to 128";
    too_many_answers: Chat Completion, "n" as "129" => "1 to 128";
    no_tokens: Chat Completion, "max_tokens" as "0" => "1 to";
    tokens_below_none: Chat Completion, "max_tokens" as "-1" => "from 1 to 4194304";
    unknown_form: Chat Completion, "response_format" as "{\"type\": \"yaml\"}" => "whose `type` is \"yaml\"; it can be";
    no_tokens_by_the_new_name: Chat, "max_completion_tokens" as "0" => "1 to";
    negative_temperature: Chat Completion, "temperature" as "-0.1" => "0 or more";
    top_p_of_zero: Chat Completion, "top_p" as "0" => "above 0";
    penalty: Chat Completion, "presence_penalty" as "2.5" => "-2 to 2";
    bias: Chat Completion, "logit_bias" as "{\"1\": 101}" => "-100 to 100";
    bias_twice: Chat Completion, "logit_bias" as "{\"1\": 1, \"01\": 1}" => "one for each token";
    empty_stop: Chat Completion, "stop" as "\"\"" => "at least one byte";
    too_many_logprobs: Completion, "logprobs" as "65" => "0 to 64";
    template_name: Chat, "chat_template_kwargs" as "{\"messages\": 1}" => "no fields of their own";
    empty_request_id: Chat Completion, "request_id" as "\"\"" => "1 to 128";
    spaced_request_id: Chat Completion, "request_id" as "\"a b\"" => "without spaces";
    short_nonce: Chat Completion, "loam.nonce" as "{\"nonce\": \"00\"}" => "64 hexadecimal digits";
    unknown_extension: Chat Completion, "loam.reciept" as "{\"reciept\": true}" => "`loam` has receipt, nonce";
}

#[test]
fn too_many_top_logprobs_are_called_so() {
    refused(with(Chat, r#""logprobs": true, "top_logprobs": 65"#), "top_logprobs", "0 to 64");
}

#[test]
fn top_logprobs_need_logprobs() {
    for fields in [r#""top_logprobs": 5"#, r#""top_logprobs": 5, "logprobs": false"#] {
        refused(with(Chat, fields), "top_logprobs", "where `logprobs` is true");
    }
}

#[test]
fn two_limits_are_one() {
    let fields = r#""max_tokens": 5, "max_completion_tokens": 6"#;
    refused(with(Chat, fields), "max_completion_tokens", "5, which is `max_tokens`");
    refused(with(Completion, r#""max_completion_tokens": 6"#), "max_completion_tokens", "has no field");
}

#[test]
fn more_tokens_than_there_may_be() {
    refused(with(Chat, r#""min_tokens": 5, "max_completion_tokens": 4"#), "min_tokens", "0 to 4");
}

#[test]
fn stream_options_are_a_streams() {
    for endpoint in [Chat, Completion] {
        refused(with(endpoint, r#""stream_options": {"include_usage": true}"#), "stream_options", "absent");
        let options = |options: &str| with(endpoint, &format!(r#""stream": true, "stream_options": {options}"#));
        refused(options("1"), "stream_options", "an object");
        refused(options(r#"{"include_usage": 1}"#), "stream_options.include_usage", "true or false");
        refused(options(r#"{"include_obfuscation": true}"#), "stream_options.include_obfuscation", "not padded");
        refused(options(r#"{"usage": true}"#), "stream_options.usage", "include_usage");
        let field = "stream_options.continuous_usage_stats";
        refused(options(r#"{"continuous_usage_stats": true}"#), field, "`include_usage`");
        assert!(options(r#"{"include_obfuscation": false, "include_usage": null}"#).is_ok());
    }
}

#[test]
fn nothing_is_streamed_of_the_prompt() {
    refused(with(Completion, r#""prompt_logprobs": 0, "stream": true"#), "prompt_logprobs", "`stream`");
    refused(with(Completion, r#""echo": true, "logprobs": 0, "stream": true"#), "logprobs", "`stream`");
}

#[test]
fn an_echo_has_one_alternative_at_most() {
    refused(with(Completion, r#""echo": true, "logprobs": 2"#), "logprobs", "0 or 1 beside `echo`");
    let call = with(Completion, r#""echo": true, "logprobs": 0"#).unwrap();
    assert!(call.echo && call.requests[0].prompt_logprobs && call.prompt_logprobs.is_none());
    let call = with(Completion, r#""echo": true, "stream": true"#).unwrap();
    assert!(call.echo && !call.requests[0].prompt_logprobs);
}

#[test]
fn best_of_is_n() {
    refused(with(Completion, r#""n": 3, "best_of": 4"#), "best_of", "3, which is `n`");
    assert_eq!(with(Completion, r#""n": 3, "best_of": 3"#).unwrap().requests[0].n, 3);
}
