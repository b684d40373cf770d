//! The bodies and chunks of answers, as they are written: keys in this order.

use serde::{Serialize, Serializer};

use super::logprobs::Logprobs;

/// A body or a chunk: all four have the same frame.
#[derive(Serialize)]
pub(super) struct Body<'a, C> {
    pub(super) id: &'a str,
    pub(super) object: &'static str,
    pub(super) created: u64,
    pub(super) model: &'a str,
    pub(super) system_fingerprint: Option<&'a str>,
    pub(super) choices: Vec<C>,
    /// Where a stream ends with it, `null` in the chunks before.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) usage: Option<Option<Usage>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) prompt_token_ids: Option<&'a [u32]>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) prompt_logprobs: Option<Vec<Option<PromptToken>>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) loam: Option<Loam>,
}

/// What was used.
#[derive(Clone, Copy, Serialize)]
pub(super) struct Usage {
    prompt_tokens: u64,
    completion_tokens: u64,
    total_tokens: u64,
    prompt_tokens_details: PromptDetails,
}

#[derive(Clone, Copy, Serialize)]
struct PromptDetails {
    cached_tokens: u64,
}

impl Usage {
    pub(super) const fn new(prompt_tokens: u64, cached_tokens: u64, completion_tokens: u64) -> Self {
        Self {
            prompt_tokens,
            completion_tokens,
            total_tokens: prompt_tokens + completion_tokens,
            prompt_tokens_details: PromptDetails { cached_tokens },
        }
    }
}

/// A choice of a chat's answer.
#[derive(Serialize)]
pub(super) struct ChatChoice<'a> {
    pub(super) index: u64,
    pub(super) message: Message<'a>,
    pub(super) logprobs: Option<&'a Logprobs>,
    #[serde(flatten)]
    pub(super) end: End<'a>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) token_ids: Option<&'a [u32]>,
}

#[derive(Serialize)]
pub(super) struct Message<'a> {
    pub(super) role: &'static str,
    pub(super) content: &'a str,
    pub(super) refusal: Option<&'a str>,
}

/// A choice of a chat's chunk.
#[derive(Serialize)]
pub(super) struct DeltaChoice<'a> {
    pub(super) index: u64,
    pub(super) delta: Delta<'a>,
    pub(super) logprobs: Option<&'a Logprobs>,
    #[serde(flatten)]
    pub(super) end: End<'a>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) token_ids: Option<&'a [u32]>,
}

#[derive(Default, Serialize)]
pub(super) struct Delta<'a> {
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) role: Option<&'static str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) content: Option<&'a str>,
}

/// A choice of a completion, whole or in a chunk.
#[derive(Serialize)]
pub(super) struct TextChoice<'a> {
    pub(super) index: u64,
    pub(super) text: &'a str,
    pub(super) logprobs: Option<&'a Logprobs>,
    #[serde(flatten)]
    pub(super) end: End<'a>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) token_ids: Option<&'a [u32]>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) prompt_token_ids: Option<&'a [u32]>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) prompt_logprobs: Option<Vec<Option<PromptToken>>>,
}

/// Why a choice ended; both are `null` until it has.
#[derive(Clone, Copy, Default, Serialize)]
pub(super) struct End<'a> {
    pub(super) finish_reason: Option<&'static str>,
    pub(super) stop_reason: Option<StopReason<'a>>,
}

/// The stop string or the stop token that was met.
#[derive(Clone, Copy, Serialize)]
#[serde(untagged)]
pub(super) enum StopReason<'a> {
    Token(u32),
    Text(&'a str),
}

/// A token of the prompt by its id, and others in its place, each with how probable it was.
pub(super) struct PromptToken(pub(super) Vec<(u32, PromptScore)>);

#[derive(Serialize)]
pub(super) struct PromptScore {
    pub(super) logprob: f32,
    /// From 1.
    pub(super) rank: u32,
    pub(super) decoded_token: String,
}

impl Serialize for PromptToken {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_map(self.0.iter().map(|(token, score)| (token, score)))
    }
}

/// What is ours: of the one request, or of each where there were several prompts.
#[derive(Serialize)]
#[serde(untagged)]
pub(super) enum Loam {
    One(LoamRequest),
    Several { requests: Vec<LoamRequest> },
}

/// What is ours of one request.
#[derive(Default, Serialize)]
pub(super) struct LoamRequest {
    /// The prompt's place, where there were several.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) prompt: Option<usize>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) receipt_id: Option<String>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub(super) adapters: Vec<LoamAdapter>,
    /// Of each choice in order, the log entry with its completion row.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub(super) entries: Vec<Option<u64>>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub(super) receipts: Vec<LoamReceipt>,
}

#[derive(Clone, Serialize)]
pub(super) struct LoamAdapter {
    pub(super) generation: String,
    pub(super) weight_millionths: i64,
}

#[derive(Clone, Serialize)]
pub(super) struct LoamReceipt {
    /// As in `choices`.
    pub(super) index: u64,
    pub(super) tlog_proof: String,
}

impl LoamRequest {
    pub(super) fn is_empty(&self) -> bool {
        self.receipt_id.is_none() && self.adapters.is_empty() && self.entries.is_empty() && self.receipts.is_empty()
    }
}

/// A body's or a chunk's text.
pub(super) fn text<C: Serialize>(body: &Body<'_, C>) -> String {
    serde_json::to_string(body).expect("keys are texts and numbers are finite")
}
