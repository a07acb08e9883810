//! The redriver: replays what may pass by itself, later and later, and then calls a human (the guide's option 2).

use std::time::Duration;

use super::decision::State;
use super::rules::Facts;
use crate::domain::failure::Cause;

/// `redrive.*`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Redrive {
    /// From a letter's `failed_at` to its replay, by how often it was replayed before; not empty.
    pub waits: Vec<Duration>,
    pub causes: Vec<Cause>,
    /// `dlq.max_replays`.
    pub max_replays: u32,
}

/// What the redriver does with a letter.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Plan {
    /// It is none of its letters, or nobody wants it any more by then.
    Leave,
    /// At that time, milliseconds since the epoch.
    ReplayAt(i64),
    /// It was replayed as often as there are waits, or can't be; not where a person has decided on it since.
    Park,
}

/// A letter that the redriver has to do with now.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Due {
    pub offset: i64,
    /// The letter's own: of another letter at that offset this says nothing.
    pub timestamp_ms: i64,
    pub plan: Plan,
}

impl Redrive {
    /// `is_decided`: somebody has decided on the letter, which puts it back to waiting.
    pub fn plan(&self, facts: &Facts, failed_at_ms: i64, is_decided: bool) -> Plan {
        let is_ours = facts.cause.is_some_and(|cause| self.causes.contains(&cause));
        if facts.state != State::Waiting || !is_ours {
            return Plan::Leave;
        }
        let Some(wait) = self.wait(facts) else { return if is_decided { Plan::Leave } else { Plan::Park } };
        let due = failed_at_ms.saturating_add(i64::try_from(wait.as_millis()).unwrap_or(i64::MAX));
        // It expires before: then nobody wants it any more, and no human need be called for it.
        if facts.expires_at_ms.is_some_and(|expires| expires <= due) {
            Plan::Leave
        } else {
            Plan::ReplayAt(due)
        }
    }

    /// None where it is not to be replayed any more.
    fn wait(&self, facts: &Facts) -> Option<Duration> {
        let may_be_replayed = facts.has_original && facts.replay_count < self.max_replays;
        let replays = usize::try_from(facts.replay_count).ok().filter(|_| may_be_replayed)?;
        self.waits.get(replays).copied()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn redrive() -> Redrive {
        let hours = |hours: u64| Duration::from_secs(hours * 3600);
        let causes = vec![Cause::Quota, Cause::Throttled];
        Redrive { waits: vec![hours(1), hours(6)], causes, max_replays: 5 }
    }

    fn facts() -> Facts {
        let cause = Some(Cause::Quota);
        Facts { state: State::Waiting, cause, replay_count: 0, expires_at_ms: None, has_original: true }
    }

    const HOUR_MS: i64 = 3_600_000;

    #[test]
    fn a_letter_waits_longer_each_time_and_is_then_parked() {
        let plan = |replay_count| redrive().plan(&Facts { replay_count, ..facts() }, 5, false);
        assert_eq!(plan(0), Plan::ReplayAt(HOUR_MS + 5));
        assert_eq!(plan(1), Plan::ReplayAt(6 * HOUR_MS + 5));
        assert_eq!(plan(2), Plan::Park);
        assert_eq!(plan(u32::MAX), Plan::Park);
        let fewer = Redrive { max_replays: 1, ..redrive() };
        assert_eq!(fewer.plan(&facts(), 5, false), Plan::ReplayAt(HOUR_MS + 5));
        assert_eq!(fewer.plan(&Facts { replay_count: 1, ..facts() }, 5, false), Plan::Park);
    }

    #[test]
    fn what_a_person_has_put_back_to_waiting_is_replayed_when_it_is_due_and_not_parked_again() {
        let plan = |facts: Facts| redrive().plan(&facts, 0, true);
        assert_eq!(plan(facts()), Plan::ReplayAt(HOUR_MS));
        assert_eq!(plan(Facts { replay_count: 2, ..facts() }), Plan::Leave);
        assert_eq!(plan(Facts { has_original: false, ..facts() }), Plan::Leave);
    }

    #[test]
    fn what_is_decided_or_of_another_cause_is_left() {
        let plan = |facts: Facts| redrive().plan(&facts, 0, false);
        for state in [State::Replayed, State::Discarded, State::Parked] {
            assert_eq!(plan(Facts { state, ..facts() }), Plan::Leave);
        }
        assert_eq!(plan(Facts { cause: Some(Cause::Policy), ..facts() }), Plan::Leave);
        assert_eq!(plan(Facts { cause: None, ..facts() }), Plan::Leave);
    }

    #[test]
    fn what_expires_while_it_waits_is_left_and_what_can_t_be_replayed_needs_a_human_at_once() {
        let expiring = |expires| Facts { expires_at_ms: Some(expires), ..facts() };
        assert_eq!(redrive().plan(&expiring(HOUR_MS), 0, false), Plan::Leave);
        assert_eq!(redrive().plan(&expiring(HOUR_MS + 1), 0, false), Plan::ReplayAt(HOUR_MS));
        assert_eq!(redrive().plan(&Facts { has_original: false, ..facts() }, 0, false), Plan::Park);
    }
}
