use std::sync::mpsc::{Sender, channel};

use rdkafka::types::{RDKafkaApiKey, RDKafkaRespErr};

use super::*;
use crate::kafka::follow::{Listener, LogEnds, Seen, follow};

/// Says what it is told.
struct Teller<const TRANSACTIONAL: bool>(Sender<String>);

impl<const TRANSACTIONAL: bool> Teller<TRANSACTIONAL> {
    fn tell(&self, text: String) {
        self.0.send(text).unwrap();
    }
}

impl<const TRANSACTIONAL: bool> Listener for Teller<TRANSACTIONAL> {
    const TRANSACTIONAL: bool = TRANSACTIONAL;

    fn begins(&self, log: &LogEnds, first: i64) {
        self.tell(format!("{}: {first} to {}", log.partition, log.high));
    }

    fn record(&self, record: &Seen<'_>) {
        self.tell(format!("{}: {}", record.partition(), record.offset()));
    }

    fn begins_anew(&self, partition: i32) {
        self.tell(format!("{partition}: anew"));
    }

    fn deleted_below(&self, partition: i32, low: i64) {
        self.tell(format!("{partition}: from {low}"));
    }

    fn caught_up(&self) {
        self.tell("caught up".into());
    }
}

#[test]
fn a_topic_is_read_to_its_end_with_its_last_record_and_not_only_once_the_brokers_say_so() {
    let (_cluster, mut config) = cluster(3);
    produce(&config, 0, &["a", "b"]);
    produce(&config, 2, &["c"]);
    // The brokers' word takes them fetch.wait.max.ms.
    config.properties.insert("enable.partition.eof".into(), config::Secretive("false".into()));
    let (teller, told) = channel();
    let _following = follow(&config, TOPIC, None, Teller::<false>(teller)).unwrap();
    let mut told: Vec<String> = (0..7).map(|_| told.recv_timeout(HANGS).unwrap()).collect();
    assert_eq!(told.pop().unwrap(), "caught up");
    told.sort();
    assert_eq!(told, ["0: 0", "0: 0 to 2", "0: 1", "1: 0 to 0", "2: 0", "2: 0 to 1"]);
}

#[test]
fn an_empty_topic_is_read_to_its_end_at_once() {
    let (_cluster, mut config) = cluster(1);
    config.properties.insert("enable.partition.eof".into(), config::Secretive("false".into()));
    let (teller, told) = channel();
    let _following = follow(&config, TOPIC, None, Teller::<false>(teller)).unwrap();
    let told: Vec<String> = (0..2).map(|_| told.recv_timeout(HANGS).unwrap()).collect();
    assert_eq!(told, ["0: 0 to 0", "caught up"]);
}

#[test]
fn a_topic_that_transactions_write_to_is_read_to_its_end_only_once_the_brokers_say_so() {
    let (_cluster, config) = cluster(1);
    produce(&config, 0, &["a"]);
    let mut without_their_word = config.clone();
    without_their_word.properties.insert("enable.partition.eof".into(), config::Secretive("false".into()));
    let (teller, told) = channel();
    let _following = follow(&without_their_word, TOPIC, None, Teller::<true>(teller)).unwrap();
    let told_next = || told.recv_timeout(HANGS).unwrap();
    assert_eq!([told_next(), told_next()], ["0: 0 to 1", "0: 0"]);
    produce(&config, 0, &["b"]);
    assert_eq!(told_next(), "0: 1");
    let (teller, told) = channel();
    let _following = follow(&config, TOPIC, None, Teller::<true>(teller)).unwrap();
    let told: Vec<String> = (0..4).map(|_| told.recv_timeout(HANGS).unwrap()).collect();
    assert_eq!(told, ["0: 0 to 2", "0: 0", "0: 1", "caught up"]);
}

#[test]
fn a_partition_whose_leader_was_behind_for_a_moment_is_read_on() {
    let (cluster, config) = cluster(1);
    produce(&config, 0, &["a"]);
    let (teller, told) = channel();
    let _following = follow(&config, TOPIC, None, Teller::<false>(teller)).unwrap();
    let told_next = || told.recv_timeout(HANGS).unwrap();
    while told_next() != "caught up" {}
    cluster.request_errors(RDKafkaApiKey::Fetch, &[RDKafkaRespErr::RD_KAFKA_RESP_ERR_OFFSET_OUT_OF_RANGE]);
    // It has looked, and found that its place is within the partition.
    while told_next() != "0: from 0" {}
    produce(&config, 0, &["b"]);
    // Between them it tells of its looks.
    assert!((0..5).any(|_| told_next() == "0: 1"));
}
