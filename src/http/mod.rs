//! The worker seen and steered over HTTP: metrics, health, the pool's size, the intake, and the dead letter queue (contract,
//! sections 5 and 9).

mod body;
mod consumer;
mod dlq;
mod doors;
mod errors;
pub mod health;
mod heartbeat;
mod lifetime;
mod metrics;
mod pool;
mod routes;
mod server;
mod token;

pub use doors::{ArchiveDoor, Doors};
pub use server::{HttpServer, start};

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests;
