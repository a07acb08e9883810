//! What has happened to a job so far, and what follows the end of an attempt.

use std::time::Duration;

use super::failure::{Class, Failure};
use super::job::{Attempt, RecipientSet};
use super::retry::{NextStep, RetryPolicy};

/// Attempts spent, recipients settled, the last failure: all that decides about the next step of a job.
#[derive(Clone, Debug, Default)]
pub struct History {
    /// Attempts spent, those before a crash or rebalance included.
    pub attempts_spent: u32,
    /// Those that this process made, the newest [`History::LISTED_ATTEMPTS`].
    pub attempts: Vec<Attempt>,
    /// Recipients that the relay took the e-mail for.
    pub served: RecipientSet,
    /// Recipients that were refused for good.
    pub refused: RecipientSet,
    /// How often handling it panicked.
    pub crashes: u32,
    /// The last failure of any kind.
    pub last_failure: Option<Failure>,
    /// The last failure of a recipient that was refused for good: what the dead letter names once all others
    /// are served.
    pub last_refusal: Option<Failure>,
}

/// What came of one recipient in one transaction.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// The relay took the e-mail for this recipient: 250 or 251 to RCPT, then a clear 250 after the dot.
    Accepted,
    /// Refused, or the transaction failed as a whole (then each recipient has the same failure).
    Failed(Failure),
    /// The gate was shut: nothing was sent past the dot, no attempt is spent.
    TakenBack,
}

/// How one attempt ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum AttemptEnd {
    /// The job as a whole failed: no e-mail can be made of it, there is no connection, it panicked.
    Failed(Failure),
    /// The relay was asked for these recipients (by index, each once); `recipients` are in the envelope.
    Answered { recipients: usize, outcomes: Vec<(usize, Outcome)> },
    /// It was cut off before the dot (a revoke, a stop): nothing is spent.
    TakenBack,
}

/// What is to be done with a job after an attempt.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Decision {
    /// Every recipient has it: settle.
    Delivered,
    /// Again for the rest, this long after the attempt ended.
    RetryAfter(Duration),
    /// Give it up with this as the dead letter's failure.
    DeadLetter(Failure),
    /// The relay is still away: nothing is spent, another turn comes.
    ProbeFailed,
    /// It is not ours any more: let go.
    LetGo,
}

impl History {
    pub fn restored(spent: u32, served: RecipientSet, max_attempts: u32) -> History {
        History { attempts_spent: spent.min(max_attempts.saturating_sub(1)), served, ..History::default() }
    }

    /// A dead letter lists at most this many attempts, the newest.
    pub const LISTED_ATTEMPTS: usize = 100;

    /// Takes in how an attempt ended and decides what follows. `attempt` describes it for the dead letter
    /// (its number, stage and error are filled in here). `crash_limit` is `limits.crashes`.
    pub fn conclude(
        &mut self,
        end: AttemptEnd,
        timing: Timing,
        policy: &RetryPolicy,
        crash_limit: u32,
        fraction: f64,
        probe: bool,
    ) -> Decision {
        match end {
            AttemptEnd::Failed(failure)
                if probe
                    && matches!(failure.class, Class::Infrastructure | Class::Limited)
                    && failure.spends_attempt =>
            {
                Decision::ProbeFailed
            }
            AttemptEnd::TakenBack => Decision::LetGo,
            AttemptEnd::Failed(failure) => self.failed(failure, timing, policy, crash_limit, fraction),
            AttemptEnd::Answered { recipients, outcomes } => {
                self.answered(recipients, outcomes, timing, policy, fraction)
            }
        }
    }

    fn failed(
        &mut self,
        failure: Failure,
        timing: Timing,
        policy: &RetryPolicy,
        limit: u32,
        fraction: f64,
    ) -> Decision {
        self.crashes += u32::from(failure.cause == super::failure::Cause::Crash);
        if failure.spends_attempt {
            self.spend(&failure, timing);
        }
        self.last_failure = Some(failure.clone());
        if self.crashes >= limit {
            return Decision::DeadLetter(failure);
        }
        match policy.after(self.attempts_spent, &failure, fraction) {
            NextStep::RetryAfter(wait) => Decision::RetryAfter(wait),
            NextStep::GiveUp => Decision::DeadLetter(failure),
        }
    }

    fn answered(
        &mut self,
        recipients: usize,
        outcomes: Vec<(usize, Outcome)>,
        timing: Timing,
        policy: &RetryPolicy,
        fraction: f64,
    ) -> Decision {
        let mut spent = false;
        let mut last = None;
        let mut to_retry = None;
        let mut taken_back = false;
        for (index, outcome) in outcomes {
            match outcome {
                Outcome::Accepted => {
                    self.served.insert(index);
                    spent = true;
                }
                Outcome::Failed(failure) => {
                    spent |= failure.spends_attempt;
                    if policy.is_final(&failure) {
                        self.refused.insert(index);
                        self.last_refusal = Some(failure.clone());
                    } else {
                        to_retry = Some(failure.clone());
                    }
                    last = Some(failure);
                }
                Outcome::TakenBack => taken_back = true,
            }
        }
        if taken_back {
            return Decision::LetGo;
        }
        if spent {
            match &last {
                Some(failure) => self.spend(failure, timing),
                None => self.attempts_spent += 1,
            }
        }
        if last.is_some() {
            self.last_failure.clone_from(&last);
        }
        if self.served.len() == recipients {
            return Decision::Delivered;
        }
        match to_retry {
            None => {
                let failure = last.or_else(|| self.last_refusal.clone());
                Decision::DeadLetter(failure.expect("a recipient that is not served was refused"))
            }
            Some(failure) => match policy.after(self.attempts_spent, &failure, fraction) {
                NextStep::RetryAfter(wait) => Decision::RetryAfter(wait),
                NextStep::GiveUp => Decision::DeadLetter(last.unwrap_or(failure)),
            },
        }
    }

    /// The recipients, of so many, that are still to be asked for, in order.
    pub fn to_ask(&self, recipients: usize) -> Vec<usize> {
        (0..recipients).filter(|i| !self.served.contains(*i) && !self.refused.contains(*i)).collect()
    }

    fn spend(&mut self, failure: &Failure, timing: Timing) {
        self.attempts_spent += 1;
        if self.attempts.len() == Self::LISTED_ATTEMPTS {
            self.attempts.remove(0);
        }
        self.attempts.push(Attempt {
            number: self.attempts_spent,
            at: timing.at,
            stage: failure.stage,
            error: failure.reason.clone(),
            took_ms: timing.took_ms,
        });
    }
}

/// When an attempt began, by the wall clock, and how long it took.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Timing {
    pub at: chrono::DateTime<chrono::Utc>,
    pub took_ms: u64,
}

#[cfg(test)]
#[path = "history_tests.rs"]
mod tests;
