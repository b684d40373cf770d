//! Messages that ask for answers.

use loam_proto::v1::GenerateRequest;
use loam_wire::{Kind, Problem, grpc};
use prost::Message as _;

use super::{REFUSAL_BYTES_MAX, soon};

/// Bytes of a `GenerateRequest`.
pub(crate) fn grpc_generate(data: &[u8]) {
    let Ok(message) = GenerateRequest::decode(data) else { return };
    let asked = match soon(|| grpc::asked(message.clone())) {
        Ok(asked) => asked,
        Err(problem) => return is_refused(&problem),
    };
    asked.generate.check().expect("what was read was checked");
    // The same fields in the order of their numbers, each once, ask for the same.
    let again = GenerateRequest::decode(&*message.encode_to_vec()).expect("what was encoded can be decoded");
    assert_eq!(grpc::asked(again).expect("another spelling of the same"), asked);
}

/// A refusal is the client's to mend, and short.
fn is_refused(problem: &Problem) {
    assert_eq!(problem.kind, Kind::Invalid, "{}", problem.message);
    assert!(problem.message.len() <= REFUSAL_BYTES_MAX, "a refusal of {} bytes", problem.message.len());
}
