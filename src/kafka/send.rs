//! Puts jobs on the queue: what `mailroom send` does.

use std::fmt;
use std::time::Duration;

use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use rdkafka::producer::{FutureProducer, FutureRecord};

use super::client_log::ClientLog;
use super::problem::StartProblem;
use super::{properties, record, topics, watermarks};
use crate::config;

/// How long a broker may take to answer, at first and for each record.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(10);

/// One job for the queue.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Job {
    pub key: Option<Vec<u8>>,
    pub value: Vec<u8>,
    pub headers: Vec<(String, Vec<u8>)>,
}

/// Where a job has come to lie; shown as `topic-partition-offset`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Sent {
    pub topic: String,
    pub partition: i32,
    pub offset: i64,
}

impl fmt::Display for Sent {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}-{}-{}", self.topic, self.partition, self.offset)
    }
}

/// A producer for `kafka.topic`. May be used by many at once; a copy is the same producer.
#[derive(Clone)]
pub struct Sender {
    producer: FutureProducer<ClientLog>,
    topic: String,
}

impl Sender {
    /// Asks for the topic, at most 10 s. Needs a tokio runtime.
    ///
    /// # Errors
    /// `Away` when no broker answers; `Misconfigured` when the properties are wrong, the topic is missing, or the brokers
    /// refuse the credentials.
    pub async fn open(config: &config::Kafka) -> Result<Sender, StartProblem> {
        properties::check(config)?;
        let asked = config.clone();
        tokio::task::spawn_blocking(move || find_topic(&asked))
            .await
            .map_err(|e| StartProblem::Away(format!("asking for the topic failed: {e}")))??;
        let mut properties = properties::producer(config);
        // Many jobs in a row go out in batches; one alone hardly waits.
        properties.set("linger.ms", "2").set("delivery.timeout.ms", ANSWER_TIMEOUT.as_millis().to_string());
        let producer = properties
            .create_with_context(ClientLog::new("send"))
            .map_err(|e| StartProblem::from_creation(&e))?;
        Ok(Sender { producer, topic: config.topic.clone() })
    }

    /// Returns where the job lies once all in-sync replicas have it; 10 s at most.
    ///
    /// # Errors
    /// `Away` when no broker answers in time; `Misconfigured` when it is refused (rights, size).
    pub async fn send(&self, job: &Job) -> Result<Sent, StartProblem> {
        let headers = job.headers.iter().map(|(key, value)| (&**key, Some(&**value)));
        let headers = record::to_headers(headers);
        let mut record =
            FutureRecord::<[u8], [u8]>::to(&self.topic).payload(job.value.as_slice()).headers(headers);
        if let Some(key) = &job.key {
            record = record.key(key.as_slice());
        }
        match self.producer.send(record, ANSWER_TIMEOUT).await {
            Ok(delivery) => {
                Ok(Sent { topic: self.topic.clone(), partition: delivery.partition, offset: delivery.offset })
            }
            Err((error, _)) => Err(problem(&self.topic, &error)),
        }
    }
}

fn find_topic(config: &config::Kafka) -> Result<(), StartProblem> {
    let observer = watermarks::observer(config)?;
    if topics::exists(&observer, config, &config.topic, ANSWER_TIMEOUT)? {
        return Ok(());
    }
    Err(StartProblem::Misconfigured(format!(
        "topic {} does not exist: start the worker once, or create it",
        config.topic
    )))
}

fn problem(topic: &str, error: &KafkaError) -> StartProblem {
    match error.rdkafka_error_code() {
        Some(RDKafkaErrorCode::MessageTimedOut | RDKafkaErrorCode::QueueFull) | None => {
            StartProblem::Away(format!("no broker took the job in {} s", ANSWER_TIMEOUT.as_secs()))
        }
        Some(_) => StartProblem::Misconfigured(format!("topic {topic}: {error}")),
    }
}
