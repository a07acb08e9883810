//! What is known of a run is taken off the decisions topic once it is old and its letters have left the queue.

use std::collections::BTreeMap;

use mailroom::dlq::records::Said;
use mailroom_actors::domain::letters::run::Cancelled;
use mailroom_actors::domain::letters::runs::RUNS_KEPT_MS;

use super::Letters;
use super::letters::read_committed;
use crate::harness::process::scratch_with;
use crate::harness::{Kafka, Queue, Settings, SmtpSink, TestWorker, until};

/// Whether the last record of each key about a run is a tombstone, by key.
fn tombstones(queue: &Queue<'_>) -> BTreeMap<String, bool> {
    let records = read_committed(queue.kafka, &queue.decisions_topic()).into_iter();
    let keys = records.map(|record| {
        let key = String::from_utf8(record.key.expect("every record has a key")).expect("it is text");
        (key, record.value.is_none())
    });
    keys.filter(|(key, _)| key.starts_with("run/")).collect()
}

fn listed(worker: &TestWorker) -> Vec<String> {
    let runs = worker.get("/dlq/runs").json()["runs"].as_array().expect("it is a list").clone();
    runs.iter().map(|run| run["id"].as_str().expect("it is text").to_owned()).collect()
}

/// All letters leave the queue, as by its retention.
fn delete_letters(queue: &Queue<'_>) {
    let each =
        |partition| format!(r#"{{"topic":"{}","partition":{partition},"offset":-1}}"#, queue.dlq_topic);
    let asked = format!(r#"{{"version":1,"partitions":[{},{}]}}"#, each(0), each(1));
    let folder = scratch_with("forgotten", &[("offsets.json", &asked)]);
    let file = folder.join("offsets.json");
    let file = file.to_str().expect("the path is text");
    queue.kafka.tool("org.apache.kafka.tools.DeleteRecordsCommand", &["--offset-json-file", file]);
}

#[test]
fn an_old_run_whose_letters_have_left_is_taken_off_the_topic_and_nobody_tells_of_it_any_more() {
    let queue = Queue::with_letters(Kafka::shared(), 2);
    let letters = Letters::put(&queue, 2, 12);
    let sink = SmtpSink::start(&[]);
    let settings = Settings::new(&queue, sink.port());
    let worker = TestWorker::start(&settings);
    worker.wait_until_ready();
    let mut old = letters.replay("old", 100.0);
    old.at_ms -= RUNS_KEPT_MS;
    let mut empty = old.clone();
    (empty.id, empty.letters) = ("empty".into(), BTreeMap::new());
    let new = letters.replay("new", 100.0);
    for run in [&old, &new] {
        letters.ask(run);
        letters.wait_until_done(run);
    }
    letters.say(&Said::Cancelled("old".into(), Cancelled { by: "test".into(), at_ms: 1 }));
    letters.ask(&empty);
    // By the empty one it is seen that the worker has looked, and left the old one's records, for its letters are there.
    until("the empty run to be taken off", || {
        (tombstones(&queue).get("run/empty") == Some(&true)).then_some(())
    });
    let keys = ["run/old", "run/old/0", "run/old/1", "run/old/cancel"];
    let off = || tombstones(&queue);
    assert!(keys.iter().all(|key| !off()[*key]), "{:?}", off());
    assert_eq!(listed(&worker), ["new", "old"]);

    delete_letters(&queue);
    until("the old run to be taken off", || keys.iter().all(|key| off()[*key]).then_some(()));
    assert!(["run/new", "run/new/0", "run/new/1"].iter().all(|key| !off()[*key]), "{:?}", off());
    until("the worker to hear of it", || (listed(&worker) == ["new"]).then_some(()));
    assert_eq!(worker.get("/dlq/runs/old").status, 404);
    let replays = worker.metrics().get("mailroom_replays_total", &[("result", "published")]);
    assert_eq!(replays, 12.0);
    worker.stop();

    let next = TestWorker::start(&settings);
    next.wait_until_ready();
    until("the runs to be read", || (listed(&next) == ["new"]).then_some(()));
    assert!(keys.iter().all(|key| off()[*key]), "{:?}", off());
    next.stop();
}
