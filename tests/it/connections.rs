//! What a relay does to a connection, and what that costs an e-mail: nothing, where it is the connection's end.

use crate::harness::{Kafka, Queue, Settings, TestWorker};
use crate::scripted_smtp::{Act, At, Script, ScriptedSmtp, say};

/// So many jobs through one mailer, until all are settled; returns the worker while it still runs.
fn send(relay: &ScriptedSmtp, queue: &Queue, jobs: usize) -> TestWorker {
    let settings = Settings::new(queue, relay.port()).set("mailers.size", "1");
    let worker = TestWorker::start(&settings);
    queue.put((0..jobs).map(|n| format!(r#"{{"to": "user{n}@example.com", "text": "Hello"}}"#)));
    queue.wait_until_settled();
    worker
}

/// Ten e-mails arrived once each, none cost an attempt, and as many connections were made as said.
fn assert_free(script: Script, connections: usize) {
    let queue = Queue::new(Kafka::shared(), 1);
    let relay = script.start();
    let worker = send(&relay, &queue, 10);
    let metrics = worker.metrics();
    assert_eq!(metrics.get("mailroom_send_attempts_total", &[("result", "ok")]), 10.0);
    assert_eq!(metrics.sum("mailroom_send_attempts_total"), 10.0, "a free try counts for nothing");
    worker.stop();
    let log = relay.log();
    assert_eq!(log.taken().len(), 10);
    assert_eq!(log.connections, connections);
    assert!(queue.dead_letters().is_empty());
}

#[test]
fn a_421_after_three_e_mails_on_a_connection_costs_no_attempt() {
    assert_free(Script::new().on(At::Mail, vec![say("421 4.7.0 Enough"), Act::Close]).after_mails(3), 4);
}

#[test]
fn a_452_to_mail_after_three_e_mails_on_a_connection_that_stays_open_costs_no_attempt() {
    assert_free(Script::new().on(At::Mail, vec![say("452 4.5.3 Too many messages")]).after_mails(3), 4);
}

#[test]
fn a_connection_that_the_relay_closed_after_three_e_mails_costs_no_attempt() {
    assert_free(Script::new().on(At::Mail, vec![Act::Close]).after_mails(3), 4);
    assert_free(Script::new().on(At::Mail, vec![Act::Reset]).after_mails(3), 4);
}

#[test]
fn a_421_to_a_new_connections_first_e_mail_has_no_free_try_and_yet_spends_no_attempt() {
    let queue = Queue::new(Kafka::shared(), 1);
    let relay = Script::new().on(At::Mail, vec![say("421 4.7.0 Not now"), Act::Close]).times(4).start();
    let worker = send(&relay, &queue, 1);
    let metrics = worker.metrics();
    assert_eq!(metrics.get("mailroom_send_attempts_total", &[("result", "limited")]), 4.0);
    assert_eq!(metrics.get("mailroom_emails_total", &[("outcome", "sent")]), 1.0);
    worker.stop();
    assert!(queue.dead_letters().is_empty(), "three attempts would have been spent");
}

#[test]
fn a_kept_connection_gets_its_free_try_once_it_has_been_idle() {
    let queue = Queue::new(Kafka::shared(), 1);
    let relay = Script::new().on(At::Mail, vec![say("450 4.3.0 Not now")]).start();
    let worker = send(&relay, &queue, 1);
    let metrics = worker.metrics();
    assert_eq!(metrics.get("mailroom_send_attempts_total", &[("result", "temporary")]), 3.0);
    worker.stop();
    // The waits are over a second, so a connection has been idle before attempts 2 and 3, which are free once.
    let offers = relay.log().lines().iter().filter(|line| line.starts_with("MAIL")).count();
    assert_eq!(offers, 5);
    assert_eq!(queue.dead_letters()[0].value["retry_count"], 3);
}

#[test]
fn recipients_beyond_what_the_relay_takes_at_once_follow_at_once_and_cost_no_attempt() {
    let queue = Queue::new(Kafka::shared(), 1);
    // Two recipients a transaction; the rest is told to come again.
    let rcpts = std::sync::atomic::AtomicUsize::new(0);
    let relay = Script::new()
        .on(At::Rcpt, vec![say("452 4.5.3 Too many recipients")])
        .when(move |_| rcpts.fetch_add(1, std::sync::atomic::Ordering::Relaxed) % 5 >= 2)
        .start();
    let worker = TestWorker::start(&Settings::new(&queue, relay.port()).set("mailers.size", "1"));
    // 5 recipients, of which 2 go; then 3, of which none is counted as over the limit until its own third.
    queue.put([r#"{"to": ["a@example.com", "b@example.com", "c@example.com", "d@example.com", "e@example.com"], "text": "Hello"}"#]);
    queue.wait_until_settled();
    let metrics = worker.metrics();
    assert_eq!(metrics.get("mailroom_emails_total", &[("outcome", "sent")]), 1.0);
    worker.stop();
    let log = relay.log();
    let mut reached: Vec<String> = log.taken().iter().flat_map(|mail| mail.recipients.clone()).collect();
    reached.sort();
    assert_eq!(
        reached,
        ["a@example.com", "b@example.com", "c@example.com", "d@example.com", "e@example.com"]
    );
    assert!(log.taken().len() >= 2);
    assert_eq!(
        metrics.get("mailroom_send_attempts_total", &[("result", "ok")]),
        log.taken().len() as f64,
        "each transaction counts"
    );
    assert!(queue.dead_letters().is_empty());
    assert_eq!(log.connections, 1);
}

#[test]
fn a_reply_lost_after_the_dot_is_ambiguous_and_sent_again_with_the_same_message_id() {
    let queue = Queue::new(Kafka::shared(), 1);
    let relay = Script::new().on(At::Dot, vec![Act::Close]).times(1).start();
    let worker = send(&relay, &queue, 1);
    let metrics = worker.metrics();
    assert_eq!(metrics.get("mailroom_send_attempts_total", &[("result", "ambiguous")]), 1.0);
    assert_eq!(metrics.get("mailroom_send_attempts_total", &[("result", "ok")]), 1.0);
    worker.stop();
    let log = relay.log();
    let message_id = |data: &[u8]| {
        let message = mail_parser::MessageParser::default().parse(data).expect("an e-mail");
        message.message_id().expect("it has one").to_owned()
    };
    let ids: Vec<String> = log.deliveries.iter().map(|mail| message_id(&mail.data)).collect();
    assert_eq!(ids.len(), 2);
    assert_eq!(ids[0], ids[1]);
}
