//! Intake paused by hand: why, by whom, and until when (contract, section 5).
//!
//! It is kept by the ticket office, so it outlives every actor; the end of the process forgets it.

use std::time::Duration;

use chrono::{DateTime, Utc};
use tokio::time::Instant;

/// No more jobs are taken; those in hand are finished.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Pause {
    /// What the one who paused said.
    pub reason: String,
    /// By which way it came: `http`.
    pub by: &'static str,
    /// None: until intake is resumed.
    pub end: Option<PauseEnd>,
}

/// When a pause ends by itself: decided by the monotonic clock, shown by the wall clock.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PauseEnd {
    pub at: Instant,
    pub shown: DateTime<Utc>,
}

impl PauseEnd {
    /// `wait` from now on; `now` is the wall clock's. None: no clock reaches it.
    pub fn after(wait: Duration, now: DateTime<Utc>) -> Option<PauseEnd> {
        let at = Instant::now().checked_add(wait)?;
        let shown = now.checked_add_signed(chrono::Duration::from_std(wait).ok()?)?;
        Some(PauseEnd { at, shown })
    }
}

impl Pause {
    /// Its time is up.
    pub fn is_over(&self) -> bool {
        self.end.is_some_and(|end| end.at <= Instant::now())
    }

    /// None: until intake is resumed.
    pub fn until(&self) -> Option<DateTime<Utc>> {
        self.end.map(|end| end.shown)
    }
}
