//! The whole service from outside, by its contract: the real binary against a real Kafka and real SMTP servers.
//!
//! One binary, so that one Kafka serves all; `harness/` holds what the tests stand on, the other files one theme each.
//! `scripts/setup test` fetches the servers.

mod any_email;
mod check_attacks;
mod check_online;
mod cli;
mod cli_pipes;
mod cli_send;
mod connections;
mod dashboards;
mod dead_letters;
mod delivery;
mod dlq_cli;
mod dlq_http;
mod dlq_trouble;
mod documents;
mod expiry;
mod group;
mod guide_story;
mod harness;
mod http;
mod http_health;
mod http_refusals;
mod input;
mod kafka_faults;
mod metrics;
mod migration;
mod numbered_jobs;
mod offsets;
mod process_faults;
mod producers;
mod real_kafka;
mod relay_limits;
mod replays;
#[allow(dead_code, reason = "the unit tests of src/smtp use the rest")]
mod scripted_smtp;
mod secrecy;
mod service_manager;
mod smtp_faults;
mod spring;
mod templates;
mod the_harness;
