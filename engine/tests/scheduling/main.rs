//! The scheduler, alone: small stories, one for each rule, and whole worlds in which every step is checked.

mod ahead;
mod batches;
mod bounds;
mod checks;
mod devices;
mod memory;
mod pools;
mod random;
mod stories;
mod world;
mod worlds;
