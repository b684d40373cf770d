//! Chat templates against what Jinja made of them, set up as Transformers sets it up (`testdata/templates/expect.py`).

use std::fs;
use std::path::Path;

use jiff::Zoned;
use jiff::civil::date;
use jiff::tz::TimeZone;
use loam_engine::Error;
use loam_engine::json::Json;
use loam_engine::request::ChatPrompt;
use loam_engine::template::{ChatTemplates, EXPRESSION_PARTS_MAX, TEMPLATE_BYTES_MAX, TEMPLATE_FUEL};

use super::golden::{MODELS, ids, testdata, text_of, tokenizer};
use super::tier::times;

fn now() -> Zoned {
    date(2026, 3, 7).at(9, 5, 2, 0).to_zoned(TimeZone::UTC).unwrap()
}

fn special() -> Vec<(String, String)> {
    [("bos_token", "<s>"), ("eos_token", "</s>")].map(|(name, token)| (name.to_owned(), token.to_owned())).into()
}

fn rendered(source: &str, chat: &ChatPrompt) -> Result<String, Error> {
    ChatTemplates::new(Path::new("model"), &[("default", source)], special()).render(chat, &now())
}

/// A chat of one message; what is rendered of it is said by `kwargs`.
fn chat(kwargs: &[(&str, Json)]) -> ChatPrompt {
    let messages = Json::parse(r#"[{"role": "user", "content": "hello"}]"#).unwrap();
    let kwargs = kwargs.iter().map(|(name, value)| ((*name).to_owned(), value.clone())).collect();
    ChatPrompt { messages, add_generation_prompt: false, kwargs, ..ChatPrompt::default() }
}

/// All of one template's cases: the same text, or an error where Jinja has one too.
fn check(template: &str) {
    let source = fs::read_to_string(testdata(&format!("templates/{template}.jinja"))).unwrap();
    let cases = fs::read_to_string(testdata("templates/expected.json")).unwrap();
    let mut checked = 0;
    for case in Json::parse(&cases).unwrap().as_array().unwrap() {
        let Json::Object(mut fields) = case.clone() else { panic!("a case is an object") };
        if case.find("template").and_then(Json::as_str) != Some(template) {
            continue;
        }
        checked += 1;
        let mut take = |name: &str| {
            let place = fields.iter().position(|(key, _)| key == name)?;
            Some(fields.remove(place).1)
        };
        take("template");
        let (expected, fault) = (take("expected"), take("error"));
        let chat = ChatPrompt {
            messages: take("messages").unwrap(),
            tools: take("tools"),
            documents: take("documents"),
            add_generation_prompt: take("add_generation_prompt") == Some(Json::Bool(true)),
            kwargs: fields,
        };
        match (rendered(&source, &chat), expected.as_ref().and_then(Json::as_str)) {
            (Ok(found), Some(expected)) => {
                for (line, (found, expected)) in found.lines().zip(expected.lines()).enumerate() {
                    assert_eq!(found, expected, "{template}, case {checked}, line {}", line + 1);
                }
                assert_eq!(found, expected, "{template}, case {checked}");
            }
            (Err(_), None) => {}
            (found, expected) => {
                panic!("{template}, case {checked}: {found:?} where Jinja has {expected:?}, {fault:?}")
            }
        }
    }
    assert!(checked > 0, "no case of {template}");
}

#[test]
fn header_date() {
    check("header-date");
}

#[test]
fn im_tools() {
    check("im-tools");
}

#[test]
fn im_thinking() {
    check("im-thinking");
}

#[test]
fn inst() {
    check("inst");
}

#[test]
fn turns() {
    check("turns");
}

#[test]
fn parts() {
    check("parts");
}

#[test]
fn types() {
    check("types");
}

#[test]
fn marked() {
    check("marked");
}

#[test]
fn spaces() {
    check("spaces");
}

#[test]
fn python() {
    check("python");
}

#[test]
fn json() {
    check("json");
}

#[test]
fn grounded() {
    check("grounded");
}

#[test]
fn faults() {
    check("faults");
}

#[test]
fn golden_chats_render_and_encode_as_in_transformers() {
    for model in MODELS {
        let expected = &text_of(model)["chat"];
        let templates = ChatTemplates::read(&testdata(&format!("golden/{model}/base"))).unwrap();
        let messages = Json::from(expected["messages"].clone());
        let text = templates.render(&ChatPrompt { messages, ..ChatPrompt::default() }, &now()).unwrap();
        assert_eq!(text, expected["rendered"].as_str().unwrap(), "{model}");
        assert_eq!(tokenizer(model).encode(&text, false).unwrap(), ids(&expected["ids"]), "{model}");
    }
}

#[test]
fn a_model_without_a_template_says_what_to_do() {
    let folder = tempfile::tempdir().unwrap();
    let error = ChatTemplates::read(folder.path()).unwrap().render(&chat(&[]), &now()).unwrap_err();
    assert!(matches!(error, Error::TemplateMissing { .. }));
    assert!(error.to_string().contains("chat_template.jinja"), "{error}");
}

/// A folder whose files say `config`, `file` and `extra` where they are given; the text that a chat has with it.
fn chosen(config: Option<&str>, file: Option<&str>, extra: &[(&str, &str)], tools: bool) -> Result<String, Error> {
    let folder = tempfile::tempdir().unwrap();
    let write = |name: &str, text: &str| fs::write(folder.path().join(name), text).unwrap();
    config.iter().for_each(|text| write("tokenizer_config.json", text));
    file.iter().for_each(|text| write("chat_template.jinja", text));
    fs::create_dir(folder.path().join("additional_chat_templates")).unwrap();
    extra.iter().for_each(|(name, text)| write(&format!("additional_chat_templates/{name}.jinja"), text));
    let tools = tools.then(|| Json::Array(Vec::new()));
    ChatTemplates::read(folder.path())?.render(&ChatPrompt { tools, ..chat(&[]) }, &now())
}

#[test]
fn the_file_goes_before_the_configuration() {
    let config = r#"{"chat_template": "config {{ bos_token }}", "bos_token": {"content": "<b>"}}"#;
    assert_eq!(chosen(Some(config), None, &[], false).unwrap(), "config <b>");
    assert_eq!(chosen(Some(config), Some("file {{ bos_token }}"), &[], true).unwrap(), "file <b>");
}

#[test]
fn tools_choose_their_own_template() {
    let config =
        r#"{"chat_template": [{"name": "default", "template": "plain"}, {"name": "tool_use", "template": "T"}]}"#;
    assert_eq!(chosen(Some(config), None, &[], false).unwrap(), "plain");
    assert_eq!(chosen(Some(config), None, &[], true).unwrap(), "T");
    assert_eq!(chosen(Some(config), None, &[("tool_use", "added")], true).unwrap(), "added");
    assert_eq!(chosen(None, Some("file"), &[("tool_use", "added")], false).unwrap(), "file");
}

#[test]
fn without_a_default_the_names_are_told() {
    let error = chosen(None, None, &[("rag", "x"), ("tool_use", "y")], false).unwrap_err().to_string();
    assert!(error.contains("rag, tool_use"), "{error}");
}

#[test]
fn a_broken_template_is_an_error_only_when_used() {
    let error = chosen(None, Some("{% if %}"), &[], false).unwrap_err();
    assert!(matches!(&error, Error::Template { name, .. } if name == "default"), "{error}");
    assert_eq!(chosen(None, Some("fine"), &[("tool_use", "{% broken")], false).unwrap(), "fine");
}

#[test]
fn what_a_template_refuses_is_told() {
    let error = rendered("{{ raise_exception('only two turns') }}", &chat(&[])).unwrap_err().to_string();
    assert!(error.contains("only two turns"), "{error}");
}

#[test]
fn kwargs_win_over_special_tokens() {
    let text = rendered("{{ bos_token }}{{ eos_token }}", &chat(&[("bos_token", Json::from("mine"))])).unwrap();
    assert_eq!(text, "mine</s>");
}

#[test]
fn time_is_what_the_caller_says() {
    let text = rendered("{{ strftime_now('%d %B %Y %H:%M:%S %j %A') }}", &chat(&[])).unwrap();
    assert_eq!(text, "07 March 2026 09:05:02 066 Saturday");
    assert!(rendered("{{ strftime_now('%!') }}", &chat(&[])).is_err());
}

/// Templates that would run for ever, or fill the memory.
#[test]
fn hostile_templates_are_errors() {
    let doubled =
        "{% set ns = namespace(x='xxxxxxxx') %}{% for i in range(60) %}{% set ns.x = ns.x ~ ns.x %}{% endfor %}";
    let nested = "{% for a in range(10000) %}{% for b in range(10000) %}x{% endfor %}{% endfor %}".to_owned();
    let hostile = [
        doubled.to_owned(),
        nested,
        "{% macro m(n) %}{{ m(n + 1) }}{% endmacro %}{{ m(0) }}".to_owned(),
        "{% for a in [[[]]] recursive %}{{ loop([[[]]]) }}{% endfor %}".to_owned(),
        "{{ 'x' * 1000000000 }}".to_owned(),
        "{{ range(1000000000) | list | length }}".to_owned(),
        "{{ '%1000000000d' | format(1) }}".to_owned(),
        "{{ '{:1000000000}'.format(1) }}".to_owned(),
        "{{ ('x' * 1000000).replace('x', 'x' * 1000000) }}".to_owned(),
        "{{ 'x' | indent(1000000000) }}".to_owned(),
        "{% set a = [[]] * 1000 %}{% set a = [a] * 1000 %}{% set a = [a] * 1000 %}{{ a | tojson }}".to_owned(),
        "{{ [1] | tojson(indent=1000000000) ~ ('y' * 900000000) }}".to_owned(),
    ];
    for source in hostile {
        // Whatever comes of it, the process lives and the text is bounded.
        if let Ok(text) = rendered(&source, &chat(&[])) {
            assert!(text.len() <= source.len(), "{}", &source[..source.len().min(100)]);
        }
    }
}

#[test]
fn an_expression_without_end_is_refused() {
    let refused = |source: &str| {
        let reason = rendered(source, &chat(&[])).unwrap_err().to_string();
        reason.contains("expression of") && reason.contains("one can have 1000")
    };
    let long = " ~ 1".repeat(EXPRESSION_PARTS_MAX / 2);
    assert!(refused(&format!("{{{{ 1{long} }}}}")));
    assert!(refused(&format!("{{% set x = 1{long} %}}")));
    assert!(refused(&format!("{{{{ {{1: {{2: 3}}}}{long} }}}}")));
    assert!(refused(&format!("{{{{ '}}}}'{long} }}}}")));
    assert!(refused(&format!("{{# it's }}}} #}}{{{{ \"\\\"}}}}\"{long} }}}}")));
    let short = "{{ 1 ~ 1 }}{# don't {{ #}{% if true %}it's{% endif %}".repeat(EXPRESSION_PARTS_MAX);
    assert_eq!(rendered(&short, &chat(&[])).unwrap(), "11it's".repeat(EXPRESSION_PARTS_MAX));
    assert_eq!(rendered(&format!("{{{{ '{long}' }}}}"), &chat(&[])).unwrap(), long);
}

/// Templates that nest as deep as their bytes or their fuel allow: none may overflow the stack of whoever renders.
#[test]
fn deep_templates_are_answered() {
    let deep = |before: &str, again: &str, after: &str| {
        let bytes = TEMPLATE_BYTES_MAX - before.len() - after.len();
        // As many as a template can have, or as one expression can have: none of these is of over 6 parts.
        let times = if before.starts_with("{{") { EXPRESSION_PARTS_MAX / 6 } else { bytes / again.len() };
        format!("{before}{}{after}", again.repeat(times))
    };
    let built = |value: &str, after: &str| {
        let from = "{% set ns = namespace(x=[]) %}{% for i in range(100) %}{% for j in range(10000) %}";
        let to = "{% endfor %}{% endfor %}";
        format!("{from}{{% set ns.x = {value} %}}{{% if loop.index == LIMIT %}}{after}{{% endif %}}{to}")
    };
    let mut sources = vec![
        deep("", "(", ""),
        deep("{{ ", "(", " }}"),
        deep("{{ ", "[", " }}"),
        deep("{{ ", "{1:", " }}"),
        deep("{{ ", "f(", " }}"),
        deep("{{ ", "not ", "1 }}"),
        format!("{{{{ {}1 }}}}", "-".repeat(EXPRESSION_PARTS_MAX - 1)),
        deep("{{ 1", "+1", " }}"),
        deep("{{ 1", "**1", " }}"),
        format!("{{{{ 1{} }}}}", "~1".repeat(EXPRESSION_PARTS_MAX / 2 - 1)),
        deep("{{ 1", " and 1", " }}"),
        deep("{{ 1", " if 1 else 1", " }}"),
        deep("{{ x", ".a", " }}"),
        deep("{{ x", "[0]", " }}"),
        deep("{{ x", "()", " }}"),
        deep("{{ x", "|upper", " }}"),
        deep("{{ x", " is defined", " }}"),
        deep("{% if 1 %}", "{% elif 1 %}", "{% endif %}"),
        deep("", "{% if 1 %}", ""),
        deep("", "{% for a in b %}", ""),
        deep("", "{% macro m() %}", ""),
        deep("", "{% raw %}", ""),
        deep("", "{% generation %}", ""),
    ];
    for value in ["[ns.x]", "{'a': ns.x}"] {
        sources.push(built(value, ""));
    }
    for limit in ["1000", "9999"].into_iter().skip(usize::from(times(1) == 1)) {
        for after in
            ["{{ ns.x }}", "{{ ns.x | tojson }}", "{{ ns.x == [ns.x] }}", "{{ ns.x | string }}", "{{ ns.x in [ns.x] }}"]
        {
            sources.push(built("[ns.x]", after).replace("LIMIT", limit));
        }
    }
    for source in sources {
        let text = rendered(&source.replace("LIMIT", "0"), &chat(&[])).unwrap_or_default();
        assert!(text.len() <= 64 * TEMPLATE_FUEL as usize);
    }
}

#[test]
fn a_template_that_never_ends_names_itself() {
    let source = "{% for a in range(10000) %}{% for b in range(10000) %}x{% endfor %}{% endfor %}";
    let error = rendered(source, &chat(&[])).unwrap_err();
    assert!(
        matches!(&error, Error::Template { name, reason } if name == "default" && reason.contains("too long over this chat: shorten")),
        "{error}"
    );
}
