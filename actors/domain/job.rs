//! A job as it was taken from the queue, and what is known of it until it is settled.

use std::sync::Arc;

use bytes::Bytes;
use chrono::{DateTime, Utc};

use super::failure::{Failure, Stage};

/// The header by which a replayed job names its letter.
pub const REPLAY_ID: &str = "mailroom-replay-id";

/// The header that says how often a job was replayed.
pub const REPLAY_COUNT: &str = "mailroom-replay-count";
/// The header with the idempotency key of a job that has none in its value.
pub const IDEMPOTENCY_KEY: &str = "idempotency-key";

/// One record of the main queue, exactly as Kafka had it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Record {
    pub topic: Arc<str>,
    pub partition: i32,
    pub offset: i64,
    /// Milliseconds since the epoch; none where the broker gave none.
    pub timestamp_ms: Option<i64>,
    pub key: Option<Bytes>,
    pub value: Option<Bytes>,
    /// In order, doubles too.
    pub headers: Vec<(String, Option<Bytes>)>,
}

impl Record {
    /// Bytes that count against `limits.in_flight_bytes`: the value's.
    pub fn size(&self) -> usize {
        self.value.as_ref().map_or(0, Bytes::len)
    }

    /// Whether it was put back on the queue from the dead letter queue.
    pub fn is_replay(&self) -> bool {
        self.headers.iter().any(|(name, _)| name == REPLAY_ID)
    }

    /// `topic-partition-offset`: the name of the record, and the idempotency key of a job without one.
    pub fn name(&self) -> String {
        format!("{}-{}-{}", self.topic, self.partition, self.offset)
    }
}

/// One spent attempt, as the dead letter lists it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Attempt {
    /// From 1, numbered on from those before a crash or rebalance.
    pub number: u32,
    /// When it began, by the wall clock.
    pub at: DateTime<Utc>,
    pub stage: Stage,
    pub error: String,
    pub took_ms: u64,
}

/// A set of the recipients of one e-mail, by their index in its envelope. At most 128; a job has at most
/// 100 recipients.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct RecipientSet(u128);

impl RecipientSet {
    pub const CAPACITY: usize = 128;

    pub fn contains(self, index: usize) -> bool {
        index < Self::CAPACITY && self.0 & (1 << index) != 0
    }

    pub fn insert(&mut self, index: usize) {
        assert!(index < Self::CAPACITY, "a job has at most 100 recipients");
        self.0 |= 1 << index;
    }

    pub fn is_empty(self) -> bool {
        self.0 == 0
    }

    /// A bit for each index, the lowest for the first.
    pub fn bits(self) -> u128 {
        self.0
    }

    pub fn from_bits(bits: u128) -> RecipientSet {
        RecipientSet(bits)
    }

    pub fn len(self) -> usize {
        self.0.count_ones() as usize
    }
}

/// All that the dead letter of a job says beyond the job itself.
#[derive(Clone, Debug)]
pub struct DeadLetter {
    pub record: Arc<Record>,
    /// The last failure: cause, stage, reason and codes are its.
    pub failure: Failure,
    /// Attempts spent, those before a crash or rebalance included: `retry_count`.
    pub attempts_spent: u32,
    /// Those that this process made.
    pub attempts: Vec<Attempt>,
    /// The recipients that did get it; the letter names the others.
    pub served: RecipientSet,
    pub failed_at: DateTime<Utc>,
}
