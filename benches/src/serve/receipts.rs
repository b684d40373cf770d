//! How soon a receipt comes: from an answer's last token until its client holds the proof.

use super::asking::{Question, all};
use super::{Arguments, Bench, said};
use crate::results::Figure;
use crate::samples::Samples;

/// Answers that wait side by side, and how often.
const CROWDS: [(u32, u32); 3] = [(1, 1000), (8, 250), (64, 50)];

const TOKENS: u32 = 16;

pub(super) async fn run(bench: &Bench, arguments: &Arguments) -> anyhow::Result<Vec<Figure>> {
    let running = bench.start("receipts", &[said(&arguments.small)?, "--kv-cache-mib", "64"]).await?;
    let (mut figures, mut asked) = (Vec::new(), 0);
    for (answers, times) in CROWDS {
        let times = if arguments.quick { times / 10 } else { times };
        let mut samples = Samples::default();
        for time in 0..=times {
            let questions =
                (asked..asked + answers).map(|number| Question { receipt: true, ..Question::new(number, 16, TOKENS) });
            asked += answers;
            for told in all(&running.channel, questions.collect()).await? {
                // The first time warms.
                if time > 0 {
                    samples.push(told.receipt.expect("it was waited for") - told.last_token);
                }
            }
        }
        let note =
            format!("{} answers of the small model, {answers} at once; p50 {:.1} ms", answers * times, samples.p50());
        let name = format!("serve_last_token_to_receipt_p99_{answers}");
        figures.push(Figure::new(&name, samples.p99(), "ms", None, note));
    }
    running.server.end().await?;
    Ok(figures)
}
