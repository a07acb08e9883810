//! The everyday with a real broker: topics that are missing, a relay that thinks.

use std::time::Duration;

use crate::harness::{Answer, Kafka, Queue, RecordingSmtp, Settings, Step, TestWorker};
use crate::numbered_jobs::{address, jobs};

#[test]
fn an_e_mail_that_the_relay_thinks_about_for_10_seconds_holds_up_no_other() {
    let queue = Queue::new(Kafka::shared(), 1);
    let relay = RecordingSmtp::with(|step| match step {
        Step::Dot(to) if to == ["slow@example.com"] => Answer::AcceptAfter(Duration::from_secs(10)),
        _ => Answer::Accept,
    });
    let worker = TestWorker::start(&Settings::new(&queue, relay.port()));
    let slow = r#"{"to": "slow@example.com", "text": "Hello"}"#.to_owned();
    queue.put(std::iter::once(slow).chain(jobs(0..500)));
    queue.wait_until_settled();
    let ended = |recipient: &str| {
        let attempts = relay.attempts_for(recipient);
        assert_eq!(attempts.len(), 1, "{recipient}");
        attempts[0].ended.expect("it was answered")
    };
    let slow_ended = ended("slow@example.com");
    for n in 0..500 {
        assert!(ended(&address(n)) < slow_ended, "job {n} of the same partition had to wait");
    }
    worker.stop();
}

#[test]
fn topics_that_are_not_there_are_made_with_the_brokers_own_partition_count() {
    let kafka = Kafka::shared();
    let existing = Queue::new(kafka, 1);
    let relay = RecordingSmtp::start();
    let settings = Settings::new(&existing, relay.port())
        .set("kafka.topic", "made-queue")
        .set("kafka.dlq_topic", "made-dlq")
        .set("kafka.group", "made-workers");
    let worker = TestWorker::start(&settings);
    worker.wait_until_ready();
    assert_eq!(kafka.partitions("made-queue").len(), 4);
    assert_eq!(kafka.partitions("made-dlq").len(), 4);
    let warned = worker.log().into_iter().filter(|line| line.contains("\"WARN\""));
    let warned: String = warned.collect();
    assert!(warned.contains("made-queue") && warned.contains("made-dlq"), "{warned}");
    worker.stop();
}
