//! Replayed jobs on a topic of their own, which is consumed beside the queue (`dlq.replay_topic`).

use std::time::Duration;

use crate::harness::{Kafka, Queue, Settings, SmtpSink, TestWorker, until};
use crate::replays::Letters;

#[test]
fn replayed_jobs_may_have_a_topic_of_their_own_which_is_consumed_beside_the_queue() {
    let queue = Queue::with_letters(Kafka::shared(), 2);
    let replays = format!("{}-replays", queue.topic);
    let letters = Letters::put(&queue, 2, 25);
    let sink = SmtpSink::start(&[]);
    // It is made as the queue would be, with the broker's own number of partitions.
    let settings = Settings::new(&queue, sink.port())
        .set("dlq.replay_topic", &replays)
        .set("kafka.create_topics", "true")
        .session(Duration::from_secs(6));
    let worker = TestWorker::start(&settings);
    worker.wait_until_assigned();
    queue.put((0..10).map(|number| format!(r#"{{"to": "new{number}@example.com", "text": "Hello"}}"#)));
    let run = letters.replay("r1", 100.0);
    letters.ask(&run);
    letters.wait_until_done(&run);
    let metrics = || worker.metrics();
    until("all to be sent", || {
        (metrics().get("mailroom_emails_total", &[("outcome", "sent")]) == 35.0).then_some(())
    });
    let consumed = |topic: &str| metrics().get("mailroom_messages_consumed_total", &[("topic", topic)]);
    assert_eq!((consumed(&queue.topic), consumed(&replays)), (10.0, 25.0));
    assert_eq!(
        (queue.kafka.read_committed(&queue.topic).len(), queue.kafka.read_committed(&replays).len()),
        (10, 25)
    );
    until("both to be committed", || {
        let is_done = |topic: &str| queue.kafka.has_caught_up(&queue.group, topic);
        (is_done(&queue.topic) && is_done(&replays)).then_some(())
    });
    until("no lag to be told", || {
        let metrics = metrics();
        let lag = |topic: &str, partition: &str| {
            metrics.get("mailroom_consumer_lag", &[("topic", topic), ("partition", partition)])
        };
        let all = ["0", "1"].iter().all(|number| lag(&queue.topic, number) == 0.0)
            && queue
                .kafka
                .partitions(&replays)
                .iter()
                .all(|number| lag(&replays, &number.to_string()) == 0.0);
        all.then_some(())
    });
    worker.stop();

    // What came with the partitions is found again, and a second worker takes its share of both.
    let workers = [TestWorker::start(&settings), TestWorker::start(&settings)];
    workers.iter().for_each(TestWorker::wait_until_ready);
    queue.put((10..30).map(|number| format!(r#"{{"to": "new{number}@example.com", "text": "Hello"}}"#)));
    until("the new ones to be sent", || {
        let sent =
            |worker: &TestWorker| worker.metrics().get("mailroom_emails_total", &[("outcome", "sent")]);
        (workers.iter().map(sent).sum::<f64>() == 20.0).then_some(())
    });
    workers.into_iter().for_each(|worker| drop(worker.stop()));
}

/// A replayed job that fails again is told by its topic, and is sent from there after a crash.
#[test]
fn a_job_of_the_topic_of_replays_fails_and_survives_a_crash_as_one_of_the_queue() {
    let queue = Queue::with_letters(Kafka::shared(), 1);
    let replays = format!("{}-replays", queue.topic);
    queue.kafka.create_topic(&replays, 1);
    let letters = Letters::put(&queue, 1, 3);
    let refusing = SmtpSink::start(&["-f", "rcpt"]);
    let settings = |port| {
        let settings = Settings::new(&queue, port).set("dlq.replay_topic", &replays);
        settings.set("retry.max_attempts", "1").session(Duration::from_secs(6))
    };
    let worker = TestWorker::start(&settings(refusing.port()));
    worker.wait_until_assigned();
    let run = letters.replay("r1", 100.0);
    letters.ask(&run);
    until("the replays to be dead letters again", || (queue.dead_letters().len() == 6).then_some(()));
    let again = queue.dead_letters();
    for letter in &again[3..] {
        let header = |name: &str| letter.header(name).concat();
        assert_eq!(String::from_utf8(header("kafka_dlt-original-topic")).unwrap(), replays);
    }
    worker.signal("KILL");
    drop(worker);
    let sink = SmtpSink::start(&[]);
    let worker = TestWorker::start(&settings(sink.port()));
    worker.wait_until_ready();
    until("what was settled to be committed", || {
        queue.kafka.has_caught_up(&queue.group, &replays).then_some(())
    });
    worker.stop();
}
