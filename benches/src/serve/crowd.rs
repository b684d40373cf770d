//! What a flood under one key costs a client under another, and the process.

use std::process::Command;
use std::time::Instant;

use anyhow::{Context as _, ensure};
use tokio::task::JoinSet;
use tonic::metadata::AsciiMetadataValue;
use tonic::transport::Channel;

use super::asking::Question;
use super::{Arguments, Bench, connected, said};
use crate::engine::counted;
use crate::results::Figure;
use crate::samples::Samples;

/// Streams of the flood, and answers of each, one after the other and each with its receipt.
const STREAMS: u32 = 256;
const ANSWERS: u32 = 20;

/// Short answers of the other key while it is alone; beside the flood it goes on for as long as that lasts.
const ALONE: u32 = 200;

const TOKENS: u32 = 16;

pub(super) async fn run(bench: &Bench, arguments: &Arguments) -> anyhow::Result<Vec<Figure>> {
    let (flooding, other) = (bench.key("flooding")?, bench.key("other")?);
    let keys = bench.top.join("keys.toml");
    std::fs::write(&keys, format!("{}\n{}", flooding.entry, other.entry))?;
    let serve = [said(&arguments.small)?, "--kv-cache-mib", "64", "--api-keys", said(&keys)?];
    let running = bench.start("crowd", &serve).await?;
    let mut other = Other { channel: running.channel, key: other.header, asked: 0 };
    let mut alone = Samples::default();
    for _ in 0..ALONE {
        other.ask(&mut alone).await?;
    }
    let (before_mib, began) = (peak_mib(running.server.id())?, Instant::now());
    let answers = if arguments.quick { ANSWERS / 10 } else { ANSWERS };
    let mut flood = flood(&connected(&running.url).await?, &flooding.header, answers);
    let mut beside = Samples::default();
    while !flood.is_empty() {
        other.ask(&mut beside).await?;
        while let Some(ended) = flood.try_join_next() {
            ended??;
        }
    }
    let (seconds, grown_mib) = (began.elapsed().as_secs_f64(), peak_mib(running.server.id())? - before_mib);
    running.server.end().await?;
    let note = format!("an answer of one token; p50 {:.1} ms", alone.p50());
    let crowded = format!("beside {STREAMS} streams of another key; p50 {:.1} ms", beside.p50());
    let rate = counted((STREAMS * answers) as usize) / seconds;
    let flooded = format!("{} answers of {TOKENS} tokens, each with its receipt", STREAMS * answers);
    Ok(vec![
        Figure::new("serve_other_key_p99_alone", alone.p99(), "ms", None, note),
        Figure::new("serve_other_key_p99_beside_flood", beside.p99(), "ms", None, crowded),
        Figure::new("serve_flood_answers_s", rate, "answers/s", None, flooded),
        Figure::new("serve_flood_growth", grown_mib, "MiB", None, "of the process, at its peak"),
    ])
}

/// Whoever minds their own business.
struct Other {
    channel: Channel,
    key: AsciiMetadataValue,
    asked: u32,
}

impl Other {
    async fn ask(&mut self, samples: &mut Samples) -> anyhow::Result<()> {
        self.asked += 1;
        let (question, began) = (Question::new(self.asked, 16, 1), Instant::now());
        Question { key: Some(self.key.clone()), ..question }.ask(self.channel.clone()).await?;
        samples.push(began.elapsed());
        Ok(())
    }
}

fn flood(channel: &Channel, key: &AsciiMetadataValue, answers: u32) -> JoinSet<anyhow::Result<()>> {
    let stream = |stream: u32| {
        let (channel, key) = (channel.clone(), key.clone());
        async move {
            for answer in 0..answers {
                let question = Question::new((1 << 20) + stream * ANSWERS + answer, 16, TOKENS);
                Question { receipt: true, key: Some(key.clone()), ..question }.ask(channel.clone()).await?;
            }
            Ok(())
        }
    };
    (0..STREAMS).map(stream).collect()
}

/// A key as its client sends it, and as the server knows it.
struct Key {
    header: AsciiMetadataValue,
    entry: String,
}

impl Bench {
    fn key(&self, tenant: &str) -> anyhow::Result<Key> {
        let made = Command::new(&self.loam).args(["key", "new", "--name", tenant, "--tenant", tenant]).output()?;
        ensure!(made.status.success(), "loam key new: {}", String::from_utf8_lossy(&made.stderr));
        let text = String::from_utf8(made.stdout)?;
        let (key, entry) = text.split_once("\n\n").context("loam key new prints a key and its entry")?;
        Ok(Key { header: format!("Bearer {key}").parse()?, entry: entry.to_owned() })
    }
}

/// The most memory that a process ever held.
fn peak_mib(process: u32) -> anyhow::Result<f64> {
    let status = std::fs::read_to_string(format!("/proc/{process}/status")).context("this system tells no peaks")?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).context("a peak in the status")?;
    Ok(line.trim().trim_end_matches(" kB").parse::<f64>()? / 1024.0)
}
