//! A Kafka inside the process: librdkafka's mock cluster with the worker's two topics.
//!
//! It keeps 5 MiB a partition and drops the oldest beyond that without a word, so who produces must keep what
//! is under way small; it answers no admin calls.

mod letters;
mod producer;

use std::sync::mpsc;
use std::time::Duration;

use rdkafka::mocking::MockCluster;
use tokio::sync::oneshot;

pub use self::letters::LetterReader;
pub use self::producer::Producer;
use super::background::Background;

/// The main queue.
pub const TOPIC: &str = "email-queue";
/// The dead letter queue.
pub const DLQ_TOPIC: &str = "email-dlq";
pub const DECISIONS_TOPIC: &str = "email-dlq-decisions";
/// Partitions of the main queue; the dead letter queue has one.
pub const PARTITIONS: i32 = 4;

/// The running cluster. Dropping it ends it.
pub struct MockQueue {
    brokers: String,
    /// Dropped to close.
    open: mpsc::Sender<()>,
    thread: Background,
}

impl MockQueue {
    /// Starts one broker on 127.0.0.1, on a thread of its own: the cluster may not leave its thread, and
    /// destroying it may take its time, which must not hold up the process.
    ///
    /// # Errors
    /// When librdkafka can't, in words.
    pub async fn start() -> Result<MockQueue, String> {
        let (open, until_closed) = mpsc::channel::<()>();
        let (started, start) = oneshot::channel();
        let thread = Background::start("demo-kafka", move || {
            let cluster = match make_cluster() {
                Ok(cluster) => cluster,
                Err(error) => {
                    // Who asked may have gone.
                    let _ = started.send(Err(error.to_string()));
                    return;
                }
            };
            // Who asked may have gone; then the channel below is closed, too.
            let _ = started.send(Ok(cluster.bootstrap_servers()));
            // Nothing is ever sent: the error says that it is to be closed.
            let _ = until_closed.recv();
        })
        .map_err(|error| format!("no thread for the mock cluster: {error}"))?;
        let brokers = start.await.map_err(|_| "the mock cluster's thread panicked".to_owned())??;
        Ok(MockQueue { brokers, open, thread })
    }

    /// What clients call `bootstrap.servers`.
    pub fn brokers(&self) -> &str {
        &self.brokers
    }

    /// Destroys the cluster and waits for that, at most `limit`. True when it is gone.
    pub async fn close(self, limit: Duration) -> bool {
        drop(self.open);
        self.thread.ended(limit).await
    }
}

type Cluster = MockCluster<'static, rdkafka::producer::DefaultProducerContext>;

fn make_cluster() -> rdkafka::error::KafkaResult<Cluster> {
    let cluster = MockCluster::new(1)?;
    cluster.create_topic(TOPIC, PARTITIONS, 1)?;
    cluster.create_topic(DLQ_TOPIC, 1, 1)?;
    cluster.create_topic(DECISIONS_TOPIC, 1, 1)?;
    Ok(cluster)
}

#[cfg(test)]
mod tests;
