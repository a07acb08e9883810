//! What topics do not take, for it is larger than they allow: not to be sent again as it is.

use std::collections::{BTreeMap, BTreeSet};
use std::time::{Duration, Instant};

use super::owner::{Act, Batch};

/// By then a topic may take more than it did.
const FORGOTTEN_AFTER: Duration = Duration::from_secs(600);

/// One record. Of another one for the same letter, or for another letter of that name, it says nothing.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Refusal {
    Job {
        letter: i64,
        letter_timestamp_ms: i64,
        bytes: usize,
    },
    Decision {
        letter: i64,
        letter_timestamp_ms: i64,
    },
    /// The e-mail about parked letters.
    Notice,
}

impl Refusal {
    pub fn of_decision(act: &Act) -> Refusal {
        let letter_timestamp_ms = act.decision.letter_timestamp_ms;
        Refusal::Decision { letter: act.letter.offset, letter_timestamp_ms }
    }

    pub fn of_job(act: &Act) -> Option<Refusal> {
        let bytes = act.job.as_ref()?.size();
        let letter_timestamp_ms = act.decision.letter_timestamp_ms;
        Some(Refusal::Job { letter: act.letter.offset, letter_timestamp_ms, bytes })
    }

    /// The job of the act at that place of the batch; behind the acts is the notice's.
    pub fn of_job_at(place: usize, batch: &Batch) -> Option<Refusal> {
        match batch.acts.get(place) {
            Some(act) => Refusal::of_job(act),
            None => batch.notice.as_ref().filter(|_| place == batch.acts.len()).map(|_| Refusal::Notice),
        }
    }
}

/// What a partition's records met with lately.
#[derive(Clone, Debug, Default)]
pub struct Refusals(BTreeMap<Refusal, Instant>);

impl Refusals {
    /// Whether there was a new one among them.
    pub fn hear(&mut self, refused: Vec<Refusal>, now: Instant) -> bool {
        let known = self.0.len();
        self.0.extend(refused.into_iter().map(|refusal| (refusal, now)));
        self.0.len() > known
    }

    /// Those that still count.
    pub fn standing(&mut self, now: Instant) -> BTreeSet<Refusal> {
        self.0.retain(|_, heard| now.duration_since(*heard) < FORGOTTEN_AFTER);
        self.0.keys().copied().collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_refusal_is_heard_once_and_forgotten_after_a_while() {
        let now = Instant::now();
        let mut refusals = Refusals::default();
        assert!(!refusals.hear(vec![], now));
        assert!(refusals.hear(vec![Refusal::Notice], now));
        assert!(!refusals.hear(vec![Refusal::Notice], now));
        assert_eq!(refusals.standing(now), [Refusal::Notice].into());
        assert!(refusals.standing(now + FORGOTTEN_AFTER).is_empty());
        assert!(refusals.hear(vec![Refusal::Notice], now));
    }
}
