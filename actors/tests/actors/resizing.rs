//! The pool grows and shrinks while it works.

use std::time::Duration;

use mailroom_actors::messages::{GetStatus, MailerState, Resize};

use crate::world::{JOBS, start};

#[actix::test]
async fn a_pool_that_grows_and_shrinks_under_load_loses_and_repeats_nothing() {
    tokio::time::pause();
    let worker = start();
    for (part, size) in [(0, 1), (1, 64), (2, 2), (3, 8)] {
        worker.put(part * JOBS / 4..(part + 1) * JOBS / 4);
        tokio::time::sleep(Duration::from_millis(15)).await;
        let pool = worker.supervisor.send(Resize { size }).await.unwrap().unwrap();
        assert_eq!((pool.size, pool.mailers.len()), (size, size));
    }
    worker.settled().await;
    worker.assert_each_job_once();
    assert!(worker.supervisor.send(Resize { size: 0 }).await.unwrap().is_err());
    assert!(worker.supervisor.send(Resize { size: 65 }).await.unwrap().is_err());
}

#[actix::test]
async fn a_pool_shrunk_to_one_while_all_are_busy_goes_on() {
    tokio::time::pause();
    let worker = start();
    worker.put(0..JOBS);
    tokio::time::sleep(Duration::from_millis(7)).await;
    worker.supervisor.send(Resize { size: 1 }).await.unwrap().unwrap();
    worker.settled().await;
    worker.assert_each_job_once();
}

#[actix::test]
async fn a_mailer_that_is_retired_while_it_waits_to_be_started_again_stays_away() {
    tokio::time::pause();
    let worker = start();
    worker.supervisor.send(Resize { size: 2 }).await.unwrap().unwrap();
    tokio::time::sleep(Duration::from_millis(100)).await;
    worker.put(0..JOBS);
    let mut waits = false;
    for _ in 0..40 {
        worker.fakes.jitter.set(1);
        tokio::time::sleep(Duration::from_millis(6)).await;
        let pool = worker.supervisor.send(GetStatus).await.unwrap().pool;
        waits = pool.mailers.get(1).is_some_and(|mailer| mailer.state == MailerState::Restarting);
        if waits {
            break;
        }
    }
    worker.fakes.jitter.set(0);
    assert!(waits, "mailer 1 has not died twice in a row");
    worker.supervisor.send(Resize { size: 1 }).await.unwrap().unwrap();
    tokio::time::sleep(Duration::from_secs(60)).await;
    // Only mailer 0 may have been started again since; it is the only one that is shown, and there is.
    let status = worker.supervisor.send(GetStatus).await.unwrap();
    let mailers = status.actors.iter().find(|actor| actor.name == "mailer").unwrap();
    assert_eq!(mailers.restarts, status.pool.mailers[0].restarts, "a retired mailer was started again");
}
