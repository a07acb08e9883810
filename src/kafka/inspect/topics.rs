//! The two topics: are they there, on how many brokers, and what is set for them?

use futures::executor::block_on;
use rdkafka::admin::{
    AdminClient, AdminOptions, ConfigResource, NewTopic, ResourceSpecifier, TopicReplication,
};
use rdkafka::client::DefaultClientContext;
use rdkafka::consumer::Consumer;
use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use rdkafka::metadata::MetadataTopic;

use super::ANSWER_TIMEOUT;
use crate::config;
use crate::kafka::problem::StartProblem;
use crate::kafka::properties;
use crate::kafka::topics::ADMIN_TIMEOUT;
use crate::kafka::watermarks::{self, Observer};

/// One topic.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TopicInspection {
    pub name: String,
    pub state: TopicState,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum TopicState {
    There(TopicFacts),
    /// It is not there. Whether the brokers would make it: asked without making it, and only where
    /// `kafka.create_topics` is set; else none.
    Missing {
        creation: Option<Result<(), String>>,
    },
    /// It can't be found out, in words.
    Unknown(String),
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TopicFacts {
    pub partitions: usize,
    /// On how many brokers the partition is that is on the fewest.
    pub replicas: usize,
    /// How many of them are in step, where the fewest are.
    pub in_sync: usize,
    /// Those that nobody can read or write now.
    pub without_leader: Vec<i32>,
    /// In words why not, where the brokers don't tell.
    pub settings: Result<TopicSettings, String>,
}

/// None where the broker has no such setting.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct TopicSettings {
    /// -1: for ever.
    pub retention_ms: Option<i64>,
    /// -1: no limit. For each partition.
    pub retention_bytes: Option<i64>,
    /// The largest batch of records.
    pub max_message_bytes: Option<u64>,
    pub min_insync_replicas: Option<usize>,
    /// Of each key only the last record is kept.
    pub is_compacted: bool,
}

/// The topics, and what a broker says of itself.
pub(super) struct Topics {
    pub topic: TopicInspection,
    pub replay_topic: Option<TopicInspection>,
    pub dlq_topic: TopicInspection,
    pub offset_metadata_bytes: Result<Option<u64>, String>,
}

pub(super) fn inspect(config: &config::Kafka, broker_id: i32) -> Result<Topics, StartProblem> {
    let observer = watermarks::observer(config)?;
    let admin: AdminClient<DefaultClientContext> =
        properties::admin(config).create().map_err(|error| StartProblem::from_creation(&error))?;
    let look = |name: &str| TopicInspection {
        name: name.to_owned(),
        state: state(&observer, &admin, name, config.create_topics),
    };
    let broker = ask(&admin, ResourceSpecifier::Broker(broker_id));
    Ok(Topics {
        topic: look(&config.topic),
        replay_topic: config.replay_topic.as_deref().map(look),
        dlq_topic: look(&config.dlq_topic),
        offset_metadata_bytes: broker.map(|broker| number(&broker, "offset.metadata.max.bytes")),
    })
}

fn state(
    observer: &Observer,
    admin: &AdminClient<DefaultClientContext>,
    name: &str,
    may_create: bool,
) -> TopicState {
    let metadata = match observer.fetch_metadata(Some(name), ANSWER_TIMEOUT) {
        Ok(metadata) => metadata,
        Err(error) => return TopicState::Unknown(error.to_string()),
    };
    let Some(topic) = metadata.topics().iter().find(|topic| topic.name() == name) else {
        return TopicState::Unknown("the broker does not speak of it".into());
    };
    match topic.error().map(RDKafkaErrorCode::from) {
        None | Some(RDKafkaErrorCode::LeaderNotAvailable) => TopicState::There(facts(topic, admin)),
        Some(RDKafkaErrorCode::UnknownTopicOrPartition) => {
            TopicState::Missing { creation: may_create.then(|| would_be_made(admin, name)) }
        }
        Some(code) => TopicState::Unknown(code.to_string()),
    }
}

fn facts(topic: &MetadataTopic, admin: &AdminClient<DefaultClientContext>) -> TopicFacts {
    let partitions = topic.partitions();
    let fewest = |count: fn(&rdkafka::metadata::MetadataPartition) -> usize| {
        partitions.iter().map(count).min().unwrap_or_default()
    };
    let without_leader = partitions.iter().filter(|partition| partition.leader() < 0);
    TopicFacts {
        partitions: partitions.len(),
        replicas: fewest(|partition| partition.replicas().len()),
        in_sync: fewest(|partition| partition.isr().len()),
        without_leader: without_leader.map(|partition| partition.id()).collect(),
        settings: describe(admin, ResourceSpecifier::Topic(topic.name())).map(|of| settings(&of)),
    }
}

fn settings(of: &ConfigResource) -> TopicSettings {
    TopicSettings {
        retention_ms: number(of, "retention.ms"),
        retention_bytes: number(of, "retention.bytes"),
        max_message_bytes: number(of, "max.message.bytes"),
        min_insync_replicas: number(of, "min.insync.replicas"),
        is_compacted: text(of, "cleanup.policy").is_some_and(|policy| policy.contains("compact")),
    }
}

fn text<'a>(of: &'a ConfigResource, name: &str) -> Option<&'a str> {
    of.get(name)?.value.as_deref()
}

fn number<T: std::str::FromStr>(of: &ConfigResource, name: &str) -> Option<T> {
    text(of, name)?.parse().ok()
}

fn describe(
    admin: &AdminClient<DefaultClientContext>,
    what: ResourceSpecifier<'_>,
) -> Result<ConfigResource, String> {
    let answer = ask(admin, what)?;
    if answer.entries.is_empty() { Err("the brokers tell none of them".into()) } else { Ok(answer) }
}

/// Without a setting where the brokers refuse to tell: rdkafka does not read what is refused for one resource.
fn ask(
    admin: &AdminClient<DefaultClientContext>,
    what: ResourceSpecifier<'_>,
) -> Result<ConfigResource, String> {
    let options = AdminOptions::new().request_timeout(Some(ANSWER_TIMEOUT));
    let answers = block_on(admin.describe_configs([&what], &options)).map_err(|error| error.to_string())?;
    let answer = answers.into_iter().next().ok_or_else(|| "no answer".to_owned())?;
    answer.map_err(|code| code.to_string())
}

/// Asks whether it could be made, and has nothing made.
fn would_be_made(admin: &AdminClient<DefaultClientContext>, name: &str) -> Result<(), String> {
    let new = NewTopic::new(name, -1, TopicReplication::Fixed(-1));
    let options = AdminOptions::new().request_timeout(Some(ADMIN_TIMEOUT)).validate_only(true);
    match block_on(admin.create_topics([&new], &options)) {
        Ok(answers) => match answers.into_iter().find_map(Result::err) {
            // Somebody was quicker.
            None | Some((_, RDKafkaErrorCode::TopicAlreadyExists)) => Ok(()),
            Some((_, code)) => Err(code.to_string()),
        },
        Err(KafkaError::AdminOp(code)) => Err(code.to_string()),
        Err(error) => Err(error.to_string()),
    }
}
