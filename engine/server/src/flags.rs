//! The engine refuses an option by its own name for it; whoever gave a flag is told the flag's.

use loam_engine::Error;

/// Options, and the flags by which they are given.
const FLAGS: [(&str, &str); 6] = [
    ("positions_max", "max_model_len"),
    ("step_tokens_max", "max_num_batched_tokens"),
    ("running_max", "max_num_seqs"),
    ("requests_max", "max_waiting"),
    ("slots", "max_loras"),
    ("page_tokens", "block_size"),
];

/// The same error, of a flag where there is one.
pub(crate) fn of_flags(error: Error) -> Error {
    let Error::Request { field, found, allowed } = error else { return error };
    let flag = FLAGS.iter().find(|(option, _)| *option == field).map_or(field, |(_, flag)| flag);
    Error::Request { field: flag, found, allowed }
}
