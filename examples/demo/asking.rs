//! Asking over gRPC: the same question to all at once, each with a nonce of its own and a receipt at the end.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use anyhow::{Context as _, bail};
use loam_proto::v1;
use prost::Message as _;
use tokio::sync::mpsc;
use tokio::task::JoinSet;
use tonic::transport::Channel;

use crate::choice::{BASE, Choice};

/// How long an answer may take.
const ANSWER_PATIENCE: Duration = Duration::from_secs(15 * 60);

/// News of all answers that wait to be shown.
const NEWS_MAX: usize = 256;

/// A client of one server.
pub(crate) struct Client {
    pub(crate) channel: Channel,
}

/// The keys that check the logs' checkpoints.
pub(crate) struct LogKeys {
    pub(crate) records: String,
    pub(crate) usage: String,
}

/// A question to one of those that answer.
pub(crate) struct Asked {
    pub(crate) name: String,
    nonce: [u8; 32],
    request: v1::GenerateRequest,
}

/// What its client holds of one answer: all that its receipt is held against.
#[derive(Clone)]
pub(crate) struct Answer {
    pub(crate) name: String,
    pub(crate) nonce: [u8; 32],
    /// The request, byte for byte as it was sent.
    pub(crate) request: Vec<u8>,
    pub(crate) text: String,
    pub(crate) tokens: u64,
    /// The adapter that took part, if one did: its generation.
    pub(crate) generation: Option<Vec<u8>>,
    pub(crate) receipt: Vec<u8>,
}

/// All answers, the base model's first, and how long they took together.
pub(crate) struct Crowd {
    pub(crate) answers: Vec<Answer>,
    pub(crate) took: Duration,
}

/// What happens to an answer, by its place in the crowd.
pub(crate) struct News {
    pub(crate) place: usize,
    /// Further text, or none: it is complete.
    pub(crate) text: Option<String>,
}

impl Client {
    pub(crate) async fn connect(url: &str) -> anyhow::Result<Self> {
        let endpoint = Channel::from_shared(url.to_owned()).with_context(|| format!("the server's address {url}"))?;
        Ok(Self { channel: endpoint.connect().await.with_context(|| format!("connecting to {url}"))? })
    }

    pub(crate) async fn info(&self) -> anyhow::Result<v1::InfoResponse> {
        let mut server = v1::server_client::ServerClient::new(self.channel.clone());
        Ok(server.info(v1::InfoRequest {}).await.context("Server.Info")?.into_inner())
    }

    pub(crate) async fn log_keys(&self) -> anyhow::Result<LogKeys> {
        let mut ledger = v1::ledger_client::LedgerClient::new(self.channel.clone());
        let logs = ledger.logs(v1::LogsRequest {}).await.context("Ledger.Logs")?.into_inner().logs;
        let key = |begin: &str| {
            let log = logs.iter().find(|log| log.log.starts_with(begin));
            log.map(|log| log.verifier_key.clone()).with_context(|| format!("the ledger has no log named {begin}"))
        };
        Ok(LogKeys { records: key("records")?, usage: key("usage/")? })
    }

    /// Whether the model has a template for chats: it renders one, or says that it cannot.
    pub(crate) async fn renders_chats(&self, choice: &Choice) -> bool {
        let mut inference = v1::inference_client::InferenceClient::new(self.channel.clone());
        let prompt = Some(v1::tokenize_request::Prompt::Chat(chat(choice)));
        inference.tokenize(v1::TokenizeRequest { prompt, ..Default::default() }).await.is_ok()
    }

    /// Asks all at once, and tells what comes as it comes.
    pub(crate) async fn crowd(&self, asked: Vec<Asked>, tell: &mut dyn FnMut(&News)) -> anyhow::Result<Crowd> {
        let began = Instant::now();
        let (sender, mut news) = mpsc::channel(NEWS_MAX);
        // Dropped, as where somebody interrupts the demo, it ends them all, and the server drops what nobody waits for.
        let mut asking = JoinSet::new();
        for (place, asked) in (0..).zip(asked) {
            let answer = asked.answer(place, self.channel.clone(), sender.clone());
            asking.spawn(async move { (place, answer.await) });
        }
        drop(sender);
        while let Some(news) = news.recv().await {
            tell(&news);
        }
        let (mut answers, mut ended) = (BTreeMap::new(), began);
        while let Some(answer) = asking.join_next().await {
            let (place, answer) = answer.context("an answer broke off")?;
            let (answer, at) = answer?;
            answers.insert(place, answer);
            ended = ended.max(at);
        }
        let answers = answers.into_values().collect();
        Ok(Crowd { answers, took: ended - began })
    }
}

/// One request to each.
pub(crate) fn requests(choice: &Choice, is_chat: bool) -> anyhow::Result<Vec<Asked>> {
    let prompt = match is_chat {
        true => v1::generate_request::Prompt::Chat(chat(choice)),
        false => v1::generate_request::Prompt::Text(choice.question.clone()),
    };
    choice.names().map(|name| Asked::new(name, prompt.clone(), choice)).collect()
}

fn chat(choice: &Choice) -> v1::Chat {
    let message = v1::ChatMessage { role: "user".to_owned(), content: choice.question.clone(), ..Default::default() };
    v1::Chat { messages: vec![message], ..Default::default() }
}

impl Asked {
    fn new(name: &str, prompt: v1::generate_request::Prompt, choice: &Choice) -> anyhow::Result<Self> {
        let mut nonce = [0; 32];
        getrandom::fill(&mut nonce).ok().context("the operating system gives no randomness for a nonce")?;
        let adapters = match name {
            BASE => Vec::new(),
            name => vec![v1::AdapterUse { name: name.to_owned(), weight: None }],
        };
        let request = v1::GenerateRequest {
            prompt: Some(prompt),
            adapters,
            sampling: Some(v1::Sampling { temperature: Some(choice.temperature), ..Default::default() }),
            ends: Some(v1::Ends { max_tokens: Some(choice.max_tokens), ..Default::default() }),
            nonce: nonce.to_vec(),
            receipt: true,
            ..Default::default()
        };
        Ok(Self { name: name.to_owned(), nonce, request })
    }

    /// The whole answer with its receipt, and when its last token came.
    async fn answer(
        self,
        place: usize,
        channel: Channel,
        news: mpsc::Sender<News>,
    ) -> anyhow::Result<(Answer, Instant)> {
        use v1::generate_response::Event;
        let Self { name, nonce, request } = self;
        let failed = |what: &str| format!("the answer of {name} {what}");
        let mut answer = Answer {
            name: name.clone(),
            nonce,
            request: request.encode_to_vec(),
            text: String::new(),
            tokens: 0,
            generation: None,
            receipt: Vec::new(),
        };
        let mut call = tonic::Request::new(request);
        call.set_timeout(ANSWER_PATIENCE);
        let mut inference = v1::inference_client::InferenceClient::new(channel);
        let mut stream = inference.generate(call).await.with_context(|| failed("was refused"))?.into_inner();
        let mut ended = None;
        while let Some(message) = stream.message().await.with_context(|| failed("broke off"))? {
            match message.event {
                Some(Event::Started(started)) => {
                    answer.generation = started.adapters.into_iter().next().map(|it| it.generation);
                }
                Some(Event::Tokens(tokens)) => {
                    answer.tokens += tokens.tokens.len() as u64;
                    answer.text.push_str(&tokens.text);
                    let _ = news.send(News { place, text: Some(tokens.text) }).await;
                }
                Some(Event::Finished(finished)) => {
                    complete(finished.reason()).with_context(|| failed("is not complete"))?;
                    ended = Some(Instant::now());
                    let _ = news.send(News { place, text: None }).await;
                }
                Some(Event::Receipt(receipt)) => answer.receipt = receipt.tlog_proof,
                Some(Event::Prompt(_)) | None => {}
            }
        }
        if answer.receipt.is_empty() {
            bail!(failed("came without a receipt"));
        }
        Ok((answer, ended.with_context(|| failed("never ended"))?))
    }
}

fn complete(reason: v1::FinishReason) -> anyhow::Result<()> {
    match reason {
        v1::FinishReason::Stop | v1::FinishReason::StopSequence | v1::FinishReason::Length => Ok(()),
        other => bail!("it ended because of {}", other.as_str_name()),
    }
}
