//! What ends, freezes or starves the process, with a real broker: the rows *Process* of the table of faults.

use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::time::{Duration, Instant};

use crate::harness::process;
use crate::harness::{Answer, Kafka, Queue, RecordingSmtp, Step, TestWorker, until};
use crate::numbered_jobs::{
    Account, SESSION, address, job_for, jobs, report, settings, skipped, unhurried_relay,
};

const JOBS: usize = 20_000;
const MAILERS: usize = 8;

#[test]
fn of_20_000_jobs_a_stop_in_the_middle_loses_none_and_repeats_none() {
    let queue = Queue::new(Kafka::shared(), 8);
    let relay = unhurried_relay(Duration::from_millis(2));
    queue.put(jobs(0..JOBS));
    let first = TestWorker::start(&settings(&queue, &relay));
    until("the middle", || (relay.taken() > JOBS / 4).then_some(()));
    let told = Instant::now();
    let log = first.stop();
    report(format_args!("SIGTERM under load: exit after {:?}", told.elapsed()));
    assert!(log.iter().any(|line| line.contains("drained, committed and left the group")));
    let (taken, committed) = (relay.taken(), queue.committed());
    assert!(taken < JOBS, "it was stopped in the middle");
    assert!(committed <= taken, "{committed} jobs committed and {taken} taken by the relay");

    let second = TestWorker::start(&settings(&queue, &relay));
    queue.wait_until_settled();
    second.stop();
    assert!(queue.dead_letters().is_empty());
    Account::of(&relay, &queue).is_exact((0..JOBS).map(address));
}

#[test]
fn of_20_000_jobs_three_kills_lose_none_and_repeat_only_what_was_not_committed() {
    let queue = Queue::new(Kafka::shared(), 8);
    let relay = unhurried_relay(Duration::from_millis(2));
    queue.put(jobs(0..JOBS));
    // Taken by the relay, and neither below the committed offsets nor named beside them.
    let mut explained = 0;
    let mut ahead = 0;
    let mut worker = TestWorker::start(&settings(&queue, &relay));
    for kill in 1..=3 {
        until("the next kill", || (relay.taken() > JOBS / 4 * kill).then_some(()));
        explained += ahead - skipped(&worker).min(ahead);
        let repeats = Account::of(&relay, &queue).repeats();
        worker.kill();
        // What was past the dot may be taken by the relay yet; repeats so far are not ahead of anything.
        ahead = relay.taken() + MAILERS - repeats - queue.committed();
        assert!(queue.committed() <= relay.taken(), "O4: what is committed was taken");
        report(format_args!(
            "kill -9 number {kill}: {repeats} repeats before it, {ahead} e-mails ahead of the committed offsets"
        ));
        worker = TestWorker::start(&settings(&queue, &relay));
    }
    queue.wait_until_settled();
    explained += ahead - skipped(&worker).min(ahead);
    worker.stop();
    let account = Account::of(&relay, &queue);
    account.nobody_is_lost((0..JOBS).map(address));
    report(format_args!("three kill -9: {} repeats, {explained} could be explained", account.repeats()));
    assert!(account.repeats() <= explained);
    assert!(queue.dead_letters().is_empty());
}

#[test]
fn what_finished_behind_a_waiting_job_is_not_sent_again_and_its_attempts_go_on_after_a_kill() {
    let queue = Queue::new(Kafka::shared(), 1);
    let relay = RecordingSmtp::with(|step| match step {
        Step::Recipient("later@example.com") => Answer::Reply("451 4.3.0 Later"),
        _ => Answer::Accept,
    });
    queue.put(std::iter::once(job_for("later@example.com")).chain(jobs(0..500)));
    let first =
        TestWorker::start(&settings(&queue, &relay).set("retry.base", "60s").set("retry.max_delay", "60s"));
    until("the rest to be sent", || (relay.taken() == 500).then_some(()));
    queue.wait_until_commits_are_quiet();
    assert_eq!(queue.committed(), 0, "the first job waits");
    first.kill();

    let second = TestWorker::start(&settings(&queue, &relay).set("retry.base", "100ms"));
    queue.wait_until_settled();
    assert_eq!(skipped(&second), 500);
    second.stop();
    Account::of(&relay, &queue).is_exact((0..500).map(address));
    assert_eq!(relay.attempts_for("later@example.com").len(), 3);
    let letters = queue.dead_letters();
    assert_eq!(letters.len(), 1);
    assert_eq!(letters[0].value["retry_count"], 3, "the attempt before the kill counts");
}

/// Every point, and at which time it is met: the jobs of one partition, every tenth of them refused for good.
const KILL_POINTS: [(&str, u32); 7] = [
    ("after-poll", 1),
    ("before-mail", 25),
    ("after-the-dot", 25),
    ("after-250-before-settle", 25),
    ("after-settle-before-commit", 25),
    ("while-dead-lettering", 2),
    ("after-acknowledgement-before-commit", 2),
];

#[test]
fn a_worker_that_is_killed_at_any_named_point_loses_no_job_and_resumes() {
    // They mostly wait for the killed worker's session to end: all at once.
    std::thread::scope(|scope| {
        for (point, times) in KILL_POINTS {
            scope.spawn(move || killed_at(point, times));
        }
    });
}

fn killed_at(point: &str, times: u32) {
    let count = 60;
    let refused = |n: usize| n % 10 == 9;
    let queue = Queue::new(Kafka::shared(), 1);
    let relay = RecordingSmtp::with(|step| match step {
        Step::Recipient(to) if to.ends_with("9@example.com") => Answer::Reply("550 5.1.1 No such user"),
        Step::Dot(_) => Answer::AcceptAfter(Duration::from_millis(10)),
        _ => Answer::Accept,
    });
    let settings = settings(&queue, &relay).set("mailers.size", 2);
    let first = TestWorker::start(&settings.clone().killed_at(point, times));
    queue.put(jobs(0..count));
    let (code, log) = first.wait();
    assert_eq!(code, None, "{point}: it is to end by SIGABRT: {log:?}");
    // O4: one partition, so a job's number is its offset.
    let (committed, before) = (queue.committed(), Account::of(&relay, &queue));
    before.nobody_is_lost((0..committed).map(address));
    let letters_before = queue.dead_letters().len();
    let ahead = relay.taken() + letters_before + 2 - committed;

    let second = TestWorker::start(&settings);
    queue.wait_until_settled();
    let explained = ahead - skipped(&second).min(ahead);
    second.stop();
    let account = Account::of(&relay, &queue);
    account.nobody_is_lost((0..count).map(address));
    let dead: Vec<String> = (0..count).filter(|n| refused(*n)).map(address).collect();
    assert_eq!(account.dead(), dead, "{point}");
    let letters = queue.dead_letters().len() - dead.len();
    report(format_args!(
        "kill point {point}: {} repeats, {letters} dead letters twice, {explained} could be explained",
        account.repeats()
    ));
    assert!(account.repeats() + letters <= explained, "{point}");
}

#[test]
fn a_drain_time_that_runs_out_is_told_by_the_exit_code_and_is_no_unclean_end() {
    let queue = Queue::new(Kafka::shared(), 1);
    let silent = RecordingSmtp::with(|step| match step {
        Step::Dot(to) if to == [address(0)] => Answer::Silence,
        Step::Dot(_) => Answer::AcceptAfter(Duration::from_millis(100)),
        _ => Answer::Accept,
    });
    let impatient = settings(&queue, &silent).set("worker.drain_timeout", "1s").set("limits.crashes", 1);
    queue.put(jobs(0..200));
    let first = TestWorker::start(&impatient);
    until("the silent one and others", || (silent.taken() > 20).then_some(()));
    first.signal("TERM");
    let (code, log) = first.wait();
    assert_eq!(code, Some(1), "{log:?}");
    assert!(log.iter().any(|line| line.contains("drain_timeout ran out")), "{log:?}");

    // One job at a time is what an unclean end would bring here.
    let relay = unhurried_relay(Duration::from_millis(200));
    let second = TestWorker::start(&settings(&queue, &relay).set("limits.crashes", 1));
    until("two attempts at a time", || (most_at_a_time(&relay) > 1).then_some(()));
    queue.wait_until_settled();
    second.stop();
    let sent = |relay: &RecordingSmtp, to: &str| relay.copies().get(to).copied().unwrap_or_default();
    for to in (0..200).map(address) {
        assert_eq!(sent(&silent, &to) + sent(&relay, &to), 1, "{to}");
    }
}

#[test]
fn a_second_signal_ends_the_worker_at_once() {
    let queue = Queue::new(Kafka::shared(), 1);
    let reached = Arc::new(AtomicBool::new(false));
    let dot = Arc::clone(&reached);
    let relay = RecordingSmtp::with(move |step| match step {
        Step::Dot(_) => {
            dot.store(true, Ordering::Relaxed);
            Answer::Silence
        }
        _ => Answer::Accept,
    });
    queue.put(jobs(0..1));
    let worker = TestWorker::start(&settings(&queue, &relay).set("worker.drain_timeout", "200s"));
    until("the e-mail to be past the dot", || reached.load(Ordering::Relaxed).then_some(()));
    worker.signal("TERM");
    until("the stop", || worker.log().iter().any(|line| line.contains("\"stopping\"")).then_some(()));
    // Two signals within 10 ms are taken for one.
    std::thread::sleep(Duration::from_millis(50));
    worker.signal("TERM");
    // It would wait for longer than the test does.
    let (code, log) = worker.wait();
    assert_eq!(code, Some(1));
    assert!(log.iter().any(|line| line.contains("second signal")), "{log:?}");
    assert_eq!(queue.committed(), 0);
}

#[test]
fn a_worker_that_is_frozen_beyond_its_session_commits_nothing_old_and_joins_again_by_itself() {
    let queue = Queue::new(Kafka::shared(), 4);
    let relay = unhurried_relay(Duration::from_millis(20));
    let frozen = TestWorker::start(&settings(&queue, &relay));
    frozen.wait_until_ready();
    queue.put(jobs(0..2_000));
    until("it to be in the middle", || (relay.taken() > 200).then_some(()));
    frozen.signal("STOP");
    let stopped = Instant::now();
    // What was past the dot may be taken by the relay yet.
    let ahead = relay.taken() + MAILERS - queue.committed();
    let other = TestWorker::start(&settings(&queue, &relay));
    until("the other to send", || (other.metrics().sum("mailroom_emails_total") > 0.0).then_some(()));
    report(format_args!(
        "SIGSTOP, session of {SESSION:?}: another replica sends after {:?}",
        stopped.elapsed()
    ));
    queue.wait_until_settled();
    let known = skipped(&other);
    let committed = queue.kafka.committed(&queue.group, &queue.topic);
    frozen.signal("CONT");
    until("it to have partitions again", || {
        let lost = frozen.log().iter().any(|line| line.contains("partitions lost"));
        (lost && frozen.has_a_partition()).then_some(())
    });
    assert_eq!(queue.kafka.committed(&queue.group, &queue.topic), committed, "O4: nothing old is committed");
    let before = frozen.metrics().sum("mailroom_messages_consumed_total");
    until("it to take jobs again", || {
        queue.put(jobs(2_000..2_004));
        (frozen.metrics().sum("mailroom_messages_consumed_total") > before).then_some(())
    });
    queue.wait_until_settled();
    let account = Account::of(&relay, &queue);
    account.nobody_is_lost((0..2_004).map(address));
    let repeats = account.repeated().iter().filter(|to| **to < address(2_000).as_str()).count();
    let explained = ahead - known.min(ahead);
    report(format_args!("SIGSTOP beyond the session: {repeats} repeats, {explained} could be explained"));
    assert!(repeats <= explained);
    frozen.stop();
    other.stop();
}

#[test]
fn a_job_that_kills_the_worker_each_time_is_dead_lettered_and_all_others_are_sent_once() {
    const CRASHES: usize = 2;
    let queue = Queue::new(Kafka::shared(), 1);
    let victim = Arc::new(AtomicU32::new(0));
    let pid = Arc::clone(&victim);
    let relay = RecordingSmtp::with(move |step| match step {
        Step::Recipient("culprit@example.com") => {
            // So that all else is finished and committed: what comes twice then is our fault.
            std::thread::sleep(Duration::from_millis(1_500));
            let pid = until("the pid of the next worker", || {
                Some(pid.swap(0, Ordering::Relaxed)).filter(|pid| *pid > 0)
            });
            process::signal(pid, "KILL");
            Answer::Silence
        }
        _ => Answer::Accept,
    });
    queue.put(jobs(0..10).chain([job_for("culprit@example.com")]).chain(jobs(10..30)));
    let settings = settings(&queue, &relay).set("limits.crashes", CRASHES);
    let mut starts = 0;
    let worker = loop {
        starts += 1;
        let worker = TestWorker::start(&settings);
        victim.store(worker.pid(), Ordering::Relaxed);
        let settled = until("the worker's end, or the queue's", || {
            let ended = !process::is_running(worker.pid());
            let settled = queue.kafka.has_caught_up(&queue.group, &queue.topic);
            (ended || settled).then_some(settled)
        });
        if settled {
            break worker;
        }
        assert_eq!(worker.wait().0, None);
        assert!(starts < CRASHES + 2, "it is not dead-lettered at start number {starts}");
    };
    worker.stop();
    report(format_args!(
        "a job that kills, limits.crashes {CRASHES}: dead-lettered at start number {starts}"
    ));
    let letters = queue.dead_letters();
    assert_eq!(letters.len(), 1);
    assert_eq!(letters[0].text("cause"), "crash");
    let account = Account::of(&relay, &queue);
    assert_eq!(account.dead(), ["culprit@example.com"]);
    account.is_exact((0..30).map(address));
}

#[test]
fn an_idle_worker_that_is_killed_again_and_again_does_not_become_careful() {
    let queue = Queue::new(Kafka::shared(), 1);
    let relay = unhurried_relay(Duration::from_millis(200));
    let settings = settings(&queue, &relay).set("limits.crashes", 1);
    queue.put(jobs(0..1));
    for _ in 0..2 {
        let idle = TestWorker::start(&settings);
        idle.wait_until_assigned();
        queue.wait_until_settled();
        queue.wait_until_commits_are_quiet();
        idle.kill();
    }
    let worker = TestWorker::start(&settings);
    // What came while nobody was there might have been in hand.
    worker.wait_until_assigned();
    queue.put(jobs(1..100));
    until("two attempts at a time", || (most_at_a_time(&relay) > 1).then_some(()));
    queue.wait_until_settled();
    worker.stop();
    Account::of(&relay, &queue).is_exact((0..100).map(address));
}

#[test]
fn of_several_recipients_only_those_not_served_are_tried_again_after_a_stop_or_a_kill() {
    std::thread::scope(|scope| {
        for signal in ["TERM", "KILL"] {
            scope.spawn(move || some_served_before(signal));
        }
    });
}

fn some_served_before(signal: &str) {
    let queue = Queue::new(Kafka::shared(), 1);
    let asked = AtomicU32::new(0);
    let relay = RecordingSmtp::with(move |step| match step {
        Step::Recipient("bad@example.com") => Answer::Reply("550 5.1.1 No such user"),
        Step::Recipient("later@example.com") if asked.fetch_add(1, Ordering::Relaxed) == 0 => {
            Answer::Reply("451 4.3.0 Later")
        }
        _ => Answer::Accept,
    });
    queue.put([r#"{"to": ["good@example.com", "later@example.com", "bad@example.com"], "text": "Hello"}"#]);
    let first =
        TestWorker::start(&settings(&queue, &relay).set("retry.base", "60s").set("retry.max_delay", "60s"));
    until("the first attempt", || (relay.taken() == 1).then_some(()));
    queue.wait_until_commits_are_quiet();
    first.signal(signal);
    first.wait();

    let second = TestWorker::start(&settings(&queue, &relay).set("retry.base", "100ms"));
    queue.wait_until_settled();
    second.stop();
    let account = Account::of(&relay, &queue);
    account.is_exact(["good", "later", "bad"].map(|name| format!("{name}@example.com")));
    assert_eq!(account.dead(), ["bad@example.com"], "SIG{signal}");
    assert_eq!(queue.dead_letters().len(), 1);
    assert_eq!(relay.attempts_for("good@example.com").len(), 1, "SIG{signal}: it was served");
}

#[test]
fn a_log_that_is_closed_or_not_read_holds_up_nothing() {
    std::thread::scope(|scope| {
        for name in ["closed", "stalled"] {
            scope.spawn(move || {
                let queue = Queue::new(Kafka::shared(), 2);
                let relay = RecordingSmtp::start();
                // Much more than a pipe of 64 KiB takes.
                let worker = TestWorker::start(&settings(&queue, &relay).set("log.level", "debug"));
                if name == "closed" {
                    worker.close_log()
                } else {
                    worker.stall_log()
                }
                queue.put(jobs(0..3_000));
                queue.wait_until_settled();
                let dropped = worker.metrics().sum("mailroom_log_lines_dropped_total");
                assert!(name == "stalled" || dropped > 0.0, "lines that nobody reads are counted");
                worker.signal("TERM");
                assert_eq!(worker.wait().0, Some(0), "{name}");
                Account::of(&relay, &queue).is_exact((0..3_000).map(address));
            });
        }
    });
}

#[test]
fn a_worker_out_of_descriptors_keeps_its_promises_says_so_and_recovers() {
    let count = 400;
    let queue = Queue::new(Kafka::shared(), 2);
    let relay = unhurried_relay(Duration::from_millis(50));
    let worker = TestWorker::start(&settings(&queue, &relay));
    worker.wait_until_ready();
    // Below what it has open already: nothing more can be opened, not by the mailers, Kafka's client or HTTP.
    limit_descriptors(&worker, 10);
    queue.put(jobs(0..count));
    until("it to say so", || {
        worker.log().iter().any(|line| line.contains("Too many open files")).then_some(())
    });
    limit_descriptors(&worker, 1024);
    queue.wait_until_settled();
    let account = Account::of(&relay, &queue);
    account.is_exact((0..count).map(address));
    report(format_args!("out of descriptors: {} of {count} e-mails dead-lettered", account.dead().len()));

    queue.put(jobs(count..count + 100));
    queue.wait_until_settled();
    worker.stop();
    let account = Account::of(&relay, &queue);
    assert!(
        account.dead().iter().all(|to| *to < address(count).as_str()),
        "with descriptors again all is sent"
    );
}

/// Sets the soft limit, which anyone may raise again.
fn limit_descriptors(worker: &TestWorker, limit: u32) {
    let mut prlimit = Command::new("prlimit");
    prlimit.args(["--pid", &worker.pid().to_string(), &format!("--nofile={limit}:")]);
    let set = process::run(prlimit, b"");
    assert!(set.status.success(), "{}", String::from_utf8_lossy(&set.stderr));
}

/// How many attempts the relay has seen under way at the same time.
fn most_at_a_time(relay: &RecordingSmtp) -> usize {
    let attempts = relay.attempts();
    let now = Instant::now();
    let under_way =
        |at: Instant| attempts.iter().filter(|of| of.began <= at && of.ended.unwrap_or(now) > at).count();
    attempts.iter().map(|attempt| under_way(attempt.began)).max().unwrap_or_default()
}
