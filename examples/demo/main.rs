//! `loam-demo`: a server on a small model, several answers at once, and a receipt of each that one changed byte breaks.
//!
//! It is a client like anybody's: it knows the server by its port, and the ledger by what `loam-audit` says of it.
//!
//! ```text
//! choice (which model, which adapters) -> running (the server as a child) -> asking (gRPC) -> proving (loam-audit)
//! ```
#![expect(clippy::print_stdout, reason = "a demo speaks to whoever runs it")]

mod asking;
mod choice;
mod exporting;
mod proving;
mod screen;

use std::io::IsTerminal as _;
use std::path::Path;
use std::process::ExitCode;
use std::time::Duration;

use anyhow::{Context as _, anyhow, bail};
use clap::Parser as _;
use running::{Server, ThreadTimes};
use tempfile::TempDir;
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::oneshot;

use crate::asking::{Client, Crowd};
use crate::choice::{Arguments, Choice, Programs};
use crate::proving::Auditor;
use crate::screen::{Live, Screen};

/// How often somebody looks whether the server still lives while it serves a person.
const LOOK_EVERY: Duration = Duration::from_millis(500);

/// What a shell says of a program that was interrupted.
const INTERRUPTED: u8 = 130;

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    let outcome = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .context("the threads that a client needs")
        .and_then(|runtime| runtime.block_on(run(&arguments)));
    outcome.unwrap_or_else(|error| {
        eprintln!("\nloam-demo: {error:#}");
        ExitCode::FAILURE
    })
}

async fn run(arguments: &Arguments) -> anyhow::Result<ExitCode> {
    let programs = Programs::find()?;
    let choice = Choice::of(arguments)?;
    let folder = tempfile::Builder::new().prefix("loam-demo-").tempdir().context("a folder for the demo's files")?;
    let mut server = Server::start(&programs.loam, folder.path(), choice.serving(folder.path()))?;
    let mut interruption = Interruption::new()?;
    let outcome = live(&mut server, &mut interruption, &programs, &choice, folder.path()).await;
    // However it went, the server is asked to end, and how it does is part of the demo.
    let ended = tokio::select! {
        ended = server.end() => ended,
        () = interruption.comes() => Err(anyhow!("the server was killed while it was ending, as you asked twice")),
    };
    match outcome.and_then(|code| ended.map(|()| code)) {
        Ok(code) => Ok(code),
        Err(error) => Err(anyhow!("{error:#}\n{}", look_at(folder))),
    }
}

/// Where to look when something failed. What is there stays.
fn look_at(folder: TempDir) -> String {
    let folder = folder.keep();
    format!("look at the server's log, {}; the demo's files lie beside it", Server::log(&folder).display())
}

/// Everything while the server lives.
async fn live(
    server: &mut Server,
    interruption: &mut Interruption,
    programs: &Programs,
    choice: &Choice,
    folder: &Path,
) -> anyhow::Result<ExitCode> {
    let screen = Screen::new(choice);
    let shown = tokio::select! {
        shown = show(server, programs, choice, folder, &screen) => shown?,
        () = interruption.comes() => {
            println!();
            return Ok(ExitCode::from(INTERRUPTED));
        }
    };
    if std::io::stdin().is_terminal() && std::io::stdout().is_terminal() {
        screen.invitation(&shown, choice, folder);
        tokio::select! {
            () = interruption.comes() => {}
            () = enter() => {}
            died = watch(server) => died?,
        }
        println!();
    }
    Ok(ExitCode::SUCCESS)
}

/// What a person needs to go on where the demo ends.
pub(crate) struct Shown {
    pub(crate) url: String,
    /// Whether the model was asked as in a chat: it has a template for one.
    pub(crate) is_chat: bool,
}

/// The demo itself.
async fn show(
    server: &mut Server,
    programs: &Programs,
    choice: &Choice,
    folder: &Path,
    screen: &Screen,
) -> anyhow::Result<Shown> {
    screen.headline(choice);
    let url = server.ready().await?;
    let client = Client::connect(&url).await?;
    let info = client.info().await?;
    screen.server(&url, &info, server.took());
    // The log's keys are asked for first: what is proven later is proven against keys that were known before.
    let keys = client.log_keys().await?;
    let is_chat = client.renders_chats(choice).await;
    let asked = asking::requests(choice, is_chat)?;
    screen.question(choice);

    let before = ThreadTimes::of(server.id());
    let mut answers = Live::new(screen, asked.iter().map(|asked| asked.name.as_str()));
    let crowd = client.crowd(asked, &mut |news| answers.tell(news)).await?;
    let during = ThreadTimes::of(server.id()).zip(before).map(|(after, before)| after.since(&before));
    answers.end();

    let auditor = Auditor::new(&programs.loam_audit, Auditor::folder(folder))?;
    prove(&auditor, &keys.usage, &crowd, screen)?;
    let export = folder.join("export");
    client.export(&export).await?;
    screen.part("The log, exported and audited from its bytes alone:");
    let audited = auditor.log(&export, &keys.records)?;
    screen.audited(&audited);
    let answers = crowd.answers.len() as u64;
    if audited.completions != answers {
        bail!("the log holds {} answers, and {answers} were given: some row is missing in it", audited.completions);
    }
    screen.figures(&crowd, during);
    Ok(Shown { url, is_chat })
}

/// Each receipt against what this client holds; then one byte changed, of an answer and of a receipt.
fn prove(auditor: &Auditor<'_>, key: &str, crowd: &Crowd, screen: &Screen) -> anyhow::Result<()> {
    screen.part("loam-audit holds each receipt against what this client sent and got:");
    let mut refused = Vec::new();
    for answer in &crowd.answers {
        let verdict = auditor.receipt(answer, key, &answer.name)?;
        screen.receipt(&answer.name, &verdict);
        if !verdict.is_valid {
            refused.push(answer.name.as_str());
        }
    }
    if !refused.is_empty() {
        bail!("a receipt that should hold does not: {}; `loam-audit receipt` says more", refused.join(", "));
    }
    let answer = crowd.answers.last().expect("the base model answers always");
    screen.part(&format!("One byte is changed, in the answer of {} and then in its receipt:", answer.name));
    for (what, changed) in [("answer", answer.with_output_changed()), ("receipt", answer.with_receipt_changed())] {
        let verdict = auditor.receipt(&changed, key, &format!("changed-{what}"))?;
        screen.receipt(what, &verdict);
        if verdict.is_valid {
            bail!("one byte of the {what} was changed and loam-audit did not see it: this must never be");
        }
    }
    Ok(())
}

/// Signals that end a demo.
struct Interruption([tokio::signal::unix::Signal; 3]);

impl Interruption {
    fn new() -> std::io::Result<Self> {
        Ok(Self([signal(SignalKind::interrupt())?, signal(SignalKind::terminate())?, signal(SignalKind::hangup())?]))
    }

    async fn comes(&mut self) {
        let [interrupt, terminate, hangup] = &mut self.0;
        tokio::select! {
            _ = interrupt.recv() => {}
            _ = terminate.recv() => {}
            _ = hangup.recv() => {}
        }
    }
}

/// The Enter key, or the end of the input. The thread that waits for it ends with the process.
async fn enter() {
    let (pressed, waits) = oneshot::channel();
    std::thread::spawn(move || {
        let _ = std::io::stdin().read_line(&mut String::new());
        let _ = pressed.send(());
    });
    let _ = waits.await;
}

/// Returns when the server has ended without being told to.
async fn watch(server: &mut Server) -> anyhow::Result<()> {
    loop {
        tokio::time::sleep(LOOK_EVERY).await;
        server.still_lives()?;
    }
}
