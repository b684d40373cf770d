//! What is committed to of how an answer was sampled.

use std::sync::Arc;

use crate::constraint::Constraint;
use crate::engine::Mode;
use crate::request::Generate;
use crate::sampler::SamplingParameters;

/// A line for each parameter, as whoever opens the commitment reads it.
pub(crate) fn sampling_text(request: &Generate, parameters: &SamplingParameters, seed: u64, mode: Mode) -> Arc<[u8]> {
    let SamplingParameters { temperature, top_k, top_p, min_p, .. } = parameters;
    let (repetition, presence) = (parameters.repetition_penalty, parameters.presence_penalty);
    let frequency = parameters.frequency_penalty;
    let mut text = format!(
        "loam/sampling/v1\ntemperature {temperature}\ntop_k {top_k}\ntop_p {top_p}\nmin_p {min_p}\n\
        repetition_penalty {repetition}\npresence_penalty {presence}\nfrequency_penalty {frequency}\n\
        seed {seed}\ndtype {}\nmode {}\nmin_tokens {}\nignore_eos {}\nform {}\n",
        mode.dtype,
        mode.arithmetic(),
        request.min_tokens,
        request.ignore_eos,
        request.constraint.as_ref().map_or("none", Constraint::field),
    );
    for (token, bias) in &parameters.logit_bias {
        text.push_str(&format!("logit_bias {token} {bias}\n"));
    }
    text.into_bytes().into()
}
