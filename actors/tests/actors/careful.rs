//! A partition whose jobs may end the process: one attempt at a time, each marked before.

use std::sync::atomic::Ordering;
use std::time::Duration;

use mailroom_actors::domain::metadata::Metadata;
use mailroom_actors::messages::GetStatus;
use tokio::time::Instant;

use crate::world::start_without_a_partition;

/// As a worker left it that died for the third time without getting past its jobs.
fn left_by_the_dead(trying: Option<i64>) -> String {
    let metadata = Metadata {
        open: true,
        unclean_ends: 2,
        taken_to: 4096,
        trying,
        finished_to: 1,
        ..Metadata::default()
    };
    metadata.encode(1, 4096)
}

#[actix::test]
async fn one_attempt_at_a_time_is_made_each_marked_before_and_then_all_is_as_usual() {
    tokio::time::pause();
    let worker = start_without_a_partition();
    worker.assign_with(0, Some(1), left_by_the_dead(None), 30);
    worker.put(1..30);
    tokio::time::sleep(Duration::from_millis(20)).await;
    assert_eq!(worker.supervisor.send(GetStatus).await.unwrap().pool.allowed, 1);
    tokio::time::sleep(Duration::from_secs(60)).await;
    assert_eq!(worker.fakes.most_under_way.load(Ordering::Relaxed), 1);
    let marked: Vec<i64> = worker
        .fakes
        .commits
        .lock()
        .iter()
        .filter_map(|commit| Metadata::decode(&commit.metadata, commit.offset).unwrap().trying)
        .collect();
    for (offset, _) in worker.fakes.offers.lock().iter() {
        assert!(marked.contains(offset), "{offset} was tried without a mark");
    }
    let books = worker.office.snapshot().accounts;
    assert_eq!((books.in_flight, books.sent + books.dead_lettered), (0, 29));
    assert!(!worker.office.is_guarded());
    worker.put(30..60);
    tokio::time::sleep(Duration::from_secs(60)).await;
    assert_eq!(worker.fakes.most_under_way.load(Ordering::Relaxed), 4);
}

#[actix::test]
async fn the_job_that_was_being_tried_when_the_process_ended_is_dead_lettered_and_no_other() {
    tokio::time::pause();
    let worker = start_without_a_partition();
    worker.assign_with(0, Some(1), left_by_the_dead(Some(2)), 5);
    worker.put(1..5);
    tokio::time::sleep(Duration::from_secs(10)).await;
    let letters = worker.fakes.letters.lock().clone();
    assert_eq!(letters, [(2, (1, "crash".to_owned()))].into());
    let delivered = worker.fakes.delivered.lock().clone();
    assert_eq!(delivered.keys().copied().collect::<Vec<_>>(), [1, 3, 4]);
}

#[actix::test]
async fn an_attempt_in_careful_work_waits_for_no_more_than_its_own_commits() {
    tokio::time::pause();
    let worker = start_without_a_partition();
    worker.assign_with(0, Some(1), left_by_the_dead(None), 30);
    let began = Instant::now();
    worker.put(1..30);
    while worker.office.snapshot().accounts.in_flight > 6 || worker.office.snapshot().accounts.consumed == 0 {
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
    // 23 attempts of 5 ms: had each mark waited for kafka.commit_interval, it would be over 1 s.
    assert!(began.elapsed() < Duration::from_millis(600), "{:?}", began.elapsed());
}
