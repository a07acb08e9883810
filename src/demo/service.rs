//! The service that the demo shows: the same that `mailroom run` starts.

use std::net::SocketAddr;

use futures::FutureExt;
use futures::future::LocalBoxFuture;

use super::worker::{Worker, WorkerEnd};
use crate::app;
use crate::config::Config;
use crate::descriptors;

/// Starts the service on the calling arbiter.
pub(super) fn start(config: Config) -> LocalBoxFuture<'static, Result<Box<dyn Worker>, String>> {
    async move {
        // The few mailers of the demo need less than any machine allows: nothing is said of a limit that is lower.
        let _ = descriptors::provide_for(config.mailers.max);
        let service = app::start(config).await.map_err(|error| error.0)?;
        Ok(Box::new(service) as Box<dyn Worker>)
    }
    .boxed_local()
}

impl Worker for app::Service {
    fn http_address(&self) -> SocketAddr {
        app::Service::http_address(self)
    }

    fn is_alive(&self) -> LocalBoxFuture<'_, bool> {
        async { self.status().await.is_some_and(|status| !status.stopping) }.boxed_local()
    }

    fn scrape(&self) -> LocalBoxFuture<'_, Result<String, String>> {
        app::Service::scrape(self).boxed_local()
    }

    fn stop(&self) {
        app::Service::stop(self);
    }

    fn ended(self: Box<Self>) -> LocalBoxFuture<'static, WorkerEnd> {
        async move {
            let ended = app::Service::ended(*self).await;
            WorkerEnd { exit_code: ended.exit_code, reason: ended.reason }
        }
        .boxed_local()
    }
}
