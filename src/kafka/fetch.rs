//! Single records by their coordinates, as they lie on a topic.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::{Duration, Instant};

use mailroom_actors::domain::job::Record;
use rdkafka::consumer::{BaseConsumer, Consumer};
use rdkafka::error::{KafkaError, KafkaResult};
use rdkafka::{Message, Offset, TopicPartitionList};

use super::client_log::ClientLog;
use super::out_of_range::is_out_of_range;
use super::problem::StartProblem;
use super::{properties, record};
use crate::config;

/// Records that lie farther apart than this are sought one by one.
const NEAR: i64 = 1_000;

/// A client that reads what it is asked for.
pub struct Fetcher {
    consumer: BaseConsumer<ClientLog>,
}

impl Fetcher {
    /// # Errors
    /// `Misconfigured`, when librdkafka does not take the properties.
    pub fn new(config: &config::Kafka) -> Result<Fetcher, StartProblem> {
        let consumer = properties::follower(config)
            .create_with_context(ClientLog::new("fetcher"))
            .map_err(|error| StartProblem::from_creation(&error))?;
        Ok(Fetcher { consumer })
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
        let deadline = Instant::now() + limit;
        let name: Arc<str> = topic.into();
        let mut found = Vec::with_capacity(offsets.len());
        let mut wanted = offsets.iter().copied().peekable();
        let result = (|| {
            while let Some(first) = wanted.next() {
                self.assign(topic, partition, first).map_err(|error| error.to_string())?;
                let mut awaited = first;
                loop {
                    let next = self.read_to(awaited, deadline, &name, offsets, &mut found)?;
                    // Passed on the way: they were found, or are not there.
                    while wanted.next_if(|offset| *offset < next).is_some() {}
                    match wanted.next_if(|offset| *offset - next <= NEAR) {
                        Some(offset) => awaited = offset,
                        None => break,
                    }
                }
            }
            Ok(found)
        })();
        // What it fetched ahead is of no use.
        let _ = self.consumer.unassign();
        result
    }

    /// Reads on until the record at `awaited`, or one behind it, has come, and keeps what is wanted. Returns the next
    /// offset; the greatest number at the end of the log.
    fn read_to(
        &self,
        awaited: i64,
        deadline: Instant,
        topic: &Arc<str>,
        wanted: &BTreeSet<i64>,
        found: &mut Vec<Record>,
    ) -> Result<i64, String> {
        loop {
            let left = deadline.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return Err(format!("no broker gave record {awaited} of topic {topic} in time"));
            }
            match self.consumer.poll(left.min(Duration::from_millis(100))) {
                Some(Ok(message)) => {
                    if wanted.contains(&message.offset()) {
                        found.push(record::copy(&message, topic));
                    }
                    if message.offset() >= awaited {
                        return Ok(message.offset() + 1);
                    }
                }
                Some(Err(KafkaError::PartitionEOF(_))) => return Ok(i64::MAX),
                Some(Err(error)) if is_out_of_range(&error) => return Ok(awaited + 1),
                Some(Err(_)) | None => {}
            }
        }
    }

    fn assign(&self, topic: &str, partition: i32, offset: i64) -> KafkaResult<()> {
        let mut list = TopicPartitionList::with_capacity(1);
        list.add_partition_offset(topic, partition, Offset::Offset(offset))?;
        self.consumer.assign(&list)
    }
}
