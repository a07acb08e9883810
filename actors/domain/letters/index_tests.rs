use std::collections::BTreeSet;
use std::time::Duration;

use proptest::prelude::*;

use super::*;
use crate::domain::failure::Stage;
use crate::domain::letters::filter::Filter;
use crate::domain::letters::group::{Advice, By};
use crate::domain::letters::redrive::{Due, Plan, Redrive};
use crate::domain::letters::row::Source;
use crate::domain::letters::rules::{Action, Rules, Skip};
use crate::domain::letters::search::Cursor;

const CAUSES_USED: [Cause; 4] =
    [Cause::Quota, Cause::InvalidRecipient, Cause::Render, Cause::SmtpUnreachable];

fn name(partition: i32, offset: i64) -> LetterName {
    LetterName { partition, offset }
}

fn summary(number: usize) -> Summary<'static> {
    let cause = CAUSES_USED[number % 4];
    Summary {
        timestamp_ms: number as i64,
        failed_at_ms: None,
        cause: Some(cause),
        stage: Some(Stage::Rcpt),
        code: [Some(452), Some(550), None, None][number % 4],
        reason: format!("reason {}", cause.as_str()),
        template: ["", "welcome"][number % 2],
        tags: vec![("team", ["red", "blue", "green"][number % 3])],
        recipients: vec![["ada@example.com", "Bob@Other.Example"][number % 2]],
        idempotency_key: ["one", "two", "three", "four", "five"][number % 5],
        replay_count: 0,
        expires_at_ms: None,
        has_original: true,
        source: Some(Source { topic: "email-queue", partition: 0, offset: number as i64, timestamp_ms: 1 }),
    }
}

/// `count` letters over three partitions, the newest last.
fn index(count: usize) -> Index {
    let mut index = Index::new(1_000);
    for number in 0..count {
        index.add(name((number % 3) as i32, number as i64), &summary(number), None);
    }
    index
}

fn rules(action: Action) -> Rules {
    Rules::of(action, 5)
}

fn all_pages(index: &Index, filter: &Filter, limit: usize) -> Vec<LetterName> {
    let (mut names, mut after) = (Vec::new(), None::<Cursor>);
    loop {
        let page = index.page(filter, after, limit);
        assert!(page.letters.len() <= limit);
        names.extend(page.letters.iter().map(|(name, _)| *name));
        let Some(next) = page.next else { return names };
        after = Some(next.to_string().parse().unwrap());
    }
}

proptest! {
    #[test]
    fn pages_show_each_letter_once_the_newest_first(count in 0usize..60, limit in 1usize..20) {
        let names = all_pages(&index(count), &Filter::default(), limit);
        let expected: Vec<_> = (0..count).rev().map(|number| name((number % 3) as i32, number as i64)).collect();
        prop_assert_eq!(names, expected);
    }

    #[test]
    fn counts_are_those_of_the_letters_whatever_happens_to_them(
        acts in prop::collection::vec((0usize..6, 0i64..80), 0..300),
    ) {
        let mut index = Index::new(50);
        let mut next = 0;
        let mut lows = [0; 3];
        for (act, at) in acts {
            match act {
                0 | 1 => {
                    let stamp = next as i64 ^ 3;
                    let letter = Summary { timestamp_ms: stamp, ..summary(next) };
                    index.add(name((next % 3) as i32, next as i64), &letter, None);
                    next += 1;
                }
                2 => index.decide(name((at % 3) as i32, at), at ^ 3, State::Replayed, 0),
                3 => index.decide(name((at % 3) as i32, at), at ^ 3, State::Parked, 0),
                4 => {
                    index.drop_below((at % 3) as i32, at);
                    lows[(at % 3) as usize] = lows[(at % 3) as usize].max(at);
                }
                _ => index.decide(name((at % 3) as i32, at), at + 1, State::Discarded, 0),
            }
            prop_assert!(index.len() <= 50);
            let stamps = || index.partitions.values().flat_map(|columns| columns.timestamps.iter().copied());
            prop_assert_eq!(index.searched_ms().map(|searched| searched.1), stamps().max());
            if let Some((from, _)) = index.searched_ms() {
                let searched = (0..next as i64).filter(|at| at ^ 3 >= from && *at >= lows[(*at % 3) as usize]);
                prop_assert!(searched.map(|at| name((at % 3) as i32, at)).all(|name| index.find(name).is_some()));
                prop_assert!(index.is_cut() || Some(from) == stamps().min());
            }
            let all = (0..next as i64).filter(|at| *at >= lows[(*at % 3) as usize]).count();
            prop_assert!(index.is_cut() || index.len() >= all);
            for state in State::ALL {
                let filter = Filter { state: Some(state), ..Filter::default() };
                prop_assert_eq!(index.count_all(state), all_pages(&index, &filter, 100).len() as u64);
                for cause in CAUSES_USED {
                    let filter = Filter { state: Some(state), cause: Some(cause), ..Filter::default() };
                    prop_assert_eq!(index.count(state, Some(cause)), all_pages(&index, &filter, 100).len() as u64);
                }
            }
            let grouped: u64 = index.groups(By::Domain, &Filter::default()).iter().map(|group| group.count).sum();
            prop_assert_eq!(grouped, index.len() as u64);
        }
    }
}

proptest! {
    #[test]
    fn a_letter_is_found_by_the_domain_of_each_of_its_recipients(
        letters in prop::collection::vec(prop::collection::vec(0usize..5, 0..4), 1..20), asked in 0usize..5,
    ) {
        // The last two are alike as far as texts are kept.
        let long = "x".repeat(250);
        let domains = ["one.example".into(), "TWO.example".into(), String::new(), format!("{long}.a"), format!("{long}.b")];
        let mut index = Index::new(50);
        for (number, chosen) in letters.iter().enumerate() {
            let addresses: Vec<String> = chosen.iter().map(|domain| format!("ada@{}", domains[*domain])).collect();
            let recipients = addresses.iter().map(String::as_str).collect();
            index.add(name(0, number as i64), &Summary { recipients, ..Summary::default() }, None);
        }
        let filter = Filter { domain: Some(domains[asked].clone()), ..Filter::default() };
        let found: Vec<i64> = all_pages(&index, &filter, 3).iter().map(|name| name.offset).rev().collect();
        let has = |chosen: &Vec<usize>| chosen.contains(&asked) || asked == 2 && chosen.is_empty();
        let expected: Vec<i64> =
            letters.iter().enumerate().filter(|(_, chosen)| has(chosen)).map(|(number, _)| number as i64).collect();
        prop_assert_eq!(found, expected);
    }
}

#[test]
fn a_decision_may_come_before_its_letter_and_counts_for_that_letter_only() {
    let mut index = index(6);
    index.decide(name(0, 6), 6, State::Discarded, 44);
    index.decide(name(1, 7), 1_234, State::Discarded, 0);
    index.add(name(0, 6), &summary(6), None);
    index.add(name(1, 7), &summary(7), None);
    let row = index.find(name(0, 6)).unwrap();
    assert_eq!((row.state, row.decided_at), (State::Discarded, Some(44)));
    let row = index.find(name(1, 7)).unwrap();
    assert_eq!((row.state, row.decided_at), (State::Waiting, None));
    index.decide(name(0, 3), 99, State::Parked, 0);
    assert_eq!(index.find(name(0, 3)).unwrap().state, State::Waiting);
}

#[test]
fn letters_are_found_by_what_they_are() {
    let index = index(60);
    let count = |filter: Filter| all_pages(&index, &filter, 100).len();
    let q = |q: &str| count(Filter { q: Some(q.into()), ..Filter::default() });
    assert_eq!(count(Filter { cause: Some(Cause::Quota), ..Filter::default() }), 15);
    assert_eq!(count(Filter { code: Some(550), ..Filter::default() }), 15);
    assert_eq!(count(Filter { domain: Some("OTHER.example".into()), ..Filter::default() }), 30);
    assert_eq!(count(Filter { domain: Some("nowhere.example".into()), ..Filter::default() }), 0);
    assert_eq!(count(Filter { template: Some("welcome".into()), ..Filter::default() }), 30);
    assert_eq!(count(Filter { template: Some("none".into()), ..Filter::default() }), 0);
    assert_eq!(count(Filter { tags: vec![("team".into(), "red".into())], ..Filter::default() }), 20);
    assert_eq!(count(Filter { tags: vec![("team".into(), "re".into())], ..Filter::default() }), 0);
    assert_eq!(count(Filter { since_ms: Some(10), until_ms: Some(20), ..Filter::default() }), 10);
    assert_eq!(count(Filter { letters: [name(0, 3), name(0, 4)].into(), ..Filter::default() }), 1);
    assert_eq!((q("QUOTA"), q("other.ex"), q("welc"), q("nothing like it")), (15, 30, 30, 0));
    assert_eq!((q("bob@other.EXAMPLE"), q("three"), q("THREE"), q("thre")), (30, 12, 0, 0));
}

#[test]
fn groups_say_how_many_since_when_and_what_to_do() {
    let mut index = index(40);
    index.decide(name(0, 0), 0, State::Replayed, 0);
    let groups = index.groups(By::Cause, &Filter::default());
    let keys: Vec<&str> = groups.iter().map(|group| group.key.as_str()).collect();
    assert_eq!(keys, ["invalid_recipient", "quota", "render", "smtp_unreachable"]);
    let advice: Vec<Advice> = groups.iter().map(|group| group.advice).collect();
    assert_eq!(advice, [Advice::No, Advice::Replay, Advice::AfterFix, Advice::Replay]);
    let quota = &groups[1];
    assert_eq!((quota.count, quota.states, quota.first_ms, quota.last_ms), (10, [9, 1, 0, 0], 0, 36));
    assert_eq!(quota.example, name(0, 36));
    let codes: Vec<String> =
        index.groups(By::Code, &Filter::default()).into_iter().map(|group| group.key).collect();
    assert_eq!(codes, ["", "452", "550"]);
    assert_eq!(index.groups(By::Stage, &Filter::default())[0].key, "rcpt");
    assert_eq!(index.groups(By::Reason, &Filter::default()).len(), 4);
}

#[test]
fn a_selection_says_what_would_be_done_and_freezes_the_oldest() {
    let mut index = index(40);
    index.decide(name(0, 3), 3, State::Replayed, 0);
    let selection = index.select(&Filter::default(), &rules(Action::Replay), None, 0);
    assert_eq!((selection.matched, selection.will()), (40, 29));
    assert_eq!(selection.skipped[Skip::Permanent as usize], 10);
    assert_eq!(selection.skipped[Skip::Already as usize], 1);
    assert_eq!(selection.causes[&Some("render")], 10);
    assert_eq!(selection.newest_ms, 39);
    assert_eq!(selection.samples[0], name(0, 39));
    let few = index.select(&Filter::default(), &rules(Action::Replay), Some(3), 0);
    assert_eq!((few.matched, few.will(), few.newest_ms), (40, 3, 4));
    assert!(few.letters[&0].contains(0) && few.letters[&2].contains(2) && few.letters[&1].contains(4));
}

#[test]
fn a_repeat_of_a_letter_is_shown_and_never_replayed() {
    let mut index = Index::new(10);
    index.add(name(0, 0), &summary(0), None);
    index.add(name(1, 0), &Summary { timestamp_ms: 1, ..summary(0) }, None);
    // The same job, failed again after a replay, is no repeat.
    index.add(name(1, 1), &Summary { replay_count: 1, ..summary(0) }, Some(name(0, 0)));
    let selection = index.select(&Filter::default(), &rules(Action::Replay), None, 0);
    assert_eq!((selection.will(), selection.skipped[Skip::Already as usize]), (2, 1));
    assert!(!selection.letters[&1].contains(0));
    assert_eq!(index.select(&Filter::default(), &rules(Action::Discard), None, 0).will(), 3);
}

#[test]
fn what_came_back_is_found_both_ways_and_counted_once() {
    let mut index = index(3);
    let back = |number: usize| Summary { replay_count: 1, ..summary(number) };
    index.add(name(0, 10), &back(10), Some(name(1, 1)));
    index.add(name(0, 11), &back(11), Some(name(1, 1)));
    index.add(name(0, 12), &back(12), Some(name(2, 2)));
    assert_eq!(index.replayed_from(name(0, 10)), Some(name(1, 1)));
    assert_eq!((index.came_back_as(name(1, 1)), index.came_back_as(name(0, 0))), (Some(name(0, 11)), None));
    let replayed: BTreeMap<i32, OffsetSet> =
        [(1, [1].into_iter().collect()), (2, [2].into_iter().collect())].into();
    assert_eq!(index.failed_again(&replayed, 0), 2);
    assert_eq!(index.failed_again(&replayed, 12), 1);
    index.drop_below(0, 13);
    assert_eq!((index.failed_again(&replayed, 0), index.replayed_from(name(0, 10))), (0, None));
}

#[test]
fn what_is_due_is_told_the_oldest_first_and_only_what_waits() {
    let mut index = index(12);
    let redrive =
        Redrive { waits: vec![Duration::from_millis(5)], causes: vec![Cause::Quota], max_replays: 5 };
    index.decide(name(0, 0), 0, State::Discarded, 0);
    assert_eq!(index.due(0, &redrive, 1_000, 10), []);
    assert_eq!(index.due(1, &redrive, 8, 10), []);
    assert_eq!(index.due(1, &redrive, 9, 10), [Due { offset: 4, timestamp_ms: 4, plan: Plan::ReplayAt(9) }]);
    index.add(name(1, 13), &Summary { replay_count: 1, ..summary(12) }, None);
    assert_eq!(index.due(1, &redrive, 9, 10).len(), 2);
    assert_eq!(index.due(1, &redrive, 9, 1).len(), 1);
    assert_eq!(index.oldest_waiting_ms(), Some(1));
}

#[test]
fn what_is_not_in_here_is_said_until_it_has_left_the_queue() {
    let mut index = Index::new(4);
    index.begins(0, 2, 2, 3);
    index.begins(1, 0, 5, 3);
    assert_eq!((index.is_cut(), index.searched_ms()), (true, None));
    for number in [3, 6] {
        index.add(name(0, number as i64), &summary(number), None);
    }
    // All that it has may be older than what was not read of the other one.
    assert_eq!(index.searched_ms(), Some((6, 6)));
    index.add(name(1, 5), &summary(5), None);
    assert_eq!(index.searched_ms(), Some((5, 6)));
    index.drop_below(1, 5);
    assert_eq!((index.is_cut(), index.searched_ms()), (false, Some((3, 6))));
    for number in [7, 8] {
        index.add(name(0, number as i64), &summary(number), None);
    }
    assert_eq!((index.is_cut(), index.len(), index.searched_ms()), (true, 4, Some((5, 8))));
    index.clear(0);
    assert!(!index.is_cut());
}

#[test]
fn a_queue_that_was_made_anew_begins_anew() {
    let mut index = index(9);
    index.clear(1);
    assert_eq!((index.len(), index.find(name(1, 4))), (6, None));
    index.add(name(1, 0), &summary(20), None);
    assert_eq!(index.find(name(1, 0)).unwrap().timestamp_ms, 20);
    assert_eq!(index.searched_ms(), Some((0, 20)));
}

#[test]
fn letters_that_come_in_again_are_what_they_were_and_no_repeats() {
    let mut index = index(9);
    index.decide(name(1, 4), 4, State::Replayed, 7);
    index.clear(1);
    index.begins(1, 0, 0, 3);
    for number in [1, 4, 7] {
        index.add(name(1, number as i64), &summary(number), None);
    }
    let row = index.find(name(1, 4)).unwrap();
    assert_eq!((row.state, row.decided_at, row.is_repeat), (State::Replayed, Some(7), false));
    assert_eq!(index.find(name(1, 7)).unwrap().state, State::Waiting);
    assert_eq!(index.read_to(1), Some(8));
    // The queue was made anew: another letter of that name, decided on before the former one is gone.
    index.decide(name(1, 7), 99, State::Discarded, 8);
    index.clear(1);
    index.add(name(1, 7), &Summary { timestamp_ms: 99, ..summary(30) }, None);
    assert_eq!(index.find(name(1, 7)).unwrap().state, State::Discarded);
}

#[test]
fn what_has_expired_is_due_to_nobody() {
    let mut index = Index::new(10);
    let redrive =
        Redrive { waits: vec![Duration::from_millis(5)], causes: vec![Cause::Quota], max_replays: 5 };
    index.add(name(0, 0), &Summary { expires_at_ms: Some(7), ..summary(0) }, None);
    assert_eq!(index.due(0, &redrive, 6, 10).len(), 1);
    assert_eq!(index.due(0, &redrive, 7, 10), []);
}

#[test]
fn letters_that_can_t_be_read_or_have_no_code_are_found_as_that() {
    let mut index = index(8);
    index.add(name(0, 100), &Summary { timestamp_ms: 100, ..Summary::default() }, None);
    let names = |filter: Filter| all_pages(&index, &filter, 100);
    assert_eq!(names(Filter { is_unreadable: true, ..Filter::default() }), [name(0, 100)]);
    let without_code = names(Filter { code: Some(0), ..Filter::default() });
    assert_eq!(without_code, [name(0, 100), name(1, 7), name(0, 6), name(0, 3), name(2, 2)]);
    let without_template = names(Filter { template: Some(String::new()), ..Filter::default() });
    assert_eq!(
        without_template,
        [100, 6, 4, 2, 0].map(|at| name(if at == 100 { 0 } else { (at % 3) as i32 }, at))
    );
}

#[test]
fn a_wait_counts_from_the_failure_whenever_the_letter_was_written() {
    let mut index = Index::new(10);
    let redrive = Redrive { waits: vec![Duration::from_secs(5)], causes: vec![Cause::Quota], max_replays: 5 };
    let failed_at = [None, Some(20_000), Some(1_000), Some(18_500), None, Some(i64::MIN), Some(30_000)];
    let letter = |failed_at_ms| Summary { timestamp_ms: 20_000, failed_at_ms, source: None, ..summary(0) };
    for (offset, failed_at_ms) in failed_at.into_iter().enumerate() {
        index.add(name(0, offset as i64), &letter(failed_at_ms), None);
    }
    let due = |index: &Index, now: i64| -> Vec<i64> {
        let due = index.due(0, &redrive, now, 10);
        assert!(due.iter().all(|due| due.timestamp_ms == 20_000), "by that it is known");
        due.iter().map(|due| due.offset).collect()
    };
    // Known to the second: never too early.
    for (now, expected) in [
        (5_999, &[5][..]),
        (6_000, &[2, 5]),
        (23_500, &[2, 5]),
        (24_500, &[2, 3, 5]),
        (25_000, &[0, 1, 2, 3, 4, 5]),
        (35_000, &[0, 1, 2, 3, 4, 5, 6]),
    ] {
        assert_eq!(due(&index, now), expected, "{now}");
    }
    index.drop_below(0, 2);
    assert_eq!((due(&index, 6_000), due(&index, 25_000)), (vec![2, 5], vec![2, 3, 4, 5]));
    index.drop_below(0, 7);
    index.add(name(0, 7), &letter(None), None);
    assert_eq!((due(&index, 24_999), due(&index, 25_000)), (vec![], vec![7]));
}

#[test]
fn what_was_put_back_to_waiting_is_not_to_be_parked() {
    let mut index = Index::new(10);
    let redrive =
        Redrive { waits: vec![Duration::from_millis(5)], causes: vec![Cause::Quota], max_replays: 5 };
    index.add(name(0, 0), &Summary { replay_count: 1, ..summary(0) }, None);
    assert_eq!(index.due(0, &redrive, 9, 10), [Due { offset: 0, timestamp_ms: 0, plan: Plan::Park }]);
    index.decide(name(0, 0), 0, State::Waiting, 3);
    assert_eq!(index.due(0, &redrive, 9, 10), []);
}

proptest! {
    #[test]
    fn of_a_run_s_letters_those_are_counted_that_came_back_since_and_each_once(
        returns in prop::collection::vec((0i32..3, 0i64..30), 0..80), gone in 0i64..80,
        meant in prop::collection::btree_set((0i32..3, 0i64..30), 0..60), since_ms in 0i64..80,
    ) {
        let mut index = Index::new(1_000);
        for (number, (partition, offset)) in returns.iter().enumerate() {
            let back = Summary { replay_count: 1, ..summary(number) };
            index.add(name(7, number as i64), &back, Some(name(*partition, *offset)));
        }
        index.drop_below(7, gone);
        let mut letters: BTreeMap<i32, OffsetSet> = BTreeMap::new();
        for (partition, offset) in &meant {
            letters.entry(*partition).or_default().push(*offset);
        }
        let since = usize::try_from(gone.max(since_ms)).unwrap().min(returns.len());
        let plain: BTreeSet<_> = returns[since..].iter().filter(|from| meant.contains(from)).collect();
        prop_assert_eq!(index.failed_again(&letters, since_ms), plain.len() as u64);
    }
}
