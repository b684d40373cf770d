//! Loam inside a program: one model, two adapters, one question to each, answered side by side in one engine.
//!
//! `cargo run --release -p loam-examples --example embed -- MODEL_DIR ADAPTER_DIR ADAPTER_DIR`
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
    for name in adapters {
        engine.load_adapter(name, &Source::parse(name)?, Expected::Anything)?;
        streams.push((
            name,
            engine.generate(Generate {
                prompt: Prompt::Text("What grows here?".to_owned()),
                adapters: vec![AdapterUse { name: name.clone(), weight: 1.0 }],
                max_tokens: Some(32),
                ..Generate::default()
            })?,
        ));
    }
    for (name, stream) in streams {
        let text: String =
            stream.filter_map(|event| if let Event::Tokens(it) = event { Some(it.text) } else { None }).collect();
        println!("{name}: {text}");
    }
    engine.stop()
}
