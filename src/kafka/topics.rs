//! Before anything is joined: the topic and the dead letter topic must exist, or are made.

use std::time::{Duration, Instant};

use futures::executor::block_on;
use rdkafka::admin::{
    AdminClient, AdminOptions, NewPartitions, NewTopic, ResourceSpecifier, TopicReplication,
};
use rdkafka::client::DefaultClientContext;
use rdkafka::consumer::Consumer;
use rdkafka::error::{KafkaError, RDKafkaErrorCode};

use super::problem::{StartProblem, lacks_rights, refuses_credentials};
use super::properties;
use super::watermarks::{self, Observer};
use crate::config;

/// How long brokers may take to answer before they count as away.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(5);
/// How long one question may keep us from hearing of refused credentials.
const SLICE: Duration = Duration::from_millis(250);
pub(super) const ADMIN_TIMEOUT: Duration = Duration::from_secs(10);
/// How long a new topic may take to be known to the brokers.
const KNOWN_TIMEOUT: Duration = Duration::from_secs(5);
/// Kafka's own default, for when the topic's can't be read: 1 MiB and the framing.
const DEFAULT_MAX_MESSAGE_BYTES: u64 = 1_048_588;

/// Looks for `kafka.topic`, `dlq.replay_topic`, `kafka.dlq_topic` and `kafka.decisions_topic`; with
/// `kafka.create_topics` makes what is missing, with the broker's own partition and replica counts. Where all exist no admin call is made. Needs a tokio runtime.
///
/// # Errors
/// `Away` when no broker answers within about 5 s (worth another call); `Misconfigured` when a topic is
/// missing and may not be made, when every reachable broker refuses the credentials, and when rights are
/// missing.
pub async fn ensure(config: &config::Kafka) -> Result<(), StartProblem> {
    properties::check(config)?;
    let config = config.clone();
    tokio::task::spawn_blocking(move || ensure_blocking(&config))
        .await
        .map_err(|e| StartProblem::Away(format!("looking for the topics failed: {e}")))?
}

fn ensure_blocking(config: &config::Kafka) -> Result<(), StartProblem> {
    let observer = watermarks::observer(config)?;
    let topics = config.topics();
    let mut missing_topics = Vec::new();
    for topic in topics.names() {
        if !exists(&observer, config, topic, ANSWER_TIMEOUT)? {
            missing_topics.push(topic);
        }
    }
    let missing_letters = !exists(&observer, config, &config.dlq_topic, ANSWER_TIMEOUT)?;
    let missing: Vec<&str> =
        missing_topics.iter().copied().chain(missing_letters.then_some(config.dlq_topic.as_str())).collect();
    if missing.is_empty() {
        provide_for_decisions(&observer, config);
        return Ok(());
    }
    if !config.create_topics {
        return Err(StartProblem::Misconfigured(format!(
            "no such topic: {}: create it, or set kafka.create_topics = true",
            missing.join(", ")
        )));
    }
    let admin: AdminClient<DefaultClientContext> =
        properties::admin(config).create().map_err(|e| StartProblem::from_creation(&e))?;
    for topic in missing_topics {
        create(&admin, topic, -1, &[])?;
        wait_until_known(&observer, config, topic)?;
    }
    if missing_letters {
        let retention = config.dlq_retention.as_millis().to_string();
        let bytes = letter_bytes(max_message_bytes(&admin, &config.topic)).to_string();
        let settings = [("retention.ms", retention.as_str()), ("max.message.bytes", bytes.as_str())];
        create(&admin, &config.dlq_topic, -1, &settings)?;
        wait_until_known(&observer, config, &config.dlq_topic)?;
    }
    provide_for_decisions(&observer, config);
    Ok(())
}

/// Those of `topics` that the brokers do not know. Needs a tokio runtime.
///
/// # Errors
/// As [`ensure`].
pub async fn missing(config: &config::Kafka, topics: Vec<String>) -> Result<Vec<String>, StartProblem> {
    properties::check(config)?;
    let config = config.clone();
    let look = move || {
        let observer = watermarks::observer(&config)?;
        let mut missing = Vec::new();
        for topic in topics {
            if !exists(&observer, &config, &topic, ANSWER_TIMEOUT)? {
                missing.push(topic);
            }
        }
        Ok(missing)
    };
    tokio::task::spawn_blocking(look)
        .await
        .map_err(|e| StartProblem::Away(format!("looking for the topics failed: {e}")))?
}

/// Makes the topic of decisions, or gives it as many partitions as the dead letter queue has, where it may. Blocks; what
/// hinders it is in the log.
pub fn follow_partitions(config: &config::Kafka) {
    match watermarks::observer(config) {
        Ok(observer) => provide_for_decisions(&observer, config),
        Err(error) => tracing::warn!(%error, "the topic of decisions can't be looked at just now"),
    }
}

/// E-mail goes out without the topic of decisions: what is wrong with it hinders only work on dead letters.
fn provide_for_decisions(observer: &Observer, config: &config::Kafka) {
    if let Err(error) = ensure_decisions(observer, config) {
        tracing::warn!(%error, "nothing can be replayed without the topic of decisions");
    }
}

/// The topic of decisions, compacted, with a partition for each of the dead letter queue's. E-mail goes out without it, so
/// where it is not there, and may not be made, only work on dead letters is off.
fn ensure_decisions(observer: &Observer, config: &config::Kafka) -> Result<(), StartProblem> {
    let topic = &config.decisions_topic;
    let is_there = exists(observer, config, topic, ANSWER_TIMEOUT)?;
    let (letters, decisions) = (partitions(observer, &config.dlq_topic), partitions(observer, topic));
    if is_there && decisions >= letters {
        return Ok(());
    }
    let what = if is_there { "has fewer partitions than the dead letter queue" } else { "is missing" };
    if !config.create_topics {
        tracing::warn!(
            topic,
            partitions = letters,
            "the topic of decisions {what}: nothing can be replayed; create it, compacted, with so many partitions"
        );
        return Ok(());
    }
    let admin: AdminClient<DefaultClientContext> =
        properties::admin(config).create().map_err(|e| StartProblem::from_creation(&e))?;
    if is_there {
        tracing::warn!(topic, from = decisions, to = letters, "the topic of decisions gets more partitions");
        let new = NewPartitions::new(topic, letters);
        let options = AdminOptions::new().request_timeout(Some(ADMIN_TIMEOUT));
        let refused = match block_on(admin.create_partitions([&new], &options)) {
            Ok(results) => results.into_iter().find_map(Result::err).map(|(_, code)| code.to_string()),
            Err(error) => Some(error.to_string()),
        };
        if let Some(error) = refused {
            tracing::warn!(topic, error, "it does not get them");
        }
        return Ok(());
    }
    create(&admin, topic, i32::try_from(letters).unwrap_or(-1), &[("cleanup.policy", "compact")])?;
    wait_until_known(observer, config, topic)
}

/// How many partitions the topic has, as far as it is known.
fn partitions(observer: &Observer, topic: &str) -> usize {
    watermarks::partitions(observer, topic, ANSWER_TIMEOUT).map_or(0, |partitions| partitions.len())
}

/// Room for the largest job in base64, and what a letter says beside it.
pub fn letter_bytes(job_bytes: u64) -> u64 {
    let bytes = job_bytes.saturating_mul(4).div_ceil(3).saturating_add(65_536);
    bytes.min(u64::from(i32::MAX.unsigned_abs()))
}

/// Whether the brokers know the topic.
///
/// # Errors
/// `Away` when none answers within `limit`, `Misconfigured` when all refuse the credentials, or this topic.
pub(super) fn exists(
    observer: &Observer,
    config: &config::Kafka,
    topic: &str,
    limit: Duration,
) -> Result<bool, StartProblem> {
    let deadline = Instant::now() + limit;
    let mut refused = None;
    let mut last = None;
    while Instant::now() < deadline {
        match observer.fetch_metadata(Some(topic), SLICE) {
            Ok(metadata) => {
                let error = metadata.topics().iter().find(|t| t.name() == topic).and_then(|t| t.error());
                match error.map(RDKafkaErrorCode::from) {
                    None | Some(RDKafkaErrorCode::LeaderNotAvailable) => return Ok(true),
                    Some(RDKafkaErrorCode::UnknownTopicOrPartition) => return Ok(false),
                    Some(code) if lacks_rights(code) => {
                        return Err(StartProblem::Misconfigured(format!(
                            "topic {topic}: {code}: give this user the right (ACL) to describe it"
                        )));
                    }
                    Some(RDKafkaErrorCode::InvalidTopic) => {
                        return Err(StartProblem::Misconfigured(format!("topic {topic} is no valid name")));
                    }
                    Some(code) => last = Some(code.to_string()),
                }
            }
            Err(error) => last = last.or(Some(error.to_string())),
        }
        let mut all_down = false;
        while let Some(event) = observer.poll(Duration::ZERO) {
            let code = event.err().and_then(|e| e.rdkafka_error_code());
            let text = observer.context().take_error().map(|(_, text)| text);
            match (code, text) {
                (Some(RDKafkaErrorCode::AllBrokersDown), _) => all_down = true,
                (Some(code), Some(text)) if refuses_credentials(code, &text) => refused = Some(text),
                (_, Some(text)) => last = Some(text),
                _ => {}
            }
        }
        if all_down && refused.is_some() {
            break;
        }
    }
    Err(match refused {
        Some(text) => StartProblem::Misconfigured(format!(
            "the brokers refuse the credentials: {text}: check sasl.username, sasl.password and sasl.mechanism, \
             or the client's certificate, in kafka.properties"
        )),
        None => {
            let why = last.unwrap_or_else(|| "no answer".into());
            StartProblem::Away(format!("no broker answers at {}: {why}", config.brokers))
        }
    })
}

fn create(
    admin: &AdminClient<DefaultClientContext>,
    topic: &str,
    partitions: i32,
    settings: &[(&str, &str)],
) -> Result<(), StartProblem> {
    match partitions {
        -1 => tracing::warn!(
            topic,
            "the topic is missing and is created with the broker's own partition counts"
        ),
        _ => tracing::warn!(topic, partitions, "the topic is missing and is created"),
    }
    let mut new = NewTopic::new(topic, partitions, TopicReplication::Fixed(-1));
    for (key, value) in settings {
        new = new.set(key, value);
    }
    let options = AdminOptions::new().request_timeout(Some(ADMIN_TIMEOUT));
    let code = match block_on(admin.create_topics([&new], &options)) {
        Ok(results) => match results.into_iter().find_map(Result::err) {
            None => return Ok(()),
            Some((_, code)) => code,
        },
        Err(KafkaError::AdminOp(code)) => code,
        Err(error) => return Err(StartProblem::Away(format!("topic {topic} can't be created: {error}"))),
    };
    let text = format!("topic {topic} can't be created: {code}");
    match code {
        // Somebody was quicker.
        RDKafkaErrorCode::TopicAlreadyExists => Ok(()),
        code if lacks_rights(code) => Err(StartProblem::Misconfigured(format!(
            "{text}: create it, or give this user the right (ACL) to"
        ))),
        RDKafkaErrorCode::PolicyViolation
        | RDKafkaErrorCode::InvalidReplicationFactor
        | RDKafkaErrorCode::InvalidPartitions
        | RDKafkaErrorCode::InvalidConfig
        | RDKafkaErrorCode::InvalidTopic => {
            Err(StartProblem::Misconfigured(format!("{text}: create it by hand")))
        }
        _ => Err(StartProblem::Away(text)),
    }
}

/// The largest record batch that the topic takes.
fn max_message_bytes(admin: &AdminClient<DefaultClientContext>, topic: &str) -> u64 {
    let options = AdminOptions::new().request_timeout(Some(ADMIN_TIMEOUT));
    let answer = block_on(admin.describe_configs([&ResourceSpecifier::Topic(topic)], &options));
    let found = answer.ok().and_then(|resources| {
        let resource = resources.into_iter().next()?.ok()?;
        resource.get("max.message.bytes")?.value.as_ref()?.parse().ok()
    });
    found.unwrap_or_else(|| {
        tracing::warn!(topic, "max.message.bytes can't be read: kafka's default is assumed");
        DEFAULT_MAX_MESSAGE_BYTES
    })
}

fn wait_until_known(observer: &Observer, config: &config::Kafka, topic: &str) -> Result<(), StartProblem> {
    let deadline = Instant::now() + KNOWN_TIMEOUT;
    while Instant::now() < deadline {
        if exists(observer, config, topic, ANSWER_TIMEOUT)? {
            return Ok(());
        }
        std::thread::sleep(Duration::from_millis(50));
    }
    Err(StartProblem::Away(format!("topic {topic} was created and is not known to the brokers yet")))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_letter_has_room_for_the_largest_job_in_base64() {
        let cases = [(1_048_588, 1_463_654), (3, 65_540), (4, 65_542), (u64::MAX, 2_147_483_647)];
        for (job, letter) in cases {
            assert_eq!(letter_bytes(job), letter, "{job}");
        }
    }
}
