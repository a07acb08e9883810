//! Attachments, headers, templates and 8-bit bodies as they come out.

use mail_parser::MessagePart;

use super::*;

fn a_file(filename: &str, content: &[u8]) -> serde_json::Value {
    use base64::Engine;
    json!({"filename": filename, "content": base64::engine::general_purpose::STANDARD.encode(content)})
}

fn inline(filename: &str, content: &[u8], id: &str) -> serde_json::Value {
    let mut file = a_file(filename, content);
    file["content_id"] = id.into();
    file["content_type"] = "image/png".into();
    file
}

fn header_lines(email: &Email) -> String {
    let text = String::from_utf8(email.data.clone()).unwrap();
    text.split_once("\r\n\r\n").unwrap().0.to_owned() + "\r\n"
}

fn of_type<'a>(message: &'a Message<'_>, essence: &str) -> Vec<&'a MessagePart<'a>> {
    let (kind, subtype) = essence.split_once('/').unwrap();
    let is = |part: &&MessagePart<'_>| {
        part.content_type().is_some_and(|of| of.ctype() == kind && of.subtype() == Some(subtype))
    };
    message.parts.iter().filter(is).collect()
}

#[test]
fn attached_files_arrive_with_their_names_types_and_bytes() {
    let bytes: Vec<u8> = (0..=255).cycle().take(100_000).collect();
    let mut csv = a_file("../data/Zahlen für Ämter.csv", b"a;b\n.\n");
    csv["content_type"] = "text/csv; charset=utf-8; header=present".into();
    let email = compose(&json!({
        "to": "a@b.c", "text": "see attached", "html": "<img src=\"cid:logo@x\">",
        "attachments": [a_file("a.bin", &bytes), inline("logo.png", b"\x89PNG", "<logo@x>"), csv, a_file("empty", b"")],
    }));
    let message = parsed(&email);
    assert_eq!(content(&message, "plain").unwrap(), "see attached");
    assert_eq!(content(&message, "html").unwrap(), "<img src=\"cid:logo@x\">");
    let octets = of_type(&message, "application/octet-stream");
    assert_eq!(
        octets.iter().map(|part| part.attachment_name()).collect::<Vec<_>>(),
        [Some("a.bin"), Some("empty")]
    );
    assert_eq!(octets[0].contents(), bytes);
    assert_eq!(octets[1].contents(), b"");
    let csv = of_type(&message, "text/csv")[0];
    assert_eq!(csv.attachment_name(), Some("Zahlen für Ämter.csv"));
    assert_eq!(csv.contents(), b"a;b\n.\n");
    let content_type = csv.content_type().unwrap();
    assert_eq!(
        (content_type.attribute("charset"), content_type.attribute("header")),
        (Some("utf-8"), Some("present"))
    );
    let logo = of_type(&message, "image/png")[0];
    assert_eq!((logo.content_id(), logo.contents()), (Some("logo@x"), &b"\x89PNG"[..]));
    assert!(logo.content_disposition().unwrap().is_inline());
    assert!(csv.content_disposition().unwrap().is_attachment());
    let related = of_type(&message, "multipart/related")[0].content_type().unwrap();
    assert_eq!(related.attribute("type"), Some("text/html"));
}

#[test]
fn an_attachment_can_not_end_its_part_or_the_e_mail() {
    let evil = "--boundary--\r\n.\r\nMAIL FROM:<x@y.z>\r\n\r\n--=_\r\n";
    let email = compose(&json!({"to": "a@b.c", "text": evil, "attachments": [a_file("x", evil.as_bytes())]}));
    let message = parsed(&email);
    assert_eq!(content(&message, "plain").unwrap(), evil);
    assert_eq!(of_type(&message, "application/octet-stream")[0].contents(), evil.as_bytes());
}

#[test]
fn a_large_attachment_is_written_into_memory_of_its_own_size() {
    let bytes = vec![0xA5; 5 << 20];
    let email = compose(&json!({"to": "a@b.c", "text": "x", "attachments": [a_file("x.bin", &bytes)]}));
    assert!(email.data.capacity() - email.data.len() < 4096, "{}", email.data.capacity() - email.data.len());
    assert_eq!(of_type(&parsed(&email), "application/octet-stream")[0].contents(), bytes);
}

#[test]
fn a_composite_type_goes_out_as_plain_bytes() {
    let mut file = a_file("forwarded.eml", b"Subject: x\r\n\r\n");
    file["content_type"] = "message/rfc822".into();
    let email = compose(&json!({"to": "a@b.c", "text": "x", "attachments": [file]}));
    assert_eq!(of_type(&parsed(&email), "application/octet-stream")[0].contents(), b"Subject: x\r\n\r\n");
}

#[test]
fn the_jobs_headers_stand_in_its_order_behind_ours() {
    // As text: a JSON library may sort the members.
    let job = r#"{"to": "a@b.c", "cc": "c@b.c", "reply_to": "r@b.c", "subject": "s", "text": "x", "headers": {
        "X-B": "1", "List-Unsubscribe": "<https://x.example/u?a=1>, <mailto:u@x.example>",
        "auto-submitted": "auto-replied", "x-a": "ü", "References": "<a@b> <c@d>"}}"#;
    let email = composer().compose(&record(job), BodyType::SevenBit).unwrap();
    assert_fit_for_the_wire(&email);
    assert_eq!(
        header_names(&email),
        [
            "Date",
            "Message-ID",
            "From",
            "Reply-To",
            "To",
            "Cc",
            "Subject",
            "Auto-Submitted",
            "X-B",
            "List-Unsubscribe",
            "x-a",
            "References",
            "MIME-Version",
            "Content-Type",
            "Content-Transfer-Encoding"
        ]
    );
    let lines = header_lines(&email);
    assert!(lines.contains("\r\nAuto-Submitted: auto-replied\r\n"));
    assert!(!lines.contains("auto-generated"));
    assert!(lines.contains("\r\nList-Unsubscribe: <https://x.example/u?a=1>, <mailto:u@x.example>\r\n"));
    assert!(lines.contains("\r\nReferences: <a@b> <c@d>\r\n"));
}

#[test]
fn text_stands_as_it_is_where_the_relay_takes_it_and_says_so() {
    use BodyType::{EightBitMime, SevenBit};
    let ascii = json!({"to": "a@b.c", "subject": "ü", "text": "plain", "html": "<p>x</p>"});
    let hard = json!({"to": "a@b.c", "text": "ü\0"});
    for job in [&ascii, &hard] {
        for body_type in [SevenBit, EightBitMime] {
            let email = compose_for(job, body_type);
            assert_eq!((email.body_type, email.depends_on_body_type), (SevenBit, false));
        }
    }
    let file = a_file("ü.bin", b"\xFF");
    for (job, encodings) in [
        (json!({"to": "a@b.c", "text": "grüße\n.\n"}), 1),
        (json!({"to": "a@b.c", "text": "plain", "html": "<p>ü</p>"}), 2),
        (json!({"to": "a@b.c", "text": "ü", "html": "<p>ü</p>", "attachments": [file]}), 4),
    ] {
        let seven = compose_for(&job, SevenBit);
        assert_eq!((seven.body_type, seven.depends_on_body_type), (SevenBit, true));
        let eight = compose_for(&job, EightBitMime);
        assert_eq!((eight.body_type, eight.depends_on_body_type), (EightBitMime, true));
        for email in [&seven, &eight] {
            let message = parsed(email);
            let text = job["text"].as_str().unwrap().replace('\n', "\r\n");
            assert_eq!(content(&message, "plain").unwrap(), text);
            if let Some(html) = job["html"].as_str() {
                assert_eq!(content(&message, "html").unwrap(), html);
            }
        }
        // A multipart around it must say so too (RFC 2045, section 6.4).
        let text = String::from_utf8(eight.data).unwrap();
        assert_eq!(text.matches("Content-Transfer-Encoding: 8bit\r\n").count(), encodings, "{text}");
    }
}

#[test]
fn an_unknown_template_is_found_at_render_and_named_by_no_value() {
    let failure = refusal(&json!({"to": "a@b.c", "template": "nosuch", "variables": {"a": "secret"}}));
    assert_eq!((failure.stage, failure.cause), (Stage::Render, Cause::Render));
    assert!(!failure.spends_attempt && !failure.reason.contains("secret"));
}

#[test]
fn a_rendered_subject_is_checked_like_a_jobs_own() {
    let with_subject = |subject: &str| Rendered { subject: Some(subject.to_owned()), ..Rendered::default() };
    for control in (0..0x20).chain(0x7F..0xA0).chain([0x2028, 0x2029]) {
        let subject = format!("secret{}x", char::from_u32(control).unwrap());
        let failure = check_rendered_subject("welcome", &with_subject(&subject)).unwrap_err();
        assert_eq!((failure.stage, failure.cause), (Stage::Decode, Cause::Invalid));
        assert_eq!(failure.reason, "template welcome: the subject holds a control character");
    }
    let failure = check_rendered_subject("welcome", &with_subject(&"s".repeat(999))).unwrap_err();
    assert_eq!(failure.reason, "template welcome: the subject is longer than 998 bytes");
    assert!(check_rendered_subject("welcome", &with_subject(&"s".repeat(998))).is_ok());
    assert!(check_rendered_subject("welcome", &Rendered::default()).is_ok());
}

/// A composer with the template `welcome`.
fn with_a_template(subject: &str) -> MailComposer {
    let dir = tempfile::tempdir().unwrap();
    for (file, content) in [
        ("welcome.subject.txt", subject),
        ("welcome.txt", "Hello {{ name }},\n{{ x.y[1] }}\n"),
        ("welcome.html", "<p>{{ name }}</p>"),
    ] {
        std::fs::write(dir.path().join(file), content).unwrap();
    }
    let templates = TemplateStore::load(Some(dir.path())).unwrap();
    MailComposer::new("f@b.c", LIMIT, config::Email::default(), Arc::new(templates)).unwrap()
}

#[test]
fn a_template_gives_what_the_job_does_not_say_itself() {
    let composer = with_a_template("Welcome, {{ name }}");
    let variables = json!({"name": "Ada <é>", "x": {"y": [1, "two"]}, "extra": null});
    for (own, subject, text) in [
        (json!({}), "Welcome, Ada <é>", "Hello Ada <é>,\r\ntwo\r\n"),
        (json!({"subject": ""}), "", "Hello Ada <é>,\r\ntwo\r\n"),
        (json!({"subject": "Mine", "text": "mine"}), "Mine", "mine"),
    ] {
        let mut job = json!({"to": "a@b.c", "template": "welcome", "variables": variables});
        job.as_object_mut().unwrap().extend(own.as_object().unwrap().clone());
        let email = composer.compose(&record(job.to_string()), BodyType::SevenBit).unwrap();
        assert_fit_for_the_wire(&email);
        let message = parsed(&email);
        assert_eq!(message.subject().unwrap_or_default(), subject);
        assert_eq!(content(&message, "plain").unwrap(), text);
        assert_eq!(content(&message, "html").unwrap(), "<p>Ada &lt;é&gt;</p>");
    }
}

#[test]
fn what_a_template_can_not_make_is_told_by_cause_and_without_values() {
    let composer = with_a_template("Welcome, {{ name }}");
    for (variables, stage, cause) in [
        (json!({"x": {"y": [1, "secret"]}}), Stage::Render, Cause::Render),
        (json!({"name": "secret"}), Stage::Render, Cause::Render),
        (json!({"name": "secret\r\nBcc: x@y.z", "x": {"y": [1, 2]}}), Stage::Decode, Cause::Invalid),
        (json!({"name": "secret".repeat(200), "x": {"y": [1, 2]}}), Stage::Decode, Cause::Invalid),
    ] {
        let job = json!({"to": "a@b.c", "template": "welcome", "variables": variables});
        let failure = composer.compose(&record(job.to_string()), BodyType::SevenBit).unwrap_err();
        assert_eq!((failure.stage, failure.cause), (stage, cause), "{}", failure.reason);
        assert!(
            failure.reason.contains("welcome") && !failure.reason.contains("secret"),
            "{}",
            failure.reason
        );
        assert!(!failure.spends_attempt);
    }
}
