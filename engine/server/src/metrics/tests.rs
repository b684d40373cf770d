//! The page, read back by a strict reader.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use loam_engine::MemoryRecorder;
use loam_engine::metrics::{Adapters, Loads, Metrics};
use loam_engine::recorder::{Recorder as _, StepRecord};
use loam_ledger_core::row::{Finish, Tokens};
use loam_wire::Kind;

use super::render::ADAPTERS_NAMED_MAX;
use super::{AdapterNow, LedgerNow, Level, Meters, Moment, Timed, render};

/// A page as a scraper understands it.
#[derive(Default)]
struct Read {
    /// Types by name, in order of appearance.
    families: Vec<(String, String)>,
    samples: BTreeMap<String, f64>,
}

impl Read {
    /// Reads a page, or panics where the format does not allow what it finds.
    fn page(text: &str) -> Self {
        assert!(text.ends_with('\n') && text.is_ascii());
        let mut read = Self::default();
        let mut helped = BTreeSet::new();
        for line in text.lines() {
            if let Some(help) = line.strip_prefix("# HELP ") {
                let (name, help) = help.split_once(' ').expect("HELP has a text");
                assert!(helped.insert(name.to_owned()) && !help.is_empty(), "HELP of {name} comes twice");
            } else if let Some(kind) = line.strip_prefix("# TYPE ") {
                let (name, kind) = kind.split_once(' ').expect("TYPE has a type");
                assert!(read.families.iter().all(|(other, _)| other != name), "TYPE of {name} comes twice");
                assert!(helped.contains(name), "HELP of {name} comes first");
                read.families.push((name.to_owned(), kind.to_owned()));
            } else {
                read.sample(line);
            }
        }
        read.families.iter().for_each(|(name, kind)| read.check(name, kind));
        read
    }

    fn sample(&mut self, line: &str) {
        let (family, kind) = self.families.last().expect("a TYPE comes before its samples");
        let end = line.find(|c: char| !c.is_ascii_alphanumeric() && c != '_' && c != ':').expect("a name ends");
        let suffix = line[..end].strip_prefix(family.as_str()).expect("samples follow their TYPE");
        let allowed: &[&str] = match kind.as_str() {
            "histogram" => &["_bucket", "_sum", "_count"],
            "summary" => &["_sum", "_count"],
            _ => &[""],
        };
        assert!(allowed.contains(&suffix), "{line}");
        let rest = &line[end..];
        let (labels, value) = if rest.starts_with('{') { labels(rest) } else { (Vec::new(), rest) };
        let value: f64 = value.strip_prefix(' ').expect("a space before the value").parse().expect("a number");
        let names: BTreeSet<&String> = labels.iter().map(|(name, _)| name).collect();
        assert_eq!(names.len(), labels.len(), "a label comes twice: {line}");
        let labels: Vec<String> = labels.iter().map(|(name, value)| format!("{name}={value}")).collect();
        let key = format!("{}{{{}}}", &line[..end], labels.join("|"));
        assert!(self.samples.insert(key, value).is_none(), "a sample comes twice: {line}");
    }

    /// The rules of a family's type.
    fn check(&self, name: &str, kind: &str) {
        assert_eq!(kind == "counter", name.ends_with("_total"), "{name} is a {kind}");
        if kind != "histogram" {
            return;
        }
        let bucket = format!("{name}_bucket{{");
        let mut series: BTreeMap<String, Vec<(f64, f64)>> = BTreeMap::new();
        for (key, count) in self.samples.iter().filter(|(key, _)| key.starts_with(&bucket)) {
            let (labels, le) = key[bucket.len()..].trim_end_matches('}').rsplit_once("le=").expect("a bound");
            let bound = if le == "+Inf" { f64::INFINITY } else { le.parse().expect("a bound is a number") };
            series.entry(labels.trim_end_matches('|').to_owned()).or_default().push((bound, *count));
        }
        assert!(!series.is_empty(), "{name} has no buckets");
        for (labels, mut buckets) in series {
            buckets.sort_by(|one, other| one.0.total_cmp(&other.0));
            assert!(buckets.is_sorted_by(|one, other| one.0 < other.0 && one.1 <= other.1), "{name} is not cumulative");
            let last = buckets.last().expect("there are buckets");
            assert!(last.0.is_infinite(), "{name} has no bucket for all");
            assert_eq!(last.1, self.samples[&format!("{name}_count{{{labels}}}")]);
            assert!(self.samples.contains_key(&format!("{name}_sum{{{labels}}}")));
        }
    }

    #[track_caller]
    fn value(&self, key: &str) -> f64 {
        *self.samples.get(key).unwrap_or_else(|| panic!("{key} is not among {:#?}", self.samples.keys()))
    }
}

/// Labels between braces, unescaped; and what follows them.
fn labels(text: &str) -> (Vec<(String, String)>, &str) {
    let mut rest = &text[1..];
    let mut labels = Vec::new();
    loop {
        let (name, after) = rest.split_once("=\"").expect("a label has a value");
        assert!(name.bytes().all(|byte| byte.is_ascii_lowercase() || byte == b'_'), "label {name}");
        let (mut value, mut characters) = (String::new(), after.char_indices());
        let end = loop {
            match characters.next().expect("a value ends") {
                (at, '"') => break at + 1,
                (_, '\\') => value.push(match characters.next().expect("something is escaped").1 {
                    'n' => '\n',
                    same @ ('\\' | '"') => same,
                    other => panic!("\\{other} is no escape"),
                }),
                (_, other) => value.push(other),
            }
        };
        labels.push((name.to_owned(), value));
        match after[end..].split_at(1) {
            (",", after) => rest = after,
            ("}", after) => return (labels, after),
            (other, _) => panic!("{other:?} after a label"),
        }
    }
}

fn adapter(name: &str, level: Option<Level>, running: u32, waiting: u32) -> AdapterNow {
    AdapterNow { name: name.to_owned(), level, pinned: name == "pinned", running, waiting }
}

fn moment() -> Moment {
    let mut engine = Metrics {
        steps: 11,
        rows: 12,
        tokens: Tokens { prefilled: 100, reused: 20, recomputed: 7, discarded: 1, emitted: 30 },
        loads: Loads { count: 2, failed: 1, micros_sum: 1_500_000, ..Loads::default() },
        adapters: Adapters {
            found_on_device: 5,
            found_in_host: 4,
            found_nowhere: 3,
            host_bytes: 99,
            ..Adapters::default()
        },
        ..Metrics::default()
    };
    (engine.now.running, engine.now.waiting, engine.now.pages_used) = (3, 2, 25);
    (engine.now.prefix_rows_looked_up, engine.now.prefix_rows_found, engine.now.preemptions) = (120, 20, 6);
    Moment {
        now_seconds: 1_800_000_000.5,
        started_seconds: 1_700_000_000.25,
        model_name: "tiny".to_owned(),
        engine,
        pages: 100,
        page_tokens: 32,
        slots: 8,
        slots_used: 1,
        adapters: vec![
            adapter("clay", Some(Level::Device), 2, 1),
            adapter("pinned", Some(Level::Host), 0, 0),
            adapter("loess", None, 0, 3),
        ],
        ledger: Some(LedgerNow {
            entries: vec![("records".to_owned(), 3), ("usage/1".to_owned(), 40)],
            publish_lag_entries: 5,
            backlog_steps: 1,
            free_bytes: 1 << 60,
            reserve_bytes: 1 << 30,
            failed: true,
        }),
    }
}

fn meters() -> Meters {
    Meters::default()
}

const MODEL: &str = "model_name=tiny|engine=0";

#[test]
fn every_metric_has_its_name() {
    let read = Read::page(&render(&meters(), &moment()));
    let mut names: Vec<String> = read.families.iter().map(|(name, kind)| format!("{name} {kind}")).collect();
    names.sort();
    let expected = "\
        loam_adapter_found_total counter, loam_adapter_host_bytes gauge, loam_adapter_load_failures_total counter, \
        loam_adapter_load_seconds summary, loam_adapter_loads_total counter, loam_adapters_unnamed gauge, \
        loam_build_info gauge, loam_ledger_backlog_steps gauge, loam_ledger_commit_seconds histogram, \
        loam_ledger_entries_total counter, loam_ledger_failed gauge, loam_ledger_free_bytes gauge, \
        loam_ledger_publish_lag_entries gauge, loam_ledger_reserve_bytes gauge, loam_receipt_seconds histogram, \
        loam_requests_failed_total counter, loam_requests_refused_total counter, loam_step_rows_total counter, \
        loam_steps_total counter, process_start_time_seconds gauge, vllm:cache_config_info gauge, \
        vllm:e2e_request_latency_seconds histogram, vllm:generation_tokens_total counter, \
        vllm:inter_token_latency_seconds histogram, vllm:kv_cache_usage_perc gauge, vllm:lora_adapter_loaded gauge, \
        vllm:lora_requests_info gauge, vllm:max_gpu_lora_adapters gauge, vllm:num_gpu_loaded_lora_adapters gauge, \
        vllm:num_preemptions_total counter, vllm:num_requests_running gauge, vllm:num_requests_waiting gauge, \
        vllm:prefix_cache_hits_total counter, vllm:prefix_cache_queries_total counter, \
        vllm:prompt_tokens_total counter, vllm:request_generation_tokens histogram, \
        vllm:request_params_max_tokens histogram, vllm:request_params_n histogram, \
        vllm:request_prompt_tokens histogram, vllm:request_success_total counter, \
        vllm:time_per_output_token_seconds histogram, vllm:time_to_first_token_seconds histogram";
    assert_eq!(names.join(", "), expected);
}

#[test]
fn values_are_the_engines() {
    let read = Read::page(&render(&meters(), &moment()));
    for (name, value) in [
        ("vllm:num_requests_running", 3.0),
        ("vllm:num_requests_waiting", 2.0),
        ("vllm:kv_cache_usage_perc", 0.25),
        ("vllm:prefix_cache_queries_total", 120.0),
        ("vllm:prefix_cache_hits_total", 20.0),
        ("vllm:num_preemptions_total", 6.0),
        ("vllm:prompt_tokens_total", 120.0),
        ("vllm:generation_tokens_total", 30.0),
        ("vllm:num_gpu_loaded_lora_adapters", 1.0),
        ("vllm:max_gpu_lora_adapters", 8.0),
    ] {
        assert_eq!(read.value(&format!("{name}{{{MODEL}}}")), value, "{name}");
    }
    assert_eq!(read.value(&format!("vllm:cache_config_info{{{MODEL}|block_size=32|num_gpu_blocks=100}}")), 1.0);
    assert_eq!(read.value("loam_adapter_load_seconds_sum{}"), 1.5);
    assert_eq!(read.value("loam_adapter_found_total{where=disk}"), 3.0);
    assert_eq!(read.value("process_start_time_seconds{}"), 1_700_000_000.25);
}

#[test]
fn answers_end_for_vllms_reasons() {
    let meters = meters();
    for (finish, times) in [
        (Finish::STOP, 1),
        (Finish::STOP_SEQUENCE, 2),
        (Finish::LENGTH, 4),
        (Finish::CANCELLED, 8),
        (Finish::DEADLINE, 16),
        (Finish::FAILED, 32),
        (Finish(200), 64),
    ] {
        (0..times).for_each(|_| meters.finished(finish, 1, 1, 0.1));
    }
    let read = Read::page(&render(&meters, &moment()));
    for (reason, count) in [("stop", 3.0), ("length", 4.0), ("abort", 24.0), ("error", 96.0)] {
        assert_eq!(read.value(&format!("vllm:request_success_total{{{MODEL}|finished_reason={reason}}}")), count);
    }
}

#[test]
fn values_are_the_ledgers() {
    let read = Read::page(&render(&meters(), &moment()));
    assert_eq!(read.value("loam_ledger_entries_total{log=usage/1}"), 40.0);
    assert_eq!(read.value("loam_ledger_publish_lag_entries{}"), 5.0);
    assert_eq!(read.value("loam_ledger_failed{}"), 1.0);
    // Integers are written whole: no digit of 2^60 is lost on the way.
    assert!(render(&meters(), &moment()).contains("\nloam_ledger_free_bytes 1152921504606846976\n"));
}

#[test]
fn a_ledger_that_is_off_has_no_numbers() {
    let page = render(&meters(), &Moment { ledger: None, ..moment() });
    Read::page(&page);
    assert!(!page.contains("loam_ledger_failed"));
}

#[test]
fn a_server_without_pages_and_adapters_has_a_page() {
    let read = Read::page(&render(&meters(), &Moment { model_name: "tiny".to_owned(), ..Moment::default() }));
    assert_eq!(read.value(&format!("vllm:kv_cache_usage_perc{{{MODEL}}}")), 0.0);
    assert_eq!(read.value(&format!("vllm:num_gpu_loaded_lora_adapters{{{MODEL}}}")), 0.0);
    assert_eq!(read.value("vllm:lora_requests_info{max_lora=0|running_lora_adapters=|waiting_lora_adapters=}"), 0.0);
}

#[test]
fn adapters_in_use_are_named_for_routers() {
    let read = Read::page(&render(&meters(), &moment()));
    let info = "vllm:lora_requests_info{max_lora=8|running_lora_adapters=clay|waiting_lora_adapters=clay,loess}";
    assert_eq!(read.value(info), 1_800_000_000.5);
}

#[test]
fn adapters_in_memory_are_named_with_their_level() {
    let read = Read::page(&render(&meters(), &moment()));
    let loaded: Vec<&String> = read.samples.keys().filter(|key| key.starts_with("vllm:lora_adapter_loaded")).collect();
    let of = |rest: &str| format!("vllm:lora_adapter_loaded{{{MODEL}|{rest}}}");
    let both = ["adapter_name=clay|level=gpu|pinned=false", "adapter_name=pinned|level=cpu|pinned=true"].map(of);
    assert_eq!(loaded, both.iter().collect::<Vec<_>>());
}

#[test]
fn only_so_many_adapters_are_named() {
    let many = ADAPTERS_NAMED_MAX + 7;
    let adapters = (0..many).map(|at| adapter(&format!("a{at:05}"), Some(Level::Host), 1, 1));
    let mut moment = Moment { adapters: adapters.collect(), ..moment() };
    moment.adapters.push(adapter("zz", Some(Level::Device), 0, 0));
    let page = render(&meters(), &moment);
    let read = Read::page(&page);
    let named = read.samples.keys().filter(|key| key.starts_with("vllm:lora_adapter_loaded")).count();
    assert_eq!((named, read.value("loam_adapters_unnamed{}")), (ADAPTERS_NAMED_MAX, 8.0));
    // Those that steps can use come first.
    assert!(page.contains("adapter_name=\"zz\""));
    let info = page.lines().find(|line| line.starts_with("vllm:lora_requests_info")).unwrap();
    assert_eq!(info.matches("a0").count(), 2 * ADAPTERS_NAMED_MAX);
}

#[test]
fn names_are_escaped() {
    let strange = "a\"b\\c\nd}e,f=\"g";
    let adapters = vec![adapter(strange, Some(Level::Device), 0, 0)];
    let read = Read::page(&render(&meters(), &Moment { adapters, model_name: "m\"\\".to_owned(), ..moment() }));
    let key =
        format!("vllm:lora_adapter_loaded{{model_name=m\"\\|engine=0|adapter_name={strange}|level=gpu|pinned=false}}");
    assert_eq!(read.value(&key), 1.0);
}

#[test]
fn requests_are_measured() {
    let meters = meters();
    meters.began(2, Some(64));
    meters.began(1, None);
    meters.first_token(0.03);
    meters.tokens(4, 0.2);
    meters.tokens(0, 9.0);
    meters.finished(Finish::STOP, 7, 2_000_000, 1.25);
    meters.committed(0.002);
    meters.receipt(0.4);
    let read = Read::page(&render(&meters, &moment()));
    let at = |name: &str, rest: &str| read.value(&format!("{name}{{{MODEL}{rest}}}"));
    assert_eq!(at("vllm:request_params_n_sum", ""), 3.0);
    assert_eq!(at("vllm:request_params_max_tokens_count", ""), 1.0);
    let first = "vllm:time_to_first_token_seconds_bucket";
    assert_eq!((at(first, "|le=0.02"), at(first, "|le=0.04")), (0.0, 1.0));
    for name in ["vllm:inter_token_latency_seconds", "vllm:time_per_output_token_seconds"] {
        assert_eq!(at(&format!("{name}_count"), ""), 4.0);
        assert!((at(&format!("{name}_sum"), "") - 0.2).abs() < 1e-12);
        // A value on a bound lies below it.
        assert_eq!((at(&format!("{name}_bucket"), "|le=0.025"), at(&format!("{name}_bucket"), "|le=0.05")), (0.0, 4.0));
    }
    assert_eq!(at("vllm:e2e_request_latency_seconds_sum", ""), 1.25);
    let generated = "vllm:request_generation_tokens_bucket";
    assert_eq!((at(generated, "|le=1000000.0"), at(generated, "|le=+Inf")), (0.0, 1.0));
    assert_eq!(read.value("loam_ledger_commit_seconds_bucket{le=0.0025}"), 1.0);
    assert_eq!(read.value("loam_receipt_seconds_sum{}"), 0.4);
}

#[test]
fn refusals_are_counted_by_kind_and_stand_there_from_the_start() {
    let meters = meters();
    meters.refused(Kind::Busy);
    meters.refused(Kind::Busy);
    let read = Read::page(&render(&meters, &moment()));
    assert_eq!(read.value("loam_requests_refused_total{kind=busy}"), 2.0);
    assert_eq!(read.samples.keys().filter(|key| key.starts_with("loam_requests_refused_total")).count(), 12);
}

#[test]
fn a_clock_that_steps_back_spoils_no_histogram() {
    let meters = meters();
    [f64::NAN, -1.0].into_iter().for_each(|seconds| meters.first_token(seconds));
    let read = Read::page(&render(&meters, &moment()));
    assert_eq!(read.value(&format!("vllm:time_to_first_token_seconds_sum{{{MODEL}}}")), 0.0);
    assert_eq!(read.value(&format!("vllm:time_to_first_token_seconds_count{{{MODEL}}}")), 2.0);
}

#[test]
fn nothing_is_lost_between_threads() {
    let meters = meters();
    std::thread::scope(|scope| {
        for _ in 0..4 {
            scope.spawn(|| (0..1000).for_each(|_| meters.tokens(2, 0.5)));
        }
    });
    let read = Read::page(&render(&meters, &moment()));
    assert_eq!(read.value(&format!("vllm:inter_token_latency_seconds_count{{{MODEL}}}")), 8000.0);
    assert_eq!(read.value(&format!("vllm:inter_token_latency_seconds_sum{{{MODEL}}}")), 2000.0);
}

#[test]
fn steps_are_timed_on_their_way_to_the_record() {
    let meters = Arc::new(meters());
    let mut recorder = Timed::new(Box::new(MemoryRecorder::default()), Arc::clone(&meters));
    assert_eq!(recorder.sequence(), Ok(1));
    recorder.append(StepRecord::default(), Box::new(|fate| assert!(fate.is_ok()))).unwrap();
    recorder.stop().unwrap();
    let read = Read::page(&render(&meters, &moment()));
    assert_eq!(read.value("loam_ledger_commit_seconds_count{}"), 1.0);
}
