//! One job changed and sent: from a file, from stdin, in an editor.

use serde_json::{Value, json};

use super::{Operator, put_letters};
use crate::harness::command_line::stderr;
use crate::harness::process;
use crate::harness::{Kafka, Queue, RecordingSmtp, Settings, TestWorker};

const GOOD: &[u8] = br#"{"to": "grace@example.com", "otp": "1"}"#;

#[test]
fn a_changed_job_is_checked_as_the_worker_would_and_then_sent_in_place_of_the_old_one() {
    let queue = Queue::new(Kafka::shared(), 1);
    put_letters(&queue, "invalid_recipient", "550 5.1.1 no such user", 1);
    let relay = RecordingSmtp::start();
    let settings = Settings::new(&queue, relay.port()).set("dlq.allow_edit", true);
    let worker = TestWorker::start(&settings);
    worker.wait_until_assigned();
    let operator = Operator::of(&queue).set("dlq.allow_edit", true);
    let edit = "edit 0-0 --reason wrong-address --value - --yes --wait";

    let shown = operator.json("show 0-0 --reveal --json");
    let original = shown["original"]["text"].as_str().expect("text").as_bytes().to_vec();
    let unchanged = operator.dlq_with(edit, &original);
    assert_eq!((unchanged.status.code(), unchanged.stdout.len()), (Some(0), 0), "{unchanged:?}");
    assert!(stderr(&unchanged).contains("unchanged: nothing is done"), "{unchanged:?}");
    let mistaken = operator.dlq_with(edit, br#"{"to": "grace@example.com"}"#);
    assert_eq!((mistaken.status.code(), mistaken.stdout.len()), (Some(1), 0), "{mistaken:?}");
    assert!(
        stderr(&mistaken).contains("nothing to say") && stderr(&mistaken).contains("put the job right"),
        "{mistaken:?}"
    );
    assert_eq!(operator.json("runs --json"), json!([]));

    let sent = operator.dlq_with(edit, GOOD);
    assert_eq!(sent.status.code(), Some(0), "a cause that is permanent is no hindrance: {sent:?}");
    queue.wait_until_settled();
    assert_eq!(relay.copies(), [("grace@example.com".to_owned(), 1)].into());
    let decisions: Value = operator.json("show 0-0 --json")["decisions"].clone();
    assert_eq!((&decisions[0]["by"], &decisions[0]["reason"]), (&json!("ada"), &json!("wrong-address")));
    worker.stop();
}

#[test]
fn jobs_are_changed_only_where_that_is_allowed_and_there_is_something_to_change() {
    let queue = Queue::new(Kafka::shared(), 1);
    let stub = r#"{"original_message": {"omitted": true, "bytes": 9, "sha256": "00"}, "cause": "quota"}"#;
    queue.kafka.produce(&queue.dlq_topic, &[crate::harness::kafka::Record::of(stub)], None);
    let folder = process::scratch_with("edit", &[("job.json", "{}")]);
    let file = folder.join("job.json");
    let file = file.display();
    let forbidden = Operator::of(&queue);
    forbidden.refuses(&format!("edit 0-0 --reason why --value {file} --yes"), 1, "dlq.allow_edit = true");
    let operator = Operator::of(&queue).set("dlq.allow_edit", true);
    operator.refuses("edit 0-0 --reason why --yes", 2, "give --value FILE");
    operator.refuses(&format!("edit 0-0 --reason why --value {file}"), 2, "give --yes");
    operator.refuses("edit 0-0 --reason why --value /nowhere --yes", 1, "/nowhere: ");
    operator.refuses(&format!("edit 0-9 --reason why --value {file} --yes"), 1, "there is no letter 0-9");
    operator.refuses(&format!("edit 0-0 --reason why --value {file} --yes"), 1, "does not hold its job");
}
