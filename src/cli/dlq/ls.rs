//! `mailroom dlq ls`: letters, the newest first.

use chrono::Utc;
use clap::Args;
use mailroom_actors::domain::letters::search::Cursor;

use super::desk::Desk;
use super::select::FilterArguments;
use super::{Outcome, words};
use crate::cli::output::{self, Lines, written};
use crate::cli::{ConfigurationArguments, DONE};
use crate::dlq::view::RowView;

pub(super) const EXAMPLE: &str = "Exit codes: 0 done, 1 failed, 2 wrong usage, 78 wrong configuration.\n\nExample:\n  mailroom dlq ls --state waiting --since 2h\n  \
mailroom dlq ls --domain example.com --q 'mailbox full' --limit 500 --json";

#[derive(Args, Debug)]
pub(in crate::cli) struct Arguments {
    /// At most so many
    #[arg(long, value_name = "N", default_value_t = 50, value_parser = clap::value_parser!(u32).range(1..=1_000_000))]
    limit: u32,

    /// Goes on where a list before ended, which said so
    #[arg(long, value_name = "CURSOR", value_parser = cursor)]
    after: Option<Cursor>,

    /// As a JSON object: letters, next, and what was searched
    #[arg(long)]
    json: bool,

    #[command(flatten)]
    filter: FilterArguments,

    #[command(flatten)]
    configuration: ConfigurationArguments,
}

fn cursor(text: &str) -> Result<Cursor, String> {
    text.parse().map_err(|()| "it is what the list before named".to_owned())
}

pub(super) fn run(Arguments { limit, after, json, filter, configuration }: Arguments) -> Outcome {
    let filter = filter.read(Utc::now())?;
    let desk = Desk::open(configuration)?;
    let page = desk.archive.page(&filter, after, limit as usize);
    if json {
        return Ok(written(Lines::stdout().write(words::json(&page))));
    }
    if page.letters.is_empty() {
        desk.tell_of_nothing();
        return Ok(DONE);
    }
    let code = written(Lines::stdout().write(table(&page.letters)));
    if let Some(next) = page.next {
        output::tell(format_args!("there are more: --after {next}"));
    }
    Ok(code)
}

/// Also of a preview's samples.
pub(super) fn table(letters: &[RowView]) -> String {
    words::table(
        ["LETTER", "STATE", "AT", "CAUSE", "CODE", "DOMAIN", "TEMPLATE", "REASON"],
        letters.iter().map(row),
    )
}

fn row(letter: &RowView) -> [String; 8] {
    [
        letter.letter.clone(),
        letter.state.to_owned(),
        words::to_the_second(&letter.at),
        letter.cause.to_owned(),
        letter.smtp_code.map(|code| code.to_string()).unwrap_or_default(),
        letter.domain.clone(),
        letter.template.clone().unwrap_or_default(),
        letter.reason.clone(),
    ]
}
