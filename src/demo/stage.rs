//! What is on the stage while jobs are under way, and what happens on it by itself.

use std::cell::Cell;
use std::future::Future;
use std::time::{Duration, Instant};

use tokio::sync::mpsc::UnboundedSender;
use tokio::time::sleep;

use super::DemoOptions;
use super::accounts::SharedAccounts;
use super::letter::LastLetters;
use super::levers::{Lever, Levers};
use super::script::{Step, outages, steps};
use super::smtp_server::SmtpServer;
use super::worker::Worker;

/// Why a phase ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Cue {
    /// The time is up, or all is settled.
    Over,
    /// Ctrl-C, SIGTERM, or the key for it.
    Interrupted,
    /// The service ends without having been asked to.
    WorkerEnds,
    /// Nobody reads what is said.
    NobodyListens,
}

/// Which part of the demo is on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Phase {
    /// Jobs are produced.
    Performing,
    /// No more are; what is under way is awaited.
    Ending,
}

/// Something that was done, to be told as it happens.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Told {
    /// Since the start.
    pub at: Duration,
    pub text: String,
}

pub(super) struct Stage {
    pub options: DemoOptions,
    pub worker: Box<dyn Worker>,
    pub mail_server: SmtpServer,
    pub accounts: SharedAccounts,
    pub letters: LastLetters,
    pub levers: Levers,
    pub began: Instant,
    pub told: UnboundedSender<Told>,
    /// Whether somebody has broken something by hand, and whether it was the relay's being up.
    pub by_hand: Cell<bool>,
    pub relay_by_hand: Cell<bool>,
}

/// How often it is looked whether something has come about.
const LOOK: Duration = Duration::from_millis(50);

impl Stage {
    /// Pulls a lever, and tells what came of it.
    pub(super) async fn pull(&self, lever: Lever) {
        if let Some(text) = self.levers.pull(lever, &*self.worker, &self.mail_server, &self.accounts).await {
            self.tell(text);
        }
    }

    fn tell(&self, text: String) {
        // Whoever told it may be gone at the end.
        let _ = self.told.send(Told { at: self.began.elapsed(), text });
    }

    /// Tells what comes of replays. Goes on for ever.
    pub(super) async fn follow_replays(&self) {
        loop {
            if let Some(text) = self.levers.replays.look(&*self.worker, &self.accounts) {
                self.tell(text);
            }
            sleep(LOOK).await;
        }
    }

    /// Lets a replay go on for so long, then cuts it short. Goes on for ever.
    pub(super) async fn end_replay(&self, after: Duration) {
        sleep(after).await;
        self.levers.replays.cancel(&*self.worker).await;
        std::future::pending().await
    }

    /// Pulls it because somebody at the keys wants it so.
    pub(super) async fn pull_by_hand(&self, lever: Lever) {
        // A replay breaks nothing.
        if lever != Lever::Replay {
            self.by_hand.set(true);
        }
        if let Lever::RelayDown(_) = lever {
            self.relay_by_hand.set(true);
        }
        self.pull(lever).await;
    }

    /// What was asked for, each at its time; else the relay's outages. Goes on for ever.
    pub(super) async fn play(&self) {
        if self.options.events.is_empty() {
            self.play_outages().await;
        } else {
            for step in steps(&self.options.events) {
                self.wait_for(step).await;
                self.pull(step.lever).await;
            }
        }
        std::future::pending().await
    }

    /// No further outage comes by itself once something was broken by hand.
    async fn play_outages(&self) {
        for step in outages() {
            self.wait_for(step).await;
            let begins = step.lever == Lever::RelayDown(true);
            if self.relay_by_hand.get() || (begins && self.by_hand.get()) {
                return;
            }
            self.pull(step.lever).await;
            // Nobody mends what could not come up: the next try is the next thing that happens.
            while !begins && self.mail_server.is_down() && !self.relay_by_hand.get() {
                sleep(LOOK).await;
                self.pull(step.lever).await;
            }
        }
    }

    fn wait_for(&self, step: Step) -> impl Future<Output = ()> {
        sleep(step.at.saturating_sub(self.began.elapsed()))
    }

    /// Resolves when every job produced is settled, and every one replayed.
    pub(super) async fn all_are_settled(&self) {
        while self.levers.replays.is_under_way() || self.accounts.lock().under_way() > 0 {
            sleep(LOOK).await;
        }
    }
}
