//! `loam serve`: one process, one port, gRPC and HTTP.
//!
//! ```text
//! net -> guard (who asks, request id) -> grpc, http -> answering -> engine
//!                                             \-> node -> ledger
//! ```
//!
//! * [`node`]: what all connections share;
//! * [`life`]: from the first setting to the last checkpoint;
//! * [`published`]: which adapters may be used, where the records decide that;
//! * [`net`]: sockets, TLS, and how much of each;
//! * [`guard`]: who asks, before anything else of a request is looked at;
//! * [`origin`]: pages in a browser, which speak for whoever looks at them;
//! * [`patience`]: how long the other side of a call is waited for;
//! * [`answering`]: one call's requests while they are answered.

mod answering;
mod grpc;
mod guard;
mod http;
mod life;
mod log_lines;
mod moment;
mod net;
mod node;
mod origin;
mod patience;
mod places;
mod published;

use std::time::{SystemTime, UNIX_EPOCH};

pub(crate) use life::run;

/// Seconds since 1970.
fn now_s() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_secs()
}
