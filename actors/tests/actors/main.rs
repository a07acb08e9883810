//! The actors under a paused clock, with every neighbour of theirs in memory.

#![allow(clippy::unwrap_used)]

mod assignments;
mod careful;
mod circuit;
mod deaths;
mod expiry;
mod lateness;
mod letters;
mod liveness;
mod pausing;
mod resizing;
mod restored;
mod waiting;
mod world;
