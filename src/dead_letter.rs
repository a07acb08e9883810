//! The dead letter as it lies on the dead letter queue: key, JSON value and headers (contract, section 3).

mod value;

use std::collections::BTreeMap;
use std::panic::{AssertUnwindSafe, catch_unwind};

use mailroom_actors::domain::failure::{Cause, Stage};
use mailroom_actors::domain::job::{DeadLetter, REPLAY_COUNT, Record};
use serde::Serialize;

use crate::job::{self, Address, Identity, Mailbox};
use crate::kafka::EncodedLetter;
pub use value::Value;
use value::{Attempt, Original, SCHEMA, Source, time};

/// The longest text in a header, in bytes.
const MAX_HEADER_TEXT: usize = 1024;
/// Kafka's own number for "no timestamp".
const NO_TIMESTAMP: i64 = -1;
const TRACEPARENT: &str = "traceparent";

/// Spring Kafka's.
const OURS: [&str; 7] = [
    "kafka_dlt-original-topic",
    "kafka_dlt-original-partition",
    "kafka_dlt-original-offset",
    "kafka_dlt-original-timestamp",
    "kafka_dlt-original-consumer-group",
    "kafka_dlt-exception-fqcn",
    "kafka_dlt-exception-message",
];

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

/// The record for `letter` in at most `limit` bytes ([`EncodedLetter::size`]), or as small as it can be; the
/// same however often it is asked for. What goes first is what is said elsewhere too, and what goes last is
/// what the letter is for:
///
/// 1. the job's own headers, from the largest on (a `traceparent` of the usual size stays);
/// 2. `attempts` but the newest, and the ends of long texts;
/// 3. the job's value: `original_message` becomes the `omitted` stub;
/// 4. the key; then `tags`, and of `recipients` those that do not fit.
pub fn encode(letter: &DeadLetter, settings: &Settings, limit: usize) -> EncodedLetter {
    let parts = Parts::of(letter, settings);
    let whole = Form { headers: parts.own_headers.clone(), ..Form::default() };
    let mut encoded = parts.encode(&whole);
    encoded.lean_size = encoded.size() - parts.dispensable(&whole);
    if encoded.size() <= limit {
        return encoded;
    }
    let lean_size = encoded.lean_size;
    let mut form = whole;
    parts.drop_headers(&mut form, encoded.size() - limit);
    for shrink in [Form::shorten, Form::omit, Form::leave_out_the_key, Form::leave_out_tags] {
        encoded = parts.encode(&form);
        if encoded.size() <= limit {
            break;
        }
        shrink(&mut form);
    }
    if encoded.size() > limit {
        encoded = parts.encode(&form);
    }
    while encoded.size() > limit && form.recipients > 0 {
        let bytes = encoded.size() - limit;
        form.recipients = parts.fewer_recipients(form.recipients, bytes);
        encoded = parts.encode(&form);
    }
    EncodedLetter { lean_size, ..encoded }
}

type Header = (String, Option<Vec<u8>>);

/// What a letter says in full.
struct Parts<'a> {
    letter: &'a DeadLetter,
    settings: &'a Settings,
    identity: Identity,
    recipients: Vec<String>,
    original: Original<'a>,
    own_headers: Vec<Header>,
}

/// How much of it is said.
#[derive(Clone, Debug)]
struct Form {
    headers: Vec<Header>,
    short: bool,
    omitted: bool,
    key: bool,
    tags: bool,
    recipients: usize,
}

impl Default for Form {
    fn default() -> Form {
        Form { headers: vec![], short: false, omitted: false, key: true, tags: true, recipients: usize::MAX }
    }
}

impl Form {
    fn shorten(&mut self) {
        self.short = true;
    }

    fn omit(&mut self) {
        self.omitted = true;
    }

    fn leave_out_the_key(&mut self) {
        self.key = false;
    }

    fn leave_out_tags(&mut self) {
        self.tags = false;
    }
}

impl<'a> Parts<'a> {
    fn of(letter: &'a DeadLetter, settings: &'a Settings) -> Parts<'a> {
        let record = &*letter.record;
        // What crashed on the way to the relay may crash here as well, and must not block the queue.
        let read = || (Identity::of(record, &settings.default_from), recipients(letter));
        let (identity, recipients) = catch_unwind(AssertUnwindSafe(read)).unwrap_or_else(|_| {
            let nothing = Record { value: None, ..record.clone() };
            (Identity::of(&nothing, &settings.default_from), Vec::new())
        });
        let original = Original::of(record.value.as_deref());
        Parts { letter, settings, identity, recipients, original, own_headers: own_headers(record) }
    }

    fn encode(&self, form: &Form) -> EncodedLetter {
        let Parts { letter, settings, identity, .. } = self;
        let record = &*letter.record;
        let stub = form.omitted.then(|| Original::stub(record.value.as_deref())).flatten();
        let value = Value {
            original_message: stub.as_ref().unwrap_or(&self.original),
            error_reason: self.reason(form),
            retry_count: letter.attempts_spent,
            failed_at: time(letter.failed_at),
            worker_id: &settings.worker_id,
            cause: letter.failure.cause.as_str(),
            stage: letter.failure.stage.as_str(),
            smtp_code: letter.failure.code,
            enhanced_code: letter.failure.enhanced.map(|code| code.to_string()),
            recipients: &self.recipients[..self.recipients.len().min(form.recipients)],
            tags: if form.tags { identity.tags.iter().collect() } else { BTreeMap::new() },
            attempts: self.attempts(form),
            source: Source {
                topic: &record.topic,
                partition: record.partition,
                offset: record.offset,
                timestamp: record.timestamp_ms.unwrap_or(NO_TIMESTAMP),
            },
            idempotency_key: &identity.idempotency_key,
            message_id: &identity.message_id,
            first_attempt_at: letter.attempts.first().map(|attempt| time(attempt.at)),
            replay_count: replay_count(record),
            schema: SCHEMA,
        };
        let mut headers = form.headers.clone();
        headers.extend(our_headers(letter, settings));
        EncodedLetter {
            key: record.key.clone().filter(|_| form.key),
            value: serde_json::to_vec(&value).expect("strings and numbers always make JSON"),
            headers,
            timestamp_ms: letter.failed_at.timestamp_millis(),
            lean_size: 0,
        }
    }

    fn reason(&self, form: &Form) -> &'a str {
        let reason = &self.letter.failure.reason;
        if form.short { capped(reason) } else { reason }
    }

    fn attempts(&self, form: &Form) -> Vec<Attempt<'a>> {
        let attempts = &self.letter.attempts;
        let first = if form.short { attempts.len().saturating_sub(1) } else { 0 };
        let mut attempts: Vec<_> = attempts[first..].iter().map(Attempt::of).collect();
        if form.short {
            attempts.iter_mut().for_each(|attempt| attempt.error = capped(attempt.error));
        }
        attempts
    }

    /// How many bytes fewer it would be without the job's own headers and with a short history.
    fn dispensable(&self, form: &Form) -> usize {
        let history = |form: &Form| json_size(&(self.reason(form), self.attempts(form)));
        let short = Form { short: true, ..Form::default() };
        let headers: usize = form.headers.iter().filter(|header| !is_kept(header)).map(header_size).sum();
        headers + history(form) - history(&short)
    }

    /// The largest first, until `bytes` are saved or none is left.
    fn drop_headers(&self, form: &mut Form, bytes: usize) {
        let mut saved = 0;
        let mut by_size: Vec<usize> =
            (0..form.headers.len()).filter(|&index| !is_kept(&form.headers[index])).collect();
        by_size.sort_by_key(|&index| std::cmp::Reverse(header_size(&form.headers[index])));
        let mut dropped = vec![false; form.headers.len()];
        for index in by_size {
            if saved >= bytes {
                break;
            }
            dropped[index] = true;
            saved += header_size(&form.headers[index]);
        }
        let mut dropped = dropped.into_iter();
        form.headers.retain(|_| !dropped.next().unwrap_or(false));
    }

    /// How many of the first `count` recipients are left once `bytes` are saved.
    fn fewer_recipients(&self, count: usize, bytes: usize) -> usize {
        let mut left = count.min(self.recipients.len());
        let mut saved = 0;
        while left > 0 && saved < bytes {
            left -= 1;
            saved += json_size(&self.recipients[left]) + 1;
        }
        left
    }
}

fn json_size(value: &impl Serialize) -> usize {
    serde_json::to_vec(value).map_or(0, |json| json.len())
}

fn header_size((name, value): &Header) -> usize {
    name.len() + value.as_ref().map_or(0, Vec::len)
}

/// A trace goes on behind the dead letter; what calls itself one and is far larger is none.
fn is_kept(header: &Header) -> bool {
    header.0 == TRACEPARENT && header_size(header) <= MAX_HEADER_TEXT
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

/// How often the job was replayed before, as its last header of that name says; 0 where none says it.
fn replay_count(record: &Record) -> u32 {
    let mut values = record.headers.iter().rev().filter(|(name, _)| name == REPLAY_COUNT);
    let value = values.next().and_then(|(_, value)| std::str::from_utf8(value.as_deref()?).ok());
    value.and_then(|count| count.parse().ok()).unwrap_or(0)
}

/// The job's, but for those that the letter says anew.
fn own_headers(record: &Record) -> Vec<Header> {
    let own = record.headers.iter().filter(|(name, _)| !OURS.contains(&name.as_str()));
    own.map(|(name, value)| (name.clone(), value.as_ref().map(|value| value.to_vec()))).collect()
}

fn our_headers(letter: &DeadLetter, settings: &Settings) -> impl Iterator<Item = Header> {
    let record = &letter.record;
    let text = |text: &str| capped(text).as_bytes().to_vec();
    let values = [
        text(&record.topic),
        record.partition.to_be_bytes().to_vec(),
        record.offset.to_be_bytes().to_vec(),
        record.timestamp_ms.unwrap_or(NO_TIMESTAMP).to_be_bytes().to_vec(),
        text(&settings.consumer_group),
        text(&format!("mailroom.{}", letter.failure.cause.as_str())),
        text(&letter.failure.reason),
    ];
    OURS.iter().zip(values).map(|(name, value)| ((*name).to_owned(), Some(value)))
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
