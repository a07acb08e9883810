//! What is right by itself and wrong together: contradictions between keys, and files that are of no use.

use std::path::Path;
use std::time::Duration;

use tokio_rustls::rustls::RootCertStore;
use tokio_rustls::rustls::pki_types::CertificateDer;
use tokio_rustls::rustls::pki_types::pem::PemObject;

use super::effective::Values;
use super::problems::Problems;
use super::{Config, Kafka, Security, Templates, bounded, properties};
use crate::job::Mailbox;

/// The authorities of a whole system have some 200 KiB.
const MAX_CA_BYTES: u64 = 16 << 20;

/// The contradictions within `kafka`.
pub(super) fn check_kafka(kafka: &Kafka, values: &Values<'_>, problems: &mut Problems) {
    if kafka.dlq_topic == kafka.topic && !problems.names("kafka.dlq_topic") && !problems.names("kafka.topic")
    {
        let key = if values.is_set("kafka.dlq_topic") { "kafka.dlq_topic" } else { "kafka.topic" };
        let what =
            "kafka.dlq_topic and kafka.topic must be two topics: a dead letter would be taken for a job";
        problems.add(key, values.origin(key), what);
    }
    let decisions = &kafka.decisions_topic;
    if [&kafka.topic, &kafka.dlq_topic].contains(&decisions) && !problems.names("kafka.decisions_topic") {
        let key = "kafka.decisions_topic";
        problems.add(key, values.origin(key), "kafka.decisions_topic must be a topic of its own");
    }
    let key = "dlq.replay_topic";
    let is_ours = |topic: &String| [&kafka.dlq_topic, decisions].contains(&topic);
    if kafka.replay_topic.as_ref().is_some_and(is_ours) && !problems.names(key) {
        let what = "jobs can't be replayed to the dead letter queue, nor to its decisions: leave it out, or name a topic of its own";
        problems.add(key, values.origin(key), what);
    }
}

/// The contradictions in the rest. A key that is wrong by itself is left out.
pub(super) fn check(config: &Config, values: &Values<'_>, problems: &mut Problems) {
    let mut contradiction = |keys: &[&str], wrong: bool, what: String| {
        if wrong && !keys.iter().any(|key| problems.names(key) || problems.names(&format!("{key}_file"))) {
            // It is told of the key that was set; of the first, where all were.
            let key = keys.iter().find(|key| values.is_set(key)).unwrap_or(&keys[0]);
            problems.add(key, values.origin(key), what);
        }
    };

    let poll = Duration::from_millis(properties::max_poll_interval_ms(&config.kafka.properties));
    contradiction(
        &["worker.drain_timeout", "kafka.properties.max.poll.interval.ms"],
        config.worker.drain_timeout >= poll,
        format!(
            "worker.drain_timeout must be under kafka.properties.\"max.poll.interval.ms\", which is {} ms: the \
             group takes the partitions away after that long",
            poll.as_millis()
        ),
    );
    contradiction(
        &["mailers.size", "mailers.max"],
        config.mailers.size > config.mailers.max,
        "mailers.size must not be over mailers.max".into(),
    );
    let (name, password) = (values.is_set("smtp.username"), values.is_set("smtp.password"));
    contradiction(
        &["smtp.username", "smtp.password"],
        name != password,
        "smtp.username and smtp.password (or smtp.password_file) go together: set both or neither".into(),
    );
    contradiction(
        &["smtp.password", "smtp.security", "smtp.allow_plaintext_auth"],
        password && config.smtp.security == Security::Plain && !config.smtp.allow_plaintext_auth,
        "smtp.security = \"plain\" would send the password for all to read: use \"tls\" or \"starttls\", or \
         allow it by smtp.allow_plaintext_auth = true"
            .into(),
    );
    let allowed = &config.email.allowed_from_domains;
    contradiction(
        &["smtp.from", "email.allowed_from_domains"],
        !allowed.is_empty() && domain_of(&config.smtp.from).is_some_and(|domain| !allowed.contains(&domain)),
        "smtp.from must lie in one of email.allowed_from_domains: every job without a sender of its own would be \
         refused"
            .into(),
    );
    contradiction(
        &["redrive.waits"],
        config.redrive.waits.is_empty(),
        "redrive.waits needs at least one wait; redrive.enabled = false turns the redriver off".into(),
    );
    contradiction(
        &["redrive.enabled", "dlq.index_letters"],
        config.redrive.enabled && config.dlq.index_letters == 0,
        "redrive.enabled = true needs dlq.index_letters: what waits is found there".into(),
    );
    if let Some(path) = &config.smtp.ca_file
        && let Err(what) = read_certificates(path)
    {
        problems.add("smtp.ca_file", values.origin("smtp.ca_file"), what);
    }
}

/// The mistakes in the folder of templates.
pub(super) fn check_templates(templates: &Templates, values: &Values<'_>, problems: &mut Problems) {
    if let Some(dir) = &templates.dir
        && let Err(mistakes) = crate::templates::Templates::read(dir)
    {
        for mistake in mistakes.0 {
            problems.add("templates.dir", values.origin("templates.dir"), mistake.to_string());
        }
    }
}

/// The domain of a mailbox, as `email.allowed_from_domains` has its own.
fn domain_of(mailbox: &str) -> Option<String> {
    let mailbox = Mailbox::parse(mailbox).ok()?;
    Some(mailbox.address.domain().to_ascii_lowercase())
}

/// Whether there is at least one certificate in the PEM file, and all in it are whole. The file is not named: its
/// key and origin are.
fn read_certificates(path: &Path) -> Result<(), String> {
    let text =
        bounded::read(path, MAX_CA_BYTES).map_err(|error| format!("the file can't be read: {error}"))?;
    let mut roots = RootCertStore::empty();
    for certificate in CertificateDer::pem_slice_iter(&text) {
        certificate
            .map_err(|error| error.to_string())
            .and_then(|certificate| roots.add(certificate).map_err(|error| error.to_string()))
            .map_err(|error| format!("the file holds a broken certificate: {error}"))?;
    }
    if roots.is_empty() {
        return Err("the file holds no certificate in PEM form".into());
    }
    Ok(())
}

/// What works, and is seldom meant: one text each, as `(key, text)`.
pub(super) fn warnings(config: &Config) -> Vec<(&'static str, String)> {
    let mut warnings = Vec::new();
    let name = &config.smtp.helo_name;
    if !name.contains('.') && !name.starts_with('[') {
        let text = format!("{name} has no dot: some relays refuse it; set a full host name");
        warnings.push(("smtp.helo_name", text));
    }
    if config.smtp.login.is_some() && config.smtp.security == Security::Plain {
        warnings.push(("smtp.security", "the password goes over the wire for all to read".into()));
    }
    warnings
}
