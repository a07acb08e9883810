//! Offsets that are not what they were: records deleted, topics made anew, gaps.

use std::time::Duration;

use rdkafka::admin::AdminOptions;
use rdkafka::producer::{BaseProducer, BaseRecord, Producer};
use rdkafka::{Offset, TopicPartitionList};

use crate::dlq_trouble::{admin, create_topic, delete_topic};
use crate::harness::{Kafka, Queue, RecordingSmtp, Settings, TestWorker, until};

fn jobs(from: usize, to: usize) -> impl Iterator<Item = String> {
    (from..to).map(|n| serde_json::json!({"to": format!("user-{n}@example.com"), "otp": "1"}).to_string())
}

#[test]
fn a_topic_that_is_made_anew_while_the_worker_runs_is_read_from_its_beginning() {
    let queue = Queue::new(Kafka::shared(), 1);
    let relay = RecordingSmtp::start();
    queue.put(jobs(0, 20));
    let worker = TestWorker::start(&Settings::new(&queue, relay.port()));
    until("the first jobs", || (relay.taken() == 20).then_some(()));
    delete_topic(queue.kafka, &queue.topic);
    create_topic(queue.kafka, &queue.topic, &[]);
    queue.put(jobs(20, 25));
    until("the jobs of the new topic", || (relay.copies().len() == 25).then_some(()));
    queue.wait_until_settled();
    worker.stop();
}

#[test]
fn a_topic_that_is_made_anew_while_the_worker_is_stopped_is_read_from_its_beginning() {
    let queue = Queue::new(Kafka::shared(), 1);
    let relay = RecordingSmtp::start();
    queue.put(jobs(0, 20));
    let settings = Settings::new(&queue, relay.port());
    let worker = TestWorker::start(&settings);
    queue.wait_until_settled();
    worker.stop();
    delete_topic(queue.kafka, &queue.topic);
    create_topic(queue.kafka, &queue.topic, &[]);
    queue.put(jobs(20, 50));
    let worker = TestWorker::start(&settings);
    until("the jobs of the new topic", || (relay.copies().len() == 50).then_some(()));
    queue.wait_until_settled();
    worker.stop();
}

/// Offsets without a record: a reader that sees only what was committed never meets them.
fn abort_a_transaction(queue: &Queue, records: usize) {
    let mut client = queue.kafka.client();
    client.set("transactional.id", format!("aborts-{}", queue.topic));
    let producer: BaseProducer = client.create().expect("the client is well configured");
    let wait = Duration::from_secs(30);
    producer.init_transactions(wait).expect("the broker takes transactions");
    producer.begin_transaction().expect("begun");
    for _ in 0..records {
        producer.send(BaseRecord::<(), [u8]>::to(&queue.topic).payload(b"{}")).expect("queued");
        producer.poll(Duration::ZERO);
    }
    producer.flush(wait).expect("written");
    producer.abort_transaction(wait).expect("aborted");
}

#[test]
fn a_gap_wider_than_what_is_announced_at_once_is_stepped_over() {
    let queue = Queue::new(Kafka::shared(), 1);
    let relay = RecordingSmtp::start();
    queue.put(jobs(0, 3));
    abort_a_transaction(&queue, 5_000);
    queue.put(jobs(3, 6));
    abort_a_transaction(&queue, 2_000);
    let worker = TestWorker::start(&Settings::new(&queue, relay.port()));
    until("the jobs around the gap", || (relay.copies().len() == 6).then_some(()));
    queue.wait_until_settled();
    worker.stop();
}

#[test]
fn records_that_were_deleted_unread_are_said_aloud_and_the_rest_is_sent() {
    let queue = Queue::new(Kafka::shared(), 1);
    let relay = RecordingSmtp::start();
    queue.put(jobs(0, 10));
    let settings = Settings::new(&queue, relay.port());
    let worker = TestWorker::start(&settings);
    queue.wait_until_settled();
    worker.stop();
    queue.put(jobs(10, 30));
    let mut before = TopicPartitionList::new();
    before.add_partition_offset(&queue.topic, 0, Offset::Offset(20)).expect("an offset");
    let deleting = admin(queue.kafka);
    futures::executor::block_on(deleting.delete_records(&before, &AdminOptions::new()))
        .expect("Kafka answers");
    let worker = TestWorker::start(&settings);
    until("what is left", || (relay.copies().len() == 20).then_some(()));
    queue.wait_until_settled();
    let log = worker.stop();
    let said = log.iter().find(|line| line.contains("offset out of range"));
    let line: serde_json::Value = serde_json::from_str(said.expect("it is said")).expect("JSON");
    assert_eq!((&line["level"], &line["due"]), (&"ERROR".into(), &10.into()), "{line}");
    assert!(relay.copies().values().all(|copies| *copies == 1));
}

#[test]
fn a_record_larger_than_what_is_fetched_at_once_is_sent_all_the_same() {
    let queue = Queue::new(Kafka::shared(), 1);
    let relay = RecordingSmtp::start();
    let large = serde_json::json!({"to": "large@example.com", "text": "x".repeat(900_000)}).to_string();
    queue.put(jobs(0, 3).chain([large]).chain(jobs(3, 6)));
    let worker = TestWorker::start(&Settings::new(&queue, relay.port()));
    queue.wait_until_settled();
    assert_eq!(relay.copies().len(), 7);
    worker.stop();
}
