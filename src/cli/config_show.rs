//! `mailroom config show`: every effective value and where it came from, secrets masked.

use clap::{Args, Subcommand};
use serde_json::{Map, Number, Value, json};

use super::output::{Lines, written};
use super::{ConfigurationArguments, table, wrong_configuration};
use crate::config::{self, Shown, ShownValue};

pub(super) const EXAMPLE: &str = "Exit codes: 0 done, 1 stdout can't be written, 2 wrong usage, 78 wrong configuration.\n\nExample:\n  mailroom config show --origin\n  mailroom config show --json --config /etc/mailroom/config.toml";

#[derive(Debug, Subcommand)]
pub(super) enum Command {
    /// Shows every value that holds; secrets are masked
    #[command(after_help = EXAMPLE)]
    Show(Arguments),
}

#[derive(Args, Debug)]
pub(super) struct Arguments {
    /// Shows where each value came from: the default, a file with its line, the environment or --set
    #[arg(long)]
    origin: bool,

    /// As a JSON object: each key with its value and its origin
    #[arg(long)]
    json: bool,

    #[command(flatten)]
    configuration: ConfigurationArguments,
}

pub(super) fn run(Command::Show(arguments): Command) -> u8 {
    let rows = match config::show(&arguments.configuration.sources()) {
        Ok(rows) => rows,
        Err(problems) => return wrong_configuration(&problems),
    };
    let shown = if arguments.json { in_json(&rows) } else { in_columns(&rows, arguments.origin) };
    written(Lines::stdout().write(shown))
}

fn in_json(rows: &[Shown]) -> String {
    let keys = rows.iter().map(|row| {
        let value = json!({"value": value(&row.value), "origin": row.origin_name()});
        (row.key.clone(), value)
    });
    format!("{:#}", Value::Object(keys.collect::<Map<_, _>>()))
}

fn value(value: &ShownValue) -> Value {
    match value {
        ShownValue::Unset => Value::Null,
        ShownValue::Secret => json!("***"),
        ShownValue::Text(text) => json!(text),
        ShownValue::Flag(flag) => json!(flag),
        ShownValue::Number(text) => number(text).map_or_else(|| json!(text), Value::Number),
        ShownValue::List(items) => json!(items),
    }
}

fn number(text: &str) -> Option<Number> {
    let whole = text.parse::<u64>().ok().map(Number::from);
    whole.or_else(|| Number::from_f64(text.parse().ok()?))
}

fn in_columns(rows: &[Shown], with_origin: bool) -> String {
    if with_origin {
        let rows = rows.iter().map(|row| [row.key.clone(), words(&row.value), origin(row)]);
        table::lines(Some(["key", "value", "origin"]), rows)
    } else {
        table::lines(Some(["key", "value"]), rows.iter().map(|row| [row.key.clone(), words(&row.value)]))
    }
}

fn words(value: &ShownValue) -> String {
    match value {
        ShownValue::Unset => "(none)".into(),
        ShownValue::Secret => "***".into(),
        ShownValue::Text(text) | ShownValue::Number(text) => text.escape_debug().to_string(),
        ShownValue::Flag(flag) => flag.to_string(),
        ShownValue::List(items) if items.is_empty() => "(none)".into(),
        ShownValue::List(items) => items.join(", "),
    }
}

/// With the line, which a person wants to go to.
fn origin(row: &Shown) -> String {
    match row.origin {
        config::Origin::Default => row.origin_name(),
        _ => row.origin.to_string(),
    }
}
