//! `mailroom dlq`: the dead letters looked at, sent again, discarded, restored, edited and taken out. Contract, section 9.

mod act;
mod csv;
mod desk;
mod edit;
mod editor;
mod export;
mod groups;
mod ls;
mod person;
mod preview;
mod runs;
mod select;
mod show;
mod watch;
mod words;

use std::io;

use clap::Subcommand;

use super::{WRONG_USAGE, output};
use crate::dlq::archive::Refused;
use mailroom_actors::domain::letters::rules::Action;

pub(super) const EXAMPLE: &str = "Each command talks to Kafka only; the running workers carry out what is asked for.\n\n\
Exit codes: 0 done, 1 failed, 2 wrong usage, 78 wrong configuration.\n\n\
Example:\n  mailroom dlq groups\n  mailroom dlq ls --cause smtp_unreachable --since 2h\n  \
mailroom dlq replay --cause smtp_unreachable --reason 'relay was down' --dry-run";

#[derive(Debug, Subcommand)]
pub(super) enum Command {
    /// Counts the letters by what they have in common, and says what to do with them
    #[command(after_help = groups::EXAMPLE)]
    Groups(groups::Arguments),
    /// Lists letters, the newest first
    #[command(after_help = ls::EXAMPLE)]
    Ls(ls::Arguments),
    /// Shows one letter with its attempts and what was decided
    #[command(after_help = show::EXAMPLE)]
    Show(show::Arguments),
    /// Puts the jobs of letters back on the queue, each once
    #[command(after_help = act::REPLAY_EXAMPLE)]
    Replay(Box<act::Arguments>),
    /// Marks letters as done with: nothing is sent
    #[command(after_help = act::DISCARD_EXAMPLE)]
    Discard(Box<act::Arguments>),
    /// Takes letters from discarded or parked back to waiting
    #[command(after_help = act::RESTORE_EXAMPLE)]
    Restore(Box<act::Arguments>),
    /// Changes the job of one letter, and puts it back on the queue; needs dlq.allow_edit
    #[command(after_help = edit::EXAMPLE)]
    Edit(edit::Arguments),
    /// Lists what was asked for and how far it is, the newest first
    #[command(after_help = runs::EXAMPLE)]
    Runs(runs::Arguments),
    /// Ends a run: what it has not acted on stays as it is
    #[command(after_help = runs::CANCEL_EXAMPLE)]
    Cancel(runs::CancelArguments),
    /// Prints every letter that matches, whole, by partition and offset
    #[command(after_help = export::EXAMPLE)]
    Export(export::Arguments),
}

pub(super) fn run(command: Command) -> u8 {
    let done = match command {
        Command::Groups(arguments) => groups::run(arguments),
        Command::Ls(arguments) => ls::run(arguments),
        Command::Show(arguments) => show::run(arguments),
        Command::Replay(arguments) => act::run(Action::Replay, *arguments),
        Command::Discard(arguments) => act::run(Action::Discard, *arguments),
        Command::Restore(arguments) => act::run(Action::Restore, *arguments),
        Command::Edit(arguments) => edit::run(arguments),
        Command::Runs(arguments) => runs::run(arguments),
        Command::Cancel(arguments) => runs::cancel(arguments),
        Command::Export(arguments) => export::run(arguments),
    };
    done.unwrap_or_else(|Ended(code)| code)
}

/// Ended early with that exit code; all was told.
#[derive(Debug, PartialEq, Eq)]
struct Ended(u8);

type Outcome<T = u8> = Result<T, Ended>;

/// Tells why it failed.
fn failed(reason: impl std::fmt::Display) -> Ended {
    Ended(output::failed(reason))
}

/// Tells what is wrong with the command line.
fn wrong_usage(reason: impl std::fmt::Display) -> Ended {
    output::tell(format_args!("error: {reason}"));
    Ended(WRONG_USAGE)
}

/// Ends early where stdout can't be written.
fn told(result: io::Result<()>) -> Outcome<()> {
    result.map_err(|error| Ended(output::written(Err(error))))
}

fn refused(refused: Refused) -> Ended {
    match refused {
        Refused::Wrong(mistakes) => wrong_usage(mistakes.join("\nerror: ")),
        Refused::Missing(text) | Refused::Failed(text) => failed(text),
    }
}
