//! A letter as it comes in, and as the index has it.

use std::collections::hash_map::DefaultHasher;
use std::hash::{Hash, Hasher};

use super::decision::State;
use super::interned::Symbol;
use crate::domain::failure::{Cause, Stage};

/// A letter, read once when it comes in.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Summary<'a> {
    /// The record's, milliseconds since the epoch: `failed_at`, where we wrote it and the topic keeps what producers say.
    pub timestamp_ms: i64,
    /// As the letter says it; none where it says nothing that can be read.
    pub failed_at_ms: Option<i64>,
    /// None where the letter can't be read.
    pub cause: Option<Cause>,
    pub stage: Option<Stage>,
    pub code: Option<u16>,
    /// With what differs from letter to letter taken out ([`super::alike`]).
    pub reason: String,
    /// The job's template; empty where it names none.
    pub template: &'a str,
    pub tags: Vec<(&'a str, &'a str)>,
    /// The bare addresses that were not reached.
    pub recipients: Vec<&'a str>,
    pub idempotency_key: &'a str,
    pub replay_count: u32,
    pub expires_at_ms: Option<i64>,
    pub has_original: bool,
    /// The job's record on the main queue.
    pub source: Option<Source<'a>>,
}

/// One record only, also where its topic was made anew.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Source<'a> {
    pub topic: &'a str,
    pub partition: i32,
    pub offset: i64,
    pub timestamp_ms: i64,
}

/// A letter of the index, as the columns have it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Row {
    pub offset: i64,
    pub timestamp_ms: i64,
    pub state: State,
    pub cause: Option<Cause>,
    pub stage: Option<Stage>,
    pub code: Option<u16>,
    pub reason: Symbol,
    pub domain: Symbol,
    pub template: Symbol,
    pub replay_count: u32,
    pub expires_at_ms: Option<i64>,
    pub has_original: bool,
    /// Where the latest decision lies in the letter's partition of the decisions topic.
    pub decided_at: Option<i64>,
    /// The same failure was written before: by a producer that had no answer, or after a crash.
    pub is_repeat: bool,
}

/// The number of no cause, and of no stage.
pub const NONE: u8 = u8::MAX;

/// The place of a cause in [`Cause::ALL`].
pub fn cause_number(cause: Cause) -> u8 {
    Cause::ALL.iter().position(|each| *each == cause).map_or(NONE, |at| at as u8)
}

/// The place of a stage in [`Stage::ALL`].
pub fn stage_number(stage: Stage) -> u8 {
    Stage::ALL.iter().position(|each| *each == stage).map_or(NONE, |at| at as u8)
}

/// What stands for a text of that kind in a search that names it whole.
pub fn named(kind: &str, text: &str) -> u64 {
    hash_of((kind, text))
}

/// What stands for a tag.
pub fn tag(name: &str, value: &str) -> u64 {
    hash_of(("tag", name, value))
}

pub fn hash_of(what: impl Hash) -> u64 {
    let mut hasher = DefaultHasher::new();
    what.hash(&mut hasher);
    hasher.finish()
}
