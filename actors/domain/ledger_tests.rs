//! The ledger against a model that keeps every offset: nothing unsettled is ever passed.

use std::collections::BTreeMap;

use proptest::prelude::*;

use super::*;

#[derive(Clone, Debug)]
enum Step {
    /// Take a record this many offsets behind the last one (0: the next; more: a gap).
    Take {
        gap: i64,
    },
    SeenUpTo {
        gap: i64,
    },
    Settle {
        which: usize,
    },
    Wait {
        which: usize,
    },
    Commit {
        answer: u8,
    },
    Revoke,
    Assign,
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let step = prop_oneof![
        6 => (0i64..3).prop_map(|gap| Step::Take { gap }),
        1 => (0i64..4).prop_map(|gap| Step::SeenUpTo { gap }),
        6 => any::<usize>().prop_map(|which| Step::Settle { which }),
        2 => any::<usize>().prop_map(|which| Step::Wait { which }),
        3 => (0u8..3).prop_map(|answer| Step::Commit { answer }),
        1 => Just(Step::Revoke),
        1 => Just(Step::Assign),
    ];
    proptest::collection::vec(step, 1..200)
}

proptest! {
    #[test]
    fn a_commit_never_passes_an_unsettled_job_and_the_books_always_balance(steps in steps()) {
        let mut ledger = Ledger::default();
        ledger.assign(0, None);
        // The model: every offset seen in this assignment, and whether it is settled.
        let mut seen: BTreeMap<i64, bool> = BTreeMap::new();
        let mut jobs: Vec<JobId> = Vec::new();
        let (mut next, mut committed, mut revoked, mut fenced) = (0i64, None::<i64>, false, false);
        for step in steps {
            match step {
                Step::Take { gap } => {
                    let offset = next + gap;
                    let job = ledger.take(0, offset, Some(offset), 10);
                    prop_assert_eq!(job.is_some(), !revoked);
                    if let Some(job) = job {
                        next = offset + 1;
                        seen.insert(offset, false);
                        jobs.push(job);
                    }
                }
                Step::SeenUpTo { gap } => {
                    ledger.seen_up_to(0, next + gap);
                    if !revoked {
                        next += gap;
                    }
                }
                Step::Settle { which } if !jobs.is_empty() => {
                    let job = jobs.swap_remove(which % jobs.len());
                    if ledger.settle(job, Settlement::Sent).is_some() {
                        seen.insert(job.offset, true);
                    }
                    prop_assert!(ledger.settle(job, Settlement::Sent).is_none(), "settled twice");
                }
                Step::Wait { which } if !jobs.is_empty() => {
                    ledger.hold(jobs[which % jobs.len()], Hold::Waiting);
                }
                Step::Commit { answer } => {
                    for frontier in ledger.begin_commit() {
                        prop_assert!(ledger.begin_commit().is_empty(), "two commits outstanding");
                        prop_assert!(!fenced && !revoked);
                        prop_assert!(seen.range(..frontier.offset).all(|(_, settled)| *settled));
                        prop_assert!(committed.is_none_or(|before| frontier.offset > before), "went back");
                        prop_assert!(frontier.offset <= next);
                        if answer == 0 {
                            committed = Some(frontier.offset);
                        }
                        fenced |= answer == 2;
                    }
                    ledger.commit_answered([CommitAnswer::Taken, CommitAnswer::Refused, CommitAnswer::NotOurs][usize::from(answer)]);
                }
                Step::Revoke => {
                    let (tenures, _) = ledger.revoke(&[0]);
                    prop_assert_eq!(tenures.len(), 1);
                    revoked = true;
                }
                Step::Assign => {
                    let (tenures, _) = ledger.revoke(&[0]);
                    for last in ledger.let_go(&tenures).0 {
                        prop_assert!(!fenced);
                        prop_assert!(seen.range(..last.offset).all(|(_, settled)| *settled));
                        committed = Some(last.offset);
                    }
                    ledger.assign(0, committed);
                    prop_assert!(ledger.let_go(&tenures).0.is_empty(), "an older assignment is over");
                    prop_assert_eq!(ledger.partitions(), [0]);
                    // What was committed is settled; a new assignment reads on from there.
                    seen.clear();
                    next = committed.unwrap_or(0);
                    (revoked, fenced) = (false, false);
                }
                Step::Settle { .. } | Step::Wait { .. } => {}
            }
            let books = ledger.accounts();
            prop_assert_eq!(
                books.consumed,
                books.sent + books.dead_lettered + books.expired + books.in_flight + books.returned
            );
            prop_assert!(books.waiting <= books.in_flight);
        }
    }
}

#[test]
fn transaction_markers_behind_the_last_record_are_stepped_over_once_all_is_settled() {
    let mut ledger = Ledger::default();
    ledger.assign(0, Some(5));
    let job = ledger.take(0, 5, None, 1).expect("the partition is ours");
    ledger.seen_up_to(0, 8);
    assert!(ledger.begin_commit().is_empty());
    assert!(ledger.settle(job, Settlement::Sent).is_some());
    assert_eq!(ledger.begin_commit().iter().map(|frontier| frontier.offset).collect::<Vec<_>>(), [8]);
}

#[test]
fn a_revoke_takes_back_what_is_before_the_dot_and_awaits_the_rest() {
    let mut ledger = Ledger::default();
    ledger.assign(0, None);
    let take = |ledger: &mut Ledger, offset| ledger.take(0, offset, None, 1).expect("the partition is ours");
    let (queued, past) = (take(&mut ledger, 0), take(&mut ledger, 1));
    assert_eq!(ledger.hold(past, Hold::PastTheDot), HoldAnswer::Held);
    let (tenures, freed) = ledger.revoke(&[0]);
    assert_eq!(freed.bytes_of_each, [1]);
    assert_eq!(ledger.hold(queued, Hold::Working), HoldAnswer::Gone);
    assert_eq!(ledger.hold(queued, Hold::PastTheDot), HoldAnswer::Gone);
    assert!(ledger.is_busy(&tenures));
    assert!(ledger.settle(past, Settlement::Sent).is_some());
    assert!(!ledger.is_busy(&tenures));
    let (last, _) = ledger.let_go(&tenures);
    assert!(last.iter().all(|frontier| frontier.offset == 0), "offset 0 is not settled");
}

#[test]
fn a_result_of_an_older_assignment_changes_nothing() {
    let mut ledger = Ledger::default();
    ledger.assign(0, None);
    let old = ledger.take(0, 0, None, 1).expect("the partition is ours");
    let (tenures, _) = ledger.revoke(&[0]);
    ledger.forget(0);
    ledger.assign(0, None);
    assert!(ledger.settle(old, Settlement::Sent).is_none());
    assert_eq!(ledger.accounts().returned, 1);
    assert_eq!(ledger.accounts().sent, 0);
    ledger.let_go(&tenures);
    assert_eq!(ledger.partitions(), [0], "what an older revoke lets go of late is over already");
}
