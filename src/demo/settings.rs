//! The demo's configuration: the service's defaults, but for short time-outs and waits, and nothing read from a file or
//! the environment.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::time::Duration;

use super::queue::{DECISIONS_TOPIC, DLQ_TOPIC, TOPIC};
use super::traffic::SENDER;
use crate::config::{
    Breaker, Config, Dlq, Email, Http, Kafka, Limits, Log, LogFormat, Mailers, Pipelining, Redrive, Retry,
    Secretive, Security, Smtp, Templates, Timeouts, Worker,
};

/// Each step of the conversation with the mail server. Short, so that the end of the demo does not have to
/// wait long for those who meet silence: three attempts and their waits take at most 6.3 s.
const STEP_TIMEOUT: Duration = Duration::from_secs(1);

/// The longest wait between two attempts: only who is told "too many" again and again waits so long, and would
/// hold up the end of the demo.
const LONGEST_WAIT: Duration = Duration::from_secs(8);

/// How long the service may take to stop; nothing in the demo takes long past the dot.
pub const DRAIN_TIMEOUT: Duration = Duration::from_secs(2);

/// The configuration of the service, between these brokers and this mail server. `http_bind` may have port 0.
pub fn config(brokers: &str, mail_server: SocketAddr, http_bind: SocketAddr) -> Config {
    Config {
        worker: Worker { id: "demo".into(), drain_timeout: DRAIN_TIMEOUT },
        kafka: Kafka {
            brokers: brokers.into(),
            group: "email-workers".into(),
            topic: TOPIC.into(),
            replay_topic: None,
            dlq_topic: DLQ_TOPIC.into(),
            decisions_topic: DECISIONS_TOPIC.into(),
            // Both are there, and the mock cluster can't be asked for more.
            create_topics: false,
            dlq_retention: Duration::from_secs(30 * 24 * 60 * 60),
            commit_interval: Duration::from_millis(200),
            // The mock cluster holds an empty fetch for all of this time, also when a record comes meanwhile.
            properties: BTreeMap::from([("fetch.wait.max.ms".into(), Secretive("50".into()))]),
        },
        smtp: Smtp {
            host: mail_server.ip().to_string(),
            port: mail_server.port(),
            security: Security::Plain,
            from: SENDER.into(),
            login: None,
            allow_plaintext_auth: false,
            helo_name: "demo.shop.example".into(),
            ca_file: None,
            pipelining: Pipelining::Auto,
            max_rate: None,
            max_emails_per_connection: 1000,
            idle_timeout: Duration::from_secs(30),
            timeouts: Timeouts {
                connect: STEP_TIMEOUT,
                greeting: STEP_TIMEOUT,
                command: STEP_TIMEOUT,
                data: STEP_TIMEOUT,
                final_dot: STEP_TIMEOUT,
            },
        },
        email: Email::default(),
        templates: Templates::default(),
        mailers: Mailers { size: 8, max: 4096 },
        retry: Retry {
            max_attempts: 3,
            base: Duration::from_secs(1),
            factor: 2.0,
            max_delay: LONGEST_WAIT,
            jitter: 0.1,
            permanent_is_retried: false,
            ambiguous_is_dead_lettered: false,
            limited_is_retried: false,
        },
        breaker: Breaker { failures: 20, probe_interval: Duration::from_secs(5) },
        limits: Limits {
            in_flight: 10_000,
            in_flight_bytes: 256 * 1024 * 1024,
            message_bytes: 10 * 1024 * 1024,
            crashes: 3,
        },
        http: Http { bind: http_bind, admin_token: None },
        // The mock cluster knows no transactions worth the name.
        dlq: Dlq {
            index_letters: 100_000,
            rate: 10.0,
            max_replays: 5,
            allow_edit: true,
            transactions: false,
        },
        redrive: Redrive {
            enabled: false,
            waits: vec![Duration::from_secs(3600)],
            causes: Vec::new(),
            notify: None,
        },
        log: Log { format: LogFormat::Auto, level: "warn".into() },
    }
}
