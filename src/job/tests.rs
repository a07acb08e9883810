//! What a record must look like to be a job, case by case, and that any bytes get an answer.

use bytes::Bytes;
use mailroom_actors::domain::failure::{Cause, Stage};
use mailroom_actors::domain::job::Record;
use proptest::prelude::*;

use super::*;

mod form;

const NO_LIMIT: usize = usize::MAX;

fn record(value: &[u8]) -> Record {
    Record {
        topic: "email-queue".into(),
        partition: 3,
        offset: 42,
        timestamp_ms: Some(1_700_000_000_000),
        key: None,
        value: Some(Bytes::copy_from_slice(value)),
        headers: Vec::new(),
    }
}

fn refusal(value: impl AsRef<[u8]>) -> (Cause, String) {
    let record = record(value.as_ref());
    let failure = decode(&record, NO_LIMIT).expect_err("it is no good job");
    assert_eq!(failure.stage, Stage::Decode);
    assert!(!failure.spends_attempt);
    (failure.cause, failure.reason)
}

fn addresses(list: &[Mailbox]) -> Vec<&str> {
    list.iter().map(|mailbox| mailbox.address.as_str()).collect()
}

fn default_from() -> Mailbox {
    Mailbox::parse("Mailroom <noreply@shop.example>").unwrap()
}

#[test]
fn the_guides_form_is_enough() {
    let record = record(br#"{"to": "ada@example.com", "otp": "493021"}"#);
    let job = decode(&record, NO_LIMIT).unwrap();
    assert_eq!(addresses(&job.to), ["ada@example.com"]);
    assert_eq!(job.otp.as_deref(), Some("493021"));
    assert_eq!(job.idempotency_key, "email-queue-3-42");
    assert_eq!((job.subject, job.text, job.html, job.from), (None, None, None, None));
}

#[test]
fn every_field_and_every_form_of_an_address_is_read() {
    let record = record(
        r#"{"to": ["a@x.org", "Bé <b@x.org>", {"email": "c@x.org", "name": "C, the third", "more": [1]}],
            "cc": {"email": "d@x.org", "name": null}, "bcc": ["e@x.org"], "from": "Shop <f@shop.org>",
            "reply_to": {"email": "g@x.org"}, "subject": "caf\u00e9", "text": "", "html": "<p>\n</p>",
            "id": "order-1", "tags": {"kind": "welcome", "none": null}, "unknown": {"to": 5, "to": 6},
            "variables": {"x": [null, {}]}, "template": null, "attachments": null}"#
            .as_bytes(),
    );
    let job = decode(&record, NO_LIMIT).unwrap();
    let names: Vec<_> = job.to.iter().map(|mailbox| mailbox.name.as_deref()).collect();
    assert_eq!(addresses(&job.to), ["a@x.org", "b@x.org", "c@x.org"]);
    assert_eq!(names, [None, Some("Bé"), Some("C, the third")]);
    assert_eq!(job.cc, [Mailbox::parse("d@x.org").unwrap()]);
    assert_eq!(addresses(&job.bcc), ["e@x.org"]);
    assert_eq!(job.from, Some(Mailbox::parse("Shop <f@shop.org>").unwrap()));
    assert_eq!(job.reply_to, Some(Mailbox::parse("g@x.org").unwrap()));
    assert_eq!(job.subject.as_deref(), Some("café"));
    assert_eq!((job.text.as_deref(), job.html.as_deref()), (Some(""), Some("<p>\n</p>")));
    assert_eq!(job.idempotency_key, "order-1");
    assert_eq!(job.tags.into_iter().collect::<Vec<_>>(), [("kind".into(), "welcome".into())]);
}

#[test]
fn bytes_that_are_no_job_are_malformed() {
    let deep = |levels: usize| {
        format!(r#"{{"to":"a@b.c","otp":"1","x":{}{}}}"#, "[".repeat(levels), "]".repeat(levels))
    };
    assert!(decode(&record(deep(127).as_bytes()), NO_LIMIT).is_ok());
    let deep = deep(128);
    let cases: &[(&[u8], &str)] = &[
        (b"", "the value is empty"),
        (b"\0\0\0\0\x07\x02", "Avro"),
        (b"\xEF\xBB\xBF{\"to\":\"a@b.c\",\"otp\":\"1\"}", "byte order mark"),
        (b"{\"to\":\"a@b.c\",\"otp\":\"\xC3\"}", "not UTF-8"),
        (b"to=ada", "not JSON"),
        (br#"{"to":"a@b.c","otp":"1"} x"#, "not JSON"),
        (br#"{"to":"a@b.c","otp":"1"#, "not JSON"),
        (br#"{"to":"a@b.c","otp":"1","x":"\ud800"}"#, "lone surrogate"),
        (br#"{"to":"a@b.c","otp":"\udc00"}"#, "lone surrogate"),
        (deep.as_bytes(), "more than 128 levels deep"),
        (b"null", "the value: must be an object, not null"),
        (b"[]", "the value: must be an object, not an array"),
        (b"\"{}\"", "the value: must be an object, not a string"),
        (br#"{"to":"a@b.c","to":"a@b.c","otp":"1"}"#, "to: appears twice"),
        (br#"{"to":"a@b.c","otp":null,"\u006ftp":"1"}"#, "otp: appears twice"),
        (br#"{"to":{"email":"a@b.c","email":"a@b.c"},"otp":"1"}"#, "to.email: appears twice"),
        (br#"{"to":"a@b.c","otp":493021}"#, "otp: must be a string, not a number"),
        (br#"{"otp":493021}"#, "otp: must be a string, not a number"),
        (br#"{"to":"a@b.c","text":["x"]}"#, "text: must be a string, not an array"),
        (br#"{"to":"a@b.c","html":true}"#, "html: must be a string, not true or false"),
        (br#"{"to":"a@b.c","subject":{},"otp":"1"}"#, "subject: must be a string, not an object"),
        (br#"{"to":"a@b.c","id":7,"otp":"1"}"#, "id: must be a string"),
        (br#"{"to":7,"otp":"1"}"#, "to: must be an address"),
        (
            br#"{"to":["a@b.c",null],"otp":"1"}"#,
            "to[1]: must be an address (a string, or an object with email), not null",
        ),
        (br#"{"to":["a@b.c",["d@e.f"]],"otp":"1"}"#, "to[1]: must be an address"),
        (br#"{"to":"a@b.c","cc":[{"email":5}],"otp":"1"}"#, "cc[0].email: must be a string, not a number"),
        (br#"{"to":"a@b.c","bcc":[{"email":"a@b.c","name":[]}],"otp":"1"}"#, "bcc[0].name: must be a string"),
        (br#"{"to":"a@b.c","from":["f@b.c"],"otp":"1"}"#, "from: must be an address"),
        (br#"{"to":"a@b.c","reply_to":false,"otp":"1"}"#, "reply_to: must be an address"),
        (br#"{"to":"a@b.c","tags":[],"otp":"1"}"#, "tags: must be an object, not an array"),
        (br#"{"to":"a@b.c","tags":{"a":1},"otp":"1"}"#, "tags, a value: must be a string"),
        (br#"{"to":"a@b.c","template":1}"#, "template: must be a string"),
        (br#"{"to":"a@b.c","otp":"1","variables":"x"}"#, "variables: must be an object"),
        (br#"{"to":"a@b.c","otp":"1","attachments":{}}"#, "attachments: must be an array"),
        (br#"{"to":"a@b.c","otp":"1","attachments":[null]}"#, "attachments[0]: must be an object"),
        (
            br#"{"to":"a@b.c","otp":"1","attachments":[{"content":1}]}"#,
            "attachments[0].content: must be a string",
        ),
        (br#"{"to":"a@b.c","otp":"1","headers":[]}"#, "headers: must be an object"),
        (br#"{"to":"a@b.c","otp":"1","expires_at":1}"#, "expires_at: must be a string"),
    ];
    for (value, expected) in cases {
        let (cause, reason) = refusal(value);
        assert_eq!(cause, Cause::Malformed, "{reason}");
        assert!(reason.contains(expected), "{reason:?} should say {expected:?}");
    }
    let null = Record { value: None, ..record(b"") };
    let failure = decode(&null, NO_LIMIT).unwrap_err();
    assert_eq!((failure.cause, failure.reason.as_str()), (Cause::Malformed, "the value is null"));
}

#[test]
fn a_job_that_makes_no_e_mail_is_invalid() {
    let long_subject = format!(r#"{{"to":"a@b.c","otp":"1","subject":"{}"}}"#, "s".repeat(999));
    let long_id = format!(r#"{{"to":"a@b.c","otp":"1","id":"{}"}}"#, "i".repeat(257));
    let tags = |name: &str, value: &str, count: usize| {
        let tags: Vec<_> = (0..count).map(|index| format!(r#""{index}{name}":"{value}""#)).collect();
        format!(r#"{{"to":"a@b.c","otp":"1","tags":{{{}}}}}"#, tags.join(","))
    };
    let many_tags = tags("t", "v", 11);
    let long_tag = tags(&"t".repeat(64), "v", 1);
    let long_value = tags("t", &"ü".repeat(33), 1);
    let cases = [
        (r#"{}"#, "to: is missing"),
        (r#"{"otp":"1","to":null}"#, "to: is missing"),
        (r#"{"otp":"1","to":[]}"#, "to: is empty"),
        (r#"{"otp":"1","to":""}"#, "to: is not an e-mail address"),
        (r#"{"otp":"1","to":"ada"}"#, "to: is not an e-mail address"),
        (r#"{"otp":"1","to":"a@b.c, d@e.f"}"#, "to: holds several addresses"),
        (r#"{"otp":"1","to":["a@b.c","b@"]}"#, "to[1]: is not an e-mail address"),
        (r#"{"otp":"1","to":"a@b.c","cc":["x"]}"#, "cc[0]: is not an e-mail address"),
        (r#"{"otp":"1","to":"a@b.c","bcc":"x"}"#, "bcc: is not an e-mail address"),
        (r#"{"otp":"1","to":["a@b.c","a@b.c",{"name":"x"}]}"#, "to[2].email: is missing"),
        (r#"{"otp":"1","to":{"email":null}}"#, "to.email: is missing"),
        (r#"{"otp":"1","to":{"email":"Ada <a@b.c>"}}"#, "to.email: is not an e-mail address"),
        (
            r#"{"otp":"1","to":{"email":"a@b.c","name":"A\r\nBcc: x@y.z"}}"#,
            "to.name: holds a control character",
        ),
        (r#"{"otp":"1","to":"A\n <a@b.c>"}"#, "to: holds a control character"),
        (r#"{"otp":"1","to":"a@b.c\u0000"}"#, "to: holds a control character"),
        (r#"{"otp":"1","to":"a@b.c","from":"f"}"#, "from: is not an e-mail address"),
        (r#"{"otp":"1","to":"a@b.c","from":{"name":"F"}}"#, "from.email: is missing"),
        (r#"{"otp":"1","to":"a@b.c","from":"F\u0085 <f@b.c>"}"#, "from: holds a control character"),
        (r#"{"otp":"1","to":"a@b.c","reply_to":"a@b.c\u2028"}"#, "reply_to: holds a control character"),
        (r#"{"otp":"1","to":"a@b.c","subject":"a\tb"}"#, "subject: holds a control character"),
        (r#"{"otp":"1","to":"a@b.c","subject":"a\u007fb"}"#, "subject: holds a control character"),
        (r#"{"otp":"1","to":"a@b.c","subject":"a\u2029b"}"#, "subject: holds a control character"),
        (r#"{"otp":"1","to":"a@b.c","subject":"a\r\nBcc: x@y.z"}"#, "subject: holds a control character"),
        (&long_subject, "subject: is longer than 998 bytes"),
        (r#"{"to":"a@b.c"}"#, "nothing to say"),
        (r#"{"to":"a@b.c","subject":"s","text":null}"#, "nothing to say"),
        (r#"{"to":"a@b.c","otp":"1","id":""}"#, "id: must have 1 to 256 bytes"),
        (&long_id, "id: must have 1 to 256 bytes"),
        (&many_tags, "tags: more than 10"),
        (&long_tag, "tags: a name or value is longer than 64 bytes"),
        (&long_value, "tags: a name or value is longer than 64 bytes"),
        (r#"{"to":"a@b.c","otp":"1","template":"t"}"#, "template, otp: only one of them"),
    ];
    for (value, expected) in cases {
        let (cause, reason) = refusal(value);
        assert_eq!(cause, Cause::Invalid, "{value}: {reason}");
        assert!(reason.contains(expected), "{reason:?} should say {expected:?}");
    }
}

#[test]
fn every_control_character_is_refused_in_every_header_bound_field() {
    let controls = (0..0x20).chain(0x7F..0xA0).chain([0x2028, 0x2029]);
    for control in controls {
        let c = format!("\\u{control:04x}");
        for job in [
            format!(r#"{{"otp":"1","to":"a@b.c","subject":"x{c}y"}}"#),
            format!(r#"{{"otp":"1","to":"x{c}y <a@b.c>"}}"#),
            format!(r#"{{"otp":"1","to":"x{c}y@b.c"}}"#),
            format!(r#"{{"otp":"1","to":"\"x{c}y\"@b.c"}}"#),
            format!(r#"{{"otp":"1","to":"x@b{c}.c"}}"#),
            format!(r#"{{"otp":"1","to":"a@b.c","cc":{{"email":"a@b.c","name":"{c}"}}}}"#),
        ] {
            let (cause, reason) = refusal(&job);
            assert!(cause == Cause::Invalid && reason.contains("control character"), "{job}: {reason}");
        }
        let body = format!(r#"{{"otp":"x{c}y","text":"{c}","html":"{c}","id":"x{c}","to":"a@b.c"}}"#);
        assert!(decode(&record(body.as_bytes()), NO_LIMIT).is_ok(), "bodies may hold anything: {c}");
    }
}

#[test]
fn limits_are_inclusive() {
    let subject = "s".repeat(998);
    let tags: Vec<_> = (0..10).map(|n| format!(r#""{n}{}":"{}""#, "t".repeat(63), "v".repeat(64))).collect();
    let tags = tags.join(",");
    let id = "i".repeat(256);
    let value = format!(r#"{{"to":"a@b.c","otp":"1","subject":"{subject}","tags":{{{tags}}},"id":"{id}"}}"#);
    let record = record(value.as_bytes());
    assert!(decode(&record, value.len()).is_ok());
    let failure = decode(&record, value.len() - 1).unwrap_err();
    assert_eq!((failure.stage, failure.cause), (Stage::Decode, Cause::TooLarge));
    assert!(failure.reason.contains("limits.message_bytes"), "{}", failure.reason);
}

#[test]
fn a_record_over_the_limit_is_not_parsed() {
    let failure = decode(&record(b"this is no JSON at all"), 10).unwrap_err();
    assert_eq!(failure.cause, Cause::TooLarge);
}

#[test]
fn an_address_named_twice_counts_once_and_the_first_naming_wins() {
    let record = record(
        br#"{"otp":"1","to":["a@x.org","A <a@X.ORG>","b@x.org"],"cc":["b@x.org","c@x.org","A@x.org"],
             "bcc":["c@x.org","d@x.org","d@x.org","a@x.org"]}"#,
    );
    let job = decode(&record, NO_LIMIT).unwrap();
    assert_eq!(addresses(&job.to), ["a@x.org", "b@x.org"]);
    assert_eq!(addresses(&job.cc), ["c@x.org", "A@x.org"]);
    assert_eq!(addresses(&job.bcc), ["d@x.org"]);
    let all: Vec<_> = job.recipients().map(Address::as_str).collect();
    assert_eq!(all, ["a@x.org", "b@x.org", "c@x.org", "A@x.org", "d@x.org"]);
}

#[test]
fn a_hundred_recipients_are_taken_and_one_more_is_not() {
    let job = |to: usize, cc: usize, bcc: usize| {
        let list = |name: &str, count: usize| {
            let list: Vec<_> = (0..count).map(|n| format!("\"{name}{n}@x.org\"")).collect();
            format!("[{}]", list.join(","))
        };
        let (to, cc, bcc) = (list("t", to), list("c", cc), list("b", bcc));
        format!(r#"{{"otp":"1","to":{to},"cc":{cc},"bcc":{bcc}}}"#)
    };
    for (to, cc, bcc) in [(100, 0, 0), (40, 30, 30), (1, 0, 99)] {
        assert!(decode(&record(job(to, cc, bcc).as_bytes()), NO_LIMIT).is_ok());
    }
    for (to, cc, bcc) in [(101, 0, 0), (40, 30, 31), (1, 100, 0), (10_000, 0, 0)] {
        let (cause, reason) = refusal(job(to, cc, bcc));
        assert_eq!(cause, Cause::Invalid);
        assert!(reason.contains("more than 100 recipients"), "{reason}");
    }
    let same = vec!["\"a@x.org\""; 150].join(",");
    assert!(decode(&record(format!(r#"{{"otp":"1","to":[{same}]}}"#).as_bytes()), NO_LIMIT).is_ok());
}

#[test]
fn reasons_hold_nothing_of_the_job() {
    for job in [
        r#"{"to":"secret@b.c","otp":98765,"text":"98765"}"#,
        r#"{"to":"secret","otp":"98765"}"#,
        r#"{"to":"a@b.c","otp":"98765","secret":98765,}"#,
        r#"{"to":"a@b.c","otp":"98765","subject":"98765\u0000"}"#,
        r#"{"to":"a@b.c","otp":"98765","tags":{"secret":98765}}"#,
        r#"{"to":"a@b.c","otp":"98765" secret"#,
    ] {
        let (_, reason) = refusal(job);
        assert!(!reason.contains("98765") && !reason.contains("secret"), "{reason}");
    }
}

#[test]
fn the_idempotency_key_is_the_id_then_the_last_usable_header_then_the_name() {
    let header = |value: Option<&[u8]>| ("idempotency-key".to_owned(), value.map(Bytes::copy_from_slice));
    let long = [b'x'; 257];
    type Headers = Vec<(String, Option<Bytes>)>;
    let cases: [(&str, Headers, &str); 10] = [
        (r#"{"to":"a@b.c","otp":"1","id":"mine"}"#, vec![header(Some(b"theirs"))], "mine"),
        (r#"{"to":"a@b.c","otp":"1"}"#, vec![header(Some(b"theirs"))], "theirs"),
        (r#"{"to":"a@b.c","otp":"1","id":null}"#, vec![header(Some(b"theirs"))], "theirs"),
        (r#"{"to":"a@b.c","otp":"1"}"#, vec![header(Some(b"one")), header(Some(b"two"))], "two"),
        (r#"{"to":"a@b.c","otp":"1"}"#, vec![header(Some(b"one")), header(Some(b""))], "one"),
        (r#"{"to":"a@b.c","otp":"1"}"#, vec![header(None)], "email-queue-3-42"),
        (r#"{"to":"a@b.c","otp":"1"}"#, vec![header(Some(b"\xFF"))], "email-queue-3-42"),
        (r#"{"to":"a@b.c","otp":"1"}"#, vec![header(Some(&long))], "email-queue-3-42"),
        (
            r#"{"to":"a@b.c","otp":"1"}"#,
            vec![("Idempotency-Key".into(), Some("x".into()))],
            "email-queue-3-42",
        ),
        (r#"{"to":"a@b.c","otp":"1"}"#, vec![], "email-queue-3-42"),
    ];
    for (value, headers, expected) in cases {
        let record = Record { headers, ..record(value.as_bytes()) };
        assert_eq!(decode(&record, NO_LIMIT).unwrap().idempotency_key, expected, "{value}");
        assert_eq!(Identity::of(&record, &default_from()).idempotency_key, expected, "{value}");
    }
}

#[test]
fn an_unreadable_record_still_has_an_identity() {
    let cases: &[(&[u8], &str, &str, usize)] = &[
        (b"garbage", "email-queue-3-42", "@shop.example>", 0),
        (br#"{"id":"x","otp":1,"tags":{"a":"b"}}"#, "x", "@shop.example>", 1),
        (br#"{"id":"x","from":"f@b.c","tags":{"a":1}}"#, "x", "@b.c>", 0),
        (br#"{"id":"x","id":"y","from":"f@b.c"}"#, "email-queue-3-42", "@shop.example>", 0),
        (br#"{"id":"","from":"nobody"}"#, "email-queue-3-42", "@shop.example>", 0),
        (br#"{"id":7,"from":{"email":"f@b.c"}}"#, "email-queue-3-42", "@b.c>", 0),
    ];
    for (value, key, domain, tags) in cases {
        let identity = Identity::of(&record(value), &default_from());
        assert_eq!(identity.idempotency_key, *key);
        assert!(identity.message_id.ends_with(domain), "{}", identity.message_id);
        assert_eq!(identity.tags.len(), *tags);
    }
}

#[test]
fn a_message_id_depends_on_the_key_and_the_domain_only() {
    let from = default_from();
    let id = message_id("order-1", &from);
    // The first 16 bytes of the SHA-256 of "order-1", as sha256sum says.
    assert_eq!(id, "<0bafe22156d2698c143b86040446d366@shop.example>");
    assert_eq!(id, message_id("order-1", &Mailbox::parse("other@shop.example").unwrap()));
    assert_ne!(id, message_id("order-2", &from));
}

/// Text that is likely to come near a job.
fn near_a_job() -> impl Strategy<Value = Vec<u8>> {
    let pieces = prop::sample::select(vec![
        "{",
        "}",
        "[",
        "]",
        "\"",
        ":",
        ",",
        "\"to\":",
        "\"otp\":",
        "\"cc\":",
        "\"from\":",
        "\"a@b.c\"",
        "\"x\"",
        "\"email\":",
        "\"name\":",
        "null",
        "1",
        "true",
        "\\u",
        "\\ud800",
        "\\",
        "é",
        "\"tags\":",
        "\"id\":",
        "\"attachments\":[",
        "\"filename\":",
        "\"content\":\"QQ==\"",
        "\"headers\":{",
        "\"X-A\":",
        "\"expires_at\":",
        "\"2030-01-01T00:00:00Z\"",
        "\"template\":",
        "\u{2028}",
        " <",
        ">",
        "@",
        "\"\\\"\"",
        "\n",
    ]);
    prop_oneof![
        prop::collection::vec(pieces, 0..40).prop_map(|pieces| pieces.concat().into_bytes()),
        prop::collection::vec(any::<u8>(), 0..200),
    ]
}

proptest! {
    #[test]
    fn any_bytes_are_a_job_or_a_failure_found_at_decode(value in near_a_job()) {
        let record = record(&value);
        let identity = Identity::of(&record, &default_from());
        prop_assert_eq!(&tags(&value), &identity.tags);
        let expires_at = expires_at(&value);
        match decode(&record, NO_LIMIT) {
            Ok(job) => {
                let recipients = job.recipients().count();
                prop_assert!((1..=MAX_RECIPIENTS).contains(&recipients));
                prop_assert_eq!(identity.idempotency_key, job.idempotency_key.into_owned());
                prop_assert_eq!(expires_at, job.expires_at);
            }
            Err(failure) => {
                prop_assert_eq!(failure.stage, Stage::Decode);
                prop_assert!(matches!(failure.cause, Cause::Malformed | Cause::Invalid));
            }
        }
    }

    #[test]
    fn any_string_is_an_address_or_not_and_a_read_one_reads_the_same_again(text in "[ -~é\u{3a9}\u{2028}]{0,30}(@[a-zü.-]{1,20})?>?") {
        if let Ok(mailbox) = Mailbox::parse(&text) {
            let address = mailbox.address.as_str();
            prop_assert_eq!(Address::parse(address), Ok(mailbox.address.clone()));
            prop_assert!(mailbox.address.domain().is_ascii());
        }
    }
}
