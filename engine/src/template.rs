//! Chat templates: messages to a prompt's text, as Transformers renders them.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use jiff::Zoned;
use jiff::fmt::strtime;
use minijinja::syntax::SyntaxConfig;
use minijinja::value::{Kwargs, Serde, Value, ValueKind};
use minijinja::{AutoEscape, Environment, Error as Fault, ErrorKind, State};

use crate::apart::apart;
use crate::error::Error;
use crate::request::{ChatPrompt, PROMPT_BYTES_MAX};
use crate::tokenizer::{read_json, read_special_tokens};

/// What rendering may cost: instructions, and one more for every 64 bytes made on the way.
pub const TEMPLATE_FUEL: u64 = 2_000_000;
/// Bytes of a template.
pub const TEMPLATE_BYTES_MAX: usize = 256 << 10;
/// Names, numbers and signs between one pair of a template's braces: reading takes the cube of their number at worst.
pub const EXPRESSION_PARTS_MAX: usize = 1000;
/// Calls within calls of a template.
const RECURSION_MAX: usize = 100;

/// A model's chat templates. They come with the model and are not trusted: they see messages, and nothing else.
pub struct ChatTemplates {
    folder: PathBuf,
    environment: Environment<'static>,
    /// Names, and why those that cannot be read cannot.
    names: BTreeMap<String, Option<String>>,
    special: Vec<(String, String)>,
}

impl ChatTemplates {
    /// Reads a model folder's templates. A folder without any, or with broken ones, is an error only when one is used.
    pub fn read(folder: &Path) -> Result<Self, Error> {
        let mut templates = Self::new(folder, &[], read_special_tokens(folder)?);
        let config = read_json(&folder.join("tokenizer_config.json"))?;
        match config.as_ref().and_then(|config| config.get("chat_template")) {
            Some(serde_json::Value::String(source)) => templates.add("default", source),
            Some(serde_json::Value::Array(list)) => {
                for entry in list {
                    let text = |key: &str| entry.get(key).and_then(serde_json::Value::as_str);
                    if let (Some(name), Some(source)) = (text("name"), text("template")) {
                        templates.add(name, source);
                    }
                }
            }
            _ => {}
        }
        if let Some(source) = read_text(&folder.join("chat_template.jinja"))? {
            templates.add("default", &source);
        }
        for (name, path) in additional(&folder.join("additional_chat_templates"))? {
            if let Some(source) = read_text(&path)? {
                templates.add(&name, &source);
            }
        }
        Ok(templates)
    }

    /// Templates by name, and special tokens by name. `folder` names them in errors.
    pub fn new(folder: &Path, sources: &[(&str, &str)], special: Vec<(String, String)>) -> Self {
        let folder = folder.to_owned();
        let mut templates = Self { folder, environment: environment(), names: BTreeMap::new(), special };
        sources.iter().for_each(|(name, source)| templates.add(name, source));
        templates
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.names.is_empty()
    }

    /// A prompt's text. `now` is what the template is told where it asks for the time.
    pub fn render(&self, chat: &ChatPrompt, now: &Zoned) -> Result<String, Error> {
        let name = self.choose(chat.tools.is_some())?;
        let failed = |reason: String| Error::Template { name: name.to_owned(), reason };
        if let Some(Some(reason)) = self.names.get(name) {
            return Err(failed(reason.clone()));
        }
        let render = || {
            let template = self.environment.get_template(name).map_err(|fault| told(&fault))?;
            template.render(self.context(chat, now)).map_err(|fault| told(&fault))
        };
        let text = apart("chat template", render).map_err(failed)?;
        if text.len() > PROMPT_BYTES_MAX {
            return Err(failed(format!("made {} bytes; a prompt can have {PROMPT_BYTES_MAX}", text.len())));
        }
        Ok(text)
    }

    fn choose(&self, tools: bool) -> Result<&str, Error> {
        let named = |name: &str| self.names.get_key_value(name).map(|(name, _)| name.as_str());
        if tools && let Some(name) = named("tool_use") {
            return Ok(name);
        }
        if let Some(name) = named("default") {
            return Ok(name);
        }
        match self.names.keys().next() {
            None => Err(Error::TemplateMissing { path: self.folder.clone() }),
            Some(_) => {
                let names: Vec<_> = self.names.keys().map(String::as_str).collect();
                let reason = format!("is not among the model's templates ({})", names.join(", "));
                Err(Error::Template { name: "default".to_owned(), reason })
            }
        }
    }

    fn context(&self, chat: &ChatPrompt, now: &Zoned) -> Value {
        let now = now.clone();
        let strftime_now = move |format: &str| {
            strtime::format(format, &now).map_err(|error| Fault::new(ErrorKind::InvalidOperation, error.to_string()))
        };
        // What comes later in this list wins.
        let special = self.special.iter().map(|(name, token)| (name.clone(), Value::from(token.as_str())));
        let kwargs = chat.kwargs.iter().map(|(name, value)| (name.clone(), Value::from(Serde(value))));
        let own = [
            ("messages", Value::from(Serde(&chat.messages))),
            ("tools", Value::from(Serde(&chat.tools))),
            ("documents", Value::from(Serde(&chat.documents))),
            ("add_generation_prompt", Value::from(chat.add_generation_prompt)),
            ("strftime_now", Value::from_function(strftime_now)),
        ];
        let own = own.into_iter().map(|(name, value)| (name.to_owned(), value));
        special.chain(kwargs).chain(own).collect::<BTreeMap<String, Value>>().into()
    }

    fn add(&mut self, name: &str, source: &str) {
        let parts = expression_parts(source);
        let broken = if source.len() > TEMPLATE_BYTES_MAX {
            Some(format!("has {} bytes; a template can have {TEMPLATE_BYTES_MAX}", source.len()))
        } else if parts > EXPRESSION_PARTS_MAX {
            Some(format!("has an expression of {parts} parts; one can have {EXPRESSION_PARTS_MAX}"))
        } else {
            let environment = &mut self.environment;
            let add =
                || environment.add_template_owned(name.to_owned(), prepared(source)).map_err(|fault| told(&fault));
            apart("chat template", add).err()
        };
        self.names.insert(name.to_owned(), broken);
    }
}

impl std::fmt::Debug for ChatTemplates {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("ChatTemplates").field("names", &self.names).finish_non_exhaustive()
    }
}

fn environment() -> Environment<'static> {
    let mut environment = Environment::new();
    let syntax = SyntaxConfig::builder().trim_blocks(true).lstrip_blocks(true).build();
    environment.set_syntax(syntax.expect("Jinja's own delimiters"));
    environment.set_auto_escape_callback(|_| AutoEscape::None);
    environment.set_fuel(Some(TEMPLATE_FUEL));
    environment.set_recursion_limit(RECURSION_MAX);
    minijinja_contrib::add_to_environment(&mut environment);
    environment.set_unknown_method_callback(python_method);
    environment.add_filter("tojson", tojson);
    environment.add_function("raise_exception", |message: &str| -> Result<Value, Fault> {
        Err(Fault::new(ErrorKind::InvalidOperation, message.to_owned()))
    });
    environment
}

/// Python's methods of texts, lists and objects. Widths that `format` fills up are paid for beforehand.
fn python_method(state: &mut State<'_, '_>, value: &Value, method: &str, args: &[Value]) -> Result<Value, Fault> {
    if let ("format", Some(text)) = (method, value.as_str()) {
        let numbers = text.split(|character: char| !character.is_ascii_digit()).filter(|digits| !digits.is_empty());
        let widths = numbers.map(|digits| digits.parse::<u64>().unwrap_or(u64::MAX));
        state.consume_fuel(widths.fold(0, u64::saturating_add) / 64)?;
    }
    minijinja_contrib::pycompat::unknown_method_callback(state, value, method, args)
}

/// Characters of a fault's text that are told: a template writes its own.
const TOLD_CHARS_MAX: usize = 2000;

/// A fault and its causes, in one line.
fn told(fault: &Fault) -> String {
    if fault.kind() == ErrorKind::OutOfFuel {
        return "would take too long over this chat: shorten its messages, or send fewer of them".to_owned();
    }
    let mut text = fault.to_string();
    let mut cause = std::error::Error::source(fault);
    while let Some(inner) = cause {
        text += &format!("; {inner}");
        cause = inner.source();
    }
    if let Some((end, _)) = text.char_indices().nth(TOLD_CHARS_MAX) {
        text.truncate(end);
        text += "...";
    }
    text
}

/// A template as this engine's Jinja has it. Marks for training around an assistant's text do nothing here: each
/// becomes a tag that keeps its effect on spaces. The line that begins after `raw` is kept, as Jinja keeps it.
fn prepared(source: &str) -> String {
    let tag = |keyword: &str, after: &str| {
        let pattern = format!(r"\{{%([-+]?)\s*{keyword}\s*([-+]?)%\}}{after}");
        fancy_regex::Regex::new(&pattern).expect("a fixed expression")
    };
    let source = tag("generation", "").replace_all(source, "{%$1 if true $2%}");
    let source = tag("endgeneration", "").replace_all(&source, "{%$1 endif $2%}");
    tag("raw", "\n").replace_all(&source, "{%$1 raw $2%}\n\n").into_owned()
}

/// Names, numbers and signs of the longest expression. A text in quotes is one of them.
fn expression_parts(source: &str) -> usize {
    let (mut most, mut rest) = (0, source.as_bytes());
    while let Some(start) = rest.windows(2).position(|two| matches!(two, b"{{" | b"{%" | b"{#")) {
        let kind = rest[start + 1];
        rest = &rest[start + 2..];
        let (parts, length) = match kind {
            b'#' => (0, rest.windows(2).position(|two| two == b"#}").unwrap_or(rest.len())),
            b'%' => parts_until(rest, b'%'),
            _ => parts_until(rest, b'}'),
        };
        most = most.max(parts);
        rest = &rest[length..];
    }
    most
}

/// Parts up to `close` and a brace that close no brace of the expression's own; and bytes up to there.
fn parts_until(bytes: &[u8], close: u8) -> (usize, usize) {
    let (mut at, mut parts, mut open) = (0, 0, 0_usize);
    while at < bytes.len() && !(open == 0 && bytes[at..].starts_with(&[close, b'}'])) {
        open = match bytes[at] {
            b'{' => open + 1,
            b'}' => open.saturating_sub(1),
            _ => open,
        };
        parts += usize::from(!bytes[at].is_ascii_whitespace());
        at += match bytes[at] {
            quote @ (b'"' | b'\'') => quoted_length(&bytes[at..], quote),
            byte if is_word(byte) => bytes[at..].iter().take_while(|byte| is_word(**byte)).count(),
            _ => 1,
        };
    }
    (parts, at)
}

const fn is_word(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || byte == b'_' || !byte.is_ascii()
}

fn quoted_length(bytes: &[u8], quote: u8) -> usize {
    let mut at = 1;
    while at < bytes.len() && bytes[at] != quote {
        at += if bytes[at] == b'\\' { 2 } else { 1 };
    }
    (at + 1).min(bytes.len())
}

fn read_text(path: &Path) -> Result<Option<String>, Error> {
    match fs::read_to_string(path) {
        Ok(text) => Ok(Some(text)),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(None),
        Err(source) => Err(Error::File { path: path.to_owned(), source }),
    }
}

/// Files `NAME.jinja` of a folder that need not be there.
fn additional(folder: &Path) -> Result<BTreeMap<String, PathBuf>, Error> {
    let file = |source| Error::File { path: folder.to_owned(), source };
    let entries = match fs::read_dir(folder) {
        Ok(entries) => entries,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(BTreeMap::new()),
        Err(source) => return Err(file(source)),
    };
    let mut found = BTreeMap::new();
    for entry in entries {
        let path = entry.map_err(file)?.path();
        let name = path.file_stem().and_then(|stem| stem.to_str());
        if let (Some(name), true) = (name, path.extension().is_some_and(|extension| extension == "jinja")) {
            found.insert(name.to_owned(), path.clone());
        }
    }
    Ok(found)
}

/// As Python's `json.dumps` writes it, and not for HTML: no character is escaped that need not be.
fn tojson(state: &State<'_, '_>, value: &Value, ascii: Option<bool>, kwargs: Kwargs) -> Result<Value, Fault> {
    let indent: Option<Value> = kwargs.get("indent")?;
    let separators: Option<Vec<String>> = kwargs.get::<Option<Serde<Vec<String>>>>("separators")?.map(|list| list.0);
    let ascii = kwargs.get::<Option<bool>>("ensure_ascii")?.or(ascii).unwrap_or(false);
    let sorted = kwargs.get::<Option<bool>>("sort_keys")?.unwrap_or(false);
    kwargs.assert_all_used()?;
    let indent = match indent {
        None => None,
        Some(value) if value.is_none() => None,
        Some(value) => Some(match value.as_str() {
            Some(text) => text.to_owned(),
            None => " ".repeat(usize::try_from(value)?.min(64)),
        }),
    };
    let (item, key) = match separators.as_deref() {
        Some([item, key]) => (item.clone(), key.clone()),
        Some(_) => return Err(Fault::new(ErrorKind::InvalidOperation, "tojson: two separators are wanted")),
        None if indent.is_some() => (",".to_owned(), ": ".to_owned()),
        None => (", ".to_owned(), ": ".to_owned()),
    };
    let mut writer = JsonWriter { state, out: String::new(), indent, item, key, ascii, sorted };
    writer.value(value, 0)?;
    Ok(Value::from(writer.out))
}

/// Objects within objects that are written.
const JSON_DEPTH_MAX: usize = 128;

struct JsonWriter<'s, 'a, 'b> {
    state: &'s State<'a, 'b>,
    out: String,
    indent: Option<String>,
    item: String,
    key: String,
    ascii: bool,
    sorted: bool,
}

impl JsonWriter<'_, '_, '_> {
    fn value(&mut self, value: &Value, depth: usize) -> Result<(), Fault> {
        self.state.consume_fuel(1)?;
        if depth > JSON_DEPTH_MAX {
            return Err(Fault::new(ErrorKind::BadSerialization, "tojson: too deep"));
        }
        match value.kind() {
            ValueKind::None => self.out.push_str("null"),
            ValueKind::Bool => self.out.push_str(if value.is_true() { "true" } else { "false" }),
            ValueKind::Number if value.is_integer() => self.out.push_str(&i128::try_from(value.clone())?.to_string()),
            ValueKind::Number => self.out.push_str(&python_float(f64::try_from(value.clone())?)),
            ValueKind::String => self.string(value.as_str().unwrap_or_default())?,
            ValueKind::Seq | ValueKind::Iterable => {
                let mut items = Vec::new();
                for item in value.try_iter()?.checked() {
                    // Before it is held: an iterable of a few bytes can be as long as it likes.
                    self.state.consume_fuel(1)?;
                    items.push((None, item?));
                }
                self.items(('[', ']'), items, depth)?;
            }
            ValueKind::Map => {
                let mut items = Vec::new();
                for key in value.try_iter()?.checked() {
                    self.state.consume_fuel(1)?;
                    let key = key?;
                    let item = value.get_item(&key)?;
                    items.push((Some(key.as_str().map_or_else(|| key.to_string(), str::to_owned)), item));
                }
                if self.sorted {
                    items.sort_by(|a, b| a.0.cmp(&b.0));
                }
                self.items(('{', '}'), items, depth)?;
            }
            kind => {
                return Err(Fault::new(ErrorKind::BadSerialization, format!("tojson: {kind} has no JSON form")));
            }
        }
        Ok(())
    }

    fn items(&mut self, ends: (char, char), items: Vec<(Option<String>, Value)>, depth: usize) -> Result<(), Fault> {
        self.out.push(ends.0);
        let empty = items.is_empty();
        for (index, (key, value)) in items.into_iter().enumerate() {
            if index > 0 {
                self.spend(self.item.len())?;
                self.out.push_str(&self.item);
            }
            self.line(depth + 1)?;
            if let Some(key) = key {
                self.string(&key)?;
                self.spend(self.key.len())?;
                self.out.push_str(&self.key);
            }
            self.value(&value, depth + 1)?;
        }
        if !empty {
            self.line(depth)?;
        }
        self.out.push(ends.1);
        Ok(())
    }

    /// Pays for bytes before they are made: separators and indents are as long as the template says.
    fn spend(&self, bytes: usize) -> Result<(), Fault> {
        self.state.consume_fuel(bytes as u64 / 64)
    }

    fn line(&mut self, depth: usize) -> Result<(), Fault> {
        if let Some(indent) = &self.indent {
            self.spend(indent.len().saturating_mul(depth))?;
            self.out.push('\n');
            (0..depth).for_each(|_| self.out.push_str(indent));
        }
        Ok(())
    }

    fn string(&mut self, text: &str) -> Result<(), Fault> {
        self.spend(text.len())?;
        self.out.push('"');
        for character in text.chars() {
            match character {
                '"' => self.out.push_str("\\\""),
                '\\' => self.out.push_str("\\\\"),
                '\n' => self.out.push_str("\\n"),
                '\r' => self.out.push_str("\\r"),
                '\t' => self.out.push_str("\\t"),
                '\u{8}' => self.out.push_str("\\b"),
                '\u{c}' => self.out.push_str("\\f"),
                control if control < ' ' => self.out.push_str(&format!("\\u{:04x}", u32::from(control))),
                wide if self.ascii && wide > '~' => {
                    for unit in wide.encode_utf16(&mut [0; 2]) {
                        self.out.push_str(&format!("\\u{unit:04x}"));
                    }
                }
                other => self.out.push(other),
            }
        }
        self.out.push('"');
        Ok(())
    }
}

/// The shortest digits that mean this number, with an exponent where Python writes one.
fn python_float(number: f64) -> String {
    if !number.is_finite() {
        let sign = if number < 0.0 { "-" } else { "" };
        return if number.is_nan() { "NaN".to_owned() } else { format!("{sign}Infinity") };
    }
    let scientific = format!("{number:e}");
    let (digits, exponent) = scientific.split_once('e').unwrap_or((&scientific, "0"));
    let exponent: i32 = exponent.parse().unwrap_or(0);
    if (-4..16).contains(&exponent) {
        let plain = number.to_string();
        return if plain.contains('.') { plain } else { plain + ".0" };
    }
    let sign = if exponent < 0 { '-' } else { '+' };
    format!("{digits}e{sign}{:02}", exponent.abs())
}
