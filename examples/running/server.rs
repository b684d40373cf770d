//! The server: a child process, known by its ready line, its log and how it ends.

use std::ffi::OsStr;
use std::fs::File;
use std::io::{BufRead as _, BufReader};
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdout, Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context as _, bail};
use tokio::sync::oneshot;

/// How long a model may take to be read.
const START_PATIENCE: Duration = Duration::from_secs(30 * 60);

/// How long the server may take to end: it lets requests finish, and signs a last checkpoint.
const END_PATIENCE: Duration = Duration::from_secs(60);

/// How often its end is looked for.
const LOOK_EVERY: Duration = Duration::from_millis(20);

/// A running server. Dropped without having ended, it is killed: nothing leaves one behind.
pub struct Server {
    child: Child,
    log: PathBuf,
    began: Instant,
    took: Duration,
    url: Option<oneshot::Receiver<String>>,
}

impl Server {
    /// Where a server that was started over this folder keeps its log.
    pub fn log(folder: &Path) -> PathBuf {
        folder.join("server.log")
    }

    /// Starts `loam serve` on a free port with these arguments. Its log lies in the folder.
    pub fn start(
        loam: &Path,
        folder: &Path,
        arguments: impl IntoIterator<Item = impl AsRef<OsStr>>,
    ) -> anyhow::Result<Self> {
        let log = Self::log(folder);
        let file = File::create(&log).with_context(|| log.display().to_string())?;
        let mut command = Command::new(loam);
        command.arg("serve").args(["--port", "0"]).args(arguments);
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(file);
        // Settings of another server must not leak into this one.
        std::env::vars_os().filter(|(name, _)| name.to_string_lossy().starts_with("LOAM_")).for_each(|(name, _)| {
            command.env_remove(name);
        });
        // In a group of its own, Ctrl-C reaches the parent alone, and the server ends when that says so.
        command.process_group(0);
        let mut child = command.spawn().with_context(|| loam.display().to_string())?;
        let said = child.stdout.take().expect("it was asked for");
        let (sender, url) = oneshot::channel();
        std::thread::spawn(move || listen(said, sender));
        Ok(Self { child, log, began: Instant::now(), took: Duration::ZERO, url: Some(url) })
    }

    /// Its process.
    pub fn id(&self) -> u32 {
        self.child.id()
    }

    /// How long it took until it was ready.
    pub fn took(&self) -> Duration {
        self.took
    }

    /// Waits for the line that says where it is.
    pub async fn ready(&mut self) -> anyhow::Result<String> {
        let url = self.url.take().expect("a server gets ready once");
        let url = tokio::time::timeout(START_PATIENCE, url).await.context("the server did not get ready in time")?;
        self.took = self.began.elapsed();
        url.ok().with_context(|| match last_line(&self.log) {
            Some(line) => format!("the server ended before it was ready: {line}"),
            None => "the server ended before it was ready".to_owned(),
        })
    }

    /// An error where it has ended.
    pub fn still_lives(&mut self) -> anyhow::Result<()> {
        match self.child.try_wait()? {
            None => Ok(()),
            Some(status) => bail!("the server ended by itself: {status}"),
        }
    }

    /// Tells it to end, and waits until it has: well, or this is an error.
    pub async fn end(mut self) -> anyhow::Result<()> {
        self.still_lives()?;
        // The standard library knows no signal but SIGKILL; every shell does.
        let pid = self.id().to_string();
        let told = Command::new("sh").args(["-c", "kill -TERM \"$0\"", &pid]).status().context("sh")?;
        if !told.success() {
            bail!("the server could not be told to end: kill says {told}");
        }
        match self.wait().await? {
            Some(status) if status.success() => Ok(()),
            Some(status) => bail!("the server did not end well: {status}"),
            None => bail!("the server did not end within {} s of SIGTERM", END_PATIENCE.as_secs()),
        }
    }

    async fn wait(&mut self) -> std::io::Result<Option<ExitStatus>> {
        let told = Instant::now();
        while told.elapsed() < END_PATIENCE {
            if let Some(status) = self.child.try_wait()? {
                return Ok(Some(status));
            }
            tokio::time::sleep(LOOK_EVERY).await;
        }
        Ok(None)
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        // Where it has ended already, there is nothing to kill.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Finds the ready line, and goes on reading: a server whose output nobody takes would break off.
fn listen(said: ChildStdout, ready: oneshot::Sender<String>) {
    let mut ready = Some(ready);
    for line in BufReader::new(said).lines().map_while(Result::ok) {
        if let Some(url) = url_in(&line)
            && let Some(ready) = ready.take()
        {
            let _ = ready.send(url);
        }
    }
}

/// `loam: serving NAMES at URL, with receipts`.
fn url_in(line: &str) -> Option<String> {
    let (_, after) = line.strip_prefix("loam: serving ")?.rsplit_once(" at http")?;
    Some(format!("http{}", after.split(',').next()?))
}

fn last_line(log: &Path) -> Option<String> {
    let text = String::from_utf8_lossy(&std::fs::read(log).ok()?).into_owned();
    text.lines().rev().find(|line| !line.trim().is_empty()).map(str::to_owned)
}
