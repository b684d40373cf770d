//! The script that a machine with a GPU runs, over stand-ins: what hangs is ended and named, what fails is named with its
//! reason, and results are there as soon as they are known.
#![cfg(target_os = "linux")]

mod bundle;

use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant};

use bundle::{Bundle, tools};

#[test]
fn a_test_that_hangs_is_ended_and_those_that_failed_are_named() {
    let bundle = Bundle::new();
    let began = Instant::now();
    let ran = bundle.run(&["--case-limit", "1", "goldens"]);
    assert!(began.elapsed() < Duration::from_secs(30), "{:?}", began.elapsed());
    assert_eq!(ran.code, Some(1), "{}", ran.said);
    let figure = ran.figure("goldens_passed");
    assert_eq!((figure["value"].as_u64(), figure["roof"].as_u64()), (Some(3), Some(5)));
    let note = ran.note("goldens_passed");
    assert!(note.contains("whole gpu::fast::hangs (ran past its limit of 1 s)"), "{note}");
    assert!(note.contains("whole gpu::fast::bad (ended with 101: out[3, 5] is 1e0, want 2e0)"), "{note}");
    assert!(ran.said.contains("FAILED goldens: failed: whole gpu::fast::bad"), "{}", ran.said);
    assert!(ran.said.contains("one stage again: gpu-check"), "{}", ran.said);
    assert!(!ran.said.contains("cpu_scalar"), "tests of the CPU are not the bundle's: {}", ran.said);
}

#[test]
fn results_carry_the_machine_and_the_commit() {
    let bundle = Bundle::new();
    let ran = bundle.run(&["--case-limit", "2", "probe"]);
    assert_eq!(ran.code, Some(0), "{}", ran.said);
    let (time, rest) = ran.name.split_at("2026-11-27-1409".len());
    assert!(time.split('-').all(|part| part.bytes().all(|it| it.is_ascii_digit())), "{time}");
    assert_eq!(rest, "-h200-0123abc");
    let line = ran.figure("read_direct_1gib_gb_s");
    assert_eq!((line["value"].as_f64(), line["roof"].as_f64()), (Some(4100.5), Some(4800.0)));
    let facts = "NVIDIA H200, driver 580.1, SM clock 1980 MHz of 1980 MHz, memory 3201 MHz, power limit 700.00 W, commit \
                 0123abc";
    assert_eq!(line["note"].as_str(), Some(&*format!("sums agree; {facts}")));
    assert!(ran.text.contains(&format!("# {time}, NVIDIA H200\n\n{facts}.\n")), "{}", ran.text);
    assert!(ran.text.contains("| read_direct_1gib_gb_s | 4100 | GB/s | 4800 | sums agree |"), "{}", ran.text);
}

#[test]
fn a_table_is_null_where_a_case_hangs_or_fails_and_keeps_what_was_measured() {
    let bundle = Bundle::new();
    let ran = bundle.run(&["--case-limit", "1", "probe", "table"]);
    assert_eq!(ran.code, Some(1), "{}", ran.said);
    for case in ["one", "two", "three"] {
        assert_eq!(ran.figure(&format!("{case}.first"))["value"].as_f64(), Some(1.5));
    }
    assert!(ran.figure("two.second")["value"].is_null() && ran.figure("three.second")["value"].is_null());
    assert!(ran.note("two.second").starts_with("not measured: ran past its limit of 1 s; NVIDIA"));
    assert!(ran.note("three.second").contains("Error: out of memory: take fewer requests"));
    assert!(ran.text.contains("| two.second | not measured | x |  |"), "{}", ran.text);
    assert_eq!(ran.figure("table_passed")["value"].as_u64(), Some(1));
}

#[test]
fn a_table_without_a_probe_runs_the_sections_that_it_is_held_against() {
    let bundle = Bundle::new();
    let ran = bundle.run(&["--case-limit", "1", "table"]);
    assert_eq!(ran.figure("read_direct_1gib_gb_s")["value"].as_f64(), Some(4100.5));
    // The stand-in for loam-gpu-bench refuses a probe without that rate.
    assert_eq!(ran.figure("one.first")["value"].as_f64(), Some(1.5));
}

#[test]
fn what_is_ended_from_outside_leaves_what_it_had() {
    let bundle = Bundle::new();
    let running = bundle.start(&["table"]);
    let until = Instant::now() + Duration::from_secs(20);
    // The second case has one figure, and hangs.
    while !bundle.read("out/table.jsonl").contains("two.first") {
        assert!(Instant::now() < until, "the second case never came");
        std::thread::sleep(Duration::from_millis(50));
    }
    let killed = Command::new("kill").args(["-TERM", &running.id().to_string()]).status().expect("kill is there");
    assert!(killed.success());
    let ran = bundle.ran(running.wait_with_output().expect("it ends"));
    assert_eq!(ran.code, Some(1), "{}", ran.said);
    assert_eq!(ran.figures.last().map(|figure| &figure["figure"]), Some(&"two.first".into()));
    assert!(ran.text.contains("| one.first | 1.50 | x |  |") && ran.text.contains("| two.first | 1.50 | x |  |"));
}

#[test]
fn a_stage_whose_time_is_up_begins_nothing_more() {
    let bundle = Bundle::new();
    let ran = bundle.run(&["--stage-limit", "0", "conformance"]);
    assert_eq!(ran.code, Some(1));
    let note = ran.note("conformance_passed");
    assert!(note.starts_with("not run: conformance gpu::fast::good"), "{note}");
    assert_eq!(ran.figure("conformance_passed")["roof"].as_u64(), Some(5));
}

#[test]
fn a_sanitizer_that_is_not_there_is_a_failure() {
    let bundle = Bundle::new();
    std::fs::remove_file(bundle.path("path/compute-sanitizer")).expect("it was there");
    let ran = bundle.run(&["sanitizer"]);
    assert_eq!(ran.code, Some(1));
    assert!(ran.figure("sanitizer_passed")["value"].is_null());
    assert!(ran.said.contains("put it on the PATH"), "{}", ran.said);
}

#[test]
fn a_sanitizer_runs_each_operation_with_each_tool() {
    let bundle = Bundle::new();
    let ran = bundle.run(&["sanitizer"]);
    assert_eq!(ran.code, Some(0), "{}", ran.said);
    assert_eq!(ran.figure("sanitizer_passed")["value"].as_u64(), Some(22));
}

#[test]
fn peers_that_cannot_be_measured_are_null() {
    let bundle = Bundle::new();
    let ran = bundle.run(&["peers"]);
    assert_eq!(ran.code, Some(1));
    for name in ["lora_kernel_over_vllm", "lora_kernel_over_sglang"] {
        assert!(ran.figure(name)["value"].is_null());
        assert!(ran.note(name).starts_with("not measured: this bundle has no files of theirs"), "{}", ran.note(name));
    }
}

#[test]
fn without_a_gpu_nothing_is_measured() {
    let bundle = Bundle::new();
    bundle.script("path/nvidia-smi", "echo 'No devices were found'; exit 6");
    let ran = bundle.run(&["conformance"]);
    assert_eq!(ran.code, Some(3));
    assert!(ran.said.contains("Run this on a machine with an NVIDIA GPU"), "{}", ran.said);
    assert!(ran.figures.is_empty());
}

#[test]
fn a_stage_that_does_not_exist_is_named() {
    let ran = Bundle::new().run(&["probes"]);
    assert_eq!(ran.code, Some(64));
    assert!(ran.said.contains("there is no stage probes. The stages: probe conformance"), "{}", ran.said);
}

#[test]
fn a_bundle_that_is_too_large_is_refused() {
    let bundle = Bundle::new();
    let size = || {
        let mut command = Command::new(tools().join("gpu-bundle.sh"));
        command.arg("size").arg(bundle.path("loam-gpu")).output().expect("it starts")
    };
    assert!(size().status.success());
    let large = std::fs::File::create(bundle.path("loam-gpu/bin/whole")).expect("a file of our own");
    large.set_len(41 << 20).expect("a file of our own");
    let refused = size();
    let said = String::from_utf8_lossy(&refused.stderr);
    assert!(!refused.status.success() && said.contains("bin/whole") && said.contains("at most 40"), "{said}");
}

#[test]
fn peers_are_compared_case_by_case_with_the_fastest_of_theirs() {
    let bundle = Bundle::new();
    let row = |peer: &str, rows: u32, us: f64| {
        format!("{{\"peer\":\"{peer}\",\"site\":\"o\",\"rows\":{rows},\"distinct\":1,\"rank\":16,\"pair_us\":{us}}}\n")
    };
    let failed = r#"{"peer":"ours","site":"o","rows":8,"distinct":1,"rank":16,"error":"wrong"}"#;
    let rows = [
        row("ours", 1, 4.0) + &row("sglang_csgmv", 1, 8.0) + &row("sglang_triton_v2", 1, 5.0),
        row("ours", 32, 6.0) + &row("sglang_csgmv", 32, 12.0) + &row("vllm", 8, 3.0),
        format!("{failed}\n{{\"peer\":\"ours\",\"si"),
    ];
    bundle.write("rows.jsonl", &rows.concat());
    let script = tools().join("../benches/peers/gpu/lora_figures.py");
    let output = Command::new("python3").arg(script).arg(bundle.path("rows.jsonl")).output().expect("python3 is there");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let lines: Vec<serde_json::Value> = String::from_utf8_lossy(&output.stdout)
        .lines()
        .map(|line| serde_json::from_str(line).expect("lines are JSON"))
        .collect();
    let of = |name: &str| lines.iter().find(|line| line["figure"] == name).expect("it is there");
    assert_eq!(of("lora_kernel_over_sglang")["value"].as_f64(), Some(0.8));
    let note = of("lora_kernel_over_sglang")["note"].as_str().expect("a note");
    assert!(note.contains("the worst of 2 cases of 3: 1 rows, 1 adapters, rank 16, o"), "{note}");
    assert!(note.contains("OURS FAILED IN 1 CASES"), "{note}");
    assert!(of("lora_kernel_over_vllm")["value"].is_null());
}

/// What holds the GPU open, and writes down its clocks, ends with the run.
#[test]
fn the_gpu_is_watched_until_the_end() {
    let bundle = Bundle::new();
    let ran = bundle.run(&["probe"]);
    assert!(bundle.read(&format!("out/{}.clocks.csv", ran.name)).contains("1980 MHz"));
    let watching = bundle.read("path/watching");
    let until = Instant::now() + Duration::from_secs(10);
    while Path::new("/proc").join(watching.trim()).join("stat").exists() {
        assert!(Instant::now() < until, "process {watching} is still there");
        std::thread::sleep(Duration::from_millis(50));
    }
    assert!(!watching.is_empty());
}
