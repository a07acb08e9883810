//! One set of templates: compiled together, rendered by name.

use std::collections::{BTreeMap, HashSet};
use std::fmt;
use std::path::Path;

use mailroom_actors::domain::failure::{Cause, Failure, Stage};
use minijinja::{Environment, Value, context};
use serde_json::value::RawValue;

use super::folder::{self, Folder, Part};
use super::mistake::{Mistake, Mistakes};
use super::{Rendered, Wanted, engine, otp, references, tokens, variables};

/// A reason lists so many names of templates.
const NAMES_IN_A_REASON: usize = 20;

/// One set of templates, all compiled.
pub struct Templates {
    environment: Environment<'static>,
    by_name: BTreeMap<String, Files>,
    otp_is_built_in: bool,
    warnings: Vec<String>,
}

/// The files of one template, by their names in the folder.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
struct Files {
    subject: Option<String>,
    text: Option<String>,
    html: Option<String>,
}

impl Default for Templates {
    /// The built-in ones alone.
    fn default() -> Templates {
        Templates::compile(Folder::default()).expect("the built-in templates are Jinja")
    }
}

impl fmt::Debug for Templates {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Templates").field("by_name", &self.by_name).finish_non_exhaustive()
    }
}

impl Templates {
    /// Those of the folder, and the built-in ones that it does not replace.
    ///
    /// # Errors
    /// All that is wrong in the folder, with file and line.
    pub fn read(dir: &Path) -> Result<Templates, Mistakes> {
        Templates::compile(folder::read(dir))
    }

    pub(super) fn compile(folder: Folder) -> Result<Templates, Mistakes> {
        let Folder { files, warnings, mut mistakes } = folder;
        let mut templates = Templates {
            environment: engine::new(),
            by_name: BTreeMap::new(),
            otp_is_built_in: false,
            warnings,
        };
        let mut broken = HashSet::new();
        for (file, source) in files {
            let (name, part) = folder::part_of(&file).expect("the folder takes no other files");
            let of_name = templates.by_name.entry(name.to_owned()).or_default();
            *of_name.part(part) = Some(file.clone());
            if let Some((line, what)) = tokens::excess(&source) {
                broken.insert(file.clone());
                mistakes.push(Mistake::in_file(&file, Some(line), what));
                continue;
            }
            if let Err(error) = templates.environment.add_template_owned(file.clone(), source) {
                // Before there are variables there is no value that its text could show.
                broken.insert(file.clone());
                let what = error.detail().map(|detail| format!(": {detail}")).unwrap_or_default();
                let what = what.replace(char::is_control, " ");
                mistakes.push(Mistake::in_file(&file, error.line(), format!("{}{what}", error.kind())));
            }
        }
        for (name, files) in &templates.by_name {
            if let Files { subject: Some(file), text: None, html: None } = files {
                let what = format!("is a subject without a body: {name}.txt or {name}.html is missing");
                mistakes.push(Mistake::in_file(file, None, what));
            }
        }
        if !templates.by_name.contains_key(otp::NAME) {
            templates.add_otp();
        }
        let (found, warnings) = references::check(&templates.environment, &broken);
        mistakes.extend(found);
        templates.warnings.extend(warnings);
        mistakes.sort_by(|a, b| (&a.file, a.line).cmp(&(&b.file, b.line)));
        if mistakes.is_empty() { Ok(templates) } else { Err(Mistakes(mistakes)) }
    }

    /// The names, in order.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        self.by_name.keys().map(String::as_str)
    }

    /// What works, and is seldom meant: one text each, with the file.
    pub fn warnings(&self) -> &[String] {
        &self.warnings
    }

    /// The files of the template `name`, in the order subject, text, HTML; none of a built-in one. None when there
    /// is no such template.
    pub fn files(&self, name: &str) -> Option<impl Iterator<Item = &str>> {
        let Files { subject, text, html } = self.by_name.get(name)?;
        let is_on_disk = name != otp::NAME || !self.otp_is_built_in;
        let files = [subject, text, html].into_iter().flatten().filter(move |_| is_on_disk);
        Some(files.map(String::as_str))
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
        self.render_files(name, variables::read(variables), wanted, limit).map_err(failure)
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
            None => Ok(context! { otp => code }),
            given => variables::read(given).map(|given| context! { otp => code, ..given }),
        };
        self.render_files(otp::NAME, variables, wanted, limit).map_err(failure)
    }

    fn render_files(
        &self,
        name: &str,
        variables: Result<Value, String>,
        wanted: Wanted,
        limit: usize,
    ) -> Result<Rendered, String> {
        let files = self.by_name.get(name).ok_or_else(|| self.unknown())?;
        let variables = variables?;
        let render = |is_wanted: bool, file: &Option<String>| {
            let file = file.as_deref().filter(|_| is_wanted);
            file.map(|file| engine::render(&self.environment, file, variables.clone(), limit)).transpose()
        };
        let subject = render(wanted.subject, &files.subject)?;
        Ok(Rendered {
            subject: subject.map(|subject| subject.trim().to_owned()),
            text: render(wanted.text, &files.text)?,
            html: render(wanted.html, &files.html)?,
        })
    }

    /// The name that was asked for is not repeated: it may be anything.
    fn unknown(&self) -> String {
        let names: Vec<_> = self.names().take(NAMES_IN_A_REASON).collect();
        let more = match self.by_name.len() - names.len() {
            0 => String::new(),
            more => format!(" and {more} more"),
        };
        format!("template: there is none of that name; there are: {}{more}", names.join(", "))
    }

    fn add_otp(&mut self) {
        let files = [("otp.subject.txt", otp::SUBJECT), ("otp.txt", otp::TEXT), ("otp.html", otp::HTML)];
        for (file, source) in files {
            self.environment.add_template(file, source).expect("the built-in template is Jinja");
        }
        let [subject, text, html] = files.map(|(file, _)| Some(file.to_owned()));
        self.by_name.insert(otp::NAME.to_owned(), Files { subject, text, html });
        self.otp_is_built_in = true;
    }
}

impl Files {
    fn part(&mut self, part: Part) -> &mut Option<String> {
        match part {
            Part::Subject => &mut self.subject,
            Part::Text => &mut self.text,
            Part::Html => &mut self.html,
        }
    }
}

fn failure(reason: String) -> Failure {
    Failure::before_attempt(Stage::Render, Cause::Render, reason)
}
