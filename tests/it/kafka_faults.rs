//! Brokers that go and come back, replicas that join and leave: the rows *Kafka* of the table of faults.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Mutex;
use std::time::{Duration, Instant};

use crate::harness::{Answer, Kafka, Queue, RecordingSmtp, Settings, Step, TestWorker, until};
use crate::numbered_jobs::{Account, SESSION, address, jobs, report, settings, skipped, unhurried_relay};

/// Every hundredth is refused for good, so that the producer meets the faults too.
fn relay_that_refuses_some() -> RecordingSmtp {
    RecordingSmtp::with(|step| match step {
        Step::Recipient(to) if to.ends_with("00@example.com") => Answer::Reply("550 5.1.1 No such user"),
        Step::Dot(_) => Answer::AcceptAfter(Duration::from_millis(5)),
        _ => Answer::Accept,
    })
}

#[test]
fn a_broker_that_is_restarted_costs_no_job_no_repeat_and_no_restart_of_ours() {
    let count = 5_000;
    let kafka = Kafka::start();
    let queue = Queue::new(&kafka, 4);
    let relay = relay_that_refuses_some();
    queue.put(jobs(0..count));
    // The group's own time-out: the only broker is away for some seconds.
    let worker = TestWorker::start(&Settings::new(&queue, relay.port()));
    for (signal, after) in [("TERM", count / 5), ("KILL", count / 2)] {
        until("the next restart", || (relay.taken() > after).then_some(()));
        kafka.restart(signal);
    }
    queue.wait_until_settled();
    assert_eq!(worker.metrics().sum("mailroom_actor_restarts_total"), 0.0);
    worker.stop();
    let account = Account::of(&relay, &queue);
    account.is_exact((0..count).map(address));
    assert_eq!(account.dead().len(), count / 100);
}

#[test]
fn three_brokers_restarted_one_after_the_other_cost_no_job_no_repeat_and_no_restart_of_ours() {
    let kafka = Kafka::shared_cluster();
    let queue = Queue::new(&kafka, 4);
    let relay = relay_that_refuses_some();
    let worker = TestWorker::start(&Settings::new(&queue, relay.port()));
    worker.wait_until_ready();
    let mut count = 0;
    for signal in ["TERM", "KILL"] {
        for broker in kafka.brokers() {
            queue.put(jobs(count..count + 500));
            count += 500;
            until("it to be at work", || (relay.taken() + 300 > count).then_some(()));
            broker.restart(signal);
            for topic in [&queue.topic, &queue.dlq_topic, "__consumer_offsets"] {
                kafka.wait_until_in_sync(topic);
            }
        }
    }
    queue.wait_until_settled();
    let metrics = worker.metrics();
    assert_eq!(metrics.sum("mailroom_actor_restarts_total"), 0.0);
    worker.stop();
    let account = Account::of(&relay, &queue);
    account.is_exact((0..count).map(address));
    assert_eq!(account.dead().len(), count / 100);
}

#[test]
fn with_all_brokers_away_what_is_in_hand_is_sent_and_committed_on_their_return() {
    let kafka = Kafka::shared_cluster();
    let queue = Queue::new(&kafka, 2);
    let relay = unhurried_relay(Duration::from_millis(50));
    let in_hand = 100;
    let worker = TestWorker::start(
        &Settings::new(&queue, relay.port())
            .set("limits.in_flight", in_hand)
            .set("mailers.size", 2)
            // On a machine that has much to do the brokers take their time to come back.
            .set("kafka.properties.session.timeout.ms", 180_000),
    );
    worker.wait_until_ready();
    queue.put(jobs(0..600));
    until("it to be at work", || (relay.taken() > 10).then_some(()));
    for broker in kafka.brokers() {
        broker.end("KILL");
    }
    let (away, lines) = (Instant::now(), worker.log().len());
    let taken = relay.taken();
    until("what is in hand to be sent", || (relay.taken() >= taken + in_hand - 2).then_some(()));
    until("it not to be ready", || (worker.get("/health/ready").status == 503).then_some(()));
    assert_eq!(worker.get("/health/live").status, 200);
    let seconds = away.elapsed().as_secs() as usize;
    let log = worker.log();
    let others: Vec<_> = log[lines..].iter().filter(|line| !line.contains("\"e-mail sent\"")).collect();
    report(format_args!(
        "all brokers away for {seconds} s: {} log lines beside those of e-mails",
        others.len()
    ));
    // One a second, and what is said once: the partitions, the readiness, each broker's first failure.
    assert!(others.len() <= seconds + 20, "{others:?}");

    for broker in kafka.brokers() {
        broker.start_again();
    }
    for broker in kafka.brokers() {
        broker.wait_until_listening();
    }
    queue.wait_until_settled();
    worker.wait_until_ready();
    assert_eq!(worker.metrics().sum("mailroom_actor_restarts_total"), 0.0);
    worker.stop();
    Account::of(&relay, &queue).is_exact((0..600).map(address));
}

#[test]
fn a_broker_of_three_that_is_frozen_for_a_while_costs_no_job() {
    let kafka = Kafka::shared_cluster();
    let queue = Queue::new(&kafka, 4);
    let relay = relay_that_refuses_some();
    let worker = TestWorker::start(&Settings::new(&queue, relay.port()));
    worker.wait_until_ready();
    queue.put(jobs(0..1_000));
    until("it to be at work", || (relay.taken() > 100).then_some(()));
    kafka.brokers()[1].signal("STOP");
    // The controllers take it for dead after its session of 3 s; new leaders take the jobs then.
    let frozen = Instant::now();
    queue.put(jobs(1_000..2_000));
    until("the others to take its place", || (relay.taken() > 1_500).then_some(()));
    report(format_args!(
        "one broker of three frozen: the jobs put then are sent {:?} later",
        frozen.elapsed()
    ));
    kafka.brokers()[1].signal("CONT");
    queue.wait_until_settled();
    assert_eq!(worker.metrics().sum("mailroom_actor_restarts_total"), 0.0);
    worker.stop();
    kafka.wait_until_in_sync(&queue.topic);
    Account::of(&relay, &queue).nobody_is_lost((0..2_000).map(address));
}

#[test]
fn replicas_that_come_and_go_while_retries_wait_lose_and_repeat_nothing_and_attempts_go_on() {
    let count = 200;
    let never_taken = |to: &str| to.ends_with("0@example.com") || to.ends_with("5@example.com");
    let queue = Queue::new(Kafka::shared(), 4);
    let asked: Mutex<BTreeMap<String, u32>> = Mutex::default();
    let relay = RecordingSmtp::with(move |step| match step {
        Step::Recipient(to) => {
            let mut asked = asked.lock().expect("no rule panics");
            let times = asked.entry(to.to_owned()).or_default();
            *times += 1;
            if *times <= 2 || never_taken(to) { Answer::Reply("451 4.3.0 Later") } else { Answer::Accept }
        }
        Step::Dot(_) => Answer::AcceptAfter(Duration::from_millis(20)),
        Step::Connected => Answer::Accept,
    });
    let settings = settings(&queue, &relay);
    let stays = TestWorker::start(&settings);
    stays.wait_until_ready();
    queue.put(jobs(0..count));
    let mut joins = Vec::new();
    for _ in 0..3 {
        let began = Instant::now();
        let comes = TestWorker::start(&settings);
        comes.wait_until_assigned();
        joins.push(began.elapsed());
        // Some retries wait here, and are given back unfinished.
        until("it to have jobs in hand, or all to be done", || {
            let waits = comes.metrics().sum("mailroom_retries_waiting") > 0.0;
            (waits || queue.kafka.has_caught_up(&queue.group, &queue.topic)).then_some(())
        });
        comes.stop();
    }
    report(format_args!("a second replica has partitions after {joins:?} from its start"));
    queue.wait_until_settled();
    stays.stop();
    let account = Account::of(&relay, &queue);
    account.is_exact((0..count).map(address));
    let dead: Vec<String> = (0..count).map(address).filter(|to| never_taken(to)).collect();
    assert_eq!(account.dead(), dead, "no attempt is counted twice");
    let attempts = |to: &str| relay.attempts_for(to).len();
    let of_taken: BTreeSet<usize> =
        (0..count).map(address).filter(|to| !never_taken(to)).map(|to| attempts(&to)).collect();
    assert_eq!(of_taken, BTreeSet::from([3]));
    for letter in queue.dead_letters() {
        assert_eq!(letter.value["retry_count"], 3);
    }
    // One that a revoke cut off while its refusal was under way is not spent. On a busy machine that is more than one, but
    // far from one for each of these e-mails, as it would be if attempts began anew.
    let beyond: usize = dead.iter().map(|to| attempts(to) - 3).sum();
    assert!(beyond <= dead.len() / 8, "attempts go on where they were: {beyond} more of {}", dead.len());
}

#[test]
fn when_a_replica_is_killed_another_has_its_partitions_once_the_session_is_over() {
    let queue = Queue::new(Kafka::shared(), 4);
    let relay = unhurried_relay(Duration::from_millis(5));
    let (victim, other) =
        (TestWorker::start(&settings(&queue, &relay)), TestWorker::start(&settings(&queue, &relay)));
    let partitions = |worker: &TestWorker| {
        let body = worker.get("/metrics").body;
        body.lines().filter(|line| line.starts_with("mailroom_consumer_lag{")).count()
    };
    until("two partitions each", || (partitions(&victim) == 2 && partitions(&other) == 2).then_some(()));
    queue.put(jobs(0..2_000));
    until("both to be at work", || {
        let sends = |worker: &TestWorker| worker.metrics().sum("mailroom_emails_total") > 50.0;
        (sends(&victim) && sends(&other)).then_some(())
    });
    victim.kill();
    let killed = Instant::now();
    // The other goes on: committed is to be the earlier look. What is past the dot may be taken by the relay yet.
    let committed = queue.committed();
    let ahead = relay.taken() + 2 * 8 - committed;
    until("four partitions", || (partitions(&other) == 4).then_some(()));
    report(format_args!(
        "kill -9 of one replica of two, session of {SESSION:?}: the other has all partitions after {:?}",
        killed.elapsed()
    ));
    queue.wait_until_settled();
    let explained = ahead - skipped(&other).min(ahead);
    other.stop();
    let account = Account::of(&relay, &queue);
    account.nobody_is_lost((0..2_000).map(address));
    report(format_args!(
        "kill -9 of one replica of two: {} repeats, {explained} could be explained",
        account.repeats()
    ));
    assert!(account.repeats() <= explained);
}

#[test]
fn metadata_that_cannot_be_read_means_the_plain_offset() {
    for text in ["not ours", "99:from a later version"] {
        let queue = Queue::new(Kafka::shared(), 1);
        let relay = RecordingSmtp::start();
        queue.put(jobs(0..10));
        queue.kafka.commit(&queue.group, &queue.topic, 0, 4, text);
        let worker = TestWorker::start(&settings(&queue, &relay));
        queue.wait_until_settled();
        worker.stop();
        let account = Account::of(&relay, &queue);
        account.is_exact((4..10).map(address));
        assert_eq!(relay.taken(), 6, "what is below the offset is done");
    }
}
