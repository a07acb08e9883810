//! What is wrong in a folder of templates.

use std::fmt;

/// One mistake, for whoever writes the templates.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Mistake {
    /// Its name in the folder; none where the folder itself is meant.
    pub file: Option<String>,
    /// From 1.
    pub line: Option<usize>,
    pub what: String,
}

impl Mistake {
    pub(super) fn in_folder(what: impl Into<String>) -> Mistake {
        Mistake { file: None, line: None, what: what.into() }
    }

    pub(super) fn in_file(file: &str, line: Option<usize>, what: impl Into<String>) -> Mistake {
        Mistake { file: Some(file.to_owned()), line, what: what.into() }
    }
}

impl fmt::Display for Mistake {
    /// `order.html:3: there is no filter uper`
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(file) = &self.file {
            write!(f, "{}", file.escape_debug())?;
            if let Some(line) = self.line {
                write!(f, ":{line}")?;
            }
            f.write_str(": ")?;
        }
        f.write_str(&self.what)
    }
}

/// All mistakes of one folder; at least one, when it is an error.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Mistakes(pub Vec<Mistake>);

impl fmt::Display for Mistakes {
    /// One line each, no line end after the last.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, mistake) in self.0.iter().enumerate() {
            if index > 0 {
                f.write_str("\n")?;
            }
            write!(f, "{mistake}")?;
        }
        Ok(())
    }
}

impl std::error::Error for Mistakes {}
