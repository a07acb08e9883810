//! Which partitions of a topic are this worker's to act on: a group of its own shares them out. Nothing is read through it.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use parking_lot::Mutex;
use rdkafka::ClientContext;
use rdkafka::config::RDKafkaLogLevel;
use rdkafka::consumer::{BaseConsumer, Consumer, ConsumerContext, Rebalance};
use rdkafka::error::KafkaError;

use super::client_log::ClientLog;
use super::problem::StartProblem;
use super::properties;
use super::threads::Thread;
use crate::config;

const POLL: Duration = Duration::from_millis(200);
const LONGEST_FAREWELL: Duration = Duration::from_secs(1);

/// A member of the group; dropping it leaves.
pub struct Membership {
    owned: Arc<Mutex<BTreeSet<i32>>>,
    thread: Thread,
}

impl Membership {
    /// Joins the group `<kafka.group>-dlq` for the dead letter queue. Waits for brokers, and for the topic.
    ///
    /// # Errors
    /// `Misconfigured`, when librdkafka does not take the properties.
    pub fn join(config: &config::Kafka) -> Result<Membership, StartProblem> {
        let owned = Arc::new(Mutex::new(BTreeSet::new()));
        let context = Context { log: ClientLog::new("dlq member"), owned: Arc::clone(&owned) };
        let consumer: BaseConsumer<Context> = properties::member(config)
            .create_with_context(context)
            .map_err(|error| StartProblem::from_creation(&error))?;
        consumer.subscribe(&[&config.dlq_topic]).map_err(|error| StartProblem::from_creation(&error))?;
        let poll = move |stopped: &AtomicBool| {
            while !stopped.load(Ordering::Acquire) {
                // Errors are in the client's log; what was fetched before the pause is of no interest.
                let _ = consumer.poll(POLL);
            }
        };
        let thread = Thread::start("dlq-member", LONGEST_FAREWELL, poll).map_err(|error| {
            StartProblem::Away(format!("no thread for the group of the dead letter queue: {error}"))
        })?;
        Ok(Membership { owned, thread })
    }

    /// Leaves soon; dropping it waits for that, a second at most.
    pub fn stop(&self) {
        self.thread.stop();
    }

    /// The partitions that are this worker's now.
    pub fn partitions(&self) -> Vec<i32> {
        self.owned.lock().iter().copied().collect()
    }
}

struct Context {
    log: ClientLog,
    owned: Arc<Mutex<BTreeSet<i32>>>,
}

impl ClientContext for Context {
    fn log(&self, level: RDKafkaLogLevel, facility: &str, text: &str) {
        self.log.log(level, facility, text);
    }

    fn error(&self, error: KafkaError, reason: &str) {
        self.log.error(error, reason);
    }
}

impl ConsumerContext for Context {
    fn pre_rebalance(&self, _: &BaseConsumer<Context>, rebalance: &Rebalance<'_>) {
        if let Rebalance::Revoke(partitions) = rebalance {
            let mut owned = self.owned.lock();
            owned.retain(|owned| partitions.elements().iter().all(|of| of.partition() != *owned));
        }
    }

    fn post_rebalance(&self, consumer: &BaseConsumer<Context>, rebalance: &Rebalance<'_>) {
        if let Rebalance::Assign(partitions) = rebalance {
            if let Err(error) = consumer.pause(partitions) {
                tracing::debug!(%error, "partitions can't be paused");
            }
            let mine: Vec<i32> = partitions.elements().iter().map(|of| of.partition()).collect();
            tracing::info!(partitions = ?mine, "partitions of the dead letter queue to act on");
            self.owned.lock().extend(mine);
        }
    }
}
