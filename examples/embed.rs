//! Loam inside a program: one model, some adapters, the same question to each, answered side by side in one engine.
//! After `make build`, and with the settings of `make -s env`, nothing is compiled anew for it:
//! `cargo run --release --locked --bin embed -- MODEL_DIR ADAPTER_DIR...`
#![expect(clippy::print_stdout, clippy::print_stderr, reason = "an example speaks to whoever runs it")]
use loam_engine::adapter::{Expected, Source};
use loam_engine::request::{AdapterUse, ChatPrompt, Generate, Prompt};
use loam_engine::{Engine, Error, Event, MemoryRecorder, OpenOptions};

fn main() {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [model, adapters @ ..] = arguments.as_slice() else { panic!("give a model's folder, then adapters' folders") };
    if let Err(error) = answer(model, adapters) {
        eprintln!("{error}");
        std::process::exit(1);
    }
}

fn answer(model: &str, adapters: &[String]) -> Result<(), Error> {
    let options = OpenOptions::new(model.as_ref());
    let engine = Engine::open(&options, Box::new(MemoryRecorder::default()), &mut |_| {})?;
    let mut streams = Vec::new();
    for folder in adapters {
        engine.load_adapter(folder, &Source::parse(folder)?, Expected::Anything)?;
        let prompt = Prompt::Chat(ChatPrompt::user("When do I sow carrots?"));
        let adapters = vec![AdapterUse { name: folder.clone(), weight: 1.0 }];
        let mut request = Generate { prompt, adapters, max_tokens: Some(64), ..Generate::default() };
        request.sampling.temperature = Some(0.0);
        streams.push((folder, engine.generate(request)?));
    }
    for (folder, stream) in streams {
        let text = |event| match event {
            Event::Tokens(tokens) => tokens.text,
            Event::Failed(failure) => format!("[{failure}]"),
            Event::Started(_) | Event::Prompt(_) | Event::Finished(_) => String::new(),
        };
        println!("{folder}: {}", stream.map(text).collect::<String>());
    }
    engine.stop()
}
