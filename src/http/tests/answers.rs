//! What the endpoints answer when all is well with the request.

use mailroom_actors::messages::ActorState;
use serde_json::json;

use super::*;

#[test]
fn metrics_are_prometheus_text() {
    let server = TestServer::start(FakeDoors::healthy());
    let answer = server.get("/metrics");
    assert_eq!(answer.status, 200);
    assert_eq!(answer.header("content-type"), "text/plain; version=0.0.4; charset=utf-8");
    assert_eq!(answer.body, "# HELP mailroom_ready\n");
    assert_eq!(server.get("/metrics?name[]=up").status, 200);
}

#[test]
fn metrics_that_can_not_be_encoded_are_an_error_without_their_text() {
    let doors = FakeDoors { metrics: Some(Err("ada@example.com".into())), ..FakeDoors::healthy() };
    let answer = TestServer::start(doors).get("/metrics");
    answer.refused(500);
    assert!(!answer.body.contains("ada"));
}

#[test]
fn a_healthy_worker_is_live_and_ready() {
    let server = TestServer::start(FakeDoors::healthy());
    for path in ["/health/live", "/health/ready", "/health"] {
        let answer = server.get(path);
        assert_eq!(answer.status, 200, "{path}");
        assert_eq!(answer.header("content-type"), "application/health+json");
        assert_eq!(answer.header("cache-control"), "no-store");
        assert_eq!(answer.json()["status"], "pass", "{path}");
    }
}

#[test]
fn health_names_every_part_and_every_actor() {
    let json = TestServer::start(FakeDoors::healthy()).get("/health").json();
    assert_eq!(json["version"], env!("CARGO_PKG_VERSION"));
    let checks = json["checks"].as_object().unwrap();
    for name in ["kafka", "smtp", "dlq", "pool", "consumer"] {
        let entry = checks[name][0].as_object().unwrap();
        assert_eq!(entry.keys().collect::<Vec<_>>(), ["action", "output", "status"], "{name}");
        assert_eq!(entry["status"], "pass", "{name}");
    }
    for name in ["supervisor", "consumer", "dead_letters", "metrics", "mailer"] {
        let expected =
            json!({"status": "pass", "state": "running", "restarts": 0, "last_error": null, "action": null});
        assert_eq!(checks[&format!("actor:{name}")], json!([expected]));
    }
    assert_eq!(checks.len(), 10);
}

#[test]
fn a_worker_without_kafka_is_live_and_not_ready_and_says_what_to_do() {
    let mut status = healthy();
    status.kafka.silent_for = None;
    status.kafka.last_error = Some("Connection refused".into());
    let server = TestServer::start(FakeDoors { status: Some(status), ..FakeDoors::healthy() });
    assert_eq!(server.get("/health/live").status, 200);
    let ready = server.get("/health/ready");
    assert_eq!(ready.status, 503);
    assert_eq!(ready.json()["status"], "fail");
    assert!(ready.json()["error"].as_str().unwrap().contains("Connection refused"));
    assert!(ready.json()["hint"].as_str().unwrap().contains("kafka.brokers"));
    let health = server.get("/health");
    assert_eq!((health.status, &health.json()["status"]), (503, &json!("fail")));
}

#[test]
fn a_worker_whose_actor_has_stopped_is_neither_live_nor_ready() {
    let mut status = healthy();
    status.actors[1].state = ActorState::Stopped;
    let server = TestServer::start(FakeDoors { status: Some(status), ..FakeDoors::healthy() });
    for path in ["/health/live", "/health/ready", "/health"] {
        assert_eq!(server.get(path).status, 503, "{path}");
    }
}

#[test]
fn the_pool_is_shown_with_each_mailer() {
    let answer = TestServer::start(FakeDoors::healthy()).get("/pool");
    assert_eq!((answer.status, answer.header("content-type")), (200, "application/json"));
    let mailers = json!([
        {"id": 0, "state": "idle", "restarts": 0},
        {"id": 1, "state": "busy", "restarts": 0},
    ]);
    let expected = json!({"size": 2, "min": 1, "max": 64, "busy": 1, "allowed": 2, "mailers": mailers});
    assert_eq!(answer.json(), expected);
}

#[test]
fn the_pool_is_resized_with_the_token() {
    let server = TestServer::start(FakeDoors::healthy());
    let answer = server.put(b" {\"size\": 16}\n");
    assert_eq!((answer.status, &answer.json()["size"]), (200, &json!(16)));
    assert_eq!(server.doors.size.load(Ordering::SeqCst), 16);
}

#[test]
fn the_scheme_of_the_token_is_read_without_case() {
    let server = TestServer::start(FakeDoors::healthy());
    let [line, host, _, length] = put_head(11);
    let head = [line, host, "authorization: bearer   canary-admin-token  ", length];
    assert_eq!(server.ask(&head, b"{\"size\": 9}").status, 200);
}

#[test]
fn a_client_that_asks_first_is_told_to_go_on() {
    let server = TestServer::start(FakeDoors::healthy());
    let mut client = server.connect();
    client.send(&[&put_head(11)[..], &["Expect: 100-continue"]].concat(), b"");
    assert_eq!(client.answer().status, 100);
    client.send_raw(b"{\"size\": 9}");
    assert_eq!(client.answer().status, 200);
}

#[test]
fn head_answers_as_get_does_without_the_body() {
    let server = TestServer::start(FakeDoors::healthy());
    for path in ["/metrics", "/health/live", "/health/ready", "/health", "/pool"] {
        let get = server.get(path);
        let mut client = server.connect();
        client.send(&[&format!("HEAD {path} HTTP/1.1"), "Host: mailroom"], b"");
        let head = client.answer();
        assert_eq!((head.status, head.headers.len()), (200, get.headers.len()), "{path}");
        for name in ["content-type", "content-length", "cache-control"] {
            assert_eq!(head.header(name), get.header(name), "{path}");
        }
        assert_ne!(head.header("content-length"), "0");
        assert_eq!(client.rest(), b"", "{path}");
    }
}

#[test]
fn each_answer_ends_its_connection() {
    let server = TestServer::start(FakeDoors::healthy());
    let mut client = server.connect();
    client.send(&["GET /health/live HTTP/1.1", "Host: mailroom", "Connection: keep-alive"], b"");
    assert_eq!(client.answer().header("connection"), "close");
    assert_eq!(client.rest(), b"");
}

#[test]
fn a_client_may_speak_http_1_0_and_close_its_half_first() {
    let server = TestServer::start(FakeDoors::healthy());
    let mut client = server.connect();
    client.send(&["GET /health/live HTTP/1.0"], b"");
    client.stream.get_ref().shutdown(std::net::Shutdown::Write).unwrap();
    assert_eq!(client.answer().status, 200);
}

fn post(server: &TestServer, path: &str, body: &str) -> Answer {
    let head = [
        &format!("POST {path} HTTP/1.1"),
        "Host: mailroom",
        "Authorization: Bearer canary-admin-token",
        &format!("Content-Length: {}", body.len()),
    ];
    server.ask(&head, body.as_bytes())
}

#[test]
fn a_pause_and_its_end_answer_how_it_is_now() {
    let server = TestServer::start(FakeDoors::healthy());
    let answer = post(&server, "/consumer/pause", r#"{"reason": "the relay is moved", "for": "10m"}"#);
    assert_eq!(answer.status, 200);
    // The fake's clock stands at the epoch.
    let paused = json!({"paused": true, "reason": "the relay is moved", "until": "1970-01-01T00:10:00Z"});
    assert_eq!(answer.json(), paused);
    let answer = post(&server, "/consumer/pause", r#"{"reason": "the relay is moved"}"#);
    assert_eq!(answer.json()["until"], Value::Null);
    for body in ["", "{}"] {
        let answer = post(&server, "/consumer/resume", body);
        assert_eq!(answer.status, 200, "{body}");
        assert_eq!(answer.json(), json!({"paused": false, "reason": null, "until": null}));
    }
}

#[test]
fn a_pause_that_makes_no_sense_is_a_bad_request_and_one_without_the_token_is_not_looked_at() {
    let server = TestServer::start(FakeDoors::healthy());
    for body in ["", "{", "[]", "{}", r#"{"reason": ""}"#, r#"{"reason": "a", "for": "soon"}"#] {
        let (_, hint) = post(&server, "/consumer/pause", body).refused(400);
        assert!(hint.contains("reason"), "{hint}");
    }
    post(&server, "/consumer/resume", "7").refused(400);
    for path in ["/consumer/pause", "/consumer/resume"] {
        server
            .ask(&[&format!("POST {path} HTTP/1.1"), "Host: mailroom", "Content-Length: 1"], b"{")
            .refused(401);
    }
}

#[test]
fn a_paused_worker_is_ready_and_health_says_who_why_and_what_to_do() {
    let mut status = healthy();
    let end = PauseEnd::after(Duration::from_secs(60), DateTime::UNIX_EPOCH);
    status.intake.paused = Some(Pause { reason: "moved by ada@example.com".into(), by: "http", end });
    let server = TestServer::start(FakeDoors { status: Some(status), ..FakeDoors::healthy() });
    assert_eq!(server.get("/health/ready").status, 200);
    let answer = server.get("/health");
    assert_eq!((answer.status, answer.json()["status"].as_str()), (200, Some("warn")));
    let check = &answer.json()["checks"]["consumer"][0];
    let output = check["output"].as_str().unwrap();
    assert_eq!(output, "paused by hand (by http) until 1970-01-01T00:01:00Z: moved by a***@example.com");
    assert!(check["action"].as_str().unwrap().contains("/consumer/resume"), "{check}");
}
