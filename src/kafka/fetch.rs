//! Single records by their coordinates, as they lie on a topic.

use std::cell::OnceCell;
use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::{Duration, Instant};

use mailroom_actors::domain::job::Record;
use rdkafka::consumer::{BaseConsumer, Consumer};
use rdkafka::error::{KafkaError, KafkaResult, RDKafkaErrorCode};
use rdkafka::message::BorrowedMessage;
use rdkafka::{ClientConfig, Message, Offset, TopicPartitionList};

use super::client_log::ClientLog;
use super::follow::Seen;
use super::out_of_range::is_out_of_range;
use super::{properties, record};
use crate::config;

/// Records that lie farther apart than this are sought one by one.
const NEAR: i64 = 1_000;
/// A few letters are wanted, and what is read ahead of them is thrown away.
const FETCH_BYTES: &str = "262144";
const AHEAD_KIB: &str = "1024";

/// Reads what it is asked for, by a client that is made when it is needed first.
pub struct Fetcher {
    properties: ClientConfig,
    consumer: OnceCell<BaseConsumer<ClientLog>>,
}

impl Fetcher {
    pub fn new(config: &config::Kafka) -> Fetcher {
        let mut properties = properties::follower(config);
        // What is decided by it must come from the leader: another replica may lag behind.
        properties.remove("client.rack");
        properties.set("fetch.message.max.bytes", FETCH_BYTES).set("queued.max.messages.kbytes", AHEAD_KIB);
        Fetcher { properties, consumer: OnceCell::new() }
    }

    fn consumer(&self) -> Result<&BaseConsumer<ClientLog>, String> {
        if self.consumer.get().is_none() {
            let made = self.properties.create_with_context(ClientLog::new("fetcher"));
            // It was empty a moment ago, and nobody else can have filled it.
            let _ = self.consumer.set(made.map_err(|error| error.to_string())?);
        }
        Ok(self.consumer.get().expect("it has just been made"))
    }

    /// The records of one partition at these offsets; those that are not there are left out. Blocks, at most `limit`.
    ///
    /// # Errors
    /// In words, when brokers do not answer in time.
    pub fn fetch(
        &self,
        topic: &str,
        partition: i32,
        offsets: &BTreeSet<i64>,
        limit: Duration,
    ) -> Result<Vec<Record>, String> {
        let (records, below) = self.fetch_up_to(topic, partition, offsets, usize::MAX, limit)?;
        if offsets.last().is_some_and(|last| *last >= below) {
            return Err(format!("not all records of topic {topic} could be read in time"));
        }
        Ok(records)
    }

    /// The same, but of so many bytes at most and one record more: what lies at the returned offset and above it was not
    /// fetched.
    ///
    /// # Errors
    /// In words, when brokers do not answer in time.
    pub fn fetch_up_to(
        &self,
        topic: &str,
        partition: i32,
        offsets: &BTreeSet<i64>,
        bytes: usize,
        limit: Duration,
    ) -> Result<(Vec<Record>, i64), String> {
        let mut reading = Reading {
            topic: topic.into(),
            partition,
            wanted: offsets,
            bytes,
            found: Vec::new(),
            next: i64::MIN,
            is_lost: false,
        };
        let deadline = Instant::now() + limit;
        let consumer = self.consumer()?;
        let result = (|| {
            let mut position = None::<i64>;
            // What was passed on the way was found, or is not there.
            while let Some(&offset) = offsets.range(reading.next..).next().filter(|_| reading.bytes > 0) {
                if position.is_none_or(|at| offset - at > NEAR) {
                    assign(consumer, topic, partition, offset).map_err(|error| error.to_string())?;
                }
                self.read_to(offset, deadline, &mut reading)?;
                position = Some(reading.next).filter(|_| !reading.is_lost);
                reading.is_lost = false;
            }
            Ok(())
        })();
        // What it fetched ahead is of no use.
        let _ = consumer.unassign();
        // What lies below is found or not there, also where the time was not enough for the rest.
        let first = offsets.first().copied().unwrap_or(i64::MAX);
        let below = if result.is_err() || reading.bytes == 0 { reading.next } else { i64::MAX };
        match result {
            Err(error) if below <= first => Err(error),
            _ => Ok((reading.found, below)),
        }
    }

    /// Gives `each` all records of one partition, up to its end. Blocks, at most `limit`.
    ///
    /// # Errors
    /// In words, when brokers do not answer in time.
    pub fn read_all(
        &self,
        topic: &str,
        partition: i32,
        limit: Duration,
        mut each: impl FnMut(&Seen<'_>),
    ) -> Result<(), String> {
        let deadline = Instant::now() + limit;
        let consumer = self.consumer()?;
        let mut list = TopicPartitionList::with_capacity(1);
        let assigned = list
            .add_partition_offset(topic, partition, Offset::Beginning)
            .and_then(|()| consumer.assign(&list));
        assigned.map_err(|error| error.to_string())?;
        let result = loop {
            if Instant::now() >= deadline {
                break Err(format!("topic {topic} could not be read to its end in time"));
            }
            match consumer.poll(Duration::from_millis(100)) {
                Some(Ok(message)) => each(&Seen::of(&message)),
                Some(Err(KafkaError::PartitionEOF(_))) => break Ok(()),
                Some(Err(error)) if is_missing(&error) => break Err(format!("topic {topic}: {error}")),
                Some(Err(_)) | None => {}
            }
        };
        // As above.
        let _ = consumer.unassign();
        result
    }

    /// Reads on until the record at `awaited`, or one behind it, or the end of the log has come, and keeps what is wanted.
    fn read_to(&self, awaited: i64, deadline: Instant, reading: &mut Reading<'_>) -> Result<(), String> {
        let consumer = self.consumer()?;
        while reading.next <= awaited && reading.bytes > 0 {
            let left = deadline.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return Err(format!("no broker gave record {awaited} of topic {} in time", reading.topic));
            }
            match consumer.poll(left.min(Duration::from_millis(100))) {
                Some(Ok(message)) => reading.take(&message),
                Some(Err(KafkaError::PartitionEOF(_))) => reading.next = i64::MAX,
                Some(Err(error)) if is_out_of_range(&error) => {
                    // What lies below the first record has left the topic; behind the last there is nothing.
                    let (low, _) = consumer
                        .fetch_watermarks(&reading.topic, reading.partition, left)
                        .map_err(|error| format!("topic {}: {error}", reading.topic))?;
                    reading.next = if awaited < low { low } else { i64::MAX };
                    reading.is_lost = true;
                }
                Some(Err(error)) if is_missing(&error) => {
                    return Err(format!("topic {}: {error}", reading.topic));
                }
                Some(Err(_)) | None => {}
            }
        }
        Ok(())
    }
}

fn assign(consumer: &BaseConsumer<ClientLog>, topic: &str, partition: i32, offset: i64) -> KafkaResult<()> {
    let mut list = TopicPartitionList::with_capacity(1);
    list.add_partition_offset(topic, partition, Offset::Offset(offset))?;
    consumer.assign(&list)
}

struct Reading<'a> {
    topic: Arc<str>,
    partition: i32,
    wanted: &'a BTreeSet<i64>,
    /// That may still be found.
    bytes: usize,
    found: Vec<Record>,
    /// What is wanted below it is found, or not there.
    next: i64,
    /// The client reads nothing before it is told anew from where.
    is_lost: bool,
}

impl Reading<'_> {
    fn take(&mut self, message: &BorrowedMessage<'_>) {
        if self.wanted.contains(&message.offset()) {
            let record = record::copy(message, &self.topic);
            self.bytes = self.bytes.saturating_sub(record.size());
            self.found.push(record);
        }
        self.next = message.offset() + 1;
    }
}

fn is_missing(error: &KafkaError) -> bool {
    matches!(
        error.rdkafka_error_code(),
        Some(RDKafkaErrorCode::UnknownTopicOrPartition | RDKafkaErrorCode::UnknownPartition)
    )
}
