//! How many attempts may be made now, and how soon the next: the pace and the rate, with their locks and clock.
//!
//! It outlives every actor: what was learnt about the relay is not forgotten when a mailer dies.

use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use tokio::time::Instant;

use crate::domain::pace::{Breaker, Circuit, Pace, Seen, Turn};
use crate::domain::rate::Rate;

/// See the module's text.
#[derive(Debug)]
pub struct Throttle {
    /// All times of the domain count from here.
    since: Instant,
    pace: Mutex<Pace>,
    /// None: as fast as it goes.
    rate: Option<Mutex<Rate>>,
}

impl Throttle {
    /// `size` mailers; `max_rate` is `smtp.max_rate`, e-mails a second.
    pub fn new(size: usize, breaker: Breaker, max_rate: Option<f64>) -> Arc<Throttle> {
        Arc::new(Throttle {
            since: Instant::now(),
            pace: Mutex::new(Pace::new(size, breaker)),
            rate: max_rate.map(|per_second| Mutex::new(Rate::new(per_second))),
        })
    }

    pub fn resize(&self, size: usize) {
        self.pace.lock().resize(size);
    }

    /// How many mailers may work now; at most one where the worker is to make one attempt at a time.
    pub fn allowed(&self, one_at_a_time: bool) -> usize {
        let allowed = self.pace.lock().allowed();
        if one_at_a_time { allowed.min(1) } else { allowed }
    }

    pub fn circuit(&self) -> Circuit {
        self.pace.lock().circuit()
    }

    /// Failures of the relay, whatever the e-mail, since it last answered about one.
    pub fn failures_in_a_row(&self) -> u32 {
        self.pace.lock().failures_in_a_row()
    }

    /// When the next probe may begin; none unless the circuit is open and no probe is under way.
    pub fn next_probe(&self) -> Option<Instant> {
        self.pace.lock().next_probe().map(|at| self.since + at)
    }

    /// One more attempt may begin, `working` being under way.
    pub fn begin(self: &Arc<Self>, working: usize) -> Option<Permit> {
        let turn = self.pace.lock().begin(working, self.since.elapsed())?;
        Some(Permit { turn, throttle: Arc::clone(self), seen: Seen::Nothing })
    }

    /// Waits until one more e-mail may go. Returns how long that was; none, at once and without taking a slot, where it
    /// would not be before `end`.
    pub async fn wait_for_a_slot(&self, end: Option<Instant>) -> Option<Duration> {
        let Some(rate) = &self.rate else { return Some(Duration::ZERO) };
        let now = self.since.elapsed();
        let wait = match end {
            Some(end) => rate.lock().reserve_before(now, end.saturating_duration_since(self.since))?,
            None => rate.lock().reserve(now),
        };
        tokio::time::sleep(wait).await;
        Some(wait)
    }
}

/// A permission to make one attempt. Dropped without a word, it showed nothing of the relay.
#[derive(Debug)]
pub struct Permit {
    turn: Turn,
    throttle: Arc<Throttle>,
    seen: Seen,
}

impl Permit {
    /// Whether the attempt is made to see if the relay is back.
    pub fn is_probe(&self) -> bool {
        self.turn.probe
    }

    /// The attempt has ended, and showed this.
    pub fn ended(mut self, seen: Seen) {
        self.seen = seen;
    }
}

impl Drop for Permit {
    fn drop(&mut self) {
        let throttle = &self.throttle;
        throttle.pace.lock().ended(self.turn, self.seen, throttle.since.elapsed());
    }
}
