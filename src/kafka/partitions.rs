//! The assigned partitions, each with a queue of its own, read in turn and only while there is room.

use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use mailroom_actors::credits::Credits;
use mailroom_actors::domain::job::Record;
use mailroom_actors::domain::topic_partition::{Topic, TopicNames, TopicPartition};
use mailroom_actors::ports::OffsetLogEvent;
use rdkafka::Offset;
use rdkafka::consumer::Consumer;
use rdkafka::consumer::base_consumer::PartitionQueue;
use rdkafka::error::KafkaError;
use rdkafka::topic_partition_list::TopicPartitionListElem;

use super::bell::Bell;
use super::context::{GroupConsumer, GroupContext};
use super::record;

/// Records of one partition in one turn: small, so that a full partition does not keep the others waiting.
const RECORDS_A_TURN: usize = 64;
/// `position()` asks librdkafka's main thread: cheap, but not for every batch.
const BETWEEN_POSITIONS: Duration = Duration::from_millis(100);
/// Asked also when no queue has said anything, in case a wake-up was missed.
const BETWEEN_IDLE_POSITIONS: Duration = Duration::from_secs(1);

struct Partition {
    name: TopicPartition,
    queue: PartitionQueue<GroupContext>,
    /// Everything below it has been handed over.
    seen: i64,
    /// False while it is being given up, and before the actors know of it.
    reads: bool,
    /// Read already and not cleared yet: one record, but for those that came by the main queue.
    kept: VecDeque<Record>,
}

impl Partition {
    /// The next record, wherever it lies.
    fn next(&mut self, topic: &Arc<str>) -> Option<Result<Record, KafkaError>> {
        let kept = self.kept.pop_front().map(Ok);
        kept.or_else(|| {
            let message = self.queue.poll(Duration::ZERO)?;
            Some(message.map(|message| record::copy(&message, topic)))
        })
    }
}

/// None where it is of a topic that is not consumed; there are no such entries.
pub(super) fn name_of(entry: &TopicPartitionListElem<'_>, topics: &TopicNames) -> Option<TopicPartition> {
    Some(TopicPartition { topic: topics.topic(entry.topic())?, number: entry.partition() })
}

/// What one turn brought.
#[derive(Debug, Default)]
pub(super) struct Turn {
    pub batches: Vec<(Topic, Vec<Record>)>,
    /// Errors, each with the partition whose queue brought it and the offset that was due.
    pub errors: Vec<(TopicPartition, i64, KafkaError)>,
    /// Another turn would bring more at once.
    pub more: bool,
}

pub(super) struct Partitions {
    bell: Arc<Bell>,
    list: Vec<Partition>,
    /// Where the next turn begins.
    first: usize,
    /// A queue has brought something since the positions were last looked at.
    stirred: Arc<AtomicBool>,
    positions_at: Instant,
}

impl Partitions {
    pub fn new(bell: Arc<Bell>) -> Partitions {
        Partitions { bell, list: Vec::new(), first: 0, stirred: Arc::default(), positions_at: Instant::now() }
    }

    /// Splits the partition's messages off the main queue. To be called before it is assigned. `seen` is
    /// the committed offset, or less than 0. Nothing is handed over before [`Partitions::begin`].
    pub fn add(
        &mut self,
        consumer: &Arc<GroupConsumer>,
        topics: &TopicNames,
        name: TopicPartition,
        seen: i64,
    ) {
        self.remove(name);
        let Some(mut queue) = consumer.split_partition_queue(topics.name(name.topic), name.number) else {
            tracing::error!(
                topic = topics.name(name.topic).as_ref(),
                partition = name.number,
                "the partition has no queue of its own: it is read unbounded"
            );
            return;
        };
        let (bell, stirred) = (Arc::clone(&self.bell), Arc::clone(&self.stirred));
        queue.set_nonempty_callback(move || {
            stirred.store(true, Ordering::Release);
            bell.ring();
        });
        self.list.push(Partition { name, queue, seen, reads: false, kept: VecDeque::new() });
    }

    /// The actors know of it: its records may be handed over.
    pub fn begin(&mut self, name: TopicPartition) {
        for partition in self.list.iter_mut().filter(|p| p.name == name) {
            partition.reads = true;
        }
    }

    /// A record that did not come by the partition's own queue. Dropped where the partition is not held.
    pub fn keep(&mut self, topic: Topic, record: Record) {
        let name = TopicPartition { topic, number: record.partition };
        if let Some(partition) = self.list.iter_mut().find(|p| p.name == name) {
            partition.kept.push_back(record);
        }
    }

    /// Drops the partition's queue, and what was kept back of it.
    pub fn remove(&mut self, name: TopicPartition) {
        self.list.retain(|p| p.name != name);
    }

    /// Drops all queues: they hold the consumer.
    pub fn clear(&mut self) {
        self.list.clear();
    }

    pub fn holds(&self, name: TopicPartition) -> bool {
        self.list.iter().any(|p| p.name == name)
    }

    /// Whether it is held, and not being given up.
    pub fn reads(&self, name: TopicPartition) -> bool {
        self.list.iter().any(|p| p.name == name && p.reads)
    }

    /// Reads no more of it, but keeps it.
    pub fn stop(&mut self, name: TopicPartition) {
        for partition in self.list.iter_mut().filter(|p| p.name == name) {
            partition.reads = false;
        }
    }

    /// It begins anew, once [`Partitions::begin`] is called: nothing of it has been seen.
    pub fn restart(&mut self, name: TopicPartition) {
        for partition in self.list.iter_mut().filter(|p| p.name == name) {
            partition.seen = -1;
            partition.reads = false;
            partition.kept.clear();
        }
    }

    /// A few records of each partition, while `credits` last and as far as the partition is cleared; each
    /// record handed over is admitted. One that is not cleared yet is kept back for a later turn.
    pub fn read(&mut self, credits: &Credits, topics: &TopicNames) -> Turn {
        let mut turn = Turn::default();
        let count = self.list.len();
        for step in 0..count {
            let index = (self.first + step) % count;
            let partition = &mut self.list[index];
            if !partition.reads {
                continue;
            }
            let cleared_to = credits.cleared_to(partition.name);
            if partition.kept.front().is_some_and(|record| record.offset >= cleared_to) {
                continue;
            }
            let mut batch = Vec::new();
            let mut room = true;
            while batch.len() < RECORDS_A_TURN {
                room = credits.is_open();
                if !room {
                    break;
                }
                match partition.next(topics.name(partition.name.topic)) {
                    Some(Ok(record)) if record.offset >= cleared_to => {
                        partition.kept.push_front(record);
                        break;
                    }
                    Some(Ok(record)) => {
                        credits.admit(record.size());
                        partition.seen = record.offset + 1;
                        batch.push(record);
                    }
                    Some(Err(error)) => turn.errors.push((partition.name, partition.seen, error)),
                    None => break,
                }
            }
            turn.more |= batch.len() == RECORDS_A_TURN;
            if !batch.is_empty() {
                self.stirred.store(true, Ordering::Release);
                turn.batches.push((partition.name.topic, batch));
            }
            if !room {
                // The next turn begins where this one had to stop.
                self.first = index;
                turn.more = false;
                return turn;
            }
        }
        self.first = if count == 0 { 0 } else { (self.first + 1) % count };
        turn
    }

    /// How far past the records handed over everything is seen: over transaction markers, which come as no
    /// record. To be called after a turn, when all its records are handed over: librdkafka's position moves
    /// with what was polled, a marker counts once the queue has been polled past it. Of a
    /// partition of which a record is kept back everything below that is seen.
    pub fn positions(&mut self, consumer: &GroupConsumer, topics: &TopicNames) -> Vec<OffsetLogEvent> {
        let wait =
            if self.stirred.load(Ordering::Acquire) { BETWEEN_POSITIONS } else { BETWEEN_IDLE_POSITIONS };
        if self.list.is_empty() || self.positions_at.elapsed() < wait {
            return Vec::new();
        }
        self.stirred.store(false, Ordering::Release);
        self.positions_at = Instant::now();
        let Ok(positions) = consumer.position() else { return Vec::new() };
        let mut events = Vec::new();
        for entry in positions.elements() {
            let Some(name) = name_of(&entry, topics) else { continue };
            let known = self.list.iter_mut().find(|p| p.name == name);
            let Some(partition) = known.filter(|partition| partition.reads) else { continue };
            // A gap in front of a record that is kept back may be wider than what is cleared at once.
            let next = match (partition.kept.front(), entry.offset()) {
                (Some(kept), _) => kept.offset,
                (None, Offset::Offset(next)) => next,
                (None, _) => continue,
            };
            if next > partition.seen {
                partition.seen = next;
                events.push(OffsetLogEvent::SeenUpTo { partition: name, next });
            }
        }
        events
    }
}
