//! The dead letter queue by HTTP, from outside: looked at, replayed, discarded, restored (contract, section 9).

use std::thread;

use serde_json::{Value, json};

use crate::harness::kafka::Record;
use crate::harness::{
    Answer, Kafka, Queue, RecordingSmtp, Reply, Settings, Step, TestWorker, process, until,
};
use crate::replays::{Letters, replayed};

const TOKEN: &str = "let-me-in-canary";
const SECRET: &str = "secret.canary@example.com";

/// A worker with the token, over a queue whose letters it has read.
struct Desk {
    worker: TestWorker,
}

impl Desk {
    fn start(settings: Settings, letters: usize) -> Desk {
        let desk = Desk { worker: TestWorker::start(&settings.set("http.admin_token", TOKEN)) };
        until("the letters to be read", || {
            let reply = desk.worker.get("/dlq/letters?limit=1000");
            let page = (reply.status == 200).then(|| reply.json())?;
            let count = page["letters"].as_array().expect("an array").len();
            (page["searched"]["complete"] == true && count == letters).then_some(())
        });
        desk
    }

    fn get(&self, path: &str) -> Value {
        let reply = self.worker.get(path);
        assert_eq!(reply.status, 200, "{path}: {reply:?}");
        reply.json()
    }

    fn change(&self, method: &str, path: &str, body: Option<&str>) -> Reply {
        self.worker.request(method, path, Some(TOKEN), body)
    }

    fn post(&self, body: &Value) -> Reply {
        self.change("POST", "/dlq/runs", Some(&body.to_string()))
    }

    /// Begins a run, and returns its path.
    fn begin(&self, body: &Value) -> String {
        let reply = self.post(body);
        assert_eq!(reply.status, 202, "{reply:?}");
        reply.headers["location"].clone()
    }

    /// Waits until the run is in that state, and returns it.
    fn wait(&self, run: &str, state: &str) -> Value {
        until(&format!("the run to be {state}"), || {
            let run = self.get(run);
            let is_over = run["state"] != "running" || state == "running";
            assert!(!is_over || run["state"] == state, "{run}");
            is_over.then_some(run)
        })
    }

    /// How many letters are in each state.
    fn states(&self) -> Value {
        let mut states = json!({"waiting": 0, "replayed": 0, "discarded": 0, "parked": 0});
        for group in self.get("/dlq/groups").as_array().expect("an array") {
            for (state, count) in group["states"].as_object().expect("an object") {
                let sum = states[state].as_u64().unwrap_or_default() + count.as_u64().unwrap_or_default();
                states[state] = json!(sum);
            }
        }
        states
    }
}

fn replay(select: &Value) -> Value {
    json!({"action": "replay", "select": select, "reason": "the relay was down", "rate": 1000})
}

fn names(page: &Value) -> Vec<&str> {
    let letters = page["letters"].as_array().expect("an array");
    letters.iter().map(|letter| letter["letter"].as_str().expect("a text")).collect()
}

/// Letters that are not ours, or hold no job: the guide's own worker's, one that is none, a stub.
fn put_odd_ones(queue: &Queue<'_>) {
    let stub = json!({
        "original_message": {"omitted": true, "bytes": 11_000_000, "sha256": "ab".repeat(32)}, "cause": "too_large",
        "error_reason": "too large", "stage": "decode", "replay_count": 0,
    });
    let stub = stub
        .to_string()
        .replace(r#"{"bytes":11000000,"omitted":true,"#, r#"{"omitted":true,"bytes":11000000,"#);
    let guide = format!(
        r#"{{"original_message": {{"to": "{SECRET}", "otp": "493021"}}, "error_reason": "Connection refused",
        "retry_count": 3, "failed_at": "2026-09-21T14:13:20", "worker_id": "worker-1"}}"#
    );
    let record = |number: i64, value: Vec<u8>| Record {
        key: Some(SECRET.into()),
        value: Some(value),
        // Newer than the others.
        timestamp_ms: chrono::Utc::now().timestamp_millis() + 1_000 + number,
        ..Record::default()
    };
    let records = [record(0, guide.into()), record(1, b"\xff\xfe493021".to_vec()), record(2, stub.into())];
    queue.kafka.produce(&queue.dlq_topic, &records, None);
}

#[test]
fn letters_are_looked_at_by_group_by_page_and_one_by_one_and_who_sees_a_job_is_in_the_log() {
    let queue = Queue::with_letters(Kafka::shared(), 2);
    Letters::put(&queue, 2, 6);
    put_odd_ones(&queue);
    let relay = RecordingSmtp::start();
    let desk = Desk::start(Settings::new(&queue, relay.port()), 9);

    let groups = desk.worker.get("/dlq/groups?by=cause");
    assert!(groups.headers["x-mailroom-searched"].starts_with("complete; from="), "{groups:?}");
    let groups = groups.json();
    let oldest = desk.get("/dlq/letters/0-0")["at"].clone();
    let newest = desk.get("/dlq/letters/1-2")["at"].clone();
    let expected = json!({
        "key": "smtp_unreachable", "count": 6, "states": {"waiting": 6, "replayed": 0, "discarded": 0, "parked": 0},
        "first": oldest, "last": newest, "example": "1-2", "advice": "replay",
    });
    assert_eq!(groups[0], expected, "{groups}");
    let keys: Vec<&Value> = groups.as_array().expect("an array").iter().map(|group| &group["key"]).collect();
    assert_eq!(keys, ["smtp_unreachable", "too_large", "unknown", "unreadable"]);

    let first = desk.get("/dlq/letters?limit=4");
    assert_eq!(names(&first), ["0-5", "0-4", "0-3", "1-2"]);
    let next = first["next"].as_str().expect("there are more");
    let second = desk.get(&format!("/dlq/letters?limit=5&after={next}"));
    assert_eq!(names(&second), ["0-2", "1-1", "0-1", "1-0", "0-0"]);
    assert_eq!(second["next"], Value::Null);
    assert_eq!(names(&desk.get("/dlq/letters?q=ada3%40example.com")), ["1-1"]);

    let ours = desk.get("/dlq/letters/1-1");
    assert_eq!((&ours["recipients"], &ours["state"]), (&json!(["a***@example.com"]), &json!("waiting")));
    assert_eq!(
        (&ours["key"], &ours["headers"]),
        (&json!("key-3"), &json!(["mine", "kafka_dlt-original-topic"]))
    );
    assert_eq!((&ours["attempts"], &ours["decisions"]), (&json!([]), &json!([])));
    let guide = desk.get("/dlq/letters/0-3");
    assert_eq!((&guide["worker_id"], &guide["key"]), (&json!("worker-1"), &json!("s***@example.com")));
    let unreadable = desk.get("/dlq/letters/0-4");
    assert_eq!(unreadable["unreadable"], json!({"bytes": 8, "error": "it is no JSON: not UTF-8"}));
    for letter in [&ours, &guide, &unreadable] {
        assert!(letter.get("original").is_none() && !letter.to_string().contains("493021"), "{letter}");
    }

    let reveal =
        |letter: &str| desk.change("GET", &format!("/dlq/letters/{letter}?reveal=true"), None).json();
    assert_eq!(
        reveal("0-3")["original"],
        json!({"text": format!(r#"{{"to": "{SECRET}", "otp": "493021"}}"#)})
    );
    assert_eq!(reveal("0-4")["value"], json!({"base64": "//40OTMwMjE="}));
    let stub = json!({"omitted": true, "bytes": 11_000_000, "sha256": "ab".repeat(32)});
    assert_eq!(reveal("0-5")["original"], stub);
    let refused = desk.worker.get("/dlq/letters/0-3?reveal=true");
    assert_eq!((refused.status, refused.headers["www-authenticate"].as_str()), (401, "Bearer"));

    let log = desk.worker.stop();
    let revealed: Vec<Value> = log
        .iter()
        .filter(|line| line.contains("a dead letter was revealed"))
        .map(|line| serde_json::from_str(line).expect("JSON"))
        .collect();
    let letters: Vec<&Value> = revealed.iter().map(|line| field(line, "letter")).collect();
    assert_eq!(letters, ["0-3", "0-4", "0-5"]);
    assert!(revealed.iter().all(|line| *field(line, "by") == "http" && field(line, "client").is_string()));
    assert!(!log.iter().any(|line| line.contains(SECRET) || line.contains("493021")), "{log:?}");
}

/// A field of a log line, wherever the log has its fields.
fn field<'a>(line: &'a Value, name: &str) -> &'a Value {
    line.get(name).or_else(|| line["fields"].get(name)).unwrap_or_else(|| panic!("no {name} in {line}"))
}

#[test]
fn what_can_t_be_asked_is_refused_with_what_to_do() {
    let queue = Queue::with_letters(Kafka::shared(), 1);
    Letters::put(&queue, 1, 1);
    let relay = RecordingSmtp::start();
    let desk = Desk::start(Settings::new(&queue, relay.port()), 1);
    let too_long = "x".repeat(65 * 1024);
    let bodies = [
        "{",
        "[]",
        r#"{"action": "replay"}"#,
        r#"{"action": "replay", "reason": "r"}"#,
        r#"{"action": "replay", "select": {"letters": []}, "reason": "r"}"#,
        r#"{"action": "replay", "select": {"cause": "nothing"}, "reason": "r"}"#,
        r#"{"action": "replay", "select": {"cause": "quota"}, "reason": "r", "more": 1}"#,
        r#"{"action": "replay", "select": {"letters": ["0-0"]}, "reason": "r", "value": {"to": "a@b.c"}}"#,
    ];
    let mut refused = vec![
        (400, desk.worker.get("/dlq/groups?by=size")),
        (400, desk.worker.get("/dlq/groups?size=1")),
        (400, desk.worker.get("/dlq/letters?limit=1001")),
        (400, desk.worker.get("/dlq/letters?after=0-0")),
        (400, desk.worker.get("/dlq/letters?code=abc")),
        (400, desk.worker.get("/dlq/letters/0-0?reveal=maybe")),
        (400, desk.worker.get("/dlq/runs?state=done")),
        (404, desk.worker.get("/dlq")),
        (404, desk.worker.get("/dlq/letters/0-1")),
        (404, desk.worker.get("/dlq/letters/5-0")),
        (404, desk.worker.get("/dlq/letters/letter")),
        (404, desk.worker.get("/dlq/runs/run")),
        (404, desk.change("DELETE", "/dlq/runs/run", None)),
        (401, desk.worker.request("POST", "/dlq/runs", None, Some(&too_long))),
        (401, desk.worker.request("DELETE", "/dlq/runs/run", Some("wrong"), None)),
        (413, desk.change("POST", "/dlq/runs", Some(&too_long))),
        (400, desk.change("POST", "/dlq/runs?dry_run=true", Some(bodies[0]))),
    ];
    refused.extend(bodies.map(|body| (400, desk.change("POST", "/dlq/runs", Some(body)))));
    for (path, allowed) in [
        ("/dlq/groups", "GET, HEAD"),
        ("/dlq/letters", "GET, HEAD"),
        ("/dlq/letters/0-0", "GET, HEAD"),
        ("/dlq/runs", "GET, HEAD, POST"),
        ("/dlq/runs/run", "GET, HEAD, DELETE"),
    ] {
        let reply = desk.worker.request("PUT", path, None, Some("{}"));
        assert_eq!(reply.headers["allow"], allowed, "{reply:?}");
        refused.push((405, reply));
    }
    for (status, reply) in refused {
        assert_eq!(reply.status, status, "{reply:?}");
        let error = reply.json();
        assert!(error["error"].is_string() && error["hint"].is_string(), "{error}");
    }
    assert_eq!(desk.get("/dlq/runs")["runs"], json!([]));
    desk.worker.stop();
    assert_eq!(replayed(&queue).len(), 0);
}

#[test]
fn a_worker_that_keeps_no_index_or_has_no_broker_says_so() {
    let queue = Queue::with_letters(Kafka::shared(), 1);
    let settings = Settings::new(&queue, 1);
    let nobody = format!("127.0.0.1:{}", process::free_port());
    for (settings, status, hint) in [
        (settings.clone().set("dlq.index_letters", 0), 404, "dlq.index_letters"),
        (settings.set("kafka.brokers", nobody), 503, "again"),
    ] {
        let worker = TestWorker::start(&settings);
        for path in ["/dlq/groups", "/dlq/letters", "/dlq/letters/0-0", "/dlq/runs", "/dlq/runs/run"] {
            let reply = worker.get(path);
            assert_eq!(reply.status, status, "{reply:?}");
            assert!(reply.json()["hint"].as_str().is_some_and(|text| text.contains(hint)), "{reply:?}");
        }
        // No token is set.
        let reply = worker.request("POST", "/dlq/runs", None, Some("{}"));
        assert_eq!(reply.status, if status == 404 { 404 } else { 403 }, "{reply:?}");
        worker.stop();
    }
}

#[test]
fn a_run_that_is_sent_twice_at_once_replays_each_letter_once_and_ends() {
    let queue = Queue::with_letters(Kafka::shared(), 2);
    Letters::put(&queue, 2, 20);
    put_odd_ones(&queue);
    let relay = RecordingSmtp::start();
    let desk = Desk::start(Settings::new(&queue, relay.port()), 23);
    let mut body = replay(&json!({"since": "2026-09-01T00:00:00Z"}));
    body["dry_run"] = json!(true);
    let preview = desk.post(&body);
    assert_eq!(preview.status, 200, "{preview:?}");
    let preview = preview.json();
    assert_eq!((&preview["matched"], &preview["will"]), (&json!(23), &json!(21)));
    assert_eq!(preview["skipped"]["undecodable"], 2, "{preview}");
    assert_eq!(preview["causes"], json!({"smtp_unreachable": 20, "unknown": 1}));
    assert_eq!(desk.get("/dlq/runs")["runs"], json!([]));

    body["dry_run"] = json!(false);
    let text = body.to_string();
    let bearer = format!("Bearer {TOKEN}");
    let headers = [("Authorization", bearer.as_str()), ("Idempotency-Key", "double click")];
    let send = || desk.worker.request_with("POST", "/dlq/runs", &headers, Some(&text));
    let replies = thread::scope(|scope| {
        [scope.spawn(send), scope.spawn(send)].map(|sent| sent.join().expect("it is answered"))
    });
    assert!(replies.iter().all(|reply| reply.status == 202), "{replies:?}");
    let run = replies[0].headers["location"].clone();
    assert_eq!(run, replies[1].headers["location"]);
    let done = desk.wait(&run, "done");
    let counts = ["total", "published", "skipped", "left"].map(|name| done[name].as_u64());
    assert_eq!(counts, [21, 21, 0, 0].map(Some), "{done}");
    assert_eq!(send().json()["id"], done["id"]);
    assert_eq!(desk.get("/dlq/runs")["runs"], json!([done]));

    let jobs = replayed(&queue);
    assert_eq!((jobs.len(), jobs.values().max()), (21, Some(&1)), "{jobs:?}");
    queue.wait_until_settled();
    assert_eq!(relay.taken(), 21);
    assert_eq!(desk.states(), json!({"waiting": 2, "replayed": 21, "discarded": 0, "parked": 0}));
    let letter = desk.get("/dlq/letters/1-3");
    let decision = &letter["decisions"][0];
    assert_eq!((&letter["state"], &decision["by"]), (&json!("replayed"), &json!("http")));
    assert_eq!((&decision["run"], &decision["round"]), (&done["id"], &json!(1)));
    assert_eq!(decision["reason"], "the relay was down");

    let log = desk.worker.stop();
    let told: Vec<Value> = log
        .iter()
        .filter(|line| line.contains("a run over dead letters was asked for"))
        .map(|line| serde_json::from_str(line).expect("JSON"))
        .collect();
    assert_eq!(told.len(), 1, "{told:?}");
    for (name, expected) in [
        ("run", done["id"].clone()),
        ("by", json!("http")),
        ("action", json!("replay")),
        ("letters", json!(21)),
        ("reason", json!("the relay was down")),
    ] {
        assert_eq!(*field(&told[0], name), expected, "{told:?}");
    }
}

#[test]
fn a_run_that_is_cancelled_in_the_middle_leaves_the_rest_as_it_was() {
    let queue = Queue::with_letters(Kafka::shared(), 2);
    let count = 60;
    Letters::put(&queue, 2, count);
    let relay = RecordingSmtp::start();
    let desk = Desk::start(Settings::new(&queue, relay.port()), count);
    let mut body = replay(&json!({"cause": "smtp_unreachable"}));
    body["rate"] = json!("4/s");
    let run = desk.begin(&body);
    until("the run to be under way", || {
        let run = desk.get(&run);
        assert_eq!(run["state"], "running", "{run}");
        (run["published"].as_u64() >= Some(4)).then_some(())
    });
    let cancelled = desk.change("DELETE", &run, None);
    assert_eq!((cancelled.status, &cancelled.json()["state"]), (200, &json!("cancelled")), "{cancelled:?}");
    // Whatever was under way in a partition is over once another run has been there.
    let discard = json!({"action": "discard", "select": {"letters": ["0-29", "1-29"]}, "reason": "a test"});
    desk.wait(&desk.begin(&discard), "done");
    let ended = desk.change("DELETE", &run, None);
    assert_eq!((ended.status, &ended.json()["state"]), (200, &json!("cancelled")), "{ended:?}");
    let ended = ended.json();
    let published = ended["published"].as_u64().expect("a number");
    assert!(published < 58, "{ended}");
    assert_eq!(ended["left"].as_u64(), Some(60 - published), "{ended}");
    assert_eq!(replayed(&queue).values().sum::<usize>() as u64, published);
    let expected = json!({"waiting": 58 - published, "replayed": published, "discarded": 2, "parked": 0});
    assert_eq!(desk.states(), expected);
    let log = desk.worker.stop();
    let told = log.iter().filter(|line| line.contains("a run over dead letters was cancelled")).count();
    assert_eq!(told, 1, "{log:?}");
}

#[test]
fn a_canary_that_fails_again_stops_the_run_and_one_that_is_sent_lets_it_go_on() {
    let queue = Queue::with_letters(Kafka::shared(), 2);
    Letters::put(&queue, 2, 8);
    let relay = RecordingSmtp::with(|step| match step {
        // The first two letters of partition 0.
        Step::Recipient("ada0@example.com" | "ada2@example.com") => Answer::Reply("550 5.1.1 No such user"),
        _ => Answer::Accept,
    });
    let desk = Desk::start(Settings::new(&queue, relay.port()), 8);
    let mut body = replay(&json!({"cause": "smtp_unreachable"}));
    body["canary"] = json!(2);
    let run = desk.begin(&body);
    let stopped = desk.wait(&run, "stopped");
    assert_eq!(stopped["canary"], json!({"size": 2, "failed_again": 2}));
    let counts = ["published", "failed_again", "left"].map(|name| stopped[name].as_u64());
    assert_eq!(counts, [2, 2, 6].map(Some), "{stopped}");
    // Two more, which came back.
    assert_eq!(desk.states(), json!({"waiting": 8, "replayed": 2, "discarded": 0, "parked": 0}));
    let back = desk.get("/dlq/letters/0-0")["replayed_as"].as_str().expect("it came back").to_owned();
    let back = desk.get(&format!("/dlq/letters/{back}"));
    assert_eq!((&back["replayed_from"], &back["replay_count"]), (&json!("0-0"), &json!(1)));
    assert_eq!(back["cause"], "invalid_recipient");

    let run = desk.begin(&body);
    let done = desk.wait(&run, "done");
    assert_eq!(done["canary"], json!({"size": 2, "failed_again": 0}));
    assert_eq!(done["published"], 6, "{done}");
    queue.wait_until_settled();
    assert_eq!(relay.taken(), 6);
    assert!(replayed(&queue).values().all(|count| *count == 1));
    desk.worker.stop();
}

#[test]
fn a_letter_is_discarded_restored_and_replayed_with_another_job() {
    let queue = Queue::with_letters(Kafka::shared(), 1);
    Letters::put(&queue, 1, 2);
    let relay = RecordingSmtp::start();
    let desk = Desk::start(Settings::new(&queue, relay.port()).set("dlq.allow_edit", true), 2);
    let act = |action: &str, further: Value| {
        let mut body =
            json!({"action": action, "select": {"letters": ["0-1"]}, "reason": "asked by bob@example.com"});
        body.as_object_mut().expect("an object").extend(further.as_object().expect("an object").clone());
        desk.wait(&desk.begin(&body), "done")
    };
    assert_eq!(act("discard", json!({}))["published"], 1);
    // What is discarded is not replayed.
    assert_eq!(act("replay", json!({}))["total"], 0);
    assert_eq!(act("restore", json!({}))["published"], 1);
    let edited = act("replay", json!({"value": {"to": "bob@example.com", "text": "Hello"}}));
    assert_eq!((&edited["edited"], &edited["published"]), (&json!(true), &json!(1)));
    assert_eq!(edited["reason"], "asked by b***@example.com");
    let letter = desk.get("/dlq/letters/0-1");
    let states: Vec<&Value> =
        letter["decisions"].as_array().expect("an array").iter().map(|step| &step["state"]).collect();
    assert_eq!(states, ["replayed", "waiting", "discarded"], "{letter}");
    queue.wait_until_settled();
    assert_eq!(relay.attempts_for("bob@example.com").len(), 1);
    assert_eq!(relay.taken(), 1);
    let log = desk.worker.stop();
    assert!(!log.iter().any(|line| line.contains("bob@example.com")), "{log:?}");
}
