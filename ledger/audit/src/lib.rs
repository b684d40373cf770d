//! loam-audit: checks what a Loam ledger says, offline, trusting nothing but the keys that are given.
//!
//! Every check is `loam-ledger-core`'s; here files are read and results are told.
//!
//! The program is [`run`]. Whoever has the files at hand already asks [`rewards`].
#![forbid(unsafe_code)]

mod answer;
mod arguments;
mod consistency;
mod files;
mod given;
mod lineage;
mod log;
mod money;
mod progress;
mod reasons;
mod receipt;
mod rewards;
mod show;
mod text;
mod trace;
mod trust;
mod words;

use std::path::{Path, PathBuf};
use std::process::ExitCode;

use clap::Parser;

use crate::answer::Answer;
use crate::arguments::{Arguments, Command};

/// Does what the command line asks for.
pub fn run() -> ExitCode {
    let Arguments { json, command } = Arguments::parse();
    let name = command.name();
    let answered = match command {
        Command::Log(asked) => log::audit(&asked),
        Command::Receipt(asked) => receipt::check(&asked),
        Command::Rewards(asked) => rewards::check(&asked),
        Command::Trace(asked) => trace::follow(&asked),
        Command::Consistency(asked) => consistency::check(&asked),
        Command::Show(asked) => show::show(&asked),
        Command::Trust => Ok(trust::tell()),
    };
    answered.unwrap_or_else(Answer::cannot).print(name, json)
}

/// Settles every closed epoch of an export again and compares, as `loam-audit rewards DIR --vkey KEY --allow-erased` does:
/// whoever asks here has all rows that are left, and may have had to erase many. The answer is printed, and says where more
/// than one row in a hundred is erased; the status is that of the program.
pub fn rewards(dir: &Path, vkey: &str, json: bool) -> ExitCode {
    let asked = arguments::Rewards {
        dir: PathBuf::from(dir),
        vkey: vkey.to_owned(),
        policy: None,
        allow_erased: true,
        payee: None,
        statements: Vec::new(),
        json,
    };
    rewards::check(&asked).unwrap_or_else(Answer::cannot).print("rewards", json)
}

/// Says that there are no files to settle again, and why, as [`rewards`] says that files cannot be read.
pub fn cannot_check_rewards(error: anyhow::Error, json: bool) -> ExitCode {
    Answer::cannot(error).print("rewards", json)
}
