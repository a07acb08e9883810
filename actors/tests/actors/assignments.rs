//! Partitions come and go, and the worker stops, while e-mails are under way.

use std::sync::atomic::Ordering;
use std::time::Duration;

use mailroom_actors::messages::Stop;
use mailroom_actors::ports::OffsetLogEvent;
use mailroom_actors::supervisor::Ended;
use tokio::sync::oneshot;
use tokio::time::Instant;

use crate::world::{JOBS, Worker, start};

/// One e-mail past the dot, to which the relay says nothing for so long.
async fn with_one_past_the_dot(seconds: u64) -> Worker {
    tokio::time::pause();
    let worker = start();
    worker.fakes.slow_dot_seconds.store(seconds, Ordering::Relaxed);
    worker.put(1..2);
    tokio::time::sleep(Duration::from_millis(100)).await;
    assert_eq!(worker.fakes.dots.load(Ordering::Relaxed), 1);
    worker
}

#[actix::test]
async fn a_stop_gives_back_what_waits_and_ends_with_0() {
    tokio::time::pause();
    let worker = start();
    worker.put(0..JOBS);
    tokio::time::sleep(Duration::from_millis(50)).await;
    worker.supervisor.do_send(Stop);
    let ended = worker.ended.await.expect("the supervisor says how it ended");
    assert_eq!(ended, Ended { exit_code: 0, reason: "drained, committed and left the group".into() });
    let books = worker.office.snapshot().accounts;
    assert!(books.returned > 0);
    assert_eq!(books.consumed, books.sent + books.dead_lettered + books.returned);
    let copies: u64 = worker.fakes.delivered.lock().values().map(|copies| u64::from(*copies)).sum();
    assert_eq!(copies, books.sent);
}

#[actix::test]
async fn a_stop_awaits_what_is_past_the_dot() {
    let worker = with_one_past_the_dot(10).await;
    worker.supervisor.do_send(Stop);
    assert_eq!(worker.ended.await.unwrap().exit_code, 0);
    assert_eq!(worker.office.snapshot().accounts.sent, 1);
    assert_eq!(worker.fakes.committed.load(Ordering::Relaxed), 2);
}

#[actix::test]
async fn a_stop_waits_no_longer_than_the_drain_time_and_says_so() {
    let worker = with_one_past_the_dot(600).await;
    let began = Instant::now();
    worker.supervisor.do_send(Stop);
    let ended = worker.ended.await.unwrap();
    assert_eq!(ended.exit_code, 1);
    assert!(ended.reason.contains("worker.drain_timeout"), "{}", ended.reason);
    assert!(began.elapsed() >= Duration::from_secs(20));
    assert_eq!(worker.office.snapshot().accounts.returned, 1);
}

#[actix::test]
async fn a_revoke_is_answered_with_what_was_settled_while_it_waited() {
    let worker = with_one_past_the_dot(5).await;
    let (reply, answer) = oneshot::channel();
    worker.events.try_send(OffsetLogEvent::Revoking { partitions: vec![0.into()], reply }).unwrap();
    let last = answer.await.unwrap();
    assert_eq!(
        last.iter().map(|commit| (commit.partition, commit.offset)).collect::<Vec<_>>(),
        [(0.into(), 2)]
    );
    assert!(worker.office.partitions().is_empty());
}

#[actix::test]
async fn a_partition_that_comes_back_while_an_older_revoke_still_waits_stays() {
    let worker = with_one_past_the_dot(60).await;
    let (reply, _answer) = oneshot::channel();
    worker.events.try_send(OffsetLogEvent::Revoking { partitions: vec![0.into()], reply }).unwrap();
    tokio::time::sleep(Duration::from_secs(1)).await;
    worker.events.try_send(OffsetLogEvent::Lost(vec![0.into()])).unwrap();
    tokio::time::sleep(Duration::from_secs(3)).await;
    worker.fakes.slow_dot_seconds.store(0, Ordering::Relaxed);
    worker.assign(0, Some(1));
    tokio::time::sleep(Duration::from_secs(100)).await;
    assert_eq!(worker.office.partitions(), [0.into()]);
    worker.put(1..2);
    tokio::time::sleep(Duration::from_secs(1)).await;
    assert_eq!(worker.fakes.committed.load(Ordering::Relaxed), 2);
}

#[actix::test]
async fn partitions_lost_while_stopping_are_not_waited_for() {
    let worker = with_one_past_the_dot(600).await;
    let began = Instant::now();
    worker.supervisor.do_send(Stop);
    tokio::time::sleep(Duration::from_millis(100)).await;
    worker.events.try_send(OffsetLogEvent::Lost(vec![0.into()])).unwrap();
    worker.ended.await.unwrap();
    // Virtual time: it is exact.
    assert!(began.elapsed() < Duration::from_secs(2));
}

#[actix::test]
async fn a_partition_that_comes_while_stopping_is_not_worked_on() {
    let worker = with_one_past_the_dot(3).await;
    worker.supervisor.do_send(Stop);
    tokio::time::sleep(Duration::from_millis(10)).await;
    worker.assign(1, None);
    worker.put_to(1, 101..104);
    assert_eq!(worker.ended.await.unwrap().exit_code, 0);
    assert_eq!(worker.fakes.dots.load(Ordering::Relaxed), 1);
    assert_eq!(worker.office.snapshot().accounts.sent, 1);
}

#[actix::test]
async fn a_stop_that_overtakes_a_revoke_commits_for_it_as_it_leaves() {
    let worker = with_one_past_the_dot(10).await;
    // Job 1 is answered in time, job 2 is not.
    worker.fakes.slow_dot_seconds.store(600, Ordering::Relaxed);
    worker.put(2..3);
    tokio::time::sleep(Duration::from_secs(1)).await;
    worker.supervisor.do_send(Stop);
    tokio::time::sleep(Duration::from_secs(1)).await;
    let (reply, answer) = oneshot::channel();
    worker.events.try_send(OffsetLogEvent::Revoking { partitions: vec![0.into()], reply }).unwrap();
    assert_eq!(worker.ended.await.unwrap().exit_code, 1);
    assert!(
        answer.await.is_err(),
        "an empty answer would have the partition given up before the last commit"
    );
    assert_eq!(worker.fakes.committed.load(Ordering::Relaxed), 2);
}
