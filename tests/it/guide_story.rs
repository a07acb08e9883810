//! The guide's story and its four scenarios, as the relay and the dead letter queue see them (contract, section 1).

use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

use chrono::{DateTime, Utc};
use serde_json::json;

use crate::harness::queue::DeadLetter;
use crate::harness::recording_smtp::Attempt;
use crate::harness::{Answer, Kafka, Queue, RecordingSmtp, Settings, Step, TestWorker, process, until};

#[test]
fn a_job_that_keeps_failing_is_tried_at_0_1_and_3_seconds_and_then_dead_lettered() {
    // The guide's own topics: no other test uses them.
    let queue = Queue::named(Kafka::shared(), "email-queue", "email-dlq", 4);
    let relay = RecordingSmtp::with(|step| match step {
        Step::Recipient("busy@example.com") => Answer::Reply("451 4.7.1 Too many requests"),
        _ => Answer::Accept,
    });
    let worker = TestWorker::start(&Settings::new(&queue, relay.port()).set("worker.id", "email_worker"));
    let failing = r#"{"to": "busy@example.com", "otp": "493021"}"#;
    queue.put([failing, r#"{"to": "ada@example.com", "otp": "112233"}"#]);
    queue.wait_until_settled();

    let attempts = relay.attempts_for("busy@example.com");
    assert_eq!(attempts.len(), 3);
    assert_waited(&attempts[0], &attempts[1], Duration::from_secs(1));
    assert_waited(&attempts[1], &attempts[2], Duration::from_secs(2));

    let letters = queue.dead_letters();
    assert_eq!(letters.len(), 1, "{letters:?}");
    let letter = &letters[0];
    assert_eq!(letter.original_message(), failing);
    assert_eq!(letter.text("error_reason"), "451 4.7.1 Too many requests");
    assert_eq!(letter.value["retry_count"], 3);
    assert_eq!(letter.text("worker_id"), "email_worker");
    let failed_at = letter.text("failed_at");
    assert!(
        failed_at.ends_with('Z') && failed_at.len() == "2026-11-24T02:07:47.123456Z".len(),
        "{failed_at}"
    );
    let failed_at: DateTime<Utc> = failed_at.parse().expect("failed_at is RFC 3339");
    let taken_at =
        DateTime::from_timestamp_millis(letter.value["source"]["timestamp"].as_i64().expect("an integer"));
    assert!(failed_at - taken_at.expect("a time") >= chrono::Duration::seconds(3));

    assert_eq!(relay.copies(), [("ada@example.com".to_owned(), 1)].into());
    let metrics = worker.metrics();
    assert_eq!(metrics.get("email_attempts_total", &[("status", "success")]), 1.0);
    assert_eq!(metrics.get("email_attempts_total", &[("status", "failure")]), 1.0);
    assert_eq!(metrics.get("dlq_messages_total", &[("topic", "email-dlq")]), 1.0);
    assert_eq!(metrics.get("mailroom_send_attempts_total", &[("result", "ok")]), 1.0);
    assert_eq!(metrics.get("mailroom_send_attempts_total", &[("result", "temporary")]), 3.0);
    worker.stop();
}

#[test]
fn an_e_mail_that_fails_twice_and_then_works_is_sent_once_and_never_dead_lettered() {
    let queue = Queue::new(Kafka::shared(), 1);
    let refused_yet = AtomicU32::new(0);
    let relay = RecordingSmtp::with(move |step| match step {
        Step::Dot(_) if refused_yet.fetch_add(1, Ordering::SeqCst) < 2 => {
            Answer::Reply("451 4.3.0 Try again later")
        }
        _ => Answer::Accept,
    });
    let worker = TestWorker::start(&Settings::new(&queue, relay.port()));
    queue.put([r#"{"to": "ada@example.com", "otp": "493021"}"#]);
    queue.wait_until_settled();
    assert_eq!(relay.attempts().len(), 3);
    assert_eq!(relay.copies(), [("ada@example.com".to_owned(), 1)].into());
    assert!(queue.dead_letters().is_empty());
    assert_eq!(worker.metrics().get("email_attempts_total", &[("status", "success")]), 1.0);
    worker.stop();
}

#[test]
fn an_invalid_address_is_dead_lettered_at_once_as_no_such_user() {
    let relay = RecordingSmtp::with(|step| match step {
        Step::Recipient(_) => Answer::Reply("550 5.1.1 No such user"),
        _ => Answer::Accept,
    });
    let letter = only_dead_letter(relay.port(), |settings| settings);
    assert_eq!(letter.text("error_reason"), "550 5.1.1 No such user");
    assert_eq!(letter.value["retry_count"], 1);
    assert_eq!(letter.text("cause"), "invalid_recipient");
    assert_eq!(letter.text("stage"), "rcpt");
    assert_eq!(letter.value["smtp_code"], 550);
    assert_eq!(letter.text("enhanced_code"), "5.1.1");
    assert_eq!(letter.value["recipients"], json!(["ada@example.com"]));
    assert_eq!(relay.attempts().len(), 1);
}

#[test]
fn a_server_that_is_down_is_tried_three_times_and_dead_lettered_as_connection_refused() {
    let letter = only_dead_letter(process::free_port(), |settings| settings);
    assert!(letter.text("error_reason").contains("Connection refused"), "{}", letter.value);
    assert_eq!(letter.value["retry_count"], 3);
    assert_eq!(letter.text("cause"), "smtp_unreachable");
    assert_eq!(letter.text("stage"), "connect");
    assert_eq!(letter.value["smtp_code"], json!(null));
    assert_eq!(letter.value["attempts"].as_array().map(Vec::len), Some(3));
}

#[test]
fn a_silent_server_is_tried_three_times_and_dead_lettered_as_connection_timed_out() {
    let relay = RecordingSmtp::with(|_| Answer::Silence);
    let letter = only_dead_letter(relay.port(), |settings| settings.set("smtp.timeouts.greeting", "200ms"));
    assert!(letter.text("error_reason").starts_with("Connection timed out"), "{}", letter.value);
    assert!(letter.text("error_reason").contains("greeting"), "it names the stage: {}", letter.value);
    assert_eq!(letter.value["retry_count"], 3);
    assert_eq!(letter.text("cause"), "smtp_unreachable");
    assert_eq!(letter.text("stage"), "greeting");
    for attempt in letter.value["attempts"].as_array().expect("an array") {
        assert!(attempt["took_ms"].as_u64().expect("a number") >= 200, "{attempt}");
    }
}

#[test]
fn a_rate_limit_is_tried_three_times_and_dead_lettered_as_too_many_requests() {
    let relay = RecordingSmtp::with(|step| match step {
        Step::Recipient(_) => Answer::Reply("451 4.7.1 Too many requests"),
        _ => Answer::Accept,
    });
    let letter = only_dead_letter(relay.port(), |settings| settings);
    assert_eq!(letter.text("error_reason"), "451 4.7.1 Too many requests");
    assert_eq!(letter.value["retry_count"], 3);
    assert_eq!(letter.text("cause"), "throttled");
    assert_eq!(letter.text("stage"), "rcpt");
    let numbers: Vec<_> = letter.value["attempts"].as_array().expect("an array").iter().collect();
    assert_eq!(numbers.iter().map(|attempt| attempt["number"].clone()).collect::<Vec<_>>(), [1, 2, 3]);
    assert_eq!(letter.value["first_attempt_at"], numbers[0]["at"]);
}

/// Has a worker fail on one job for a relay, with short waits, and returns the dead letter.
fn only_dead_letter(relay_port: u16, adjust: impl FnOnce(Settings) -> Settings) -> DeadLetter {
    let queue = Queue::new(Kafka::shared(), 1);
    let settings = adjust(Settings::new(&queue, relay_port).set("retry.base", "20ms"));
    let worker = TestWorker::start(&settings);
    queue.put([r#"{"to": "ada@example.com", "otp": "493021"}"#]);
    queue.wait_until_settled();
    let mut letters = queue.dead_letters();
    assert_eq!(letters.len(), 1, "{letters:?}");
    let counted = until("the dead letter to be counted", || {
        let metrics = worker.metrics();
        (metrics.sum("dlq_messages_total") > 0.0).then_some(metrics)
    });
    assert_eq!(counted.get("dlq_messages_total", &[("topic", &queue.dlq_topic)]), 1.0);
    assert_eq!(counted.get("email_attempts_total", &[("status", "failure")]), 1.0);
    assert_eq!(counted.sum("mailroom_dead_letters_total"), 1.0);
    worker.stop();
    letters.remove(0)
}

/// That the next attempt came no sooner than a wait after the end of this one, by the relay's own clock.
fn assert_waited(attempt: &Attempt, next: &Attempt, wait: Duration) {
    let ended: Instant = attempt.ended.expect("the relay has answered");
    assert!(next.began >= ended + wait, "{:?} instead of {wait:?}", next.began - ended);
}
