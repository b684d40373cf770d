//! `loam-bench table`: every figure is there under its name, measured, or null with the reason.

use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use serde_json::Value;
use tempfile::TempDir;

/// As the aims are stated, figure by figure.
const FIGURES: [&str; 16] = [
    "decode_b1_base_tok_s",
    "decode_b1_one_adapter_over_base",
    "decode_b1_lora_added_us_a_layer",
    "decode_b32_32_tok_s",
    "decode_b32_32_over_base",
    "decode_b32_32_lora_added_us_a_layer",
    "decode_b128_128_tok_s",
    "decode_b128_128_over_base",
    "decode_b128_128_lora_added_us_a_layer",
    "decode_b256_8_tok_s",
    "decode_b256_8_over_base",
    "decode_b256_8_lora_added_us_a_layer",
    "lora_enabled_unused_over_base",
    "attention_decode_of_read_rate",
    "prefill_2048_8_adapters_over_base",
    "deterministic_over_fast",
];

fn table(arguments: &[&str], folder: &Path) -> (Output, Vec<Value>) {
    let out = folder.join("table.jsonl");
    let mut bench = Command::new(env!("CARGO_BIN_EXE_loam-bench"));
    let output = bench.arg("table").args(arguments).arg("--out").arg(&out).output().expect("it starts");
    let text = std::fs::read_to_string(&out).unwrap_or_default();
    (output, text.lines().map(|line| serde_json::from_str(line).expect("lines are JSON")).collect())
}

fn names(lines: &[Value]) -> Vec<&str> {
    lines.iter().map(|line| line["figure"].as_str().expect("a figure has a name")).collect()
}

/// What a probe could have found.
fn probe() -> (TempDir, PathBuf) {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("probe.jsonl");
    let line = r#"{"figure":"read_direct_1gib_gb_s","value":20,"unit":"GB/s","roof":null,"note":"sums agree"}"#;
    std::fs::write(&path, format!("{line}\n")).expect("a file in a folder of our own");
    (folder, path)
}

/// All cases of the tiny shape on a device; `modes` is how many it has.
fn check_measured(device: &str, modes: usize) {
    let (folder, path) = probe();
    let path = path.to_str().expect("a path of ASCII");
    let (output, lines) = table(&["--device", device, "--shape", "tiny", "--probe", path], folder.path());
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    assert_eq!(names(&lines), FIGURES);
    for line in &lines {
        let name = line["figure"].as_str().expect("a name");
        let value = line["value"].as_f64();
        match name {
            "deterministic_over_fast" => assert_eq!(value.is_some(), modes == 2, "{line}"),
            // A difference of two times, which may be either way round on a tiny model.
            _ if name.ends_with("_us_a_layer") => assert!(value.is_some_and(f64::is_finite), "{line}"),
            _ => assert!(value.is_some_and(|value| value.is_finite() && value > 0.0), "{line}"),
        }
        assert_eq!(line.as_object().map(serde_json::Map::len), Some(5), "{line}");
    }
    // Of this shape the probe has no GEMMs: only what is read has a roof.
    let roof = |name: &str| lines.iter().find(|line| line["figure"] == name).and_then(|line| line["roof"].as_f64());
    assert_eq!((roof("attention_decode_of_read_rate"), roof("decode_b1_base_tok_s")), (Some(1.0), None));
    // Rank 16 in bf16 on a layer's seven linears, as (inputs, outputs), over the rate.
    let linears = [(128, 128), (128, 64), (128, 64), (128, 128), (128, 256), (128, 256), (256, 128)];
    let bytes = linears.iter().map(|(inputs, outputs)| 2 * 16 * (inputs + outputs)).sum::<u32>();
    let floor_us = f64::from(bytes) / 20e9 * 1e6;
    let found = roof("decode_b1_lora_added_us_a_layer").expect("the rate is known");
    assert!((found / floor_us - 1.0).abs() < 1e-6, "{found} where {floor_us} was expected");
}

#[test]
fn every_figure_is_measured_on_the_cpu() {
    check_measured("cpu", 1);
}

#[cfg(feature = "emulate")]
mod emulated {
    #[test]
    fn every_figure_is_measured_on_an_emulated_gpu() {
        super::check_measured("cuda", 2);
    }
}

#[test]
fn what_was_not_measured_is_null_and_says_why() {
    let folder = tempfile::tempdir().expect("a folder");
    let (output, lines) = table(&["--unmeasured", "no GPU has run it"], folder.path());
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let all = [&FIGURES[..], &["lora_kernel_over_vllm", "lora_kernel_over_sglang"]].concat();
    assert_eq!(names(&lines), all);
    assert!(lines.iter().all(|line| line["value"].is_null() && line["note"] == "not measured: no GPU has run it"));
}

#[test]
fn what_a_case_had_when_it_was_ended_stays() {
    let folder = tempfile::tempdir().expect("a folder");
    let known = r#"{"figure":"decode_b32_32_tok_s","value":5000,"unit":"tokens/s","roof":null,"note":""}"#;
    std::fs::write(folder.path().join("table.jsonl"), format!("{known}\n")).expect("a file in a folder of our own");
    let (_, lines) = table(&["--case", "decode_b32_32", "--unmeasured", "ran past its limit"], folder.path());
    assert_eq!(
        names(&lines),
        ["decode_b32_32_tok_s", "decode_b32_32_over_base", "decode_b32_32_lora_added_us_a_layer"]
    );
    assert_eq!(lines[0]["value"], 5000);
    assert!(lines[1]["value"].is_null() && lines[2]["value"].is_null());
}

#[cfg(not(any(feature = "cuda", feature = "emulate")))]
#[test]
fn a_bench_without_kernels_for_a_gpu_says_so() {
    let folder = tempfile::tempdir().expect("a folder");
    let (output, lines) = table(&["--shape", "tiny"], folder.path());
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(!output.status.success() && said.contains("built without kernels for a GPU"), "{said}");
    assert!(lines.is_empty());
}

#[test]
fn the_small_program_has_the_same_cases() {
    let list = |program: &str| Command::new(program).args(["table", "--list"]).output().expect("it starts").stdout;
    let (whole, small) = (list(env!("CARGO_BIN_EXE_loam-bench")), list(env!("CARGO_BIN_EXE_loam-gpu-bench")));
    assert_eq!(String::from_utf8_lossy(&whole).lines().count(), 8);
    assert_eq!(whole, small);
}

#[test]
fn a_probe_that_is_none_is_refused() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("probe");
    std::fs::write(&path, "gpu_probe: medians\n").expect("a file in a folder of our own");
    let path = path.to_str().expect("a path of ASCII");
    let (output, _) = table(&["--device", "cpu", "--shape", "tiny", "--probe", path], folder.path());
    assert!(String::from_utf8_lossy(&output.stderr).contains("gpu_probe --out"));
}
