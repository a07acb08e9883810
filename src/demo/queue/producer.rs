//! The steady flow of jobs onto the main queue, each with its account in the books.

use std::sync::mpsc::{self, RecvTimeoutError};
use std::time::{Duration, Instant};

use rdkafka::client::ClientContext;
use rdkafka::config::ClientConfig;
use rdkafka::producer::{BaseProducer, BaseRecord, DeliveryResult, Producer as _, ProducerContext};

use super::{PARTITIONS, TOPIC};
use crate::demo::accounts::SharedAccounts;
use crate::demo::background::Background;
use crate::demo::traffic::{self, Scenario};

/// How often the producer looks at the clock.
const TICK: Duration = Duration::from_millis(5);
/// How far the flow may lag behind its rate and still catch up.
const CATCH_UP: Duration = Duration::from_secs(1);
/// With this many jobs under way it waits: far below what the mock cluster drops silently.
pub(super) const MOST_UNDER_WAY: u64 = 4_000;
/// How long the last jobs may take to be acknowledged once the flow has been stopped.
const FLUSH: Duration = Duration::from_secs(2);

/// The running flow. Dropping it stops it.
pub struct Producer {
    /// Dropped to stop.
    flow: mpsc::Sender<()>,
    thread: Background,
}

impl Producer {
    /// Starts the flow of `rate` jobs a second (0 counts as 1), on a thread of its own.
    ///
    /// # Errors
    /// When there is no client or no thread to be had, in words.
    pub fn start(brokers: &str, rate: u32, accounts: SharedAccounts) -> Result<Producer, String> {
        let client: BaseProducer<Reports> = ClientConfig::new()
            .set("bootstrap.servers", brokers)
            .set("linger.ms", "2")
            .set("message.timeout.ms", "10000")
            .set("log_level", "3")
            .create_with_context(Reports { accounts: SharedAccounts::clone(&accounts) })
            .map_err(|error| format!("no producer: {error}"))?;
        let (flow, until_stopped) = mpsc::channel();
        let rate = rate.max(1);
        let thread = Background::start("demo-producer", move || {
            produce(&client, rate, &accounts, &until_stopped);
            let deadline = Instant::now() + FLUSH;
            while client.in_flight_count() > 0 && Instant::now() < deadline {
                client.poll(TICK);
            }
        })
        .map_err(|error| format!("no thread for the producer: {error}"))?;
        Ok(Producer { flow, thread })
    }

    /// Stops the flow and waits until every job is acknowledged or refused, at most `limit`. True when so.
    pub async fn stop(self, limit: Duration) -> bool {
        drop(self.flow);
        self.thread.ended(limit).await
    }
}

fn produce(
    client: &BaseProducer<Reports>,
    rate: u32,
    accounts: &SharedAccounts,
    until_stopped: &mpsc::Receiver<()>,
) {
    let mut pace = Pace::new(rate, Instant::now());
    loop {
        client.poll(Duration::ZERO);
        while accounts.lock().under_way() < MOST_UNDER_WAY && pace.is_due(Instant::now()) {
            let number = accounts.lock().open();
            let job = traffic::job(number, Scenario::of_job(number, rate));
            let partition = (number % u64::from(PARTITIONS.unsigned_abs())) as i32;
            let record = BaseRecord::with_opaque_to(TOPIC, Box::new(number))
                .partition(partition)
                .key(&job.key)
                .payload(&job.value);
            if client.send(record).is_err() {
                accounts.lock().refused(number);
            }
        }
        match until_stopped.recv_timeout(TICK) {
            Err(RecvTimeoutError::Timeout) => {}
            Ok(()) | Err(RecvTimeoutError::Disconnected) => return,
        }
    }
}

/// When the next job is due.
struct Pace {
    interval: Duration,
    next: Instant,
}

impl Pace {
    fn new(rate: u32, now: Instant) -> Pace {
        Pace { interval: Duration::from_secs(1) / rate, next: now }
    }

    /// Whether a job is due at `now`; true counts it as produced. After a long hindrance it goes on at its
    /// rate, and does not make up for all that it missed.
    fn is_due(&mut self, now: Instant) -> bool {
        if now < self.next {
            return false;
        }
        let earliest = now.checked_sub(CATCH_UP).unwrap_or(self.next);
        self.next = self.next.max(earliest) + self.interval;
        true
    }
}

/// Takes what the cluster said of each job.
struct Reports {
    accounts: SharedAccounts,
}

impl ClientContext for Reports {}

impl ProducerContext for Reports {
    /// The job's number.
    type DeliveryOpaque = Box<u64>;

    fn delivery(&self, report: &DeliveryResult<'_>, number: Box<u64>) {
        if report.is_err() {
            self.accounts.lock().refused(*number);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_second_has_as_many_jobs_as_the_rate_says_however_often_one_looks() {
        for (rate, tick_ms) in [(1, 5), (20, 5), (20, 1), (333, 7), (5_000, 5)] {
            let start = Instant::now();
            let mut pace = Pace::new(rate, start);
            let mut jobs = 0;
            let mut ms = 0;
            while ms < 1_000 {
                while pace.is_due(start + Duration::from_millis(ms)) {
                    jobs += 1;
                }
                ms += tick_ms;
            }
            assert!(jobs <= rate && jobs + rate * 7 / 1_000 + 1 >= rate, "{rate}: {jobs}");
        }
    }

    #[test]
    fn a_flow_that_was_held_up_catches_up_with_one_second_at_most() {
        let start = Instant::now();
        let mut pace = Pace::new(20, start);
        let later = start + Duration::from_secs(3_600);
        let jobs = std::iter::repeat_with(|| pace.is_due(later)).take_while(|due| *due).count();
        assert_eq!(jobs, 21);
    }
}
