//! The steady flow of jobs onto the main queue, each with its account in the books.

use std::sync::mpsc::{self, RecvTimeoutError};
use std::time::{Duration, Instant};

use rdkafka::client::ClientContext;
use rdkafka::config::ClientConfig;
use rdkafka::producer::{BaseProducer, BaseRecord, DeliveryResult, Producer as _, ProducerContext};
use tokio::sync::oneshot;

use super::{TOPIC, in_background};
use crate::demo::accounts::SharedAccounts;
use crate::demo::traffic::{self, Kind};

/// How often the producer looks at the clock.
const TICK: Duration = Duration::from_millis(5);
/// How far the flow may fall behind its rate and still catch up.
const CATCH_UP: Duration = Duration::from_secs(1);
/// With this many jobs open the flow waits: far below what the mock cluster drops.
pub(super) const MOST_OPEN: usize = 4_000;
/// How long the last jobs may take to be acknowledged.
const FLUSH: Duration = Duration::from_secs(2);

/// The running flow. Dropping it stops it.
pub struct Producer {
    /// Nothing is ever sent: its drop stops the flow.
    flow: mpsc::Sender<()>,
    ended: oneshot::Receiver<()>,
}

impl Producer {
    /// Starts the flow of `rate` jobs a second (0 counts as 1); it waits while 4,000 jobs are open.
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
        let (at_the_end, ended) = oneshot::channel();
        in_background("demo-producer", move || {
            produce(&client, rate.max(1), &accounts, &until_stopped);
            let deadline = Instant::now() + FLUSH;
            while client.in_flight_count() > 0 && Instant::now() < deadline {
                client.poll(TICK);
            }
            // Nobody may wait for it.
            let _ = at_the_end.send(());
        })?;
        Ok(Producer { flow, ended })
    }

    /// Stops the flow and waits until all jobs are acknowledged or refused, about 2 s at most.
    pub async fn stop(self) {
        drop(self.flow);
        // An error is a thread that panicked; the books will show what is missing.
        let _ = self.ended.await;
    }
}

fn produce(
    client: &BaseProducer<Reports>,
    rate: u32,
    accounts: &SharedAccounts,
    until_stopped: &mpsc::Receiver<()>,
) {
    let mut pace = Pace { interval: Duration::from_secs(1) / rate, next: Instant::now() };
    let mut number = 0;
    while until_stopped.recv_timeout(TICK) == Err(RecvTimeoutError::Timeout) {
        client.poll(Duration::ZERO);
        while accounts.lock().open() < MOST_OPEN && pace.is_due(Instant::now()) {
            let recipient = traffic::recipient(number, Kind::of_job(number, rate));
            let job = traffic::job(number, &recipient);
            accounts.lock().produced(&recipient);
            let record =
                BaseRecord::with_opaque_to(TOPIC, Box::new(recipient.clone())).key(&recipient).payload(&job);
            if client.send(record).is_err() {
                accounts.lock().refused(&recipient);
            }
            number += 1;
        }
    }
}

/// When the next job is due.
struct Pace {
    interval: Duration,
    next: Instant,
}

impl Pace {
    /// Whether a job is due at `now`; true counts it as produced. After a long hindrance the flow makes up for
    /// one second only.
    fn is_due(&mut self, now: Instant) -> bool {
        if now < self.next {
            return false;
        }
        let earliest = now.checked_sub(CATCH_UP).unwrap_or(self.next);
        self.next = self.next.max(earliest) + self.interval;
        true
    }
}

/// Takes what the cluster says of each job.
struct Reports {
    accounts: SharedAccounts,
}

impl ClientContext for Reports {}

impl ProducerContext for Reports {
    /// The recipient.
    type DeliveryOpaque = Box<String>;

    fn delivery(&self, report: &DeliveryResult<'_>, recipient: Box<String>) {
        if report.is_err() {
            self.accounts.lock().refused(&recipient);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_second_has_as_many_jobs_as_the_rate_says_however_often_one_looks() {
        for (rate, tick) in [(1, 5), (20, 5), (20, 1), (333, 7), (5_000, 5)] {
            let start = Instant::now();
            let mut pace = Pace { interval: Duration::from_secs(1) / rate, next: start };
            let mut jobs = 0;
            for ms in (0..1_000).step_by(tick) {
                while pace.is_due(start + Duration::from_millis(ms)) {
                    jobs += 1;
                }
            }
            assert!(jobs <= rate && jobs + rate * 7 / 1_000 + 1 >= rate, "{rate}: {jobs}");
        }
    }

    #[test]
    fn a_flow_that_was_held_up_makes_up_for_one_second_at_most() {
        let start = Instant::now();
        let mut pace = Pace { interval: Duration::from_millis(50), next: start };
        let later = start + Duration::from_secs(3_600);
        assert_eq!(std::iter::repeat_with(|| pace.is_due(later)).take_while(|due| *due).count(), 21);
    }
}
