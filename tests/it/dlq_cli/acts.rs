//! Acting: what would be done, who agrees, what is done, and waiting for it.

use serde_json::json;

use super::{Operator, make_decisions, put_letters};
use crate::harness::command_line::{stderr, stdout};
use crate::harness::process::Process;
use crate::harness::{Answer, Kafka, Queue, RecordingSmtp, Settings, Step, TestWorker, until};
use crate::replays::{Letters, replayed};

#[test]
fn a_dry_run_says_what_would_be_done_and_what_not_and_why() {
    let queue = Queue::new(Kafka::shared(), 1);
    put_letters(&queue, "smtp_unreachable", "Connection refused", 7);
    put_letters(&queue, "invalid_recipient", "550 5.1.1 no such user", 2);
    let operator = Operator::of(&queue);
    let told = operator.told("replay --stage rcpt --dry-run");
    for part in [
        "replay: 7 letters of 9 that match",
        "skipped: 2 permanent",
        "causes: 7 smtp_unreachable",
        "and 2 more",
        "--include permanent takes them along",
    ] {
        assert!(told.contains(part), "{part}: {told}");
    }
    let preview = operator.json("replay --stage rcpt --include permanent --max 8 --dry-run --json");
    assert_eq!((&preview["matched"], &preview["will"]), (&json!(9), &json!(8)));
    let preview = operator.json("discard --stage rcpt --dry-run --json");
    assert_eq!(preview["will"], 9);
    assert_eq!(operator.states(), [("waiting".to_owned(), 9)].into());
}

#[test]
fn nothing_is_done_without_consent_a_reason_letters_or_a_topic_for_decisions() {
    let queue = Queue::new(Kafka::shared(), 1);
    put_letters(&queue, "quota", "full", 1);
    let operator = Operator::of(&queue);
    operator.refuses("replay --cause quota --reason why", 2, "give --yes to do it, or --dry-run");
    operator.refuses("replay --cause quota --yes", 2, "--reason");
    let all = operator.told("replay --dry-run --yes --wait");
    assert!(all.contains("replay: 1 letter of 1 that match"), "without a filter all are meant: {all}");
    operator.refuses("discard --cause quota --reason why --canary 1 --yes", 2, "only a replay has a canary");
    operator.refuses("discard --letter 0-0 --letter 0-9 --reason why --yes", 1, "0-9; 'mailroom dlq ls'");
    operator.refuses("replay --cause quota --reason why --yes", 1, "is not there, so nothing can be decided");
    make_decisions(&queue, 1);
    let nothing = operator.dlq("replay --cause render --reason why --yes --wait");
    assert_eq!((nothing.status.code(), nothing.stdout.len()), (Some(0), 0), "{nothing:?}");
    assert!(stderr(&nothing).contains("0 letters of 0 that match\nnothing is done"), "{nothing:?}");
    let preview = operator.json("replay --cause render --reason why --yes --wait --json");
    assert_eq!((&preview["matched"], &preview["will"]), (&json!(0), &json!(0)));
    assert_eq!(operator.json("runs --json"), json!([]), "none of these was a run");
}

#[test]
fn letters_are_replayed_discarded_and_restored_by_a_worker_and_it_is_kept_who_did_it_and_why() {
    let queue = Queue::with_letters(Kafka::shared(), 2);
    let letters = Letters::put(&queue, 2, 12);
    let relay = RecordingSmtp::start();
    let worker = TestWorker::start(&Settings::new(&queue, relay.port()));
    worker.wait_until_assigned();
    let operator = Operator::of(&queue);

    let output = operator
        .dlq("replay --cause smtp_unreachable --max 5 --reason relay-was-down --rate 50/s --yes --wait");
    assert_eq!(output.status.code(), Some(0), "{output:?}");
    let id = stdout(&output).trim().to_owned();
    assert!(!id.contains(char::is_whitespace), "stdout has the run's id alone: {output:?}");
    let told = stderr(&output);
    assert!(
        told.contains("replay: 5 letters of 12 that match") && told.contains("left for later by --max: 7"),
        "{told}"
    );
    assert!(told.contains("done: 5 letters replayed of 5"), "{told}");
    queue.wait_until_settled();
    assert_eq!((replayed(&queue).len(), relay.taken()), (5, 5));

    let run = operator.json(&format!("runs {id} --json"));
    assert_eq!(
        (&run["by"], &run["reason"], &run["state"]),
        (&json!("ada"), &json!("relay-was-down"), &json!("done"))
    );
    let runs = operator.told("runs");
    assert!(runs.contains(&id) && runs.contains("relay-was-down"), "{runs}");
    let shown = operator.told("show 0-0");
    assert!(shown.contains("replayed") && shown.contains("ada") && shown.contains(&id), "{shown}");
    operator.refuses(&format!("cancel {id} --json --set kafka.topic=/"), 78, "kafka.topic");
    let late = operator.dlq(&format!("cancel {id}"));
    assert_eq!(late.status.code(), Some(1), "{late:?}");
    assert!(stderr(&late).contains("it is done already"), "{late:?}");

    let run: serde_json::Value = operator.json("discard --state waiting --reason no --yes --wait --json");
    assert_eq!((&run["published"], &run["state"]), (&json!(7), &json!("done")));
    assert_eq!(operator.states(), [("replayed".to_owned(), 5), ("discarded".to_owned(), 7)].into());
    operator.told("restore --state discarded --reason mistake --yes --wait");
    assert_eq!(operator.states(), [("replayed".to_owned(), 5), ("waiting".to_owned(), 7)].into());
    // What was replayed stays so, for whatever is asked.
    let again = operator.dlq("restore --state replayed --reason mistake --yes");
    assert!(stderr(&again).contains("skipped: 5 already"), "{again:?}");
    assert_eq!(letters.count, 12);
    worker.stop();
}

#[test]
fn a_run_that_no_worker_carries_out_can_be_waited_for_and_taken_back() {
    let queue = Queue::new(Kafka::shared(), 1);
    put_letters(&queue, "quota", "full", 3);
    make_decisions(&queue, 1);
    let operator = Operator::of(&queue);
    let command = operator
        .settings
        .command(&["dlq", "replay", "--cause", "quota", "--reason", "why", "--yes", "--wait"]);
    let mut waiting = Process::start("mailroom dlq replay", command);
    let id = until("the run's id", || waiting.stdout().into_iter().next());
    // It waits for that very run.
    assert_eq!(operator.json(&format!("runs {id} --json"))["state"], "running");
    assert!(waiting.has_ended().is_none(), "{:?}", waiting.stderr());
    let cancelled = operator.json(&format!("cancel {id} --json"));
    assert_eq!((&cancelled["state"], &cancelled["left"]), (&json!("cancelled"), &json!(3)));
    assert_eq!(waiting.wait().code(), Some(1));
    let told = waiting.stderr();
    assert!(told.iter().any(|line| line.contains("cancelled: 0 letters replayed of 3")), "{told:?}");
    let again = operator.dlq(&format!("cancel {id}"));
    assert_eq!(again.status.code(), Some(0), "taken back is taken back: {again:?}");
    let waited = operator.dlq(&format!("runs {id} --wait"));
    assert_eq!(waited.status.code(), Some(1), "{waited:?}");
}

#[test]
fn who_waits_is_told_when_no_worker_does_anything_and_by_ctrl_c_leaves_the_run_to_them() {
    let queue = Queue::new(Kafka::shared(), 1);
    put_letters(&queue, "quota", "full", 1);
    make_decisions(&queue, 1);
    let operator = Operator::of(&queue);
    let command = operator
        .settings
        .command(&["dlq", "replay", "--cause", "quota", "--reason", "why", "--yes", "--wait"]);
    let mut waiting = Process::start("mailroom dlq replay", command);
    until("a word of no worker being there", || {
        waiting.stderr().iter().any(|line| line.contains("is a worker running on these topics")).then_some(())
    });
    waiting.signal("INT");
    assert_eq!(waiting.wait().code(), Some(1));
    assert!(waiting.stderr().iter().any(|line| line.contains("the run goes on")), "{:?}", waiting.stderr());
    assert_eq!(operator.json("runs --json")[0]["state"], "running");
}

#[test]
fn a_replay_whose_first_letters_fail_again_is_stopped_and_ends_with_1() {
    let queue = Queue::with_letters(Kafka::shared(), 1);
    Letters::put(&queue, 1, 10);
    let relay = RecordingSmtp::with(|step| match step {
        Step::Recipient(_) => Answer::Reply("550 5.7.1 not from you"),
        _ => Answer::Accept,
    });
    let worker = TestWorker::start(&Settings::new(&queue, relay.port()));
    worker.wait_until_assigned();
    let operator = Operator::of(&queue);
    let output =
        operator.dlq("replay --cause smtp_unreachable --canary 3 --reason why --rate 100/s --yes --wait");
    assert_eq!(output.status.code(), Some(1), "{output:?}");
    let told = stderr(&output);
    assert!(told.contains("waiting until they are settled"), "{told}");
    assert!(told.contains("stopped: 3 letters replayed of 10, 3 failed again"), "{told}");
    assert_eq!(replayed(&queue).len(), 3);
    let groups = operator.json("groups --json");
    assert_eq!(
        groups.as_array().map(Vec::len),
        Some(2),
        "those that came back have a cause of their own: {groups}"
    );
    worker.stop();
}

#[test]
fn what_fails_after_the_preview_was_shown_is_not_meant() {
    let queue = Queue::new(Kafka::shared(), 1);
    put_letters(&queue, "quota", "full", 2);
    make_decisions(&queue, 1);
    let operator = Operator::of(&queue);
    let run = operator.json("replay --cause quota --reason why --yes --json");
    put_letters(&queue, "quota", "full", 3);
    let id = run["id"].as_str().expect("an id");
    assert_eq!(operator.json(&format!("runs {id} --json"))["total"], 2);
    assert_eq!(operator.json("replay --cause quota --dry-run --json")["matched"], 5);
}
