//! What the worker decides, as plain functions and data: no actix, tokio, clock or randomness in here.
//! Time and jitter are arguments.
//!
//! In reading order: a [`job`] is taken into the [`ledger`], which keeps a [`partition`] each, and whose commits
//! say more than an offset by their [`metadata`] (written in [`symbols`]); an attempt ends in a [`failure`] or
//! not; its [`history`], the [`retry`] policy and its [`expiry`] decide what follows; the [`pace`] and the [`rate`] say when the
//! next may begin; [`restart`] is about the actors themselves.

pub mod expiry;
pub mod failure;
pub mod history;
pub mod job;
pub mod ledger;
pub mod letters;
pub mod metadata;
pub mod pace;
pub mod partition;
pub mod rate;
pub mod restart;
pub mod retry;
pub mod symbols;
pub mod topic_partition;
