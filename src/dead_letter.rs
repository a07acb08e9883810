//! The dead letter as it lies on the dead letter queue: key, JSON value and headers (contract, section 3).

use std::collections::BTreeMap;
use std::panic::{AssertUnwindSafe, catch_unwind};

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use chrono::{DateTime, Utc};
use mailroom_actors::domain::failure::{Cause, Stage};
use mailroom_actors::domain::job::{DeadLetter, Record};
use serde::ser::{Serialize, SerializeMap, Serializer};
use serde_json::value::RawValue;

use crate::job::{self, Address, Identity, Mailbox, json};
use crate::kafka::EncodedLetter;

/// The version of the value's form.
const SCHEMA: u32 = 1;
/// The longest text in a header, in bytes.
const MAX_HEADER_TEXT: usize = 1024;
/// Kafka's own number for "no timestamp".
const NO_TIMESTAMP: i64 = -1;
const REPLAY_COUNT: &str = "mailroom-replay-count";

/// What a dead letter says of the worker that wrote it.
#[derive(Clone, Debug)]
pub struct Settings {
    /// `worker.id`.
    pub worker_id: String,
    /// `kafka.group`.
    pub consumer_group: String,
    /// `smtp.from`: gives the Message-ID's domain where the job can't be read, or has no `from`.
    pub default_from: Mailbox,
}

/// The record for `letter`, the same however often it is asked for.
pub fn encode(letter: &DeadLetter, settings: &Settings) -> EncodedLetter {
    let record = &*letter.record;
    // What crashed on the way to the relay may crash here as well, and must not block the queue.
    let read = || (Identity::of(record, &settings.default_from), recipients(letter));
    let (identity, recipients) = catch_unwind(AssertUnwindSafe(read)).unwrap_or_else(|_| {
        let nothing = Record { value: None, ..record.clone() };
        (Identity::of(&nothing, &settings.default_from), Vec::new())
    });
    let value = Value {
        original_message: Original::of(record.value.as_deref()),
        error_reason: &letter.failure.reason,
        retry_count: letter.attempts_spent,
        failed_at: time(letter.failed_at),
        worker_id: &settings.worker_id,
        cause: letter.failure.cause.as_str(),
        stage: letter.failure.stage.as_str(),
        smtp_code: letter.failure.code,
        enhanced_code: letter.failure.enhanced.map(|code| code.to_string()),
        recipients,
        tags: identity.tags,
        attempts: letter.attempts.iter().map(Attempt::of).collect(),
        source: Source {
            topic: &record.topic,
            partition: record.partition,
            offset: record.offset,
            timestamp: record.timestamp_ms.unwrap_or(NO_TIMESTAMP),
        },
        idempotency_key: identity.idempotency_key,
        message_id: identity.message_id,
        first_attempt_at: letter.attempts.first().map(|attempt| time(attempt.at)),
        replay_count: replay_count(record),
        schema: SCHEMA,
    };
    EncodedLetter {
        key: record.key.clone(),
        value: serde_json::to_vec(&value).expect("strings and numbers always make JSON"),
        headers: headers(letter, settings),
        timestamp_ms: letter.failed_at.timestamp_millis(),
    }
}

#[derive(serde::Serialize)]
struct Value<'a> {
    original_message: Original<'a>,
    error_reason: &'a str,
    retry_count: u32,
    failed_at: String,
    worker_id: &'a str,
    cause: &'static str,
    stage: &'static str,
    smtp_code: Option<u16>,
    enhanced_code: Option<String>,
    recipients: Vec<String>,
    tags: BTreeMap<String, String>,
    attempts: Vec<Attempt<'a>>,
    source: Source<'a>,
    idempotency_key: String,
    message_id: String,
    first_attempt_at: Option<String>,
    replay_count: u32,
    schema: u32,
}

#[derive(serde::Serialize)]
struct Attempt<'a> {
    number: u32,
    at: String,
    stage: &'static str,
    error: &'a str,
    took_ms: u64,
}

impl Attempt<'_> {
    fn of(attempt: &mailroom_actors::domain::job::Attempt) -> Attempt<'_> {
        Attempt {
            number: attempt.number,
            at: time(attempt.at),
            stage: attempt.stage.as_str(),
            error: &attempt.error,
            took_ms: attempt.took_ms,
        }
    }
}

#[derive(serde::Serialize)]
struct Source<'a> {
    topic: &'a str,
    partition: i32,
    offset: i64,
    timestamp: i64,
}

/// The job's value in the letter's.
enum Original<'a> {
    Null,
    /// JSON, byte for byte.
    Json(&'a RawValue),
    /// A JSON string with its quotes and escapes.
    Text(Box<RawValue>),
    Base64(String),
}

impl<'a> Original<'a> {
    fn of(value: Option<&'a [u8]>) -> Original<'a> {
        let Some(bytes) = value else { return Original::Null };
        if let Ok(json) = json::read(bytes) {
            return Original::Json(json);
        }
        let base64_len = r#"{"base64":""}"#.len() + bytes.len().div_ceil(3) * 4;
        let text =
            std::str::from_utf8(bytes).ok().and_then(|text| serde_json::value::to_raw_value(text).ok());
        match text {
            Some(text) if text.get().len() <= base64_len => Original::Text(text),
            _ => Original::Base64(STANDARD.encode(bytes)),
        }
    }
}

impl Serialize for Original<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self {
            Original::Null => serializer.serialize_unit(),
            Original::Json(json) => json.serialize(serializer),
            Original::Text(text) => text.serialize(serializer),
            Original::Base64(base64) => {
                let mut map = serializer.serialize_map(Some(1))?;
                map.serialize_entry("base64", base64)?;
                map.end()
            }
        }
    }
}

/// The envelope's addresses that were not served; none of a record that is no e-mail.
fn recipients(letter: &DeadLetter) -> Vec<String> {
    let failure = &letter.failure;
    let no_job = matches!(failure.cause, Cause::Malformed | Cause::Invalid)
        || (failure.cause == Cause::TooLarge && failure.stage == Stage::Decode);
    if no_job {
        return Vec::new();
    }
    let Ok(job) = job::decode(&letter.record, usize::MAX) else { return Vec::new() };
    let unserved = job.recipients().enumerate().filter(|(index, _)| !letter.served.contains(*index));
    unserved.map(|(_, address)| Address::as_str(address).to_owned()).collect()
}

/// RFC 3339, UTC, microseconds.
fn time(at: DateTime<Utc>) -> String {
    at.format("%Y-%m-%dT%H:%M:%S%.6fZ").to_string()
}

/// How often the job was replayed before, as its last header of that name says; 0 where none says it.
fn replay_count(record: &Record) -> u32 {
    let mut values = record.headers.iter().rev().filter(|(name, _)| name == REPLAY_COUNT);
    let value = values.next().and_then(|(_, value)| std::str::from_utf8(value.as_deref()?).ok());
    value.and_then(|count| count.parse().ok()).unwrap_or(0)
}

fn headers(letter: &DeadLetter, settings: &Settings) -> Vec<(String, Option<Vec<u8>>)> {
    let record = &letter.record;
    let text = |text: &str| capped(text).as_bytes().to_vec();
    let ours = [
        ("kafka_dlt-original-topic", text(&record.topic)),
        ("kafka_dlt-original-partition", record.partition.to_be_bytes().to_vec()),
        ("kafka_dlt-original-offset", record.offset.to_be_bytes().to_vec()),
        ("kafka_dlt-original-timestamp", record.timestamp_ms.unwrap_or(NO_TIMESTAMP).to_be_bytes().to_vec()),
        ("kafka_dlt-original-consumer-group", text(&settings.consumer_group)),
        ("kafka_dlt-exception-fqcn", text(&format!("mailroom.{}", letter.failure.cause.as_str()))),
        ("kafka_dlt-exception-message", text(&letter.failure.reason)),
    ];
    let own = record.headers.iter().filter(|(name, _)| ours.iter().all(|(ours, _)| ours != name));
    let own = own.map(|(name, value)| (name.clone(), value.as_ref().map(|value| value.to_vec())));
    let mut headers: Vec<_> = own.collect();
    headers.extend(ours.into_iter().map(|(name, value)| (name.to_owned(), Some(value))));
    headers
}

/// At most 1 KiB of the text, cut between characters.
fn capped(text: &str) -> &str {
    let mut end = text.len().min(MAX_HEADER_TEXT);
    while !text.is_char_boundary(end) {
        end -= 1;
    }
    &text[..end]
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests;
