//! Layers, mistakes, contradictions, secrets.

#![allow(clippy::unwrap_used)]

use std::time::Duration;

use super::*;

fn from_environment(settings: &[(&str, &str)]) -> Result<Config, Problems> {
    let needed =
        [("MAILROOM__SMTP__HOST", "relay.example.com"), ("MAILROOM__SMTP__FROM", "no-reply@example.com")];
    let environment =
        needed.iter().chain(settings).map(|(n, v)| ((*n).to_owned(), (*v).to_owned())).collect();
    let file = tempfile::NamedTempFile::new().unwrap();
    load(&Sources { file: Some(file.path().to_owned()), environment, set: Vec::new() })
}

fn problems(settings: &[(&str, &str)]) -> Vec<String> {
    from_environment(settings).err().map(|problems| problems.0).unwrap_or_default()
}

#[test]
fn the_defaults_are_the_contracts() {
    let config = from_environment(&[]).unwrap();
    assert_eq!(config.kafka.topic, "email-queue");
    assert_eq!(config.kafka.dlq_topic, "email-dlq");
    assert_eq!(config.kafka.group, "email-workers");
    assert_eq!((config.smtp.security, config.smtp.port), (Security::Tls, 465));
    assert_eq!((config.mailers.size, config.mailers.max), (8, 4096));
    assert_eq!((config.retry.max_attempts, config.retry.base), (3, Duration::from_secs(1)));
    assert_eq!(config.limits.in_flight_bytes, 256 * 1024 * 1024);
    assert_eq!(config.http.bind.to_string(), "127.0.0.1:8080");
}

#[test]
fn the_port_follows_the_security() {
    for (security, port) in [("tls", 465), ("starttls", 587), ("plain", 25)] {
        assert_eq!(from_environment(&[("MAILROOM__SMTP__SECURITY", security)]).unwrap().smtp.port, port);
    }
}

#[test]
fn the_flag_wins_over_the_environment_and_that_over_the_file() {
    let file = tempfile::NamedTempFile::new().unwrap();
    let text = "smtp.host = 'file'\nsmtp.from = 'a@example.com'\nworker.id = 'file'\nkafka.group = 'file'\n";
    std::fs::write(file.path(), text).unwrap();
    let environment = vec![
        ("MAILROOM__WORKER__ID".to_owned(), "env".to_owned()),
        ("MAILROOM__KAFKA__GROUP".to_owned(), "env".to_owned()),
    ];
    let set = vec!["worker.id=flag".to_owned()];
    let config = load(&Sources { file: Some(file.path().to_owned()), environment, set }).unwrap();
    assert_eq!(config.smtp.host, "file");
    assert_eq!(config.kafka.group, "env");
    assert_eq!(config.worker.id, "flag");
}

#[test]
fn every_mistake_is_told_at_once_with_its_key_and_where_it_came_from() {
    let found = problems(&[
        ("MAILROOM__RETRY__BASE", "soon"),
        ("MAILROOM__RETRY__MAX_ATTEMPTS", "0"),
        ("MAILROOM__RETRY__FACTOR", "0.5"),
        ("MAILROOM__RETRY__JITTER", "-1"),
        ("MAILROOM__SMTP__SECURTY", "tls"),
        ("MAILROOM__LIMITS__IN_FLIGHT_BYTES", "much"),
        ("MAILROOM__HTTP__BIND", "8080"),
        ("MAILROOM__BREAKER__FAILURES", "3"),
    ]);
    let keys = [
        "retry.base",
        "retry.max_attempts",
        "retry.factor",
        "retry.jitter",
        "smtp.securty",
        "limits.in_flight_bytes",
        "http.bind",
        "breaker.failures",
    ];
    assert_eq!(found.len(), keys.len(), "{found:#?}");
    for key in keys {
        let line =
            found.iter().find(|line| line.starts_with(key)).unwrap_or_else(|| panic!("{key}: {found:#?}"));
        assert!(line.contains("env:MAILROOM__"), "{line}");
    }
    assert!(found.iter().any(|line| line.starts_with("breaker.failures") && line.contains("not supported")));
}

#[test]
fn contradictions_are_problems() {
    let cases: [(&[(&str, &str)], &str); 8] = [
        (&[("MAILROOM__KAFKA__DLQ_TOPIC", "email-queue")], "kafka.dlq_topic"),
        (&[("MAILROOM__MAILERS__SIZE", "9"), ("MAILROOM__MAILERS__MAX", "8")], "mailers.size"),
        (&[("MAILROOM__WORKER__DRAIN_TIMEOUT", "300s")], "worker.drain_timeout"),
        (&[("MAILROOM__SMTP__USERNAME", "ada")], "smtp.username"),
        (&[("MAILROOM__SMTP__PASSWORD", "hunter2")], "smtp.username"),
        (&[("MAILROOM__KAFKA__PROPERTIES__group.id", "x")], "kafka.properties.group.id"),
        (&[("MAILROOM__SMTP__CA_FILE", "/nonexistent/ca.pem")], "smtp.ca_file"),
        (
            &[
                ("MAILROOM__SMTP__SECURITY", "plain"),
                ("MAILROOM__SMTP__USERNAME", "ada"),
                ("MAILROOM__SMTP__PASSWORD", "hunter2"),
            ],
            "smtp.allow_plaintext_auth",
        ),
    ];
    for (settings, expected) in cases {
        let found = problems(settings);
        assert_eq!(found.len(), 1, "{found:#?}");
        assert!(found[0].contains(expected) && !found[0].contains("hunter2"), "{found:#?}");
    }
}

#[test]
fn what_must_be_set_is_asked_for() {
    let file = tempfile::NamedTempFile::new().unwrap();
    let found = load(&Sources { file: Some(file.path().to_owned()), ..Sources::default() }).unwrap_err();
    assert!(found.0.iter().any(|line| line.starts_with("smtp.host: must be set")), "{found}");
    assert!(found.0.iter().any(|line| line.starts_with("smtp.from: must be set")), "{found}");
}

#[test]
fn a_secret_in_a_file_loses_one_newline_and_is_never_shown() {
    let file = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(file.path(), "hunter2\n\n").unwrap();
    let path = file.path().to_str().unwrap();
    let config = from_environment(&[
        ("MAILROOM__SMTP__USERNAME", "ada"),
        ("MAILROOM__SMTP__PASSWORD_FILE", path),
        ("MAILROOM__HTTP__ADMIN_TOKEN", "canary"),
        ("MAILROOM__KAFKA__PROPERTIES__sasl.password", "canary"),
    ])
    .unwrap();
    assert_eq!(config.smtp.login.as_ref().unwrap().password.read().unwrap(), "hunter2\n");
    let shown = format!("{config:?}");
    assert!(!shown.contains("hunter2") && !shown.contains("canary"), "{shown}");
}

#[test]
fn an_empty_secret_file_or_both_forms_are_problems() {
    let file = tempfile::NamedTempFile::new().unwrap();
    let path = file.path().to_str().unwrap();
    assert_eq!(problems(&[("MAILROOM__HTTP__ADMIN_TOKEN_FILE", path)]).len(), 1);
    let both = [("MAILROOM__HTTP__ADMIN_TOKEN_FILE", path), ("MAILROOM__HTTP__ADMIN_TOKEN", "x")];
    assert_eq!(problems(&both).len(), 1);
}

#[test]
fn the_shipped_file_is_all_comments_and_changes_nothing() {
    let text = include_str!("../../config.toml");
    let table: toml::Table = text.parse().unwrap();
    assert!(table.values().all(|section| section.as_table().is_none_or(toml::Table::is_empty)), "{table:?}");
}

#[test]
fn every_key_of_the_shipped_file_works_at_its_shown_default() {
    let text = include_str!("../../config.toml");
    let mut shown = String::new();
    for line in text.lines() {
        let uncommented =
            line.strip_prefix("#").filter(|rest| !rest.starts_with(' ') && rest.contains(" = "));
        shown.push_str(uncommented.unwrap_or(line));
        shown.push('\n');
    }
    let file = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(file.path(), shown).unwrap();
    let config = load(&Sources { file: Some(file.path().to_owned()), ..Sources::default() }).unwrap();
    let plain = from_environment(&[]).unwrap();
    assert_eq!(format!("{:?}", config.retry), format!("{:?}", plain.retry));
    assert_eq!(format!("{:?}", config.limits), format!("{:?}", plain.limits));
    assert_eq!(format!("{:?}", config.kafka), format!("{:?}", plain.kafka));
    assert_eq!(format!("{:?}", config.smtp.timeouts), format!("{:?}", plain.smtp.timeouts));
    assert_eq!(format!("{:?}", config.mailers), format!("{:?}", plain.mailers));
    assert_eq!(format!("{:?}", config.log), format!("{:?}", plain.log));
}
