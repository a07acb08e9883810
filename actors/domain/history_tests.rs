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
                Decision::LetGo | Decision::ProbeFailed => prop_assert!(false, "nobody took it back"),
            }
        }
        prop_assert!(false, "the third attempt is the last");
    }
}
