//! The worker seen and steered over HTTP: metrics, health and the pool's size (contract, section 5).

mod body;
mod consumer;
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
