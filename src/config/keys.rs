//! Every key that works, once: its name, its default, and what it takes.

use std::time::Duration;

use super::forms;
use super::kind::{Kind, RATE, TEN_YEARS};

/// One key of the configuration.
pub struct Key {
    /// `section.key`, as in the contract's section 8.
    pub name: &'static str,
    pub default: Default,
    pub kind: Kind,
}

/// What a key is when nobody sets it. An `example` is what `config.toml` shows in its place.
pub enum Default {
    Is(&'static str),
    /// Nothing: it must be set.
    Required {
        example: &'static str,
    },
    /// Nothing: what it is for is off.
    Unset {
        example: &'static str,
    },
    /// What another key, or the machine, makes of it.
    Derived {
        example: &'static str,
    },
}

use Default::{Derived, Is, Required, Unset};

const MILLISECOND: Duration = Duration::from_millis(1);
const HOUR: Duration = Duration::from_secs(3600);
const DAY: Duration = Duration::from_secs(24 * 3600);

const fn key(name: &'static str, default: Default, kind: Kind) -> Key {
    Key { name, default, kind }
}

const fn text(allowed: &'static str, valid: fn(&str) -> bool) -> Kind {
    Kind::Text { allowed, valid }
}

const fn duration(min: Duration, max: Duration) -> Kind {
    Kind::Duration { min, max }
}

const TIMEOUT: Kind = duration(MILLISECOND, HOUR);
const NAME: Kind = text("a text of 1 to 255 bytes without control characters", forms::is_name);
const TOPIC: Kind = text(
    "a topic: 1 to 249 of letters, digits, \".\", \"_\" and \"-\", not \".\" or \"..\"",
    forms::is_topic,
);

/// In the order in which `config.toml` shows them; a section's keys stand together.
pub const KEYS: &[Key] = &[
    key("worker.id", Derived { example: "worker-1" }, NAME),
    key("worker.drain_timeout", Is("20s"), duration(MILLISECOND, DAY)),
    key(
        "kafka.brokers",
        Is("localhost:9092"),
        text("brokers as \"host:port\", with commas between them", forms::are_brokers),
    ),
    key("kafka.group", Is("email-workers"), NAME),
    key("kafka.topic", Is("email-queue"), TOPIC),
    key("kafka.dlq_topic", Is("email-dlq"), TOPIC),
    key("kafka.decisions_topic", Is("email-dlq-decisions"), TOPIC),
    key("kafka.create_topics", Is("true"), Kind::Flag),
    key("kafka.dlq_retention", Is("30d"), duration(Duration::from_secs(1), DAY.saturating_mul(36_500))),
    key("kafka.commit_interval", Is("200ms"), duration(MILLISECOND, HOUR)),
    key(
        "smtp.host",
        Required { example: "smtp.example.com" },
        text(
            "the relay's host name or IP address, without a scheme or a port (see smtp.port)",
            forms::is_host,
        ),
    ),
    key("smtp.security", Is("tls"), Kind::OneOf(&["tls", "starttls", "plain"])),
    key("smtp.port", Derived { example: "465" }, Kind::Whole { min: 1, max: 65_535 }),
    key(
        "smtp.from",
        Required { example: "Example <noreply@example.com>" },
        text("one e-mail address, bare or as \"Name <address>\"", forms::is_mailbox),
    ),
    key("smtp.username", Unset { example: "worker" }, NAME),
    key(
        "smtp.password",
        Unset { example: "secret" },
        Kind::Secret { allowed: "a text that is not empty", valid: forms::is_password },
    ),
    key("smtp.auth", Is("auto"), Kind::OneOf(&["auto", "plain", "login", "xoauth2"])),
    key("smtp.allow_plaintext_auth", Is("false"), Kind::Flag),
    key(
        "smtp.helo_name",
        Derived { example: "worker-1.example.com" },
        text("a host name, or an address in brackets, as RFC 5321 has it for EHLO", forms::is_helo_name),
    ),
    key("smtp.ca_file", Unset { example: "/etc/mailroom/ca.pem" }, text("the path of a file", |_| true)),
    key("smtp.pipelining", Is("auto"), Kind::OneOf(&["auto", "within", "off"])),
    key("smtp.max_rate", Unset { example: "14/s" }, RATE),
    key("smtp.max_emails_per_connection", Is("1000"), Kind::Whole { min: 1, max: 1_000_000_000 }),
    key("smtp.idle_timeout", Is("30s"), TIMEOUT),
    key("smtp.timeouts.connect", Is("10s"), TIMEOUT),
    key("smtp.timeouts.greeting", Is("30s"), TIMEOUT),
    key("smtp.timeouts.command", Is("30s"), TIMEOUT),
    key("smtp.timeouts.data", Is("60s"), TIMEOUT),
    key("smtp.timeouts.final_dot", Is("600s"), TIMEOUT),
    key(
        "email.allowed_from_domains",
        Is(""),
        Kind::List { allowed: "domains such as \"example.com\", without an @", read: forms::domain },
    ),
    key("email.max_age", Unset { example: "24h" }, duration(Duration::from_secs(1), TEN_YEARS)),
    key(
        "templates.dir",
        Unset { example: "/etc/mailroom/templates" },
        text("the path of a folder", |_| true),
    ),
    key("mailers.size", Is("8"), Kind::Whole { min: 1, max: 65_536 }),
    key("mailers.max", Is("4096"), Kind::Whole { min: 1, max: 65_536 }),
    key("retry.max_attempts", Is("3"), Kind::Whole { min: 1, max: 1000 }),
    key("retry.base", Is("1s"), duration(Duration::ZERO, DAY)),
    key("retry.factor", Is("2"), Kind::Real { min: 1.0, max: 100.0 }),
    key("retry.max_delay", Is("60s"), duration(Duration::ZERO, DAY.saturating_mul(7))),
    key("retry.jitter", Is("0.1"), Kind::Real { min: 0.0, max: 1.0 }),
    key("retry.permanent", Is("dead-letter"), Kind::OneOf(&["dead-letter", "retry"])),
    key("retry.ambiguous", Is("retry"), Kind::OneOf(&["retry", "dead-letter"])),
    key("retry.limited", Is("wait"), Kind::OneOf(&["wait", "retry"])),
    key("breaker.failures", Is("20"), Kind::Whole { min: 0, max: 1_000_000_000 }),
    key("breaker.probe_interval", Is("5s"), TIMEOUT),
    key("limits.in_flight", Is("10000"), Kind::Whole { min: 1, max: 10_000_000 }),
    key("limits.in_flight_bytes", Is("256MiB"), Kind::Size { min: 1, max: 1 << 40 }),
    // Kafka's own limit is the largest number of 31 bits, librdkafka's a little less than 1 GB.
    key("limits.message_bytes", Is("10MiB"), Kind::Size { min: 1, max: 900_000_000 }),
    key("limits.crashes", Is("3"), Kind::Whole { min: 1, max: 1000 }),
    key("http.bind", Is("127.0.0.1:8080"), Kind::Bind),
    key(
        "http.admin_token",
        Unset { example: "secret" },
        Kind::Secret { allowed: "visible ASCII characters without spaces", valid: forms::is_token },
    ),
    key("dlq.index_letters", Is("1000000"), Kind::Whole { min: 0, max: 100_000_000 }),
    key("dlq.rate", Is("10/s"), RATE),
    key("dlq.max_replays", Is("5"), Kind::Whole { min: 0, max: 255 }),
    key("dlq.allow_edit", Is("false"), Kind::Flag),
    key("dlq.transactions", Is("on"), Kind::OneOf(&["on", "off"])),
    key("dlq.replay_topic", Derived { example: "email-queue" }, TOPIC),
    key("redrive.enabled", Is("false"), Kind::Flag),
    key(
        "redrive.waits",
        Is("1h,6h,24h"),
        Kind::List { allowed: "durations such as \"1h\", at least one", read: forms::wait },
    ),
    key(
        "redrive.causes",
        Is("throttled,quota,smtp_unreachable,smtp_auth,ambiguous,unknown"),
        Kind::List { allowed: "causes of dead letters, such as \"throttled\"", read: forms::cause },
    ),
    key(
        "redrive.notify",
        Unset { example: "postmaster@example.com" },
        text("one e-mail address, bare or as \"Name <address>\"", forms::is_mailbox),
    ),
    key("log.format", Is("auto"), Kind::OneOf(&["auto", "json", "text"])),
    key("log.level", Is("info"), Kind::OneOf(&["error", "warn", "info", "debug", "trace"])),
];

/// The table of librdkafka's own properties: what follows is a name of theirs.
pub const PROPERTIES: &str = "kafka.properties.";

/// The entry of `name`; none when it is no key.
pub fn find(name: &str) -> Option<&'static Key> {
    KEYS.iter().find(|key| key.name == name)
}

/// The secret key that `name` gives the file of: `smtp.password` for `smtp.password_file`.
pub fn find_by_file(name: &str) -> Option<&'static Key> {
    find(name.strip_suffix("_file")?).filter(|key| matches!(key.kind, Kind::Secret { .. }))
}

/// Whether a key lies in the table `path`.
pub fn is_section(path: &str) -> bool {
    let within = |name: &str| name.strip_prefix(path).is_some_and(|rest| rest.starts_with('.'));
    within(PROPERTIES) || KEYS.iter().any(|key| within(key.name))
}

/// A key of the table `path`, where that is one and no key itself.
pub fn example_in(path: &str) -> Option<&'static str> {
    let within = |name: &str| name.strip_prefix(path).is_some_and(|rest| rest.starts_with('.'));
    if within(PROPERTIES) && path != "kafka" {
        return Some("kafka.properties.\"security.protocol\"");
    }
    KEYS.iter().map(|key| key.name).find(|name| within(name))
}

/// The known key whose name is nearest to `name`, when it is near enough to be meant.
pub fn nearest(name: &str) -> Option<String> {
    let name = &name.to_ascii_lowercase();
    let files = KEYS
        .iter()
        .filter(|key| matches!(key.kind, Kind::Secret { .. }))
        .map(|key| format!("{}_file", key.name));
    let (distance, nearest) = KEYS
        .iter()
        .map(|key| key.name.to_owned())
        .chain(files)
        .map(|known| (edits(name, &known), known))
        .min_by_key(|(distance, _)| *distance)?;
    (distance <= 3.max(name.len() / 4)).then_some(nearest)
}

/// How many letters must be changed, put in or taken out to make one name of the other (Levenshtein).
fn edits(from: &str, to: &str) -> usize {
    // Nobody means a key by a name that long.
    if from.len() > 100 {
        return usize::MAX;
    }
    let to: Vec<char> = to.chars().collect();
    let mut row: Vec<usize> = (0..=to.len()).collect();
    for (i, a) in from.chars().enumerate() {
        let mut diagonal = row[0];
        row[0] = i + 1;
        for (j, b) in to.iter().enumerate() {
            let change = diagonal + usize::from(a != *b);
            diagonal = row[j + 1];
            row[j + 1] = change.min(diagonal + 1).min(row[j] + 1);
        }
    }
    row[to.len()]
}
