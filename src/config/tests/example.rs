//! `config.toml` lists exactly the keys that work, at exactly their defaults.

use super::*;
use crate::config::keys::{Default, KEYS};
use crate::config::kind::Kind;

const EXAMPLE: &str = include_str!("../../../config.toml");

/// The settings that are commented out, as `(key, TOML literal)` in order, those of `kafka.properties` aside.
fn commented_out() -> Vec<(String, String)> {
    let mut section = "";
    let mut settings = Vec::new();
    for line in EXAMPLE.lines() {
        if let Some(name) = line.strip_prefix('[') {
            section = name.strip_suffix(']').expect("a whole line");
        } else if let Some((key, literal)) = line.strip_prefix("# ").and_then(|line| line.split_once(" = "))
            && key.bytes().all(|b| b.is_ascii_lowercase() || b == b'_')
        {
            settings.push((format!("{section}.{key}"), literal.to_owned()));
        }
    }
    settings
}

#[test]
fn the_example_lists_every_key_at_its_default_and_no_other() {
    let mut expected = Vec::new();
    for key in KEYS {
        let (Default::Is(text)
        | Default::Required { example: text }
        | Default::Unset { example: text }
        | Default::Derived { example: text }) = key.default;
        expected.push((key.name.to_owned(), key.kind.literal(text)));
        if let Kind::Secret { .. } = key.kind {
            expected.push((format!("{}_file", key.name), format!("\"/run/secrets/{}\"", key.name)));
        }
    }
    assert_eq!(commented_out(), expected);
}

#[test]
fn the_example_as_it_is_changes_nothing() {
    let with = Setup::valid().file(EXAMPLE).good();
    assert_eq!(format!("{with:?}"), format!("{:?}", Setup::valid().good()));
}

#[test]
fn the_example_with_all_defaults_taken_in_changes_nothing_either() {
    let is_default =
        |key: &str| KEYS.iter().any(|known| known.name == key && matches!(known.default, Default::Is(_)));
    let defaults: Vec<_> = commented_out().into_iter().filter(|(key, _)| is_default(key)).collect();
    assert!(defaults.len() > 30, "{defaults:?}");
    let text: String = defaults.iter().map(|(key, literal)| format!("{key} = {literal}\n")).collect();
    let with = Setup::valid().file(&text).good();
    assert_eq!(format!("{with:?}"), format!("{:?}", Setup::valid().good()));
}

#[test]
fn the_examples_properties_are_taken() {
    let mut setup = Setup::valid();
    let password = setup.write("kafka-password", b"secret");
    let lines =
        EXAMPLE.lines().filter_map(|line| line.strip_prefix("# ").filter(|line| line.starts_with('"')));
    let text: String = lines.filter(|line| line.contains("\" = ")).map(|line| format!("{line}\n")).collect();
    let text = text.replace("/run/secrets/kafka-password", &password.display().to_string());
    let config = setup.file(&format!("[kafka.properties]\n{text}")).good();
    let names: Vec<_> = config.kafka.properties.keys().map(String::as_str).collect();
    assert_eq!(names, ["sasl.mechanism", "sasl.password", "sasl.username", "security.protocol"]);
}
