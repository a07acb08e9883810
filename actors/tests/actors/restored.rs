//! Jobs that come back after a restart or a rebalance: what was finished is not done again, the rest goes on.

use std::sync::atomic::Ordering;
use std::time::Duration;

use mailroom_actors::domain::job::RecipientSet;
use mailroom_actors::domain::metadata::{Metadata, Past};
use mailroom_actors::ports::OffsetLogEvent;
use tokio::time::Instant;

use crate::world::{start, start_without_a_partition};

fn past(attempts: u32) -> Past {
    Past { attempts, served: RecipientSet::default() }
}

#[actix::test]
async fn what_is_finished_is_skipped_and_a_restored_job_waits_its_full_backoff_and_has_an_attempt_left() {
    tokio::time::pause();
    let worker = start_without_a_partition();
    // 1 and 4 are finished; 2 has had one attempt, 3 all three of them.
    let unfinished = [(2, past(1)), (3, past(3))].into();
    let metadata = Metadata { taken_to: 10, finished_to: 5, unfinished, ..Metadata::default() };
    let began = Instant::now();
    worker.assign_with(0, Some(1), metadata.encode(1, 4096), 6);
    tokio::time::sleep(Duration::from_millis(300)).await;
    worker.fakes.put_off_from.store(3, Ordering::Relaxed);
    worker.put(1..6);
    tokio::time::sleep(Duration::from_millis(100)).await;
    let offered = |offset: i64| {
        let offers = worker.fakes.offers.lock();
        offers.iter().filter(|(of, _)| *of == offset).map(|(_, at)| *at - began).collect::<Vec<_>>()
    };
    assert!(offered(1).is_empty() && offered(4).is_empty());
    assert_eq!(offered(5).len(), 1, "it has no history");
    tokio::time::sleep(Duration::from_secs(60)).await;
    let about = |seconds: u64, times: Vec<Duration>| {
        assert_eq!(times.len(), 1, "{times:?}");
        assert!(times[0] >= Duration::from_secs(seconds) && times[0].as_secs() == seconds, "{times:?}");
    };
    about(1, offered(2));
    about(2, offered(3));
    assert_eq!(worker.fakes.letters.lock().get(&3).map(|(written, _)| *written), Some(1));
    let books = worker.office.snapshot().accounts;
    assert_eq!((books.consumed, books.resends_skipped), (3, 2));
    let text = worker.scrape().await.unwrap();
    assert!(text.contains("mailroom_resends_skipped_total 2"), "{text}");
}

#[actix::test]
async fn a_clean_revoke_writes_down_what_has_happened_and_nothing_is_done_twice_by_the_next() {
    tokio::time::pause();
    let worker = start();
    worker.put(1..40);
    tokio::time::sleep(Duration::from_millis(40)).await;
    let (reply, answer) = tokio::sync::oneshot::channel();
    worker.events.try_send(OffsetLogEvent::Revoking { partitions: vec![0.into()], reply }).unwrap();
    let last = answer.await.unwrap().remove(0);
    let metadata = Metadata::decode(&last.metadata, last.offset).unwrap();
    assert!(!metadata.open);
    let first_delivered = worker.fakes.delivered.lock().clone();
    assert!(!first_delivered.is_empty() && first_delivered.len() < 39);
    worker.assign_with(0, Some(last.offset), last.metadata, 40);
    worker.put(last.offset.max(1)..40);
    tokio::time::sleep(Duration::from_secs(60)).await;
    let delivered = worker.fakes.delivered.lock().clone();
    let letters = worker.fakes.letters.lock().clone();
    for offset in 1..40 {
        let (copies, letters) =
            (delivered.get(&offset).copied().unwrap_or(0), letters.get(&offset).map_or(0, |l| l.0));
        assert_eq!(copies + letters, 1, "{offset}");
    }
}

#[actix::test]
async fn while_commits_are_not_taken_no_more_jobs_are() {
    tokio::time::pause();
    let worker = start();
    tokio::time::sleep(Duration::from_secs(1)).await;
    for _ in 0..worker.credits.in_use().0 {
        worker.credits.release(1);
    }
    assert!(worker.credits.is_open());
    worker.fakes.commits_hang.store(true, Ordering::Relaxed);
    worker.put(1..2);
    tokio::time::sleep(Duration::from_secs(4)).await;
    assert!(worker.credits.is_open(), "a coordinator may move");
    tokio::time::sleep(Duration::from_secs(2)).await;
    assert!(!worker.credits.is_open());
    worker.events.try_send(OffsetLogEvent::Committed(Ok(()))).unwrap();
    tokio::time::sleep(Duration::from_millis(10)).await;
    assert!(worker.credits.is_open());
}

#[actix::test]
async fn whom_the_relay_took_before_a_452_is_remembered_though_the_rest_is_given_up_for_a_revoke() {
    tokio::time::pause();
    let worker = start();
    // Another one is past the dot, so the last commit waits.
    worker.fakes.slow_dot_seconds.store(3, Ordering::Relaxed);
    worker.put(1..2);
    tokio::time::sleep(Duration::from_millis(100)).await;
    worker.fakes.slow_dot_seconds.store(0, Ordering::Relaxed);
    worker.fakes.one_recipient_at_a_time.store(true, Ordering::Relaxed);
    worker.put(2..3);
    tokio::time::sleep(Duration::from_millis(300)).await;
    assert_eq!(worker.fakes.offers.lock().len(), 3, "the second recipient is being asked for");
    let (reply, answer) = tokio::sync::oneshot::channel();
    worker.events.try_send(OffsetLogEvent::Revoking { partitions: vec![0.into()], reply }).unwrap();
    let last = answer.await.unwrap().remove(0);
    let metadata = Metadata::decode(&last.metadata, last.offset).unwrap();
    let past = metadata.unfinished.get(&2).copied().unwrap_or_default();
    assert!(past.served.contains(0) && past.attempts == 0, "{metadata:?}");
}
