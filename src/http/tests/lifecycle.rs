//! How the server starts, serves side by side, survives a panic, and stops.

use tokio::sync::{Barrier, Notify};

use super::*;

/// Answers each question for the status once as many have been asked as `together`, and after `release`.
struct GatedDoors {
    together: Arc<Barrier>,
    asked: Arc<Notify>,
    release: Arc<Notify>,
}

impl GatedDoors {
    /// `requests`, and the question of the server's own heartbeat.
    fn new(requests: usize) -> Arc<GatedDoors> {
        let together = Arc::new(Barrier::new(requests + 1));
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

    fn pause(&self, _: String, _: Option<Duration>) -> BoxFuture<'static, Option<IntakeByHand>> {
        pending().boxed()
    }

    fn resume(&self) -> BoxFuture<'static, Option<IntakeByHand>> {
        pending().boxed()
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
fn a_dropped_server_gives_its_port_back() {
    let server = TestServer::start(FakeDoors::healthy());
    let address = server.server.address();
    drop(server);
    let begin = std::time::Instant::now();
    while let Err(problem) = std::net::TcpListener::bind(address) {
        assert!(begin.elapsed() < Duration::from_secs(60), "{problem}");
        std::thread::yield_now();
    }
}

/// Doors whose every question panics but the one for the metrics.
struct BrokenDoors;

impl Doors for BrokenDoors {
    fn status(&self) -> BoxFuture<'static, Option<Status>> {
        panic!("made by a test");
    }

    fn resize(&self, _: usize) -> BoxFuture<'static, Option<Result<PoolStatus, SizeOutOfBounds>>> {
        async { panic!("made by a test") }.boxed()
    }

    fn pause(&self, _: String, _: Option<Duration>) -> BoxFuture<'static, Option<IntakeByHand>> {
        pending().boxed()
    }

    fn resume(&self) -> BoxFuture<'static, Option<IntakeByHand>> {
        pending().boxed()
    }

    fn scrape(&self) -> BoxFuture<'static, Option<Result<String, String>>> {
        ready(Some(Ok(String::new()))).boxed()
    }
}

#[test]
fn a_panic_costs_one_request_and_not_the_server() {
    let server = serve(Arc::new(BrokenDoors), Some(Secret::Value(TOKEN.into())), Limits::default());
    let ask = |head: &[&str], body: &[u8]| {
        let mut client = Client::connect(server.address());
        client.send(head, body);
        client
    };
    let (live, metrics) = ("GET /health/live HTTP/1.1", "GET /metrics HTTP/1.1");
    for _ in 0..2 {
        assert_eq!(ask(&[live, "Host: mailroom"], b"").rest(), b"");
        assert_eq!(ask(&put_head(11), b"{\"size\": 9}").rest(), b"");
        assert_eq!(ask(&[metrics, "Host: mailroom"], b"").answer().status, 200);
    }
    stop(server);
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
