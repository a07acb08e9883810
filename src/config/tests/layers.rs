//! A file, then the environment, then `--set`.

use std::path::PathBuf;
use std::time::Duration;

use super::*;
use crate::config::{Pipelining, Secret, Security, load_kafka};

#[test]
fn what_comes_later_wins() {
    let file =
        "[mailers]\nsize = 2\nmax = 100\n[smtp]\nhost = \"file.example\"\nfrom = \"file@example.com\"\n";
    let config = Setup::default()
        .file(file)
        .environment("MAILROOM__MAILERS__SIZE", "3")
        .environment("MAILROOM__SMTP__HOST", "environment.example")
        .set("mailers.size=4")
        .set("mailers.size=5")
        .good();
    assert_eq!((config.mailers.size, config.mailers.max), (5, 100));
    assert_eq!(config.smtp.host, "environment.example");
    assert_eq!(config.smtp.from, "file@example.com");
}

#[test]
fn with_nothing_but_what_is_required_everything_is_at_the_contracts_default() {
    let config = Setup::valid().good();
    let host_name = hostname::get().expect("a host name").into_string().expect("UTF-8");
    assert_eq!((&config.worker.id, &config.smtp.helo_name), (&host_name, &host_name));
    assert_eq!(config.worker.drain_timeout, Duration::from_secs(20));
    let kafka = &config.kafka;
    let texts = [&kafka.brokers, &kafka.group, &kafka.topic, &kafka.dlq_topic];
    assert_eq!(texts, ["localhost:9092", "email-workers", "email-queue", "email-dlq"]);
    assert_eq!(kafka.dlq_retention, Duration::from_secs(30 * 24 * 3600));
    assert_eq!(kafka.commit_interval, Duration::from_millis(200));
    assert!(kafka.create_topics && kafka.properties.is_empty());
    let smtp = &config.smtp;
    assert_eq!((smtp.security, smtp.port), (Security::Tls, 465));
    assert_eq!(smtp.pipelining, Pipelining::Auto);
    assert!(smtp.login.is_none() && smtp.ca_file.is_none() && !smtp.allow_plaintext_auth);
    assert_eq!((smtp.max_rate, smtp.max_emails_per_connection), (None, 1000));
    assert_eq!(smtp.idle_timeout, Duration::from_secs(30));
    let timeouts = smtp.timeouts;
    let timeouts = [timeouts.connect, timeouts.greeting, timeouts.command, timeouts.data, timeouts.final_dot];
    assert_eq!(timeouts, [10, 30, 30, 60, 600].map(Duration::from_secs));
    assert_eq!((config.mailers.size, config.mailers.max), (8, 4096));
    let retry = &config.retry;
    assert_eq!((retry.max_attempts, retry.factor, retry.jitter), (3, 2.0, 0.1));
    assert_eq!((retry.base, retry.max_delay), (Duration::from_secs(1), Duration::from_secs(60)));
    assert!(!retry.permanent_is_retried && !retry.ambiguous_is_dead_lettered && !retry.limited_is_retried);
    let breaker = &config.breaker;
    assert_eq!((breaker.failures, breaker.probe_interval), (20, Duration::from_secs(5)));
    assert_eq!((config.limits.in_flight, config.limits.crashes), (10_000, 3));
    assert_eq!((config.limits.in_flight_bytes, config.limits.message_bytes), (256 << 20, 10 << 20));
    assert_eq!(config.http.bind.to_string(), "127.0.0.1:8080");
    assert!(config.http.admin_token.is_none());
    assert_eq!(config.log.level, "info");
}

#[test]
fn the_port_follows_the_security_unless_it_is_set() {
    for (security, port) in [("tls", 465), ("starttls", 587), ("plain", 25)] {
        let setup = Setup::valid().set(&format!("smtp.security={security}"));
        assert_eq!(setup.good().smtp.port, port, "{security}");
        assert_eq!(setup.set("smtp.port=2525").good().smtp.port, 2525, "{security}");
    }
}

#[test]
fn the_relays_limits_can_be_told() {
    let config = Setup::valid()
        .file("[smtp]\nmax_rate = \"0.5/s\"\nmax_emails_per_connection = 1\nidle_timeout = \"5s\"\n")
        .set("retry.limited=retry")
        .set("breaker.failures=0")
        .environment("MAILROOM__BREAKER__PROBE_INTERVAL", "250ms")
        .good();
    assert_eq!((config.smtp.max_rate, config.smtp.max_emails_per_connection), (Some(0.5), 1));
    assert_eq!(config.smtp.idle_timeout, Duration::from_secs(5));
    assert!(config.retry.limited_is_retried);
    let breaker = &config.breaker;
    assert_eq!((breaker.failures, breaker.probe_interval), (0, Duration::from_millis(250)));
}

#[test]
fn a_property_of_librdkafka_may_come_from_each_source_and_be_written_both_ways() {
    let config = Setup::valid()
        .file("[kafka.properties]\n\"fetch.max.bytes\" = 2000000\nsocket.keepalive.enable = true\n")
        .environment("MAILROOM__KAFKA__PROPERTIES__security.protocol", "ssl")
        .set("kafka.properties.client.id=mine")
        .good();
    let properties: Vec<_> =
        config.kafka.properties.iter().map(|(name, value)| (name.as_str(), value.0.as_str())).collect();
    assert_eq!(
        properties,
        [
            ("client.id", "mine"),
            ("fetch.max.bytes", "2000000"),
            ("security.protocol", "ssl"),
            ("socket.keepalive.enable", "true"),
        ]
    );
}

#[test]
fn secrets_may_be_files() {
    let mut setup = Setup::valid();
    let smtp = setup.write("smtp", b"smtp-password\n");
    let token = setup.write("token", b"admin-token\n");
    let kafka = setup.write("kafka", b"kafka-password\n");
    let config = setup
        .set("smtp.username=worker")
        .set(&format!("smtp.password_file={}", smtp.display()))
        .set(&format!("http.admin_token_file={}", token.display()))
        .set(&format!("kafka.properties.sasl.password_file={}", kafka.display()))
        .good();
    let login = config.smtp.login.expect("there is one");
    // Read again at each connect.
    assert!(matches!(&login.password, Secret::File(path) if *path == smtp));
    assert_eq!(
        config.http.admin_token.map(|token| format!("{token:?}")),
        Some(format!("file {}", token.display()))
    );
    assert_eq!(config.kafka.properties["sasl.password"].0, "kafka-password");
}

#[test]
fn a_default_file_need_not_be_there_and_a_named_one_must() {
    let missing = PathBuf::from("/no/such/config.toml");
    let mut setup = Setup::valid();
    setup.sources.file_if_there = Some(missing.clone());
    setup.good();
    setup.sources.file = Some(missing);
    let problems = setup.wrong();
    assert_eq!(problems.len(), 1, "{problems:?}");
    assert!(problems[0].starts_with("file:/no/such/config.toml: can't be read"), "{problems:?}");

    let mut setup = Setup::valid();
    setup.sources.file_if_there = Some(setup.write("config.toml", b"[mailers]\nsize = 3\n"));
    assert_eq!(setup.good().mailers.size, 3);
}

#[test]
fn variables_of_others_are_passed_over() {
    Setup::valid().environment("MAILROOM_HOME", "/srv").environment("SMTP__HOST", "other").good();
}

#[test]
fn a_command_that_talks_to_kafka_only_needs_only_kafka_to_be_right() {
    let setup = Setup::default()
        .set("kafka.brokers=kafka.example:9092")
        .set("mailers.size=0")
        .set("smtp.password_file=/no/such/file");
    assert_eq!(load_kafka(&setup.sources).expect("kafka is right").brokers, "kafka.example:9092");
    let setup = setup.set("kafka.topic=email-dlq").set("smpt.host=relay.example.com").set("kafka.group=");
    let problems = load_kafka(&setup.sources).expect_err("three mistakes").to_string();
    let keys: Vec<_> = problems.lines().map(|line| line.split(' ').next().unwrap_or_default()).collect();
    assert_eq!(keys, ["smpt.host", "kafka.group", "kafka.topic"], "{problems}");
}
