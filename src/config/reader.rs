//! Reads settings one by one, each as what it must be, and collects everything that is wrong.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::str::FromStr;
use std::time::Duration;

use toml::Value;

use super::Secret;
use super::sources::{Problems, Setting};

pub(super) struct Reader {
    settings: BTreeMap<String, Setting>,
    pub problems: Problems,
}

impl Reader {
    pub fn new(settings: BTreeMap<String, Setting>, problems: Problems) -> Reader {
        Reader { settings, problems }
    }

    /// Notes a problem that is not one setting's alone.
    pub fn complain(&mut self, text: impl Into<String>) {
        self.problems.0.push(text.into());
    }

    fn wrong(&mut self, key: &str, setting: &Setting, allowed: &str) {
        self.complain(format!("{key} ({}): must be {allowed}", setting.origin));
    }

    pub fn is_set(&self, key: &str) -> bool {
        self.settings.contains_key(key)
    }

    /// A setting as it was given; it counts as known from then on.
    fn take(&mut self, key: &str) -> Option<Setting> {
        self.settings.remove(key)
    }

    /// The setting by `read`, which gets its text; none when it is not given, or wrong (and that noted).
    fn read<T>(&mut self, key: &str, allowed: &str, read: impl Fn(&str) -> Option<T>) -> Option<T> {
        let setting = self.take(key)?;
        let text = match &setting.value {
            Value::String(text) => Some(text.clone()),
            Value::Integer(number) => Some(number.to_string()),
            Value::Float(number) => Some(number.to_string()),
            Value::Boolean(flag) => Some(flag.to_string()),
            _ => None,
        };
        let value = text.as_deref().and_then(read);
        if value.is_none() {
            self.wrong(key, &setting, allowed);
        }
        value
    }

    pub fn text(&mut self, key: &str) -> Option<String> {
        self.read(key, "a text, not empty", |text| (!text.is_empty()).then(|| text.to_owned()))
    }

    pub fn path(&mut self, key: &str) -> Option<PathBuf> {
        self.text(key).map(PathBuf::from)
    }

    pub fn flag(&mut self, key: &str, default: bool) -> bool {
        self.read(key, "true or false", |text| text.parse().ok()).unwrap_or(default)
    }

    /// A number of this type that `allows`; `allowed` says in words what that is.
    pub fn number<T>(&mut self, key: &str, default: T, allowed: &str, allows: impl Fn(&T) -> bool) -> T
    where
        T: FromStr,
    {
        self.read(key, allowed, |text| text.parse().ok().filter(&allows)).unwrap_or(default)
    }

    /// A duration: `"1s"`, `"200ms"`, `"30d"`. Not zero, at most a thousand years.
    pub fn duration(&mut self, key: &str, default: Duration) -> Duration {
        const LONGEST: Duration = Duration::from_secs(1000 * 365 * 86_400);
        let read = |text: &str| {
            humantime::parse_duration(text).ok().filter(|found| !found.is_zero() && *found <= LONGEST)
        };
        self.read(key, "a duration such as \"1s\" or \"200ms\"", read).unwrap_or(default)
    }

    /// A size: `"10MiB"`. At least 1 byte.
    pub fn size(&mut self, key: &str, default: usize) -> usize {
        let read = |text: &str| {
            let size = text.parse::<bytesize::ByteSize>().ok()?;
            usize::try_from(size.as_u64()).ok().filter(|bytes| *bytes > 0)
        };
        self.read(key, "a size such as \"10MiB\"", read).unwrap_or(default)
    }

    /// One of a few words.
    pub fn choice<T: Copy>(&mut self, key: &str, default: T, choices: &[(&str, T)]) -> T {
        let names: Vec<String> = choices.iter().map(|(name, _)| format!("\"{name}\"")).collect();
        let find = |text: &str| choices.iter().find(|(name, _)| *name == text).map(|(_, value)| *value);
        self.read(key, &names.join(" or "), find).unwrap_or(default)
    }

    /// A secret, given as `key` or in a file named by `key_file`; the file must be readable now.
    pub fn secret(&mut self, key: &str) -> Option<Secret> {
        let file_key = format!("{key}_file");
        let value = self.text(key);
        let file = self.path(&file_key);
        match (value, file) {
            (Some(_), Some(_)) => {
                self.complain(format!("{key} and {file_key}: only one of them may be given"));
                None
            }
            (Some(value), None) => Some(Secret::Value(value)),
            (None, Some(path)) => {
                let secret = Secret::File(path);
                if let Err(error) = secret.read() {
                    self.complain(format!("{file_key}: {error}"));
                }
                Some(secret)
            }
            (None, None) => None,
        }
    }

    /// Every setting below `prefix.`, as text, by the rest of its key.
    pub fn below(&mut self, prefix: &str) -> BTreeMap<String, String> {
        let start = format!("{prefix}.");
        let keys: Vec<String> = self.settings.keys().filter(|key| key.starts_with(&start)).cloned().collect();
        let texts = keys.iter().filter_map(|key| {
            let text = self.read(key, "a text, a number, true or false", |text| Some(text.to_owned()))?;
            Some((key[start.len()..].to_owned(), text))
        });
        texts.collect()
    }

    /// What is left is unknown, or of a later version.
    pub fn finish(mut self, later: &[&str]) -> Problems {
        for (key, setting) in std::mem::take(&mut self.settings) {
            let is_later = later.iter().any(|prefix| key.starts_with(prefix));
            let what = if is_later { "not supported by this version yet" } else { "unknown key" };
            self.complain(format!("{key} ({}): {what}", setting.origin));
        }
        self.problems
    }
}
