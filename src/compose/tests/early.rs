//! What is asked of a record before it is composed: expiry and tags; and which senders are allowed.

use super::*;

const NOW: &str = "2026-11-24T02:00:00Z";

fn now() -> DateTime<Utc> {
    NOW.parse().unwrap()
}

fn strict(max_age: Option<Duration>) -> MailComposer {
    let rules = config::Email { allowed_from_domains: vec![], max_age };
    MailComposer::new("f@b.c", 1000, rules, Arc::new(TemplateStore::built_in())).unwrap()
}

fn expiring(text: &str) -> Record {
    record(json!({"to": "a@b.c", "text": "x", "expires_at": text}).to_string())
}

fn aged(seconds: i64) -> Record {
    let record = record(json!({"to": "a@b.c", "text": "x"}).to_string());
    Record { timestamp_ms: Some(now().timestamp_millis() - seconds * 1000), ..record }
}

#[test]
fn expires_at_counts_from_now_and_is_never_negative() {
    for (text, left) in [
        ("2026-11-24T02:00:01Z", Duration::from_secs(1)),
        ("2026-11-24T03:00:00.000001+01:00", Duration::from_micros(1)),
        (NOW, Duration::ZERO),
        ("2026-11-24T01:59:59Z", Duration::ZERO),
        ("0000-01-01T00:00:00Z", Duration::ZERO),
        ("9999-12-31T23:59:59Z", MOST_LEFT),
    ] {
        let expected = Some(Expiry { left, set_by: "expires_at" });
        assert_eq!(strict(None).expiry(&expiring(text), now()), expected, "{text}");
    }
    assert_eq!(strict(None).expiry(&aged(1_000_000), now()), None);
}

#[test]
fn a_record_is_too_old_by_its_own_timestamp_however_absurd() {
    let composer = strict(Some(Duration::from_secs(60)));
    let left = |record: &Record| composer.expiry(record, now());
    let aged_out = |left| Some(Expiry { left, set_by: "email.max_age" });
    assert_eq!(left(&aged(0)), aged_out(Duration::from_secs(60)));
    assert_eq!(left(&aged(59)), aged_out(Duration::from_secs(1)));
    assert_eq!(left(&aged(60)), aged_out(Duration::ZERO));
    assert_eq!(left(&aged(-60)), aged_out(Duration::from_secs(120)));
    for (timestamp_ms, expected) in [(i64::MIN, Duration::ZERO), (-1, Duration::ZERO), (i64::MAX, MOST_LEFT)]
    {
        let record = Record { timestamp_ms: Some(timestamp_ms), ..aged(0) };
        assert_eq!(left(&record), aged_out(expected));
        assert_eq!(
            strict(Some(Duration::MAX)).expiry(&record, now()).map(|e| e.set_by),
            Some("email.max_age")
        );
    }
    assert_eq!(left(&Record { timestamp_ms: None, ..aged(0) }), None);
}

#[test]
fn the_earlier_of_the_two_counts() {
    let composer = strict(Some(Duration::from_secs(60)));
    for (text, set_by) in [("2026-11-24T02:00:59Z", "expires_at"), ("2026-11-24T02:01:01Z", "email.max_age")]
    {
        let record = Record { timestamp_ms: Some(now().timestamp_millis()), ..expiring(text) };
        assert_eq!(composer.expiry(&record, now()).unwrap().set_by, set_by);
        let record = Record { timestamp_ms: None, ..expiring(text) };
        assert_eq!(composer.expiry(&record, now()).unwrap().set_by, "expires_at");
    }
}

#[test]
fn what_has_expired_and_is_no_job_is_known_to_be_none() {
    let composer = strict(Some(Duration::from_secs(60)));
    let past = r#""expires_at":"2000-01-01T00:00:00Z""#;
    let long = format!(r#"{{"to":"a@b.c","text":"{}",{past}}}"#, "x".repeat(1000));
    for (value, is_job) in [
        (format!(r#"{{"to":"a@b.c","text":"x",{past}}}"#), true),
        (r#"{"to":"a@b.c","text":"x","e\u0078pires_at":"2000-01-01T00:00:00Z"}"#.into(), true),
        (format!(r#"{{"to":"a@b.c",{past}}}"#), false),
        (format!(r#"{{"to":"a@b.c","text":5,{past}}}"#), false),
        (format!(r#"{{"to":"nobody","text":"x",{past}}}"#), false),
        (format!(r#"{{"to":"a@b.c","text":"x",{past}"#), false),
        (format!(r#"{{"to":"a@b.c","text":"x",{past},{past}}}"#), false),
        (r#"{"to":"a@b.c","text":"x","expires_at":"yesterday"}"#.into(), false),
        (r#"expires_at"#.into(), false),
        (String::new(), false),
        (long, false),
    ] {
        let record = Record { timestamp_ms: Some(0), ..record(value.clone()) };
        let is_read = value.len() <= 1000;
        assert_eq!(composer.expiry(&record, now()).is_some(), is_read, "{value:.100}");
        let failure = composer.why_no_job(&record);
        assert_eq!(failure.is_none(), is_job, "{value:.100}");
        assert_eq!(failure, composer.compose(&record, BodyType::SevenBit).err(), "{value:.100}");
    }
    let null = Record { value: None, ..aged(100) };
    assert_eq!(composer.expiry(&null, now()), None);
    assert_eq!(composer.why_no_job(&null).map(|failure| failure.cause), Some(Cause::Malformed));
}

#[test]
fn tags_are_shown_as_json_with_addresses_masked() {
    let tags = |tags: serde_json::Value| {
        let job = json!({"to": "a@b.c", "text": "x", "tags": tags});
        strict(None).tags(&record(job.to_string()))
    };
    let shown = |text: &str| Some(text.to_owned());
    assert_eq!(tags(json!({"kind": "welcome", "b": "ü\"\\"})), shown(r#"{"b":"ü\"\\","kind":"welcome"}"#));
    assert_eq!(tags(json!({"for": "ada@x.org"})), shown(r#"{"for":"a***@x.org"}"#));
    assert_eq!(tags(json!({"ada@x.org": "\"ada l\"@x.org"})), shown(r#"{"a***@x.org":"\"***\"@x.org"}"#));
    for none in
        [json!({}), json!(null), json!({"a": null}), json!({"a": 1}), json!([]), json!({"a": "x".repeat(65)})]
    {
        assert_eq!(tags(none.clone()), None, "{none}");
    }
    let long = json!({"to": "a@b.c", "text": "x".repeat(1000), "tags": {"a": "b"}}).to_string();
    assert_eq!(strict(None).tags(&record(long)), None, "a record over the limit is not read");
    assert_eq!(strict(None).tags(&record(r#"{"tags":{"a":"b"}"#)), None);
}

#[test]
fn a_sender_outside_the_allowed_domains_is_no_sender() {
    let rules = config::Email {
        allowed_from_domains: vec!["shop.example".into(), "xn--bcher-kva.example".into()],
        max_age: None,
    };
    let composer =
        MailComposer::new("noreply@shop.example", LIMIT, rules, Arc::new(TemplateStore::built_in())).unwrap();
    let from = |from: Option<&str>| {
        let job = json!({"to": "a@b.c", "text": "x", "from": from});
        composer.compose(&record(job.to_string()), BodyType::SevenBit)
    };
    for allowed in [None, Some("a@shop.example"), Some("A <a@SHOP.Example>"), Some("a@bücher.example")] {
        assert!(from(allowed).is_ok(), "{allowed:?}");
    }
    for refused in ["a@b.c", "a@sub.shop.example", "a@notshop.example", "a@shop.example.com", "a@[192.0.2.1]"]
    {
        let failure = from(Some(refused)).unwrap_err();
        assert_eq!((failure.stage, failure.cause), (Stage::Decode, Cause::InvalidSender), "{refused}");
        assert_eq!(failure.reason, "from: its domain is not one of email.allowed_from_domains");
        assert!(!failure.spends_attempt);
    }
}
