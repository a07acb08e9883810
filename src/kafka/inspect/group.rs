//! The group: what it would take next, and who is in it. It is not joined.

use std::collections::BTreeSet;
use std::time::Instant;

use rdkafka::consumer::{BaseConsumer, Consumer};
use rdkafka::error::KafkaResult;
use rdkafka::{Offset, TopicPartitionList};

use super::{ANSWER_TIMEOUT, SLICE};
use crate::config;
use crate::kafka::client_log::ClientLog;
use crate::kafka::watermarks::LogEnds;
use crate::kafka::{properties, watermarks};

/// What the group is to the topic.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct GroupInspection {
    /// Of how many partitions it has committed something; 0: it is new.
    pub committed: usize,
    /// Records that it has still to take, those of partitions without a commit from the first one on.
    pub waiting: i64,
    /// Of those, the ones in partitions without a commit.
    pub never_seen: i64,
    /// Records that were deleted before the group took them.
    pub lost: i64,
    /// `client.id` of its members; none where the brokers don't tell.
    pub members: Option<BTreeSet<String>>,
}

pub(super) fn inspect(config: &config::Kafka) -> Result<GroupInspection, String> {
    let observer = watermarks::observer(config).map_err(|problem| problem.to_string())?;
    let in_words = |error: rdkafka::error::KafkaError| error.to_string();
    let partitions = watermarks::partitions(&observer, &config.topic, ANSWER_TIMEOUT).map_err(in_words)?;
    let committed = committed(config, &partitions)?;
    let ends = watermarks::ask(&observer, &config.topic, &partitions, ANSWER_TIMEOUT).map_err(in_words)?;
    let mut seen = count(&committed, &ends);
    let groups = observer.fetch_group_list(Some(&config.group), ANSWER_TIMEOUT).ok();
    seen.members = groups.map(|groups| {
        let members = groups.groups().iter().flat_map(|group| group.members());
        members.map(|member| member.client_id().to_owned()).collect()
    });
    Ok(seen)
}

/// What the group has committed of each partition.
fn committed(config: &config::Kafka, partitions: &[i32]) -> Result<Vec<(i32, Option<i64>)>, String> {
    let consumer: BaseConsumer<ClientLog> = properties::onlooker(config)
        .create_with_context(ClientLog::new("check"))
        .map_err(|error| error.to_string())?;
    let mut list = TopicPartitionList::with_capacity(partitions.len());
    for partition in partitions {
        list.add_partition(&config.topic, *partition);
    }
    let ask = || -> KafkaResult<Vec<(i32, Option<i64>)>> {
        let answers = consumer.committed_offsets(list.clone(), SLICE)?;
        answers
            .elements()
            .iter()
            .map(|of| {
                of.error()?;
                let offset = if let Offset::Offset(offset) = of.offset() { Some(offset) } else { None };
                Ok((of.partition(), offset))
            })
            .collect()
    };
    let gives_up = Instant::now() + ANSWER_TIMEOUT;
    loop {
        match ask() {
            Ok(committed) => return Ok(committed),
            // A coordinator that has just moved or started answers a moment later.
            Err(error) if Instant::now() >= gives_up => return Err(error.to_string()),
            Err(_) => {}
        }
    }
}

fn count(committed: &[(i32, Option<i64>)], ends: &[LogEnds]) -> GroupInspection {
    let mut seen = GroupInspection::default();
    for end in ends {
        let offset = committed.iter().find(|(of, _)| *of == end.partition).and_then(|(_, offset)| *offset);
        match offset {
            Some(offset) => {
                seen.committed += 1;
                seen.waiting += (end.high - offset.max(end.low)).max(0);
                seen.lost += (end.low - offset).max(0);
            }
            None => {
                seen.waiting += end.high - end.low;
                seen.never_seen += end.high - end.low;
            }
        }
    }
    seen
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_waits_is_counted_from_the_commit_or_from_the_first_record() {
        let ends = [(0, 0, 10), (1, 5, 20), (2, 7, 30), (3, 0, 0)].map(|(partition, low, high)| LogEnds {
            partition,
            low,
            high,
        });
        let committed = [(0, Some(4)), (1, None), (2, Some(3)), (3, None)];
        let expected =
            GroupInspection { committed: 2, waiting: 6 + 15 + 23, never_seen: 15, lost: 4, members: None };
        assert_eq!(count(&committed, &ends), expected);
    }
}
