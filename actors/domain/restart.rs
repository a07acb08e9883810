//! How often an actor may die before the process gives up, and how long it stays down each time.

use std::collections::VecDeque;
use std::time::Duration;

/// Restarts of one actor: at most [`RestartBudget::LIMIT`] in [`RestartBudget::WINDOW`]. Times are given as
/// the time since any fixed moment.
#[derive(Clone, Debug, Default)]
pub struct RestartBudget {
    deaths: VecDeque<Duration>,
}

/// What follows the death of an actor.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Restart {
    After(Duration),
    /// The budget is spent: the process must end, never idle on.
    Spent,
}

impl RestartBudget {
    /// Restarts that are allowed in one window.
    pub const LIMIT: usize = 10;
    /// Deaths older than this are forgotten.
    pub const WINDOW: Duration = Duration::from_secs(60);
    /// The wait before the second restart in a row; the first is immediate, each later one doubles.
    const BASE: Duration = Duration::from_millis(50);
    const MAX: Duration = Duration::from_secs(2);

    /// Counts a death at `now` and says what follows.
    pub fn died(&mut self, now: Duration) -> Restart {
        while self.deaths.front().is_some_and(|death| now.saturating_sub(*death) >= Self::WINDOW) {
            self.deaths.pop_front();
        }
        let recent = self.deaths.len();
        if recent >= Self::LIMIT {
            return Restart::Spent;
        }
        self.deaths.push_back(now);
        let Some(doublings) = recent.checked_sub(1) else { return Restart::After(Duration::ZERO) };
        let wait = Self::BASE.saturating_mul(1 << doublings.min(16));
        Restart::After(wait.min(Self::MAX))
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn the_first_restart_is_immediate_and_later_ones_wait_longer_up_to_two_seconds() {
        let mut budget = RestartBudget::default();
        let waits: Vec<Restart> = (0..10).map(|_| budget.died(Duration::ZERO)).collect();
        let expected = [0, 50, 100, 200, 400, 800, 1600, 2000, 2000, 2000]
            .map(|ms| Restart::After(Duration::from_millis(ms)));
        assert_eq!(waits, expected);
        assert_eq!(budget.died(Duration::ZERO), Restart::Spent);
    }

    #[test]
    fn old_deaths_are_forgotten() {
        let mut budget = RestartBudget::default();
        for _ in 0..10 {
            budget.died(Duration::ZERO);
        }
        assert_eq!(budget.died(Duration::from_secs(59)), Restart::Spent);
        assert_eq!(budget.died(Duration::from_secs(60)), Restart::After(Duration::ZERO));
    }

    proptest! {
        #[test]
        fn never_more_restarts_than_the_limit_in_any_window(gaps in proptest::collection::vec(0u64..20_000, 1..200)) {
            let mut budget = RestartBudget::default();
            let mut now = Duration::ZERO;
            let mut restarts: Vec<Duration> = Vec::new();
            for gap in gaps {
                now += Duration::from_millis(gap);
                if budget.died(now) != Restart::Spent {
                    restarts.push(now);
                }
                let in_window = restarts.iter().filter(|at| now - **at < RestartBudget::WINDOW).count();
                prop_assert!(in_window <= RestartBudget::LIMIT);
            }
        }
    }
}
