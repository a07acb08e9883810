//! Templates: subject, text and HTML in Jinja syntax, read from a folder, with `otp` built in.

mod folder;
mod mistake;
mod set;
#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests;

use std::path::{Path, PathBuf};
use std::sync::Arc;

use parking_lot::RwLock;

pub use set::{Rendered, Templates, Wanted};

/// The templates that hold now; a reload puts a whole new set in their place, or leaves them.
#[derive(Debug)]
pub struct TemplateStore {
    /// `templates.dir`.
    folder: Option<PathBuf>,
    current: RwLock<Arc<Templates>>,
}

impl TemplateStore {
    /// The built-in templates alone.
    pub fn built_in() -> TemplateStore {
        TemplateStore { folder: None, current: RwLock::new(Arc::new(Templates::built_in())) }
    }

    /// Those of the folder, and the built-in ones that it does not replace.
    ///
    /// # Errors
    /// All that is wrong in the folder, a line for each, with file and line.
    pub fn load(folder: Option<&Path>) -> Result<TemplateStore, String> {
        let Some(folder) = folder else { return Ok(TemplateStore::built_in()) };
        let current = RwLock::new(Arc::new(Templates::load(folder)?));
        Ok(TemplateStore { folder: Some(folder.to_owned()), current })
    }

    /// Reads the folder anew: all of it holds from now on, or nothing of it. Returns how many templates there are; none
    /// where there is no folder to read.
    ///
    /// # Errors
    /// As [`TemplateStore::load`]; the templates stay what they were.
    pub fn reload(&self) -> Result<Option<usize>, String> {
        let Some(folder) = &self.folder else { return Ok(None) };
        let templates = Templates::load(folder)?;
        let count = templates.names().count();
        *self.current.write() = Arc::new(templates);
        Ok(Some(count))
    }

    /// The set of this moment.
    pub fn current(&self) -> Arc<Templates> {
        Arc::clone(&self.current.read())
    }
}
