//! Actors die in the middle of their work: nothing is lost, nothing is sent twice, restarts are counted.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use mailroom_actors::messages::{GetStatus, Stop};

use crate::world::{Fakes, Fuse, JOBS, start};

/// Puts jobs, burns one fuse in the middle, at each of its next calls in turn; returns the most restarts of
/// `actor` that it took.
async fn with_fuse(fuse: impl Fn(&Fakes) -> &Fuse, actor: &str) -> u64 {
    tokio::time::pause();
    let mut restarts = 0;
    for call in 1..=20 {
        let worker = start();
        worker.put(0..JOBS / 2);
        tokio::time::sleep(Duration::from_millis(20)).await;
        fuse(&worker.fakes).set(call);
        worker.put(JOBS / 2..JOBS);
        worker.settled().await;
        worker.assert_each_job_once();
        if call < 3 {
            assert!(fuse(&worker.fakes).is_burnt(), "the fuse has not burnt");
        }
        restarts = restarts.max(worker.restarts(actor).await);
    }
    restarts
}

#[actix::test]
async fn a_panic_while_composing_costs_one_attempt_and_no_actor() {
    assert_eq!(with_fuse(|fakes| &fakes.compose, "mailer").await, 0);
}

#[actix::test]
async fn a_panic_before_the_dot_costs_one_attempt_and_no_actor() {
    assert_eq!(with_fuse(|fakes| &fakes.send, "mailer").await, 0);
}

#[actix::test]
async fn a_panic_after_the_dot_is_an_ambiguous_ending_and_tried_again() {
    assert_eq!(with_fuse(|fakes| &fakes.send_after_the_dot, "mailer").await, 0);
}

#[actix::test]
async fn a_panic_in_a_mailers_handler_costs_no_job_and_the_mailer_is_back() {
    assert_eq!(with_fuse(|fakes| &fakes.jitter, "mailer").await, 1);
}

#[actix::test]
async fn a_panic_in_the_consumer_costs_no_job_and_it_is_back() {
    assert_eq!(with_fuse(|fakes| &fakes.commit, "consumer").await, 1);
}

#[actix::test]
async fn a_panic_while_publishing_is_one_more_try() {
    assert_eq!(with_fuse(|fakes| &fakes.publish, "dead_letters").await, 0);
}

#[actix::test]
async fn a_panic_of_the_clock_wherever_it_is_read_costs_no_job_and_keeps_no_mailer_busy() {
    tokio::time::pause();
    for call in 1..=20 {
        let worker = start();
        worker.put(0..JOBS / 2);
        tokio::time::sleep(Duration::from_millis(20)).await;
        worker.fakes.clock.set(call);
        worker.put(JOBS / 2..JOBS);
        worker.settled().await;
        assert!(worker.fakes.clock.is_burnt());
        tokio::time::sleep(Duration::from_secs(1)).await;
        assert_eq!(worker.supervisor.send(GetStatus).await.unwrap().pool.busy, 0);
        let books = worker.office.snapshot().accounts;
        assert_eq!((books.in_flight, books.sent + books.dead_lettered), (0, JOBS as u64));
        let twice = worker.fakes.delivered.lock().values().filter(|copies| **copies > 1).count();
        assert_eq!(twice, 0, "call {call}: a clear answer became an ambiguous ending");
    }
}

#[actix::test]
async fn while_dead_letters_is_down_its_jobs_wait_and_the_others_go_on() {
    tokio::time::pause();
    let worker = start();
    worker.fakes.letters_deadly.store(3, Ordering::Relaxed);
    worker.put(0..JOBS);
    worker.settled().await;
    worker.assert_each_job_once();
    assert_eq!(worker.restarts("dead_letters").await, 3);
}

#[actix::test]
async fn the_metrics_actor_dies_at_a_scrape_and_the_books_are_right_at_the_next() {
    tokio::time::pause();
    let worker = start();
    worker.put(0..JOBS);
    worker.settled().await;
    worker.fakes.clock.set(1);
    assert!(worker.scrape().await.is_none());
    tokio::time::sleep(Duration::from_millis(10)).await;
    let text = worker.scrape().await.unwrap();
    assert!(text.contains("mailroom_messages_consumed_total{topic=\"email-queue\"} 200"), "{text}");
    assert!(text.contains("mailroom_actor_restarts_total{actor=\"metrics\"} 1"), "{text}");
    worker.assert_each_job_once();
}

#[actix::test]
async fn an_actor_that_dies_too_often_ends_the_process() {
    tokio::time::pause();
    let worker = start();
    let storm = Arc::clone(&worker.fakes);
    worker.put(0..JOBS);
    let storm_task = actix_rt::spawn(async move {
        loop {
            storm.commit.set(1);
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    });
    // Each mailer's settle makes something to commit, and each commit kills the consumer.
    let ended = worker.ended.await.expect("the supervisor says how it ended");
    storm_task.abort();
    assert_eq!(ended.exit_code, 1);
    assert!(ended.reason.contains("consumer"), "{}", ended.reason);
}

#[actix::test]
async fn what_came_of_an_attempt_is_concluded_while_stopping_though_the_mailer_dies_over_it() {
    tokio::time::pause();
    let worker = start();
    worker.fakes.slow_dot_seconds.store(2, Ordering::Relaxed);
    worker.put(1..2);
    tokio::time::sleep(Duration::from_secs(1)).await;
    worker.fakes.jitter.set(1);
    worker.supervisor.do_send(Stop);
    let ended = worker.ended.await.unwrap();
    assert!(worker.fakes.jitter.is_burnt());
    assert_eq!(ended.exit_code, 0, "{ended:?}");
    assert_eq!(worker.fakes.committed.load(Ordering::Relaxed), 2);
}

#[actix::test]
async fn a_consumer_that_dies_while_stopping_does_not_make_the_drain_time_longer() {
    tokio::time::pause();
    let worker = start();
    worker.fakes.slow_dot_seconds.store(600, Ordering::Relaxed);
    worker.put(1..2);
    tokio::time::sleep(Duration::from_secs(1)).await;
    let stopped = tokio::time::Instant::now();
    worker.supervisor.do_send(Stop);
    tokio::time::sleep(Duration::from_secs(15)).await;
    worker.fakes.commit.set(1);
    worker.assign(1, None);
    tokio::time::sleep(Duration::from_secs(1)).await;
    assert!(worker.fakes.commit.is_burnt(), "the consumer has died");
    let ended = worker.ended.await.unwrap();
    assert_eq!(ended.exit_code, 1, "{ended:?}");
    assert_eq!(stopped.elapsed().as_secs(), 20, "worker.drain_timeout");
}
