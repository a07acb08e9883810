//! The ledger, with the metadata of its commits, against a model that keeps every offset.
//!
//! The model's worker may die at any moment and begin anew from any commit that was taken: nothing unsettled is
//! ever skipped, and nothing that the commit calls finished is done again.

use std::collections::{BTreeMap, BTreeSet};

use proptest::prelude::*;

use super::*;
use crate::domain::job::RecipientSet;

const LIMIT: u32 = 3;

fn found(committed: Option<i64>, metadata: &str, high: i64) -> Found<'_> {
    Found { committed, metadata, low: 0, high }
}

fn new() -> Ledger {
    let mut ledger = Ledger::new(LIMIT);
    ledger.assign(0.into(), found(None, "", 0));
    ledger
}

fn take(ledger: &mut Ledger, offset: i64) -> JobId {
    let (taken, job) = ledger.take(0.into(), offset, None, 1);
    assert!(matches!(taken, Taken::Job { .. }), "{taken:?}");
    job
}

fn commit(ledger: &mut Ledger) -> Vec<(i64, String)> {
    let due = ledger.begin_commit();
    ledger.commit_answered(CommitAnswer::Taken);
    due.iter().map(|frontier| (frontier.offset(), frontier.text().to_owned())).collect()
}

#[derive(Clone, Debug)]
enum Step {
    /// The next record of the log is handed over.
    Take,
    /// Up to where the log was read, records or not.
    SeenUpTo,
    Settle {
        which: usize,
    },
    Wait {
        which: usize,
        served: u8,
    },
    Commit {
        answer: u8,
    },
    /// A rebalance takes the partition away cleanly, and it comes back.
    Revoke,
    /// The process dies, and another one goes on.
    Die,
    /// The session expires.
    Lose,
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let step = prop_oneof![
        8 => Just(Step::Take),
        1 => Just(Step::SeenUpTo),
        6 => any::<usize>().prop_map(|which| Step::Settle { which }),
        3 => (any::<usize>(), any::<u8>()).prop_map(|(which, served)| Step::Wait { which, served }),
        4 => (0u8..5).prop_map(|answer| Step::Commit { answer }),
        1 => Just(Step::Revoke),
        1 => Just(Step::Die),
        1 => Just(Step::Lose),
    ];
    proptest::collection::vec(step, 1..300)
}

/// What is true, whoever works.
#[derive(Default)]
struct Model {
    /// How often each record was settled.
    settled: BTreeMap<i64, u32>,
    /// What the present worker knows to be settled.
    known: BTreeSet<i64>,
    pasts: BTreeMap<i64, Past>,
    /// As the broker has it: the offset, its text, and what was settled, with the histories, when it was asked for.
    committed: Option<(i64, String)>,
    settled_then: BTreeSet<i64>,
    pasts_then: BTreeMap<i64, Past>,
    /// What was settled since the last commit when a process died: may be done once more.
    forgotten: BTreeMap<i64, u32>,
}

impl Model {
    fn take_in(&mut self, offset: i64, text: &str) {
        self.committed = Some((offset, text.to_owned()));
        self.settled_then = self.known.clone();
        self.pasts_then = self.pasts.clone();
    }

    /// The process is gone without a word.
    fn forget(&mut self) {
        for offset in self.known.difference(&self.settled_then) {
            *self.forgotten.entry(*offset).or_default() += 1;
        }
        self.known = self.settled_then.clone();
        self.pasts = self.pasts_then.clone();
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(400))]
    #[test]
    fn nothing_unsettled_is_skipped_and_nothing_finished_is_repeated_beyond_what_a_death_forgets(
        gaps in proptest::collection::vec(0i64..3, 1..120), steps in steps(),
    ) {
        // The log: records with gaps, and markers behind the last one.
        let mut log = Vec::new();
        let mut end = 0;
        for gap in gaps {
            end += gap;
            log.push(end);
            end += 1;
        }
        let end = end + 2;
        let mut model = Model::default();
        let mut ledger = Ledger::new(LIMIT);
        ledger.assign(0.into(), found(None, "", end));
        let (mut position, mut cleared_to) = (0usize, i64::MIN);
        let mut jobs: BTreeMap<i64, JobId> = BTreeMap::new();
        for step in steps {
            match step {
                Step::Take => {
                    let Some(offset) = log.get(position).copied().filter(|offset| *offset < cleared_to) else { continue };
                    position += 1;
                    match ledger.take(0.into(), offset, Some(offset), 10) {
                        (Taken::Job { past, .. }, job) => {
                            prop_assert_eq!(past, model.pasts.get(&offset).copied().unwrap_or_default());
                            jobs.insert(offset, job);
                        }
                        (Taken::AlreadyFinished, _) => prop_assert!(model.known.contains(&offset), "skipped"),
                        (Taken::NotOurs, _) => prop_assert!(false, "not ours"),
                    }
                }
                Step::SeenUpTo => {
                    let next = log.get(position).copied().unwrap_or(end);
                    ledger.seen_up_to(0.into(), next);
                }
                Step::Settle { which } if !jobs.is_empty() => {
                    let offset = *jobs.keys().nth(which % jobs.len()).expect("one of them");
                    let job = jobs.remove(&offset).expect("one of them");
                    prop_assert!(ledger.settle(job, Settlement::Sent).is_some());
                    prop_assert!(ledger.settle(job, Settlement::Sent).is_none(), "settled twice");
                    let times = model.settled.entry(offset).or_default();
                    *times += 1;
                    prop_assert!(*times <= 1 + model.forgotten.get(&offset).copied().unwrap_or(0), "{offset} repeated");
                    model.known.insert(offset);
                    model.pasts.remove(&offset);
                }
                Step::Wait { which, served } if !jobs.is_empty() => {
                    let (offset, job) = jobs.iter().nth(which % jobs.len()).expect("one of them");
                    prop_assert_eq!(ledger.hold(*job, Hold::Waiting), HoldAnswer::Held);
                    let past = model.pasts.entry(*offset).or_default();
                    past.attempts += 1;
                    past.served = RecipientSet::from_bits(past.served.bits() | u128::from(served & 3));
                    ledger.remember(*job, *past);
                }
                Step::Commit { answer } => {
                    let due = ledger.begin_commit();
                    prop_assert!(due.is_empty() || ledger.begin_commit().is_empty(), "two commits outstanding");
                    for frontier in &due {
                        let (offset, text) = (frontier.offset(), frontier.text().to_owned());
                        let before = model.committed.as_ref().map_or(0, |(before, _)| *before);
                        prop_assert!(offset >= before, "went back");
                        prop_assert!(text.len() <= MAX_CHARACTERS);
                        let unsettled = |offset: &i64| !model.known.contains(offset);
                        prop_assert!(!log.iter().filter(|o| **o < offset).any(unsettled), "passes one");
                        if answer < 3 {
                            model.take_in(offset, &text);
                        }
                    }
                    let answer = if answer < 3 { CommitAnswer::Taken } else { CommitAnswer::Refused };
                    if let Some((_, to)) = ledger.commit_answered(answer).pop() {
                        prop_assert!(to >= cleared_to);
                        cleared_to = to;
                    }
                }
                Step::Revoke | Step::Die | Step::Lose => {
                    if let Step::Revoke = step {
                        let (tenures, _) = ledger.revoke(&[0.into()]);
                        for last in ledger.let_go(&tenures).0 {
                            model.take_in(last.offset(), last.text());
                        }
                    } else {
                        model.forget();
                    }
                    if let Step::Die = step {
                        ledger = Ledger::new(LIMIT);
                    } else {
                        ledger.forget(0.into());
                    }
                    let (committed, text) = model.committed.clone().unzip();
                    ledger.assign(0.into(), found(committed, text.as_deref().unwrap_or(""), end));
                    position = log.partition_point(|offset| *offset < committed.unwrap_or(0));
                    cleared_to = i64::MIN;
                    jobs.clear();
                }
                Step::Settle { .. } | Step::Wait { .. } => {}
            }
            let books = ledger.accounts();
            prop_assert_eq!(
                books.consumed,
                books.sent + books.dead_lettered + books.expired + books.in_flight + books.returned
            );
            prop_assert!(books.waiting <= books.in_flight);
            prop_assert_eq!(books.in_flight, jobs.len() as u64);
        }
        // Whatever happened: what is left is done in the end, and all of it is committed.
        for _ in 0..log.len() * 2 + 4 {
            while let Some(offset) = log.get(position).copied().filter(|offset| *offset < cleared_to) {
                position += 1;
                if let (Taken::Job { .. }, job) = ledger.take(0.into(), offset, None, 1) {
                    jobs.insert(offset, job);
                }
            }
            for (offset, job) in std::mem::take(&mut jobs) {
                prop_assert!(ledger.settle(job, Settlement::Sent).is_some());
                *model.settled.entry(offset).or_default() += 1;
            }
            if position == log.len() {
                ledger.seen_up_to(0.into(), end);
            }
            if let Some(frontier) = ledger.begin_commit().pop() {
                model.committed = Some((frontier.offset(), String::new()));
            }
            if let Some((_, to)) = ledger.commit_answered(CommitAnswer::Taken).pop() {
                cleared_to = to;
            }
        }
        prop_assert_eq!(model.committed.map(|(offset, _)| offset), Some(end));
        for offset in &log {
            let times = model.settled.get(offset).copied().unwrap_or(0);
            prop_assert!(times >= 1, "{} was lost", offset);
            prop_assert!(times <= 1 + model.forgotten.get(offset).copied().unwrap_or(0), "{} was repeated", offset);
        }
    }
}

#[test]
fn nothing_may_be_taken_before_a_commit_has_said_that_the_partition_is_open() {
    let mut ledger = new();
    let due = ledger.begin_commit();
    assert_eq!(due.len(), 1, "with nothing committed yet it is written at the low watermark");
    assert!(ledger.commit_answered(CommitAnswer::Refused).is_empty());
    ledger.begin_commit();
    let cleared = ledger.commit_answered(CommitAnswer::Taken);
    assert!(cleared.iter().all(|(partition, to)| *partition == 0.into() && *to > 0), "{cleared:?}");
    assert!(ledger.begin_commit().is_empty(), "nothing has changed");
}

#[test]
fn transaction_markers_behind_the_last_record_are_stepped_over_once_all_is_settled() {
    let mut ledger = Ledger::new(LIMIT);
    ledger.assign(0.into(), found(Some(5), "", 8));
    let job = take(&mut ledger, 5);
    ledger.seen_up_to(0.into(), 8);
    assert_eq!(commit(&mut ledger)[0].0, 5);
    assert!(ledger.settle(job, Settlement::Sent).is_some());
    assert_eq!(commit(&mut ledger)[0].0, 8);
}

#[test]
fn a_revoke_takes_back_what_is_before_the_dot_and_awaits_the_rest() {
    let mut ledger = new();
    let (queued, past) = (take(&mut ledger, 0), take(&mut ledger, 1));
    assert_eq!(ledger.hold(past, Hold::PastTheDot), HoldAnswer::Held);
    let (tenures, freed) = ledger.revoke(&[0.into()]);
    assert_eq!(freed.bytes_of_each, [1]);
    assert_eq!(ledger.hold(queued, Hold::Working), HoldAnswer::Gone);
    assert_eq!(ledger.hold(queued, Hold::PastTheDot), HoldAnswer::Gone);
    assert!(ledger.is_busy(&tenures));
    assert!(ledger.settle(past, Settlement::Sent).is_some());
    assert!(!ledger.is_busy(&tenures));
    let (last, _) = ledger.let_go(&tenures);
    assert_eq!(last.iter().map(Frontier::offset).collect::<Vec<_>>(), [0], "offset 0 is not settled");
    let mut next = Ledger::new(LIMIT);
    next.assign(0.into(), found(Some(0), last[0].text(), 2));
    assert!(matches!(next.take(0.into(), 0, None, 1).0, Taken::Job { .. }));
    assert_eq!(next.take(0.into(), 1, None, 1).0, Taken::AlreadyFinished);
    assert_eq!(next.accounts().resends_skipped, 1);
}

#[test]
fn a_result_of_an_older_assignment_changes_nothing() {
    let mut ledger = new();
    let old = take(&mut ledger, 0);
    let (tenures, _) = ledger.revoke(&[0.into()]);
    ledger.forget(0.into());
    ledger.assign(0.into(), found(None, "", 0));
    assert!(ledger.settle(old, Settlement::Sent).is_none());
    assert_eq!(ledger.accounts().returned, 1);
    assert_eq!(ledger.accounts().sent, 0);
    ledger.let_go(&tenures);
    assert_eq!(ledger.partitions(), [0.into()], "what an older revoke lets go of late is over already");
}

#[test]
fn unreadable_metadata_means_the_plain_offset() {
    let mut ledger = Ledger::new(LIMIT);
    ledger.assign(0.into(), found(Some(3), "mailroom9:whatever", 5));
    assert!(matches!(ledger.take(0.into(), 3, None, 1).0, Taken::Job { .. }));
}

#[test]
fn a_broker_that_takes_little_metadata_gets_less_and_at_last_the_plain_offset() {
    let mut ledger = new();
    let mut sizes = Vec::new();
    loop {
        let due = ledger.begin_commit();
        sizes.push(due[0].text().len());
        if due[0].text().is_empty() {
            break;
        }
        ledger.commit_answered(CommitAnswer::TooLarge);
    }
    assert!(sizes.len() < 10, "{sizes:?}");
    let cleared = ledger.commit_answered(CommitAnswer::Taken);
    assert!(cleared[0].1 > 0, "jobs go on all the same");
}

#[test]
fn where_the_metadata_is_nearly_full_the_partition_takes_no_more_until_the_frontier_moves() {
    let mut ledger = new();
    let mut jobs = BTreeMap::new();
    let mut next = 0i64;
    let mut cleared_to = i64::MIN;
    // Every third job hangs.
    for _ in 0..100 {
        ledger.begin_commit();
        if let Some((_, to)) = ledger.commit_answered(CommitAnswer::Taken).pop() {
            cleared_to = to;
        }
        while next < cleared_to {
            jobs.insert(next, take(&mut ledger, next));
            next += 1;
        }
        for (offset, job) in &jobs {
            if offset % 3 > 0 {
                ledger.settle(*job, Settlement::Sent);
            }
        }
    }
    assert!(next < 40_000, "{next} were taken");
    let due = ledger.begin_commit();
    assert!(due.is_empty() || due[0].text().len() <= MAX_CHARACTERS);
    for job in jobs.values() {
        ledger.settle(*job, Settlement::Sent);
    }
    assert_eq!(ledger.begin_commit()[0].offset(), next);
    assert!(ledger.commit_answered(CommitAnswer::Taken)[0].1 > next, "and then it goes on");
}

// ---- The job that ends the process --------------------------------------------------------------------------

/// Begins anew from what was committed; the records 0 to 9 are there.
fn start(committed: &(i64, String)) -> Ledger {
    let mut ledger = Ledger::new(LIMIT);
    ledger.assign(0.into(), found(Some(committed.0), &committed.1, 10));
    ledger
}

#[test]
fn a_job_that_ends_the_process_each_time_is_found_out_at_start_number_crashes_and_two() {
    let mut committed = (0, String::new());
    for number in 1..=LIMIT + 2 {
        let mut ledger = start(&committed);
        committed = commit(&mut ledger).pop().expect("open");
        let (taken, poison) = ledger.take(0.into(), 0, None, 1);
        let ended_the_process = matches!(taken, Taken::Job { ended_the_process: true, .. });
        assert_eq!(ended_the_process, number == LIMIT + 2, "start {number}");
        if ended_the_process {
            // Innocent ones are not.
            for offset in 1..10 {
                let (taken, _) = ledger.take(0.into(), offset, None, 1);
                assert!(matches!(taken, Taken::Job { ended_the_process: false, .. }));
            }
            continue;
        }
        assert_eq!(ledger.is_guarded(), number == LIMIT + 1, "start {number}");
        if ledger.is_guarded() {
            assert!(!ledger.may_attempt(poison), "not before its mark is acknowledged");
            committed = commit(&mut ledger).pop().expect("the mark");
            assert!(ledger.may_attempt(poison));
        }
        assert!(ledger.may_attempt(poison));
    }
}

#[test]
fn of_two_such_jobs_both_are_found_out_though_each_start_ends_before_any_letter_is_published() {
    let mut committed = (0, String::new());
    for _ in 0..LIMIT {
        committed = commit(&mut start(&committed)).pop().expect("open");
    }
    for culprit in [0, 5] {
        let mut ledger = start(&committed);
        commit(&mut ledger);
        let jobs: Vec<_> = (0..6).map(|offset| ledger.take(0.into(), offset, None, 1)).collect();
        ledger.may_attempt(jobs[culprit].1);
        committed = commit(&mut ledger).pop().expect("the mark");
    }
    let mut ledger = start(&committed);
    for offset in 0..6 {
        let (taken, _) = ledger.take(0.into(), offset, None, 1);
        let Taken::Job { ended_the_process, .. } = taken else { panic!("{taken:?}") };
        assert_eq!(ended_the_process, [0, 5].contains(&offset), "{offset}");
    }
}

#[test]
fn the_last_job_of_a_partition_is_no_progress_before_it_is_settled() {
    let mut committed = (9, String::new());
    for number in 1..=LIMIT + 1 {
        let mut ledger = start(&committed);
        commit(&mut ledger);
        let job = take(&mut ledger, 9);
        assert_eq!(ledger.is_guarded(), number == LIMIT + 1, "start {number}");
        ledger.may_attempt(job);
        ledger.remember(job, Past { attempts: number, ..Past::default() });
        committed = commit(&mut ledger).pop().expect("what has happened to it");
    }
}

#[test]
fn careful_work_ends_once_the_frontier_has_passed_what_had_been_handed_out() {
    let mut committed = (0, String::new());
    for _ in 0..LIMIT {
        let mut ledger = start(&committed);
        committed = commit(&mut ledger).pop().expect("open");
    }
    let mut ledger = start(&committed);
    assert!(ledger.is_guarded());
    commit(&mut ledger);
    for offset in 0..10 {
        let job = take(&mut ledger, offset);
        assert!(!ledger.may_attempt(job), "{offset}");
        commit(&mut ledger);
        assert!(ledger.may_attempt(job), "{offset}");
        assert!(ledger.settle(job, Settlement::Sent).is_some());
    }
    let last = commit(&mut ledger).pop().expect("all is settled");
    assert_eq!(last.0, 10);
    let job = take(&mut ledger, 10);
    assert!(ledger.may_attempt(job) && !ledger.is_guarded());
    let mut next = start(&last);
    assert!(!next.is_guarded(), "the unclean ends before count no more");
    assert_eq!(commit(&mut next).len(), 1);
}

#[test]
fn a_mark_is_taken_off_before_a_job_of_another_partition_is_attempted() {
    let mut committed = (0, String::new());
    for _ in 0..LIMIT {
        let mut ledger = start(&committed);
        committed = commit(&mut ledger).pop().expect("open");
    }
    let mut ledger = start(&committed);
    ledger.assign(1.into(), Found { committed: None, metadata: "", low: 0, high: 10 });
    commit(&mut ledger);
    let mine = take(&mut ledger, 0);
    let (_, other) = ledger.take(1.into(), 0, None, 1);
    assert!(!ledger.may_attempt(mine));
    commit(&mut ledger);
    assert!(ledger.may_attempt(mine));
    ledger.hold(mine, Hold::Waiting);
    assert!(!ledger.may_attempt(other), "the mark is still in the last commit");
    commit(&mut ledger);
    assert!(ledger.may_attempt(other));
}

#[test]
fn a_stop_is_no_unclean_end_even_when_it_is_cut_short() {
    let mut committed = (0, String::new());
    for _ in 0..LIMIT + 2 {
        let mut ledger = start(&committed);
        commit(&mut ledger);
        let job = take(&mut ledger, 0);
        ledger.hold(job, Hold::PastTheDot);
        ledger.stop();
        // The process is killed here: the last commit never comes.
        committed = commit(&mut ledger).pop().expect("closed, at once");
    }
    let mut ledger = start(&committed);
    assert!(!ledger.is_guarded());
    assert!(matches!(ledger.take(0.into(), 0, None, 1).0, Taken::Job { ended_the_process: false, .. }));
}

proptest! {
    /// Whatever ends the process, in whatever order its jobs are tried, and however seldom it commits.
    #[test]
    fn those_that_end_the_process_are_found_out_and_no_others(
        poisonous in proptest::collection::btree_set(0i64..20, 0..5),
        orders in proptest::collection::vec(any::<u64>(), 40),
        commits in proptest::collection::vec(any::<bool>(), 400),
    ) {
        const JOBS: i64 = 20;
        let mut committed = (0, String::new());
        let mut commits = commits.into_iter().cycle();
        let (mut sent, mut blamed) = (BTreeSet::new(), BTreeSet::new());
        let mut starts = orders.into_iter();
        'start: loop {
            let Some(order) = starts.next() else {
                prop_assert!(false, "it never ends");
                break;
            };
            let mut ledger = Ledger::new(LIMIT);
            ledger.assign(0.into(), found(Some(committed.0), &committed.1, JOBS));
            committed = commit(&mut ledger).pop().unwrap_or(committed);
            let mut jobs = Vec::new();
            for offset in committed.0..JOBS {
                match ledger.take(0.into(), offset, None, 1) {
                    (Taken::Job { ended_the_process: true, .. }, job) => {
                        prop_assert!(poisonous.contains(&offset), "{offset} is blamed, and innocent");
                        blamed.insert(offset);
                        ledger.settle(job, Settlement::DeadLettered);
                    }
                    (Taken::Job { .. }, job) => jobs.push(job),
                    (other, _) => prop_assert_eq!(other, Taken::AlreadyFinished),
                }
            }
            if !ledger.is_guarded() && !jobs.is_empty() {
                let by = usize::try_from(order % jobs.len() as u64).expect("small");
                jobs.rotate_left(by);
            }
            for job in jobs {
                while !ledger.may_attempt(job) {
                    let due = commit(&mut ledger);
                    prop_assert!(!due.is_empty(), "it waits for a commit that never comes");
                    committed = due[0].clone();
                }
                if poisonous.contains(&job.offset) {
                    continue 'start;
                }
                ledger.settle(job, Settlement::Sent);
                sent.insert(job.offset);
                if commits.next() == Some(true) {
                    committed = commit(&mut ledger).pop().unwrap_or(committed);
                }
            }
            break;
        }
        prop_assert_eq!(&blamed, &poisonous);
        prop_assert_eq!(sent.len() + blamed.len(), 20);
    }
}
