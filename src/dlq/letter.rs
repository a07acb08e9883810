//! A letter as it lies on the queue, read: Mailroom's own, the original guide's worker's, or bytes that are none.

use std::borrow::Cow;
use std::fmt;

use chrono::DateTime;
use mailroom_actors::domain::failure::{Cause, Stage};
pub use mailroom_actors::domain::job::REPLAY_ID;
use mailroom_actors::domain::letters::alike::alike;
use mailroom_actors::domain::letters::name::LetterName;
use mailroom_actors::domain::letters::row::{self, Summary};
use serde::Deserialize;
use serde::de::{Deserializer, IgnoredAny, MapAccess, Visitor};
use serde_json::value::RawValue;

use super::original;

/// What is read of a letter's value; borrowed from its bytes. Whatever is missing is empty: the guide's own worker wrote
/// five fields.
#[derive(Deserialize)]
pub struct Letter<'a> {
    #[serde(borrow)]
    pub original_message: &'a RawValue,
    #[serde(borrow, default)]
    pub error_reason: Cow<'a, str>,
    /// Whatever it is, the letter can be read.
    #[serde(borrow, default)]
    failed_at: Option<&'a RawValue>,
    #[serde(borrow, default)]
    pub cause: Option<Cow<'a, str>>,
    #[serde(borrow, default)]
    pub stage: Option<Cow<'a, str>>,
    #[serde(default)]
    pub smtp_code: Option<u16>,
    #[serde(borrow, default)]
    pub recipients: Vec<Text<'a>>,
    #[serde(borrow, default)]
    pub tags: Tags<'a>,
    #[serde(borrow, default)]
    pub source: Option<Source<'a>>,
    #[serde(borrow, default)]
    pub idempotency_key: Cow<'a, str>,
    #[serde(default)]
    pub replay_count: u32,
}

#[derive(Deserialize)]
pub struct Source<'a> {
    #[serde(borrow)]
    pub topic: Cow<'a, str>,
    pub partition: i32,
    pub offset: i64,
    #[serde(default)]
    pub timestamp: i64,
}

/// A string, borrowed where it has no escapes.
#[derive(Deserialize)]
pub struct Text<'a>(#[serde(borrow)] pub Cow<'a, str>);

/// The members of an object whose values are strings.
#[derive(Default)]
pub struct Tags<'a>(pub Vec<(Cow<'a, str>, Cow<'a, str>)>);

impl<'de: 'a, 'a> Deserialize<'de> for Tags<'a> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Tags<'a>, D::Error> {
        struct Members;
        impl<'de> Visitor<'de> for Members {
            type Value = Tags<'de>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an object of strings")
            }

            fn visit_map<M: MapAccess<'de>>(self, mut map: M) -> Result<Tags<'de>, M::Error> {
                let mut tags = Vec::new();
                while let Some((Text(name), Text(value))) = map.next_entry()? {
                    tags.push((name, value));
                }
                Ok(Tags(tags))
            }
        }
        deserializer.deserialize_map(Members)
    }
}

/// What is asked of the job itself.
#[derive(Default, Deserialize)]
struct Job<'a> {
    #[serde(borrow, default)]
    template: Option<Cow<'a, str>>,
    #[serde(default)]
    otp: Option<IgnoredAny>,
    #[serde(borrow, default)]
    expires_at: Option<Cow<'a, str>>,
}

impl<'a> Letter<'a> {
    /// None where the bytes are no dead letter.
    pub fn read(value: &'a [u8]) -> Option<Letter<'a>> {
        // serde would take an array for the object as well.
        let is_object = value.trim_ascii_start().first() == Some(&b'{');
        let letter = match std::str::from_utf8(value) {
            Ok(text) => serde_json::from_str(text),
            // Perhaps in what is not asked for.
            Err(_) => serde_json::from_slice(value),
        };
        letter.ok().filter(|_| is_object)
    }

    /// A cause that this version does not know, or none, is `unknown`.
    pub fn cause(&self) -> Cause {
        self.cause.as_deref().and_then(|name| name.parse().ok()).unwrap_or(Cause::Unknown)
    }

    pub fn stage(&self) -> Option<Stage> {
        self.stage.as_deref().and_then(|name| name.parse().ok())
    }

    /// Milliseconds since the epoch; the guide's own worker names no time zone, which says nothing.
    fn failed_at_ms(&self) -> Option<i64> {
        let at = self.failed_at?.get().trim_matches('"');
        let at = DateTime::parse_from_rfc3339(at).ok()?;
        Some(at.timestamp_millis())
    }

    fn job(&self) -> Job<'_> {
        let json = self.original_message.get();
        if json.starts_with('{') { serde_json::from_str(json).unwrap_or_default() } else { Job::default() }
    }
}

/// Gives `take` the summary of the letter whose value that is; of bytes that are no letter one that says so.
pub fn summarise<T>(value: &[u8], timestamp_ms: i64, take: impl FnOnce(&Summary<'_>) -> T) -> T {
    let Some(letter) = Letter::read(value) else {
        return take(&Summary { timestamp_ms, ..Summary::default() });
    };
    let job = letter.job();
    let template = match (&job.template, job.otp) {
        (Some(template), _) => template,
        (None, Some(IgnoredAny)) => "otp",
        (None, None) => "",
    };
    let expires_at = job.expires_at.as_deref().and_then(|at| DateTime::parse_from_rfc3339(at).ok());
    take(&Summary {
        timestamp_ms,
        failed_at_ms: letter.failed_at_ms(),
        cause: Some(letter.cause()),
        stage: letter.stage(),
        code: letter.smtp_code,
        reason: alike(&letter.error_reason),
        template,
        tags: letter.tags.0.iter().map(|(name, value)| (&**name, &**value)).collect(),
        recipients: letter.recipients.iter().map(|address| &*address.0).collect(),
        idempotency_key: &letter.idempotency_key,
        replay_count: letter.replay_count,
        expires_at_ms: expires_at.map(|at| at.timestamp_millis()),
        has_original: !original::is_stub(letter.original_message.get()),
        source: letter.source.as_ref().map(Source::borrowed),
    })
}

impl Source<'_> {
    fn borrowed(&self) -> row::Source<'_> {
        row::Source {
            topic: &self.topic,
            partition: self.partition,
            offset: self.offset,
            timestamp_ms: self.timestamp,
        }
    }
}

/// The letter that a job was replayed from, by its headers.
pub fn replayed_from<'a>(headers: impl Iterator<Item = (&'a str, Option<&'a [u8]>)>) -> Option<LetterName> {
    let named = headers.filter(|(name, _)| *name == REPLAY_ID).last();
    named.and_then(|(_, value)| named_by(value?))
}

/// The letter that the value of a [`REPLAY_ID`] names.
pub fn named_by(value: &[u8]) -> Option<LetterName> {
    std::str::from_utf8(value).ok()?.parse().ok()
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn a_letter_of_ours_is_summarised() {
        let value = br#"{"original_message":{"to":"ada@example.com","template":"wel\u0063ome","expires_at":"2026-11-24T00:00:00Z"},
            "error_reason":"550 5.1.1 <ada@example.com> no","retry_count":1,"failed_at":"2026-11-24T00:00:00.000000Z",
            "worker_id":"w","cause":"invalid_recipient","stage":"rcpt","smtp_code":550,"enhanced_code":"5.1.1",
            "recipients":["ada@example.com"],"tags":{"team":"a\"b"},"attempts":[{"number":1}],
            "source":{"topic":"email-queue","partition":2,"offset":7,"timestamp":1},"idempotency_key":"k",
            "message_id":"<m@x>","first_attempt_at":null,"replay_count":2,"schema":1,"more":[1]}"#;
        summarise(value, 5, |summary| {
            let expected = Summary {
                timestamp_ms: 5,
                failed_at_ms: Some(1_795_478_400_000),
                cause: Some(Cause::InvalidRecipient),
                stage: Some(Stage::Rcpt),
                code: Some(550),
                reason: "550 5.1.1 <address> no".into(),
                template: "welcome",
                tags: vec![("team", "a\"b")],
                recipients: vec!["ada@example.com"],
                idempotency_key: "k",
                replay_count: 2,
                expires_at_ms: Some(1_795_478_400_000),
                has_original: true,
                source: Some(row::Source { topic: "email-queue", partition: 2, offset: 7, timestamp_ms: 1 }),
            };
            assert_eq!(summary, &expected);
        });
    }

    #[test]
    fn a_letter_of_the_guide_s_worker_can_be_worked_with() {
        let value =
            br#"{"original_message": {"to": "a@b.c", "otp": "1"}, "error_reason": "Connection refused",
            "retry_count": 3, "failed_at": "2026-01-01T00:00:00", "worker_id": "worker-1"}"#;
        summarise(value, 5, |summary| {
            assert_eq!((summary.cause, summary.has_original), (Some(Cause::Unknown), true));
            assert_eq!(summary.failed_at_ms, None);
            assert_eq!(
                (summary.template, &*summary.reason, summary.source),
                ("otp", "Connection refused", None)
            );
        });
    }

    #[test]
    fn a_letter_with_a_senseless_time_of_failure_can_be_worked_with() {
        for failed_at in ["1795478400", "null", "\"\"", "\"\\u0032026\"", "{}"] {
            let value =
                format!(r#"{{"original_message":{{"to":"a@b.c"}},"cause":"quota","failed_at":{failed_at}}}"#);
            summarise(value.as_bytes(), 5, |summary| {
                assert_eq!((summary.cause, summary.failed_at_ms), (Some(Cause::Quota), None), "{failed_at}");
            });
        }
    }

    #[test]
    fn bytes_that_are_no_text_in_what_is_not_asked_for_do_no_harm() {
        let value =
            b"{\"original_message\":{\"to\":\"a@b.c\"},\"error_reason\":\"no\",\"message_id\":\"\xff\"}";
        summarise(value, 5, |summary| assert_eq!((&*summary.reason, summary.has_original), ("no", true)));
    }

    #[test]
    fn what_is_no_letter_is_said_to_be_none() {
        for value in [&b""[..], b"{}", b"\xff", b"[]", b"[1]", b"{\"original_message\":1,\"recipients\":1}"] {
            summarise(value, 5, |summary| assert_eq!((summary.cause, summary.has_original), (None, false)));
        }
    }

    #[test]
    fn the_last_replay_counts() {
        let headers = [("a", None), (REPLAY_ID, Some(&b"0-1"[..])), (REPLAY_ID, Some(b"1-2")), ("b", None)];
        assert_eq!(replayed_from(headers.into_iter()), Some(LetterName { partition: 1, offset: 2 }));
        assert_eq!(replayed_from([(REPLAY_ID, None)].into_iter()), None);
    }
}
