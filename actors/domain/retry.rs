//! Whether a failed e-mail is tried again, and after which wait.

use std::time::Duration;

use super::failure::{Class, Failure};

/// The `retry.*` keys of the configuration.
#[derive(Clone, Debug, PartialEq)]
pub struct RetryPolicy {
    /// At least 1.
    pub max_attempts: u32,
    /// The wait before attempt 2.
    pub base: Duration,
    /// Each later wait is this many times the one before; at least 1.
    pub factor: f64,
    /// No wait is longer, jitter aside.
    pub max_delay: Duration,
    /// Up to this part of the wait is added on top, never taken off; at least 0.
    pub jitter: f64,
    /// `retry.permanent = "retry"`: a 5xx is tried again like a 4xx.
    pub permanent_is_retried: bool,
    /// `retry.ambiguous = "dead-letter"`: never risk a second copy.
    pub ambiguous_is_dead_lettered: bool,
    /// `retry.limited = "retry"`: a relay that says "slower" costs an attempt, like a 4xx.
    pub limited_is_retried: bool,
}

/// What follows a failed attempt.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NextStep {
    /// Another attempt, this long after the failed one ended.
    RetryAfter(Duration),
    /// To the dead letter queue, now.
    GiveUp,
}

impl RetryPolicy {
    /// What follows `failure` once `spent` attempts (at least 1, the failed one counted) are spent.
    /// `fraction` is the jitter's randomness, from 0 up to, not including, 1.
    pub fn after(&self, spent: u32, failure: &Failure, fraction: f64) -> NextStep {
        if self.is_final(failure) || spent >= self.max_attempts {
            return NextStep::GiveUp;
        }
        NextStep::RetryAfter(self.wait_before(spent + 1, fraction))
    }

    /// Whether an attempt is spent on `failure`; on a limited one by `retry.limited`.
    pub fn spends(&self, failure: &Failure) -> bool {
        failure.spends_attempt && (failure.class != Class::Limited || self.limited_is_retried)
    }

    /// Whether no further attempt is worth it, however many are left.
    pub fn is_final(&self, failure: &Failure) -> bool {
        if !failure.spends_attempt {
            return true;
        }
        match failure.class {
            Class::Permanent => !self.permanent_is_retried,
            Class::Ambiguous => self.ambiguous_is_dead_lettered,
            Class::Temporary | Class::Infrastructure | Class::Limited => false,
        }
    }

    /// The wait before attempt `number`: none before the first, then base, base × factor, … up to
    /// `max_delay`, and the jitter on top.
    pub fn wait_before(&self, number: u32, fraction: f64) -> Duration {
        let Some(exponent) = number.checked_sub(2) else { return Duration::ZERO };
        let exponent = i32::try_from(exponent).unwrap_or(i32::MAX);
        let seconds = self.base.as_secs_f64() * self.factor.powi(exponent);
        let capped = seconds.min(self.max_delay.as_secs_f64());
        let jittered = capped * (1.0 + self.jitter * fraction.clamp(0.0, 1.0));
        Duration::try_from_secs_f64(jittered).unwrap_or(self.max_delay)
    }
}

impl Default for RetryPolicy {
    /// The guide's: 3 attempts, 1 s and 2 s between them.
    fn default() -> Self {
        RetryPolicy {
            max_attempts: 3,
            base: Duration::from_secs(1),
            factor: 2.0,
            max_delay: Duration::from_secs(60),
            jitter: 0.1,
            permanent_is_retried: false,
            ambiguous_is_dead_lettered: false,
            limited_is_retried: false,
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::domain::failure::{Cause, Reply, Stage};

    fn reply(code: u16) -> Failure {
        Failure::replied(Stage::Rcpt, &Reply { code, enhanced: None, text: String::new() })
    }

    #[test]
    fn the_guides_waits_are_none_then_1_2_4_and_8_seconds() {
        let policy = RetryPolicy { max_attempts: 9, ..RetryPolicy::default() };
        let waits: Vec<u64> = (1..=5).map(|number| policy.wait_before(number, 0.0).as_secs()).collect();
        assert_eq!(waits, [0, 1, 2, 4, 8]);
    }

    #[test]
    fn the_guides_three_attempts_and_no_fourth() {
        let policy = RetryPolicy::default();
        let temporary = reply(451);
        assert_eq!(policy.after(1, &temporary, 0.0), NextStep::RetryAfter(Duration::from_secs(1)));
        assert_eq!(policy.after(2, &temporary, 0.0), NextStep::RetryAfter(Duration::from_secs(2)));
        assert_eq!(policy.after(3, &temporary, 0.0), NextStep::GiveUp);
    }

    #[test]
    fn what_is_final_is_given_up_at_once_unless_told_otherwise() {
        let policy = RetryPolicy::default();
        let lenient = RetryPolicy { permanent_is_retried: true, ..policy.clone() };
        let strict = RetryPolicy { ambiguous_is_dead_lettered: true, ..policy.clone() };
        let ambiguous = Failure::timed_out(Stage::FinalDot);
        let no_email = Failure::before_attempt(Stage::Decode, Cause::Malformed, "not JSON");
        assert_eq!(policy.after(1, &reply(550), 0.0), NextStep::GiveUp);
        assert_ne!(lenient.after(1, &reply(550), 0.0), NextStep::GiveUp);
        assert_ne!(policy.after(1, &ambiguous, 0.0), NextStep::GiveUp);
        assert_eq!(strict.after(1, &ambiguous, 0.0), NextStep::GiveUp);
        assert_eq!(lenient.after(1, &no_email, 0.0), NextStep::GiveUp);
        assert_ne!(policy.after(1, &Failure::refused(), 0.0), NextStep::GiveUp);
        assert_ne!(policy.after(1, &Failure::crashed("panic"), 0.0), NextStep::GiveUp);
    }

    #[test]
    fn a_relay_that_says_slower_costs_an_attempt_only_when_that_was_asked_for() {
        let wait = RetryPolicy::default();
        let retry = RetryPolicy { limited_is_retried: true, ..wait.clone() };
        assert!(!wait.spends(&reply(421)));
        assert!(retry.spends(&reply(421)));
        for policy in [wait, retry] {
            assert!(policy.spends(&reply(451)) && policy.spends(&Failure::refused()));
            assert!(!policy.spends(&Failure::before_attempt(Stage::Render, Cause::Render, "no template")));
        }
    }

    proptest! {
        #[test]
        fn a_wait_never_shrinks_with_the_attempts_and_jitter_only_adds(
            base_ms in 0u64..100_000, factor in 1.0f64..10.0, max_ms in 0u64..1_000_000,
            jitter in 0.0f64..2.0, fraction in 0.0f64..1.0, number in 1u32..2_000,
        ) {
            let policy = RetryPolicy {
                max_attempts: u32::MAX,
                base: Duration::from_millis(base_ms),
                factor,
                max_delay: Duration::from_millis(max_ms),
                jitter,
                ..RetryPolicy::default()
            };
            let plain = policy.wait_before(number, 0.0);
            prop_assert!(policy.wait_before(number + 1, 0.0) >= plain);
            prop_assert!(plain <= policy.max_delay);
            let jittered = policy.wait_before(number, fraction);
            prop_assert!(jittered >= plain);
            prop_assert!(jittered.as_secs_f64() <= plain.as_secs_f64() * (1.0 + jitter) + 1e-6);
        }
    }
}
