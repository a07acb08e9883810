//! What readiness and `/health` depend on, noted by whoever sees it, kept outside the actors.

use std::collections::BTreeSet;
use std::time::SystemTime;

use parking_lot::Mutex;
use tokio::time::Instant;

use crate::domain::failure::{Cause, Failure};
use crate::guard::ChildId;
use crate::messages::{DeadLettersStatus, KafkaStatus, RelayStatus};
use crate::throttle::Throttle;

#[derive(Debug, Default)]
pub struct Vitals {
    noted: Mutex<Noted>,
}

#[derive(Debug, Default)]
struct Noted {
    broker_answered: Option<Instant>,
    kafka_error: Option<String>,
    joined: bool,
    relay: Relay,
    letters_under_way: usize,
    letters_failing_since: Option<Instant>,
    letters_error: Option<String>,
    working: BTreeSet<ChildId>,
    ready: usize,
}

/// What was noted of the relay.
#[derive(Clone, Debug, Default)]
struct Relay {
    failures_in_a_row: u64,
    last_error: Option<String>,
    last_cause: Option<Cause>,
    last_success: Option<SystemTime>,
}

impl Vitals {
    pub fn broker_answered(&self) {
        let mut noted = self.noted.lock();
        noted.broker_answered = Some(Instant::now());
        noted.kafka_error = None;
    }

    pub fn broker_failed(&self, error: String) {
        self.noted.lock().kafka_error = Some(error);
    }

    /// The group has given this worker its partitions, or said that there are none for it; false once all are
    /// lost.
    pub fn joined(&self, joined: bool) {
        self.noted.lock().joined = joined;
    }

    /// The relay gave an answer about an e-mail, good or bad.
    ///
    /// Returns how many failures in a row that ends.
    pub fn relay_answered(&self, taken: bool, now: SystemTime) -> u64 {
        let mut noted = self.noted.lock();
        let ended = std::mem::take(&mut noted.relay.failures_in_a_row);
        if taken {
            noted.relay.last_success = Some(now);
            noted.relay.last_error = None;
            noted.relay.last_cause = None;
        }
        ended
    }

    /// Returns how many failures in a row that makes.
    pub fn relay_failed(&self, failure: &Failure) -> u64 {
        let mut noted = self.noted.lock();
        noted.relay.failures_in_a_row += 1;
        noted.relay.last_error = Some(failure.reason.clone());
        noted.relay.last_cause = Some(failure.cause);
        noted.relay.failures_in_a_row
    }

    /// Where none is under way nothing fails: what could not be published may be another worker's by now.
    pub fn letters_under_way(&self, number: usize) {
        let mut noted = self.noted.lock();
        noted.letters_under_way = number;
        if number == 0 {
            noted.letters_failing_since = None;
            noted.letters_error = None;
        }
    }

    pub fn letter_acknowledged(&self) {
        let mut noted = self.noted.lock();
        noted.letters_failing_since = None;
        noted.letters_error = None;
    }

    /// A try to publish a letter, begun at `began`, was not acknowledged.
    pub fn letter_refused(&self, error: String, began: Instant) {
        let mut noted = self.noted.lock();
        noted.letters_failing_since.get_or_insert(began);
        noted.letters_error = Some(error);
    }

    pub fn works(&self, mailer: ChildId) {
        self.noted.lock().working.insert(mailer);
    }

    pub fn rests(&self, mailer: ChildId) {
        self.noted.lock().working.remove(&mailer);
    }

    /// So many jobs could be attempted now, if they were allowed.
    pub fn set_ready(&self, jobs: usize) {
        self.noted.lock().ready = jobs;
    }

    pub fn ready(&self) -> usize {
        self.noted.lock().ready
    }

    /// The mailers that have a job in hand now.
    pub fn working(&self) -> BTreeSet<ChildId> {
        self.noted.lock().working.clone()
    }

    pub fn kafka(&self, partitions: usize) -> KafkaStatus {
        let noted = self.noted.lock();
        KafkaStatus {
            silent_for: noted.broker_answered.map(|at| at.elapsed()),
            partitions,
            joined: noted.joined,
            last_error: noted.kafka_error.clone(),
        }
    }

    pub fn relay(&self, throttle: &Throttle) -> RelayStatus {
        let Relay { last_error, last_cause, last_success, .. } = self.noted.lock().relay.clone();
        RelayStatus {
            circuit: throttle.circuit(),
            failures_in_a_row: throttle.failures_in_a_row(),
            next_probe: throttle.next_probe().map(|at| at.saturating_duration_since(Instant::now())),
            last_error,
            last_cause,
            last_success,
        }
    }

    pub fn dead_letters(&self) -> DeadLettersStatus {
        let noted = self.noted.lock();
        DeadLettersStatus {
            under_way: noted.letters_under_way,
            failing_for: noted.letters_failing_since.map(|at| at.elapsed()),
            last_error: noted.letters_error.clone(),
        }
    }
}
