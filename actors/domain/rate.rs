//! How many e-mails a second: evenly spaced slots, no burst.

use std::time::Duration;

/// `smtp.max_rate`, as a generic cell rate algorithm that tolerates no burst. Times are given as the time
/// since any fixed moment.
#[derive(Clone, Debug)]
pub struct Rate {
    /// Between two slots; rounded up to whole nanoseconds, so that the rate is never exceeded.
    interval: Duration,
    /// The first slot that nobody has.
    next: Duration,
}

impl Rate {
    /// `per_second` e-mails a second, over 0.
    pub fn new(per_second: f64) -> Rate {
        // What is too slow for 64 bits of nanoseconds is once in 584 years.
        let interval = Duration::from_nanos((1e9 / per_second).ceil() as u64);
        Rate { interval, next: Duration::ZERO }
    }

    /// Reserves the next slot: how long to wait from `now`. A slot that is not made use of is lost, and what
    /// was not sent while idle is not made up for.
    pub fn reserve(&mut self, now: Duration) -> Duration {
        let slot = self.next.max(now);
        self.next = slot.saturating_add(self.interval);
        slot - now
    }

    /// As [`Rate::reserve`], where the next slot lies before `end`; none, and nothing is reserved, where it does not.
    pub fn reserve_before(&mut self, now: Duration, end: Duration) -> Option<Duration> {
        (self.next.max(now) < end).then(|| self.reserve(now))
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn the_first_goes_at_once_and_the_others_one_interval_apart() {
        let mut rate = Rate::new(4.0);
        let now = Duration::from_secs(100);
        let waits: Vec<u128> = (0..4).map(|_| rate.reserve(now).as_millis()).collect();
        assert_eq!(waits, [0, 250, 500, 750]);
    }

    #[test]
    fn an_idle_hour_is_no_credit() {
        let mut rate = Rate::new(0.5);
        assert_eq!(rate.reserve(Duration::ZERO), Duration::ZERO);
        let now = Duration::from_secs(3600);
        let waits: Vec<u64> = (0..3).map(|_| rate.reserve(now).as_secs()).collect();
        assert_eq!(waits, [0, 2, 4]);
    }

    #[test]
    fn a_caller_that_is_late_for_its_slot_delays_nobody_behind_it() {
        let mut rate = Rate::new(10.0);
        rate.reserve(Duration::ZERO);
        assert_eq!(rate.reserve(Duration::ZERO), Duration::from_millis(100));
        // It went at 130 ms; the next slot is at 200 ms all the same.
        assert_eq!(rate.reserve(Duration::from_millis(130)), Duration::from_millis(70));
    }

    #[test]
    fn a_slot_that_comes_too_late_is_left_to_whoever_comes_next() {
        let mut rate = Rate::new(1.0);
        let second = Duration::from_secs(1);
        assert_eq!(rate.reserve_before(Duration::ZERO, Duration::ZERO), None);
        assert_eq!(rate.reserve_before(Duration::ZERO, second), Some(Duration::ZERO));
        assert_eq!(rate.reserve_before(Duration::ZERO, second), None, "nothing begins at the end itself");
        assert_eq!(rate.reserve_before(Duration::ZERO, second * 2), Some(second));
        assert_eq!(rate.reserve_before(second * 9, second * 9), None);
        assert_eq!(rate.reserve(second), second);
    }

    #[test]
    fn rates_of_no_sense_neither_panic_nor_send() {
        for per_second in [f64::MIN_POSITIVE, 1e-300] {
            let mut rate = Rate::new(per_second);
            rate.reserve(Duration::ZERO);
            assert!(rate.reserve(Duration::ZERO) > Duration::from_secs(1 << 32));
            assert!(rate.reserve(Duration::MAX) <= Duration::MAX);
        }
    }

    proptest! {
        #[test]
        fn in_any_window_there_are_no_more_slots_than_the_rate_allows_and_no_slot_is_later_than_need_be(
            per_second in 0.01f64..5_000.0, gaps_us in proptest::collection::vec(0u64..2_000_000, 1..120),
        ) {
            let mut rate = Rate::new(per_second);
            let mut now = Duration::ZERO;
            let mut slots: Vec<Duration> = Vec::new();
            for gap in gaps_us {
                now += Duration::from_micros(gap / (1 + gap % 1_000));
                let slot = now + rate.reserve(now);
                let earliest = slots.last().map_or(now, |last| now.max(*last + rate.interval));
                prop_assert_eq!(slot, earliest);
                slots.push(slot);
            }
            for (i, first) in slots.iter().enumerate() {
                for (j, last) in slots.iter().enumerate().skip(i) {
                    let window = (*last - *first).as_secs_f64();
                    // A billionth is what the floating point number of the window may be off.
                    prop_assert!((j - i) as f64 <= window * per_second * (1.0 + 1e-9));
                }
            }
        }

        #[test]
        fn the_nth_of_a_backlog_goes_at_n_over_the_rate(per_second in 0.01f64..5_000.0, n in 1u32..20_000) {
            let mut rate = Rate::new(per_second);
            let mut slot = Duration::ZERO;
            for _ in 0..=n {
                slot = rate.reserve(Duration::ZERO);
            }
            let exact = f64::from(n) / per_second;
            // Each interval is rounded up by less than a nanosecond.
            let late = slot.as_secs_f64() - exact;
            prop_assert!((-1e-9 * exact..=1e-9 * (f64::from(n) + exact)).contains(&late), "{late}");
        }
    }
}
