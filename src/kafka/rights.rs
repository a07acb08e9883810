//! At the start: may this user read the topic, be in the group, and write to the dead letter topic?

use std::thread;
use std::time::{Duration, Instant};

use rdkafka::admin::AdminClient;
use rdkafka::client::DefaultClientContext;
use rdkafka::consumer::{BaseConsumer, Consumer};
use rdkafka::error::{KafkaError, KafkaResult, RDKafkaErrorCode};
use rdkafka::producer::{FutureProducer, Producer};
use rdkafka::{Offset, TopicPartitionList};

use super::client_log::ClientLog;
use super::problem::{StartProblem, lacks_rights};
use super::{operations, properties};
use crate::config;

/// How long an answer is waited for at the start.
pub const AT_THE_START: Duration = Duration::from_secs(5);
/// How long one question may keep us from hearing an error.
const SLICE: Duration = Duration::from_millis(100);
/// An idempotent producer is told that it may not be one, or is told nothing.
const PRODUCER_TIMEOUT: Duration = Duration::from_millis(1500);

/// What a broker has said yes to; what was not answered may be refused still.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Granted {
    /// Reading the topic, and the group's offsets.
    pub reading: bool,
    /// Writing to the dead letter topic.
    pub writing: bool,
}

/// Asks for the group's offsets, reads at the end of the topic without joining the group, and asks for a
/// producer's number and what may be done to the dead letter topic. Writes nothing. Only a clear no counts:
/// what is not answered within `limit` is met again later. Takes 1.5 s when all is well: run it beside the
/// start, not before. To be called once both topics exist. Needs a tokio runtime.
///
/// A right to write to the dead letter topic that is missing is found out only where the brokers tell what may
/// be done, as Kafka does from 2.3 on; else by the first dead letter.
///
/// # Errors
/// `Misconfigured` when a right (ACL) is missing.
pub async fn check(config: &config::Kafka, limit: Duration) -> Result<Granted, StartProblem> {
    let reading = config.clone();
    let writing = config.clone();
    let asking = config.clone();
    let reading = tokio::task::spawn_blocking(move || may_read(&reading, limit));
    let writing = tokio::task::spawn_blocking(move || may_write(&writing));
    let asking = tokio::task::spawn_blocking(move || may_write_letters(&asking, limit));
    let failed = |error| StartProblem::Away(format!("asking for the rights failed: {error}"));
    let reading = reading.await.map_err(failed)??;
    writing.await.map_err(failed)??;
    Ok(Granted { reading, writing: asking.await.map_err(failed)?? })
}

fn may_read(config: &config::Kafka, limit: Duration) -> Result<bool, StartProblem> {
    let deadline = Instant::now() + limit;
    let mut granted = true;
    for topic in config.topics().names() {
        granted &= may_read_topic(config, topic, deadline)?;
    }
    Ok(granted)
}

fn may_read_topic(config: &config::Kafka, topic: &str, deadline: Instant) -> Result<bool, StartProblem> {
    let mut properties = properties::onlooker(config);
    // An empty end of the log answers at once, and says so.
    properties.set("enable.partition.eof", "true").set("fetch.wait.max.ms", "10");
    let consumer: BaseConsumer<ClientLog> = properties
        .create_with_context(ClientLog::new("rights"))
        .map_err(|e| StartProblem::from_creation(&e))?;
    let mut list = TopicPartitionList::new();
    list.add_partition(topic, 0);
    while let Err(error) = read_offsets(&consumer, &list) {
        refuse_if_lacking(config, &error)?;
        while let Some(Err(error)) = consumer.poll(Duration::ZERO) {
            refuse_if_lacking(config, &error)?;
        }
        if Instant::now() >= deadline {
            return Ok(false);
        }
    }
    if list.set_all_offsets(Offset::End).and_then(|()| consumer.assign(&list)).is_err() {
        return Ok(false);
    }
    while Instant::now() < deadline {
        match consumer.poll(SLICE) {
            Some(Ok(_) | Err(KafkaError::PartitionEOF(_))) => return Ok(true),
            Some(Err(error)) => refuse_if_lacking(config, &error)?,
            None => {}
        }
    }
    Ok(false)
}

fn read_offsets(consumer: &BaseConsumer<ClientLog>, list: &TopicPartitionList) -> KafkaResult<()> {
    let answers = consumer.committed_offsets(list.clone(), SLICE)?;
    answers.elements().iter().try_for_each(|entry| entry.error())
}

fn may_write(config: &config::Kafka) -> Result<(), StartProblem> {
    let producer: FutureProducer<ClientLog> = properties::producer(config)
        .create_with_context(ClientLog::new("rights"))
        .map_err(|e| StartProblem::from_creation(&e))?;
    let deadline = Instant::now() + PRODUCER_TIMEOUT;
    while Instant::now() < deadline {
        thread::sleep(SLICE);
        if let Some((code, _)) = producer.client().fatal_error() {
            refuse_if_lacking(config, &KafkaError::Global(code))?;
        }
    }
    Ok(())
}

/// A producer may be one who may write to any topic: what counts is this one.
fn may_write_letters(config: &config::Kafka, limit: Duration) -> Result<bool, StartProblem> {
    let admin: AdminClient<DefaultClientContext> =
        properties::admin(config).create().map_err(|e| StartProblem::from_creation(&e))?;
    match operations::may_write(&admin, &config.dlq_topic, limit) {
        Ok(Some(false)) => Err(refused(config, RDKafkaErrorCode::TopicAuthorizationFailed)),
        Ok(told) => Ok(told.is_some()),
        Err(error) => refuse_if_lacking(config, &error).map(|()| false),
    }
}

fn refuse_if_lacking(config: &config::Kafka, error: &KafkaError) -> Result<(), StartProblem> {
    match error.rdkafka_error_code() {
        Some(code) if lacks_rights(code) => Err(refused(config, code)),
        _ => Ok(()),
    }
}

fn refused(config: &config::Kafka, code: RDKafkaErrorCode) -> StartProblem {
    let topics = config.topics();
    let topics: Vec<&str> = topics.names().collect();
    StartProblem::Misconfigured(format!(
        "{code}: give this user the rights (ACL) to read and describe topic {} and group {}, and to write to \
         topic {}",
        topics.join(" and topic "),
        config.group,
        config.dlq_topic
    ))
}
