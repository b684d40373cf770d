//! What other threads tell the loop.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc::{self, Receiver, Sender};
use std::time::Instant;

use super::masks::Ready;
use crate::adapter::{AdapterId, Generation, LoaderEvent, Reference};
use crate::constraint::ConstraintState;
use crate::delivery::Outlet;
use crate::detokenizer::Detokenizer;
use crate::error::Error;
use crate::recorder::RequestFacts;
use crate::sampler::SamplingParameters;
use crate::scheduler::{SequenceId, TenantId};
use crate::stops::Stops;

/// A request's number within one engine.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct RequestId(pub u64);

/// One thing to tell.
pub(crate) enum Message {
    /// A request that was checked and has its place.
    Submit(Box<Admitted>),
    /// Nobody waits for it any more.
    Cancel(RequestId),
    /// An adapter was read, copied, or could not be.
    Loader(LoaderEvent),
    /// The next token's mask is there.
    Mask(SequenceId, Ready),
    /// What the catalog asks to be kept resident may be something else now.
    CatalogChanged,
    /// Finish what runs until then, and end.
    Stop(Instant),
}

/// A request that was checked, tokenised, and has its place in the queue.
pub(crate) struct Admitted {
    pub(crate) id: RequestId,
    pub(crate) outlet: Arc<Outlet>,
    pub(crate) facts: RequestFacts,
    pub(crate) tenant: TenantId,
    pub(crate) prompt: Arc<[u32]>,
    pub(crate) adapters: Vec<Mixed>,
    pub(crate) parameters: SamplingParameters,
    pub(crate) seed: u64,
    pub(crate) logprobs: Option<u32>,
    /// Parameters, seed, data type and mode, as they are committed to.
    pub(crate) sampling: Arc<[u8]>,
    pub(crate) stops: Stops,
    pub(crate) detokenizer: Option<Detokenizer>,
    /// Where a form is asked for: its beginning, until its first mask is asked for.
    pub(crate) form: Option<ConstraintState>,
    pub(crate) output_tokens_max: u32,
    pub(crate) choices: u32,
    /// Whether each draw waits for a mask.
    pub(crate) gated: bool,
    /// Tokens that the model has.
    pub(crate) vocabulary: usize,
    pub(crate) prompt_logprobs: bool,
    pub(crate) logits: bool,
    pub(crate) priority: i32,
    pub(crate) arrived: Instant,
    pub(crate) deadline: Option<Instant>,
    /// Until it begins to run.
    pub(crate) place: Option<Place>,
}

/// An adapter of a request and its weight in millionths.
pub(crate) struct Mixed {
    pub(crate) id: AdapterId,
    /// None until it was read.
    pub(crate) generation: Option<Generation>,
    pub(crate) weight_millionths: i64,
    /// Held until the last step that uses it is over.
    pub(crate) reference: Reference,
}

/// The loop's ear, and how many requests it has taken on.
#[derive(Clone)]
pub(crate) struct Inbox {
    sender: Sender<Message>,
    taken: Arc<AtomicUsize>,
    requests_max: usize,
}

/// A request's place among those that the engine takes on at once, given back when it ends.
pub(crate) struct Place(Arc<AtomicUsize>);

impl Inbox {
    /// An inbox for at most so many requests, waiting and running.
    pub(crate) fn new(requests_max: usize) -> (Self, Receiver<Message>) {
        let (sender, receiver) = mpsc::channel();
        (Self { sender, taken: Arc::default(), requests_max }, receiver)
    }

    /// A place for one more request, or none.
    pub(crate) fn place(&self) -> Result<Place, Error> {
        let more = |taken| (taken < self.requests_max).then_some(taken + 1);
        match self.taken.fetch_update(Ordering::Relaxed, Ordering::Relaxed, more) {
            Ok(_) => Ok(Place(Arc::clone(&self.taken))),
            Err(_) => Err(Error::Full { what: "the queue of requests", limit: self.requests_max }),
        }
    }

    /// Tells the loop. After it ended nobody hears, which whoever waits for an answer is told otherwise.
    pub(crate) fn tell(&self, message: Message) -> bool {
        self.sender.send(message).is_ok()
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}
