//! One test's topics and group on a Kafka, so that tests side by side don't meet.

use std::sync::OnceLock;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

use serde_json::Value;

use super::kafka::{Kafka, Record};
use super::until;

pub struct Queue<'k> {
    pub kafka: &'k Kafka,
    pub topic: String,
    pub dlq_topic: String,
    pub group: String,
    partitions: i32,
}

impl<'k> Queue<'k> {
    /// Fresh topics with names of their own: the queue with so many partitions, the dead letters in one.
    pub fn new(kafka: &'k Kafka, partitions: i32) -> Queue<'k> {
        let (topic, dlq_topic) = Queue::next_names();
        Queue::named(kafka, &topic, &dlq_topic, partitions)
    }

    pub fn named(kafka: &'k Kafka, topic: &str, dlq_topic: &str, partitions: i32) -> Queue<'k> {
        kafka.create_topic(topic, partitions);
        kafka.create_topic(dlq_topic, 1);
        Queue::of(kafka, topic, dlq_topic, partitions)
    }

    fn next_names() -> (String, String) {
        static NEXT: AtomicU32 = AtomicU32::new(1);
        let number = NEXT.fetch_add(1, Ordering::Relaxed);
        (format!("email-queue-{number}"), format!("email-dlq-{number}"))
    }

    fn of(kafka: &'k Kafka, topic: &str, dlq_topic: &str, partitions: i32) -> Queue<'k> {
        Queue {
            kafka,
            topic: topic.to_owned(),
            dlq_topic: dlq_topic.to_owned(),
            group: format!("{topic}-workers"),
            partitions,
        }
    }

    /// Fresh names, and a topic of one partition for records of up to so many bytes, as the broker counts them: the topic
    /// of the dead letters is left to the worker to make.
    pub fn of_large_records(kafka: &'k Kafka, max_message_bytes: usize) -> Queue<'k> {
        let (topic, dlq_topic) = Queue::next_names();
        kafka.create_topic_with(&topic, 1, &[("max.message.bytes", &max_message_bytes.to_string())]);
        Queue::of(kafka, &topic, &dlq_topic, 1)
    }

    pub fn decisions_topic(&self) -> String {
        format!("{}-decisions", self.dlq_topic)
    }

    /// Fresh topics, the queue and the dead letters each with so many partitions.
    pub fn with_letters(kafka: &'k Kafka, partitions: i32) -> Queue<'k> {
        let (topic, dlq_topic) = Queue::next_names();
        kafka.create_topic(&topic, partitions);
        // Letters of long ago would be deleted while a test looks at them.
        kafka.create_topic_with(&dlq_topic, partitions, &[("retention.ms", "-1")]);
        Queue::of(kafka, &topic, &dlq_topic, partitions)
    }

    /// Puts jobs on the queue, spread over its partitions.
    pub fn put<V: Into<Vec<u8>>>(&self, values: impl IntoIterator<Item = V>) {
        let records: Vec<_> = values.into_iter().map(Record::of).collect();
        self.kafka.produce(&self.topic, &records, Some(self.partitions));
    }

    /// Puts records on the queue's first partition, in order, with the keys and headers that they have.
    pub fn put_records(&self, records: &[Record]) {
        self.kafka.produce(&self.topic, records, None);
    }

    pub fn wait_until_settled(&self) {
        until("every job to be settled and committed", || {
            self.kafka.has_caught_up(&self.group, &self.topic).then_some(())
        });
    }

    /// How many records, over all partitions, are committed as settled.
    pub fn committed(&self) -> usize {
        let committed = self.kafka.committed(&self.group, &self.topic);
        committed
            .into_iter()
            .map(|(_, offset)| usize::try_from(offset).expect("offsets count up from 0"))
            .sum()
    }

    /// Waits until nothing more is written beside the committed offsets, for five times the usual interval.
    pub fn wait_until_commits_are_quiet(&self) {
        let read = || (self.committed(), self.kafka.metadata(&self.group, &self.topic));
        let mut last = (read(), Instant::now());
        until("the commits to come to rest", || {
            let now = read();
            if now != last.0 {
                last = (now, Instant::now());
            }
            (last.1.elapsed() > Duration::from_secs(1)).then_some(())
        });
    }

    pub fn dead_letters(&self) -> Vec<DeadLetter> {
        self.kafka.read(&self.dlq_topic).into_iter().map(DeadLetter::of).collect()
    }
}

/// What the repository tells consumers of the dead letter queue, formats looked at as well; compiled once.
fn schema() -> &'static jsonschema::Validator {
    static SCHEMA: OnceLock<jsonschema::Validator> = OnceLock::new();
    SCHEMA.get_or_init(|| {
        let schema = include_str!("../../../docs/schemas/dead-letter.schema.json");
        let schema = serde_json::from_str(schema).expect("it is JSON");
        jsonschema::options().should_validate_formats(true).build(&schema).expect("it is a schema")
    })
}

/// A record of the dead letter queue, with its value parsed.
#[derive(Debug)]
pub struct DeadLetter {
    pub record: Record,
    pub value: Value,
}

impl DeadLetter {
    /// # Panics
    /// When it is not what its schema says: so every test that reads letters looks at that too.
    fn of(record: Record) -> DeadLetter {
        let value = serde_json::from_slice(record.value.as_deref().expect("a dead letter has a value"));
        let value: Value = value.expect("a dead letter is JSON");
        let wrong: Vec<_> = schema().iter_errors(&value).map(|error| error.to_string()).collect();
        assert!(wrong.is_empty(), "against docs/schemas/dead-letter.schema.json: {wrong:?}: {value}");
        DeadLetter { value, record }
    }

    /// A field that must be a string.
    pub fn text(&self, field: &str) -> &str {
        self.value[field].as_str().unwrap_or_else(|| panic!("{field} is no string: {}", self.value))
    }

    /// The bytes of `original_message`, as they stand in the record.
    pub fn original_message(&self) -> String {
        #[derive(serde::Deserialize)]
        struct Letter {
            original_message: Box<serde_json::value::RawValue>,
        }
        let value = self.record.value.as_deref().expect("a dead letter has a value");
        let letter: Letter = serde_json::from_slice(value).expect("a dead letter has its original message");
        letter.original_message.get().to_owned()
    }

    /// The value of the job that `original_message` stands for; none where it was null. Of a value that is itself a JSON
    /// string, or an object of `base64` alone, this can't be told.
    pub fn original_value(&self) -> Option<Vec<u8>> {
        use base64::Engine;
        match &self.value["original_message"] {
            Value::Null => None,
            Value::String(text) => Some(text.clone().into_bytes()),
            Value::Object(object) if object.len() == 1 && object.contains_key("base64") => {
                let text = object["base64"].as_str().expect("base64 is text");
                let decoded = base64::engine::general_purpose::STANDARD.decode(text);
                Some(decoded.expect("it is base64"))
            }
            _ => Some(self.original_message().into_bytes()),
        }
    }

    /// The values of a header, in order.
    pub fn header(&self, name: &str) -> Vec<Vec<u8>> {
        let named = self.record.headers.iter().filter(|(of, _)| of == name);
        named.map(|(_, value)| value.clone().unwrap_or_default()).collect()
    }
}
