//! What was decided of a letter, and what before.

use std::str::FromStr;

/// How many steps before the latest a decision carries along.
pub const MAX_HISTORY: usize = 10;

/// What has become of a letter.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum State {
    /// Nothing was decided yet, or it was restored.
    #[default]
    Waiting,
    /// Its job is on the queue again.
    Replayed,
    Discarded,
    /// It needs a human.
    Parked,
}

impl State {
    pub const ALL: [State; 4] = [State::Waiting, State::Replayed, State::Discarded, State::Parked];

    /// The name that decisions, metrics and answers use.
    pub fn as_str(self) -> &'static str {
        match self {
            State::Waiting => "waiting",
            State::Replayed => "replayed",
            State::Discarded => "discarded",
            State::Parked => "parked",
        }
    }
}

impl FromStr for State {
    type Err = ();

    fn from_str(text: &str) -> Result<State, ()> {
        State::ALL.into_iter().find(|state| state.as_str() == text).ok_or(())
    }
}

/// One decision of a letter's history.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Step {
    pub state: State,
    /// The run that it was a part of; none for the redriver's.
    pub run: Option<String>,
    /// Who: `http`, a login, or `redriver`.
    pub by: String,
    /// Why, in that person's words.
    pub reason: String,
    /// Milliseconds since the epoch.
    pub at_ms: i64,
    /// How often the letter had been decided on, this time included: from 1.
    pub round: u32,
}

/// The latest decision of a letter, with what was decided before it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Decision {
    /// The letter's own time stamp: a decision for a letter of the same name on a topic that was made anew is none.
    pub letter_timestamp_ms: i64,
    pub latest: Step,
    /// The oldest first, at most [`MAX_HISTORY`].
    pub history: Vec<Step>,
}

impl Decision {
    /// `step` (its `round` is set here) behind what was decided before of the same letter.
    pub fn after(before: Option<Decision>, letter_timestamp_ms: i64, mut step: Step) -> Decision {
        let before = before.filter(|before| before.letter_timestamp_ms == letter_timestamp_ms);
        let Some(before) = before else {
            step.round = 1;
            return Decision { letter_timestamp_ms, latest: step, history: Vec::new() };
        };
        step.round = before.latest.round.saturating_add(1);
        let mut history = before.history;
        history.push(before.latest);
        let surplus = history.len().saturating_sub(MAX_HISTORY);
        history.drain(..surplus);
        Decision { letter_timestamp_ms, latest: step, history }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn step(at_ms: i64) -> Step {
        let (by, reason) = ("ada".to_owned(), "why".to_owned());
        Step { state: State::Parked, run: None, by, reason, at_ms, round: 0 }
    }

    #[test]
    fn a_decision_carries_the_ten_before_it() {
        let mut decision = None;
        for at in 0..15 {
            decision = Some(Decision::after(decision, 7, step(at)));
        }
        let decision = decision.expect("fifteen were made");
        assert_eq!((decision.latest.at_ms, decision.latest.round), (14, 15));
        let before: Vec<i64> = decision.history.iter().map(|step| step.at_ms).collect();
        assert_eq!(before, (4..14).collect::<Vec<_>>());
    }

    #[test]
    fn what_was_decided_of_another_letter_of_the_same_name_is_forgotten() {
        let other = Decision::after(None, 6, step(1));
        let decision = Decision::after(Some(other), 7, step(2));
        assert_eq!((decision.latest.round, decision.history.len()), (1, 0));
    }
}
