//! What has happened to a job so far, and what follows the end of an attempt.

use std::time::Duration;

use super::failure::{Cause, Class, Failure};
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
    /// Attempts in a row that the relay ended with "slower" and that spent nothing.
    pub limited_in_a_row: u32,
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

impl AttemptEnd {
    /// The last failure, when all that the attempt met was the relay's own (infrastructure or limited): nothing
    /// was taken, answered about a recipient, ambiguous or cut off. What was found here, before the relay was
    /// asked, does not matter: it is found again.
    fn relays_own_failure(&self) -> Option<&Failure> {
        let is_the_relays =
            |failure: &Failure| matches!(failure.class, Class::Infrastructure | Class::Limited);
        match self {
            AttemptEnd::Failed(failure) => Some(failure).filter(|failure| is_the_relays(failure)),
            AttemptEnd::TakenBack => None,
            AttemptEnd::Answered { outcomes, .. } => {
                let mut last = None;
                for (_, outcome) in outcomes {
                    match outcome {
                        Outcome::Failed(failure) if is_the_relays(failure) => last = Some(failure),
                        Outcome::Failed(failure) if !failure.spends_attempt => {}
                        Outcome::Failed(_) | Outcome::Accepted | Outcome::TakenBack => return None,
                    }
                }
                last
            }
        }
    }
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
    /// It was the probe of an open circuit, and the relay still fails: nothing is spent.
    ProbeFailed,
    /// It is not ours any more: let go.
    LetGo,
}

impl History {
    /// A dead letter lists at most this many attempts, the newest.
    pub const LISTED_ATTEMPTS: usize = 100;

    /// So many limited endings in a row spend an attempt after all: no e-mail waits for ever.
    pub const LIMITED_UNTIL_SPENT: u32 = 100;

    /// What the commits know of a job that is taken again after a restart or rebalance: it has at least one
    /// attempt left, and the list of them starts anew.
    pub fn restored(attempts_spent: u32, served: RecipientSet, max_attempts: u32) -> History {
        let attempts_spent = attempts_spent.min(max_attempts.saturating_sub(1));
        History { attempts_spent, served, ..History::default() }
    }

    /// Takes in how an attempt ended and decides what follows. `timing` describes it for the dead letter.
    /// `crash_limit` is `limits.crashes`, `fraction` the jitter's randomness, and `probe` tells that it was the
    /// probe of an open circuit.
    pub fn conclude(
        &mut self,
        end: AttemptEnd,
        timing: Timing,
        policy: &RetryPolicy,
        crash_limit: u32,
        fraction: f64,
        probe: bool,
    ) -> Decision {
        if let Some(failure) = end.relays_own_failure().filter(|_| probe) {
            self.last_failure = Some(failure.clone());
            return Decision::ProbeFailed;
        }
        match end {
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
        self.crashes += u32::from(failure.cause == Cause::Crash);
        self.last_failure = Some(failure.clone());
        let spent = policy.spends(&failure).then_some(&failure);
        self.spend(spent, &failure, timing);
        if self.crashes >= limit {
            return Decision::DeadLetter(failure);
        }
        self.next_step(failure.clone(), &failure, policy, fraction)
    }

    fn answered(
        &mut self,
        recipients: usize,
        outcomes: Vec<(usize, Outcome)>,
        timing: Timing,
        policy: &RetryPolicy,
        fraction: f64,
    ) -> Decision {
        let mut accepted = false;
        let mut spending = None;
        let mut last = None;
        let mut to_retry = None;
        let mut taken_back = false;
        for (index, outcome) in outcomes {
            match outcome {
                Outcome::Accepted => {
                    self.served.insert(index);
                    accepted = true;
                }
                Outcome::Failed(failure) => {
                    if policy.spends(&failure) {
                        spending = Some(failure.clone());
                    }
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
        match &last {
            // One that the relay took spends an attempt, too; what went wrong beside it is what is listed.
            Some(failure) => {
                let spent = spending.as_ref().or_else(|| last.as_ref().filter(|_| accepted));
                self.spend(spent, to_retry.as_ref().unwrap_or(failure), timing);
                self.last_failure.clone_from(&last);
            }
            None => {
                self.attempts_spent += u32::from(accepted);
                self.limited_in_a_row = 0;
            }
        }
        if (0..recipients).all(|index| self.served.contains(index)) {
            return Decision::Delivered;
        }
        match (to_retry, last) {
            (None, last) => {
                let failure = last.or_else(|| self.last_refusal.clone());
                Decision::DeadLetter(failure.expect("a recipient that is not served was refused"))
            }
            (Some(failure), last) => {
                let last = last.unwrap_or_else(|| failure.clone());
                self.next_step(last, &failure, policy, fraction)
            }
        }
    }

    /// What follows for those whom `to_retry` concerns; once attempts are spent, the letter names `last`.
    fn next_step(&self, last: Failure, to_retry: &Failure, policy: &RetryPolicy, fraction: f64) -> Decision {
        if self.limited_in_a_row > 0 {
            let number = self.attempts_spent.saturating_add(self.limited_in_a_row).saturating_add(1);
            return Decision::RetryAfter(policy.wait_before(number, fraction));
        }
        match policy.after(self.attempts_spent, to_retry, fraction) {
            NextStep::RetryAfter(wait) => Decision::RetryAfter(wait),
            NextStep::GiveUp => Decision::DeadLetter(last),
        }
    }

    /// The recipients, of so many, that are still to be asked for, in order.
    pub fn to_ask(&self, recipients: usize) -> Vec<usize> {
        (0..recipients).filter(|i| !self.served.contains(*i) && !self.refused.contains(*i)).collect()
    }

    /// Counts an attempt that ended with `last` and was spent on `spent`; where that is none and `last` is
    /// limited, one more of the row.
    fn spend<'a>(&mut self, mut spent: Option<&'a Failure>, last: &'a Failure, timing: Timing) {
        if spent.is_none() && last.class == Class::Limited {
            self.limited_in_a_row += 1;
            if self.limited_in_a_row < Self::LIMITED_UNTIL_SPENT {
                return;
            }
            spent = Some(last);
        }
        self.limited_in_a_row = 0;
        let Some(failure) = spent else { return };
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
