//! Whether an act may touch a letter.

use std::str::FromStr;

use super::decision::State;
use crate::domain::failure::Cause;

/// What a run does with its letters.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Action {
    /// The job goes back on its queue.
    Replay,
    Discard,
    /// From discarded or parked back to waiting.
    Restore,
}

impl Action {
    pub const ALL: [Action; 3] = [Action::Replay, Action::Discard, Action::Restore];

    pub fn as_str(self) -> &'static str {
        match self {
            Action::Replay => "replay",
            Action::Discard => "discard",
            Action::Restore => "restore",
        }
    }

    /// What becomes of a letter by it.
    pub fn makes(self) -> State {
        match self {
            Action::Replay => State::Replayed,
            Action::Discard => State::Discarded,
            Action::Restore => State::Waiting,
        }
    }
}

impl FromStr for Action {
    type Err = ();

    fn from_str(name: &str) -> Result<Action, ()> {
        Action::ALL.into_iter().find(|known| known.as_str() == name).ok_or(())
    }
}

/// Why a letter is left as it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Skip {
    /// Replayed or discarded before; of a restore: neither discarded nor parked.
    Already,
    /// Its job is past `expires_at`, or has been dead-lettered for being too old (`email.max_age`).
    Expired,
    /// A cause that another try does not mend.
    Permanent,
    /// It came back too often.
    MaxReplays,
    /// The letter can't be read, or does not hold its job.
    Undecodable,
    /// It needs a human.
    Parked,
}

impl Skip {
    pub const ALL: [Skip; 6] =
        [Skip::Already, Skip::Expired, Skip::Permanent, Skip::MaxReplays, Skip::Undecodable, Skip::Parked];

    pub fn as_str(self) -> &'static str {
        match self {
            Skip::Already => "already",
            Skip::Expired => "expired",
            Skip::Permanent => "permanent",
            Skip::MaxReplays => "max_replays",
            Skip::Undecodable => "undecodable",
            Skip::Parked => "parked",
        }
    }
}

/// What is known of a letter when it is to be acted on.
#[derive(Clone, Copy, Debug)]
pub struct Facts {
    pub state: State,
    /// None where the letter can't be read.
    pub cause: Option<Cause>,
    /// How often its job had been replayed before it failed.
    pub replay_count: u32,
    /// Milliseconds since the epoch.
    pub expires_at_ms: Option<i64>,
    /// The letter holds its job's bytes.
    pub has_original: bool,
}

impl Facts {
    /// Nobody wants the e-mail any more. A new record would begin a new life of `email.max_age`.
    pub fn has_expired(&self, now_ms: i64) -> bool {
        self.cause == Some(Cause::Expired) || self.expires_at_ms.is_some_and(|at| at <= now_ms)
    }
}

/// What the one who acts allows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Rules {
    pub action: Action,
    pub include_permanent: bool,
    pub include_parked: bool,
    /// `dlq.max_replays`.
    pub max_replays: u32,
}

impl Rules {
    /// Without what must be included by name.
    pub fn of(action: Action, max_replays: u32) -> Rules {
        Rules { action, include_permanent: false, include_parked: false, max_replays }
    }

    /// What becomes of the letter, or why it is skipped.
    pub fn judge(&self, facts: &Facts, now_ms: i64) -> Result<State, Skip> {
        let state = facts.state;
        match self.action {
            Action::Discard if matches!(state, State::Waiting | State::Parked) => Ok(State::Discarded),
            Action::Restore if matches!(state, State::Discarded | State::Parked) => Ok(State::Waiting),
            Action::Discard | Action::Restore => Err(Skip::Already),
            Action::Replay => self.judge_replay(facts, now_ms).map_or(Ok(State::Replayed), Err),
        }
    }

    fn judge_replay(&self, facts: &Facts, now_ms: i64) -> Option<Skip> {
        let cause = match facts.cause {
            _ if matches!(facts.state, State::Replayed | State::Discarded) => return Some(Skip::Already),
            Some(cause) if facts.has_original => cause,
            _ => return Some(Skip::Undecodable),
        };
        if facts.has_expired(now_ms) {
            Some(Skip::Expired)
        } else if facts.replay_count >= self.max_replays {
            Some(Skip::MaxReplays)
        } else if facts.state == State::Parked && !self.include_parked {
            Some(Skip::Parked)
        } else if is_permanent(cause) && !self.include_permanent {
            Some(Skip::Permanent)
        } else {
            None
        }
    }
}

/// Another try of the same bytes ends in the same way.
pub fn is_permanent(cause: Cause) -> bool {
    use Cause::{BadDomain, InactiveMailbox, Invalid, InvalidRecipient, Malformed};
    matches!(cause, Malformed | Invalid | InvalidRecipient | BadDomain | InactiveMailbox)
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: i64 = 1_000;

    fn facts() -> Facts {
        let cause = Some(Cause::SmtpUnreachable);
        Facts { state: State::Waiting, cause, replay_count: 0, expires_at_ms: None, has_original: true }
    }

    fn rules(action: Action) -> Rules {
        Rules::of(action, 5)
    }

    #[test]
    fn a_letter_is_replayed_unless_something_speaks_against_it() {
        let replay = rules(Action::Replay);
        let judge = |facts: Facts| replay.judge(&facts, NOW);
        assert_eq!(judge(facts()), Ok(State::Replayed));
        for state in [State::Replayed, State::Discarded] {
            assert_eq!(judge(Facts { state, ..facts() }), Err(Skip::Already));
        }
        assert_eq!(judge(Facts { state: State::Parked, ..facts() }), Err(Skip::Parked));
        assert_eq!(judge(Facts { expires_at_ms: Some(NOW), ..facts() }), Err(Skip::Expired));
        assert_eq!(judge(Facts { cause: Some(Cause::Expired), ..facts() }), Err(Skip::Expired));
        assert_eq!(judge(Facts { expires_at_ms: Some(NOW + 1), ..facts() }), Ok(State::Replayed));
        assert_eq!(judge(Facts { replay_count: 5, ..facts() }), Err(Skip::MaxReplays));
        assert_eq!(judge(Facts { has_original: false, ..facts() }), Err(Skip::Undecodable));
        assert_eq!(judge(Facts { cause: None, ..facts() }), Err(Skip::Undecodable));
        assert_eq!(judge(Facts { cause: Some(Cause::Malformed), ..facts() }), Err(Skip::Permanent));
    }

    #[test]
    fn what_is_included_by_name_is_replayed_too_and_what_never_may_be_is_not() {
        let all = Rules { include_permanent: true, include_parked: true, ..rules(Action::Replay) };
        let bad = Facts { state: State::Parked, cause: Some(Cause::BadDomain), ..facts() };
        assert_eq!(all.judge(&bad, NOW), Ok(State::Replayed));
        assert_eq!(all.judge(&Facts { state: State::Replayed, ..bad }, NOW), Err(Skip::Already));
        assert_eq!(all.judge(&Facts { expires_at_ms: Some(0), ..bad }, NOW), Err(Skip::Expired));
    }

    #[test]
    fn discard_and_restore_ask_for_the_state_alone() {
        let expired = Facts { expires_at_ms: Some(0), cause: None, has_original: false, ..facts() };
        for (state, discard, restore) in [
            (State::Waiting, Ok(State::Discarded), Err(Skip::Already)),
            (State::Parked, Ok(State::Discarded), Ok(State::Waiting)),
            (State::Discarded, Err(Skip::Already), Ok(State::Waiting)),
            (State::Replayed, Err(Skip::Already), Err(Skip::Already)),
        ] {
            let facts = Facts { state, ..expired };
            assert_eq!(rules(Action::Discard).judge(&facts, NOW), discard);
            assert_eq!(rules(Action::Restore).judge(&facts, NOW), restore);
        }
    }
}
