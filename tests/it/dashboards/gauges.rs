//! What the alerts on dead letters stand on: the gauges of a real worker that sees a real queue.

use std::time::Duration;

use mailroom::dlq::records::Said;
use mailroom_actors::domain::letters::decision::{Decision, State, Step};
use mailroom_actors::domain::letters::name::LetterName;
use rdkafka::producer::{BaseProducer, BaseRecord, Producer};

use crate::harness::kafka::Record;
use crate::harness::{Kafka, Queue, Settings, SmtpSink, TestWorker, until};
use crate::replays::Letters;

#[test]
fn an_open_transaction_of_another_program_shows_as_records_held_up_until_it_ends() {
    let queue = Queue::new(Kafka::shared(), 1);
    let sink = SmtpSink::start(&[]);
    let worker = TestWorker::start(&Settings::new(&queue, sink.port()));
    worker.wait_until_assigned();
    let mut properties = queue.kafka.client();
    let id = format!("{}-a-stranger", queue.topic);
    properties.set("transactional.id", id).set("transaction.timeout.ms", "300000");
    let producer: BaseProducer = properties.create().expect("the client is well configured");
    let wait = Duration::from_secs(30);
    producer.init_transactions(wait).expect("the broker takes transactions");
    producer.begin_transaction().expect("none is open");
    producer.send(BaseRecord::<(), str>::to(&queue.topic).payload("{}")).expect("there is room for it");
    producer.flush(wait).expect("Kafka answers");
    // Behind it, by somebody who uses no transactions.
    queue.put([r#"{"to": "ada@example.com", "text": "Hello"}"#]);

    let held_up = || worker.metrics().get("mailroom_queue_stalled_records", &[]);
    until("both records to be held up", || (held_up() == 2.0).then_some(()));
    assert_eq!(worker.metrics().get("mailroom_emails_total", &[("outcome", "sent")]), 0.0);

    producer.abort_transaction(wait).expect("it is open");
    until("nothing to be held up", || (held_up() == 0.0).then_some(()));
    until("the e-mail behind it to be sent", || {
        (worker.metrics().get("mailroom_emails_total", &[("outcome", "sent")]) == 1.0).then_some(())
    });
    worker.stop();
}

#[test]
fn letters_are_counted_by_what_was_decided_and_the_oldest_that_waits_tells_its_age() {
    let queue = Queue::with_letters(Kafka::shared(), 1);
    let letters = Letters::put(&queue, 1, 3);
    let mut oldest = queue.kafka.read(&queue.dlq_topic).remove(0);
    oldest.timestamp_ms -= 2 * 3600 * 1000;
    let oldest = Record { offset: 3, ..oldest };
    queue.kafka.produce(&queue.dlq_topic, std::slice::from_ref(&oldest), None);
    let sink = SmtpSink::start(&[]);
    let worker = TestWorker::start(&Settings::new(&queue, sink.port()));
    worker.wait_until_assigned();
    let are = |waiting: f64, parked: f64| {
        let metrics = worker.metrics();
        let of =
            |state| metrics.get("mailroom_dlq_letters", &[("cause", "smtp_unreachable"), ("state", state)]);
        let is_so = of("waiting") == waiting && of("parked") == parked;
        (is_so && metrics.get("mailroom_dlq_parked", &[]) == parked).then_some(())
    };
    until("all of them to wait", || are(4.0, 0.0));
    let age = || worker.metrics().get("mailroom_dlq_oldest_waiting_seconds", &[]);
    let before = age();
    assert!(before >= 7200.0, "{before}");

    let step = Step {
        state: State::Parked,
        run: None,
        by: "test".into(),
        reason: "three rounds in vain".into(),
        at_ms: chrono::Utc::now().timestamp_millis(),
        round: 1,
    };
    let name = LetterName { partition: 0, offset: oldest.offset };
    letters.say(&Said::Decided(name, Decision::after(None, oldest.timestamp_ms, step)));
    until("one of them to be parked", || are(3.0, 1.0));
    let after = age();
    assert!(after < before, "a parked one does not wait: {after}, {before} before");
    worker.stop();
}
