//! E-mails on real servers: with every login and kind of TLS, read back and parsed by somebody else's parser.

use mail_parser::{Addr, Address, Message, MessageParser};
use serde_json::json;

use crate::harness::certificate::Certificate;
use crate::harness::greenmail::{PASSWORD, USER};
use crate::harness::queue::DeadLetter;
use crate::harness::{GreenMail, Kafka, Queue, RecordingSmtp, Settings, SmtpSink, TestWorker, until};

const SUBJECT: &str =
    "Grüße, 你好 and a subject that is long enough to be folded over more than a single line of the header";
const TEXT: &str = "First line\n.\n.starts with a dot\n\nÜmläute, and a last line without an end";
const HTML: &str = "<p>Hello <b>Ada</b>, 你好</p>";

#[test]
fn e_mails_reach_smtp_sink_once_each() {
    let sink = SmtpSink::start(&[]);
    let queue = Queue::new(Kafka::shared(), 4);
    let worker = TestWorker::start(&Settings::new(&queue, sink.port()));
    queue.put((0..200).map(|n| {
        format!(r#"{{"to": "user{n}@example.com", "subject": "Job {n:03}", "text": "Hello {n}"}}"#)
    }));
    queue.wait_until_settled();
    let expected: Vec<String> = (0..200).map(|n| format!("Subject: Job {n:03}")).collect();
    // smtp-sink answers before it has written the last of a dump.
    let subjects = until("the dumps to be whole", || {
        let dumps = sink.dumps();
        let mut subjects: Vec<String> =
            dumps.iter().flat_map(|dump| dump.lines()).map(|line| line.trim_end().to_owned()).collect();
        subjects.retain(|line| line.starts_with("Subject: "));
        subjects.sort();
        (subjects.len() >= expected.len()).then_some(subjects)
    });
    assert_eq!(subjects, expected);
    assert!(queue.dead_letters().is_empty());
    worker.stop();
}

#[test]
fn a_login_in_the_clear_is_done_only_where_it_is_allowed_in_so_many_words() {
    let greenmail = GreenMail::shared();
    let to = "clear@example.com";
    let settings = |queue: &Queue<'_>| {
        logged_in(Settings::new(queue, greenmail.smtp_port), "plain").set("smtp.allow_plaintext_auth", "true")
    };
    deliver_and_read_back(settings, to);
}

#[test]
fn a_login_with_plain_over_implicit_tls_delivers() {
    deliver_and_read_back(|queue| logged_in(implicit_tls(queue), "plain"), "plain@example.com");
}

#[test]
fn a_login_with_login_over_starttls_delivers() {
    deliver_and_read_back(|queue| logged_in(starttls(queue), "login"), "login@example.com");
}

#[test]
fn a_login_with_xoauth2_over_implicit_tls_delivers() {
    deliver_and_read_back(|queue| logged_in(implicit_tls(queue), "xoauth2"), "xoauth2@example.com");
}

#[test]
fn a_login_by_what_the_server_offers_over_starttls_delivers() {
    deliver_and_read_back(|queue| logged_in(starttls(queue), "auto"), "auto@example.com");
}

#[test]
fn a_wrong_password_is_dead_lettered_as_smtp_auth_without_telling_it() {
    for mechanism in ["plain", "login", "xoauth2"] {
        let letter =
            fail(|queue| logged_in(implicit_tls(queue), mechanism).set("smtp.password", "wrong-canary"));
        assert_eq!(letter.text("cause"), "smtp_auth", "{mechanism}: {}", letter.value);
        assert_eq!(letter.text("stage"), "auth", "{mechanism}");
        assert_eq!(letter.value["smtp_code"], 535, "{mechanism}");
        assert_eq!(letter.value["retry_count"], 3, "{mechanism}: the relay's failure is not the message's");
    }
}

#[test]
fn a_certificate_that_nobody_vouches_for_or_with_another_name_gets_no_e_mail() {
    let stranger = Certificate::make();
    let untrusted =
        fail(|queue| logged_in(implicit_tls(queue), "plain").set("smtp.ca_file", stranger.ca_file()));
    let misnamed = fail(|queue| logged_in(starttls(queue), "plain").set("smtp.host", "127.0.0.1"));
    for letter in [untrusted, misnamed] {
        assert_eq!(letter.text("cause"), "smtp_unreachable", "{}", letter.value);
        assert_eq!(letter.text("stage"), "tls", "{}", letter.value);
        assert_eq!(letter.value["smtp_code"], json!(null));
    }
}

#[test]
fn a_server_without_starttls_gets_neither_password_nor_e_mail() {
    let relay = RecordingSmtp::start();
    let letter = fail(|queue| logged_in(starttls(queue), "plain").set("smtp.port", relay.port()));
    assert_eq!(letter.text("cause"), "smtp_unreachable", "{}", letter.value);
    assert_eq!(letter.text("stage"), "tls", "{}", letter.value);
    assert!(relay.attempts().is_empty());
}

#[test]
fn a_job_keeps_its_message_id_when_its_key_is_the_same() {
    let relay = RecordingSmtp::start();
    let queue = Queue::new(Kafka::shared(), 1);
    let worker = TestWorker::start(&Settings::new(&queue, relay.port()));
    let keyed = r#"{"id": "order-7", "to": "twice@example.com", "text": "Hello"}"#;
    let unkeyed = r#"{"to": "other@example.com", "text": "Hello"}"#;
    queue.put([keyed, keyed, unkeyed, unkeyed]);
    queue.wait_until_settled();
    let ids = |recipient| -> Vec<String> {
        let attempts = relay.attempts_for(recipient);
        attempts.iter().map(|attempt| attempt.message_id().expect("it has a Message-ID")).collect()
    };
    let (twice, other) = (ids("twice@example.com"), ids("other@example.com"));
    assert_eq!((twice.len(), other.len()), (2, 2), "a repeated key suppresses nothing");
    assert_eq!(twice[0], twice[1]);
    assert_ne!(other[0], other[1]);
    assert!(twice[0].ends_with("@mailroom.example"), "{twice:?}");
    worker.stop();
}

fn implicit_tls(queue: &Queue<'_>) -> Settings {
    let greenmail = GreenMail::shared();
    Settings::new(queue, greenmail.smtps_port)
        .set("smtp.host", "localhost")
        .set("smtp.security", "tls")
        .set("smtp.ca_file", greenmail.certificate.ca_file())
}

fn starttls(queue: &Queue<'_>) -> Settings {
    implicit_tls(queue).set("smtp.security", "starttls").set("smtp.port", GreenMail::shared().starttls_port)
}

fn logged_in(settings: Settings, mechanism: &str) -> Settings {
    settings.set("smtp.username", USER).set("smtp.password", PASSWORD).set("smtp.auth", mechanism)
}

/// Sends one e-mail with everything in it to a mailbox and to a hidden one, and reads both.
fn deliver_and_read_back(settings: impl FnOnce(&Queue<'_>) -> Settings, to: &str) {
    let hidden = format!("hidden-{to}");
    let queue = Queue::new(Kafka::shared(), 1);
    let worker = TestWorker::start(&settings(&queue).set("log.level", "trace"));
    let job = json!({
        "id": format!("delivery-{to}"),
        "from": "Mailroom Tests <tests@mailroom.example>",
        "to": format!("Ada Lovelace <{to}>"),
        "bcc": hidden,
        "reply_to": "answers@mailroom.example",
        "subject": SUBJECT,
        "text": TEXT,
        "html": HTML,
    });
    queue.put([job.to_string(), json!({"to": to, "otp": "493021"}).to_string()]);
    queue.wait_until_settled();
    assert!(queue.dead_letters().is_empty(), "{:?}", queue.dead_letters());

    let greenmail = GreenMail::shared();
    let in_sight = greenmail.mailbox(to, 2);
    let in_secret = greenmail.mailbox(&hidden, 1);
    assert_eq!((in_sight.len(), in_secret.len()), (2, 1));
    let parsed: Vec<_> = in_sight.iter().map(|message| parse(message)).collect();
    let whole =
        parsed.iter().position(|email| email.subject() == Some(SUBJECT)).expect("the first job's e-mail");
    check_whole(&in_sight[whole], to);
    check_whole(&in_secret[0], to);
    let code = &parsed[1 - whole];
    assert!(!code.subject().expect("a subject").contains("493021"));
    assert_eq!(code.body_text(0).expect("a text").matches("493021").count(), 1);
    assert_eq!(code.body_html(0).expect("an HTML").matches("493021").count(), 1);

    for line in worker.stop() {
        for secret in ["493021", PASSWORD, to, hidden.as_str(), "starts with a dot", "Hello"] {
            assert!(!line.contains(secret), "the log tells {secret}: {line}");
        }
    }
}

fn parse(message: &str) -> Message<'_> {
    MessageParser::default().parse(message).expect("it is an e-mail")
}

/// That the e-mail as it arrived is the job's.
fn check_whole(message: &str, to: &str) {
    let email = parse(message);
    assert_eq!(email.subject(), Some(SUBJECT));
    assert_eq!(email.body_text(0).expect("a text").replace("\r\n", "\n").trim_end(), TEXT);
    assert_eq!(email.body_html(0).expect("an HTML").trim_end(), HTML);
    assert_eq!(only(email.from()), (Some("Mailroom Tests".to_owned()), "tests@mailroom.example".to_owned()));
    assert_eq!(only(email.to()), (Some("Ada Lovelace".to_owned()), to.to_owned()));
    assert_eq!(only(email.reply_to()).1, "answers@mailroom.example");
    assert!(email.bcc().is_none() && !message.contains("hidden-"), "{message}");
    assert!(email.date().is_some());
    assert!(email.message_id().expect("a Message-ID").ends_with("@mailroom.example"));
    assert_eq!(email.header_raw("Auto-Submitted").map(str::trim), Some("auto-generated"));
    for line in message.split("\r\n") {
        assert!(line.len() <= 998 && !line.contains(['\r', '\n']), "{line:?}");
    }
}

fn only(addresses: Option<&Address<'_>>) -> (Option<String>, String) {
    let all: Vec<&Addr<'_>> = addresses.expect("the header is there").iter().collect();
    assert_eq!(all.len(), 1, "{all:?}");
    let name = all[0].name.as_ref().map(ToString::to_string);
    (name, all[0].address.as_ref().expect("an address").to_string())
}

/// Has a worker fail on one job, with short waits, and returns the dead letter.
fn fail(settings: impl FnOnce(&Queue<'_>) -> Settings) -> DeadLetter {
    let queue = Queue::new(Kafka::shared(), 1);
    let worker = TestWorker::start(&settings(&queue).set("retry.base", "20ms").set("log.level", "trace"));
    queue.put([r#"{"to": "ada@example.com", "otp": "493021"}"#]);
    queue.wait_until_settled();
    let mut letters = queue.dead_letters();
    assert_eq!(letters.len(), 1, "{letters:?}");
    for line in worker.stop() {
        for secret in ["493021", PASSWORD, "wrong-canary", "ada@example.com"] {
            assert!(!line.contains(secret), "the log tells {secret}: {line}");
        }
    }
    letters.remove(0)
}
