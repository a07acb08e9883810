//! The producers in `docs/producers.md`, run as they stand: their e-mails arrive, and their jobs are what the schema says.

use std::collections::BTreeSet;
use std::path::Path;
use std::process::Command;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use mail_parser::{MessageParser, MimeHeaders};

use crate::harness::{Kafka, Queue, RecordingSmtp, Settings, TestWorker, cache, process};

const PAGE: &str = include_str!("../../docs/producers.md");
const SCHEMA: &str = include_str!("../../docs/schemas/job.schema.json");

/// The program in the page that is written in this language.
fn program(language: &str) -> &'static str {
    let begin = format!("```{language}\n");
    let (_, rest) = PAGE.split_once(&begin).expect("the page has a program in this language");
    rest.split_once("\n```").expect("the program has an end").0
}

#[test]
fn the_python_producer_sends_its_e_mails() {
    let folder = process::scratch("python");
    let file = folder.join("send_emails.py");
    std::fs::write(&file, program("python")).expect("the folder can be written to");
    let mut python = Command::new(cache::python());
    python.arg(file);
    send_and_read_back(python, ["ada", "alan", "archive", "grace"]);
}

#[test]
fn the_java_producer_sends_its_e_mails() {
    let folder = process::scratch("java");
    let file = folder.join("SendEmails.java");
    std::fs::write(&file, program("java")).expect("the folder can be written to");
    let mut java = Command::new("java");
    java.arg("-Dfile.encoding=UTF-8").arg("-cp").arg(cache::kafka_jars().join("*")).arg(file);
    send_and_read_back(java, ["ada", "alan", "grace", "grace"]);
}

fn send_and_read_back(mut producer: Command, names: [&str; 4]) {
    let queue = Queue::new(Kafka::shared(), 2);
    let relay = RecordingSmtp::start();
    let worker = TestWorker::start(&Settings::new(&queue, relay.port()));
    producer.env("KAFKA_BROKERS", queue.kafka.address()).env("EMAIL_TOPIC", &queue.topic);
    let output = process::run(producer, b"");
    let told = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{told}");
    assert_eq!(String::from_utf8_lossy(&output.stdout).trim(), "3 e-mails queued", "{told}");
    queue.wait_until_settled();
    worker.stop();
    assert!(queue.dead_letters().is_empty(), "{:?}", queue.dead_letters());

    let recipients: BTreeSet<String> = relay.copies().into_keys().collect();
    let mut expected: BTreeSet<String> = names.iter().map(|name| format!("{name}@example.com")).collect();
    expected.insert("zofie@xn--bcher-kva.example".into());
    assert_eq!(recipients, expected);
    let invoice = relay.attempts_for("alan@example.com").remove(0).taken.expect("it was taken");
    let invoice = MessageParser::default().parse(&invoice).expect("it can be parsed");
    let csv =
        invoice.attachments().find(|part| part.is_content_type("text", "csv")).expect("it has the file");
    assert_eq!(csv.attachment_name(), Some("Rechnung für März.csv"));
    assert_eq!(csv.contents(), "Stück;Preis\n1;9,50 €\n".as_bytes());

    let schema = jsonschema::validator_for(&serde_json::from_str(SCHEMA).expect("it is JSON"))
        .expect("it is a schema");
    for record in queue.kafka.read(&queue.topic) {
        let job = serde_json::from_slice(record.value.as_deref().expect("a job")).expect("it is JSON");
        assert!(schema.is_valid(&job), "{job}");
    }
}

#[test]
fn the_page_names_only_files_that_are_there() {
    for (_, rest) in PAGE.match_indices("](").map(|(at, _)| PAGE.split_at(at + 2)) {
        let target = rest.split_once(')').expect("a link has an end").0;
        assert!(Path::new(env!("CARGO_MANIFEST_DIR")).join("docs").join(target).exists(), "{target}");
    }
    // The image in the example is one.
    let pixel = PAGE.split("pixel = \"").nth(1).and_then(|rest| rest.split('"').next()).expect("it is there");
    assert!(STANDARD.decode(pixel).is_ok_and(|bytes| bytes.starts_with(b"\x89PNG")));
}
