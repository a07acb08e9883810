//! How the worker meets Kafka: the consumer group, the dead letter topic, and what must exist at the start.
//!
//! Reading order: [`properties`] (what librdkafka is told), [`topics`] and [`rights`] (before anything is
//! joined), [`intake`] (the one thread that polls, with `commands`, `context`, `partitions`, `rebalance`,
//! `arrivals`, `commits` and `out_of_range` as its parts), [`watermarks`], [`dead_letters`], [`send`],
//! [`inspect`] (looks, and joins nothing). For work on the dead letter queue: [`follow`], [`fetch`] and [`ends`] read, [`membership`]
//! shares out, [`scribe`] and [`note`] write.

mod arrivals;
mod bell;
mod client_log;
mod commands;
mod commits;
mod context;
pub mod dead_letters;
pub mod ends;
pub mod fetch;
pub mod follow;
pub mod inspect;
pub mod intake;
pub mod late;
pub mod letter;
pub mod membership;
pub mod note;
mod operations;
mod out_of_range;
mod partitions;
pub mod problem;
pub mod properties;
mod pulse;
mod rebalance;
mod record;
pub mod rights;
pub mod scribe;
pub mod send;
pub mod threads;
pub mod topics;
pub mod watermarks;

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests;

pub use commands::KafkaOffsetLog;
pub use dead_letters::KafkaDeadLetters;
pub use intake::start;
pub use late::LateOffsetLog;
pub use letter::EncodedLetter;
pub use problem::StartProblem;
