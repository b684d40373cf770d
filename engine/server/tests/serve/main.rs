//! `loam serve` as it is used: a real server over a small real model, asked over gRPC and HTTP by several tenants.
#![expect(clippy::unwrap_used, reason = "in a test, what is not as expected is a failure")]

mod access;
mod asking;
mod async_openai;
mod cheat;
mod cheats;
mod commands;
mod crowd;
mod disk;
mod foreign;
mod hostile;
mod http;
mod life;
mod product;
mod published;
mod records;
mod running;
mod scene;
mod story;
mod tls;
