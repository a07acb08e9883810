//! A TOML file as a list of keys with their lines; its mistakes without the text they are in.

use std::path::Path;

use toml::Spanned;
use toml::de::{DeTable, DeValue};

use super::kind::{Raw, WrittenAs};
use super::problems::{Origin, Problems};

/// One key of the file, its tables joined by dots.
pub(super) struct Entry {
    pub key: String,
    /// From 1.
    pub line: usize,
    pub raw: Raw,
    /// A table that holds nothing: a section of which everything is left at its default.
    pub is_empty_table: bool,
}

/// The entries, or none when it is not TOML: then every place where it is not is among the problems.
pub(super) fn entries(path: &Path, text: &str, problems: &mut Problems) -> Option<Vec<Entry>> {
    let (table, errors) = DeTable::parse_recoverable(text);
    for error in &errors {
        // The error's own text shows the line, which may hold a secret; its message does not.
        let line = error.span().map(|span| line_of(text, span.start));
        let origin = Origin::File { path: path.to_owned(), line };
        problems.add_for_everything("", origin, format!("is no TOML: {}", error.message()));
    }
    if !errors.is_empty() {
        return None;
    }
    let mut entries = Vec::new();
    collect(text, None, table.get_ref(), &mut entries);
    entries.sort_by_key(|entry| entry.line);
    Some(entries)
}

fn collect(text: &str, path: Option<&str>, table: &DeTable<'_>, entries: &mut Vec<Entry>) {
    for (key, value) in table {
        let line = line_of(text, key.span().start);
        let key = match path {
            Some(path) => format!("{path}.{}", key.get_ref()),
            None => key.get_ref().to_string(),
        };
        match value.get_ref() {
            DeValue::Table(inner) if !inner.is_empty() => collect(text, Some(&key), inner, entries),
            other => {
                let is_empty_table = matches!(other, DeValue::Table(_));
                entries.push(Entry { key, line, raw: raw(value), is_empty_table });
            }
        }
    }
}

fn raw(value: &Spanned<DeValue<'_>>) -> Raw {
    let (text, written_as) = match value.get_ref() {
        DeValue::String(text) => (text.to_string(), WrittenAs::Quoted),
        DeValue::Integer(number) => {
            // What does not fit is over every bound, too.
            let decimal = i128::from_str_radix(number.as_str(), number.radix()).unwrap_or(i128::MAX);
            (decimal.to_string(), WrittenAs::Whole)
        }
        DeValue::Float(number) => (number.as_str().to_owned(), WrittenAs::Real),
        DeValue::Boolean(flag) => (flag.to_string(), WrittenAs::Flag),
        DeValue::Array(items) => match list(items) {
            Some(text) => (text, WrittenAs::List),
            None => (String::new(), WrittenAs::Other),
        },
        DeValue::Datetime(_) | DeValue::Table(_) => (String::new(), WrittenAs::Other),
    };
    Raw { text, written_as }
}

/// The items with commas between them; none where one is no string, or empty, or holds a comma itself.
fn list(items: &[Spanned<DeValue<'_>>]) -> Option<String> {
    let texts = items.iter().map(|item| match item.get_ref() {
        DeValue::String(text) if !text.is_empty() && !text.contains(',') => Some(&**text),
        _ => None,
    });
    Some(texts.collect::<Option<Vec<_>>>()?.join(","))
}

fn line_of(text: &str, at: usize) -> usize {
    text.bytes().take(at).filter(|byte| *byte == b'\n').count() + 1
}
