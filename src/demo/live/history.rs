//! How many e-mails went out in each second of the last minute.

use std::collections::VecDeque;
use std::time::Duration;

/// So many whole seconds are kept.
pub const SECONDS: usize = 60;
/// The rate of now is the mean over so many whole seconds.
const NOW: usize = 3;

/// Made of looks at a counter that only rises.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct History {
    /// Whole seconds, the newest first.
    seconds: VecDeque<u64>,
    /// The second that is not over yet, and what the counter said at its beginning.
    second: u64,
    at_its_beginning: u64,
    /// What the counter said last.
    sent: u64,
}

impl History {
    /// The counter says `sent`, so long after the start.
    pub fn look(&mut self, since_start: Duration, sent: u64) {
        let second = since_start.as_secs();
        if second > self.second {
            // What was sent since the last look belongs to the second that began it, closely enough.
            self.seconds.push_front(sent.saturating_sub(self.at_its_beginning));
            let unseen = usize::try_from(second - self.second - 1).unwrap_or(SECONDS).min(SECONDS);
            (0..unseen).for_each(|_| self.seconds.push_front(0));
            self.seconds.truncate(SECONDS);
            self.second = second;
            self.at_its_beginning = sent;
        }
        self.sent = sent;
    }

    /// E-mails in each whole second, the newest first; at most [`SECONDS`].
    pub fn seconds(&self) -> impl Iterator<Item = u64> + '_ {
        self.seconds.iter().copied()
    }

    /// The most in one second.
    pub fn most(&self) -> u64 {
        self.seconds().max().unwrap_or(0)
    }

    /// E-mails a second just now.
    pub fn rate(&self) -> f64 {
        let seconds = self.seconds.len().min(NOW);
        if seconds == 0 { 0.0 } else { self.seconds().take(NOW).sum::<u64>() as f64 / seconds as f64 }
    }

    /// Whether it is too early to say anything.
    pub fn is_young(&self) -> bool {
        self.seconds.len() < NOW
    }

    /// Whether anything went out in the last seconds, the present one included.
    pub fn goes_out(&self) -> bool {
        self.sent > self.at_its_beginning || self.seconds().take(NOW).any(|sent| sent > 0)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn each_second_has_what_was_sent_in_it() {
        let mut history = History::default();
        for quarter in 0..=16u64 {
            history.look(Duration::from_millis(quarter * 250), quarter * 5);
        }
        assert_eq!(history.seconds().collect::<Vec<_>>(), [20, 20, 20, 20]);
        assert!((history.rate() - 20.0).abs() < f64::EPSILON && history.goes_out());
        history.look(Duration::from_secs(8), 80);
        assert_eq!(history.seconds().take(5).collect::<Vec<_>>(), [0, 0, 0, 0, 20]);
        assert!(!history.goes_out());
        history.look(Duration::from_millis(8_100), 81);
        assert!(history.goes_out());
    }

    proptest! {
        #[test]
        fn never_more_than_a_minute_and_all_that_was_sent_in_it(
            looks in proptest::collection::vec((0u64..3_000, 0u64..50), 1..200)
        ) {
            let mut history = History::default();
            let (mut at, mut sent) = (0, 0);
            for (ms, more) in looks {
                at += ms;
                sent += more;
                history.look(Duration::from_millis(at), sent);
                prop_assert!(history.seconds().count() <= SECONDS);
                if at < 60_000 {
                    prop_assert_eq!(history.seconds().sum::<u64>(), history.at_its_beginning);
                }
            }
        }
    }
}
