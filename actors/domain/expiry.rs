//! When a job may no longer be sent, and what that makes of a decision.

use std::time::Duration;

use super::failure::{Cause, Failure, Stage};
use super::history::Decision;

/// How long from now on a job may still be sent, and what says so.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TimeLeft {
    /// Zero once the time has passed.
    pub left: Duration,
    /// `expires_at` or `email.max_age`.
    pub set_by: &'static str,
}

impl TimeLeft {
    /// Whether an attempt may begin after this wait.
    pub fn allows(self, wait: Duration) -> bool {
        wait < self.left
    }
}

/// The same decision, but that no attempt is waited for that would begin too late: the job is given up at once. After a
/// failed probe that is one `next_probe` from now. `left` is none where the job never expires; `last` is its last failure.
pub fn in_time(
    decision: Decision,
    next_probe: Duration,
    left: Option<TimeLeft>,
    last: Option<&Failure>,
) -> Decision {
    let wait = match decision {
        Decision::RetryAfter(wait) => wait,
        Decision::ProbeFailed => next_probe,
        Decision::Delivered | Decision::DeadLetter(_) | Decision::LetGo => return decision,
    };
    match left.filter(|left| !left.allows(wait)) {
        Some(left) => Decision::DeadLetter(too_late(left.set_by, last)),
        None => decision,
    }
}

/// The failure of a job whose next attempt would begin when its time has passed, where the last attempt (if any) failed
/// so.
pub fn too_late(set_by: &str, last: Option<&Failure>) -> Failure {
    expired(&format!("the next attempt would fall after {set_by}"), last)
}

/// The failure of a job whose time has passed, where the last attempt (if any) failed so.
pub fn past(set_by: &str, last: Option<&Failure>) -> Failure {
    let what = match set_by {
        "email.max_age" => "the record is older than email.max_age".to_owned(),
        set_by => format!("past {set_by}"),
    };
    expired(&what, last)
}

fn expired(what: &str, last: Option<&Failure>) -> Failure {
    let mut reason = format!("expired: {what}");
    if let Some(last) = last.filter(|last| last.cause != Cause::Expired) {
        reason.push_str("; the last attempt failed: ");
        reason.push_str(&last.reason);
    }
    Failure::before_attempt(Stage::Decode, Cause::Expired, reason)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn refused() -> Failure {
        Failure::refused()
    }

    #[test]
    fn the_reason_tells_what_has_passed_and_how_the_last_attempt_failed() {
        let plain = past("expires_at", None);
        assert_eq!(
            (plain.stage, plain.cause, plain.reason.as_str()),
            (Stage::Decode, Cause::Expired, "expired: past expires_at")
        );
        assert!(!plain.spends_attempt && plain.code.is_none());
        let aged = past("email.max_age", Some(&refused()));
        let expected = format!(
            "expired: the record is older than email.max_age; the last attempt failed: {}",
            refused().reason
        );
        assert_eq!(aged.reason, expected);
        assert_eq!(past("expires_at", Some(&plain)).reason, "expired: past expires_at");
    }

    proptest! {
        #[test]
        fn only_what_would_be_tried_too_late_becomes_something_else(
            wait_ms in 0u64..1000, other_ms in 0u64..1000, left_ms in 0u64..1000, is_probe: bool,
        ) {
            let wait = Duration::from_millis(wait_ms);
            let other = Duration::from_millis(other_ms);
            let left = TimeLeft { left: Duration::from_millis(left_ms), set_by: "expires_at" };
            let last = refused();
            for end in [Decision::Delivered, Decision::LetGo, Decision::DeadLetter(refused())] {
                prop_assert_eq!(in_time(end.clone(), wait, Some(left), Some(&last)), end);
            }
            let (retry, next_probe) =
                if is_probe { (Decision::ProbeFailed, wait) } else { (Decision::RetryAfter(wait), other) };
            prop_assert_eq!(in_time(retry.clone(), next_probe, None, Some(&last)), retry.clone());
            match in_time(retry.clone(), next_probe, Some(left), Some(&last)) {
                Decision::DeadLetter(failure) => {
                    prop_assert!(wait >= left.left);
                    prop_assert_eq!(failure.cause, Cause::Expired);
                    prop_assert!(failure.reason.ends_with(&last.reason));
                }
                unchanged => {
                    prop_assert!(wait < left.left);
                    prop_assert_eq!(unchanged, retry);
                }
            }
        }
    }
}
