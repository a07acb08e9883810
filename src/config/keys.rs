//! Every key, its default, what is allowed, and what contradicts what. Contract, section 8.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::path::Path;
use std::time::Duration;

use super::reader::Reader;
use super::sources::{Problems, Sources};
use super::{
    AuthMechanism, Config, Http, Kafka, Limits, Log, LogFormat, Login, Mailers, Pipelining, Retry, Secret,
    Secretive, Security, Smtp, Timeouts, Worker,
};

/// Keys of the contract that come with later versions: refused, so that nobody relies on them.
const LATER: [&str; 10] = [
    "smtp.max_rate",
    "smtp.max_emails_per_connection",
    "smtp.idle_timeout",
    "email.",
    "retry.limited",
    "breaker.",
    "templates.",
    "dlq.",
    "redrive.",
    "kafka.decisions_topic",
];

/// librdkafka properties that may not be set: the promises stand on ours.
const FORBIDDEN: [&str; 14] = [
    "bootstrap.servers",
    "metadata.broker.list",
    "group.id",
    "group.protocol",
    "partition.assignment.strategy",
    "enable.auto.commit",
    "enable.auto.offset.store",
    "auto.commit.interval.ms",
    "auto.offset.reset",
    "isolation.level",
    "acks",
    "request.required.acks",
    "enable.idempotence",
    "transactional.id",
];

/// Reads and checks everything.
///
/// # Errors
/// Every problem, one line each, with its key, where it came from and what is allowed; never a secret.
pub fn load(sources: &Sources) -> Result<Config, Problems> {
    let mut reader = reader(sources);
    let config = Config {
        worker: worker(&mut reader),
        kafka: kafka(&mut reader),
        smtp: smtp(&mut reader),
        mailers: mailers(&mut reader),
        retry: retry(&mut reader),
        limits: limits(&mut reader),
        http: http(&mut reader),
        log: log(&mut reader),
    };
    check_drain_time(&config, &mut reader);
    finish(reader, config)
}

/// Reads only what `mailroom send` needs: how to reach Kafka.
///
/// # Errors
/// As [`load`]; what is wrong with other sections is not looked at.
pub fn load_kafka(sources: &Sources) -> Result<Kafka, Problems> {
    let mut reader = reader(sources);
    let kafka = kafka(&mut reader);
    let problems = reader.problems;
    if problems.0.is_empty() { Ok(kafka) } else { Err(problems) }
}

fn reader(sources: &Sources) -> Reader {
    let mut problems = Problems::default();
    let settings = sources.gather(&mut problems);
    Reader::new(settings, problems)
}

fn finish(reader: Reader, config: Config) -> Result<Config, Problems> {
    let problems = reader.finish(&LATER);
    if problems.0.is_empty() { Ok(config) } else { Err(problems) }
}

fn host_name() -> String {
    let name = hostname::get().ok().and_then(|name| name.into_string().ok());
    name.filter(|name| !name.is_empty()).unwrap_or_else(|| "localhost".into())
}

fn worker(reader: &mut Reader) -> Worker {
    Worker {
        id: reader.text("worker.id").unwrap_or_else(host_name),
        drain_timeout: reader.duration("worker.drain_timeout", Duration::from_secs(20)),
    }
}

fn kafka(reader: &mut Reader) -> Kafka {
    let text = |reader: &mut Reader, key: &str, default: &str| {
        reader.text(key).unwrap_or_else(|| default.to_owned())
    };
    let kafka = Kafka {
        brokers: text(reader, "kafka.brokers", "localhost:9092"),
        group: text(reader, "kafka.group", "email-workers"),
        topic: text(reader, "kafka.topic", "email-queue"),
        dlq_topic: text(reader, "kafka.dlq_topic", "email-dlq"),
        create_topics: reader.flag("kafka.create_topics", true),
        dlq_retention: reader.duration("kafka.dlq_retention", Duration::from_secs(30 * 86_400)),
        commit_interval: reader.duration("kafka.commit_interval", Duration::from_millis(200)),
        properties: properties(reader),
    };
    if kafka.topic == kafka.dlq_topic {
        reader.complain(
            "kafka.dlq_topic: must not be kafka.topic: dead letters would be sent as e-mails again",
        );
    }
    kafka
}

fn properties(reader: &mut Reader) -> BTreeMap<String, Secretive> {
    let mut given = reader.below("kafka.properties");
    for name in given.keys().filter(|name| FORBIDDEN.contains(&name.as_str())).cloned().collect::<Vec<_>>() {
        reader.complain(format!(
            "kafka.properties.{name}: may not be set: the promises stand on Mailroom's own"
        ));
    }
    let files: Vec<String> = given.keys().filter(|name| name.ends_with("password_file")).cloned().collect();
    for file_name in files {
        let Some(path) = given.remove(&file_name) else { continue };
        let name = file_name.trim_end_matches("_file").to_owned();
        if given.contains_key(&name) {
            reader
                .complain(format!("kafka.properties.{name} and {file_name}: only one of them may be given"));
            continue;
        }
        match Secret::File(path.into()).read() {
            Ok(secret) => {
                given.insert(name, secret);
            }
            Err(error) => reader.complain(format!("kafka.properties.{file_name}: {error}")),
        }
    }
    given.into_iter().map(|(name, value)| (name, Secretive(value))).collect()
}

fn smtp(reader: &mut Reader) -> Smtp {
    let security = reader.choice(
        "smtp.security",
        Security::Tls,
        &[("tls", Security::Tls), ("starttls", Security::Starttls), ("plain", Security::Plain)],
    );
    let usual_port = match security {
        Security::Tls => 465,
        Security::Starttls => 587,
        Security::Plain => 25,
    };
    let host = required(reader, "smtp.host", "the relay's host name or address");
    let from = required(reader, "smtp.from", "the address that e-mails come from where the job names none");
    if !from.is_empty() && from.parse::<lettre::message::Mailbox>().is_err() {
        reader.complain(
            "smtp.from: must be an address such as \"no-reply@example.com\" or \"Shop <shop@example.com>\"",
        );
    }
    let allow_plaintext_auth = reader.flag("smtp.allow_plaintext_auth", false);
    let ca_file = reader.path("smtp.ca_file");
    if let Some(path) = &ca_file {
        check_ca_file(reader, path);
    }
    Smtp {
        host,
        port: reader.number("smtp.port", usual_port, "a port from 1 to 65535", |port| *port > 0),
        security,
        from,
        login: login(reader, security, allow_plaintext_auth),
        allow_plaintext_auth,
        helo_name: reader.text("smtp.helo_name").unwrap_or_else(host_name),
        ca_file,
        pipelining: reader.choice(
            "smtp.pipelining",
            Pipelining::Auto,
            &[("auto", Pipelining::Auto), ("within", Pipelining::Within), ("off", Pipelining::Off)],
        ),
        timeouts: Timeouts {
            connect: reader.duration("smtp.timeouts.connect", Duration::from_secs(10)),
            greeting: reader.duration("smtp.timeouts.greeting", Duration::from_secs(30)),
            command: reader.duration("smtp.timeouts.command", Duration::from_secs(30)),
            data: reader.duration("smtp.timeouts.data", Duration::from_secs(60)),
            final_dot: reader.duration("smtp.timeouts.final_dot", Duration::from_secs(600)),
        },
    }
}

fn required(reader: &mut Reader, key: &str, what: &str) -> String {
    let was_set = reader.is_set(key);
    let value = reader.text(key);
    if value.is_none() && !was_set {
        let name = format!("MAILROOM__{}", key.to_uppercase().replace('.', "__"));
        reader.complain(format!("{key}: must be set: {what} (in the file, or as {name})"));
    }
    value.unwrap_or_default()
}

fn check_ca_file(reader: &mut Reader, path: &Path) {
    match std::fs::read_to_string(path) {
        Err(error) => reader.complain(format!("smtp.ca_file {}: {error}", path.display())),
        Ok(text) if !text.contains("-----BEGIN CERTIFICATE-----") => {
            reader.complain(format!("smtp.ca_file {}: holds no PEM certificate", path.display()));
        }
        Ok(_) => {}
    }
}

fn login(reader: &mut Reader, security: Security, allow_plaintext_auth: bool) -> Option<Login> {
    let mechanism = reader.choice(
        "smtp.auth",
        AuthMechanism::Auto,
        &[
            ("auto", AuthMechanism::Auto),
            ("plain", AuthMechanism::Plain),
            ("login", AuthMechanism::Login),
            ("xoauth2", AuthMechanism::Xoauth2),
        ],
    );
    let username = reader.text("smtp.username");
    let password = reader.secret("smtp.password");
    match (username, password) {
        (Some(username), Some(password)) => {
            if security == Security::Plain && !allow_plaintext_auth {
                reader.complain(
                    "smtp.password: would be sent unencrypted with smtp.security = \"plain\": use \"tls\" or \"starttls\", \
                     or set smtp.allow_plaintext_auth = true",
                );
            }
            Some(Login { username, password, mechanism })
        }
        (Some(_), None) => {
            reader.complain("smtp.username: given without smtp.password (or smtp.password_file)");
            None
        }
        (None, Some(_)) => {
            reader.complain("smtp.password: given without smtp.username");
            None
        }
        (None, None) => None,
    }
}

fn mailers(reader: &mut Reader) -> Mailers {
    let at_least_one = |number: &usize| *number >= 1;
    let mailers = Mailers {
        size: reader.number("mailers.size", 8, "a number, at least 1", at_least_one),
        max: reader.number("mailers.max", 4096, "a number, at least 1", at_least_one),
    };
    if mailers.size > mailers.max {
        reader.complain("mailers.size: must not be over mailers.max");
    }
    mailers
}

fn retry(reader: &mut Reader) -> Retry {
    Retry {
        max_attempts: reader.number("retry.max_attempts", 3, "a number, at least 1", |n: &u32| *n >= 1),
        base: reader.duration("retry.base", Duration::from_secs(1)),
        factor: reader
            .number("retry.factor", 2.0, "a number, at least 1", |n: &f64| n.is_finite() && *n >= 1.0),
        max_delay: reader.duration("retry.max_delay", Duration::from_secs(60)),
        jitter: reader
            .number("retry.jitter", 0.1, "a number from 0 to 10", |n: &f64| (0.0..=10.0).contains(n)),
        permanent_is_retried: reader.choice(
            "retry.permanent",
            false,
            &[("dead-letter", false), ("retry", true)],
        ),
        ambiguous_is_dead_lettered: reader.choice(
            "retry.ambiguous",
            false,
            &[("retry", false), ("dead-letter", true)],
        ),
    }
}

fn limits(reader: &mut Reader) -> Limits {
    Limits {
        in_flight: reader.number("limits.in_flight", 10_000, "a number, at least 1", |n: &usize| *n >= 1),
        in_flight_bytes: reader.size("limits.in_flight_bytes", 256 << 20),
        message_bytes: reader.size("limits.message_bytes", 10 << 20),
        crashes: reader.number("limits.crashes", 3, "a number, at least 1", |n: &u32| *n >= 1),
    }
}

fn http(reader: &mut Reader) -> Http {
    let default = SocketAddr::from(([127, 0, 0, 1], 8080));
    let allowed = "an address and a port such as \"127.0.0.1:8080\" (port 0: a free one)";
    Http {
        bind: reader.number("http.bind", default, allowed, |_| true),
        admin_token: reader.secret("http.admin_token"),
    }
}

fn log(reader: &mut Reader) -> Log {
    let levels = ["error", "warn", "info", "debug", "trace"].map(|level| (level, level));
    Log {
        format: reader.choice(
            "log.format",
            LogFormat::Auto,
            &[("auto", LogFormat::Auto), ("json", LogFormat::Json), ("text", LogFormat::Text)],
        ),
        level: reader.choice("log.level", "info", &levels).to_owned(),
    }
}

/// The group gives a worker up that is silent for longer; librdkafka's default.
const MAX_POLL_INTERVAL_MS: u64 = 300_000;

fn check_drain_time(config: &Config, reader: &mut Reader) {
    let given = config.kafka.properties.get("max.poll.interval.ms");
    let limit_ms = given.and_then(|value| value.0.parse().ok()).unwrap_or(MAX_POLL_INTERVAL_MS);
    if config.worker.drain_timeout.as_millis() >= u128::from(limit_ms) {
        reader.complain(format!("worker.drain_timeout: must be under max.poll.interval.ms ({limit_ms} ms)"));
    }
}
