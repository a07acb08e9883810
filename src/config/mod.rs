//! Everything that can be set, with its default: a file, then the environment, then `--set`.

mod keys;
mod reader;
mod sources;
#[cfg(test)]
mod tests;

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::Duration;

pub use keys::{load, load_kafka};
pub use sources::{Origin, Problems, Sources};

/// The effective configuration, checked: whoever holds one need not check it again.
#[derive(Clone, Debug)]
pub struct Config {
    pub worker: Worker,
    pub kafka: Kafka,
    pub smtp: Smtp,
    pub mailers: Mailers,
    pub retry: Retry,
    pub limits: Limits,
    pub http: Http,
    pub log: Log,
}

#[derive(Clone, Debug)]
pub struct Worker {
    pub id: String,
    pub drain_timeout: Duration,
}

#[derive(Clone, Debug)]
pub struct Kafka {
    pub brokers: String,
    pub group: String,
    pub topic: String,
    pub dlq_topic: String,
    pub create_topics: bool,
    pub dlq_retention: Duration,
    pub commit_interval: Duration,
    /// librdkafka's own properties, by their own names; none that the promises stand on.
    pub properties: BTreeMap<String, Secretive>,
}

#[derive(Clone, Debug)]
pub struct Smtp {
    pub host: String,
    pub port: u16,
    pub security: Security,
    /// The bare address or mailbox that From falls back to.
    pub from: String,
    pub login: Option<Login>,
    pub allow_plaintext_auth: bool,
    pub helo_name: String,
    pub ca_file: Option<PathBuf>,
    pub pipelining: Pipelining,
    pub timeouts: Timeouts,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Security {
    Tls,
    Starttls,
    Plain,
}

#[derive(Clone, Debug)]
pub struct Login {
    pub username: String,
    pub password: Secret,
    pub mechanism: AuthMechanism,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AuthMechanism {
    /// PLAIN where it is offered, else LOGIN, no second try.
    Auto,
    Plain,
    Login,
    /// The password is the access token.
    Xoauth2,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Pipelining {
    Auto,
    /// The commands of one e-mail only.
    Within,
    Off,
}

#[derive(Clone, Copy, Debug)]
pub struct Timeouts {
    /// For each address of the host.
    pub connect: Duration,
    pub greeting: Duration,
    pub command: Duration,
    pub data: Duration,
    pub final_dot: Duration,
}

/// A secret given as such, or a file that is read again each time it is needed, so that it can be rotated.
#[derive(Clone)]
pub enum Secret {
    Value(String),
    File(PathBuf),
}

/// A librdkafka property; its value is not shown where the name ends in `password` or `secret`.
#[derive(Clone)]
pub struct Secretive(pub String);

#[derive(Clone, Debug)]
pub struct Mailers {
    pub size: usize,
    pub max: usize,
}

#[derive(Clone, Debug)]
pub struct Retry {
    pub max_attempts: u32,
    pub base: Duration,
    pub factor: f64,
    pub max_delay: Duration,
    pub jitter: f64,
    /// `retry.permanent = "retry"`: 5xx replies are tried again like 4xx ones.
    pub permanent_is_retried: bool,
    /// `retry.ambiguous = "dead-letter"`: never risk a second copy.
    pub ambiguous_is_dead_lettered: bool,
}

#[derive(Clone, Debug)]
pub struct Limits {
    pub in_flight: usize,
    pub in_flight_bytes: usize,
    pub message_bytes: usize,
    pub crashes: u32,
}

#[derive(Clone, Debug)]
pub struct Http {
    pub bind: std::net::SocketAddr,
    pub admin_token: Option<Secret>,
}

#[derive(Clone, Debug)]
pub struct Log {
    pub format: LogFormat,
    pub level: String,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LogFormat {
    Auto,
    Json,
    Text,
}

impl Config {
    /// What is allowed, but probably not meant.
    pub fn warnings(&self) -> Vec<String> {
        let mut warnings = Vec::new();
        if !self.smtp.helo_name.contains('.') {
            warnings.push(format!(
                "smtp.helo_name {} has no dot: some relays refuse such a name; set the full host name",
                self.smtp.helo_name
            ));
        }
        warnings
    }
}

impl std::fmt::Debug for Secret {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Secret::Value(_) => f.write_str("***"),
            Secret::File(path) => write!(f, "file {}", path.display()),
        }
    }
}

impl std::fmt::Debug for Secretive {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("***")
    }
}

impl Secret {
    /// The secret as it is now: of a file its content, one trailing newline cut.
    ///
    /// # Errors
    /// When the file can't be read, or is empty; the text names the file and never the secret.
    pub fn read(&self) -> Result<String, String> {
        match self {
            Secret::Value(value) => Ok(value.clone()),
            Secret::File(path) => {
                let text = std::fs::read_to_string(path).map_err(|e| format!("{}: {e}", path.display()))?;
                let text = text.strip_suffix('\n').unwrap_or(&text);
                let text = text.strip_suffix('\r').unwrap_or(text);
                if text.is_empty() {
                    Err(format!("{} is empty", path.display()))
                } else {
                    Ok(text.to_owned())
                }
            }
        }
    }
}
