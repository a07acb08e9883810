//! Jobs whose time passes: given up when they are found, and never attempted after it.

use std::sync::atomic::Ordering;
use std::time::Duration;

use crate::world::{Worker, start};

fn causes(worker: &Worker) -> Vec<String> {
    worker.fakes.letters.lock().values().map(|(_, cause)| cause.clone()).collect()
}

#[actix::test]
async fn what_has_expired_when_it_is_taken_meets_no_relay() {
    tokio::time::pause();
    let worker = start();
    worker.fakes.expires_after_ms.store(-1, Ordering::Relaxed);
    worker.put(1..11);
    tokio::time::sleep(Duration::from_secs(1)).await;
    let books = worker.office.snapshot().accounts;
    assert_eq!((books.expired, books.in_flight), (10, 0));
    assert_eq!(worker.fakes.connects.load(Ordering::Relaxed), 0);
    assert_eq!(causes(&worker), vec!["expired"; 10]);
}

#[actix::test]
async fn what_expires_while_every_mailer_is_busy_is_given_up_then_and_what_is_past_the_dot_is_not() {
    tokio::time::pause();
    let worker = start();
    worker.fakes.slow_dot_seconds.store(100, Ordering::Relaxed);
    worker.fakes.expires_after_ms.store(5_000, Ordering::Relaxed);
    worker.put(1..9);
    tokio::time::sleep(Duration::from_millis(4_900)).await;
    assert_eq!(worker.office.snapshot().accounts.expired, 0);
    tokio::time::sleep(Duration::from_millis(300)).await;
    let books = worker.office.snapshot().accounts;
    assert_eq!((books.expired, books.in_flight), (4, 4));
    tokio::time::sleep(Duration::from_secs(100)).await;
    let books = worker.office.snapshot().accounts;
    assert_eq!((books.sent, books.expired, books.in_flight), (4, 4, 0));
    assert_eq!(worker.fakes.dots.load(Ordering::Relaxed), 4);
}

#[actix::test]
async fn a_retry_that_would_come_too_late_is_not_waited_for() {
    tokio::time::pause();
    let worker = start();
    worker.fakes.put_off_from.store(1, Ordering::Relaxed);
    // The second attempt begins 1 s after the first, the third 2 s after that: too late.
    worker.fakes.expires_after_ms.store(2_900, Ordering::Relaxed);
    worker.put(1..2);
    tokio::time::sleep(Duration::from_millis(1_500)).await;
    assert_eq!(causes(&worker), ["expired"]);
    assert_eq!(worker.office.snapshot().accounts.expired, 1);
    assert_eq!(worker.fakes.offers.lock().len(), 2);
}
