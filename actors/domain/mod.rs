//! What the worker decides, as plain functions and data: no actix, tokio, clock or randomness in here.
//! Time and jitter are arguments.

pub mod failure;
pub mod job;
