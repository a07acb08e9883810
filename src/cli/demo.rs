//! `mailroom demo`: the service with everything around it, in one process.

use std::io::{self, IsTerminal};
use std::net::{Ipv4Addr, SocketAddr};
use std::time::Duration;

use clap::Args;

use super::output;
use super::{FAILED, WRONG_USAGE};
use crate::config::{Log, LogFormat};
use crate::demo::live::journal::Journal;
use crate::demo::script::Event;
use crate::demo::{DemoOptions, Telling};
use crate::telemetry::Telemetry;

pub(super) const EXAMPLE: &str = "\
At a terminal the demo is a live view with keys to break things; elsewhere, and with --plain, it is lines.

Keys (those that break something mend it, pressed again):
  d    the relay is down, or up again
  s    the relay is slow, or fast again
  t    the relay says \"too many\", or takes all
  k    a mailer is killed
  + -  twice, or half, as many mailers
  p    the intake is paused, or goes on
  r    the dead letters whose causes may pass are replayed, 20 a second
  l    dead letters by cause, and the last of them: arrows choose, Enter shows one, Esc goes back
  q    the end, as Ctrl-C: what is under way is settled first; a second time: at once

What can happen (times from the start of the demo: 5s, 1m30s, 500ms):
  relay-down@5s..10s   the relay refuses every connection; without ..10s until the end
  slow@5s..10s         it lets each e-mail wait 0.6 s: more comes than 8 mailers send
  too-many@5s..10s     it takes 5 e-mails a second, and answers 454 to the others
  pause@5s..10s        the worker takes no more jobs, and finishes what it has in hand
  kill-mailer@7s       a mailer dies of a panic, and is started again
  pool=16@3s           so many mailers from then on
  replay@20s           the dead letters whose causes may pass are replayed, 20 a second

Exit codes: 0 every job is accounted for, 1 one is not, or the end was not awaited, 2 wrong usage.

Example:
  mailroom demo
  mailroom demo --seconds 20 --scenario relay-down@5s..10s
  mailroom demo --seconds 30 --scenario slow@2s..15s,pool=16@8s,kill-mailer@12s --plain
  mailroom demo --seconds 30 --scenario relay-down@5s..12s,replay@25s";

#[derive(Args, Debug)]
#[command(after_help = EXAMPLE)]
pub(super) struct Arguments {
    /// How many jobs a second
    #[arg(long, value_name = "R", default_value_t = 20, value_parser = clap::value_parser!(u32).range(1..=10_000))]
    rate: u32,

    /// Ends after so many seconds; without it on Ctrl-C
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u64).range(1..=31_536_000))]
    seconds: Option<u64>,

    /// Where /health and /metrics are served; port 0 is a free one
    #[arg(long, value_name = "ADDRESS", default_value_t = SocketAddr::from((Ipv4Addr::LOCALHOST, 0)))]
    http: SocketAddr,

    /// What happens when; without it the relay is down now and then
    #[arg(long = "scenario", value_name = "WHAT@WHEN,…", value_delimiter = ',')]
    events: Vec<Event>,

    /// Lines, also at a terminal
    #[arg(long)]
    plain: bool,
}

/// Both streams must be the terminal: the view takes all of it, and what else is written there would spoil it.
fn is_at_a_terminal() -> bool {
    let is_dumb = std::env::var_os("TERM").is_none_or(|term| term == "dumb");
    io::stdin().is_terminal() && io::stdout().is_terminal() && io::stderr().is_terminal() && !is_dumb
}

/// An event that the demo would end before.
fn too_late(arguments: &Arguments) -> Option<String> {
    let end = Duration::from_secs(arguments.seconds?);
    let late = arguments.events.iter().find(|event| event.begin.at >= end)?;
    Some(format!(
        "an event of --scenario begins after {:?}, but --seconds {} ends the demo before: give it more seconds",
        late.begin.at,
        end.as_secs()
    ))
}

pub(super) fn run(arguments: &Arguments) -> u8 {
    if let Some(mistake) = too_late(arguments) {
        output::tell(format_args!("{mistake}"));
        return WRONG_USAGE;
    }
    // At info each job is a line, which would bury what the demo has to tell.
    let log = |level: &str| Log { format: LogFormat::Auto, level: level.into() };
    let (telemetry, telling) = if arguments.plain || !is_at_a_terminal() {
        (Telemetry::start(&log("error")), Telling::Lines)
    } else {
        let journal = Journal::default();
        (Telemetry::start_to(&log("warn"), journal.clone()), Telling::Live(journal))
    };
    let _telemetry = match telemetry {
        Ok(telemetry) => telemetry,
        Err(error) => {
            output::tell(format_args!("the log can't be started: {error}"));
            return FAILED;
        }
    };
    let options = DemoOptions {
        rate: arguments.rate,
        seconds: arguments.seconds,
        http_bind: arguments.http,
        events: arguments.events.clone(),
    };
    crate::demo::run(options, telling)
}

#[cfg(test)]
mod tests {
    use super::super::run_command;
    use super::*;

    fn exit_code(arguments: &str) -> u8 {
        run_command(["mailroom", "demo"].into_iter().chain(arguments.split(' ')).map(Into::into))
    }

    #[test]
    fn an_event_that_is_none_or_comes_after_the_end_is_wrong_usage() {
        for arguments in [
            "--scenario relay-dwn@5s",
            "--scenario slow",
            "--scenario slow@1s,pool=0@2s",
            "--scenario slow@1s --scenario kill-mailer@1s..2s",
            "--scenario slow@1s,kill-mailer@5s --seconds 5",
        ] {
            assert_eq!(exit_code(arguments), WRONG_USAGE, "{arguments}");
        }
    }
}
