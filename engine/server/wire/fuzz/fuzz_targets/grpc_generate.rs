//! Messages that ask for answers: the body lies in `tests/fuzz_bodies`.
#![no_main]

#[path = "../../tests/fuzz_bodies/mod.rs"]
mod fuzz_bodies;

libfuzzer_sys::fuzz_target!(|data: &[u8]| fuzz_bodies::grpc_generate(data));
