//! What librdkafka is told: one map of properties for each kind of client, the user's own on top.

use rdkafka::ClientConfig;
use rdkafka::config::RDKafkaLogLevel;
use rdkafka::consumer::BaseConsumer;
use rdkafka::producer::BaseProducer;

use super::client_log::ClientLog;
use super::problem::StartProblem;
use crate::config;

/// What librdkafka's documentation marks `C`: a producer would warn of it.
const CONSUMER_ONLY: &[&str] = &[
    "auto.commit.enable",
    "auto.commit.interval.ms",
    "auto.offset.reset",
    "check.crcs",
    "consume.callback.max.messages",
    "coordinator.query.interval.ms",
    "enable.auto.commit",
    "enable.auto.offset.store",
    "enable.partition.eof",
    "fetch.error.backoff.ms",
    "fetch.max.bytes",
    "fetch.message.max.bytes",
    "fetch.min.bytes",
    "fetch.queue.backoff.ms",
    "fetch.wait.max.ms",
    "group.id",
    "group.instance.id",
    "group.protocol",
    "group.protocol.type",
    "group.remote.assignor",
    "heartbeat.interval.ms",
    "isolation.level",
    "max.partition.fetch.bytes",
    "max.poll.interval.ms",
    "offset.store.method",
    "offset.store.path",
    "offset.store.sync.interval.ms",
    "partition.assignment.strategy",
    "queued.max.messages.kbytes",
    "queued.min.messages",
    "session.timeout.ms",
];

/// What librdkafka's documentation marks `P`: a consumer would warn of it.
const PRODUCER_ONLY: &[&str] = &[
    "acks",
    "batch.num.messages",
    "batch.size",
    "compression.codec",
    "compression.level",
    "compression.type",
    "delivery.report.only.error",
    "delivery.timeout.ms",
    "enable.gapless.guarantee",
    "enable.idempotence",
    "linger.ms",
    "message.send.max.retries",
    "message.timeout.ms",
    "msg_order_cmp",
    "partitioner",
    "produce.offset.report",
    "queue.buffering.backpressure.threshold",
    "queue.buffering.max.kbytes",
    "queue.buffering.max.messages",
    "queue.buffering.max.ms",
    "queuing.strategy",
    "request.required.acks",
    "request.timeout.ms",
    "retries",
    "sticky.partitioning.linger.ms",
    "transaction.timeout.ms",
    "transactional.id",
];

/// For the member of the consumer group.
pub fn consumer(config: &config::Kafka) -> ClientConfig {
    let mut client = base(config);
    client
        .set("group.id", &config.group)
        .set("partition.assignment.strategy", "cooperative-sticky")
        // Offsets are committed by the ledger's word only.
        .set("enable.auto.commit", "false")
        .set("enable.auto.offset.store", "false")
        // An offset out of range comes to us as an error: said aloud, then read on from the earliest. A new
        // group is given its start explicitly.
        .set("auto.offset.reset", "error")
        .set("isolation.level", "read_committed")
        // By its heartbeat a member learns of a rebalance: the default of 3 s is added to each.
        .set("heartbeat.interval.ms", "1000")
        // With split queues these hold for each partition: one that is read slowly holds at most what may be
        // queued and one more fetch, together 1 MiB, or one record where that is larger. So 200 partitions hold
        // 200 MiB beside `limits.in_flight_bytes`; librdkafka can't be told less while it runs. Measured with
        // 200 partitions full of records of 50 KB, the relay away and 32 MiB in flight: 257 MiB resident in
        // all, and 654 MiB with 2 MiB queued and 1 MiB fetched. One partition alone brings 85,000 records of
        // 1 KB a second by this, from a broker on the same machine.
        .set("queued.max.messages.kbytes", "512")
        .set("fetch.message.max.bytes", "524288")
        .set("queued.min.messages", "1000")
        // The default of 1,000 is a stall each time a queue is full.
        .set("fetch.queue.backoff.ms", "10")
        .set("fetch.error.backoff.ms", "100");
    with_the_users(client, config, PRODUCER_ONLY)
}

/// For what asks as the group would, and does not join it.
pub fn onlooker(config: &config::Kafka) -> ClientConfig {
    let mut client = consumer(config);
    // A static member's name stays the worker's own.
    client.remove("group.instance.id");
    client
}

/// For what looks at the cluster from the side: metadata, and where the logs really end, transactions still
/// open included. It is no member of any group and reads no record.
pub fn observer(config: &config::Kafka) -> ClientConfig {
    let mut client = base(config);
    client.set("isolation.level", "read_uncommitted");
    let mut client = with_the_users(client, config, PRODUCER_ONLY);
    for name in ["group.instance.id", "session.timeout.ms", "heartbeat.interval.ms", "max.poll.interval.ms"] {
        client.remove(name);
    }
    client
}

/// For what reads whole topics, or single records, by partition and offset. It joins no group, but rdkafka wants one named.
pub fn follower(config: &config::Kafka) -> ClientConfig {
    let mut client = base(config);
    client
        .set("group.id", format!("{}-dlq", config.group))
        .set("enable.auto.commit", "false")
        .set("enable.auto.offset.store", "false")
        .set("auto.offset.reset", "error")
        .set("isolation.level", "read_committed")
        .set("enable.partition.eof", "true")
        .set("queued.max.messages.kbytes", "8192")
        .set("fetch.message.max.bytes", "1048576")
        .set("fetch.queue.backoff.ms", "10")
        .set("fetch.error.backoff.ms", "100");
    let mut client = with_the_users(client, config, PRODUCER_ONLY);
    client.remove("group.instance.id");
    client
}

/// For the member of the group that shares out the partitions of the dead letter queue.
pub fn member(config: &config::Kafka) -> ClientConfig {
    let mut client = base(config);
    client
        .set("group.id", format!("{}-dlq", config.group))
        .set("enable.auto.commit", "false")
        .set("enable.auto.offset.store", "false")
        .set("auto.offset.reset", "latest")
        .set("partition.assignment.strategy", "range")
        .set("heartbeat.interval.ms", "1000")
        // So soon a new partition of the queue has an owner.
        .set("topic.metadata.refresh.interval.ms", "15000")
        // It is paused at once.
        .set("queued.max.messages.kbytes", "64")
        .set("fetch.message.max.bytes", "65536");
    let mut client = with_the_users(client, config, PRODUCER_ONLY);
    client.remove("group.instance.id");
    client
}

/// For dead letters and for `mailroom send`: each record acknowledged by all in-sync replicas, once.
pub fn producer(config: &config::Kafka) -> ClientConfig {
    let mut client = base(config);
    client
        .set("enable.idempotence", "true")
        .set("acks", "all")
        // An awaited produce pays the linger in full.
        .set("linger.ms", "0")
        // Checked before compression, and only here: the broker's own limit is the one that counts.
        .set("message.max.bytes", "1000000000")
        // One try; who waits for it learns in time to say that nothing is taken, and tries again.
        .set("delivery.timeout.ms", "15000")
        .set("request.timeout.ms", "10000");
    with_the_users(client, config, CONSUMER_ONLY)
}

/// For the admin client, which is neither: librdkafka makes it a producer.
pub fn admin(config: &config::Kafka) -> ClientConfig {
    let mut client = with_the_users(base(config), config, CONSUMER_ONLY);
    for name in PRODUCER_ONLY {
        client.remove(name);
    }
    client
}

/// Whether the user's properties can work at all, without asking a broker.
///
/// # Errors
/// `Misconfigured`, in words that name the property and never its value.
pub fn check(config: &config::Kafka) -> Result<(), StartProblem> {
    let sasl =
        property(config, "security.protocol").is_some_and(|p| p.to_ascii_lowercase().starts_with("sasl"));
    let mechanism = ["sasl.mechanism", "sasl.mechanisms"].iter().find_map(|name| property(config, name));
    if sasl && mechanism.is_none() {
        return Err(StartProblem::Misconfigured(
            "kafka.properties: security.protocol asks for SASL, and sasl.mechanism is not set: set it to what \
             the brokers take, for example \"PLAIN\", \"SCRAM-SHA-256\" or \"SCRAM-SHA-512\""
                .into(),
        ));
    }
    if let Some(name) = mechanism.filter(|name| ["OAUTHBEARER", "GSSAPI"].contains(name)) {
        return Err(StartProblem::Misconfigured(format!(
            "kafka.properties: sasl.mechanism {name} is not built in: use \"PLAIN\", \"SCRAM-SHA-256\" or \"SCRAM-SHA-512\""
        )));
    }
    for client in [consumer(config), observer(config), producer(config), admin(config)] {
        client.create_native_config().map_err(|e| StartProblem::from_creation(&e))?;
    }
    Ok(())
}

/// As [`check`], and what librdkafka says only when it makes a client: properties that contradict each other, files
/// that can't be read. The clients know no broker, and are dropped again at once.
///
/// # Errors
/// As [`check`].
pub fn try_out(config: &config::Kafka) -> Result<(), StartProblem> {
    check(config)?;
    for mut client in [consumer(config), observer(config)] {
        client.remove("bootstrap.servers");
        let trial = client.create_with_context::<_, BaseConsumer<ClientLog>>(ClientLog::new("trial"));
        drop(trial.map_err(|e| StartProblem::from_creation(&e))?);
    }
    for mut client in [producer(config), admin(config)] {
        client.remove("bootstrap.servers");
        // One with a thread of its own takes 0.1 s to drop.
        let trial = client.create_with_context::<_, BaseProducer<ClientLog>>(ClientLog::new("trial"));
        drop(trial.map_err(|e| StartProblem::from_creation(&e))?);
    }
    Ok(())
}

fn property<'a>(config: &'a config::Kafka, name: &str) -> Option<&'a str> {
    config.properties.get(name).map(|value| value.0.as_str())
}

fn base(config: &config::Kafka) -> ClientConfig {
    let mut client = ClientConfig::new();
    client
        .set("bootstrap.servers", &config.brokers)
        .set("client.id", "mailroom")
        // A topic is made by us, with its retention, or by nobody.
        .set("allow.auto.create.topics", "false")
        .set("socket.nagle.disable", "true")
        .set("log.connection.close", "false")
        // A broker that is frozen, or cut off, is given up after so long. With the default of 60 s a commit
        // hangs at a coordinator that does not answer, and no jobs are taken until another one has it.
        .set("socket.timeout.ms", "10000")
        // The default of 10 s is the time for which a broker that is back stays unused.
        .set("reconnect.backoff.max.ms", "2000");
    let debugging = config.properties.contains_key("debug");
    client.set_log_level(if debugging { RDKafkaLogLevel::Debug } else { RDKafkaLogLevel::Warning });
    client
}

fn with_the_users(mut client: ClientConfig, config: &config::Kafka, but: &[&str]) -> ClientConfig {
    for (name, value) in &config.properties {
        if but.contains(&name.as_str()) {
            continue;
        }
        // Another name for one of ours: of the two librdkafka would take whichever it is told last.
        match name.as_str() {
            "queue.buffering.max.ms" => drop(client.remove("linger.ms")),
            "max.partition.fetch.bytes" => drop(client.remove("fetch.message.max.bytes")),
            "message.timeout.ms" => drop(client.remove("delivery.timeout.ms")),
            _ => {}
        }
        client.set(name, &value.0);
    }
    client
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::kafka::tests::configuration;

    fn with(properties: &[(&str, &str)]) -> config::Kafka {
        let mut config = configuration("localhost:1");
        for (name, value) in properties {
            config.properties.insert((*name).into(), config::Secretive((*value).into()));
        }
        config
    }

    #[test]
    fn each_side_gets_the_users_properties_that_mean_something_to_it() {
        let config = with(&[
            ("compression.type", "zstd"),
            ("fetch.max.bytes", "1000000"),
            ("session.timeout.ms", "7000"),
            ("linger.ms", "5"),
            ("client.id", "mine"),
        ]);
        let cases = [
            ("consumer", consumer(&config), [None, Some("1000000"), Some("7000"), None, Some("mine")]),
            ("observer", observer(&config), [None, Some("1000000"), None, None, Some("mine")]),
            ("producer", producer(&config), [Some("zstd"), None, None, Some("5"), Some("mine")]),
            ("admin", admin(&config), [None, None, None, None, Some("mine")]),
        ];
        let names = ["compression.type", "fetch.max.bytes", "session.timeout.ms", "linger.ms", "client.id"];
        for (kind, client, expected) in cases {
            for (name, value) in names.into_iter().zip(expected) {
                assert_eq!(client.get(name), value, "{name} of the {kind}");
            }
            assert_eq!(client.get("socket.timeout.ms"), Some("10000"), "of the {kind}");
        }
    }

    #[test]
    fn our_own_properties_are_taken_by_librdkafka() {
        assert_eq!(check(&with(&[])), Ok(()));
    }

    #[test]
    fn sasl_without_a_mechanism_is_said_in_our_own_words() {
        for protocol in ["SASL_SSL", "sasl_plaintext"] {
            let problem = check(&with(&[("security.protocol", protocol)])).expect_err("no mechanism");
            assert!(problem.to_string().contains("sasl.mechanism"), "{problem}");
        }
        for name in ["sasl.mechanism", "sasl.mechanisms"] {
            assert_eq!(check(&with(&[("security.protocol", "SASL_SSL"), (name, "PLAIN")])), Ok(()));
        }
    }

    #[test]
    fn what_only_a_client_finds_wrong_is_found_without_asking_a_broker() {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").expect("a port is free");
        listener.set_nonblocking(true).expect("a socket can be");
        let mut config = with(&[]);
        config.brokers = listener.local_addr().expect("it is bound").to_string();
        assert_eq!(try_out(&config), Ok(()));
        for (properties, told) in [
            (
                &[("session.timeout.ms", "3600000"), ("max.poll.interval.ms", "60000")][..],
                "max.poll.interval.ms",
            ),
            (&[("security.protocol", "ssl"), ("ssl.ca.location", "/no/such/ca.pem")], "ssl.ca.location"),
        ] {
            let config = config::Kafka { properties: with(properties).properties, ..config.clone() };
            assert_eq!(check(&config), Ok(()));
            let problem = try_out(&config).expect_err("librdkafka makes no such client");
            assert!(
                matches!(&problem, StartProblem::Misconfigured(text) if text.contains(told)),
                "{problem}"
            );
        }
        assert!(listener.accept().is_err(), "nobody has called");
    }

    #[test]
    fn an_unknown_property_is_a_matter_of_configuration() {
        let problem = check(&with(&[("fetch.maximum", "1")])).expect_err("no such property");
        assert!(matches!(problem, StartProblem::Misconfigured(ref text) if text.contains("fetch.maximum")));
    }
}
