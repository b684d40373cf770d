//! Where fuzzing begins: files for the corpus of each target, honest ones and hostile ones.

use super::tensors::CONFIG;

const ADAPTER: &str = include_str!("../../testdata/golden/llama-gqa/adapters/qv-r8/adapter_config.json");
const PATTERNS: &str = include_str!("../../testdata/golden/llama-gqa/adapters/patterns/adapter_config.json");
const DORA: &str = include_str!("../../testdata/golden/llama-gqa/special/dora/adapter_config.json");
const LLAMA: &str = include_str!("../../testdata/golden/llama-gqa/base/config.json");
const SCALED: &str = include_str!("../../testdata/golden/llama3-scaled-tied/base/config.json");
const MISTRAL: &str = include_str!("../../testdata/golden/mistral-window/base/config.json");
const QWEN2: &str = include_str!("../../testdata/golden/qwen2-bias/base/config.json");
const QWEN3: &str = include_str!("../../testdata/golden/qwen3-qknorm/base/config.json");
const TEMPLATE: &str = include_str!("../../testdata/golden/llama-gqa/base/chat_template.jinja");

/// Target, name and bytes.
pub(crate) fn seeds() -> Vec<(&'static str, &'static str, Vec<u8>)> {
    let mut seeds = tensors();
    let of = |target| move |(name, text): (&'static str, String)| (target, name, text.into_bytes());
    seeds.extend(adapter_configs().into_iter().map(of("adapter_config")));
    seeds.extend(model_configs().into_iter().map(of("model_config")));
    seeds.extend(templates().into_iter().map(of("template")));
    seeds.extend(request_lines().into_iter().map(of("request_line")));
    seeds
}

/// A header and so many bytes after it.
fn file(header: &str, bytes: usize) -> Vec<u8> {
    [&(header.len() as u64).to_le_bytes()[..], header.as_bytes(), &vec![0x3c; bytes]].concat()
}

fn tensors() -> Vec<(&'static str, &'static str, Vec<u8>)> {
    let entry = |name: &str, dtype: &str, shape: [usize; 2], at: [usize; 2]| {
        format!(r#""{name}":{{"dtype":"{dtype}","shape":{shape:?},"data_offsets":{at:?}}}"#)
    };
    let module = "base_model.model.model.layers.0.self_attn.q_proj.lora_";
    let (a, b) = (format!("{module}A.weight"), format!("{module}B.weight"));
    let pair = |a: String, b: String| format!("{{{a},{b}}}");
    let honest = pair(entry(&a, "F32", [1, 4], [0, 16]), entry(&b, "F32", [4, 1], [16, 32]));
    let mixed = pair(entry(&a, "BF16", [1, 4], [0, 8]), entry(&b, "F16", [4, 1], [8, 16]));
    let metadata = r#"{"__metadata__":{"format":"pt"}}"#;
    let most = usize::MAX;
    let cases = vec![
        ("adapter", file(&honest, 32)),
        ("mixed-types", file(&mixed, 16)),
        ("padded", file(&format!("{honest}    "), 32)),
        ("metadata", file(metadata, 0)),
        ("metadata-of-numbers", file(r#"{"__metadata__":{"format":1}}"#, 0)),
        ("empty-tensor", file(&format!("{{{}}}", entry("a", "F32", [0, 4], [0, 0])), 0)),
        ("overlap", file(&pair(entry("a", "F32", [1, 4], [0, 16]), entry("b", "F32", [1, 4], [8, 24])), 24)),
        ("gap", file(&pair(entry("a", "F32", [1, 1], [0, 4]), entry("b", "F32", [1, 1], [8, 12])), 12)),
        ("overflow", file(&format!("{{{}}}", entry("a", "F32", [most, 4], [0, 16])), 16)),
        ("backwards", file(&format!("{{{}}}", entry("a", "F32", [1, 1], [4, 0])), 4)),
        ("twice", file(&pair(entry("a", "F32", [1, 1], [0, 4]), entry("a", "F32", [1, 1], [0, 4])), 4)),
        ("header-too-long", u64::MAX.to_le_bytes().to_vec()),
        ("no-header", 0_u64.to_le_bytes().to_vec()),
        ("leading-blank", file(" {}", 0)),
    ];
    cases.into_iter().map(|(name, bytes)| ("tensors", name, bytes)).collect()
}

fn adapter_configs() -> Vec<(&'static str, String)> {
    let with = |fields: &str| format!(r#"{{"peft_type":"LORA","r":4,"lora_alpha":8,{fields}}}"#);
    vec![
        ("qv-r8", ADAPTER.to_owned()),
        ("patterns", PATTERNS.to_owned()),
        ("dora", DORA.to_owned()),
        ("smallest", CONFIG.to_owned()),
        ("all-linear", with(r#""target_modules":"all-linear","exclude_modules":"lm_head","use_rslora":true"#)),
        ("layers", with(r#""target_modules":["q_proj"],"layers_to_transform":[0],"layers_pattern":"layers""#)),
        ("backtracking", with(r#""target_modules":"(?:(?:.*?_?)*?)*?(?=x)\\1?y""#)),
        ("nested", with(&format!(r#""target_modules":"{}a{}""#, "(?:".repeat(99), ")*".repeat(99)))),
        ("repeats", with(r#""target_modules":"((.{1,99}){1,99}){1,99}proj""#)),
        ("rank-0", with(r#""target_modules":"all-linear","rank_pattern":{"q_proj":0}"#)),
        ("rank-huge", with(r#""target_modules":"all-linear","rank_pattern":{"q_proj":4294967295}"#)),
        ("alpha-huge", with(r#""target_modules":"all-linear","alpha_pattern":{".*":1e300}"#)),
        ("key-twice", with(r#""r":8,"target_modules":"all-linear""#)),
    ]
}

fn model_configs() -> Vec<(&'static str, String)> {
    let changed = |from: &str, to: &str| {
        assert!(LLAMA.contains(from), "{from}");
        LLAMA.replace(from, to)
    };
    let rope = r#""rope_type": "default""#;
    vec![
        ("llama", LLAMA.to_owned()),
        ("llama3-scaled", SCALED.to_owned()),
        ("mistral-window", MISTRAL.to_owned()),
        ("qwen2-bias", QWEN2.to_owned()),
        ("qwen3-qknorm", QWEN3.to_owned()),
        ("yarn", changed(rope, r#""rope_type": "yarn", "factor": 4.0, "mscale": 1.0, "mscale_all_dim": 0.5"#)),
        ("yarn-attention-huge", changed(rope, r#""rope_type": "yarn", "factor": 4.0, "attention_factor": 1e300"#)),
        ("linear", changed(rope, r#""rope_type": "linear", "factor": 2.0"#)),
        ("linear-factor-tiny", changed(rope, r#""rope_type": "linear", "factor": 5e-324"#)),
        ("epsilon-huge", changed("1e-05", "1e300")),
        ("epsilon-tiny", changed("1e-05", "1e-300")),
        ("heads-0", changed(r#""num_key_value_heads": 1"#, r#""num_key_value_heads": 0"#)),
        ("layers-huge", changed(r#""num_hidden_layers": 2"#, r#""num_hidden_layers": 18446744073709551615"#)),
        ("largest", changed("512", "16777216").replace(r#""hidden_size": 128"#, r#""hidden_size": 16777216"#)),
    ]
}

fn templates() -> Vec<(&'static str, String)> {
    let given = |source: &str, fields: &str| format!("{source}\0{fields}");
    let tools = r#""messages": [{"role": "user", "content": "Hi"}], "tools": [{"name": "f", "x": [1, 2.5, null]}]"#;
    vec![
        ("golden", TEMPLATE.to_owned()),
        ("tools", given("{% for t in tools %}{{ t | tojson(indent=2) }}{% endfor %}", tools)),
        ("date", "{{ strftime_now('%d %b %Y') }}".to_owned()),
        ("date-wide", "{{ strftime_now('%255d%255Y%9f%Z%Q%:') }}".to_owned()),
        ("generation", "{% generation %}{{ messages[0].content }}{%- endgeneration -%}".to_owned()),
        ("exception", "{{ raise_exception('x' * 100000) }}".to_owned()),
        ("endless", "{% for a in range(99999) %}{% for b in range(99999) %}{% endfor %}{% endfor %}".to_owned()),
        ("recursion", "{% macro f() %}{{ f() }}{% endmacro %}{{ f() }}".to_owned()),
        (
            "doubling",
            "{% set ns = namespace(x='aa') %}{% for a in range(64) %}{% set ns.x = ns.x * 2 %}{% endfor %}".to_owned(),
        ),
        ("repeat", "{{ 'a' * 99999999999 }}".to_owned()),
        ("indent-wide", "{{ range(99999) | list | tojson(indent='a' * 999999) | length }}".to_owned()),
        ("separator-wide", "{{ range(99999) | list | tojson(separators=['a' * 999999, ':']) | length }}".to_owned()),
        ("key-wide", "{{ {'a' * 9999: 1} | tojson(sort_keys=true, ensure_ascii=true) | length }}".to_owned()),
        ("list-wide", "{{ ([1] * 999999999) | tojson | length }}".to_owned()),
        (
            "methods",
            "{{ 'a,b'.split(',') }}{{ 'a'.strip().upper().replace('a', 'b') }}{{ {}.items() | list }}".to_owned(),
        ),
    ]
}

fn request_lines() -> Vec<(&'static str, String)> {
    let line = |fields: &str| format!(r#"{{"id":"a",{fields}}}"#);
    let sampling = r#""prompt":"Hi","temperature":0.7,"top_k":-1,"top_p":0.9,"min_p":0.05,
        "repetition_penalty":1.1,"presence_penalty":-2,"frequency_penalty":2,
        "logit_bias":{"5":-100},"seed":-1"#;
    let answers = r#""prompt_tokens":[1,2],"max_tokens":3,"min_tokens":1,"stop":["a","b"],
        "stop_token_ids":[7],"n":2,"logprobs":20,"prompt_logprobs":true,
        "logits":true,"include_stop":true,"ignore_eos":true"#;
    let chat = r#""messages":[{"role":"user","content":"Hi"}],"tools":[],
        "documents":[],"add_generation_prompt":false,"chat_template_kwargs":{"x":1}"#;
    vec![
        ("sampling", line(sampling)),
        ("answers", line(answers)),
        ("chat", line(chat)),
        ("adapters", line(r#""prompt":"","adapters":[{"name":"x","weight":-0.5},{"name":"y"}],"tenant":"t""#)),
        ("schema", line(r#""prompt":"","response_format":{"type":"json_schema","json_schema":{"schema":{}}}"#)),
        ("regex", line(r#""prompt":"","regex":"[a-z]{3}","priority":-5,"deadline_ms":1"#)),
        ("choice", line(r#""prompt":"","choice":["yes","no"],"skip_special_tokens":false"#)),
        ("two-forms", line(r#""prompt":"","choice":["yes"],"grammar":"start: \"a\"""#)),
        ("nulls", line(r#""prompt":"","stop":null,"seed":null"#)),
        ("unknown", line(r#""prompt":"","maxTokens":3"#)),
        ("key-twice", line(r#""prompt":"","prompt":"b""#)),
        ("deep", line(&format!(r#""messages":[{{"role":"user","x":{}{}}}]"#, "[".repeat(100), "]".repeat(100)))),
        ("numbers", line(r#""prompt":"","temperature":1e300,"seed":18446744073709551615"#)),
        ("no-id", r#"{"prompt":"Hi"}"#.to_owned()),
    ]
}
