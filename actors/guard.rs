//! What speaks to the supervisor when an actor dies, however it dies.

use std::cell::RefCell;

thread_local! {
    static LAST_PANIC: RefCell<Option<String>> = const { RefCell::new(None) };
}

/// Names as `mailroom_actor_restarts_total{actor}` and `/health` have them.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum ActorName {
    Supervisor,
    Consumer,
    Mailer,
    DeadLetters,
    DlqOwner,
    Metrics,
    Http,
}

impl ActorName {
    pub const ALL: [ActorName; 7] = [
        ActorName::Supervisor,
        ActorName::Consumer,
        ActorName::Mailer,
        ActorName::DeadLetters,
        ActorName::DlqOwner,
        ActorName::Metrics,
        ActorName::Http,
    ];

    pub fn as_str(self) -> &'static str {
        match self {
            ActorName::Supervisor => "supervisor",
            ActorName::Consumer => "consumer",
            ActorName::Mailer => "mailer",
            ActorName::DeadLetters => "dead_letters",
            ActorName::DlqOwner => "dlq_owner",
            ActorName::Metrics => "metrics",
            ActorName::Http => "http",
        }
    }
}

/// One generation of one actor.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct ChildId {
    pub name: ActorName,
    /// Which mailer; 0 for all others.
    pub slot: usize,
    /// Counts up with each restart.
    pub generation: u64,
}

/// What the supervisor hears of its children.
#[derive(Debug)]
pub enum ChildSignal {
    /// It has just worked through its mailbox up to the supervisor's question.
    Alive(ChildId),
    /// It is gone; `panic` says how, when it panicked.
    Died { child: ChildId, panic: Option<String> },
}

/// A field of each actor: its drop is the actor's death.
#[derive(Debug)]
pub struct DeathGuard {
    child: ChildId,
    signals: async_channel::Sender<ChildSignal>,
}

impl DeathGuard {
    pub fn new(child: ChildId, signals: async_channel::Sender<ChildSignal>) -> DeathGuard {
        DeathGuard { child, signals }
    }

    pub fn child(&self) -> ChildId {
        self.child
    }

    /// Answers the supervisor's question whether this actor is alive.
    pub fn alive(&self) {
        // Closed only when the supervisor is gone, and then the process ends.
        let _ = self.signals.try_send(ChildSignal::Alive(self.child));
    }
}

impl Drop for DeathGuard {
    fn drop(&mut self) {
        let panic = std::thread::panicking().then(|| last_panic().unwrap_or_else(|| "panic".into()));
        // As above.
        let _ = self.signals.try_send(ChildSignal::Died { child: self.child, panic });
    }
}

/// To be called by the process's panic hook, so that a death can say where it happened: `message` must
/// hold nothing secret.
pub fn note_panic(message: String) {
    LAST_PANIC.with_borrow_mut(|last| *last = Some(message));
}

/// What the last panic of this thread left with [`note_panic`]; told once.
pub fn last_panic() -> Option<String> {
    LAST_PANIC.with_borrow_mut(Option::take)
}
