//! From what the supervisor knows to what people and orchestrators want to hear: alive, ready, and what to do.
//!
//! One list of checks decides all three answers (contract, section 5): a failing check fails readiness, a
//! failing actor liveness too, and `/health` shows them all. So they never contradict one another.

mod checks;

use std::collections::BTreeMap;
use std::time::Duration;

use mailroom_actors::messages::Status;
use serde::Serialize;

use checks::Checks;

/// An actor that has not answered the supervisor for longer than this makes no progress.
pub const ACTOR_SILENCE: Duration = Duration::from_secs(30);
/// Without an answer of any broker for this long nothing can be consumed. `/health/ready` is 503 within 30 s
/// of the last answer, and a status may be a few seconds old.
pub const KAFKA_SILENCE: Duration = Duration::from_secs(25);
/// A broker that answers does so every few seconds.
pub const KAFKA_QUIET: Duration = Duration::from_secs(10);
/// A dead letter queue that has taken nothing for this long counts as closed.
pub const DEAD_LETTERS_FAILING: Duration = Duration::from_secs(25);

/// How one part is, or all of them.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum CheckStatus {
    Pass,
    /// Something wants attention; the worker still does its work.
    Warn,
    Fail,
}

/// Whether `/health/live` or `/health/ready` is 200, and when not, why and what to do.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Verdict {
    pub status: CheckStatus,
    /// What is wrong; none when it passes.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub error: Option<String>,
    /// What to do; none when it passes.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub hint: Option<String>,
}

impl Verdict {
    /// True for 200, false for 503.
    pub fn passes(&self) -> bool {
        self.status != CheckStatus::Fail
    }

    /// The verdict when the supervisor does not answer.
    pub fn no_answer() -> Verdict {
        let silent = checks::silent_supervisor();
        Verdict::of([(silent.problem("supervisor"), silent.action.unwrap_or_default())])
    }

    /// The verdict when nothing is wrong.
    pub(super) fn pass() -> Verdict {
        Verdict { status: CheckStatus::Pass, error: None, hint: None }
    }

    fn of(problems: impl IntoIterator<Item = (String, String)>) -> Verdict {
        let (errors, hints): (Vec<_>, Vec<_>) = problems.into_iter().unzip();
        if errors.is_empty() {
            Verdict::pass()
        } else {
            Verdict {
                status: CheckStatus::Fail,
                error: Some(errors.join("; ")),
                hint: Some(hints.join("; ")),
            }
        }
    }
}

/// Whether the supervisor and its actors make progress. Nothing outside the process counts.
pub fn live(status: &Status) -> Verdict {
    Verdict::of(Checks::of(status).failing_actors())
}

/// Whether partitions can be consumed and dead letters published. Never when [`live`] fails.
pub fn ready(status: &Status) -> Verdict {
    let checks = Checks::of(status);
    Verdict::of(checks.failing_actors().chain(checks.failing_parts()))
}

/// The whole of `/health`, as `application/health+json`. Without a status: the supervisor does not answer.
pub fn report(status: Option<&Status>, version: &str) -> HealthReport {
    let checks = status.map_or_else(Checks::unknown, Checks::of);
    HealthReport { status: checks.worst(), version: version.to_owned(), checks: checks.into_map() }
}

/// The answer of `/health`. It fails exactly when [`live`] or [`ready`] fails.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct HealthReport {
    pub status: CheckStatus,
    pub version: String,
    /// `kafka`, `smtp`, `dlq`, `pool`, `consumer`, and `actor:<name>` for each actor; one entry each.
    pub checks: BTreeMap<String, [Entry; 1]>,
}

impl HealthReport {
    /// True for 200, false for 503.
    pub fn passes(&self) -> bool {
        self.status != CheckStatus::Fail
    }
}

/// One part's entry in [`HealthReport::checks`].
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(untagged)]
pub enum Entry {
    Part(PartCheck),
    Actor(ActorCheck),
}

/// How the way to Kafka, the relay, the dead letter queue, the pool or the consumer is.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct PartCheck {
    pub status: CheckStatus,
    /// What was seen, in words; addresses masked.
    pub output: String,
    /// What to do, with the key to look at; none when there is nothing to do.
    pub action: Option<String>,
}

/// How one actor is.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct ActorCheck {
    pub status: CheckStatus,
    /// `running`, `restarting` or `stopped`.
    pub state: &'static str,
    /// Since the process began.
    pub restarts: u64,
    /// Addresses masked.
    pub last_error: Option<String>,
    /// What to do; none when there is nothing to do.
    pub action: Option<String>,
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests;
