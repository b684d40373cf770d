//! Engines over the golden models, and what comes of a request, to the bit.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use loam_engine::adapter::{Expected, Source};
use loam_engine::recorder::Recorder;
use loam_engine::request::{AdapterUse, Generate, Prompt};
use loam_engine::{DType, Engine, Event, Failure, Finished, MemoryRecorder, OpenOptions, Stream};
use loam_ledger_core::row::Finish;
use serde_json::Value;

/// The folder of reference cases. Whoever runs this says where the crate lies, as cargo does: it may have been carried to
/// another machine.
pub(crate) fn golden() -> PathBuf {
    let here = std::env::var_os("CARGO_MANIFEST_DIR").unwrap_or_else(|| env!("CARGO_MANIFEST_DIR").into());
    Path::new(&here).join("testdata/golden")
}

/// All reference cases.
pub(crate) fn cases() -> Value {
    let path = golden().join("golden.json");
    serde_json::from_slice(&std::fs::read(path).expect("the golden cases are committed")).expect("they are JSON")
}

/// Options for a golden model, small enough to open many engines.
pub(crate) fn options(model: &str) -> OpenOptions {
    let mut options = OpenOptions::new(&golden().join(model).join("base"));
    options.dtype = DType::F32;
    options.kv_bytes = Some(64 << 20);
    options.threads = std::num::NonZero::new(2);
    options
}

/// The adapters that each golden model has.
pub(crate) const ADAPTERS: [&str; 5] = ["qv-r8", "all-r16", "rslora-r4", "patterns", "last-layer"];

/// How an engine is opened, on whichever device, with all of a model's adapters under their names.
pub(crate) type Open = fn(&OpenOptions) -> Engine;

/// The same on the CPU.
pub(crate) fn open(options: &OpenOptions) -> Engine {
    open_recorded(options, Box::new(MemoryRecorder::default()))
}

/// And under a recorder.
pub(crate) fn open_recorded(options: &OpenOptions, recorder: Box<dyn Recorder>) -> Engine {
    with_adapters(options, Engine::open(options, recorder, &mut |_| {}).unwrap())
}

/// The same engine, with all of its model's adapters under their names.
pub(crate) fn with_adapters(options: &OpenOptions, engine: Engine) -> Engine {
    let adapters = options.model.parent().unwrap().join("adapters");
    for name in ADAPTERS {
        engine.load_adapter(name, &Source::Folder(adapters.join(name)), Expected::Anything).unwrap();
    }
    engine
}

/// A greedy request of token ids.
pub(crate) fn request(prompt: &[u32], adapters: &[(&str, f64)], max_tokens: u32) -> Generate {
    let mut request = Generate {
        prompt: Prompt::Tokens(prompt.to_vec()),
        adapters: adapters
            .iter()
            .map(|(name, weight)| AdapterUse { name: (*name).to_owned(), weight: *weight })
            .collect(),
        max_tokens: Some(max_tokens),
        ignore_eos: true,
        logits: true,
        logprobs: Some(2),
        ..Generate::default()
    };
    request.sampling.temperature = Some(0.0);
    request
}

/// Some token ids that follow from a seed.
pub(crate) fn prompt(seed: u64, tokens: usize) -> Vec<u32> {
    let mut state = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) + 1;
    let mut next = || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        (state % 500) as u32 + 5
    };
    (0..tokens).map(|_| next()).collect()
}

/// One answer, as far as it came.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct Answer {
    pub(crate) tokens: Vec<u32>,
    /// Bits of each token's log-probability, and of the most probable ones'.
    pub(crate) bits: Vec<Vec<u32>>,
    pub(crate) text: String,
    pub(crate) finish: Option<Finish>,
    pub(crate) reused: u64,
    pub(crate) recomputed: u64,
}

/// A request's answers, by choice, and what was said of its prompt.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct Said {
    pub(crate) answers: BTreeMap<u32, Answer>,
    pub(crate) logits: Vec<f32>,
    pub(crate) prompt_logprobs: Vec<f32>,
    pub(crate) failure: Option<String>,
}

/// Tokens of each choice, bits of each of their log-probabilities, bits of the logits after the prompt.
pub(crate) type Invariant = (Vec<Vec<u32>>, Vec<Vec<Vec<u32>>>, Vec<u32>);

impl Said {
    /// What must not depend on who else is there, or on how the work is divided.
    pub(crate) fn invariant(&self) -> Invariant {
        let tokens = self.answers.values().map(|answer| answer.tokens.clone()).collect();
        let bits = self.answers.values().map(|answer| answer.bits.clone()).collect();
        (tokens, bits, self.logits.iter().map(|logit| logit.to_bits()).collect())
    }

    /// The only answer.
    pub(crate) fn one(&self) -> &Answer {
        assert_eq!(self.failure, None);
        assert_eq!(self.answers.len(), 1);
        &self.answers[&0]
    }
}

/// Waits for all that a request says.
pub(crate) fn heard(stream: Stream) -> Said {
    let mut said = Said::default();
    for event in stream {
        take(&mut said, event);
    }
    said
}

/// Adds one message to what was said.
pub(crate) fn take(said: &mut Said, event: Event) {
    match event {
        Event::Started(_) => {}
        Event::Prompt(scores) => {
            said.prompt_logprobs = scores.tokens.iter().map(|it| it.chosen.log_probability).collect();
            said.logits = scores.logits.unwrap_or_default();
        }
        Event::Tokens(tokens) => {
            let answer = said.answers.entry(tokens.choice).or_default();
            answer.text += &tokens.text;
            for sampled in tokens.tokens {
                answer.tokens.push(sampled.chosen.token);
                let top = sampled.top.iter().flat_map(|(token, value)| [*token, value.to_bits()]);
                answer.bits.push([sampled.chosen.log_probability.to_bits()].into_iter().chain(top).collect());
            }
        }
        Event::Finished(Finished { choice, finish, tokens, .. }) => {
            let answer = said.answers.entry(choice).or_default();
            (answer.finish, answer.reused, answer.recomputed) = (Some(finish), tokens.reused, tokens.recomputed);
        }
        Event::Failed(failure) => said.failure = Some(told(&failure)),
    }
}

fn told(failure: &Failure) -> String {
    failure.to_string()
}

/// Asks for everything at once, and waits for all of it.
pub(crate) fn all(engine: &Engine, requests: Vec<Generate>) -> Vec<Said> {
    let streams: Vec<Stream> = requests.into_iter().map(|request| engine.generate(request).unwrap()).collect();
    streams.into_iter().map(heard).collect()
}
