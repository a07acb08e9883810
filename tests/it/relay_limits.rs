//! A relay that has limits, or is away: what it costs an e-mail (nothing), and what the worker does about it
//! (contract, section 4, promises 4 and 5).

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use serde_json::json;

use crate::harness::metrics::Metrics;
use crate::harness::{Kafka, Queue, Settings, TestWorker, process, until};
use crate::scripted_smtp::{Act, At, Log, Script, ScriptedSmtp, say};

/// A job that is known by its number, from a sender of its own.
fn job(number: usize) -> String {
    let (id, sender) = (format!("{number}"), sender(number));
    json!({"id": id, "from": sender, "to": format!("to{number}@example.com"), "text": "Hello"}).to_string()
}

fn sender(number: usize) -> String {
    format!("job{number}@mailroom.example")
}

/// Waits between attempts that no test has to sit through.
fn settings(queue: &Queue<'_>, port: u16) -> Settings {
    Settings::new(queue, port)
        .set("retry.base", "10ms")
        .set("retry.max_delay", "200ms")
        .set("retry.jitter", "0")
}

/// Jobs 0 to `jobs` − 1 arrived once each, and nobody else got anything.
fn assert_all_delivered_once(log: &Log, jobs: usize) {
    let mut copies = BTreeMap::new();
    for delivery in log.taken() {
        *copies.entry(delivery.sender.clone()).or_insert(0) += 1;
    }
    assert_eq!(copies, (0..jobs).map(|number| (sender(number), 1)).collect());
}

fn attempts(metrics: &Metrics, result: &str) -> usize {
    metrics.get("mailroom_send_attempts_total", &[("result", result)]) as usize
}

/// Each of these must have come at least `apart` after the one before, however late each was seen: from one
/// of the first half to the last there is the time that all between them need.
fn assert_spaced(times: &[Instant], apart: Duration) {
    let last = times.len() - 1;
    let is_spaced = |first: usize| {
        let between = u32::try_from(last - first).expect("not that many");
        // A hundredth for what the clocks of two threads may differ by.
        times[last].duration_since(times[first]) >= apart * between * 99 / 100
    };
    assert!((0..=last / 2).any(is_spaced), "closer than {apart:?} in the mean: {times:?}");
}

// ---- "Slower" ---------------------------------------------------------------------------------------------

#[test]
fn a_relay_that_says_slower_costs_no_attempt_and_everything_is_delivered_once() {
    let at_all = [At::Mail, At::Rcpt, At::Data, At::Dot];
    let but_rcpt = [At::Mail, At::Data, At::Dot];
    let mut rows: Vec<(At, &str)> = Vec::new();
    for reply in ["421 4.7.0 slower", "451 4.4.5 slower", "550 5.4.5 slower"] {
        rows.extend(at_all.map(|at| (at, reply)));
    }
    for reply in ["432 slower", "454 slower", "451 4.3.2 slower"] {
        rows.extend(but_rcpt.map(|at| (at, reply)));
    }
    rows.push((At::Mail, "451 4.7.1 slower"));
    let mut script = Script::new();
    for (number, (at, reply)) in rows.iter().enumerate() {
        // More often than there are attempts.
        script = script.on(*at, vec![say(reply)]).for_sender(&sender(number)).times(5);
    }
    let relay = script.start();
    let queue = Queue::new(Kafka::shared(), 1);
    let worker = TestWorker::start(
        &settings(&queue, relay.port()).set("breaker.failures", "0").set("mailers.size", "4"),
    );
    queue.put((0..rows.len()).map(job));
    queue.wait_until_settled();
    let metrics = worker.metrics();
    worker.stop();
    assert!(queue.dead_letters().is_empty());
    assert_all_delivered_once(&relay.log(), rows.len());
    assert_eq!(attempts(&metrics, "ok"), rows.len());
    // Free tries, of which each attempt over a used connection has one, count for nothing.
    let limited = attempts(&metrics, "limited");
    assert!((2 * rows.len()..=5 * rows.len()).contains(&limited), "{limited}");
    let sum = metrics.sum("mailroom_send_attempts_total");
    assert_eq!(sum, (rows.len() + limited) as f64);
    assert_eq!(metrics.get("email_attempts_total", &[("status", "success")]), rows.len() as f64);
}

#[test]
fn limited_attempts_are_neither_counted_nor_listed_in_the_dead_letter() {
    let queue = Queue::new(Kafka::shared(), 1);
    let relay = Script::new()
        .on(At::Dot, vec![say("454 slower")])
        .times(4)
        .on(At::Rcpt, vec![say("421 4.4.5 too many"), Act::Close])
        .times(2)
        .on(At::Rcpt, vec![say("451 4.2.0 greylisted")])
        .times(1)
        .on(At::Rcpt, vec![say("550 5.1.1 no such user")])
        .start();
    // The two 421 come first, then what is about the recipient.
    let worker = TestWorker::start(
        &settings(&queue, relay.port()).set("mailers.size", "1").set("breaker.failures", "0"),
    );
    queue.put([job(0)]);
    queue.wait_until_settled();
    worker.stop();
    let letters = queue.dead_letters();
    assert_eq!(letters.len(), 1);
    let letter = &letters[0].value;
    assert_eq!(letter["cause"], "invalid_recipient", "{letter}");
    assert_eq!(letter["retry_count"], 2, "{letter}");
    let listed = letter["attempts"].as_array().expect("an array");
    let errors: Vec<_> = listed.iter().map(|attempt| attempt["error"].as_str().expect("words")).collect();
    assert_eq!(errors, ["451 4.2.0 greylisted", "550 5.1.1 no such user"]);
    let numbers: Vec<_> = listed.iter().map(|attempt| attempt["number"].clone()).collect();
    assert_eq!(numbers, [1, 2]);
}

#[test]
fn the_hundredth_limited_ending_in_a_row_spends_an_attempt() {
    let queue = Queue::new(Kafka::shared(), 1);
    let relay = Script::new().on(At::Dot, vec![say("454 Throttling failure")]).start();
    let settings = settings(&queue, relay.port())
        .set("mailers.size", "1")
        .set("retry.base", "1ms")
        .set("retry.max_delay", "5ms")
        .set("retry.max_attempts", "2")
        .set("breaker.failures", "0");
    let worker = TestWorker::start(&settings);
    queue.put([job(0)]);
    queue.wait_until_settled();
    let metrics = worker.metrics();
    worker.stop();
    assert_eq!(attempts(&metrics, "limited"), 200);
    assert_eq!(relay.log().deliveries.len(), 200);
    let letters = queue.dead_letters();
    assert_eq!(letters.len(), 1);
    assert_eq!(letters[0].text("cause"), "throttled");
    assert_eq!(letters[0].value["retry_count"], 2);
}

#[test]
fn limited_spends_attempts_where_it_is_told_to() {
    let queue = Queue::new(Kafka::shared(), 1);
    let relay = Script::new().on(At::Dot, vec![say("454 Throttling failure")]).start();
    let worker = TestWorker::start(&settings(&queue, relay.port()).set("retry.limited", "retry"));
    queue.put([job(0)]);
    queue.wait_until_settled();
    worker.stop();
    let letters = queue.dead_letters();
    assert_eq!(letters.len(), 1);
    assert_eq!(letters[0].text("cause"), "throttled");
    assert_eq!(letters[0].value["retry_count"], 3);
    assert_eq!(relay.log().deliveries.len(), 3);
}

#[test]
fn a_relay_that_takes_fourteen_a_second_gets_everything_and_nothing_is_given_up() {
    const JOBS: usize = 60;
    let queue = Queue::new(Kafka::shared(), 1);
    let relay = Script::new().at_most_a_second(14, At::Data, "454 Throttling failure").start();
    let worker = TestWorker::start(&settings(&queue, relay.port()));
    queue.put((0..JOBS).map(job));
    queue.wait_until_settled();
    let metrics = worker.metrics();
    worker.stop();
    assert!(queue.dead_letters().is_empty());
    let log = relay.log();
    assert_all_delivered_once(&log, JOBS);
    assert!(attempts(&metrics, "limited") > 0, "else it was never asked for more than it takes");
    assert_eq!(attempts(&metrics, "ok"), JOBS);
    assert!(log.most_open <= 8, "{} connections", log.most_open);
}

#[test]
fn the_workers_own_rate_is_kept_over_all_mailers_without_a_burst() {
    let queue = Queue::new(Kafka::shared(), 1);
    let relay = Script::new().start();
    let worker = TestWorker::start(&settings(&queue, relay.port()).set("smtp.max_rate", "20/s"));
    queue.put((0..1).map(job));
    relay.wait_until("the first", |log| log.taken().len() == 1);
    // What was not used while there was nothing to send is no credit.
    let first = Instant::now();
    until("half a second", || (first.elapsed() >= Duration::from_millis(500)).then_some(()));
    queue.put((1..41).map(job));
    queue.wait_until_settled();
    worker.stop();
    let log = relay.log();
    assert_all_delivered_once(&log, 41);
    let mails = log.commands.iter().filter(|command| command.line.starts_with("MAIL"));
    let times: Vec<_> = mails.map(|command| command.at).collect();
    assert_eq!(times.len(), 41);
    assert_spaced(&times[1..], Duration::from_millis(50));
    assert_spaced(&times[1..11], Duration::from_millis(50));
}

// ---- Connections ------------------------------------------------------------------------------------------

#[test]
fn a_relay_that_takes_three_connections_of_eight_mailers_gets_everything() {
    const JOBS: usize = 100;
    for refusal in [vec![say("421 4.3.2 Too many connections"), Act::Close], vec![Act::Close]] {
        let queue = Queue::new(Kafka::shared(), 1);
        // Slower at the dot than at the door: by the relay's time the refusals come many to one answer.
        let relay = Script::new()
            .on(At::Greeting, refusal)
            .when(|moment| moment.open > 3)
            .on(At::Dot, vec![Act::Pause(Duration::from_millis(30)), Act::GoOn])
            .start();
        queue.put((0..JOBS).map(job));
        let worker = TestWorker::start(&settings(&queue, relay.port()));
        queue.wait_until_settled();
        let metrics = worker.metrics();
        worker.stop();
        assert!(queue.dead_letters().is_empty(), "{:?}", queue.dead_letters());
        let log = relay.log();
        assert_all_delivered_once(&log, JOBS);
        assert!(attempts(&metrics, "limited") > 0, "a fourth was never asked for");
        assert_eq!(attempts(&metrics, "infrastructure"), 0, "taken for a relay that is down");
        assert!(log.most_open <= 8, "{} connections", log.most_open);
    }
}

#[test]
fn a_few_e_mails_now_and_then_go_over_the_three_connections_that_a_relay_takes() {
    const JOBS: usize = 20;
    let queue = Queue::new(Kafka::shared(), 1);
    let relay = Script::new().at_most_open(3, "421 4.3.2 Too many connections").start();
    let worker = TestWorker::start(&settings(&queue, relay.port()));
    for number in 0..JOBS {
        queue.put([job(number)]);
        until("it to be settled", || {
            let metrics = worker.metrics();
            (metrics.sum("mailroom_emails_total") == (number + 1) as f64).then_some(())
        });
    }
    worker.stop();
    assert!(queue.dead_letters().is_empty(), "{:?}", queue.dead_letters());
    assert_all_delivered_once(&relay.log(), JOBS);
}

#[test]
fn a_connection_is_changed_before_the_relay_loses_patience_with_refusals() {
    const JOBS: usize = 30;
    let queue = Queue::new(Kafka::shared(), 1);
    let relay = Script::new().on(At::Rcpt, vec![say("550 5.1.1 no such user")]).start();
    let worker = TestWorker::start(&settings(&queue, relay.port()).set("mailers.size", "1"));
    queue.put((0..JOBS).map(job));
    queue.wait_until_settled();
    let metrics = worker.metrics();
    worker.stop();
    assert_eq!(metrics.get("mailroom_circuit_state", &[]), 0.0);
    assert_eq!(attempts(&metrics, "permanent"), JOBS);
    assert_eq!(queue.dead_letters().len(), JOBS);
    let log = relay.log();
    // Each e-mail costs two refused commands, RCPT and the DATA that went with it.
    for connection in 1..=log.connections {
        let here = log.commands_on(connection);
        let offers = here.iter().filter(|command| command.line.starts_with("MAIL")).count();
        assert!(offers <= 4, "{offers} refused e-mails over connection {connection}");
        assert_eq!(here.last().map(|command| command.line.as_str()), Some("QUIT"));
    }
}

#[test]
fn a_connection_carries_no_more_e_mails_than_it_may() {
    let queue = Queue::new(Kafka::shared(), 1);
    let relay = Script::new().start();
    let settings =
        settings(&queue, relay.port()).set("mailers.size", "1").set("smtp.max_emails_per_connection", "5");
    let worker = TestWorker::start(&settings);
    queue.put((0..20).map(job));
    queue.wait_until_settled();
    let metrics = worker.metrics();
    worker.stop();
    let log = relay.log();
    assert_all_delivered_once(&log, 20);
    assert_eq!(log.connections, 4);
    for connection in 1..=4 {
        assert_eq!(log.taken().iter().filter(|mail| mail.connection == connection).count(), 5);
        let here = log.commands_on(connection);
        assert_eq!(here.last().map(|command| command.line.as_str()), Some("QUIT"));
    }
    assert_eq!(metrics.sum("mailroom_send_attempts_total"), 20.0);
}

#[test]
fn an_idle_connection_is_closed_and_the_next_e_mail_opens_another() {
    let idle = Duration::from_millis(400);
    let queue = Queue::new(Kafka::shared(), 1);
    let relay = Script::new().start();
    let worker = TestWorker::start(&settings(&queue, relay.port()).set("smtp.idle_timeout", "400ms"));
    for number in 0..2 {
        queue.put([job(number)]);
        relay.wait_until("the connection to be closed", |log| log.ended == number + 1);
    }
    let metrics = worker.metrics();
    worker.stop();
    let log = relay.log();
    assert_all_delivered_once(&log, 2);
    assert_eq!(log.connections, 2);
    for (number, mail) in log.taken().iter().enumerate() {
        let here = log.commands_on(number + 1);
        let quit = here.last().expect("commands");
        assert_eq!(quit.line, "QUIT");
        assert!(quit.at.duration_since(mail.at) >= idle);
    }
    assert_eq!(metrics.sum("mailroom_send_attempts_total"), 2.0);
}

#[test]
fn a_connection_that_the_relay_closed_for_being_idle_costs_nothing() {
    let queue = Queue::new(Kafka::shared(), 1);
    let relay = Script::new().close_idle(Duration::from_millis(200), "421 4.4.2 idle for too long").start();
    let worker = TestWorker::start(&settings(&queue, relay.port()).set("mailers.size", "1"));
    for number in 0..3 {
        queue.put([job(number)]);
        relay.wait_until("the relay to close it", |log| log.ended == number + 1);
    }
    queue.wait_until_settled();
    let metrics = worker.metrics();
    worker.stop();
    assert_all_delivered_once(&relay.log(), 3);
    assert_eq!(attempts(&metrics, "ok"), 3);
    assert_eq!(metrics.sum("mailroom_send_attempts_total"), 3.0);
    assert!(queue.dead_letters().is_empty());
}

#[test]
fn one_e_mail_in_a_hundred_that_hangs_at_the_dot_costs_one_mailer_and_the_others_nothing() {
    const JOBS: usize = 500;
    let queue = Queue::new(Kafka::shared(), 1);
    let relay = Script::new()
        .on(At::Rcpt, vec![say("450 4.2.0 greylisted")])
        .for_sender(&sender(JOBS))
        .times(1)
        .on(At::Dot, vec![Act::Hold("slow"), Act::GoOn])
        .one_in(100)
        .start();
    queue.put((0..=JOBS).map(job));
    let worker = TestWorker::start(&settings(&queue, relay.port()));
    // All that do not hang, the one that has to wait for its second attempt among them, while those hang.
    // (The server notes an e-mail before it thinks about the answer.)
    relay.wait_until("all the others", |log| log.taken().len() == JOBS + 1);
    relay.release("slow");
    queue.wait_until_settled();
    let metrics = worker.metrics();
    worker.stop();
    assert_all_delivered_once(&relay.log(), JOBS + 1);
    assert_eq!(attempts(&metrics, "temporary"), 1);
    assert_eq!(metrics.sum("mailroom_send_attempts_total"), (JOBS + 2) as f64);
}

// ---- The circuit ------------------------------------------------------------------------------------------

const FAILURES: usize = 5;
const MAILERS: usize = 8;
const PROBE_INTERVAL: Duration = Duration::from_millis(300);

fn circuit(queue: &Queue<'_>, port: u16) -> Settings {
    Settings::new(queue, port).set("breaker.failures", FAILURES).set("breaker.probe_interval", "300ms")
}

/// What a relay does to everything: 0 turns it away at the door, 1 loses it after the dot, 2 refuses the
/// recipient, 3 takes it.
fn by_phase() -> (ScriptedSmtp, Arc<AtomicUsize>) {
    let phase = Arc::new(AtomicUsize::new(0));
    let is = |wanted: usize| {
        let phase = phase.clone();
        move |_: &crate::scripted_smtp::Moment<'_>| phase.load(Ordering::SeqCst) == wanted
    };
    let script = Script::new()
        .on(At::Greeting, vec![say("421 4.3.2 down for maintenance"), Act::Close])
        .when(is(0))
        .on(At::Dot, vec![Act::Close])
        .when(is(1))
        .on(At::Rcpt, vec![say("550 5.1.1 no such user")])
        .when(is(2));
    (script.start(), phase)
}

/// Waits until the circuit is open, looks at everything that says so, and returns the failures so far.
fn assert_open(worker: &TestWorker) -> usize {
    let metrics = until("the circuit to open", || {
        let metrics = worker.metrics();
        (metrics.get("mailroom_circuit_state", &[]) == 2.0).then_some(metrics)
    });
    assert_eq!(metrics.get("mailroom_pool_allowed", &[]), 0.0);
    assert_eq!(metrics.get("mailroom_intake_paused", &[("reason", "circuit")]), 1.0);
    assert_eq!(worker.get("/health/ready").status, 200);
    let health = worker.get("/health");
    assert_eq!(health.status, 200);
    assert_eq!(health.json()["status"], "warn", "{health:?}");
    let smtp = &health.json()["checks"]["smtp"][0];
    assert_eq!(smtp["status"], "warn", "{smtp}");
    assert!(smtp["action"].as_str().is_some_and(|action| !action.is_empty()), "{smtp}");
    attempts(&metrics, "infrastructure")
}

fn assert_closed(worker: &TestWorker) {
    until("the circuit to be closed and all mailers to be back", || {
        let metrics = worker.metrics();
        let is_closed = metrics.get("mailroom_circuit_state", &[]) == 0.0
            && metrics.get("mailroom_intake_paused", &[("reason", "circuit")]) == 0.0
            && metrics.get("mailroom_pool_allowed", &[]) == MAILERS as f64;
        is_closed.then_some(())
    });
}

#[test]
fn a_relay_that_is_away_for_a_while_dead_letters_nothing_and_intake_waits() {
    const JOBS: usize = 50;
    let queue = Queue::new(Kafka::shared(), 1);
    let port = process::free_port();
    queue.put((0..JOBS).map(job));
    let worker = TestWorker::start(&circuit(&queue, port));
    let failures = assert_open(&worker);
    let before = worker.metrics();
    queue.put((JOBS..2 * JOBS).map(job));
    let during = until("three more probes", || {
        let metrics = worker.metrics();
        (attempts(&metrics, "infrastructure") >= failures + 3).then_some(metrics)
    });
    let consumed = |metrics: &Metrics| metrics.sum("mailroom_messages_consumed_total");
    assert_eq!(consumed(&during), consumed(&before), "nothing is taken while the circuit is open");
    assert_eq!(during.sum("mailroom_emails_total"), 0.0);

    let relay = Script::new().start_on(port);
    queue.wait_until_settled();
    assert_closed(&worker);
    let metrics = worker.metrics();
    worker.stop();
    assert!(queue.dead_letters().is_empty());
    assert_all_delivered_once(&relay.log(), 2 * JOBS);
    assert_eq!(attempts(&metrics, "ok"), 2 * JOBS);
}

#[test]
fn an_outage_costs_attempts_only_what_was_under_way_before_the_circuit_opened() {
    const JOBS: usize = 50;
    let queue = Queue::new(Kafka::shared(), 1);
    let (relay, phase) = by_phase();
    queue.put((0..JOBS).map(job));
    let worker = TestWorker::start(&circuit(&queue, relay.port()));
    let failures = assert_open(&worker);
    // Of the failures still to come, one of each other mailer may have been under way when the circuit opened.
    until("ten probes", || {
        (attempts(&worker.metrics(), "infrastructure") >= failures + MAILERS + 10).then_some(())
    });
    phase.store(2, Ordering::SeqCst);
    queue.wait_until_settled();
    let metrics = worker.metrics();
    assert_eq!(metrics.get("mailroom_circuit_state", &[]), 0.0, "a refused recipient is an answer");
    worker.stop();
    let letters = queue.dead_letters();
    assert_eq!(letters.len(), JOBS);
    let mut spent_before = 0;
    for letter in &letters {
        assert_eq!(letter.text("cause"), "invalid_recipient", "{}", letter.value);
        let retry_count = letter.value["retry_count"].as_u64().expect("a number");
        let listed = letter.value["attempts"].as_array().expect("an array");
        assert_eq!(listed.len() as u64, retry_count, "{}", letter.value);
        let in_the_outage = listed.iter().filter(|attempt| attempt["stage"] == "greeting").count();
        assert_eq!(in_the_outage as u64, retry_count - 1, "{}", letter.value);
        assert!(in_the_outage <= 1, "{}", letter.value);
        spent_before += in_the_outage;
    }
    let possible = FAILURES..FAILURES + MAILERS;
    assert!(possible.contains(&spent_before), "{spent_before} attempts spent by the outage");
    // The probes of the outage, which the relay saw as connections.
    let log = relay.log();
    assert_spaced(&log.accepted_at[spent_before..spent_before + 10], PROBE_INTERVAL);
}

#[test]
fn an_ambiguous_probe_spends_an_attempt_and_leaves_the_circuit_open() {
    const JOBS: usize = 20;
    let queue = Queue::new(Kafka::shared(), 1);
    let (relay, phase) = by_phase();
    queue.put((0..JOBS).map(job));
    let worker = TestWorker::start(&circuit(&queue, relay.port()));
    assert_open(&worker);
    phase.store(1, Ordering::SeqCst);
    until("two ambiguous probes", || (attempts(&worker.metrics(), "ambiguous") >= 2).then_some(()));
    assert_open(&worker);
    phase.store(2, Ordering::SeqCst);
    queue.wait_until_settled();
    let metrics = worker.metrics();
    worker.stop();
    let letters = queue.dead_letters();
    assert_eq!(letters.len(), JOBS);
    let listed = letters.iter().flat_map(|letter| letter.value["attempts"].as_array().expect("an array"));
    let ambiguous = listed.filter(|attempt| attempt["stage"] == "final-dot").count();
    assert_eq!(ambiguous, attempts(&metrics, "ambiguous"));
    for letter in letters {
        let count = letter.value["attempts"].as_array().map_or(0, Vec::len);
        assert_eq!(letter.value["retry_count"], count, "{}", letter.value);
    }
}
