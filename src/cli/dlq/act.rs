//! `mailroom dlq replay`, `discard` and `restore`: first what would be done is shown, then it is asked for.

use chrono::Utc;
use clap::{Args, ValueEnum};
use mailroom_actors::domain::letters::rules::Action;

use super::desk::Desk;
use super::select::FilterArguments;
use super::{Outcome, person, preview, refused, told, watch, words, wrong_usage};
use crate::cli::output::{self, Lines, written};
use crate::cli::{ConfigurationArguments, DONE, FAILED};
use crate::config::kind::{RATE, Raw, Value};
use crate::dlq::request::Request;

pub(super) const REPLAY_EXAMPLE: &str = "Each letter is replayed once, whatever dies; what was replayed, discarded or has expired is skipped. At a terminal it\n\
asks before it begins, elsewhere it needs --yes. The run's id is printed.\n\n\
Exit codes: 0 done, 1 failed, 2 wrong usage, 78 wrong configuration.\n\n\
Example:\n  mailroom dlq replay --cause smtp_unreachable --since 6h --reason 'relay was down' --canary 5 --wait\n  \
mailroom dlq replay --template welcome --reason 'template mended' --yes\n  mailroom dlq replay --letter 0-17 --dry-run";
pub(super) const DISCARD_EXAMPLE: &str = "Nothing is deleted: a discarded letter can be restored until it leaves the queue.\n\n\
Exit codes: 0 done, 1 failed, 2 wrong usage, 78 wrong configuration.\n\n\
Example:\n  mailroom dlq discard --cause invalid_recipient --reason 'addresses are bad' --yes --wait";
pub(super) const RESTORE_EXAMPLE: &str = "Exit codes: 0 done, 1 failed, 2 wrong usage, 78 wrong configuration.\n\nExample:\n  mailroom dlq restore --state discarded --since 1h --reason 'discarded by mistake'";

#[derive(Args, Debug)]
pub(in crate::cli) struct Arguments {
    #[command(flatten)]
    filter: FilterArguments,

    /// Takes letters along that are skipped otherwise, in a replay: those that need a human, or whose job will fail again
    #[arg(long, value_name = "WHAT", value_delimiter = ',')]
    include: Vec<Include>,

    /// Letters a second, such as 10/s; without it dlq.rate
    #[arg(long, value_parser = rate)]
    rate: Option<f64>,

    /// First replays so many, and goes on only if at most half of them fail again
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u64).range(1..))]
    canary: Option<u64>,

    /// At most so many letters, the oldest
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u64).range(1..))]
    max: Option<u64>,

    #[command(flatten)]
    consent: Consent,

    #[command(flatten)]
    configuration: ConfigurationArguments,
}

/// How it is agreed to, and what is told of it.
#[derive(Args, Debug)]
pub(super) struct Consent {
    /// Why; it is kept with every letter
    #[arg(long, value_name = "TEXT", required_unless_present = "dry_run")]
    reason: Option<String>,

    /// Only shows what would be done, whatever else is said
    #[arg(long)]
    pub dry_run: bool,

    /// Does not ask
    #[arg(long)]
    pub yes: bool,

    /// Waits until it is done; exit code 1 when it is stopped or cancelled
    #[arg(long)]
    pub wait: bool,

    /// As a JSON object: the run; what it would do with --dry-run, or where there is nothing to do
    #[arg(long)]
    pub json: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Include {
    Permanent,
    Parked,
}

fn rate(text: &str) -> Result<f64, String> {
    match RATE.read(&Raw::untyped(text)) {
        Some(Value::Real(rate)) => Ok(rate),
        _ => Err(RATE.allowed()),
    }
}

pub(super) fn run(action: Action, arguments: Arguments) -> Outcome {
    let Arguments { filter, include, rate, canary, max, consent, configuration } = arguments;
    consent.can_be_given()?;
    let request = Request {
        action,
        filter: filter.read(Utc::now())?,
        reason: consent.reason(),
        rate,
        canary: canary.unwrap_or(0),
        max,
        include_permanent: include.contains(&Include::Permanent),
        include_parked: include.contains(&Include::Parked),
        value: None,
        by: person::login(),
    };
    let desk = Desk::open(configuration)?;
    desk.has_named(&request.filter)?;
    carry_out(&desk, &request, &consent)
}

impl Consent {
    /// Why. A preview, which keeps none, need not be given one.
    pub fn reason(&self) -> String {
        self.reason.clone().unwrap_or_else(|| "preview".to_owned())
    }

    /// Where nobody can be asked it must be given beforehand.
    pub fn can_be_given(&self) -> Outcome<()> {
        if self.yes || self.dry_run || person::is_there() {
            return Ok(());
        }
        Err(wrong_usage(
            "there is no terminal to ask at: give --yes to do it, or --dry-run to see what would be done",
        ))
    }
}

/// Shows what would be done, asks, and hands it to the workers.
pub(super) fn carry_out(desk: &Desk, request: &Request, consent: &Consent) -> Outcome {
    let action = request.action.as_str();
    let (selection, preview) = desk.archive.select(request, Utc::now()).map_err(refused)?;
    desk.tell_of_the_guarantee([preview.guarantee]);
    if consent.dry_run {
        let shown = if consent.json { words::json(&preview) } else { preview::in_words(action, &preview) };
        return Ok(written(Lines::stdout().write(shown)));
    }
    desk.needs_decisions()?;
    output::tell(preview::in_words(action, &preview));
    if preview.will == 0 {
        output::tell("nothing is done");
        if consent.json {
            told(Lines::stdout().write(words::json(&preview)))?;
        }
        return Ok(DONE);
    }
    if !consent.yes && !person::agrees(&format!("\n{action} {}?", words::letters(preview.will))) {
        output::tell("nothing is done");
        return Ok(FAILED);
    }
    let submitted = desk.runtime.block_on(desk.archive.submit_selected(request, selection, Utc::now()));
    let run = submitted.map_err(refused)?;
    let id = &run.run.id;
    if !consent.json {
        told(Lines::stdout().write(id))?;
    }
    let (run, code) = if consent.wait {
        desk.runtime.block_on(watch::watch(&desk.archive, id)).map_err(refused)?
    } else {
        (run, DONE)
    };
    if consent.json {
        told(Lines::stdout().write(words::json(&desk.archive.show_run(&run))))?;
    }
    Ok(code)
}
