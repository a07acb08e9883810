//! Attachments, headers, templates, expiry and early looks: accepted, refused, and what the reasons may say.

use super::*;

/// A job with more members.
fn with(members: &str) -> String {
    format!(r#"{{"to":"a@b.c","text":"x",{members}}}"#)
}

fn attached(members: &str) -> String {
    with(&format!(r#""attachments":[{{{members}}}]"#))
}

fn titled(name: &str, value: &str) -> String {
    with(&format!(r#""headers":{}"#, serde_json::json!({name: value})))
}

fn assert_refused(cases: &[(String, Cause, &str)]) {
    for (job, cause, expected) in cases {
        let (found, reason) = refusal(job);
        assert_eq!(found, *cause, "{job:.200}: {reason}");
        assert!(reason.contains(expected), "{reason:?} should say {expected:?}");
    }
}

#[test]
fn attachments_are_read_with_their_defaults() {
    let json = with(
        r#""attachments":[{"filename":"a.txt","content":""},
            {"content_id":"<logo@x>","content":"iVBO\/+==","filename":"img/logo.png","content_type":"image/png","size":3},
            {"content":"QQ==","filename":"ü.bin","content_type":null,"content_id":null}]"#,
    )
    .replace("iVBO\\/+==", "iVBO\\/w==");
    let record = record(json.as_bytes());
    let job = decode(&record, NO_LIMIT).unwrap();
    let seen: Vec<_> = job
        .attachments
        .iter()
        .map(|a| (&*a.filename, &*a.content_type.essence, &*a.content, a.content_id.as_deref()))
        .collect();
    assert_eq!(
        seen,
        [
            ("a.txt", "application/octet-stream", "", None),
            ("logo.png", "image/png", "iVBO/w==", Some("logo@x")),
            ("ü.bin", "application/octet-stream", "QQ==", None),
        ]
    );
}

#[test]
fn attachments_that_can_not_be_sent_are_refused() {
    use Cause::{Invalid, Malformed};
    let id = |id: &str| {
        attached(&format!(r#""filename":"a","content":"","content_id":{}"#, serde_json::json!(id)))
    };
    let two = r#""attachments":[{"filename":"a","content":"","content_id":"x"},
                                {"filename":"b","content":"","content_id":"<x>"}]"#;
    assert_refused(&[
        (with(r#""attachments":"x""#), Malformed, "attachments: must be an array, not a string"),
        (with(r#""attachments":[null]"#), Malformed, "attachments[0]: must be an object, not null"),
        (attached(r#""filename":1,"content":"""#), Malformed, "attachments[0].filename: must be a string"),
        (
            attached(r#""filename":"a","content":["QQ=="]"#),
            Malformed,
            "attachments[0].content: must be a string",
        ),
        (
            attached(r#""filename":"a","content":"","content_type":5"#),
            Malformed,
            "content_type: must be a string",
        ),
        (
            attached(r#""filename":"a","content":"","content_id":{}"#),
            Malformed,
            "content_id: must be a string",
        ),
        (
            attached(r#""filename":"a","content":"","filename":"a""#),
            Malformed,
            "attachments[0].filename: appears twice",
        ),
        (attached(r#""content":"""#), Invalid, "attachments[0].filename: is missing"),
        (attached(r#""content":"","filename":null"#), Invalid, "attachments[0].filename: is missing"),
        (attached(r#""filename":"a""#), Invalid, "attachments[0].content: is missing"),
        (attached(r#""filename":"..","content":"""#), Invalid, "attachments[0].filename: names no file"),
        (
            attached(r#""filename":"a\r\n","content":"""#),
            Invalid,
            "attachments[0].filename: holds a control character",
        ),
        (
            attached(r#""filename":"a\n/b","content":"""#),
            Invalid,
            "attachments[0].filename: holds a control character",
        ),
        (
            attached(r#""filename":"a","content":"QUJD\nQUJD""#),
            Invalid,
            "attachments[0].content: not base64 (at byte 4)",
        ),
        (attached(r#""filename":"a","content":"QQ""#), Invalid, "attachments[0].content: not base64"),
        (
            attached(r#""filename":"a","content":"","content_type":"png""#),
            Invalid,
            "content_type: is not a media type",
        ),
        (
            attached(r#""filename":"a","content":"","content_type":"""#),
            Invalid,
            "content_type: is not a media type",
        ),
        (id(""), Invalid, "attachments[0].content_id: must have 1 to 256 bytes"),
        (id("<>"), Invalid, "content_id: must have 1 to 256 bytes"),
        (id(&"x".repeat(257)), Invalid, "content_id: must have 1 to 256 bytes"),
        (id("a b"), Invalid, "content_id: must be printable ASCII"),
        (id("<a"), Invalid, "content_id: must be printable ASCII"),
        (id("ä"), Invalid, "content_id: must be printable ASCII"),
        (with(two), Invalid, "attachments[1].content_id: is another attachment's already"),
    ]);
    assert!(decode(&record(id(&format!("<{}>", "x".repeat(256))).as_bytes()), NO_LIMIT).is_ok());
}

#[test]
fn headers_are_kept_in_order_as_they_were_given() {
    let url = format!("<https://x.example/{}>", "u".repeat(900));
    let json = with(&format!(
        r#""headers":{{"x-b":" two ","X-A":"","List-Unsubscribe":"{url}, <mailto:u@x.example>","X-C":null,
            "REFERENCES":"<a@b> <c@d>","in-reply-to":"<a@b>","Auto-Submitted":"auto-replied","Precedence":"bulk",
            "Feedback-ID":"a:b:c","X-!#$%&'*+.^_`|~":"x","List-Id":"Große Liste <l.example>"}}"#
    ));
    let record = record(json.as_bytes());
    let job = decode(&record, NO_LIMIT).unwrap();
    let lines: Vec<_> = job.headers.iter().map(|header| (&*header.name, &*header.value)).collect();
    assert_eq!(
        lines[..3],
        [("x-b", "two"), ("X-A", ""), ("List-Unsubscribe", &*format!("{url}, <mailto:u@x.example>"))]
    );
    assert_eq!(lines.len(), 10);
    assert!(job.headers[0].is("X-B") && job.headers[0].is_free() && !job.headers[2].is_free());
}

#[test]
fn headers_off_the_list_or_that_can_not_be_written_are_refused() {
    use Cause::{Invalid, Malformed};
    let mut cases = vec![
        (with(r#""headers":[]"#), Malformed, "headers: must be an object, not an array"),
        (with(r#""headers":{"X-A":1}"#), Malformed, "headers.X-A: must be a string, not a number"),
        (with(r#""headers":{"Bcc\n":true}"#), Malformed, "headers[0]: must be a string, not true or false"),
        (with(r#""headers":{"X-A":"1","x-a":"2"}"#), Invalid, "headers.x-a: is there twice"),
        (with(r#""headers":{"X-A":"1","X-A":"1"}"#), Invalid, "headers.X-A: is there twice"),
        (
            with(r#""headers":{"X-A":"1","X-B\r\nBcc":"x@y.z"}"#),
            Invalid,
            "headers[1]: its name is not a header's",
        ),
        (titled("", "x"), Invalid, "headers[0]: its name is not"),
        (titled("X-Ä", "x"), Invalid, "headers[0]: its name is not"),
        (titled("X-A:", "x"), Invalid, "headers[0]: its name is not"),
        (titled("X A", "x"), Invalid, "headers[0]: its name is not"),
        (titled(&format!("X-{}", "a".repeat(75)), "x"), Invalid, "headers[0]: its name is not"),
        (titled("List-Id", "é <a@é.example>"), Invalid, "headers.List-Id: has something in angle brackets"),
        (
            titled("List-Unsubscribe", &"u".repeat(981)),
            Invalid,
            "headers.List-Unsubscribe: has a word too long",
        ),
        (
            titled("References", &format!("a {}", "b".repeat(998))),
            Invalid,
            "headers.References: has a word too long",
        ),
    ];
    for name in [
        "Bcc",
        "To",
        "From",
        "Sender",
        "Subject",
        "Date",
        "Message-ID",
        "MIME-Version",
        "Content-Type",
        "Received",
        "Return-Path",
        "DKIM-Signature",
        "Reply-To",
        "Disposition-Notification-To",
        "X-",
        "x-",
        "List-",
        "XX-A",
        "Xß",
    ] {
        cases.push((
            titled(name, "x"),
            Invalid,
            if name.is_ascii() { "is not one that a job may set" } else { "" },
        ));
    }
    for name in ["List-Id", "References", "In-Reply-To", "Auto-Submitted", "Precedence", "Feedback-ID"] {
        cases.push((titled(name, ""), Invalid, "is empty"));
        cases.push((titled(name, "  "), Invalid, "is empty"));
    }
    assert_refused(&cases);
    let many = |count: usize| {
        let headers: Vec<_> = (0..count).map(|n| format!(r#""X-{n}":"v""#)).collect();
        with(&format!(r#""headers":{{{}}}"#, headers.join(",")))
    };
    assert_refused(&[(many(51), Invalid, "headers: more than 50")]);
    for good in [
        many(50),
        titled(&format!("X-{}", "a".repeat(74)), &"é".repeat(3000)),
        titled("List-Unsubscribe", &"u".repeat(980)),
        titled("References", &format!("a {}", "b".repeat(997))),
        titled("X-Long", &"x".repeat(5000)),
    ] {
        assert!(decode(&record(good.as_bytes()), NO_LIMIT).is_ok(), "{good:.100}");
    }
}

#[test]
fn every_control_character_is_refused_in_every_field_of_an_attachment_and_a_header() {
    for control in (0..0x20).chain(0x7F..0xA0).chain([0x2028, 0x2029]) {
        let c = format!("\\u{control:04x}");
        for job in [
            attached(&format!(r#""content":"","filename":"x{c}y""#)),
            attached(&format!(r#""content":"","filename":"x{c}/y""#)),
            attached(&format!(r#""content":"","filename":"x","content_type":"a/b{c}""#)),
            attached(&format!(r#""content":"","filename":"x","content_type":"a/b; c=\"{c}\"""#)),
            attached(&format!(r#""content":"","filename":"x","content_id":"a{c}b""#)),
            with(&format!(r#""headers":{{"X-A":"x{c}y"}}"#)),
            with(&format!(r#""headers":{{"X-A":"{c}"}}"#)),
            with(&format!(r#""headers":{{"List-Id":"x{c}y"}}"#)),
        ] {
            let (cause, reason) = refusal(&job);
            assert!(cause == Cause::Invalid && reason.contains("control character"), "{job}: {reason}");
        }
        let (cause, reason) = refusal(with(&format!(r#""headers":{{"X-A{c}":"x"}}"#)));
        assert!(cause == Cause::Invalid && reason.starts_with("headers[0]: its name"), "{reason}");
    }
}

#[test]
fn expires_at_is_an_rfc_3339_time() {
    for (text, seconds) in [
        ("2030-01-01T00:00:00Z", 1_893_456_000),
        ("2030-01-01t00:00:00z", 1_893_456_000),
        ("2030-01-01T01:00:00.123456789+01:00", 1_893_456_000),
        ("1960-01-01T00:00:00-23:59", -315_532_860),
        ("9999-12-31T23:59:59Z", 253_402_300_799),
        ("2016-12-31T23:59:60Z", 1_483_228_799),
    ] {
        let json = with(&format!(r#""expires_at":"{text}""#));
        let expires_at = decode(&record(json.as_bytes()), NO_LIMIT).unwrap().expires_at.unwrap();
        assert_eq!(expires_at.timestamp(), seconds, "{text}");
        assert_eq!(super::expires_at(json.as_bytes()), Some(expires_at));
    }
    for text in [
        "",
        "tomorrow",
        "2030-01-01",
        "2030-01-01T00:00:00",
        "2030-13-01T00:00:00Z",
        "1893456000",
        "2030-01-01T00:00Z",
    ] {
        let json = with(&format!(r#""expires_at":"{text}""#));
        assert_refused(&[(json.clone(), Cause::Invalid, "expires_at: is not an RFC 3339 time such as")]);
        assert_eq!(super::expires_at(json.as_bytes()), None);
    }
}

#[test]
fn an_early_look_finds_expiry_and_tags_however_their_names_are_written_and_takes_nothing_else_for_them() {
    let time = "2030-01-01T00:00:00Z";
    for (json, is_found) in [
        (with(&format!(r#""expires_at":"{time}""#)), true),
        (with(&format!(r#""e\u0078pires\u005Fat":"{time}""#)), true),
        (format!(r#"{{"expires_at":"{time}","to":5}}"#), true),
        (with(&format!(r#""x":{{"expires_at":"{time}"}}"#)), false),
        (with(&format!(r#""x":"\"expires_at\":\"{time}\"""#)), false),
        (with(&format!(r#""expires_at":"{time}","expires_at":"{time}""#)), false),
        (with(r#""expires_at":null"#), false),
        (with(r#""expires_at":5"#), false),
        (format!(r#"{{"expires_at":"{time}""#), false),
        (format!(r#"["expires_at","{time}"]"#), false),
    ] {
        assert_eq!(super::expires_at(json.as_bytes()).is_some(), is_found, "{json}");
    }
    for (json, found) in [
        (with(r#""tags":{"a":"b"}"#), 1),
        (with(r#""ta\u0067s":{"a":"b","c":"d","e":null}"#), 2),
        (with(r#""tags":{"a":1}"#), 0),
        (with(&format!(r#""tags":{{"a":"{}"}}"#, "x".repeat(65))), 0),
        (with(r#""x":{"tags":{"a":"b"}}"#), 0),
        (r#"{"tags":{"a":"b"}"#.into(), 0),
    ] {
        assert_eq!(super::tags(json.as_bytes()).len(), found, "{json}");
        assert_eq!(
            super::tags(json.as_bytes()),
            Identity::of(&record(json.as_bytes()), &default_from()).tags
        );
    }
}

#[test]
fn a_template_is_enough_to_say_and_its_variables_may_be_any_object() {
    let record = record(br#"{"to":"a@b.c","template":"welcome","variables":{"a":[1,{"b":null}]}}"#);
    let job = decode(&record, NO_LIMIT).unwrap();
    assert_eq!(job.template.as_deref(), Some("welcome"));
    assert_eq!(job.variables.map(|object| object.get()), Some(r#"{"a":[1,{"b":null}]}"#));
    assert!(job.text.is_none() && job.otp.is_none());
}

#[test]
fn reasons_hold_nothing_of_the_new_fields_either() {
    for job in [
        attached(r#""filename":"secret\n","content":"98765""#),
        attached(r#""filename":"secret/..","content":"""#),
        attached(r#""filename":"secret","content":"secret98765!""#),
        attached(r#""filename":"secret","content":"","content_type":"secret""#),
        attached(r#""filename":"secret","content":"","content_type":"a/b; secret""#),
        attached(r#""filename":"secret","content":"","content_id":"secret 98765""#),
        with(r#""headers":{"secret\n":"98765"}"#),
        with(r#""headers":{"X-A":"secret\n98765"}"#),
        with(r#""headers":{"List-Id":"<secretß>"}"#),
        with(r#""headers":{"X-A":98765}"#),
        with(r#""expires_at":"secret 98765""#),
        with(r#""template":"secret","otp":"98765""#),
        with(r#""variables":"secret""#),
    ] {
        let (_, reason) = refusal(&job);
        assert!(!reason.contains("98765") && !reason.contains("secret"), "{reason}");
    }
}
