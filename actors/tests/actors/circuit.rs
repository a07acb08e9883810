//! The relay's own failure is not the message's: the circuit, the pace, and how long connections are kept.

use std::collections::BTreeMap;
use std::sync::atomic::Ordering;
use std::time::Duration;

use mailroom_actors::domain::pace::Circuit;
use mailroom_actors::messages::{GetStatus, MailerState, Status};

use crate::world::{JOBS, Worker, start};

/// Jobs that the relay refuses neither for good nor at first.
fn plain(range: std::ops::Range<i64>) -> impl Iterator<Item = i64> {
    range.filter(|n| n % 7 != 0 && n % 5 != 0)
}

fn put_plain(worker: &Worker, range: std::ops::Range<i64>) {
    plain(range).for_each(|n| worker.put(n..n + 1));
}

async fn status(worker: &Worker) -> Status {
    worker.supervisor.send(GetStatus).await.unwrap()
}

#[actix::test]
async fn an_outage_spends_no_attempts_once_the_circuit_is_open_and_all_goes_out_after_it() {
    tokio::time::pause();
    let worker = start();
    worker.fakes.relay_is_down.store(true, Ordering::Relaxed);
    put_plain(&worker, 1..JOBS);
    tokio::time::sleep(Duration::from_secs(1)).await;
    assert_eq!(worker.fakes.connects.load(Ordering::Relaxed), 20, "breaker.failures in a row");
    let now = status(&worker).await;
    assert_eq!((now.relay.circuit, now.relay.failures_in_a_row, now.pool.allowed), (Circuit::Open, 20, 0));
    assert!(now.pool.mailers.iter().all(|mailer| mailer.state == MailerState::Held), "{:?}", now.pool);
    let text = worker.scrape().await.unwrap();
    for line in [
        "mailroom_circuit_state 2",
        "mailroom_pool_allowed 0",
        "mailroom_intake_paused{reason=\"circuit\"} 1",
    ] {
        assert!(text.contains(line), "{line}: {text}");
    }
    // An hour: one probe each 5 s, and nothing is dead-lettered.
    tokio::time::sleep(Duration::from_secs(3600)).await;
    let probes = worker.fakes.connects.load(Ordering::Relaxed) - 20;
    assert!((700..=721).contains(&probes), "{probes}");
    assert!(worker.fakes.letters.lock().is_empty());
    worker.fakes.relay_is_down.store(false, Ordering::Relaxed);
    tokio::time::sleep(Duration::from_secs(30)).await;
    let delivered = worker.fakes.delivered.lock().clone();
    assert!(plain(1..JOBS).all(|n| delivered.get(&n) == Some(&1)), "{delivered:?}");
    assert!(worker.fakes.letters.lock().is_empty());
    let text = worker.scrape().await.unwrap();
    assert!(text.contains("mailroom_circuit_state 0") && text.contains("mailroom_pool_allowed 4"), "{text}");
    assert!(text.contains("mailroom_intake_paused{reason=\"circuit\"} 0"), "{text}");
}

#[actix::test]
async fn probes_take_the_jobs_in_hand_in_turn_also_those_that_wait_in_a_mailer() {
    tokio::time::pause();
    let worker = start();
    worker.fakes.put_off_from.store(1, Ordering::Relaxed);
    worker.put(1..4);
    tokio::time::sleep(Duration::from_millis(500)).await;
    assert_eq!(worker.office.snapshot().accounts.waiting, 3);
    // The connections stand and fall at each e-mail, so each probe is seen by the relay.
    worker.fakes.relay_is_down.store(true, Ordering::Relaxed);
    worker.put(11..31);
    tokio::time::sleep(Duration::from_secs(4)).await;
    assert_eq!(status(&worker).await.relay.circuit, Circuit::Open);
    worker.fakes.relay_is_down.store(false, Ordering::Relaxed);
    worker.fakes.slower.store(40, Ordering::Relaxed);
    worker.fakes.offers.lock().clear();
    tokio::time::sleep(Duration::from_secs(5 * 23 + 1)).await;
    let mut probes: BTreeMap<i64, u32> = BTreeMap::new();
    for (offset, _) in worker.fakes.offers.lock().iter() {
        *probes.entry(*offset).or_default() += 1;
    }
    assert_eq!(probes.len(), 23, "{probes:?}");
    assert!(probes.values().all(|times| *times == 1), "{probes:?}");
}

#[actix::test]
async fn with_nothing_in_hand_one_job_is_taken_for_the_probe() {
    tokio::time::pause();
    let worker = start();
    worker.fakes.relay_is_down.store(true, Ordering::Relaxed);
    put_plain(&worker, 1..60);
    tokio::time::sleep(Duration::from_secs(1)).await;
    assert!(!worker.credits.is_open(), "jobs are in hand");
    worker.events.try_send(mailroom_actors::ports::OffsetLogEvent::Lost(vec![0.into()])).unwrap();
    tokio::time::sleep(Duration::from_secs(1)).await;
    while worker.credits.in_use().0 > 0 {
        // What the fixture had admitted and never put.
        worker.credits.release(1);
    }
    assert!(worker.credits.is_open());
    worker.credits.admit(1);
    assert!(!worker.credits.is_open(), "one is enough");
}

#[actix::test]
async fn a_relay_that_says_slower_gets_less_and_no_attempt_is_spent() {
    tokio::time::pause();
    let worker = start();
    worker.fakes.slower.store(12, Ordering::Relaxed);
    put_plain(&worker, 1..JOBS);
    tokio::time::sleep(Duration::from_millis(8)).await;
    assert_eq!(status(&worker).await.pool.allowed, 2, "four were under way, and halve it once");
    tokio::time::sleep(Duration::from_secs(120)).await;
    let delivered = worker.fakes.delivered.lock().clone();
    assert!(plain(1..JOBS).all(|n| delivered.get(&n) == Some(&1)), "{delivered:?}");
    assert_eq!(status(&worker).await.pool.allowed, 4);
    let text = worker.scrape().await.unwrap();
    assert!(text.contains("mailroom_send_attempts_total{result=\"limited\"} 12"), "{text}");
}

#[actix::test]
async fn mailers_that_were_held_work_again_once_they_may() {
    tokio::time::pause();
    let worker = start();
    worker.fakes.slower.store(12, Ordering::Relaxed);
    put_plain(&worker, 1..JOBS);
    tokio::time::sleep(Duration::from_secs(20)).await;
    assert_eq!(status(&worker).await.pool.allowed, 4);
    worker.fakes.most_under_way.store(0, Ordering::Relaxed);
    put_plain(&worker, JOBS..2 * JOBS);
    tokio::time::sleep(Duration::from_secs(1)).await;
    assert_eq!(worker.fakes.most_under_way.load(Ordering::Relaxed), 4);
}

#[actix::test]
async fn a_connection_is_changed_after_so_many_e_mails_and_closed_when_idle() {
    tokio::time::pause();
    let worker = start();
    put_plain(&worker, 1..JOBS);
    tokio::time::sleep(Duration::from_secs(10)).await;
    let connects = worker.fakes.connects.load(Ordering::Relaxed);
    assert!(connects <= 4, "{connects}");
    assert_eq!(worker.fakes.quits.load(Ordering::Relaxed), 0);
    tokio::time::sleep(Duration::from_secs(31)).await;
    assert_eq!(worker.fakes.quits.load(Ordering::Relaxed), connects, "idle for smtp.idle_timeout");
    // Two e-mails in a row, then one after a while: the same connection.
    worker.put(JOBS + 1..JOBS + 2);
    tokio::time::sleep(Duration::from_secs(20)).await;
    worker.put(JOBS + 2..JOBS + 3);
    tokio::time::sleep(Duration::from_secs(20)).await;
    assert_eq!(
        worker.fakes.connects.load(Ordering::Relaxed),
        connects + 1,
        "whoever is connected is asked first"
    );
}

#[test]
fn while_the_relay_is_away_and_no_job_is_there_to_try_it_with_the_worker_rests() {
    // Paused from the start: no part of a millisecond is left over, so whoever sets timers of no time again and
    // again keeps time from passing.
    let runtime =
        || tokio::runtime::Builder::new_current_thread().enable_all().start_paused(true).build().unwrap();
    actix_rt::System::with_tokio_rt(runtime).block_on(async {
        let worker = start();
        worker.fakes.relay_is_down.store(true, Ordering::Relaxed);
        put_plain(&worker, 1..60);
        tokio::time::sleep(Duration::from_secs(1)).await;
        worker.events.try_send(mailroom_actors::ports::OffsetLogEvent::Lost(vec![0.into()])).unwrap();
        // By the real clock, so that it fails instead of hanging.
        let (sender, patience) = tokio::sync::oneshot::channel::<()>();
        std::thread::spawn(move || {
            std::thread::sleep(Duration::from_secs(20));
            drop(sender);
        });
        tokio::select! {
            () = tokio::time::sleep(Duration::from_secs(60)) => {}
            _ = patience => panic!("somebody is busy all the time"),
        }
        worker.fakes.relay_is_down.store(false, Ordering::Relaxed);
        worker.assign(0, None);
        worker.put(1..2);
        tokio::time::sleep(Duration::from_secs(1)).await;
        assert_eq!(status(&worker).await.relay.circuit, Circuit::Closed, "a probe is made at once");
    });
}
