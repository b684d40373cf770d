//! What the engine says, as messages.

use loam_engine::event::{PromptScores, Started, StoppedBy};
use loam_engine::executor::{Chosen, Sampled};
use loam_engine::{Finished, TokensEvent};
use loam_ledger_core::row::Finish;
use loam_proto::v1;
use loam_proto::v1::generate_response::Event;

/// The request was taken in.
pub fn started(started: &Started) -> Event {
    let adapter = |(generation, weight_millionths): &(loam_engine::adapter::Generation, i64)| v1::GenerationUse {
        generation: generation.0.0.to_vec(),
        weight_millionths: *weight_millionths,
    };
    Event::Started(v1::Started {
        receipt_id: started.name.map(|name| name.0.to_vec()).unwrap_or_default(),
        prompt_tokens: started.prompt.to_vec(),
        adapters: started.adapters.iter().map(adapter).collect(),
    })
}

/// How probable the prompt was.
pub fn prompt_scores(scores: &PromptScores) -> Event {
    Event::Prompt(v1::PromptScores { tokens: scores.tokens.iter().map(|it| token(it.chosen, &it.top, true)).collect() })
}

/// More of an answer.
pub fn tokens(tokens: TokensEvent, with_logprobs: bool) -> Event {
    let one = |sampled: &Sampled| token(sampled.chosen, &sampled.top, with_logprobs);
    Event::Tokens(v1::Tokens {
        choice: tokens.choice,
        tokens: tokens.tokens.iter().map(one).collect(),
        text: tokens.text,
    })
}

fn token(chosen: Chosen, top: &[(u32, f32)], with_logprobs: bool) -> v1::Token {
    v1::Token {
        id: chosen.token,
        logprob: with_logprobs.then_some(chosen.log_probability),
        rank: with_logprobs.then_some(chosen.rank),
        top: top.iter().map(|(id, logprob)| v1::TopToken { id: *id, logprob: *logprob }).collect(),
    }
}

/// An answer is whole.
pub fn finished(finished: &Finished) -> Event {
    let tokens = finished.tokens;
    Event::Finished(v1::Finished {
        choice: finished.choice,
        reason: reason(finished.finish).into(),
        usage: Some(v1::Usage {
            prefilled: tokens.prefilled,
            reused: tokens.reused,
            recomputed: tokens.recomputed,
            discarded: tokens.discarded,
            emitted: tokens.emitted,
        }),
        entry_index: finished.entry,
        stopped_by: finished.stopped_by.map(stopped_by),
    })
}

fn stopped_by(by: StoppedBy) -> v1::finished::StoppedBy {
    match by {
        StoppedBy::Text(place) => v1::finished::StoppedBy::StopIndex(u32::try_from(place).unwrap_or(u32::MAX)),
        StoppedBy::Token(token) => v1::finished::StoppedBy::StopToken(token),
    }
}

const fn reason(finish: Finish) -> v1::FinishReason {
    match finish {
        Finish::STOP => v1::FinishReason::Stop,
        Finish::STOP_SEQUENCE => v1::FinishReason::StopSequence,
        Finish::LENGTH => v1::FinishReason::Length,
        Finish::CANCELLED => v1::FinishReason::Cancelled,
        Finish::DEADLINE => v1::FinishReason::Deadline,
        _ => v1::FinishReason::Failed,
    }
}
