//! The archive beside another worker's, over librdkafka's in-process cluster.

use mailroom_actors::domain::failure::Cause;
use mailroom_actors::domain::letters::rules::Action;
use mailroom_actors::domain::letters::run::Run;
use rdkafka::mocking::MockCluster;

use super::*;
use crate::dlq::letter::summarise;

pub(crate) const LETTERS: &str = "email-dlq";
pub(crate) const DECISIONS: &str = "email-dlq-decisions";

pub(crate) fn kafka(brokers: &str) -> config::Kafka {
    config::Kafka {
        brokers: brokers.into(),
        group: "email-workers".into(),
        topic: "email-queue".into(),
        replay_topic: None,
        dlq_topic: LETTERS.into(),
        decisions_topic: DECISIONS.into(),
        create_topics: true,
        dlq_retention: Duration::from_secs(86_400),
        commit_interval: Duration::from_millis(200),
        properties: std::collections::BTreeMap::new(),
    }
}

pub(crate) fn dlq() -> config::Dlq {
    config::Dlq { index_letters: 1_000, rate: 10.0, max_replays: 5, allow_edit: false, transactions: true }
}

fn request() -> Request {
    Request {
        action: Action::Replay,
        filter: Filter { cause: Some(Cause::Quota), ..Filter::default() },
        reason: "ours".into(),
        rate: None,
        canary: 0,
        max: None,
        include_permanent: false,
        include_parked: false,
        value: None,
        by: "http".into(),
    }
}

/// The reasons of the runs on the topic, in order.
fn asked(kafka: &config::Kafka) -> Vec<String> {
    let mut asked = Vec::new();
    let fetcher = Fetcher::new(kafka);
    let read = fetcher.read_all(DECISIONS, 0, FETCH_TIMEOUT, |record| {
        if let Some(Said::Asked(run)) = record.key().and_then(|key| Said::read(key, record.value())) {
            asked.push(run.reason);
        }
    });
    read.unwrap();
    asked
}

#[tokio::test]
async fn of_two_runs_of_one_key_the_first_to_be_written_counts_and_is_the_last_on_the_topic() {
    let cluster = MockCluster::new(1).unwrap();
    cluster.create_topic(DECISIONS, 1, 1).unwrap();
    let kafka = kafka(&cluster.bootstrap_servers());
    // Nobody reads onto it but this test.
    let shelf = Arc::new(Shelf::new(10));
    shelf.letters_are_read();
    shelf.decisions_are_read();
    summarise(br#"{"original_message":{},"cause":"quota"}"#, 1, |summary| {
        shelf.index.write().add(LetterName { partition: 0, offset: 0 }, summary, None);
    });
    let archive = Archive::new(&kafka, &dlq(), &shelf);
    let now = Utc::now();
    let submit = || {
        let of = archive.clone();
        tokio::spawn(async move { of.submit(&request(), Some("k1"), now).await })
    };
    let (one, other) = (submit(), submit());
    let ours = tokio::task::spawn_blocking({
        let kafka = kafka.clone();
        move || {
            loop {
                let asked = asked(&kafka);
                if !asked.is_empty() {
                    return asked;
                }
            }
        }
    });
    assert_eq!(ours.await.unwrap(), ["ours"]);
    // Another worker's record lies before ours.
    let run = request().run(request().select(&shelf, &dlq(), now), run_id(Some("k1"), now), &dlq(), now);
    shelf.hear(Said::Asked(Box::new(Run { reason: "theirs".into(), ..run })), 0);
    for run in [one, other] {
        assert_eq!(run.await.unwrap().unwrap().run.reason, "theirs");
    }
    assert_eq!(asked(&kafka), ["ours", "theirs"]);
    assert!(archive.submitting.lock().is_empty());
}
