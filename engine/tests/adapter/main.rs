//! Adapters: what is loaded, what is refused and by which name, and who may still use what.

mod fields;
mod folder;
mod generation;
mod golden;
mod hostile;
mod targets;
