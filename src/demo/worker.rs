//! What the demo needs of the service: the door between the show and what is shown, so that the show can be
//! tested with a toy.

use std::net::SocketAddr;

use futures::future::LocalBoxFuture;
use mailroom_actors::domain::letters::decision::State;
use mailroom_actors::domain::letters::run::Tracked;

use crate::config::Config;
use crate::dlq::view::GroupView;

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

    /// How many dead letters wait.
    fn waiting(&self) -> u64;

    /// Replays every waiting letter whose cause may pass, as the run of this key, and returns how many; or says why not.
    fn replay<'a>(&'a self, key: &'a str) -> LocalBoxFuture<'a, Result<u64, String>>;

    /// A run over dead letters and how far it is; none where nothing is known of it.
    fn run(&self, id: &str) -> Option<Tracked>;

    /// Ends a run; or says why not.
    fn cancel<'a>(&'a self, id: &'a str) -> LocalBoxFuture<'a, Result<(), String>>;

    /// The dead letters by cause, the largest group first.
    fn groups(&self) -> Vec<GroupView>;

    /// What has become of the dead letters at these offsets; none where it is not known.
    fn states(&self, offsets: &[i64]) -> Vec<Option<State>>;

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
