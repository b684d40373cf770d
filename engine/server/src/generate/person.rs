//! One answer for a person: text as it comes.

use std::io::Write as _;
use std::process::ExitCode;

use anyhow::bail;
use loam_engine::request::Generate;
use loam_engine::{Engine, Event};

pub(crate) fn answer(engine: &Engine, request: Generate) -> anyhow::Result<ExitCode> {
    let mut out = std::io::stdout().lock();
    for event in engine.generate(request)? {
        match event {
            Event::Tokens(tokens) => {
                write!(out, "{}", tokens.text)?;
                out.flush()?;
            }
            Event::Failed(failure) => bail!(failure),
            Event::Started(_) | Event::Prompt(_) | Event::Finished(_) => {}
        }
    }
    writeln!(out)?;
    Ok(ExitCode::SUCCESS)
}
