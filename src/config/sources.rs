//! Where settings come from: a file, then the environment, then `--set`; later ones win.

use std::collections::BTreeMap;
use std::fmt;
use std::path::{Path, PathBuf};

use toml::Value;

/// Where one setting was found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Origin {
    File(PathBuf),
    Env(String),
    Flag,
}

impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Origin::File(path) => write!(f, "file:{}", path.display()),
            Origin::Env(name) => write!(f, "env:{name}"),
            Origin::Flag => f.write_str("flag:--set"),
        }
    }
}

/// One setting as it was given. From the environment and `--set` it is always a string.
#[derive(Clone, Debug)]
pub struct Setting {
    pub value: Value,
    pub origin: Origin,
}

/// What is wrong with the configuration: every problem, one line each.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Problems(pub Vec<String>);

impl fmt::Display for Problems {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0.join("\n"))
    }
}

/// The three layers.
#[derive(Clone, Debug, Default)]
pub struct Sources {
    /// `--config`; without it `./config.toml` is read when it is there.
    pub file: Option<PathBuf>,
    /// The process's environment, or a part of it.
    pub environment: Vec<(String, String)>,
    /// `--set SECTION.KEY=VALUE`, in order.
    pub set: Vec<String>,
}

const PREFIX: &str = "MAILROOM__";
const PROPERTIES: &str = "KAFKA__PROPERTIES__";

impl Sources {
    /// The command line's: this file, the whole environment, these `--set`s.
    pub fn of_process(file: Option<PathBuf>, set: Vec<String>) -> Sources {
        let environment = std::env::vars_os()
            .filter_map(|(name, value)| Some((name.into_string().ok()?, value.into_string().ok()?)))
            .collect();
        Sources { file, environment, set }
    }

    /// All settings by their dotted key, the strongest layer's where several have one.
    pub(super) fn gather(&self, problems: &mut Problems) -> BTreeMap<String, Setting> {
        let mut settings = BTreeMap::new();
        self.read_file(&mut settings, problems);
        for (name, value) in &self.environment {
            let Some(rest) = name.strip_prefix(PREFIX) else { continue };
            let key = match rest.strip_prefix(PROPERTIES) {
                Some(property) => format!("kafka.properties.{property}"),
                None => rest.to_ascii_lowercase().replace("__", "."),
            };
            let origin = Origin::Env(name.clone());
            settings.insert(key, Setting { value: Value::String(value.clone()), origin });
        }
        for given in &self.set {
            match given.split_once('=') {
                Some((key, value)) => {
                    let setting = Setting { value: Value::String(value.to_owned()), origin: Origin::Flag };
                    settings.insert(key.trim().to_owned(), setting);
                }
                None => problems.0.push(format!("--set {given}: must be SECTION.KEY=VALUE")),
            }
        }
        settings
    }

    fn read_file(&self, settings: &mut BTreeMap<String, Setting>, problems: &mut Problems) {
        let default = Path::new("config.toml");
        let path = match &self.file {
            Some(path) => path.as_path(),
            None if default.exists() => default,
            None => return,
        };
        let text = match std::fs::read_to_string(path) {
            Ok(text) => text,
            Err(error) => {
                problems.0.push(format!("--config {}: {error}", path.display()));
                return;
            }
        };
        match text.parse::<toml::Table>() {
            Ok(table) => flatten("", table, &Origin::File(path.to_owned()), settings),
            Err(error) => {
                // The error's own picture of the line may show a secret: only where and what.
                let line = error.span().map_or(0, |span| text[..span.start].lines().count().max(1));
                problems.0.push(format!("{}, line {line}: not TOML: {}", path.display(), error.message()));
            }
        }
    }
}

fn flatten(prefix: &str, table: toml::Table, origin: &Origin, settings: &mut BTreeMap<String, Setting>) {
    for (name, value) in table {
        let key = if prefix.is_empty() { name } else { format!("{prefix}.{name}") };
        match value {
            Value::Table(inner) => flatten(&key, inner, origin, settings),
            value => {
                settings.insert(key, Setting { value, origin: origin.clone() });
            }
        }
    }
}
