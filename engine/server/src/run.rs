//! `loam run`: a conversation with a model on this machine, without a server and without a record.

use std::io::{BufRead as _, IsTerminal as _, Read as _, Write as _};
use std::num::NonZero;
use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::{Context as _, bail};
use clap::Args;
use loam_engine::adapter::{Expected, Source};
use loam_engine::json::Json;
use loam_engine::request::{AdapterUse, ChatPrompt, Generate, Prompt};
use loam_engine::{DType, DeviceChoice, Engine, Event, MemoryRecorder, OpenOptions};

use crate::generate::settled;
use crate::progress::Bar;

/// What it takes.
#[derive(Args)]
pub(crate) struct Arguments {
    /// The model: a folder as Hugging Face has them.
    model: PathBuf,
    /// What to ask; without it, a conversation.
    prompt: Option<String>,
    /// An adapter to have at hand: a name and a PEFT folder. The first one answers; `/use NAME` changes that.
    #[arg(long = "adapter", value_name = "NAME=DIR", value_parser = crate::generate::named)]
    adapters: Vec<(String, String)>,
    /// Tokens of an answer at most.
    #[arg(long, value_name = "N", allow_negative_numbers = true, default_value_t = 512)]
    max_tokens: u32,
    /// 0 takes the most probable token; the model's own default where absent.
    #[arg(long, value_name = "T")]
    temperature: Option<f32>,
    /// Threads that compute; as many as the processor runs at once where absent.
    #[arg(long, value_name = "N")]
    threads: Option<NonZero<usize>>,
}

/// A conversation so far.
struct Talk<'a> {
    engine: &'a Engine,
    arguments: &'a Arguments,
    /// Which adapter answers; none for the base model.
    adapter: Option<String>,
    messages: Vec<Json>,
    /// A model without a template goes on from a text.
    plain: bool,
}

/// What a person can say beside a message.
const HELP: &str = "/use NAME asks that adapter from now on, /base the base model, /clear begins anew, /bye ends";

/// Runs it.
pub(crate) fn run(arguments: &Arguments) -> anyhow::Result<ExitCode> {
    let engine = open(arguments)?;
    let adapter = arguments.adapters.first().map(|(name, _)| name.clone());
    let plain = engine.text().render(&chat(vec![message("user", "x")])).is_err();
    let mut talk = Talk { engine: &engine, arguments, adapter, messages: Vec::new(), plain };
    let person = std::io::stdin().is_terminal();
    match &arguments.prompt {
        Some(prompt) => talk.say(prompt)?,
        None if person => talk.converse()?,
        None => {
            let mut prompt = String::new();
            std::io::stdin().read_to_string(&mut prompt).context("standard input")?;
            talk.say(prompt.trim_end())?;
        }
    }
    engine.stop()?;
    Ok(ExitCode::SUCCESS)
}

fn open(arguments: &Arguments) -> anyhow::Result<Engine> {
    let options = OpenOptions {
        device: settled(DeviceChoice::Auto),
        dtype: DType::Bf16,
        threads: arguments.threads,
        // One person talks: a quarter of what a server has is plenty.
        kv_bytes: Some(loam_engine::KV_BYTES / 4),
        ..OpenOptions::new(&arguments.model)
    };
    let mut bar = Bar::new("weights");
    let engine = Engine::open(&options, Box::new(MemoryRecorder::default()), &mut |progress| bar.show(progress))?;
    bar.end();
    for (name, source) in &arguments.adapters {
        engine.load_adapter(name, &Source::parse(source)?, Expected::Nothing)?;
    }
    Ok(engine)
}

impl Talk<'_> {
    /// Hears and answers until the person has had enough.
    fn converse(&mut self) -> anyhow::Result<()> {
        eprintln!("{HELP}.");
        let mut line = String::new();
        loop {
            print!("{}> ", self.adapter.as_deref().unwrap_or("base"));
            std::io::stdout().flush()?;
            line.clear();
            if std::io::stdin().lock().read_line(&mut line)? == 0 {
                println!();
                return Ok(());
            }
            let said = line.trim();
            match said.split_once(' ').unwrap_or((said, "")) {
                ("", _) => {}
                ("/bye", _) => return Ok(()),
                ("/clear", _) => self.messages.clear(),
                ("/base", _) => self.adapter = None,
                ("/use", name) => self.choose(name.trim()),
                (command, _) if command.starts_with('/') => eprintln!("{HELP}."),
                // What cannot be answered ends no conversation.
                _ => {
                    if let Err(error) = self.say(said) {
                        eprintln!("loam: {error}");
                    }
                }
            }
        }
    }

    fn choose(&mut self, name: &str) {
        let known: Vec<_> = self.arguments.adapters.iter().map(|(name, _)| name.as_str()).collect();
        if known.contains(&name) {
            self.adapter = Some(name.to_owned());
        } else {
            eprintln!("no adapter is called {name:?}; there are: {}", known.join(", "));
        }
    }

    /// Says one thing, and prints the answer as it comes.
    fn say(&mut self, text: &str) -> anyhow::Result<()> {
        if text.is_empty() {
            bail!("there is nothing to answer: give a PROMPT, or write it to standard input");
        }
        let mut messages = self.messages.clone();
        messages.push(message("user", text));
        let prompt = if self.plain { Prompt::Text(text.to_owned()) } else { Prompt::Chat(chat(messages.clone())) };
        let adapters = self.adapter.iter().map(|name| AdapterUse { name: name.clone(), weight: 1.0 }).collect();
        let mut request = Generate { prompt, adapters, ..Generate::default() };
        request.sampling.temperature = self.arguments.temperature;
        // A prompt that leaves less room than was asked for is still answered.
        let used = self.engine.text().prompt(&request.prompt)?.len();
        let room = self.engine.limits().step.positions.saturating_sub(used).max(1);
        request.max_tokens = Some(self.arguments.max_tokens.min(u32::try_from(room).unwrap_or(u32::MAX)));
        let mut out = std::io::stdout().lock();
        let mut answer = String::new();
        for event in self.engine.generate(request)? {
            match event {
                Event::Tokens(tokens) => {
                    write!(out, "{}", tokens.text)?;
                    out.flush()?;
                    answer.push_str(&tokens.text);
                }
                Event::Failed(failure) => bail!(failure),
                Event::Started(_) | Event::Prompt(_) | Event::Finished(_) => {}
            }
        }
        writeln!(out)?;
        messages.push(message("assistant", &answer));
        self.messages = messages;
        Ok(())
    }
}

fn message(role: &str, content: &str) -> Json {
    Json::Object(vec![("role".to_owned(), role.into()), ("content".to_owned(), content.into())])
}

fn chat(messages: Vec<Json>) -> ChatPrompt {
    ChatPrompt { messages: Json::Array(messages), ..ChatPrompt::default() }
}
