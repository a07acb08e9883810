//! The demo from its start to its table: the same service as `run`, shown at work.

use std::io::{self, Write};
use std::sync::Arc;
use std::time::Duration;

use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::time::{Instant, MissedTickBehavior, interval_at, sleep, timeout};

use super::accounts::SharedAccounts;
use super::queue::{LetterReader, MockQueue, Producer};
use super::readings::Readings;
use super::smtp_server::SmtpServer;
use super::{DemoOptions, settings};
use crate::app::{self, Service};

/// Between two lines.
const BETWEEN_LINES: Duration = Duration::from_secs(2);
/// When the mail server goes down for the first time, for how long, and how long it is up between.
const FIRST_OUTAGE: Duration = Duration::from_secs(5);
const OUTAGE: Duration = Duration::from_secs(3);
const BETWEEN_OUTAGES: Duration = Duration::from_secs(27);
/// How long what is under way may take once no more is produced: the longest are three attempts into silence,
/// 9.3 s.
const SETTLE: Duration = Duration::from_secs(12);
/// How often it is looked whether all is settled.
const LOOK: Duration = Duration::from_millis(50);
/// How long the service may take to stop; all is settled by then, or never will be.
const STOP: Duration = Duration::from_secs(5);

/// Runs the demo and returns its exit code.
pub(super) async fn run(options: DemoOptions) -> u8 {
    match perform(options).await {
        Ok(exit_code) => exit_code,
        Err(problem) => {
            complain(&problem);
            1
        }
    }
}

async fn perform(options: DemoOptions) -> Result<u8, String> {
    let mut interrupts = Interrupts::listen().map_err(|error| format!("no signals: {error}"))?;
    let accounts = SharedAccounts::default();
    let queue = MockQueue::start()?;
    let books = Arc::clone(&accounts);
    let on_delivery = move |recipient: &str, message_id: &str| books.lock().delivered(recipient, message_id);
    let mail_server =
        SmtpServer::start(Arc::new(on_delivery)).map_err(|error| format!("no mail server: {error}"))?;
    let config = settings::config(queue.brokers(), mail_server.address(), options.http_bind);
    let service = app::start(config).await.map_err(|error| error.0)?;
    introduce(&options, &service, &queue, &mail_server);
    let letters = LetterReader::start(queue.brokers(), Arc::clone(&accounts))?;
    let producer = Producer::start(queue.brokers(), options.rate, Arc::clone(&accounts))?;

    let began = Instant::now();
    let died = tokio::select! {
        () = time_is_up(options.seconds) => false,
        () = interrupts.next() => false,
        () = tell(&service, &mail_server, began) => true,
        () = go_down_now_and_then(&mail_server) => false,
    };
    producer.stop().await;
    mail_server.come_up().await;
    let all_are_settled = async {
        while accounts.lock().open() > 0 {
            sleep(LOOK).await;
        }
    };
    tokio::select! {
        () = all_are_settled => {}
        () = sleep(SETTLE) => {}
        () = interrupts.next() => {}
        // Of a service that has ended nothing more can be awaited.
        () = tell(&service, &mail_server, began) => {}
    }

    service.stop();
    let ended = timeout(STOP, service.ended()).await;
    letters.finish().await;
    let verdict = accounts.lock().verdict();
    say(&format!("\n{verdict}"));
    match ended {
        Ok(ended) if ended.exit_code == 0 && !died => Ok(verdict.exit_code()),
        Ok(ended) => Err(format!("the service ended with exit code {}: {}", ended.exit_code, ended.reason)),
        Err(_) => Err(format!("the service did not stop within {} s", STOP.as_secs())),
    }
}

/// The addresses, before anything else.
fn introduce(options: &DemoOptions, service: &Service, queue: &MockQueue, mail_server: &SmtpServer) {
    let http = service.http_address();
    let length = options.seconds.map_or("until Ctrl-C".to_owned(), |seconds| format!("for {seconds} s"));
    say(&format!(
        "health       http://{http}/health\n\
         metrics      http://{http}/metrics\n\
         kafka        {} (a mock in this process)\n\
         mail server  {} (in this process, misbehaves on purpose)\n\
         {} jobs a second {length}\n",
        queue.brokers(),
        mail_server.address(),
        options.rate.max(1),
    ));
}

async fn time_is_up(seconds: Option<u64>) {
    match seconds {
        Some(seconds) => sleep(Duration::from_secs(seconds)).await,
        None => std::future::pending().await,
    }
}

/// A line every 2 s, until the service ends without having been asked to.
async fn tell(service: &Service, mail_server: &SmtpServer, began: Instant) {
    let mut ticks = interval_at(Instant::now() + BETWEEN_LINES, BETWEEN_LINES);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        ticks.tick().await;
        if service.status().await.is_none_or(|status| status.stopping) {
            return;
        }
        let seconds = began.elapsed().as_secs();
        let relay = if mail_server.is_up() { "up" } else { "down" };
        match service.scrape().await {
            Ok(text) => say(&format!("{seconds:>4} s  {}, mail server {relay}", Readings::parse(&text))),
            Err(error) => say(&format!("{seconds:>4} s  no metrics now: {error}")),
        }
    }
}

/// The mail server's outages, for ever.
async fn go_down_now_and_then(mail_server: &SmtpServer) {
    sleep(FIRST_OUTAGE).await;
    loop {
        mail_server.go_down().await;
        sleep(OUTAGE).await;
        mail_server.come_up().await;
        sleep(BETWEEN_OUTAGES).await;
    }
}

/// Ctrl-C and SIGTERM.
struct Interrupts {
    ctrl_c: Signal,
    terminate: Signal,
}

impl Interrupts {
    fn listen() -> io::Result<Interrupts> {
        Ok(Interrupts {
            ctrl_c: signal(SignalKind::interrupt())?,
            terminate: signal(SignalKind::terminate())?,
        })
    }

    /// The next of either. May be cancelled without losing one.
    async fn next(&mut self) {
        tokio::select! {
            _ = self.ctrl_c.recv() => {}
            _ = self.terminate.recv() => {}
        }
    }
}

/// One line on standard output.
fn say(text: &str) {
    let mut out = io::stdout().lock();
    // A reader that has gone (`| head`) changes nothing: the exit code still tells.
    let _ = writeln!(out, "{text}").and_then(|()| out.flush());
}

fn complain(problem: &str) {
    // Nobody is left to be told when this fails.
    let _ = writeln!(io::stderr().lock(), "mailroom demo: {problem}");
}
