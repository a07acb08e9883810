//! The poll thread as a member of its group on a real Kafka, with the test in the place of the actors.
//!
//! What librdkafka's in-process cluster can show is in `src/kafka/tests`. It can't show this: it refuses a member whose
//! SyncGroup comes behind the leader's ("Invalid request"), and from then on every commit until the group has formed anew.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use async_channel::Receiver;
use mailroom::config::{self, Secretive};
use mailroom::kafka::KafkaOffsetLog;
use mailroom_actors::credits::Credits;
use mailroom_actors::ports::{AssignedPartition, CommitOffset, CommitRefusal, OffsetLog, OffsetLogEvent};

use crate::harness::{Kafka, Queue, until};

fn offset(partition: i32, offset: i64, metadata: &str) -> CommitOffset {
    CommitOffset { partition: partition.into(), offset, metadata: metadata.into() }
}

struct Member {
    log: KafkaOffsetLog,
    credits: Arc<Credits>,
    events: Receiver<OffsetLogEvent>,
}

impl Member {
    fn join(queue: &Queue) -> Member {
        let config = config::Kafka {
            brokers: queue.kafka.address(),
            group: queue.group.clone(),
            topic: queue.topic.clone(),
            replay_topic: None,
            decisions_topic: queue.decisions_topic(),
            dlq_topic: queue.dlq_topic.clone(),
            create_topics: false,
            dlq_retention: Duration::from_secs(86_400),
            commit_interval: Duration::from_millis(200),
            // A member hears of a rebalance by a heartbeat.
            properties: BTreeMap::from([("heartbeat.interval.ms".into(), Secretive("200".into()))]),
        };
        let (sender, events) = async_channel::unbounded();
        let credits = Arc::new(Credits::new(1000, usize::MAX));
        let log = mailroom::kafka::start(&config, Duration::from_secs(20), Arc::clone(&credits), sender);
        Member { log: log.expect("it starts"), credits, events }
    }

    /// The first event that `wanted` makes something of; those before it are dropped.
    fn wait<T>(&self, what: &str, mut wanted: impl FnMut(OffsetLogEvent) -> Option<T>) -> T {
        until(what, || std::iter::from_fn(|| self.events.try_recv().ok()).find_map(&mut wanted))
    }

    /// The next partitions that it is given, all of each to be taken at once.
    fn assigned(&self) -> Vec<AssignedPartition> {
        let assigned = self.wait("an assignment", |event| match event {
            OffsetLogEvent::Assigned(partitions) => (!partitions.is_empty()).then_some(partitions),
            _ => None,
        });
        assigned.iter().for_each(|given| self.credits.clear(given.partition, i64::MAX));
        self.log.read_on();
        assigned
    }

    /// The offsets of the next records that it reads.
    fn reads(&self, count: usize) -> Vec<i64> {
        let mut offsets = Vec::new();
        self.wait("records", |event| {
            if let OffsetLogEvent::Records(_, records) = event {
                offsets.extend(records.iter().map(|record| record.offset));
            }
            (offsets.len() >= count).then_some(())
        });
        offsets
    }

    fn commit(&self, offset: CommitOffset) -> Result<(), CommitRefusal> {
        self.log.commit(vec![offset]);
        self.wait("the answer to a commit", |event| match event {
            OffsetLogEvent::Committed(answer) => Some(answer),
            _ => None,
        })
    }

    fn leave(self, last: Vec<CommitOffset>) -> Result<(), String> {
        self.log.leave(last);
        self.wait("leaving", |event| match event {
            OffsetLogEvent::Left(result) => Some(result),
            OffsetLogEvent::Revoking { .. } => panic!("nobody may be asked while leaving"),
            _ => None,
        })
    }
}

#[test]
fn a_second_member_takes_over_behind_what_the_first_replied() {
    let queue = Queue::new(Kafka::shared(), 2);
    queue.put(["{}"; 6]);
    let first = Member::join(&queue);
    assert_eq!(first.assigned().len(), 2);
    first.reads(6);

    let second = Member::join(&queue);
    let asked = |event| match event {
        OffsetLogEvent::Revoking { partitions, reply } => Some((partitions, reply)),
        OffsetLogEvent::Lost(partitions) => panic!("lost {partitions:?}"),
        _ => None,
    };
    let (partitions, reply) = first.wait("the revoke", asked);
    assert_eq!(partitions.len(), 1, "cooperative: the other one stays");
    // Who was asked dies: its successor is asked.
    drop(reply);
    let (again, reply) = first.wait("the second question", asked);
    assert_eq!(again, partitions);
    let (moved, kept) = (partitions[0].number, 1 - partitions[0].number);
    // The kept partition is committed meanwhile: the thread is not stuck in the revoke.
    assert_eq!(first.commit(offset(kept, 3, "")), Ok(()));
    reply.send(vec![offset(moved, 2, "closed")]).expect("the answer is waited for");

    let assigned = second.assigned();
    assert_eq!(assigned.len(), 1);
    assert_eq!(
        (assigned[0].partition, assigned[0].committed, assigned[0].metadata.as_str()),
        (moved.into(), Some(2), "closed")
    );
    assert_eq!(second.reads(1)[0], 2);
    // What is not ours any more is not committed.
    let refused = first.commit(offset(moved, 3, "")).expect_err("it is another's");
    assert!(refused.not_ours, "{refused:?}");
    assert_eq!(first.leave(vec![offset(moved, 1, "old"), offset(kept, 3, "closed")]), Ok(()));
    let mut committed = queue.kafka.committed(&queue.group, &queue.topic);
    committed.sort_unstable();
    let mut expected = [(moved, 2), (kept, 3)];
    expected.sort_unstable();
    assert_eq!(committed, expected);
    assert_eq!(queue.kafka.metadata(&queue.group, &queue.topic), ["closed", "closed"]);
    assert_eq!(second.leave(vec![]), Ok(()));
}

#[test]
fn a_commit_whose_metadata_is_too_large_is_refused_as_that() {
    let queue = Queue::new(Kafka::shared(), 1);
    queue.put(["{}"]);
    let member = Member::join(&queue);
    member.assigned();
    for (bytes, expected) in [(4097, Err(true)), (4096, Ok(()))] {
        let answer = member.commit(offset(0, 1, &"m".repeat(bytes)));
        assert_eq!(answer.map_err(|refusal| refusal.metadata_too_large), expected, "{bytes}");
    }
    assert_eq!(member.leave(vec![]), Ok(()));
}
