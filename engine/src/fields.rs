//! Fields of a request in JSON, read strictly: what is unknown or of a wrong type is refused by its name.

use crate::constraint::Constraint;
use crate::error::Error;
use crate::json::{Json, quoted};
use crate::request::{ANSWER_TOKENS_MAX, AdapterUse, CHOICES_MAX, ChatPrompt, LOG_PROBABILITIES_MAX, refuse};
use crate::sampler::SamplingOptions;

/// An object's fields that nobody has asked for yet.
pub struct Fields {
    left: Vec<(String, Json)>,
    asked: Vec<&'static str>,
}

impl Fields {
    /// All of an object's.
    pub fn new(left: Vec<(String, Json)>) -> Self {
        Self { left, asked: Vec::new() }
    }

    /// Takes a field's value. `null` counts as left out.
    pub fn take(&mut self, field: &'static str) -> Option<Json> {
        self.asked.push(field);
        let place = self.left.iter().position(|(name, _)| name == field)?;
        Some(self.left.swap_remove(place).1).filter(|value| *value != Json::Null)
    }

    /// Takes a field and reads it.
    pub fn read<T>(
        &mut self,
        field: &'static str,
        read: impl FnOnce(&'static str, Json) -> Result<T, Error>,
    ) -> Result<Option<T>, Error> {
        self.take(field).map(|value| read(field, value)).transpose()
    }

    /// Refuses by name what nobody asked for.
    pub fn finish(&self) -> Result<(), Error> {
        let Some((name, _)) = self.left.first() else { return Ok(()) };
        let letters = |name: &str| name.to_lowercase().replace(['_', '-'], "");
        let meant = self.asked.iter().find(|asked| letters(asked) == letters(name));
        let hint = match meant {
            Some(meant) => format!("`{meant}` is one"),
            None => format!("it can have {}", self.asked.join(", ")),
        };
        Err(Error::RequestField { field: quoted(name).replace('"', ""), hint })
    }
}

/// How tokens are chosen.
pub fn sampling(fields: &mut Fields) -> Result<SamplingOptions, Error> {
    Ok(SamplingOptions {
        temperature: fields.read("temperature", number)?,
        top_k: fields.read("top_k", top_k)?,
        top_p: fields.read("top_p", number)?,
        min_p: fields.read("min_p", number)?,
        repetition_penalty: fields.read("repetition_penalty", number)?,
        presence_penalty: fields.read("presence_penalty", number)?,
        frequency_penalty: fields.read("frequency_penalty", number)?,
        logit_bias: fields.read("logit_bias", logit_bias)?.unwrap_or_default(),
        seed: fields.read("seed", seed)?,
    })
}

/// Messages and what goes with them; none where there are no messages.
pub fn chat(fields: &mut Fields) -> Result<Option<ChatPrompt>, Error> {
    let messages = fields.take("messages");
    let tools = fields.take("tools");
    let documents = fields.take("documents");
    let begin = fields.read("add_generation_prompt", flag)?;
    let kwargs = fields.read("chat_template_kwargs", object)?;
    let Some(messages) = messages else {
        let given = [
            ("tools", tools.is_some()),
            ("documents", documents.is_some()),
            ("add_generation_prompt", begin.is_some()),
            ("chat_template_kwargs", kwargs.is_some()),
        ];
        return match given.iter().find(|(_, given)| *given) {
            Some((field, _)) => refuse(field, "given", "given beside `messages`"),
            None => Ok(None),
        };
    };
    let add_generation_prompt = begin.unwrap_or(true);
    Ok(Some(ChatPrompt { messages, tools, documents, add_generation_prompt, kwargs: kwargs.unwrap_or_default() }))
}

/// The form of the answer, by whichever of its fields.
pub fn constraint(fields: &mut Fields) -> Result<Option<Constraint>, Error> {
    let constraints = [
        fields.read("response_format", response_format)?.flatten(),
        fields.take("json_schema").map(Constraint::JsonSchema),
        fields.read("regex", text)?.map(Constraint::Regex),
        fields.read("grammar", text)?.map(Constraint::Grammar),
        fields.read("choice", texts)?.map(Constraint::Choice),
    ];
    let mut given = constraints.into_iter().flatten();
    let first = given.next();
    match given.next() {
        None => Ok(first),
        Some(second) => refuse(second.field(), "a second form of the answer", "the only one"),
    }
}

/// The form of the answer, as OpenAI's chat interface has it.
pub fn response_format(field: &'static str, value: Json) -> Result<Option<Constraint>, Error> {
    match value.find("type").and_then(Json::as_str) {
        Some("text") => Ok(None),
        Some("json_object") => Ok(Some(Constraint::JsonObject)),
        Some("json_schema") => match value.find("json_schema").and_then(|outer| outer.find("schema")) {
            Some(schema) => Ok(Some(Constraint::JsonSchema(schema.clone()))),
            None => refuse(field, "without a schema", "{\"type\": \"json_schema\", \"json_schema\": {\"schema\": ..}}"),
        },
        _ => {
            let found = match value.find("type") {
                Some(kind) => format!("an object whose `type` is {}", kind.shown()),
                None => value.shown(),
            };
            refuse(field, &found, "an object whose `type` is \"text\", \"json_object\" or \"json_schema\"")
        }
    }
}

/// Adapters with their weights.
pub fn adapters(field: &'static str, value: Json) -> Result<Vec<AdapterUse>, Error> {
    list(field, value)?.into_iter().map(adapter).collect()
}

fn adapter(value: Json) -> Result<AdapterUse, Error> {
    let Json::Object(fields) = value else {
        return refuse("adapters", &value.shown(), "objects with `name` and `weight`");
    };
    let mut adapter = AdapterUse { name: String::new(), weight: 1.0 };
    for (name, value) in fields {
        match name.as_str() {
            "name" => adapter.name = text("adapters.name", value)?,
            "weight" => adapter.weight = float("adapters.weight", &value)?,
            _ => {
                let hint = "an adapter has `name` and `weight`".to_owned();
                return Err(Error::RequestField {
                    field: format!("adapters.{}", quoted(&name).replace('"', "")),
                    hint,
                });
            }
        }
    }
    Ok(adapter)
}

/// Biases by token id.
pub fn logit_bias(field: &'static str, value: Json) -> Result<Vec<(u32, f32)>, Error> {
    let bias = |(token, bias): (String, Json)| match token.parse() {
        Ok(token) => Ok((token, number(field, bias)?)),
        Err(_) => refuse(field, &quoted(&token), "token ids"),
    };
    object(field, value)?.into_iter().map(bias).collect()
}

/// A string.
pub fn text(field: &'static str, value: Json) -> Result<String, Error> {
    match value {
        Json::String(text) => Ok(text),
        other => refuse(field, &other.shown(), "a string"),
    }
}

/// A string, or several.
pub fn texts(field: &'static str, value: Json) -> Result<Vec<String>, Error> {
    match value {
        Json::String(text) => Ok(vec![text]),
        Json::Array(values) => values.into_iter().map(|value| text(field, value)).collect(),
        other => refuse(field, &other.shown(), "a string or an array of strings"),
    }
}

/// An array.
pub fn list(field: &'static str, value: Json) -> Result<Vec<Json>, Error> {
    match value {
        Json::Array(values) => Ok(values),
        other => refuse(field, &other.shown(), "an array"),
    }
}

/// An object's fields.
pub fn object(field: &'static str, value: Json) -> Result<Vec<(String, Json)>, Error> {
    match value {
        Json::Object(fields) => Ok(fields),
        other => refuse(field, &other.shown(), "an object"),
    }
}

/// True or false.
pub fn flag(field: &'static str, value: Json) -> Result<bool, Error> {
    match value {
        Json::Bool(value) => Ok(value),
        other => refuse(field, &other.shown(), "true or false"),
    }
}

/// Token ids.
pub fn tokens(field: &'static str, value: Json) -> Result<Vec<u32>, Error> {
    list(field, value)?.into_iter().map(|value| count(field, value)).collect()
}

/// A whole number. To JSON's schemas 3.0 is one, and some clients write it so.
fn integer(value: &Json) -> Option<i128> {
    /// Up to here a float is the number that was written.
    const EXACT_MAX: f64 = 9_007_199_254_740_992.0;
    match value {
        Json::Integer(number) => Some(i128::from(*number)),
        Json::Unsigned(number) => Some(i128::from(*number)),
        Json::Float(number) if number.fract() == 0.0 && number.abs() <= EXACT_MAX => Some(*number as i128),
        _ => None,
    }
}

fn between(field: &'static str, value: &Json, least: u32, most: u32) -> Result<u32, Error> {
    match integer(value).and_then(|number| u32::try_from(number).ok()).filter(|number| (least..=most).contains(number))
    {
        Some(number) => Ok(number),
        None => refuse(field, &value.shown(), &format!("a whole number from {least} to {most}")),
    }
}

/// A whole number of 32 bits, without a sign.
pub fn count(field: &'static str, value: Json) -> Result<u32, Error> {
    between(field, &value, 0, u32::MAX)
}

/// How many tokens an answer may have.
pub fn answer_tokens(field: &'static str, value: Json) -> Result<u32, Error> {
    between(field, &value, 1, ANSWER_TOKENS_MAX)
}

/// How many answers there are to one prompt.
pub fn choices(field: &'static str, value: Json) -> Result<u32, Error> {
    between(field, &value, 1, CHOICES_MAX)
}

/// How many of the most probable tokens are reported.
pub fn log_probabilities(field: &'static str, value: Json) -> Result<u32, Error> {
    between(field, &value, 0, LOG_PROBABILITIES_MAX)
}

/// A whole number of 64 bits, without a sign.
pub fn whole(field: &'static str, value: Json) -> Result<u64, Error> {
    match integer(&value).map(u64::try_from) {
        Some(Ok(number)) => Ok(number),
        _ => refuse(field, &value.shown(), "a whole number from 0 on"),
    }
}

/// Any whole number of 64 bits, with or without a sign.
pub fn seed(field: &'static str, value: Json) -> Result<u64, Error> {
    match integer(&value).map(|number| u64::try_from(number).or_else(|_| i64::try_from(number).map(|it| it as u64))) {
        Some(Ok(number)) => Ok(number),
        _ => refuse(field, &value.shown(), "a whole number of 64 bits"),
    }
}

/// How many tokens are kept. Others write -1 where all are.
pub fn top_k(field: &'static str, value: Json) -> Result<u32, Error> {
    match integer(&value) {
        Some(-1) => Ok(0),
        number => match number.map(u32::try_from) {
            Some(Ok(number)) => Ok(number),
            _ => refuse(field, &value.shown(), "-1 or a whole number from 0 on, and of 32 bits"),
        },
    }
}

/// A whole number of 32 bits.
pub fn priority(field: &'static str, value: Json) -> Result<i32, Error> {
    match integer(&value).map(i32::try_from) {
        Some(Ok(number)) => Ok(number),
        _ => refuse(field, &value.shown(), "a whole number of 32 bits"),
    }
}

/// A number.
pub fn float(field: &'static str, value: &Json) -> Result<f64, Error> {
    match value {
        Json::Integer(number) => Ok(*number as f64),
        Json::Unsigned(number) => Ok(*number as f64),
        Json::Float(number) => Ok(*number),
        other => refuse(field, &other.shown(), "a number"),
    }
}

/// A number, as the engine computes.
pub fn number(field: &'static str, value: Json) -> Result<f32, Error> {
    float(field, &value).map(|number| number as f32)
}
