//! What must hold of any bytes that lie on the queue, asserted: for the fuzzers in `fuzz/` and for property tests.

mod read_back;
#[cfg(test)]
mod tests;
mod wire;

use std::collections::HashSet;
use std::path::Path;
use std::sync::{Arc, LazyLock};

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use chrono::{DateTime, Utc};
use mailroom_actors::domain::failure::{Cause, Failure, Stage};
use mailroom_actors::domain::job::{DeadLetter, RecipientSet, Record};
use mailroom_actors::ports::{BodyType, Composer, Email};
use serde_json::Value;

use crate::compose::MailComposer;
use crate::job::{self, Identity, Job, MAX_RECIPIENTS};
use crate::templates::TemplateStore;
use crate::{config, dead_letter};

pub use wire::assert_fit_for_the_wire;

/// `limits.message_bytes`: small enough that what is found can be over it.
pub const MESSAGE_BYTES: usize = 64 << 10;
/// A reason's longest: it stands whole in a header of the dead letter.
const MAX_REASON_BYTES: usize = 1024;
/// What any dead letter can be made to fit in.
const SMALL_RECORD: usize = 8 << 10;

/// The worker's own, with the templates of `fuzz/templates`.
static COMPOSER: LazyLock<MailComposer> = LazyLock::new(|| {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("fuzz/templates");
    let templates = TemplateStore::load(Some(&folder)).expect("the templates there can be read");
    let from = "The Shop <noreply@shop.example>";
    MailComposer::new(from, MESSAGE_BYTES, config::Email::default(), Arc::new(templates))
        .expect("the sender is an address")
});

/// Reads `value` as the worker reads a record's. Returns the dead letter's value where it is no job.
///
/// # Panics
/// When it is neither a job within all limits nor a failure that explains itself, or when what is read of the same
/// bytes elsewhere (identity, tags, expiry) differs.
pub fn decode(value: &[u8]) -> Option<Vec<u8>> {
    let record = record(value);
    let identity = Identity::of(&record, COMPOSER.default_from());
    assert_eq!(job::tags(value), identity.tags);
    let decoded = job::decode(&record, MESSAGE_BYTES);
    let expiry = COMPOSER.expiry(&record, DateTime::UNIX_EPOCH);
    COMPOSER.tags(&record);
    match decoded {
        Ok(job) => {
            assert_within_limits(&job);
            let from = job.from.as_ref().unwrap_or(COMPOSER.default_from());
            assert_eq!(identity.idempotency_key, *job.idempotency_key);
            assert_eq!(identity.message_id, job::message_id(&job.idempotency_key, from));
            assert_eq!(identity.tags.len(), job.tags.len());
            assert_eq!(job::expires_at(value), job.expires_at);
            assert_eq!(expiry.is_some(), job.expires_at.is_some());
            None
        }
        Err(failure) => {
            assert_explained(&failure);
            assert_eq!(failure.stage, Stage::Decode);
            match failure.cause {
                Cause::TooLarge => assert!(value.len() > MESSAGE_BYTES),
                cause => assert!(matches!(cause, Cause::Malformed | Cause::Invalid), "{cause}"),
            }
            Some(assert_has_a_dead_letter(record, failure))
        }
    }
}

/// Makes the e-mail that `value` asks for, for a relay with 8BITMIME and for one without. Returns both; none where it
/// makes none.
///
/// # Panics
/// When what comes out is not fit for the wire, is read otherwise than the job says, or is a failure that does not
/// explain itself.
pub fn compose(value: &[u8]) -> Vec<Email> {
    let record = record(value);
    let decoded = job::decode(&record, MESSAGE_BYTES);
    let composed = [BodyType::SevenBit, BodyType::EightBitMime].map(|body_type| {
        let made = COMPOSER.compose(&record, body_type);
        match (&decoded, &made) {
            (Ok(job), Ok(email)) => assert_made_of(job, email, body_type),
            (Ok(_), Err(failure)) => {
                assert_explained(failure);
                let is_of_the_subject =
                    failure.cause == Cause::Invalid && failure.reason.starts_with("template ");
                let is_of_the_message = matches!(failure.cause, Cause::Render | Cause::TooLarge)
                    && failure.stage == Stage::Render;
                assert!(is_of_the_subject || is_of_the_message, "{}", failure.reason);
            }
            (Err(why), Err(failure)) => assert_eq!(why.reason, failure.reason),
            (Err(why), Ok(_)) => panic!("an e-mail of what is no job: {}", why.reason),
        }
        made.ok()
    });
    if let [Some(seven), Some(eight)] = &composed {
        assert_eq!(seven.depends_on_body_type, eight.depends_on_body_type);
        assert_eq!(eight.body_type == BodyType::EightBitMime, eight.depends_on_body_type);
    }
    composed.into_iter().flatten().collect()
}

fn record(value: &[u8]) -> Record {
    Record {
        topic: Arc::from("email-queue"),
        partition: 3,
        offset: 42,
        timestamp_ms: None,
        key: Some(Bytes::from_static(b"key")),
        value: Some(Bytes::copy_from_slice(value)),
        headers: Vec::new(),
    }
}

fn has_control(text: &str) -> bool {
    text.chars().any(|c| c.is_control() || c == '\u{2028}' || c == '\u{2029}')
}

/// What section 2 of the contract promises of a job that is taken.
fn assert_within_limits(job: &Job<'_>) {
    let addresses: Vec<_> = job.recipients().collect();
    assert!((1..=MAX_RECIPIENTS).contains(&addresses.len()));
    let distinct: HashSet<_> =
        addresses.iter().map(|of| (of.local(), of.domain().to_ascii_lowercase())).collect();
    assert_eq!(distinct.len(), addresses.len(), "each is sent to once");
    let all = job.to.iter().chain(&job.cc).chain(&job.bcc).chain(&job.from).chain(&job.reply_to);
    for mailbox in all {
        let (name, address) = (mailbox.name.as_deref().unwrap_or("x"), &mailbox.address);
        assert!(!has_control(name) && !name.is_empty() && name.trim() == name, "{name:?}");
        assert!(!has_control(address.as_str()) && address.as_str().len() <= 254, "{address:?}");
        assert!(address.domain().is_ascii(), "{address:?}");
    }
    if let Some(subject) = &job.subject {
        assert!(!has_control(subject) && subject.len() <= 998, "{subject:?}");
    }
    for file in &job.attachments {
        assert!(!has_control(&file.filename) && !file.filename.contains(['/', '\\']), "{:?}", file.filename);
        assert!(STANDARD.decode(&*file.content).is_ok());
        assert!(file.content_id.as_ref().is_none_or(|id| id.bytes().all(|byte| byte.is_ascii_graphic())));
    }
    assert!(job.headers.len() <= 50);
    for header in &job.headers {
        assert!(!has_control(&header.value) && header.name.bytes().all(|byte| byte.is_ascii_graphic()));
    }
    assert!(job.tags.len() <= 10 && job.tags.iter().all(|(name, tag)| name.len() <= 64 && tag.len() <= 64));
    assert!((1..=256).contains(&job.idempotency_key.len()));
    assert!(job.template.is_none() || job.otp.is_none());
}

/// A cause for people and programs, and a reason that can be logged, put into a header and read.
fn assert_explained(failure: &Failure) {
    let reason = &failure.reason;
    assert!(Cause::ALL.contains(&failure.cause) && !failure.spends_attempt);
    assert!(!reason.is_empty() && !has_control(reason), "{reason:?}");
    assert!(reason.len() <= MAX_REASON_BYTES, "{} bytes: {reason}", reason.len());
}

/// Its dead letter is JSON with the bytes as they came; and it can be made small.
fn assert_has_a_dead_letter(record: Record, failure: Failure) -> Vec<u8> {
    let settings = dead_letter::Settings {
        worker_id: "fuzzer".into(),
        consumer_group: "fuzzers".into(),
        default_from: COMPOSER.default_from().clone(),
    };
    let letter = DeadLetter {
        record: Arc::new(record),
        failure,
        attempts_spent: 0,
        attempts: Vec::new(),
        served: RecipientSet::default(),
        failed_at: Utc::now(),
    };
    let small = dead_letter::encode(&letter, &settings, SMALL_RECORD);
    assert!(small.size() <= SMALL_RECORD, "{}", small.size());
    let written = dead_letter::encode(&letter, &settings, usize::MAX).value;
    let value = letter.record.value.as_deref().unwrap_or_default();
    if job::json::read(value).is_ok() {
        let text = std::str::from_utf8(value.trim_ascii()).expect("JSON is UTF-8");
        assert!(memchr::memmem::find(&written, text.as_bytes()).is_some(), "byte for byte");
        return written;
    }
    let parsed: Value = serde_json::from_slice(&written).expect("a dead letter is JSON");
    let restored = match &parsed["original_message"] {
        Value::String(text) => text.as_bytes().to_vec(),
        other => STANDARD.decode(other["base64"].as_str().expect("it is text")).expect("it is base64"),
    };
    assert_eq!(restored, value, "byte for byte");
    written
}

fn assert_made_of(job: &Job<'_>, email: &Email, body_type: BodyType) {
    assert!(email.data.len() <= MESSAGE_BYTES);
    assert!(body_type == BodyType::EightBitMime || email.body_type == BodyType::SevenBit);
    assert_fit_for_the_wire(email);
    let from = job.from.as_ref().unwrap_or(COMPOSER.default_from());
    assert_eq!(email.sender, from.address.as_str());
    assert!(email.recipients.iter().map(String::as_str).eq(job.recipients().map(|address| address.as_str())));
    assert_eq!(email.message_id, job::message_id(&job.idempotency_key, from));
    read_back::assert_reads_as(email, job, from);
}
