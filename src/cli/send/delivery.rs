//! Hands jobs to the brokers, many at a time, and prints where each has come to lie.

use std::time::Duration;

use futures::StreamExt;
use futures::stream::FuturesOrdered;
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

/// Sends all jobs of `source`, at most `rate` a second; stops at the first that is not taken. Returns the exit
/// code.
pub(super) fn deliver(kafka: &Kafka, source: Source, rate: Option<f64>) -> u8 {
    let log = Log { format: LogFormat::Auto, level: "error".into() };
    let runtime = Telemetry::start(&log)
        .and_then(|log| Ok((log, tokio::runtime::Builder::new_current_thread().enable_all().build()?)));
    let (_telemetry, runtime) = match runtime {
        Ok(ready) => ready,
        Err(error) => {
            output::tell(format_args!("the process can't be set up: {error}"));
            return FAILED;
        }
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
    let gap = rate.map_or(Duration::ZERO, |rate| Duration::from_secs_f64(1.0 / rate));
    let (sent, result) = runtime.block_on(deliver_all(&sender, source, gap));
    // The thread that reads may still wait for stdin: it ends with the process.
    runtime.shutdown_background();
    match result {
        Ok(()) => DONE,
        Err(problem) => {
            output::tell(format_args!("{problem} ({sent} were sent before)"));
            FAILED
        }
    }
}

async fn deliver_all(sender: &Sender, source: Source, gap: Duration) -> (u64, Result<(), String>) {
    let mut progress = Progress::of(source.total(), "jobs");
    let mut jobs = read_ahead(source);
    let mut lines = Lines::stdout();
    let mut under_way = FuturesOrdered::new();
    let (mut sent, mut result) = (0, Ok(()));
    let mut due = Instant::now();
    let mut more = true;
    while more || !under_way.is_empty() {
        tokio::select! {
            Some(outcome) = under_way.next(), if !under_way.is_empty() => {
                let outcome: Result<send::Sent, StartProblem> = outcome;
                let written = outcome.map_err(|problem| problem.to_string()).and_then(|place| {
                    sent += 1;
                    progress.one_more(|| lines.write(place)).map_err(|error| format!("stdout can't be written: {error}"))
                });
                // What is under way is still awaited and told; of several mistakes the first counts.
                if let Err(problem) = written {
                    more = false;
                    result = result.and(Err(problem));
                }
            }
            () = shown(progress.shows_at()), if progress.shows_at().is_some() => progress.show(),
            next = next_due(&mut jobs, due), if more && under_way.len() < UNDER_WAY => match next {
                Some(Ok(job)) => {
                    due = next_after(due, gap);
                    let job = send::Job { key: job.key, value: job.value, headers: Vec::new() };
                    under_way.push_back(async move { sender.send(&job).await });
                }
                Some(Err(problem)) => {
                    more = false;
                    result = result.and(Err(problem));
                }
                None => more = false,
            },
        }
    }
    progress.end();
    (sent, result)
}

async fn shown(at: Option<Instant>) {
    match at {
        Some(at) => tokio::time::sleep_until(at).await,
        None => std::future::pending().await,
    }
}

/// A timer that comes late is made up for, brokers that were slow are not.
fn next_after(due: Instant, gap: Duration) -> Instant {
    let now = Instant::now();
    if now > due + LATE { now + gap } else { due + gap }
}

/// May be dropped and asked again: it takes a job only as its last act.
async fn next_due(
    jobs: &mut mpsc::Receiver<Result<Job, String>>,
    due: Instant,
) -> Option<Result<Job, String>> {
    tokio::time::sleep_until(due).await;
    jobs.recv().await
}

/// Reads on a thread of its own: stdin may keep it waiting.
fn read_ahead(mut source: Source) -> mpsc::Receiver<Result<Job, String>> {
    let (jobs, ahead) = mpsc::channel(UNDER_WAY);
    tokio::task::spawn_blocking(move || {
        loop {
            let next = match source.next() {
                Ok(Some(job)) => Ok(job),
                Ok(None) => return,
                Err(error) => Err(error.to_string()),
            };
            let is_last = next.is_err();
            if jobs.blocking_send(next).is_err() || is_last {
                return;
            }
        }
    });
    ahead
}
