//! `mailroom check --online` against a real Kafka and real mail servers: what it says, and that it leaves no trace.

use std::process::Output;

use serde_json::Value;

use crate::harness::command_line::{run, stderr, stdout};
use crate::harness::greenmail::{PASSWORD, USER};
use crate::harness::{GreenMail, Kafka, Queue, Settings, process};

/// A relay with TLS and a login.
fn settings(queue: &Queue<'_>) -> Settings {
    let greenmail = GreenMail::shared();
    Settings::new(queue, greenmail.smtps_port)
        .set("smtp.host", "localhost")
        .set("smtp.security", "tls")
        .set("smtp.ca_file", greenmail.certificate.ca_file())
        .set("smtp.username", USER)
        .set("smtp.password", PASSWORD)
        .set("smtp.helo_name", "worker.example.com")
}

/// What was looked at: name, status, output and action in one line each.
pub fn checked(output: &Output) -> Vec<(String, String, String)> {
    let report: Value = serde_json::from_str(&stdout(output)).unwrap_or_else(|_| panic!("{output:?}"));
    let checks = report["checks"].as_array().expect("an array").iter();
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    checks
        .map(|check| {
            let told = format!("{} -> {}", text(&check["output"]), text(&check["action"]));
            (text(&check["name"]), text(&check["status"]), told)
        })
        .collect()
}

pub fn has(checks: &[(String, String, String)], name: &str, status: &str, words: &str) -> bool {
    checks.iter().any(|check| check.0 == name && check.1 == status && check.2.contains(words))
}

#[test]
fn what_is_well_is_passed_what_is_odd_is_warned_of_and_nothing_is_left_behind() {
    let queue = Queue::new(Kafka::shared(), 2);
    queue.put(["{}", "{}", "{}"]);
    let settings = settings(&queue);
    let output = run(&settings, &["check", "--online", "--json"]);
    assert_eq!(output.status.code(), Some(0), "{output:?}");
    let checks = checked(&output);
    for (name, status, words) in [
        ("configuration", "pass", ""),
        ("kafka.brokers", "pass", "1 of 1 answer"),
        ("kafka.topic", "pass", "2 partitions"),
        ("kafka.topic", "pass", "keeps records 7d,"),
        ("kafka.dlq_topic", "pass", &queue.dlq_topic),
        // As the broker makes topics by itself: seven days, and no larger records than the source's.
        ("kafka.dlq_retention", "warn", "2592000000"),
        ("kafka.dlq_topic", "warn", "max.message.bytes to 1463654"),
        ("kafka.group", "warn", "would send 3 records"),
        ("kafka.rights", "pass", ""),
        ("kafka.offsets", "pass", "4096"),
        ("smtp.host", "pass", "127.0.0.1"),
        ("smtp.connect", "pass", ""),
        ("smtp.tls", "pass", "good until"),
        ("smtp.ehlo", "pass", "AUTH"),
        ("smtp.login", "pass", ""),
    ] {
        assert!(has(&checks, name, status, words), "{name} {status} {words}: {checks:#?}");
    }
    assert!(checks.iter().all(|check| check.1 != "fail"), "{checks:#?}");
    assert!(!format!("{output:?}").contains(PASSWORD), "{output:?}");
    assert_eq!(queue.committed(), 0, "nothing is committed for the group");

    queue.kafka.commit(&queue.group, &queue.topic, 0, 1, "");
    let as_text = run(&settings, &["check", "--online"]);
    assert_eq!(as_text.status.code(), Some(0), "{as_text:?}");
    let told = stdout(&as_text);
    assert!(told.contains("2 records wait, 1 record of them in partitions new to it"), "{told}");
    assert!(told.contains("0 failed, 2 warned"), "{told}");
    assert!(stderr(&as_text).is_empty(), "no spinner where there is no terminal: {as_text:?}");
}

#[test]
fn everything_that_is_wrong_is_told_at_once_with_its_remedy_and_nothing_is_made() {
    let queue = Queue::new(Kafka::shared(), 1);
    let missing = format!("{}-missing", queue.topic);
    let wrong = settings(&queue)
        .set("kafka.topic", &missing)
        .set("kafka.create_topics", "false")
        .set("smtp.password", "canary-wrong");
    let output = run(&wrong, &["check", "--online", "--json"]);
    assert_eq!(output.status.code(), Some(1), "{output:?}");
    let checks = checked(&output);
    assert!(has(&checks, "kafka.topic", "fail", "kafka.create_topics = true"), "{checks:#?}");
    assert!(has(&checks, "smtp.tls", "pass", "good until"), "{checks:#?}");
    assert!(has(&checks, "smtp.login", "fail", "smtp.password"), "{checks:#?}");
    assert!(!format!("{output:?}").contains("canary-wrong"), "{output:?}");

    let may_make = wrong.set("kafka.create_topics", "true");
    // Twice: the first has made nothing.
    for _ in 0..2 {
        let output = run(&may_make, &["check", "--online", "--json"]);
        let checks = checked(&output);
        assert!(has(&checks, "kafka.topic", "pass", "is made at the start"), "{checks:#?}");
    }
}

#[test]
fn a_relay_and_brokers_that_are_not_there_are_both_told() {
    let queue = Queue::new(Kafka::shared(), 1);
    let (broker, relay) = (process::free_port(), process::free_port());
    let nobody = settings(&queue).set("kafka.brokers", format!("127.0.0.1:{broker}")).set("smtp.port", relay);
    let output = run(&nobody, &["check", "--online", "--json"]);
    assert_eq!(output.status.code(), Some(1), "{output:?}");
    let checks = checked(&output);
    assert!(has(&checks, "kafka.brokers", "fail", "Connection refused"), "{checks:#?}");
    assert!(has(&checks, "smtp.connect", "fail", "smtp.port"), "{checks:#?}");

    // One of two brokers is enough.
    let one_of_two = format!("127.0.0.1:{broker},{}", queue.kafka.address());
    let output = run(&nobody.set("kafka.brokers", one_of_two), &["check", "--online", "--json"]);
    let checks = checked(&output);
    assert!(has(&checks, "kafka.brokers", "warn", "Connection refused"), "{checks:#?}");
    assert!(has(&checks, "kafka.brokers", "pass", "1 of 2 answer"), "{checks:#?}");
}

#[test]
fn each_way_in_which_tls_fails_has_its_remedy() {
    let queue = Queue::new(Kafka::shared(), 1);
    let greenmail = GreenMail::shared();
    for (key, value, remedy) in [
        // The certificate is for localhost; the port without TLS answers the handshake with its greeting.
        ("smtp.host", "127.0.0.1".to_owned(), "a name that the certificate is for"),
        ("smtp.port", greenmail.smtp_port.to_string(), "starttls"),
        ("smtp.ca_file", crate::harness::certificate::Certificate::make().ca_file(), "set smtp.ca_file"),
    ] {
        let output = run(&settings(&queue).set(key, &value), &["check", "--online", "--json"]);
        assert_eq!(output.status.code(), Some(1), "{output:?}");
        let checks = checked(&output);
        assert!(has(&checks, "smtp.tls", "fail", remedy), "{key}: {checks:#?}");
    }
    let starttls =
        settings(&queue).set("smtp.security", "starttls").set("smtp.port", greenmail.starttls_port);
    let output = run(&starttls, &["check", "--online", "--json"]);
    assert!(has(&checked(&output), "smtp.tls", "pass", "good until"), "{output:?}");
    assert!(has(&checked(&output), "smtp.login", "pass", ""), "{output:?}");
}

#[test]
fn a_wrong_configuration_ends_with_78_before_anybody_is_asked() {
    let queue = Queue::new(Kafka::shared(), 1);
    let wrong = settings(&queue).set("mailers.size", 0).set("retry.base", "soon");
    let output = run(&wrong, &["check", "--online", "--json"]);
    assert_eq!(output.status.code(), Some(78), "{output:?}");
    let names: Vec<_> = checked(&output).into_iter().map(|check| check.0).collect();
    assert_eq!(names, ["mailers.size", "retry.base"]);
}
