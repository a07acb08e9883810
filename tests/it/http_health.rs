//! That health tells the truth, and says what to do: what is stuck is not alive, what was lost is said.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use rdkafka::admin::{AdminClient, AdminOptions};
use rdkafka::client::DefaultClientContext;
use rdkafka::{ClientConfig, Offset, TopicPartitionList};
use serde_json::Value;

use crate::harness::{Answer, Kafka, Queue, RecordingSmtp, Reply, Settings, Step, TestWorker, until};

const JOB: &str = r#"{"to": "ada@example.com", "text": "Hello"}"#;

/// `/health/live`, once it is no longer 200.
fn until_not_live(worker: &TestWorker) -> Reply {
    until("live to be 503", || {
        let live = worker.get("/health/live");
        (live.status != 200).then_some(live)
    })
}

/// Each check that does not pass says what to do; those that do, nothing.
fn check_actions(health: &Value) {
    for (name, entry) in health["checks"].as_object().expect("an object") {
        let passes = entry[0]["status"] == "pass";
        let action = entry[0]["action"].as_str();
        assert_eq!(action.is_none_or(str::is_empty), passes, "{name}: {entry}");
    }
}

#[test]
fn a_mailer_that_never_returns_from_its_handler_is_not_live() {
    let queue = Queue::new(Kafka::shared(), 1);
    let relay = RecordingSmtp::start();
    let settings = Settings::new(&queue, relay.port())
        .environment("MAILROOM_HANG_AT", "after-250-before-settle:1")
        .set("http.admin_token", "token");
    let worker = TestWorker::start(&settings);
    worker.wait_until_ready();
    assert_eq!(worker.get("/health/live").status, 200);
    queue.put([JOB]);
    let live = until_not_live(&worker);
    assert_eq!((live.status, &live.json()["status"]), (503, &"fail".into()), "{live:?}");
    assert!(live.json()["hint"].as_str().is_some_and(|hint| hint.contains("restart")), "{live:?}");
    let health = worker.get("/health");
    assert_eq!((health.status, &health.json()["status"]), (503, &"fail".into()), "{health:?}");
    check_actions(&health.json());
    // All of it stands on the thread that hangs; whoever asks still hears so.
    for path in ["/health/ready", "/metrics", "/pool"] {
        let reply = worker.get(path);
        assert_eq!(reply.status, 503, "{reply:?}");
        assert!(reply.json()["error"].is_string() && reply.json()["hint"].is_string(), "{reply:?}");
    }
    let resized = worker.resize(4, "token");
    assert_eq!(resized.status, 503, "{resized:?}");
    worker.kill();
}

#[test]
fn a_poll_thread_that_stands_still_is_not_live_though_every_actor_answers() {
    let queue = Queue::new(Kafka::shared(), 1);
    let relay = RecordingSmtp::start();
    let settings =
        Settings::new(&queue, relay.port()).environment("MAILROOM_HANG_AT", "poll-thread-turns:200");
    let worker = TestWorker::start(&settings);
    assert_eq!(worker.get("/health/live").status, 200);
    let live = until_not_live(&worker);
    let error = live.json()["error"].as_str().expect("an error").to_owned();
    assert!(error.contains("consumer") && error.contains("polls Kafka"), "{error}");
    let health = worker.get("/health").json();
    assert_eq!(health["checks"]["actor:consumer"][0]["status"], "fail", "{health}");
    assert_eq!(health["checks"]["actor:mailer"][0]["status"], "pass", "{health}");
    check_actions(&health);
    worker.kill();
}

#[test]
fn a_relay_that_fails_is_told_with_the_same_count_by_health_and_log_and_so_is_that_it_is_back() {
    let queue = Queue::new(Kafka::shared(), 1);
    let fails = Arc::new(AtomicBool::new(true));
    let down = Arc::clone(&fails);
    let relay = RecordingSmtp::with(move |step| match step {
        Step::Connected if down.load(Ordering::SeqCst) => Answer::Reply("554 5.3.2 Down for maintenance"),
        _ => Answer::Accept,
    });
    let settings = Settings::new(&queue, relay.port())
        .set("breaker.failures", 4)
        .set("breaker.probe_interval", "100ms")
        .set("retry.base", "100ms");
    let worker = TestWorker::start(&settings);
    worker.wait_until_assigned();
    queue.put((0..4).map(|n| format!(r#"{{"to": "{n}@example.com", "text": "Hello"}}"#)));
    let told = until("the circuit to be told", || {
        let health = worker.get("/health").json();
        let output = health["checks"]["smtp"][0]["output"].as_str().expect("an output").to_owned();
        output.starts_with("circuit open").then_some((output, health))
    });
    assert!(told.0.contains("attempts failed at the relay: 554 5.3.2 Down for maintenance"), "{}", told.0);
    check_actions(&told.1);
    assert_eq!(told.1["checks"]["smtp"][0]["status"], "warn");
    fails.store(false, Ordering::SeqCst);
    queue.wait_until_settled();
    let health = worker.get("/health").json();
    assert_eq!(health["checks"]["smtp"][0]["status"], "pass", "{health}");
    check_actions(&health);
    let log = worker.stop();
    let lines = |text: &str| -> Vec<Value> {
        let lines = log.iter().filter(|line| line.contains(text));
        lines.map(|line| serde_json::from_str(line).expect("JSON")).collect()
    };
    let (fails, works) = (lines("the relay fails, whatever the e-mail"), lines("the relay works again"));
    assert_eq!((fails.len(), works.len()), (1, 1), "{log:?}");
    assert_eq!((&fails[0]["failures"], &fails[0]["stage"]), (&3.into(), &"greeting".into()), "{fails:?}");
    assert!(works[0]["failures"].as_u64().is_some_and(|failures| failures >= 4), "the probes too: {works:?}");
}

#[test]
fn records_that_were_deleted_unread_are_told_by_health_with_what_to_do() {
    let queue = Queue::new(Kafka::shared(), 1);
    let relay = RecordingSmtp::start();
    queue.put([JOB]);
    let worker = TestWorker::start(&Settings::new(&queue, relay.port()));
    queue.wait_until_settled();
    assert_eq!(worker.get("/health").json()["checks"]["kafka"][0]["status"], "pass");
    worker.stop();
    queue.put([JOB; 5]);
    let mut before = TopicPartitionList::new();
    before.add_partition_offset(&queue.topic, 0, Offset::Offset(4)).expect("an offset");
    let admin: AdminClient<DefaultClientContext> = ClientConfig::new()
        .set("bootstrap.servers", queue.kafka.address())
        .create()
        .expect("an admin client");
    futures::executor::block_on(admin.delete_records(&before, &AdminOptions::new())).expect("Kafka answers");
    let worker = TestWorker::start(&Settings::new(&queue, relay.port()));
    let told = until("the records to be missed", || {
        let health = worker.get("/health").json();
        let check = &health["checks"]["kafka"][0];
        let told = check["output"].as_str().is_some_and(|output| output.contains("offset 1 of partition 0"));
        told.then(|| health.clone())
    });
    assert_eq!(told["checks"]["kafka"][0]["status"], "warn", "{told}");
    check_actions(&told);
    worker.wait_until_ready();
    queue.wait_until_settled();
    let still = worker.get("/health");
    assert_eq!((still.status, &still.json()["status"]), (200, &"warn".into()), "{still:?}");
    worker.stop();
}
