//! The documents name every key of the configuration, and none that there is not.

use std::collections::BTreeSet;

use serde_json::Value;

use super::{documents, inline_code, read};
use crate::harness::command_line::{run, stdout, valid};

const PLACEHOLDERS: [&str; 2] = ["section.key", "kafka.decisions_topic"];

/// Every key that the binary knows, as it tells itself.
fn keys() -> BTreeSet<String> {
    let shown = run(&valid(), &["config", "show", "--json"]);
    let shown: Value = serde_json::from_str(&stdout(&shown)).unwrap_or_else(|_| panic!("{shown:?}"));
    let keys: BTreeSet<String> = shown.as_object().expect("an object").keys().cloned().collect();
    assert!(keys.len() > 40, "{keys:?}");
    keys
}

/// Whether a secret, and so also `KEY_file`.
fn is_a_key(keys: &BTreeSet<String>, name: &str) -> bool {
    let property = name.starts_with("kafka.properties");
    property || keys.contains(name) || name.strip_suffix("_file").is_some_and(|name| keys.contains(name))
}

#[test]
fn each_key_stands_in_config_toml_with_its_default_behind_a_comment() {
    let text = read("config.toml");
    let mut section = "";
    let mut before = "";
    let mut described = BTreeSet::new();
    for line in text.lines() {
        if let Some(name) = line.strip_prefix('[').and_then(|line| line.strip_suffix(']')) {
            section = name;
        } else if let Some((name, _)) = line.strip_prefix("# ").and_then(|line| line.split_once(" = "))
            && name.chars().all(|c| c.is_ascii_lowercase() || c == '_')
        {
            // Keys that belong together share a comment.
            let has_a_comment = before.starts_with("# ");
            assert!(has_a_comment, "{section}.{name} has no comment");
            described.insert(format!("{section}.{name}"));
        }
        before = line;
    }
    let missing: Vec<_> = keys().into_iter().filter(|key| !described.contains(key)).collect();
    assert!(missing.is_empty(), "config.toml says nothing of {missing:?}");
}

#[test]
fn each_key_that_a_document_names_is_one() {
    let keys = keys();
    let sections: BTreeSet<&str> = keys.iter().filter_map(|key| key.split('.').next()).collect();
    let mut named = BTreeSet::new();
    for (file, text) in documents() {
        // What is to come is announced there, too.
        if file.ends_with("CHANGELOG.md") {
            continue;
        }
        for code in inline_code(&text) {
            let name = code.split([' ', '=']).next().expect("one part at least");
            let is_like_one = name.split_once('.').is_some_and(|(section, rest)| {
                sections.contains(section) && rest.chars().all(|c| c.is_ascii_lowercase() || "_.".contains(c))
            });
            // `limits.*`, and files: `smtp.rs`.
            if is_like_one && !name.ends_with(['.', '*']) && !name.ends_with(".rs") {
                assert!(
                    is_a_key(&keys, name) || PLACEHOLDERS.contains(&name),
                    "{}: there is no {name}",
                    file.display()
                );
                named.insert(name.to_owned());
            }
        }
    }
    assert!(named.len() > 30, "{named:?}");
}

#[test]
fn each_variable_of_the_environment_that_a_document_sets_is_a_key() {
    let keys = keys();
    let mut files: Vec<(String, String)> =
        documents().into_iter().map(|(file, text)| (file.display().to_string(), text)).collect();
    files.extend(
        ["docker-compose.yml", "Dockerfile", "packaging/mailroom.service"]
            .map(|file| (file.to_owned(), read(file))),
    );
    let mut named = 0;
    for (file, text) in files {
        for rest in text.split("MAILROOM__").skip(1) {
            let end =
                rest.find(|c: char| !(c.is_ascii_alphanumeric() || "_.".contains(c))).unwrap_or(rest.len());
            let name = rest[..end].trim_end_matches('.');
            let key = match name.strip_prefix("KAFKA__PROPERTIES__") {
                Some(property) => format!("kafka.properties.{property}"),
                None => name.to_lowercase().replace("__", "."),
            };
            assert!(
                is_a_key(&keys, &key) || PLACEHOLDERS.contains(&key.as_str()),
                "{file}: there is no {name}"
            );
            named += 1;
        }
    }
    assert!(named > 15, "{named}");
}
