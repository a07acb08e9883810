//! What the demo needs of the service: the door between the show and what is shown, so that the show can be
//! tested with a toy.

use std::net::SocketAddr;

use futures::future::LocalBoxFuture;

use crate::config::Config;

/// A running service.
pub trait Worker {
    /// Where `/health` and `/metrics` are.
    fn http_address(&self) -> SocketAddr;

    /// False once it ends, or has ended, without having been asked to.
    fn is_alive(&self) -> LocalBoxFuture<'_, bool>;

    /// The text of `/metrics`.
    fn scrape(&self) -> LocalBoxFuture<'_, Result<String, String>>;

    /// Changes the number of mailers, and returns the new one, or says why not.
    fn resize(&self, size: usize) -> LocalBoxFuture<'_, Result<usize, String>>;

    /// Stops the intake by hand, or starts it again; or says why not.
    fn pause(&self, paused: bool) -> LocalBoxFuture<'_, Result<(), String>>;

    /// The next mailer that concludes an attempt dies of a panic.
    fn kill_a_mailer(&self);

    /// Begins its stop.
    fn stop(&self);

    /// Waits for its end.
    fn ended(self: Box<Self>) -> LocalBoxFuture<'static, WorkerEnd>;
}

/// How a service ended: what `run` would exit with, and why, in words.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct WorkerEnd {
    pub exit_code: u8,
    pub reason: String,
}

/// Starts a service with this configuration on the calling arbiter, or says why not.
pub type StartWorker = fn(Config) -> LocalBoxFuture<'static, Result<Box<dyn Worker>, String>>;
