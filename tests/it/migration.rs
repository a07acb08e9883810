//! From another program's worker to this one and back, by the same group name (docs/migration.md).

use std::time::Duration;

use rdkafka::consumer::{BaseConsumer, CommitMode, Consumer};

use crate::harness::command_line::{run, stdout};
use crate::harness::{Kafka, Queue, RecordingSmtp, Settings, TestWorker, until};

const TOKEN: &str = "a-token-of-the-test";

fn job(number: usize) -> String {
    format!(r#"{{"to": "a{number}@example.com", "otp": "493021"}}"#)
}

/// The old worker: a member of the group as client libraries make it by default.
fn old_worker(queue: &Queue<'_>) -> BaseConsumer {
    let mut client = queue.kafka.client();
    client.set("group.id", &queue.group).set("client.id", "kafka-python-3.0.12");
    client.set("auto.offset.reset", "earliest").set("enable.auto.commit", "false");
    let consumer: BaseConsumer = client.create().expect("the client is well configured");
    consumer.subscribe(&[&queue.topic]).expect("a topic's name");
    consumer
}

/// How many records it takes and commits; it gives up when none has come for a while after the first.
fn take(consumer: &BaseConsumer, count: usize) -> usize {
    let mut taken = 0;
    until("the old worker to have its part", || {
        while let Some(message) = consumer.poll(Duration::from_millis(200)) {
            consumer.commit_message(&message.expect("a record"), CommitMode::Sync).expect("it commits");
            taken += 1;
        }
        (taken >= count).then_some(())
    });
    taken
}

#[test]
fn while_an_old_worker_is_in_the_group_this_one_waits_and_then_goes_on_where_that_stopped() {
    let queue = Queue::new(Kafka::shared(), 1);
    let relay = RecordingSmtp::start();
    let settings = Settings::new(&queue, relay.port());
    queue.put((0..3).map(job));
    let told = || stdout(&run(&settings, &["check", "--online"]));
    assert!(told().contains("would send 3 records"), "{}", told());
    let old = old_worker(&queue);
    assert_eq!(take(&old, 3), 3);
    let while_it_runs = told();
    assert!(while_it_runs.contains("other programs are in") && while_it_runs.contains("kafka-python-3.0.12"));

    let worker = TestWorker::start(&settings);
    let consumer = until("health to say what keeps it out", || {
        let health = worker.get("/health").json();
        let said = health["checks"]["consumer"][0]["output"].as_str()?.to_owned();
        old.poll(Duration::ZERO);
        said.contains("nconsistent group protocol").then_some(said)
    });
    assert!(consumer.contains("not in the consumer group"), "{consumer}");
    assert_eq!(worker.get("/health/ready").status, 503);
    assert!(relay.attempts().is_empty());

    drop(old);
    worker.wait_until_ready();
    queue.put((3..6).map(job));
    queue.wait_until_settled();
    worker.stop();
    let expected = (3..6).map(|number| (format!("a{number}@example.com"), 1));
    assert_eq!(relay.copies(), expected.collect(), "the first three are the old worker's");
}

#[test]
fn paused_and_stopped_it_leaves_an_old_worker_only_what_it_has_not_sent() {
    let queue = Queue::new(Kafka::shared(), 1);
    let relay = RecordingSmtp::start();
    let worker = TestWorker::start(&Settings::new(&queue, relay.port()).set("http.admin_token", TOKEN));
    queue.put((0..20).map(job));
    until("some of them to be sent", || (relay.taken() > 0).then_some(()));
    let pause = r#"{"reason": "back to the old worker"}"#;
    assert_eq!(worker.request("POST", "/consumer/pause", Some(TOKEN), Some(pause)).status, 200);
    until("nothing in hand", || (worker.metrics().get("mailroom_in_flight", &[]) == 0.0).then_some(()));
    queue.put((20..25).map(job));
    worker.stop();
    let sent = relay.taken();
    assert_eq!(take(&old_worker(&queue), 25 - sent), 25 - sent);
}
