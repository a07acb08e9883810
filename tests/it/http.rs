//! HTTP from outside: health, metrics, and the pool resized under load (contract, sections 5 and 6).

use std::process::Command;

use crate::harness::{
    Answer, Kafka, Queue, RecordingSmtp, Reply, Settings, Step, TestWorker, process, until,
};

const TOKEN: &str = "let-me-in-canary";

#[test]
fn metrics_pass_promtool_and_start_at_zero() {
    let queue = Queue::new(Kafka::shared(), 2);
    let relay = RecordingSmtp::start();
    let worker = TestWorker::start(&Settings::new(&queue, relay.port()));
    worker.wait_until_ready();
    let metrics = worker.metrics();
    for status in ["success", "failure"] {
        assert_eq!(metrics.get("email_attempts_total", &[("status", status)]), 0.0);
    }
    assert_eq!(metrics.get("dlq_messages_total", &[("topic", &queue.dlq_topic)]), 0.0);
    for result in ["ok", "temporary", "permanent", "infrastructure", "limited", "ambiguous"] {
        assert_eq!(metrics.get("mailroom_send_attempts_total", &[("result", result)]), 0.0);
    }
    for outcome in ["sent", "dead_lettered", "expired"] {
        assert_eq!(metrics.get("mailroom_emails_total", &[("outcome", outcome)]), 0.0);
    }
    assert_eq!(metrics.get("mailroom_pool_size", &[]), 8.0);

    queue.put([r#"{"to": "ada@example.com", "text": "Hello"}"#, "no job"]);
    queue.wait_until_settled();
    let mut promtool = Command::new("promtool");
    promtool.args(["check", "metrics"]);
    let checked = process::run(promtool, worker.get("/metrics").body.as_bytes());
    let told = String::from_utf8_lossy(&checked.stderr);
    assert!(checked.status.success() && told.is_empty(), "{told}");
    worker.stop();
}

#[test]
fn health_is_good_while_all_is_well() {
    let queue = Queue::new(Kafka::shared(), 1);
    let relay = RecordingSmtp::start();
    let worker = TestWorker::start(&Settings::new(&queue, relay.port()));
    worker.wait_until_ready();
    assert_eq!(worker.get("/health/live").status, 200);
    let health = worker.get("/health");
    assert_eq!(health.status, 200, "{health:?}");
    assert!(health.headers["content-type"].starts_with("application/health+json"), "{health:?}");
    let health = health.json();
    assert_eq!(health["status"], "pass", "{health}");
    assert_eq!(health["version"], env!("CARGO_PKG_VERSION"));
    for check in ["kafka", "smtp", "dlq", "pool", "consumer"] {
        assert!(health["checks"][check][0]["status"].is_string(), "{check} is missing: {health}");
    }
    worker.stop();
}

#[test]
fn without_a_broker_at_start_the_worker_waits_live_and_not_ready_and_still_stops() {
    let queue = Queue::new(Kafka::shared(), 1);
    let nobody = format!("127.0.0.1:{}", process::free_port());
    let worker = TestWorker::start(&Settings::new(&queue, 1).set("kafka.brokers", nobody));
    assert_eq!(worker.get("/health/live").status, 200);
    assert_eq!(worker.get("/health/ready").status, 503);
    let health = worker.get("/health");
    assert_eq!(health.status, 503, "{health:?}");
    assert_eq!(health.json()["status"], "fail");
    worker.stop();
}

#[test]
fn changes_need_the_token_and_mistakes_are_answered_in_the_contracts_order() {
    let queue = Queue::new(Kafka::shared(), 1);
    let relay = RecordingSmtp::start();
    let worker = TestWorker::start(&Settings::new(&queue, relay.port()).set("http.admin_token", TOKEN));
    let put = |path, token, body: &str| worker.request("PUT", path, token, Some(body));
    let good = r#"{"size": 4}"#;
    let too_long = format!(r#"{{"size": 4, "padding": "{}"}}"#, "x".repeat(65 * 1024));

    for token in [None, Some("wrong")] {
        let refused = put("/pool", token, good);
        check_error(&refused, 401);
        assert_eq!(refused.headers["www-authenticate"], "Bearer", "{refused:?}");
        check_error(&put("/pool", token, &too_long), 401);
        check_error(&put("/pool", token, "{"), 401);
    }
    check_error(&put("/pool", Some(TOKEN), &too_long), 413);
    for body in
        ["{", r#"{"size": "many"}"#, r#"{"size": 0}"#, r#"{"size": 4097}"#, r#"{"size": -1}"#, "{}", "[]"]
    {
        check_error(&put("/pool", Some(TOKEN), body), 400);
    }
    assert!(
        put("/pool", Some(TOKEN), r#"{"size": 4097}"#).body.contains("4096"),
        "it tells the allowed range"
    );
    check_error(&put("/nowhere", None, good), 404);
    let wrong_method = worker.request("DELETE", "/pool", None, None);
    check_error(&wrong_method, 405);
    let allowed = &wrong_method.headers["allow"];
    assert!(allowed.contains("GET") && allowed.contains("PUT"), "{allowed}");
    assert_eq!(worker.get("/pool").json()["size"], 8, "nothing of it changed anything");

    let resized = put("/pool", Some(TOKEN), good);
    assert_eq!((resized.status, &resized.json()["size"]), (200, &4.into()), "{resized:?}");
    let log = worker.stop();
    assert!(log.iter().all(|line| !line.contains(TOKEN)));
}

#[test]
fn without_a_token_changes_are_forbidden_and_the_answer_says_how_to_set_one() {
    let queue = Queue::new(Kafka::shared(), 1);
    let relay = RecordingSmtp::start();
    let worker = TestWorker::start(&Settings::new(&queue, relay.port()));
    let refused = worker.resize(4, "anything");
    check_error(&refused, 403);
    assert!(refused.json()["hint"].as_str().expect("a hint").contains("admin_token"), "{refused:?}");
    worker.stop();
}

#[test]
fn resizing_under_load_loses_repeats_and_miscounts_nothing() {
    let jobs = 6_000;
    let queue = Queue::new(Kafka::shared(), 4);
    let relay = RecordingSmtp::with(|step| match step {
        Step::Recipient(to) if to.ends_with("7@example.com") => Answer::Reply("451 4.2.0 Not yet"),
        Step::Dot(_) => Answer::AcceptAfter(std::time::Duration::from_millis(4)),
        _ => Answer::Accept,
    });
    // Every tenth waits for retries and ends as a dead letter, so that mailers go while they hold such jobs.
    queue.put((0..jobs).map(|n| format!(r#"{{"to": "user{n:04}@example.com", "text": "Hello"}}"#)));
    let settings =
        Settings::new(&queue, relay.port()).set("http.admin_token", TOKEN).set("retry.base", "200ms");
    let worker = TestWorker::start(&settings);
    for (turn, size) in [2, 32, 1, 64, 3, 16].into_iter().enumerate() {
        until("some progress at this size", || {
            check_accounts(&worker);
            assert_eq!(worker.get("/health/live").status, 200, "busy is alive");
            (relay.taken() > turn * jobs / 10).then_some(())
        });
        let resized = worker.resize(size, TOKEN);
        assert_eq!(resized.status, 200, "{resized:?}");
        assert_eq!(resized.json()["size"], size);
        until("the pool to have its size", || {
            let pool = worker.get("/pool").json();
            (pool["mailers"].as_array().expect("an array").len() == size).then_some(())
        });
    }
    queue.wait_until_settled();
    check_accounts(&worker);
    let metrics = worker.metrics();
    assert_eq!(metrics.get("mailroom_pool_size", &[]), 16.0);
    assert_eq!(metrics.get("mailroom_in_flight", &[]), 0.0);
    assert_eq!(metrics.get("mailroom_emails_total", &[("outcome", "sent")]), (jobs * 9 / 10) as f64);
    assert_eq!(metrics.get("mailroom_emails_total", &[("outcome", "dead_lettered")]), (jobs / 10) as f64);
    assert_eq!(metrics.sum("mailroom_actor_restarts_total"), 0.0);
    worker.stop();

    let copies = relay.copies();
    assert_eq!(copies.len(), jobs * 9 / 10);
    assert!(copies.values().all(|count| *count == 1), "some e-mails were repeated");
    assert_eq!(queue.dead_letters().len(), jobs / 10);
    for n in (7..jobs).step_by(10).take(50) {
        assert_eq!(relay.attempts_for(&format!("user{n:04}@example.com")).len(), 3, "job {n}");
    }
}

/// Always: consumed = sum of emails + in flight + returned.
fn check_accounts(worker: &TestWorker) {
    let metrics = worker.metrics();
    let consumed = metrics.sum("mailroom_messages_consumed_total");
    let accounted = metrics.sum("mailroom_emails_total")
        + metrics.get("mailroom_in_flight", &[])
        + metrics.get("mailroom_jobs_returned_total", &[]);
    assert_eq!(consumed, accounted, "{metrics:?}");
}

fn check_error(reply: &Reply, status: u16) {
    assert_eq!(reply.status, status, "{reply:?}");
    let error = reply.json();
    assert!(error["error"].is_string() && error["hint"].is_string(), "{error}");
}

#[test]
fn a_paused_worker_takes_no_more_jobs_finishes_what_is_in_hand_and_goes_on_where_it_was() {
    let queue = Queue::new(Kafka::shared(), 1);
    let relay = RecordingSmtp::start();
    let worker = TestWorker::start(&Settings::new(&queue, relay.port()).set("http.admin_token", TOKEN));
    worker.wait_until_assigned();
    let post = |path: &str, body: &str| worker.request("POST", path, Some(TOKEN), Some(body));
    assert_eq!(post("/consumer/pause", "{}").status, 400, "a reason is required");
    let paused = post("/consumer/pause", r#"{"reason": "the relay is moved"}"#);
    assert_eq!(paused.status, 200, "{paused:?}");
    let expected = serde_json::json!({"paused": true, "reason": "the relay is moved", "until": null});
    assert_eq!(paused.json(), expected);

    const JOBS: usize = 20;
    queue.put((0..JOBS).map(|n| format!(r#"{{"to": "{n}@example.com", "text": "Hello"}}"#)));
    until("the backlog to be seen", || {
        (worker.metrics().get("mailroom_backlog", &[("topic", &queue.topic)]) >= JOBS as f64).then_some(())
    });
    let metrics = worker.metrics();
    assert_eq!(metrics.get("mailroom_intake_paused", &[("reason", "operator")]), 1.0);
    assert_eq!(metrics.get("mailroom_messages_consumed_total", &[("topic", &queue.topic)]), 0.0);
    assert_eq!(worker.get("/health/ready").status, 200);
    let health = worker.get("/health");
    assert_eq!((health.status, health.json()["status"].as_str()), (200, Some("warn")));
    let check = health.json()["checks"]["consumer"][0].clone();
    assert!(check["output"].as_str().is_some_and(|text| text.contains("the relay is moved")), "{check}");
    assert_eq!(relay.taken(), 0);

    let resumed = post("/consumer/resume", "");
    assert_eq!(resumed.json()["paused"], false, "{resumed:?}");
    queue.wait_until_settled();
    assert_eq!(relay.taken(), JOBS);
    assert_eq!(worker.metrics().get("mailroom_intake_paused", &[("reason", "operator")]), 0.0);

    // It ends by itself, too.
    let paused = post("/consumer/pause", r#"{"reason": "a moment", "for": "1s"}"#);
    assert!(paused.json()["until"].is_string(), "{paused:?}");
    queue.put([r#"{"to": "last@example.com", "text": "Hello"}"#]);
    queue.wait_until_settled();
    let log = worker.stop();
    assert_eq!(log.iter().filter(|line| line.contains("intake paused by hand")).count(), 2, "{log:?}");
}
