//! Which adapters a request means.

use loam_engine::request::AdapterUse;
use loam_wire::openai::{Call, Endpoint};

use super::ask::{call, refused, with};

fn used(call: &Call) -> Vec<(&str, f64)> {
    call.requests[0].adapters.iter().map(|AdapterUse { name, weight }| (name.as_str(), *weight)).collect()
}

#[track_caller]
fn check(fields: &str, model: &str, adapters: &[(&str, f64)]) {
    for endpoint in [Endpoint::Chat, Endpoint::Completion] {
        let call = call(endpoint, fields);
        assert_eq!((call.model.as_str(), &used(&call)[..]), (model, adapters), "{fields}");
    }
}

#[test]
fn a_name_of_the_base_is_the_base() {
    check(r#""model": "base""#, "base", &[]);
    check(r#""model": "base-2""#, "base-2", &[]);
}

#[test]
fn no_name_is_the_base() {
    check("", "base", &[]);
    check(r#""model": """#, "base", &[]);
}

#[test]
fn any_other_name_is_an_adapters() {
    check(r#""model": "qv-r8""#, "qv-r8", &[("qv-r8", 1.0)]);
}

#[test]
fn without_a_base_name_every_name_is_an_adapters() {
    let body = br#"{"model": "m", "prompt": "x"}"#;
    let call = loam_wire::openai::read(Endpoint::Completion, body, &[]).unwrap();
    assert_eq!(used(&call), [("m", 1.0)]);
    let call = loam_wire::openai::read(Endpoint::Completion, br#"{"prompt": "x"}"#, &[]).unwrap();
    assert_eq!(call.model, "");
}

#[test]
fn adapters_are_mixed_into_the_base() {
    let mixed = r#""adapters": [{"name": "a", "weight": 0.25}, {"name": "b"}]"#;
    check(mixed, "base", &[("a", 0.25), ("b", 1.0)]);
    check(&format!(r#"{mixed}, "model": "base-2""#), "base-2", &[("a", 0.25), ("b", 1.0)]);
}

#[test]
fn lorax_has_another_word() {
    check(r#""adapter_id": "a", "adapter_source": "local""#, "base", &[("a", 1.0)]);
}

#[test]
fn two_ways_at_once_are_refused() {
    for endpoint in [Endpoint::Chat, Endpoint::Completion] {
        let adapters = r#""adapters": [{"name": "b"}]"#;
        refused(with(endpoint, &format!(r#""model": "a", {adapters}"#)), "adapters", "an adapter's name");
        refused(with(endpoint, r#""model": "a", "adapter_id": "b""#), "adapter_id", "an adapter's name");
        refused(with(endpoint, &format!(r#""adapter_id": "b", {adapters}"#)), "adapter_id", "`adapters`");
    }
}

#[test]
fn an_adapter_is_refused_by_what_the_client_called_it() {
    let long = "x".repeat(256);
    let of = |fields: &str| with(Endpoint::Chat, fields);
    refused(of(&format!(r#""model": "{long}""#)), "model", "at most 255");
    refused(of(&format!(r#""adapter_id": "{long}""#)), "adapter_id", "at most 255");
    refused(of(&format!(r#""adapters": [{{"name": "{long}"}}]"#)), "adapters.name", "at most 255");
    refused(of(r#""adapters": [{"name": "a", "weight": 1001}]"#), "adapters.weight", "-1000 to 1000");
    refused(of(r#""adapters": [{"name": "a"}, {"name": "a"}]"#), "adapters.name", "each adapter once");
    refused(of(r#""adapters": [{"name": "a", "scale": 1}]"#), "adapters.scale", "`name` and `weight`");
}
