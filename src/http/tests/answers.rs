//! What the endpoints answer when all is well with the request.

use std::sync::Arc;

use futures::FutureExt;
use futures::future::BoxFuture;
use mailroom_actors::messages::{ActorState, PoolStatus, SizeOutOfBounds, Status};
use serde_json::json;
use tokio::sync::{Barrier, Notify};

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

/// Answers each question for the status once as many have been asked as `together`, and after `release`.
struct GatedDoors {
    together: Arc<Barrier>,
    asked: Arc<Notify>,
    release: Arc<Notify>,
}

impl GatedDoors {
    fn new(together: usize) -> Arc<GatedDoors> {
        let together = Arc::new(Barrier::new(together));
        Arc::new(GatedDoors { together, asked: Arc::default(), release: Arc::default() })
    }
}

impl Doors for GatedDoors {
    fn status(&self) -> BoxFuture<'static, Option<Status>> {
        let (together, asked, release) = (self.together.clone(), self.asked.clone(), self.release.clone());
        async move {
            if together.wait().await.is_leader() {
                asked.notify_one();
            }
            release.notified().await;
            release.notify_one();
            Some(healthy())
        }
        .boxed()
    }

    fn resize(&self, _: usize) -> BoxFuture<'static, Option<Result<PoolStatus, SizeOutOfBounds>>> {
        ready(None).boxed()
    }

    fn scrape(&self) -> BoxFuture<'static, Option<Result<String, String>>> {
        ready(None).boxed()
    }
}

#[test]
fn requests_are_answered_side_by_side() {
    let patient = Limits { answer: Duration::from_secs(600), ..Limits::default() };
    let doors = GatedDoors::new(20);
    doors.release.notify_one();
    let server = serve(doors, None, patient);
    let mut clients: Vec<_> = (0..20).map(|_| Client::connect(server.address())).collect();
    for client in &mut clients {
        client.send(&["GET /health/live HTTP/1.1", "Host: mailroom"], b"");
    }
    for client in &mut clients {
        assert_eq!(client.answer().status, 200);
    }
    stop(server);
}

#[test]
fn a_request_under_way_is_finished_by_a_stop_and_no_new_one_begun() {
    let patient = Limits { answer: Duration::from_secs(600), ..Limits::default() };
    let doors = GatedDoors::new(1);
    let server = serve(doors.clone(), None, patient);
    let address = server.address();
    let mut client = Client::connect(address);
    client.send(&["GET /health/live HTTP/1.1", "Host: mailroom"], b"");
    tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap().block_on(async {
        doors.asked.notified().await;
        let mut stopping = std::pin::pin!(server.stop());
        assert!(futures::poll!(&mut stopping).is_pending());
        doors.release.notify_one();
        stopping.await;
    });
    assert_eq!(client.answer().status, 200);
    assert!(TcpStream::connect(address).is_err());
}

#[test]
fn a_stop_does_not_wait_for_an_answer_that_never_comes() {
    let patient = Limits { answer: Duration::from_secs(600), ..Limits::default() };
    let doors = GatedDoors::new(1);
    let server = serve(doors.clone(), None, patient);
    let mut client = Client::connect(server.address());
    client.send(&["GET /health/live HTTP/1.1", "Host: mailroom"], b"");
    tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap().block_on(async {
        doors.asked.notified().await;
        server.stop().await;
    });
    assert_eq!(client.rest(), b"");
}

#[test]
fn a_port_in_use_is_said_with_its_key() {
    let server = TestServer::start(FakeDoors::healthy());
    assert!(server.server.is_running());
    let config = Http { bind: server.server.address(), admin_token: None };
    let problem = super::super::start(&config, Arc::new(FakeDoors::healthy())).err().unwrap();
    assert!(problem.starts_with("http.bind: 127.0.0.1:"), "{problem}");
    assert!(problem.contains("in use"), "{problem}");
}

#[test]
fn an_address_of_another_machine_is_said_with_its_key() {
    let config = Http { bind: "192.0.2.1:0".parse().unwrap(), admin_token: None };
    let problem = super::super::start(&config, Arc::new(FakeDoors::healthy())).err().unwrap();
    assert!(problem.starts_with("http.bind: 192.0.2.1:0 is not an address of this machine"), "{problem}");
}
