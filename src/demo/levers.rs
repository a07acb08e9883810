//! What can be broken in the demo, and mended again: one door for keys and for scripts.

use std::cell::RefCell;
use std::collections::VecDeque;
use std::time::Instant;

use mailroom_actors::domain::restart::RestartBudget;

use super::accounts::SharedAccounts;
use super::replays::Replays;
use super::smtp_server::SmtpServer;
use super::worker::Worker;

/// One thing to do to the demo.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Lever {
    /// The relay refuses every connection; or listens again.
    RelayDown(bool),
    /// The relay lets each e-mail wait; or no longer.
    Slow(bool),
    /// The relay takes a few e-mails a second, and tells the others that it is too much; or no longer.
    TooMany(bool),
    /// A mailer dies of a panic.
    KillMailer,
    /// So many mailers from now on.
    Pool(usize),
    /// The worker takes no more jobs; or takes them again.
    Pause(bool),
    /// The waiting letters whose causes may pass go back on the queue.
    Replay,
}

/// The hand at the levers.
#[derive(Debug, Default)]
pub(super) struct Levers {
    /// When mailers were killed, the latest last.
    kills: RefCell<VecDeque<Instant>>,
    pub(super) replays: Replays,
}

/// A mailer that dies more often than its restart budget allows ends the service, as it should. One kill less
/// than that in a window never does, also where all hit the same one and an earlier one comes late.
const MOST_KILLS: usize = RestartBudget::LIMIT - 1;

impl Levers {
    /// Does it, and returns what has happened, in words; none of a replay that begins, which is told of as it goes.
    pub(super) async fn pull(
        &self,
        lever: Lever,
        worker: &dyn Worker,
        mail_server: &SmtpServer,
        accounts: &SharedAccounts,
    ) -> Option<String> {
        let told = match lever {
            Lever::RelayDown(true) => match mail_server.go_down().await {
                Ok(()) => "the relay is down: it refuses every connection".into(),
                Err(error) => format!("the relay is down, and did not keep its port: {error}"),
            },
            Lever::RelayDown(false) => match mail_server.come_up().await {
                Ok(()) => "the relay is up again".into(),
                Err(error) => format!("the relay can't come up: {error}"),
            },
            Lever::Slow(slow) => {
                mail_server.be_slow(slow);
                if slow {
                    "the relay is slow: 0.6 s for each e-mail"
                } else {
                    "the relay is as fast as before"
                }
                .into()
            }
            Lever::TooMany(strict) => {
                mail_server.be_strict(strict);
                if strict {
                    "the relay takes 5 e-mails a second, the others are too many: 454"
                } else {
                    "the relay takes as many as come"
                }
                .into()
            }
            Lever::KillMailer if self.may_kill(Instant::now()) => {
                worker.kill_a_mailer();
                "the next mailer that ends an attempt is killed".into()
            }
            Lever::KillMailer => format!(
                "no mailer is killed: {MOST_KILLS} a minute are enough, one that dies more often ends the worker"
            ),
            Lever::Pool(size) => match worker.resize(size).await {
                Ok(1) => "there is 1 mailer".into(),
                Ok(size) => format!("there are {size} mailers"),
                Err(error) => format!("the pool stays as it is: {error}"),
            },
            Lever::Replay => return self.replays.begin(worker, accounts).await,
            Lever::Pause(paused) => match worker.pause(paused).await {
                Ok(()) if paused => {
                    "the intake is paused: what is in hand is finished, no more is taken".into()
                }
                Ok(()) => "the intake goes on".into(),
                Err(error) => format!("the intake stays as it is: {error}"),
            },
        };
        Some(told)
    }

    fn may_kill(&self, now: Instant) -> bool {
        let mut kills = self.kills.borrow_mut();
        while kills.front().is_some_and(|kill| now.duration_since(*kill) >= RestartBudget::WINDOW) {
            kills.pop_front();
        }
        let may = kills.len() < MOST_KILLS;
        if may {
            kills.push_back(now);
        }
        may
    }
}

/// Everything that a lever may have broken works again. The pool stays as it is.
pub(super) async fn mend(worker: &dyn Worker, mail_server: &SmtpServer) {
    // A worker that does not answer takes no more jobs either way.
    let _ = worker.pause(false).await;
    mail_server.be_slow(false);
    mail_server.be_strict(false);
    // When it can't come up again the e-mails under way are dead-lettered, which is accounted for as well.
    let _ = mail_server.come_up().await;
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn mailers_are_killed_less_often_than_would_end_the_service() {
        let levers = Levers::default();
        let start = Instant::now();
        let kills = (0..60).filter(|second| levers.may_kill(start + Duration::from_secs(*second))).count();
        assert_eq!(kills, MOST_KILLS);
        assert!(levers.may_kill(start + RestartBudget::WINDOW));
    }
}
