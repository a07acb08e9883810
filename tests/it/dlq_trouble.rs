//! A dead letter queue that takes nothing, or not so much: nothing is lost, others go on, and it is said.

use futures::executor::block_on;
use rdkafka::ClientConfig;
use rdkafka::admin::{AdminClient, AdminOptions, NewTopic, TopicReplication};
use rdkafka::client::DefaultClientContext;
use serde_json::json;

use crate::harness::command_line::{run, stderr, stdout};
use crate::harness::kafka::Record;
use crate::harness::secured_kafka::PASSWORD;
use crate::harness::{Answer, Kafka, Queue, RecordingSmtp, SecuredKafka, Settings, Step, TestWorker, until};

const GOOD: usize = 50;

fn relay() -> RecordingSmtp {
    RecordingSmtp::with(|step| match step {
        Step::Recipient(to) if to.starts_with("nobody") => Answer::Reply("550 5.1.1 No such user"),
        _ => Answer::Accept,
    })
}

fn bad(text: &str) -> String {
    json!({"to": "nobody@example.com", "text": text}).to_string()
}

fn good() -> impl Iterator<Item = String> {
    (0..GOOD).map(|n| json!({"to": format!("user-{n}@example.com"), "otp": "1"}).to_string())
}

pub fn admin(kafka: &Kafka) -> AdminClient<DefaultClientContext> {
    ClientConfig::new()
        .set("bootstrap.servers", kafka.address())
        .create()
        .expect("the client is well configured")
}

/// Deletes a topic, and waits until it is gone.
pub fn delete_topic(kafka: &Kafka, topic: &str) {
    let deleted =
        block_on(admin(kafka).delete_topics(&[topic], &AdminOptions::new())).expect("Kafka answers");
    assert!(deleted.iter().all(Result::is_ok), "{deleted:?}");
}

/// Makes a topic of one partition as soon as one of the same name is really gone.
pub fn create_topic(kafka: &Kafka, name: &str, settings: &[(&str, &str)]) {
    let topic = NewTopic::new(name, 1, TopicReplication::Fixed(1));
    let topic = settings.iter().fold(topic, |topic, (key, value)| topic.set(key, value));
    until("the topic to be made", || {
        let made = block_on(admin(kafka).create_topics([&topic], &AdminOptions::new())).ok()?;
        made.iter().all(Result::is_ok).then_some(())
    });
}

/// Waits until the dead letter queue is known to fail while all else goes on, then checks what is promised.
fn wait_for_trouble(worker: &TestWorker, relay: &RecordingSmtp, queue: &Queue<'_>) {
    until("the others to be delivered", || (relay.taken() == GOOD).then_some(()));
    until("not to be ready", || (worker.get("/health/ready").status == 503).then_some(()));
    let metrics = worker.metrics();
    assert!(metrics.get("mailroom_dlq_publish_failures_total", &[]) > 0.0);
    assert_eq!(metrics.sum("dlq_messages_total"), 0.0);
    assert_eq!(queue.committed(), 0, "the first job is not settled");
}

/// Waits until the trouble is over, then checks that the letter is there, and nothing twice.
fn wait_for_the_letter(worker: TestWorker, relay: &RecordingSmtp, queue: &Queue<'_>) {
    queue.wait_until_settled();
    worker.wait_until_ready();
    let letters = queue.dead_letters();
    assert_eq!(letters.len(), 1, "{letters:?}");
    assert_eq!(letters[0].original_message(), bad("first"));
    assert!(relay.copies().values().all(|copies| *copies == 1));
    let log = worker.stop();
    let said = log.iter().filter(|line| line.contains("dead letter not published")).count();
    assert!(said > 0);
    assert!(!log.join("\n").contains(PASSWORD), "the password is in the log");
}

#[test]
fn when_the_right_to_write_is_taken_away_dead_letters_wait_until_it_is_given_again() {
    let secured = SecuredKafka::start();
    let queue = Queue::new(&secured.kafka, 1);
    secured.kafka.create_topic("elsewhere", 1);
    let relay = relay();
    secured.allow(&["Read", "Describe"], "--topic", &queue.topic);
    secured.allow(&["Describe", "Write"], "--topic", &queue.dlq_topic);
    secured.allow(&["Read", "Describe"], "--group", &queue.group);
    // A producer may be one who may write anywhere.
    secured.allow(&["Write"], "--topic", "elsewhere");
    let settings = secured.settings(&queue, relay.port(), PASSWORD);
    let worker = TestWorker::start(&settings);
    worker.wait_until_assigned();
    secured.take_away(&["Write"], "--topic", &queue.dlq_topic);
    // It would not start like this.
    let checked = check_online(&secured, &queue, relay.port(), PASSWORD);
    let told = format!("to write to topic {}", queue.dlq_topic);
    assert!(checked.contains("failed  kafka.rights") && checked.contains(&told), "{checked}");
    // Nor may it see their settings, which is told, too.
    assert!(checked.contains(&format!("the settings of {} can't be read", queue.dlq_topic)), "{checked}");
    let second = crate::harness::process::run(settings.command(&["run"]), b"");
    assert_eq!(second.status.code(), Some(78), "{second:?}");
    assert!(format!("{second:?}").contains(&told), "{second:?}");
    queue.put([bad("first")].into_iter().chain(good()));
    wait_for_trouble(&worker, &relay, &queue);
    secured.allow(&["Write"], "--topic", &queue.dlq_topic);
    wait_for_the_letter(worker, &relay, &queue);
}

#[test]
fn a_wrong_password_and_missing_rights_end_the_start_with_78_and_are_said_without_the_secret() {
    let secured = SecuredKafka::start();
    let queue = Queue::new(&secured.kafka, 1);
    let relay = relay();
    let wrong = "canary-wrong-51";
    for password in [wrong, PASSWORD] {
        let worker = secured.settings(&queue, relay.port(), password).command(&["run"]);
        let output = crate::harness::process::run(worker, b"");
        let text = format!("{output:?}");
        assert_eq!(output.status.code(), Some(78), "{text}");
        assert!(!text.contains(password), "{text}");
        let remedy = if password == wrong { "sasl.password" } else { "ACL" };
        assert!(text.contains(remedy), "{text}");
        let checked = check_online(&secured, &queue, relay.port(), password);
        assert!(!checked.contains(password), "{checked}");
        let settings = secured.settings(&queue, relay.port(), password);
        let sent = run(&settings, &["send", "--to", "ada@example.com", "--otp", "1"]);
        assert_eq!(sent.status.code(), Some(78), "{sent:?}");
        assert!(!format!("{sent:?}").contains(password) && stderr(&sent).contains(remedy), "{sent:?}");
        let (failed, fine) = if password == wrong {
            ("kafka.brokers", "kafka.topic")
        } else {
            ("kafka.topic", "kafka.rights")
        };
        assert!(checked.contains(&format!("failed  {failed}")) && checked.contains(remedy), "{checked}");
        assert!(!checked.contains(fine), "{checked}");
    }
    // Everything but the group.
    secured.allow(&["Read", "Describe"], "--topic", &queue.topic);
    secured.allow(&["Write", "Describe"], "--topic", &queue.dlq_topic);
    let worker = secured.settings(&queue, relay.port(), PASSWORD).command(&["run"]);
    let output = crate::harness::process::run(worker, b"");
    assert_eq!(output.status.code(), Some(78), "{output:?}");
    let checked = check_online(&secured, &queue, relay.port(), PASSWORD);
    assert!(checked.contains("failed  kafka.rights") && checked.contains(&queue.group), "{checked}");
}

/// What `check --online` prints when Kafka refuses something: it ends with 1.
fn check_online(secured: &SecuredKafka, queue: &Queue<'_>, relay_port: u16, password: &str) -> String {
    let output = run(&secured.settings(queue, relay_port, password), &["check", "--online"]);
    assert_eq!(output.status.code(), Some(1), "{output:?}");
    stdout(&output)
}

#[test]
fn credentials_that_are_refused_later_mean_not_ready_and_more_tries() {
    let secured = SecuredKafka::start();
    let queue = Queue::new(&secured.kafka, 1);
    let relay = relay();
    secured.allow(&["All"], "--topic", "*");
    secured.allow(&["All"], "--group", "*");
    let worker = TestWorker::start(&secured.settings(&queue, relay.port(), PASSWORD));
    worker.wait_until_ready();
    secured.change_password(PASSWORD, "another-one");
    until("not to be ready", || (worker.get("/health/ready").status == 503).then_some(()));
    secured.change_password("another-one", PASSWORD);
    worker.wait_until_ready();
    queue.put(good());
    queue.wait_until_settled();
    assert_eq!(relay.taken(), GOOD);
    let log = worker.stop();
    assert!(!log.join("\n").contains(PASSWORD), "the password is in the log");
}

#[test]
fn a_dead_letter_topic_that_is_deleted_gets_its_letter_once_it_is_made_again() {
    let queue = Queue::new(Kafka::shared(), 1);
    let relay = relay();
    let worker = TestWorker::start(&Settings::new(&queue, relay.port()));
    worker.wait_until_ready();
    delete_topic(queue.kafka, &queue.dlq_topic);
    queue.put([bad("first")].into_iter().chain(good()));
    wait_for_trouble(&worker, &relay, &queue);
    create_topic(queue.kafka, &queue.dlq_topic, &[]);
    wait_for_the_letter(worker, &relay, &queue);
}

#[test]
fn a_letter_over_the_topics_limit_loses_headers_first_and_the_job_only_where_it_must() {
    let queue = Queue::new(Kafka::shared(), 1);
    let relay = relay();
    delete_topic(queue.kafka, &queue.dlq_topic);
    create_topic(queue.kafka, &queue.dlq_topic, &[("max.message.bytes", "40000")]);
    let record = |text: usize, header: usize| Record {
        headers: vec![
            ("large".to_owned(), Some(vec![b'h'; header])),
            ("small".to_owned(), Some(b"kept".to_vec())),
        ],
        ..Record::of(bad(&"x".repeat(text)))
    };
    let records = [record(100, 10), record(20_000, 30_000), record(100_000, 10)];
    queue.put_records(&records);
    // Small ones by the hundred: a batch of them is over the limit, none of them is.
    queue.put((0..300).map(|n| bad(&format!("{n} {}", "y".repeat(2000)))));
    let worker = TestWorker::start(&Settings::new(&queue, relay.port()).set("mailers.size", 32));
    queue.wait_until_settled();
    worker.stop();
    let letters = queue.dead_letters();
    let of = |offset: i64| {
        let found: Vec<_> =
            letters.iter().filter(|letter| letter.value["source"]["offset"] == offset).collect();
        assert_eq!(found.len(), 1, "of {offset}");
        found[0]
    };
    let names = |offset: i64| -> Vec<&str> {
        let names = of(offset).record.headers.iter().map(|(name, _)| name.as_str());
        names.filter(|name| !name.starts_with("kafka_dlt-")).collect()
    };
    let value = |record: &Record| String::from_utf8(record.value.clone().expect("a job")).expect("JSON");
    assert_eq!((of(0).original_message(), names(0)), (value(&records[0]), vec!["large", "small"]));
    assert_eq!((of(1).original_message(), names(1)), (value(&records[1]), vec!["small"]));
    let stub = &of(2).value["original_message"];
    assert_eq!(stub["omitted"], true);
    assert_eq!(stub["bytes"], value(&records[2]).len());
    assert_eq!(stub["sha256"].as_str().map(str::len), Some(64));
    assert_eq!(of(2).text("error_reason"), "550 5.1.1 No such user");
    assert_eq!(letters.len(), 303);
    for letter in letters.iter().filter(|letter| letter.value["source"]["offset"].as_i64() > Some(2)) {
        assert!(letter.value["original_message"]["omitted"].is_null(), "{}", letter.value);
    }
}

#[test]
fn a_quota_on_the_producer_slows_dead_letters_down_and_loses_none() {
    let kafka = Kafka::start();
    let queue = Queue::new(&kafka, 1);
    let relay = relay();
    kafka.tool(
        "kafka.admin.ConfigCommand",
        &[
            "--alter",
            "--entity-type",
            "clients",
            "--entity-name",
            "mailroom",
            "--add-config",
            "producer_byte_rate=20000",
        ],
    );
    queue.put((0..200).map(|n| bad(&format!("{n} {}", "y".repeat(2000)))));
    queue.put(good());
    let worker = TestWorker::start(&Settings::new(&queue, relay.port()));
    until("the others to be delivered", || (relay.taken() == GOOD).then_some(()));
    queue.wait_until_settled();
    worker.stop();
    let sources: std::collections::BTreeSet<i64> =
        queue.dead_letters().iter().filter_map(|letter| letter.value["source"]["offset"].as_i64()).collect();
    assert_eq!(sources.len(), 200);
}
