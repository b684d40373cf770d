//! The form that an answer must have, by whichever of its names.

use loam_engine::constraint::Constraint;
use loam_engine::fields::{Fields, flag, response_format, text, texts};
use loam_engine::json::Json;

use super::body::{parts, wrong};
use crate::problem::Problem;

/// A form, and the field that it came by.
pub(super) type Named = (&'static str, Constraint);

/// Reads the form: OpenAI's `response_format`, vLLM's `structured_outputs`, or the older `guided_*`.
pub(super) fn read(fields: &mut Fields) -> Result<Option<Named>, Problem> {
    let forms = [
        ("response_format", fields.read("response_format", response_format)?.flatten()),
        ("structured_outputs", fields.take("structured_outputs").map(structured).transpose()?.flatten()),
        ("guided_json", fields.take("guided_json").map(|value| schema("guided_json", value)).transpose()?),
        ("guided_regex", fields.read("guided_regex", text)?.map(Constraint::Regex)),
        ("guided_choice", fields.read("guided_choice", texts)?.map(Constraint::Choice)),
        ("guided_grammar", fields.read("guided_grammar", text)?.map(Constraint::Grammar)),
    ];
    only(forms.into_iter().filter_map(|(field, form)| Some((field, form?))))
}

/// The one form that there is.
fn only(mut forms: impl Iterator<Item = Named>) -> Result<Option<Named>, Problem> {
    let first = forms.next();
    match forms.next() {
        Some((field, _)) => Err(wrong(field, "a second form of the answer", "the only one")),
        None => Ok(first),
    }
}

/// A schema as an object, or as the text of one.
fn schema(field: &'static str, value: Json) -> Result<Constraint, Problem> {
    let schema = match value {
        Json::String(text) => {
            Json::parse(&text).map_err(|error| wrong(field, &format!("no JSON ({error})"), "a JSON schema"))?
        }
        other => other,
    };
    match schema {
        Json::Object(_) | Json::Bool(_) => Ok(Constraint::JsonSchema(schema)),
        other => Err(wrong(field, &other.shown(), "a JSON schema")),
    }
}

/// The fields of vLLM's object. From the sixth on, only their absence is supported.
const STRUCTURED: [&str; 10] = [
    "json",
    "regex",
    "choice",
    "grammar",
    "json_object",
    "disable_any_whitespace",
    "disable_fallback",
    "disable_additional_properties",
    "whitespace_pattern",
    "structural_tag",
];

fn structured(value: Json) -> Result<Option<Constraint>, Problem> {
    let [json, regex, choice, grammar, object, unsupported @ ..] = parts("structured_outputs", value, STRUCTURED)?;
    for (value, name) in unsupported.into_iter().zip(&STRUCTURED[5..]) {
        if let Some(value) = value.filter(|value| *value != Json::Bool(false)) {
            return Err(wrong(&format!("structured_outputs.{name}"), &value.shown(), "absent"));
        }
    }
    let json_object = object.map(|value| flag("structured_outputs.json_object", value)).transpose()?;
    let forms = [
        ("structured_outputs.json", json.map(|value| schema("structured_outputs.json", value)).transpose()?),
        ("structured_outputs.regex", text_of("structured_outputs.regex", regex)?.map(Constraint::Regex)),
        (
            "structured_outputs.choice",
            choice.map(|value| texts("structured_outputs.choice", value)).transpose()?.map(Constraint::Choice),
        ),
        ("structured_outputs.grammar", text_of("structured_outputs.grammar", grammar)?.map(Constraint::Grammar)),
        ("structured_outputs.json_object", json_object.filter(|wanted| *wanted).map(|_| Constraint::JsonObject)),
    ];
    match only(forms.into_iter().filter_map(|(field, form)| Some((field, form?))))? {
        Some((_, form)) => Ok(Some(form)),
        None => Err(wrong("structured_outputs", "without a form", "absent, or one of json, regex, choice, grammar")),
    }
}

fn text_of(field: &'static str, value: Option<Json>) -> Result<Option<String>, Problem> {
    Ok(value.map(|value| text(field, value)).transpose()?)
}
