//! `mailroom send`: puts jobs on the queue, made of options or read from a file.

mod delivery;
mod jobs;

use std::path::PathBuf;

use clap::{ArgGroup, Args};

use super::{ConfigurationArguments, wrong_configuration};
use crate::config;

/// What the jobs are made of: with a file nothing else.
const JOB_OPTIONS: [&str; 11] =
    ["to", "cc", "bcc", "from", "subject", "text", "html", "otp", "id", "key", "count"];

#[derive(Args, Debug)]
#[command(
    arg_required_else_help = true,
    group = ArgGroup::new("content").args(["otp", "text", "html", "file"]).required(true).multiple(true),
    after_help = "Each job's topic-partition-offset is printed once the brokers have it.\n\n\
                  Example:\n  mailroom send --to ada@example.com --subject Hello --text 'How are you?'"
)]
pub(super) struct Arguments {
    /// Who gets the e-mail; may be given several times
    #[arg(long, value_name = "ADDRESS", required_unless_present = "file")]
    to: Vec<String>,

    #[arg(long, value_name = "ADDRESS")]
    cc: Vec<String>,

    #[arg(long, value_name = "ADDRESS")]
    bcc: Vec<String>,

    /// The sender; without it smtp.from of the worker
    #[arg(long, value_name = "ADDRESS")]
    from: Option<String>,

    #[arg(long)]
    subject: Option<String>,

    /// The body as plain text; with --html both are in the e-mail
    #[arg(long)]
    text: Option<String>,

    #[arg(long)]
    html: Option<String>,

    /// A one-time password, mailed in words that are built in
    #[arg(long, value_name = "CODE")]
    otp: Option<String>,

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

    /// Takes one job a line, as it is, from the file; from stdin, where it is "-"
    #[arg(long, value_name = "NDJSON", conflicts_with_all = JOB_OPTIONS)]
    file: Option<PathBuf>,

    #[command(flatten)]
    configuration: ConfigurationArguments,
}

fn jobs_a_second(text: &str) -> Result<f64, String> {
    let rate = text.parse().ok().filter(|rate| (0.001..=1e9).contains(rate));
    rate.ok_or_else(|| "must be a number of jobs a second, from 0.001 on".into())
}

pub(super) fn run(arguments: Arguments) -> u8 {
    let source = jobs::Source::new(&arguments);
    let kafka = match config::load_kafka(&arguments.configuration.sources()) {
        Ok(kafka) => kafka,
        Err(problems) => return wrong_configuration(&problems),
    };
    delivery::deliver(&kafka, source, arguments.rate)
}
