//! Tells the service manager (systemd) that the worker is ready, alive, reloading or stopping; without one, nobody.
//!
//! The protocol is sd_notify(3): datagrams to the socket that `NOTIFY_SOCKET` names. They are sent from a thread of
//! their own, so that a manager that does not read them holds up nothing.

use std::io;
use std::time::{Duration, Instant};

use futures::future::BoxFuture;
use sd_notify::NotifyState;
use tokio::sync::mpsc;
use tokio::time::MissedTickBehavior;

/// At most so long between two looks at how the worker is; a watchdog that wants to hear more often does.
const BETWEEN_LOOKS: Duration = Duration::from_secs(5);
/// So many times within the manager's limit it is told that the worker is alive: one late look is no death.
const LOOKS_WITHIN_LIMIT: u32 = 4;
/// For the answer to a look; one that takes longer stays open, and may be answered at a later look.
const ANSWER: Duration = Duration::from_secs(2);
/// Events that the thread has not told yet. Reloads are one at a time, so only a manager that reads nothing fills it.
const UNTOLD: usize = 16;
/// Of the line that `systemctl status` shows; it is cut there.
const LINE_CHARACTERS: usize = 200;

/// How the worker is, seen from its own side.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Look {
    /// As `/health/live`. The watchdog hears of the worker only while it is.
    pub live: bool,
    /// For people; no address, no secret.
    pub line: String,
}

/// What changes once, as against what is looked at again and again.
#[derive(Clone, Copy, Debug)]
enum Event {
    Ready,
    Reloading,
    Stopping { within: Duration },
}

/// Speaks to the service manager for as long as one of its copies lives.
#[derive(Clone, Debug, Default)]
pub struct Notifier {
    events: Option<mpsc::Sender<Event>>,
}

impl Notifier {
    /// Speaks to the manager that the environment names, and `look`s every 5 s, or four times within the time that
    /// its watchdog gives (`WATCHDOG_USEC`). A worker that has not answered for less than `silence` is busy, and
    /// lives. Where the environment names no manager, every call does nothing.
    ///
    /// # Errors
    /// When the machine gives no thread.
    pub fn start(
        look: impl Fn() -> BoxFuture<'static, Look> + Send + 'static,
        silence: Duration,
    ) -> io::Result<Notifier> {
        if std::env::var_os("NOTIFY_SOCKET").is_none_or(|socket| socket.is_empty()) {
            return Ok(Notifier::default());
        }
        let (sender, events) = mpsc::channel(UNTOLD);
        let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build()?;
        std::thread::Builder::new().name("notify".into()).spawn(move || {
            let manager = Manager::new();
            let patience = ANSWER.min(between_looks(manager.watchdog));
            let looker = Looker { look, patience, silence, open: None };
            runtime.block_on(manager.listen(events, looker));
        })?;
        Ok(Notifier { events: Some(sender) })
    }

    /// The worker runs, or has reloaded.
    pub fn ready(&self) {
        self.tell(Event::Ready);
    }

    /// The templates are being read anew; [`Notifier::ready`] follows, whatever comes of it.
    pub fn reloading(&self) {
        self.tell(Event::Reloading);
    }

    /// The worker drains, for at most `within`: the manager is asked not to kill it before.
    pub fn stopping(&self, within: Duration) {
        self.tell(Event::Stopping { within });
    }

    fn tell(&self, event: Event) {
        if let Some(events) = &self.events
            && events.try_send(event).is_err()
        {
            tracing::warn!(?event, "the service manager takes no messages, it is not told");
        }
    }
}

/// Looks at the worker, one look at a time: how long the one that is open has been open tells a worker that is busy
/// from one that is stuck, as `/health/live` tells them apart.
struct Looker<L> {
    look: L,
    /// For an answer, at each look.
    patience: Duration,
    /// Of a worker that counts as busy, not as stuck.
    silence: Duration,
    open: Option<(Instant, BoxFuture<'static, Look>)>,
}

impl<L: Fn() -> BoxFuture<'static, Look>> Looker<L> {
    async fn next(&mut self) -> Look {
        let (since, open) = self.open.get_or_insert_with(|| (Instant::now(), (self.look)()));
        match tokio::time::timeout(self.patience, open).await {
            Ok(look) => {
                self.open = None;
                look
            }
            Err(_) if since.elapsed() < self.silence => {
                Look { live: true, line: "busy: the worker has not answered yet".to_owned() }
            }
            Err(_) => Look { live: false, line: "the worker does not answer".to_owned() },
        }
    }
}

/// The other end of the socket, and what it has been told.
struct Manager {
    /// How often it wants to hear that the worker is alive; none when it has no watchdog for it.
    watchdog: Option<Duration>,
    line: String,
    /// Whether the last message was taken: a socket that is gone is told of once.
    takes: bool,
}

impl Manager {
    fn new() -> Manager {
        Manager { watchdog: sd_notify::watchdog_enabled(), line: String::new(), takes: true }
    }

    async fn listen<L>(mut self, mut events: mpsc::Receiver<Event>, mut looker: Looker<L>)
    where
        L: Fn() -> BoxFuture<'static, Look>,
    {
        let mut looks = tokio::time::interval(between_looks(self.watchdog));
        looks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            tokio::select! {
                biased;
                event = events.recv() => match event {
                    Some(event) => self.pass_on(event),
                    None => return,
                },
                _ = looks.tick() => {
                    let look = looker.next().await;
                    self.tell_of(look);
                }
            }
        }
    }

    fn pass_on(&mut self, event: Event) {
        match event {
            Event::Ready => self.send(&[NotifyState::Ready]),
            // Later versions of systemd take a reload only with the time at which it began.
            Event::Reloading => match NotifyState::monotonic_usec_now() {
                Ok(now) => self.send(&[NotifyState::Reloading, now]),
                Err(_) => self.send(&[NotifyState::Reloading]),
            },
            Event::Stopping { within } => {
                let within = u32::try_from(within.as_micros()).unwrap_or(u32::MAX);
                self.send(&[NotifyState::Stopping, NotifyState::ExtendTimeoutUsec(within)]);
            }
        }
    }

    fn tell_of(&mut self, look: Look) {
        let look = Look { line: one_line(&look.line), ..look };
        let message = message(&look, self.watchdog.is_some(), &self.line);
        if !message.is_empty() {
            self.send(&message);
        }
        self.line = look.line;
    }

    fn send(&mut self, message: &[NotifyState<'_>]) {
        let sent = sd_notify::notify(message);
        if let Err(error) = &sent
            && self.takes
        {
            tracing::warn!(%error, "the service manager can't be told how the worker is (NOTIFY_SOCKET)");
        }
        self.takes = sent.is_ok();
    }
}

/// What a look is worth telling, when the line was `told` before. A worker that is not live is not mentioned to the
/// watchdog, which then ends it.
fn message<'a>(look: &'a Look, watchdog: bool, told: &str) -> Vec<NotifyState<'a>> {
    let mut message = Vec::new();
    if look.live && watchdog {
        message.push(NotifyState::Watchdog);
    }
    if look.line != told {
        message.push(NotifyState::Status(&look.line));
    }
    message
}

fn between_looks(watchdog: Option<Duration>) -> Duration {
    let wanted = watchdog.map_or(BETWEEN_LOOKS, |limit| limit / LOOKS_WITHIN_LIMIT);
    // An interval of nothing would be a bug of whoever set it, and a panic here.
    wanted.clamp(Duration::from_millis(1), BETWEEN_LOOKS)
}

/// A line break would begin another message.
fn one_line(text: &str) -> String {
    text.chars().take(LINE_CHARACTERS).map(|c| if c.is_control() { ' ' } else { c }).collect()
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering};

    use futures::FutureExt;
    use tokio::sync::watch;

    use super::*;

    const LONG: Duration = Duration::from_secs(3600);

    #[tokio::test]
    async fn a_worker_that_is_slow_to_answer_is_busy_and_lives_as_live_has_it() {
        let looks = AtomicUsize::new(0);
        let (answer, answered) = watch::channel(false);
        let look = || {
            looks.fetch_add(1, Ordering::Relaxed);
            let mut answered = answered.clone();
            async move {
                answered.wait_for(|is_so| *is_so).await.expect("the test holds the other end");
                Look { live: true, line: "ready".to_owned() }
            }
            .boxed()
        };
        let mut looker = Looker { look, patience: Duration::from_millis(1), silence: LONG, open: None };
        for _ in 0..3 {
            let busy = looker.next().await;
            assert!(busy.live, "{busy:?}");
        }
        assert_eq!(looks.load(Ordering::Relaxed), 1, "one question at a time");

        looker.silence = Duration::ZERO;
        let stuck = Look { live: false, line: "the worker does not answer".to_owned() };
        assert_eq!(looker.next().await, stuck, "silent for as long as a busy one never is");

        looker.patience = LONG;
        answer.send_replace(true);
        assert_eq!(looker.next().await, Look { live: true, line: "ready".to_owned() }, "late is not never");
        assert!(looker.next().await.live);
        assert_eq!(looks.load(Ordering::Relaxed), 2, "the next is a new question");
    }

    #[test]
    fn a_watchdog_is_told_four_times_within_its_limit_and_at_least_every_5_s() {
        assert_eq!(between_looks(None), Duration::from_secs(5));
        assert_eq!(between_looks(Some(Duration::from_secs(60))), Duration::from_secs(5));
        assert_eq!(between_looks(Some(Duration::from_secs(4))), Duration::from_secs(1));
        assert!(!between_looks(Some(Duration::ZERO)).is_zero(), "an interval of nothing panics");
    }

    #[test]
    fn the_watchdog_hears_only_of_a_worker_that_is_live_and_a_line_is_told_once() {
        let look = |live| Look { live, line: "ready".to_owned() };
        let told = |look: &Look, watchdog, told| -> Vec<String> {
            message(look, watchdog, told).iter().map(ToString::to_string).collect()
        };
        assert_eq!(told(&look(true), true, ""), ["WATCHDOG=1", "STATUS=ready"]);
        assert_eq!(told(&look(true), true, "ready"), ["WATCHDOG=1"]);
        assert_eq!(told(&look(false), true, ""), ["STATUS=ready"], "so that it is restarted");
        assert_eq!(told(&look(true), false, "ready"), [""; 0], "nothing to say, and nobody who waits for it");
    }

    #[test]
    fn a_line_can_not_smuggle_in_another_message() {
        assert_eq!(one_line("not ready: no\nSTOPPING=1\r"), "not ready: no STOPPING=1 ");
        assert_eq!(one_line(&"ä".repeat(300)).chars().count(), 200);
    }
}
