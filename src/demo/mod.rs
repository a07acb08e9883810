//! `mailroom demo`: the service on a Kafka and a mail server inside the process, with traffic and faults, and
//! books that account for every job. Contract, section 7.

pub mod accounts;
mod background;
mod fuse;
mod interrupts;
pub mod letter;
pub mod levers;
mod lines;
pub mod live;
pub mod queue;
pub mod readings;
mod replays;
pub mod script;
mod service;
pub mod settings;
mod show;
pub mod smtp_server;
mod stage;
pub mod traffic;
pub mod worker;

use std::io::{self, Write};
use std::net::{Ipv4Addr, SocketAddr};

use self::live::journal::Journal;
use self::script::Event;
use self::worker::StartWorker;

/// What can be said on the command line of `mailroom demo`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DemoOptions {
    /// Jobs a second; 0 counts as 1. While 4,000 are under way no more are produced.
    pub rate: u32,
    /// For how long jobs are produced; none: until Ctrl-C. The end takes up to about 8 s more.
    pub seconds: Option<u64>,
    /// Where `/health` and `/metrics` are; port 0 is a free one.
    pub http_bind: SocketAddr,
    /// What breaks when; with none the relay is down now and then, until somebody breaks something by hand.
    pub events: Vec<Event>,
}

/// How the demo tells what happens.
#[derive(Clone, Debug)]
pub enum Telling {
    /// A line every few seconds.
    Lines,
    /// A live view of the whole terminal, with keys to break things. The log is to go into the journal.
    Live(Journal),
}

impl Default for DemoOptions {
    fn default() -> DemoOptions {
        DemoOptions {
            rate: 20,
            seconds: None,
            http_bind: SocketAddr::from((Ipv4Addr::LOCALHOST, 0)),
            events: Vec::new(),
        }
    }
}

/// Runs the demo until its time is up, or Ctrl-C, SIGTERM, or nobody reads standard output any more; a second
/// signal ends it without waiting for what is under way. Blocks; not to be called inside a runtime.
///
/// Returns the exit code: 0 when every job is accounted for and the service ended well, else 1.
pub fn run(options: DemoOptions, telling: Telling) -> u8 {
    run_telling(options, telling, service::start, &mut io::stdout())
}

/// The same by lines, with another service and another place for them.
pub fn run_with(options: DemoOptions, start: StartWorker, out: &mut dyn Write) -> u8 {
    run_telling(options, Telling::Lines, start, out)
}

fn run_telling(options: DemoOptions, telling: Telling, start: StartWorker, out: &mut dyn Write) -> u8 {
    actix_rt::System::new().block_on(async {
        match show::run(options, telling, start, out).await {
            Ok(true) => 0,
            Ok(false) => 1,
            Err(problem) => {
                // Nobody is left to be told when this fails, too.
                let _ = writeln!(io::stderr().lock(), "mailroom demo: {problem}");
                1
            }
        }
    })
}

#[cfg(test)]
mod tests;
