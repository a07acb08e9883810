//! The actors under a paused clock, with every neighbour of theirs in memory.

#![allow(clippy::unwrap_used)]

mod assignments;
mod deaths;
mod resizing;
mod waiting;
mod world;
