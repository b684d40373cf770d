//! Work on what others wrote, where it can nest as deep as it likes and break nothing.

use std::thread;

/// Room for the deepest thing that a template or a grammar within its limits can say, build, or have taken apart again:
/// some 300,000 levels of at most 500 bytes each. It is touched only as far as it is needed.
const STACK_BYTES: usize = 256 << 20;

/// Does some work on a thread of its own. A panic there is an error here.
pub(crate) fn apart<T: Send>(what: &str, work: impl FnOnce() -> Result<T, String> + Send) -> Result<T, String> {
    thread::scope(|scope| {
        let builder = thread::Builder::new().name(what.to_owned()).stack_size(STACK_BYTES);
        let thread = builder.spawn_scoped(scope, work).map_err(|error| format!("no thread for it: {error}"))?;
        thread.join().unwrap_or_else(|_| Err("ended in a panic".to_owned()))
    })
}
