//! From what was set, and the defaults, to the configuration that holds.

use std::collections::HashMap;
use std::net::{Ipv4Addr, SocketAddr};
use std::path::PathBuf;
use std::time::Duration;

use mailroom_actors::domain::failure::Cause;

use super::keys::{self, Default, KEYS, Key};
use super::kind::{Kind, Raw, Value};
use super::layers::Layers;
use super::problems::{Origin, Problems};
use super::secret::Secret;
use super::*;

/// The value of each key that has one. Where a value was wrong its default stands in, so that all the
/// mistakes behind it are found too.
pub(super) struct Values<'a> {
    layers: &'a Layers,
    values: HashMap<&'static str, Value>,
    secrets: HashMap<&'static str, Secret>,
}

impl<'a> Values<'a> {
    pub fn read(layers: &'a Layers, problems: &mut Problems) -> Values<'a> {
        let mut values = Values { layers, values: HashMap::new(), secrets: HashMap::new() };
        for key in KEYS {
            if let Kind::Secret { .. } = key.kind {
                values.read_secret(key, problems);
            } else {
                values.read_value(key, problems);
            }
        }
        values
    }

    fn read_value(&mut self, key: &Key, problems: &mut Problems) {
        if let Default::Is(text) = key.default
            && let Some(value) = key.kind.read(&Raw::untyped(text))
        {
            self.values.insert(key.name, value);
        }
        match self.layers.given.get(key.name) {
            Some(given) => match key.kind.read(&given.raw) {
                Some(value) => drop(self.values.insert(key.name, value)),
                None => problems.add(key.name, given.origin.clone(), key.kind.allowed()),
            },
            None => {
                if let Default::Required { example } = key.default
                    && !self.layers.file_is_lost
                {
                    let what = format!("must be set, such as {}", key.kind.literal(example));
                    problems.add(key.name, Origin::Default, what);
                }
            }
        }
    }

    fn read_secret(&mut self, key: &Key, problems: &mut Problems) {
        let file_key = format!("{}_file", key.name);
        let (direct, file) = (self.layers.given.get(key.name), self.layers.given.get(&file_key));
        let secret = match (direct, file) {
            (None, None) => return,
            (Some(_), Some(given)) => {
                let what = format!("is set beside {}; take one of them out", key.name);
                return problems.add(&file_key, given.origin.clone(), what);
            }
            (Some(given), None) => match key.kind.read(&given.raw) {
                Some(Value::Text(text)) => Secret::Value(text),
                _ => return problems.add(key.name, given.origin.clone(), key.kind.allowed()),
            },
            (None, Some(given)) => {
                let path = Kind::Text { allowed: "the path of a file", valid: |_| true };
                let Some(Value::Text(file)) = path.read(&given.raw) else {
                    return problems.add(&file_key, given.origin.clone(), path.allowed());
                };
                let file = PathBuf::from(file);
                match secret::read_file(&file) {
                    Ok(text) if key.kind.read(&Raw::untyped(text.as_str())).is_some() => Secret::File(file),
                    Ok(_) => {
                        let what = format!("what is in the file {}", key.kind.allowed());
                        return problems.add(&file_key, given.origin.clone(), what);
                    }
                    Err(error) => return problems.add(&file_key, given.origin.clone(), error),
                }
            }
        };
        self.secrets.insert(key.name, secret);
    }

    /// Whether `key`, or its `_file`, was set at all, rightly or wrongly.
    pub fn is_set(&self, key: &str) -> bool {
        let given = &self.layers.given;
        given.contains_key(key) || given.contains_key(&format!("{key}_file"))
    }

    /// Where the value of `key`, or its `_file`, came from.
    pub fn origin(&self, key: &str) -> Origin {
        let given = &self.layers.given;
        let given = given.get(key).or_else(|| given.get(&format!("{key}_file")));
        given.map_or(Origin::Default, |given| given.origin.clone())
    }

    fn get(&self, key: &str) -> Option<&Value> {
        debug_assert!(keys::find(key).is_some(), "{key} is in the table");
        self.values.get(key)
    }

    pub fn text(&self, key: &str) -> Option<&str> {
        match self.get(key) {
            Some(Value::Text(text)) => Some(text),
            _ => None,
        }
    }

    fn string(&self, key: &str) -> String {
        self.text(key).unwrap_or_default().to_owned()
    }

    pub fn whole(&self, key: &str) -> Option<u64> {
        match self.get(key) {
            Some(Value::Whole(number)) => Some(*number),
            _ => None,
        }
    }

    fn size(&self, key: &str) -> usize {
        usize::try_from(self.whole(key).unwrap_or_default()).unwrap_or(usize::MAX)
    }

    fn count(&self, key: &str) -> u32 {
        u32::try_from(self.whole(key).unwrap_or_default()).unwrap_or(u32::MAX)
    }

    fn flag(&self, key: &str) -> bool {
        self.get(key) == Some(&Value::Flag(true))
    }

    fn real(&self, key: &str) -> Option<f64> {
        match self.get(key) {
            Some(Value::Real(number)) => Some(*number),
            _ => None,
        }
    }

    fn duration(&self, key: &str) -> Duration {
        match self.get(key) {
            Some(Value::Duration(duration)) => *duration,
            _ => Duration::ZERO,
        }
    }

    fn list(&self, key: &str) -> &[String] {
        match self.get(key) {
            Some(Value::List(items)) => items,
            _ => &[],
        }
    }

    fn bind(&self) -> SocketAddr {
        match self.get("http.bind") {
            Some(Value::Bind(address)) => *address,
            _ => (Ipv4Addr::LOCALHOST, 0).into(),
        }
    }

    /// The host name where `key` is not set; a mistake when that is no value for it.
    fn or_host_name(&self, key: &Key, problems: &mut Problems) -> String {
        if self.is_set(key.name) {
            return self.string(key.name);
        }
        let host_name = hostname::get().ok().and_then(|name| name.into_string().ok()).unwrap_or_default();
        if key.kind.read(&Raw::untyped(host_name.as_str())).is_none() {
            let what = format!("must be set: the host name can't stand in, since it {}", key.kind.allowed());
            problems.add(key.name, Origin::Default, what);
        }
        host_name
    }
}

/// The configuration of `values`; it counts only if there are no problems in the end.
pub(super) fn assemble(values: &Values<'_>, kafka: Kafka, problems: &mut Problems) -> Config {
    Config {
        worker: Worker {
            id: values.or_host_name(entry("worker.id"), problems),
            drain_timeout: values.duration("worker.drain_timeout"),
        },
        kafka,
        smtp: smtp(values, problems),
        email: email(values),
        templates: templates(values),
        mailers: Mailers { size: values.size("mailers.size"), max: values.size("mailers.max") },
        retry: Retry {
            max_attempts: values.count("retry.max_attempts"),
            base: values.duration("retry.base"),
            factor: values.real("retry.factor").unwrap_or_default(),
            max_delay: values.duration("retry.max_delay"),
            jitter: values.real("retry.jitter").unwrap_or_default(),
            permanent_is_retried: values.text("retry.permanent") == Some("retry"),
            ambiguous_is_dead_lettered: values.text("retry.ambiguous") == Some("dead-letter"),
            limited_is_retried: values.text("retry.limited") == Some("retry"),
        },
        breaker: Breaker {
            failures: values.count("breaker.failures"),
            probe_interval: values.duration("breaker.probe_interval"),
        },
        limits: Limits {
            in_flight: values.size("limits.in_flight"),
            in_flight_bytes: values.size("limits.in_flight_bytes"),
            message_bytes: message_bytes(values),
            crashes: values.count("limits.crashes"),
        },
        http: Http { bind: values.bind(), admin_token: values.secrets.get("http.admin_token").cloned() },
        dlq: dlq(values),
        redrive: redrive(values),
        log: Log {
            format: match values.text("log.format") {
                Some("json") => LogFormat::Json,
                Some("text") => LogFormat::Text,
                _ => LogFormat::Auto,
            },
            level: values.string("log.level"),
        },
    }
}

/// `http.bind` as it was set, or its default.
pub(super) fn bind(layers: &Layers, problems: &mut Problems) -> SocketAddr {
    let mut values = Values { layers, values: HashMap::new(), secrets: HashMap::new() };
    values.read_value(entry("http.bind"), problems);
    values.bind()
}

/// The section `kafka` of `values`.
pub(super) fn kafka(values: &Values<'_>, problems: &mut Problems) -> Kafka {
    Kafka {
        brokers: values.string("kafka.brokers"),
        group: values.string("kafka.group"),
        topic: values.string("kafka.topic"),
        replay_topic: values
            .text("dlq.replay_topic")
            .filter(|topic| values.text("kafka.topic") != Some(topic))
            .map(str::to_owned),
        dlq_topic: values.string("kafka.dlq_topic"),
        decisions_topic: values.string("kafka.decisions_topic"),
        create_topics: values.flag("kafka.create_topics"),
        dlq_retention: values.duration("kafka.dlq_retention"),
        commit_interval: values.duration("kafka.commit_interval"),
        properties: properties::read(values.layers, problems),
    }
}

/// The section `templates` of `values`.
pub(super) fn templates(values: &Values<'_>) -> Templates {
    Templates { dir: values.text("templates.dir").map(PathBuf::from) }
}

/// The section `dlq` of `values`.
pub(super) fn dlq(values: &Values<'_>) -> Dlq {
    Dlq {
        index_letters: values.size("dlq.index_letters"),
        rate: values.real("dlq.rate").unwrap_or_default(),
        max_replays: values.count("dlq.max_replays"),
        allow_edit: values.flag("dlq.allow_edit"),
        transactions: values.text("dlq.transactions") != Some("off"),
    }
}

/// `limits.message_bytes`.
pub(super) fn message_bytes(values: &Values<'_>) -> usize {
    values.size("limits.message_bytes")
}

fn redrive(values: &Values<'_>) -> Redrive {
    let waits = values.list("redrive.waits").iter().filter_map(|wait| kind::duration(wait));
    let causes = values.list("redrive.causes");
    let named = |cause: &&Cause| causes.iter().any(|name| name == cause.as_str());
    Redrive {
        enabled: values.flag("redrive.enabled"),
        waits: waits.collect(),
        causes: Cause::ALL.iter().filter(named).copied().collect(),
        notify: values.text("redrive.notify").map(str::to_owned),
    }
}

fn email(values: &Values<'_>) -> Email {
    Email {
        allowed_from_domains: values.list("email.allowed_from_domains").to_vec(),
        max_age: match values.get("email.max_age") {
            Some(Value::Duration(max_age)) => Some(*max_age),
            _ => None,
        },
    }
}

fn smtp(values: &Values<'_>, problems: &mut Problems) -> Smtp {
    let security = match values.text("smtp.security") {
        Some("starttls") => Security::Starttls,
        Some("plain") => Security::Plain,
        _ => Security::Tls,
    };
    let default_port = match security {
        Security::Tls => 465,
        Security::Starttls => 587,
        Security::Plain => 25,
    };
    let port = values.whole("smtp.port").and_then(|port| u16::try_from(port).ok());
    let mechanism = match values.text("smtp.auth") {
        Some("plain") => AuthMechanism::Plain,
        Some("login") => AuthMechanism::Login,
        Some("xoauth2") => AuthMechanism::Xoauth2,
        _ => AuthMechanism::Auto,
    };
    let login = match (values.text("smtp.username"), values.secrets.get("smtp.password")) {
        (Some(username), Some(password)) => {
            Some(Login { username: username.to_owned(), password: password.clone(), mechanism })
        }
        _ => None,
    };
    Smtp {
        host: values.string("smtp.host"),
        port: port.unwrap_or(default_port),
        security,
        from: values.string("smtp.from"),
        login,
        allow_plaintext_auth: values.flag("smtp.allow_plaintext_auth"),
        helo_name: values.or_host_name(entry("smtp.helo_name"), problems),
        ca_file: values.text("smtp.ca_file").map(PathBuf::from),
        pipelining: match values.text("smtp.pipelining") {
            Some("within") => Pipelining::Within,
            Some("off") => Pipelining::Off,
            _ => Pipelining::Auto,
        },
        max_rate: values.real("smtp.max_rate"),
        max_emails_per_connection: values.count("smtp.max_emails_per_connection"),
        idle_timeout: values.duration("smtp.idle_timeout"),
        timeouts: Timeouts {
            connect: values.duration("smtp.timeouts.connect"),
            greeting: values.duration("smtp.timeouts.greeting"),
            command: values.duration("smtp.timeouts.command"),
            data: values.duration("smtp.timeouts.data"),
            final_dot: values.duration("smtp.timeouts.final_dot"),
        },
    }
}

fn entry(name: &str) -> &'static Key {
    keys::find(name).expect("the names in this file are in the table")
}
