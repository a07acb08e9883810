//! Looks at the cluster for `mailroom check --online`: brokers, topics, the group, rights. Nothing is joined, made or
//! sent.

mod brokers;
mod group;
mod topics;

use std::time::Duration;

use tokio::time::{Instant, timeout_at};

use super::problem::StartProblem;
use super::{properties, rights};
use crate::config;

pub use super::rights::Granted;
pub use brokers::{BrokerInspection, Silence};
pub use group::GroupInspection;
pub use topics::{TopicFacts, TopicInspection, TopicSettings, TopicState};

/// How long a broker may take to answer before it counts as away.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(15);
/// How long one question may keep us from hearing of errors.
const SLICE: Duration = Duration::from_millis(250);

/// What was seen of the cluster.
#[derive(Debug)]
pub struct ClusterInspection {
    /// Those of `kafka.brokers`, then those that the cluster names beside them.
    pub brokers: Vec<BrokerInspection>,
    /// None when no broker answers, or they did not say in time what they have.
    pub answers: Option<ClusterAnswers>,
    /// A broker answers, and then time ran out.
    pub is_late: bool,
}

/// What the brokers that answer say.
#[derive(Debug)]
pub struct ClusterAnswers {
    pub topic: TopicInspection,
    /// `dlq.replay_topic`, where it is another.
    pub replay_topic: Option<TopicInspection>,
    pub dlq_topic: TopicInspection,
    /// In words why not, where it can't be found out; none where the topic is not there.
    pub group: Option<Result<GroupInspection, String>>,
    /// The right to read, to be in the group and to write dead letters; none where a topic is not there.
    pub rights: Option<Result<Granted, StartProblem>>,
    /// `offset.metadata.max.bytes` of a broker; none where the broker has or tells no such setting. In words why not,
    /// where it could not be asked.
    pub offset_metadata_bytes: Result<Option<u64>, String>,
}

/// Asks everybody at once, each for a few seconds, and gives up on what has not answered within `limit`: some
/// questions go on in the background then, and end with the process. Needs a tokio runtime.
///
/// # Errors
/// `Misconfigured` when librdkafka does not take the properties.
pub async fn inspect(config: &config::Kafka, limit: Duration) -> Result<ClusterInspection, StartProblem> {
    properties::check(config)?;
    let ends = Instant::now() + limit;
    let (brokers, id) = match timeout_at(ends, in_background(config, brokers::inspect)).await {
        Ok(answer) => answer?,
        Err(_) => (brokers::silent(config), None),
    };
    let Some(broker_id) = id else { return Ok(ClusterInspection { brokers, answers: None, is_late: false }) };
    let topics = in_background(config, move |config| topics::inspect(config, broker_id));
    let Ok(topics) = timeout_at(ends, topics).await else {
        return Ok(ClusterInspection { brokers, answers: None, is_late: true });
    };
    let topics = topics??;
    let topic_is_there = matches!(topics.topic.state, TopicState::There(_));
    let both_are_there = topic_is_there && matches!(topics.dlq_topic.state, TopicState::There(_));
    let late = || "no answer in time".to_owned();
    let group = async {
        let asked = timeout_at(ends, in_background(config, group::inspect));
        if topic_is_there { Some(asked.await.unwrap_or_else(|_| Ok(Err(late())))) } else { None }
    };
    let rights = async {
        let asked = timeout_at(ends, rights::check(config, ANSWER_TIMEOUT));
        if both_are_there {
            Some(asked.await.unwrap_or_else(|_| Err(StartProblem::Away(late()))))
        } else {
            None
        }
    };
    let (group, rights) = tokio::join!(group, rights);
    let answers = ClusterAnswers {
        topic: topics.topic,
        replay_topic: topics.replay_topic,
        dlq_topic: topics.dlq_topic,
        group: group.transpose()?,
        rights,
        offset_metadata_bytes: topics.offset_metadata_bytes,
    };
    Ok(ClusterInspection { brokers, answers: Some(answers), is_late: false })
}

async fn in_background<T: Send + 'static>(
    config: &config::Kafka,
    ask: impl FnOnce(&config::Kafka) -> T + Send + 'static,
) -> Result<T, StartProblem> {
    let config = config.clone();
    tokio::task::spawn_blocking(move || ask(&config))
        .await
        .map_err(|error| StartProblem::Away(format!("asking the brokers failed: {error}")))
}
