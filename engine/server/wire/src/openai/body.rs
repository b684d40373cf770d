//! A request's body as fields, and refusals that name one of them.

use loam_engine::fields::Fields;
use loam_engine::json::Json;

use crate::problem::{Kind, Problem};

/// Reads a body that is an object, all of whose fields are among the known ones.
pub(super) fn read(body: &[u8], known: &[&'static str]) -> Result<Fields, Problem> {
    let invalid = |reason: String| Problem::new(Kind::Invalid, format!("the body {reason}"));
    let text = std::str::from_utf8(body).map_err(|error| invalid(format!("is not UTF-8: {error}")))?;
    let json = Json::parse(text).map_err(|error| invalid(format!("is not valid JSON: {error}")))?;
    let Json::Object(fields) = json else {
        return Err(invalid(format!("is {}; it can be an object", json.shown())));
    };
    match fields.iter().find(|(name, _)| !known.contains(&name.as_str())) {
        Some((name, _)) => Err(unknown(name, known)),
        None => Ok(Fields::new(fields)),
    }
}

fn unknown(name: &str, known: &[&'static str]) -> Problem {
    let letters = |name: &str| name.to_lowercase().replace(['_', '-'], "");
    let shown = Json::from(name).shown().replace('"', "");
    let hint = match known.iter().find(|known| letters(known) == letters(name)) {
        Some(meant) => format!("`{meant}` is one"),
        None => "GET /openapi.json lists those that it has".to_owned(),
    };
    Problem::field(&shown, format!("the request has no field `{shown}`; {hint}"))
}

/// A field that is wrong: what was found, and what it can be.
pub(super) fn wrong(field: &str, found: &str, allowed: &str) -> Problem {
    Problem::field(field, format!("`{field}` is {found}; it can be {allowed}"))
}

/// Takes an object apart whose fields are all named here; `null` counts as left out.
pub(super) fn parts<const N: usize>(field: &str, value: Json, names: [&str; N]) -> Result<[Option<Json>; N], Problem> {
    let Json::Object(fields) = value else {
        return Err(wrong(field, &value.shown(), "an object"));
    };
    let mut found = [const { None }; N];
    for (name, value) in fields {
        let Some(place) = names.iter().position(|known| *known == name) else {
            let shown = Json::String(name).shown().replace('"', "");
            let inner = format!("{field}.{shown}");
            return Err(Problem::field(&inner, format!("`{inner}` is unknown; `{field}` has {}", names.join(", "))));
        };
        found[place] = Some(value).filter(|value| *value != Json::Null);
    }
    Ok(found)
}
