//! The redriver: what may pass by itself is replayed after its waits; what does not is parked, and a human is told.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicUsize, Ordering};

use mailroom::dlq::records::Said;
use mailroom_actors::domain::letters::decision::State;
use serde_json::json;

use super::letters::read_committed;
use crate::harness::command_line::run;
use crate::harness::kafka::Record;
use crate::harness::{Answer, Kafka, Queue, RecordingSmtp, Settings, Step, TestWorker, until};

const LUCKY: &str = "grace@example.com";
const FULL: &str = "ada@example.com";
const GONE: &str = "bob@example.com";
const HUMAN: &str = "postmaster@mailroom.example";

/// The state of every letter on which something was decided, by its name.
fn decided(queue: &Queue<'_>) -> Vec<(String, State)> {
    let records = read_committed(queue.kafka, &queue.decisions_topic());
    let said =
        records.iter().filter_map(|record| Said::read(record.key.as_deref()?, record.value.as_deref()));
    let states = said.filter_map(|said| match said {
        Said::Decided(letter, decision) => Some((letter.to_string(), decision.latest.state)),
        _ => None,
    });
    states.collect()
}

/// A dead letter of the cause `quota`, replayed so often before, that failed so many hours ago.
fn letter(to: &str, hours_ago: i64, replay_count: u32) -> String {
    let failed_at = chrono::Utc::now() - chrono::TimeDelta::hours(hours_ago);
    json!({
        "original_message": {"to": to, "text": "Hi", "id": to}, "error_reason": "452 4.2.2 Mailbox full", "retry_count": 1,
        "failed_at": failed_at.to_rfc3339_opts(chrono::SecondsFormat::Micros, true), "worker_id": "w", "cause": "quota",
        "recipients": [to], "replay_count": replay_count,
    })
    .to_string()
}

#[test]
fn waits_count_from_the_failure_and_who_is_put_back_to_waiting_is_not_parked_again() {
    let queue = Queue::with_letters(Kafka::shared(), 1);
    let records = [letter("old@example.com", 2, 0), letter("new@example.com", 0, 0), letter(FULL, 2, 1)];
    queue.kafka.produce(&queue.dlq_topic, &records.map(Record::of), None);
    let relay = RecordingSmtp::start();
    let settings =
        Settings::new(&queue, relay.port()).set("redrive.enabled", true).set("redrive.waits", "1h");
    let worker = TestWorker::start(&settings);
    let states = |wanted: &[(&str, State)]| {
        until("the decisions", || {
            let decided: BTreeMap<String, State> = decided(&queue).into_iter().collect();
            let wanted = wanted.iter().map(|(name, state)| ((*name).to_owned(), *state));
            (decided == wanted.collect()).then_some(())
        });
    };
    states(&[("0-0", State::Replayed), ("0-2", State::Parked)]);
    until("the e-mail", || (relay.attempts_for("old@example.com").len() == 1).then_some(()));

    let restore = ["dlq", "restore", "--letter", "0-2", "--reason", "looked at", "--yes", "--wait"];
    let restored = run(&settings, &restore);
    assert_eq!(restored.status.code(), Some(0), "{restored:?}");
    states(&[("0-0", State::Replayed), ("0-2", State::Waiting)]);
    // Whatever the redriver thought of it, it thinks of this one too.
    let third = letter("late@example.com", 3, 0);
    queue.kafka.produce(&queue.dlq_topic, &[Record::of(third)], None);
    states(&[("0-0", State::Replayed), ("0-2", State::Waiting), ("0-3", State::Replayed)]);
    assert_eq!((relay.attempts_for(FULL).len(), relay.attempts_for("new@example.com").len()), (0, 0));
    worker.stop();
}

#[test]
fn what_may_pass_is_replayed_after_each_wait_and_parked_after_the_last_and_a_human_is_told() {
    let queue = Queue::new(Kafka::shared(), 1);
    // One mailbox has room at the second try, one never; one address does not exist.
    let tries = AtomicUsize::new(0);
    let relay = RecordingSmtp::with(move |step| match step {
        Step::Recipient(LUCKY) if tries.fetch_add(1, Ordering::Relaxed) > 0 => Answer::Accept,
        Step::Recipient(FULL | LUCKY) => Answer::Reply("452 4.2.2 Mailbox full"),
        Step::Recipient(GONE) => Answer::Reply("550 5.1.1 No such user"),
        _ => Answer::Accept,
    });
    let settings = Settings::new(&queue, relay.port())
        .set("retry.max_attempts", 1)
        .set("redrive.enabled", true)
        .set("redrive.waits", "1s,2s")
        .set("redrive.notify", HUMAN);
    let worker = TestWorker::start(&settings);
    queue.put([LUCKY, FULL, GONE].map(|to| json!({"to": to, "text": "Hi", "id": to}).to_string()));

    until("the human to be told", || (relay.attempts_for(HUMAN).len() == 1).then_some(()));
    // Twice replayed: three tries, three letters.
    assert_eq!(relay.attempts_for(FULL).len(), 3);
    assert_eq!(relay.attempts_for(LUCKY).len(), 2);
    assert_eq!(relay.attempts_for(GONE).len(), 1);
    let letters = queue.dead_letters();
    let counts: Vec<(&str, u64)> = letters
        .iter()
        .filter(|letter| letter.text("idempotency_key") == FULL)
        .map(|letter| (letter.text("cause"), letter.value["replay_count"].as_u64().expect("it is a number")))
        .collect();
    assert_eq!(counts, [("quota", 0), ("quota", 1), ("quota", 2)]);
    let ids: Vec<_> = letters
        .iter()
        .filter(|of| of.text("idempotency_key") == FULL)
        .map(|of| of.text("message_id"))
        .collect();
    assert!(ids.iter().all(|id| *id == ids[0]), "{ids:?}");
    let mut states: Vec<State> = decided(&queue).into_iter().map(|(_, state)| state).collect();
    states.sort_by_key(|state| state.as_str());
    assert_eq!(states, [State::Parked, State::Replayed, State::Replayed, State::Replayed]);
    let metrics = worker.metrics();
    assert_eq!(metrics.get("mailroom_dlq_parked", &[]), 1.0);
    assert_eq!(metrics.get("mailroom_replayed_emails_total", &[("outcome", "sent")]), 1.0);
    assert_eq!(
        metrics.get("mailroom_dlq_letters", &[("state", "waiting"), ("cause", "invalid_recipient")]),
        1.0
    );
    worker.stop();
}
