//! One step, top to bottom.

use std::collections::BTreeSet;
use std::ops::Range;
use std::sync::Arc;

use loam_kernels::layout::Sampling;
use loam_ledger_core::entry::ROWS_MAX;
use loam_ledger_core::row::{Finish, Tokens};

use super::{Flight, Pace, RequestId, State, Worker};
use crate::adapter::Generation;
use crate::answer::Gate;
use crate::batch::{self, Laid, Requested};
use crate::delivery::{DeliveryMode, Messages};
use crate::error::Error;
use crate::event::{Event, Failure};
use crate::executor::{Batch, Outputs};
use crate::recorder::{Key, RecordFailed, RowRecord, StepRecord};
use crate::scheduler::{Chunk, Ended, Plan, SequenceId, Why};

impl Worker {
    /// Chooses a step and launches it, unless one is in flight; launches the one after it, where nothing is to be decided
    /// first; and hands on what the first one said.
    pub(super) fn step(&mut self) -> Result<Pace, RecordFailed> {
        self.end_the_late();
        self.act();
        let flight = match self.flight.take() {
            Some(flight) => flight,
            None => match self.decide()? {
                Ok(flight) => flight,
                Err(pace) => return Ok(pace),
            },
        };
        self.flight = self.launch_ahead(&flight);
        let Flight { plan, laid, ticket } = flight;
        let outputs = ticket.and_then(|ticket| self.executor.collect(ticket)).and_then(|outputs| whole(&laid, outputs));
        let has_something_to_say = match outputs {
            Ok(outputs) => self.apply(&plan, &laid, outputs),
            Err(error) => self.step_failed(&plan, error),
        };
        let tokens = std::mem::take(&mut self.step_tokens);
        if has_something_to_say || !self.state.rows.is_empty() {
            self.record(&tokens)?;
        }
        Ok(Pace::Busy)
    }

    /// A step of all who can have a row, and of whatever else is to be done; or how to go on where there is none.
    fn decide(&mut self) -> Result<Result<Flight, Pace>, RecordFailed> {
        let now_ms = self.now_ms();
        let mut plan = self.scheduler.schedule(now_ms);
        self.act();
        let nothing = plan.is_empty();
        self.note(&plan);
        if nothing {
            // Nothing to compute. Ends that no step can carry have an entry of their own.
            let waits = !self.state.rows.is_empty();
            if waits {
                self.record(&Tokens::default())?;
            }
            return Ok(Err(if waits { Pace::Busy } else { Pace::Idle }));
        }
        // A request that ended with one of its choices is computed no more.
        plan.chunks.retain(|chunk| self.state.choices.contains_key(&chunk.id));
        let laid = batch::lay(&plan, self);
        Ok(Ok(self.launch(plan, laid)))
    }

    /// The step after one in flight, of those who only go on.
    fn launch_ahead(&mut self, flight: &Flight) -> Option<Flight> {
        if self.executor.steps_ahead() == 0 || flight.ticket.is_err() {
            return None;
        }
        let plan = self.scheduler.schedule_ahead(&flight.plan, self.now_ms())?;
        let laid = batch::lay_ahead(&plan, &flight.laid, self);
        Some(self.launch(plan, laid))
    }

    fn launch(&mut self, plan: Plan, laid: Laid) -> Flight {
        let batch = self.batch(&plan, &laid);
        let ticket = self.executor.launch(&batch);
        Flight { plan, laid, ticket }
    }

    /// What the plan says of requests that it does not compute.
    fn note(&mut self, plan: &Plan) {
        for &Ended { id, why } in &plan.ended {
            let Some(&(request, _)) = self.state.choices.get(&id) else { continue };
            match why {
                Why::DeadlinePassed => self.cut(request, Finish::DEADLINE, true),
                Why::AdaptersTooLarge => self.fail(request, &Failure::AdaptersTooLarge),
            }
        }
        for id in &plan.preempted {
            self.state.metrics.preempted += 1;
            // What was computed so far has its row before it is thrown away.
            if let Some(row) = self.answer_mut(*id).and_then(|answer| answer.account.row()) {
                self.state.rows.push(RowRecord::Usage(row));
            }
        }
        for admitted in &plan.admitted {
            // What a resumed one finds again it had computed itself.
            if let Some(answer) = self.answer_mut(admitted.id).filter(|_| !admitted.resumed) {
                answer.reused = u64::from(admitted.reused_tokens);
            }
        }
    }

    /// All that the executor is told.
    fn batch(&self, plan: &Plan, laid: &Laid) -> Batch {
        let follows: BTreeSet<SequenceId> = plan.chunks.iter().filter(|it| it.follows).map(|it| it.id).collect();
        let sampling = laid.sampled.iter().map(|row| match row.draws {
            true if follows.contains(&row.id) => self.sampling_ahead(row.id),
            true => self.sampling(row.id),
            false => Sampling::default(),
        });
        let sampling = sampling.collect();
        let uploaded = &self.state.uploaded;
        let installs = plan.installs.iter().map(|install| {
            let adapter = install.adapter.map(|it| uploaded[&it].clone());
            (install.slot, adapter)
        });
        Batch {
            installs: installs.collect(),
            copies: plan.copies.clone(),
            sampling,
            logits: laid.logits.clone(),
            inputs: laid.inputs.clone(),
        }
    }

    /// Hands a step's outputs to the answers that they belong to, but for rows in vain, whose answers have ended; those are
    /// counted already. Says whether there were others.
    fn apply(&mut self, plan: &Plan, laid: &Laid, outputs: Outputs) -> bool {
        self.scheduler.computed(plan);
        // Not before: a step that failed is followed by one that installs the same.
        for adapter in plan.installs.iter().filter_map(|install| install.adapter) {
            self.state.uploaded.remove(&adapter);
        }
        let metrics = &mut self.state.metrics;
        metrics.steps += 1;
        metrics.steps_ahead += u64::from(plan.chunks.iter().any(|chunk| chunk.follows));
        metrics.rows += laid.inputs.tokens.len() as u64;
        let draws: BTreeSet<SequenceId> = laid.sampled.iter().filter(|row| row.draws).map(|row| row.id).collect();
        let now_ms = self.now_ms();
        let lives = plan.chunks.iter().map(|chunk| chunk.id).filter(|id| self.state.choices.contains_key(id));
        let lives: BTreeSet<SequenceId> = lives.collect();
        for chunk in plan.chunks.iter().filter(|chunk| lives.contains(&chunk.id)) {
            let tokens = Tokens { emitted: u64::from(draws.contains(&chunk.id)), ..self.rows_of(chunk) };
            self.step_tokens = self.step_tokens.checked_add(&tokens).expect("a step has few tokens");
            let sequence = self.sequence;
            self.answer_mut(chunk.id).expect("what is computed runs").count(sequence, tokens, now_ms);
            self.open.insert(chunk.id);
        }
        for ((id, _), scored) in laid.scored.iter().zip(outputs.scored).filter(|((id, _), _)| lives.contains(id)) {
            let (request, _) = self.state.choices[id];
            let running = self.state.requests.get_mut(&request).expect("what is computed runs");
            running.scores.as_mut().expect("rows are scored for who asked").tokens.push(scored);
        }
        let mut logits = laid.logits.iter().zip(outputs.logits).peekable();
        for (place, (row, sampled)) in (0..).zip(laid.sampled.iter().zip(outputs.sampled)) {
            let wanted = logits.next_if(|(at, _)| **at == place).map(|(_, logits)| logits);
            // Nor of a request that failed with another of its rows.
            if !lives.contains(&row.id) || !self.state.choices.contains_key(&row.id) {
                continue;
            }
            self.send_scores(row.id, wanted);
            if row.draws {
                self.take(row.id, sampled);
            }
        }
        let metrics = &mut self.state.metrics;
        metrics.tokens = metrics.tokens.checked_add(&self.step_tokens).unwrap_or(metrics.tokens);
        !lives.is_empty()
    }

    /// Gives an answer its next token.
    fn take(&mut self, id: SequenceId, drawn: crate::executor::Sampled) {
        let (request, choice) = self.state.choices[&id];
        let token = drawn.chosen.token;
        if !drawn.chosen.log_probability.is_finite() {
            // Whatever was chosen among such numbers means nothing.
            return self.fail(request, &Failure::Request(Arc::new(Error::LogitsNotFinite)));
        }
        let running = self.state.requests.get_mut(&request).expect("what is computed runs");
        let answer = running.answers.get_mut(&choice).expect("a running choice has an answer");
        let taken = answer.take(drawn);
        self.state.messages.push(&running.outlet, Event::Tokens(taken.event));
        if let Some(finish) = taken.finish {
            return self.finish(request, choice, finish);
        }
        self.scheduler.push_token(id, token);
        let state = match std::mem::replace(&mut answer.gate, Gate::Away) {
            Gate::Open { state, .. } => state,
            Gate::Beginning => {
                let (beginning, _) = running.beginning.as_ref().expect("its first mask let it draw");
                Box::new(beginning.fork())
            }
            Gate::Free | Gate::Away => {
                answer.gate = Gate::Free;
                return;
            }
        };
        self.masks.ask((running.tenant, request), id, state, Some(token));
    }

    /// A step that failed ends the requests that were in it, and those whose adapters it was to take; no others. What was
    /// launched after it came of nothing. Where the device is lost, all end. Says whether there were any.
    fn step_failed(&mut self, plan: &Plan, error: Error) -> bool {
        self.scheduler.failed(plan);
        if let Some(Flight { plan, ticket, .. }) = self.flight.take() {
            if let Ok(ticket) = ticket {
                // Whatever it says: its rows are computed again, if anybody lives who has one.
                let _ = self.executor.collect(ticket);
            }
            self.scheduler.failed(&plan);
        }
        let error = Arc::new(error);
        let of_chunk = |chunk: &Chunk| self.state.choices.get(&chunk.id).map(|(request, _)| *request);
        let requests: BTreeSet<RequestId> = plan.chunks.iter().filter_map(of_chunk).collect();
        if error.is_device_lost() {
            // Before anybody hears of it: whoever asks again is refused.
            self.ahead.lose(error.to_string());
            self.lost = Some(Arc::clone(&error));
            self.fail_all(&Failure::Device(Arc::clone(&error)));
        }
        requests.into_iter().for_each(|request| self.fail(request, &Failure::Step(Arc::clone(&error))));
        for adapter in plan.installs.iter().filter_map(|install| install.adapter) {
            // Else every later step would fail over it.
            self.state.uploaded.remove(&adapter);
            self.adapter_failed(adapter, Arc::clone(&error));
        }
        !plan.chunks.is_empty()
    }

    /// Appends the step's entry and its rows; what it said leaves as the delivery mode has it.
    fn record(&mut self, tokens: &Tokens) -> Result<(), RecordFailed> {
        let now_ms = self.now_ms();
        let mut open = BTreeSet::<Key>::new();
        let State { choices, requests, rows, .. } = &mut self.state;
        self.open.retain(|id| {
            let Some((request, choice)) = choices.get(id) else { return false };
            let running = requests.get_mut(request).expect("a choice belongs to a request");
            let account = &mut running.answers.get_mut(choice).expect("a running choice has an answer").account;
            if account.is_due(now_ms) {
                rows.extend(account.row().map(RowRecord::Usage));
            }
            if account.is_open() {
                open.insert(running.key);
            }
            account.is_open()
        });
        let mut rows = std::mem::take(&mut self.state.rows);
        let (mut prefilled_tokens, mut emitted_tokens) = (tokens.prefilled, tokens.emitted);
        // What ended at once may be more than one entry holds: the tokens are in the first, the rows follow in order, and
        // nothing counts as closed before the last.
        while rows.len() > ROWS_MAX as usize {
            let later = rows.split_off(ROWS_MAX as usize);
            let unclosed: BTreeSet<Key> = later.iter().map(RowRecord::request).chain(open.iter().copied()).collect();
            let open_requests = unclosed.len() as u64;
            let part = StepRecord { prefilled_tokens, emitted_tokens, open_requests, rows };
            self.recorder.append(part, self.ahead.acknowledge(Messages::default()))?;
            (prefilled_tokens, emitted_tokens, rows) = (0, 0, later);
        }
        let mut messages = std::mem::take(&mut self.state.messages);
        if self.delivery == DeliveryMode::Eager {
            messages.send_early();
        }
        let open_requests = open.len() as u64;
        let record = StepRecord { prefilled_tokens, emitted_tokens, open_requests, rows };
        self.recorder.append(record, self.ahead.acknowledge(messages))?;
        self.sequence = self.recorder.sequence()?;
        Ok(())
    }

    /// What a chunk's rows count as. A decode row is counted by the token that it draws.
    fn rows_of(&self, chunk: &Chunk) -> Tokens {
        let (request, _) = self.state.choices[&chunk.id];
        let prompt = self.state.requests[&request].prompt.len() as u64;
        let rows = chunk.tokens.len() as u64;
        let recomputed = u64::from(chunk.recomputed_rows);
        let of_prompt = prompt.saturating_sub(u64::from(chunk.first_position)).min(rows);
        Tokens { prefilled: of_prompt.saturating_sub(recomputed), recomputed, ..Tokens::default() }
    }

    /// How a sequence's next token is chosen.
    fn sampling(&self, id: SequenceId) -> Sampling {
        let (request, choice) = self.state.choices[&id];
        let running = &self.state.requests[&request];
        let answer = &running.answers[&choice];
        let mask = match &answer.gate {
            Gate::Open { mask, .. } => Some(mask.clone()),
            Gate::Beginning => running.beginning.as_ref().map(|(_, mask)| mask.clone()),
            Gate::Free | Gate::Away => None,
        };
        answer.sampler.next(answer.stops.forbidden(), mask)
    }

    /// How the token after it is chosen, while nobody knows the next one.
    fn sampling_ahead(&self, id: SequenceId) -> Sampling {
        let (request, choice) = self.state.choices[&id];
        let answer = &self.state.requests[&request].answers[&choice];
        answer.sampler.next_but_one(answer.stops.forbidden_after(1))
    }

    fn answer_mut(&mut self, id: SequenceId) -> Option<&mut crate::answer::Answer> {
        let (request, choice) = self.state.choices.get(&id)?;
        self.state.requests.get_mut(request)?.answers.get_mut(choice)
    }
}

/// What the batch asks of each sequence.
impl Requested for Worker {
    fn adapters(&self, id: SequenceId) -> &[(Generation, f32)] {
        let (request, _) = self.state.choices[&id];
        &self.state.requests[&request].adapters
    }

    fn scored(&self, id: SequenceId) -> &[u32] {
        let (request, choice) = self.state.choices[&id];
        let running = &self.state.requests[&request];
        let wanted = choice == 0 && running.scores.as_ref().is_some_and(|scores| scores.wanted && !scores.sent);
        if wanted { &running.prompt } else { &[] }
    }

    fn logits(&self, id: SequenceId) -> Range<u32> {
        let (request, choice) = self.state.choices[&id];
        let running = &self.state.requests[&request];
        let end = running.prompt.len() as u32;
        if choice == 0 && running.logits { end - 1..end } else { 0..0 }
    }
}

/// Refuses outputs that are not one for each row that was asked for.
fn whole(laid: &Laid, outputs: Outputs) -> Result<Outputs, Error> {
    let found = [outputs.sampled.len(), outputs.scored.len(), outputs.logits.len()];
    let expected = [laid.sampled.len(), laid.scored.len(), laid.logits.len()];
    if found == expected {
        return Ok(outputs);
    }
    let found = format!("{found:?} sampled, scored and given as logits");
    Err(Error::Request { field: "a step's outputs", found, allowed: format!("{expected:?}") })
}
