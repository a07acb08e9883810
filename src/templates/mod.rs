//! Templates: subject, text and HTML in Jinja syntax, read from a folder, with `otp` built in.

use std::path::Path;
use std::sync::Arc;

use mailroom_actors::domain::failure::{Cause, Failure, Stage};
use parking_lot::RwLock;
use serde_json::value::RawValue;

/// The templates that hold now; a reload puts a whole new set in their place, or leaves them.
#[derive(Debug)]
pub struct TemplateStore {
    current: RwLock<Arc<Templates>>,
}

/// One set of templates, all compiled.
#[derive(Debug, Default)]
pub struct Templates {}

/// Which parts of a template are asked for: what the job gives itself need not be rendered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Wanted {
    pub subject: bool,
    pub text: bool,
    pub html: bool,
}

/// What a template made. None: not asked for, or the template has no such part.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Rendered {
    /// Trimmed.
    pub subject: Option<String>,
    pub text: Option<String>,
    pub html: Option<String>,
}

impl TemplateStore {
    /// The built-in templates alone.
    pub fn built_in() -> TemplateStore {
        TemplateStore { current: RwLock::new(Arc::default()) }
    }

    /// Those of the folder, and the built-in ones that it does not replace.
    ///
    /// # Errors
    /// All that is wrong in the folder, a line for each, with file and line.
    pub fn load(_dir: Option<&Path>) -> Result<TemplateStore, String> {
        Ok(TemplateStore::built_in())
    }

    /// The set of this moment.
    pub fn current(&self) -> Arc<Templates> {
        Arc::clone(&self.current.read())
    }
}

impl Templates {
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
        let _ = (name, variables, wanted, limit);
        Err(Failure::before_attempt(Stage::Render, Cause::Render, "no template yet"))
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
        let _ = (code, variables, wanted, limit);
        Err(Failure::before_attempt(Stage::Render, Cause::Render, "no template yet"))
    }
}
