//! Reads the dead letter topic, enters each letter in the books by its job, cause and reason, and keeps the last
//! ones to be looked at; reads the main queue for the jobs that were replayed.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::sync::mpsc::{self, TryRecvError};
use std::time::{Duration, Instant};

use mailroom_actors::domain::failure::Cause;
use mailroom_actors::domain::job::{IDEMPOTENCY_KEY, REPLAY_ID};
use rdkafka::config::ClientConfig;
use rdkafka::consumer::{BaseConsumer, Consumer};
use rdkafka::error::KafkaResult;
use rdkafka::message::{BorrowedMessage, Headers};
use rdkafka::{Message, Offset, TopicPartitionList};
use serde::Deserialize;

use super::{DLQ_TOPIC, PARTITIONS, TOPIC};
use crate::demo::accounts::SharedAccounts;
use crate::demo::background::Background;
use crate::demo::letter::{self, LastLetters};
use crate::demo::traffic;

/// How long one poll may wait for a letter, and so how late a stop may be noticed.
const POLL: Duration = Duration::from_millis(100);
/// How long the last letters may take to be read after the stop.
const LAST_LETTERS: Duration = Duration::from_secs(2);

/// The running reader. Dropping it stops it.
pub struct LetterReader {
    /// Dropped to stop.
    reading: mpsc::Sender<()>,
    thread: Background,
}

impl LetterReader {
    /// Starts reading from the first letter on, on a thread of its own.
    ///
    /// # Errors
    /// When there is no client or no thread to be had, in words.
    pub fn start(brokers: &str, accounts: SharedAccounts, last: LastLetters) -> Result<LetterReader, String> {
        let no_reader = |error: rdkafka::error::KafkaError| format!("no reader of dead letters: {error}");
        // Assigning asks for a group by name; it is never joined, and nothing is committed.
        let client: BaseConsumer = ClientConfig::new()
            .set("bootstrap.servers", brokers)
            .set("group.id", "demo-letters")
            .set("fetch.wait.max.ms", "50")
            .set("enable.auto.commit", "false")
            // The mock cluster may have dropped the oldest.
            .set("auto.offset.reset", "earliest")
            .set("log_level", "3")
            .create()
            .map_err(no_reader)?;
        let mut next = Next::from([((DLQ_TOPIC, 0), 0)]);
        assign(&client, &next).map_err(no_reader)?;
        let (reading, until_stopped) = mpsc::channel();
        let thread = Background::start("demo-letters", move || {
            while until_stopped.try_recv() == Err(TryRecvError::Empty) {
                read_one(&client, &accounts, &last, &mut next);
            }
            let deadline = Instant::now() + LAST_LETTERS;
            // When an end can't be asked for, the books will show what is missing.
            let end = |(topic, partition): (&str, i32)| {
                let left = deadline.saturating_duration_since(Instant::now());
                client.fetch_watermarks(topic, partition, left).map_or(0, |(_, high)| high)
            };
            let ends: Next = main_queue().chain([(DLQ_TOPIC, 0)]).map(|place| (place, end(place))).collect();
            let is_behind =
                |next: &Next| ends.iter().any(|(place, end)| next.get(place).is_some_and(|next| next < end));
            while is_behind(&next) && Instant::now() < deadline {
                read_one(&client, &accounts, &last, &mut next);
            }
        })
        .map_err(|error| format!("no thread for the reader of dead letters: {error}"))?;
        Ok(LetterReader { reading, thread })
    }

    /// Reads on to the present end of the topic, stops, and waits for that, at most `limit`. True when it has
    /// ended.
    pub async fn finish(self, limit: Duration) -> bool {
        drop(self.reading);
        self.thread.ended(limit).await
    }
}

/// The offset behind the last one read, by topic and partition.
type Next = BTreeMap<(&'static str, i32), i64>;

fn main_queue() -> impl Iterator<Item = (&'static str, i32)> {
    (0..PARTITIONS).map(|partition| (TOPIC, partition))
}

/// Reads on from there.
fn assign(client: &BaseConsumer, next: &Next) -> KafkaResult<()> {
    let mut partitions = TopicPartitionList::new();
    for ((topic, partition), next) in next {
        partitions.add_partition_offset(topic, *partition, Offset::Offset(*next))?;
    }
    client.assign(&partitions)
}

/// Nothing can be replayed before there is a dead letter: until then the main queue is left to the service.
fn read_the_main_queue_too(client: &BaseConsumer, next: &mut Next) {
    if next.contains_key(&(TOPIC, 0)) {
        return;
    }
    let mut both = next.clone();
    both.extend(main_queue().map(|place| (place, 0)));
    match assign(client, &both) {
        Ok(()) => *next = both,
        // Tried again at the next letter.
        Err(error) => tracing::debug!(%error, "the main queue can't be read for now"),
    }
}

/// Waits a moment for a letter or a replayed job and enters it; its place in `next` becomes the offset behind it.
fn read_one(client: &BaseConsumer, accounts: &SharedAccounts, last: &LastLetters, next: &mut Next) {
    match client.poll(POLL) {
        Some(Ok(message)) => {
            let topic = if message.topic() == TOPIC { TOPIC } else { DLQ_TOPIC };
            next.insert((topic, message.partition()), message.offset() + 1);
            if topic == TOPIC {
                if let Some(number) = replayed_job(&message) {
                    accounts.lock().replayed(number);
                }
                return;
            }
            read_the_main_queue_too(client, next);
            let value = message.payload().unwrap_or_default();
            if let Some(shown) = letter::Letter::read(message.offset(), value) {
                letter::keep(last, shown);
            }
            let letter = read_letter(value);
            accounts.lock().dead_lettered(letter.number, letter.cause, &letter.reason);
        }
        Some(Err(error)) => tracing::debug!(%error, "reading the dead letters failed for now"),
        None => {}
    }
}

/// The number of a job that was put back on the queue, none inside where it is no job of ours; none for a job that comes
/// for the first time.
fn replayed_job(message: &BorrowedMessage<'_>) -> Option<Option<u64>> {
    let headers = message.headers()?;
    headers.iter().find(|header| header.key == REPLAY_ID)?;
    let key =
        headers.iter().filter(|header| header.key == IDEMPOTENCY_KEY).last().and_then(|header| header.value);
    Some(key.and_then(|key| traffic::number_of_key(std::str::from_utf8(key).ok()?)))
}

/// What the books need of a dead letter, as it is written.
#[derive(Deserialize)]
struct Letter<'a> {
    #[serde(borrow)]
    idempotency_key: Cow<'a, str>,
    #[serde(borrow)]
    cause: Cow<'a, str>,
    #[serde(borrow)]
    error_reason: Cow<'a, str>,
}

/// What the books need of a dead letter, as it is understood.
#[derive(Debug, PartialEq, Eq)]
struct Entry {
    number: Option<u64>,
    cause: Cause,
    reason: String,
}

/// A letter that can't be read, or names a cause off the contract's list, is nobody's: the books then do not
/// balance, and say so.
fn read_letter(value: &[u8]) -> Entry {
    let Ok(letter) = serde_json::from_slice::<Letter<'_>>(value) else {
        return Entry { number: None, cause: Cause::Malformed, reason: String::new() };
    };
    let cause: Option<Cause> = letter.cause.parse().ok();
    Entry {
        number: cause.and_then(|_| traffic::number_of_key(&letter.idempotency_key)),
        cause: cause.unwrap_or(Cause::Unknown),
        reason: letter.error_reason.into_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_letter_is_entered_under_its_job_and_cause() {
        for cause in Cause::ALL {
            let letter = format!(
                r#"{{"original_message": {{"a": [1]}}, "cause": "{cause}", "idempotency_key": "demo-7",
                     "error_reason": "550 \u004eo \"such\" user", "smtp_code": null}}"#
            );
            let entry = Entry { number: Some(7), cause, reason: "550 No \"such\" user".into() };
            assert_eq!(read_letter(letter.as_bytes()), entry);
        }
    }

    #[test]
    fn what_is_no_letter_of_ours_belongs_to_no_job() {
        for value in [
            "",
            "null",
            "{",
            r#"{"cause": "quota"}"#,
            r#"{"cause": "quota", "error_reason": "", "idempotency_key": "email-queue-0-7"}"#,
            r#"{"cause": "weather", "error_reason": "", "idempotency_key": "demo-7"}"#,
        ] {
            assert_eq!(read_letter(value.as_bytes()).number, None, "{value}");
        }
    }
}
