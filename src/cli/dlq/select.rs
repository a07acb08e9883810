//! Which letters are meant: the options that say so.

use chrono::{DateTime, Utc};
use clap::Args;
use mailroom_actors::domain::letters::filter::Filter;
use mailroom_actors::domain::letters::name::LetterName;

use super::{Outcome, wrong_usage};
use crate::cli::variables;
use crate::dlq::question;

/// All that is given must hold.
#[derive(Args, Debug, Default)]
#[command(next_help_heading = "Which letters")]
pub(super) struct FilterArguments {
    /// Why they failed, such as smtp_unreachable
    #[arg(long, value_parser = |value: &str| taken("cause", value))]
    cause: Option<String>,

    /// The SMTP reply code, such as 550
    #[arg(long, value_parser = |value: &str| taken("code", value))]
    code: Option<String>,

    /// The domain of a recipient that was not reached
    #[arg(long, value_parser = |value: &str| taken("domain", value))]
    domain: Option<String>,

    /// Where they failed, such as rcpt
    #[arg(long, value_parser = |value: &str| taken("stage", value))]
    stage: Option<String>,

    /// The job's template
    #[arg(long, value_parser = |value: &str| taken("template", value))]
    template: Option<String>,

    /// A tag of the job; may be given several times
    #[arg(long = "tag", value_name = "NAME=VALUE", value_parser = variables::pair)]
    tags: Vec<(String, String)>,

    /// waiting, replayed, discarded or parked
    #[arg(long, value_parser = |value: &str| taken("state", value))]
    state: Option<String>,

    /// Failed at this time or after it: 2026-11-24T02:00:00Z, or how long ago, such as 2h
    #[arg(long, value_name = "TIME", value_parser = |value: &str| taken("since", value))]
    since: Option<String>,

    /// Failed before this time
    #[arg(long, value_name = "TIME", value_parser = |value: &str| taken("until", value))]
    until: Option<String>,

    /// A part of the reason, the domain or the template; or a whole address or idempotency key
    #[arg(long, value_name = "TEXT", value_parser = |value: &str| taken("q", value))]
    q: Option<String>,

    /// Letters by their names, such as 0-17; may be given several times
    #[arg(long = "letter", value_name = "LETTER", num_args = 1.., value_delimiter = ',')]
    letters: Vec<LetterName>,
}

/// The value as it is, where it is one.
fn taken(name: &str, value: &str) -> Result<String, String> {
    question::add(&mut Filter::default(), name, value, Utc::now()).map(|()| value.to_owned())
}

impl FilterArguments {
    /// Times that are said as "so long ago" count from `now`.
    pub fn read(&self, now: DateTime<Utc>) -> Outcome<Filter> {
        let mut filter = Filter::default();
        let given = [
            ("cause", &self.cause),
            ("code", &self.code),
            ("domain", &self.domain),
            ("stage", &self.stage),
            ("template", &self.template),
            ("state", &self.state),
            ("since", &self.since),
            ("until", &self.until),
            ("q", &self.q),
        ];
        for (name, value) in given {
            if let Some(value) = value {
                question::add(&mut filter, name, value, now).map_err(wrong_usage)?;
            }
        }
        for (name, value) in &self.tags {
            question::add(&mut filter, &format!("tag.{name}"), value, now).map_err(wrong_usage)?;
        }
        let names: Vec<String> = self.letters.iter().map(ToString::to_string).collect();
        filter.letters = question::letters(names.iter().map(String::as_str)).map_err(wrong_usage)?;
        Ok(filter)
    }
}
