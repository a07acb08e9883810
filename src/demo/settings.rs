//! The demo's configuration: the defaults but for short time-outs, with nothing from a file or the environment.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::time::Duration;

use super::queue::{DLQ_TOPIC, TOPIC};
use crate::config::{
    Config, Http, Kafka, Limits, Log, LogFormat, Mailers, Pipelining, Retry, Security, Smtp, Timeouts, Worker,
};

/// Each step of the conversation with the mail server. Three attempts into silence and the waits between them
/// then take at most 9.3 s.
const STEP: Duration = Duration::from_secs(2);

/// The service's configuration between these brokers and this mail server. `http_bind` may have port 0.
pub fn config(brokers: &str, mail_server: SocketAddr, http_bind: SocketAddr) -> Config {
    Config {
        worker: Worker { id: "demo".into(), drain_timeout: Duration::from_secs(20) },
        kafka: Kafka {
            brokers: brokers.into(),
            group: "email-workers".into(),
            topic: TOPIC.into(),
            dlq_topic: DLQ_TOPIC.into(),
            // As by default; both are there, since the mock cluster can't be asked to make one.
            create_topics: true,
            dlq_retention: Duration::from_secs(30 * 24 * 60 * 60),
            commit_interval: Duration::from_millis(200),
            properties: BTreeMap::new(),
        },
        smtp: Smtp {
            host: mail_server.ip().to_string(),
            port: mail_server.port(),
            security: Security::Plain,
            from: "no-reply@example.com".into(),
            login: None,
            allow_plaintext_auth: false,
            helo_name: "demo.example.com".into(),
            ca_file: None,
            pipelining: Pipelining::Auto,
            timeouts: Timeouts { connect: STEP, greeting: STEP, command: STEP, data: STEP, final_dot: STEP },
        },
        mailers: Mailers { size: 8, max: 4096 },
        retry: Retry {
            max_attempts: 3,
            base: Duration::from_secs(1),
            factor: 2.0,
            max_delay: Duration::from_secs(60),
            jitter: 0.1,
            permanent_is_retried: false,
            ambiguous_is_dead_lettered: false,
        },
        limits: Limits {
            in_flight: 10_000,
            in_flight_bytes: 256 * 1024 * 1024,
            message_bytes: 10 * 1024 * 1024,
            crashes: 3,
        },
        http: Http { bind: http_bind, admin_token: None },
        log: Log { format: LogFormat::Auto, level: "warn".into() },
    }
}
