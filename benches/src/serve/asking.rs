//! One answer, and when its parts came.

use std::time::Instant;

use anyhow::{Context as _, ensure};
use loam_proto::v1;
use loam_proto::v1::inference_client::InferenceClient;
use tokio::task::JoinSet;
use tonic::metadata::AsciiMetadataValue;
use tonic::transport::Channel;

/// What is asked.
#[derive(Clone)]
pub(super) struct Question {
    pub(super) prompt: Vec<u32>,
    pub(super) adapter: Option<String>,
    pub(super) tokens: u32,
    pub(super) receipt: bool,
    /// Under whose key.
    pub(super) key: Option<AsciiMetadataValue>,
}

/// When its parts came.
pub(super) struct Told {
    pub(super) last_token: Instant,
    pub(super) receipt: Option<Instant>,
}

impl Question {
    /// So many tokens after a prompt of so many, which begins as no other prompt with another number does.
    pub(super) fn new(number: u32, prompt_tokens: u32, tokens: u32) -> Self {
        // Few low token ids: every model has them, and what they say does not matter.
        let token =
            |at: u32| (number.wrapping_mul(7919) ^ number >> 7).wrapping_add(at.wrapping_mul(104_729)) % 900 + 50;
        let prompt = (0..prompt_tokens).map(token).collect();
        Self { prompt, adapter: None, tokens, receipt: false, key: None }
    }

    /// The whole answer.
    pub(super) async fn ask(self, channel: Channel) -> anyhow::Result<Told> {
        use v1::generate_response::Event;
        let mut call = tonic::Request::new(v1::GenerateRequest {
            prompt: Some(v1::generate_request::Prompt::Tokens(v1::TokenIds { ids: self.prompt })),
            adapters: self.adapter.into_iter().map(|name| v1::AdapterUse { name, weight: None }).collect(),
            sampling: Some(v1::Sampling { temperature: Some(0.0), ..Default::default() }),
            ends: Some(v1::Ends { max_tokens: Some(self.tokens), ignore_eos: true, ..Default::default() }),
            receipt: self.receipt,
            ..Default::default()
        });
        if let Some(key) = self.key {
            call.metadata_mut().insert("authorization", key);
        }
        let mut stream = InferenceClient::new(channel).generate(call).await?.into_inner();
        let (mut tokens, mut last_token, mut receipt) = (0, None, None);
        while let Some(message) = stream.message().await? {
            match message.event {
                Some(Event::Tokens(more)) => {
                    tokens += more.tokens.len();
                    last_token = Some(Instant::now());
                }
                Some(Event::Receipt(_)) => receipt = Some(Instant::now()),
                _ => {}
            }
        }
        ensure!(tokens == self.tokens as usize, "{tokens} tokens came where {} were asked for", self.tokens);
        ensure!(receipt.is_some() == self.receipt, "a receipt is there where none was asked for, or is not there");
        Ok(Told { last_token: last_token.context("an answer has a token")?, receipt })
    }
}

/// Asks all at once, and returns when all are answered.
pub(super) async fn all(channel: &Channel, questions: Vec<Question>) -> anyhow::Result<Vec<Told>> {
    let mut asking = JoinSet::new();
    for question in questions {
        asking.spawn(question.ask(channel.clone()));
    }
    asking.join_all().await.into_iter().collect()
}
