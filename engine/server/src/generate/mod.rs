//! `loam generate`: one engine, some requests, their answers; no server, and a ledger only where one is named.

mod lines;
mod person;

use std::num::NonZero;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::Arc;

use anyhow::{Context as _, bail};
use clap::{Args, ValueEnum};
use loam_engine::adapter::{Expected, Source};
use loam_engine::json::Json;
use loam_engine::model::Residence;
use loam_engine::recorder::Recorder;
use loam_engine::request::{AdapterUse, ChatPrompt, Generate, Prompt};
use loam_engine::{Arithmetic, DType, DeviceChoice, Engine, LoadFormat, MemoryRecorder, NoDevice, OpenOptions};
use loam_ledger::{Folder, Ledger, Options};
use loam_ledger_core::hash::digest;

use crate::flags::of_flags;
use crate::kept;
use crate::progress::Bar;

/// What `loam generate` takes.
#[derive(Args)]
pub(crate) struct Arguments {
    #[command(flatten)]
    model: ModelArguments,
    /// An adapter: a PEFT folder under a name to ask for it by, or `dummy:SEED` for one of random weights. A request
    /// that is given on the command line uses all of them, at weight 1.
    #[arg(long = "adapter", value_name = "NAME=DIR", value_parser = named)]
    adapters: Vec<(String, String)>,
    #[command(flatten)]
    prompt: PromptArguments,
    /// Tokens to answer with at most; up to the model's length where absent.
    #[arg(long, value_name = "N", allow_negative_numbers = true, conflicts_with = "requests")]
    max_tokens: Option<u32>,
    /// 0 takes the most probable token; the model's own default where absent.
    #[arg(long, value_name = "T", allow_negative_numbers = true, conflicts_with = "requests")]
    temperature: Option<f32>,
    /// The same seed gives the same answer.
    #[arg(long, value_name = "S", conflicts_with = "requests")]
    seed: Option<u64>,
    /// Keep the record in this ledger, made where it is not there yet, so that answers have receipts; without it nothing
    /// is kept.
    #[arg(long, value_name = "DIR")]
    ledger: Option<PathBuf>,
    /// One JSON line for each answer, instead of text.
    #[arg(long)]
    json: bool,
}

/// Which model, and on what.
#[derive(Args)]
pub(crate) struct ModelArguments {
    /// A folder as Hugging Face has them: config.json, safetensors, tokenizer.json.
    #[arg(long, value_name = "DIR")]
    model: PathBuf,
    /// What computes: auto (a GPU where the build and the machine have one), cpu, cuda or cuda:N.
    #[arg(long, value_name = "D", default_value = "auto", value_parser = device)]
    device: DeviceChoice,
    /// On a GPU: what is fastest, or a request's same bits alone and in a crowd; the processor's always are.
    #[arg(long, value_name = "A", value_enum, default_value_t = Bits::Fast)]
    arithmetic: Bits,
    /// What activations, keys and values are kept as.
    #[arg(long, value_name = "TYPE", value_enum, default_value_t = Type::Bf16)]
    dtype: Type,
    /// Where the weights come from: the folder's files, or random ones of the same shape.
    #[arg(long, value_name = "FORMAT", value_enum, default_value_t = Format::Auto)]
    load_format: Format,
    /// Whether weights are copied to memory, which is faster once they are there, or read where their files are mapped.
    #[arg(long, value_name = "WHERE", value_enum, default_value_t = Where::Copied)]
    weights: Where,
    /// Threads that compute; as many as the processor runs at once where absent.
    #[arg(long, value_name = "N")]
    threads: Option<NonZero<usize>>,
    /// Positions of the longest request; the model's own where absent.
    #[arg(long, value_name = "N")]
    max_model_len: Option<usize>,
    /// Adapters that one step can use.
    #[arg(long, value_name = "N", default_value_t = 32)]
    max_loras: usize,
    /// MiB for keys and values.
    #[arg(long, value_name = "MIB")]
    kv_cache_mib: Option<usize>,
    /// Rows that one step computes at most.
    #[arg(long, value_name = "N")]
    max_num_batched_tokens: Option<usize>,
}

/// What is asked.
#[derive(Args)]
#[group(required = true, multiple = false)]
struct PromptArguments {
    /// Text to go on from.
    #[arg(long, value_name = "TEXT")]
    prompt: Option<String>,
    /// A file of messages, as JSON: [{"role": "user", "content": "..."}], rendered by the model's chat template.
    #[arg(long, value_name = "FILE")]
    chat: Option<PathBuf>,
    /// Token ids to go on from, as 1,2,3.
    #[arg(long, value_name = "IDS", value_delimiter = ',')]
    prompt_tokens: Option<Vec<u32>>,
    /// A file of requests, one JSON object a line, all answered side by side: each says for itself how it is answered,
    /// and which of the adapters it uses.
    #[arg(long, value_name = "FILE.jsonl")]
    requests: Option<PathBuf>,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
enum Bits {
    Fast,
    Deterministic,
}

fn device(text: &str) -> Result<DeviceChoice, String> {
    text.parse().map_err(|NoDevice| format!("it can be {}", DeviceChoice::WORDS))
}

#[derive(Clone, Copy, Debug, ValueEnum)]
enum Where {
    Copied,
    Mapped,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
enum Type {
    F32,
    Bf16,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
enum Format {
    Auto,
    Dummy,
}

pub(crate) fn named(argument: &str) -> Result<(String, String), String> {
    match argument.split_once('=') {
        Some((name, source)) if !name.is_empty() && !source.is_empty() => Ok((name.to_owned(), source.to_owned())),
        _ => Err("write NAME=DIR".to_owned()),
    }
}

pub(crate) fn run(arguments: &Arguments) -> anyhow::Result<ExitCode> {
    // What can be refused without a model is refused before one is loaded.
    let asked = asked(arguments)?;
    let ledger = arguments.ledger.as_deref().map(keep).transpose()?;
    let requests = match &asked {
        Asked::One(_) => 1,
        Asked::Many(requests) => requests.len(),
    };
    let engine = arguments.model.open(ledger.as_ref(), requests)?;
    for (name, source) in &arguments.adapters {
        let source = Source::parse(source).with_context(|| format!("adapter {name}"))?;
        // Read whole at once: an adapter that is refused is named before anything is answered.
        let loaded = engine.load_adapter(name, &source, Expected::Anything);
        loaded.with_context(|| format!("adapter {name}"))?;
    }
    let code = match asked {
        Asked::One(asked) if arguments.json => lines::answer(&engine, vec![*asked])?,
        Asked::One(asked) => person::answer(&engine, asked.request, asked.bytes)?,
        Asked::Many(requests) => lines::answer(&engine, requests)?,
    };
    engine.stop()?;
    ledger.map_or(Ok(()), kept::close)?;
    Ok(code)
}

/// What is asked of the engine.
enum Asked {
    One(Box<lines::Asked>),
    Many(Vec<lines::Asked>),
}

fn asked(arguments: &Arguments) -> anyhow::Result<Asked> {
    let ids = |tokens: &[u32]| tokens.iter().map(u32::to_string).collect::<Vec<_>>().join(",");
    let (prompt, bytes) = match &arguments.prompt {
        PromptArguments { requests: Some(path), .. } => return Ok(Asked::Many(lines::read(path)?)),
        PromptArguments { prompt: Some(text), .. } => (Prompt::Text(text.clone()), text.clone()),
        PromptArguments { chat: Some(path), .. } => {
            let text = std::fs::read_to_string(path).with_context(|| path.display().to_string())?;
            (Prompt::Chat(messages(path, &text)?), text)
        }
        PromptArguments { prompt_tokens: Some(tokens), .. } => (Prompt::Tokens(tokens.clone()), ids(tokens)),
        _ => bail!("say what to answer: --prompt, --chat, --prompt-tokens or --requests"),
    };
    let adapters = arguments.adapters.iter().map(|(name, _)| AdapterUse { name: name.clone(), weight: 1.0 });
    let mut request =
        Generate { prompt, adapters: adapters.collect(), max_tokens: arguments.max_tokens, ..Generate::default() };
    request.sampling.temperature = arguments.temperature;
    request.sampling.seed = arguments.seed;
    Ok(Asked::One(Box::new(lines::Asked { id: "0".to_owned(), request, bytes: bytes.into_bytes().into() })))
}

/// A file of messages: the array itself, or an object with `messages` and, where a template takes them, `tools`.
fn messages(path: &Path, text: &str) -> anyhow::Result<ChatPrompt> {
    let json = Json::parse(text).with_context(|| path.display().to_string())?;
    let field = |name| json.find(name).cloned();
    let messages = match (&json, field("messages")) {
        (_, Some(messages)) => messages,
        (Json::Object(_), None) => bail!("{}: the object has no `messages`", path.display()),
        (_, None) => json.clone(),
    };
    Ok(ChatPrompt { messages, tools: field("tools"), documents: field("documents"), ..ChatPrompt::default() })
}

impl ModelArguments {
    /// Loads the model, showing how far it is to whoever watches.
    pub(crate) fn open(&self, ledger: Option<&Arc<Ledger>>, requests: usize) -> anyhow::Result<Engine> {
        let mut options = OpenOptions::new(&self.model);
        options.device = settled(self.device);
        options.arithmetic = match self.arithmetic {
            Bits::Fast => Arithmetic::Fast,
            Bits::Deterministic => Arithmetic::Deterministic,
        };
        options.dtype = match self.dtype {
            Type::F32 => DType::F32,
            Type::Bf16 => DType::Bf16,
        };
        options.load_format = match self.load_format {
            Format::Auto => LoadFormat::Files,
            Format::Dummy => LoadFormat::Dummy { seed: 0 },
        };
        options.residence = match self.weights {
            Where::Copied => Residence::Copied,
            Where::Mapped => Residence::Mapped,
        };
        // All of a file's lines run side by side, or wait for that.
        options.requests_max = options.requests_max.max(requests);
        options.threads = self.threads;
        options.positions_max = self.max_model_len;
        options.slots = self.max_loras;
        if let Some(mib) = self.kv_cache_mib {
            options.kv_bytes = Some(mib << 20);
        }
        if let Some(rows) = self.max_num_batched_tokens {
            options.step_tokens_max = rows;
        }
        options.digest_cache = digest_cache();
        let mut bar = Bar::new("weights");
        let record = |base| match ledger {
            Some(ledger) => kept::record(ledger, base, digest(format!("{options:?}").as_bytes())),
            None => Ok(Box::new(MemoryRecorder::default()) as Box<dyn Recorder>),
        };
        let engine = Engine::open_recorded(&options, record, &mut |progress| bar.show(progress));
        bar.end();
        Ok(engine.map_err(of_flags)?)
    }
}

/// The device that was chosen; a person hears why it is no GPU.
pub(crate) fn settled(choice: DeviceChoice) -> DeviceChoice {
    let (device, why_no_gpu) = choice.settle();
    if let Some(reason) = why_no_gpu {
        eprintln!("{reason}: the processor computes");
    }
    device
}

/// Where the digests of unchanged files are remembered, among this user's caches; nowhere where the environment does not
/// say where those lie.
pub(crate) fn digest_cache() -> Option<PathBuf> {
    let named = std::env::var_os("XDG_CACHE_HOME").map(PathBuf::from).filter(|path| path.is_absolute());
    let caches = named.or_else(|| Some(PathBuf::from(std::env::var_os("HOME")?).join(".cache")))?;
    Some(caches.join("loam/digests.json"))
}

/// The ledger in a folder, made where there is none.
fn keep(data: &Path) -> anyhow::Result<Arc<Ledger>> {
    kept::open(&Folder::new(data, None), data, None, Options::default())
}
