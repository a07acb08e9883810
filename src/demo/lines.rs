//! The demo told by lines: what the metrics say every few seconds, and what was broken when.

use std::io::{self, Write};
use std::time::Duration;

use tokio::sync::mpsc::UnboundedReceiver;
use tokio::time::sleep;

use super::readings::Readings;
use super::stage::{Cue, Stage, Told};

/// Between two lines.
const BETWEEN_LINES: Duration = Duration::from_secs(2);

/// Tells what happens until nobody listens or the service ends.
pub(super) async fn tell(stage: &Stage, told: &mut UnboundedReceiver<Told>, out: &mut dyn Write) -> Cue {
    let lines_before = stage.began.elapsed().as_millis() / BETWEEN_LINES.as_millis();
    let mut next = BETWEEN_LINES * (lines_before + 1) as u32;
    loop {
        let said = tokio::select! {
            Some(deed) = told.recv() => tell_deed(&deed, out),
            () = sleep(next.saturating_sub(stage.began.elapsed())) => {
                next += BETWEEN_LINES;
                if !stage.worker.is_alive().await {
                    return Cue::WorkerEnds;
                }
                tell_readings(stage, out).await
            }
        };
        if said.and_then(|()| out.flush()).is_err() {
            return Cue::NobodyListens;
        }
    }
}

/// Tells what was done since, and nothing more.
pub(super) fn tell_the_last(told: &mut UnboundedReceiver<Told>, out: &mut dyn Write) {
    while let Ok(deed) = told.try_recv() {
        // Where nobody listens the exit code still says how it ended.
        let _ = tell_deed(&deed, out);
    }
}

fn tell_deed(Told { at, text }: &Told, out: &mut dyn Write) -> io::Result<()> {
    writeln!(out, "{:>4} s  {text}", at.as_secs())
}

async fn tell_readings(stage: &Stage, out: &mut dyn Write) -> io::Result<()> {
    let seconds = stage.began.elapsed().as_secs();
    match stage.worker.scrape().await {
        Ok(text) => {
            let readings = Readings::parse(&text);
            let state = if stage.mail_server.is_down() { "down" } else { "up" };
            writeln!(out, "{seconds:>4} s  {readings} | mail server {state}")
        }
        Err(error) => writeln!(out, "{seconds:>4} s  no metrics now: {error}"),
    }
}
