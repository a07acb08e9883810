//! `mailroom check`: is anything wrong with the configuration or the templates; with `--online`, with Kafka or the
//! relay?

mod kafka;
mod report;
mod smtp;

use std::io;
use std::time::Duration;

use chrono::Utc;
use clap::Args;

use super::output::{self, Lines, failed, written};
use super::{ConfigurationArguments, WRONG_CONFIGURATION, duration, spinner, wrong_configuration};
use crate::config::{self, Config, Problems};
use crate::kafka::{self as cluster, StartProblem};
use crate::smtp::inspect as relay;
use crate::templates::Templates;
use report::{Line, Report};

#[derive(Args, Debug)]
#[command(
    after_help = "--online takes at most 90 s, or what --within says. Nothing is joined, made or sent.\n\n\
                  Exit codes: 0 all is well, warnings aside, 1 Kafka or the relay says no, 2 wrong usage, 78 wrong configuration \
                  or templates.\n\n\
                  Example:\n  mailroom check --config /etc/mailroom/config.toml\n  mailroom check --online\n  \
                  mailroom check --online --within 20s --json"
)]
pub(super) struct Arguments {
    /// Asks Kafka and the relay, too: brokers, topics, the group, rights; name, TLS, login
    #[arg(long)]
    online: bool,

    /// Gives up on what has not answered by then, such as 20s
    #[arg(long, value_name = "DURATION", value_parser = duration::read, default_value = "90s", requires = "online")]
    within: Duration,

    /// As a JSON object: a status and what was looked at
    #[arg(long)]
    json: bool,

    #[command(flatten)]
    configuration: ConfigurationArguments,
}

pub(super) fn run(arguments: Arguments) -> u8 {
    let Arguments { online, within, json, configuration } = arguments;
    let config = match config::load(&configuration.sources()) {
        Ok(config) => config,
        Err(problems) => return wrong(&problems, json),
    };
    let templates = match config.templates.dir.as_deref().map(Templates::read).transpose() {
        Ok(templates) => templates,
        // They were right a moment ago.
        Err(mistakes) => return misconfigured("templates.dir", mistakes.to_string(), json),
    };
    // What `run` would find out first of all.
    if let Err(problem) = cluster::properties::try_out(&config.kafka) {
        return misconfigured("kafka.properties", problem.to_string(), json);
    }
    let mut report = Report(offline(&config, templates.as_ref()));
    if online {
        match ask_everybody(&config, within) {
            Ok(lines) => report.0.extend(lines),
            Err(NotAsked::Misconfigured(text)) => return misconfigured("kafka.properties", text, json),
            Err(NotAsked::NotSetUp(error)) => {
                return failed(format_args!("the process can't be set up: {error}"));
            }
        }
    }
    if !online && !json {
        return tell_briefly(&report, templates.as_ref());
    }
    let shown = if json { report.in_json() } else { report.in_columns() };
    match written(Lines::stdout().write(shown)) {
        super::DONE => report.exit_code(),
        code => code,
    }
}

fn wrong(problems: &Problems, json: bool) -> u8 {
    let code = wrong_configuration(problems);
    if !json {
        return code;
    }
    let lines = problems.0.iter().map(|problem| {
        let name = if problem.key.is_empty() { "configuration" } else { problem.key.as_str() };
        failed_line(name, format!("{}: {}", problem.origin, problem.what))
    });
    in_json(lines.collect())
}

/// What the values by themselves do not tell.
fn misconfigured(name: &str, text: String, json: bool) -> u8 {
    output::tell(&text);
    if json { in_json(vec![failed_line(name, text)]) } else { WRONG_CONFIGURATION }
}

fn failed_line(name: &str, text: String) -> Line {
    Line::failed(name, text, "mend the configuration")
}

fn in_json(lines: Vec<Line>) -> u8 {
    match written(Lines::stdout().write(Report(lines).in_json())) {
        super::DONE => WRONG_CONFIGURATION,
        code => code,
    }
}

/// What is known without asking anybody.
fn offline(config: &Config, templates: Option<&Templates>) -> Vec<Line> {
    let mut lines = vec![Line::passed("configuration", "every key is right by itself and with the others")];
    for (key, text) in config.warnings() {
        lines.push(Line::warned(key, text, format!("set {key}")));
    }
    if let Some(templates) = templates {
        lines.push(Line::passed("templates.dir", format!("{} templates", templates.names().count())));
        for text in templates.warnings() {
            lines.push(Line::warned("templates.dir", text, "look at the folder"));
        }
    }
    lines
}

/// Warnings on stderr, and that all is well in one line.
fn tell_briefly(report: &Report, templates: Option<&Templates>) -> u8 {
    for line in &report.0 {
        if line.status == report::Status::Warned {
            output::tell(format_args!("warning: {}: {}", line.name, line.output));
        }
    }
    written(Lines::stdout().write(match templates {
        None => "configuration ok".to_owned(),
        Some(templates) => format!("configuration ok, {} templates", templates.names().count()),
    }))
}

enum NotAsked {
    Misconfigured(String),
    NotSetUp(io::Error),
}

/// Kafka and the relay at the same time, with something that moves at a terminal.
fn ask_everybody(config: &Config, within: Duration) -> Result<Vec<Line>, NotAsked> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let runtime = runtime.map_err(NotAsked::NotSetUp)?;
    let (cluster, relay) = runtime.block_on(spinner::beside("asking Kafka and the relay", async {
        let cluster = cluster::inspect::inspect(&config.kafka, within);
        tokio::join!(cluster, relay::inspect(&config.smtp, within))
    }));
    // A question that nobody answers any more ends with the process.
    runtime.shutdown_background();
    let mut lines = match cluster {
        Ok(seen) => kafka::lines(&config.kafka, &seen),
        Err(StartProblem::Misconfigured(text)) => return Err(NotAsked::Misconfigured(text)),
        Err(StartProblem::Away(text)) => vec![Line::failed("kafka.brokers", text, "try again")],
    };
    lines.extend(smtp::lines(config, &relay, Utc::now()));
    Ok(lines)
}
