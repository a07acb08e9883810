//! What the HTTP server may ask of the rest of the worker, and how long it waits for the answer.

use std::time::Duration;

use crate::dlq::archive::Archive;
use futures::future::BoxFuture;
use mailroom_actors::messages::{IntakeByHand, PoolStatus, SizeOutOfBounds, Status};

/// The questions that HTTP requests turn into. They are asked from the HTTP server's own thread, so an
/// implementation sends messages and never looks into an actor.
///
/// `None` means that nobody answers (the actor is gone). An answer that takes longer than 2 s counts as none.
pub trait Doors: Send + Sync + 'static {
    /// How everything is, by the supervisor.
    fn status(&self) -> BoxFuture<'static, Option<Status>>;

    /// Makes the pool this large; returns its new state, or the sizes it may have.
    fn resize(&self, size: usize) -> BoxFuture<'static, Option<Result<PoolStatus, SizeOutOfBounds>>>;

    /// Takes no more jobs, for so long, or until it is resumed.
    fn pause(&self, reason: String, duration: Option<Duration>) -> BoxFuture<'static, Option<IntakeByHand>>;

    /// Takes jobs again.
    fn resume(&self) -> BoxFuture<'static, Option<IntakeByHand>>;

    /// The dead letter queue, to look at and to ask for runs.
    fn archive(&self) -> ArchiveDoor {
        ArchiveDoor::Off
    }

    /// The Prometheus text (version 0.0.4) of this moment, or why there is none.
    fn scrape(&self) -> BoxFuture<'static, Option<Result<String, String>>>;
}

/// What [`Doors::archive`] answers.
pub enum ArchiveDoor {
    /// `dlq.index_letters` is 0.
    Off,
    /// No broker has answered yet.
    NotYet,
    Open(Box<Archive>),
}

/// The answer to a question put through [`Doors`]; none when it does not come within `limit`.
pub(super) async fn ask<T>(limit: Duration, question: BoxFuture<'static, Option<T>>) -> Option<T> {
    tokio::time::timeout(limit, question).await.ok().flatten()
}
