//! No letter is replayed twice, and none is left out: workers that are killed, that freeze, and runs side by side.

use std::collections::BTreeMap;

use super::{Letters, replayed};
use crate::harness::{Kafka, Queue, Settings, SmtpSink, TestWorker};

fn each_once(count: usize) -> BTreeMap<String, usize> {
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
