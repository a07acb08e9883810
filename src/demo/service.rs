//! The service that the demo shows: the same that `mailroom run` starts, with a fuse in it.

use std::net::SocketAddr;
use std::sync::Arc;

use futures::FutureExt;
use futures::future::LocalBoxFuture;

use super::fuse::{Fuse, FusedJitter};
use super::worker::{Worker, WorkerEnd};
use crate::app::{self, RandomJitter};
use crate::config::Config;
use crate::descriptors;

/// The running service, and what ends one of its mailers.
struct Shown {
    service: app::Service,
    fuse: Fuse,
}

/// Starts the service on the calling arbiter.
pub(super) fn start(config: Config) -> LocalBoxFuture<'static, Result<Box<dyn Worker>, String>> {
    async move {
        // The few mailers of the demo need less than any machine allows: nothing is said of a limit that is lower.
        let _ = descriptors::provide_for(config.mailers.max);
        let fuse = Fuse::default();
        let jitter = Arc::new(FusedJitter { jitter: RandomJitter, fuse: fuse.clone() });
        let service = app::start_with(config, jitter).await.map_err(|error| error.0)?;
        Ok(Box::new(Shown { service, fuse }) as Box<dyn Worker>)
    }
    .boxed_local()
}

impl Worker for Shown {
    fn http_address(&self) -> SocketAddr {
        self.service.http_address()
    }

    fn is_alive(&self) -> LocalBoxFuture<'_, bool> {
        async { self.service.status().await.is_some_and(|status| !status.stopping) }.boxed_local()
    }

    fn scrape(&self) -> LocalBoxFuture<'_, Result<String, String>> {
        self.service.scrape().boxed_local()
    }

    fn resize(&self, size: usize) -> LocalBoxFuture<'_, Result<usize, String>> {
        async move { self.service.resize(size).await.map(|pool| pool.size) }.boxed_local()
    }

    fn pause(&self, paused: bool) -> LocalBoxFuture<'_, Result<(), String>> {
        self.service.pause(paused).boxed_local()
    }

    fn kill_a_mailer(&self) {
        self.fuse.light();
    }

    fn stop(&self) {
        self.service.stop();
    }

    fn ended(self: Box<Self>) -> LocalBoxFuture<'static, WorkerEnd> {
        async move {
            let ended = self.service.ended().await;
            WorkerEnd { exit_code: ended.exit_code, reason: ended.reason }
        }
        .boxed_local()
    }
}
