//! The demo from its start to its table.

use std::cell::Cell;
use std::io::{self, Write};
use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::sync::mpsc::{UnboundedReceiver, unbounded_channel};
use tokio::time::{sleep, timeout};

use super::accounts::SharedAccounts;
use super::interrupts::Interrupts;
use super::letter::LastLetters;
use super::levers::{self, Levers};
use super::live::Live;
use super::queue::{LetterReader, MockQueue, Producer};
use super::smtp_server::SmtpServer;
use super::stage::{Cue, Phase, Stage, Told};
use super::worker::StartWorker;
use super::{DemoOptions, Telling, lines, settings, traffic};

/// How long what is under way may take to be settled once no more is produced. Three attempts into silence take
/// 6.3 s; where the end falls into an outage the relay is tried again only after 5 s, and maybe once more in vain;
/// who was told "too many" again and again waits 8 s.
const SETTLE: Duration = Duration::from_secs(30);
/// How long a replay may go on of this; then it is cut short, and what it put back is awaited.
const REPLAY_END: Duration = Duration::from_secs(12);
/// How long each part of the demo itself may take to end before it is left to itself.
const PART_END: Duration = Duration::from_secs(3);

/// Runs the demo. True when every job is accounted for and the service ended well.
///
/// # Errors
/// When a part can't start, in words.
pub(super) async fn run(
    options: DemoOptions,
    telling: Telling,
    start: StartWorker,
    out: &mut dyn Write,
) -> Result<bool, String> {
    let mut interrupts = Interrupts::listen().map_err(|error| format!("no signals: {error}"))?;
    let accounts = SharedAccounts::default();
    let queue = MockQueue::start().await?;
    let mail_server = start_mail_server(&accounts).map_err(|error| format!("no mail server: {error}"))?;
    let worker = start(settings::config(queue.brokers(), mail_server.address(), options.http_bind)).await?;
    let last_letters = LastLetters::default();
    let letters = LetterReader::start(queue.brokers(), Arc::clone(&accounts), Arc::clone(&last_letters))?;
    let (tell, told) = unbounded_channel();
    let stage = Stage {
        options,
        worker,
        mail_server,
        accounts,
        letters: last_letters,
        levers: Levers::default(),
        began: Instant::now(),
        told: tell,
        by_hand: Cell::new(false),
        relay_by_hand: Cell::new(false),
    };
    let heard = stage.introduce(queue.brokers(), out);
    let mut teller = Teller::new(telling, out, told);

    let producer = Producer::start(queue.brokers(), stage.options.rate, Arc::clone(&stage.accounts))?;
    let cue = match heard {
        Ok(()) => stage.perform(&mut interrupts, &mut teller).await,
        Err(_) => Cue::NobodyListens,
    };
    // What it could not hand over in time is missing in the books.
    producer.stop(PART_END).await;
    levers::mend(&*stage.worker, &stage.mail_server).await;
    let hurry = cue != Cue::WorkerEnds && stage.settle(cue, &mut interrupts, &mut teller).await;

    // The screen is given back before anything more is said.
    let out = teller.leave();
    let Stage { worker, mail_server, accounts, .. } = stage;
    worker.stop();
    let ended = tokio::select! {
        ended = timeout(settings::DRAIN_TIMEOUT + PART_END, worker.ended()), if !hurry => Some(ended),
        () = interrupts.next() => None,
        () = std::future::ready(()), if hurry => None,
    };
    letters.finish(PART_END).await;
    let totals = accounts.lock().totals();
    // Nobody is left to be told when nobody listens; the exit code still says it.
    let _ = writeln!(out, "\n{totals}").and_then(|()| out.flush());
    let ended_well = match &ended {
        Some(Ok(end)) if cue != Cue::WorkerEnds && end.exit_code == 0 => true,
        Some(Ok(end)) => {
            complain(&format!("the service ended with exit code {}: {}", end.exit_code, end.reason));
            false
        }
        Some(Err(_)) => {
            complain("the service did not stop in time");
            false
        }
        None => {
            complain("interrupted: what was under way was not awaited");
            false
        }
    };
    if ended.is_some() {
        // Whether they end in time or not, the process ends with this.
        mail_server.stop(PART_END).await;
        queue.close(PART_END).await;
    }
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

/// Who tells what happens, and where.
struct Teller<'a> {
    out: &'a mut dyn Write,
    told: UnboundedReceiver<Told>,
    live: Option<Live>,
}

impl<'a> Teller<'a> {
    /// Takes the terminal for a live view; lines are told where it can't be had.
    fn new(telling: Telling, out: &'a mut dyn Write, told: UnboundedReceiver<Told>) -> Teller<'a> {
        let live = match telling {
            Telling::Lines => None,
            Telling::Live(journal) => match Live::start(journal) {
                Ok(live) => Some(live),
                Err(error) => {
                    complain(&format!("no live view, lines instead: {error}"));
                    None
                }
            },
        };
        Teller { out, told, live }
    }

    async fn tell(&mut self, stage: &Stage, phase: Phase) -> Cue {
        match &mut self.live {
            Some(live) => live.tell(stage, &mut self.told, phase).await,
            None => lines::tell(stage, &mut self.told, self.out).await,
        }
    }

    /// Gives the terminal back; of lines the last are told.
    fn leave(mut self) -> &'a mut dyn Write {
        if self.live.is_none() {
            lines::tell_the_last(&mut self.told, self.out);
        }
        drop(self.live);
        self.out
    }
}

impl Stage {
    /// The addresses first.
    fn introduce(&self, brokers: &str, out: &mut dyn Write) -> io::Result<()> {
        let http = self.worker.http_address();
        writeln!(out, "health       http://{http}/health")?;
        writeln!(out, "metrics      http://{http}/metrics")?;
        writeln!(out, "kafka        {brokers} (a mock in this process)")?;
        let smtp = self.mail_server.address();
        writeln!(out, "mail server  {smtp} (in this process, misbehaves on purpose)")?;
        let rate = self.options.rate.max(1);
        match self.options.seconds {
            Some(seconds) => writeln!(out, "{rate} jobs a second, {seconds} s\n")?,
            None => writeln!(out, "{rate} jobs a second, until Ctrl-C\n")?,
        }
        out.flush()
    }

    /// While jobs are produced: faults and what is told of them, until the time is up.
    async fn perform(&self, interrupts: &mut Interrupts, teller: &mut Teller<'_>) -> Cue {
        let time_is_up = async {
            match self.options.seconds {
                Some(seconds) => sleep(Duration::from_secs(seconds)).await,
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            () = time_is_up => Cue::Over,
            () = interrupts.next() => Cue::Interrupted,
            cue = teller.tell(self, Phase::Performing) => cue,
            () = self.follow_replays() => Cue::Over,
            () = self.play() => Cue::Over,
        }
    }

    /// When no more jobs are produced: goes on telling until all are settled, or have had their time. True when
    /// that was interrupted: somebody wants the end at once.
    async fn settle(&self, cue: Cue, interrupts: &mut Interrupts, teller: &mut Teller<'_>) -> bool {
        // Who wants the end does not want to wait for a long replay.
        let replay_end = if cue == Cue::Over { REPLAY_END } else { Duration::ZERO };
        let goes_on = async {
            if cue != Cue::NobodyListens {
                match teller.tell(self, Phase::Ending).await {
                    Cue::Interrupted => return true,
                    Cue::WorkerEnds => return false,
                    Cue::NobodyListens | Cue::Over => {}
                }
            }
            // The books are still worth finishing, for the exit code.
            std::future::pending().await
        };
        tokio::select! {
            () = self.all_are_settled() => false,
            () = sleep(SETTLE) => false,
            () = self.follow_replays() => false,
            () = self.end_replay(replay_end) => false,
            () = interrupts.next() => true,
            hurry = goes_on => hurry,
        }
    }
}
