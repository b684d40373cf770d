//! `loam-bench site`: what it computes is what its formula says, and a case that is wrong is refused by name.

use std::io::{BufRead as _, BufReader, Write as _};
use std::path::Path;
use std::process::{Child, ChildStdout, Command, Stdio};

use serde_json::{Value, json};

const ROWS: usize = 5;
const K: usize = 96;
const MODULES: [usize; 2] = [64, 32];
const RANK: usize = 8;
const ADAPTERS: usize = 2;
const SCALE: f64 = 0.5;
/// The adapter of each row.
const SLOTS: [usize; ROWS] = [1, 0, 1, 1, 0];

struct Site {
    process: Child,
    said: BufReader<ChildStdout>,
}

impl Site {
    fn start(device: &str) -> Self {
        let mut bench = Command::new(env!("CARGO_BIN_EXE_loam-bench"));
        let bench = bench.args(["site", "--device", device]).stdin(Stdio::piped()).stdout(Stdio::piped());
        let mut process = bench.spawn().expect("it starts");
        let said = BufReader::new(process.stdout.take().expect("it is piped"));
        let mut site = Self { process, said };
        assert!(site.hear()["ready"].is_string());
        site
    }

    fn hear(&mut self) -> Value {
        let mut line = String::new();
        self.said.read_line(&mut line).expect("it answers");
        serde_json::from_str(&line).expect("an answer is JSON")
    }

    fn ask(&mut self, case: &Value) -> Value {
        writeln!(self.process.stdin.as_mut().expect("it is piped"), "{case}").expect("it listens");
        self.hear()
    }
}

impl Drop for Site {
    fn drop(&mut self) {
        // Its input ends, and so does it.
        drop(self.process.stdin.take());
        let _ = self.process.wait();
    }
}

/// Eighths between -1 and 1: bf16 holds them, and their products are exact.
fn values(seed: usize, len: usize) -> Vec<f64> {
    (0..len).map(|at| ((at * 31 + seed * 17 + at / 7) % 17) as f64 / 8.0 - 1.0).collect()
}

/// In bf16: the upper half of an f32.
fn write(path: &Path, values: &[f64]) {
    let halves = values.iter().map(|value| ((*value as f32).to_bits() >> 16) as u16);
    let bytes: Vec<u8> = halves.flat_map(u16::to_le_bytes).collect();
    std::fs::write(path, bytes).expect("a file in a folder of our own");
}

fn read(path: &Path) -> Vec<f64> {
    let bytes = std::fs::read(path).expect("it was written");
    let halves = bytes.chunks_exact(2).map(|half| u32::from(u16::from_le_bytes([half[0], half[1]])));
    halves.map(|half| f64::from(f32::from_bits(half << 16))).collect()
}

fn case(folder: &Path) -> Value {
    json!({"folder": folder, "in_features": K, "modules": MODULES, "rank": RANK, "scale": SCALE, "adapters": ADAPTERS,
        "slots": SLOTS, "sets": 3})
}

fn check(device: &str) {
    let folder = tempfile::tempdir().expect("a folder");
    let outputs: usize = MODULES.iter().sum();
    let x = values(1, ROWS * K);
    let a = values(2, ADAPTERS * MODULES.len() * RANK * K);
    let b = values(3, ADAPTERS * outputs * RANK);
    let y0 = values(4, ROWS * outputs);
    for (name, values) in [("x", &x), ("a", &a), ("b", &b), ("y0", &y0)] {
        write(&folder.path().join(name), values);
    }
    let mut site = Site::start(device);
    let answer = site.ask(&case(folder.path()));
    assert!(answer["pair_us"].as_f64().is_some_and(|us| us > 0.0), "{answer}");
    let y = read(&folder.path().join("y"));
    for (row, slot) in SLOTS.iter().enumerate() {
        for output in 0..outputs {
            let module = usize::from(output >= MODULES[0]);
            let through = |r: usize| {
                let a = &a[((slot * MODULES.len() + module) * RANK + r) * K..][..K];
                let h: f64 = a.iter().zip(&x[row * K..][..K]).map(|(a, x)| a * x).sum();
                h * b[(slot * outputs + output) * RANK + r]
            };
            let wanted = y0[row * outputs + output] + SCALE * (0..RANK).map(through).sum::<f64>();
            let got = y[row * outputs + output];
            // In the fast mode of a GPU `h` may be rounded on its way into products.
            assert!((got - wanted).abs() <= 0.02 * wanted.abs().max(1.0), "[{row}, {output}] is {got}, want {wanted}");
        }
    }
}

#[test]
fn a_site_is_what_its_formula_says() {
    check("cpu");
}

#[cfg(feature = "emulate")]
mod emulated {
    #[test]
    fn a_site_is_what_its_formula_says() {
        super::check("cuda");
    }
}

#[test]
fn a_wrong_case_is_told_and_the_next_is_answered() {
    let folder = tempfile::tempdir().expect("a folder");
    let mut site = Site::start("cpu");
    let error = |answer: Value| answer["error"].as_str().expect("it is refused").to_owned();
    assert!(error(site.ask(&json!({"rank": 8}))).contains("`in_features`"));
    assert!(error(site.ask(&case(folder.path()))).contains("reading"));
    let mut foreign = case(folder.path());
    foreign["slots"] = json!([0, 7]);
    for (name, len) in [("x", 2 * K), ("a", ADAPTERS * 16 * K), ("b", ADAPTERS * 96 * RANK), ("y0", 2 * 96)] {
        write(&folder.path().join(name), &values(1, len));
    }
    assert!(error(site.ask(&foreign)).contains("adapters below 2"));
    assert!(error(site.ask(&case(folder.path()))).contains("expected"));
}
