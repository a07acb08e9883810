//! Templates: subject, text and HTML in Jinja syntax, read from a folder, with `otp` built in.

mod engine;
mod folder;
mod mistake;
mod otp;
mod reason;
mod references;
mod set;
#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests;
mod tokens;
mod variables;

use std::path::{Path, PathBuf};
use std::sync::Arc;

use parking_lot::RwLock;

pub use mistake::{Mistake, Mistakes};
pub use set::Templates;

/// The templates that hold now; a reload puts a whole new set in their place, or leaves them.
#[derive(Debug)]
pub struct TemplateStore {
    dir: Option<PathBuf>,
    current: RwLock<Arc<Templates>>,
}

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
        TemplateStore { dir: None, current: RwLock::new(Arc::default()) }
    }

    /// Those of the folder, and the built-in ones that it does not replace.
    ///
    /// # Errors
    /// All that is wrong in the folder, with file and line.
    pub fn load(dir: Option<&Path>) -> Result<TemplateStore, Mistakes> {
        let templates = dir.map(Templates::read).transpose()?.unwrap_or_default();
        Ok(TemplateStore { dir: dir.map(Path::to_owned), current: RwLock::new(Arc::new(templates)) })
    }

    /// Reads the folder anew; the new set holds from the next job on. None where there is no folder. Waits for the
    /// disk: not for an actor's thread. Whoever reads meanwhile waits for nothing.
    ///
    /// # Errors
    /// All that is wrong in the folder; the old set stays.
    pub fn reload(&self) -> Result<Option<Arc<Templates>>, Mistakes> {
        let Some(dir) = &self.dir else { return Ok(None) };
        let templates = Arc::new(Templates::read(dir)?);
        let old = std::mem::replace(&mut *self.current.write(), Arc::clone(&templates));
        // Freed here, not under the lock.
        drop(old);
        Ok(Some(templates))
    }

    /// The set of this moment.
    pub fn current(&self) -> Arc<Templates> {
        Arc::clone(&self.current.read())
    }
}
