//! `mailroom dlq` as an operator has it: what it shows, asks, does, and how it ends (contract, section 9).

mod acts;
mod edits;
mod looks;
mod sessions;
mod terminal;

use std::collections::BTreeMap;
use std::process::Output;

use serde_json::{Value, json};

use crate::harness::command_line::{run_with_input, stderr, stdout};
use crate::harness::kafka::Record;
use crate::harness::{Queue, Settings};

/// Somebody with a shell, and only what `mailroom dlq` needs in the configuration: nothing of a relay.
struct Operator {
    settings: Settings,
}

impl Operator {
    fn of(queue: &Queue<'_>) -> Operator {
        let settings = Settings::default()
            .set("kafka.brokers", queue.kafka.address())
            .set("kafka.topic", &queue.topic)
            .set("kafka.dlq_topic", &queue.dlq_topic)
            .set("kafka.decisions_topic", queue.decisions_topic())
            .set("kafka.group", &queue.group)
            .environment("USER", "ada");
        Operator { settings }
    }

    fn set(mut self, key: &str, value: impl ToString) -> Operator {
        self.settings = self.settings.set(key, value);
        self
    }

    /// `mailroom dlq` with the words of `line`.
    fn dlq(&self, line: &str) -> Output {
        self.dlq_with(line, b"")
    }

    fn dlq_with(&self, line: &str, input: &[u8]) -> Output {
        let words: Vec<&str> = std::iter::once("dlq").chain(line.split_whitespace()).collect();
        run_with_input(&self.settings, &words, input)
    }

    /// What it writes to stdout.
    ///
    /// # Panics
    /// When it does not end with 0.
    fn told(&self, line: &str) -> String {
        let output = self.dlq(line);
        assert_eq!(output.status.code(), Some(0), "{line}: {output:?}");
        stdout(&output)
    }

    fn json(&self, line: &str) -> Value {
        let told = self.told(line);
        serde_json::from_str(&told).unwrap_or_else(|error| panic!("{line}: {error}: {told}"))
    }

    /// It ends with this code, says that on stderr, and nothing on stdout.
    fn refuses(&self, line: &str, code: i32, says: &str) {
        let output = self.dlq(line);
        assert_eq!(output.status.code(), Some(code), "{line}: {output:?}");
        assert!(stderr(&output).contains(says), "{line}: {output:?}");
        assert!(output.stdout.is_empty(), "{line}: {output:?}");
    }

    /// How many letters there are of each state.
    fn states(&self) -> BTreeMap<String, u64> {
        let mut states = BTreeMap::new();
        for group in self.json("groups --json").as_array().expect("an array") {
            for (state, count) in group["states"].as_object().expect("an object") {
                *states.entry(state.clone()).or_default() += count.as_u64().expect("a number");
            }
        }
        states.retain(|_, count| *count > 0);
        states
    }
}

/// So many letters with that cause, reason and template, newer ones behind older ones, on one partition.
fn put_letters(queue: &Queue<'_>, cause: &str, reason: &str, count: usize) {
    let record = |number: usize| {
        let letter = json!({
            "original_message": {"to": format!("{cause}{number}@example.com"), "otp": "493021"},
            "error_reason": reason, "retry_count": 1, "failed_at": "2026-09-21T14:13:20.000000Z", "worker_id": "w",
            "cause": cause, "stage": "rcpt", "smtp_code": 550, "enhanced_code": "5.1.1",
            "recipients": [format!("{cause}{number}@example.com")], "tags": {"team": "red"},
            "attempts": [{"number": 1, "at": "2026-09-21T14:13:20.000000Z", "stage": "rcpt", "error": reason, "took_ms": 7}],
            "source": {"topic": queue.topic, "partition": 0, "offset": cause.len() * 10_000 + number, "timestamp": 1},
            "idempotency_key": format!("{cause}-{number}"), "message_id": "<0123456789abcdef0123456789abcdef@mailroom.example>",
            "first_attempt_at": null, "replay_count": 0, "schema": 1,
        });
        Record {
            value: Some(letter.to_string().into_bytes()),
            timestamp_ms: 1_790_000_000_000 + number as i64,
            ..Record::default()
        }
    };
    let records: Vec<Record> = (0..count).map(record).collect();
    queue.kafka.produce(&queue.dlq_topic, &records, None);
}

/// The topic that a worker would make.
fn make_decisions(queue: &Queue<'_>, partitions: i32) {
    queue.kafka.create_topic_with(&queue.decisions_topic(), partitions, &[("cleanup.policy", "compact")]);
}
