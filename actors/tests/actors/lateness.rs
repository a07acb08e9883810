//! How late the mail is, as `mailroom_oldest_unfinished_seconds` tells it.

use std::time::Duration;

use mailroom_actors::messages::{PauseIntake, ResumeIntake};
use mailroom_actors::ports::{OffsetLogEvent, Watermarks};
use tokio::time::sleep;

use crate::world::{Worker, start};

async fn oldest_unfinished(worker: &Worker) -> f64 {
    let text = worker.scrape().await.unwrap();
    let line = text.lines().find_map(|line| line.strip_prefix("mailroom_oldest_unfinished_seconds "));
    line.unwrap().parse().unwrap()
}

async fn watermarks(worker: &Worker, high: i64) {
    worker
        .events
        .try_send(OffsetLogEvent::Watermarks(vec![Watermarks { partition: 0.into(), low: 0, high }]))
        .unwrap();
    sleep(Duration::from_millis(1)).await;
}

#[actix::test]
async fn a_worker_that_is_paused_from_its_start_is_as_late_as_its_backlog_is_old() {
    tokio::time::pause();
    let worker = start();
    let pause = PauseIntake { reason: "quiet".into(), by: "http", duration: None };
    worker.supervisor.send(pause).await.unwrap();
    sleep(Duration::from_secs(60)).await;
    assert_eq!(oldest_unfinished(&worker).await, 0.0, "there is nothing to be late with");
    watermarks(&worker, 5).await;
    for minute in 1..=3 {
        sleep(Duration::from_secs(60)).await;
        let late = oldest_unfinished(&worker).await;
        assert!((60.0 * f64::from(minute)..60.0 * f64::from(minute) + 1.0).contains(&late), "{late}");
        watermarks(&worker, 5).await;
    }

    worker.supervisor.send(ResumeIntake { by: "http" }).await.unwrap();
    worker.put(0..5);
    sleep(Duration::from_secs(5)).await;
    assert_eq!(oldest_unfinished(&worker).await, 0.0, "all is settled");
}

#[actix::test]
async fn a_backlog_is_as_old_as_since_there_was_none() {
    tokio::time::pause();
    let worker = start();
    watermarks(&worker, 5).await;
    sleep(Duration::from_secs(60)).await;
    watermarks(&worker, 0).await;
    assert_eq!(oldest_unfinished(&worker).await, 0.0);
    sleep(Duration::from_secs(60)).await;
    watermarks(&worker, 5).await;
    sleep(Duration::from_secs(10)).await;
    let late = oldest_unfinished(&worker).await;
    assert!((10.0..11.0).contains(&late), "{late}");
}
