//! The service around the actors: how the worker meets Kafka, SMTP, HTTP and the command line.

pub mod compose;
pub mod config;
pub mod dead_letter;
pub mod job;
pub mod mask;
