//! The page: every metric, its name, its meaning, its value.

use loam_engine::metrics::Metrics;

use super::meters::Meters;
use super::moment::{AdapterNow, LedgerNow, Level, Moment};
use super::text::{Labels, Page};

/// Adapters that are named on a page at most. There may be thousands, and each name costs every scrape.
pub(crate) const ADAPTERS_NAMED_MAX: usize = 1000;

/// The page for Prometheus.
pub(crate) fn render(meters: &Meters, moment: &Moment) -> String {
    let mut page = Page::default();
    // vLLM numbers its engines; there is one here.
    let labels: Labels<'_> = &[("model_name", &moment.model_name), ("engine", "0")];
    queue(&mut page, labels, moment);
    tokens(&mut page, labels, meters, &moment.engine);
    requests(&mut page, labels, meters);
    lora(&mut page, labels, moment);
    loads(&mut page, &moment.engine);
    if let Some(ledger) = &moment.ledger {
        record(&mut page, ledger);
    }
    page.histogram("loam_ledger_commit_seconds", "From a step's entry to the disk.", &[], &meters.commit);
    page.histogram(
        "loam_receipt_seconds",
        "From an answer's last token to its receipt, for those who wait for it.",
        &[],
        &meters.receipt,
    );
    process(&mut page, moment);
    page.finish()
}

fn queue(page: &mut Page, labels: Labels<'_>, moment: &Moment) {
    let now = &moment.engine.now;
    page.gauge("vllm:num_requests_running", "Sequences that run.").sample(labels, now.running);
    page.gauge("vllm:num_requests_waiting", "Sequences that wait.").sample(labels, now.waiting);
    let usage = if moment.pages == 0 { 0.0 } else { f64::from(now.pages_used) / f64::from(moment.pages) };
    let help = "Pages of keys and values that sequences hold, as a part of all; 1 is full.";
    page.gauge("vllm:kv_cache_usage_perc", help).sample(labels, usage);
    let (block_size, blocks) = (moment.page_tokens.to_string(), moment.pages.to_string());
    let shape = [labels, &[("block_size", block_size.as_str()), ("num_gpu_blocks", blocks.as_str())]].concat();
    page.gauge("vllm:cache_config_info", "Positions in a page, and pages.").sample(&shape, 1);
    let help = "Prompt tokens that were looked for in pages of earlier requests.";
    page.counter("vllm:prefix_cache_queries_total", help).sample(labels, now.prefix_rows_looked_up);
    let help = "Prompt tokens that were found there.";
    page.counter("vllm:prefix_cache_hits_total", help).sample(labels, now.prefix_rows_found);
    let help = "Sequences that gave their pages up for others.";
    page.counter("vllm:num_preemptions_total", help).sample(labels, now.preemptions);
}

fn tokens(page: &mut Page, labels: Labels<'_>, meters: &Meters, engine: &Metrics) {
    // vLLM counts a prompt whole, whatever of it lay in pages already.
    let prompt = engine.tokens.prefilled.saturating_add(engine.tokens.reused);
    page.counter("vllm:prompt_tokens_total", "Tokens of prompts, computed or reused.").sample(labels, prompt);
    let help = "Tokens drawn and kept.";
    page.counter("vllm:generation_tokens_total", help).sample(labels, engine.tokens.emitted);
    let mut success = page.counter("vllm:request_success_total", "Answers that ended, by why.");
    for (reason, count) in meters.endings() {
        success.sample(&[labels, &[("finished_reason", reason)]].concat(), count);
    }
    page.counter("loam_requests_failed_total", "Requests that failed in the engine.").sample(&[], engine.failed);
    page.counter("loam_steps_total", "Steps that ran.").sample(&[], engine.steps);
    page.counter("loam_step_rows_total", "Rows that they computed.").sample(&[], engine.rows);
}

fn requests(page: &mut Page, labels: Labels<'_>, meters: &Meters) {
    let help = "From a request to its first token.";
    page.histogram("vllm:time_to_first_token_seconds", help, labels, &meters.first_token);
    let help = "From one token of an answer to the next.";
    page.histogram("vllm:inter_token_latency_seconds", help, labels, &meters.next_token);
    let help = "The same under vLLM's older name.";
    page.histogram("vllm:time_per_output_token_seconds", help, labels, &meters.next_token);
    let help = "From a request to an answer's last message.";
    page.histogram("vllm:e2e_request_latency_seconds", help, labels, &meters.whole);
    page.histogram("vllm:request_prompt_tokens", "Tokens of a request's prompt.", labels, &meters.prompt_tokens);
    let help = "Tokens of a request's answers.";
    page.histogram("vllm:request_generation_tokens", help, labels, &meters.generation_tokens);
    page.histogram("vllm:request_params_n", "Answers that a request asked for.", labels, &meters.choices);
    let help = "Tokens that a request allowed for an answer, where it said so.";
    page.histogram("vllm:request_params_max_tokens", help, labels, &meters.max_tokens);
    let mut refused = page.counter("loam_requests_refused_total", "Requests that were refused or failed, by kind.");
    for (kind, count) in meters.refusals() {
        refused.sample(&[("kind", kind)], count);
    }
}

fn lora(page: &mut Page, labels: Labels<'_>, moment: &Moment) {
    let slots = moment.slots.to_string();
    let named = |uses: fn(&AdapterNow) -> u32| {
        let used = moment.adapters.iter().filter(|adapter| uses(adapter) > 0).take(ADAPTERS_NAMED_MAX);
        used.map(|adapter| adapter.name.as_str()).collect::<Vec<_>>().join(",")
    };
    let (running, waiting) = (named(|adapter| adapter.running), named(|adapter| adapter.waiting));
    let info = [
        ("max_lora", slots.as_str()),
        ("running_lora_adapters", running.as_str()),
        ("waiting_lora_adapters", waiting.as_str()),
    ];
    let help = "Adapters that requests use now; the value is the time in seconds since 1970.";
    page.gauge("vllm:lora_requests_info", help).sample(&info, moment.now_seconds);

    let mut resident: Vec<(Level, &AdapterNow)> =
        moment.adapters.iter().filter_map(|adapter| Some((adapter.level?, adapter))).collect();
    resident.sort_by_key(|(level, adapter)| (*level, !adapter.pinned, &adapter.name));
    let mut loaded = page.gauge("vllm:lora_adapter_loaded", "1 for each adapter in memory, where that is.");
    for (level, adapter) in resident.iter().take(ADAPTERS_NAMED_MAX) {
        let own = [
            ("adapter_name", adapter.name.as_str()),
            ("level", if *level == Level::Device { "gpu" } else { "cpu" }),
            ("pinned", if adapter.pinned { "true" } else { "false" }),
        ];
        loaded.sample(&[labels, &own].concat(), 1);
    }
    let left_out = resident.len().saturating_sub(ADAPTERS_NAMED_MAX);
    page.gauge("loam_adapters_unnamed", "Adapters in memory that are not named above.").sample(&[], left_out);
    let help = "Adapters that steps can use at once.";
    page.gauge("vllm:num_gpu_loaded_lora_adapters", help).sample(labels, moment.slots_used);
    page.gauge("vllm:max_gpu_lora_adapters", "Adapters that one step can use.").sample(labels, moment.slots);
}

fn loads(page: &mut Page, engine: &Metrics) {
    let (loads, adapters) = (&engine.loads, &engine.adapters);
    page.counter(
        "loam_adapter_loads_total",
        "Adapters read from disk for requests that waited; those loaded by name are read before.",
    )
    .sample(&[], loads.count);
    let help = "Adapters that could not be read.";
    page.counter("loam_adapter_load_failures_total", help).sample(&[], loads.failed);
    #[expect(clippy::cast_precision_loss, reason = "microseconds of less than 285 years")]
    let seconds = loads.micros_sum as f64 / 1e6;
    page.summary("loam_adapter_load_seconds", "What reading adapters took.", seconds, loads.count);
    let mut found = page.counter("loam_adapter_found_total", "Adapters that requests named, by where they were.");
    found.sample(&[("where", "device")], adapters.found_on_device);
    found.sample(&[("where", "host")], adapters.found_in_host);
    found.sample(&[("where", "disk")], adapters.found_nowhere);
    let help = "Bytes of adapters in host memory.";
    page.gauge("loam_adapter_host_bytes", help).sample(&[], adapters.host_bytes);
}

fn record(page: &mut Page, ledger: &LedgerNow) {
    let mut entries = page.counter("loam_ledger_entries_total", "Durable entries, by log.");
    for (log, count) in &ledger.entries {
        entries.sample(&[("log", log)], count);
    }
    let help = "Durable entries that no signed checkpoint covers yet.";
    page.gauge("loam_ledger_publish_lag_entries", help).sample(&[], ledger.publish_lag_entries);
    let help = "Steps that ran and are not yet durable.";
    page.gauge("loam_ledger_backlog_steps", help).sample(&[], ledger.backlog_steps);
    let help = "Bytes that can still be written where the ledger lies.";
    page.gauge("loam_ledger_free_bytes", help).sample(&[], ledger.free_bytes);
    let help = "Free bytes below which no new request is taken.";
    page.gauge("loam_ledger_reserve_bytes", help).sample(&[], ledger.reserve_bytes);
    let help = "1 once the ledger failed: the process must be started again.";
    page.gauge("loam_ledger_failed", help).sample(&[], u8::from(ledger.failed));
}

fn process(page: &mut Page, moment: &Moment) {
    let version = [("version", env!("CARGO_PKG_VERSION"))];
    page.gauge("loam_build_info", "The program's version.").sample(&version, 1);
    let help = "When the process began, in seconds since 1970.";
    page.gauge("process_start_time_seconds", help).sample(&[], moment.started_seconds);
}
