//! Dead letters, field by field and byte by byte.

use bytes::Bytes;
use std::sync::Arc;

use chrono::TimeZone;
use mailroom_actors::domain::failure::{Failure, Reply};
use mailroom_actors::domain::job::{Attempt, RecipientSet};
use proptest::prelude::*;
use serde_json::{Value as Json, json};

use super::*;
use crate::job::json;
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use chrono::Utc;
use serde_json::value::RawValue;

fn record(value: Option<&[u8]>) -> Record {
    Record {
        topic: "email-queue".into(),
        partition: 3,
        offset: 42,
        timestamp_ms: Some(1_700_000_000_123),
        key: Some("user-1".into()),
        value: value.map(Bytes::copy_from_slice),
        headers: Vec::new(),
    }
}

fn no_such_user() -> Failure {
    let enhanced = mailroom_actors::domain::failure::EnhancedCode::split_from("5.1.1").map(|(code, _)| code);
    Failure::replied(Stage::Rcpt, &Reply { code: 550, enhanced, text: "No such user".into() })
}

fn letter(record: Record, failure: Failure) -> DeadLetter {
    DeadLetter {
        record: Arc::new(record),
        failure,
        attempts_spent: 0,
        attempts: Vec::new(),
        served: RecipientSet::default(),
        failed_at: Utc.timestamp_micros(1_795_485_445_000_007).unwrap(),
    }
}

fn settings() -> Settings {
    Settings {
        worker_id: "worker-1".into(),
        consumer_group: "email-workers".into(),
        default_from: Mailbox::parse("noreply@shop.example").unwrap(),
    }
}

fn value_of(letter: &DeadLetter) -> Json {
    serde_json::from_slice(&encode(letter, &settings(), usize::MAX).value).unwrap()
}

/// The bytes of the member `original_message` in the letter's value.
fn original(value: &[u8]) -> String {
    #[derive(serde::Deserialize)]
    struct Letter<'a> {
        #[serde(borrow)]
        original_message: &'a RawValue,
    }
    serde_json::from_slice::<Letter<'_>>(value).unwrap().original_message.get().to_owned()
}

#[test]
fn a_letter_has_every_field_of_the_contract_and_no_other() {
    let value = br#"{"to":["a@b.c","B <b@b.c>"],"bcc":"c@b.c","otp":"1","id":"order-1","tags":{"kind":"x"}}"#;
    let mut record = record(Some(value));
    record.headers.push(("mailroom-replay-count".into(), Some("2".into())));
    let mut letter = letter(record, no_such_user());
    letter.attempts_spent = 3;
    letter.served.insert(1);
    let at = |seconds: i64| Utc.timestamp_micros(1_795_485_440_250_000 + seconds * 1_000_000).unwrap();
    letter.attempts = vec![
        Attempt {
            number: 2,
            at: at(0),
            stage: Stage::Connect,
            error: "Connection refused".into(),
            took_ms: 1,
        },
        Attempt {
            number: 3,
            at: at(2),
            stage: Stage::Rcpt,
            error: "550 5.1.1 No such user".into(),
            took_ms: 12,
        },
    ];
    let hash = sha_prefix("order-1");
    assert_eq!(
        value_of(&letter),
        json!({
            "original_message": serde_json::from_slice::<Json>(value).unwrap(),
            "error_reason": "550 5.1.1 No such user",
            "retry_count": 3,
            "failed_at": "2026-11-24T01:57:25.000007Z",
            "worker_id": "worker-1",
            "cause": "invalid_recipient",
            "stage": "rcpt",
            "smtp_code": 550,
            "enhanced_code": "5.1.1",
            "recipients": ["a@b.c", "c@b.c"],
            "tags": {"kind": "x"},
            "attempts": [
                {"number": 2, "at": "2026-11-24T01:57:20.250000Z", "stage": "connect",
                 "error": "Connection refused", "took_ms": 1},
                {"number": 3, "at": "2026-11-24T01:57:22.250000Z", "stage": "rcpt",
                 "error": "550 5.1.1 No such user", "took_ms": 12},
            ],
            "source": {"topic": "email-queue", "partition": 3, "offset": 42, "timestamp": 1_700_000_000_123_i64},
            "idempotency_key": "order-1",
            "message_id": format!("<{hash}@shop.example>"),
            "first_attempt_at": "2026-11-24T01:57:20.250000Z",
            "replay_count": 2,
            "schema": 1,
        })
    );
    let encoded = encode(&letter, &settings(), usize::MAX);
    assert_eq!(encoded.key, Some(Bytes::from("user-1")));
    assert_eq!(encoded.timestamp_ms, 1_795_485_445_000);
    assert_eq!(original(&encoded.value).as_bytes(), value);
}

fn sha_prefix(text: &str) -> String {
    use sha2::{Digest, Sha256};
    format!("{:x}", Sha256::digest(text))[..32].to_owned()
}

#[test]
fn what_is_not_known_is_null_or_empty() {
    let mut record = record(Some(b"garbage"));
    record.timestamp_ms = None;
    record.key = None;
    let failure = Failure::before_attempt(Stage::Decode, Cause::Malformed, "the value is not JSON");
    let letter = letter(record, failure);
    let value = value_of(&letter);
    for member in ["smtp_code", "enhanced_code", "first_attempt_at"] {
        assert_eq!(value[member], Json::Null, "{member}");
    }
    assert_eq!(value["recipients"], json!([]));
    assert_eq!(value["attempts"], json!([]));
    assert_eq!(value["tags"], json!({}));
    assert_eq!(value["retry_count"], 0);
    assert_eq!(value["replay_count"], 0);
    assert_eq!(value["idempotency_key"], "email-queue-3-42");
    assert_eq!(value["source"]["timestamp"], -1);
    assert_eq!(encode(&letter, &settings(), usize::MAX).key, None);
}

#[test]
fn the_original_is_kept_in_the_plainest_form_that_holds_it() {
    let deep = format!("{}{}", "[".repeat(129), "]".repeat(129));
    let nul_text = "\0".repeat(30);
    let cases: [(Option<&[u8]>, &str); 14] = [
        (None, "null"),
        (Some(b""), "\"\""),
        (Some(b"null"), "null"),
        (
            Some(b" \r\n{ \"to\" : \"a@b.c\", \"n\": 1.50e+3,\"n\":1 }\n"),
            r#"{ "to" : "a@b.c", "n": 1.50e+3,"n":1 }"#,
        ),
        (Some(b"[1, 2]"), "[1, 2]"),
        (Some(b"\"\\u00e9\""), "\"\\u00e9\""),
        (Some("\"é\u{2028}\"".as_bytes()), "\"é\u{2028}\""),
        (Some(b"hello \"you\""), r#""hello \"you\"""#),
        (Some("\u{feff}{}".as_bytes()), "\"\u{feff}{}\""),
        (Some(br#"{"a":"\ud800"}"#), r#""{\"a\":\"\\ud800\"}""#),
        (Some(deep.as_bytes()), &format!("\"{deep}\"")),
        (Some(nul_text.as_bytes()), &format!(r#"{{"base64":"{}"}}"#, "A".repeat(40))),
        (Some(b"\0\0\0\0\x01\xFF"), r#"{"base64":"AAAAAAH/"}"#),
        (Some(b"\xFF"), r#"{"base64":"/w=="}"#),
    ];
    for (value, expected) in cases {
        let failure = Failure::before_attempt(Stage::Decode, Cause::Malformed, "x");
        let encoded = encode(&letter(record(value), failure), &settings(), usize::MAX);
        assert_eq!(original(&encoded.value), expected);
    }
}

#[test]
fn recipients_are_named_unless_the_record_is_no_e_mail() {
    let value: &[u8] = br#"{"to":"a@b.c","otp":"1"}"#;
    let before = |stage, cause| Failure::before_attempt(stage, cause, "x");
    let cases = [
        (before(Stage::Decode, Cause::Malformed), 0),
        (before(Stage::Decode, Cause::Invalid), 0),
        (before(Stage::Decode, Cause::TooLarge), 0),
        (before(Stage::Render, Cause::TooLarge), 1),
        (before(Stage::Render, Cause::Render), 1),
        (before(Stage::Decode, Cause::InvalidSender), 1),
        (before(Stage::Decode, Cause::Expired), 1),
        (before(Stage::Render, Cause::InvalidSender), 1),
        (Failure::timed_out(Stage::FinalDot), 1),
        (Failure::crashed("panicked"), 1),
    ];
    for (failure, count) in cases {
        let named = value_of(&letter(record(Some(value)), failure.clone()));
        assert_eq!(named["recipients"].as_array().unwrap().len(), count, "{failure:?}");
    }
}

#[test]
fn a_job_of_the_whole_form_is_kept_byte_for_byte_whatever_it_is_given_up_for() {
    // Members in no order, numbers and escapes as a library would not write them, an unknown member.
    let value = br#"{ "expires_at":"2000-01-01T00:00:00.0Z" ,"template":"\u0077elcome","variables":{"n":1.50e+3,"n":2},
        "attachments":[{"content":"QQ==","filename":"a\/b","x":[]}],"headers":{"x-B":"1","X-A":"\u00e9"},
        "bcc":"c@b.c","to":["a@b.c","\u00e5da@b.c"],"unknown":null, "from":"f@else.example" }"#;
    for (stage, cause) in [
        (Stage::Decode, Cause::Expired),
        (Stage::Decode, Cause::InvalidSender),
        (Stage::Render, Cause::Render),
        (Stage::Render, Cause::TooLarge),
        (Stage::Render, Cause::InvalidRecipient),
        (Stage::Decode, Cause::Invalid),
    ] {
        let letter = letter(record(Some(value)), Failure::before_attempt(stage, cause, "x"));
        let encoded = encode(&letter, &settings(), usize::MAX);
        assert_eq!(original(&encoded.value).as_bytes(), value, "{cause}");
        let json: Json = serde_json::from_slice(&encoded.value).unwrap();
        let recipients =
            if cause == Cause::Invalid { json!([]) } else { json!(["a@b.c", "åda@b.c", "c@b.c"]) };
        assert_eq!(json["recipients"], recipients, "{cause}");
        assert_eq!((&json["smtp_code"], &json["attempts"]), (&Json::Null, &json!([])));
        assert!(json["message_id"].as_str().unwrap().ends_with("@else.example>"));
    }
}

#[test]
fn headers_are_the_jobs_own_then_spring_kafkas_replaced_and_never_doubled() {
    let mut record = record(Some(b"x"));
    let own = |name: &str, value: Option<&str>| (name.to_owned(), value.map(|v| Bytes::from(v.to_owned())));
    record.headers = vec![
        own("b", Some("1")),
        own("kafka_dlt-original-offset", Some("stale")),
        own("traceparent", Some("00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01")),
        own("a", None),
        own("kafka_dlt-exception-fqcn", Some("stale")),
        own("b", Some("2")),
        own("kafka_dlt-exception-fqcn", Some("stale")),
        own("mailroom-replay-count", Some("no number")),
    ];
    let reason = "ü".repeat(600);
    let failure = Failure::before_attempt(Stage::Decode, Cause::Malformed, reason.clone());
    let encoded = encode(&letter(record, failure), &settings(), usize::MAX);
    let cut = "ü".repeat(512);
    let expected: [(&str, Option<&[u8]>); 12] = [
        ("b", Some(b"1")),
        ("traceparent", Some(b"00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01")),
        ("a", None),
        ("b", Some(b"2")),
        ("mailroom-replay-count", Some(b"no number")),
        ("kafka_dlt-original-topic", Some(b"email-queue")),
        ("kafka_dlt-original-partition", Some(&[0, 0, 0, 3])),
        ("kafka_dlt-original-offset", Some(&[0, 0, 0, 0, 0, 0, 0, 42])),
        ("kafka_dlt-original-timestamp", Some(&1_700_000_000_123_i64.to_be_bytes())),
        ("kafka_dlt-original-consumer-group", Some(b"email-workers")),
        ("kafka_dlt-exception-fqcn", Some(b"mailroom.malformed")),
        ("kafka_dlt-exception-message", Some(cut.as_bytes())),
    ];
    let found: Vec<_> = encoded.headers.iter().map(|(n, v)| (n.as_str(), v.as_deref())).collect();
    assert_eq!(found, expected);
    let value: Json = serde_json::from_slice(&encoded.value).unwrap();
    assert_eq!(value["error_reason"], Json::String(reason));
}

#[test]
fn a_header_text_is_cut_between_characters() {
    let text = format!("{}é", "a".repeat(1023));
    assert_eq!(capped(&text), "a".repeat(1023));
    assert_eq!(capped(&"a".repeat(1024)).len(), 1024);
}

proptest! {
    #[test]
    fn any_record_makes_a_letter_that_is_json_and_gives_the_record_back(
        value in prop_oneof![
            prop::collection::vec(any::<u8>(), 0..60),
            "[{}\\[\\]\":,a0\\\\ué\n ]{0,30}".prop_map(String::into_bytes),
            any::<String>().prop_map(|text| json!({"to": "a@b.c", "text": text}).to_string().into_bytes()),
        ],
        reason in any::<String>(),
    ) {
        let failure = Failure::before_attempt(Stage::Decode, Cause::Malformed, reason.clone());
        let encoded = encode(&letter(record(Some(&value)), failure), &settings(), usize::MAX);
        let parsed: Json = serde_json::from_slice(&encoded.value).unwrap();
        prop_assert_eq!(&parsed["error_reason"], &Json::String(reason));
        if let Ok(json) = json::read(&value) {
            let outer = |byte: &u8| b" \t\r\n".contains(byte);
            let from = value.iter().position(|byte| !outer(byte)).unwrap();
            let to = value.iter().rposition(|byte| !outer(byte)).unwrap();
            prop_assert_eq!(json.get().as_bytes(), &value[from..=to]);
            prop_assert_eq!(original(&encoded.value), json.get());
        } else {
            let back = match &parsed["original_message"] {
                Json::String(text) => text.clone().into_bytes(),
                other => STANDARD.decode(other["base64"].as_str().unwrap()).unwrap(),
            };
            prop_assert_eq!(back, value);
        }
    }
}

fn own(name: &str, length: usize) -> (String, Option<Bytes>) {
    (name.to_owned(), Some(Bytes::from(vec![b'h'; length])))
}

/// A letter with something of everything.
fn large(value: &[u8], headers: &[usize], attempts: usize, error: &str) -> DeadLetter {
    let mut record = record(Some(value));
    record.headers = headers.iter().enumerate().map(|(n, length)| own(&format!("h{n}"), *length)).collect();
    record.headers.insert(0, ("traceparent".into(), Some("00-4bf9-00f0-01".into())));
    let mut letter = letter(record, Failure::before_attempt(Stage::Handler, Cause::Unknown, error));
    letter.attempts = (1..=attempts)
        .map(|number| Attempt {
            number: u32::try_from(number).unwrap(),
            at: letter.failed_at,
            stage: Stage::Rcpt,
            error: error.into(),
            took_ms: 1,
        })
        .collect();
    letter
}

fn job(text: usize) -> Vec<u8> {
    json!({"to": "ada@example.com", "text": "x".repeat(text)}).to_string().into_bytes()
}

#[test]
fn headers_and_history_go_before_the_job_and_the_stub_comes_last() {
    let letter = large(&job(3000), &[100, 2000, 50], 5, &"e".repeat(1500));
    let names = |encoded: &EncodedLetter| -> Vec<String> {
        let names = encoded.headers.iter().map(|(name, _)| name.clone());
        names.filter(|name| !name.starts_with("kafka_dlt-")).collect()
    };
    let whole = encode(&letter, &settings(), usize::MAX);
    let at = |limit: usize| {
        let encoded = encode(&letter, &settings(), limit);
        assert!(encoded.size() <= limit, "{} is over {limit}", encoded.size());
        let value: Json = serde_json::from_slice(&encoded.value).unwrap();
        (names(&encoded), value["attempts"].as_array().unwrap().len(), value["original_message"].clone())
    };
    let kept: Json = serde_json::from_slice(&job(3000)).unwrap();
    assert_eq!(at(whole.size()), (names(&whole), 5, kept.clone()));
    assert_eq!(at(whole.size() - 1).0, ["traceparent", "h0", "h2"], "the largest header goes first");
    assert_eq!(at(whole.size() - 2003), (vec!["traceparent".into(), "h2".into()], 5, kept.clone()));
    assert_eq!(at(whole.lean_size), (vec!["traceparent".into()], 1, kept));
    let (headers, attempts, original) = at(whole.lean_size - 1);
    assert_eq!((headers, attempts), (vec!["traceparent".into()], 1));
    use sha2::{Digest, Sha256};
    let sha256 = format!("{:x}", Sha256::digest(job(3000)));
    assert_eq!(original, json!({"omitted": true, "bytes": job(3000).len(), "sha256": sha256}));
}

#[test]
fn the_smallest_letter_still_says_where_the_job_lies() {
    let mut letter = large(&job(100_000), &[5000; 9], 3, "550 5.1.1 No such user");
    let mut record = (*letter.record).clone();
    record.key = Some(Bytes::from(vec![b'k'; 50_000]));
    letter.record = Arc::new(record);
    let encoded = encode(&letter, &settings(), 0);
    assert!(encoded.size() < 1200, "{}", encoded.size());
    assert_eq!(encoded.key, None);
    let value: Json = serde_json::from_slice(&encoded.value).unwrap();
    assert_eq!(value["source"]["offset"], 42);
    assert_eq!(value["original_message"]["omitted"], true);
}

proptest! {
    #[test]
    fn a_letter_is_within_its_limit_whenever_its_stub_is_and_whole_whenever_it_fits(
        text in 0..4000_usize,
        headers in prop::collection::vec(0..1500_usize, 0..6),
        attempts in 0..6_usize,
        error in 0..2000_usize,
        part in 0.0..1.2_f64,
    ) {
        let letter = large(&job(text), &headers, attempts, &"e".repeat(error));
        let whole = encode(&letter, &settings(), usize::MAX);
        let smallest = encode(&letter, &settings(), 0);
        let limit = (whole.size() as f64 * part) as usize;
        let encoded = encode(&letter, &settings(), limit);
        prop_assert_eq!(&encoded, &encode(&letter, &settings(), limit));
        prop_assert_eq!(encoded.lean_size, whole.lean_size);
        if whole.size() <= limit {
            prop_assert_eq!(&encoded, &whole);
        }
        prop_assert!(encoded.size() <= limit.max(smallest.size()));
        let value: Json = serde_json::from_slice(&encoded.value).unwrap();
        let full: Json = serde_json::from_slice(&whole.value).unwrap();
        // Nothing is taken from the job while anything else could go.
        if whole.lean_size <= limit {
            prop_assert_eq!(&value["original_message"], &full["original_message"]);
            prop_assert_eq!(&encoded.key, &whole.key);
            prop_assert_eq!(&value["recipients"], &full["recipients"]);
        }
        for name in ["retry_count", "failed_at", "worker_id", "cause", "stage", "source", "idempotency_key", "message_id"] {
            prop_assert_eq!(&value[name], &full[name], "{}", name);
        }
        prop_assert_eq!(value.as_object().unwrap().len(), full.as_object().unwrap().len());
        prop_assert_eq!(encoded.headers.iter().filter(|(name, _)| name.starts_with("kafka_dlt-")).count(), 7);
    }
}
