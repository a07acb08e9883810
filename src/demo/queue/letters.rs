//! Reads the dead letter queue, and enters each letter in the books by its recipient and cause.

use std::sync::mpsc::{self, TryRecvError};
use std::time::{Duration, Instant};

use mailroom_actors::domain::failure::Cause;
use rdkafka::config::ClientConfig;
use rdkafka::consumer::{BaseConsumer, Consumer};
use rdkafka::error::KafkaError;
use rdkafka::{Message, Offset, TopicPartitionList};
use serde::Deserialize;
use tokio::sync::oneshot;

use super::{DLQ_TOPIC, in_background};
use crate::demo::accounts::SharedAccounts;

/// How long one poll waits for a letter, and so how late the stop may be noticed.
const POLL: Duration = Duration::from_millis(100);
/// How long the last letters may take to be read.
const LAST_LETTERS: Duration = Duration::from_secs(1);

/// The running reader. Dropping it stops it.
pub struct LetterReader {
    /// Nothing is ever sent: its drop stops the reading.
    reading: mpsc::Sender<()>,
    ended: oneshot::Receiver<()>,
}

impl LetterReader {
    /// Starts to read from the first letter on.
    ///
    /// # Errors
    /// When there is no client or no thread to be had, in words.
    pub fn start(brokers: &str, accounts: SharedAccounts) -> Result<LetterReader, String> {
        let client = client(brokers).map_err(|error| format!("no reader of dead letters: {error}"))?;
        let (reading, until_stopped) = mpsc::channel();
        let (at_the_end, ended) = oneshot::channel();
        in_background("demo-letters", move || {
            let mut next = 0;
            while until_stopped.try_recv() == Err(TryRecvError::Empty) {
                read_one(&client, &accounts, &mut next);
            }
            let deadline = Instant::now() + LAST_LETTERS;
            // Where the end can't be asked for, the books will show what is missing.
            let end = client.fetch_watermarks(DLQ_TOPIC, 0, LAST_LETTERS).map_or(next, |(_, end)| end);
            while next < end && Instant::now() < deadline {
                read_one(&client, &accounts, &mut next);
            }
            // Nobody may wait for it.
            let _ = at_the_end.send(());
        })?;
        Ok(LetterReader { reading, ended })
    }

    /// Reads on to the present end of the queue and stops, within about 2 s.
    pub async fn finish(self) {
        drop(self.reading);
        // An error is a thread that panicked; the books will show what is missing.
        let _ = self.ended.await;
    }
}

/// Reads by assignment: its group, which librdkafka asks for, is never joined and nothing is committed.
fn client(brokers: &str) -> Result<BaseConsumer, KafkaError> {
    let client: BaseConsumer = ClientConfig::new()
        .set("bootstrap.servers", brokers)
        .set("group.id", "demo-letters")
        .set("fetch.wait.max.ms", "50")
        .set("enable.auto.commit", "false")
        .set("log_level", "3")
        .create()?;
    let mut partitions = TopicPartitionList::new();
    partitions.add_partition_offset(DLQ_TOPIC, 0, Offset::Beginning)?;
    client.assign(&partitions)?;
    Ok(client)
}

/// Waits a moment for a letter and enters it; `next` becomes the offset behind it.
fn read_one(client: &BaseConsumer, accounts: &SharedAccounts, next: &mut i64) {
    match client.poll(POLL) {
        Some(Ok(message)) => {
            *next = message.offset() + 1;
            let (recipient, cause) = read(message.payload().unwrap_or_default());
            accounts.lock().dead_lettered(recipient.as_deref(), cause);
        }
        Some(Err(error)) => tracing::debug!(%error, "reading the dead letters failed for now"),
        None => {}
    }
}

/// What the books need of a dead letter: contract, section 3.
#[derive(Deserialize)]
struct Letter {
    original_message: Original,
    cause: String,
}

#[derive(Deserialize)]
struct Original {
    to: String,
}

/// The recipient and the cause. A letter that can't be read, or has a cause off the contract's list, is for
/// nobody: then the books don't balance.
fn read(value: &[u8]) -> (Option<String>, Cause) {
    let Ok(letter) = serde_json::from_slice::<Letter>(value) else { return (None, Cause::Unknown) };
    match Cause::ALL.into_iter().find(|cause| cause.as_str() == letter.cause) {
        Some(cause) => (Some(letter.original_message.to), cause),
        None => (None, Cause::Unknown),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_letter_is_entered_by_its_recipient_and_cause() {
        for cause in Cause::ALL {
            let letter = format!(
                r#"{{"original_message": {{"to": "a@example.com", "otp": "1"}}, "cause": "{cause}", "smtp_code": null}}"#
            );
            assert_eq!(read(letter.as_bytes()), (Some("a@example.com".into()), cause));
        }
    }

    #[test]
    fn what_is_no_letter_of_ours_is_for_nobody() {
        for value in [
            "",
            "null",
            r#"{"cause": "quota"}"#,
            r#"{"cause": "quota", "original_message": "a@example.com"}"#,
            r#"{"cause": "weather", "original_message": {"to": "a@example.com"}}"#,
        ] {
            assert_eq!(read(value.as_bytes()).0, None, "{value}");
        }
    }
}
