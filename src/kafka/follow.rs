//! Reads a whole topic, or its newest part, and goes on reading what comes: in no group, every partition, from memory of
//! nothing. What is read goes to a [`Listener`].

use std::collections::BTreeMap;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use rdkafka::consumer::{BaseConsumer, Consumer};
use rdkafka::error::KafkaError;
use rdkafka::message::{BorrowedMessage, Headers};
use rdkafka::{Message, Offset, TopicPartitionList};

use super::client_log::ClientLog;
use super::out_of_range::is_out_of_range;
use super::problem::StartProblem;
use super::threads::Thread;
pub use super::watermarks::LogEnds;
use super::{properties, watermarks};
use crate::config;

/// Between two looks at the topic: new partitions, records that were deleted.
const BETWEEN_LOOKS: Duration = Duration::from_secs(15);
/// While the topic is not there, or not all of its leaders answer.
const BETWEEN_TRIES: Duration = Duration::from_millis(500);
const ANSWER_TIMEOUT: Duration = Duration::from_secs(10);
const POLL: Duration = Duration::from_millis(100);
/// So many records are read of a partition that has them, where no fewer are wanted of all.
const FEW: u64 = 10_000;
const LONGEST_FAREWELL: Duration = Duration::from_secs(1);

/// What is told of a topic, from one thread.
pub trait Listener: Send + 'static {
    /// Whether transactions write to the topic. Then one that is open may hide records that were acknowledged before, and the
    /// end is where the brokers say that no more comes: half a second (fetch.wait.max.ms) after the last record.
    const TRANSACTIONAL: bool;

    /// The partition with that log, as of now, is read from `first` on.
    fn begins(&self, log: &LogEnds, first: i64);

    /// The next record of its partition.
    fn record(&self, record: &Seen<'_>);

    /// The partition begins anew: what was told of it is of a topic, or of records, that are no more. [`Listener::begins`]
    /// follows.
    fn begins_anew(&self, partition: i32);

    /// Records below `low` have been deleted.
    fn deleted_below(&self, partition: i32, low: i64);

    /// Once: all has been told that lay on the topic when its reading began.
    fn caught_up(&self);
}

/// A record, as it is read.
pub struct Seen<'a>(&'a BorrowedMessage<'a>);

impl<'a> Seen<'a> {
    pub(super) fn of(message: &'a BorrowedMessage<'a>) -> Seen<'a> {
        Seen(message)
    }

    pub fn partition(&self) -> i32 {
        self.0.partition()
    }

    pub fn offset(&self) -> i64 {
        self.0.offset()
    }

    /// Milliseconds since the epoch; -1 where the broker gave none.
    pub fn timestamp_ms(&self) -> i64 {
        self.0.timestamp().to_millis().unwrap_or(-1)
    }

    pub fn key(&self) -> Option<&[u8]> {
        self.0.key()
    }

    pub fn value(&self) -> Option<&[u8]> {
        self.0.payload()
    }

    /// The last header of that name.
    pub fn header(&self, name: &str) -> Option<&[u8]> {
        let headers = self.0.headers()?;
        // rdkafka panics at a name that is not UTF-8.
        let value = |index| catch_unwind(AssertUnwindSafe(|| headers.try_get(index))).ok().flatten();
        (0..headers.count()).rev().filter_map(value).find(|header| header.key == name)?.value
    }
}

/// A topic being read; dropping it ends that.
pub struct Following(Thread);

impl Following {
    /// Ends soon; dropping it waits for that, a second at most.
    pub fn stop(&self) {
        self.0.stop();
    }
}

/// Reads `topic` on a thread of its own, of all partitions together the newest so many records at the start, or all. Waits
/// for a topic that is not there yet, and for brokers.
///
/// # Errors
/// `Misconfigured`, when librdkafka does not take the properties.
pub fn follow(
    config: &config::Kafka,
    topic: &str,
    newest: Option<u64>,
    listener: impl Listener,
) -> Result<Following, StartProblem> {
    let consumer: BaseConsumer<ClientLog> = properties::follower(config)
        .create_with_context(ClientLog::new("follower"))
        .map_err(|error| StartProblem::from_creation(&error))?;
    let mut follower = Follower {
        consumer,
        topic: topic.to_owned(),
        newest,
        listener,
        places: BTreeMap::new(),
        caught_up: None,
        look_at: Instant::now(),
        has_stopped: false,
        began: Instant::now(),
        records: 0,
    };
    let name: String = format!("follow-{topic}").chars().take(15).collect();
    let thread = Thread::start(&name, LONGEST_FAREWELL, move |stopped| follower.run(stopped))
        .map_err(|error| StartProblem::Away(format!("no thread to read a topic: {error}")))?;
    Ok(Following(thread))
}

struct Follower<L> {
    consumer: BaseConsumer<ClientLog>,
    topic: String,
    newest: Option<u64>,
    listener: L,
    places: BTreeMap<i32, Place>,
    /// Whether all partitions have been read to where they ended at the first look; none before that.
    caught_up: Option<bool>,
    look_at: Instant,
    /// librdkafka reads a partition no further: its offset was out of range, perhaps at a leader that was behind.
    has_stopped: bool,
    /// When it was begun to look for the topic.
    began: Instant,
    /// Told so far.
    records: u64,
}

/// Where the reading of a partition is.
struct Place {
    /// The offset that comes next.
    next: i64,
    /// It is to be read to here, and has not been yet.
    awaited: Option<i64>,
}

impl<L: Listener> Follower<L> {
    fn run(&mut self, stopped: &AtomicBool) {
        while !stopped.load(Ordering::Acquire) {
            if Instant::now() >= self.look_at {
                self.look_at = Instant::now() + if self.look() { BETWEEN_LOOKS } else { BETWEEN_TRIES };
            }
            match self.consumer.poll(POLL) {
                Some(Ok(message)) => {
                    // What was fetched before the partition began anew is not counted.
                    let place = self.places.get_mut(&message.partition());
                    if let Some(place) = place.filter(|place| place.next <= message.offset()) {
                        place.next = message.offset() + 1;
                        self.records += 1;
                        self.listener.record(&Seen::of(&message));
                        if !L::TRANSACTIONAL && place.awaited.is_some_and(|end| place.next >= end) {
                            self.reached_the_end(message.partition());
                        }
                    }
                }
                Some(Err(KafkaError::PartitionEOF(partition))) => self.reached_the_end(partition),
                Some(Err(error)) if is_out_of_range(&error) => {
                    self.has_stopped = true;
                    self.look_at = Instant::now();
                }
                Some(Err(error)) => {
                    tracing::debug!(topic = self.topic, %error, "a topic can't be read just now")
                }
                None => {}
            }
        }
    }

    fn reached_the_end(&mut self, partition: i32) {
        if self.places.get_mut(&partition).is_some_and(|place| place.awaited.take().is_some()) {
            self.catch_up();
        }
    }

    fn catch_up(&mut self) {
        if self.caught_up != Some(false) || self.places.values().any(|place| place.awaited.is_some()) {
            return;
        }
        self.caught_up = Some(true);
        let seconds = self.began.elapsed().as_secs_f64();
        tracing::debug!(topic = self.topic, records = self.records, seconds, "the topic is read to its end");
        self.listener.caught_up();
    }

    /// Whether all of the topic's partitions were seen.
    fn look(&mut self) -> bool {
        let Ok(partitions) = watermarks::partitions(&self.consumer, &self.topic, ANSWER_TIMEOUT) else {
            return false;
        };
        if partitions.is_empty() {
            return false;
        }
        let Ok(ends) = watermarks::ask(&self.consumer, &self.topic, &partitions, ANSWER_TIMEOUT) else {
            return false;
        };
        // The newest are counted over all partitions, so the start waits until each has answered.
        if ends.len() < partitions.len() && self.caught_up.is_none() {
            return false;
        }
        let gone: Vec<i32> =
            self.places.keys().copied().filter(|known| !partitions.contains(known)).collect();
        for partition in &gone {
            self.places.remove(partition);
            self.listener.begins_anew(*partition);
        }
        let is_first = self.caught_up.is_none();
        let mut changed = !gone.is_empty() || std::mem::take(&mut self.has_stopped);
        let starts = starts(&ends, self.newest.filter(|_| is_first));
        for (end, start) in ends.iter().zip(starts) {
            let partition = end.partition;
            match self.places.get(&partition) {
                Some(place) if (end.low..=end.high).contains(&place.next) => {
                    self.listener.deleted_below(partition, end.low)
                }
                // Deleted before it was read, or another topic of that name.
                known => {
                    if known.is_some() {
                        self.listener.begins_anew(partition);
                    }
                    let is_awaited = self.caught_up != Some(true) && (start < end.high || L::TRANSACTIONAL);
                    let awaited = is_awaited.then_some(end.high);
                    self.places.insert(partition, Place { next: start, awaited });
                    self.listener.begins(end, start);
                    changed = true;
                }
            }
        }
        self.caught_up.get_or_insert(false);
        self.catch_up();
        if changed {
            self.assign();
        }
        ends.len() == partitions.len()
    }

    fn assign(&self) {
        let mut list = TopicPartitionList::with_capacity(self.places.len());
        for (&partition, place) in &self.places {
            if let Err(error) = list.add_partition_offset(&self.topic, partition, Offset::Offset(place.next))
            {
                tracing::warn!(partition, %error, "a partition can't be read");
            }
        }
        if let Err(error) = self.consumer.assign(&list) {
            tracing::warn!(topic = self.topic, %error, "the topic can't be read");
        }
    }
}

/// Where to begin in each partition, so that of all records the newest so many are read: a few of each partition, whatever
/// is in the others, and of more than that by its share.
fn starts(ends: &[LogEnds], newest: Option<u64>) -> Vec<i64> {
    let size = |end: &LogEnds| end.high.abs_diff(end.low);
    let total: u64 = ends.iter().map(size).sum();
    let start = |end: &LogEnds| match newest {
        Some(newest) if newest < total => {
            let share = u128::from(size(end)) * u128::from(newest) / u128::from(total);
            let share = u64::try_from(share).unwrap_or(u64::MAX).max(newest.min(FEW)).min(size(end));
            end.high - share.cast_signed()
        }
        _ => end.low,
    };
    ends.iter().map(start).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_newest_records_are_shared_by_the_partitions_sizes() {
        let ends = [(0, 0, 300), (1, 50, 150), (2, 7, 7)];
        let ends = ends.map(|(partition, low, high)| LogEnds { partition, low, high });
        assert_eq!(starts(&ends, None), [0, 50, 7]);
        assert_eq!(starts(&ends, Some(400)), [0, 50, 7]);
        assert_eq!(starts(&ends, Some(100)), [200, 50, 7]);
        assert_eq!(starts(&ends, Some(0)), [300, 150, 7]);
        let ends = ends.map(|end| LogEnds { low: end.low * 1_000, high: end.high * 1_000, ..end });
        assert_eq!(starts(&ends, Some(100_000)), [225_000, 125_000, 7_000]);
        assert_eq!(starts(&ends, Some(FEW)), [290_000, 140_000, 7_000]);
    }
}
