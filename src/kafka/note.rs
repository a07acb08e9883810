//! Puts single records on a compacted topic, and returns once all in-sync replicas have them.

use std::time::Duration;

use rdkafka::producer::{FutureProducer, FutureRecord};

use super::client_log::ClientLog;
use super::problem::StartProblem;
use super::properties;
use crate::config;

const ANSWER_TIMEOUT: Duration = Duration::from_secs(10);

/// May be used by many at once; a copy is the same producer.
#[derive(Clone)]
pub struct Notes {
    producer: FutureProducer<ClientLog>,
    topic: String,
}

impl Notes {
    /// # Errors
    /// `Misconfigured`, when librdkafka does not take the properties.
    pub fn new(config: &config::Kafka, topic: &str) -> Result<Notes, StartProblem> {
        let mut properties = properties::producer(config);
        properties.set("delivery.timeout.ms", ANSWER_TIMEOUT.as_millis().to_string());
        let producer = properties
            .create_with_context(ClientLog::new("notes"))
            .map_err(|error| StartProblem::from_creation(&error))?;
        Ok(Notes { producer, topic: topic.to_owned() })
    }

    /// Returns the record's offset. Needs a tokio runtime.
    ///
    /// # Errors
    /// In words: no broker took it within 10 s, or it is refused.
    pub async fn put(&self, partition: i32, key: &str, value: Option<&[u8]>) -> Result<i64, String> {
        let mut record = FutureRecord::<str, [u8]>::to(&self.topic).partition(partition).key(key);
        if let Some(value) = value {
            record = record.payload(value);
        }
        match self.producer.send(record, ANSWER_TIMEOUT).await {
            Ok(delivery) => Ok(delivery.offset),
            Err((error, _)) => Err(format!("topic {}: {error}", self.topic)),
        }
    }
}
