//! What the tests stand on: real servers, a recording relay, the worker as a process.

pub mod cache;
pub mod certificate;
pub mod command_line;
pub mod greenmail;
pub mod kafka;
pub mod kafka_cluster;
pub mod metrics;
pub mod process;
pub mod prometheus;
pub mod queue;
pub mod recording_smtp;
pub mod secured_kafka;
pub mod smtp_sink;
pub mod starttls_front;
pub mod wait;
pub mod worker;

pub use greenmail::GreenMail;
pub use kafka::Kafka;
pub use queue::Queue;
pub use recording_smtp::{Answer, RecordingSmtp, Step};
pub use secured_kafka::SecuredKafka;
pub use smtp_sink::SmtpSink;
pub use wait::until;
pub use worker::{Reply, Settings, TestWorker};
