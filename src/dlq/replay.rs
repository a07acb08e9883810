//! The job that a letter is replayed as: the original's bytes, key and headers, and what says that it is a replay.

use mailroom_actors::domain::job::{IDEMPOTENCY_KEY, REPLAY_COUNT, REPLAY_ID, Record};
use mailroom_actors::domain::letters::name::LetterName;
use mailroom_actors::domain::letters::owner;
use mailroom_actors::domain::letters::rules::Facts;

use super::letter::{self, Letter};
use super::original::{self, Job};

/// Spring Kafka's headers, which say what failed.
const FAILURE_HEADERS: &str = "kafka_dlt-";

/// What the owner of its partition needs to know of the letter in that record; its job is for `topic`.
pub fn letter(record: Record, topic: &str) -> owner::Letter {
    let value = record.value.clone().unwrap_or_default();
    let timestamp_ms = record.timestamp_ms.unwrap_or(-1);
    let facts = letter::summarise(&value, timestamp_ms, |summary| Facts {
        state: Default::default(),
        cause: summary.cause,
        replay_count: summary.replay_count,
        expires_at_ms: summary.expires_at_ms,
        has_original: summary.has_original,
    });
    let job = Letter::read(&value).and_then(|letter| job(record, &letter, topic));
    owner::Letter { timestamp_ms, facts, before: None, job }
}

/// None where the letter does not hold it.
fn job(record: Record, letter: &Letter<'_>, topic: &str) -> Option<Record> {
    let Job::Whole(value) = original::job(letter.original_message, Some(letter.cause())) else { return None };
    let name = LetterName { partition: record.partition, offset: record.offset };
    let mut headers = record.headers;
    headers.retain(|(name, _)| {
        !name.starts_with(FAILURE_HEADERS)
            && ![REPLAY_ID, REPLAY_COUNT, IDEMPOTENCY_KEY].contains(&name.as_str())
    });
    let mut set = |name: &str, value: String| headers.push((name.to_owned(), Some(value.into())));
    set(REPLAY_ID, name.to_string());
    set(REPLAY_COUNT, letter.replay_count.saturating_add(1).to_string());
    // The guide's own worker knew no such key: then it is the letter's, so that a replay of a replay keeps it.
    let key = match &*letter.idempotency_key {
        "" => format!("{}-{name}", record.topic),
        key => key.to_owned(),
    };
    set(IDEMPOTENCY_KEY, key);
    Some(Record {
        topic: topic.into(),
        partition: -1,
        offset: -1,
        timestamp_ms: None,
        key: record.key,
        value: value.map(Into::into),
        headers,
    })
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use bytes::Bytes;

    use super::*;

    fn record(value: &str, headers: &[(&str, &str)]) -> Record {
        Record {
            topic: "email-dlq".into(),
            partition: 2,
            offset: 7,
            timestamp_ms: Some(5),
            key: Some(Bytes::from_static(b"k")),
            value: Some(Bytes::copy_from_slice(value.as_bytes())),
            headers: headers
                .iter()
                .map(|(name, value)| ((*name).into(), Some(Bytes::copy_from_slice(value.as_bytes()))))
                .collect(),
        }
    }

    fn text(value: &Option<Bytes>) -> &str {
        std::str::from_utf8(value.as_ref().unwrap()).unwrap()
    }

    fn texts(job: &Record) -> Vec<(&str, &str)> {
        job.headers.iter().map(|(name, value)| (name.as_str(), text(value))).collect()
    }

    #[test]
    fn a_replayed_job_is_the_original_with_its_key_and_headers() {
        let value = r#"{"original_message":{"to":"a@b.c"},"cause":"quota","idempotency_key":"order-1","replay_count":1}"#;
        let headers = [
            ("mine", "1"),
            ("kafka_dlt-original-topic", "email-queue"),
            ("traceparent", "t"),
            ("mine", "2"),
            ("mailroom-replay-id", "0-1"),
            ("mailroom-replay-count", "1"),
            ("idempotency-key", "old"),
        ];
        let letter = letter(record(value, &headers), "email-queue");
        let job = letter.job.unwrap();
        assert_eq!(
            (job.value.as_deref(), job.key.as_deref()),
            (Some(&br#"{"to":"a@b.c"}"#[..]), Some(&b"k"[..]))
        );
        let expected = [
            ("mine", "1"),
            ("traceparent", "t"),
            ("mine", "2"),
            ("mailroom-replay-id", "2-7"),
            ("mailroom-replay-count", "2"),
            ("idempotency-key", "order-1"),
        ];
        assert_eq!(texts(&job), expected);
        assert_eq!((&*job.topic, letter.timestamp_ms, letter.facts.replay_count), ("email-queue", 5, 1));
    }

    #[test]
    fn a_letter_that_does_not_hold_its_job_has_none_to_replay() {
        for value in
            [r#"{"original_message":{"omitted":true,"bytes":9,"sha256":"00"},"cause":"quota"}"#, "{}", "x"]
        {
            let letter = letter(record(value, &[]), "email-queue");
            assert!(letter.job.is_none() && !letter.facts.has_original, "{value}");
        }
    }

    #[test]
    fn a_letter_without_a_key_of_its_own_gets_one_that_stays() {
        let job = letter(record(r#"{"original_message":{"to":"a@b.c"}}"#, &[]), "email-queue").job.unwrap();
        assert_eq!(texts(&job)[2], ("idempotency-key", "email-dlq-2-7"));
    }
}
