//! What is said of a cluster, by what was seen of it.

use std::collections::BTreeMap;

use super::super::report::Status;
use super::*;
use crate::kafka::inspect::Silence;

fn config() -> config::Kafka {
    config::Kafka {
        brokers: "a:1".into(),
        group: "email-workers".into(),
        topic: "email-queue".into(),
        replay_topic: None,
        dlq_topic: "email-dlq".into(),
        decisions_topic: "email-dlq-decisions".into(),
        create_topics: true,
        dlq_retention: Duration::from_secs(86_400),
        commit_interval: Duration::from_millis(200),
        properties: BTreeMap::new(),
    }
}

fn broker(is_configured: bool, why: Option<(bool, &str)>) -> BrokerInspection {
    let answer = match why {
        None => Ok(()),
        Some((refuses_credentials, why)) => Err(Silence { refuses_credentials, why: why.into() }),
    };
    BrokerInspection { address: "a:1".into(), is_configured, answer }
}

fn settings() -> TopicSettings {
    TopicSettings {
        retention_ms: Some(86_400_000),
        retention_bytes: Some(-1),
        max_message_bytes: Some(1_048_588),
        min_insync_replicas: Some(1),
        is_compacted: false,
    }
}

fn topic_with(name: &str, settings: TopicSettings) -> TopicInspection {
    let facts = TopicFacts {
        partitions: 3,
        replicas: 1,
        in_sync: 1,
        without_leader: Vec::new(),
        settings: Ok(settings),
    };
    TopicInspection { name: name.into(), state: TopicState::There(facts) }
}

fn answers() -> ClusterAnswers {
    ClusterAnswers {
        topic: topic_with("email-queue", settings()),
        replay_topic: None,
        dlq_topic: topic_with(
            "email-dlq",
            TopicSettings { max_message_bytes: Some(1_463_654), ..settings() },
        ),
        group: Some(Ok(GroupInspection { committed: 3, waiting: 1, ..GroupInspection::default() })),
        rights: Some(Ok(Granted { reading: true, writing: true })),
        offset_metadata_bytes: Ok(Some(4096)),
    }
}

fn said(answers: ClusterAnswers) -> Vec<Line> {
    let seen =
        ClusterInspection { brokers: vec![broker(true, None)], answers: Some(answers), is_late: false };
    lines(&config(), &seen)
}

/// What is not passed, as `(status, name)`.
fn noted(lines: &[Line]) -> Vec<(Status, &str)> {
    lines
        .iter()
        .filter(|line| line.status != Status::Passed)
        .map(|line| (line.status, line.name.as_str()))
        .collect()
}

#[test]
fn a_cluster_as_it_should_be_is_passed_line_by_line() {
    let lines = said(answers());
    assert_eq!(noted(&lines), []);
    let told: Vec<_> = lines.iter().map(|line| line.output.as_str()).collect();
    assert_eq!(
        told,
        [
            "1 of 1 answer: a:1",
            "email-queue: 3 partitions, 1 replica, min.insync.replicas 1, keeps records 1d, takes records up to 1.0 MiB",
            "email-dlq: 3 partitions, 1 replica, min.insync.replicas 1, keeps records 1d, takes records up to 1.4 MiB",
            "email-workers: 1 record wait",
            "may read the topic, be in the group, and write dead letters",
            "offset.metadata.max.bytes is 4096",
        ]
    );
}

#[test]
fn a_topic_of_replays_is_looked_at_like_the_queue() {
    let mut seen =
        ClusterAnswers { replay_topic: Some(topic_with("email-replays", settings())), ..answers() };
    let lines = said(seen);
    let line = lines.iter().find(|line| line.name == "dlq.replay_topic").unwrap();
    assert!(line.output.starts_with("email-replays: 3 partitions, 1 replica"), "{line:?}");
    assert_eq!(noted(&lines), []);
    let state = TopicState::Missing { creation: None };
    seen = ClusterAnswers {
        replay_topic: Some(TopicInspection { name: "email-replays".into(), state }),
        ..answers()
    };
    assert_eq!(noted(&said(seen)), [(Status::Failed, "dlq.replay_topic")]);
}

#[test]
fn what_was_not_answered_in_time_is_told_and_the_rest_is_not_hidden() {
    let late = ClusterInspection { brokers: vec![broker(true, None)], answers: None, is_late: true };
    let lines = lines(&config(), &late);
    assert_eq!(noted(&lines), [(Status::Failed, "kafka.topic")], "{lines:?}");
    assert_eq!(lines.len(), 2, "the broker that answered is passed: {lines:?}");
    let unknown = Some(Err(StartProblem::Away("no answer in time".into())));
    let lines = said(ClusterAnswers { rights: unknown, ..answers() });
    assert_eq!(noted(&lines), [(Status::Warned, "kafka.rights")], "{lines:?}");
}

#[test]
fn a_broker_that_is_down_is_a_warning_while_another_answers() {
    let down = || broker(true, Some((false, "Connection refused")));
    let refused = broker(true, Some((true, "SASL authentication error")));
    let unknown = broker(false, Some((false, "Failed to resolve")));
    for (brokers, expected) in [
        (vec![down()], vec![Status::Failed]),
        (vec![broker(true, None), down()], vec![Status::Warned]),
        (vec![broker(true, None), refused], vec![Status::Failed]),
        (vec![broker(true, None), unknown], vec![Status::Failed]),
    ] {
        let lines = super::brokers(&brokers);
        let noted: Vec<_> = noted(&lines).into_iter().map(|(status, _)| status).collect();
        assert_eq!(noted, expected, "{lines:?}");
    }
}

#[test]
fn a_dead_letter_topic_that_keeps_less_or_for_ever_or_takes_less_is_warned_of() {
    let fine = TopicSettings { max_message_bytes: Some(1_463_654), ..settings() };
    for (settings, key) in [
        (TopicSettings { retention_ms: Some(86_399_999), ..fine.clone() }, "kafka.dlq_retention"),
        (TopicSettings { retention_ms: Some(-1), ..fine.clone() }, "kafka.dlq_retention"),
        (TopicSettings { max_message_bytes: Some(1_463_653), ..fine.clone() }, "kafka.dlq_topic"),
        (TopicSettings { is_compacted: true, ..fine.clone() }, "kafka.dlq_topic"),
    ] {
        let lines = said(ClusterAnswers { dlq_topic: topic_with("email-dlq", settings), ..answers() });
        assert_eq!(noted(&lines), [(Status::Warned, key)], "{lines:?}");
    }
}

#[test]
fn a_missing_topic_is_a_failure_unless_it_can_be_made() {
    for (creation, expected) in [
        (None, vec![(Status::Failed, "kafka.topic")]),
        (Some(Err("Broker: Policy violation".to_owned())), vec![(Status::Failed, "kafka.topic")]),
        (Some(Ok(())), vec![]),
    ] {
        let topic = TopicInspection { name: "email-queue".into(), state: TopicState::Missing { creation } };
        let lines = said(ClusterAnswers { topic, group: None, rights: None, ..answers() });
        assert_eq!(noted(&lines), expected, "{lines:?}");
    }
}

#[test]
fn a_topic_that_is_gone_under_a_worker_that_runs_is_a_failure_though_a_start_makes_it() {
    let gone = || TopicState::Missing { creation: Some(Ok(())) };
    let dlq_topic = || TopicInspection { name: "email-dlq".into(), state: gone() };
    let with = |members: &[&str]| {
        let members = Some(members.iter().map(ToString::to_string).collect());
        let group = GroupInspection { committed: 3, members, ..GroupInspection::default() };
        said(ClusterAnswers { dlq_topic: dlq_topic(), group: Some(Ok(group)), rights: None, ..answers() })
    };
    assert_eq!(noted(&with(&[])), [], "the first start makes it");
    let lines = with(&["mailroom"]);
    assert_eq!(noted(&lines), [(Status::Failed, "kafka.dlq_topic")], "{lines:?}");
    assert_eq!(noted(&with(&["kafka-python-2.0"])), [(Status::Warned, "kafka.group")]);
}

#[test]
fn replicas_that_are_too_few_are_told() {
    let with = |change: fn(&mut TopicFacts)| {
        let mut topic = topic_with("email-queue", settings());
        if let TopicState::There(facts) = &mut topic.state {
            change(facts);
        }
        said(ClusterAnswers { topic, ..answers() })
    };
    assert_eq!(noted(&with(|facts| facts.without_leader = vec![1])), [(Status::Failed, "kafka.topic")]);
    assert_eq!(noted(&with(|facts| facts.in_sync = 0)), [(Status::Failed, "kafka.topic")]);
    assert_eq!(
        noted(&with(|facts| (facts.replicas, facts.in_sync) = (3, 3))),
        [(Status::Warned, "kafka.topic")]
    );
    let unread = with(|facts| facts.settings = Err("Broker: Cluster authorization failed".into()));
    assert_eq!(noted(&unread), [(Status::Warned, "kafka.topic")]);
}

#[test]
fn what_a_new_group_would_send_and_who_else_is_in_it_is_told() {
    let with = |group: GroupInspection| said(ClusterAnswers { group: Some(Ok(group)), ..answers() });
    let new = with(GroupInspection { waiting: 12, never_seen: 12, ..GroupInspection::default() });
    assert_eq!(noted(&new), [(Status::Warned, "kafka.group")]);
    assert!(new.iter().any(|line| line.output.contains("would send 12 records")), "{new:?}");
    assert_eq!(noted(&with(GroupInspection::default())), []);
    let lost = with(GroupInspection { committed: 1, lost: 3, ..GroupInspection::default() });
    assert_eq!(noted(&lost), [(Status::Warned, "kafka.group")]);
    let ours = Some(["mailroom".to_owned()].into());
    assert_eq!(
        noted(&with(GroupInspection { committed: 1, members: ours, ..GroupInspection::default() })),
        []
    );
    let others = Some(["mailroom".to_owned(), "kafka-python-2.0".to_owned()].into());
    let lines = with(GroupInspection { committed: 1, members: others, ..GroupInspection::default() });
    assert_eq!(noted(&lines), [(Status::Warned, "kafka.group")]);
}

#[test]
fn missing_rights_and_short_offset_metadata_are_told() {
    for granted in [Granted { reading: false, writing: true }, Granted { reading: true, writing: false }] {
        let rights = Some(Ok(granted));
        assert_eq!(noted(&said(ClusterAnswers { rights, ..answers() })), [(Status::Warned, "kafka.rights")]);
    }
    let rights = Some(Err(StartProblem::Misconfigured("no right".into())));
    assert_eq!(noted(&said(ClusterAnswers { rights, ..answers() })), [(Status::Failed, "kafka.rights")]);
    for bytes in [Ok(Some(1024)), Err("no answer in time".into())] {
        let seen = ClusterAnswers { offset_metadata_bytes: bytes, ..answers() };
        assert_eq!(noted(&said(seen)), [(Status::Warned, "kafka.offsets")]);
    }
    assert_eq!(noted(&said(ClusterAnswers { offset_metadata_bytes: Ok(None), ..answers() })), []);
}
