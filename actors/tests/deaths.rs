//! Actors die in the middle of their work: nothing is lost, nothing is sent twice, restarts are counted.
//!
//! The world is in memory, time is paused, and each port can be told to panic at its n-th call: the clock and
//! the jitter inside handlers of mailers and DeadLetters, the offset log inside the consumer's, the composer,
//! the relay and the dead letter log inside tasks.

#![allow(clippy::unwrap_used)]

use std::collections::BTreeMap;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::Duration;

use actix::Addr;
use bytes::Bytes;
use chrono::{DateTime, Utc};
use futures::FutureExt;
use futures::future::LocalBoxFuture;
use mailroom_actors::credits::Credits;
use mailroom_actors::domain::failure::{Failure, Reply, Stage};
use mailroom_actors::domain::job::{DeadLetter, Record};
use mailroom_actors::domain::retry::RetryPolicy;
use mailroom_actors::line::Line;
use mailroom_actors::messages::{GetStatus, Resize, Scrape, Stop};
use mailroom_actors::metrics::Families;
use mailroom_actors::ports::*;
use mailroom_actors::supervisor::{self, Ended, Settings, Supervisor, World};
use mailroom_actors::ticket::TicketOffice;
use mailroom_actors::vitals::Vitals;
use parking_lot::Mutex;
use tokio::sync::oneshot;

/// Panics at one call, counted from when it was set.
#[derive(Default)]
struct Fuse(AtomicI64);

impl Fuse {
    fn set(&self, calls: i64) {
        self.0.store(calls, Ordering::Relaxed);
    }

    fn burn(&self) {
        if self.0.fetch_sub(1, Ordering::Relaxed) == 1 {
            panic!("a fuse has burnt");
        }
    }
}

#[derive(Default)]
struct Fakes {
    commit: Fuse,
    clock: Fuse,
    jitter: Fuse,
    compose: Fuse,
    send: Fuse,
    send_after_the_dot: Fuse,
    publish: Fuse,
    delivered: Mutex<BTreeMap<i64, u32>>,
    letters: Mutex<BTreeMap<i64, (u32, String)>>,
    committed: AtomicI64,
}

struct FakeLog(Arc<Fakes>, async_channel::Sender<OffsetLogEvent>);

impl OffsetLog for FakeLog {
    fn commit(&self, offsets: Vec<CommitOffset>) {
        self.0.commit.burn();
        for offset in offsets {
            self.0.committed.store(offset.offset, Ordering::Relaxed);
        }
        self.1.try_send(OffsetLogEvent::Committed(Ok(()))).unwrap();
    }
    fn read_on(&self) {}
    fn stop_reading(&self) {}
    fn leave(&self, last: Vec<CommitOffset>) {
        for offset in last {
            self.0.committed.store(offset.offset, Ordering::Relaxed);
        }
        self.1.try_send(OffsetLogEvent::Left(Ok(()))).unwrap();
    }
}

struct FakeRelay(Arc<Fakes>);
struct FakeConnection(Arc<Fakes>);

impl Relay for FakeRelay {
    fn connect(&self) -> LocalBoxFuture<'static, Result<Box<dyn Connection>, Failure>> {
        let connection = FakeConnection(Arc::clone(&self.0));
        async { Ok(Box::new(connection) as Box<dyn Connection>) }.boxed_local()
    }
}

impl Connection for FakeConnection {
    fn send<'a>(
        &'a mut self,
        email: &'a Email,
        to: &'a [usize],
        gate: &'a dyn Gate,
    ) -> LocalBoxFuture<'a, Transaction> {
        async move {
            let offset: i64 = email.message_id.parse().unwrap();
            tokio::time::sleep(Duration::from_millis(5)).await;
            self.0.send.burn();
            let reply = |code, text: &str| Reply { code, enhanced: None, text: text.into() };
            // Every seventh is refused for good, every fifth at first.
            let refusal = match offset {
                n if n % 7 == 0 => Some(reply(550, "No such user")),
                n if n % 5 == 0 && is_first_offer(&self.0, n) => Some(reply(451, "Later")),
                _ => None,
            };
            let outcome = match refusal {
                Some(reply) => Outcome::Failed(Failure::replied(Stage::Rcpt, &reply)),
                None if gate.pass_the_dot() => {
                    self.0.send_after_the_dot.burn();
                    *self.0.delivered.lock().entry(offset).or_default() += 1;
                    Outcome::Accepted
                }
                None => Outcome::TakenBack,
            };
            Transaction { outcomes: vec![outcome; to.len()] }
        }
        .boxed_local()
    }
    fn is_usable(&self) -> bool {
        true
    }
    fn carried(&self) -> u32 {
        0
    }
    fn quit(self: Box<Self>) -> LocalBoxFuture<'static, ()> {
        async {}.boxed_local()
    }
}

/// Whether this job has not been put off yet; remembered as a delivery count of 0.
fn is_first_offer(fakes: &Fakes, offset: i64) -> bool {
    fakes.delivered.lock().insert(offset, 0).is_none()
}

struct FakeComposer(Arc<Fakes>);

impl Composer for FakeComposer {
    fn compose(&self, record: &Record) -> Result<Email, Failure> {
        self.0.compose.burn();
        Ok(Email {
            message_id: record.offset.to_string(),
            sender: "a@example.com".into(),
            recipients: vec!["b@example.com".into()],
            data: b"Subject: x\r\n\r\nx\r\n".to_vec(),
        })
    }
}

struct FakeLetters(Arc<Fakes>);

impl DeadLetterLog for FakeLetters {
    fn publish(&self, letter: Arc<DeadLetter>) -> LocalBoxFuture<'static, Result<(), String>> {
        let fakes = Arc::clone(&self.0);
        async move {
            tokio::time::sleep(Duration::from_millis(5)).await;
            fakes.publish.burn();
            let mut letters = fakes.letters.lock();
            let entry = letters.entry(letter.record.offset).or_default();
            *entry = (entry.0 + 1, letter.failure.cause.as_str().to_owned());
            Ok(())
        }
        .boxed_local()
    }
}

struct FakeClock(Arc<Fakes>);

impl WallClock for FakeClock {
    fn now(&self) -> DateTime<Utc> {
        self.0.clock.burn();
        DateTime::UNIX_EPOCH
    }
}

struct FakeJitter(Arc<Fakes>);

impl Jitter for FakeJitter {
    fn fraction(&self) -> f64 {
        self.0.jitter.burn();
        0.0
    }
}

struct Worker {
    fakes: Arc<Fakes>,
    events: async_channel::Sender<OffsetLogEvent>,
    supervisor: Addr<Supervisor>,
    scrapes: Line<Scrape>,
    ended: oneshot::Receiver<Ended>,
    office: Arc<TicketOffice>,
}

const JOBS: i64 = 200;

fn start() -> Worker {
    let fakes = Arc::new(Fakes::default());
    let (events, offset_events) = async_channel::unbounded();
    let offset_log: Arc<dyn OffsetLog> = Arc::new(FakeLog(Arc::clone(&fakes), events.clone()));
    let credits = Arc::new(Credits::new(10_000, 1 << 20));
    for _ in 0..JOBS {
        credits.admit(1);
    }
    let office = TicketOffice::new(credits, Arc::clone(&offset_log));
    let settings = Settings {
        mailers: 4,
        mailers_max: 64,
        retry: RetryPolicy::default(),
        crash_limit: 3,
        commit_interval: Duration::from_millis(50),
        drain_timeout: Duration::from_secs(20),
        dlq_topic: "email-dlq".into(),
    };
    let world = World {
        office: Arc::clone(&office),
        offset_log,
        offset_events,
        relay: Rc::new(FakeRelay(Arc::clone(&fakes))),
        composer: Arc::new(FakeComposer(Arc::clone(&fakes))),
        dead_letter_log: Rc::new(FakeLetters(Arc::clone(&fakes))),
        clock: Arc::new(FakeClock(Arc::clone(&fakes))),
        jitter: Arc::new(FakeJitter(Arc::clone(&fakes))),
        families: Families::new("email-queue", "email-dlq", "test"),
        vitals: Arc::new(Vitals::default()),
        mask: str::to_owned,
    };
    let (supervisor, scrapes, ended) = supervisor::start(settings, world);
    let assigned = AssignedPartition { partition: 0, committed: None, metadata: String::new() };
    events.try_send(OffsetLogEvent::Assigned(vec![assigned])).unwrap();
    Worker { fakes, events, supervisor, scrapes, ended, office }
}

impl Worker {
    fn put(&self, offsets: std::ops::Range<i64>) {
        let record = |offset| Record {
            topic: "email-queue".into(),
            partition: 0,
            offset,
            timestamp_ms: Some(0),
            key: None,
            value: Some(Bytes::from_static(b"x")),
            headers: Vec::new(),
        };
        self.events.try_send(OffsetLogEvent::Records(offsets.map(record).collect())).unwrap();
    }

    async fn settled(&self) {
        while self.fakes.committed.load(Ordering::Relaxed) < JOBS {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    }

    async fn restarts(&self, actor: &str) -> u64 {
        let status = self.supervisor.send(GetStatus).await.unwrap();
        status.actors.iter().find(|found| found.name == actor).map_or(0, |found| found.restarts)
    }

    /// Every job has exactly one end: delivered once, or one dead letter.
    fn assert_each_job_once(&self, may_crash: bool) {
        let (delivered, letters) = (self.fakes.delivered.lock(), self.fakes.letters.lock());
        for offset in 0..JOBS {
            let copies = delivered.get(&offset).copied().unwrap_or(0);
            match letters.get(&offset) {
                None => assert_eq!(copies, 1, "job {offset}"),
                Some((written, cause)) => {
                    assert_eq!((copies, *written), (0, 1), "job {offset}: {cause}");
                    assert!(offset % 7 == 0 || may_crash, "job {offset}: {cause}");
                }
            }
        }
        let books = self.office.snapshot().accounts;
        assert_eq!(books.consumed, JOBS as u64);
        assert_eq!(books.sent + books.dead_lettered, JOBS as u64);
        assert_eq!((books.in_flight, books.returned), (0, 0));
    }
}

/// Puts jobs, burns one fuse in the middle, and says how often `actor` was started again.
async fn with_fuse(fuse: impl Fn(&Fakes) -> &Fuse, actor: &str) -> u64 {
    tokio::time::pause();
    let worker = start();
    worker.put(0..JOBS / 2);
    tokio::time::sleep(Duration::from_millis(20)).await;
    fuse(&worker.fakes).set(3);
    worker.put(JOBS / 2..JOBS);
    worker.settled().await;
    assert!(fuse(&worker.fakes).0.load(Ordering::Relaxed) < 1, "the fuse has not burnt");
    worker.assert_each_job_once(false);
    worker.restarts(actor).await
}

#[actix::test]
async fn a_panic_while_composing_costs_one_attempt_and_no_actor() {
    assert_eq!(with_fuse(|fakes| &fakes.compose, "mailer").await, 0);
}

#[actix::test]
async fn a_panic_before_the_dot_costs_one_attempt_and_no_actor() {
    assert_eq!(with_fuse(|fakes| &fakes.send, "mailer").await, 0);
}

#[actix::test]
async fn a_panic_after_the_dot_is_an_ambiguous_ending_and_tried_again() {
    assert_eq!(with_fuse(|fakes| &fakes.send_after_the_dot, "mailer").await, 0);
}

#[actix::test]
async fn a_panic_in_a_mailers_handler_costs_no_job_and_the_mailer_is_back() {
    assert_eq!(with_fuse(|fakes| &fakes.jitter, "mailer").await, 1);
}

#[actix::test]
async fn a_panic_in_the_consumer_costs_no_job_and_it_is_back() {
    assert_eq!(with_fuse(|fakes| &fakes.commit, "consumer").await, 1);
}

#[actix::test]
async fn a_panic_while_publishing_is_one_more_try() {
    assert_eq!(with_fuse(|fakes| &fakes.publish, "dead_letters").await, 0);
}

#[actix::test]
async fn the_metrics_actor_dies_at_a_scrape_and_the_books_are_right_at_the_next() {
    tokio::time::pause();
    let worker = start();
    worker.put(0..JOBS);
    worker.settled().await;
    worker.fakes.clock.set(1);
    let scrape = || worker.scrapes.ask(Scrape { ready: true, log_lines_dropped: 0 });
    assert!(scrape().await.is_none());
    tokio::time::sleep(Duration::from_millis(10)).await;
    let text = scrape().await.unwrap().unwrap();
    assert!(text.contains("mailroom_messages_consumed_total{topic=\"email-queue\"} 200"), "{text}");
    assert!(text.contains("mailroom_actor_restarts_total{actor=\"metrics\"} 1"), "{text}");
    worker.assert_each_job_once(false);
}

#[actix::test]
async fn an_actor_that_dies_too_often_ends_the_process() {
    tokio::time::pause();
    let worker = start();
    let storm = Arc::clone(&worker.fakes);
    worker.put(0..JOBS);
    let storm_task = actix_rt::spawn(async move {
        loop {
            storm.commit.set(1);
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    });
    // Each mailer's settle makes something to commit, and each commit kills the consumer.
    let ended = worker.ended.await.expect("the supervisor says how it ended");
    storm_task.abort();
    assert_eq!(ended.exit_code, 1);
    assert!(ended.reason.contains("consumer"), "{}", ended.reason);
}

#[actix::test]
async fn a_pool_that_grows_and_shrinks_under_load_loses_and_repeats_nothing() {
    tokio::time::pause();
    let worker = start();
    for (part, size) in [(0, 1), (1, 64), (2, 2), (3, 8)] {
        worker.put(part * JOBS / 4..(part + 1) * JOBS / 4);
        tokio::time::sleep(Duration::from_millis(15)).await;
        let pool = worker.supervisor.send(Resize { size }).await.unwrap().unwrap();
        assert_eq!((pool.size, pool.mailers.len()), (size, size));
    }
    worker.settled().await;
    worker.assert_each_job_once(false);
    assert!(worker.supervisor.send(Resize { size: 0 }).await.unwrap().is_err());
    assert!(worker.supervisor.send(Resize { size: 65 }).await.unwrap().is_err());
}

#[actix::test]
async fn a_pool_shrunk_to_one_while_all_are_busy_goes_on() {
    tokio::time::pause();
    let worker = start();
    worker.put(0..JOBS);
    tokio::time::sleep(Duration::from_millis(7)).await;
    worker.supervisor.send(Resize { size: 1 }).await.unwrap().unwrap();
    worker.settled().await;
    worker.assert_each_job_once(false);
}

#[actix::test]
async fn a_stop_gives_back_what_waits_and_ends_with_0() {
    tokio::time::pause();
    let worker = start();
    worker.put(0..JOBS);
    tokio::time::sleep(Duration::from_millis(50)).await;
    worker.supervisor.do_send(Stop);
    let ended = worker.ended.await.expect("the supervisor says how it ended");
    assert_eq!(ended, Ended { exit_code: 0, reason: "stopped".into() });
    let books = worker.office.snapshot().accounts;
    assert!(books.returned > 0);
    assert_eq!(books.consumed, books.sent + books.dead_lettered + books.returned);
    let copies: u64 = worker.fakes.delivered.lock().values().map(|copies| u64::from(*copies)).sum();
    assert_eq!(copies, books.sent);
}
