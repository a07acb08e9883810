//! How the demo's mail server feels just now: slow, strict, or well.

use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use parking_lot::Mutex;

/// How long a slow server thinks about each e-mail. Below the demo's time-outs, and so long that its mailers
/// send less than comes at its usual rate: the queue grows, and a larger pool is the remedy.
pub(super) const SLOWNESS: Duration = Duration::from_millis(600);
/// E-mails a second that a strict server takes.
pub(super) const MOST_A_SECOND: u32 = 5;

/// The mood, shared by whoever changes it and by all connections.
#[derive(Debug, Default)]
pub(super) struct Mood {
    slow: AtomicBool,
    strict: AtomicBool,
    /// When a strict server takes the next e-mail; none: at once.
    next: Mutex<Option<Instant>>,
}

impl Mood {
    pub(super) fn is_slow(&self) -> bool {
        self.slow.load(Ordering::Relaxed)
    }

    pub(super) fn be_slow(&self, slow: bool) {
        self.slow.store(slow, Ordering::Relaxed);
    }

    pub(super) fn is_strict(&self) -> bool {
        self.strict.load(Ordering::Relaxed)
    }

    pub(super) fn be_strict(&self, strict: bool) {
        self.strict.store(strict, Ordering::Relaxed);
    }

    /// Whether an e-mail is taken at `now`; evenly spaced, without a burst.
    pub(super) fn has_room(&self, now: Instant) -> bool {
        if !self.is_strict() {
            return true;
        }
        let mut next = self.next.lock();
        let has_room = next.is_none_or(|next| next <= now);
        if has_room {
            *next = Some(now + Duration::from_secs(1) / MOST_A_SECOND);
        }
        has_room
    }

    /// How long the answer to MAIL takes; none: no time.
    pub(super) fn delay(&self) -> Option<Duration> {
        self.is_slow().then_some(SLOWNESS)
    }
}
