//! Where the logs of the assigned partitions end, asked from the side, also while nothing is read.
//!
//! A client of its own, which reads nothing and is in no group: a `read_committed` consumer would answer the
//! last stable offset. Two requests to each leader answer for all of its partitions.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use async_channel::Sender;
use mailroom_actors::domain::topic_partition::{Topic, TopicNames, TopicPartition};
use mailroom_actors::ports::{OffsetLogEvent, Watermarks};
use parking_lot::Mutex;
use rdkafka::consumer::{BaseConsumer, Consumer};
use rdkafka::error::{KafkaError, KafkaResult, RDKafkaErrorCode};
use rdkafka::metadata::Metadata;
use rdkafka::{Offset, TopicPartitionList};

use super::bell::Bell;
use super::client_log::ClientLog;
use super::problem::StartProblem;
use super::properties;
use super::pulse::Pulse;
use crate::config;

const BETWEEN_QUESTIONS: Duration = Duration::from_secs(5);
/// Where a partition's first answer is waited for.
const BETWEEN_TRIES: Duration = Duration::from_millis(100);
const ANSWER_TIMEOUT: Duration = Duration::from_secs(4);
/// Where one leader spoils the answer each is asked by itself: so long.
const LEADER_TIMEOUT: Duration = Duration::from_secs(1);

/// A client that looks from the side.
pub(super) type Observer = BaseConsumer<ClientLog>;

/// A client for metadata and watermarks: in no group, reads nothing. Poll it now and then with no timeout,
/// so that its errors reach [`ClientLog::take_error`].
pub(super) fn observer(config: &config::Kafka) -> Result<Observer, StartProblem> {
    properties::observer(config)
        .create_with_context(ClientLog::new("observer"))
        .map_err(|e| StartProblem::from_creation(&e))
}

/// The poll thread's end: which partitions are looked at.
pub(super) struct Watched {
    shared: Arc<Shared>,
    thread: JoinHandle<()>,
}

#[derive(Default)]
struct Shared {
    bell: Arc<Bell>,
    stopped: AtomicBool,
    partitions: Mutex<Partitions>,
}

#[derive(Default)]
struct Partitions {
    /// A partition that is given up and comes again is another.
    assigned: BTreeMap<TopicPartition, Assigned>,
    assignments: u64,
    /// Those for which the group has nothing committed: it is said once how much that is.
    new: BTreeSet<TopicPartition>,
    changed: bool,
}

struct Assigned {
    assignment: u64,
    /// The actors know of it.
    announced: bool,
    last: Option<(i64, i64)>,
}

impl Watched {
    /// Looks at these too, at once, and again soon until each is answered; each answer rings the poll thread's
    /// bell. The actors hear of it only once it is [`Watched::announced`].
    pub fn add(&self, partitions: &[TopicPartition], new: &[TopicPartition]) {
        let mut known = self.shared.partitions.lock();
        known.assignments += 1;
        let assignment = known.assignments;
        for &partition in partitions {
            known.assigned.insert(partition, Assigned { assignment, announced: false, last: None });
        }
        known.new.extend(new);
        known.changed = true;
        drop(known);
        self.shared.bell.ring();
    }

    /// The actors know of the partition, and want to hear of it.
    pub fn announced(&self, partition: TopicPartition) {
        let mut known = self.shared.partitions.lock();
        if let Some(assigned) = known.assigned.get_mut(&partition) {
            assigned.announced = true;
        }
        known.changed = true;
        drop(known);
        self.shared.bell.ring();
    }

    /// Looks at it no more.
    pub fn remove(&self, partition: TopicPartition) {
        let mut known = self.shared.partitions.lock();
        known.assigned.remove(&partition);
        known.new.remove(&partition);
    }

    /// Low and high watermark as they were last answered since it was added.
    pub fn last(&self, partition: TopicPartition) -> Option<(i64, i64)> {
        self.shared.partitions.lock().assigned.get(&partition)?.last
    }

    /// The thread ends; at the latest when the question under way is answered or timed out.
    pub fn stop(self) -> JoinHandle<()> {
        self.shared.stopped.store(true, Ordering::Release);
        self.shared.bell.ring();
        self.thread
    }
}

/// Starts the thread that asks every 5 s, and when partitions are assigned. It sends
/// [`OffsetLogEvent::Watermarks`], and tells `pulse` whether any broker answered.
///
/// # Errors
/// `Misconfigured`, when librdkafka does not take the properties.
pub(super) fn start(
    config: &config::Kafka,
    pulse: Arc<Pulse>,
    events: Sender<OffsetLogEvent>,
    poll_thread: Arc<Bell>,
) -> Result<Watched, StartProblem> {
    let observer = observer(config)?;
    let shared = Arc::new(Shared::default());
    let topics = config.topics();
    let watch = Watch { observer, topics, shared: Arc::clone(&shared), pulse, events, poll_thread };
    let thread = thread::Builder::new()
        .name("kafka-watermarks".into())
        .spawn(move || watch.run())
        .map_err(|e| StartProblem::Away(format!("no thread for the watermarks: {e}")))?;
    Ok(Watched { shared, thread })
}

struct Watch {
    observer: Observer,
    topics: TopicNames,
    shared: Arc<Shared>,
    pulse: Arc<Pulse>,
    events: Sender<OffsetLogEvent>,
    poll_thread: Arc<Bell>,
}

impl Watch {
    fn run(self) {
        self.shared.bell.listen_here();
        while !self.shared.stopped.load(Ordering::Acquire) && !self.events.is_closed() {
            self.look();
            let awaited = self.shared.partitions.lock().assigned.values().any(|a| a.last.is_none());
            let next = Instant::now() + if awaited { BETWEEN_TRIES } else { BETWEEN_QUESTIONS };
            while !self.shared.stopped.load(Ordering::Acquire) && !self.shared.partitions.lock().changed {
                let left = next.saturating_duration_since(Instant::now());
                if left.is_zero() {
                    break;
                }
                thread::park_timeout(left);
            }
        }
    }

    fn look(&self) {
        let (assigned, assignment): (Vec<TopicPartition>, u64) = {
            let mut known = self.shared.partitions.lock();
            known.changed = false;
            (known.assigned.keys().copied().collect(), known.assignments)
        };
        let numbers = |topic: Topic| -> Vec<i32> {
            assigned.iter().filter(|of| of.topic == topic).map(|of| of.number).collect()
        };
        for (topic, name) in self.topics.all() {
            let numbers = numbers(topic);
            // A worker without a partition looks all the same whether a broker answers.
            if topic == Topic::Queue || !numbers.is_empty() {
                self.look_at(topic, name, &numbers, assignment);
            }
        }
    }

    fn look_at(&self, topic: Topic, name: &str, numbers: &[i32], assignment: u64) {
        let answer = if numbers.is_empty() {
            self.observer.fetch_metadata(Some(name), ANSWER_TIMEOUT).map(|_| Vec::new())
        } else {
            ask(&self.observer, name, numbers, ANSWER_TIMEOUT)
        };
        // Serves the log and the errors of this client; it has no records.
        while self.observer.poll(Duration::ZERO).is_some() {}
        let heard = self.observer.context().take_error();
        match answer {
            Ok(ends) => self.answered(topic, ends, assignment),
            // One leader that is away spoils the answer for all: librdkafka gives the whole or nothing.
            Err(error) => match self.observer.fetch_metadata(Some(name), ANSWER_TIMEOUT) {
                Ok(metadata) => {
                    self.answered(topic, self.ask_each_leader(name, &metadata, numbers), assignment)
                }
                Err(_) => {
                    let why = heard.map_or_else(|| error.to_string(), |(_, text)| text);
                    self.pulse.silent(format!("no broker answers: {why}"));
                }
            },
        }
    }

    fn answered(&self, topic: Topic, ends: Vec<LogEnds>, assignment: u64) {
        self.pulse.answered();
        let mark = |LogEnds { partition: number, low, high }| Watermarks {
            partition: TopicPartition { topic, number },
            low,
            high,
        };
        let watermarks = self.keep(ends.into_iter().map(mark).collect(), assignment);
        if !watermarks.is_empty() {
            // When nobody listens any more the loop ends.
            let _ = self.events.send_blocking(OffsetLogEvent::Watermarks(watermarks));
        }
    }

    /// The ends of those partitions whose leader answers.
    fn ask_each_leader(&self, topic: &str, metadata: &Metadata, assigned: &[i32]) -> Vec<LogEnds> {
        let mut by_leader: BTreeMap<i32, Vec<i32>> = BTreeMap::new();
        for partition in metadata.topics().iter().flat_map(|topic| topic.partitions()) {
            if assigned.contains(&partition.id()) && partition.leader() >= 0 {
                by_leader.entry(partition.leader()).or_default().push(partition.id());
            }
        }
        let mut found = Vec::new();
        for (leader, partitions) in by_leader {
            match ask(&self.observer, topic, &partitions, LEADER_TIMEOUT) {
                Ok(answered) => found.extend(answered),
                Err(error) => {
                    tracing::warn!(leader, partitions = ?partitions, %error, "a leader does not tell its partitions' ends");
                }
            }
        }
        found
    }

    /// Keeps what was answered of partitions that are ours since assignment `until` or before. Returns what
    /// the actors want to hear of it.
    fn keep(&self, mut watermarks: Vec<Watermarks>, until: u64) -> Vec<Watermarks> {
        let mut known = self.shared.partitions.lock();
        let mut records = 0;
        let mut new = 0;
        watermarks.retain(|mark| {
            let Some(assigned) = known.assigned.get_mut(&mark.partition) else { return false };
            if assigned.assignment > until {
                return false;
            }
            assigned.last = Some((mark.low, mark.high));
            let announced = assigned.announced;
            if known.new.remove(&mark.partition) {
                new += 1;
                records += mark.high - mark.low;
            }
            announced
        });
        drop(known);
        if new > 0 {
            tracing::info!(partitions = new, records, "the group is new: it begins at the earliest record");
        }
        self.poll_thread.ring();
        watermarks
    }
}

/// The partitions of the topic; none where it is not there.
///
/// # Errors
/// When no broker answers within `limit`.
pub(super) fn partitions(
    client: &BaseConsumer<ClientLog>,
    topic: &str,
    limit: Duration,
) -> KafkaResult<Vec<i32>> {
    let metadata = client.fetch_metadata(Some(topic), limit)?;
    Ok(metadata.topics().iter().flat_map(|topic| topic.partitions()).map(|of| of.id()).collect())
}

/// Where a partition's log begins, and the offset behind its last record.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LogEnds {
    pub partition: i32,
    pub low: i64,
    pub high: i64,
}

/// The ends of `partitions`; those that can't be answered just now are left out.
///
/// # Errors
/// When no leader answers for any of them within `limit`, or one of several does not answer.
pub(super) fn ask(
    observer: &Observer,
    topic: &str,
    partitions: &[i32],
    limit: Duration,
) -> KafkaResult<Vec<LogEnds>> {
    let deadline = Instant::now() + limit;
    let lows = ends(observer, topic, partitions, Offset::Beginning, deadline)?;
    let highs = ends(observer, topic, partitions, Offset::End, deadline)?;
    let found: Vec<LogEnds> = partitions
        .iter()
        .filter_map(|&partition| {
            Some(LogEnds { partition, low: *lows.get(&partition)?, high: *highs.get(&partition)? })
        })
        .collect();
    if found.is_empty() {
        return Err(KafkaError::OffsetFetch(RDKafkaErrorCode::LeaderNotAvailable));
    }
    Ok(found)
}

/// The first or the next offset of each partition, in one request to each leader. Kafka asks for the two by
/// the "times" -2 and -1, which are the numbers of `Offset::Beginning` and `Offset::End`.
fn ends(
    observer: &Observer,
    topic: &str,
    partitions: &[i32],
    which: Offset,
    deadline: Instant,
) -> KafkaResult<BTreeMap<i32, i64>> {
    let mut list = TopicPartitionList::with_capacity(partitions.len());
    for &partition in partitions {
        list.add_partition_offset(topic, partition, which)?;
    }
    let left = deadline.saturating_duration_since(Instant::now());
    let answers = observer.offsets_for_times(list, left)?;
    let mut ends = BTreeMap::new();
    for entry in answers.elements() {
        if let (Ok(()), Offset::Offset(offset)) = (entry.error(), entry.offset()) {
            ends.insert(entry.partition(), offset);
        }
    }
    Ok(ends)
}
