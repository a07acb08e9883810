//! Dead letters as another worker left them, and runs as the command line or HTTP asks for them.

use std::collections::BTreeMap;

use mailroom::dlq::records::Said;
use mailroom_actors::domain::letters::rules::{Action, Rules};
use mailroom_actors::domain::letters::run::{Progress, Run};

use crate::harness::kafka::Record;
use crate::harness::{Kafka, Queue, until};

/// So many letters of jobs that the relay did not take, spread over the queue's partitions.
pub struct Letters<'q, 'k> {
    pub queue: &'q Queue<'k>,
    pub partitions: i32,
    pub count: usize,
}

impl<'q, 'k> Letters<'q, 'k> {
    /// Puts them on the dead letter queue. The job of number `n` has the idempotency key `job-n`.
    pub fn put(queue: &'q Queue<'k>, partitions: i32, count: usize) -> Letters<'q, 'k> {
        // An older one would leave the topic by its retention.
        let now_ms = chrono::Utc::now().timestamp_millis();
        let record = |number: usize| Record {
            key: Some(format!("key-{number}").into_bytes()),
            headers: vec![
                ("mine".into(), Some(b"stays".to_vec())),
                ("kafka_dlt-original-topic".into(), Some(b"x".to_vec())),
            ],
            value: Some(letter(queue, number).into_bytes()),
            timestamp_ms: now_ms + number as i64,
            ..Record::default()
        };
        let records: Vec<Record> = (0..count).map(record).collect();
        queue.kafka.produce(&queue.dlq_topic, &records, Some(partitions));
        Letters { queue, partitions, count }
    }

    /// A replay of all of them.
    pub fn replay(&self, id: &str, rate: f64) -> Run {
        let each = (self.count / self.partitions as usize) as i64;
        let rest = (self.count % self.partitions as usize) as i32;
        let letters = (0..self.partitions)
            .map(|partition| (partition, (0..each + i64::from(partition < rest)).collect()));
        Run {
            id: id.into(),
            rules: Rules::of(Action::Replay, 5),
            by: "test".into(),
            reason: "relay was down".into(),
            at_ms: chrono::Utc::now().timestamp_millis(),
            rate,
            canary: 0,
            letters: letters.collect(),
            newest_ms: i64::MAX,
            value: None,
        }
    }

    /// Asks for it, as the command line does.
    pub fn ask(&self, run: &Run) {
        self.say(&Said::Asked(Box::new(run.clone())));
    }

    pub fn say(&self, said: &Said) {
        let written = said.write();
        let record = Record {
            partition: written.partition,
            key: Some(written.key.into_bytes()),
            value: written.value,
            ..Record::default()
        };
        self.queue.kafka.produce(&self.queue.decisions_topic(), &[record], None);
    }

    /// How far the owners say they are, by partition.
    pub fn progress(&self, id: &str) -> BTreeMap<i32, Progress> {
        let decisions = read_committed(self.queue.kafka, &self.queue.decisions_topic());
        let said =
            decisions.iter().filter_map(|record| Said::read(record.key.as_deref()?, record.value.as_deref()));
        let progress = said.filter_map(|said| match said {
            Said::Progress(of, partition, progress) if of == id => Some((partition, progress)),
            _ => None,
        });
        progress.collect()
    }

    pub fn wait_until_done(&self, run: &Run) {
        until("the run to be done", || {
            let progress = self.progress(&run.id);
            let dealt_with: u64 = progress.values().map(|of| of.acted + of.skipped).sum();
            (dealt_with == run.letters.values().map(|letters| letters.len()).sum::<u64>()).then_some(())
        });
    }
}

fn letter(queue: &Queue<'_>, number: usize) -> String {
    format!(
        r#"{{"original_message":{{"to": "ada{number}@example.com",  "otp": "{number}", "id": "job-{number}"}},"error_reason":"Connection refused","retry_count":3,"failed_at":"2026-09-21T14:13:20.000000Z","worker_id":"w","cause":"smtp_unreachable","stage":"connect","smtp_code":null,"enhanced_code":null,"recipients":["ada{number}@example.com"],"tags":{{}},"attempts":[],"source":{{"topic":"{}","partition":0,"offset":{number},"timestamp":1}},"idempotency_key":"job-{number}","message_id":"<m@mailroom.example>","first_attempt_at":null,"replay_count":0,"schema":1}}"#,
        queue.topic
    )
}

/// The records of a topic that no transaction took back.
pub fn read_committed(kafka: &Kafka, topic: &str) -> Vec<Record> {
    kafka.read_committed(topic)
}

/// How often each job has been put on the queue, by its idempotency key.
pub fn replayed(queue: &Queue<'_>) -> BTreeMap<String, usize> {
    let mut counts = BTreeMap::new();
    for record in read_committed(queue.kafka, &queue.topic) {
        let key = record
            .headers
            .iter()
            .find(|(name, _)| name == "idempotency-key")
            .and_then(|(_, value)| value.clone());
        let key = String::from_utf8(key.expect("every replayed job has a key")).expect("it is text");
        *counts.entry(key).or_default() += 1;
    }
    counts
}
