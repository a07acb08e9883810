//! Dead letters on their topic, whatever the brokers answer.

use std::sync::atomic::{AtomicUsize, Ordering};

use bytes::Bytes;
use chrono::Utc;
use mailroom_actors::domain::failure::{Cause, Failure, Stage};
use mailroom_actors::domain::job::{DeadLetter, RecipientSet};
use mailroom_actors::ports::DeadLetterLog;
use rdkafka::Message;
use rdkafka::message::Headers;
use rdkafka::types::{RDKafkaApiKey, RDKafkaRespErr};

use super::*;
use crate::kafka::KafkaDeadLetters;
use crate::kafka::letter::{EncodedLetter, Encoder};

fn letter(value: &[u8]) -> Arc<DeadLetter> {
    Arc::new(DeadLetter {
        record: Arc::new(Record {
            topic: TOPIC.into(),
            partition: 0,
            offset: 7,
            timestamp_ms: None,
            key: Some(Bytes::from_static(b"key")),
            value: Some(Bytes::copy_from_slice(value)),
            headers: vec![],
        }),
        failure: Failure::before_attempt(Stage::Decode, Cause::Malformed, "no job"),
        attempts_spent: 0,
        attempts: vec![],
        served: RecipientSet::default(),
        failed_at: Utc::now(),
    })
}

/// The job itself, cut off at the limit.
fn plain() -> Encoder {
    Arc::new(|letter, limit| {
        let value = letter.record.value.clone().unwrap_or_default();
        EncodedLetter {
            key: letter.record.key.clone(),
            value: value[..value.len().min(limit)].to_vec(),
            headers: vec![("a".into(), Some(b"1".to_vec())), ("a".into(), None)],
            timestamp_ms: 1_700_000_000_000,
            lean_size: 0,
        }
    })
}

struct Letter {
    value: Vec<u8>,
    key: Option<Vec<u8>>,
    timestamp_ms: Option<i64>,
    headers: Vec<(String, Option<Vec<u8>>)>,
}

fn read_letters(config: &config::Kafka, count: usize) -> Vec<Letter> {
    let consumer: BaseConsumer = ClientConfig::new()
        .set("bootstrap.servers", &config.brokers)
        .set("group.id", "reader")
        .create()
        .unwrap();
    let mut list = TopicPartitionList::new();
    list.add_partition_offset(LETTERS, 0, Offset::Beginning).unwrap();
    consumer.assign(&list).unwrap();
    (0..count)
        .map(|_| {
            let message = consumer.poll(HANGS).expect("a letter").unwrap();
            let headers = message.headers().map(|headers| {
                headers.iter().map(|h| (h.key.to_owned(), h.value.map(<[u8]>::to_vec))).collect()
            });
            Letter {
                value: message.payload().unwrap_or_default().to_vec(),
                key: message.key().map(<[u8]>::to_vec),
                timestamp_ms: message.timestamp().to_millis(),
                headers: headers.unwrap_or_default(),
            }
        })
        .collect()
}

#[tokio::test]
async fn a_letter_is_on_the_topic_once_it_is_published() {
    let (_cluster, config) = cluster(1);
    let letters = KafkaDeadLetters::new(&config, plain()).unwrap();
    letters.publish(letter(b"{\"to\": 1}")).await.unwrap();
    // Large ones are encoded beside the actors' thread.
    letters.publish(letter(&[b'x'; 200_000])).await.unwrap();
    let read = read_letters(&config, 2);
    assert_eq!(read[0].value, b"{\"to\": 1}");
    assert_eq!(read[0].key.as_deref(), Some(&b"key"[..]));
    assert_eq!(read[0].timestamp_ms, Some(1_700_000_000_000));
    assert_eq!(read[0].headers, [("a".into(), Some(b"1".to_vec())), ("a".into(), None)]);
    assert_eq!(read[1].value.len(), 200_000);
}

#[tokio::test]
async fn letters_published_side_by_side_are_all_taken() {
    let (_cluster, config) = cluster(1);
    let letters = KafkaDeadLetters::new(&config, plain()).unwrap();
    let all = (0..200).map(|n| letters.publish(letter(format!("{n}").as_bytes())));
    let results = futures::future::join_all(all).await;
    assert!(results.iter().all(Result::is_ok), "{results:?}");
    assert_eq!(read_letters(&config, 200).len(), 200);
}

#[tokio::test]
async fn a_topic_that_may_not_be_written_is_an_error_and_works_again_once_it_may() {
    let (cluster, config) = cluster(1);
    let letters = KafkaDeadLetters::new(&config, plain()).unwrap();
    letters.publish(letter(b"before")).await.unwrap();
    cluster.request_errors(
        RDKafkaApiKey::Produce,
        &[RDKafkaRespErr::RD_KAFKA_RESP_ERR_TOPIC_AUTHORIZATION_FAILED],
    );
    let error = letters.publish(letter(b"refused")).await.unwrap_err();
    assert!(error.contains(LETTERS) && error.to_lowercase().contains("authorization"), "{error}");
    letters.publish(letter(b"after")).await.unwrap();
    let values: Vec<_> = read_letters(&config, 2).into_iter().map(|l| l.value).collect();
    assert_eq!(values, [b"before".to_vec(), b"after".to_vec()]);
}

#[tokio::test]
async fn a_passing_error_is_got_over_without_a_second_copy() {
    let (cluster, config) = cluster(1);
    let letters = KafkaDeadLetters::new(&config, plain()).unwrap();
    cluster.request_errors(
        RDKafkaApiKey::Produce,
        &[
            RDKafkaRespErr::RD_KAFKA_RESP_ERR_NOT_LEADER_FOR_PARTITION,
            RDKafkaRespErr::RD_KAFKA_RESP_ERR_NOT_ENOUGH_REPLICAS,
        ],
    );
    letters.publish(letter(b"once")).await.unwrap();
    letters.publish(letter(b"next")).await.unwrap();
    let values: Vec<_> = read_letters(&config, 2).into_iter().map(|l| l.value).collect();
    assert_eq!(values, [b"once".to_vec(), b"next".to_vec()]);
}

#[tokio::test]
async fn a_letter_that_is_too_large_for_the_broker_is_shortened() {
    let (cluster, config) = cluster(1);
    let letters = KafkaDeadLetters::new(&config, plain()).unwrap();
    cluster
        .request_errors(RDKafkaApiKey::Produce, &[RDKafkaRespErr::RD_KAFKA_RESP_ERR_MSG_SIZE_TOO_LARGE; 3]);
    letters.publish(letter(&[b'x'; 100_000])).await.unwrap();
    let length = read_letters(&config, 1)[0].value.len();
    assert!((50_000..60_000).contains(&length), "two steps of a quarter each: {length}");
}

#[tokio::test]
async fn an_encoder_that_panics_is_an_error_and_nothing_more() {
    let (_cluster, config) = cluster(1);
    let calls = Arc::new(AtomicUsize::new(0));
    let counted = Arc::clone(&calls);
    let encode = plain();
    let encoder: Encoder = Arc::new(move |letter, limit| {
        assert!(counted.fetch_add(1, Ordering::Relaxed) > 0, "the first letter can't be encoded");
        encode(letter, limit)
    });
    let letters = KafkaDeadLetters::new(&config, encoder).unwrap();
    assert!(letters.publish(letter(b"first")).await.is_err());
    letters.publish(letter(b"second")).await.unwrap();
    assert_eq!(read_letters(&config, 1)[0].value, b"second");
}

#[tokio::test]
async fn a_topic_that_is_missing_is_an_error_until_it_is_there() {
    let (cluster, mut config) = cluster(1);
    config.dlq_topic = "other-dlq".into();
    for (name, value) in [("delivery.timeout.ms", "1500"), ("topic.metadata.propagation.max.ms", "100")] {
        config.properties.insert(name.into(), config::Secretive(value.into()));
    }
    let letters = KafkaDeadLetters::new(&config, plain()).unwrap();
    assert!(letters.publish(letter(b"early")).await.is_err());
    cluster.create_topic("other-dlq", 1, 1).unwrap();
    // The caller tries for ever; the producer learns of the topic by itself, or is made anew.
    while letters.publish(letter(b"late")).await.is_err() {
        tokio::task::yield_now().await;
    }
}

#[tokio::test]
async fn a_letter_that_is_refused_once_is_offered_whole_again_since_the_batch_may_have_been_too_large() {
    let (cluster, config) = cluster(1);
    let letters = KafkaDeadLetters::new(&config, plain()).unwrap();
    cluster.request_errors(RDKafkaApiKey::Produce, &[RDKafkaRespErr::RD_KAFKA_RESP_ERR_MSG_SIZE_TOO_LARGE]);
    letters.publish(letter(&[b'x'; 100_000])).await.unwrap();
    assert_eq!(read_letters(&config, 1)[0].value.len(), 100_000);
}

#[tokio::test]
async fn a_producer_that_can_never_go_on_is_made_anew() {
    let (cluster, config) = cluster(1);
    let letters = KafkaDeadLetters::new(&config, plain()).unwrap();
    letters.publish(letter(b"before")).await.unwrap();
    cluster.request_errors(
        RDKafkaApiKey::Produce,
        &[RDKafkaRespErr::RD_KAFKA_RESP_ERR_OUT_OF_ORDER_SEQUENCE_NUMBER],
    );
    letters.publish(letter(b"fatal")).await.unwrap_err();
    // The caller tries for ever.
    while letters.publish(letter(b"after")).await.is_err() {
        tokio::task::yield_now().await;
    }
    let values: Vec<_> = read_letters(&config, 2).into_iter().map(|l| l.value).collect();
    assert_eq!(values, [b"before".to_vec(), b"after".to_vec()]);
}

#[test]
fn the_limits_tried_go_down_in_quarters_but_stop_before_the_job_itself_is_lost() {
    use crate::kafka::dead_letters::next_limit;
    for (refused, lean, expected) in [
        (1_000_000, 1_000_000, 750_000),
        (1_000_000, 990_000, 991_024),
        (991_000, 990_500, 990_500),
        (990_500, 990_500, 742_875),
        (1_000_000, 100_000, 750_000),
        (600, 600, 512),
        // The job is gone already.
        (900, 50_000, 675),
    ] {
        assert_eq!(next_limit(refused, lean), expected, "{refused} {lean}");
    }
}
