//! The three sources of settings, laid over each other: a file, then the environment, then `--set`.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::io;
use std::path::{Path, PathBuf};

use super::bounded;
use super::file;
use super::keys::{self, PROPERTIES};
use super::kind::Raw;
use super::problems::{Origin, Problems};

/// A configuration has a few KiB.
const MAX_FILE_BYTES: u64 = 1 << 20;
/// What every variable of ours begins with; `__` also stands between section and key.
const PREFIX: &str = "MAILROOM__";
/// The file that is read when none is named, if it is there.
const DEFAULT_FILE: &str = "config.toml";

/// Where settings are looked for. None at all: the defaults.
#[derive(Clone, Default)]
pub struct Sources {
    /// A file that must be there.
    pub file: Option<PathBuf>,
    /// A file that is read if it is there, and `file` is none.
    pub file_if_there: Option<PathBuf>,
    /// Variables that do not begin with `MAILROOM__` are passed over.
    pub environment: Vec<(OsString, OsString)>,
    /// `SECTION.KEY=VALUE`; of one key the last counts.
    pub settings: Vec<String>,
}

impl Sources {
    /// `--config` and `--set` as they were given, `./config.toml`, and the environment of this process.
    pub fn of_process(file: Option<PathBuf>, settings: Vec<String>) -> Sources {
        Sources {
            file,
            file_if_there: Some(PathBuf::from(DEFAULT_FILE)),
            environment: std::env::vars_os().collect(),
            settings,
        }
    }
}

/// One setting as it was given.
#[derive(Clone)]
pub(super) struct Given {
    pub raw: Raw,
    pub origin: Origin,
}

/// What was set, by key; what several sources set, by the last of them.
#[derive(Default)]
pub(super) struct Layers {
    pub given: BTreeMap<String, Given>,
    /// The file can't be read as a whole: nobody knows what it would have set.
    pub file_is_lost: bool,
}

impl Layers {
    /// Reads all sources. Only keys that exist are in the result: all others are among the problems.
    pub fn read(sources: &Sources, problems: &mut Problems) -> Layers {
        let mut layers = Layers::default();
        layers.read_file(sources, problems);
        layers.read_environment(&sources.environment, problems);
        for setting in &sources.settings {
            match setting.split_once('=') {
                Some((key, value)) => {
                    let given = Given { raw: Raw::untyped(value), origin: Origin::Flag };
                    layers.lay(key.trim().to_owned(), given, problems);
                }
                // It is not repeated: it may be a secret whose key was forgotten.
                None => problems.add_for_everything("", Origin::Flag, "must be SECTION.KEY=VALUE"),
            }
        }
        layers
    }

    fn read_file(&mut self, sources: &Sources, problems: &mut Problems) {
        let (path, must_be_there) = match (&sources.file, &sources.file_if_there) {
            (Some(path), _) => (path, true),
            (None, Some(path)) => (path, false),
            (None, None) => return,
        };
        let text = match bounded::read(path, MAX_FILE_BYTES).and_then(in_utf8) {
            Ok(text) => text,
            Err(error) if error.kind() == io::ErrorKind::NotFound && !must_be_there => return,
            Err(error) => {
                problems.add_for_everything("", Origin::whole_file(path), format!("can't be read: {error}"));
                self.file_is_lost = true;
                return;
            }
        };
        self.lay_file(path, &text, problems);
    }

    fn lay_file(&mut self, path: &Path, text: &str, problems: &mut Problems) {
        let Some(entries) = file::entries(path, text, problems) else {
            self.file_is_lost = true;
            return;
        };
        for entry in entries {
            let origin = Origin::File { path: path.to_owned(), line: Some(entry.line) };
            // TOML takes `"a.b"` and `a.b` for two keys; they are one here.
            if self.given.contains_key(&entry.key) {
                problems.add(&entry.key, origin, "is set twice in this file");
            } else if !entry.is_empty_table || !keys::is_section(&entry.key) {
                self.lay(entry.key, Given { raw: entry.raw, origin }, problems);
            }
        }
    }

    fn read_environment(&mut self, environment: &[(OsString, OsString)], problems: &mut Problems) {
        let mut seen: BTreeMap<String, String> = BTreeMap::new();
        for (name, value) in environment {
            let name = name.to_string_lossy();
            let Some(rest) = name.strip_prefix(PREFIX) else { continue };
            let origin = Origin::Environment(name.to_string());
            let key = key_of_variable(rest);
            let Some(value) = value.to_str() else {
                problems.add(&key, origin, "must be UTF-8");
                continue;
            };
            if let Some(other) = seen.insert(key.clone(), name.to_string()) {
                problems.add(&key, origin, format!("is set by env:{} too", other.escape_debug()));
                continue;
            }
            self.lay(key, Given { raw: Raw::untyped(value), origin }, problems);
        }
    }

    fn lay(&mut self, key: String, given: Given, problems: &mut Problems) {
        let is_property = key.strip_prefix(PROPERTIES).is_some_and(|name| !name.is_empty());
        if is_property || keys::find(&key).is_some() || keys::find_by_file(&key).is_some() {
            self.given.insert(key, given);
        } else {
            refuse(&key, given.origin, problems);
        }
    }
}

fn in_utf8(bytes: Vec<u8>) -> io::Result<String> {
    String::from_utf8(bytes).map_err(|_| io::Error::new(io::ErrorKind::InvalidData, "it is not UTF-8"))
}

/// `SMTP__TIMEOUTS__FINAL_DOT` is `smtp.timeouts.final_dot`; a property's own name stays as it is.
fn key_of_variable(rest: &str) -> String {
    let sections: Vec<&str> = rest.splitn(3, "__").collect();
    match sections[..] {
        [kafka, properties, name]
            if kafka.eq_ignore_ascii_case("kafka") && properties.eq_ignore_ascii_case("properties") =>
        {
            format!("{PROPERTIES}{name}")
        }
        _ => rest.to_ascii_lowercase().replace("__", "."),
    }
}

fn refuse(key: &str, origin: Origin, problems: &mut Problems) {
    let what = if let Some(example) = keys::example_in(key) {
        format!("is a section: set its keys, such as {example}")
    } else {
        match (keys::nearest(key), &origin) {
            (Some(nearest), Origin::Environment(_)) => {
                let variable = nearest.to_ascii_uppercase().replace('.', "__");
                format!("there is no such key; did you mean {PREFIX}{variable}?")
            }
            (Some(nearest), _) => format!("there is no such key; did you mean {nearest}?"),
            (None, _) => "there is no such key".to_owned(),
        }
    };
    problems.add_for_everything(key, origin, what);
}
