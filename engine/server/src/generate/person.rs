//! One answer for a person: text as it comes.

use std::io::Write as _;
use std::process::ExitCode;
use std::sync::Arc;

use anyhow::bail;
use loam_engine::recorder::RequestFacts;
use loam_engine::request::Generate;
use loam_engine::{Engine, Event};

pub(crate) fn answer(engine: &Engine, request: Generate, bytes: Arc<[u8]>) -> anyhow::Result<ExitCode> {
    let mut out = std::io::stdout().lock();
    let mut name = None;
    let facts = RequestFacts { request_bytes: bytes, ..RequestFacts::default() };
    for event in engine.generate_recorded(request, facts)? {
        match event {
            Event::Tokens(tokens) => {
                write!(out, "{}", tokens.text)?;
                out.flush()?;
            }
            Event::Failed(failure) => bail!(failure),
            Event::Started(started) => name = started.name,
            Event::Prompt(_) | Event::Finished(_) => {}
        }
    }
    writeln!(out)?;
    if let Some(name) = name {
        eprintln!("loam: its receipt: loam ledger receipt --data DIR {name} --out FILE");
    }
    Ok(ExitCode::SUCCESS)
}
