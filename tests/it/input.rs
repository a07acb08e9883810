//! What producers get wrong, mean ill or overdo, case by case: explained in the dead letter queue or sent intact, and no
//! e-mail beside it suffers.

use std::collections::BTreeSet;

use mail_parser::{Message, MessageParser, MimeHeaders};
use serde_json::{Value, json};

use crate::harness::kafka::Record;
use crate::harness::queue::DeadLetter;
use crate::harness::{Kafka, Queue, Settings, SmtpSink, TestWorker, until};

/// More than the worker's own limit, so that both can be met.
const TOPIC_BYTES: usize = 12 << 20;
/// What a topic takes that nobody has set it for.
const USUAL_TOPIC_BYTES: usize = 1_048_588;
/// The default of `limits.message_bytes`.
const MESSAGE_BYTES: usize = 10 << 20;

/// The longest value that a topic takes of a record without key and headers: Kafka counts its batch too, 61 bytes, and
/// five members of a byte and two lengths.
fn longest_value(topic_bytes: usize) -> usize {
    let lengths = if topic_bytes < 2 << 20 { 6 } else { 8 };
    topic_bytes - 61 - 5 - lengths
}

/// A record's value that makes no e-mail; the cause, and what the reason says.
type Bad = (Option<Vec<u8>>, &'static str, &'static str);
/// Whether an e-mail is as its job meant it.
type IsIntact = Box<dyn Fn(&Message<'_>) -> bool>;

/// A job that is well but for these members.
fn job(more: Value) -> Value {
    let mut job = json!({"to": "ada@example.com", "subject": "s", "text": "t"});
    for (name, value) in more.as_object().expect("an object") {
        job[name] = value.clone();
    }
    job
}

/// One with a file that is well but for these members.
fn attachment(more: Value) -> Value {
    let mut file = json!({"filename": "a.txt", "content": "YQ=="});
    for (name, value) in more.as_object().expect("an object") {
        file[name] = value.clone();
    }
    job(json!({"attachments": [file]}))
}

/// A good job of so many bytes, whose e-mail is hardly larger.
fn filled(bytes: usize) -> Value {
    let around = job(json!({"text": ""})).to_string().len();
    // A line end takes two bytes in JSON as in the e-mail.
    let mut text =
        "A line of seventy characters, none of which an encoding makes longer.\n".repeat(bytes / 80);
    text.push_str(&"short line\n".repeat((bytes - around - text.len() - text.matches('\n').count()) / 12));
    text.push_str(&"x".repeat(bytes - around - text.len() - text.matches('\n').count()));
    let job = job(json!({"text": text}));
    assert_eq!(job.to_string().len(), bytes);
    job
}

/// The bytes are no job.
fn malformed() -> Vec<Bad> {
    let of = |value: &[u8], reason| (Some(value.to_vec()), "malformed", reason);
    let job = |more| job(more).to_string().into_bytes();
    let deep = format!(r#"{{"to":"ada@example.com","text":"t","x":{}{}}}"#, "[".repeat(128), "]".repeat(128));
    vec![
        (None, "malformed", "the value is null"),
        of(b"", "the value is empty"),
        of(br#"{"to": "ada@example.com", "te"#, "not JSON: EOF"),
        of(&vec![b'['; 10_000_000], "more than 128 levels deep"),
        of(deep.as_bytes(), "more than 128 levels deep"),
        of(br#"{"to":"ada@example.com","text":"a","text":"b"}"#, "text: appears twice"),
        of(b"{\"to\": \"ada@example.com\", \"text\": \"\xe9\"}", "not UTF-8 (at byte 35)"),
        of("\u{feff}{\"to\":\"ada@example.com\",\"text\":\"t\"}".as_bytes(), "byte order mark"),
        of(br#"{"to":"ada@example.com","text":"\ud800"}"#, "a lone surrogate at byte"),
        of(b"\0\0\0\0\x07\x1eada@example.com", "schema registry (its first byte is 0x00)"),
        of(&job(json!({"otp": 493_021})), "otp: must be a string, not a number"),
        of(&job(json!({"to": 7})), "to: must be an address"),
        of(&job(json!({"to": ["ada@example.com", null]})), "to[1]: must be an address"),
        of(&job(json!({"attachments": "a.txt"})), "attachments: must be an array"),
        of(&job(json!({"headers": ["X-A: b"]})), "headers: must be an object"),
    ]
}

/// A job, but no e-mail can be made of it.
fn invalid() -> Vec<Bad> {
    let of = |value: Value, reason| (Some(value.to_string().into_bytes()), "invalid", reason);
    let many: Vec<String> = (0..10_000).map(|number| format!("reader{number}@example.com")).collect();
    let mut cases = vec![
        of(json!({"text": "t"}), "to: is missing"),
        of(job(json!({"to": many})), "to: more than 100 recipients"),
        of(attachment(json!({"content": "YQ"})), "attachments[0].content: not base64"),
        of(attachment(json!({"content": "Y\nQ=="})), "attachments[0].content: not base64 (at byte 1)"),
        of(attachment(json!({"filename": "../.."})), "attachments[0].filename: names no file"),
    ];
    for name in ["Bcc", "subject", "From", "Content-Type", "Received", "DKIM-Signature", "X-A: b\r\nBcc"] {
        cases.push(of(job(json!({"headers": {name: "eve@example.com"}})), "headers"));
    }
    for control in ["\r\nBcc: eve@example.com", "\n", "\0", "\u{2028}"] {
        let text = format!("a{control}b");
        let jobs = [
            job(json!({"subject": text})),
            job(json!({"to": format!("{text}@example.com")})),
            job(json!({"to": {"email": "ada@example.com", "name": text}})),
            job(json!({"cc": [format!("Ada {text} <ada@example.com>")]})),
            job(json!({"bcc": {"email": format!("ada@{text}.example")}})),
            job(json!({"from": {"email": "ada@example.com", "name": text}})),
            job(json!({"reply_to": text})),
            job(json!({"headers": {"X-A": text}})),
            job(json!({"headers": {"References": text}})),
            attachment(json!({"filename": text})),
            attachment(json!({"content_type": format!("text/plain; a={text}")})),
            attachment(json!({"content_id": text})),
        ];
        cases.extend(jobs.into_iter().map(|job| of(job, "holds a control character")));
    }
    cases
}

/// Over a limit, or beyond what the relay takes.
fn beyond_limits() -> Vec<Bad> {
    let over = "over limits.message_bytes (10485760)";
    vec![
        (Some(filled(MESSAGE_BYTES + 1).to_string().into_bytes()), "too_large", over),
        // As large as the topic takes it, and a third larger in its dead letter: nothing of it is text.
        (Some(vec![0xFF; longest_value(TOPIC_BYTES)]), "too_large", over),
        (
            Some(job(json!({"to": "žofie@example.com"})).to_string().into_bytes()),
            "invalid_recipient",
            "SMTPUTF8",
        ),
    ]
}

/// Odd, and yet an e-mail.
fn intact() -> Vec<(Value, IsIntact)> {
    let of =
        |value, is_intact: fn(&Message<'_>) -> bool| -> (Value, IsIntact) { (value, Box::new(is_intact)) };
    let with_text = |text: String| (job(json!({"text": text})), has_text(text));
    let large = filled(MESSAGE_BYTES - 1000);
    let large_text = large["text"].as_str().expect("text").to_owned();
    vec![
        (large, has_text(large_text)),
        with_text(format!("{}\n{}ü\nend", "x".repeat(1 << 20), "y ".repeat(1 << 19))),
        with_text("before\n.\n..\n.behind\n.".into()),
        with_text(
            "a\n.\nMAIL FROM:<eve@example.com>\nRCPT TO:<eve@example.com>\nDATA\nc\n.\nQUIT\nend".into(),
        ),
        of(
            job(json!({"text": "a\r\n.\r\nMAIL FROM:<eve@example.com>", "html": "<p>\r\n.\r\nRSET\r\n.\n"})),
            |mail| {
                with_line_feeds(mail.body_text(0)) == "a\n.\nMAIL FROM:<eve@example.com>"
                    && with_line_feeds(mail.body_html(0)) == "<p>\n.\nRSET\n.\n"
            },
        ),
        of(attachment(json!({"filename": "../../x"})), |mail| {
            mail.attachment(0).and_then(|file| file.attachment_name()) == Some("x")
        }),
        of(attachment(json!({"filename": "..\\..\\x"})), |mail| {
            mail.attachment(0).and_then(|file| file.attachment_name()) == Some("x")
        }),
        of(job(json!({"reply_to": "Žofie <zofie@bücher.example>"})), |mail| {
            let reply_to = mail.reply_to().and_then(|list| list.first()).expect("an address");
            reply_to.name() == Some("Žofie") && reply_to.address() == Some("zofie@xn--bcher-kva.example")
        }),
    ]
}

/// smtp-sink writes bare line ends where nothing is encoded.
fn with_line_feeds(text: Option<std::borrow::Cow<'_, str>>) -> String {
    text.unwrap_or_default().replace("\r\n", "\n")
}

/// The text alone: behind it stands the e-mail's own line end.
fn has_text(text: String) -> IsIntact {
    assert!(!text.ends_with('\n'));
    Box::new(move |mail| with_line_feeds(mail.body_text(0)).trim_end_matches('\n') == text)
}

/// Waits: smtp-sink answers before it has written the last of a dump.
fn wait_until_intact(sink: &SmtpSink, to: &str, is_intact: &IsIntact) {
    let line = format!("X-Rcpt-Args: <{to}>");
    until(&format!("the e-mail to {to}, intact"), || {
        let dump = sink.dumps().into_iter().find(|dump| dump.contains(&line))?;
        is_intact(&MessageParser::default().parse(&dump)?).then_some(())
    });
}

#[test]
fn whatever_lies_on_the_queue_is_explained_or_arrives_intact_and_blocks_nothing() {
    let queue = Queue::of_large_records(Kafka::shared(), TOPIC_BYTES);
    let sink = SmtpSink::start(&[]);
    assert_is_too_large(&queue, Record::of(vec![0xFF; longest_value(TOPIC_BYTES) + 1]));
    let bad = [malformed(), invalid(), beyond_limits()].concat();
    let mut odd = intact();
    let mut records: Vec<Record> =
        bad.iter().map(|(value, ..)| Record { value: value.clone(), ..Record::default() }).collect();
    for (number, (job, _)) in odd.iter_mut().enumerate() {
        job["to"] = format!("odd{number}@example.com").into();
        // Some have a key, the others have none.
        records.push(Record { key: Some(b"key".to_vec()), ..Record::of(job.to_string()) });
    }
    let count = records.len();
    let good = |number| json!({"to": format!("good{number}@example.com"), "otp": "1"}).to_string();
    let records =
        records.into_iter().enumerate().flat_map(|(number, record)| [record, Record::of(good(number))]);
    queue.put_records(&records.collect::<Vec<_>>());
    let worker = TestWorker::start(&Settings::new(&queue, sink.port()));
    queue.wait_until_settled();

    let health = worker.get("/health").json();
    assert_eq!(health["status"], "pass", "{health}");
    let metrics = worker.metrics();
    assert_eq!(metrics.sum("mailroom_actor_restarts_total"), 0.0, "no actor died");
    worker.stop();

    let mut letters = queue.dead_letters();
    letters.sort_by_key(|letter| letter.value["source"]["offset"].as_i64());
    assert_eq!(letters.len(), bad.len());
    for (number, (letter, case)) in letters.iter().zip(&bad).enumerate() {
        assert_eq!(letter.value["source"]["offset"], 2 * number);
        check_letter(letter, case);
    }

    let recipients: BTreeSet<String> = until("all e-mails", || {
        let dumps = sink.dumps();
        let lines = dumps.iter().flat_map(|dump| dump.lines().take(20));
        let recipients: Vec<&str> = lines.filter_map(|line| line.strip_prefix("X-Rcpt-Args: ")).collect();
        (recipients.len() >= count + odd.len()).then(|| recipients.into_iter().map(str::to_owned).collect())
    });
    let expected = (0..count).map(|number| format!("<good{number}@example.com>"));
    let expected = expected.chain((0..odd.len()).map(|number| format!("<odd{number}@example.com>")));
    assert_eq!(recipients, expected.collect(), "one e-mail for each, and no more");
    for (number, (_, is_intact)) in odd.iter().enumerate() {
        wait_until_intact(&sink, &format!("odd{number}@example.com"), is_intact);
    }
}

fn assert_is_too_large(queue: &Queue<'_>, record: Record) {
    let refused = queue.kafka.offer(&queue.topic, &[record], None);
    assert!(refused.len() == 1 && refused[0].contains("MessageSizeTooLarge"), "{refused:?}");
}

fn check_letter(letter: &DeadLetter, (value, cause, reason): &Bad) {
    let said = letter.text("error_reason");
    assert_eq!(letter.text("cause"), *cause, "{said}");
    assert!(said.contains(reason), "{said:?} should say {reason:?}");
    assert!(said.len() < 200 && !said.contains(char::is_control), "{said:?} is for people");
    assert_eq!(letter.value["retry_count"], 0, "{said}");
    assert!(letter.original_value() == *value, "byte for byte: {said}");
}

#[test]
fn a_record_as_large_as_the_broker_takes_is_sent_intact() {
    let queue = Queue::new(Kafka::shared(), 1);
    let sink = SmtpSink::start(&[]);
    let record = |bytes: usize| Record::of(filled(bytes).to_string());
    let bytes = longest_value(USUAL_TOPIC_BYTES);
    assert_is_too_large(&queue, record(bytes + 1));
    queue.put_records(&[record(bytes)]);
    let worker = TestWorker::start(&Settings::new(&queue, sink.port()));
    queue.wait_until_settled();
    worker.stop();
    assert!(queue.dead_letters().is_empty());
    let text = filled(bytes)["text"].as_str().expect("text").to_owned();
    wait_until_intact(&sink, "ada@example.com", &has_text(text));
}
