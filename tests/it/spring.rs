//! Our dead letters, read by a service with Spring Kafka: its listener gets the headers by Spring's own constants.

use std::process::Command;

use serde_json::{Value, json};

use crate::harness::kafka::Record;
use crate::harness::{Answer, Kafka, Queue, RecordingSmtp, Settings, Step, TestWorker, cache, process};

const PROGRAM: &str = include_str!("../SpringReader.java");
const PAGE: &str = include_str!("../../docs/producers.md");

#[test]
fn a_spring_kafka_listener_reads_from_the_headers_what_the_letters_say() {
    let queue = Queue::new(Kafka::shared(), 3);
    let relay = RecordingSmtp::with(|step| match step {
        Step::Recipient("nobody@example.com") => Answer::Reply("550 5.1.1 No such user"),
        _ => Answer::Accept,
    });
    let value = |value: Value| Some(value.to_string().into_bytes());
    let stale = |name: &str| (name.to_owned(), Some(b"from an earlier life".to_vec()));
    queue.put_records(&[
        // It is sent: the letters' offsets differ from their places in the DLQ.
        Record {
            partition: 1,
            value: value(json!({"to": "ada@example.com", "text": "a"})),
            ..Record::default()
        },
        Record {
            partition: 1,
            timestamp_ms: 1_700_000_000_123,
            value: value(json!({"to": "nobody@example.com", "text": "a"})),
            ..Record::default()
        },
        Record { partition: 2, value: Some(b"no JSON".to_vec()), ..Record::default() },
        // It went through Spring before.
        Record {
            timestamp_ms: 1_600_000_000_000,
            headers: vec![stale("kafka_dlt-original-offset"), stale("kafka_dlt-exception-fqcn")],
            value: value(json!({"to": "žofie", "text": "a"})),
            ..Record::default()
        },
    ]);
    let worker = TestWorker::start(&Settings::new(&queue, relay.port()));
    queue.wait_until_settled();
    worker.stop();

    let letters = queue.dead_letters();
    let mut said: Vec<Value> = letters
        .iter()
        .map(|letter| {
            let source = &letter.value["source"];
            json!({
                "topic": source["topic"],
                "partition": source["partition"],
                "offset": source["offset"],
                "timestamp": source["timestamp"],
                "group": queue.group,
                "exception": format!("mailroom.{}", letter.text("cause")),
                "reason": letter.text("error_reason"),
                "letter": letter.value,
            })
        })
        .collect();
    let mut heard = read_by_spring(&queue, letters.len());
    let place = |of: &Value| (of["partition"].as_i64(), of["offset"].as_i64());
    said.sort_by_key(place);
    heard.sort_by_key(place);
    assert_eq!(heard, said);

    let places: Vec<_> = heard.iter().map(place).collect();
    assert_eq!(places, [(Some(0), Some(0)), (Some(1), Some(1)), (Some(2), Some(0))]);
    let exceptions: Vec<_> = heard.iter().filter_map(|of| of["exception"].as_str()).collect();
    assert_eq!(exceptions, ["mailroom.invalid", "mailroom.invalid_recipient", "mailroom.malformed"]);
    assert_eq!(heard[1]["timestamp"], 1_700_000_000_123_i64);
    assert_eq!(heard[1]["reason"], "550 5.1.1 No such user");
}

/// What `tests/SpringReader.java` prints of so many letters, each with its value parsed.
fn read_by_spring(queue: &Queue<'_>, letters: usize) -> Vec<Value> {
    let folder = process::scratch_with("spring", &[("SpringReader.java", PROGRAM)]);
    let mut java = Command::new("java");
    java.arg("-cp").arg(cache::spring_kafka_jars().join("*")).arg(folder.join("SpringReader.java"));
    java.env("KAFKA_BROKERS", queue.kafka.address()).env("DLQ_TOPIC", &queue.dlq_topic);
    java.env("LETTERS", letters.to_string());
    let output = process::run(java, b"");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let printed = String::from_utf8(output.stdout).expect("it is UTF-8");
    let parsed = |line: &str| {
        let mut line: Value = serde_json::from_str(line).unwrap_or_else(|error| panic!("{error}: {line}"));
        let letter = line["letter"].as_str().expect("the letter is text");
        line["letter"] = serde_json::from_str(letter).expect("the letter is JSON");
        line
    };
    printed.lines().map(parsed).collect()
}

#[test]
fn the_listener_in_the_documents_is_the_one_that_is_tested() {
    let (_, rest) = PAGE.split_once("```java\n@KafkaListener").expect("the page has a listener");
    let (signature, _) = rest.split_once("{\n").expect("the listener has a body");
    let parameters: Vec<_> = signature.lines().map(str::trim).filter(|line| line.contains('@')).collect();
    assert_eq!(parameters.len(), 8, "{signature}");
    for parameter in parameters {
        assert!(PROGRAM.contains(parameter), "{parameter}");
    }
}
