use proptest::prelude::*;

use super::*;
use crate::domain::letters::rules::Action;

fn asked(sizes: &[u64], rate: f64, canary: u64) -> Arc<Run> {
    let letters = sizes.iter().enumerate().filter(|(_, size)| **size > 0);
    let letters =
        letters.map(|(partition, size)| (partition as i32, (0..*size as i64).map(|at| at * 3).collect()));
    Arc::new(Run { rate, canary, newest_ms: 0, ..a_replay("r", letters) })
}

/// Of these letters, by partition; four a second.
pub fn a_replay(id: &str, letters: impl IntoIterator<Item = (i32, OffsetSet)>) -> Run {
    Run {
        id: id.into(),
        rules: Rules::of(Action::Replay, 5),
        by: "ada".into(),
        reason: "why".into(),
        at_ms: 0,
        rate: 4.0,
        canary: 0,
        letters: letters.into_iter().collect(),
        newest_ms: i64::MAX,
        value: None,
    }
}

/// Deals with the next letters of a partition as an owner does.
fn work(tracked: &mut Tracked, partition: i32, limit: usize) -> Vec<i64> {
    let letters = tracked.next(partition, limit);
    if let Some(last) = letters.last() {
        let progress = tracked.progress.entry(partition).or_default();
        progress.next = last + 1;
        progress.acted += letters.len() as u64;
    }
    letters
}

proptest! {
    #[test]
    fn each_letter_is_acted_on_once_whoever_goes_first(
        sizes in prop::collection::vec(0u64..40, 1..5), canary in 0u64..50,
        turns in prop::collection::vec((0i32..5, 1usize..10), 0..200),
    ) {
        let mut tracked = Tracked::new(asked(&sizes, 10.0, canary));
        let mut seen = Vec::new();
        let last = (0..5).map(|partition| (partition, usize::MAX)).collect::<Vec<_>>();
        for (partition, limit) in turns.into_iter().chain(last.clone()).chain(last) {
            let letters = work(&mut tracked, partition, limit);
            seen.extend(letters.into_iter().map(|offset| (partition, offset)));
            if tracked.canary.is_none() && canary > 0 && canary < tracked.total() {
                prop_assert!(seen.len() as u64 <= canary, "no more than the canary before its verdict");
            }
            if tracked.asks_for_its_canary() {
                prop_assert_eq!(seen.len() as u64, canary);
                tracked.canary = Some(Canary { replayed: canary, failed_again: canary / 2 });
            }
        }
        let count = seen.len() as u64;
        seen.sort_unstable();
        seen.dedup();
        prop_assert_eq!(seen.len() as u64, count);
        prop_assert_eq!(count, tracked.total());
        prop_assert_eq!((tracked.left(), tracked.standing()), (0, Standing::Done));
    }

    #[test]
    fn the_owners_shares_are_the_rate(sizes in prop::collection::vec(1u64..1000, 1..9), rate in 0.1f64..500.0) {
        let tracked = Tracked::new(asked(&sizes, rate, 0));
        let sum: f64 = (0..sizes.len() as i32).map(|partition| tracked.share(partition)).sum();
        prop_assert!((sum - rate).abs() < 1e-6);
    }
}

#[test]
fn a_run_whose_canary_failed_stops_and_its_other_letters_stay_untouched() {
    let mut tracked = Tracked::new(asked(&[5, 5], 10.0, 7));
    assert_eq!(work(&mut tracked, 1, 100), vec![0, 3]);
    assert!(!tracked.asks_for_its_canary());
    assert_eq!(work(&mut tracked, 0, 100).len(), 5);
    assert!(tracked.asks_for_its_canary());
    assert_eq!(tracked.canary_letters().values().map(OffsetSet::len).sum::<u64>(), 7);
    assert_eq!(tracked.next(1, 100), Vec::<i64>::new());
    tracked.canary = Some(Canary { replayed: 7, failed_again: 4 });
    assert_eq!((tracked.standing(), tracked.left()), (Standing::Stopped, 3));
    assert_eq!(tracked.next(1, 100), Vec::<i64>::new());
}

#[test]
fn a_cancelled_run_goes_no_further_and_one_that_is_through_is_done() {
    let mut tracked = Tracked::new(asked(&[3], 10.0, 0));
    work(&mut tracked, 0, 1);
    tracked.cancelled = Some(Cancelled { by: "ada".into(), at_ms: 1 });
    assert_eq!((tracked.standing(), tracked.next(0, 9)), (Standing::Cancelled, vec![]));
    tracked.cancelled = None;
    work(&mut tracked, 0, 9);
    tracked.cancelled = Some(Cancelled { by: "ada".into(), at_ms: 2 });
    assert_eq!(tracked.standing(), Standing::Done);
}

#[test]
fn a_run_over_nothing_is_done() {
    assert_eq!(Tracked::new(asked(&[], 10.0, 3)).standing(), Standing::Done);
}
