//! `mailroom template`: which templates there are, and what they make of variables.

use std::io;
use std::path::PathBuf;

use clap::{ArgGroup, Args, Subcommand};
use serde_json::json;

use super::output::{self, Lines};
use super::variables::VariableArguments;
use super::{ConfigurationArguments, DONE, FAILED, wrong_configuration};
use crate::config::{self, Problems};
use crate::templates::{Mistakes, Rendered, Templates, Wanted};

pub(super) const EXAMPLE: &str = "Example:\n  mailroom template preview otp --var otp=493021\n  mailroom template preview order --dir templates --variables order.json";

#[derive(Debug, Subcommand)]
pub(super) enum Command {
    /// Lists the templates
    #[command(after_help = "Example:\n  mailroom template ls --dir templates")]
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
#[command(group = ArgGroup::new("part").args(["subject", "text", "html", "json"]))]
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
        Ok(templates) => templates,
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
    let templates = match arguments.folder.read() {
        Ok(templates) => templates,
        Err(exit_code) => return exit_code,
    };
    let is_whole = !(arguments.subject || arguments.text || arguments.html);
    let wanted = Wanted {
        subject: is_whole || arguments.subject,
        text: is_whole || arguments.text,
        html: is_whole || arguments.html,
    };
    let rendered = arguments.variables.read().and_then(|variables| {
        // What is too large for an e-mail is told by the worker, which knows its limit; the engine has one of its own.
        let rendered = templates.render(&arguments.name, variables.as_deref(), wanted, usize::MAX);
        rendered.map_err(|failure| failure.reason)
    });
    let Rendered { subject, text, html } = match rendered {
        Ok(rendered) => rendered,
        Err(reason) => return failed(reason),
    };
    if arguments.json {
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
    fn read(self) -> Result<Templates, u8> {
        let mut configuration = self.configuration;
        if let Some(dir) = self.dir {
            let Some(dir) = dir.to_str() else { return Err(failed("--dir: must be UTF-8")) };
            configuration.settings.push(format!("templates.dir={dir}"));
        }
        let told = |problems: Problems| wrong_configuration(&problems);
        let templates = config::load_templates(&configuration.sources()).map_err(told)?;
        let Some(dir) = templates.dir else { return Ok(Templates::default()) };
        // Wrong only if they have changed since.
        let templates = Templates::read(&dir).map_err(|mistakes: Mistakes| failed(mistakes))?;
        for text in templates.warnings() {
            output::tell(format_args!("warning: templates.dir: {text}"));
        }
        Ok(templates)
    }
}

fn failed(reason: impl std::fmt::Display) -> u8 {
    output::tell(reason);
    FAILED
}

fn written(result: io::Result<()>) -> u8 {
    match result {
        Ok(()) => DONE,
        Err(error) => failed(format_args!("stdout can't be written: {error}")),
    }
}
