//! What the relay answers on the connections that stand: by that "too many connections" is told from "down".

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::time::Duration;

use mailroom_actors::domain::failure::{Class, Failure, Stage};
use tokio::sync::Notify;
use tokio::time::timeout;

/// The answers on all connections of one relay that are logged in; each clone counts for all.
#[derive(Clone, Debug, Default)]
pub struct Answers {
    shared: Arc<Shared>,
}

#[derive(Debug, Default)]
struct Shared {
    heard: AtomicU64,
    /// Logins and e-mails that are under way: whatever may still be answered.
    awaited: AtomicUsize,
    /// An answer was heard, or one less is awaited.
    changed: Notify,
}

/// While it lives, an answer is awaited.
#[derive(Debug)]
pub struct Awaited(Answers);

impl Answers {
    /// How many there have been so far.
    pub fn heard(&self) -> u64 {
        self.shared.heard.load(Ordering::Relaxed)
    }

    /// A logged-in connection has had an answer, or has just logged in.
    pub fn hear(&self) {
        self.shared.heard.fetch_add(1, Ordering::Relaxed);
        self.shared.changed.notify_waiters();
    }

    /// An answer is awaited from now on.
    pub fn await_one(&self) -> Awaited {
        self.shared.awaited.fetch_add(1, Ordering::Relaxed);
        Awaited(self.clone())
    }

    /// Whose failure it is that no connection was to be had. A 4xx or a close up to EHLO is the relay's "too
    /// many connections" (class limited) when another connection has had an answer since there had been
    /// `before`. While such an answer is awaited the verdict waits for it, at most `patience`: a relay that
    /// refuses at once is quicker than one e-mail on another connection.
    pub async fn judge(&self, before: u64, failure: Failure, patience: Duration) -> Failure {
        if !may_mean_too_many(&failure) {
            return failure;
        }
        match timeout(patience, self.is_another_answered(before)).await {
            Ok(true) => Failure { class: Class::Limited, ..failure },
            Ok(false) | Err(_) => failure,
        }
    }

    async fn is_another_answered(&self, before: u64) -> bool {
        loop {
            // Made before the look, so that no change is missed between the look and the wait.
            let changed = self.shared.changed.notified();
            if self.heard() > before {
                return true;
            }
            if self.shared.awaited.load(Ordering::Relaxed) == 0 {
                return false;
            }
            changed.await;
        }
    }
}

impl Drop for Awaited {
    fn drop(&mut self) {
        self.0.shared.awaited.fetch_sub(1, Ordering::Relaxed);
        self.0.shared.changed.notify_waiters();
    }
}

/// A port that is closed is never meant so: a relay that takes no more connections accepts them first.
fn may_mean_too_many(failure: &Failure) -> bool {
    let before_the_login = matches!(failure.stage, Stage::Connect | Stage::Greeting | Stage::Ehlo);
    before_the_login && failure.code.map_or(failure.closed, |code| (400..500).contains(&code))
}

#[cfg(test)]
mod tests {
    use futures::FutureExt as _;
    use mailroom_actors::domain::failure::{Cause, Reply};

    use super::*;

    const PATIENCE: Duration = Duration::from_secs(30);

    fn busy(stage: Stage) -> Failure {
        Failure::replied(stage, &Reply { code: 421, enhanced: None, text: "too many".into() })
    }

    #[tokio::test]
    async fn only_a_4xx_or_a_close_up_to_ehlo_may_mean_too_many_connections() {
        let answers = Answers::default();
        answers.hear();
        let reply = |stage, code| Failure::replied(stage, &Reply { code, enhanced: None, text: "no".into() });
        let table = [
            (busy(Stage::Greeting), Class::Limited),
            (reply(Stage::Ehlo, 450), Class::Limited),
            (Failure::lost(Stage::Connect, "reset"), Class::Limited),
            (Failure::lost(Stage::Greeting, "closed"), Class::Limited),
            (Failure::lost(Stage::Ehlo, "closed"), Class::Limited),
            (Failure::refused(), Class::Infrastructure),
            (Failure::timed_out(Stage::Greeting), Class::Infrastructure),
            (reply(Stage::Greeting, 554), Class::Infrastructure),
            (reply(Stage::Ehlo, 502), Class::Infrastructure),
            (Failure::lost(Stage::Tls, "closed"), Class::Infrastructure),
            (busy(Stage::Tls), Class::Infrastructure),
            (busy(Stage::Auth), Class::Infrastructure),
            (Failure::senseless(Stage::Greeting, "what?"), Class::Infrastructure),
        ];
        for (failure, class) in table {
            let judged = answers.judge(0, failure.clone(), PATIENCE).await;
            assert_eq!(judged, Failure { class, ..failure.clone() }, "{failure:?}");
            assert_eq!(answers.judge(1, failure.clone(), PATIENCE).await, failure, "no answer since");
        }
        assert_eq!(busy(Stage::Greeting).cause, Cause::SmtpUnreachable);
    }

    #[tokio::test]
    async fn the_verdict_waits_for_the_answer_that_another_connection_awaits() {
        let answers = Answers::default();
        let judged = |answers: &Answers| {
            let answers = answers.clone();
            async move { answers.judge(0, busy(Stage::Greeting), PATIENCE).await.class }.boxed_local()
        };
        let (first, second) = (answers.await_one(), answers.await_one());
        let mut verdict = judged(&answers);
        assert_eq!(verdict.as_mut().now_or_never(), None);
        drop(first);
        assert_eq!(verdict.as_mut().now_or_never(), None, "another is awaited still");
        answers.hear();
        assert_eq!(verdict.await, Class::Limited);

        let answers = Answers::default();
        let third = answers.await_one();
        let mut verdict = judged(&answers);
        assert_eq!(verdict.as_mut().now_or_never(), None);
        drop(third);
        assert_eq!(verdict.await, Class::Infrastructure, "nothing more can come");

        let _fourth = answers.await_one();
        let impatient = answers.judge(0, busy(Stage::Greeting), Duration::from_millis(1)).await;
        assert_eq!(impatient.class, Class::Infrastructure, "it waits no longer than it may");
        drop(second);
    }
}
