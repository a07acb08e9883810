//! The service around the actors: how the worker meets Kafka, SMTP, HTTP and the command line.

pub mod app;
pub mod cli;
pub mod compose;
pub mod config;
pub mod dead_letter;
pub mod demo;
mod descriptors;
pub mod dlq;
#[cfg(any(test, feature = "fuzzing"))]
pub mod fuzzing;
pub mod http;
pub mod job;
pub mod kafka;
pub mod mask;
pub mod notify;
pub mod schema;
pub mod smtp;
pub mod telemetry;
pub mod templates;
