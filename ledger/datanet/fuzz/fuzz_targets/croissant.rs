//! Croissant's descriptions and their files: the body lies in `tests/fuzz_bodies`.
#![no_main]

#[path = "../../tests/fuzz_bodies/mod.rs"]
mod fuzz_bodies;

libfuzzer_sys::fuzz_target!(|data: &[u8]| {
    fuzz_bodies::croissant(data);
});
