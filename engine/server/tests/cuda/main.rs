//! A program that was built for GPUs, where there is none: it starts, says so, and serves on the processor.
//!
//! Drivers that refuse are stand-ins: libraries with the two functions that a driver is asked first.
#![expect(clippy::unwrap_used, reason = "in a test, what is not as expected is a failure")]

#[path = "../serve/running.rs"]
#[expect(dead_code, reason = "the tests of serving use all of it")]
mod running;

use std::path::Path;
use std::process::Command;

use running::Server;

/// What a driver answers when it is begun, and which CUDA it knows.
#[derive(Clone, Copy)]
struct Driver {
    begins: i32,
    version: i32,
}

/// `CUDA_ERROR_NO_DEVICE`.
const FINDS_NO_GPU: Driver = Driver { begins: 100, version: 13_000 };
const IS_OLD: Driver = Driver { begins: 0, version: 12_040 };
/// `CUDA_ERROR_SYSTEM_DRIVER_MISMATCH`.
const IS_BROKEN: Driver = Driver { begins: 803, version: 13_000 };

impl Driver {
    /// Makes its library.
    fn put_into(self, folder: &Path) {
        let Self { begins, version } = self;
        let source = format!(
            "int cuInit(unsigned flags) {{ (void)flags; return {begins}; }}\n\
             int cuDriverGetVersion(int* version) {{ *version = {version}; return 0; }}\n\
             int cuGetErrorName(int error, const char** name) {{ (void)error; *name = \"CUDA_ERROR\"; return 0; }}\n\
             int cuGetErrorString(int error, const char** text) {{ (void)error; *text = \"it refused\"; return 0; }}\n"
        );
        let path = folder.join("driver.c");
        std::fs::write(&path, source).unwrap();
        for name in ["libcuda.so", "libcuda.so.1"] {
            let made = Command::new("cc").args(["-shared", "-fPIC", "-o"]).arg(folder.join(name)).arg(&path).status();
            assert!(made.unwrap().success(), "a C compiler makes the stand-in");
        }
    }
}

/// Whether this machine has a driver of its own, which would be found.
fn has_driver() -> bool {
    let found = Command::new("/sbin/ldconfig").arg("-p").output();
    found.is_ok_and(|found| String::from_utf8_lossy(&found.stdout).contains("libcuda.so"))
}

/// With such a driver, or none: what the log says, and that an answer comes.
#[track_caller]
fn serves_without(driver: Option<Driver>, why: &str) {
    let (folder, libraries) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    if let Some(driver) = driver {
        driver.put_into(libraries.path());
    } else if has_driver() {
        eprintln!("skipped: this machine has a driver");
        return;
    }
    let environment = [("LD_LIBRARY_PATH", libraries.path().as_os_str())];
    let started = Server::try_start_in(&environment, folder.path(), &[]);
    let server = started.unwrap_or_else(|said| panic!("the server did not start: {said}"));
    let log = server.log();
    assert!(log.contains("no GPU can be used") && log.contains(why), "{log}");
    assert!(log.contains("serving on the processor"), "{log}");
    let body = "{\"model\":\"clay\",\"prompt\":\"a\",\"max_tokens\":4}";
    let (status, _, answer) = server.http("POST /v1/completions", &["content-type: application/json"], body);
    assert_eq!(status, 200, "{answer}");
    assert!(answer.contains("\"completion_tokens\":4"), "{answer}");
    server.stop();

    let refused = Server::try_start_in(&environment, folder.path(), &["--device", "cuda"]);
    let said = refused.err().expect("whoever asks for a GPU is not given a processor");
    assert!(said.contains("no GPU can be used") && said.contains(why), "{said}");
}

#[test]
fn without_a_driver() {
    serves_without(None, "there is no NVIDIA driver");
}

#[test]
fn with_a_driver_that_finds_no_gpu() {
    serves_without(Some(FINDS_NO_GPU), "finds no GPU");
}

#[test]
fn with_a_driver_that_is_too_old() {
    serves_without(Some(IS_OLD), "knows CUDA 12.4; 13.0 is needed");
}

#[test]
fn with_a_driver_that_is_broken() {
    serves_without(Some(IS_BROKEN), "it refused");
}
