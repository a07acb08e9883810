//! The Kafka side against librdkafka's in-process cluster, which talks over real loopback sockets.

mod dead_letters;
mod follow;
mod group;
mod signs;
mod start;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use async_channel::Receiver;
use mailroom_actors::credits::Credits;
use mailroom_actors::domain::job::Record;
use mailroom_actors::ports::{AssignedPartition, CommitOffset, CommitRefusal, OffsetLog, OffsetLogEvent};
use rdkafka::consumer::{BaseConsumer, Consumer};
use rdkafka::mocking::MockCluster;
use rdkafka::producer::{BaseProducer, BaseRecord, DefaultProducerContext, Producer};
use rdkafka::{ClientConfig, Offset, TopicPartitionList};

use super::KafkaOffsetLog;
use crate::config;

pub(super) const TOPIC: &str = "email-queue";
const LETTERS: &str = "email-dlq";

/// A test that hears nothing for so long hangs; it says nothing about speed.
const HANGS: Duration = Duration::from_secs(90);

pub(super) fn configuration(brokers: &str) -> config::Kafka {
    config::Kafka {
        brokers: brokers.into(),
        group: "email-workers".into(),
        topic: TOPIC.into(),
        replay_topic: None,
        dlq_topic: LETTERS.into(),
        decisions_topic: format!("{LETTERS}-decisions"),
        create_topics: true,
        dlq_retention: Duration::from_secs(86_400),
        commit_interval: Duration::from_millis(200),
        properties: BTreeMap::new(),
    }
}

pub(super) type Cluster = MockCluster<'static, DefaultProducerContext>;

/// One broker with both topics.
pub(super) fn cluster(partitions: i32) -> (Cluster, config::Kafka) {
    cluster_of(1, partitions)
}

fn cluster_of(brokers: i32, partitions: i32) -> (Cluster, config::Kafka) {
    let cluster = MockCluster::new(brokers).unwrap();
    cluster.create_topic(TOPIC, partitions, 1).unwrap();
    cluster.create_topic(LETTERS, 1, 1).unwrap();
    cluster.create_topic(&format!("{LETTERS}-decisions"), 1, 1).unwrap();
    let mut config = configuration(&cluster.bootstrap_servers());
    // The in-process cluster ends a rebalance after a member has left only when a session could have.
    for (name, value) in [("session.timeout.ms", "6000"), ("heartbeat.interval.ms", "200")] {
        config.properties.insert(name.into(), config::Secretive(value.into()));
    }
    (cluster, config)
}

fn produce(config: &config::Kafka, partition: i32, values: &[&str]) {
    let producer: BaseProducer =
        ClientConfig::new().set("bootstrap.servers", &config.brokers).create().unwrap();
    for value in values {
        let record = BaseRecord::<str, str>::to(&config.topic).partition(partition).payload(value).key("key");
        producer.send(record).map_err(|(error, _)| error).unwrap();
    }
    producer.flush(HANGS).unwrap();
}

/// What the group has committed for one partition.
fn committed(config: &config::Kafka, partition: i32) -> Option<(i64, String)> {
    let consumer: BaseConsumer = ClientConfig::new()
        .set("bootstrap.servers", &config.brokers)
        .set("group.id", &config.group)
        .create()
        .unwrap();
    let mut list = TopicPartitionList::new();
    list.add_partition(&config.topic, partition);
    let list = consumer.committed_offsets(list, HANGS).unwrap();
    let entry = list.find_partition(&config.topic, partition).unwrap();
    match entry.offset() {
        Offset::Offset(offset) => Some((offset, entry.metadata().to_owned())),
        _ => None,
    }
}

fn offset(partition: i32, offset: i64, metadata: &str) -> CommitOffset {
    CommitOffset { partition: partition.into(), offset, metadata: metadata.into() }
}

/// The poll thread under test, with the test in the place of the actors.
struct Worker {
    log: KafkaOffsetLog,
    credits: Arc<Credits>,
    events: Receiver<OffsetLogEvent>,
    /// Whether all of an assigned partition may be taken at once.
    clears: bool,
}

impl Worker {
    fn start(config: &config::Kafka) -> Worker {
        Worker::with_credits(config, 1_000_000)
    }

    fn with_credits(config: &config::Kafka, jobs: usize) -> Worker {
        let credits = Arc::new(Credits::new(jobs, usize::MAX));
        let (sender, events) = async_channel::unbounded();
        let log = super::start(config, Duration::from_secs(20), Arc::clone(&credits), sender).unwrap();
        Worker { log, credits, events, clears: true }
    }

    /// The first event that `wanted` makes something of; those before it are dropped.
    fn wait<T>(&self, what: &str, mut wanted: impl FnMut(OffsetLogEvent) -> Option<T>) -> T {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap();
        runtime.block_on(async {
            let found = async {
                loop {
                    let event = self.events.recv().await.unwrap();
                    if let OffsetLogEvent::Fatal(text) = &event {
                        panic!("fatal while waiting for {what}: {text}");
                    }
                    if let OffsetLogEvent::Assigned(partitions) = &event
                        && self.clears
                    {
                        partitions.iter().for_each(|p| self.credits.clear(p.partition, i64::MAX));
                        self.log.read_on();
                    }
                    if let Some(found) = wanted(event) {
                        return found;
                    }
                }
            };
            tokio::time::timeout(HANGS, found).await.unwrap_or_else(|_| panic!("hangs waiting for {what}"))
        })
    }

    /// The next partitions that are given to it; that it is a member without any comes before that at times.
    fn assigned(&self) -> Vec<AssignedPartition> {
        self.wait("an assignment", |event| match event {
            OffsetLogEvent::Assigned(partitions) => (!partitions.is_empty()).then_some(partitions),
            OffsetLogEvent::Records(..) => panic!("records of partitions that were not announced"),
            _ => None,
        })
    }

    fn records(&self, count: usize) -> Vec<Record> {
        let mut records = Vec::new();
        self.wait("records", |event| {
            if let OffsetLogEvent::Records(_, more) = event {
                records.extend(more);
            }
            (records.len() >= count).then_some(())
        });
        records
    }

    fn commit(&self, offsets: Vec<CommitOffset>) -> Result<(), CommitRefusal> {
        self.log.commit(offsets);
        self.wait("the answer to a commit", |event| match event {
            OffsetLogEvent::Committed(answer) => Some(answer),
            _ => None,
        })
    }

    fn leave(self, last: Vec<CommitOffset>) -> Result<(), String> {
        self.log.leave(last);
        self.wait("leaving", |event| match event {
            OffsetLogEvent::Left(result) => Some(result),
            OffsetLogEvent::Revoking { .. } => panic!("nobody may be asked while leaving"),
            _ => None,
        })
    }
}

fn values(records: &[Record]) -> Vec<String> {
    records.iter().map(|r| String::from_utf8(r.value.as_ref().unwrap().to_vec()).unwrap()).collect()
}
