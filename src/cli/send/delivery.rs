//! Hands jobs to the brokers, many at a time, and prints where each has come to lie.

use std::io;
use std::time::Duration;

use futures::StreamExt;
use futures::stream::FuturesOrdered;
use serde_json::json;
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::sync::mpsc;
use tokio::time::Instant;

use super::jobs::{Job, Source};
use crate::cli::output::{self, Lines};
use crate::cli::progress::Progress;
use crate::cli::{DONE, FAILED, WRONG_CONFIGURATION};
use crate::config::{Kafka, Log, LogFormat};
use crate::kafka::StartProblem;
use crate::kafka::send::{self, Sender};
use crate::telemetry::Telemetry;

/// So many jobs may be on their way to the brokers at once.
const UNDER_WAY: usize = 1000;
/// A timer may be so late, on a busy machine.
const LATE: Duration = Duration::from_millis(100);
/// So many lines that are no jobs are told one by one.
const REFUSED_LINES_TOLD: u64 = 20;

/// How jobs are sent and told.
#[derive(Clone, Copy, Debug)]
pub(super) struct How {
    /// At most so many a second.
    pub rate: Option<f64>,
    /// What is no job is sent too.
    pub as_is: bool,
    pub json: bool,
}

/// Sends all jobs of `source`; stops at the first that the brokers do not take, and at a signal. Returns the exit
/// code.
pub(super) fn deliver(kafka: &Kafka, source: Source, how: How) -> u8 {
    let log = Log { format: LogFormat::Auto, level: "error".into() };
    let runtime = Telemetry::start(&log)
        .and_then(|log| Ok((log, tokio::runtime::Builder::new_current_thread().enable_all().build()?)));
    let (_telemetry, runtime) = match runtime {
        Ok(ready) => ready,
        Err(error) => return not_set_up(&error),
    };
    let sender = match runtime.block_on(Sender::open(kafka)) {
        Ok(sender) => sender,
        Err(problem) => {
            output::tell(&problem);
            return match problem {
                StartProblem::Away(_) => FAILED,
                StartProblem::Misconfigured(_) => WRONG_CONFIGURATION,
            };
        }
    };
    let signals = {
        let _inside = runtime.enter();
        Signals::listen()
    };
    let signals = match signals {
        Ok(signals) => signals,
        Err(error) => return not_set_up(&error),
    };
    let empty = source.total().is_none().then(|| source.name());
    let (tally, result) = runtime.block_on(deliver_all(&sender, source, how, signals));
    // The thread that reads may still wait for stdin: it ends with the process.
    runtime.shutdown_background();
    let Tally { sent, refused } = tally;
    let were_sent = if sent == 1 { "1 job was sent".to_owned() } else { format!("{sent} jobs were sent") };
    match (result, refused) {
        (Ok(()), 0) => {
            if let Some(name) = empty.filter(|_| sent == 0) {
                output::tell(format_args!("{were_sent}: {name} holds none"));
            }
            DONE
        }
        (Ok(()), _) => {
            output::failed(format_args!("{were_sent}; lines that are no jobs, and were not sent: {refused}"))
        }
        (Err(problem), 0) => output::failed(format_args!("{problem} ({were_sent})")),
        (Err(problem), _) => output::failed(format_args!(
            "{problem} ({were_sent}; lines that are no jobs, and were not sent: {refused})"
        )),
    }
}

fn not_set_up(error: &io::Error) -> u8 {
    output::failed(format_args!("the process can't be set up: {error}"))
}

/// Ctrl-C and SIGTERM.
struct Signals {
    interrupt: Signal,
    terminate: Signal,
}

impl Signals {
    fn listen() -> io::Result<Signals> {
        Ok(Signals {
            interrupt: signal(SignalKind::interrupt())?,
            terminate: signal(SignalKind::terminate())?,
        })
    }

    async fn next(&mut self) -> &'static str {
        tokio::select! {
            _ = self.interrupt.recv() => "Ctrl-C",
            _ = self.terminate.recv() => "SIGTERM",
        }
    }
}

#[derive(Default)]
struct Tally {
    /// The brokers have them.
    sent: u64,
    /// Lines that are no jobs.
    refused: u64,
}

/// What the reading thread has for us.
enum Next {
    Job(Job),
    NoJob { line: u64, why: String },
    Broken(String),
}

async fn deliver_all(
    sender: &Sender,
    source: Source,
    how: How,
    mut signals: Signals,
) -> (Tally, Result<(), String>) {
    let gap = how.rate.map_or(Duration::ZERO, |rate| Duration::from_secs_f64(1.0 / rate));
    let name = source.name();
    let mut progress = Progress::of(source.total(), "jobs");
    let mut jobs = read_ahead(source, how.as_is);
    let mut lines = Lines::stdout();
    let mut under_way = FuturesOrdered::new();
    let (mut tally, mut result) = (Tally::default(), Ok(()));
    let mut due = Instant::now();
    let mut more = true;
    let mut is_stopped = false;
    while more || !under_way.is_empty() {
        tokio::select! {
            Some((line, outcome)) = under_way.next(), if !under_way.is_empty() => {
                let outcome: Result<send::Sent, StartProblem> = outcome;
                let written = outcome.map_err(|problem| told(&name, line, &problem)).and_then(|place| {
                    tally.sent += 1;
                    let print = || lines.write(shown(&place, line, how.json));
                    progress.one_more(print).map_err(|error| format!("stdout can't be written: {error}"))
                });
                // What is under way is still awaited and told; of several mistakes the first counts.
                if let Err(problem) = written {
                    more = false;
                    result = result.and(Err(problem));
                }
            }
            signal = signals.next() => {
                let first = !is_stopped;
                (more, is_stopped) = (false, true);
                if first {
                    result = result.and(Err(format!("stopped by {signal}")));
                } else {
                    // Nobody wants to wait for brokers that do not answer.
                    let left = under_way.len();
                    result = result.map_err(|what| format!("{what}, again: {left} more may have been sent, too"));
                    break;
                }
            }
            () = at(progress.shows_at()), if progress.shows_at().is_some() => progress.show(),
            next = next_due(&mut jobs, due), if more && under_way.len() < UNDER_WAY => match next {
                Some(Next::Job(Job { key, value, line })) => {
                    due = next_after(due, gap);
                    let job = send::Job { key, value, headers: Vec::new() };
                    under_way.push_back(async move { (line, sender.send(&job).await) });
                }
                Some(Next::NoJob { line, why }) => {
                    tally.refused += 1;
                    if tally.refused <= REFUSED_LINES_TOLD {
                        progress.beside(|| output::tell(format_args!("{name}:{line}: {why}")));
                    }
                }
                Some(Next::Broken(problem)) => {
                    more = false;
                    result = result.and(Err(problem));
                }
                None => more = false,
            },
        }
    }
    progress.end();
    (tally, result)
}

fn shown(place: &send::Sent, line: Option<u64>, json: bool) -> String {
    if !json {
        return place.to_string();
    }
    let send::Sent { topic, partition, offset } = place;
    match line {
        Some(line) => json!({"line": line, "topic": topic, "partition": partition, "offset": offset}),
        None => json!({"topic": topic, "partition": partition, "offset": offset}),
    }
    .to_string()
}

fn told(name: &str, line: Option<u64>, problem: &StartProblem) -> String {
    line.map_or_else(|| problem.to_string(), |line| format!("{name}:{line}: {problem}"))
}

async fn at(time: Option<Instant>) {
    match time {
        Some(time) => tokio::time::sleep_until(time).await,
        None => std::future::pending().await,
    }
}

/// A timer that comes late is made up for, brokers that were slow are not.
fn next_after(due: Instant, gap: Duration) -> Instant {
    let now = Instant::now();
    if now > due + LATE { now + gap } else { due + gap }
}

/// May be dropped and asked again: it takes a job only as its last act.
async fn next_due(jobs: &mut mpsc::Receiver<Next>, due: Instant) -> Option<Next> {
    tokio::time::sleep_until(due).await;
    jobs.recv().await
}

/// Reads on a thread of its own: stdin may keep it waiting.
fn read_ahead(mut source: Source, as_is: bool) -> mpsc::Receiver<Next> {
    let (jobs, ahead) = mpsc::channel(UNDER_WAY);
    tokio::task::spawn_blocking(move || {
        loop {
            let next = match source.next() {
                Ok(Some(job)) => checked(job, as_is),
                Ok(None) => return,
                Err(error) => Next::Broken(error.to_string()),
            };
            let is_last = matches!(next, Next::Broken(_));
            if jobs.blocking_send(next).is_err() || is_last {
                return;
            }
        }
    });
    ahead
}

fn checked(job: Job, as_is: bool) -> Next {
    match job.line {
        Some(line) if !as_is => match job.check() {
            Ok(()) => Next::Job(job),
            Err(why) => Next::NoJob { line, why },
        },
        // What the options made was checked before.
        _ => Next::Job(job),
    }
}
