//! The demo from its start to its table.

use std::io::{self, Write};
use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::time::{sleep, timeout};

use super::DemoOptions;
use super::accounts::SharedAccounts;
use super::interrupts::Interrupts;
use super::queue::{LetterReader, MockQueue, Producer};
use super::readings::Readings;
use super::settings;
use super::smtp_server::SmtpServer;
use super::traffic;
use super::worker::{StartWorker, Worker};

/// Between two lines.
const BETWEEN_LINES: Duration = Duration::from_secs(2);
/// When the mail server goes down for the first time, for how long, and how long it is up between. Attempts
/// come at 0, 1 and 3 s: what is first tried at the beginning of it is dead-lettered, the rest is saved.
const FIRST_OUTAGE: Duration = Duration::from_secs(8);
const OUTAGE: Duration = Duration::from_millis(4_500);
const BETWEEN_OUTAGES: Duration = Duration::from_secs(35);
/// How long what is under way may take to be settled once no more is produced. Three attempts into silence take
/// 6.3 s; where the end falls into an outage the relay is tried again only after 5 s, and maybe once more in vain.
const SETTLE: Duration = Duration::from_secs(30);
/// How often it is looked whether it is.
const LOOK: Duration = Duration::from_millis(50);
/// How long each part of the demo itself may take to end before it is left to itself.
const PART_END: Duration = Duration::from_secs(3);

/// Why a phase ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Cue {
    /// The time is up, or all is settled.
    Over,
    /// Ctrl-C or SIGTERM.
    Interrupted,
    /// The service ends without having been asked to.
    WorkerEnds,
    /// Nobody reads what is said.
    NobodyListens,
}

/// Runs the demo. True when every job is accounted for and the service ended well.
///
/// # Errors
/// When a part can't start, in words.
pub(super) async fn run(
    options: DemoOptions,
    start: StartWorker,
    out: &mut dyn Write,
) -> Result<bool, String> {
    let mut interrupts = Interrupts::listen().map_err(|error| format!("no signals: {error}"))?;
    let accounts = SharedAccounts::default();
    let queue = MockQueue::start().await?;
    let mail_server = start_mail_server(&accounts).map_err(|error| format!("no mail server: {error}"))?;
    let worker = start(settings::config(queue.brokers(), mail_server.address(), options.http_bind)).await?;
    let letters = LetterReader::start(queue.brokers(), Arc::clone(&accounts))?;
    let stage = Stage { worker, mail_server, accounts, began: Instant::now() };
    let heard = stage.introduce(&options, queue.brokers(), out);

    let producer = Producer::start(queue.brokers(), options.rate, Arc::clone(&stage.accounts))?;
    let cue = match heard {
        Ok(()) => stage.perform(options.seconds.map(Duration::from_secs), &mut interrupts, out).await,
        Err(_) => Cue::NobodyListens,
    };
    // What it could not hand over in time is missing in the books.
    producer.stop(PART_END).await;
    // When it can't come up again the e-mails under way are dead-lettered, which is accounted for as well.
    let _ = stage.mail_server.come_up().await;
    if cue != Cue::WorkerEnds {
        stage.settle(cue, &mut interrupts, out).await;
    }

    let Stage { worker, mail_server, accounts, .. } = stage;
    worker.stop();
    let ended = timeout(settings::DRAIN_TIMEOUT + PART_END, worker.ended()).await;
    letters.finish(PART_END).await;
    let totals = accounts.lock().totals();
    // Nobody is left to be told when nobody listens; the exit code still says it.
    let _ = writeln!(out, "\n{totals}").and_then(|()| out.flush());
    let ended_well = match ended {
        Ok(end) if cue != Cue::WorkerEnds && end.exit_code == 0 => true,
        Ok(end) => {
            complain(&format!("the service ended with exit code {}: {}", end.exit_code, end.reason));
            false
        }
        Err(_) => {
            complain("the service did not stop in time");
            false
        }
    };
    // Whether they end in time or not, the process ends with this.
    mail_server.stop(PART_END).await;
    queue.close(PART_END).await;
    Ok(totals.all_accounted_for() && ended_well)
}

fn start_mail_server(accounts: &SharedAccounts) -> io::Result<SmtpServer> {
    let accounts = Arc::clone(accounts);
    SmtpServer::start(Arc::new(move |delivery| {
        let number = traffic::number_of_recipient(&delivery.recipient);
        accounts.lock().delivered(number, &delivery.message_id);
    }))
}

fn complain(what: &str) {
    // Nobody is left to be told when this fails.
    let _ = writeln!(io::stderr().lock(), "mailroom demo: {what}");
}

/// What is on the stage while jobs are under way.
struct Stage {
    worker: Box<dyn Worker>,
    mail_server: SmtpServer,
    accounts: SharedAccounts,
    began: Instant,
}

impl Stage {
    /// The addresses first.
    fn introduce(&self, options: &DemoOptions, brokers: &str, out: &mut dyn Write) -> io::Result<()> {
        let http = self.worker.http_address();
        writeln!(out, "health       http://{http}/health")?;
        writeln!(out, "metrics      http://{http}/metrics")?;
        writeln!(out, "kafka        {brokers} (a mock in this process)")?;
        let smtp = self.mail_server.address();
        writeln!(out, "mail server  {smtp} (in this process, misbehaves on purpose)")?;
        match options.seconds {
            Some(seconds) => writeln!(out, "{} jobs a second, {seconds} s\n", options.rate.max(1))?,
            None => writeln!(out, "{} jobs a second, until Ctrl-C\n", options.rate.max(1))?,
        }
        out.flush()
    }

    /// While jobs are produced: faults and lines, until the time is up.
    async fn perform(&self, time: Option<Duration>, interrupts: &mut Interrupts, out: &mut dyn Write) -> Cue {
        let time_is_up = async {
            match time {
                Some(time) => sleep(time).await,
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            () = time_is_up => Cue::Over,
            () = interrupts.next() => Cue::Interrupted,
            cue = self.narrate(out) => cue,
            () = self.go_down_now_and_then() => Cue::Over,
        }
    }

    /// When no more jobs are produced: lines, until all are settled, or have had their time.
    async fn settle(&self, cue: Cue, interrupts: &mut Interrupts, out: &mut dyn Write) {
        let all_are_settled = async {
            while self.accounts.lock().under_way() > 0 {
                sleep(LOOK).await;
            }
        };
        let mut nobody = io::sink();
        let out = if cue == Cue::NobodyListens { &mut nobody } else { out };
        let lines = async {
            if self.narrate(out).await == Cue::NobodyListens {
                // The books are still worth finishing, for the exit code.
                std::future::pending::<()>().await;
            }
        };
        tokio::select! {
            () = all_are_settled => {}
            () = sleep(SETTLE) => {}
            () = interrupts.next() => {}
            () = lines => {}
        }
    }

    /// A line every few seconds, until nobody listens or the service ends.
    async fn narrate(&self, out: &mut dyn Write) -> Cue {
        loop {
            let since = self.began.elapsed();
            let next = BETWEEN_LINES * (since.as_millis() / BETWEEN_LINES.as_millis() + 1) as u32;
            sleep(next.saturating_sub(since)).await;
            if !self.worker.is_alive().await {
                return Cue::WorkerEnds;
            }
            let seconds = self.began.elapsed().as_secs();
            let said = match self.worker.scrape().await {
                Ok(text) => {
                    let readings = Readings::parse(&text);
                    let state = if self.mail_server.is_down() { "down" } else { "up" };
                    writeln!(out, "{seconds:>4} s  {readings} | mail server {state}")
                }
                Err(error) => writeln!(out, "{seconds:>4} s  no metrics now: {error}"),
            };
            if said.and_then(|()| out.flush()).is_err() {
                return Cue::NobodyListens;
            }
        }
    }

    /// The mail server's outages, for ever.
    async fn go_down_now_and_then(&self) {
        sleep(FIRST_OUTAGE).await;
        loop {
            if let Err(error) = self.mail_server.go_down().await {
                tracing::warn!(%error, "the demo's mail server did not keep its port");
            }
            sleep(OUTAGE).await;
            while let Err(error) = self.mail_server.come_up().await {
                tracing::warn!(%error, "the demo's mail server can't come up yet");
                sleep(LOOK).await;
            }
            sleep(BETWEEN_OUTAGES).await;
        }
    }
}
