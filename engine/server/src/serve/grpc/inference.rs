//! `loam.v1.Inference`.

use std::sync::Arc;

use loam_engine::Event;
use loam_engine::recorder::RequestFacts;
use loam_engine::request::Prompt;
use loam_proto::v1;
use loam_wire::{Problem, grpc as wire};
use prost::Message as _;
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use tonic::metadata::MetadataMap;
use tonic::{Request, Response, Status};

use super::raw::RawMessage;
use super::{admitted, caller, status};
use crate::access::Scope;
use crate::serve::answering::{self, Answering};
use crate::serve::node::Node;
use crate::serve::patience;

/// The service.
pub(super) struct Service(pub(super) Arc<Node>);

/// Messages on their way to one client, beside those that wait for it.
const MESSAGES_MAX: usize = 16;

#[tonic::async_trait]
impl v1::inference_server::Inference for Service {
    type GenerateStream = ReceiverStream<Result<v1::GenerateResponse, Status>>;

    async fn generate(&self, request: Request<v1::GenerateRequest>) -> Result<Response<Self::GenerateStream>, Status> {
        let (caller, admitted) = (caller(&request, Scope::Infer)?, admitted(&request)?);
        let raw = request.extensions().get::<RawMessage>().cloned();
        let deadline_ms = timeout_ms(request.metadata());
        let mut asked = wire::asked(request.into_inner()).map_err(|problem| status(&problem))?;
        asked.generate.deadline_ms = deadline_ms;
        if asked.receipt {
            self.0.ledger().map_err(|problem| status(&problem))?;
        }
        let facts = RequestFacts {
            client_nonce: asked.nonce,
            request_bytes: raw.map(|raw| raw.0.as_ref().into()).unwrap_or_default(),
            ..RequestFacts::default()
        };
        let told = Told {
            logprobs: asked.generate.logprobs.is_some(),
            prompt: asked.generate.prompt_logprobs,
            receipts: if asked.receipt { asked.generate.n } else { 0 },
        };
        let answering = answering::begin(&self.0, (&caller, admitted), vec![asked.generate], facts).await;
        let mut answering = answering.map_err(|problem| status(&wire::called(problem)))?;
        answering.is_streaming = true;
        let (sender, receiver) = mpsc::channel(MESSAGES_MAX);
        tokio::spawn(tell(Arc::clone(&self.0), answering, told, sender));
        Ok(Response::new(ReceiverStream::new(receiver)))
    }

    async fn tokenize(&self, request: Request<v1::TokenizeRequest>) -> Result<Response<v1::TokenizeResponse>, Status> {
        caller(&request, Scope::Infer)?;
        let request = request.into_inner();
        let tokens = self.0.blocking_long(request.encoded_len(), move |node| {
            use v1::tokenize_request::Prompt as Given;
            let text = node.engine.text();
            let prompt = match request.prompt {
                Some(Given::Text(given)) if request.no_special_tokens => {
                    let none = || Problem::field("text", "this model has no tokenizer");
                    return Ok(text.tokenizer().ok_or_else(none)?.encode(&given, false)?);
                }
                Some(Given::Text(given)) => Prompt::Text(given),
                Some(Given::Chat(chat)) => Prompt::Chat(wire::chat(chat)?),
                None => return Err(Problem::field("prompt", "`prompt` is absent; it can be `text` or `chat`")),
            };
            Ok(text.prompt(&prompt)?)
        });
        let tokens = tokens.await.map_err(|problem| status(&wire::called(problem)))?;
        let max_model_len = self.0.engine.limits().step.positions.try_into().unwrap_or(u32::MAX);
        Ok(Response::new(v1::TokenizeResponse { tokens, max_model_len }))
    }

    async fn detokenize(
        &self,
        request: Request<v1::DetokenizeRequest>,
    ) -> Result<Response<v1::DetokenizeResponse>, Status> {
        caller(&request, Scope::Infer)?;
        let v1::DetokenizeRequest { tokens, special_tokens } = request.into_inner();
        let text = self.0.blocking(move |node| {
            let none = || Problem::field("tokens", "this model has no tokenizer");
            let tokenizer = node.engine.text().tokenizer().ok_or_else(none)?;
            let vocabulary = node.engine.limits().step.vocabulary;
            if let Some(token) = tokens.iter().find(|token| **token as usize >= vocabulary) {
                return Err(Problem::field("tokens", format!("token {token} is not below {vocabulary}")));
            }
            Ok(tokenizer.decode(&tokens, !special_tokens))
        });
        let text = text.await.map_err(|problem| status(&problem))?;
        Ok(Response::new(v1::DetokenizeResponse { text }))
    }
}

/// What a stream says beside tokens.
struct Told {
    logprobs: bool,
    prompt: bool,
    /// Choices that a receipt is wanted of.
    receipts: u32,
}

/// One answer's messages. It ends at once when nobody listens any more, and what runs is cancelled.
async fn tell(
    node: Arc<Node>,
    mut answering: Answering,
    told: Told,
    sender: mpsc::Sender<Result<v1::GenerateResponse, Status>>,
) {
    use v1::generate_response::Event as Message;
    let say = |event: Message| patience::say(&sender, Ok(v1::GenerateResponse { event: Some(event) }));
    loop {
        let next = tokio::select! {
            () = sender.closed() => return,
            next = answering.next() => next,
        };
        let message = match next {
            Some((_, Event::Started(started))) => wire::started(&started),
            Some((_, Event::Prompt(scores))) if told.prompt => wire::prompt_scores(&scores),
            Some((_, Event::Prompt(_))) => continue,
            Some((_, Event::Tokens(tokens))) => wire::tokens(tokens, told.logprobs),
            Some((_, Event::Finished(finished))) => wire::finished(&finished),
            Some((_, Event::Failed(failure))) => {
                let _ = patience::say(&sender, Err(status(&wire::called(answering::failed(&failure))))).await;
                return;
            }
            None => break,
        };
        if say(message).await.is_err() {
            return;
        }
    }
    let Some(name) = answering.name(0) else { return };
    for choice in 0..told.receipts {
        match node.blocking(move |node| node.receipt_of(&name, choice)).await {
            Ok(tlog_proof) => {
                answering.receipt_made(0);
                if say(Message::Receipt(v1::Receipt { choice, tlog_proof })).await.is_err() {
                    return;
                }
            }
            Err(problem) => {
                let _ = patience::say(&sender, Err(status(&problem))).await;
                return;
            }
        }
    }
}

/// The deadline that a call brings: up to eight digits and a unit.
fn timeout_ms(metadata: &MetadataMap) -> Option<u64> {
    let text = metadata.get("grpc-timeout")?.to_str().ok()?;
    let (number, unit) = text.split_at_checked(text.len().checked_sub(1)?)?;
    let number: u64 = number.parse().ok().filter(|_| number.len() <= 8)?;
    let ms = match unit {
        "H" => number * 3_600_000,
        "M" => number * 60_000,
        "S" => number * 1_000,
        "m" => number,
        "u" => number / 1_000,
        "n" => number / 1_000_000,
        _ => return None,
    };
    Some(ms.max(1))
}
