//! What live is made of: an actor, or the thread that polls, that makes no progress is seen, and one that waits for
//! something outside is not taken for it.

use std::sync::atomic::Ordering;
use std::time::Duration;

use mailroom_actors::messages::{ActorState, ActorStatus, GetStatus};
use mailroom_actors::ports::OffsetLogEvent;
use tokio::time::{Instant, advance, sleep};

use crate::world::{JOBS, Worker, start, start_without_a_partition};

const SECOND: Duration = Duration::from_secs(1);

async fn actors(worker: &Worker) -> Vec<ActorStatus> {
    worker.supervisor.send(GetStatus).await.unwrap().actors
}

/// All actors run, and owe no answer for longer than one question takes to come round.
async fn assert_all_alive(worker: &Worker) {
    for actor in actors(worker).await {
        assert_eq!(actor.state, ActorState::Running, "{actor:?}");
        assert!(actor.silent_for <= 2 * SECOND, "{actor:?}");
        assert_eq!(actor.last_error, None, "{actor:?}");
    }
}

async fn consumer(worker: &Worker) -> ActorStatus {
    actors(worker).await.into_iter().find(|actor| actor.name == "consumer").unwrap()
}

fn turn(worker: &Worker) {
    worker.events.try_send(OffsetLogEvent::Turned).unwrap();
}

#[actix::test]
async fn a_final_dot_that_is_answered_after_600_s_leaves_every_actor_alive() {
    tokio::time::pause();
    let worker = start();
    worker.fakes.slow_dot_seconds.store(600, Ordering::Relaxed);
    worker.put(1..2);
    let begun = Instant::now();
    while worker.fakes.delivered.lock().get(&1).is_none_or(|copies| *copies == 0) {
        turn(&worker);
        sleep(SECOND).await;
        assert_all_alive(&worker).await;
    }
    assert!(begun.elapsed() >= 600 * SECOND);
}

#[actix::test]
async fn a_revoke_that_waits_for_a_final_dot_leaves_every_actor_alive() {
    tokio::time::pause();
    let worker = start();
    worker.fakes.slow_dot_seconds.store(600, Ordering::Relaxed);
    worker.put(1..2);
    sleep(SECOND).await;
    let (reply, mut offsets) = tokio::sync::oneshot::channel();
    worker.events.try_send(OffsetLogEvent::Revoking { partitions: vec![0.into()], reply }).unwrap();
    let begun = Instant::now();
    while offsets.try_recv().is_err() {
        // The thread that polls goes on while it waits for the answer.
        turn(&worker);
        sleep(SECOND).await;
        assert_all_alive(&worker).await;
    }
    assert!(begun.elapsed() >= 20 * SECOND, "worker.drain_timeout");
}

#[actix::test]
async fn a_thread_that_polls_and_stands_still_is_seen_and_so_is_that_it_goes_on() {
    tokio::time::pause();
    let worker = start();
    for _ in 0..100 {
        turn(&worker);
        sleep(SECOND).await;
    }
    assert_all_alive(&worker).await;
    sleep(31 * SECOND).await;
    let stuck = consumer(&worker).await;
    assert!(stuck.silent_for >= 29 * SECOND, "{stuck:?}");
    assert!(stuck.last_error.as_ref().unwrap().contains("polls Kafka"), "{stuck:?}");
    let others = actors(&worker).await;
    assert!(others.iter().filter(|other| other.name != "consumer").all(|other| other.silent_for <= SECOND));
    turn(&worker);
    sleep(Duration::from_millis(1)).await;
    assert_all_alive(&worker).await;
}

#[actix::test]
async fn a_thread_that_polls_and_has_not_begun_is_not_waited_for() {
    tokio::time::pause();
    // Brokers that are away at the start: nobody polls yet.
    let worker = start_without_a_partition();
    sleep(600 * SECOND).await;
    assert_all_alive(&worker).await;
}

#[actix::test]
async fn a_thread_that_polls_and_dies_ends_the_process() {
    tokio::time::pause();
    let worker = start();
    worker.put(0..JOBS);
    turn(&worker);
    worker.events.close();
    let ended = worker.ended.await.unwrap();
    assert_eq!(ended.exit_code, 1);
    assert!(ended.reason.contains("poll thread"), "{}", ended.reason);
}

#[actix::test]
async fn a_process_that_stood_still_as_a_whole_takes_none_of_its_actors_for_dead() {
    tokio::time::pause();
    let worker = start();
    turn(&worker);
    sleep(10 * SECOND + Duration::from_millis(500)).await;
    turn(&worker);
    sleep(SECOND).await;
    // SIGSTOP, or a machine that had better things to do: all clocks went on, and nobody did anything.
    let status = worker.supervisor.send(GetStatus);
    advance(600 * SECOND).await;
    for actor in status.await.unwrap().actors {
        assert!(actor.silent_for <= SECOND, "{actor:?}");
    }
    turn(&worker);
    sleep(SECOND).await;
    assert_all_alive(&worker).await;
}

#[actix::test]
async fn an_actor_that_is_down_for_long_is_silent_for_as_long() {
    tokio::time::pause();
    let worker = start();
    worker.fakes.letters_deadly.store(9, Ordering::Relaxed);
    worker.put(0..JOBS);
    let mut longest = Duration::ZERO;
    let begun = Instant::now();
    while begun.elapsed() < 120 * SECOND {
        sleep(Duration::from_millis(100)).await;
        for actor in actors(&worker).await {
            if actor.state == ActorState::Restarting {
                longest = longest.max(actor.silent_for);
            } else {
                assert!(actor.silent_for <= SECOND, "{actor:?}");
            }
        }
    }
    assert_eq!(worker.restarts("dead_letters").await, 9);
    assert!(longest >= Duration::from_millis(1_500), "it waits longer each time: {longest:?}");
}
