//! What becomes of an e-mail whose time has passed: `expires_at` and `email.max_age`.

use chrono::{TimeDelta, Utc};
use serde_json::{Value, json};

use crate::harness::kafka::Record;
use crate::harness::queue::DeadLetter;
use crate::harness::{Answer, Kafka, Queue, RecordingSmtp, Settings, Step, TestWorker};

fn job(expires_at: &str) -> String {
    json!({"to": "ada@example.com", "text": "Hello", "expires_at": expires_at, "tags": {"kind": "late"}})
        .to_string()
}

fn in_milliseconds(milliseconds: i64) -> String {
    (Utc::now() + TimeDelta::milliseconds(milliseconds)).to_rfc3339()
}

fn check_expired(letter: &DeadLetter, reason: &str) {
    assert_eq!(letter.text("cause"), "expired", "{}", letter.value);
    assert_eq!(letter.text("stage"), "decode");
    assert_eq!(letter.value["smtp_code"], Value::Null);
    assert_eq!(letter.value["recipients"], json!(["ada@example.com"]));
    assert!(letter.text("error_reason").contains(reason), "{}", letter.value);
}

#[test]
fn what_has_expired_is_not_sent_and_counts_as_expired() {
    let queue = Queue::new(Kafka::shared(), 1);
    let relay = RecordingSmtp::start();
    let old = Record {
        timestamp_ms: (Utc::now() - TimeDelta::hours(2)).timestamp_millis(),
        ..Record::of(r#"{"to": "ada@example.com", "text": "old"}"#)
    };
    queue.put_records(&[
        Record { timestamp_ms: Utc::now().timestamp_millis(), ..Record::of(job("2001-01-01T00:00:00Z")) },
        old,
        Record {
            timestamp_ms: Utc::now().timestamp_millis(),
            ..Record::of(job("2199-01-01T00:00:00Z").replace("ada@", "grace@"))
        },
    ]);
    let worker = TestWorker::start(&Settings::new(&queue, relay.port()).set("email.max_age", "1h"));
    queue.wait_until_settled();
    assert_eq!(relay.copies(), [("grace@example.com".to_owned(), 1)].into());
    let letters = queue.dead_letters();
    assert_eq!(letters.len(), 2);
    check_expired(&letters[0], "past expires_at");
    check_expired(&letters[1], "older than email.max_age");
    assert_eq!(letters[0].value["retry_count"], 0);
    assert_eq!(letters[0].value["tags"], json!({"kind": "late"}));
    let metrics = worker.metrics();
    assert_eq!(metrics.get("mailroom_emails_total", &[("outcome", "expired")]), 2.0);
    assert_eq!(metrics.get("mailroom_dead_letters_total", &[("cause", "expired")]), 2.0);
    assert_eq!(metrics.get("email_attempts_total", &[("status", "failure")]), 2.0);
    worker.stop();
}

#[test]
fn a_retry_that_would_come_too_late_is_not_waited_for() {
    let queue = Queue::new(Kafka::shared(), 1);
    let relay = RecordingSmtp::with(|step| match step {
        Step::Recipient(_) => Answer::Reply("451 4.2.0 come back later"),
        _ => Answer::Accept,
    });
    let worker = TestWorker::start(
        &Settings::new(&queue, relay.port()).set("retry.base", "1h").set("retry.max_delay", "1h"),
    );
    queue.put([job(&in_milliseconds(60_000))]);
    queue.wait_until_settled();
    worker.stop();
    let letters = queue.dead_letters();
    assert_eq!(letters.len(), 1);
    check_expired(
        &letters[0],
        "the next attempt would fall after expires_at; the last attempt failed: 451 4.2.0 come back later",
    );
    assert_eq!(letters[0].value["retry_count"], 1);
    assert_eq!(letters[0].value["attempts"].as_array().map(Vec::len), Some(1));
}

#[test]
fn what_expires_while_the_relay_is_away_is_dead_lettered_then() {
    let queue = Queue::new(Kafka::shared(), 1);
    let relay = RecordingSmtp::with(|_| Answer::Reply("421 4.3.2 closed"));
    let settings = Settings::new(&queue, relay.port())
        .set("breaker.failures", 1)
        .set("breaker.probe_interval", "1h")
        .set("retry.max_attempts", 1000);
    let worker = TestWorker::start(&settings);
    let end = Utc::now() + TimeDelta::milliseconds(4000);
    queue.put([job(&end.to_rfc3339())]);
    queue.wait_until_settled();
    worker.stop();
    let letters = queue.dead_letters();
    assert_eq!(letters.len(), 1);
    check_expired(&letters[0], "expires_at");
}
