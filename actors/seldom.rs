//! What is said at most once in a while, however often there is reason to.

use std::time::Duration;

use tokio::time::Instant;

/// Of many occasions, one every so often.
#[derive(Debug)]
pub struct Seldom {
    every: Duration,
    said_at: Option<Instant>,
    /// Occasions since then.
    unsaid: u64,
}

impl Seldom {
    pub fn new(every: Duration) -> Seldom {
        Seldom { every, said_at: None, unsaid: 0 }
    }

    /// Counts one more occasion, at `now`. Some when it may be said: how many since the last one were not.
    pub fn may_say(&mut self, now: Instant) -> Option<u64> {
        if self.said_at.is_some_and(|at| now.duration_since(at) < self.every) {
            self.unsaid += 1;
            return None;
        }
        self.said_at = Some(now);
        Some(std::mem::take(&mut self.unsaid))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn of_many_occasions_one_a_second_is_said_with_the_number_of_the_others() {
        let mut refusals = Seldom::new(Duration::from_secs(1));
        let now = Instant::now();
        assert_eq!(refusals.may_say(now), Some(0));
        let soon = now + Duration::from_millis(999);
        assert!((0..10_000).all(|_| refusals.may_say(soon).is_none()));
        assert_eq!(refusals.may_say(now + Duration::from_secs(1)), Some(10_000));
        assert_eq!(refusals.may_say(now + Duration::from_secs(2)), Some(0));
    }
}
