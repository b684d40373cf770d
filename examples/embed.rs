//! Loam inside a program: one model, some adapters, the same question to each, answered side by side in one engine.
//! After `make build`, and with the settings of `make -s env`, nothing is compiled anew for it:
//! `cargo run --release --locked --bin embed -- MODEL_DIR ADAPTER_DIR...`
#![expect(clippy::print_stdout, reason = "an example speaks to whoever runs it")]

use std::path::Path;

use loam_engine::adapter::{Expected, Source};
use loam_engine::request::{AdapterUse, Generate, Prompt};
use loam_engine::{Engine, Error, Event, MemoryRecorder, OpenOptions};

fn main() -> Result<(), Error> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [model, adapters @ ..] = arguments.as_slice() else { panic!("give a model's folder, then adapters' folders") };

    let options = OpenOptions::new(Path::new(model));
    let engine = Engine::open(&options, Box::new(MemoryRecorder::default()), &mut |_| {})?;

    let mut streams = Vec::new();
    for folder in adapters {
        engine.load_adapter(folder, &Source::parse(folder)?, Expected::Anything)?;
        let request = Generate {
            prompt: Prompt::Text("What grows here?".to_owned()),
            adapters: vec![AdapterUse { name: folder.clone(), weight: 1.0 }],
            max_tokens: Some(32),
            ..Generate::default()
        };
        streams.push((folder, engine.generate(request)?));
    }
    for (folder, stream) in streams {
        let text = |event| if let Event::Tokens(tokens) = event { Some(tokens.text) } else { None };
        println!("{folder}: {}", stream.filter_map(text).collect::<String>());
    }
    engine.stop()
}
