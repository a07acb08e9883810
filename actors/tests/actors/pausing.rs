//! Intake paused by hand: what is in hand is finished, nothing new is taken, and nothing else stands still.

use std::sync::atomic::Ordering;
use std::time::Duration;

use mailroom_actors::domain::pace::Circuit;
use mailroom_actors::messages::{GetStatus, IntakeByHand, PauseIntake, ResumeIntake};
use mailroom_actors::ports::OffsetLogEvent;
use tokio::time::sleep;

use crate::world::{JOBS, Worker, start};

const TEN_MINUTES: Duration = Duration::from_secs(600);

async fn pause(worker: &Worker, reason: &str, duration: Option<Duration>) -> IntakeByHand {
    let pause = PauseIntake { reason: reason.into(), by: "http", duration };
    worker.supervisor.send(pause).await.unwrap()
}

async fn resume(worker: &Worker) -> IntakeByHand {
    worker.supervisor.send(ResumeIntake { by: "http" }).await.unwrap()
}

async fn is_paused(worker: &Worker) -> bool {
    let status = worker.supervisor.send(GetStatus).await.unwrap();
    let text = worker.scrape().await.unwrap();
    let shown = text.contains("mailroom_intake_paused{reason=\"operator\"} 1");
    assert_eq!(shown, status.intake.paused.is_some(), "the metrics and the status agree");
    shown
}

#[actix::test]
async fn while_paused_what_is_in_hand_is_finished_and_committed_and_nothing_is_taken() {
    tokio::time::pause();
    let worker = start();
    worker.put(0..JOBS);
    sleep(Duration::from_millis(12)).await;
    let IntakeByHand(paused) = pause(&worker, "relay is being moved", None).await;
    let paused = paused.unwrap();
    assert_eq!((paused.reason.as_str(), paused.by, paused.until()), ("relay is being moved", "http", None));
    assert!(!worker.credits.is_open());
    worker.settled().await;
    worker.assert_each_job_once();
    assert_eq!(worker.credits.in_use().0, 0);
    sleep(TEN_MINUTES).await;
    assert!(!worker.credits.is_open() && is_paused(&worker).await);

    assert_eq!(resume(&worker).await, IntakeByHand(None));
    assert!(worker.credits.is_open() && !is_paused(&worker).await);
    assert_eq!(resume(&worker).await, IntakeByHand(None), "it is no mistake to resume what is not paused");
    assert!(worker.credits.is_open());
}

#[actix::test]
async fn a_pause_for_some_time_ends_by_itself() {
    tokio::time::pause();
    let worker = start();
    let IntakeByHand(paused) = pause(&worker, "a while", Some(TEN_MINUTES)).await;
    // The fixture's wall clock stands at the epoch.
    assert_eq!(paused.unwrap().until().unwrap().timestamp(), 600);
    sleep(TEN_MINUTES - Duration::from_secs(1)).await;
    assert!(!worker.credits.is_open() && is_paused(&worker).await);
    sleep(Duration::from_secs(2)).await;
    assert!(worker.credits.is_open() && !is_paused(&worker).await);
    assert_eq!(resume(&worker).await, IntakeByHand(None));
}

#[actix::test]
async fn pausing_again_takes_the_place_of_the_pause_before() {
    tokio::time::pause();
    let worker = start();
    pause(&worker, "short", Some(Duration::from_secs(10))).await;
    let IntakeByHand(paused) = pause(&worker, "for long", None).await;
    assert_eq!(paused.unwrap().reason, "for long");
    sleep(TEN_MINUTES).await;
    assert!(!worker.credits.is_open() && is_paused(&worker).await);
    pause(&worker, "short after all", Some(Duration::from_secs(10))).await;
    sleep(Duration::from_secs(11)).await;
    assert!(worker.credits.is_open());
}

#[actix::test]
async fn a_consumer_that_dies_does_not_forget_the_pause() {
    tokio::time::pause();
    let worker = start();
    worker.put(0..JOBS);
    pause(&worker, "quiet", None).await;
    worker.fakes.commit.set(1);
    worker.settled().await;
    assert_eq!(worker.restarts("consumer").await, 1);
    sleep(Duration::from_secs(10)).await;
    assert!(!worker.credits.is_open() && is_paused(&worker).await);
    worker.assert_each_job_once();
}

#[actix::test]
async fn while_paused_the_relay_is_tried_with_jobs_in_hand_and_none_is_taken_for_that() {
    tokio::time::pause();
    let worker = start();
    worker.fakes.relay_is_down.store(true, Ordering::Relaxed);
    worker.put(20..60);
    sleep(Duration::from_secs(10)).await;
    let status = worker.supervisor.send(GetStatus).await.unwrap();
    assert_eq!(status.relay.circuit, Circuit::Open);
    pause(&worker, "quiet", None).await;
    let probes = worker.fakes.connects.load(Ordering::Relaxed);
    sleep(Duration::from_secs(60)).await;
    assert!(worker.fakes.connects.load(Ordering::Relaxed) >= probes + 11, "one each 5 s");

    worker.events.try_send(OffsetLogEvent::Lost(vec![0.into()])).unwrap();
    sleep(Duration::from_secs(10)).await;
    while worker.credits.in_use().0 > 0 {
        // What the fixture had admitted and never put.
        worker.credits.release(1);
    }
    assert!(!worker.credits.is_open(), "no job is in hand, and none is taken for a probe");
    resume(&worker).await;
    assert!(worker.credits.is_open(), "one, for the probe");
}

#[actix::test]
async fn while_paused_partitions_come_and_go_and_are_committed() {
    tokio::time::pause();
    let worker = start();
    worker.put(0..JOBS);
    pause(&worker, "quiet", None).await;
    let (reply, offsets) = tokio::sync::oneshot::channel();
    worker.events.try_send(OffsetLogEvent::Revoking { partitions: vec![0.into()], reply }).unwrap();
    assert_eq!(offsets.await.unwrap().len(), 1, "what was finished is committed");
    let before = worker.fakes.commits.lock().len();
    worker.assign(1, None);
    sleep(Duration::from_secs(1)).await;
    assert!(worker.fakes.commits.lock().len() > before, "the mark of a partition taken over");
    assert!(!worker.credits.is_open());
    resume(&worker).await;
    assert!(worker.credits.is_open());
}
