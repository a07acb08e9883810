//! Jobs whose time passes: given up when they are found, and never attempted after it.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use mailroom_actors::domain::failure::{Cause, Stage};
use mailroom_actors::domain::job::{DeadLetter, RecipientSet};
use mailroom_actors::domain::metadata::{Metadata, Past};
use mailroom_actors::domain::pace::Circuit;
use mailroom_actors::messages::GetStatus;
use mailroom_actors::ports::BodyType;

use crate::world::{JOBS, Worker, start, start_at_a_rate, start_without_a_partition};

fn causes(worker: &Worker) -> Vec<String> {
    worker.fakes.letters.lock().values().map(|(_, cause)| cause.clone()).collect()
}

fn letter(worker: &Worker, offset: i64) -> Option<Arc<DeadLetter>> {
    worker.fakes.last_letters.lock().get(&offset).cloned()
}

/// What the job's letter says: cause, reason, attempts spent.
fn told(worker: &Worker, offset: i64) -> Option<(Cause, String, u32)> {
    letter(worker, offset)
        .map(|letter| (letter.failure.cause, letter.failure.reason.clone(), letter.attempts_spent))
}

fn expired(reason: &str, attempts: u32) -> Option<(Cause, String, u32)> {
    Some((Cause::Expired, format!("expired: {reason}"), attempts))
}

/// Those of its two recipients that its letter does not name.
fn served(worker: &Worker, offset: i64) -> Vec<usize> {
    let letter = letter(worker, offset).unwrap();
    (0..2).filter(|index| letter.served.contains(*index)).collect()
}

async fn pass(milliseconds: u64) {
    tokio::time::sleep(Duration::from_millis(milliseconds)).await;
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

#[actix::test]
async fn what_is_no_job_is_told_as_that_whenever_its_time_passes() {
    tokio::time::pause();
    let worker = start();
    worker.fakes.no_job.store(true, Ordering::Relaxed);
    worker.fakes.expires_after_ms.store(-1, Ordering::Relaxed);
    worker.put(1..2);
    pass(100).await;
    assert_eq!(told(&worker, 1), Some((Cause::Malformed, "no job".into(), 0)));
    // The others wait for a mailer.
    worker.fakes.no_job.store(false, Ordering::Relaxed);
    worker.fakes.expires_after_ms.store(0, Ordering::Relaxed);
    worker.fakes.slow_dot_seconds.store(100, Ordering::Relaxed);
    [11, 12, 13, 16].iter().for_each(|n| worker.put(*n..n + 1));
    pass(100).await;
    worker.fakes.no_job.store(true, Ordering::Relaxed);
    worker.fakes.expires_after_ms.store(1_000, Ordering::Relaxed);
    worker.put(21..24);
    pass(1_500).await;
    assert_eq!(causes(&worker), vec!["malformed"; 4]);
    let books = worker.office.snapshot().accounts;
    assert_eq!((books.dead_lettered, books.expired, books.in_flight), (4, 0, 4));
}

#[actix::test]
async fn what_would_get_its_slot_of_the_rate_too_late_is_given_up_at_once_and_leaves_the_slot_to_the_next() {
    tokio::time::pause();
    let worker = start_at_a_rate(1.0);
    worker.fakes.expires_after_ms.store(5_500, Ordering::Relaxed);
    [1, 2, 3, 4, 6, 8, 9, 11, 12, 13].iter().for_each(|n| worker.put(*n..n + 1));
    pass(1_500).await;
    assert_eq!(causes(&worker), [""; 0]);
    // The third has gone by now; its mailer has all that is left to choose from, the first slot being at 6 s.
    pass(1_000).await;
    let books = worker.office.snapshot().accounts;
    assert_eq!((books.expired, books.in_flight), (4, 3));
    assert_eq!(told(&worker, 13), expired("the next attempt would fall after expires_at", 0));
    worker.fakes.expires_after_ms.store(0, Ordering::Relaxed);
    worker.put(16..17);
    pass(6_000).await;
    let offers = worker.fakes.offers.lock().clone();
    let seconds: Vec<u64> =
        offers.iter().map(|(_, at)| (*at - offers[0].1).as_millis() as u64 / 900).collect();
    assert_eq!(seconds, [0, 1, 2, 3, 4, 5, 6], "{offers:?}");
    assert_eq!(offers[6].0, 16);
}

#[actix::test]
async fn what_expires_while_its_mailer_connects_is_not_offered_and_the_connection_is_kept() {
    tokio::time::pause();
    let worker = start();
    worker.fakes.slow_connect_ms.store(3_000, Ordering::Relaxed);
    worker.fakes.expires_after_ms.store(2_000, Ordering::Relaxed);
    worker.put(1..2);
    pass(2_900).await;
    assert_eq!(told(&worker, 1), None, "its mailer has it in hand");
    pass(200).await;
    assert_eq!(told(&worker, 1), expired("past expires_at", 0));
    assert!(worker.fakes.offers.lock().is_empty());
    worker.fakes.expires_after_ms.store(0, Ordering::Relaxed);
    worker.put(2..3);
    pass(100).await;
    assert_eq!(worker.office.snapshot().accounts.sent, 1);
    assert_eq!(worker.fakes.connects.load(Ordering::Relaxed), 1);
}

#[actix::test]
async fn no_fresh_try_is_made_when_the_time_has_passed_as_a_kept_connection_falls() {
    tokio::time::pause();
    let worker = start();
    worker.put(1..2);
    pass(100).await;
    worker.fakes.falls_after_ms.store(3_000, Ordering::Relaxed);
    worker.fakes.expires_after_ms.store(2_000, Ordering::Relaxed);
    worker.put(2..3);
    pass(3_200).await;
    assert_eq!(told(&worker, 2), expired("past expires_at", 0));
    assert_eq!((worker.fakes.offers.lock().len(), worker.fakes.connects.load(Ordering::Relaxed)), (2, 1));
    worker.fakes.expires_after_ms.store(4_000, Ordering::Relaxed);
    worker.put(3..4);
    pass(100).await;
    worker.put(4..5);
    pass(3_200).await;
    assert_eq!((worker.fakes.offers.lock().len(), worker.fakes.connects.load(Ordering::Relaxed)), (5, 3));
    assert_eq!(worker.office.snapshot().accounts.sent, 3, "in time, there is a fresh try");
}

#[actix::test]
async fn whom_a_452_left_over_is_not_asked_for_any_more_after_the_time_and_the_letter_is_theirs_alone() {
    tokio::time::pause();
    let worker = start();
    worker.fakes.one_recipient_at_a_time.store(true, Ordering::Relaxed);
    worker.fakes.slow_dot_seconds.store(3, Ordering::Relaxed);
    worker.fakes.expires_after_ms.store(2_000, Ordering::Relaxed);
    worker.put(1..2);
    pass(3_200).await;
    assert_eq!(told(&worker, 1), expired("past expires_at", 1));
    assert_eq!(served(&worker, 1), [0]);
    let books = worker.office.snapshot().accounts;
    assert_eq!((books.expired, books.in_flight), (1, 0));
    assert_eq!(worker.fakes.offers.lock().len(), 1);
}

#[actix::test]
async fn a_job_that_went_to_one_of_its_two_recipients_and_then_expired_counts_as_expired() {
    tokio::time::pause();
    let worker = start();
    worker.fakes.second_is_put_off.store(true, Ordering::Relaxed);
    worker.fakes.expires_after_ms.store(900, Ordering::Relaxed);
    worker.put(1..2);
    pass(100).await;
    let reason = "the next attempt would fall after expires_at; the last attempt failed: 451 Later";
    assert_eq!(told(&worker, 1), expired(reason, 1));
    assert_eq!(served(&worker, 1), [0]);
    let books = worker.office.snapshot().accounts;
    assert_eq!((books.sent, books.expired, books.dead_lettered, books.in_flight), (0, 1, 0, 0));
    let text = worker.scrape().await.unwrap();
    for line in [
        "email_attempts_total{status=\"failure\"} 1",
        "mailroom_emails_total{outcome=\"expired\"} 1",
        "mailroom_dead_letters_total{cause=\"expired\"} 1",
    ] {
        assert!(text.contains(line), "{line}: {text}");
    }
}

/// Puts 30 jobs that the relay would take, and opens the circuit with them.
async fn open_the_circuit(worker: &Worker) {
    worker.fakes.relay_is_down.store(true, Ordering::Relaxed);
    (1..JOBS).filter(|n| n % 7 != 0 && n % 5 != 0).take(30).for_each(|n| worker.put(n..n + 1));
    pass(500).await;
    assert_eq!(worker.supervisor.send(GetStatus).await.unwrap().relay.circuit, Circuit::Open);
    assert_eq!(worker.fakes.connects.load(Ordering::Relaxed), 20);
}

#[actix::test]
async fn what_expires_while_the_circuit_is_open_is_given_up_then_and_takes_no_probe_from_the_others() {
    tokio::time::pause();
    let worker = start();
    worker.fakes.expires_after_ms.store(4_000, Ordering::Relaxed);
    open_the_circuit(&worker).await;
    pass(3_450).await;
    assert_eq!(causes(&worker), [""; 0]);
    pass(150).await;
    assert_eq!(causes(&worker), vec!["expired"; 30]);
    let books = worker.office.snapshot().accounts;
    assert_eq!((books.expired, books.dead_lettered, books.in_flight), (30, 0, 0));
    assert_eq!(worker.fakes.connects.load(Ordering::Relaxed), 20, "nobody was tried");
    worker.fakes.relay_is_down.store(false, Ordering::Relaxed);
    worker.fakes.expires_after_ms.store(0, Ordering::Relaxed);
    worker.put(JOBS + 1..JOBS + 2);
    pass(1_000).await;
    assert_eq!(worker.office.snapshot().accounts.sent, 1, "the probe");
    assert_eq!(worker.fakes.connects.load(Ordering::Relaxed), 21);
}

#[actix::test]
async fn after_a_failed_probe_a_job_that_would_expire_before_the_next_one_is_given_up_at_once() {
    tokio::time::pause();
    let worker = start();
    worker.fakes.expires_after_ms.store(9_000, Ordering::Relaxed);
    open_the_circuit(&worker).await;
    // The probes are at 5 s and 10 s.
    pass(4_200).await;
    assert_eq!(causes(&worker), [""; 0]);
    pass(500).await;
    assert_eq!(
        (causes(&worker), worker.fakes.connects.load(Ordering::Relaxed)),
        (vec!["expired".into()], 21)
    );
    let probed = *worker.fakes.letters.lock().keys().next().unwrap();
    let reason = "the next attempt would fall after expires_at; the last attempt failed: Connection refused";
    assert_eq!(told(&worker, probed), expired(reason, 0));
    pass(3_600).await;
    assert_eq!(causes(&worker).len(), 1);
    pass(500).await;
    assert_eq!(causes(&worker), vec!["expired"; 30]);
}

#[actix::test]
async fn after_a_restart_the_deadline_is_made_anew_and_the_attempts_from_before_count() {
    tokio::time::pause();
    let worker = start_without_a_partition();
    let past = |attempts| Past { attempts, served: RecipientSet::default() };
    let unfinished = [(1, past(1)), (2, past(2)), (3, past(1))].into();
    let metadata = Metadata { taken_to: 10, finished_to: 1, unfinished, ..Metadata::default() };
    worker.assign_with(0, Some(1), metadata.encode(1, 4096), 4);
    worker.fakes.expires_after_ms.store(-1, Ordering::Relaxed);
    worker.put(1..2);
    pass(100).await;
    worker.fakes.expires_after_ms.store(1_500, Ordering::Relaxed);
    // One waits for 2 s before its third attempt, the other 1 s before its second.
    worker.put(2..4);
    pass(100).await;
    assert_eq!(told(&worker, 1), expired("past expires_at", 1));
    assert_eq!(told(&worker, 2), expired("the next attempt would fall after expires_at", 2));
    pass(1_000).await;
    let books = worker.office.snapshot().accounts;
    assert_eq!((books.sent, books.expired, books.in_flight), (1, 2, 0), "the other one is in time");
}

#[actix::test]
async fn a_new_connection_that_takes_other_body_types_has_the_e_mail_written_for_it() {
    tokio::time::pause();
    let worker = start();
    worker.fakes.bodies_depend.store(true, Ordering::Relaxed);
    worker.fakes.takes_8bitmime.store(true, Ordering::Relaxed);
    worker.put(1..2);
    pass(100).await;
    worker.fakes.takes_8bitmime.store(false, Ordering::Relaxed);
    worker.fakes.falls_after_ms.store(10, Ordering::Relaxed);
    worker.put(2..3);
    pass(100).await;
    worker.put(3..4);
    pass(100).await;
    use BodyType::{EightBitMime, SevenBit};
    let (eight, seven) = ((EightBitMime, EightBitMime), (SevenBit, SevenBit));
    assert_eq!(*worker.fakes.body_types.lock(), [eight, eight, seven, seven, seven]);
    assert_eq!(worker.office.snapshot().accounts.sent, 3);
}

#[actix::test]
async fn whether_an_e_mail_is_too_large_is_judged_as_the_connection_takes_it() {
    tokio::time::pause();
    let worker = start_at_a_rate(1.0);
    worker.fakes.bodies_depend.store(true, Ordering::Relaxed);
    worker.fakes.seven_bits_are_too_large.store(true, Ordering::Relaxed);
    worker.fakes.takes_8bitmime.store(true, Ordering::Relaxed);
    worker.put(1..2);
    pass(100).await;
    assert_eq!(worker.office.snapshot().accounts.sent, 1);
    // The relay is replaced by one without 8BITMIME.
    worker.fakes.takes_8bitmime.store(false, Ordering::Relaxed);
    pass(31_000).await;
    worker.put(2..5);
    pass(100).await;
    let failures: Vec<_> = (2..5).filter_map(|n| Some(letter(&worker, n)?.failure.clone())).collect();
    assert_eq!(failures.len(), 3, "none of them waits for a slot of the rate");
    assert!(failures.iter().all(|f| (f.stage, f.cause) == (Stage::Render, Cause::TooLarge)), "{failures:?}");
    assert_eq!(worker.fakes.offers.lock().len(), 1);
}
