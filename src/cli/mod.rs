//! The command line: one file a command. Exit codes: 0 done, 1 failed, 2 wrong usage, 78 wrong configuration.

mod check;
mod demo;
mod output;
mod run;
mod send;

use std::path::PathBuf;

use clap::{Args, Parser, Subcommand};

use crate::config::Sources;

/// Wrong configuration (sysexits.h: EX_CONFIG).
const EXIT_CONFIGURATION: u8 = 78;

#[derive(Parser)]
#[command(
    name = "mailroom",
    version,
    about = "The worker between Kafka and an SMTP relay for e-mail that must not be lost"
)]
struct CommandLine {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Run the service until SIGTERM
    #[command(after_help = "Example: mailroom run --config /etc/mailroom/config.toml")]
    Run(Configured),
    /// Run the same service on an in-process Kafka and SMTP server, with traffic and faults; needs nothing
    #[command(after_help = "Example: mailroom demo --rate 50 --seconds 30")]
    Demo(demo::DemoArguments),
    /// Put jobs on the queue
    #[command(after_help = "Example: mailroom send --to ada@example.com --otp 493021")]
    Send(Box<send::SendArguments>),
    /// Check the configuration: all problems, not just the first
    #[command(after_help = "Example: mailroom check --config config.toml")]
    Check(Configured),
}

/// Where the configuration comes from: the file, then MAILROOM__SECTION__KEY, then --set.
#[derive(Args, Clone, Debug)]
struct Configured {
    /// The configuration file [default: ./config.toml when it is there]
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
    /// Set one key, over the file and the environment
    #[arg(long, value_name = "SECTION.KEY=VALUE")]
    set: Vec<String>,
}

impl Configured {
    fn sources(&self) -> Sources {
        Sources::of_process(self.config.clone(), self.set.clone())
    }
}

/// Does what the command line says; returns the exit code.
pub fn main() -> u8 {
    let command_line = match CommandLine::try_parse() {
        Ok(command_line) => command_line,
        Err(error) => {
            // Help and version go to stdout with 0, wrong usage to stderr with 2. A closed pipe is no reason
            // to fail differently.
            let _ = error.print();
            return u8::try_from(error.exit_code()).unwrap_or(2);
        }
    };
    match command_line.command {
        Command::Run(configured) => run::run(&configured),
        Command::Demo(arguments) => demo::run(&arguments),
        Command::Send(arguments) => send::run(&arguments),
        Command::Check(configured) => check::run(&configured),
    }
}
