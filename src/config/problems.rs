//! What is wrong with a configuration: every mistake at once, each with its key and where it came from.

use std::fmt;
use std::path::{Path, PathBuf};

/// Where a value came from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Origin {
    /// Nobody set it.
    Default,
    /// A line of the configuration file, counted from 1; none where the file as a whole is meant.
    File { path: PathBuf, line: Option<usize> },
    /// The environment variable of this name.
    Environment(String),
    /// `--set` on the command line.
    Flag,
}

impl Origin {
    /// The file as a whole.
    pub fn whole_file(path: &Path) -> Origin {
        Origin::File { path: path.to_owned(), line: None }
    }
}

impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Origin::Default => f.write_str("not set"),
            Origin::File { path, line: None } => write!(f, "file:{}", path.display()),
            Origin::File { path, line: Some(line) } => write!(f, "file:{}:{line}", path.display()),
            Origin::Environment(name) => write!(f, "env:{}", name.escape_debug()),
            Origin::Flag => f.write_str("flag:--set"),
        }
    }
}

/// Whether a mistake matters to a command that needs only some of the keys.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Scope {
    /// A source that can't be read, or a key that does not exist: a slip of the pen may hide behind it, so it
    /// matters to every command.
    Everything,
    /// The value of one key.
    Key,
}

/// One mistake. No value is ever repeated in it: it may be a secret in the wrong place.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Problem {
    /// The key as it was written; empty where a source as a whole is meant.
    pub key: String,
    pub origin: Origin,
    /// What is allowed, or what to do.
    pub what: String,
    pub scope: Scope,
}

impl fmt::Display for Problem {
    /// `smtp.port (file:config.toml:12): must be a whole number from 1 to 65535`
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.key.is_empty() {
            write!(f, "{}: {}", self.origin, self.what)
        } else {
            write!(f, "{} ({}): {}", self.key.escape_debug(), self.origin, self.what)
        }
    }
}

/// All mistakes of one configuration; at least one, when it is an error.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Problems(pub Vec<Problem>);

impl Problems {
    /// A mistake in the value of `key`.
    pub fn add(&mut self, key: &str, origin: Origin, what: impl Into<String>) {
        self.0.push(Problem { key: key.to_owned(), origin, what: what.into(), scope: Scope::Key });
    }

    /// A source that can't be read, or a key that does not exist.
    pub fn add_for_everything(&mut self, key: &str, origin: Origin, what: impl Into<String>) {
        self.0.push(Problem { key: key.to_owned(), origin, what: what.into(), scope: Scope::Everything });
    }

    /// Whether the value of `key` is among the mistakes already.
    pub fn names(&self, key: &str) -> bool {
        self.0.iter().any(|problem| problem.key == key)
    }
}

impl fmt::Display for Problems {
    /// One line each, no line end after the last.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, problem) in self.0.iter().enumerate() {
            if index > 0 {
                f.write_str("\n")?;
            }
            write!(f, "{problem}")?;
        }
        Ok(())
    }
}

impl std::error::Error for Problems {}
