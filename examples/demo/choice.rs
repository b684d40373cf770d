//! What is shown: the programs, the model, its adapters, the question.

use std::ffi::OsString;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, bail};
use clap::Parser;

/// The base model's name among those that answer.
pub(crate) const BASE: &str = "base";

/// Where the bundled model and its adapters lie, seen from the top of the repository.
const BUNDLE: &str = "examples/model";

/// Names of adapters with random weights, for models that none were given for.
const DUMMIES: [&str; 3] = ["clay", "sand", "silt"];

/// MiB of keys and values for a few short answers of a small model; they are cleared at the start.
const SMALL_CACHE_MIB: &str = "64";

/// Serves a model, asks it and its adapters the same thing at once, and proves every answer.
#[derive(Parser)]
#[command(name = "loam-demo", version)]
pub(crate) struct Arguments {
    /// A model's folder as Hugging Face has them [default: the bundled one]
    #[arg(long, value_name = "DIR")]
    model: Option<PathBuf>,
    /// An adapter of that model: a name and a PEFT folder; may be repeated [default: the bundled model's own; of any other model, three of random weights]
    #[arg(long = "adapter", value_name = "NAME=DIR", requires = "model")]
    adapters: Vec<String>,
    /// What all are asked
    #[arg(long, value_name = "TEXT", default_value = "What is loam?")]
    question: String,
    /// Tokens of an answer at most
    #[arg(long, value_name = "N", default_value_t = 120)]
    max_tokens: u32,
    /// 0 takes the most probable token, so that every run answers the same
    #[arg(long, value_name = "T", default_value_t = 0.0)]
    temperature: f32,
    /// Options of `loam serve` to add, after `--`
    #[arg(last = true, value_name = "OPTIONS")]
    serve: Vec<String>,
}

/// What `make build` made, found side by side.
pub(crate) struct Programs {
    pub(crate) loam: PathBuf,
    pub(crate) loam_audit: PathBuf,
}

/// What is shown.
pub(crate) struct Choice {
    pub(crate) model: PathBuf,
    /// Names, and where they come from.
    pub(crate) adapters: Vec<(String, String)>,
    /// Whether the adapters have random weights.
    pub(crate) are_dummies: bool,
    pub(crate) question: String,
    pub(crate) max_tokens: u32,
    pub(crate) temperature: f32,
    /// Further options of `loam serve`.
    pub(crate) serve: Vec<String>,
}

impl Programs {
    pub(crate) fn find() -> anyhow::Result<Self> {
        let folder = running::folder_of(&["loam", "loam-audit"])?;
        Ok(Self { loam: folder.join("loam"), loam_audit: folder.join("loam-audit") })
    }
}

impl Choice {
    pub(crate) fn of(arguments: &Arguments) -> anyhow::Result<Self> {
        let mut serve = arguments.serve.clone();
        let (model, adapters, are_dummies) = match &arguments.model {
            Some(model) if arguments.adapters.is_empty() => (model.clone(), dummies(), true),
            Some(model) => {
                (model.clone(), arguments.adapters.iter().map(|text| named(text)).collect::<Result<_, _>>()?, false)
            }
            None => {
                let bundle = bundle()?;
                serve.splice(0..0, ["--kv-cache-mib", SMALL_CACHE_MIB].map(str::to_owned));
                (bundle.join("base"), adapters_in(&bundle.join("adapters"))?, false)
            }
        };
        if !model.join("config.json").is_file() {
            bail!("{} is no model's folder: it has no config.json", model.display());
        }
        let Arguments { question, max_tokens, temperature, .. } = arguments;
        let (question, max_tokens, temperature) = (question.clone(), *max_tokens, *temperature);
        Ok(Self { model, adapters, are_dummies, question, max_tokens, temperature, serve })
    }

    /// What `loam serve` is told, with its ledger in this folder.
    pub(crate) fn serving(&self, folder: &Path) -> Vec<OsString> {
        let mut said: Vec<OsString> = vec![self.model.clone().into(), "--served-model-name".into(), BASE.into()];
        said.extend(["--ledger".into(), folder.join("ledger").into(), "--ledger-reserve-mib".into(), "64".into()]);
        for (name, source) in &self.adapters {
            said.extend(["--lora-modules".into(), format!("{name}={source}").into()]);
        }
        said.extend(self.serve.iter().map(Into::into));
        said
    }

    /// All that answer: the base model first.
    pub(crate) fn names(&self) -> impl Iterator<Item = &str> {
        std::iter::once(BASE).chain(self.adapters.iter().map(|(name, _)| name.as_str()))
    }
}

fn dummies() -> Vec<(String, String)> {
    (1..).zip(DUMMIES).map(|(seed, name)| (name.to_owned(), format!("dummy:{seed}"))).collect()
}

fn named(text: &str) -> anyhow::Result<(String, String)> {
    let parts = text.split_once('=').filter(|(name, source)| !name.is_empty() && !source.is_empty());
    let (name, source) = parts.with_context(|| format!("--adapter {text}: NAME=DIR is expected"))?;
    Ok((name.to_owned(), source.to_owned()))
}

/// The bundled model's folder: of the repository whose .bin/ this program is in, else of this folder.
fn bundle() -> anyhow::Result<PathBuf> {
    let of_repository = running::own_folder().map(|folder| folder.join("..").join(BUNDLE));
    let mut places = of_repository.into_iter().chain([PathBuf::from(BUNDLE)]);
    let found = places.find(|place| place.join("base").is_dir());
    let found = found
        .with_context(|| format!("the bundled model is not in {BUNDLE}; say --model DIR (make demo MODEL=DIR)"))?;
    Ok(found.canonicalize()?)
}

fn adapters_in(folder: &Path) -> anyhow::Result<Vec<(String, String)>> {
    let place = || folder.display().to_string();
    let mut found = Vec::new();
    for entry in std::fs::read_dir(folder).with_context(place)? {
        let path = entry.with_context(place)?.path();
        if path.join("adapter_config.json").is_file() {
            let name = path.file_name().expect("what a folder lists has a name").to_string_lossy().into_owned();
            found.push((name, path.display().to_string()));
        }
    }
    found.sort();
    Ok(found)
}
