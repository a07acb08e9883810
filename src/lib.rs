//! The service around the actors: how the worker meets Kafka, SMTP, HTTP and the command line.

pub mod config;
pub mod http;
