//! A job's end as this process keeps it: a moment of the monotonic clock, so that later steps of the wall clock change
//! nothing for it.

use std::panic::{AssertUnwindSafe, catch_unwind};

use tokio::time::Instant;

use crate::domain::expiry::{self, TimeLeft};
use crate::domain::failure::Failure;
use crate::domain::job::Record;
use crate::ports::{Composer, WallClock};

/// From this moment on no attempt may begin.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Deadline {
    pub at: Instant,
    /// `expires_at` or `email.max_age`.
    pub set_by: &'static str,
}

impl Deadline {
    /// The deadline of a job that is taken at this moment; none where it has none. Should asking for it panic, it
    /// has none: the record is not lost, and what is wrong shows in its attempt.
    pub fn of(record: &Record, composer: &dyn Composer, clock: &dyn WallClock) -> Option<Deadline> {
        let ask = || composer.expiry(record, clock.now());
        let expiry = catch_unwind(AssertUnwindSafe(ask)).ok().flatten()?;
        // What no clock reaches is never.
        let at = Instant::now().checked_add(expiry.left)?;
        Some(Deadline { at, set_by: expiry.set_by })
    }

    /// As seen now.
    pub fn time_left(self) -> TimeLeft {
        TimeLeft { left: self.at.saturating_duration_since(Instant::now()), set_by: self.set_by }
    }

    /// Why a job is given up that was just taken and may not be attempted before that moment; none where there is time.
    pub fn given_up(self, not_before: Option<Instant>) -> Option<Failure> {
        if self.has_passed() {
            return Some(expiry::past(self.set_by, None));
        }
        let wait = not_before?.saturating_duration_since(Instant::now());
        (!self.time_left().allows(wait)).then(|| expiry::too_late(self.set_by, None))
    }

    /// Whether no attempt may begin any more.
    pub fn has_passed(self) -> bool {
        self.at <= Instant::now()
    }
}
