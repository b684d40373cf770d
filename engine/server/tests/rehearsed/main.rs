//! A server on a GPU, whose driver and library of products are stand-ins.
#![expect(clippy::unwrap_used, reason = "in a test, what is not as expected is a failure")]

#[path = "../serve/running.rs"]
#[expect(dead_code, reason = "the tests of serving use all of it")]
mod running;

use std::ffi::OsStr;
use std::path::Path;
use std::time::Duration;

use running::Server;

/// Starts a server that finds the stand-ins where cargo has tests find them, at the pace that tests are told.
fn start(environment: &[(&str, &str)], folder: &Path, more: &[&str]) -> Result<Server, String> {
    let libraries =
        std::env::var_os("LD_LIBRARY_PATH").expect("cargo says where libraries are that a test was made with");
    let pace = std::env::var_os("LOAM_DRIVER_PACE");
    let mut all = vec![("LD_LIBRARY_PATH", libraries.as_os_str())];
    all.extend(pace.as_deref().map(|pace| ("LOAM_DRIVER_PACE", pace)));
    all.extend(environment.iter().map(|(name, value)| (*name, OsStr::new(*value))));
    Server::try_start_in(&all, folder, more)
}

fn on_gpu(environment: &[(&str, &str)], folder: &Path, more: &[&str]) -> Server {
    let more = [&["--device", "cuda"], more].concat();
    let started = start(environment, folder, &more);
    started.unwrap_or_else(|said| panic!("the server did not start: {said}"))
}

/// An answer's status and text.
fn ask(server: &Server, model: &str, prompt: &str) -> (u16, String) {
    let body = format!("{{\"model\":\"{model}\",\"prompt\":\"{prompt}\",\"max_tokens\":24,\"temperature\":0}}");
    let (status, _, answer) = server.http("POST /v1/completions", &["content-type: application/json"], &body);
    let text = answer.split("\"text\":").nth(1).map_or(answer.as_str(), |rest| rest.split("\",").next().unwrap());
    (status, text.to_owned())
}

/// Of several models and prompts at once.
fn answers(server: &Server) -> Vec<(u16, String)> {
    let asked =
        ["tiny", "clay", "loess"].into_iter().flat_map(|model| ["a", "the soil", "b c d"].map(|it| (model, it)));
    std::thread::scope(|scope| {
        let running: Vec<_> = asked.map(|(model, prompt)| scope.spawn(move || ask(server, model, prompt))).collect();
        running.into_iter().map(|it| it.join().unwrap()).collect()
    })
}

#[test]
fn answers_are_those_of_the_processor() {
    let folder = tempfile::tempdir().unwrap();
    let processor = start(&[], folder.path(), &["--device", "cpu"]).unwrap();
    let want = answers(&processor);
    processor.stop();
    assert!(want.iter().all(|(status, _)| *status == 200), "{want:?}");
    let deterministic = (&[][..], "deterministic", "deterministic");
    let fast = (&[][..], "fast", "fast, with cuBLASLt");
    // A driver that records nothing: steps are launched one by one.
    let unrecorded = (&[("LOAM_DRIVER_CAPTURES", "0")][..], "fast", "fast, with cuBLASLt");
    for (environment, arithmetic, products) in [deterministic, fast, unrecorded] {
        let folder = tempfile::tempdir().unwrap();
        let server = on_gpu(environment, folder.path(), &["--arithmetic", arithmetic, "--max-num-seqs", "8"]);
        assert_eq!(answers(&server), want, "{arithmetic} {environment:?}");
        assert!(server.log().contains(&format!("driver of CUDA 13.0, {products}")), "{}", server.log());
        assert_eq!(server.log().contains("records nothing"), !environment.is_empty(), "{}", server.log());
        server.stop();
    }
}

#[test]
fn a_gpu_that_is_there_is_taken() {
    let folder = tempfile::tempdir().unwrap();
    let server = start(&[], folder.path(), &["--max-num-seqs", "2"]).unwrap();
    assert_eq!(ask(&server, "clay", "a").0, 200);
    assert!(server.log().contains("cuda:0 stand-in"), "{}", server.log());
    server.stop();
    let refused = start(&[], folder.path(), &["--device", "cuda:1"]);
    let said = refused.err().expect("there is one");
    assert!(said.contains("there is no GPU 1; they are counted from 0, and there are 1"), "{said}");
}

#[test]
fn a_gpu_that_is_lost_ends_the_server_by_name() {
    let folder = tempfile::tempdir().unwrap();
    // More than it takes to start, warm graphs included, and fewer than many answers take.
    let mut server = on_gpu(&[("LOAM_DRIVER_LAUNCHES", "3000")], folder.path(), &["--max-num-seqs", "2"]);
    let refused = (0..2000).map(|_| ask(&server, "clay", "a")).find(|(status, _)| *status != 200);
    let (status, said) = refused.expect("launches run out");
    assert!(status == 503 && said.contains("DEVICE_LOST"), "{status} {said}");
    let ended = server.ended(Duration::from_secs(60));
    assert!(!ended.success() && server.log().contains("the device is lost"), "{ended}: {}", server.log());
}
