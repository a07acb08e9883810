//! What `mailroom check --online` says of the cluster.

use std::time::Duration;

use bytesize::ByteSize;

use super::report::Line;
use crate::cli::duration;
use crate::config;
use crate::kafka::inspect::{
    BrokerInspection, ClusterAnswers, ClusterInspection, Granted, GroupInspection, TopicFacts,
    TopicInspection, TopicSettings, TopicState,
};
use crate::kafka::{StartProblem, topics};

/// What goes beside an offset may be as long as this by default; what the worker writes there is made to fit.
const OFFSET_METADATA_BYTES: u64 = 4096;

pub(super) fn lines(config: &config::Kafka, seen: &ClusterInspection) -> Vec<Line> {
    let mut lines = brokers(&seen.brokers);
    if seen.is_late {
        lines.push(Line::failed(
            "kafka.topic",
            "a broker answers, and did not say in time what topics there are",
            "try again with a longer --within; if it stays so, look at the brokers' own logs",
        ));
    }
    let Some(answers) = &seen.answers else { return lines };
    let worker_runs = matches!(&answers.group, Some(Ok(group)) if has_a_worker(config, group));
    lines.extend(topic("kafka.topic", &answers.topic, worker_runs));
    lines.extend(answers.replay_topic.iter().flat_map(|seen| topic("dlq.replay_topic", seen, worker_runs)));
    lines.extend(topic("kafka.dlq_topic", &answers.dlq_topic, worker_runs));
    lines.extend(letters(config, answers));
    lines.extend(answers.group.iter().map(|group| match group {
        Ok(group) => offsets(config, group),
        Err(why) => Line::warned(
            "kafka.group",
            format!("what {} has committed can't be found out: {why}", config.group),
            "try again; if it stays so, give this user the rights to read and describe the group",
        ),
    }));
    if let Some(Ok(group)) = &answers.group {
        lines.extend(members(config, group));
    }
    lines.extend(rights(answers.rights.as_ref()));
    lines.extend(offset_metadata(&answers.offset_metadata_bytes));
    lines
}

fn brokers(brokers: &[BrokerInspection]) -> Vec<Line> {
    let answered: Vec<_> =
        brokers.iter().filter(|broker| broker.answer.is_ok()).map(|broker| broker.address.as_str()).collect();
    let mut lines = Vec::new();
    if !answered.is_empty() {
        let told = format!("{} of {} answer: {}", answered.len(), brokers.len(), answered.join(", "));
        lines.push(Line::passed("kafka.brokers", told));
    }
    for broker in brokers {
        let Err(silence) = &broker.answer else { continue };
        let told = format!("{}: {}", broker.address, silence.why);
        let action = if silence.refuses_credentials {
            "check sasl.username, sasl.password and sasl.mechanism, or the client's certificate, in kafka.properties"
        } else if broker.is_configured {
            "check kafka.brokers, security.protocol in kafka.properties, and the firewalls between"
        } else {
            "the cluster names this broker itself (advertised.listeners): it must be reachable by that name from here"
        };
        // One of several may be down; a cluster whose own names lead nowhere can't be worked with.
        let is_enough = !answered.is_empty() && broker.is_configured && !silence.refuses_credentials;
        lines.push(match is_enough {
            true => Line::warned("kafka.brokers", told, action),
            false => Line::failed("kafka.brokers", told, action),
        });
    }
    lines
}

fn topic(key: &str, topic: &TopicInspection, worker_runs: bool) -> Vec<Line> {
    let name = &topic.name;
    let facts = match &topic.state {
        TopicState::There(facts) => facts,
        TopicState::Missing { creation: Some(Ok(())) } if worker_runs => {
            return vec![Line::failed(
                key,
                format!("{name} does not exist, and a worker that needs it is in the group"),
                "make it again, or restart the worker: it is made at the start only",
            )];
        }
        TopicState::Missing { creation: Some(Ok(())) } => {
            return vec![Line::passed(key, format!("{name} does not exist and is made at the start"))];
        }
        TopicState::Missing { creation: Some(Err(why)) } => {
            return vec![Line::failed(
                key,
                format!("{name} does not exist and can't be made: {why}"),
                "create it by hand, or give this user the right (ACL) to",
            )];
        }
        TopicState::Missing { creation: None } => {
            return vec![Line::failed(
                key,
                format!("{name} does not exist"),
                "create it, or set kafka.create_topics = true",
            )];
        }
        TopicState::Unknown(why) => {
            return vec![Line::failed(
                key,
                format!("{name}: {why}"),
                format!("check the name in {key}, and this user's right (ACL) to describe the topic"),
            )];
        }
    };
    let mut lines = vec![Line::passed(key, description(name, facts))];
    lines.extend(replicas(key, name, facts));
    match &facts.settings {
        Ok(settings) if settings.is_compacted => lines.push(Line::warned(
            key,
            format!("{name} is compacted: of records with the same key all but the last are deleted"),
            "set cleanup.policy=delete for it",
        )),
        Ok(_) => {}
        Err(why) => lines.push(Line::warned(
            key,
            format!("the settings of {name} can't be read: {why}"),
            "give this user the right (ACL) DescribeConfigs, or look at its retention and max.message.bytes by hand",
        )),
    }
    lines
}

fn description(name: &str, facts: &TopicFacts) -> String {
    let mut parts =
        vec![count(facts.partitions as i64, "partition"), count(facts.replicas as i64, "replica")];
    if let Ok(settings) = &facts.settings {
        if let Some(minimum) = settings.min_insync_replicas {
            parts.push(format!("min.insync.replicas {minimum}"));
        }
        if let Some(retention) = settings.retention_ms {
            parts.push(format!("keeps records {}", kept(retention)));
        }
        if let Some(bytes) = settings.retention_bytes.filter(|bytes| *bytes >= 0) {
            let bytes = ByteSize::b(bytes.unsigned_abs()).display().iec();
            parts.push(format!("and at most {bytes} a partition"));
        }
        if let Some(bytes) = settings.max_message_bytes {
            parts.push(format!("takes records up to {}", ByteSize::b(bytes).display().iec()));
        }
    }
    format!("{name}: {}", parts.join(", "))
}

fn replicas(key: &str, name: &str, facts: &TopicFacts) -> Vec<Line> {
    let mut lines = Vec::new();
    if !facts.without_leader.is_empty() {
        let which: Vec<_> = facts.without_leader.iter().take(10).map(ToString::to_string).collect();
        lines.push(Line::failed(
            key,
            format!(
                "{} of {name} have no leader: {}",
                count(facts.without_leader.len() as i64, "partition"),
                which.join(", ")
            ),
            "bring back the brokers that hold them: nothing is read from or written to them till then",
        ));
    }
    let minimum = facts.settings.as_ref().ok().and_then(|settings| settings.min_insync_replicas);
    match minimum {
        Some(minimum) if facts.in_sync < minimum => lines.push(Line::failed(
            key,
            format!("{name} has a partition with {} in step, and min.insync.replicas is {minimum}", count(facts.in_sync as i64, "replica")),
            "nothing can be written to it: bring back the brokers that are away, or set min.insync.replicas to less",
        )),
        Some(1) if facts.replicas > 1 => lines.push(Line::warned(
            key,
            format!("min.insync.replicas of {name} is 1: a record counts as safe when it is on one broker only"),
            "set it to 2, so that no record is lost with a broker",
        )),
        _ => {}
    }
    lines
}

/// What the dead letter topic must be able to hold, and for how long.
fn letters(config: &config::Kafka, answers: &ClusterAnswers) -> Vec<Line> {
    let Some(letters) = settings(&answers.dlq_topic) else { return Vec::new() };
    let name = &answers.dlq_topic.name;
    let mut lines = Vec::new();
    let wanted = i64::try_from(config.dlq_retention.as_millis()).unwrap_or(i64::MAX);
    let wanted_text = duration::in_days(config.dlq_retention);
    match letters.retention_ms {
        Some(retention) if retention < 0 => lines.push(Line::warned(
            "kafka.dlq_retention",
            format!("{name} keeps dead letters for ever, and with them addresses and texts"),
            format!("set its retention.ms to {wanted} (kafka.dlq_retention, {wanted_text})"),
        )),
        Some(retention) if retention < wanted => lines.push(Line::warned(
            "kafka.dlq_retention",
            format!("{name} keeps dead letters {}, kafka.dlq_retention is {wanted_text}", kept(retention)),
            format!("set its retention.ms to {wanted}, or kafka.dlq_retention to less"),
        )),
        _ => {}
    }
    let source = settings(&answers.topic).and_then(|settings| settings.max_message_bytes);
    if let (Some(source), Some(takes)) = (source, letters.max_message_bytes) {
        let needed = topics::letter_bytes(source);
        if takes < needed {
            lines.push(Line::warned(
                "kafka.dlq_topic",
                format!(
                    "{name} takes records up to {takes} bytes, and the largest dead letter has {needed}: of the largest jobs \
                     only size and hash would be kept"
                ),
                format!("set its max.message.bytes to {needed} (4/3 of the source topic's, and 64 KiB)"),
            ));
        }
    }
    lines
}

fn settings(topic: &TopicInspection) -> Option<&TopicSettings> {
    match &topic.state {
        TopicState::There(facts) => facts.settings.as_ref().ok(),
        TopicState::Missing { .. } | TopicState::Unknown(_) => None,
    }
}

fn offsets(config: &config::Kafka, group: &GroupInspection) -> Line {
    let (key, name) = ("kafka.group", &config.group);
    let waiting = count(group.waiting, "record");
    if group.lost > 0 {
        return Line::warned(
            key,
            format!(
                "{name}: {} were deleted before it took them; {waiting} wait",
                count(group.lost, "record")
            ),
            "those e-mails are lost: set a longer retention for kafka.topic, or run more workers",
        );
    }
    if group.committed == 0 && group.waiting > 0 {
        return Line::warned(
            key,
            format!("{name} is new: it begins at the earliest record, and would send {waiting}"),
            "if they were sent already, set the group's offsets first (kafka-consumer-groups --reset-offsets), or take \
             the name of the group that sent them",
        );
    }
    if group.committed == 0 {
        return Line::passed(key, format!("{name} is new, and nothing waits"));
    }
    if group.never_seen > 0 {
        let new = count(group.never_seen, "record");
        return Line::passed(key, format!("{name}: {waiting} wait, {new} of them in partitions new to it"));
    }
    Line::passed(key, format!("{name}: {waiting} wait"))
}

fn our_client_id(config: &config::Kafka) -> &str {
    config.properties.get("client.id").map_or("mailroom", |value| value.0.as_str())
}

fn has_a_worker(config: &config::Kafka, group: &GroupInspection) -> bool {
    group.members.as_ref().is_some_and(|members| members.contains(our_client_id(config)))
}

/// Who else is in the group takes jobs from ours, and sends or loses them by other rules.
fn members(config: &config::Kafka, group: &GroupInspection) -> Option<Line> {
    let ours = our_client_id(config);
    let members = group.members.as_ref()?;
    let others: Vec<_> = members.iter().filter(|id| *id != ours).cloned().collect();
    (!others.is_empty()).then(|| {
        Line::warned(
            "kafka.group",
            format!("other programs are in {}: client.id {}", config.group, others.join(", ")),
            "stop them before the first Mailroom worker starts, or take a group of its own",
        )
    })
}

fn rights(rights: Option<&Result<Granted, StartProblem>>) -> Option<Line> {
    Some(match rights? {
        Ok(Granted { reading: true, writing: true }) => {
            Line::passed("kafka.rights", "may read the topic, be in the group, and write dead letters")
        }
        Ok(granted) => {
            let unknown = [
                (granted.reading, "read the topic and be in the group"),
                (granted.writing, "write dead letters"),
            ];
            let unknown = unknown.iter().filter(|(granted, _)| !granted).map(|(_, what)| *what);
            let unknown = unknown.collect::<Vec<_>>().join(", or ");
            Line::warned(
                "kafka.rights",
                format!("the brokers don't say whether this user may {unknown}"),
                "try again; if it stays so, look at its rights (ACL) by hand",
            )
        }
        Err(StartProblem::Away(why)) => Line::warned(
            "kafka.rights",
            format!("what this user may do can't be found out: {why}"),
            "try again; if it stays so, look at its rights (ACL) by hand",
        ),
        Err(problem) => {
            Line::failed("kafka.rights", problem.to_string(), "have whoever runs Kafka add the ACLs")
        }
    })
}

fn offset_metadata(bytes: &Result<Option<u64>, String>) -> Option<Line> {
    let bytes = match bytes {
        Ok(bytes) => (*bytes)?,
        Err(why) => {
            return Some(Line::warned(
                "kafka.offsets",
                format!("offset.metadata.max.bytes of the brokers can't be read: {why}"),
                format!(
                    "try again; if it stays so, see to it that it is at least {OFFSET_METADATA_BYTES}, Kafka's default"
                ),
            ));
        }
    };
    let told = format!("offset.metadata.max.bytes is {bytes}");
    Some(match bytes < OFFSET_METADATA_BYTES {
        true => Line::warned(
            "kafka.offsets",
            format!("{told}: of jobs that were done out of order, fewer can be remembered over a restart"),
            format!("set it to {OFFSET_METADATA_BYTES} on the brokers, which is Kafka's default"),
        ),
        false => Line::passed("kafka.offsets", told),
    })
}

fn kept(retention_ms: i64) -> String {
    match u64::try_from(retention_ms) {
        Ok(retention) => duration::in_days(Duration::from_millis(retention)),
        Err(_) => "for ever".into(),
    }
}

fn count(number: i64, noun: &str) -> String {
    if number == 1 { format!("1 {noun}") } else { format!("{number} {noun}s") }
}

#[cfg(test)]
mod tests;
