//! A run as it is asked for: what it would do, and what it is once its letters are frozen.

use bytes::Bytes;
use chrono::{DateTime, Utc};
use mailroom_actors::domain::job::Record;
use mailroom_actors::domain::letters::filter::Filter;
use mailroom_actors::domain::letters::rules::{Action, Rules};
use mailroom_actors::domain::letters::run::Run;
use mailroom_actors::domain::letters::search::Selection;
use sha2::{Digest, Sha256};

use super::shelf::Shelf;
use crate::config;
use crate::config::kind::{MAX_RATE, MIN_RATE};
use crate::job;

/// The longest reason, in characters.
pub const MAX_REASON: usize = 500;

/// What somebody asks for.
#[derive(Clone, Debug, PartialEq)]
pub struct Request {
    pub action: Action,
    pub filter: Filter,
    pub reason: String,
    /// Letters a second; none: `dlq.rate`.
    pub rate: Option<f64>,
    pub canary: u64,
    /// Of more letters only the oldest so many.
    pub max: Option<u64>,
    pub include_permanent: bool,
    pub include_parked: bool,
    /// Takes the place of the job's bytes, of one letter.
    pub value: Option<Vec<u8>>,
    /// Who asks: `http`, or a login.
    pub by: String,
}

impl Request {
    /// What is wrong with it, whatever letters there are; in words, all of it.
    pub fn mistakes(&self, dlq: &config::Dlq) -> Vec<String> {
        let mut mistakes = Vec::new();
        let reason = self.reason.trim();
        if reason.is_empty() {
            mistakes.push("a reason is required: it is kept with every letter".to_owned());
        }
        if reason.chars().count() > MAX_REASON || reason.chars().any(char::is_control) {
            mistakes.push(format!("a reason has at most {MAX_REASON} characters, and no control characters"));
        }
        if self.rate.is_some_and(|rate| !(MIN_RATE..=MAX_RATE).contains(&rate)) {
            mistakes.push(format!("a rate is from {MIN_RATE}/s to {MAX_RATE}/s"));
        }
        if self.max == Some(0) {
            mistakes.push("max is at least 1".to_owned());
        }
        if self.canary > 0 && self.action != Action::Replay {
            mistakes.push("only a replay has a canary: nothing else can fail again".to_owned());
        }
        if let Some(value) = &self.value {
            if !dlq.allow_edit {
                mistakes.push("jobs may not be changed here: dlq.allow_edit = true allows it".to_owned());
            }
            if self.action != Action::Replay || self.filter.letters.len() != 1 {
                mistakes
                    .push("a changed job needs action replay and exactly one letter by its name".to_owned());
            }
            if let Err(failure) = job::decode(&record_of(value), usize::MAX) {
                mistakes.push(format!("the changed job would fail at once: {}", failure.reason));
            }
        }
        mistakes
    }

    fn rules(&self, dlq: &config::Dlq) -> Rules {
        Rules {
            action: self.action,
            // A changed job is not the one that failed.
            include_permanent: self.include_permanent || self.value.is_some(),
            include_parked: self.include_parked || self.value.is_some(),
            max_replays: dlq.max_replays,
        }
    }

    /// What it would do with the letters that are on the shelf.
    pub fn select(&self, shelf: &Shelf, dlq: &config::Dlq, now: DateTime<Utc>) -> Selection {
        let index = shelf.index.read();
        index.select(&self.filter, &self.rules(dlq), self.max, now.timestamp_millis())
    }

    /// The run over what was selected.
    pub fn run(&self, selection: Selection, id: String, dlq: &config::Dlq, now: DateTime<Utc>) -> Run {
        Run {
            id,
            rules: self.rules(dlq),
            by: self.by.clone(),
            reason: self.reason.trim().to_owned(),
            at_ms: now.timestamp_millis(),
            rate: self.rate.unwrap_or(dlq.rate),
            canary: self.canary,
            newest_ms: selection.newest_ms,
            letters: selection.letters,
            value: self.value.clone(),
        }
    }
}

/// The record that a changed job is read from before it is one.
fn record_of(value: &[u8]) -> Record {
    Record {
        topic: "".into(),
        partition: -1,
        offset: -1,
        timestamp_ms: None,
        key: None,
        value: Some(Bytes::copy_from_slice(value)),
        headers: Vec::new(),
    }
}

/// The name of a run: of the same key always the same; without a key a new one.
pub fn run_id(key: Option<&str>, now: DateTime<Utc>) -> String {
    match key {
        Some(key) => format!("{:x}", Sha256::digest(key))[..16].to_owned(),
        None => format!("{}-{:08x}", now.format("%Y%m%dT%H%M%S"), fastrand::u32(..)),
    }
}
