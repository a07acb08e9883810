//! Every command of Kafka's own tools that a document gives is one that the tools take, on a queue of the test's.

use std::collections::BTreeSet;

use super::{documents, lines_of_code};
use crate::harness::{Kafka, Queue};

/// Kafka's scripts hand all that they are given to a class.
fn class(script: &str) -> &'static str {
    match script {
        "kafka-topics.sh" => "org.apache.kafka.tools.TopicCommand",
        "kafka-configs.sh" => "kafka.admin.ConfigCommand",
        "kafka-consumer-groups.sh" => "org.apache.kafka.tools.consumer.group.ConsumerGroupCommand",
        "kafka-transactions.sh" => "org.apache.kafka.tools.TransactionsCommand",
        "kafka-console-consumer.sh" => "org.apache.kafka.tools.consumer.ConsoleConsumer",
        other => panic!("which class is {other}?"),
    }
}

#[test]
fn each_command_of_kafkas_tools_in_the_documents_does_its_work() {
    let queue = Queue::new(Kafka::shared(), 2);
    queue.put(["{}"]);
    queue.kafka.commit(&queue.group, &queue.topic, 0, 0, "");
    let mut commands = BTreeSet::new();
    for (_, text) in documents() {
        let lines = lines_of_code(&text).into_iter().filter(|line| line.starts_with("kafka-"));
        commands.extend(lines.map(|line| line.split([' ', '\t']).map(str::to_owned).collect::<Vec<_>>()));
    }
    assert!(commands.len() > 6, "{commands:?}");
    for command in commands {
        // What is done with the output is the shell's; the harness says where the brokers are.
        let words = command.iter().take_while(|word| !["|", "#", ""].contains(&word.as_str()));
        let words: Vec<&str> = words
            .map(|word| match word.as_str() {
                "email-queue" => &queue.topic,
                "email-dlq" => &queue.dlq_topic,
                "email-workers" => &queue.group,
                // It waits so long for more.
                "10000" => "1000",
                word => word,
            })
            .collect();
        let [script, "--bootstrap-server", "BROKERS", arguments @ ..] = words.as_slice() else {
            panic!("names no brokers: {words:?}");
        };
        queue.kafka.tool(class(script), arguments);
    }
    let moved = queue.kafka.committed(&queue.group, &queue.topic);
    assert_eq!(moved.iter().map(|(_, offset)| offset).sum::<i64>(), 1, "--to-latest: {moved:?}");
    assert_eq!(queue.kafka.partitions(&queue.topic).len(), 12);
}
