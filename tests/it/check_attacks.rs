//! `mailroom check --online` against servers that are silent, or not what they should be: it always ends, with a remedy.

use std::net::TcpListener;

use crate::check_online::{checked, has};
use crate::harness::certificate::Certificate;
use crate::harness::command_line::{at_a_terminal, run, stderr, valid};
use crate::harness::{Kafka, Queue, RecordingSmtp, Settings, starttls_front};

const CHECK: &[&str] = &["check", "--online", "--json"];

/// Takes connections, as far as the kernel does, and says nothing on any.
fn silent() -> (TcpListener, u16) {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port is free");
    let port = listener.local_addr().expect("it is bound").port();
    (listener, port)
}

#[test]
fn who_takes_the_connection_and_says_nothing_is_given_up_and_what_was_seen_before_is_told() {
    let (_broker, broker) = silent();
    let (_relay, relay) = silent();
    let settings = valid()
        .set("kafka.brokers", format!("127.0.0.1:{broker}"))
        .set("smtp.host", "localhost")
        .set("smtp.port", relay)
        .set("smtp.timeouts.greeting", "1h");
    for (security, step) in [("plain", "smtp.greeting"), ("starttls", "smtp.greeting"), ("tls", "smtp.tls")] {
        let settings = settings.clone().set("smtp.security", security);
        let output = run(&settings, &["check", "--online", "--json", "--within", "3s"]);
        assert_eq!(output.status.code(), Some(1), "{output:?}");
        let checks = checked(&output);
        assert!(has(&checks, "kafka.brokers", "fail", "check kafka.brokers"), "{checks:#?}");
        assert!(has(&checks, "smtp.host", "pass", "localhost is "), "{checks:#?}");
        assert!(has(&checks, "smtp.connect", "pass", ""), "{checks:#?}");
        assert!(has(&checks, step, "fail", "in time"), "{security}: {checks:#?}");
    }
}

#[test]
fn at_a_terminal_something_moves_while_nobody_answers() {
    let (_broker, broker) = silent();
    let (_relay, relay) = silent();
    let settings = valid()
        .set("kafka.brokers", format!("127.0.0.1:{broker}"))
        .set("smtp.host", "127.0.0.1")
        .set("smtp.port", relay);
    let (code, told) = at_a_terminal(&settings, "check --online --within 3s");
    assert_eq!(code, Some(1), "{told:?}");
    let (moves, report) = told.split_once("failed ").expect("a report");
    assert!(moves.contains("asking Kafka and the relay") && !report.contains("asking"), "{told:?}");
    let (code, told) = at_a_terminal(&valid(), "health ready --url http://127.0.0.1:1 --wait 3s");
    assert!(code == Some(1) && told.contains("asking the service"), "{told:?}");
}

#[test]
fn a_broker_alone_is_given_up_without_being_told_to() {
    let (_broker, broker) = silent();
    let relay = RecordingSmtp::start();
    let settings = valid()
        .set("kafka.brokers", format!("127.0.0.1:{broker}"))
        .set("smtp.host", "127.0.0.1")
        .set("smtp.port", relay.port());
    let checks = checked(&run(&settings, CHECK));
    assert!(has(&checks, "kafka.brokers", "fail", "no answer in time"), "{checks:#?}");
    assert!(has(&checks, "smtp.login", "pass", ""), "{checks:#?}");
}

/// The relay shows this certificate, and the worker trusts that one.
fn showing(shown: &Certificate, trusted: &Certificate) -> Settings {
    let relay = RecordingSmtp::start();
    valid()
        .set("kafka.brokers", "127.0.0.1:1")
        .set("smtp.host", "localhost")
        .set("smtp.port", starttls_front::start(shown, relay.port()))
        .set("smtp.security", "starttls")
        .set("smtp.ca_file", trusted.ca_file())
}

#[test]
fn a_certificate_that_is_past_or_vouched_for_by_itself_is_refused_with_what_to_do() {
    let (good, expired, own) = (Certificate::make(), Certificate::expired(), Certificate::self_signed());
    for (shown, trusted, status, told) in [
        (&good, &good, "pass", "good until"),
        (&expired, &expired, "fail", "have the relay's certificate renewed"),
        (&own, &good, "fail", "set smtp.ca_file"),
        (&own, &own, "fail", "without CA:TRUE"),
    ] {
        let checks = checked(&run(&showing(shown, trusted), CHECK));
        assert!(has(&checks, "smtp.tls", status, told), "{told}: {checks:#?}");
    }
}

#[test]
fn a_name_that_nobody_knows_is_told() {
    let settings = valid().set("kafka.brokers", "nowhere.invalid:9092").set("smtp.host", "nowhere.invalid");
    let output = run(&settings, CHECK);
    assert_eq!(output.status.code(), Some(1), "{output:?}");
    let checks = checked(&output);
    assert!(has(&checks, "smtp.host", "fail", "DNS"), "{checks:#?}");
    assert!(has(&checks, "kafka.brokers", "fail", "nowhere.invalid:9092"), "{checks:#?}");
    assert!(has(&checks, "kafka.brokers", "fail", "resolve"), "{checks:#?}");
}

#[test]
fn a_dead_letter_topic_that_keeps_for_ever_or_less_or_takes_less_is_warned_of() {
    let queue = Queue::new(Kafka::shared(), 1);
    let relay = RecordingSmtp::start();
    for (name, retention, bytes, told) in [
        ("ever", "-1", "2000000", "for ever"),
        ("less", "86400000", "2000000", "keeps dead letters 1d, kafka.dlq_retention is 30d"),
        ("small", "2592000000", "1000", "max.message.bytes to 1463654"),
    ] {
        let dlq_topic = format!("{}-{name}", queue.dlq_topic);
        queue.kafka.create_topic_with(
            &dlq_topic,
            1,
            &[("retention.ms", retention), ("max.message.bytes", bytes)],
        );
        let settings = Settings::new(&queue, relay.port()).set("kafka.dlq_topic", &dlq_topic);
        let output = run(&settings, CHECK);
        assert_eq!(output.status.code(), Some(0), "warnings are no failure: {output:?}");
        let checks = checked(&output);
        let warned: Vec<_> =
            checks.iter().filter(|check| check.1 == "warn" && check.0.starts_with("kafka.dlq")).collect();
        assert!(warned.len() == 1 && warned[0].2.contains(told), "{name}: {checks:#?}");
    }
}

#[test]
fn what_only_librdkafka_finds_wrong_ends_with_78_before_anything_is_bound_and_is_in_the_json_too() {
    // Each is right by itself.
    let contradiction = valid()
        .set("kafka.properties.session.timeout.ms", "3600000")
        .set("kafka.properties.max.poll.interval.ms", "60000");
    let unreadable = valid()
        .set("kafka.properties.security.protocol", "ssl")
        .set("kafka.properties.ssl.ca.location", "/no/such/ca.pem");
    for (settings, told) in [(contradiction, "session.timeout.ms"), (unreadable, "ssl.ca.location")] {
        let output = run(&settings, &["check", "--json"]);
        assert_eq!(output.status.code(), Some(78), "{output:?}");
        assert!(has(&checked(&output), "kafka.properties", "fail", told), "{output:?}");
        let output = run(&settings, &["run"]);
        assert_eq!(output.status.code(), Some(78), "{output:?}");
        assert!(stderr(&output).starts_with("kafka.properties: "), "nothing was bound before: {output:?}");
        assert!(stderr(&output).contains(told), "{output:?}");
    }
}
