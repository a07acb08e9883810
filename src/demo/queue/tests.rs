use std::sync::Arc;

use mailroom_actors::domain::failure::Cause;
use rdkafka::consumer::{BaseConsumer, Consumer};
use rdkafka::message::{Header, OwnedHeaders};
use rdkafka::producer::{FutureProducer, FutureRecord};
use rdkafka::{ClientConfig, Message, Offset, TopicPartitionList};

use super::*;
use crate::demo::accounts::SharedAccounts;
use crate::demo::traffic;

const LONG: Duration = Duration::from_secs(60);

/// Reads the main queue from its beginning, all partitions.
fn reader(brokers: &str) -> BaseConsumer {
    let client: BaseConsumer =
        ClientConfig::new().set("bootstrap.servers", brokers).set("group.id", "test").create().unwrap();
    let mut partitions = TopicPartitionList::new();
    for partition in 0..PARTITIONS {
        partitions.add_partition_offset(TOPIC, partition, Offset::Beginning).unwrap();
    }
    client.assign(&partitions).unwrap();
    client
}

#[tokio::test(flavor = "multi_thread")]
async fn every_job_that_was_produced_is_on_the_queue_under_its_number() {
    let queue = MockQueue::start().await.unwrap();
    let accounts = SharedAccounts::default();
    let client = reader(queue.brokers());
    let producer = Producer::start(queue.brokers(), 2_000, Arc::clone(&accounts)).unwrap();
    let mut producer = Some(producer);
    let mut read = 0;
    let mut produced = None;
    while produced.is_none_or(|produced| read < produced) {
        let message = loop {
            if let Some(Ok(message)) = client.poll(Duration::from_millis(100)) {
                break message;
            }
        };
        let job: serde_json::Value = serde_json::from_slice(message.payload().unwrap()).unwrap();
        let number = traffic::number_of_recipient(job["to"].as_str().unwrap());
        assert_eq!(number, traffic::number_of_key(job["id"].as_str().unwrap()));
        assert_eq!(i64::from(message.partition()), number.unwrap() as i64 % i64::from(PARTITIONS));
        accounts.lock().delivered(number, "<one@shop.example>");
        read += 1;
        if read == 100 {
            assert!(producer.take().unwrap().stop(LONG).await);
            produced = Some(accounts.lock().totals().produced);
        }
    }
    let totals = accounts.lock().totals();
    assert!(totals.all_accounted_for(), "{totals}");
    assert_eq!((totals.delivered, totals.delivered_twice, totals.refused), (read, 0, 0));
    drop(client);
    assert!(queue.close(LONG).await);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_flow_that_nobody_takes_waits_before_the_mock_cluster_drops_anything() {
    let queue = MockQueue::start().await.unwrap();
    let accounts = SharedAccounts::default();
    let producer = Producer::start(queue.brokers(), 1_000_000, Arc::clone(&accounts)).unwrap();
    while accounts.lock().under_way() < producer::MOST_UNDER_WAY {
        tokio::task::yield_now().await;
    }
    assert!(producer.stop(LONG).await);
    let produced = accounts.lock().totals().produced;
    assert_eq!(produced, producer::MOST_UNDER_WAY);
    let client = reader(queue.brokers());
    let mut left = 0;
    for partition in 0..PARTITIONS {
        let (low, high) = client.fetch_watermarks(TOPIC, partition, LONG).unwrap();
        assert_eq!(low, 0);
        left += high;
    }
    assert_eq!(left, i64::try_from(produced).unwrap());
    drop(client);
    assert!(queue.close(LONG).await);
}

#[tokio::test(flavor = "multi_thread")]
async fn every_replayed_job_is_read_and_no_other_is_taken_for_one() {
    let queue = MockQueue::start().await.unwrap();
    let accounts = SharedAccounts::default();
    let letters = LetterReader::start(queue.brokers(), Arc::clone(&accounts), Arc::default()).unwrap();
    let client: FutureProducer =
        ClientConfig::new().set("bootstrap.servers", queue.brokers()).create().unwrap();
    let letter = r#"{"idempotency_key": "demo-0", "cause": "quota", "error_reason": "x"}"#;
    accounts.lock().open();
    client.send(FutureRecord::<(), _>::to(DLQ_TOPIC).payload(letter), LONG).await.unwrap();
    for number in 1..21 {
        accounts.lock().open();
        let key = format!("demo-{number}");
        let headers = OwnedHeaders::new().insert(Header { key: "idempotency-key", value: Some(&key) });
        let headers = match number % 2 {
            0 => headers.insert(Header { key: "mailroom-replay-id", value: Some("0-1") }),
            _ => headers,
        };
        let job =
            FutureRecord::<(), _>::to(TOPIC).partition(number % PARTITIONS).payload("{}").headers(headers);
        client.send(job, LONG).await.unwrap();
    }
    let headers = OwnedHeaders::new().insert(Header { key: "mailroom-replay-id", value: Some("0-1") });
    client.send(FutureRecord::<(), _>::to(TOPIC).payload("{}").headers(headers), LONG).await.unwrap();
    assert!(letters.finish(LONG).await);
    let replays = accounts.lock().replays();
    let totals = accounts.lock().totals();
    assert_eq!((replays.replayed, replays.open, totals.strangers), (10, 10, 1));
    drop(client);
    assert!(queue.close(LONG).await);
}

#[tokio::test(flavor = "multi_thread")]
async fn every_dead_letter_is_read_before_the_reader_ends() {
    let queue = MockQueue::start().await.unwrap();
    let accounts = SharedAccounts::default();
    let letters = LetterReader::start(queue.brokers(), Arc::clone(&accounts), Arc::default()).unwrap();
    let client: FutureProducer =
        ClientConfig::new().set("bootstrap.servers", queue.brokers()).create().unwrap();
    for cause in Cause::ALL {
        let number = accounts.lock().open();
        let letter =
            format!(r#"{{"idempotency_key": "demo-{number}", "cause": "{cause}", "error_reason": "x"}}"#);
        client.send(FutureRecord::<(), _>::to(DLQ_TOPIC).payload(&letter), LONG).await.unwrap();
    }
    client.send(FutureRecord::<(), _>::to(DLQ_TOPIC).payload("no letter"), LONG).await.unwrap();
    assert!(letters.finish(LONG).await);
    let totals = accounts.lock().totals();
    assert_eq!(totals.by_cause(), Cause::ALL.map(|cause| (cause, 1)));
    assert_eq!((totals.missing, totals.strangers), (0, 1));
    drop(client);
    assert!(queue.close(LONG).await);
}
