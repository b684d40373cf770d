//! Requests that run: how they begin, and each way in which they end. What was computed is recorded, whatever the end.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::{Duration, Instant};

use loam_ledger_core::Hash;
use loam_ledger_core::row::{Finish, Pair, Tokens};

use super::inbox::{Admitted, Place, RequestId};
use super::masks::Ready;
use super::{State, Worker};
use crate::adapter::{AdapterId, Generation, Reference};
use crate::answer::{Answer, Gate};
use crate::constraint::ConstraintState;
use crate::delivery::{Delivered, Outlet};
use crate::error::Error;
use crate::event::{Event, Failure, Finished, PromptScores, Started, TokensEvent};
use crate::executor::Sampled;
use crate::recorder::{Key, NotBegun, RecordFailed, RowRecord};
use crate::request::{WEIGHT_MAX, WEIGHT_MILLIONTHS_MAX, weight_factor};
use crate::sampler::{SequenceSampler, choice_seed};
use crate::scheduler::{Refused, Sequence, SequenceId, TenantId};
use crate::usage::{Account, Contents};

/// A request from the moment that all about it is known.
pub(super) struct Running {
    pub(super) key: Key,
    pub(super) tenant: TenantId,
    pub(super) outlet: Arc<Outlet>,
    pub(super) prompt: Arc<[u32]>,
    pub(super) sampling: Arc<[u8]>,
    /// Generations and the weights that they compute with, in order of generation.
    pub(super) adapters: Vec<(Generation, f32)>,
    pub(super) answers: BTreeMap<u32, Answer>,
    /// Where a form is asked for and its first mask is there: how every answer begins. Each has a copy from its first token
    /// on, so that those who wait take no memory for it.
    pub(super) beginning: Option<(Box<ConstraintState>, Vec<u32>)>,
    /// What was asked for of the prompt, as far as it came.
    pub(super) scores: Option<Scores>,
    pub(super) logits: bool,
    /// Keeps the generations alive.
    pub(super) _references: Vec<Reference>,
    /// Keeps the place in the queue.
    pub(super) _place: Option<Place>,
}

/// Log-probabilities of a prompt while its chunks are computed.
#[derive(Default)]
pub(super) struct Scores {
    /// Whether its tokens' are wanted, or only the logits after it.
    pub(super) wanted: bool,
    pub(super) tokens: Vec<Sampled>,
    pub(super) sent: bool,
}

impl Worker {
    /// Takes a request in: at once where its adapters are known, else when they have been read.
    pub(super) fn take_in(&mut self, mut admitted: Box<Admitted>) -> Result<(), RecordFailed> {
        if self.state.stop_at.is_some() {
            admitted.outlet.send(Event::Failed(Failure::Stopping));
            return Ok(());
        }
        self.count_found(&admitted);
        // What was read since the request was checked is known by now; nobody would tell of it again.
        for mixed in &mut admitted.adapters {
            mixed.generation = mixed.generation.or_else(|| self.catalog.generation(mixed.id));
        }
        let unread: Vec<AdapterId> = admitted.unread();
        if unread.is_empty() {
            return self.begin(admitted);
        }
        for adapter in unread {
            self.read_adapter(adapter);
        }
        self.state.unread.insert(admitted.id, admitted);
        Ok(())
    }

    /// Begins a request whose adapters are known.
    pub(super) fn begin(&mut self, mut admitted: Box<Admitted>) -> Result<(), RecordFailed> {
        if admitted.deadline.is_some_and(|deadline| deadline <= Instant::now()) {
            admitted.outlet.send(Event::Failed(Failure::Deadline));
            return Ok(());
        }
        admitted.sort_adapters();
        let pairs = admitted.pairs();
        let root = self.prefix_root(&admitted.facts.tenant, &pairs);
        let sampler = sampler_of(&admitted);
        let sequences = self.sequences(&admitted, root);
        // Before anything is recorded of it: what could never be computed is refused whole.
        let unfit = || sequences.iter().find_map(|sequence| self.scheduler.check(sequence).err());
        if let Some(failure) = weight_beyond(&admitted).or_else(|| Some(refused_failure(&unfit()?))) {
            self.state.metrics.failed += 1;
            admitted.outlet.send(Event::Failed(failure));
            return Ok(());
        }
        let (key, name) = match self.recorder.begin(&admitted.facts) {
            Ok(begun) => begun,
            Err(NotBegun::Failed(failed)) => return Err(failed),
            Err(NotBegun::Refused { reason }) => {
                admitted.outlet.send(Event::Failed(Failure::Refused { reason }));
                return Ok(());
            }
        };
        admitted.outlet.send(Event::Started(admitted.started(name, &pairs)));
        let mut running = Running {
            key,
            tenant: admitted.tenant,
            outlet: Arc::clone(&admitted.outlet),
            prompt: Arc::clone(&admitted.prompt),
            sampling: Arc::clone(&admitted.sampling),
            adapters: pairs
                .iter()
                .map(|pair| (Generation(pair.generation), weight_factor(pair.weight_millionths)))
                .collect(),
            answers: BTreeMap::new(),
            beginning: None,
            scores: (admitted.prompt_logprobs || admitted.logits)
                .then(|| Scores { wanted: admitted.prompt_logprobs, ..Scores::default() }),
            logits: admitted.logits,
            _references: Vec::new(),
            _place: admitted.place.take(),
        };
        let now_ms = self.now_ms();
        let mut refused = None;
        for (choice, sequence) in (0..).zip(sequences) {
            let id = sequence.id;
            if let Err(error) = self.scheduler.submit(sequence, now_ms) {
                refused = Some(error);
                break;
            }
            self.state.choices.insert(id, (admitted.id, choice));
            let account = Account::new(key, choice, pairs.clone());
            running.answers.insert(choice, answer_of(&admitted, id, &sampler, account));
            // The first mask is that of all.
            if let Some(form) = admitted.form.take() {
                self.masks.ask((admitted.tenant, admitted.id), id, Box::new(form), None);
            }
        }
        running._references = admitted.adapters.drain(..).map(|mixed| mixed.reference).collect();
        self.state.requests.insert(admitted.id, running);
        if let Some(refused) = refused {
            self.fail(admitted.id, &refused_failure(&refused));
        }
        Ok(())
    }

    /// A form's next mask is there, or its grammar cannot go on.
    pub(super) fn open_gate(&mut self, sequence: SequenceId, ready: Ready) {
        let Some(&(request, choice)) = self.state.choices.get(&sequence) else { return };
        let running = self.state.requests.get_mut(&request).expect("a choice belongs to a request");
        match ready {
            Ok(begun) if running.beginning.is_none() => {
                running.beginning = Some(begun);
                // Until now none of them could draw, so all are there.
                running.answers.values().for_each(|answer| self.scheduler.open_gate(answer.sequence));
            }
            Ok((state, mask)) => {
                let answer = running.answers.get_mut(&choice).expect("a running choice has an answer");
                answer.gate = Gate::Open { state, mask };
                self.scheduler.open_gate(sequence);
            }
            Err(error) => self.fail(request, &Failure::Request(Arc::new(error))),
        }
    }

    /// Ends an answer that came to its end.
    pub(super) fn finish(&mut self, request: RequestId, choice: u32, finish: Finish) {
        self.end_answer(request, choice, finish, None, true);
    }

    /// Ends a request because nobody waits for it.
    pub(super) fn cancel(&mut self, request: RequestId) {
        if let Some(admitted) = self.state.unread.remove(&request) {
            admitted.outlet.send(Event::Failed(Failure::Cancelled));
        }
        self.cut(request, Finish::CANCELLED, true);
    }

    /// Ends a request in its midst: what was released to its client is what is recorded as delivered.
    pub(super) fn cut(&mut self, request: RequestId, finish: Finish, tell: bool) {
        let Some(running) = self.state.requests.get(&request) else { return };
        let choices: Vec<u32> = running.answers.keys().copied().collect();
        if finish == Finish::DEADLINE {
            self.release_held(request);
        }
        let Some(running) = self.state.requests.get(&request) else { return };
        let delivered = running.outlet.close(&choices);
        for choice in choices {
            let cut = delivered.get(&choice).copied().unwrap_or_default();
            self.end_answer(request, choice, finish, Some(cut), tell);
        }
        // One that never had an answer has nothing to end.
        self.state.requests.remove(&request);
    }

    /// Sends the text that answers held back, as the beginning of a stop that does not come any more: where all tokens
    /// before it are delivered.
    fn release_held(&mut self, request: RequestId) {
        let Some(running) = self.state.requests.get_mut(&request) else { return };
        for (&choice, answer) in &mut running.answers {
            if running.outlet.delivered_tokens(choice) == answer.output.len() {
                let text = answer.release();
                if !text.is_empty() {
                    running.outlet.send(Event::Tokens(TokensEvent { choice, tokens: Vec::new(), text }));
                }
            }
        }
    }

    /// Ends a request with a failure of its own, which its client hears of when what was computed is recorded.
    pub(super) fn fail(&mut self, request: RequestId, failure: &Failure) {
        if let Some(admitted) = self.state.unread.remove(&request) {
            self.state.metrics.failed += 1;
            admitted.outlet.send(Event::Failed(failure.clone()));
        }
        let Some(running) = self.state.requests.get(&request) else { return };
        let outlet = Arc::clone(&running.outlet);
        self.state.metrics.failed += 1;
        self.cut(request, Finish::FAILED, false);
        self.state.messages.push(&outlet, Event::Failed(failure.clone()));
    }

    /// Ends everything at once without recording it: the record is what failed.
    pub(super) fn end_all(&mut self, failure: &Failure) {
        let running = std::mem::take(&mut self.state.requests);
        let unread = std::mem::take(&mut self.state.unread);
        let outlets = running.values().map(|running| &running.outlet).chain(unread.values().map(|it| &it.outlet));
        outlets.for_each(|outlet| outlet.send(Event::Failed(failure.clone())));
    }

    /// Time is up: what still runs ends.
    pub(super) fn cancel_all(&mut self) {
        self.fail_all(&Failure::Stopping);
    }

    /// Ends everything, with its rows.
    pub(super) fn fail_all(&mut self, failure: &Failure) {
        let all: BTreeSet<RequestId> = self.state.requests.keys().chain(self.state.unread.keys()).copied().collect();
        all.into_iter().for_each(|request| self.fail(request, failure));
    }

    /// Cancels what nobody listens to any more.
    pub(super) fn forget_the_gone(&mut self) {
        let gone = |(id, running): (&RequestId, &Running)| running.outlet.is_gone().then_some(*id);
        let gone: Vec<RequestId> = self.state.requests.iter().filter_map(gone).collect();
        gone.into_iter().for_each(|request| self.cut(request, Finish::CANCELLED, true));
    }

    fn end_answer(&mut self, request: RequestId, choice: u32, finish: Finish, cut: Option<Delivered>, tell: bool) {
        let Some(running) = self.state.requests.get_mut(&request) else { return };
        let Some(mut answer) = running.answers.remove(&choice) else { return };
        let discarded = self.discarded(answer.sequence);
        if discarded != Tokens::default() {
            answer.count(self.sequence, discarded, self.now_ms());
        }
        let State { requests, rows, messages, metrics, choices, .. } = &mut self.state;
        metrics.tokens = metrics.tokens.checked_add(&discarded).unwrap_or(metrics.tokens);
        let running = requests.get_mut(&request).expect("it was just found");
        choices.remove(&answer.sequence);
        self.scheduler.finish(answer.sequence);
        let last = running.answers.is_empty();
        let contents = Contents {
            prompt: Arc::clone(&running.prompt),
            sampling: Arc::clone(&running.sampling),
            last_of_request: last,
            ..Contents::default()
        };
        let stopped_by = answer.stops.stopped_by().filter(|_| finish == Finish::STOP_SEQUENCE);
        let (usage, completion) = answer.complete(finish, contents, cut);
        rows.extend(usage.map(RowRecord::Usage));
        let finished = Finished { choice, finish, stopped_by, tokens: completion.tokens, entry: None, last };
        rows.push(RowRecord::Completion(Box::new(completion)));
        if tell {
            messages.push(&running.outlet, Event::Finished(finished));
        }
        metrics.finish(finish);
        if last {
            requests.remove(&request);
        }
    }

    /// What was asked for of a prompt, when its last row was computed.
    pub(super) fn send_scores(&mut self, id: SequenceId, logits: Option<Vec<f32>>) {
        let (request, choice) = self.state.choices[&id];
        let running = self.state.requests.get_mut(&request).expect("its step just ran");
        let Some(scores) = running.scores.as_mut().filter(|scores| choice == 0 && !scores.sent) else { return };
        scores.sent = true;
        let event = PromptScores { tokens: std::mem::take(&mut scores.tokens), logits };
        self.state.messages.push(&running.outlet, Event::Prompt(event));
    }

    /// What the scheduler is told of a request: a sequence for each choice, all with the same deadline.
    fn sequences(&mut self, admitted: &Admitted, prefix_root: Hash) -> Vec<Sequence> {
        let ms = |time: Duration| u64::try_from(time.as_millis()).unwrap_or(u64::MAX);
        let since_began = |at: Instant| ms(at.saturating_duration_since(self.state.began));
        let deadline_ms = admitted.deadline.map(since_began);
        let arrived_ms = since_began(admitted.arrived);
        let first = SequenceId(self.state.next_sequence);
        self.state.next_sequence += u64::from(admitted.choices);
        let sequence = |choice: u32| Sequence {
            id: SequenceId(first.0 + u64::from(choice)),
            tenant: admitted.tenant,
            leader: (choice > 0).then_some(first),
            prompt: Arc::clone(&admitted.prompt),
            output_tokens_max: admitted.output_tokens_max,
            prefix_root,
            // A prompt whose rows are all wanted is computed whole.
            reuse: choice > 0 || !admitted.prompt_logprobs,
            adapters: admitted.adapters.iter().map(|mixed| mixed.id).collect(),
            priority: admitted.priority,
            deadline_ms,
            arrived_ms,
            gated: admitted.gated,
        };
        (0..admitted.choices).map(sequence).collect()
    }

    /// What a prefix is known by: the base, the adapters and weights, the types, the tenant; then the tokens.
    fn prefix_root(&self, tenant: &str, pairs: &[Pair]) -> Hash {
        let mut parts: Vec<Vec<u8>> = vec![b"loam/prefix/v1\0".to_vec(), self.identity.0.to_vec()];
        parts.push((pairs.len() as u64).to_be_bytes().to_vec());
        for pair in pairs {
            parts.push(pair.generation.0.to_vec());
            parts.push(pair.weight_millionths.to_be_bytes().to_vec());
        }
        parts.push(tenant.as_bytes().to_vec());
        loam_ledger_core::hash::digest(&parts.concat())
    }
}

/// Two names of one adapter are one, with the sum of their weights.
fn weight_beyond(admitted: &Admitted) -> Option<Failure> {
    let mixed = admitted.adapters.iter().find(|it| it.weight_millionths.abs() > WEIGHT_MILLIONTHS_MAX)?;
    let found = format!("{} for two names of one adapter", weight_factor(mixed.weight_millionths));
    let allowed = format!("-{WEIGHT_MAX} to {WEIGHT_MAX} in all");
    Some(Failure::Request(Arc::new(Error::Request { field: "adapters.weight", found, allowed })))
}

fn refused_failure(refused: &Refused) -> Failure {
    Failure::Request(Arc::new(Error::Refused(refused.clone())))
}

/// How every choice's tokens are chosen, but for its seed.
fn sampler_of(admitted: &Admitted) -> SequenceSampler {
    let Admitted { parameters, seed, logprobs, prompt, vocabulary, .. } = admitted;
    SequenceSampler::new(parameters, *seed, *logprobs, prompt, *vocabulary)
        .expect("parameters were checked at admission")
}

fn answer_of(admitted: &Admitted, sequence: SequenceId, sampler: &SequenceSampler, account: Account) -> Answer {
    let choice = account.choice();
    Answer {
        sequence,
        choice,
        account,
        sampler: sampler.with_seed(choice_seed(admitted.seed, choice)),
        stops: admitted.stops.clone(),
        detokenizer: admitted.detokenizer.clone(),
        gate: if admitted.gated { Gate::Beginning } else { Gate::Free },
        output: Vec::new(),
        text: String::new(),
        reused: 0,
    }
}

impl Admitted {
    /// Adapters whose contents nobody has seen yet.
    pub(super) fn unread(&self) -> Vec<AdapterId> {
        let unread = self.adapters.iter().filter(|mixed| mixed.generation.is_none());
        unread.map(|mixed| mixed.id).collect()
    }

    /// In order of generation, as they compute and are recorded. Two names of one generation are one adapter.
    fn sort_adapters(&mut self) {
        self.adapters.sort_by_key(|mixed| mixed.generation);
        self.adapters.dedup_by(|later, earlier| {
            let same = later.generation == earlier.generation;
            if same {
                earlier.weight_millionths += later.weight_millionths;
            }
            same
        });
    }

    fn started(&self, name: Option<Hash>, pairs: &[Pair]) -> Started {
        let adapters = pairs.iter().map(|pair| (Generation(pair.generation), pair.weight_millionths));
        Started { name, prompt: Arc::clone(&self.prompt), adapters: adapters.collect() }
    }

    fn pairs(&self) -> Vec<Pair> {
        let pair = |mixed: &super::inbox::Mixed| Pair {
            generation: mixed.generation.expect("all were read").0,
            weight_millionths: mixed.weight_millionths,
        };
        self.adapters.iter().map(pair).collect()
    }
}
