//! Partitions that have been taken over, until the actors are told: where their logs begin and end is asked first.
//!
//! The poll thread does not wait for the answer. Those of one assignment are told together, but one whose leader
//! is away keeps the others waiting for a moment only; it is told when it is answered, and read only then.

use std::time::{Duration, Instant};

use mailroom_actors::domain::topic_partition::TopicPartition;
use mailroom_actors::ports::{AssignedPartition, OffsetLogEvent};

use super::intake::Member;

/// How long those that are answered wait for the others.
const TOGETHER: Duration = Duration::from_secs(1);

/// What is known of each so far; `low` and `high` are not.
#[derive(Debug, Default)]
pub(super) struct Arrivals {
    partitions: Vec<AssignedPartition>,
    since: Option<Instant>,
}

impl Arrivals {
    /// To be told by [`announce`], once the watermarks thread has looked at them: have it do so first.
    pub fn push(&mut self, partitions: Vec<AssignedPartition>) {
        self.partitions.extend(partitions);
        self.since = Some(Instant::now());
    }

    /// It is given up before it was told. True when it was one of these.
    pub fn remove(&mut self, partition: TopicPartition) -> bool {
        let before = self.partitions.len();
        self.partitions.retain(|p| p.partition != partition);
        self.partitions.len() < before
    }
}

/// Tells the actors of those whose ends are known, and lets them be read.
pub(super) fn announce(member: &mut Member) {
    let Some(since) = member.arrivals.since else { return };
    let known = |p: &AssignedPartition| member.watched.last(p.partition).is_some();
    let all = member.arrivals.partitions.iter().all(known);
    if !all && since.elapsed() < TOGETHER {
        return;
    }
    let mut told = Vec::new();
    for mut partition in std::mem::take(&mut member.arrivals.partitions) {
        match member.watched.last(partition.partition) {
            Some((low, high)) => {
                (partition.low, partition.high) = (low, high);
                told.push(partition);
            }
            None => member.arrivals.partitions.push(partition),
        }
    }
    if member.arrivals.partitions.is_empty() {
        member.arrivals.since = None;
    }
    if told.is_empty() {
        return;
    }
    let numbers: Vec<TopicPartition> = told.iter().map(|p| p.partition).collect();
    tracing::info!(partitions = ?numbers, "partitions assigned");
    // Told before any record of them can come.
    member.tell(OffsetLogEvent::Assigned(told));
    for number in numbers {
        member.watched.announced(number);
        member.partitions.begin(number);
    }
}
