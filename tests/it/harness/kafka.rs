//! A real Apache Kafka: one node in KRaft mode, or three, with their own ports and data.

use std::path::PathBuf;
use std::sync::{Mutex, MutexGuard, OnceLock, PoisonError};
use std::time::Duration;

use rdkafka::ClientConfig;
use rdkafka::admin::{AdminClient, AdminOptions, NewTopic, TopicReplication};
use rdkafka::client::DefaultClientContext;
use rdkafka::consumer::{BaseConsumer, CommitMode, Consumer};
use rdkafka::message::{Header, Headers, Message, OwnedHeaders};
use rdkafka::producer::{BaseProducer, BaseRecord, DeliveryResult, Producer, ProducerContext};
use rdkafka::{ClientContext, Offset, TopicPartitionList};

use super::kafka_cluster::{self, Broker};
use super::process;
use super::until;

const ANSWER_TIMEOUT: Duration = Duration::from_secs(30);

pub struct Kafka {
    brokers: Vec<Broker>,
    /// Asks for partitions and watermarks; it is in no group.
    observer: BaseConsumer,
}

/// A record as a test sees it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Record {
    pub partition: i32,
    pub offset: i64,
    pub timestamp_ms: i64,
    pub key: Option<Vec<u8>>,
    pub headers: Vec<(String, Option<Vec<u8>>)>,
    pub value: Option<Vec<u8>>,
}

impl Record {
    pub fn of(value: impl Into<Vec<u8>>) -> Record {
        Record { value: Some(value.into()), ..Record::default() }
    }
}

impl Kafka {
    /// The broker that all tests of this binary share. Use [`Kafka::start`] for one to be restarted.
    pub fn shared() -> &'static Kafka {
        static SHARED: OnceLock<Kafka> = OnceLock::new();
        SHARED.get_or_init(Kafka::start)
    }

    /// One broker.
    pub fn start() -> Kafka {
        Kafka::of(Broker::start(1))
    }

    /// One broker with further properties, which win over the usual ones; they are made of its port.
    pub fn start_with(further: impl FnOnce(u16) -> String) -> Kafka {
        Kafka::of(vec![Broker::start_with(further)])
    }

    /// Three brokers; every topic is on all of them, and takes records while two are there.
    fn cluster() -> Kafka {
        Kafka::of(Broker::start(3))
    }

    /// Three brokers, for one test at a time: each leaves them well behind it.
    pub fn shared_cluster() -> MutexGuard<'static, Kafka> {
        static CLUSTER: OnceLock<Mutex<Kafka>> = OnceLock::new();
        let cluster = CLUSTER.get_or_init(|| Mutex::new(Kafka::cluster()));
        // A test that failed with the brokers in hand is told by its own failure.
        cluster.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn of(brokers: Vec<Broker>) -> Kafka {
        let observer = client(&addresses(&brokers)).create().expect("the client is well configured");
        Kafka { brokers, observer }
    }

    /// What a client is told: all brokers.
    pub fn address(&self) -> String {
        addresses(&self.brokers)
    }

    pub fn brokers(&self) -> &[Broker] {
        &self.brokers
    }

    /// Ends the first broker by SIG`signal`, and starts it again on the same port and data.
    pub fn restart(&self, signal: &str) {
        self.brokers[0].restart(signal);
    }

    /// Waits until every partition of a topic has all its replicas in step.
    pub fn wait_until_in_sync(&self, topic: &str) {
        until(&format!("the replicas of {topic}"), || {
            let metadata = self.observer.fetch_metadata(Some(topic), ANSWER_TIMEOUT).ok()?;
            let partitions = metadata.topics()[0].partitions();
            let in_sync = partitions.iter().all(|of| of.isr().len() == self.brokers.len());
            (in_sync && !partitions.is_empty()).then_some(())
        });
    }

    /// Where its properties are: read at each start.
    pub fn properties_file(&self) -> PathBuf {
        self.brokers[0].properties_file()
    }

    /// Runs one of Kafka's own tools to its end.
    pub fn tool(&self, class: &str, arguments: &[&str]) {
        let mut command = kafka_cluster::java();
        command.args([class, "--bootstrap-server", &self.address()]).args(arguments);
        let output = process::run(command, b"");
        assert!(output.status.success(), "{arguments:?}: {output:?}");
    }

    pub fn create_topic(&self, name: &str, partitions: i32) {
        self.create_topic_with(name, partitions, &[]);
    }

    /// Makes a topic with these settings of its own, by Kafka's names.
    pub fn create_topic_with(&self, name: &str, partitions: i32, settings: &[(&str, &str)]) {
        let admin: AdminClient<DefaultClientContext> =
            self.client().create().expect("the client is well configured");
        let topic = NewTopic::new(name, partitions, TopicReplication::Fixed(self.brokers.len() as i32));
        let topic = settings.iter().fold(topic, |topic, (key, value)| topic.set(key, value));
        let options = AdminOptions::new().operation_timeout(Some(ANSWER_TIMEOUT));
        let results =
            futures::executor::block_on(admin.create_topics([&topic], &options)).expect("Kafka answers");
        for result in results {
            result.expect("the topic is new");
        }
    }

    /// Puts records on a topic: in the partition that the record names, by turns where `spread` is given.
    pub fn produce(&self, topic: &str, records: &[Record], spread: Option<i32>) {
        assert_eq!(self.offer(topic, records, spread), Vec::<String>::new());
    }

    /// As [`Kafka::produce`]; returns why those were not taken that were not.
    pub fn offer(&self, topic: &str, records: &[Record], spread: Option<i32>) -> Vec<String> {
        let producer: BaseProducer<Deliveries> = self
            .client()
            .set("linger.ms", "5")
            // What is too large is for the topic to say.
            .set("message.max.bytes", "1000000000")
            .set("queue.buffering.max.messages", "1000000")
            .create_with_context(Deliveries::default())
            .expect("the client is well configured");
        for (number, record) in records.iter().enumerate() {
            let headers = record.headers.iter().fold(OwnedHeaders::new(), |headers, (name, value)| {
                headers.insert(Header { key: name, value: value.as_ref() })
            });
            let partition = spread.map_or(record.partition, |count| (number % count as usize) as i32);
            let mut to_send = BaseRecord::<[u8], [u8]>::to(topic).headers(headers).partition(partition);
            if let Some(key) = &record.key {
                to_send = to_send.key(key);
            }
            if let Some(value) = &record.value {
                to_send = to_send.payload(value);
            }
            if record.timestamp_ms > 0 {
                to_send = to_send.timestamp(record.timestamp_ms);
            }
            producer.send(to_send).map_err(|(error, _)| error).expect("the producer's queue is long enough");
        }
        producer.flush(ANSWER_TIMEOUT).expect("Kafka answers");
        let mut deliveries = producer.context().0.lock().expect("no callback panics");
        assert_eq!(deliveries.taken + deliveries.failed.len(), records.len());
        std::mem::take(&mut deliveries.failed)
    }

    /// Everything on a topic, partition by partition.
    pub fn read(&self, topic: &str) -> Vec<Record> {
        let consumer: BaseConsumer =
            self.client().set("group.id", "reader").create().expect("the client is well configured");
        let mut records = Vec::new();
        for (partition, low, high) in self.watermarks(topic) {
            if low == high {
                continue;
            }
            let mut assignment = TopicPartitionList::new();
            assignment
                .add_partition_offset(topic, partition, Offset::Beginning)
                .expect("beginning is an offset");
            consumer.assign(&assignment).expect("assigning asks nobody");
            let mut next = low;
            while next < high {
                // A poll may end early for what concerns the assignment before.
                let message = until("a record", || consumer.poll(Duration::from_secs(1)));
                let message = message.expect("the record can be read");
                next = message.offset() + 1;
                records.push(Record {
                    partition,
                    offset: message.offset(),
                    timestamp_ms: message.timestamp().to_millis().unwrap_or_default(),
                    key: message.key().map(<[u8]>::to_vec),
                    headers: message.headers().map(owned).unwrap_or_default(),
                    value: message.payload().map(<[u8]>::to_vec),
                });
            }
        }
        records
    }

    /// The records of a topic, partition by partition, but for those of transactions that were taken back or are open.
    pub fn read_committed(&self, topic: &str) -> Vec<Record> {
        let mut properties = self.client();
        properties
            .set("group.id", "reader")
            .set("isolation.level", "read_committed")
            .set("enable.partition.eof", "true");
        let consumer: BaseConsumer = properties.create().expect("the client is well configured");
        let mut assignment = TopicPartitionList::new();
        let partitions = self.partitions(topic);
        for partition in &partitions {
            assignment
                .add_partition_offset(topic, *partition, Offset::Beginning)
                .expect("beginning is an offset");
        }
        consumer.assign(&assignment).expect("assigning asks nobody");
        let mut at_the_end = std::collections::BTreeSet::new();
        let mut records = Vec::new();
        while at_the_end.len() < partitions.len() {
            match until("a record", || consumer.poll(Duration::from_secs(1))) {
                Ok(message) => records.push(Record {
                    partition: message.partition(),
                    offset: message.offset(),
                    timestamp_ms: message.timestamp().to_millis().unwrap_or_default(),
                    key: message.key().map(<[u8]>::to_vec),
                    headers: message.headers().map(owned).unwrap_or_default(),
                    value: message.payload().map(<[u8]>::to_vec),
                }),
                Err(rdkafka::error::KafkaError::PartitionEOF(partition)) => {
                    at_the_end.insert(partition);
                }
                Err(error) => panic!("{topic} can't be read: {error}"),
            }
        }
        records
    }

    /// How many records a topic has had, over all partitions.
    pub fn count(&self, topic: &str) -> i64 {
        self.watermarks(topic).into_iter().map(|(_, _, high)| high).sum()
    }

    /// A topic's partitions; waits until it is there.
    pub fn partitions(&self, topic: &str) -> Vec<i32> {
        // A topic that has just been made, or a broker that has just started, may take a moment.
        until(&format!("the partitions of {topic}"), || {
            let metadata = self.observer.fetch_metadata(Some(topic), ANSWER_TIMEOUT).ok()?;
            let partitions: Vec<_> = metadata.topics()[0].partitions().iter().map(|of| of.id()).collect();
            (!partitions.is_empty()).then_some(partitions)
        })
    }

    /// What a group has committed of each partition; 0 where it has committed nothing.
    pub fn committed(&self, group: &str, topic: &str) -> Vec<(i32, i64)> {
        let consumer: BaseConsumer =
            self.client().set("group.id", group).create().expect("the client is well configured");
        let mut asked = TopicPartitionList::new();
        for partition in self.partitions(topic) {
            asked.add_partition(topic, partition);
        }
        until("committed offsets", || {
            // A coordinator that has just moved or started answers a moment later.
            let answered = consumer.committed_offsets(asked.clone(), ANSWER_TIMEOUT).ok()?;
            let committed = answered.elements().into_iter().map(|element| {
                let offset = element.offset().to_raw().filter(|offset| *offset > 0).unwrap_or_default();
                (element.partition(), offset)
            });
            Some(committed.collect())
        })
    }

    /// What stands beside the committed offset of each partition.
    pub fn metadata(&self, group: &str, topic: &str) -> Vec<String> {
        let consumer: BaseConsumer =
            self.client().set("group.id", group).create().expect("the client is well configured");
        let mut asked = TopicPartitionList::new();
        for partition in self.partitions(topic) {
            asked.add_partition(topic, partition);
        }
        until("committed metadata", || {
            let answered = consumer.committed_offsets(asked.clone(), ANSWER_TIMEOUT).ok()?;
            Some(answered.elements().iter().map(|element| element.metadata().to_owned()).collect())
        })
    }

    /// Commits as another program might, which is in the group's place while nobody is in it.
    pub fn commit(&self, group: &str, topic: &str, partition: i32, offset: i64, metadata: &str) {
        let consumer: BaseConsumer =
            self.client().set("group.id", group).create().expect("the client is well configured");
        let mut committed = TopicPartitionList::new();
        let mut element = committed.add_partition(topic, partition);
        element.set_offset(Offset::Offset(offset)).expect("it is an offset");
        element.set_metadata(metadata);
        until("the commit", || consumer.commit(&committed, CommitMode::Sync).ok());
    }

    /// Whether the group has committed everything that is on the topic now.
    pub fn has_caught_up(&self, group: &str, topic: &str) -> bool {
        let committed = self.committed(group, topic);
        self.watermarks(topic).iter().all(|(partition, low, high)| {
            low == high || committed.iter().any(|(of, offset)| of == partition && offset == high)
        })
    }

    fn watermarks(&self, topic: &str) -> Vec<(i32, i64, i64)> {
        let of = |partition| {
            until("watermarks", || {
                let (low, high) = self.observer.fetch_watermarks(topic, partition, ANSWER_TIMEOUT).ok()?;
                Some((partition, low, high))
            })
        };
        self.partitions(topic).into_iter().map(of).collect()
    }

    pub fn client(&self) -> ClientConfig {
        client(&self.address())
    }
}

fn client(addresses: &str) -> ClientConfig {
    let mut config = ClientConfig::new();
    config.set("bootstrap.servers", addresses);
    config
}

fn addresses(brokers: &[Broker]) -> String {
    brokers.iter().map(Broker::address).collect::<Vec<_>>().join(",")
}

fn owned(headers: &impl Headers) -> Vec<(String, Option<Vec<u8>>)> {
    headers.iter().map(|header| (header.key.to_owned(), header.value.map(<[u8]>::to_vec))).collect()
}

/// What became of the records that were handed to the producer.
#[derive(Default)]
struct Deliveries(Mutex<Outcomes>);

#[derive(Default)]
struct Outcomes {
    taken: usize,
    failed: Vec<String>,
}

impl ClientContext for Deliveries {}

impl ProducerContext for Deliveries {
    type DeliveryOpaque = ();

    fn delivery(&self, result: &DeliveryResult<'_>, (): ()) {
        let mut outcomes = self.0.lock().expect("no callback panics");
        match result {
            Ok(_) => outcomes.taken += 1,
            Err((error, _)) => outcomes.failed.push(error.to_string()),
        }
    }
}
