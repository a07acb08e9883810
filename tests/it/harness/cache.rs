//! Where scripts/setup has put the servers.

use std::path::PathBuf;

/// The folder of Apache Kafka's jars.
pub fn kafka_jars() -> PathBuf {
    fetched("kafka-4.1.1")
}

/// The folder of Spring Kafka's jars, with a Kafka client of its own.
pub fn spring_kafka_jars() -> PathBuf {
    fetched("spring-kafka-4.1.2")
}

/// GreenMail in one jar.
pub fn greenmail_jar() -> PathBuf {
    fetched("greenmail-2.1.3").join("greenmail-standalone-2.1.3.jar")
}

/// A Python with the client library of `docs/producers.md`.
pub fn python() -> PathBuf {
    fetched("python-confluent-kafka-2.12.2").join("bin/python")
}

/// The versions are the same as in scripts/setup.
fn fetched(name: &str) -> PathBuf {
    let root = folder("MAILROOM_CACHE")
        .or_else(|| folder("XDG_CACHE_HOME").map(|cache| cache.join("mailroom")))
        .or_else(|| folder("HOME").map(|home| home.join(".cache/mailroom")))
        .expect("one of MAILROOM_CACHE, XDG_CACHE_HOME and HOME is set");
    let fetched = root.join(name);
    assert!(fetched.is_dir(), "{} is not there: run scripts/setup test", fetched.display());
    fetched
}

fn folder(variable: &str) -> Option<PathBuf> {
    std::env::var_os(variable).filter(|value| !value.is_empty()).map(PathBuf::from)
}
