//! No letter is replayed twice, and none is left out: workers that are killed, that freeze, and runs side by side.

use std::collections::BTreeMap;
use std::time::Duration;

use mailroom::dlq::records::Said;
use mailroom_actors::domain::letters::run::{Cancelled, Progress};

use super::{Letters, replayed};
use crate::harness::kafka::Record;
use crate::harness::{Kafka, Queue, Settings, SmtpSink, TestWorker, until};

/// What [`replayed`] is when all is well.
pub fn each_once(count: usize) -> BTreeMap<String, usize> {
    (0..count).map(|number| (format!("job-{number}"), 1)).collect()
}

#[test]
fn a_run_puts_each_job_back_once_as_it_was_and_it_is_sent() {
    let queue = Queue::with_letters(Kafka::shared(), 2);
    let letters = Letters::put(&queue, 2, 25);
    let sink = SmtpSink::start(&[]);
    let worker = TestWorker::start(&Settings::new(&queue, sink.port()));
    worker.wait_until_assigned();
    let run = letters.replay("r1", 20.0);
    letters.ask(&run);
    letters.wait_until_done(&run);
    assert_eq!(replayed(&queue), each_once(25));
    queue.wait_until_settled();
    let metrics = worker.metrics();
    assert_eq!(metrics.get("mailroom_emails_total", &[("outcome", "sent")]), 25.0);
    assert_eq!(metrics.get("mailroom_replays_total", &[("result", "published")]), 25.0);
    let job = &queue.kafka.read_committed(&queue.topic)[0];
    let number =
        String::from_utf8_lossy(&job.key.clone().expect("it has the letter's key")).replace("key-", "");
    let value = format!(r#"{{"to": "ada{number}@example.com",  "otp": "{number}", "id": "job-{number}"}}"#);
    assert_eq!(job.value.as_deref().map(String::from_utf8_lossy), Some(value.into()));
    let headers: Vec<(&str, String)> = job
        .headers
        .iter()
        .map(|(name, value)| {
            (name.as_str(), String::from_utf8_lossy(value.as_deref().unwrap_or_default()).into_owned())
        })
        .collect();
    assert_eq!(headers[0], ("mine", "stays".to_owned()));
    assert_eq!(headers[2], ("mailroom-replay-count", "1".to_owned()));
    assert_eq!(headers[3], ("idempotency-key", format!("job-{number}")));
    assert_eq!(headers.len(), 4, "{headers:?}");
    worker.stop();
}

/// The places of a batch at which its worker may die, and which time it comes by: the decisions are under way, then the jobs.
const POINTS: [(&str, u32); 4] = [
    ("dlq-within-the-transaction", 1),
    ("dlq-within-the-transaction", 2),
    ("dlq-before-the-commit", 1),
    ("dlq-after-the-commit", 1),
];

#[test]
fn a_worker_that_dies_at_any_step_of_a_batch_neither_repeats_nor_loses_a_letter() {
    let queue = Queue::with_letters(Kafka::shared(), 1);
    let letters = Letters::put(&queue, 1, 60);
    let sink = SmtpSink::start(&[]);
    let settings = Settings::new(&queue, sink.port()).session(Duration::from_secs(6));
    // The topics are there before the run is asked for.
    TestWorker::start(&settings).stop();
    let run = letters.replay("r1", 20.0);
    letters.ask(&run);
    for (point, times) in POINTS {
        let worker = TestWorker::start(&settings.clone().killed_at(point, times));
        assert_eq!(worker.wait().0, None, "{point} {times}");
    }
    let worker = TestWorker::start(&settings);
    letters.wait_until_done(&run);
    assert_eq!(replayed(&queue), each_once(60));
    worker.stop();
}

#[test]
fn a_worker_that_was_frozen_in_a_batch_writes_nothing_more_once_another_has_its_partition() {
    for point in ["dlq-within-the-transaction", "dlq-before-the-commit"] {
        let queue = Queue::with_letters(Kafka::shared(), 1);
        let letters = Letters::put(&queue, 1, 40);
        let sink = SmtpSink::start(&[]);
        let settings = Settings::new(&queue, sink.port()).session(Duration::from_secs(6));
        let frozen = TestWorker::start(&settings.clone().set("log.level", "debug").frozen_at(point, 2));
        frozen.wait_until_ready();
        let run = letters.replay("r1", 10.0);
        letters.ask(&run);
        until("the worker to be frozen", || frozen.is_stopped().then_some(()));
        let other = TestWorker::start(&settings);
        letters.wait_until_done(&run);
        frozen.signal("CONT");
        until("the frozen one to find out", || {
            let of_owner = |line: &String| line.contains("a batch was not written");
            frozen.log().iter().any(of_owner).then_some(())
        });
        assert_eq!(replayed(&queue), each_once(40), "{point}");
        frozen.stop();
        other.stop();
    }
}

#[test]
fn of_two_runs_over_the_same_letters_and_one_asked_for_twice_each_letter_is_replayed_once() {
    let queue = Queue::with_letters(Kafka::shared(), 2);
    let letters = Letters::put(&queue, 2, 60);
    let sink = SmtpSink::start(&[]);
    let worker = TestWorker::start(&Settings::new(&queue, sink.port()));
    worker.wait_until_ready();
    let runs = [letters.replay("r1", 20.0), letters.replay("r2", 30.0)];
    for run in [&runs[0], &runs[1], &runs[0]] {
        letters.ask(run);
    }
    runs.iter().for_each(|run| letters.wait_until_done(run));
    assert_eq!(replayed(&queue), each_once(60));
    let skipped: u64 =
        runs.iter().flat_map(|run| letters.progress(&run.id).into_values()).map(|of| of.skipped).sum();
    assert_eq!(skipped, 60);
    worker.stop();
}

#[test]
fn a_cancelled_run_leaves_the_rest_as_it_was() {
    let queue = Queue::with_letters(Kafka::shared(), 1);
    let letters = Letters::put(&queue, 1, 100);
    let sink = SmtpSink::start(&[]);
    let worker = TestWorker::start(&Settings::new(&queue, sink.port()));
    worker.wait_until_ready();
    let run = letters.replay("r1", 5.0);
    letters.ask(&run);
    until("the run to be under way", || (!letters.progress("r1").is_empty()).then_some(()));
    letters.say(&Said::Cancelled("r1".into(), Cancelled { by: "test".into(), at_ms: 1 }));
    // A later run over other letters ends after the cancel was heard of.
    let mut rest = letters.replay("r2", 1000.0);
    rest.letters = [(0, (90..100).collect())].into();
    letters.ask(&rest);
    letters.wait_until_done(&rest);
    let acted = letters.progress("r1")[&0].acted;
    let replayed = replayed(&queue);
    assert!(acted < 60, "{acted}");
    assert_eq!(replayed.len() as u64, acted + 10);
    assert!(replayed.values().all(|times| *times == 1));
    worker.stop();
}

#[test]
fn what_can_not_be_replayed_is_skipped_and_blocks_nothing() {
    for transactions in ["on", "off"] {
        let queue = Queue::with_letters(Kafka::shared(), 1);
        let stub = r#"{"original_message":{"omitted":true,"bytes":9,"sha256":"00"},"cause":"quota"}"#;
        let large = format!(r#"{{"original_message":"{}","cause":"quota"}}"#, "x".repeat(900_000));
        queue.kafka.tool(
            "kafka.admin.ConfigCommand",
            &["--alter", "--topic", &queue.topic, "--add-config", "max.message.bytes=500000"],
        );
        let odd =
            [stub.as_bytes(), b"no letter at all", large.as_bytes()].map(|value| Record::of(value.to_vec()));
        let letters = Letters::put(&queue, 1, 5);
        queue.kafka.produce(&queue.dlq_topic, &odd, None);
        let sink = SmtpSink::start(&[]);
        let settings = Settings::new(&queue, sink.port()).set("log.level", "debug");
        let worker = TestWorker::start(&settings.set("dlq.transactions", transactions));
        worker.wait_until_ready();
        let mut run = letters.replay("r1", 100.0);
        run.letters = [(0, (0..8).collect())].into();
        letters.ask(&run);
        letters.wait_until_done(&run);
        assert_eq!(replayed(&queue), each_once(5), "transactions {transactions}");
        assert_eq!(
            letters.progress("r1")[&0],
            Progress { next: 8, acted: 5, skipped: 3, at_least_once: transactions == "off" }
        );
        // Each of the eight is counted once, a moment after it is written.
        let counted = || {
            let metrics = worker.metrics();
            let of = |result| metrics.get("mailroom_replays_total", &[("result", result)]);
            ["published", "skipped", "refused"].map(of)
        };
        until("all to be counted", || (counted().iter().sum::<f64>() >= 8.0).then_some(()));
        assert_eq!(counted(), [5.0, 2.0, 1.0]);
        assert_aborts_at_once(&worker);
        worker.stop();
    }
}

/// A transaction that is left to the brokers holds the queue's readers up for seconds.
fn assert_aborts_at_once(worker: &TestWorker) {
    let log = worker.log();
    let left = log.iter().find(|line| line.contains("a transaction could not be ended"));
    assert_eq!(left, None);
}

/// Jobs that go together are too large for a topic that takes each of them; what is too large alone is found among them.
#[test]
fn jobs_that_are_too_large_together_or_alone_are_told_apart() {
    let queue = Queue::with_letters(Kafka::shared(), 1);
    let letters = Letters::put(&queue, 1, 40);
    let large = format!(r#"{{"original_message":"{}","cause":"quota"}}"#, "x".repeat(2_000));
    queue.kafka.produce(&queue.dlq_topic, &[Record::of(large.into_bytes())], None);
    queue.kafka.tool(
        "kafka.admin.ConfigCommand",
        &["--alter", "--topic", &queue.topic, "--add-config", "max.message.bytes=1000"],
    );
    let sink = SmtpSink::start(&[]);
    let worker = TestWorker::start(&Settings::new(&queue, sink.port()).set("log.level", "debug"));
    worker.wait_until_ready();
    let mut run = letters.replay("r1", 100.0);
    run.letters = [(0, (0..41).collect())].into();
    letters.ask(&run);
    letters.wait_until_done(&run);
    assert_eq!(replayed(&queue), each_once(40));
    assert_eq!(
        letters.progress("r1")[&0],
        Progress { next: 41, acted: 40, skipped: 1, at_least_once: false }
    );
    assert_aborts_at_once(&worker);
    worker.stop();
}

/// Kills of one run, how many letters it is over, and by how many workers: short by default; for long
/// `REPLAY_KILLS=100 REPLAY_LETTERS=20000 REPLAY_WORKERS=1`.
#[test]
#[allow(clippy::print_stdout, reason = "it is for who asks with --nocapture")]
fn workers_that_are_killed_at_any_time_during_a_run_neither_repeat_nor_lose_a_letter() {
    let number =
        |name: &str, usual: usize| std::env::var(name).ok().map_or(usual, |text| text.parse().expect(name));
    let (kills, count) = (number("REPLAY_KILLS", 4), number("REPLAY_LETTERS", 400));
    let replicas = number("REPLAY_WORKERS", 3);
    let queue = Queue::with_letters(Kafka::shared(), 3);
    let letters = Letters::put(&queue, 3, count);
    let sink = SmtpSink::start(&[]);
    let settings =
        Settings::new(&queue, sink.port()).session(Duration::from_secs(6)).set("smtp.max_rate", "1/s");
    let mut workers: Vec<TestWorker> = (0..replicas).map(|_| TestWorker::start(&settings)).collect();
    workers.iter().for_each(TestWorker::wait_until_ready);
    let run = letters.replay("r1", count as f64 / (kills as f64 * 2.0));
    letters.ask(&run);
    let acted = || letters.progress("r1").values().map(|of| of.acted).sum::<u64>();
    for kill in 0..kills {
        let before = acted();
        until("the run to go on", || (acted() > before || acted() == count as u64).then_some(()));
        std::thread::sleep(Duration::from_millis(fastrand::u64(0..1500)));
        let victim = kill % workers.len();
        workers[victim].signal("KILL");
        workers[victim] = TestWorker::start(&settings);
    }
    letters.wait_until_done(&run);
    let replayed = replayed(&queue);
    let twice: Vec<_> = replayed.iter().filter(|(_, times)| **times > 1).collect();
    println!("{kills} kills, {count} letters: {} missing, {} twice", count - replayed.len(), twice.len());
    assert_eq!(replayed, each_once(count));
}

#[test]
fn without_transactions_a_run_puts_each_job_back_and_then_marks_its_letter() {
    let queue = Queue::with_letters(Kafka::shared(), 2);
    let letters = Letters::put(&queue, 2, 25);
    let sink = SmtpSink::start(&[]);
    let worker = TestWorker::start(&Settings::new(&queue, sink.port()).set("dlq.transactions", "off"));
    worker.wait_until_ready();
    let run = letters.replay("r1", 20.0);
    letters.ask(&run);
    letters.wait_until_done(&run);
    assert_eq!(replayed(&queue), each_once(25));
    // A transaction would leave a marker behind its records.
    assert_eq!(queue.kafka.count(&queue.topic), 25);
    let guarantee = worker.get("/dlq/runs/r1").json()["guarantee"].clone();
    assert_eq!(guarantee, "at-least-once");
    worker.stop();
}

#[test]
fn a_partition_that_the_queue_gets_later_has_an_owner_too() {
    let queue = Queue::with_letters(Kafka::shared(), 1);
    let sink = SmtpSink::start(&[]);
    let worker = TestWorker::start(&Settings::new(&queue, sink.port()));
    worker.wait_until_ready();
    queue.kafka.tool(
        "org.apache.kafka.tools.TopicCommand",
        &["--alter", "--topic", &queue.dlq_topic, "--partitions", "3"],
    );
    until("the partitions", || (queue.kafka.partitions(&queue.dlq_topic).len() == 3).then_some(()));
    let letters = Letters::put(&queue, 3, 12);
    let run = letters.replay("r1", 20.0);
    letters.ask(&run);
    letters.wait_until_done(&run);
    assert_eq!(replayed(&queue), each_once(12));
    worker.stop();
}
