//! The server over real sockets, with made-up actors behind its doors.

mod answers;
mod dlq;
mod lifecycle;
mod limits;
mod liveness;
mod refusals;

use std::collections::BTreeMap;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use chrono::DateTime;
use futures::FutureExt;
use futures::future::{BoxFuture, pending, ready};
use mailroom_actors::domain::pace::Circuit;
use mailroom_actors::messages::{
    ActorState, ActorStatus, IntakeByHand, KafkaStatus, MailerState, MailerStatus, PoolStatus, RelayStatus,
    SizeOutOfBounds, Status,
};
use mailroom_actors::pause::{Pause, PauseEnd};
use serde_json::Value;

use super::server::{HttpServer, Limits, start_with};
use super::{ArchiveDoor, Doors};
use crate::config::{Http, Secret};
use crate::dlq::archive::Archive;

const TOKEN: &str = "canary-admin-token";

/// Answers that are always the same; a question without one is never answered.
#[derive(Default)]
struct FakeDoors {
    status: Option<Status>,
    metrics: Option<Result<String, String>>,
    /// A question is answered with "the actor is gone".
    gone: bool,
    /// How often a resize was asked for, and to what size at last.
    resizes: AtomicUsize,
    size: AtomicUsize,
    resumes: AtomicUsize,
    /// Off, unless it is given.
    archive: Option<FakeArchive>,
}

/// What stands behind the door to the dead letter queue.
#[derive(Clone)]
enum FakeArchive {
    NotYet,
    Open(Box<Archive>),
}

impl FakeDoors {
    fn healthy() -> FakeDoors {
        FakeDoors {
            status: Some(healthy()),
            metrics: Some(Ok("# HELP mailroom_ready\n".into())),
            ..Default::default()
        }
    }

    fn gone() -> FakeDoors {
        FakeDoors { gone: true, ..FakeDoors::default() }
    }

    fn answer<T: Send + 'static>(&self, answer: Option<T>) -> BoxFuture<'static, Option<T>> {
        match answer {
            _ if self.gone => ready(None).boxed(),
            Some(answer) => ready(Some(answer)).boxed(),
            None => pending().boxed(),
        }
    }
}

impl Doors for FakeDoors {
    fn status(&self) -> BoxFuture<'static, Option<Status>> {
        self.answer(self.status.clone())
    }

    fn resize(&self, size: usize) -> BoxFuture<'static, Option<Result<PoolStatus, SizeOutOfBounds>>> {
        self.resizes.fetch_add(1, Ordering::SeqCst);
        let answer = self.status.as_ref().map(|status| {
            if !(1..=64).contains(&size) {
                return Err(SizeOutOfBounds { min: 1, max: 64 });
            }
            self.size.store(size, Ordering::SeqCst);
            Ok(PoolStatus { size, ..status.pool.clone() })
        });
        self.answer(answer)
    }

    fn pause(&self, reason: String, duration: Option<Duration>) -> BoxFuture<'static, Option<IntakeByHand>> {
        let end = duration.and_then(|wait| PauseEnd::after(wait, DateTime::UNIX_EPOCH));
        self.answer(self.status.is_some().then_some(IntakeByHand(Some(Pause { reason, by: "http", end }))))
    }

    fn resume(&self) -> BoxFuture<'static, Option<IntakeByHand>> {
        self.resumes.fetch_add(1, Ordering::SeqCst);
        self.answer(self.status.is_some().then_some(IntakeByHand(None)))
    }

    fn archive(&self) -> ArchiveDoor {
        match &self.archive {
            None => ArchiveDoor::Off,
            Some(FakeArchive::NotYet) => ArchiveDoor::NotYet,
            Some(FakeArchive::Open(archive)) => ArchiveDoor::Open(archive.clone()),
        }
    }

    fn scrape(&self) -> BoxFuture<'static, Option<Result<String, String>>> {
        self.answer(self.metrics.clone())
    }
}

/// A worker with two mailers in which nothing is wrong.
pub(super) fn healthy() -> Status {
    let actor = |name| ActorStatus {
        name,
        state: ActorState::Running,
        restarts: 0,
        last_error: None,
        silent_for: Duration::from_secs(1),
    };
    let mailer = |id, state| MailerStatus { id, state, restarts: 0 };
    Status {
        stopping: false,
        pool: PoolStatus {
            size: 2,
            min: 1,
            max: 64,
            busy: 1,
            allowed: 2,
            mailers: vec![mailer(0, MailerState::Idle), mailer(1, MailerState::Busy)],
        },
        actors: ["supervisor", "consumer", "dead_letters", "metrics", "mailer"].map(actor).into(),
        kafka: KafkaStatus {
            silent_for: Some(Duration::from_secs(1)),
            partitions: 3,
            joined: true,
            last_error: None,
            records_gone: None,
        },
        relay: RelayStatus {
            circuit: Circuit::Closed,
            failures_in_a_row: 0,
            next_probe: None,
            last_error: None,
            last_cause: None,
            last_success: None,
        },
        intake: Default::default(),
        dead_letters: Default::default(),
    }
}

/// A server on a free port, ended when it is dropped.
struct TestServer {
    server: HttpServer,
    doors: Arc<FakeDoors>,
}

impl TestServer {
    fn start(doors: FakeDoors) -> TestServer {
        TestServer::start_with(doors, Some(Secret::Value(TOKEN.into())), Limits::default())
    }

    fn start_with(doors: FakeDoors, admin_token: Option<Secret>, limits: Limits) -> TestServer {
        let doors = Arc::new(doors);
        TestServer { server: serve(doors.clone(), admin_token, limits), doors }
    }

    fn connect(&self) -> Client {
        Client::connect(self.server.address())
    }

    /// Sends `head` (its lines joined by CRLF and closed by an empty one) and `body`; returns the answer.
    fn ask(&self, head: &[&str], body: &[u8]) -> Answer {
        let mut client = self.connect();
        client.send(head, body);
        client.answer()
    }

    fn get(&self, path: &str) -> Answer {
        self.ask(&[&format!("GET {path} HTTP/1.1"), "Host: mailroom"], b"")
    }

    /// `PUT /pool` with the token.
    fn put(&self, body: &[u8]) -> Answer {
        self.ask(&put_head(body.len()), body)
    }

    fn resizes(&self) -> usize {
        self.doors.resizes.load(Ordering::SeqCst)
    }
}

fn serve(doors: Arc<dyn Doors>, admin_token: Option<Secret>, limits: Limits) -> HttpServer {
    let bind = "127.0.0.1:0".parse().unwrap();
    start_with(&Http { bind, admin_token }, doors, limits).unwrap()
}

/// Waits for the end of a server outside any runtime.
fn stop(server: HttpServer) {
    tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap().block_on(server.stop());
}

fn put_head(length: usize) -> [&'static str; 4] {
    let length = Box::leak(format!("Content-Length: {length}").into_boxed_str());
    ["PUT /pool HTTP/1.1", "Host: mailroom", "Authorization: Bearer canary-admin-token", length]
}

struct Client {
    stream: BufReader<TcpStream>,
    head_only: bool,
}

impl Client {
    fn connect(address: SocketAddr) -> Client {
        let stream = TcpStream::connect(address).unwrap();
        // So that a server that never answers fails the test instead of hanging it.
        stream.set_read_timeout(Some(Duration::from_secs(60))).unwrap();
        Client { stream: BufReader::new(stream), head_only: false }
    }

    fn send(&mut self, head: &[&str], body: &[u8]) {
        self.head_only = head[0].starts_with("HEAD ");
        let mut bytes = head.join("\r\n").into_bytes();
        bytes.extend_from_slice(b"\r\n\r\n");
        bytes.extend_from_slice(body);
        self.send_raw(&bytes);
    }

    fn send_raw(&mut self, bytes: &[u8]) {
        self.stream.get_mut().write_all(bytes).unwrap();
    }

    fn answer(&mut self) -> Answer {
        let mut line = || {
            let mut line = String::new();
            self.stream.read_line(&mut line).unwrap();
            assert!(line.ends_with("\r\n"), "cut off after {line:?}");
            line.trim_end().to_owned()
        };
        let status = line().split(' ').nth(1).unwrap().parse().unwrap();
        let mut headers = BTreeMap::new();
        loop {
            let line = line();
            let Some((name, value)) = line.split_once(": ") else { break };
            let repeated = headers.insert(name.to_lowercase(), value.to_owned());
            assert_eq!(repeated, None, "{name} twice");
        }
        let length = headers.get("content-length").map_or(0, |length| length.parse().unwrap());
        let mut body = vec![0; if self.head_only { 0 } else { length }];
        self.stream.read_exact(&mut body).unwrap();
        Answer { status, headers, body: String::from_utf8(body).unwrap() }
    }

    /// What comes until the server ends the connection.
    fn rest(&mut self) -> Vec<u8> {
        let mut rest = Vec::new();
        match self.stream.read_to_end(&mut rest) {
            Ok(_) => rest,
            Err(error) => {
                assert_eq!(error.kind(), std::io::ErrorKind::ConnectionReset, "not ended");
                rest
            }
        }
    }
}

#[derive(Debug, PartialEq, Eq)]
struct Answer {
    status: u16,
    headers: BTreeMap<String, String>,
    body: String,
}

impl Answer {
    fn header(&self, name: &str) -> &str {
        self.headers.get(name).map_or("", String::as_str)
    }

    fn json(&self) -> Value {
        serde_json::from_str(&self.body).unwrap()
    }

    /// That this is a refusal with this status, in the one form all refusals have. Returns error and hint.
    fn refused(&self, status: u16) -> (String, String) {
        assert_eq!(self.status, status, "{}", self.body);
        assert_eq!(self.header("content-type"), "application/json");
        let json = self.json();
        let fields = json.as_object().unwrap();
        assert_eq!(fields.keys().collect::<Vec<_>>(), ["error", "hint"]);
        let text = |name: &str| fields[name].as_str().unwrap().to_owned();
        let (error, hint) = (text("error"), text("hint"));
        assert!(!error.is_empty() && !hint.is_empty(), "{}", self.body);
        assert!(!self.body.contains(TOKEN));
        (error, hint)
    }
}
