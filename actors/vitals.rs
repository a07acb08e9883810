//! What readiness and `/health` depend on, noted by whoever sees it, kept outside the actors.

use std::collections::BTreeSet;
use std::time::{Duration, SystemTime};

use parking_lot::Mutex;
use tokio::time::Instant;

use crate::domain::failure::{Failure, Stage};
use crate::domain::topic_partition::TopicPartition;
use crate::guard::ChildId;
use crate::messages::{DeadLettersStatus, KafkaStatus, RecordsGone, RelayStatus};
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
    poll_thread: Option<PollThread>,
    gone: Option<Gone>,
    relay: Relay,
    letters_under_way: usize,
    letters_failing_since: Option<Instant>,
    letters_error: Option<String>,
    working: BTreeSet<ChildId>,
    ready: usize,
}

/// The thread that polls, once it runs.
#[derive(Debug)]
struct PollThread {
    /// It has come round since the last look.
    turned: bool,
    /// When it was first seen not to have.
    still_since: Option<Instant>,
}

/// Records that were not there when they were to be read.
#[derive(Debug)]
struct Gone {
    partition: TopicPartition,
    due: i64,
    at: Instant,
    times: u64,
}

/// For so long `/health` tells of records that were gone.
const GONE_IS_TOLD: Duration = Duration::from_secs(3600);

/// What was noted of the relay.
#[derive(Clone, Debug, Default)]
struct Relay {
    /// None since an e-mail was taken.
    last_failure: Option<Failure>,
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

    /// The thread that polls has come round.
    pub fn poll_thread_turned(&self) {
        let mut noted = self.noted.lock();
        noted.poll_thread = Some(PollThread { turned: true, still_since: None });
    }

    /// Sees whether it has come round since the last look. What counts is how long it was looked for in vain: a process
    /// that stood still as a whole takes nobody for dead.
    pub fn look_at_the_poll_thread(&self) {
        if let Some(thread) = &mut self.noted.lock().poll_thread
            && !std::mem::take(&mut thread.turned)
        {
            thread.still_since.get_or_insert_with(Instant::now);
        }
    }

    /// How long it has been seen not to come round; zero while it does, and before it runs.
    pub fn poll_thread_still_for(&self) -> Duration {
        let noted = self.noted.lock();
        let since = noted.poll_thread.as_ref().and_then(|thread| thread.still_since);
        since.map_or(Duration::ZERO, |since| since.elapsed())
    }

    /// What was due next of this partition is not in its log.
    pub fn records_gone(&self, partition: TopicPartition, due: i64) {
        let mut noted = self.noted.lock();
        let times = noted.gone.as_ref().map_or(0, |gone| gone.times) + 1;
        noted.gone = Some(Gone { partition, due, at: Instant::now(), times });
    }

    /// The relay took an e-mail.
    pub fn relay_took_one(&self, now: SystemTime) {
        let mut noted = self.noted.lock();
        noted.relay = Relay { last_success: Some(now), last_failure: None };
    }

    /// It failed, whatever the e-mail. How often in a row is the pace's to count.
    pub fn relay_failed(&self, failure: &Failure) {
        self.noted.lock().relay.last_failure = Some(failure.clone());
    }

    /// Where the last failure was found, and the reason as it came; none since an e-mail was taken.
    pub fn relay_failure(&self) -> Option<(Stage, String)> {
        let noted = self.noted.lock();
        noted.relay.last_failure.as_ref().map(|failure| (failure.stage, failure.reason.clone()))
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
            records_gone: noted.gone.as_ref().filter(|gone| gone.at.elapsed() < GONE_IS_TOLD).map(|gone| {
                let &Gone { partition, due, at, times } = gone;
                RecordsGone { partition, due, ago: at.elapsed(), times }
            }),
        }
    }

    pub fn relay(&self, throttle: &Throttle) -> RelayStatus {
        let Relay { last_failure, last_success } = self.noted.lock().relay.clone();
        let (last_error, last_cause) = last_failure.map(|failure| (failure.reason, failure.cause)).unzip();
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
