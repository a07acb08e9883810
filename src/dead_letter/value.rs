//! The dead letter's value, field by field: what is written, and what its JSON Schema is generated from.

use std::collections::BTreeMap;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use chrono::{DateTime, Utc};
use mailroom_actors::domain::failure::{Cause, Stage};
use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::ser::{Serialize, SerializeMap, Serializer};
use serde_json::value::RawValue;
use sha2::{Digest, Sha256};

use crate::job::json;

/// The version of the value's form.
pub(super) const SCHEMA: u32 = 1;
/// A value of so many bytes is not worth a stub, which is not smaller.
const SMALLEST_OMITTED: usize = 256;

/// A dead letter: an e-mail that could not be sent, with the reason.
///
/// Written when all recipients of the job are settled. A repeat (a produce time-out, a crash before the commit) has the same
/// source and idempotency_key.
#[derive(serde::Serialize, JsonSchema)]
#[schemars(title = "Mailroom dead letter")]
pub struct Value<'a> {
    /// The job's value, byte for byte as it came when it is JSON (white space around it aside); else a string of the text where
    /// that is no longer than base64; else {"base64": "…"}. null for a null value. Only where the whole would be larger than
    /// the broker takes: {"omitted": true, "bytes": n, "sha256": "…"}.
    #[schemars(with = "serde_json::Value")]
    pub original_message: &'a Original<'a>,
    /// The last failure in words, the server's own reply in it.
    pub error_reason: &'a str,
    /// Attempts spent, those before a crash or rebalance included.
    pub retry_count: u32,
    /// RFC 3339, UTC, microseconds.
    #[schemars(extend("format" = "date-time"))]
    pub failed_at: String,
    /// The worker's worker.id, or its host name.
    pub worker_id: &'a str,
    /// The list only grows.
    #[schemars(schema_with = "causes")]
    pub cause: &'static str,
    /// Where in the life of an e-mail it failed.
    #[schemars(schema_with = "stages")]
    pub stage: &'static str,
    /// As read; null where there was no reply, and for expired.
    #[schemars(range(min = 200, max = 599))]
    pub smtp_code: Option<u16>,
    /// As read, such as 5.1.1.
    #[schemars(regex(pattern = r"^[245]\.[0-9]{1,3}\.[0-9]{1,3}$"))]
    pub enhanced_code: Option<String>,
    /// The bare addresses of the envelope that it did not reach; some of several may have got it. None where the job could not
    /// be read.
    pub recipients: &'a [String],
    /// The job's own.
    pub tags: BTreeMap<&'a String, &'a String>,
    /// Those that the last process made and that were spent, numbered on from before.
    pub attempts: Vec<Attempt<'a>>,
    /// Where the job lies.
    pub source: Source<'a>,
    pub idempotency_key: &'a str,
    /// With angle brackets.
    pub message_id: &'a str,
    /// That of the first of attempts.
    #[schemars(extend("format" = "date-time"))]
    pub first_attempt_at: Option<String>,
    /// How often the job was put back on the queue before.
    pub replay_count: u32,
    /// The version of this form.
    #[schemars(extend("const" = SCHEMA))]
    pub schema: u32,
}

/// One spent attempt.
#[derive(serde::Serialize, JsonSchema)]
pub struct Attempt<'a> {
    /// From 1.
    pub number: u32,
    /// When it began. RFC 3339, UTC, microseconds.
    #[schemars(extend("format" = "date-time"))]
    pub at: String,
    #[schemars(schema_with = "stages")]
    pub stage: &'static str,
    pub error: &'a str,
    /// Milliseconds.
    pub took_ms: u64,
}

impl Attempt<'_> {
    pub(super) fn of(attempt: &mailroom_actors::domain::job::Attempt) -> Attempt<'_> {
        Attempt {
            number: attempt.number,
            at: time(attempt.at),
            stage: attempt.stage.as_str(),
            error: &attempt.error,
            took_ms: attempt.took_ms,
        }
    }
}

/// A record of the main queue.
#[derive(serde::Serialize, JsonSchema)]
pub struct Source<'a> {
    pub topic: &'a str,
    pub partition: i32,
    pub offset: i64,
    /// Milliseconds since the epoch; -1 where the record has none.
    pub timestamp: i64,
}

/// The job's value in the letter's.
pub enum Original<'a> {
    Null,
    /// JSON, byte for byte.
    Json(&'a RawValue),
    /// A JSON string with its quotes and escapes.
    Text(Box<RawValue>),
    Base64(String),
    /// It does not fit: its length in bytes and its SHA-256 in hexadecimal digits.
    Omitted {
        bytes: usize,
        sha256: String,
    },
}

impl<'a> Original<'a> {
    pub(super) fn of(value: Option<&'a [u8]>) -> Original<'a> {
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

    /// What stands for the value where it does not fit; none where the value itself is no larger than that.
    pub(super) fn stub(value: Option<&[u8]>) -> Option<Original<'static>> {
        let bytes = value.filter(|bytes| bytes.len() > SMALLEST_OMITTED)?;
        let sha256 = format!("{:x}", Sha256::digest(bytes));
        Some(Original::Omitted { bytes: bytes.len(), sha256 })
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
            Original::Omitted { bytes, sha256 } => {
                let mut map = serializer.serialize_map(Some(3))?;
                map.serialize_entry("omitted", &true)?;
                map.serialize_entry("bytes", bytes)?;
                map.serialize_entry("sha256", sha256)?;
                map.end()
            }
        }
    }
}

/// RFC 3339, UTC, microseconds.
pub(super) fn time(at: DateTime<Utc>) -> String {
    at.format("%Y-%m-%dT%H:%M:%S%.6fZ").to_string()
}

fn causes(_: &mut SchemaGenerator) -> Schema {
    let names: Vec<&str> = Cause::ALL.iter().map(|cause| cause.as_str()).collect();
    json_schema!({ "type": "string", "enum": names })
}

fn stages(_: &mut SchemaGenerator) -> Schema {
    let names: Vec<&str> = Stage::ALL.iter().map(|stage| stage.as_str()).collect();
    json_schema!({ "type": "string", "enum": names })
}
