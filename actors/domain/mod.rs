//! What the worker decides, as plain functions and data: no actix, tokio, clock or randomness in here.
//! Time and jitter are arguments.
//!
//! In reading order: a [`job`] is taken into the [`ledger`]; an attempt ends in a [`failure`] or not; its
//! [`history`] and the [`retry`] policy decide what follows; the [`pace`] and the [`rate`] say when the next may
//! begin; [`restart`] is about the actors themselves.

pub mod failure;
pub mod history;
pub mod job;
pub mod ledger;
pub mod pace;
pub mod rate;
pub mod restart;
pub mod retry;
