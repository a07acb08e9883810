//! The command line, a file for each command. Contract, section 7.

mod check;
mod completions;
mod config_show;
mod demo;
mod dlq;
mod duration;
mod health;
mod output;
mod progress;
mod reload;
mod run;
mod schema;
mod send;
mod signals;
mod spinner;
mod table;
mod template;
mod variables;

use std::ffi::OsString;
use std::path::PathBuf;

use clap::{Args, Parser, Subcommand};

use crate::app::WRONG_CONFIGURATION;
use crate::config::{Problems, Sources};

/// Done.
const DONE: u8 = 0;
/// It was asked for rightly, and failed.
const FAILED: u8 = 1;
/// The command line itself is wrong.
const WRONG_USAGE: u8 = 2;

const EXAMPLE: &str = "\
Exit codes: 0 done, 1 failed, 2 wrong usage, 78 wrong configuration. Data goes to stdout, all else to stderr.

Example:
  mailroom demo
  mailroom check --online --config /etc/mailroom/config.toml
  mailroom help send";

/// The worker between Kafka and an SMTP relay for e-mail that must not be lost.
#[derive(Debug, Parser)]
#[command(name = "mailroom", version, arg_required_else_help = true, after_help = EXAMPLE)]
struct CommandLine {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Runs the service until SIGTERM or Ctrl-C
    Run(run::Arguments),
    /// Runs the same service on a Kafka and an SMTP server of its own, with traffic and faults; needs nothing
    Demo(demo::Arguments),
    /// Puts one job on the queue, or many
    Send(Box<send::Arguments>),
    /// Shows the dead letters, and sends them again, discards or edits them
    #[command(subcommand_required = true, arg_required_else_help = true, after_help = dlq::EXAMPLE)]
    Dlq {
        #[command(subcommand)]
        command: Box<dlq::Command>,
    },
    /// Looks for mistakes in the configuration and the templates; asks Kafka and the relay only when told to
    Check(check::Arguments),
    /// Shows the configuration that holds, and where each value came from
    #[command(subcommand_required = true, arg_required_else_help = true, after_help = config_show::EXAMPLE)]
    Config {
        #[command(subcommand)]
        command: config_show::Command,
    },
    /// Asks the running service whether it is alive, or ready: for health checks of containers
    Health(health::Arguments),
    /// Prints the JSON Schema of a job or of a dead letter
    Schema(schema::Arguments),
    /// Shows the templates, and what they make of variables
    #[command(subcommand_required = true, arg_required_else_help = true, after_help = template::EXAMPLE)]
    Template {
        #[command(subcommand)]
        command: template::Command,
    },
    /// Prints what a shell needs to complete this command line
    Completions(completions::Arguments),
}

/// Where the configuration comes from.
#[derive(Args, Debug)]
struct ConfigurationArguments {
    /// The configuration file; without it ./config.toml where there is one
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,

    /// Sets one key, over the file and the environment; may be given several times
    #[arg(long = "set", value_name = "SECTION.KEY=VALUE")]
    settings: Vec<String>,
}

impl ConfigurationArguments {
    fn sources(self) -> Sources {
        Sources::of_process(self.config, self.settings)
    }
}

/// Runs what the command line of this process asks for. Returns the exit code: 0 done, 1 failed, 2 wrong usage,
/// 78 wrong configuration.
pub fn main() -> u8 {
    run_command(std::env::args_os())
}

fn run_command(arguments: impl IntoIterator<Item = OsString>) -> u8 {
    match CommandLine::try_parse_from(arguments) {
        Ok(CommandLine { command }) => match command {
            Command::Run(arguments) => run::run(arguments),
            Command::Demo(arguments) => demo::run(&arguments),
            Command::Send(arguments) => send::run(*arguments),
            Command::Dlq { command } => dlq::run(*command),
            Command::Check(arguments) => check::run(arguments),
            Command::Config { command } => config_show::run(command),
            Command::Health(arguments) => health::run(arguments),
            Command::Schema(arguments) => schema::run(&arguments),
            Command::Template { command } => template::run(command),
            Command::Completions(arguments) => completions::run(&arguments),
        },
        Err(error) => {
            // Help and version go to stdout, mistakes to stderr; where nobody reads them that is all right.
            let _ = error.print();
            if error.use_stderr() { WRONG_USAGE } else { DONE }
        }
    }
}

/// Tells all mistakes of a configuration; returns the exit code.
fn wrong_configuration(problems: &Problems) -> u8 {
    let count = problems.0.len();
    let mistakes = if count == 1 { "mistake" } else { "mistakes" };
    output::tell(format_args!("{count} {mistakes} in the configuration:"));
    output::tell(problems);
    WRONG_CONFIGURATION
}

#[cfg(test)]
mod tests;
