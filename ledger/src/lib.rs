//! How Loam's ledger is kept.
//!
//! ```text
//! Writer -> queue -> Committer -> Store, Floor, Secrets -> acknowledgements
//!                       |
//!                     View -> Publisher (signs) -> proofs, receipts, exports
//! ```
//!
//! In reading order: [`Ledger`] is the handle; `writer` turns an engine's steps into entries; `committer` makes them
//! durable and `publisher` signs; `opening` decides what may be written at all; [`store`] and [`home`] say what a
//! ledger lies on. What the bytes mean is said in `loam-ledger-core`.
#![forbid(unsafe_code)]

mod ahead;
mod committer;
mod disk;
mod engines;
mod erased;
mod erasing;
mod error;
mod export;
mod floor;
mod fsck;
mod growing;
pub mod home;
mod inlet;
mod keys;
mod layout;
mod ledger;
pub mod memory;
mod offers;
mod opening;
mod payers;
mod payloads;
mod publisher;
mod queue;
mod read_only;
mod reader;
mod receipts;
mod recorded;
mod request;
mod rocks;
mod sealed;
mod settling;
mod slots;
mod speaking;
pub mod store;
mod submission;
mod view;
mod writer;

pub use committer::Observe;
pub use erased::ErasedOfEpoch;
pub use error::Error;
pub use export::ExportFolder;
pub use fsck::{Acked, Examined};
pub use home::Folder;
pub use keys::{Keys, MemoryKeys};
pub use layout::STORE_FORMAT;
pub use ledger::{Ledger, Options, RESERVE_BYTES, TAIL_ENTRIES_MAX};
pub use offers::{Appended, Offer};
pub use payloads::{PAYLOAD_BYTES_MAX, Payload};
pub use read_only::WhyReadOnly;
pub use reader::RowScope;
pub use request::Request;
pub use settling::EpochDraft;
pub use submission::{Acknowledge, Committed, Level, Prepared};
pub use writer::{BootInfo, StepRecord, Ticket, Writer};
