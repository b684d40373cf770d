//! A server of one test: started on a free port, asked, told to end.

use std::ffi::OsStr;
use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::TcpStream;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

use tonic::transport::Channel;

/// How long a server may take to start, on a machine that does much else.
const START_PATIENCE: Duration = Duration::from_secs(120);

/// A running server, killed where a test breaks off.
pub(crate) struct Server {
    child: Child,
    /// `127.0.0.1:PORT`.
    pub(crate) address: String,
    log: PathBuf,
}

/// A folder of the model that everything here asks, with adapters that PEFT saved.
pub(crate) fn golden(part: &str) -> String {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../testdata/golden/llama-gqa").join(part);
    // An adapter's path must not leave its root, not even to come back.
    folder.canonicalize().unwrap().to_str().unwrap().to_owned()
}

impl Server {
    /// Starts one over the model with two adapters, and waits for its line.
    pub(crate) fn start(folder: &Path, more: &[&str]) -> Self {
        Self::try_start(folder, more).unwrap_or_else(|said| panic!("the server did not start: {said}"))
    }

    /// The same, or what it said instead.
    pub(crate) fn try_start(folder: &Path, more: &[&str]) -> Result<Self, String> {
        Self::try_start_in(&[], folder, more)
    }

    /// The same, in an environment of nothing else.
    pub(crate) fn try_start_in(environment: &[(&str, &OsStr)], folder: &Path, more: &[&str]) -> Result<Self, String> {
        let log = folder.join(format!("log-{}", std::fs::read_dir(folder).unwrap().count()));
        // A limit to its files' sizes is to be an error of writing, and not a signal that kills it.
        let mut command = Command::new("/bin/sh");
        command.args(["-c", "trap '' XFSZ; exec \"$0\" \"$@\"", env!("CARGO_BIN_EXE_loam")]);
        command.args(["serve", &golden("base"), "--served-model-name", "tiny", "--port", "0", "--threads", "2"]);
        command.args(["--kv-cache-mib", "16", "--dtype", "f32"]);
        command.arg("--lora-modules").arg(format!("clay={}", golden("adapters/qv-r8")));
        command.arg(format!("loess={}", golden("adapters/all-r16"))).args(more);
        if !more.contains(&"--ledger") {
            command.args(["--ledger-reserve-mib", "1", "--ledger"]).arg(folder.join("ledger"));
        }
        command.env_clear().envs(environment.iter().copied()).stdin(Stdio::null()).stdout(Stdio::piped());
        command.stderr(std::fs::File::create(&log).unwrap());
        let mut child = command.spawn().unwrap();
        let (sender, line) = std::sync::mpsc::channel();
        let out = child.stdout.take().unwrap();
        std::thread::spawn(move || {
            let mut line = String::new();
            let _ = BufReader::new(out).read_line(&mut line);
            let _ = sender.send(line);
        });
        let line = line.recv_timeout(START_PATIENCE).unwrap_or_default();
        let url = line.split_whitespace().find_map(|word| word.split_once("://").map(|(_, rest)| rest.to_owned()));
        match url {
            Some(address) => Ok(Self { child, address: address.trim_end_matches(',').to_owned(), log }),
            None => {
                let _ = child.kill();
                let _ = child.wait();
                Err(std::fs::read_to_string(&log).unwrap_or_default())
            }
        }
    }

    /// What it logged.
    pub(crate) fn log(&self) -> String {
        std::fs::read_to_string(&self.log).unwrap()
    }

    /// The most memory that it ever held, in MiB.
    pub(crate) fn peak_mib(&self) -> u64 {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.child.id())).unwrap();
        let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).unwrap();
        line.trim().trim_end_matches(" kB").parse::<u64>().unwrap() >> 10
    }

    /// A connection for gRPC.
    pub(crate) async fn channel(&self) -> Channel {
        Channel::from_shared(format!("http://{}", self.address)).unwrap().connect().await.unwrap()
    }

    /// None of its files can grow beyond this from now on, and writing fails.
    pub(crate) fn limit_files_to(&self, bytes: u64) {
        let pid = self.child.id().to_string();
        let limited = Command::new("prlimit").args(["--pid", &pid, &format!("--fsize={bytes}:{bytes}")]).status();
        assert!(limited.unwrap().success());
    }

    /// Tells it to end.
    pub(crate) fn terminate(&self) {
        let sent = Command::new("kill").args(["-TERM", &self.child.id().to_string()]).status().unwrap();
        assert!(sent.success());
    }

    /// Ends it as power does.
    pub(crate) fn kill(mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }

    /// Waits for its end, for so long at most.
    pub(crate) fn ended(&mut self, patience: Duration) -> ExitStatus {
        let until = Instant::now() + patience;
        loop {
            if let Some(status) = self.child.try_wait().unwrap() {
                return status;
            }
            assert!(Instant::now() < until, "the server still runs after {patience:?}: {}", self.log());
            std::thread::sleep(Duration::from_millis(20));
        }
    }

    /// Tells it to end, and requires that it ends well.
    pub(crate) fn stop(mut self) {
        self.terminate();
        let status = self.ended(Duration::from_secs(60));
        assert!(status.success(), "{status}: {}", self.log());
    }

    /// One HTTP exchange: the status, the headers, the body.
    pub(crate) fn http(&self, head: &str, headers: &[&str], body: &str) -> (u16, String, String) {
        let mut stream = TcpStream::connect(&self.address).unwrap();
        let headers: String = headers.iter().map(|header| format!("{header}\r\n")).collect();
        let (length, address) = (body.len(), &self.address);
        let request = format!(
            "{head} HTTP/1.1\r\nhost: {address}\r\nconnection: close\r\n{headers}content-length: {length}\r\n\r\n{body}"
        );
        stream.write_all(request.as_bytes()).unwrap();
        let mut answer = Vec::new();
        // A server that refuses a body need not read it to its end.
        let _ = stream.read_to_end(&mut answer);
        let answer = String::from_utf8_lossy(&answer).into_owned();
        let (head, body) = answer.split_once("\r\n\r\n").unwrap_or_else(|| panic!("no HTTP: {answer}"));
        let status = head.split_whitespace().nth(1).unwrap().parse().unwrap();
        (status, head.to_owned(), body.to_owned())
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
