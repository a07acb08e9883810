//! `mailroom check`: is anything wrong with the configuration or the templates; with `--online`, with Kafka or the
//! relay?

mod kafka;
mod report;
mod smtp;

use std::io;
use std::time::Duration;

use chrono::Utc;
use clap::Args;
use indicatif::ProgressBar;
use tokio::time::timeout;

use super::output::{self, Lines, failed, written};
use super::{ConfigurationArguments, WRONG_CONFIGURATION, wrong_configuration};
use crate::config::{self, Config, Problems};
use crate::kafka::{self as cluster, StartProblem};
use crate::smtp::inspect as relay;
use crate::templates::Templates;
use report::{Line, Report};

/// Each step has a limit of its own; this one is for what has none.
const ALL_STEPS: Duration = Duration::from_secs(180);
const BETWEEN_TICKS: Duration = Duration::from_millis(100);

#[derive(Args, Debug)]
#[command(
    after_help = "With --online the exit code is 78 for the configuration and the templates, 1 for anything that Kafka or\n\
                  the relay says, and 0 with warnings only. Nothing is joined, made or sent.\n\n\
                  Example:\n  mailroom check --config /etc/mailroom/config.toml\n  mailroom check --online"
)]
pub(super) struct Arguments {
    /// Asks Kafka and the relay, too: brokers, topics, the group, rights; name, TLS, login
    #[arg(long)]
    online: bool,

    /// As a JSON object: a status and what was looked at
    #[arg(long)]
    json: bool,

    #[command(flatten)]
    configuration: ConfigurationArguments,
}

pub(super) fn run(arguments: Arguments) -> u8 {
    let Arguments { online, json, configuration } = arguments;
    let config = match config::load(&configuration.sources()) {
        Ok(config) => config,
        Err(problems) => return wrong(&problems, json),
    };
    let templates = match config.templates.dir.as_deref().map(Templates::read).transpose() {
        Ok(templates) => templates,
        // They were right a moment ago.
        Err(mistakes) => {
            output::tell(mistakes);
            return WRONG_CONFIGURATION;
        }
    };
    // What `run` would find out first of all.
    if let Err(problem) = cluster::properties::check(&config.kafka) {
        output::tell(problem);
        return WRONG_CONFIGURATION;
    }
    let mut report = Report(offline(&config, templates.as_ref()));
    if online {
        match ask_everybody(&config) {
            Ok(lines) => report.0.extend(lines),
            Err(NotAsked::Misconfigured(text)) => {
                output::tell(text);
                return WRONG_CONFIGURATION;
            }
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
        Line::failed(name, format!("{}: {}", problem.origin, problem.what), "mend the configuration")
    });
    match written(Lines::stdout().write(Report(lines.collect()).in_json())) {
        super::DONE => code,
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
fn ask_everybody(config: &Config) -> Result<Vec<Line>, NotAsked> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let runtime = runtime.map_err(NotAsked::NotSetUp)?;
    // Drawn on stderr, and only where that is a terminal.
    let spinner = ProgressBar::new_spinner().with_message("asking Kafka and the relay");
    spinner.enable_steady_tick(BETWEEN_TICKS);
    let (cluster, relay) = runtime.block_on(async {
        let cluster = timeout(ALL_STEPS, cluster::inspect::inspect(&config.kafka));
        tokio::join!(cluster, timeout(ALL_STEPS, relay::inspect(&config.smtp)))
    });
    spinner.finish_and_clear();
    // A question that nobody answers any more ends with the process.
    runtime.shutdown_background();
    let late = |name: &str| Line::failed(name, "no answer in time", "try again");
    let mut lines = match cluster {
        Ok(Ok(seen)) => kafka::lines(&config.kafka, &seen),
        Ok(Err(StartProblem::Misconfigured(text))) => return Err(NotAsked::Misconfigured(text)),
        Ok(Err(StartProblem::Away(text))) => vec![Line::failed("kafka.brokers", text, "try again")],
        Err(_) => vec![late("kafka.brokers")],
    };
    lines.extend(match relay {
        Ok(seen) => smtp::lines(config, &seen, Utc::now()),
        Err(_) => vec![late("smtp.connect")],
    });
    Ok(lines)
}
