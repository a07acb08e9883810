//! Jobs that wait for their retry hold nothing but memory.

use std::sync::atomic::Ordering;
use std::time::Duration;

use mailroom_actors::messages::GetStatus;

use crate::world::start;

#[actix::test]
async fn thousands_wait_without_holding_a_mailer_and_new_jobs_go_at_once() {
    tokio::time::pause();
    let worker = start();
    worker.fakes.put_off_from.store(1_000, Ordering::Relaxed);
    // 4 mailers put off over 600 jobs a second here, so the first wait has not ended when the last begins.
    worker.put(1_000..1_500);
    tokio::time::sleep(Duration::from_millis(950)).await;
    let books = worker.office.snapshot().accounts;
    assert_eq!((books.waiting, books.in_flight), (500, 500));
    assert_eq!(worker.supervisor.send(GetStatus).await.unwrap().pool.busy, 0);
    worker.put_to(0, 1_500..1_501);
    worker.assign(1, None);
    worker.put_to(1, 1..2);
    tokio::time::sleep(Duration::from_millis(10)).await;
    assert_eq!(worker.fakes.delivered.lock().get(&1), Some(&1), "it did not wait for the others");
    tokio::time::sleep(Duration::from_secs(60)).await;
    let books = worker.office.snapshot().accounts;
    assert_eq!((books.waiting, books.dead_lettered, books.sent), (0, 501, 1));
    assert!(worker.fakes.letters.lock().values().all(|(written, _)| *written == 1));
}

#[actix::test]
async fn five_thousand_jobs_of_one_partition_wait_and_each_has_its_three_attempts() {
    tokio::time::pause();
    let worker = start();
    worker.fakes.put_off_from.store(1, Ordering::Relaxed);
    worker.put(1..5_001);
    let mut most = 0;
    for _ in 0..3_000 {
        tokio::time::sleep(Duration::from_millis(10)).await;
        most = most.max(worker.office.snapshot().accounts.waiting);
    }
    assert!(most > 800, "{most}");
    let books = worker.office.snapshot().accounts;
    assert_eq!((books.in_flight, books.dead_lettered), (0, 5_000));
    let text = worker.scrape().await.unwrap();
    assert!(text.contains("mailroom_send_attempts_total{result=\"temporary\"} 15000"), "{text}");
}
