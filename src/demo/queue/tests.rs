use std::sync::Arc;
use std::time::Duration;

use mailroom_actors::domain::failure::Cause;
use rdkafka::consumer::{BaseConsumer, Consumer};
use rdkafka::producer::{FutureProducer, FutureRecord};
use rdkafka::{ClientConfig, Message, Offset, TopicPartitionList};
use serde_json::{Value, json};

use super::*;
use crate::demo::accounts::SharedAccounts;

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

#[tokio::test]
async fn every_job_that_was_produced_is_on_the_queue_once() {
    let queue = MockQueue::start().unwrap();
    let accounts = SharedAccounts::default();
    let producer = Producer::start(queue.brokers(), 2_000, Arc::clone(&accounts)).unwrap();
    while accounts.lock().open() < 100 {
        tokio::task::yield_now().await;
    }
    producer.stop().await;
    let produced = accounts.lock().verdict().produced;
    let client = reader(queue.brokers());
    for _ in 0..produced {
        let message = client.poll(LONG).unwrap().unwrap();
        let job: Value = serde_json::from_slice(message.payload().unwrap()).unwrap();
        let to = job["to"].as_str().unwrap();
        assert_eq!(message.key().unwrap(), to.as_bytes());
        accounts.lock().delivered(to, "");
    }
    let verdict = accounts.lock().verdict();
    assert!(verdict.is_good(), "{verdict}");
    assert_eq!((verdict.delivered, verdict.delivered_twice), (produced, 0));
}

#[tokio::test]
async fn a_flow_that_nobody_takes_waits_before_the_mock_cluster_drops_anything() {
    let queue = MockQueue::start().unwrap();
    let accounts = SharedAccounts::default();
    let producer = Producer::start(queue.brokers(), 1_000_000, Arc::clone(&accounts)).unwrap();
    while accounts.lock().open() < producer::MOST_OPEN {
        tokio::task::yield_now().await;
    }
    producer.stop().await;
    let produced = accounts.lock().verdict().produced;
    assert_eq!(produced, producer::MOST_OPEN);
    let client = reader(queue.brokers());
    let mut kept = 0;
    for partition in 0..PARTITIONS {
        let (low, high) = client.fetch_watermarks(TOPIC, partition, LONG).unwrap();
        kept += high - low;
    }
    assert_eq!(usize::try_from(kept).unwrap(), produced);
}

#[tokio::test]
async fn every_dead_letter_is_read_before_the_reader_ends() {
    let queue = MockQueue::start().unwrap();
    let accounts = SharedAccounts::default();
    let letters = LetterReader::start(queue.brokers(), Arc::clone(&accounts)).unwrap();
    let client: FutureProducer =
        ClientConfig::new().set("bootstrap.servers", queue.brokers()).create().unwrap();
    for cause in Cause::ALL {
        let recipient = format!("{cause}@example.com");
        accounts.lock().produced(&recipient);
        let letter = json!({"original_message": {"to": recipient}, "cause": cause.as_str()}).to_string();
        client.send(FutureRecord::<(), _>::to(DLQ_TOPIC).payload(&letter), LONG).await.unwrap();
    }
    client.send(FutureRecord::<(), _>::to(DLQ_TOPIC).payload("no letter"), LONG).await.unwrap();
    letters.finish().await;
    let verdict = accounts.lock().verdict();
    assert_eq!(verdict.by_cause, Cause::ALL.map(|cause| (cause, 1)));
    assert_eq!((verdict.missing, verdict.strangers), (0, 1));
}
