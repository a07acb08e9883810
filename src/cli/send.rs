//! `mailroom send`: puts jobs on the queue, made of options or read from a file.

mod delivery;
mod jobs;

use std::path::PathBuf;
use std::time::Duration;

use clap::{ArgGroup, Args};

use super::variables::{self, VariableArguments};
use super::{ConfigurationArguments, FAILED, WRONG_USAGE, duration, output, wrong_configuration};
use crate::config;

/// What the jobs are made of: with a file nothing else.
const JOB_OPTIONS: [&str; 20] = [
    "to",
    "cc",
    "bcc",
    "from",
    "reply_to",
    "subject",
    "text",
    "html",
    "otp",
    "template",
    "variables",
    "single",
    "attachments",
    "headers",
    "tags",
    "expires_in",
    "expires_at",
    "id",
    "key",
    "count",
];

#[derive(Args, Debug)]
#[command(
    arg_required_else_help = true,
    group = ArgGroup::new("content").args(["otp", "template", "text", "html", "file"]).required(true).multiple(true),
    after_help = "Each job's topic-partition-offset is printed once the brokers have it. Where no broker answers it is given up \
                  after 10 s. Ctrl-C ends it once what is under way is told; a second time at once.\n\n\
                  Exit codes: 0 all were sent, 1 some were not, 2 wrong usage, 78 wrong configuration, or no topic or login in Kafka.\n\n\
                  Example:\n  mailroom send --to ada@example.com --subject Hello --text 'How are you?'\n  \
                  mailroom send --to ada@example.com --template order --var id=7 --expires-in 1h\n  \
                  mailroom send --file jobs.ndjson --rate 50\n  \
                  mailroom send --to ada@example.com --otp 493021 --count 1000 --json"
)]
pub(super) struct Arguments {
    /// Who gets the e-mail; may be given several times
    #[arg(long, value_name = "ADDRESS", required_unless_present = "file")]
    to: Vec<String>,

    /// Who gets a copy, for all to see; may be given several times
    #[arg(long, value_name = "ADDRESS")]
    cc: Vec<String>,

    /// Who gets a copy that nobody else sees; may be given several times
    #[arg(long, value_name = "ADDRESS")]
    bcc: Vec<String>,

    /// The sender; without it smtp.from of the worker
    #[arg(long, value_name = "ADDRESS")]
    from: Option<String>,

    /// Where answers go
    #[arg(long, value_name = "ADDRESS")]
    reply_to: Option<String>,

    /// Over the template's
    #[arg(long)]
    subject: Option<String>,

    /// The body as plain text; with --html both are in the e-mail
    #[arg(long)]
    text: Option<String>,

    /// The body as HTML
    #[arg(long)]
    html: Option<String>,

    /// A one-time password, mailed in words that are built in
    #[arg(long, value_name = "CODE")]
    otp: Option<String>,

    /// A template of the worker's templates.dir: it gives subject, text and HTML
    #[arg(long, value_name = "NAME", conflicts_with = "otp")]
    template: Option<String>,

    #[command(flatten)]
    variables: VariableArguments,

    /// A file to attach; may be given several times
    #[arg(long = "attach", value_name = "FILE")]
    attachments: Vec<PathBuf>,

    /// A header line such as 'X-Campaign: spring'; may be given several times
    #[arg(long = "header", value_name = "NAME: VALUE", value_parser = header)]
    headers: Vec<(String, String)>,

    /// Carried to the log and the dead letter; may be given several times
    #[arg(long = "tag", value_name = "NAME=VALUE", value_parser = variables::pair)]
    tags: Vec<(String, String)>,

    /// The e-mail is not sent when it is older than this, such as 15m
    #[arg(long, value_name = "DURATION", value_parser = duration::read, conflicts_with = "expires_at")]
    expires_in: Option<Duration>,

    /// The e-mail is not sent past this time, such as 2026-11-24T12:00:00Z
    #[arg(long, value_name = "TIME")]
    expires_at: Option<String>,

    /// The idempotency key: two jobs with the same one make e-mails with the same Message-ID
    #[arg(long, conflicts_with = "count")]
    id: Option<String>,

    /// The Kafka key
    #[arg(long)]
    key: Option<String>,

    /// How many times the job is put on the queue
    #[arg(long, value_name = "N", default_value_t = 1)]
    count: u64,

    /// At most so many jobs a second, evenly spaced; without it as fast as the brokers take them
    #[arg(long, value_name = "R", value_parser = jobs_a_second)]
    rate: Option<f64>,

    /// Takes one job a line from the file; from stdin, where it is "-". A line that is no job is told and left out
    #[arg(long, value_name = "NDJSON", conflicts_with_all = JOB_OPTIONS)]
    file: Option<PathBuf>,

    /// Sends what is no job too, byte for byte: the worker dead-letters it
    #[arg(long)]
    as_is: bool,

    /// As JSON objects, one a line, with topic, partition and offset; of a file with the line, too
    #[arg(long)]
    json: bool,

    #[command(flatten)]
    configuration: ConfigurationArguments,
}

fn jobs_a_second(text: &str) -> Result<f64, String> {
    let rate = text.parse().ok().filter(|rate| (0.001..=1e9).contains(rate));
    rate.ok_or_else(|| "must be a number of jobs a second, from 0.001 on".into())
}

fn header(text: &str) -> Result<(String, String), String> {
    match text.split_once(':') {
        Some((name, value)) if !name.is_empty() => Ok((name.to_owned(), value.trim().to_owned())),
        _ => Err("must be NAME: VALUE".into()),
    }
}

pub(super) fn run(arguments: Arguments) -> u8 {
    let source = match jobs::Source::new(&arguments) {
        Ok(source) => source,
        Err(problem) => {
            output::tell(problem);
            return FAILED;
        }
    };
    if !arguments.as_is
        && let Err(why) = source.check()
    {
        output::tell(format_args!("{why}\nno e-mail can be made of it; --as-is sends it all the same"));
        return WRONG_USAGE;
    }
    let kafka = match config::load_kafka(&arguments.configuration.sources()) {
        Ok(kafka) => kafka,
        Err(problems) => return wrong_configuration(&problems),
    };
    let how = delivery::How { rate: arguments.rate, as_is: arguments.as_is, json: arguments.json };
    delivery::deliver(&kafka, source, how)
}
