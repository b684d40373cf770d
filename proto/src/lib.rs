//! What goes over the wire between Loam's server and its clients: the messages and services of `loam/v1/*.proto`.
#![forbid(unsafe_code)]

/// Version 1.
#[expect(missing_docs, reason = "generated: the documentation is in the .proto files")]
#[expect(clippy::all, clippy::allow_attributes_without_reason, reason = "generated")]
pub mod v1 {
    tonic::include_proto!("loam.v1");
}

/// The files' descriptors, for reflection.
pub const DESCRIPTORS: &[u8] = include_bytes!(concat!(env!("OUT_DIR"), "/descriptors.bin"));
