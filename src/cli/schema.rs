//! `mailroom schema`: the JSON Schema of what lies on the topics.

use clap::{Args, ValueEnum};

use super::output::{Lines, written};
use crate::schema;

#[derive(Args, Debug)]
#[command(
    after_help = "Exit codes: 0 done, 1 stdout can't be written, 2 wrong usage.\n\nExample:\n  mailroom schema job > job.schema.json"
)]
pub(super) struct Arguments {
    /// Of which records
    #[arg(value_enum)]
    of: Record,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
enum Record {
    /// What producers put on kafka.topic
    Job,
    /// What the worker puts on kafka.dlq_topic
    DeadLetter,
}

pub(super) fn run(arguments: &Arguments) -> u8 {
    let schema = match arguments.of {
        Record::Job => schema::job(),
        Record::DeadLetter => schema::dead_letter(),
    };
    written(Lines::stdout().write(schema.trim_end()))
}
