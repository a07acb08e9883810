//! `mailroom template`: which templates there are, and what they make of variables.

use std::io;
use std::path::PathBuf;
use std::sync::Arc;

use clap::{ArgGroup, Args, Subcommand};
use mailroom_actors::domain::job::Record;
use mailroom_actors::ports::{BodyType, Composer};
use serde::Serialize;
use serde_json::json;
use serde_json::value::RawValue;

use super::output::{self, Lines, failed, written};
use super::variables::VariableArguments;
use super::{ConfigurationArguments, DONE, wrong_configuration};
use crate::compose::MailComposer;
use crate::config::{self, Problems};
use crate::templates::{Rendered, TemplateStore, Wanted};

/// The limit on an e-mail that is only looked at: no broker takes more in one record.
const MESSAGE_BYTES: usize = 1 << 30;

pub(super) const EXAMPLE: &str = "Exit codes: 0 done, 1 it can't be rendered, 2 wrong usage, 78 wrong configuration or templates.\n\nExample:\n  mailroom template preview otp --var otp=493021\n  mailroom template preview order --dir templates --variables order.json";

#[derive(Debug, Subcommand)]
pub(super) enum Command {
    /// Lists the templates
    #[command(
        after_help = "Exit codes: 0 done, 1 stdout can't be written, 2 wrong usage, 78 wrong configuration or templates.\n\nExample:\n  mailroom template ls --dir templates"
    )]
    Ls(List),
    /// Prints what a template makes of variables: the subject, the text and the HTML
    #[command(after_help = EXAMPLE)]
    Preview(Box<Preview>),
}

/// Where the templates are.
#[derive(Args, Debug)]
struct FolderArguments {
    /// The folder with the templates, over templates.dir
    #[arg(long, value_name = "FOLDER")]
    dir: Option<PathBuf>,

    #[command(flatten)]
    configuration: ConfigurationArguments,
}

#[derive(Args, Debug)]
pub(super) struct List {
    #[command(flatten)]
    folder: FolderArguments,

    /// As a JSON array
    #[arg(long)]
    json: bool,
}

#[derive(Args, Debug)]
#[command(group = ArgGroup::new("part").args(["subject", "text", "html", "json", "eml"]))]
pub(super) struct Preview {
    /// The template
    name: String,

    #[command(flatten)]
    variables: VariableArguments,

    /// The subject alone
    #[arg(long)]
    subject: bool,

    /// The text alone
    #[arg(long)]
    text: bool,

    /// The HTML alone
    #[arg(long)]
    html: bool,

    /// As a JSON object with subject, text and html
    #[arg(long)]
    json: bool,

    /// The whole e-mail, to be opened with a mail program
    #[arg(long)]
    eml: bool,

    /// The sender in that e-mail
    #[arg(long, value_name = "ADDRESS", default_value = "sender@example.com")]
    from: String,

    /// Who gets that e-mail
    #[arg(long, value_name = "ADDRESS", default_value = "recipient@example.com")]
    to: String,

    #[command(flatten)]
    folder: FolderArguments,
}

pub(super) fn run(command: Command) -> u8 {
    match command {
        Command::Ls(arguments) => list(arguments),
        Command::Preview(arguments) => preview(*arguments),
    }
}

fn list(arguments: List) -> u8 {
    let templates = match arguments.folder.read() {
        Ok(templates) => templates.current(),
        Err(exit_code) => return exit_code,
    };
    let rows = templates.names().map(|name| {
        let files: Vec<_> = templates.files(name).into_iter().flatten().collect();
        (name, files)
    });
    let mut lines = Lines::stdout();
    if arguments.json {
        let rows: Vec<_> = rows.map(|(name, files)| json!({"name": name, "files": files})).collect();
        return written(lines.write(json!(rows)));
    }
    for (name, files) in rows {
        let files = if files.is_empty() { "(built in)".to_owned() } else { files.join(" ") };
        if let Err(error) = lines.write(format_args!("{name}: {files}")) {
            return written(Err(error));
        }
    }
    DONE
}

fn preview(arguments: Preview) -> u8 {
    let Preview { name, variables, subject, text, html, json, eml, from, to, folder } = arguments;
    let templates = match folder.read() {
        Ok(templates) => templates,
        Err(exit_code) => return exit_code,
    };
    let variables = match variables.read() {
        Ok(variables) => variables,
        Err(problem) => return failed(problem),
    };
    if eml {
        let job = Job { to: &to, template: &name, variables: variables.as_deref() };
        return match compose(&job, &from, templates) {
            Ok(data) => written(Lines::stdout().write_bytes(&data)),
            Err(reason) => failed(reason),
        };
    }
    let is_whole = !(subject || text || html);
    let wanted = Wanted { subject: is_whole || subject, text: is_whole || text, html: is_whole || html };
    // What is too large for an e-mail is told by the worker, which knows its limit; the engine has one of its own.
    let rendered = templates.current().render(&name, variables.as_deref(), wanted, usize::MAX);
    let Rendered { subject, text, html } = match rendered {
        Ok(rendered) => rendered,
        Err(failure) => return failed(failure.reason),
    };
    if json {
        return written(Lines::stdout().write(json!({"subject": subject, "text": text, "html": html})));
    }
    if is_whole {
        return written(print_all(subject.as_deref(), text.as_deref(), html.as_deref()));
    }
    match subject.or(text).or(html) {
        Some(part) => written(Lines::stdout().write(without_last_line_end(&part))),
        None => failed("the template has no such part"),
    }
}

/// A job that asks for a template, and nothing else.
#[derive(Serialize)]
struct Job<'a> {
    to: &'a str,
    template: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    variables: Option<&'a RawValue>,
}

/// The e-mail that the worker would send for the job, to a relay without 8BITMIME.
fn compose(job: &Job<'_>, from: &str, templates: TemplateStore) -> Result<Vec<u8>, String> {
    let rules = config::Email::default();
    // It calls its sender by the key of the configuration.
    let wrong = |text: String| text.replace("smtp.from", "--from");
    let composer = MailComposer::new(from, MESSAGE_BYTES, rules, Arc::new(templates)).map_err(wrong)?;
    let record = Record {
        topic: "preview".into(),
        partition: 0,
        offset: 0,
        timestamp_ms: None,
        key: None,
        value: Some(serde_json::to_vec(job).expect("a job is JSON").into()),
        headers: Vec::new(),
    };
    let email = composer.compose(&record, BodyType::SevenBit).map_err(|failure| failure.reason)?;
    Ok(email.data)
}

fn print_all(subject: Option<&str>, text: Option<&str>, html: Option<&str>) -> io::Result<()> {
    let mut lines = Lines::stdout();
    lines.write(format_args!("Subject: {}", subject.unwrap_or("(none: the job must give one)")))?;
    for (name, body) in [("text", text), ("HTML", html)] {
        if let Some(body) = body {
            lines.write(format_args!("\n----- {name} -----"))?;
            lines.write(without_last_line_end(body))?;
        }
    }
    Ok(())
}

/// Each part ends with one line end, its own or ours.
fn without_last_line_end(body: &str) -> &str {
    body.strip_suffix('\n').unwrap_or(body)
}

impl FolderArguments {
    /// The templates; an exit code, all told, when anything is wrong with them or their configuration.
    fn read(self) -> Result<TemplateStore, u8> {
        let mut configuration = self.configuration;
        if let Some(dir) = self.dir {
            let Some(dir) = dir.to_str() else { return Err(failed("--dir: must be UTF-8")) };
            configuration.settings.push(format!("templates.dir={dir}"));
        }
        let told = |problems: Problems| wrong_configuration(&problems);
        let templates = config::load_templates(&configuration.sources()).map_err(told)?;
        // Wrong only if they have changed since.
        let templates = TemplateStore::load(templates.dir.as_deref()).map_err(failed)?;
        for text in templates.current().warnings() {
            output::tell(format_args!("warning: templates.dir: {text}"));
        }
        Ok(templates)
    }
}
