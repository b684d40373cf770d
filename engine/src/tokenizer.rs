//! Text to token ids and back, as the model's `tokenizer.json` says.

use std::fmt;
use std::fs;
use std::path::{Path, PathBuf};

use serde_json::Value;

use crate::detokenizer::{Decoding, Detokenizer, Join, Rule, Strip, bytes_of, fallback_byte};
use crate::error::Error;
use crate::token_bytes::token_bytes_max;

/// A model's tokenizer. Models without one are served token ids only.
pub struct Tokenizer {
    inner: tokenizers::Tokenizer,
    pieces: Vec<Option<Piece>>,
    decoding: Decoding,
    special: Vec<(String, String)>,
    token_bytes_max: Option<usize>,
}

/// A token of the vocabulary.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Piece {
    /// As the vocabulary spells it.
    pub(crate) text: String,
    /// Whether it was added to the vocabulary beside what the model of the tokenizer has.
    pub(crate) added: bool,
    /// Whether it leaves no text.
    pub(crate) special: bool,
}

/// Token ids that a vocabulary can have.
const VOCABULARY_MAX: u32 = 4 << 20;

impl Tokenizer {
    /// Reads a model folder's tokenizer, if it has one.
    pub fn read(folder: &Path) -> Result<Option<Self>, Error> {
        let path = folder.join("tokenizer.json");
        let bytes = match fs::read(&path) {
            Ok(bytes) => bytes,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(None),
            Err(source) => return Err(Error::File { path, source }),
        };
        let mut tokenizer = Self::from_bytes(&path, &bytes)?;
        tokenizer.special = read_special_tokens(folder)?;
        Ok(Some(tokenizer))
    }

    /// Reads the bytes of a `tokenizer.json`; `path` names them in errors.
    pub fn from_bytes(path: &Path, bytes: &[u8]) -> Result<Self, Error> {
        let malformed = |reason: String| Error::Malformed { path: path.to_owned(), reason };
        let mut inner = tokenizers::Tokenizer::from_bytes(bytes).map_err(|error| malformed(error.to_string()))?;
        // A prompt is never cut or filled up unseen.
        inner.with_truncation(None).map_err(|error| malformed(error.to_string()))?.with_padding(None);
        let added = inner.get_added_tokens_decoder();
        let last = inner.get_vocab(true).into_values().max();
        let size = match last {
            None => 0,
            Some(id) if id < VOCABULARY_MAX => id + 1,
            Some(id) => return Err(malformed(format!("a token has the id {id}; ids end before {VOCABULARY_MAX}"))),
        };
        let vocabulary = inner.get_added_vocabulary();
        let piece = |id| {
            let text = vocabulary.simple_id_to_token(id).or_else(|| inner.id_to_token(id))?;
            let special = vocabulary.is_special_token(&text);
            Some(Piece { text, added: added.contains_key(&id), special })
        };
        let pieces = (0..size).map(piece).collect();
        let decoder = inner.get_decoder().map(serde_json::to_value).transpose();
        let decoding = decoding(decoder.map_err(|error| malformed(error.to_string()))?.as_ref());
        let token_bytes_max = token_bytes_max(&serde_json::from_slice(bytes).unwrap_or_default());
        Ok(Self { inner, pieces, decoding, special: Vec::new(), token_bytes_max })
    }

    /// Token ids of a text; with `add_special`, with what the tokenizer puts around a text.
    pub fn encode(&self, text: &str, add_special: bool) -> Result<Vec<u32>, Error> {
        match self.inner.encode_fast(text, add_special) {
            Ok(encoding) => Ok(encoding.get_ids().to_vec()),
            Err(error) => Err(Error::Tokenizer { reason: error.to_string() }),
        }
    }

    /// As many tokens as a text of so many bytes has at the least; 0 where nothing can be said without reading it.
    pub fn tokens_min(&self, text_bytes: usize) -> usize {
        self.token_bytes_max.map_or(0, |most| text_bytes.div_ceil(most))
    }

    /// The text of tokens; ids that the vocabulary does not have leave none.
    pub fn decode(self: &std::sync::Arc<Self>, tokens: &[u32], skip_special: bool) -> String {
        let mut detokenizer = Detokenizer::new(std::sync::Arc::clone(self), skip_special);
        let mut text: String = tokens.iter().map(|token| detokenizer.push(*token)).collect();
        text += &detokenizer.finish();
        text
    }

    /// One more than the greatest token id. A model's embedding can have more rows.
    pub fn vocabulary(&self) -> usize {
        self.pieces.len()
    }

    /// A token's id, as the vocabulary spells it.
    pub fn id_of(&self, token: &str) -> Option<u32> {
        self.inner.token_to_id(token)
    }

    /// A token as the vocabulary spells it.
    pub fn token(&self, id: u32) -> Option<&str> {
        self.piece(id).map(|piece| piece.text.as_str())
    }

    /// Whether a token leaves no text.
    pub fn is_special(&self, id: u32) -> bool {
        self.piece(id).is_some_and(|piece| piece.special)
    }

    /// Bytes that a token adds to a text, whatever stands before it; none for ids that the vocabulary does not have.
    pub fn bytes(&self, id: u32) -> Vec<u8> {
        let Some(piece) = self.piece(id) else { return Vec::new() };
        let Decoding::Chain { rules, join, .. } = &self.decoding else { return piece.text.as_bytes().to_vec() };
        if piece.added {
            return piece.text.as_bytes().to_vec();
        }
        if *join == Join::Bytes {
            return bytes_of(&piece.text);
        }
        if rules.contains(&Rule::ByteFallback)
            && let Some(byte) = fallback_byte(&piece.text)
        {
            return vec![byte];
        }
        let spaced = |text: String, rule: &Rule| match rule {
            Rule::Replace { from, to } => text.replace(from.as_str(), to),
            Rule::Metaspace { mark, .. } => text.replace(*mark, " "),
            _ => text,
        };
        rules.iter().fold(piece.text.clone(), spaced).into_bytes()
    }

    /// A special token's text by name, as `bos_token` or `eos_token`.
    pub fn special(&self, name: &str) -> Option<&str> {
        self.special.iter().find(|(key, _)| key == name).map(|(_, token)| token.as_str())
    }

    /// All special tokens that have a name: name and text.
    pub fn specials(&self) -> &[(String, String)] {
        &self.special
    }

    /// The id of a special token by name.
    pub fn special_id(&self, name: &str) -> Option<u32> {
        self.id_of(self.special(name)?)
    }

    /// The token that texts begin with.
    pub fn bos(&self) -> Option<u32> {
        self.special_id("bos_token")
    }

    /// The token that texts end with.
    pub fn eos(&self) -> Option<u32> {
        self.special_id("eos_token")
    }

    pub(crate) fn piece(&self, id: u32) -> Option<&Piece> {
        self.pieces.get(id as usize)?.as_ref()
    }

    pub(crate) const fn decoding(&self) -> &Decoding {
        &self.decoding
    }

    pub(crate) fn decode_whole(&self, tokens: &[u32], skip_special: bool) -> String {
        // Some decoders count back from the last token.
        if tokens.is_empty() { String::new() } else { self.inner.decode(tokens, skip_special).unwrap_or_default() }
    }
}

impl fmt::Debug for Tokenizer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Tokenizer").field("vocabulary", &self.pieces.len()).finish_non_exhaustive()
    }
}

/// A JSON file that need not be there.
pub(crate) fn read_json(path: &PathBuf) -> Result<Option<Value>, Error> {
    match fs::read(path) {
        Ok(bytes) => serde_json::from_slice(&bytes)
            .map(Some)
            .map_err(|error| Error::Json { path: path.clone(), reason: error.to_string() }),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(None),
        Err(source) => Err(Error::File { path: path.clone(), source }),
    }
}

/// A folder's special tokens by name.
pub(crate) fn read_special_tokens(folder: &Path) -> Result<Vec<(String, String)>, Error> {
    let config = read_json(&folder.join("tokenizer_config.json"))?;
    let map = read_json(&folder.join("special_tokens_map.json"))?;
    Ok(special_tokens(&[config.as_ref(), map.as_ref()]))
}

/// Names and texts of special tokens; an earlier file's word holds. A token is a string, or an object with `content`.
fn special_tokens(files: &[Option<&Value>]) -> Vec<(String, String)> {
    let mut found: Vec<(String, String)> = Vec::new();
    for (name, value) in files.iter().flatten().filter_map(|file| file.as_object()).flatten() {
        let text = value.as_str().or_else(|| value.get("content").and_then(Value::as_str));
        if let Some(text) = text
            && name.ends_with("_token")
            && !found.iter().any(|(other, _)| other == name)
        {
            found.push((name.clone(), text.to_owned()));
        }
    }
    found
}

/// What a decoder does, if it can be done token by token.
fn decoding(decoder: Option<&Value>) -> Decoding {
    let Some(decoder) = decoder else {
        return Decoding::Chain { rules: Vec::new(), join: Join::Spaced, strips: Vec::new() };
    };
    let mut parts = Vec::new();
    flatten(decoder, &mut parts);
    let (mut rules, mut join, mut strips, mut joined) = (Vec::new(), Join::Plain, Vec::new(), false);
    for part in parts {
        match (part["type"].as_str(), joined) {
            (Some("Fuse"), _) => joined = true,
            (Some("ByteLevel"), false) => (join, joined) = (Join::Bytes, true),
            (Some("Strip"), _) => match strip(part) {
                Some(strip) if joined => strips.push(strip),
                Some(strip) => rules.push(Rule::Strip(strip)),
                None => return Decoding::Whole,
            },
            (Some(_), false) => match rule(part) {
                Some(rule) => rules.push(rule),
                None => return Decoding::Whole,
            },
            _ => return Decoding::Whole,
        }
    }
    Decoding::Chain { rules, join, strips }
}

fn flatten<'d>(decoder: &'d Value, parts: &mut Vec<&'d Value>) {
    match decoder["decoders"].as_array() {
        Some(inner) if decoder["type"] == "Sequence" => inner.iter().for_each(|decoder| flatten(decoder, parts)),
        _ => parts.push(decoder),
    }
}

fn rule(part: &Value) -> Option<Rule> {
    match part["type"].as_str()? {
        "Replace" => {
            let from = part["pattern"]["String"].as_str().filter(|from| !from.is_empty())?;
            Some(Rule::Replace { from: from.to_owned(), to: part["content"].as_str()?.to_owned() })
        }
        "ByteFallback" => Some(Rule::ByteFallback),
        "Metaspace" => {
            let mark = part["replacement"].as_str()?.chars().next()?;
            Some(Rule::Metaspace { mark, first_loses: part["prepend_scheme"].as_str()? != "never" })
        }
        _ => None,
    }
}

fn strip(part: &Value) -> Option<Strip> {
    let count = |name: &str| part[name].as_u64().and_then(|count| usize::try_from(count).ok());
    let content = part["content"].as_str()?.chars().next()?;
    Some(Strip { content, start: count("start")?, stop: count("stop")? })
}
