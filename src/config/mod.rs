//! Everything that can be set, with its default: a file, then the environment, then `--set`.

mod bounded;
mod checks;
mod effective;
mod file;
mod forms;
pub mod keys;
pub mod kind;
mod layers;
mod problems;
mod properties;
mod secret;
mod shown;
#[cfg(test)]
mod tests;

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use mailroom_actors::domain::failure::Cause;
use mailroom_actors::domain::topic_partition::TopicNames;

pub use layers::Sources;
pub use problems::{Origin, Problem, Problems, Scope};
pub use secret::{Secret, Secretive};
pub use shown::{Shown, ShownValue};

use effective::Values;
use layers::Layers;

/// The configuration that `sources` make, checked. Reads the files it names: secrets,
/// the CA file and the templates.
///
/// # Errors
/// All mistakes there are, those in the templates among them: contract, section 8. No text repeats a value.
pub fn load(sources: &Sources) -> Result<Config, Problems> {
    let (_, result) = read_all(sources);
    result
}

/// Every key with the value that holds and where it came from, in the order of `config.toml`; each of librdkafka's
/// properties that is set, and each `KEY_file` that gives a secret, is one more. No secret is in it.
///
/// # Errors
/// As [`load`]: what does not hold can't be shown.
pub fn show(sources: &Sources) -> Result<Vec<Shown>, Problems> {
    let (layers, result) = read_all(sources);
    result.map(|config| shown::rows(&layers, &config))
}

fn read_all(sources: &Sources) -> (Layers, Result<Config, Problems>) {
    let mut problems = Problems::default();
    let layers = Layers::read(sources, &mut problems);
    let values = Values::read(&layers, &mut problems);
    let kafka = effective::kafka(&values, &mut problems);
    let config = effective::assemble(&values, kafka, &mut problems);
    if !layers.file_is_lost {
        checks::check_kafka(&config.kafka, &values, &mut problems);
        checks::check(&config, &values, &mut problems);
        checks::check_templates(&config.templates, &values, &mut problems);
    }
    (layers, if problems.0.is_empty() { Ok(config) } else { Err(problems) })
}

/// `http.bind` alone, for who asks a running service how it is. No secret is read, and mistakes elsewhere do not
/// matter, in keys that do not exist neither: a service that runs is not ill because its file has been changed since.
///
/// # Errors
/// A mistake in `http.bind`; a file that can't be read or is no TOML, unless the environment or `--set` gives the
/// address.
pub fn load_bind(sources: &Sources) -> Result<SocketAddr, Problems> {
    let mut problems = Problems::default();
    let layers = Layers::read(sources, &mut problems);
    let bind = effective::bind(&layers, &mut problems);
    let address_is_lost = layers.file_is_lost && !layers.given.contains_key("http.bind");
    problems.0.retain(|problem| problem.key == "http.bind" || (address_is_lost && problem.key.is_empty()));
    if problems.0.is_empty() { Ok(bind) } else { Err(problems) }
}

/// The section `kafka` alone, for commands that talk to nobody else: what is wrong with the values of other
/// sections does not matter to them, nor what they lack.
///
/// # Errors
/// All mistakes in `kafka`, unreadable sources, and keys that do not exist, of any section.
pub fn load_kafka(sources: &Sources) -> Result<Kafka, Problems> {
    let mut problems = Problems::default();
    let layers = Layers::read(sources, &mut problems);
    let values = Values::read(&layers, &mut problems);
    let kafka = effective::kafka(&values, &mut problems);
    if !layers.file_is_lost {
        checks::check_kafka(&kafka, &values, &mut problems);
    }
    problems.0.retain(|p| p.scope == Scope::Everything || p.key.starts_with("kafka."));
    if problems.0.is_empty() { Ok(kafka) } else { Err(problems) }
}

/// What work on dead letters needs, as [`load_kafka`] is for those that only send.
#[derive(Clone, Debug)]
pub struct LetterWork {
    pub kafka: Kafka,
    pub dlq: Dlq,
    /// `limits.message_bytes`: an edited job has no more.
    pub message_bytes: usize,
}

/// The sections `kafka` and `dlq`, for commands that work on dead letters: they ask no relay.
///
/// # Errors
/// All mistakes in these sections and in `limits.message_bytes`, unreadable sources, and keys that do not exist, of any
/// section.
pub fn load_letter_work(sources: &Sources) -> Result<LetterWork, Problems> {
    let mut problems = Problems::default();
    let layers = Layers::read(sources, &mut problems);
    let values = Values::read(&layers, &mut problems);
    let kafka = effective::kafka(&values, &mut problems);
    let dlq = effective::dlq(&values);
    if !layers.file_is_lost {
        checks::check_kafka(&kafka, &values, &mut problems);
    }
    let is_ours =
        |key: &str| key.starts_with("kafka.") || key.starts_with("dlq.") || key == "limits.message_bytes";
    problems.0.retain(|p| p.scope == Scope::Everything || is_ours(&p.key));
    let message_bytes = effective::message_bytes(&values);
    if problems.0.is_empty() { Ok(LetterWork { kafka, dlq, message_bytes }) } else { Err(problems) }
}

/// The section `templates` alone, for commands that only render: as [`load_kafka`] is for those that only send.
///
/// # Errors
/// All mistakes in `templates` and in the folder, unreadable sources, and keys that do not exist, of any section.
pub fn load_templates(sources: &Sources) -> Result<Templates, Problems> {
    let mut problems = Problems::default();
    let layers = Layers::read(sources, &mut problems);
    let values = Values::read(&layers, &mut problems);
    let templates = effective::templates(&values);
    if !layers.file_is_lost {
        checks::check_templates(&templates, &values, &mut problems);
    }
    problems.0.retain(|p| p.scope == Scope::Everything || p.key.starts_with("templates."));
    if problems.0.is_empty() { Ok(templates) } else { Err(problems) }
}

/// The effective configuration, checked: whoever holds one need not check it again.
#[derive(Clone, Debug)]
pub struct Config {
    pub worker: Worker,
    pub kafka: Kafka,
    pub smtp: Smtp,
    pub email: Email,
    pub templates: Templates,
    pub mailers: Mailers,
    pub retry: Retry,
    pub breaker: Breaker,
    pub limits: Limits,
    pub http: Http,
    pub dlq: Dlq,
    pub redrive: Redrive,
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
    /// `dlq.replay_topic`, where it is not `topic`.
    pub replay_topic: Option<String>,
    pub dlq_topic: String,
    pub decisions_topic: String,
    pub create_topics: bool,
    pub dlq_retention: Duration,
    pub commit_interval: Duration,
    /// librdkafka's own properties, by their own names; none that the promises stand on.
    pub properties: BTreeMap<String, Secretive>,
}

impl Kafka {
    /// Those that jobs are taken from.
    pub fn topics(&self) -> TopicNames {
        TopicNames {
            queue: self.topic.as_str().into(),
            replays: self.replay_topic.as_deref().map(Into::into),
        }
    }

    /// Where replayed jobs go.
    pub fn replay_topic(&self) -> &str {
        self.replay_topic.as_ref().unwrap_or(&self.topic)
    }
}

/// How the dead letter queue is worked with.
#[derive(Clone, Debug)]
pub struct Dlq {
    /// So many letters, the newest, can be browsed; 0: none.
    pub index_letters: usize,
    /// Letters a second of a run that names no rate, over 0.
    pub rate: f64,
    pub max_replays: u32,
    pub allow_edit: bool,
    pub transactions: bool,
}

/// Automatic replays.
#[derive(Clone, Debug)]
pub struct Redrive {
    pub enabled: bool,
    /// By how often a letter was replayed before; not empty.
    pub waits: Vec<Duration>,
    pub causes: Vec<Cause>,
    /// Who hears of what was parked: an address.
    pub notify: Option<String>,
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
    /// E-mails a second of this worker, over 0.
    pub max_rate: Option<f64>,
    /// At least 1; then the connection is changed for a new one.
    pub max_emails_per_connection: u32,
    /// A connection that has been idle for so long is closed.
    pub idle_timeout: Duration,
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

#[derive(Clone, Debug, Default)]
pub struct Email {
    /// Where `from` may lie: domains as A-labels in small letters; empty: anywhere.
    pub allowed_from_domains: Vec<String>,
    /// A record older than this is no longer sent.
    pub max_age: Option<Duration>,
}

#[derive(Clone, Debug, Default)]
pub struct Templates {
    /// None: the built-in `otp` only.
    pub dir: Option<PathBuf>,
}

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
    /// `retry.limited = "retry"`: a relay that says "slower" costs an attempt.
    pub limited_is_retried: bool,
}

#[derive(Clone, Debug)]
pub struct Breaker {
    /// So many in a row open the circuit; 0: none do.
    pub failures: u32,
    pub probe_interval: Duration,
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
    pub bind: SocketAddr,
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
    /// What works, and is seldom meant: pairs of a key and a text. To be told once, at start.
    pub fn warnings(&self) -> Vec<(&'static str, String)> {
        checks::warnings(self)
    }
}
