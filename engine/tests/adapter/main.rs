//! Adapters: what is loaded, what is refused and by which name, and who may still use what.

mod folder;
mod golden;
mod targets;
