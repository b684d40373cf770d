//! Examples of Loam's use, each a program of its own: `cargo run --release -p loam-examples --example embed`.
