//! What is looked at before anything is joined, and what `mailroom send` needs.

use rdkafka::types::{RDKafkaApiKey, RDKafkaRespErr};

use super::*;
use crate::kafka::rights::Granted;
use crate::kafka::send::{Job, Sender};
use crate::kafka::{StartProblem, rights, topics};

#[tokio::test]
async fn where_all_topics_exist_there_is_nothing_to_do() {
    let (_cluster, config) = cluster(1);
    // The in-process cluster answers no admin call at all: one would end in `Away`.
    assert_eq!(topics::ensure(&config).await, Ok(()));
}

#[tokio::test]
async fn a_missing_topic_that_may_not_be_created_is_a_matter_of_configuration() {
    let (_cluster, mut config) = cluster(1);
    config.create_topics = false;
    config.dlq_topic = "elsewhere".into();
    let problem = topics::ensure(&config).await.unwrap_err();
    let StartProblem::Misconfigured(text) = problem else { panic!("{problem:?}") };
    assert!(text.contains("elsewhere") && text.contains("kafka.create_topics"), "{text}");
}

#[tokio::test]
async fn the_topic_of_decisions_hinders_no_e_mail_where_it_is_missing_or_may_not_be_seen() {
    let (cluster, mut config) = cluster(1);
    config.create_topics = false;
    let decisions = std::mem::replace(&mut config.decisions_topic, "elsewhere".into());
    assert_eq!(topics::ensure(&config).await, Ok(()));
    config.decisions_topic = decisions;
    let forbidden = RDKafkaRespErr::RD_KAFKA_RESP_ERR_TOPIC_AUTHORIZATION_FAILED;
    cluster.topic_error(&config.decisions_topic, forbidden).unwrap();
    assert_eq!(topics::ensure(&config).await, Ok(()));
}

#[tokio::test]
async fn brokers_that_are_away_are_waited_for() {
    let (cluster, config) = cluster(1);
    cluster.broker_down(-1).unwrap();
    let problem = topics::ensure(&config).await.unwrap_err();
    assert!(matches!(problem, StartProblem::Away(_)), "{problem:?}");
    cluster.broker_up(-1).unwrap();
    assert_eq!(topics::ensure(&config).await, Ok(()));
}

#[tokio::test]
async fn a_topic_that_may_not_be_described_is_a_matter_of_configuration() {
    let (cluster, config) = cluster(1);
    cluster.topic_error(LETTERS, RDKafkaRespErr::RD_KAFKA_RESP_ERR_TOPIC_AUTHORIZATION_FAILED).unwrap();
    let problem = topics::ensure(&config).await.unwrap_err();
    assert!(
        matches!(problem, StartProblem::Misconfigured(ref text) if text.contains(LETTERS)),
        "{problem:?}"
    );
}

#[tokio::test]
async fn rights_that_are_there_are_found_on_an_empty_topic_and_a_full_one() {
    let (_cluster, config) = cluster(1);
    // The mock never answers what may be done to a topic.
    let granted = Granted { reading: true, writing: false };
    assert_eq!(rights::check(&config, Duration::from_secs(2)).await, Ok(granted));
    produce(&config, 0, &["a"]);
    assert_eq!(rights::check(&config, Duration::from_secs(2)).await, Ok(granted));
}

#[tokio::test]
async fn a_group_that_may_not_be_joined_is_a_matter_of_configuration() {
    let (cluster, config) = cluster(1);
    cluster.request_errors(
        RDKafkaApiKey::OffsetFetch,
        &[RDKafkaRespErr::RD_KAFKA_RESP_ERR_GROUP_AUTHORIZATION_FAILED],
    );
    let problem = rights::check(&config, Duration::from_secs(2)).await.unwrap_err();
    let StartProblem::Misconfigured(text) = problem else { panic!("{problem:?}") };
    assert!(text.contains("ACL") && text.contains(&config.group), "{text}");
}

#[tokio::test]
async fn a_job_that_was_sent_is_named_by_its_place() {
    let (_cluster, config) = cluster(1);
    let sender = Sender::open(&config).await.unwrap();
    let job = Job { value: b"{}".to_vec(), headers: vec![("a".into(), b"1".to_vec())], ..Job::default() };
    assert_eq!(sender.send(&job).await.unwrap().to_string(), "email-queue-0-0");
    assert_eq!(sender.send(&job).await.unwrap().to_string(), "email-queue-0-1");
}

#[tokio::test]
async fn a_job_for_a_topic_that_is_not_there_is_refused() {
    let (_cluster, mut config) = cluster(1);
    config.topic = "nowhere".into();
    let problem = Sender::open(&config).await.map(|_| ()).unwrap_err();
    assert!(
        matches!(problem, StartProblem::Misconfigured(ref text) if text.contains("nowhere")),
        "{problem:?}"
    );
}

#[tokio::test]
async fn sending_ends_when_no_broker_answers() {
    let (cluster, config) = cluster(1);
    cluster.broker_down(-1).unwrap();
    let problem = Sender::open(&config).await.map(|_| ()).unwrap_err();
    assert!(matches!(problem, StartProblem::Away(_)), "{problem:?}");
}
