//! What the scheduler may use, and what it refuses.

use thiserror::Error as ThisError;

/// Limits and rates. All times are in milliseconds of the clock that the caller's `now_ms` comes from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SchedulerOptions {
    /// Pages of keys and values.
    pub pages: u32,
    /// Positions in a page.
    pub page_tokens: u32,
    /// Slots for adapters.
    pub slots: u32,
    /// Rows of a step.
    pub step_tokens_max: u32,
    /// Rows of a step that read prompts; what draws may use the rest too.
    pub prefill_tokens_max: u32,
    /// Prompts of one tenant that are read at once, where one step could not read what is left of them.
    pub prefills_per_tenant_max: u32,
    /// Sequences that run at once; at most [`SchedulerOptions::step_tokens_max`] do.
    pub running_max: u32,
    /// Sequences that wait.
    pub waiting_max: usize,
    /// Of those, sequences of one tenant: a flood leaves the others room.
    pub waiting_per_tenant_max: usize,
    /// Whoever lacks only slots waits so long before running ones must make room.
    pub adapter_wait_ms_max: u64,
    /// A tenant of whom nothing runs waits so long before running ones must make room.
    pub share_wait_ms_max: u64,
    /// Whoever must make room for others has run at least so long, and has drawn at least once.
    pub turn_ms_min: u64,
    /// Adapters that are read from disk at once.
    pub loads_max: usize,
    /// Bytes of adapters in host memory.
    pub host_bytes_max: usize,
    /// Bytes of adapters on the device.
    pub device_bytes_max: usize,
    /// Whether a step may be laid before the one before it is known.
    pub ahead: bool,
    /// What a row of a prompt counts.
    pub input_cost: u64,
    /// What a drawn token counts.
    pub output_cost: u64,
}

impl Default for SchedulerOptions {
    fn default() -> Self {
        Self {
            pages: 1024,
            page_tokens: 16,
            slots: 64,
            step_tokens_max: 2048,
            prefill_tokens_max: 2048,
            prefills_per_tenant_max: 4,
            running_max: 256,
            waiting_max: 4096,
            waiting_per_tenant_max: 2048,
            adapter_wait_ms_max: 3000,
            share_wait_ms_max: 1000,
            turn_ms_min: 1000,
            loads_max: 4,
            host_bytes_max: 8 << 30,
            device_bytes_max: 2 << 30,
            ahead: true,
            input_cost: 1,
            output_cost: 2,
        }
    }
}

/// Why a sequence was not taken.
#[derive(Clone, Debug, PartialEq, Eq, ThisError)]
#[expect(missing_docs, reason = "each variant's message is its documentation")]
pub enum Refused {
    #[error("{limit} requests wait already; try again later")]
    Full { limit: usize },
    #[error("{limit} requests of this tenant wait already; try again later")]
    TenantFull { limit: usize },
    #[error("the prompt is empty; it must have a token")]
    PromptEmpty,
    #[error("prompt and output together need {needed} pages of {page_tokens} tokens; there are {pages}")]
    PromptTooLong { needed: u64, page_tokens: u32, pages: u32 },
    #[error("{found} adapters are asked for; there is room for {max} at once")]
    AdaptersTooMany { found: usize, max: usize },
    #[error("an adapter is named twice; name each once")]
    AdapterRepeated,
    #[error("the adapters need {bytes} bytes beside what is pinned; {max} may be resident")]
    AdaptersTooLarge { bytes: usize, max: usize },
    #[error("sequence {0} was submitted before; each has a number of its own")]
    Repeated(u64),
}
