//! Single records by their coordinates.

use std::collections::BTreeSet;
use std::time::Duration;

use mailroom::config::{Sources, load_kafka};
use mailroom::kafka::fetch::Fetcher;

use crate::harness::kafka::Record;
use crate::harness::process::scratch_with;
use crate::harness::{Kafka, Queue};

const LIMIT: Duration = Duration::from_secs(10);

fn fetcher(queue: &Queue<'_>) -> Fetcher {
    let brokers = format!("kafka.brokers={}", queue.kafka.address());
    let sources = Sources { settings: vec![brokers], ..Sources::default() };
    let config = load_kafka(&sources).expect("it is well configured");
    Fetcher::new(&config).expect("librdkafka takes it")
}

#[test]
fn records_are_found_by_their_offsets_whatever_was_read_before() {
    let queue = Queue::with_letters(Kafka::shared(), 1);
    let records =
        |count: usize| -> Vec<Record> { (0..count).map(|number| Record::of(number.to_string())).collect() };
    queue.kafka.produce(&queue.topic, &records(84), None);
    queue.kafka.produce(&queue.dlq_topic, &records(3_000), None);
    let fetcher = fetcher(&queue);
    let mut read = 0;
    fetcher.read_all(&queue.topic, 0, LIMIT, |_| read += 1).expect("it can be read");
    assert_eq!(read, 84);
    for wanted in
        [vec![41, 42, 59], (100..140).collect(), vec![0, 2_999], vec![2_999, 5_000], vec![7], vec![]]
    {
        let wanted: BTreeSet<i64> = wanted.into_iter().collect();
        let found = fetcher.fetch(&queue.dlq_topic, 0, &wanted, LIMIT).expect("brokers answer");
        let found: BTreeSet<i64> = found.iter().map(|record| record.offset).collect();
        let expected: BTreeSet<i64> = wanted.iter().copied().filter(|offset| *offset < 3_000).collect();
        assert_eq!(found, expected);
        fetcher.read_all(&queue.topic, 0, LIMIT, |_| {}).expect("it can be read");
    }
    // Those that have left the topic are not there, and cost no wait.
    let asked = format!(
        r#"{{"version":1,"partitions":[{{"topic":"{}","partition":0,"offset":50}}]}}"#,
        queue.dlq_topic
    );
    let folder = scratch_with("deleted", &[("offsets.json", &asked)]);
    let file = folder.join("offsets.json");
    let file = file.to_str().expect("the path is text");
    queue.kafka.tool("org.apache.kafka.tools.DeleteRecordsCommand", &["--offset-json-file", file]);
    let found =
        fetcher.fetch(&queue.dlq_topic, 0, &[3, 4, 49, 50, 2_000].into(), LIMIT).expect("brokers answer");
    assert_eq!(found.iter().map(|record| record.offset).collect::<Vec<_>>(), [50, 2_000]);
}
