//! The configuration as it can be shown: each key with its value and where that came from, secrets masked.

use super::Config;
use super::keys::{Default, KEYS, Key, PROPERTIES};
use super::kind::{Kind, Raw, Value};
use super::layers::{Given, Layers};
use super::problems::Origin;
use super::properties;

/// One key of the effective configuration.
#[derive(Clone, Debug, PartialEq)]
pub struct Shown {
    /// `section.key`, `section.key_file` or `kafka.properties.NAME`.
    pub key: String,
    pub value: ShownValue,
    pub origin: Origin,
}

impl Shown {
    /// `default`, `file:PATH`, `env:NAME` or `flag:--set`: contract, section 7.
    pub fn origin_name(&self) -> String {
        match &self.origin {
            Origin::Default => "default".into(),
            Origin::File { path, .. } => Origin::whole_file(path).to_string(),
            Origin::Environment(_) | Origin::Flag => self.origin.to_string(),
        }
    }
}

/// A value as a person writes it.
#[derive(Clone, Debug, PartialEq)]
pub enum ShownValue {
    /// There is none: what it is for is off.
    Unset,
    /// There is one, and it is not told.
    Secret,
    /// `"20s"`, `"10MiB"` and all other text.
    Text(String),
    Flag(bool),
    /// A number, as it was written, without a base or a sign.
    Number(String),
    List(Vec<String>),
}

/// The rows of what `layers` hold, which made `config`.
pub(super) fn rows(layers: &Layers, config: &Config) -> Vec<Shown> {
    let mut rows = Vec::new();
    for (index, key) in KEYS.iter().enumerate() {
        rows.extend(rows_of(key, layers, config));
        let is_kafka = |key: &Key| key.name.starts_with("kafka.");
        if is_kafka(key) && KEYS.get(index + 1).is_none_or(|next| !is_kafka(next)) {
            rows.extend(layers.given.iter().filter_map(|(key, given)| property(key, given)).flatten());
        }
    }
    rows
}

fn rows_of(key: &Key, layers: &Layers, config: &Config) -> Vec<Shown> {
    let shown = |key: String, value, origin: &Origin| Shown { key, value, origin: origin.clone() };
    let name = key.name.to_owned();
    if let Some(given) = layers.given.get(key.name) {
        let value = match key.kind {
            Kind::Secret { .. } => ShownValue::Secret,
            _ => value(key.kind, &given.raw),
        };
        return vec![shown(name, value, &given.origin)];
    }
    let file_key = format!("{name}_file");
    if let (Kind::Secret { .. }, Some(given)) = (key.kind, layers.given.get(&file_key)) {
        let path = ShownValue::Text(given.raw.text.clone());
        return vec![shown(name, ShownValue::Secret, &given.origin), shown(file_key, path, &given.origin)];
    }
    let value = match key.default {
        Default::Is(text) => value(key.kind, &Raw::untyped(text)),
        Default::Derived { .. } => derived(key.name, config),
        Default::Required { .. } | Default::Unset { .. } => ShownValue::Unset,
    };
    vec![shown(name, value, &Origin::Default)]
}

fn value(kind: Kind, raw: &Raw) -> ShownValue {
    match (kind, kind.read(raw)) {
        (_, Some(Value::Flag(flag))) => ShownValue::Flag(flag),
        (_, Some(Value::List(items))) => ShownValue::List(items),
        (Kind::Whole { .. } | Kind::Real { .. }, Some(_)) => ShownValue::Number(raw.text.clone()),
        _ => ShownValue::Text(raw.text.clone()),
    }
}

/// What stands in for a key that is not set.
fn derived(name: &str, config: &Config) -> ShownValue {
    match name {
        "worker.id" => ShownValue::Text(config.worker.id.clone()),
        "smtp.helo_name" => ShownValue::Text(config.smtp.helo_name.clone()),
        "smtp.port" => ShownValue::Number(config.smtp.port.to_string()),
        _ => ShownValue::Unset,
    }
}

/// One of librdkafka's properties; two rows where a file gives a secret.
fn property(key: &str, given: &Given) -> Option<Vec<Shown>> {
    let name = key.strip_prefix(PROPERTIES)?;
    let shown = |key: &str, value| Shown { key: key.to_owned(), value, origin: given.origin.clone() };
    let text = ShownValue::Text(given.raw.text.clone());
    Some(match name.strip_suffix("_file").filter(|name| properties::is_secret(name)) {
        Some(secret) => {
            vec![shown(&format!("{PROPERTIES}{secret}"), ShownValue::Secret), shown(key, text)]
        }
        None if properties::is_hidden(name) => vec![shown(key, ShownValue::Secret)],
        None => vec![shown(key, text)],
    })
}
