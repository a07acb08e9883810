//! A Kafka inside the process: librdkafka's mock cluster with the worker's two topics, a producer and a reader.
//!
//! The mock keeps 5 MiB a partition and silently drops the oldest beyond that; it answers no admin calls. Each
//! librdkafka client lives and is dropped on a thread of its own that nobody waits for, since a drop may hang.

mod letters;
mod producer;

use std::sync::mpsc;

use rdkafka::error::KafkaResult;
use rdkafka::mocking::MockCluster;
use rdkafka::producer::DefaultProducerContext;

pub use self::letters::LetterReader;
pub use self::producer::Producer;

/// The main queue.
pub const TOPIC: &str = "email-queue";
/// The dead letter queue.
pub const DLQ_TOPIC: &str = "email-dlq";
/// Of the main queue; the dead letter queue has one.
const PARTITIONS: i32 = 4;

/// The running cluster of one broker on 127.0.0.1. Dropping it ends it soon after.
pub struct MockQueue {
    brokers: String,
    /// Nothing is ever sent: its drop ends the thread.
    _open: mpsc::Sender<()>,
}

impl MockQueue {
    /// Starts the cluster; both topics exist when this returns. Blocks for some milliseconds.
    ///
    /// # Errors
    /// When librdkafka can't, in words.
    pub fn start() -> Result<MockQueue, String> {
        let (open, until_closed) = mpsc::channel::<()>();
        let (started, start) = mpsc::channel();
        let work = move || match make_cluster() {
            Ok(cluster) => {
                // Who asked may have gone, and then the next line ends at once.
                let _ = started.send(Ok(cluster.bootstrap_servers()));
                let _ = until_closed.recv();
            }
            Err(error) => {
                let _ = started.send(Err(format!("no mock cluster: {error}")));
            }
        };
        in_background("demo-kafka", work)?;
        let brokers = start.recv().map_err(|_| "the mock cluster's thread panicked".to_owned())??;
        Ok(MockQueue { brokers, _open: open })
    }

    /// What clients call `bootstrap.servers`.
    pub fn brokers(&self) -> &str {
        &self.brokers
    }
}

fn make_cluster() -> KafkaResult<MockCluster<'static, DefaultProducerContext>> {
    let cluster = MockCluster::new(1)?;
    cluster.create_topic(TOPIC, PARTITIONS, 1)?;
    cluster.create_topic(DLQ_TOPIC, 1, 1)?;
    Ok(cluster)
}

/// Starts `work` on a named thread.
fn in_background(name: &str, work: impl FnOnce() + Send + 'static) -> Result<(), String> {
    let started = std::thread::Builder::new().name(name.into()).spawn(work);
    started.map(drop).map_err(|error| format!("no thread {name}: {error}"))
}

#[cfg(test)]
mod tests;
