//! The worker's actors in a world in memory, where each port can be told to panic at its n-th call: the clock
//! and the jitter inside handlers of mailers and DeadLetters, the offset log inside the consumer's, the composer,
//! the relay and the dead letter log inside tasks.

use std::collections::BTreeMap;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicI64, AtomicU64, Ordering};
use std::time::Duration;

use actix::Addr;
use bytes::Bytes;
use chrono::{DateTime, Utc};
use futures::FutureExt;
use futures::future::LocalBoxFuture;
use mailroom_actors::attempt::ConnectionLife;
use mailroom_actors::credits::Credits;
use mailroom_actors::domain::failure::{Cause, Failure, Reply, Stage};
use mailroom_actors::domain::job::{DeadLetter, Record};
use mailroom_actors::domain::pace::Breaker;
use mailroom_actors::domain::retry::RetryPolicy;
use mailroom_actors::domain::topic_partition::{Topic, TopicNames};
use mailroom_actors::line::Line;
use mailroom_actors::messages::{GetStatus, Scrape};
use mailroom_actors::metrics::Families;
use mailroom_actors::office::TicketOffice;
use mailroom_actors::ports::*;
use mailroom_actors::supervisor::{self, Ended, Settings, Supervisor, World};
use mailroom_actors::throttle::Throttle;
use mailroom_actors::vitals::Vitals;
use parking_lot::Mutex;
use tokio::sync::oneshot;
use tokio::time::Instant;

/// Panics at one call, counted from when it was set.
#[derive(Default)]
pub struct Fuse(AtomicI64);

impl Fuse {
    pub fn set(&self, calls: i64) {
        self.0.store(calls, Ordering::Relaxed);
    }

    pub fn is_burnt(&self) -> bool {
        self.0.load(Ordering::Relaxed) < 1
    }

    fn burn(&self) {
        if self.0.fetch_sub(1, Ordering::Relaxed) == 1 {
            panic!("a fuse has burnt");
        }
    }
}

#[derive(Default)]
pub struct Fakes {
    pub commit: Fuse,
    pub clock: Fuse,
    pub jitter: Fuse,
    pub compose: Fuse,
    pub send: Fuse,
    pub send_after_the_dot: Fuse,
    pub publish: Fuse,
    /// DeadLetters dies at each of so many letters, right after it has settled one.
    pub letters_deadly: AtomicI64,
    /// Jobs from this offset on are put off each time (451); 0: none.
    pub put_off_from: AtomicI64,
    /// Jobs may be sent for so many milliseconds once they are taken; 0: for ever, under 0: no more.
    pub expires_after_ms: AtomicI64,
    /// What is taken is no job.
    pub no_job: AtomicBool,
    /// How long the relay thinks about a final dot, in seconds.
    pub slow_dot_seconds: AtomicU64,
    /// Final dots that the relay has seen.
    pub dots: AtomicU64,
    /// How often each job was taken, by its offset.
    pub delivered: Mutex<BTreeMap<i64, u32>>,
    /// How many letters each job has, and the last one's cause.
    pub letters: Mutex<BTreeMap<i64, (u32, String)>>,
    /// Each job's last letter.
    pub last_letters: Mutex<BTreeMap<i64, Arc<DeadLetter>>>,
    pub committed: AtomicI64,
    /// All commits, in order: partition, offset, metadata.
    pub commits: Mutex<Vec<CommitOffset>>,
    /// The relay refuses connections, and what stands falls at the next e-mail.
    pub relay_is_down: AtomicBool,
    /// So many e-mails are told "slower" (421) before one is taken.
    pub slower: AtomicI64,
    /// Each e-mail has two recipients, of which the relay takes only one at a time (452), and thinks about the
    /// second for ever, before the dot.
    pub one_recipient_at_a_time: AtomicBool,
    /// Each e-mail has two recipients, of which the relay puts off the second each time (451).
    pub second_is_put_off: AtomicBool,
    /// How long the relay takes to accept a connection, in milliseconds.
    pub slow_connect_ms: AtomicU64,
    /// A connection that has carried an e-mail falls so many milliseconds into the next one; 0: it does not.
    pub falls_after_ms: AtomicU64,
    /// Connections that are opened from now on take 8BITMIME.
    pub takes_8bitmime: AtomicBool,
    /// E-mails are written otherwise for each body type.
    pub bodies_depend: AtomicBool,
    /// They are too large when written for 7 bits.
    pub seven_bits_are_too_large: AtomicBool,
    /// As what each e-mail was offered: the body type of the connection, and that which it was composed for.
    pub body_types: Mutex<Vec<(BodyType, BodyType)>>,
    /// Commits are not answered.
    pub commits_hang: AtomicBool,
    pub connects: AtomicU64,
    pub quits: AtomicU64,
    /// When each e-mail was offered, by its offset.
    pub offers: Mutex<Vec<(i64, Instant)>>,
    pub under_way: AtomicI64,
    pub most_under_way: AtomicI64,
}

struct FakeLog(Arc<Fakes>, async_channel::Sender<OffsetLogEvent>);

impl OffsetLog for FakeLog {
    fn commit(&self, offsets: Vec<CommitOffset>) {
        self.0.commit.burn();
        for offset in offsets {
            self.0.committed.store(offset.offset, Ordering::Relaxed);
            self.0.commits.lock().push(offset);
        }
        if !self.0.commits_hang.load(Ordering::Relaxed) {
            self.1.try_send(OffsetLogEvent::Committed(Ok(()))).unwrap();
        }
    }
    fn read_on(&self) {}
    fn stop_reading(&self) {}
    fn leave(&self, last: Vec<CommitOffset>) {
        for offset in last {
            self.0.committed.store(offset.offset, Ordering::Relaxed);
            self.0.commits.lock().push(offset);
        }
        self.1.try_send(OffsetLogEvent::Left(Ok(()))).unwrap();
    }
}

struct FakeRelay(Arc<Fakes>);
struct FakeConnection(Arc<Fakes>, bool, u32, BodyType);

impl Relay for FakeRelay {
    fn connect(&self) -> LocalBoxFuture<'static, Result<Box<dyn Connection>, Failure>> {
        let body_type = match self.0.takes_8bitmime.load(Ordering::Relaxed) {
            true => BodyType::EightBitMime,
            false => BodyType::SevenBit,
        };
        let connection = FakeConnection(Arc::clone(&self.0), true, 0, body_type);
        self.0.connects.fetch_add(1, Ordering::Relaxed);
        if self.0.relay_is_down.load(Ordering::Relaxed) {
            return async { Err(Failure::refused()) }.boxed_local();
        }
        async move {
            let slow = connection.0.slow_connect_ms.load(Ordering::Relaxed);
            tokio::time::sleep(Duration::from_millis(slow)).await;
            Ok(Box::new(connection) as Box<dyn Connection>)
        }
        .boxed_local()
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
            self.0.offers.lock().push((offset, Instant::now()));
            self.0.body_types.lock().push((self.3, email.body_type));
            let under_way = self.0.under_way.fetch_add(1, Ordering::Relaxed) + 1;
            self.0.most_under_way.fetch_max(under_way, Ordering::Relaxed);
            let _over = Over(Arc::clone(&self.0));
            tokio::time::sleep(Duration::from_millis(5)).await;
            if self.0.relay_is_down.load(Ordering::Relaxed) {
                self.1 = false;
                let lost = Failure::lost(Stage::Mail, "Connection lost");
                return Transaction { outcomes: vec![Outcome::Failed(lost); to.len()] };
            }
            let falls = self.0.falls_after_ms.load(Ordering::Relaxed);
            if falls > 0 && self.2 > 0 {
                self.1 = false;
                tokio::time::sleep(Duration::from_millis(falls)).await;
                let lost = Failure::lost(Stage::Mail, "Connection lost");
                return Transaction { outcomes: vec![Outcome::Failed(lost); to.len()] };
            }
            if self.0.slower.fetch_sub(1, Ordering::Relaxed) > 0 {
                let reply = Reply { code: 454, enhanced: None, text: "Slower".into() };
                let slower = Failure::replied(Stage::Data, &reply);
                return Transaction { outcomes: vec![Outcome::Failed(slower); to.len()] };
            }
            self.0.send.burn();
            let one_at_a_time = self.0.one_recipient_at_a_time.load(Ordering::Relaxed);
            if one_at_a_time && to.len() == 1 {
                return std::future::pending().await;
            }
            let reply = |code, text: &str| Reply { code, enhanced: None, text: text.into() };
            // Every seventh is refused for good, every fifth at first.
            let put_off_from = self.0.put_off_from.load(Ordering::Relaxed);
            let refusal = match offset {
                n if put_off_from > 0 && n >= put_off_from => Some(reply(451, "Later")),
                n if n % 7 == 0 => Some(reply(550, "No such user")),
                n if n % 5 == 0 && is_first_offer(&self.0, n) => Some(reply(451, "Later")),
                _ => None,
            };
            let outcome = match refusal {
                Some(reply) => Outcome::Failed(Failure::replied(Stage::Rcpt, &reply)),
                None if gate.pass_the_dot() => {
                    self.0.send_after_the_dot.burn();
                    self.0.dots.fetch_add(1, Ordering::Relaxed);
                    let seconds = self.0.slow_dot_seconds.load(Ordering::Relaxed);
                    tokio::time::sleep(Duration::from_secs(seconds)).await;
                    *self.0.delivered.lock().entry(offset).or_default() += 1;
                    self.2 += 1;
                    Outcome::Accepted
                }
                None => Outcome::TakenBack,
            };
            let mut outcomes = vec![outcome; to.len()];
            if self.0.second_is_put_off.load(Ordering::Relaxed) {
                outcomes[1] = Outcome::Failed(Failure::replied(Stage::Rcpt, &reply(451, "Later")));
            }
            if one_at_a_time {
                outcomes[1] = Outcome::Failed(Failure::replied(Stage::Rcpt, &reply(452, "Too many")));
            }
            Transaction { outcomes }
        }
        .boxed_local()
    }
    fn is_usable(&self) -> bool {
        self.1
    }
    fn body_type(&self) -> BodyType {
        self.3
    }

    fn carried(&self) -> u32 {
        self.2
    }
    fn refused_in_a_row(&self) -> u32 {
        0
    }
    fn quit(self: Box<Self>) -> LocalBoxFuture<'static, ()> {
        self.0.quits.fetch_add(1, Ordering::Relaxed);
        async {}.boxed_local()
    }
}

struct Over(Arc<Fakes>);

impl Drop for Over {
    fn drop(&mut self) {
        self.0.under_way.fetch_sub(1, Ordering::Relaxed);
    }
}

/// Whether this job has not been put off yet; remembered as a delivery count of 0.
fn is_first_offer(fakes: &Fakes, offset: i64) -> bool {
    fakes.delivered.lock().insert(offset, 0).is_none()
}

struct FakeComposer(Arc<Fakes>);

impl Composer for FakeComposer {
    fn compose(&self, record: &Record, body_type: BodyType) -> Result<Email, Failure> {
        self.0.compose.burn();
        if let Some(failure) = self.why_no_job(record) {
            return Err(failure);
        }
        if body_type == BodyType::SevenBit && self.0.seven_bits_are_too_large.load(Ordering::Relaxed) {
            return Err(Failure::before_attempt(Stage::Render, Cause::TooLarge, "too large"));
        }
        let has_two = [&self.0.one_recipient_at_a_time, &self.0.second_is_put_off];
        Ok(Email {
            message_id: record.offset.to_string(),
            sender: "a@example.com".into(),
            recipients: if has_two.iter().any(|two| two.load(Ordering::Relaxed)) {
                vec!["b@example.com".into(), "c@example.com".into()]
            } else {
                vec!["b@example.com".into()]
            },
            data: b"Subject: x\r\n\r\nx\r\n".to_vec(),
            body_type,
            depends_on_body_type: self.0.bodies_depend.load(Ordering::Relaxed),
            ..Email::default()
        })
    }

    fn expiry(&self, _: &Record, _: DateTime<Utc>) -> Option<Expiry> {
        let after = self.0.expires_after_ms.load(Ordering::Relaxed);
        let left = Duration::from_millis(u64::try_from(after).unwrap_or_default());
        (after != 0).then_some(Expiry { left, set_by: "expires_at" })
    }

    fn why_no_job(&self, _: &Record) -> Option<Failure> {
        let none = self.0.no_job.load(Ordering::Relaxed);
        none.then(|| Failure::before_attempt(Stage::Decode, Cause::Malformed, "no job"))
    }

    fn tags(&self, _: &Record) -> Option<String> {
        None
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
            fakes.last_letters.lock().insert(letter.record.offset, letter);
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

pub struct Worker {
    pub fakes: Arc<Fakes>,
    pub events: async_channel::Sender<OffsetLogEvent>,
    pub supervisor: Addr<Supervisor>,
    pub scrapes: Line<Scrape>,
    pub ended: oneshot::Receiver<Ended>,
    pub office: Arc<TicketOffice>,
    pub credits: Arc<Credits>,
}

/// The jobs of a test that puts all of them.
pub const JOBS: i64 = 200;

/// Four mailers, and partition 0.
pub fn start() -> Worker {
    let worker = start_without_a_partition();
    worker.assign(0, None);
    worker
}

/// The same at `smtp.max_rate`, e-mails a second.
pub fn start_at_a_rate(per_second: f64) -> Worker {
    let worker = start_with(Some(per_second));
    worker.assign(0, None);
    worker
}

pub fn start_without_a_partition() -> Worker {
    start_with(None)
}

fn start_with(max_rate: Option<f64>) -> Worker {
    let fakes = Arc::new(Fakes::default());
    let (events, offset_events) = async_channel::unbounded();
    let offset_log: Arc<dyn OffsetLog> = Arc::new(FakeLog(Arc::clone(&fakes), events.clone()));
    let credits = Arc::new(Credits::new(10_000, 1 << 20));
    for _ in 0..JOBS {
        credits.admit(1);
    }
    let office = TicketOffice::new(Arc::clone(&credits), Arc::clone(&offset_log), RetryPolicy::default(), 3);
    let settings = Settings {
        mailers: 4,
        mailers_max: 64,
        retry: RetryPolicy::default(),
        crash_limit: 3,
        commit_interval: Duration::from_millis(50),
        drain_timeout: Duration::from_secs(20),
        dlq_topic: "email-dlq".into(),
        max_replays: 5,
        connections: ConnectionLife { max_emails: 1000, idle_timeout: Duration::from_secs(30) },
    };
    let deadly = Arc::clone(&fakes);
    let world = World {
        office: Arc::clone(&office),
        offset_log,
        offset_events,
        relay: Rc::new(FakeRelay(Arc::clone(&fakes))),
        composer: Arc::new(FakeComposer(Arc::clone(&fakes))),
        dead_letter_log: Rc::new(FakeLetters(Arc::clone(&fakes))),

        letter_log: None,
        clock: Arc::new(FakeClock(Arc::clone(&fakes))),
        jitter: Arc::new(FakeJitter(Arc::clone(&fakes))),
        families: Families::new(TopicNames::queue("email-queue"), "email-dlq", "test"),
        vitals: Arc::new(Vitals::default()),
        throttle: Throttle::new(
            4,
            Breaker { failures: 20, probe_interval: Duration::from_secs(5) },
            max_rate,
        ),
        mask: Rc::new(move |text| {
            assert!(deadly.letters_deadly.fetch_sub(1, Ordering::Relaxed) <= 0, "a letter was deadly");
            text.to_owned()
        }),
    };
    let (supervisor, scrapes, ended) = supervisor::start(settings, world);
    Worker { fakes, events, supervisor, scrapes, ended, office, credits }
}

impl Worker {
    pub fn assign(&self, partition: i32, committed: Option<i64>) {
        self.assign_with(partition, committed, String::new(), 0);
    }

    pub fn assign_with(&self, partition: i32, committed: Option<i64>, metadata: String, high: i64) {
        let assigned = AssignedPartition { partition: partition.into(), committed, metadata, low: 0, high };
        self.events.try_send(OffsetLogEvent::Assigned(vec![assigned])).unwrap();
    }

    pub fn put(&self, offsets: std::ops::Range<i64>) {
        self.put_to(0, offsets);
    }

    pub fn put_to(&self, partition: i32, offsets: std::ops::Range<i64>) {
        let record = |offset| Record {
            topic: "email-queue".into(),
            partition,
            offset,
            timestamp_ms: Some(0),
            key: None,
            value: Some(Bytes::from_static(b"x")),
            headers: Vec::new(),
        };
        self.events.try_send(OffsetLogEvent::Records(Topic::Queue, offsets.map(record).collect())).unwrap();
    }

    /// The Prometheus text; none when the metrics actor dies over it.
    pub async fn scrape(&self) -> Option<String> {
        Some(self.scrapes.ask(Scrape { ready: true, log_lines_dropped: 0, http_restarts: 0 }).await?.unwrap())
    }

    /// All [`JOBS`] are settled and committed.
    pub async fn settled(&self) {
        while self.fakes.committed.load(Ordering::Relaxed) < JOBS {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    }

    pub async fn restarts(&self, actor: &str) -> u64 {
        let status = self.supervisor.send(GetStatus).await.unwrap();
        status.actors.iter().find(|found| found.name == actor).map_or(0, |found| found.restarts)
    }

    /// Every job has exactly one end: delivered once, or one dead letter.
    pub fn assert_each_job_once(&self) {
        let (delivered, letters) = (self.fakes.delivered.lock(), self.fakes.letters.lock());
        for offset in 0..JOBS {
            let copies = delivered.get(&offset).copied().unwrap_or(0);
            match letters.get(&offset) {
                None => assert_eq!(copies, 1, "job {offset}"),
                Some((written, cause)) => {
                    assert_eq!((copies, *written), (0, 1), "job {offset}: {cause}");
                    assert!(offset % 7 == 0, "job {offset}: {cause}");
                }
            }
        }
        let books = self.office.snapshot().accounts;
        assert_eq!(books.consumed, JOBS as u64);
        assert_eq!(books.sent + books.dead_lettered, JOBS as u64);
        assert_eq!((books.in_flight, books.returned), (0, 0));
    }
}
