//! E-mails as an independent parser reads them.

use std::sync::Arc;

use bytes::Bytes;
use mail_parser::{Addr, Address as ParsedAddress, Message, MessageParser, MimeHeaders};
use serde_json::json;

use super::*;
use crate::fuzzing::assert_fit_for_the_wire;

mod early;
mod form;
mod properties;

const LIMIT: usize = 10 << 20;

fn record(value: impl Into<Bytes>) -> Record {
    Record {
        topic: Arc::from("email-queue"),
        partition: 0,
        offset: 7,
        timestamp_ms: None,
        key: None,
        value: Some(value.into()),
        headers: Vec::new(),
    }
}

fn made(from: &str, message_bytes: usize) -> Result<MailComposer, String> {
    MailComposer::new(from, message_bytes, config::Email::default(), Arc::new(TemplateStore::built_in()))
}

fn composer() -> MailComposer {
    made("The Shop <noreply@shop.example>", LIMIT).unwrap()
}

fn compose(job: &serde_json::Value) -> Email {
    compose_for(job, BodyType::SevenBit)
}

fn compose_for(job: &serde_json::Value, body_type: BodyType) -> Email {
    let email = composer()
        .compose(&record(job.to_string()), body_type)
        .unwrap_or_else(|e| panic!("{}: {}", e.cause, e.reason));
    assert!(body_type == BodyType::EightBitMime || email.body_type == BodyType::SevenBit);
    assert_fit_for_the_wire(&email);
    email
}

fn refusal(job: &serde_json::Value) -> Failure {
    composer().compose(&record(job.to_string()), BodyType::SevenBit).expect_err("it makes no e-mail")
}

/// The names of the message's own header lines, as they stand.
fn header_names(email: &Email) -> Vec<String> {
    let text = String::from_utf8_lossy(&email.data);
    let (head, _) = text.split_once("\r\n\r\n").unwrap();
    let lines = head.split("\r\n").filter(|line| !line.starts_with([' ', '\t']));
    lines.map(|line| line.split_once(':').unwrap().0.to_owned()).collect()
}

fn parsed(email: &Email) -> Message<'_> {
    MessageParser::default().parse(&email.data).unwrap()
}

fn mailboxes(list: Option<&ParsedAddress<'_>>) -> Vec<(Option<String>, String)> {
    let list = list.map(|list| list.as_list().unwrap()).unwrap_or_default();
    let owned = |addr: &Addr<'_>| {
        (addr.name.as_ref().map(|name| name.to_string()), addr.address.as_ref().unwrap().to_string())
    };
    list.iter().map(owned).collect()
}

/// The content of the part of that type, decoded, as bytes.
fn content(message: &Message<'_>, subtype: &str) -> Option<String> {
    let part = message.parts.iter().find(|part| {
        part.content_type().is_some_and(|of| of.ctype() == "text" && of.subtype() == Some(subtype))
    })?;
    Some(String::from_utf8(part.contents().to_vec()).unwrap())
}

#[test]
fn the_guides_job_becomes_a_code_in_two_bodies_and_not_in_the_subject() {
    let email = compose(&json!({"to": "ada@example.com", "otp": "493021"}));
    assert_eq!(email.sender, "noreply@shop.example");
    assert_eq!(email.recipients, ["ada@example.com"]);
    assert_eq!(
        header_names(&email),
        ["Date", "Message-ID", "From", "To", "Subject", "Auto-Submitted", "MIME-Version", "Content-Type"]
    );
    let message = parsed(&email);
    assert_eq!(format!("<{}>", message.message_id().unwrap()), email.message_id);
    assert_eq!(message.header_raw("Auto-Submitted").map(str::trim), Some("auto-generated"));
    assert!(message.content_type().unwrap().subtype() == Some("alternative"));
    assert!(message.date().unwrap().to_timestamp() > 1_700_000_000);
    assert!(!message.subject().unwrap().contains("493021"));
    for subtype in ["plain", "html"] {
        assert_eq!(content(&message, subtype).unwrap().matches("493021").count(), 1, "{subtype}");
    }
    assert_eq!(mailboxes(message.from()), [(Some("The Shop".into()), "noreply@shop.example".into())]);
}

#[test]
fn what_the_job_says_wins_over_the_template_piece_by_piece() {
    let email =
        compose(&json!({"to": "a@b.c", "otp": "493021", "subject": "Mine", "text": "", "from": "F <f@d.e>"}));
    let message = parsed(&email);
    assert_eq!(message.subject(), Some("Mine"));
    assert_eq!(content(&message, "plain").as_deref(), Some(""));
    assert!(content(&message, "html").unwrap().contains("493021"));
    assert_eq!(email.sender, "f@d.e");
    assert!(email.message_id.ends_with("@d.e>"));
}

#[test]
fn bcc_is_in_the_envelope_and_nowhere_in_the_message() {
    let email = compose(
        &json!({"to": "a@b.c", "cc": ["c@b.c"], "bcc": ["hidden@b.c"], "reply_to": "R <r@b.c>", "text": "x"}),
    );
    assert_eq!(email.recipients, ["a@b.c", "c@b.c", "hidden@b.c"]);
    assert!(!String::from_utf8_lossy(&email.data).contains("hidden"));
    let names = header_names(&email);
    assert_eq!(
        names,
        [
            "Date",
            "Message-ID",
            "From",
            "Reply-To",
            "To",
            "Cc",
            "Auto-Submitted",
            "MIME-Version",
            "Content-Type",
            "Content-Transfer-Encoding"
        ]
    );
    let message = parsed(&email);
    assert_eq!(mailboxes(message.cc()), [(None, "c@b.c".into())]);
    assert_eq!(mailboxes(message.reply_to()), [(Some("R".into()), "r@b.c".into())]);
}

#[test]
fn the_message_id_stays_the_same_and_equals_the_dead_letters() {
    for job in [
        json!({"to": "a@b.c", "text": "1"}),
        json!({"to": "a@b.c", "text": "1", "id": "x", "from": "f@é.example"}),
    ] {
        let record = record(job.to_string());
        let composer = composer();
        let first = composer.compose(&record, BodyType::SevenBit).unwrap().message_id;
        assert_eq!(first, composer.compose(&record, BodyType::SevenBit).unwrap().message_id);
        assert_eq!(first, job::Identity::of(&record, composer.default_from()).message_id);
    }
}

#[test]
fn quoted_local_parts_and_literals_are_kept_as_they_are() {
    for address in ["\"a b\"@x.y", "\"a@,<b>\\\"\"@x.y", "a@[192.0.2.1]", "a@[IPv6:2001:db8::1]"] {
        let email = compose(&json!({"to": {"email": address, "name": "A, B"}, "text": "1"}));
        assert_eq!(email.recipients, [address]);
        let line = format!("\r\nTo: \"A, B\" <{address}>\r\n");
        assert!(String::from_utf8(email.data).unwrap().contains(&line), "{address}");
    }
}

#[test]
fn what_is_no_job_is_refused_by_decode() {
    let failure = composer().compose(&record("{}"), BodyType::SevenBit).unwrap_err();
    assert_eq!((failure.stage, failure.cause), (Stage::Decode, Cause::Invalid));
}

#[test]
fn international_domains_go_out_as_a_labels() {
    let email = compose(&json!({"to": "Bé <ada@bücher.example>", "text": "1"}));
    assert_eq!(email.recipients, ["ada@xn--bcher-kva.example"]);
    assert_eq!(mailboxes(parsed(&email).to()), [(Some("Bé".into()), "ada@xn--bcher-kva.example".into())]);
}

#[test]
fn an_address_in_the_header_that_needs_smtputf8_stands_there_as_it_is() {
    for field in ["from", "to", "cc", "reply_to"] {
        let mut job = json!({"to": "a@b.c", "text": "1"});
        job[field] = "Åda <åda@bücher.example>".into();
        let email = compose(&job);
        assert!(email.header_needs_smtputf8, "{field}");
        let message = parsed(&email);
        let list = [message.from(), message.to(), message.cc(), message.reply_to()];
        let named = (Some("Åda".to_owned()), "åda@xn--bcher-kva.example".to_owned());
        assert!(list.iter().any(|list| mailboxes(*list).contains(&named)), "{field}");
        assert_eq!(email.sender.is_ascii(), field != "from");
    }
    // It stands in no header: what the relay offers decides, and about it alone.
    let email = compose(&json!({"to": "a@b.c", "bcc": "åda@b.c", "text": "1"}));
    assert!(!email.header_needs_smtputf8);
    assert_eq!(email.recipients, ["a@b.c", "åda@b.c"]);
    let email = compose(&json!({"to": "Åda <a@b.c>", "subject": "å", "text": "å", "headers": {"X-A": "å"}}));
    assert!(!email.header_needs_smtputf8, "names and texts are encoded");
}

#[test]
fn the_default_sender_may_need_smtputf8_and_must_be_an_address() {
    let email = made("åda@b.c", LIMIT)
        .unwrap()
        .compose(&record(json!({"to": "a@b.c", "text": "x"}).to_string()), BodyType::SevenBit)
        .unwrap();
    assert!(email.header_needs_smtputf8 && email.sender == "åda@b.c");
    assert_fit_for_the_wire(&email);
    assert!(made("nobody", LIMIT).is_err_and(|e| e.starts_with("smtp.from")));
}

#[test]
fn a_finished_e_mail_over_the_limit_is_too_large() {
    // Small as a record; base64 makes the e-mail a third larger.
    let record = record(json!({"to": "a@b.c", "text": "日本".repeat(300)}).to_string());
    let size = record.size();
    let composer = |limit| made("f@b.c", limit).unwrap();
    let failure = composer(size).compose(&record, BodyType::SevenBit).unwrap_err();
    assert_eq!(
        (failure.stage, failure.cause, failure.spends_attempt),
        (Stage::Render, Cause::TooLarge, false)
    );
    let failure = composer(size - 1).compose(&record, BodyType::SevenBit).unwrap_err();
    assert_eq!((failure.stage, failure.cause), (Stage::Decode, Cause::TooLarge));
    let fits = composer(LIMIT).compose(&record, BodyType::SevenBit).unwrap().data.len();
    assert_eq!(composer(fits).compose(&record, BodyType::SevenBit).unwrap().data.len(), fits);
}

#[test]
fn hard_bodies_arrive_intact() {
    let long_line = "x".repeat(1 << 20);
    let bodies = [
        "",
        "plain",
        ".\r\n",
        "a\r\n.\r\nMAIL FROM:<x@y.z>\r\n",
        "..\n.\n",
        "From the start\n",
        "trailing space \nand tab\t\nend ",
        "=3D =C3=BC = and =\n",
        "NUL \0 and \u{7f} and \u{1b}[31m",
        "\u{2028}\u{85}\u{feff}",
        "Žluťoučký kůň\n\n\n",
        "\n\n",
        "--boundary\n--boundary--\n",
        &long_line,
    ];
    for body in bodies {
        let canonical = body.replace("\r\n", "\n").replace('\n', "\r\n");
        let email = compose(&json!({"to": "a@b.c", "text": body, "html": body}));
        let message = parsed(&email);
        assert_eq!(content(&message, "plain").unwrap(), canonical, "{body:.40?}");
        assert_eq!(content(&message, "html").unwrap(), canonical, "{body:.40?}");
        for subtype in ["plain", "html"] {
            let field = if subtype == "plain" { "text" } else { "html" };
            let email = compose(&json!({"to": "a@b.c", field: body}));
            let alone = content(&parsed(&email), subtype).unwrap();
            assert!(alone == canonical || alone == format!("{canonical}\r\n"), "{body:.40?}");
            assert!(!canonical.ends_with("\r\n") || alone == canonical, "no line too many: {body:.40?}");
        }
    }
}
