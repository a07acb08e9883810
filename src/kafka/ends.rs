//! Where topics begin and end, and how far the workers' group has committed: asked from the side.

use std::cell::OnceCell;
use std::collections::BTreeMap;
use std::time::Duration;

use rdkafka::consumer::{BaseConsumer, Consumer};
use rdkafka::{Offset, TopicPartitionList};

use super::client_log::ClientLog;
use super::problem::StartProblem;
use super::{properties, watermarks};
use crate::config;

const ANSWER_TIMEOUT: Duration = Duration::from_secs(5);

/// Clients that read nothing; each call blocks, 10 s at most.
pub struct Ends {
    observer: watermarks::Observer,
    /// Sees only what is committed.
    stable: BaseConsumer<ClientLog>,
    config: config::Kafka,
    /// Of the workers' group, without joining it; made when it is needed first.
    member: OnceCell<BaseConsumer<ClientLog>>,
}

impl Ends {
    /// # Errors
    /// `Misconfigured`, when librdkafka does not take the properties.
    pub fn new(config: &config::Kafka) -> Result<Ends, StartProblem> {
        let stable = properties::follower(config)
            .create_with_context(ClientLog::new("ends"))
            .map_err(|error| StartProblem::from_creation(&error))?;
        let observer = watermarks::observer(config)?;
        Ok(Ends { observer, stable, config: config.clone(), member: OnceCell::new() })
    }

    fn member(&self) -> Result<&BaseConsumer<ClientLog>, String> {
        if self.member.get().is_none() {
            let made = properties::onlooker(&self.config).create_with_context(ClientLog::new("ends"));
            // It was empty a moment ago, and this is the only thread.
            let _ = self.member.set(made.map_err(|error| error.to_string())?);
        }
        Ok(self.member.get().expect("it has just been made"))
    }

    /// Of each partition the first offset and the one behind the last record, open transactions included.
    ///
    /// # Errors
    /// In words, when not all leaders answer.
    pub fn of(&self, topic: &str) -> Result<Vec<watermarks::LogEnds>, String> {
        ends(&self.observer, topic)
    }

    /// How many partitions the topic has; 0 where it is not there, or nobody answers.
    pub fn partitions(&self, topic: &str) -> usize {
        watermarks::partitions(&self.observer, topic, ANSWER_TIMEOUT).map_or(0, |partitions| partitions.len())
    }

    /// How many records lie behind the first open transaction, or are a part of it.
    ///
    /// # Errors
    /// In words, when not all leaders answer.
    pub fn held_up(&self, topic: &str) -> Result<i64, String> {
        // Asked first, it is never ahead of the other.
        let stable = ends(&self.stable, topic)?;
        let ends = self.of(topic)?;
        let held = stable.iter().filter_map(|stable| {
            let end = ends.iter().find(|end| end.partition == stable.partition)?;
            Some((end.high - stable.high).max(0))
        });
        Ok(held.sum())
    }

    /// What the workers' group has committed of these partitions; those of which it has nothing are left out.
    ///
    /// # Errors
    /// In words, when the group's coordinator does not answer.
    pub fn committed(&self, topic: &str, partitions: &[i32]) -> Result<BTreeMap<i32, i64>, String> {
        let mut list = TopicPartitionList::with_capacity(partitions.len());
        for partition in partitions {
            list.add_partition(topic, *partition);
        }
        let answers = self
            .member()?
            .committed_offsets(list, ANSWER_TIMEOUT)
            .map_err(|error| format!("the group's offsets: {error}"))?;
        let offset = |of: &rdkafka::topic_partition_list::TopicPartitionListElem<'_>| match of.offset() {
            Offset::Offset(offset) => Some((of.partition(), offset)),
            _ => None,
        };
        Ok(answers.elements().iter().filter_map(offset).collect())
    }
}

/// The topic's ends as that client sees them, which first asks anew who leads its partitions: one that goes by what it knew
/// waits for a broker that has died meanwhile.
fn ends(client: &BaseConsumer<ClientLog>, topic: &str) -> Result<Vec<watermarks::LogEnds>, String> {
    // Serves the errors of this client.
    while client.poll(Duration::ZERO).is_some() {}
    let in_words = |error: rdkafka::error::KafkaError| format!("topic {topic}: {error}");
    let partitions = watermarks::partitions(client, topic, ANSWER_TIMEOUT).map_err(in_words)?;
    if partitions.is_empty() {
        return Err(format!("topic {topic} is not there"));
    }
    let ends = watermarks::ask(client, topic, &partitions, ANSWER_TIMEOUT).map_err(in_words)?;
    if ends.len() < partitions.len() {
        return Err(format!("topic {topic}: not every leader answers"));
    }
    Ok(ends)
}
