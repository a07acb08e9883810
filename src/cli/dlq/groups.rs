//! `mailroom dlq groups`: the letters counted by what they have in common.

use chrono::Utc;
use clap::Args;
use mailroom_actors::domain::letters::group::By;

use super::desk::Desk;
use super::select::FilterArguments;
use super::{Outcome, words};
use crate::cli::ConfigurationArguments;
use crate::cli::output::{Lines, written};
use crate::dlq::view::GroupView;

pub(super) const EXAMPLE: &str = "The advice: replay, what was wrong passes by itself; after-fix, something must be put right first; no, the same\n\
job will fail again.\n\nExit codes: 0 done, 1 failed, 2 wrong usage, 78 wrong configuration.\n\nExample:\n  mailroom dlq groups\n  mailroom dlq groups --by domain --cause invalid_recipient --json";

#[derive(Args, Debug)]
pub(in crate::cli) struct Arguments {
    /// cause, code, domain, template, stage or reason
    #[arg(long, value_name = "WHAT", default_value = "cause", value_parser = by)]
    by: By,

    /// As a JSON array
    #[arg(long)]
    json: bool,

    #[command(flatten)]
    filter: FilterArguments,

    #[command(flatten)]
    configuration: ConfigurationArguments,
}

fn by(text: &str) -> Result<By, String> {
    text.parse().map_err(|()| format!("it is one of {}", By::ALL.map(By::as_str).join(", ")))
}

pub(super) fn run(Arguments { by, json, filter, configuration }: Arguments) -> Outcome {
    let filter = filter.read(Utc::now())?;
    let desk = Desk::open(configuration)?;
    let groups = desk.archive.groups(by, &filter);
    if json {
        return Ok(written(Lines::stdout().write(words::json(&groups))));
    }
    if groups.is_empty() {
        desk.tell_of_nothing();
        return Ok(crate::cli::DONE);
    }
    Ok(written(Lines::stdout().write(table(by, &groups))))
}

fn table(by: By, groups: &[GroupView]) -> String {
    let key = by.as_str().to_uppercase();
    let head = [&*key, "LETTERS", "STATES", "FIRST", "LAST", "EXAMPLE", "ADVICE"];
    words::table(head, groups.iter().map(row))
}

fn row(group: &GroupView) -> [String; 7] {
    [
        if group.key.is_empty() { "(none)".to_owned() } else { group.key.clone() },
        group.count.to_string(),
        words::counts(&group.states),
        words::to_the_second(&group.first),
        words::to_the_second(&group.last),
        group.example.clone(),
        group.advice.to_owned(),
    ]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_group_says_how_many_letters_what_became_of_them_and_what_to_do() {
        let group = GroupView {
            key: String::new(),
            count: 3,
            states: [("waiting", 2), ("parked", 1), ("replayed", 0)].into(),
            first: "2026-11-24T02:07:47.123Z".into(),
            last: "2026-11-24T02:07:48.000Z".into(),
            example: "0-17".into(),
            advice: "replay",
        };
        let told = table(By::Code, &[group]);
        let lines: Vec<&str> = told.lines().collect();
        assert!(lines[0].starts_with("CODE    LETTERS"), "{told}");
        let expected = "(none)  3        1 parked, 2 waiting  2026-11-24T02:07:47Z  2026-11-24T02:07:48Z  0-17     replay";
        assert_eq!(lines[1], expected);
    }
}
