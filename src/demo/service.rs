//! The service that the demo shows: the same that `mailroom run` starts, with a fuse in it.

use std::net::SocketAddr;
use std::sync::Arc;

use futures::FutureExt;
use futures::future::LocalBoxFuture;
use mailroom_actors::domain::letters::decision::State;
use mailroom_actors::domain::letters::filter::Filter;
use mailroom_actors::domain::letters::group::By;
use mailroom_actors::domain::letters::name::LetterName;
use mailroom_actors::domain::letters::run::Tracked;

use super::fuse::{Fuse, FusedJitter};
use super::replays;
use super::worker::{Worker, WorkerEnd};
use crate::app::{self, RandomJitter};
use crate::config::Config;
use crate::descriptors;
use crate::dlq::archive::Archive;
use crate::dlq::view::GroupView;

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

impl Shown {
    fn archive(&self) -> Result<Archive, String> {
        self.service
            .archive()
            .ok_or_else(|| "the dead letter queue is not open yet: try again in a moment".into())
    }
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

    fn waiting(&self) -> u64 {
        self.archive().map_or(0, |archive| archive.shelf.index.read().count_all(State::Waiting))
    }

    fn replay<'a>(&'a self, key: &'a str) -> LocalBoxFuture<'a, Result<u64, String>> {
        async move { replays::begin(&self.archive()?, key).await }.boxed_local()
    }

    fn run(&self, id: &str) -> Option<Tracked> {
        self.archive().ok()?.run(id).ok()
    }

    fn cancel<'a>(&'a self, id: &'a str) -> LocalBoxFuture<'a, Result<(), String>> {
        async move { replays::cancel(&self.archive()?, id).await }.boxed_local()
    }

    fn groups(&self) -> Vec<GroupView> {
        self.archive().map_or_else(|_| Vec::new(), |archive| archive.groups(By::Cause, &Filter::default()))
    }

    fn states(&self, offsets: &[i64]) -> Vec<Option<State>> {
        let Ok(archive) = self.archive() else { return vec![None; offsets.len()] };
        let index = archive.shelf.index.read();
        let state = |offset: &i64| Some(index.find(LetterName { partition: 0, offset: *offset })?.state);
        offsets.iter().map(state).collect()
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
