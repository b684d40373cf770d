//! The commands that read a ledger, and the small ones that write it.

use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::{Context as _, anyhow};
use clap::Args;
use loam_ledger::{Acked, Error, Ledger, RowScope};
use loam_ledger_core::Hash;
use loam_ledger_core::origin::LogId;
use serde_json::json;

use super::Place;

/// Which entry, and where to write what is asked of it.
#[derive(Args)]
pub(crate) struct EntryArguments {
    #[command(flatten)]
    place: Place,
    /// The entry's index.
    #[arg(long)]
    index: u64,
    /// records or usage/SHARD; the newest usage shard where it is absent.
    #[arg(long, value_name = "LOG")]
    log: Option<LogId>,
    /// The file to write.
    #[arg(long, value_name = "FILE")]
    out: PathBuf,
}

pub(crate) fn init(place: &Place, origin: Option<&str>) -> anyhow::Result<()> {
    let ledger = place.create(origin, place.options())?;
    let shard = ledger.newest_shard();
    println!("made {} in {}", ledger.name(), place.data.display());
    for log in [LogId::Records, shard] {
        println!("{log}: {} entries, key {}", ledger.size(log)?, ledger.verifier(log)?);
    }
    Ok(ledger.close()?)
}

pub(crate) fn export(place: &Place, out: &Path, log: Option<&str>, scope: &RowScope) -> anyhow::Result<()> {
    let ledger = place.open()?;
    if log == Some("all") {
        ledger.export_all(scope, out)?;
        println!("{}: all logs written to {}", ledger.name(), out.display());
    } else {
        let log = log.map_or(Ok(ledger.newest_shard()), str::parse)?;
        ledger.export(log, scope, out)?;
        println!("{}/{log}: written to {}", ledger.name(), out.display());
    }
    Ok(ledger.close()?)
}

pub(crate) fn prove(arguments: &EntryArguments) -> anyhow::Result<()> {
    let ledger = arguments.place.open()?;
    let log = arguments.log.unwrap_or(ledger.newest_shard());
    write(&arguments.out, &ledger.prove(log, arguments.index)?.to_bytes())?;
    Ok(ledger.close()?)
}

pub(crate) fn entry(arguments: &EntryArguments) -> anyhow::Result<()> {
    let ledger = Ledger::open_read_only(&arguments.place.home())?;
    let log = arguments.log.unwrap_or(ledger.newest_shard());
    write(&arguments.out, &ledger.entry(log, arguments.index)?)
}

pub(crate) fn receipt(place: &Place, request: &Hash, choice: u32, out: &Path) -> anyhow::Result<()> {
    let ledger = place.open()?;
    write(out, &ledger.receipt(request, choice)?.to_bytes())?;
    Ok(ledger.close()?)
}

pub(crate) fn erase(place: &Place, request: &Hash, reason: u8) -> anyhow::Result<()> {
    let ledger = place.open().map_err(|error| match error.downcast_ref() {
        Some(Error::InUse { path }) => anyhow!("{path} is in use by another process: stop it, or ask it with --server"),
        _ => error,
    })?;
    ledger.erase(request, reason)?;
    say_erased();
    Ok(ledger.close()?)
}

pub(crate) fn say_erased() {
    println!("erased: its rows stay proven, and can never be opened again");
}

pub(crate) fn freeze(place: &Place) -> anyhow::Result<()> {
    let ledger = place.open()?;
    let frozen = ledger.newest_shard();
    let opened = ledger.freeze_shard()?;
    println!("{frozen} is frozen at {} entries; {opened} is open", ledger.size(frozen)?);
    Ok(ledger.close()?)
}

pub(crate) fn snapshot(place: &Place, out: &Path) -> anyhow::Result<()> {
    let ledger = place.open()?;
    ledger.snapshot(out)?;
    println!(
        "the store is copied to {}; to restore, put it in the place of store/. Secrets, keys and floor have backups of their own",
        out.display()
    );
    Ok(ledger.close()?)
}

pub(crate) fn key(place: &Place, log: Option<LogId>) -> anyhow::Result<()> {
    let ledger = Ledger::open_read_only(&place.home())?;
    println!("{}", ledger.verifier(log.unwrap_or(ledger.newest_shard()))?);
    Ok(())
}

pub(crate) fn status(place: &Place, as_json: bool) -> anyhow::Result<()> {
    let ledger = Ledger::open_read_only(&place.home())?;
    let mut logs = Vec::new();
    for log in ledger.logs() {
        let (size, signed) = (ledger.size(log)?, ledger.signed_size(log)?);
        let (root, frozen) = (ledger.root_at(log, size)?, ledger.is_frozen(log)?);
        logs.push((log, size, signed, root, frozen));
    }
    let (secrets, why) = (ledger.has_secrets(), Ledger::why_read_only(&place.home())?);
    if as_json {
        let say = |(log, size, signed, root, frozen): &(LogId, u64, Option<u64>, Hash, bool)| json!({"log": log.to_string(), "size": size, "signed": signed, "root": root.to_hex(), "frozen": frozen});
        let logs: Vec<_> = logs.iter().map(say).collect();
        let status = json!({"name": ledger.name(), "format": loam_ledger::STORE_FORMAT, "secrets": secrets, "read_only": why.map(|why| why.to_string()), "missing_secrets": ledger.missing_secrets(),
            "erased_requests": ledger.erased_requests()?, "free_bytes": ledger.free_bytes()?, "logs": logs});
        println!("{status}");
        return Ok(());
    }
    if let Some(why) = &why {
        println!("open for reading only: {why}");
    }
    println!("{}", ledger.name());
    for (log, size, signed, root, frozen) in logs {
        let signed = signed.map_or("never signed".to_owned(), |signed| format!("signed at {signed}"));
        println!("  {log}: {size} entries, {signed}{}, root {root}", if frozen { ", frozen" } else { "" });
    }
    println!("  erased requests: {}", ledger.erased_requests()?);
    println!("  free: {} MiB, reserve {} MiB", ledger.free_bytes()? >> 20, place.reserve_bytes >> 20);
    if !secrets {
        println!("  the file of secrets is missing: proofs of entries work, no row can be opened");
    }
    if ledger.missing_secrets() > 0 {
        println!("  the file of secrets lacks {} that rows use: it is an older copy", ledger.missing_secrets());
    }
    Ok(())
}

pub(crate) fn fsck(place: &Place, acks: Option<&Path>) -> ExitCode {
    let examined = read_acks(acks).and_then(|acks| Ok(Ledger::examine(&place.home(), &acks)?));
    match examined {
        Err(error) => {
            eprintln!("loam: cannot read: {error:#}");
            ExitCode::from(2)
        }
        Ok(examined) => {
            for (log, size) in &examined.sizes {
                println!("{log}: {size} entries");
            }
            if acks.is_some() {
                println!("{} acknowledgements looked up", examined.acks);
            }
            const SHOWN: usize = 20;
            examined.wrong.iter().take(SHOWN).for_each(|wrong| eprintln!("WRONG: {wrong}"));
            if examined.wrong.len() > SHOWN {
                eprintln!("and {} more", examined.wrong.len() - SHOWN);
            }
            println!("{}", if examined.wrong.is_empty() { "whole" } else { "not whole" });
            ExitCode::from(u8::from(!examined.wrong.is_empty()))
        }
    }
}

/// Lines `index leafhash-hex`. A last line without its end was torn when its writer was killed, and says nothing.
fn read_acks(path: Option<&Path>) -> anyhow::Result<Vec<Acked>> {
    let Some(path) = path else { return Ok(Vec::new()) };
    let text = std::fs::read(path).with_context(|| path.display().to_string())?;
    let whole = text.iter().rposition(|byte| *byte == b'\n').map_or(0, |end| end + 1);
    let text = std::str::from_utf8(&text[..whole]).with_context(|| path.display().to_string())?;
    let line = |(number, line): (usize, &str)| {
        let parsed = line
            .split_once(' ')
            .and_then(|(index, leaf)| Some(Acked { index: index.parse().ok()?, leaf: Hash::from_hex(leaf).ok()? }));
        parsed.with_context(|| format!("{} line {}: expected `index leafhash-hex`", path.display(), number + 1))
    };
    text.lines().enumerate().map(line).collect()
}

fn write(path: &Path, bytes: &[u8]) -> anyhow::Result<()> {
    let mut file = std::fs::File::create(path).with_context(|| path.display().to_string())?;
    file.write_all(bytes).map_err(|e| Error::Io { path: path.display().to_string(), why: e.to_string() })?;
    Ok(())
}
