//! `adapter_config.json`, read strictly: every field is applied, known to change nothing, or refused by its name.

use std::path::{Path, PathBuf};

use super::json::Json;
use super::pattern::{Ending, LayerOf};
use super::targets::Names;
use crate::error::Error;

/// What PEFT calls the file.
pub const CONFIG_FILE: &str = "adapter_config.json";

/// Bytes of the file.
pub const CONFIG_BYTES_MAX: u64 = 1 << 20;

/// Keys of `rank_pattern` or `alpha_pattern`.
const KEYS_MAX: usize = 4096;

/// Those of them that are more than names.
const PATTERNS_MAX: usize = 256;

/// A LoRA's configuration: which linears it adds to, at which ranks, and how much.
#[derive(Clone, Debug)]
pub struct PeftConfig {
    pub(super) path: PathBuf,
    pub(super) rank: u32,
    pub(super) alpha: f64,
    pub(super) rank_stabilised: bool,
    pub(super) targets: Names,
    pub(super) excluded: Option<Names>,
    pub(super) ranks: Vec<(Ending, u32)>,
    pub(super) alphas: Vec<(Ending, f64)>,
    pub(super) layers: Option<Layers>,
}

/// `layers_to_transform`, with the ways to find a module's layer.
#[derive(Clone, Debug)]
pub(super) struct Layers {
    pub(super) wanted: Vec<i128>,
    pub(super) patterns: Vec<LayerOf>,
}

/// Fields that say how an adapter was made or where it came from, and change nothing that it computes.
const WITHOUT_EFFECT: &[&str] = &[
    "auto_mapping",
    "base_model_name_or_path",
    "corda_config",
    "eva_config",
    "inference_mode",
    "loftq_config",
    "lora_dropout",
    "lora_ga_config",
    "megatron_core",
    "peft_version",
    "qalora_group_size",
    "revision",
    "runtime_config",
];

/// Fields that are applied.
const APPLIED: &[&str] = &[
    "alpha_pattern",
    "exclude_modules",
    "layers_pattern",
    "layers_to_transform",
    "lora_alpha",
    "r",
    "rank_pattern",
    "target_modules",
    "use_rslora",
];

/// Ways to begin an adapter that leave the base as it is. Others move a part of the base's weights into the adapter, so
/// that the adapter is only right together with a base that nobody saved.
const INITIALISERS: &[&str] = &["gaussian", "eva", "orthogonal", "mica"];

impl PeftConfig {
    /// Reads the file of a folder.
    pub fn read(folder: &Path) -> Result<Self, Error> {
        let path = folder.join(CONFIG_FILE);
        let bytes = std::fs::read(&path).map_err(|source| Error::File { path: path.clone(), source })?;
        Self::parse(&path, &bytes)
    }

    /// Reads the file's bytes; `path` is what errors call it.
    pub fn parse(path: &Path, bytes: &[u8]) -> Result<Self, Error> {
        let Json::Map(pairs) = Json::parse(path, bytes)? else {
            return Err(Error::Malformed { path: path.to_owned(), reason: "it is not a JSON object".to_owned() });
        };
        let fields = Fields { path, pairs };
        fields.refuse_what_is_not_computed()?;
        let targets = fields.targets()?;
        let layers = fields.layers(&targets)?;
        Ok(Self {
            path: path.to_owned(),
            // PEFT's own defaults.
            rank: fields.written("r").map_or(Ok(8), |value| fields.rank("r", value))?,
            alpha: fields.written("lora_alpha").map_or(Ok(8.0), |value| fields.alpha("lora_alpha", value))?,
            rank_stabilised: fields.switch("use_rslora")?,
            excluded: fields.names("exclude_modules")?,
            ranks: fields.by_pattern("rank_pattern", Fields::rank)?,
            alphas: fields.by_pattern("alpha_pattern", Fields::alpha)?,
            targets,
            layers,
        })
    }

    pub(super) fn refuse(&self, field: &str, found: impl Into<String>, allowed: impl Into<String>) -> Error {
        refuse(&self.path, field, found, allowed)
    }
}

fn refuse(path: &Path, field: &str, found: impl Into<String>, allowed: impl Into<String>) -> Error {
    Error::Field { path: path.to_owned(), field: field.to_owned(), found: found.into(), allowed: allowed.into() }
}

struct Fields<'a> {
    path: &'a Path,
    pairs: Vec<(String, Json)>,
}

impl Fields<'_> {
    fn written(&self, field: &str) -> Option<&Json> {
        self.pairs.iter().find(|(key, _)| key == field).map(|(_, value)| value)
    }

    /// A field that is there and not null.
    fn found(&self, field: &str) -> Option<&Json> {
        self.written(field).filter(|value| **value != Json::Null)
    }

    fn refuse(&self, field: &str, found: impl Into<String>, allowed: impl Into<String>) -> Error {
        refuse(self.path, field, found, allowed)
    }

    fn refuse_what_is_not_computed(&self) -> Result<(), Error> {
        match self.found("peft_type") {
            Some(Json::Text(kind)) if kind == "LORA" => {}
            found => {
                let found = found.map_or("missing".to_owned(), Json::to_string);
                return Err(self.refuse("peft_type", found, "\"LORA\""));
            }
        }
        for (field, value) in &self.pairs {
            let field = field.as_str();
            let (fine, allowed) = match field {
                "peft_type" => (true, ""),
                "bias" => (value.is_blank() || value.text() == Some("none"), "\"none\""),
                "task_type" => (value.is_blank() || value.text() == Some("CAUSAL_LM"), "\"CAUSAL_LM\" or null"),
                "init_lora_weights" => (
                    begins_beside_the_base(value),
                    "true, false, \"gaussian\", \"eva\", \"orthogonal\" or \"mica\": others change the base's weights too",
                ),
                // An empty list would switch it on.
                "alora_invocation_tokens" => (*value == Json::Null, "null"),
                _ if APPLIED.contains(&field) || WITHOUT_EFFECT.contains(&field) => (true, ""),
                // All that is known and not computed, and all that is not known: fine as long as it is not used.
                _ => (value.is_blank(), "null, false, 0 or empty: this engine does not compute it"),
            };
            if !fine {
                return Err(self.refuse(field, value.to_string(), allowed));
            }
        }
        Ok(())
    }

    fn switch(&self, field: &str) -> Result<bool, Error> {
        match self.found(field) {
            None => Ok(false),
            Some(Json::Bool(value)) => Ok(*value),
            Some(found) => Err(self.refuse(field, found.to_string(), "true or false")),
        }
    }

    fn rank(&self, field: &str, value: &Json) -> Result<u32, Error> {
        let rank = if let Json::Whole(rank) = value { u32::try_from(*rank).ok() } else { None };
        let rank = rank.filter(|rank| *rank > 0);
        rank.ok_or_else(|| self.refuse(field, value.to_string(), "a whole number from 1"))
    }

    fn alpha(&self, field: &str, value: &Json) -> Result<f64, Error> {
        let alpha = value.number().filter(|alpha| alpha.is_finite());
        alpha.ok_or_else(|| self.refuse(field, value.to_string(), "a number"))
    }

    fn by_pattern<T>(
        &self,
        field: &str,
        read: impl Fn(&Self, &str, &Json) -> Result<T, Error>,
    ) -> Result<Vec<(Ending, T)>, Error> {
        let pairs = match self.found(field) {
            None => return Ok(Vec::new()),
            Some(Json::Map(pairs)) if pairs.len() <= KEYS_MAX => pairs,
            Some(found) => {
                let allowed = format!("an object of {KEYS_MAX} keys or fewer");
                return Err(self.refuse(field, found.to_string(), allowed));
            }
        };
        let mut endings = Vec::with_capacity(pairs.len());
        let mut patterns = 0;
        for (key, value) in pairs {
            let ending = Ending::new(key).map_err(|reason| {
                let key = Json::Text(key.clone());
                self.refuse(field, format!("keyed {key}"), format!("keyed by patterns; {reason}"))
            })?;
            patterns += usize::from(ending.is_pattern());
            if patterns > PATTERNS_MAX {
                let allowed = format!("keyed by names, and by {PATTERNS_MAX} patterns or fewer");
                return Err(self.refuse(field, "keyed by more patterns than that", allowed));
            }
            endings.push((ending, read(self, field, value)?));
        }
        Ok(endings)
    }

    fn names(&self, field: &str) -> Result<Option<Names>, Error> {
        let Some(value) = self.found(field).filter(|value| !value.is_blank()) else { return Ok(None) };
        let names = match (value, value.texts()) {
            (Json::Text(pattern), _) => {
                let why = |reason: String| self.refuse(field, value.to_string(), format!("a pattern; {reason}"));
                Names::pattern(pattern).map_err(why)?
            }
            (_, Some(names)) => Names::listed(names),
            _ => return Err(self.refuse(field, value.to_string(), "a list of names, or a pattern")),
        };
        Ok(Some(names))
    }

    fn targets(&self) -> Result<Names, Error> {
        const FIELD: &str = "target_modules";
        match self.found(FIELD) {
            Some(Json::Text(text)) if text.eq_ignore_ascii_case("all-linear") => Ok(Names::AllLinear),
            found => {
                let allowed = "a list of names, a pattern, or \"all-linear\"";
                let found = found.map_or("missing".to_owned(), Json::to_string);
                self.names(FIELD)?.ok_or_else(|| self.refuse(FIELD, found, allowed))
            }
        }
    }

    fn layers(&self, targets: &Names) -> Result<Option<Layers>, Error> {
        const FIELD: &str = "layers_to_transform";
        const PATTERN: &str = "layers_pattern";
        let patterns = match self.found(PATTERN).filter(|value| !value.is_blank()) {
            None => Vec::new(),
            Some(Json::Text(pattern)) => vec![pattern.as_str()],
            Some(found) => {
                let allowed = || self.refuse(PATTERN, found.to_string(), "a name or a list of names");
                found.texts().ok_or_else(allowed)?
            }
        };
        let Some(value) = self.found(FIELD) else {
            return match patterns.first() {
                None => Ok(None),
                Some(_) => Err(self.refuse(PATTERN, "given alone", "null without `layers_to_transform`")),
            };
        };
        if !matches!(targets, Names::Listed(_)) {
            return Err(self.refuse(FIELD, value.to_string(), "null where `target_modules` is a pattern"));
        }
        let whole = |value: &Json| if let Json::Whole(layer) = value { Some(*layer) } else { None };
        let wanted = match value {
            Json::List(layers) => layers.iter().map(whole).collect::<Option<Vec<_>>>(),
            one => whole(one).map(|layer| vec![layer]),
        };
        let wanted =
            wanted.ok_or_else(|| self.refuse(FIELD, value.to_string(), "a layer's number or a list of them"))?;
        let pattern = |pattern: &str| {
            let shown = Json::Text(pattern.to_owned()).to_string();
            LayerOf::new(pattern).map_err(|reason| self.refuse(PATTERN, shown, format!("a pattern; {reason}")))
        };
        let patterns = patterns.into_iter().map(pattern).collect::<Result<Vec<_>, _>>()?;
        // An empty list chooses all, as if it were not there.
        Ok((!wanted.is_empty()).then_some(Layers { wanted, patterns }))
    }
}

fn begins_beside_the_base(value: &Json) -> bool {
    match value {
        Json::Null | Json::Bool(_) => true,
        Json::Text(name) => INITIALISERS.contains(&name.to_ascii_lowercase().as_str()),
        _ => false,
    }
}
