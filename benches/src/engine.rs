//! The engine's figures on the CPU: prefill and decode of a model's shape with none, one and eight adapters in use.
//!
//! By itself it measures Loam alone, on random weights. With `--cases -` it answers one case a line, so that a script can
//! take turns between Loam and its peers; see `benches/peers`.

use std::io::{BufRead as _, Write as _};
use std::num::NonZero;
use std::path::PathBuf;
use std::sync::mpsc;
use std::time::Instant;

use anyhow::{Context as _, ensure};
use loam_engine::adapter::{Expected, Source};
use loam_engine::request::{AdapterUse, Generate, Prompt};
use loam_engine::{Engine, Event, LoadFormat, MemoryRecorder, OpenOptions};
use serde_json::{Value, json};

use crate::results::Figure;

/// What `loam-bench engine` takes.
#[derive(clap::Args)]
pub(crate) struct Arguments {
    /// A model's folder. Without one: the shape of Llama-3.2-1B with random weights.
    #[arg(long, value_name = "DIR")]
    model: Option<PathBuf>,
    /// Adapters' folders, or `dummy:SEED:RANK`; without any, eight random ones of rank 16 on all linears.
    #[arg(long = "adapter", value_name = "DIR")]
    adapters: Vec<String>,
    /// Threads that compute.
    #[arg(long, value_name = "N")]
    threads: Option<NonZero<usize>>,
    /// `-`: cases come from standard input, one JSON object a line, and their times go out.
    #[arg(long, value_name = "-")]
    cases: Option<String>,
    /// One round instead of five: for a look, not to be quoted.
    #[arg(long)]
    quick: bool,
}

/// So many adapters are known.
const ADAPTERS: usize = 8;

/// One thing to measure.
#[derive(Clone, Copy, Debug)]
struct Case {
    name: &'static str,
    /// Requests side by side.
    batch: usize,
    prompt_tokens: usize,
    max_tokens: u32,
    /// Adapters in use: 0, 1 for all requests, or one for each of them in turn.
    adapters: usize,
}

const CASES: [Case; 9] = [
    Case { name: "prefill_512_base", batch: 1, prompt_tokens: 512, max_tokens: 1, adapters: 0 },
    Case { name: "prefill_512_one_adapter", batch: 1, prompt_tokens: 512, max_tokens: 1, adapters: 1 },
    Case { name: "prefill_8x64_8_adapters", batch: 8, prompt_tokens: 64, max_tokens: 1, adapters: 8 },
    Case { name: "decode_b1_base", batch: 1, prompt_tokens: 128, max_tokens: 33, adapters: 0 },
    Case { name: "decode_b1_one_adapter", batch: 1, prompt_tokens: 128, max_tokens: 33, adapters: 1 },
    Case { name: "decode_b8_base", batch: 8, prompt_tokens: 64, max_tokens: 33, adapters: 0 },
    Case { name: "decode_b8_one_adapter", batch: 8, prompt_tokens: 64, max_tokens: 33, adapters: 1 },
    Case { name: "decode_b8_8_adapters", batch: 8, prompt_tokens: 64, max_tokens: 33, adapters: 8 },
    Case { name: "decode_b32_8_adapters", batch: 32, prompt_tokens: 64, max_tokens: 17, adapters: 8 },
];

/// What a case took.
struct Took {
    prefill_seconds: f64,
    decode_seconds: f64,
    tokens: Vec<Vec<u32>>,
}

/// A model to measure, and where prompts come from: each has tokens of its own, so that nothing is reused.
struct Bench {
    engine: Engine,
    prompts: u32,
    vocabulary: u32,
}

pub(crate) fn run(arguments: &Arguments) -> anyhow::Result<Vec<Figure>> {
    let mut bench = Bench::open(arguments)?;
    if arguments.cases.is_some() {
        bench.answer_cases()?;
        return Ok(Vec::new());
    }
    let rounds = if arguments.quick { 1 } else { 5 };
    let mut rates = vec![Vec::new(); CASES.len()];
    // A first round warms caches and is not counted; then every case takes its turn in each round.
    for round in 0..=rounds {
        for (case, rates) in CASES.iter().zip(&mut rates) {
            let took = bench.measure(case)?;
            if round > 0 {
                rates.push(rate(case, &took));
            }
        }
    }
    let note = format!("{}, bf16, {rounds} rounds, median", bench.engine.describe());
    let figure = |(case, rates): (&Case, &mut Vec<f64>)| {
        rates.sort_by(f64::total_cmp);
        Figure::new(&format!("cpu_{}_tok_s", case.name), rates[rates.len() / 2], "tokens/s", None, note.clone())
    };
    let mut figures: Vec<Figure> = CASES.iter().zip(&mut rates).map(figure).collect();
    for (one, other) in [
        ("prefill_512_one_adapter", "prefill_512_base"),
        ("decode_b1_one_adapter", "decode_b1_base"),
        ("decode_b8_one_adapter", "decode_b8_base"),
        ("decode_b8_8_adapters", "decode_b8_base"),
    ] {
        let of = |name| CASES.iter().position(|case| case.name == name).map(|at| rates[at][rates[at].len() / 2]);
        let (one_rate, other_rate) = (of(one).context("a case")?, of(other).context("a case")?);
        let name = format!("cpu_{one}_over_base");
        figures.push(Figure::new(&name, other_rate / one_rate, "x", None, "time over time without adapters"));
    }
    bench.engine.stop()?;
    Ok(figures)
}

/// Tokens a second: of prompts where a case has one token to say, else of answers.
#[expect(clippy::cast_precision_loss, reason = "counts here are far below 2^52")]
fn rate(case: &Case, took: &Took) -> f64 {
    if case.max_tokens == 1 {
        (case.batch * case.prompt_tokens) as f64 / took.prefill_seconds
    } else {
        (case.batch * (case.max_tokens as usize - 1)) as f64 / took.decode_seconds
    }
}

impl Bench {
    fn open(arguments: &Arguments) -> anyhow::Result<Self> {
        let shape = tempfile::tempdir()?;
        let folder = match &arguments.model {
            Some(folder) => folder.clone(),
            None => {
                std::fs::write(shape.path().join("config.json"), LLAMA_1B)?;
                shape.path().to_owned()
            }
        };
        let mut options = OpenOptions::new(&folder);
        options.threads = arguments.threads;
        options.positions_max = Some(4096);
        if arguments.model.is_none() {
            options.load_format = LoadFormat::Dummy { seed: 1 };
        }
        let engine = Engine::open(&options, Box::new(MemoryRecorder::default()), &mut |_| {})?;
        let dummies = (0..ADAPTERS).map(|seed| format!("dummy:{seed}:16")).collect();
        let sources = if arguments.adapters.is_empty() { dummies } else { arguments.adapters.clone() };
        ensure!(sources.len() >= ADAPTERS, "{ADAPTERS} adapters are needed: give as many --adapter, or none");
        for (number, source) in sources.iter().enumerate() {
            engine.load_adapter(&number.to_string(), &Source::parse(source)?, Expected::Anything)?;
        }
        let vocabulary = u32::try_from(engine.limits().step.vocabulary)?;
        Ok(Self { engine, prompts: 0, vocabulary })
    }

    /// Reads a case a line and writes what it took, until the input ends.
    fn answer_cases(&mut self) -> anyhow::Result<()> {
        let mut out = std::io::stdout().lock();
        writeln!(out, "{}", json!({"ready": self.engine.describe()}))?;
        out.flush()?;
        for line in std::io::stdin().lock().lines() {
            let line: Value = serde_json::from_str(&line?)?;
            let number = |field: &str| {
                let value = line[field].as_u64().with_context(|| format!("a case has a number `{field}`"))?;
                Ok::<_, anyhow::Error>(usize::try_from(value)?)
            };
            let case = Case {
                name: "given",
                batch: number("batch")?,
                prompt_tokens: number("prompt_tokens")?,
                max_tokens: u32::try_from(number("max_tokens")?)?,
                adapters: number("adapters")?,
            };
            if let Some(seed) = line["seed"].as_u64() {
                self.prompts = u32::try_from(seed)?;
            }
            let took = self.measure(&case)?;
            writeln!(
                out,
                "{}",
                json!({
                    "prefill_s": took.prefill_seconds,
                    "decode_s": took.decode_seconds,
                    "tokens": took.tokens,
                })
            )?;
            out.flush()?;
        }
        Ok(())
    }

    /// Asks for a case's answers at once, and takes the time until all have begun, and from then until all are whole.
    fn measure(&mut self, case: &Case) -> anyhow::Result<Took> {
        let (sender, events) = mpsc::channel();
        let requests: Vec<Generate> = (0..case.batch).map(|number| self.request(case, number)).collect();
        let began = Instant::now();
        for (number, request) in requests.into_iter().enumerate() {
            let sender = sender.clone();
            self.engine.submit(request, Box::new(move |event| sender.send((number, event)).is_ok()))?;
        }
        drop(sender);
        let mut tokens = vec![Vec::new(); case.batch];
        let mut all_began = None;
        for (number, event) in events {
            match event {
                Event::Tokens(event) => tokens[number].extend(event.tokens.iter().map(|token| token.chosen.token)),
                Event::Failed(failure) => anyhow::bail!(failure),
                _ => {}
            }
            if all_began.is_none() && tokens.iter().all(|tokens| !tokens.is_empty()) {
                all_began = Some((Instant::now(), tokens.iter().map(Vec::len).sum::<usize>()));
            }
        }
        let (all_began, early) = all_began.context("a request said nothing")?;
        let said: usize = tokens.iter().map(Vec::len).sum();
        // Those that began first have tokens more than one when the last begins: the rate is of what came after.
        let scale = counted(said - case.batch) / counted((said - early).max(1));
        let decode_seconds = all_began.elapsed().as_secs_f64() * scale;
        Ok(Took { prefill_seconds: (all_began - began).as_secs_f64(), decode_seconds, tokens })
    }

    fn request(&mut self, case: &Case, number: usize) -> Generate {
        self.prompts += 1;
        // A number of its own first, so that no two prompts begin alike.
        let token = |at: u32| (self.prompts.wrapping_mul(7919) + at.wrapping_mul(104_729)) % (self.vocabulary - 10) + 5;
        let prompt = (0..u32::try_from(case.prompt_tokens).expect("a short prompt")).map(token).collect();
        let adapter =
            (case.adapters > 0).then(|| AdapterUse { name: (number % case.adapters).to_string(), weight: 1.0 });
        let mut request = Generate {
            prompt: Prompt::Tokens(prompt),
            adapters: adapter.into_iter().collect(),
            max_tokens: Some(case.max_tokens),
            ignore_eos: true,
            ..Generate::default()
        };
        request.sampling.temperature = Some(0.0);
        request
    }
}

#[expect(clippy::cast_precision_loss, reason = "counts here are far below 2^52")]
pub(crate) fn counted(count: usize) -> f64 {
    count as f64
}

/// The shape of Llama-3.2-1B.
pub(crate) const LLAMA_1B: &str = r#"{
    "architectures": ["LlamaForCausalLM"], "model_type": "llama", "hidden_size": 2048, "intermediate_size": 8192,
    "num_hidden_layers": 16, "num_attention_heads": 32, "num_key_value_heads": 8, "head_dim": 64, "vocab_size": 128256,
    "max_position_embeddings": 131072, "rms_norm_eps": 1e-05, "hidden_act": "silu", "rope_theta": 500000.0,
    "rope_scaling": {"rope_type": "llama3", "factor": 32.0, "low_freq_factor": 1.0, "high_freq_factor": 4.0,
        "original_max_position_embeddings": 8192},
    "tie_word_embeddings": true, "bos_token_id": 128000, "eos_token_id": 128001, "torch_dtype": "bfloat16"
}"#;
