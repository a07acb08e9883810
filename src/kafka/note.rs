//! Puts single records on a compacted topic, and returns once all in-sync replicas have them.

use std::sync::{Arc, OnceLock};
use std::time::Duration;

use rdkafka::ClientConfig;
use rdkafka::producer::{FutureProducer, FutureRecord};

use super::client_log::ClientLog;
use super::properties;
use crate::config;

const ANSWER_TIMEOUT: Duration = Duration::from_secs(10);

/// May be used by many at once; a copy is the same producer.
#[derive(Clone)]
pub struct Notes {
    properties: ClientConfig,
    /// Made when it is needed first.
    producer: Arc<OnceLock<FutureProducer<ClientLog>>>,
    topic: String,
}

impl Notes {
    pub fn new(config: &config::Kafka, topic: &str) -> Notes {
        let mut properties = properties::producer(config);
        properties.set("delivery.timeout.ms", ANSWER_TIMEOUT.as_millis().to_string());
        Notes { properties, producer: Arc::default(), topic: topic.to_owned() }
    }

    fn producer(&self) -> Result<&FutureProducer<ClientLog>, String> {
        if self.producer.get().is_none() {
            let made = self.properties.create_with_context(ClientLog::new("notes"));
            // Somebody may have been quicker: then that one is used.
            let _ = self.producer.set(made.map_err(|error| error.to_string())?);
        }
        Ok(self.producer.get().expect("it has just been made"))
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
        match self.producer()?.send(record, ANSWER_TIMEOUT).await {
            Ok(delivery) => Ok(delivery.offset),
            Err((error, _)) => Err(format!("topic {}: {error}", self.topic)),
        }
    }
}
