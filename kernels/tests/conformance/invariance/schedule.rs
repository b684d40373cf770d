//! Requests, and the steps in which their tokens are computed.

use loam_kernels::layout::{Pair, Scored, Segment, StepInputs, StepLimits};

/// One request: its tokens and the adapters that all of them use.
#[derive(Clone, Debug)]
pub(crate) struct Request {
    pub(crate) tokens: Vec<u32>,
    /// Adapter and weight, in order of generation.
    pub(crate) adapters: Vec<(usize, f32)>,
}

/// Steps; in each, requests and how many of their next tokens it computes.
pub(crate) type Schedule = Vec<Vec<(usize, usize)>>;

/// Each request by itself, all its tokens in one step.
pub(crate) fn whole(requests: &[Request]) -> Schedule {
    requests.iter().enumerate().map(|(request, it)| vec![(request, it.tokens.len())]).collect()
}

/// Each request by itself, in chunks.
pub(crate) fn chunks(requests: &[Request], chunk: usize) -> Schedule {
    let of_request = |(request, it): (usize, &Request)| {
        let tokens = it.tokens.len();
        (0..tokens).step_by(chunk).map(move |from| vec![(request, chunk.min(tokens - from))]).collect::<Vec<_>>()
    };
    requests.iter().enumerate().flat_map(of_request).collect()
}

/// All requests together, each in chunks of a size of its own; who is done leaves, and the order turns at each step.
pub(crate) fn crowd(requests: &[Request], chunk_sizes: &[usize]) -> Schedule {
    let mut left: Vec<usize> = requests.iter().map(|it| it.tokens.len()).collect();
    let mut schedule = Schedule::new();
    while left.iter().any(|left| *left > 0) {
        let mut step = Vec::new();
        for place in 0..requests.len() {
            let request = (place + schedule.len()) % requests.len();
            let count = chunk_sizes[request % chunk_sizes.len()].min(left[request]);
            left[request] -= count;
            // One without rows is allowed, and must not disturb the others.
            step.push((request, count));
        }
        schedule.push(step);
    }
    schedule
}

/// What limits a run: enough pages for all requests, in no order.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Space {
    pub(crate) vocabulary: usize,
    pub(crate) page_tokens: usize,
    pub(crate) pages: usize,
    pub(crate) slots: usize,
}

impl Space {
    pub(crate) fn new(requests: &[Request], vocabulary: usize, page_tokens: usize, slots: usize) -> Self {
        let pages = requests.iter().map(|it| it.tokens.len().div_ceil(page_tokens)).sum::<usize>();
        Self { vocabulary, page_tokens, pages, slots }
    }

    pub(crate) fn limits(&self, requests: &[Request]) -> StepLimits {
        let positions = requests.iter().map(|it| it.tokens.len()).max().unwrap_or(0);
        let Self { vocabulary, page_tokens, pages, slots } = *self;
        StepLimits { vocabulary, positions, pages, page_tokens, slots }
    }

    /// A request's page table: every page has one owner, and neighbours lie apart.
    pub(crate) fn table(&self, requests: &[Request], request: usize) -> Vec<u32> {
        let needed = |it: &Request| it.tokens.len().div_ceil(self.page_tokens);
        let first: usize = requests[..request].iter().map(needed).sum();
        let stride = (self.pages / 2..).find(|stride| coprime(*stride, self.pages)).unwrap_or(1);
        (first..first + needed(&requests[request])).map(|index| (index * stride % self.pages) as u32).collect()
    }

    /// One step's inputs: every row is sampled, and scored by the token that follows.
    pub(crate) fn inputs(
        &self,
        requests: &[Request],
        done: &[usize],
        step: &[(usize, usize)],
        slot_of: &[u32],
    ) -> StepInputs {
        let mut inputs = StepInputs::default();
        let mut pairs = vec![Vec::new(); slot_of.len()];
        for &(request, count) in step {
            let (it, first_row, at) = (&requests[request], inputs.tokens.len(), done[request]);
            let table = self.table(requests, request);
            inputs.segments.push(Segment {
                first_row: first_row as u32,
                rows: count as u32,
                first_position: at as u32,
                first_page: inputs.pages.len() as u32,
                pages: table.len() as u32,
            });
            inputs.pages.extend(table);
            for index in 0..count {
                let row = (first_row + index) as u32;
                inputs.tokens.push(it.tokens[at + index]);
                inputs.sampled.push(row);
                let token = it.tokens[(at + index + 1) % it.tokens.len()];
                inputs.scored.push(Scored { row, token });
                for &(adapter, weight) in &it.adapters {
                    pairs[adapter].push(Pair { row, slot: slot_of[adapter], weight });
                }
            }
        }
        inputs.pairs = pairs.into_iter().flatten().collect();
        inputs
    }
}

fn coprime(a: usize, b: usize) -> bool {
    if b == 0 { a == 1 } else { coprime(b, a % b) }
}
