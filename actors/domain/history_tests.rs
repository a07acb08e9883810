//! What follows an attempt, with one recipient and with several.

use proptest::prelude::*;

use super::*;
use crate::domain::failure::{Cause, Reply, Stage};

fn refused(code: u16) -> Outcome {
    Outcome::Failed(Failure::replied(Stage::Rcpt, &Reply { code, enhanced: None, text: String::new() }))
}

fn timing() -> Timing {
    Timing { at: chrono::DateTime::UNIX_EPOCH, took_ms: 7 }
}

fn answered(history: &mut History, recipients: usize, outcomes: Vec<(usize, Outcome)>) -> Decision {
    let end = AttemptEnd::Answered { recipients, outcomes };
    history.conclude(end, timing(), &RetryPolicy::default(), 3, 0.0, false)
}

fn failed(history: &mut History, failure: Failure, policy: &RetryPolicy) -> Decision {
    history.conclude(AttemptEnd::Failed(failure), timing(), policy, 3, 0.0, false)
}

#[test]
fn only_who_was_put_off_is_asked_again() {
    let mut history = History::default();
    let outcomes = vec![(0, Outcome::Accepted), (1, refused(451)), (2, refused(550))];
    assert!(matches!(answered(&mut history, 3, outcomes), Decision::RetryAfter(_)));
    assert_eq!(history.to_ask(3), [1]);
    assert_eq!(history.attempts_spent, 1);
}

#[test]
fn the_letter_names_a_failure_of_somebody_who_does_not_have_the_e_mail() {
    let mut history = History::default();
    answered(&mut history, 2, vec![(0, refused(550)), (1, refused(451))]);
    let Decision::DeadLetter(failure) = answered(&mut history, 2, vec![(1, Outcome::Accepted)]) else {
        panic!("recipient 0 was refused");
    };
    assert_eq!(failure.code, Some(550));
    assert_eq!(history.attempts_spent, 2);
}

#[test]
fn an_attempt_that_was_cut_off_spends_nothing() {
    let mut history = History::default();
    assert_eq!(answered(&mut history, 1, vec![(0, Outcome::TakenBack)]), Decision::LetGo);
    let end = history.conclude(AttemptEnd::TakenBack, timing(), &RetryPolicy::default(), 3, 0.0, false);
    assert_eq!((end, history.attempts_spent), (Decision::LetGo, 0));
}

#[test]
fn what_is_no_e_mail_spends_no_attempt_and_lists_none() {
    let mut history = History::default();
    let malformed = Failure::before_attempt(Stage::Decode, Cause::Malformed, "not JSON");
    let decision = failed(&mut history, malformed.clone(), &RetryPolicy::default());
    assert_eq!(decision, Decision::DeadLetter(malformed));
    assert_eq!((history.attempts_spent, history.attempts.len()), (0, 0));
}

#[test]
fn a_panic_is_an_attempt_and_the_third_is_the_last_however_many_are_allowed() {
    let mut history = History::default();
    let patient = RetryPolicy { max_attempts: 100, ..RetryPolicy::default() };
    for _ in 0..2 {
        assert!(matches!(failed(&mut history, Failure::crashed("x"), &patient), Decision::RetryAfter(_)));
    }
    let Decision::DeadLetter(failure) = failed(&mut history, Failure::crashed("x"), &patient) else {
        panic!("limits.crashes is 3");
    };
    assert_eq!((failure.cause, history.attempts_spent), (Cause::Crash, 3));
}

/// What one recipient, or the attempt as a whole, can meet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Met {
    Taken,
    Temporary,
    Permanent,
    Infrastructure,
    Limited,
    Ambiguous,
    /// Found here, before the relay was asked.
    Here,
    TakenBack,
}

use Met::{Ambiguous, Here, Infrastructure, Limited, Permanent, Taken, TakenBack, Temporary};

fn failure_of(met: Met) -> Failure {
    let replied =
        |code| Failure::replied(Stage::Mail, &Reply { code, enhanced: None, text: format!("{met:?}") });
    match met {
        Temporary => replied(451),
        Permanent => replied(550),
        Infrastructure => replied(530),
        Limited => replied(421),
        Ambiguous => Failure::lost(Stage::FinalDot, "Ambiguous"),
        Here => Failure::before_attempt(Stage::Decode, Cause::InvalidRecipient, "Here"),
        Taken | TakenBack => unreachable!("no failure"),
    }
}

fn outcome_of(met: Met) -> Outcome {
    match met {
        Taken => Outcome::Accepted,
        TakenBack => Outcome::TakenBack,
        failed => Outcome::Failed(failure_of(failed)),
    }
}

/// One transaction: recipient 0 met the first of `met`, and so on.
fn transact(history: &mut History, met: &[Met], policy: &RetryPolicy, probe: bool) -> Decision {
    let outcomes = met.iter().enumerate().map(|(index, met)| (index, outcome_of(*met))).collect();
    let end = AttemptEnd::Answered { recipients: met.len(), outcomes };
    history.conclude(end, timing(), policy, 3, 0.0, probe)
}

fn seconds(decision: &Decision) -> Option<u64> {
    match decision {
        Decision::RetryAfter(wait) => Some(wait.as_secs()),
        _ => None,
    }
}

#[test]
fn the_table_of_mixed_outcomes() {
    // What the recipients met; attempts spent; what is listed; the row of limited endings; the wait; who is
    // asked again.
    type Case = (&'static [Met], u32, Option<&'static str>, u32, Option<u64>, &'static [usize]);
    #[rustfmt::skip]
    const CASES: &[Case] = &[
        (&[Limited], 0, None, 1, Some(1), &[0]),
        (&[Limited, Limited], 0, None, 1, Some(1), &[0, 1]),
        (&[Taken, Limited], 1, Some("421 Limited"), 0, Some(1), &[1]),
        (&[Limited, Temporary], 1, Some("451 Temporary"), 0, Some(1), &[0, 1]),
        (&[Temporary, Limited], 1, Some("451 Temporary"), 0, Some(1), &[0, 1]),
        (&[Permanent, Limited], 1, Some("550 Permanent"), 0, Some(1), &[1]),
        (&[Limited, Infrastructure], 1, Some("530 Infrastructure"), 0, Some(1), &[0, 1]),
        (&[Ambiguous, Limited], 1, Some("Ambiguous"), 0, Some(1), &[0, 1]),
        (&[Here, Limited], 0, None, 1, Some(1), &[1]),
        (&[Limited, Here], 0, None, 1, Some(1), &[0]),
        (&[Here, Infrastructure], 1, Some("530 Infrastructure"), 0, Some(1), &[1]),
        (&[Here, Taken], 1, Some("Here"), 0, None, &[]),
        (&[Here], 0, None, 0, None, &[]),
        (&[Taken], 1, None, 0, None, &[]),
        (&[Limited, TakenBack], 0, None, 0, None, &[0, 1]),
    ];
    for (met, spent, listed, row, wait, asked) in CASES {
        let mut history = History::default();
        let decision = transact(&mut history, met, &RetryPolicy::default(), false);
        let errors: Vec<&str> = history.attempts.iter().map(|attempt| attempt.error.as_str()).collect();
        assert_eq!(history.attempts_spent, *spent, "{met:?}");
        assert_eq!(errors, listed.iter().copied().collect::<Vec<_>>(), "{met:?}");
        assert_eq!(history.limited_in_a_row, *row, "{met:?}");
        assert_eq!(seconds(&decision), *wait, "{met:?}: {decision:?}");
        assert_eq!(history.to_ask(met.len()), *asked, "{met:?}");
    }
}

#[test]
fn where_slower_is_retried_like_a_4xx_it_spends_and_is_listed() {
    let policy = RetryPolicy { limited_is_retried: true, ..RetryPolicy::default() };
    let mut history = History::default();
    for (spent, wait) in [(1, Some(1)), (2, Some(2)), (3, None)] {
        let decision = transact(&mut history, &[Limited], &policy, false);
        assert_eq!((seconds(&decision), history.attempts_spent), (wait, spent));
        assert_eq!((history.attempts.len() as u32, history.limited_in_a_row), (spent, 0));
        assert!(wait.is_some() || decision == Decision::DeadLetter(failure_of(Limited)));
    }
}

#[test]
fn a_relay_that_says_slower_makes_the_waits_longer_and_only_the_hundredth_spends_an_attempt() {
    let policy = RetryPolicy::default();
    let mut history = History::default();
    failed(&mut history, failure_of(Temporary), &policy);
    let mut waits = Vec::new();
    for number in 1..=99 {
        waits.push(seconds(&failed(&mut history, failure_of(Limited), &policy)).expect("it waits"));
        assert_eq!((history.attempts_spent, history.limited_in_a_row), (1, number));
    }
    assert_eq!(waits[..7], [2, 4, 8, 16, 32, 60, 60]);
    assert_eq!(seconds(&failed(&mut history, failure_of(Limited), &policy)), Some(2));
    assert_eq!((history.attempts_spent, history.limited_in_a_row), (2, 0));
    assert_eq!(history.attempts.last().map(|attempt| attempt.number), Some(2));
    for _ in 1..=99 {
        assert!(seconds(&failed(&mut history, failure_of(Limited), &policy)).is_some());
    }
    let decision = failed(&mut history, failure_of(Limited), &policy);
    assert_eq!((decision, history.attempts_spent), (Decision::DeadLetter(failure_of(Limited)), 3));
}

#[test]
fn any_other_ending_ends_the_row_of_limited_ones() {
    for met in [Taken, Temporary, Permanent, Infrastructure, Ambiguous, Here] {
        let mut history = History::default();
        transact(&mut history, &[Limited, Limited], &RetryPolicy::default(), false);
        assert_eq!(history.limited_in_a_row, 1);
        transact(&mut history, &[met, Temporary], &RetryPolicy::default(), false);
        assert_eq!(history.limited_in_a_row, 0, "{met:?}");
    }
    let mut history = History { limited_in_a_row: 7, ..History::default() };
    failed(&mut history, Failure::crashed("x"), &RetryPolicy::default());
    assert_eq!(history.limited_in_a_row, 0);
}

#[test]
fn a_probe_that_met_only_the_relays_own_failure_changes_nothing_but_what_is_told() {
    for met in [
        &[Infrastructure][..],
        &[Limited],
        &[Limited, Infrastructure],
        &[Here, Limited],
        &[Infrastructure, Here],
    ] {
        let before = History { attempts_spent: 2, limited_in_a_row: 5, ..History::default() };
        let mut history = before.clone();
        assert_eq!(
            transact(&mut history, met, &RetryPolicy::default(), true),
            Decision::ProbeFailed,
            "{met:?}"
        );
        assert!(history.last_failure.take().is_some_and(|failure| failure.spends_attempt), "{met:?}");
        assert_eq!(format!("{history:?}"), format!("{before:?}"), "{met:?}");
    }
    let mut history = History::default();
    let end = AttemptEnd::Failed(Failure::refused());
    let decision = history.conclude(end, timing(), &RetryPolicy::default(), 3, 0.0, true);
    assert_eq!((decision, history.attempts_spent), (Decision::ProbeFailed, 0));
}

#[test]
fn any_other_probe_counts_as_usual() {
    for met in [
        &[Taken][..],
        &[Temporary],
        &[Permanent],
        &[Ambiguous],
        &[Here],
        &[TakenBack],
        &[Infrastructure, Taken],
        &[Limited, Temporary],
        &[Infrastructure, Ambiguous],
        &[Infrastructure, TakenBack],
    ] {
        let (mut probed, mut usual) = (History::default(), History::default());
        let decision = transact(&mut probed, met, &RetryPolicy::default(), true);
        assert_eq!(decision, transact(&mut usual, met, &RetryPolicy::default(), false), "{met:?}");
        assert_eq!(format!("{probed:?}"), format!("{usual:?}"), "{met:?}");
    }
    let mut history = History::default();
    let end = AttemptEnd::Failed(Failure::crashed("x"));
    history.conclude(end, timing(), &RetryPolicy::default(), 3, 0.0, true);
    assert_eq!((history.attempts_spent, history.crashes), (1, 1));
}

#[test]
fn a_restored_job_has_an_attempt_left_and_lists_none() {
    let mut served = RecipientSet::default();
    served.insert(1);
    for (known, max_attempts, spent) in [(0, 3, 0), (2, 3, 2), (3, 3, 2), (99, 3, 2), (5, 1, 0), (5, 0, 0)] {
        let history = History::restored(known, served, max_attempts);
        assert_eq!((history.attempts_spent, history.served), (spent, served));
        assert_eq!((history.attempts.len(), history.to_ask(3)), (0, vec![0, 2]));
    }
}

#[test]
fn a_restored_job_whose_recipients_all_have_it_is_delivered_whatever_else_the_commits_said() {
    let mut served = RecipientSet::default();
    served.insert(0);
    served.insert(7);
    let mut history = History::restored(1, served, 3);
    assert!(history.to_ask(1).is_empty());
    assert_eq!(answered(&mut history, 1, Vec::new()), Decision::Delivered);
}

fn any_met() -> impl Strategy<Value = Met> {
    prop_oneof![
        1 => Just(Taken),
        1 => Just(Temporary),
        1 => Just(Permanent),
        1 => Just(Infrastructure),
        4 => Just(Limited),
        1 => Just(Ambiguous),
        1 => Just(Here),
    ]
}

proptest! {
    #[test]
    fn every_recipient_ends_served_or_refused_and_nobody_is_asked_after_that(
        recipients in 1usize..6, answers in proptest::collection::vec(0u8..3, 1..60),
    ) {
        let mut history = History::default();
        let mut answers = answers.into_iter().cycle();
        for attempt in 1..=3u32 {
            let to = history.to_ask(recipients);
            prop_assert!(!to.is_empty());
            prop_assert!(to.iter().all(|i| !history.served.contains(*i) && !history.refused.contains(*i)));
            let outcomes = to.iter().map(|i| (*i, match answers.next() {
                Some(0) => Outcome::Accepted,
                Some(1) => refused(451),
                _ => refused(550),
            }));
            let outcomes: Vec<_> = outcomes.collect();
            let decision = answered(&mut history, recipients, outcomes);
            prop_assert_eq!(history.attempts_spent, attempt);
            match decision {
                Decision::Delivered => {
                    prop_assert_eq!(history.served.len(), recipients);
                    return Ok(());
                }
                Decision::DeadLetter(_) => {
                    prop_assert!(history.served.len() < recipients);
                    prop_assert!(attempt == 3 || history.to_ask(recipients).is_empty());
                    return Ok(());
                }
                Decision::RetryAfter(_) => prop_assert!(attempt < 3),
                Decision::LetGo | Decision::ProbeFailed => prop_assert!(false, "{decision:?}"),
            }
        }
        prop_assert!(false, "the third attempt is the last");
    }

    #[test]
    fn whatever_the_relay_says_attempts_are_spent_on_what_is_not_limited_and_never_too_many(
        met in proptest::collection::vec((any_met(), any_met(), any::<bool>()), 1..40),
        max_attempts in 1u32..6, limited_is_retried: bool,
    ) {
        let policy = RetryPolicy { max_attempts, limited_is_retried, ..RetryPolicy::default() };
        let mut history = History::default();
        for (first, second, probe) in met {
            let asked = history.to_ask(2);
            let met: Vec<Met> = [first, second].into_iter().take(asked.len()).collect();
            let outcomes = asked.into_iter().zip(met.iter().map(|met| outcome_of(*met))).collect();
            let end = AttemptEnd::Answered { recipients: 2, outcomes };
            let before = history.clone();
            let decision = history.conclude(end, timing(), &policy, 3, 0.0, probe);
            let relays = met.iter().all(|met| matches!(met, Infrastructure | Limited | Here))
                && met.iter().any(|met| *met != Here);
            prop_assert_eq!(decision == Decision::ProbeFailed, probe && relays);
            let free = met.iter().all(|met| *met == Here || *met == Limited && !limited_is_retried);
            let spends = !(free || probe && relays);
            prop_assert_eq!(history.attempts_spent, before.attempts_spent + u32::from(spends));
            prop_assert!(history.attempts_spent <= max_attempts);
            prop_assert!(history.attempts.len() <= history.attempts_spent as usize);
            if spends {
                prop_assert_eq!(history.limited_in_a_row, 0);
            }
            match decision {
                Decision::RetryAfter(wait) => {
                    let number = history.attempts_spent + history.limited_in_a_row + 1;
                    prop_assert_eq!(wait, policy.wait_before(number, 0.0));
                    prop_assert!(history.attempts_spent < max_attempts && !history.to_ask(2).is_empty());
                }
                Decision::Delivered | Decision::DeadLetter(_) => return Ok(()),
                Decision::ProbeFailed => {}
                Decision::LetGo => prop_assert!(false, "nobody took it back"),
            }
        }
    }
}
