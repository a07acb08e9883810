//! Partitions whose next offset is not in the log: said aloud, and read on from the earliest record there is.
//!
//! Records were deleted before they were read, or the topic was made anew. For the actors such a partition is
//! lost and, once its new ends are known, assigned again, since nothing they know of the old offsets holds.

use std::collections::HashMap;
use std::time::{Duration, Instant};

use mailroom_actors::domain::topic_partition::TopicPartition;
use mailroom_actors::ports::{AssignedPartition, OffsetLogEvent};
use rdkafka::consumer::Consumer;
use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use rdkafka::{Offset, TopicPartitionList};

use super::context::{let_go, take_over};
use super::intake::Member;

/// A partition begins anew at most this often.
const BETWEEN_RESETS: Duration = Duration::from_secs(1);

/// The partitions that begin anew, and when.
#[derive(Debug, Default)]
pub(super) struct OutOfRange {
    partitions: HashMap<TopicPartition, Reset>,
}

#[derive(Debug)]
struct Reset {
    at: Instant,
    due: bool,
}

/// Whether `error`, of a partition's queue, means that.
pub(super) fn is_out_of_range(error: &KafkaError) -> bool {
    matches!(
        error.rdkafka_error_code(),
        Some(
            RDKafkaErrorCode::AutoOffsetReset
                | RDKafkaErrorCode::OffsetOutOfRange
                | RDKafkaErrorCode::LogTruncation
        )
    )
}

impl OutOfRange {
    /// `offset` was due next, and is not in the log.
    pub fn report(&mut self, partition: TopicPartition, offset: i64, member: &Member) {
        let reason = member.consumer.context().take_error().map(|(_, text)| text).unwrap_or_default();
        let known = member.watched.last(partition);
        tracing::error!(
            topic = member.topics.name(partition.topic).as_ref(),
            partition = partition.number,
            due = offset,
            low = known.map(|w| w.0),
            high = known.map(|w| w.1),
            reason,
            "offset out of range: records are gone; reading on from the earliest"
        );
        member.tell(OffsetLogEvent::OutOfRange { partition, due: offset });
        let now = Instant::now();
        let at = self.partitions.get(&partition).map_or(now, |reset| now.max(reset.at + BETWEEN_RESETS));
        self.partitions.insert(partition, Reset { at, due: true });
    }

    /// Begins anew what is due.
    pub fn advance(&mut self, member: &mut Member) {
        let now = Instant::now();
        for (&partition, reset) in &mut self.partitions {
            if reset.due && now >= reset.at {
                *reset = Reset { at: now, due: false };
                begin_anew(partition, member);
            }
        }
    }
}

fn begin_anew(partition: TopicPartition, member: &mut Member) {
    let mut list = TopicPartitionList::new();
    let at_the_earliest =
        list.add_partition_offset(member.topics.name(partition.topic), partition.number, Offset::Beginning);
    if at_the_earliest.is_err() || !member.partitions.reads(partition) {
        return;
    }
    member.tell(OffsetLogEvent::Lost(vec![partition]));
    // Its queue stays: librdkafka keeps it split off.
    member.partitions.restart(partition);
    // What was answered before may be of an older log.
    member.watched.remove(partition);
    member.watched.add(&[partition], &[]);
    let anew = AssignedPartition { partition, committed: None, metadata: String::new(), low: 0, high: 0 };
    member.arrivals.push(vec![anew]);
    let_go(&member.consumer, &list);
    take_over(&member.consumer, &list);
}
