//! A real Apache Kafka broker: one node in KRaft mode, with its own ports and data.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::{Mutex, OnceLock};
use std::time::Duration;

use rdkafka::ClientConfig;
use rdkafka::admin::{AdminClient, AdminOptions, NewTopic, TopicReplication};
use rdkafka::client::DefaultClientContext;
use rdkafka::consumer::{BaseConsumer, Consumer};
use rdkafka::message::{Header, Headers, Message, OwnedHeaders};
use rdkafka::producer::{BaseProducer, BaseRecord, DeliveryResult, Producer, ProducerContext};
use rdkafka::{ClientContext, Offset, TopicPartitionList};

use super::process::{self, Process};
use super::{cache, until};

const ANSWER_TIMEOUT: Duration = Duration::from_secs(30);

pub struct Kafka {
    port: u16,
    folder: PathBuf,
    process: Mutex<Process>,
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

    pub fn start() -> Kafka {
        Kafka::start_with(|_| String::new())
    }

    /// With further properties, which win over the usual ones; they are made of its port.
    pub fn start_with(further: impl FnOnce(u16) -> String) -> Kafka {
        let folder = process::scratch("kafka");
        let (port, controller) = (process::free_port(), process::free_port());
        let usual = properties(port, controller, &folder);
        std::fs::write(folder.join("server.properties"), format!("{usual}\n{}", further(port)))
            .expect("scratch is writable");
        let mut format = java();
        format.args(["kafka.tools.StorageTool", "format", "-t", "bWFpbHJvb20tdGVzdHMtMQ", "-c"]);
        format.arg(folder.join("server.properties"));
        let formatted = process::run(format, b"");
        assert!(formatted.status.success(), "{}", String::from_utf8_lossy(&formatted.stderr));
        let process = Mutex::new(broker(&folder, port));
        let observer = client(port).create().expect("the client is well configured");
        Kafka { port, folder, process, observer }
    }

    pub fn address(&self) -> String {
        format!("127.0.0.1:{}", self.port)
    }

    /// Ends the broker by SIG`signal`, and starts it again on the same port and data.
    pub fn restart(&self, signal: &str) {
        let mut process = self.process.lock().expect("no test panics while restarting");
        process.signal(signal);
        process.wait();
        *process = broker(&self.folder, self.port);
    }

    /// Where its properties are: read at each start.
    pub fn properties_file(&self) -> PathBuf {
        self.folder.join("server.properties")
    }

    /// Runs one of Kafka's own tools to its end.
    pub fn tool(&self, class: &str, arguments: &[&str]) {
        let mut command = java();
        command.args([class, "--bootstrap-server", &self.address()]).args(arguments);
        let output = process::run(command, b"");
        assert!(output.status.success(), "{arguments:?}: {output:?}");
    }

    pub fn create_topic(&self, name: &str, partitions: i32) {
        let admin: AdminClient<DefaultClientContext> =
            self.client().create().expect("the client is well configured");
        let topic = NewTopic::new(name, partitions, TopicReplication::Fixed(1));
        let options = AdminOptions::new().operation_timeout(Some(ANSWER_TIMEOUT));
        let results =
            futures::executor::block_on(admin.create_topics([&topic], &options)).expect("Kafka answers");
        for result in results {
            result.expect("the topic is new");
        }
    }

    /// Puts records on a topic: in the partition that the record names, by turns where `spread` is given.
    pub fn produce(&self, topic: &str, records: &[Record], spread: Option<i32>) {
        let producer: BaseProducer<Deliveries> = self
            .client()
            .set("linger.ms", "5")
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
        producer.flush(ANSWER_TIMEOUT).expect("Kafka takes the records");
        let deliveries = producer.context().0.lock().expect("no callback panics");
        assert_eq!(deliveries.failed, Vec::<String>::new());
        assert_eq!(deliveries.taken, records.len());
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
                let message =
                    consumer.poll(ANSWER_TIMEOUT).expect("Kafka answers").expect("the record can be read");
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

    fn client(&self) -> ClientConfig {
        client(self.port)
    }
}

fn client(port: u16) -> ClientConfig {
    let mut config = ClientConfig::new();
    config.set("bootstrap.servers", format!("127.0.0.1:{port}"));
    config
}

fn owned(headers: &impl Headers) -> Vec<(String, Option<Vec<u8>>)> {
    headers.iter().map(|header| (header.key.to_owned(), header.value.map(<[u8]>::to_vec))).collect()
}

fn java() -> Command {
    let mut java = Command::new("java");
    java.args(["-Xmx512m", "-XX:+UseSerialGC", "-XX:TieredStopAtLevel=1", "-cp"]);
    java.arg(cache::kafka_jars().join("*"));
    java
}

fn broker(folder: &Path, port: u16) -> Process {
    let mut command = java();
    command.arg("kafka.Kafka").arg(folder.join("server.properties"));
    let mut process = Process::start("Kafka", command);
    process.accepts_on(port);
    process
}

fn properties(port: u16, controller_port: u16, folder: &Path) -> String {
    include_str!("../../kafka.properties")
        .replace("@PORT@", &port.to_string())
        .replace("@CONTROLLER_PORT@", &controller_port.to_string())
        .replace("@FOLDER@", &folder.display().to_string())
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
