//! Before anything is joined: may this user read the topic, and be in the group?

use std::time::{Duration, Instant};

use rdkafka::consumer::{BaseConsumer, Consumer};
use rdkafka::error::{KafkaError, KafkaResult, RDKafkaErrorCode};
use rdkafka::{Offset, TopicPartitionList};

use super::client_log::ClientLog;
use super::problem::{StartProblem, lacks_rights};
use super::properties;
use crate::config;

const ANSWER_TIMEOUT: Duration = Duration::from_secs(5);

/// Asks for the group's offsets, and reads at the end of the topic without joining the group. Only a clear
/// no counts: what is not answered within 5 s is met again later. To be called once the topic exists. Needs
/// a tokio runtime.
///
/// # Errors
/// `Misconfigured` when a right (ACL) on the group or the topic is missing.
pub async fn check(config: &config::Kafka) -> Result<(), StartProblem> {
    let config = config.clone();
    tokio::task::spawn_blocking(move || check_blocking(&config))
        .await
        .map_err(|e| StartProblem::Away(format!("asking for the rights failed: {e}")))?
}

fn check_blocking(config: &config::Kafka) -> Result<(), StartProblem> {
    let mut properties = properties::consumer(config);
    // An empty end of the log answers at once, and says so. A static member's name stays the worker's own.
    properties.set("enable.partition.eof", "true").set("fetch.wait.max.ms", "10").remove("group.instance.id");
    let consumer: BaseConsumer<ClientLog> = properties
        .create_with_context(ClientLog::new("rights"))
        .map_err(|e| StartProblem::from_creation(&e))?;
    let mut list = TopicPartitionList::new();
    list.add_partition(&config.topic, 0);
    if let Err(code) = read_offsets(&consumer, &list)
        && lacks_rights(code)
    {
        return Err(refused(config, code));
    }
    if list.set_all_offsets(Offset::End).and_then(|()| consumer.assign(&list)).is_err() {
        return Ok(());
    }
    let deadline = Instant::now() + ANSWER_TIMEOUT;
    while Instant::now() < deadline {
        match consumer.poll(Duration::from_millis(100)) {
            Some(Ok(_) | Err(KafkaError::PartitionEOF(_))) => break,
            Some(Err(error)) => {
                if let Some(code) = error.rdkafka_error_code().filter(|code| lacks_rights(*code)) {
                    return Err(refused(config, code));
                }
            }
            None => {}
        }
    }
    Ok(())
}

fn read_offsets(
    consumer: &BaseConsumer<ClientLog>,
    list: &TopicPartitionList,
) -> Result<(), RDKafkaErrorCode> {
    let code = |error: KafkaError| error.rdkafka_error_code().unwrap_or(RDKafkaErrorCode::Fail);
    let answers = consumer.committed_offsets(list.clone(), ANSWER_TIMEOUT).map_err(code)?;
    let entries: KafkaResult<Vec<()>> = answers.elements().iter().map(|entry| entry.error()).collect();
    entries.map(drop).map_err(code)
}

fn refused(config: &config::Kafka, code: RDKafkaErrorCode) -> StartProblem {
    StartProblem::Misconfigured(format!(
        "{code}: give this user the rights (ACL) to read and describe topic {} and group {}, and to write to \
         topic {}",
        config.topic, config.group, config.dlq_topic
    ))
}
