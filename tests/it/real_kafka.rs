//! Stops, crashes and outages with a real broker: what is promised in the contract's section 4.

use std::collections::BTreeMap;
use std::time::Duration;

use crate::harness::{Answer, Kafka, Queue, RecordingSmtp, Settings, Step, TestWorker, until};

const JOBS: usize = 20_000;

#[test]
fn of_20_000_jobs_a_stop_in_the_middle_loses_none_and_repeats_only_what_ran_ahead_of_the_commit() {
    let queue = Queue::new(Kafka::shared(), 8);
    let relay = unhurried_relay();
    queue.put(jobs(JOBS));
    let first = TestWorker::start(&Settings::new(&queue, relay.port()));
    until("the middle", || (relay.taken() > JOBS / 4).then_some(()));
    first.stop();
    let (taken, committed) = (relay.taken(), queue.committed());
    assert!(taken < JOBS, "it was stopped in the middle");
    assert!(committed <= taken, "{committed} jobs committed and {taken} taken by the relay");

    let second = TestWorker::start(&Settings::new(&queue, relay.port()));
    queue.wait_until_settled();
    second.stop();
    check_all_arrived(&relay.copies(), JOBS, taken - committed);
    assert!(queue.dead_letters().is_empty());
}

#[test]
fn of_20_000_jobs_a_kill_in_the_middle_loses_none() {
    let queue = Queue::new(Kafka::shared(), 8);
    let relay = unhurried_relay();
    queue.put(jobs(JOBS));
    let first = TestWorker::start(&Settings::new(&queue, relay.port()));
    until("the middle", || (relay.taken() > JOBS / 4).then_some(()));
    first.kill();
    // What was past the dot when the worker was killed, 8 e-mails at most, is taken by the relay yet.
    let (taken, committed) = (relay.taken() + 8, queue.committed());
    assert!(taken < JOBS, "it was killed in the middle");
    assert!(committed <= taken, "{committed} jobs committed and {taken} taken by the relay");

    let second = TestWorker::start(&Settings::new(&queue, relay.port()));
    queue.wait_until_settled();
    second.stop();
    check_all_arrived(&relay.copies(), JOBS, taken - committed);
    assert!(queue.dead_letters().is_empty());
}

#[test]
fn a_broker_that_is_restarted_costs_no_job_and_no_restart_of_ours() {
    let jobs_in_all = 5_000;
    let kafka = Kafka::start();
    let queue = Queue::new(&kafka, 4);
    let relay = RecordingSmtp::with(|step| match step {
        // Every hundredth becomes a dead letter, so that the producer meets the outage too.
        Step::Recipient(to) if to.ends_with("00@example.com") => Answer::Reply("550 5.1.1 No such user"),
        Step::Dot(_) => Answer::AcceptAfter(Duration::from_millis(5)),
        _ => Answer::Accept,
    });
    queue.put(jobs(jobs_in_all));
    let worker = TestWorker::start(&Settings::new(&queue, relay.port()));
    for (signal, after) in [("TERM", jobs_in_all / 5), ("KILL", jobs_in_all / 2)] {
        until("the next restart", || (relay.taken() > after).then_some(()));
        kafka.restart(signal);
    }
    queue.wait_until_settled();
    let metrics = worker.metrics();
    assert_eq!(metrics.sum("mailroom_actor_restarts_total"), 0.0);
    worker.stop();

    let refused = jobs_in_all / 100;
    let copies = relay.copies();
    assert_eq!(copies.len(), jobs_in_all - refused);
    let mut dead: Vec<String> =
        queue.dead_letters().iter().map(|letter| letter.value["source"].to_string()).collect();
    dead.sort();
    dead.dedup();
    assert_eq!(dead.len(), refused);
}

#[test]
fn an_e_mail_that_the_relay_thinks_about_for_10_seconds_holds_up_no_other() {
    let queue = Queue::new(Kafka::shared(), 1);
    let relay = RecordingSmtp::with(|step| match step {
        Step::Dot(to) if to == ["slow@example.com"] => Answer::AcceptAfter(Duration::from_secs(10)),
        _ => Answer::Accept,
    });
    let worker = TestWorker::start(&Settings::new(&queue, relay.port()));
    let slow = r#"{"to": "slow@example.com", "text": "Hello"}"#.to_owned();
    queue.put(std::iter::once(slow).chain(jobs(500)));
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

/// 2 ms an e-mail, so that the middle of 20,000 lasts long enough to be met.
fn unhurried_relay() -> RecordingSmtp {
    RecordingSmtp::with(|step| match step {
        Step::Dot(_) => Answer::AcceptAfter(Duration::from_millis(2)),
        _ => Answer::Accept,
    })
}

fn jobs(count: usize) -> impl Iterator<Item = String> {
    (0..count).map(|n| format!(r#"{{"to": "{}", "text": "Hello, this is job {n}."}}"#, address(n)))
}

fn address(n: usize) -> String {
    format!("user{n:05}@example.com")
}

/// That each job arrived, and that no more were repeated than may be.
fn check_all_arrived(copies: &BTreeMap<String, usize>, jobs: usize, repeats_at_most: usize) {
    let missing: Vec<_> = (0..jobs).map(address).filter(|to| !copies.contains_key(to)).take(5).collect();
    assert!(missing.is_empty(), "{missing:?} and perhaps more are lost");
    let repeats = copies.values().sum::<usize>() - jobs;
    assert!(repeats <= repeats_at_most, "{repeats} repeats, {repeats_at_most} could be explained");
}
