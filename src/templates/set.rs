//! One set of templates, all compiled: rendered as often as needed, never changed.

use std::collections::BTreeMap;
use std::io;
use std::path::Path;

use mailroom_actors::domain::failure::{Cause, Failure, Stage};
use minijinja::syntax::SyntaxConfig;
use minijinja::{Environment, UndefinedBehavior, Value, context};
use serde_json::value::RawValue;

use super::folder::{self, File, Part};
use super::mistake;

/// Steps that one rendering may take: a loop over all that a job can hold, and not much more.
const FUEL: u64 = 1_000_000;

const OTP: &str = "otp";
const OTP_FILES: [(Part, &str, &str); 3] = [
    (Part::Subject, "otp.subject.txt", "Your verification code"),
    // No digits beside the code, so that a reader, or a program that looks for it, finds only the code.
    (Part::Text, "otp.txt", include_str!("otp.txt")),
    (Part::Html, "otp.html", include_str!("otp.html")),
];

/// See the module's text.
#[derive(Debug)]
pub struct Templates {
    environment: Environment<'static>,
    parts: BTreeMap<String, Files>,
    warnings: Vec<String>,
}

/// The files of one template, by the names that the environment knows them by.
#[derive(Debug, Default)]
struct Files {
    subject: Option<String>,
    text: Option<String>,
    html: Option<String>,
}

/// Which parts of a template are asked for: what the job gives itself need not be rendered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Wanted {
    pub subject: bool,
    pub text: bool,
    pub html: bool,
}

impl Wanted {
    pub const ALL: Wanted = Wanted { subject: true, text: true, html: true };
}

/// What a template made. None: not asked for, or the template has no such part.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Rendered {
    /// Trimmed.
    pub subject: Option<String>,
    pub text: Option<String>,
    pub html: Option<String>,
}

impl Templates {
    /// `otp` alone.
    pub fn built_in() -> Templates {
        Templates::of(Vec::new(), Vec::new()).expect("the built-in template has no mistake")
    }

    /// Those of the folder, and the built-in ones that it does not replace.
    ///
    /// # Errors
    /// All that is wrong, a line for each, with file and line.
    pub fn load(path: &Path) -> Result<Templates, String> {
        let folder = folder::read(path);
        let compiled = Templates::of(folder.files, folder.warnings);
        match compiled {
            Ok(templates) if folder.mistakes.is_empty() => Ok(templates),
            Ok(_) => Err(folder.mistakes.join("\n")),
            Err(mistakes) => Err(folder.mistakes.into_iter().chain(mistakes).collect::<Vec<_>>().join("\n")),
        }
    }

    fn of(mut files: Vec<File>, warnings: Vec<String>) -> Result<Templates, Vec<String>> {
        if files.iter().all(|file| file.template != OTP) {
            let built_in = OTP_FILES.map(|(part, name, source)| File {
                template: OTP.into(),
                part,
                name: name.into(),
                source: source.into(),
            });
            files.extend(built_in);
        }
        let mut templates = Templates { environment: environment(), parts: BTreeMap::new(), warnings };
        let mut mistakes = Vec::new();
        for file in files {
            let File { template, part, name, source } = file;
            if let Err(error) = templates.environment.add_template_owned(name.clone(), source) {
                mistakes.push(mistake::of_source(&error, &name));
            }
            let parts = templates.parts.entry(template).or_default();
            match part {
                Part::Subject => parts.subject = Some(name),
                Part::Text => parts.text = Some(name),
                Part::Html => parts.html = Some(name),
            }
        }
        for (template, files) in &templates.parts {
            if files.text.is_none() && files.html.is_none() {
                mistakes.push(format!(
                    "{template}.subject.txt: there is no body beside it: {template}.txt, {template}.html, or both"
                ));
            }
        }
        mistakes.extend(mistake::found_without_variables(&templates.environment));
        if mistakes.is_empty() { Ok(templates) } else { Err(mistakes) }
    }

    /// In the order of the alphabet.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        self.parts.keys().map(String::as_str)
    }

    /// What in the folder was not understood and does no harm, a line each.
    pub fn warnings(&self) -> &[String] {
        &self.warnings
    }

    /// Renders the wanted parts of the template `name` with these variables (a JSON object; none: an empty one),
    /// each at most `limit` bytes.
    ///
    /// # Errors
    /// Stage and cause `render`: unknown template, missing variable, template error, too large. The reason names file
    /// and line, and never a variable's value.
    pub fn render(
        &self,
        name: &str,
        variables: Option<&RawValue>,
        wanted: Wanted,
        limit: usize,
    ) -> Result<Rendered, Failure> {
        self.render_with(name, &read(variables)?, wanted, limit)
    }

    /// As [`Templates::render`] of the template `otp`, with `otp` set to `code` over the variables.
    ///
    /// # Errors
    /// As [`Templates::render`].
    pub fn render_otp(
        &self,
        code: &str,
        variables: Option<&RawValue>,
        wanted: Wanted,
        limit: usize,
    ) -> Result<Rendered, Failure> {
        let variables = match variables {
            None => context! { otp => code },
            Some(_) => context! { otp => code, ..read(variables)? },
        };
        self.render_with(OTP, &variables, wanted, limit)
    }

    fn render_with(
        &self,
        name: &str,
        variables: &Value,
        wanted: Wanted,
        limit: usize,
    ) -> Result<Rendered, Failure> {
        let files = self.parts.get(name).ok_or_else(|| {
            // What is no name may be anything, and is not repeated.
            refused(match folder::is_name(name) {
                true => format!("template: there is none called {name}"),
                false => "template: is not the name of one (letters, digits, \"_\" and \"-\")".into(),
            })
        })?;
        let part = |file: &Option<String>, is_wanted: bool| {
            let file = file.as_deref().filter(|_| is_wanted);
            file.map(|file| self.render_file(name, file, variables, limit)).transpose()
        };
        Ok(Rendered {
            subject: part(&files.subject, wanted.subject)?.map(|subject| subject.trim().to_owned()),
            text: part(&files.text, wanted.text)?,
            html: part(&files.html, wanted.html)?,
        })
    }

    fn render_file(
        &self,
        name: &str,
        file: &str,
        variables: &Value,
        limit: usize,
    ) -> Result<String, Failure> {
        let template = self.environment.get_template(file).expect("every part is in the environment");
        let mut page = Page { text: Vec::new(), limit };
        match template.render_captured_to(variables.clone(), &mut page) {
            Ok(_) => Ok(String::from_utf8(page.text).expect("templates and variables are UTF-8")),
            Err(error) => {
                let what = mistake::of_rendering(&self.environment, &error, variables, limit);
                Err(refused(format!("template {name}: {what}")))
            }
        }
    }
}

/// What is rendered, up to a limit.
struct Page {
    text: Vec<u8>,
    limit: usize,
}

impl io::Write for Page {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        if self.text.len() + bytes.len() > self.limit {
            return Err(io::ErrorKind::FileTooLarge.into());
        }
        self.text.extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

fn environment() -> Environment<'static> {
    let mut environment = Environment::new();
    environment.set_undefined_behavior(UndefinedBehavior::Strict);
    let mut syntax = SyntaxConfig::builder();
    environment
        .set_syntax(syntax.keep_trailing_newline(true).build().expect("the delimiters are the usual ones"));
    environment.set_fuel(Some(FUEL));
    environment
}

fn read(variables: Option<&RawValue>) -> Result<Value, Failure> {
    let Some(variables) = variables else { return Ok(context! {}) };
    // It is known to be JSON: what is left is its depth.
    serde_json::from_str(variables.get())
        .map_err(|_| refused("variables: can't be read by the template engine".into()))
}

fn refused(reason: String) -> Failure {
    Failure::before_attempt(Stage::Render, Cause::Render, reason)
}
