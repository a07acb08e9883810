//! `mailroom dlq runs` and `cancel`: what was asked for, how far it is, and ending it.

use chrono::Utc;
use clap::Args;
use mailroom_actors::domain::letters::run::{Standing, Tracked};

use super::desk::Desk;
use super::{Outcome, person, refused, told, watch, words};
use crate::cli::output::{self, Lines, written};
use crate::cli::{ConfigurationArguments, DONE, FAILED};
use crate::dlq::view::RunView;

pub(super) const EXAMPLE: &str = "Exit codes: 0 done, 1 failed, 2 wrong usage, 78 wrong configuration.\n\nExample:\n  mailroom dlq runs\n  mailroom dlq runs 20261124T020747-0a1b2c3d --wait";
pub(super) const CANCEL_EXAMPLE: &str = "Exit codes: 0 done, 1 failed, 2 wrong usage, 78 wrong configuration.\n\nExample:\n  mailroom dlq cancel 20261124T020747-0a1b2c3d";

#[derive(Args, Debug)]
pub(in crate::cli) struct Arguments {
    /// Only this one
    run: Option<String>,

    /// Waits until it is done; exit code 1 when it is stopped or cancelled
    #[arg(long, requires = "run")]
    wait: bool,

    /// As a JSON array; of one run as an object
    #[arg(long)]
    json: bool,

    #[command(flatten)]
    configuration: ConfigurationArguments,
}

#[derive(Args, Debug)]
pub(in crate::cli) struct CancelArguments {
    /// Its id, as it was printed
    run: String,

    /// As a JSON object: the run
    #[arg(long)]
    json: bool,

    #[command(flatten)]
    configuration: ConfigurationArguments,
}

pub(super) fn run(Arguments { run, wait, json, configuration }: Arguments) -> Outcome {
    let desk = Desk::open(configuration)?;
    let Some(id) = run else {
        let runs: Vec<RunView> =
            desk.archive.shelf.runs().iter().map(|run| desk.archive.show_run(run)).collect();
        if json {
            return Ok(written(Lines::stdout().write(words::json(&runs))));
        }
        desk.tell_of_the_guarantee(runs.iter().map(|run| run.guarantee));
        if runs.is_empty() {
            output::tell("nothing was asked for yet");
            return Ok(DONE);
        }
        return Ok(written(Lines::stdout().write(table(&runs))));
    };
    let (run, code) = match wait {
        true => desk.runtime.block_on(watch::watch(&desk.archive, &id)).map_err(refused)?,
        false => (desk.archive.run(&id).map_err(refused)?, DONE),
    };
    tell(&desk, &run, json, code)
}

pub(super) fn cancel(CancelArguments { run: id, json, configuration }: CancelArguments) -> Outcome {
    let desk = Desk::open(configuration)?;
    let cancelled = desk.runtime.block_on(desk.archive.cancel(&id, &person::login(), Utc::now()));
    let run = cancelled.map_err(refused)?;
    let code = match run.standing() {
        Standing::Cancelled => DONE,
        // It is written, and was not read back in time.
        Standing::Running => DONE,
        ended => {
            output::tell(format_args!("it is {} already", ended.as_str()));
            FAILED
        }
    };
    tell(&desk, &run, json, code)
}

fn tell(desk: &Desk, run: &Tracked, json: bool, code: u8) -> Outcome {
    let view = desk.archive.show_run(run);
    desk.tell_of_the_guarantee([view.guarantee]);
    let shown = if json { words::json(&view) } else { table(&[view]) };
    told(Lines::stdout().write(shown))?;
    Ok(code)
}

fn table(runs: &[RunView]) -> String {
    let head = [
        "RUN",
        "ACTION",
        "STATE",
        "LETTERS",
        "DONE",
        "SKIPPED",
        "LEFT",
        "FAILED AGAIN",
        "BY",
        "AT",
        "REASON",
    ];
    words::table(head, runs.iter().map(row))
}

fn row(run: &RunView) -> [String; 11] {
    [
        run.id.clone(),
        run.action.to_owned(),
        run.state.to_owned(),
        run.total.to_string(),
        run.published.to_string(),
        run.skipped.to_string(),
        run.left.to_string(),
        run.failed_again.to_string(),
        run.by.clone(),
        words::to_the_second(&run.at),
        run.reason.clone(),
    ]
}
