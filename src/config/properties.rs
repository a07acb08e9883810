//! librdkafka's own properties: which are refused, and whether librdkafka takes the rest.

use std::collections::BTreeMap;
use std::path::Path;

use rdkafka::ClientConfig;
use rdkafka::error::KafkaError;
use rdkafka::types::RDKafkaConfRes;

use super::keys::PROPERTIES;
use super::kind::WrittenAs;
use super::layers::{Given, Layers};
use super::problems::{Origin, Problems};
use super::secret::{self, Secretive};

/// Those with a key of our own.
const OURS: &[(&str, &str)] = &[
    ("bootstrap.servers", "set kafka.brokers instead"),
    ("metadata.broker.list", "set kafka.brokers instead"),
    ("group.id", "set kafka.group instead"),
];

/// Those that the promises stand on; a `*` stands for any ending.
const FIXED: &[&str] = &[
    "group.protocol",
    "partition.assignment.strategy",
    "enable.auto.*",
    "auto.commit.*",
    "auto.offset.reset",
    "isolation.level",
    "enable.partition.eof",
    "acks",
    "request.required.acks",
    "enable.idempotence",
    "transactional.id",
];

/// `max.poll.interval.ms` where nobody sets it, milliseconds.
const DEFAULT_MAX_POLL_INTERVAL: u64 = 300_000;

/// The properties that were set, each `X_file` of a secret X replaced by X.
pub(super) fn read(layers: &Layers, problems: &mut Problems) -> BTreeMap<String, Secretive> {
    let mut properties = BTreeMap::new();
    for (key, given) in &layers.given {
        let Some(name) = key.strip_prefix(PROPERTIES) else { continue };
        if let Some((name, value)) = read_one(layers, name, key, given, problems) {
            properties.insert(name, Secretive(value));
        }
    }
    check_sasl(layers, &properties, problems);
    properties
}

fn read_one(
    layers: &Layers,
    name: &str,
    key: &str,
    given: &Given,
    problems: &mut Problems,
) -> Option<(String, String)> {
    let origin = || given.origin.clone();
    if let Some(reason) = refusal(name) {
        problems.add(key, origin(), reason);
        return None;
    }
    if matches!(given.raw.written_as, WrittenAs::List | WrittenAs::Other) {
        problems.add(key, origin(), "must be a text, a number, true or false");
        return None;
    }
    if let Some(secret) = name.strip_suffix("_file").filter(|name| is_secret(name)) {
        if layers.given.contains_key(&format!("{PROPERTIES}{secret}")) {
            problems.add(key, origin(), format!("is set beside {PROPERTIES}{secret}; take one of them out"));
            return None;
        }
        let value = secret::read_file(Path::new(&given.raw.text));
        let value = value.map_err(|error| problems.add(key, origin(), error)).ok()?;
        return Some((secret.to_owned(), value));
    }
    let mut one = ClientConfig::new();
    one.set(name, &given.raw.text);
    if let Err(error) = one.create_native_config() {
        // What librdkafka says repeats the value.
        problems.add(
            key,
            origin(),
            match error {
                KafkaError::ClientConfig(RDKafkaConfRes::RD_KAFKA_CONF_UNKNOWN, ..) => {
                    "librdkafka has no such property"
                }
                _ => "librdkafka does not take this value; its CONFIGURATION.md says which it takes",
            },
        );
        return None;
    }
    Some((name.to_owned(), given.raw.text.clone()))
}

/// Whether the property's value may be given as a file.
pub(super) fn is_secret(name: &str) -> bool {
    name.ends_with("password") || name.ends_with("secret")
}

/// Whether the property's value is not to be shown: secrets, and what holds private keys or tokens beside others.
pub(super) fn is_hidden(name: &str) -> bool {
    is_secret(name)
        || name.ends_with("passphrase")
        || name.ends_with("key.pem")
        || name.starts_with("sasl.oauthbearer.")
}

/// Why `name` may not be set; none when it may.
fn refusal(name: &str) -> Option<String> {
    if let Some((_, instead)) = OURS.iter().find(|(ours, _)| *ours == name) {
        return Some(format!("can't be set here: {instead}"));
    }
    let fixed = FIXED.iter().any(|fixed| match fixed.strip_suffix('*') {
        Some(beginning) => name.starts_with(beginning),
        None => *fixed == name,
    });
    fixed.then(|| "can't be set: that no e-mail is lost stands on the value that Mailroom gives it".into())
}

/// librdkafka says of these at start, in words of its own, that it can't go on.
fn check_sasl(layers: &Layers, properties: &BTreeMap<String, Secretive>, problems: &mut Problems) {
    let value = |name: &str| properties.get(name).map(|value| value.0.as_str());
    let key = format!("{PROPERTIES}security.protocol");
    let asks = value("security.protocol").is_some_and(|p| p.to_ascii_uppercase().starts_with("SASL"));
    if !asks || problems.names(&key) {
        return;
    }
    let origin = || layers.given.get(&key).map_or(Origin::Default, |given| given.origin.clone());
    let mechanism = value("sasl.mechanism").or(value("sasl.mechanisms")).map(str::to_ascii_uppercase);
    match mechanism.as_deref() {
        None | Some("GSSAPI" | "OAUTHBEARER") => problems.add(
            &key,
            origin(),
            "asks for SASL: set \"sasl.mechanism\" to what the brokers take, \"PLAIN\", \"SCRAM-SHA-256\" \
             or \"SCRAM-SHA-512\" (GSSAPI and OAUTHBEARER are not built in)",
        ),
        Some(_) => {
            let lacks = |name: &str| value(name).is_none() && !problems_name(problems, name);
            if lacks("sasl.username") || lacks("sasl.password") {
                problems.add(
                    &key,
                    origin(),
                    "asks for SASL: set both \"sasl.username\" and \"sasl.password\" (or \
                     \"sasl.password_file\")",
                );
            }
        }
    }
}

fn problems_name(problems: &Problems, property: &str) -> bool {
    let key = format!("{PROPERTIES}{property}");
    problems.names(&key) || problems.names(&format!("{key}_file"))
}

/// How long the group waits for a poll before it takes the partitions away, in milliseconds.
pub(super) fn max_poll_interval_ms(properties: &BTreeMap<String, Secretive>) -> u64 {
    let set = properties.get("max.poll.interval.ms").and_then(|value| value.0.parse().ok());
    set.unwrap_or(DEFAULT_MAX_POLL_INTERVAL)
}
