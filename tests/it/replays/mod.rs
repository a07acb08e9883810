//! Letters of the dead letter queue put back on the queue, by a run: each once, whatever dies (contract, section 9).

mod beside;
mod brokers;
mod fetching;
mod forgotten;
pub mod letters;
mod once;
mod redrive;

pub use letters::{Letters, replayed};
