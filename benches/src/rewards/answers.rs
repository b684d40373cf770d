//! Answers: completion rows by the prices in force, each with the usage row that it sums.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, mpsc};

use anyhow::Context as _;
use loam_ledger::{Ledger, Level, Request, StepRecord, Writer};
use loam_ledger_core::Hash;
use loam_ledger_core::commitment::What;
use loam_ledger_core::record::Generation;
use loam_ledger_core::row::{Completion, Finish, Pair, Row, Step, Tokens, Usage, WEIGHT_ONE};

/// Answers that end in one entry.
pub(super) const PER_ENTRY: u64 = 64;

/// Threads that append.
const WRITERS: u64 = 2;

/// Appends so many answers, and names the last of them.
pub(super) fn append(ledger: &Ledger, writer: &Writer, adapters: &[Generation], count: u64) -> anyhow::Result<Hash> {
    let next = AtomicU64::new(0);
    let append = || -> anyhow::Result<Hash> {
        let mut last = Hash::ZERO;
        loop {
            // A number is taken with its ticket, so that no thread is left with one that nobody fills.
            let first = next.fetch_add(PER_ENTRY, Ordering::Relaxed);
            if first >= count {
                return Ok(last);
            }
            let requests =
                (first..count.min(first + PER_ENTRY)).map(|number| Ok((number, ledger.begin_request(None)?)));
            let requests = requests.collect::<anyhow::Result<Vec<_>>>()?;
            let ticket = writer.ticket()?;
            let mut step = StepRecord::default();
            for (number, request) in requests {
                last = request.commitment();
                let tokens = tokens(number);
                step.prefilled_tokens += tokens.prefilled;
                step.emitted_tokens += tokens.emitted;
                step.rows.extend(rows(&request, pairs(adapters, number), tokens, writer.step(ticket.sequence())));
            }
            ticket.append(step, Level::Durable, None)?;
        }
    };
    let last = std::thread::scope(|scope| {
        let threads: Vec<_> = (0..WRITERS).map(|_| scope.spawn(append)).collect();
        let lasts = threads.into_iter().map(|thread| thread.join().expect("no panic"));
        lasts.collect::<anyhow::Result<Vec<_>>>()
    })?;
    let (sender, durable) = mpsc::channel();
    let acknowledged = move |outcome| drop(sender.send(outcome));
    writer.append(StepRecord::default(), Level::Durable, Some(Box::new(acknowledged)))?;
    durable.recv().context("no acknowledgement")??;
    last.into_iter().find(|name| *name != Hash::ZERO).context("no answer was appended")
}

/// Prompts and answers of many lengths, so that fees differ.
fn tokens(number: u64) -> Tokens {
    Tokens { prefilled: 16 + number % 97, reused: number % 31, emitted: 1 + number % 253, ..Tokens::default() }
}

/// One adapter of three answers in four, two together of each fourth.
fn pairs(adapters: &[Generation], number: u64) -> Vec<Pair> {
    let count = adapters.len() as u64;
    let adapter = |number: u64| adapters[usize::try_from(number % count).expect("a place among adapters")];
    let first = adapter(number);
    let second = number.is_multiple_of(4).then(|| adapter(number + 1 + number / count % (count - 1)));
    let mut generations: Vec<Generation> = [first].into_iter().chain(second).collect();
    generations.sort_unstable();
    generations.into_iter().map(|generation| Pair { generation, weight_millionths: WEIGHT_ONE }).collect()
}

fn rows(request: &Arc<Request>, pairs: Vec<Pair>, tokens: Tokens, step: Step) -> [(Arc<Request>, Row); 2] {
    let name = request.commitment();
    let usage = Usage {
        request: name,
        choice: 0,
        pairs: pairs.clone(),
        first_sequence: step.sequence,
        last_sequence: step.sequence,
        tokens,
    };
    let commit = |what| request.commit(what, 0, b"bytes that are committed to");
    let completion = Completion {
        request: name,
        choice: 0,
        tenant: commit(What::Tenant),
        pairs,
        first: step,
        last: step,
        tokens,
        delivered_tokens: tokens.emitted,
        finish: Finish::STOP,
        // Priced by the writer, with the policy in force.
        fee_nano: 0,
        price_policy: Hash::ZERO,
        request_bytes: commit(What::Request),
        prompt: commit(What::Prompt),
        text: commit(What::Text),
        output_tokens: commit(What::Tokens),
        sampling: commit(What::Sampling),
    };
    [Row::Usage(usage), Row::Completion(Box::new(completion))].map(|row| (Arc::clone(request), row))
}
