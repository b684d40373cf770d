//! What `loam-audit` says of receipts and of the log: it is run as anybody would run it, and trusts only what it is given.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context as _, bail};
use serde_json::Value;

use crate::asking::Answer;

/// The auditor's program, and a folder for what it is given.
pub(crate) struct Auditor<'a> {
    program: &'a Path,
    folder: PathBuf,
}

/// What it says of one receipt.
pub(crate) struct Verdict {
    pub(crate) is_valid: bool,
    /// What the client holds, all of which the receipt speaks of.
    pub(crate) held: String,
    /// Why it is not valid.
    pub(crate) reason: String,
}

/// What it says of the whole ledger.
pub(crate) struct Audited {
    pub(crate) entries: u64,
    pub(crate) logs: usize,
    pub(crate) completions: u64,
    pub(crate) tokens: u64,
}

impl Answer {
    /// The same with one bit of one byte of the text changed: it stays ASCII where it was.
    pub(crate) fn with_output_changed(&self) -> Self {
        let mut changed = self.clone();
        let place = self.text.bytes().position(|byte| byte.is_ascii_alphanumeric());
        changed.text = match place {
            Some(place) => {
                let byte = char::from(self.text.as_bytes()[place] ^ 1);
                format!("{}{byte}{}", &self.text[..place], &self.text[place + 1..])
            }
            None => format!("{}.", self.text),
        };
        changed
    }

    /// The same with one byte of the receipt changed: a letter in the middle of what it says, so that it still reads as one.
    pub(crate) fn with_receipt_changed(&self) -> Self {
        let mut changed = self.clone();
        let said = self.receipt.iter().position(|byte| *byte == b'\n').map_or(0, |place| place + 1);
        let line = self.receipt[said..].iter().position(|byte| *byte == b'\n').unwrap_or(0);
        let byte = &mut changed.receipt[said + line / 2];
        *byte = if *byte == b'A' { b'B' } else { b'A' };
        changed
    }
}

impl<'a> Auditor<'a> {
    /// Where what it is given lies, of a demo in this folder.
    pub(crate) fn folder(demo: &Path) -> PathBuf {
        demo.join("held")
    }

    pub(crate) fn new(program: &'a Path, folder: PathBuf) -> anyhow::Result<Self> {
        fs::create_dir_all(&folder).with_context(|| folder.display().to_string())?;
        Ok(Self { program, folder })
    }

    /// Holds a receipt against the nonce, the request, the text, the number of tokens and the adapter. What is held is
    /// written to files of this name, and stays there.
    pub(crate) fn receipt(&self, answer: &Answer, key: &str, name: &str) -> anyhow::Result<Verdict> {
        let receipt = self.write(name, "tlog-proof", &answer.receipt)?;
        let request = self.write(name, "request", &answer.request)?;
        let output = self.write(name, "txt", answer.text.as_bytes())?;
        let mut command = Command::new(self.program);
        command.args(["receipt", "--json", "--vkey", key, "--nonce", &hex(&answer.nonce)]);
        command
            .arg("--request")
            .arg(request)
            .arg("--output")
            .arg(output)
            .args(["--tokens", &answer.tokens.to_string()]);
        if let Some(generation) = &answer.generation {
            command.args(["--adapter", &hex(generation)]);
        }
        let said = said(command.arg(receipt))?;
        let lines = said["lines"].as_array().map(Vec::as_slice).unwrap_or_default();
        let holds = |subject: &str| lines.iter().any(|line| line["subject"] == subject && line["verdict"] == "holds");
        let given = ["nonce", "request bytes", "output", "tokens"].into_iter();
        let given = given.chain(answer.generation.as_ref().map(|_| "adapter"));
        // A receipt that is silent about what it was held against proves nothing to whoever holds it.
        let silent: Vec<&str> = given.filter(|subject| !holds(subject)).collect();
        let adapter = if answer.generation.is_some() { ", adapter" } else { "" };
        Ok(Verdict {
            is_valid: said["verdict"] == "valid" && silent.is_empty(),
            held: format!("nonce, request, output, {} tokens{adapter}", answer.tokens),
            reason: match said["reason"].as_str() {
                Some(reason) => reason.to_owned(),
                None => format!("it does not speak of {}", silent.join(", ")),
            },
        })
    }

    /// Audits an export of all logs.
    pub(crate) fn log(&self, export: &Path, key: &str) -> anyhow::Result<Audited> {
        let said = said(Command::new(self.program).args(["log", "--json", "--vkey", key]).arg(export))?;
        if said["verdict"] != "valid" {
            bail!(
                "the exported log does not hold: {}",
                said["reason"].as_str().unwrap_or("loam-audit does not say why")
            );
        }
        let logs = said["logs"].as_array().context("loam-audit tells of no logs")?;
        let sum = |field: &str| logs.iter().filter_map(|log| log[field].as_u64()).sum();
        Ok(Audited {
            entries: sum("size"),
            logs: logs.len(),
            completions: sum("completions"),
            tokens: sum("emitted_tokens"),
        })
    }

    fn write(&self, name: &str, ending: &str, bytes: &[u8]) -> anyhow::Result<PathBuf> {
        let path = self.folder.join(format!("{}.{ending}", file_name(name)));
        fs::write(&path, bytes).with_context(|| path.display().to_string())?;
        Ok(path)
    }
}

/// A name that leads nowhere but into its folder.
pub(crate) fn file_name(name: &str) -> String {
    name.chars().map(|c| if c.is_ascii_alphanumeric() || c == '-' { c } else { '_' }).collect()
}

/// What the program says, if it came to a verdict.
fn said(command: &mut Command) -> anyhow::Result<Value> {
    let output = command.output().with_context(|| command.get_program().display().to_string())?;
    let complaint = String::from_utf8_lossy(&output.stderr);
    let complaint = complaint.trim();
    let said = match output.status.code() {
        Some(0 | 1) => serde_json::from_slice::<Value>(&output.stdout).ok(),
        _ => None,
    };
    let said = said.with_context(|| format!("loam-audit came to no verdict ({}): {complaint}", output.status))?;
    // The exit status is what scripts go by: it has to say the same.
    if (said["verdict"] == "valid") != output.status.success() {
        bail!("loam-audit says {} and ends with {}", said["verdict"], output.status);
    }
    Ok(said)
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}
