//! The dead letter as a record, field by field and byte for byte (contract, section 3).

use std::sync::atomic::{AtomicBool, Ordering};

use chrono::{DateTime, Utc};
use serde_json::{Value, json};

use crate::harness::kafka::Record;
use crate::harness::queue::DeadLetter;
use crate::harness::{Answer, Kafka, Queue, RecordingSmtp, Settings, Step, TestWorker};

/// A record that can't become an e-mail, and what its dead letter must say.
struct Case {
    name: &'static str,
    value: Option<&'static [u8]>,
    cause: &'static str,
    /// `original_message` as JSON text; none where it is the value itself.
    original: Option<&'static str>,
}

const CASES: &[Case] = &[
    Case { name: "null", value: None, cause: "malformed", original: Some("null") },
    Case { name: "empty", value: Some(b""), cause: "malformed", original: Some(r#""""#) },
    Case {
        name: "text",
        value: Some(b"this is \"no\" JSON at all"),
        cause: "malformed",
        original: Some(r#""this is \"no\" JSON at all""#),
    },
    Case {
        name: "not UTF-8",
        value: Some(b"{\"to\": \"\xff\xfe\"}"),
        cause: "malformed",
        original: Some(r#"{"base64":"eyJ0byI6ICL//iJ9"}"#),
    },
    Case {
        name: "Avro",
        value: Some(b"\x00\x00\x00\x00\x01\x02\x03"),
        cause: "malformed",
        original: Some(r#"{"base64":"AAAAAAECAw=="}"#),
    },
    Case {
        name: "truncated",
        value: Some(br#"{"to": "ada@example.com", "text": "and then it"#),
        cause: "malformed",
        original: Some(r#""{\"to\": \"ada@example.com\", \"text\": \"and then it""#),
    },
    Case { name: "array", value: Some(br#"[1,  {"to" : "x"}]"#), cause: "malformed", original: None },
    Case {
        name: "numeric otp",
        value: Some(br#"{"to": "ada@example.com", "otp": 1.20e+3}"#),
        cause: "malformed",
        original: None,
    },
    Case {
        name: "a field twice",
        value: Some(br#"{"to": "ada@example.com", "text": "a", "text": "b"}"#),
        cause: "malformed",
        original: None,
    },
    Case {
        name: "no recipient",
        value: Some(br#"{"to": [], "text": "a"}"#),
        cause: "invalid",
        original: None,
    },
    Case { name: "nobody", value: Some(br#"{"text": "a"}"#), cause: "invalid", original: None },
    Case {
        name: "no address",
        value: Some(br#"{"to": "ada", "text": "a"}"#),
        cause: "invalid",
        original: None,
    },
    Case {
        name: "nothing to say",
        value: Some(br#"{"to": "ada@example.com", "unknown": [ ]}"#),
        cause: "invalid",
        original: None,
    },
    Case {
        name: "a header smuggled into the subject",
        value: Some(br#"{"to": "ada@example.com", "subject": "a\r\nBcc: eve@example.com", "text": "a"}"#),
        cause: "invalid",
        original: None,
    },
];

#[test]
fn what_cannot_become_an_e_mail_is_dead_lettered_at_once_and_blocks_nothing() {
    let queue = Queue::new(Kafka::shared(), 1);
    let relay = RecordingSmtp::start();
    let records: Vec<Record> = CASES
        .iter()
        .map(|case| Record {
            key: Some(case.name.as_bytes().to_vec()),
            value: case.value.map(<[u8]>::to_vec),
            ..Record::default()
        })
        .collect();
    queue.put_records(&records);
    queue.put([r#"{"to": "ada@example.com", "text": "This one is fine."}"#]);
    let worker = TestWorker::start(&Settings::new(&queue, relay.port()));
    queue.wait_until_settled();

    assert_eq!(relay.copies(), [("ada@example.com".to_owned(), 1)].into());
    let letters = queue.dead_letters();
    assert_eq!(letters.len(), CASES.len());
    for (offset, case) in CASES.iter().enumerate() {
        let of_case =
            letters.iter().filter(|letter| letter.record.key.as_deref() == Some(case.name.as_bytes()));
        let of_case: Vec<_> = of_case.collect();
        assert_eq!(of_case.len(), 1, "{}", case.name);
        check_undelivered(of_case[0], case, offset, &queue);
    }
    let metrics = worker.metrics();
    let of_cause = |cause| metrics.get("mailroom_dead_letters_total", &[("cause", cause)]);
    assert_eq!(of_cause("malformed") + of_cause("invalid"), CASES.len() as f64);
    assert_eq!(metrics.get("email_attempts_total", &[("status", "failure")]), CASES.len() as f64);
    assert_eq!(metrics.sum("mailroom_send_attempts_total"), 1.0);
    worker.stop();
}

fn check_undelivered(letter: &DeadLetter, case: &Case, offset: usize, queue: &Queue<'_>) {
    let name = case.name;
    let value = case.value.map(String::from_utf8_lossy).unwrap_or_default();
    assert_eq!(letter.original_message(), case.original.unwrap_or(&value), "{name}");
    assert_eq!(letter.text("cause"), case.cause, "{name}");
    assert_eq!(letter.text("stage"), "decode", "{name}");
    assert!(!letter.text("error_reason").is_empty(), "{name}");
    for (field, expected) in [
        ("retry_count", json!(0)),
        ("smtp_code", json!(null)),
        ("enhanced_code", json!(null)),
        ("recipients", json!([])),
        ("attempts", json!([])),
        ("first_attempt_at", json!(null)),
        ("replay_count", json!(0)),
        ("schema", json!(1)),
        ("tags", json!({})),
        ("idempotency_key", json!(format!("{}-0-{offset}", queue.topic))),
    ] {
        assert_eq!(letter.value[field], expected, "{name}: {field}");
    }
    let message_id = letter.text("message_id");
    assert!(
        message_id.starts_with('<') && message_id.ends_with("@mailroom.example>"),
        "{name}: {message_id}"
    );
    assert_eq!(letter.value["source"]["topic"], queue.topic.as_str(), "{name}");
    assert_eq!(letter.value["source"]["partition"], 0, "{name}");
    assert_eq!(letter.value["source"]["offset"], offset, "{name}");
}

#[test]
fn a_registry_format_is_named_in_the_reason() {
    let queue = Queue::new(Kafka::shared(), 1);
    let relay = RecordingSmtp::start();
    queue.put([b"\x00\x00\x00\x00\x01\x02\x03".to_vec()]);
    let worker = TestWorker::start(&Settings::new(&queue, relay.port()));
    queue.wait_until_settled();
    let letters = queue.dead_letters();
    assert!(letters[0].text("error_reason").contains("registry"), "{}", letters[0].value);
    worker.stop();
}

#[test]
fn a_dead_letter_keeps_key_bytes_and_headers_and_carries_what_spring_reads() {
    let queue = Queue::new(Kafka::shared(), 1);
    let relay = refusing_relay();
    // White space, number forms and escapes that a parse and a print would change.
    let value = "{\"to\" : \"nobody@example.com\",\t\"text\":\"\\u0041 \\/ ü\",  \"extra\":[1.00e+2, -0, 12345678901234567890123]}";
    let header = |name: &str, value: &[u8]| (name.to_owned(), Some(value.to_vec()));
    let record = Record {
        timestamp_ms: 1_700_000_000_123,
        key: Some(b"\x00key\xff".to_vec()),
        headers: vec![
            header("traceparent", b"00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"),
            header("twice", b"one"),
            header("kafka_dlt-original-topic", b"from an earlier life"),
            header("twice", b"two"),
            ("null".to_owned(), None),
            header("idempotency-key", b"order-17"),
        ],
        value: Some(format!(" {value}\n").into_bytes()),
        ..Record::default()
    };
    queue.put_records(std::slice::from_ref(&record));
    let before = Utc::now();
    let worker = TestWorker::start(&Settings::new(&queue, relay.port()));
    queue.wait_until_settled();
    worker.stop();
    let letters = queue.dead_letters();
    assert_eq!(letters.len(), 1);
    let letter = &letters[0];

    assert_eq!(letter.original_message(), value);
    assert_eq!(letter.record.key, record.key);
    assert!(letter.record.timestamp_ms >= before.timestamp_millis(), "the letter's time is its own");
    let names = letter.record.headers.iter().map(|(name, _)| name.as_str());
    let own: Vec<_> = names.filter(|name| !name.starts_with("kafka_dlt-")).collect();
    assert_eq!(own, ["traceparent", "twice", "twice", "null", "idempotency-key"]);
    assert_eq!(letter.header("twice"), [b"one", b"two"]);
    assert_eq!(letter.header("traceparent"), [record.headers[0].1.clone().expect("a value")]);

    for (name, expected) in [
        ("kafka_dlt-original-topic", queue.topic.as_bytes()),
        ("kafka_dlt-original-partition", &0_i32.to_be_bytes()),
        ("kafka_dlt-original-offset", &0_i64.to_be_bytes()),
        ("kafka_dlt-original-timestamp", &1_700_000_000_123_i64.to_be_bytes()),
        ("kafka_dlt-original-consumer-group", queue.group.as_bytes()),
        ("kafka_dlt-exception-fqcn", b"mailroom.invalid_recipient"),
        ("kafka_dlt-exception-message", b"550 5.1.1 No such user"),
    ] {
        assert_eq!(letter.header(name), [expected], "{name}");
    }
    assert_eq!(letter.value["source"]["timestamp"], 1_700_000_000_123_i64);
    assert_eq!(letter.value["idempotency_key"], "order-17");
    let first: DateTime<Utc> = letter.text("first_attempt_at").parse().expect("RFC 3339");
    let failed: DateTime<Utc> = letter.text("failed_at").parse().expect("RFC 3339");
    assert!(before <= first && first <= failed);
    let attempts = letter.value["attempts"].as_array().expect("an array");
    assert_eq!(attempts.len(), 1);
    assert_eq!(attempts[0]["number"], 1);
    assert_eq!(attempts[0]["stage"], "rcpt");
    assert_eq!(attempts[0]["error"], "550 5.1.1 No such user");
}

#[test]
fn of_several_recipients_only_those_that_were_refused_are_in_the_dead_letter() {
    let queue = Queue::new(Kafka::shared(), 1);
    let relay = refusing_relay();
    let value = json!({
        "to": ["ada@example.com", "nobody@example.com"],
        "cc": "Grace <grace@example.com>",
        "bcc": "nobody-either@example.com",
        "text": "Hello",
    });
    queue.put([value.to_string()]);
    let worker = TestWorker::start(&Settings::new(&queue, relay.port()));
    queue.wait_until_settled();
    let copies: Vec<_> = relay.copies().into_iter().collect();
    assert_eq!(copies, [("ada@example.com".to_owned(), 1), ("grace@example.com".to_owned(), 1)]);
    let letters = queue.dead_letters();
    assert_eq!(letters.len(), 1);
    let mut missed: Vec<&str> = letters[0].value["recipients"]
        .as_array()
        .map(|all| all.iter().filter_map(Value::as_str).collect())
        .expect("an array");
    missed.sort_unstable();
    assert_eq!(missed, ["nobody-either@example.com", "nobody@example.com"]);
    let metrics = worker.metrics();
    assert_eq!(metrics.get("email_attempts_total", &[("status", "failure")]), 1.0);
    assert_eq!(metrics.get("email_attempts_total", &[("status", "success")]), 0.0);
    worker.stop();
}

#[test]
fn of_several_recipients_only_the_one_that_was_put_off_is_tried_again() {
    let queue = Queue::new(Kafka::shared(), 1);
    let put_off = AtomicBool::new(false);
    let relay = RecordingSmtp::with(move |step| match step {
        Step::Recipient("later@example.com") if !put_off.swap(true, Ordering::SeqCst) => {
            Answer::Reply("450 4.2.0 Greylisted")
        }
        _ => Answer::Accept,
    });
    queue.put([json!({"to": ["ada@example.com", "later@example.com"], "text": "Hello"}).to_string()]);
    let worker = TestWorker::start(&Settings::new(&queue, relay.port()));
    queue.wait_until_settled();
    let copies: Vec<_> = relay.copies().into_iter().collect();
    assert_eq!(copies, [("ada@example.com".to_owned(), 1), ("later@example.com".to_owned(), 1)]);
    assert!(queue.dead_letters().is_empty());
    let ids: Vec<_> = relay.attempts().iter().filter_map(|attempt| attempt.message_id()).collect();
    assert_eq!(ids.len(), 2);
    assert_eq!(ids[0], ids[1], "it is the same e-mail");
    worker.stop();
}

fn refusing_relay() -> RecordingSmtp {
    RecordingSmtp::with(|step| match step {
        Step::Recipient(to) if to.starts_with("nobody") => Answer::Reply("550 5.1.1 No such user"),
        _ => Answer::Accept,
    })
}
