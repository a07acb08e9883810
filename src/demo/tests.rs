//! The whole demo with a toy in the service's place: it takes, sends once, and dead-letters what is refused.

use std::io::{self, BufRead, BufReader, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use futures::FutureExt;
use futures::future::LocalBoxFuture;
use mailroom_actors::domain::letters::decision::State;
use mailroom_actors::domain::letters::run::Tracked;
use rdkafka::consumer::{BaseConsumer, Consumer};
use rdkafka::producer::{BaseProducer, BaseRecord, Producer as _};
use rdkafka::{ClientConfig, Message, Offset, TopicPartitionList};
use serde_json::{Value, json};

use super::background::Background;
use super::queue::{DLQ_TOPIC, PARTITIONS, TOPIC};
use super::worker::{Worker, WorkerEnd};
use super::*;
use crate::config::Config;
use crate::dlq::view::GroupView;

const LONG: Duration = Duration::from_secs(60);

/// What the toy does wrong.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Flaw {
    None,
    LosesAJob,
    SendsTwice,
    EndsBadly,
    Dies,
    DoesNotStart,
}

struct Toy {
    flaw: Flaw,
    stopping: Arc<AtomicBool>,
    paused: Arc<AtomicBool>,
    thread: Background,
}

impl Toy {
    fn start(config: &Config, flaw: Flaw) -> Toy {
        let stopping = Arc::new(AtomicBool::new(false));
        let paused = Arc::new(AtomicBool::new(false));
        let (until, holds) = (Arc::clone(&stopping), Arc::clone(&paused));
        let brokers = config.kafka.brokers.clone();
        let mail_server = SocketAddr::from((config.smtp.host.parse::<Ipv4Addr>().unwrap(), config.smtp.port));
        let thread =
            Background::start("toy", move || work(&brokers, mail_server, flaw, &until, &holds)).unwrap();
        Toy { flaw, stopping, paused, thread }
    }
}

impl Worker for Toy {
    fn http_address(&self) -> SocketAddr {
        SocketAddr::from((Ipv4Addr::LOCALHOST, 8080))
    }

    fn is_alive(&self) -> LocalBoxFuture<'_, bool> {
        async { self.flaw != Flaw::Dies }.boxed_local()
    }

    fn scrape(&self) -> LocalBoxFuture<'_, Result<String, String>> {
        async { Ok("mailroom_in_flight 7\n".into()) }.boxed_local()
    }

    fn resize(&self, size: usize) -> LocalBoxFuture<'_, Result<usize, String>> {
        std::future::ready(Ok(size)).boxed_local()
    }

    fn pause(&self, paused: bool) -> LocalBoxFuture<'_, Result<(), String>> {
        self.paused.store(paused, Ordering::Relaxed);
        std::future::ready(Ok(())).boxed_local()
    }

    fn waiting(&self) -> u64 {
        3
    }

    fn replay<'a>(&'a self, _: &'a str) -> LocalBoxFuture<'a, Result<u64, String>> {
        std::future::ready(Ok(0)).boxed_local()
    }

    fn run(&self, _: &str) -> Option<Tracked> {
        None
    }

    fn cancel<'a>(&'a self, _: &'a str) -> LocalBoxFuture<'a, Result<(), String>> {
        std::future::ready(Ok(())).boxed_local()
    }

    fn groups(&self) -> Vec<GroupView> {
        Vec::new()
    }

    fn states(&self, offsets: &[i64]) -> Vec<Option<State>> {
        vec![None; offsets.len()]
    }

    fn kill_a_mailer(&self) {}

    fn stop(&self) {
        self.stopping.store(true, Ordering::Relaxed);
    }

    fn ended(self: Box<Self>) -> LocalBoxFuture<'static, WorkerEnd> {
        async move {
            assert!(self.thread.ended(LONG).await);
            WorkerEnd { exit_code: u8::from(self.flaw == Flaw::EndsBadly), reason: "as told".into() }
        }
        .boxed_local()
    }
}

fn work(brokers: &str, mail_server: SocketAddr, flaw: Flaw, stopping: &AtomicBool, paused: &AtomicBool) {
    let queue: BaseConsumer =
        ClientConfig::new().set("bootstrap.servers", brokers).set("group.id", "toy").create().unwrap();
    let mut partitions = TopicPartitionList::new();
    for partition in 0..PARTITIONS {
        partitions.add_partition_offset(TOPIC, partition, Offset::Beginning).unwrap();
    }
    queue.assign(&partitions).unwrap();
    let letters: BaseProducer = ClientConfig::new().set("bootstrap.servers", brokers).create().unwrap();
    let mut taken = 0;
    while !stopping.load(Ordering::Relaxed) {
        letters.poll(Duration::ZERO);
        if paused.load(Ordering::Relaxed) {
            std::thread::sleep(Duration::from_millis(5));
            continue;
        }
        let Some(Ok(record)) = queue.poll(Duration::from_millis(50)) else { continue };
        let job: Value = serde_json::from_slice(record.payload().unwrap()).unwrap();
        let to = job["to"].as_str().unwrap();
        taken += 1;
        let copies = match flaw {
            Flaw::LosesAJob if taken == 3 => 0,
            Flaw::SendsTwice if taken == 1 => 2,
            _ => 1,
        };
        for _ in 0..copies {
            if let Err(code) = send(mail_server, to) {
                let cause = if code == 550 { "invalid_recipient" } else { "throttled" };
                let letter =
                    json!({"idempotency_key": job["id"], "cause": cause, "error_reason": code.to_string()})
                        .to_string();
                letters.send(BaseRecord::<(), _>::to(DLQ_TOPIC).payload(&letter)).unwrap();
            }
        }
    }
    while letters.in_flight_count() > 0 {
        letters.poll(Duration::from_millis(5));
    }
}

/// One e-mail, one command at a time; the code that refused it.
fn send(mail_server: SocketAddr, to: &str) -> Result<(), u16> {
    let stream = TcpStream::connect(mail_server).map_err(|_| 0_u16)?;
    let mut lines = BufReader::new(stream);
    let mut step = |command: &str| {
        lines.get_mut().write_all(command.as_bytes()).map_err(|_| 0_u16)?;
        let mut line = String::new();
        lines.read_line(&mut line).map_err(|_| 0_u16)?;
        let code: u16 = line.get(..3).and_then(|code| code.parse().ok()).unwrap_or(0);
        if (200..400).contains(&code) { Ok(()) } else { Err(code) }
    };
    step("")?;
    step("HELO toy.example\r\n")?;
    step("MAIL FROM:<no-reply@shop.example>\r\n")?;
    step(&format!("RCPT TO:<{to}>\r\n"))?;
    step("DATA\r\n")?;
    step(&format!("Message-ID: <{to}>\r\n\r\n.\r\n"))
}

/// Two seconds of the demo: the first to meet silence is job 29, which 8 jobs a second do not reach in time.
fn two_seconds(start: StartWorker) -> (u8, String) {
    let mut out = Vec::new();
    let options = DemoOptions { rate: 8, seconds: Some(2), ..DemoOptions::default() };
    let exit_code = run_with(options, start, &mut out);
    (exit_code, String::from_utf8(out).unwrap())
}

fn toy(config: &Config, flaw: Flaw) -> LocalBoxFuture<'static, Result<Box<dyn Worker>, String>> {
    let started: Result<Box<dyn Worker>, String> = match flaw {
        Flaw::DoesNotStart => Err("on purpose".into()),
        flaw => Ok(Box::new(Toy::start(config, flaw))),
    };
    std::future::ready(started).boxed_local()
}

/// The number in the table's row of that name.
fn row(text: &str, name: &str) -> u64 {
    let line =
        text.lines().find(|line| line.trim_start().starts_with(name)).unwrap_or_else(|| panic!("{text}"));
    line.rsplit(' ').next().unwrap().parse().unwrap()
}

#[test]
fn a_demo_says_where_to_look_first_and_ends_with_every_job_accounted_for() {
    let (exit_code, text) = two_seconds(|config| toy(&config, Flaw::None));
    assert_eq!(exit_code, 0, "{text}");
    let mut lines = text.lines();
    assert_eq!(lines.next(), Some("health       http://127.0.0.1:8080/health"));
    assert_eq!(lines.next(), Some("metrics      http://127.0.0.1:8080/metrics"));
    assert!(text.ends_with("\nevery job is accounted for\n"), "{text}");
    assert!(row(&text, "jobs produced") >= 8, "{text}");
    assert_eq!(row(&text, "jobs produced"), row(&text, "delivered") + row(&text, "dead-lettered"));
    assert_eq!(row(&text, "invalid_recipient"), 1, "{text}");
    for none in ["delivered twice", "dead-lettered twice", "delivered and dead-lettered", "missing"] {
        assert_eq!(row(&text, none), 0, "{text}");
    }
}

#[test]
fn a_lost_job_is_missing_in_the_table_and_in_the_exit_code() {
    let (exit_code, text) = two_seconds(|config| toy(&config, Flaw::LosesAJob));
    assert_eq!(exit_code, 1, "{text}");
    assert_eq!(row(&text, "missing"), 1, "{text}");
    assert!(text.contains("s  queue 0 | in flight 7 |"), "{text}");
}

#[test]
fn a_job_that_was_sent_twice_is_in_the_table() {
    let (exit_code, text) = two_seconds(|config| toy(&config, Flaw::SendsTwice));
    assert_eq!(exit_code, 0, "{text}");
    assert_eq!(row(&text, "delivered twice"), 1, "{text}");
}

#[test]
fn a_service_that_does_not_start_or_ends_badly_or_dies_fails_the_demo() {
    assert_eq!(two_seconds(|config| toy(&config, Flaw::DoesNotStart)), (1, String::new()));
    let (exit_code, text) = two_seconds(|config| toy(&config, Flaw::EndsBadly));
    assert_eq!(exit_code, 1);
    assert!(text.ends_with("\nevery job is accounted for\n"), "{text}");
    let mut out = Vec::new();
    let for_ever = DemoOptions { rate: 1, seconds: None, ..DemoOptions::default() };
    assert_eq!(run_with(for_ever, |config| toy(&config, Flaw::Dies), &mut out), 1);
}

#[test]
fn what_was_asked_for_happens_at_its_time_and_every_job_is_accounted_for_all_the_same() {
    let events =
        "relay-down@0s..1s,slow@1s..1500ms,too-many@0s..1s,kill-mailer@1s,pool=16@1s,pause@1s,replay@1s";
    let events = events.split(',').map(|event| event.parse().unwrap()).collect();
    let options = DemoOptions { rate: 8, seconds: Some(2), events, ..DemoOptions::default() };
    let mut out = Vec::new();
    let exit_code = run_with(options, |config| toy(&config, Flaw::None), &mut out);
    let text = String::from_utf8(out).unwrap();
    assert_eq!(exit_code, 0, "{text}");
    let told = text.lines().filter_map(|line| line.split_once(" s  ")).map(|(_, what)| what);
    let told: Vec<&str> = told.filter(|what| !what.starts_with("queue")).collect();
    let expected = [
        "the relay is down: it refuses every connection",
        "the relay takes 5 e-mails a second, the others are too many: 454",
        "the relay is up again",
        "the relay is slow: 0.6 s for each e-mail",
        "the relay takes as many as come",
        "the next mailer that ends an attempt is killed",
        "there are 16 mailers",
        "the intake is paused: what is in hand is finished, no more is taken",
        "nothing to replay: none of 3 waiting letters has a cause that may pass",
        "the relay is as fast as before",
    ];
    assert_eq!(told, expected, "{text}");
    assert_eq!(row(&text, "missing"), 0, "{text}");
}

/// The service itself, which tries again at once and has a part in the queue before the demo begins.
fn quick_service(mut config: Config) -> LocalBoxFuture<'static, Result<Box<dyn Worker>, String>> {
    config.retry.base = Duration::from_millis(20);
    config.breaker.failures = 1_000_000;
    async move {
        let worker = service::start(config).await?;
        while !worker.scrape().await?.lines().any(|line| line == "mailroom_ready 1") {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        Ok(worker)
    }
    .boxed_local()
}

#[test]
fn what_died_while_the_relay_was_down_is_replayed_and_delivered_and_in_the_accounts() {
    let events = "relay-down@0s..1500ms,replay@2s".split(',').map(|event| event.parse().unwrap()).collect();
    let options = DemoOptions { rate: 6, seconds: Some(3), events, ..DemoOptions::default() };
    let mut out = Vec::new();
    let exit_code = run_with(options, quick_service, &mut out);
    let text = String::from_utf8(out).unwrap();
    assert_eq!(exit_code, 0, "{text}");
    let told = |what: &str| text.lines().find(|line| line.contains(what)).unwrap_or_else(|| panic!("{text}"));
    let numbers =
        |line: &str| -> Vec<u64> { line.split(' ').filter_map(|word| word.parse().ok()).skip(1).collect() };
    // `3 s  16 of 17 waiting letters are replayed, 20 a second` and `5 s  the replay is done: of 16 replayed 1 failed again`.
    let begun = numbers(told("waiting letters are replayed"));
    let done = numbers(told("the replay is done"));
    assert!(begun[0] > 2 && begun[0] <= begun[1], "{text}");
    assert_eq!(done[0], begun[0], "{text}");
    assert_eq!(row(&text, "replayed and delivered"), done[0] - done[1], "{text}");
    assert_eq!(row(&text, "replayed and dead-lettered again"), done[1], "{text}");
    let settled =
        row(&text, "delivered") + row(&text, "dead-lettered") - row(&text, "replayed and delivered");
    assert_eq!(row(&text, "jobs produced"), settled, "{text}");
    for none in ["delivered twice", "dead-lettered twice", "delivered and dead-lettered", "missing"] {
        assert_eq!(row(&text, none), 0, "{text}");
    }
}

/// Takes so many lines, then breaks like a pipe whose reader has left.
struct Pipe {
    lines_left: usize,
}

impl Write for Pipe {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        if self.lines_left == 0 {
            return Err(io::ErrorKind::BrokenPipe.into());
        }
        self.lines_left -= bytes.iter().filter(|byte| **byte == b'\n').count().min(self.lines_left);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[test]
fn when_nobody_listens_any_more_the_demo_ends_and_its_exit_code_is_still_right() {
    for (flaw, exit_code) in [(Flaw::None, 0), (Flaw::EndsBadly, 1)] {
        let start: StartWorker = match flaw {
            Flaw::None => |config| toy(&config, Flaw::None),
            _ => |config| toy(&config, Flaw::EndsBadly),
        };
        let options = DemoOptions { rate: 8, seconds: None, ..DemoOptions::default() };
        assert_eq!(run_with(options, start, &mut Pipe { lines_left: 2 }), exit_code);
        let options = DemoOptions { rate: 8, seconds: None, ..DemoOptions::default() };
        assert_eq!(run_with(options, start, &mut Pipe { lines_left: 6 }), exit_code);
    }
}
