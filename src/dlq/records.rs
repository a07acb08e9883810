//! The records of the decisions topic. A decision's key is its letter's name; those of runs begin with `run/`.
//!
//! `run/ID` is what was asked for, in partition 0, as are `run/ID/cancel`, `run/ID/canary` and `notice`; `run/ID/PARTITION` is how far
//! the owner of that partition is, in that partition, written together with what it did. All but tombstones are JSON.

use std::collections::BTreeMap;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use chrono::{DateTime, SecondsFormat, Utc};
use mailroom_actors::domain::letters::decision::{Decision, State, Step};
use mailroom_actors::domain::letters::name::LetterName;
use mailroom_actors::domain::letters::offsets::OffsetSet;
use mailroom_actors::domain::letters::rules::Rules;
use mailroom_actors::domain::letters::run::{Canary, Cancelled, JUDGE, Progress, Run};
use serde::{Deserialize, Serialize};

/// The key of the latest notice of parked letters.
const NOTICE: &str = "notice";

/// What a record of the topic says; what can't be read says nothing.
#[derive(Clone, Debug, PartialEq)]
pub enum Said {
    Decided(LetterName, Decision),
    /// The letter's decision was taken off: the letter has left the queue.
    Forgotten(LetterName),
    Asked(Box<Run>),
    Cancelled(String, Cancelled),
    Canary(String, Canary),
    Progress(String, i32, Progress),
    /// What was asked for was taken off, and with it its cancel and what became of its first letters.
    RunForgotten(String),
    ProgressForgotten(String, i32),
    /// Somebody was told of parked letters.
    Notified {
        at_ms: i64,
    },
}

#[derive(Serialize, Deserialize)]
struct StepJson {
    state: String,
    #[serde(default)]
    run: Option<String>,
    by: String,
    reason: String,
    at: DateTime<Utc>,
    round: u32,
}

#[derive(Serialize, Deserialize)]
struct DecisionJson {
    #[serde(flatten)]
    latest: StepJson,
    letter_timestamp: i64,
    #[serde(default)]
    history: Vec<StepJson>,
}

#[derive(Serialize, Deserialize)]
struct RunJson {
    action: String,
    by: String,
    reason: String,
    at: DateTime<Utc>,
    rate: f64,
    #[serde(default)]
    canary: u64,
    #[serde(default)]
    include: Vec<String>,
    max_replays: u32,
    /// By partition, as [`OffsetSet`] writes itself.
    letters: BTreeMap<i32, String>,
    newest: i64,
    /// Base64 of the bytes that replace the job's.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    value: Option<String>,
}

#[derive(Serialize, Deserialize)]
struct CancelledJson {
    by: String,
    at: DateTime<Utc>,
}

#[derive(Serialize, Deserialize)]
struct Notified {
    at: DateTime<Utc>,
}

#[derive(Serialize, Deserialize)]
struct CanaryJson {
    replayed: u64,
    failed_again: u64,
}

#[derive(Serialize, Deserialize)]
struct ProgressJson {
    next: i64,
    acted: u64,
    skipped: u64,
    /// Written without transactions.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    at_least_once: bool,
}

/// What is to be written: the key, the value, and the partition that it belongs to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Written {
    pub partition: i32,
    pub key: String,
    /// None: a tombstone.
    pub value: Option<Vec<u8>>,
}

impl Said {
    /// What a record of the decisions topic says.
    pub fn read(key: &[u8], value: Option<&[u8]>) -> Option<Said> {
        let key = std::str::from_utf8(key).ok()?;
        if key == NOTICE {
            let Notified { at } = serde_json::from_slice(value?).ok()?;
            return Some(Said::Notified { at_ms: at.timestamp_millis() });
        }
        let Some(run) = key.strip_prefix("run/") else {
            let name = key.parse().ok()?;
            return match value {
                None => Some(Said::Forgotten(name)),
                Some(value) => Some(Said::Decided(name, decision(serde_json::from_slice(value).ok()?)?)),
            };
        };
        let Some((id, rest)) = run.split_once('/') else {
            let Some(value) = value else { return Some(Said::RunForgotten(run.to_owned())) };
            return Some(Said::Asked(Box::new(asked(run, serde_json::from_slice(value).ok()?)?)));
        };
        let id = id.to_owned();
        let Some(value) = value else { return Some(Said::ProgressForgotten(id, rest.parse().ok()?)) };
        Some(match rest {
            "cancel" => {
                let CancelledJson { by, at } = serde_json::from_slice(value).ok()?;
                Said::Cancelled(id, Cancelled { by, at_ms: at.timestamp_millis() })
            }
            "canary" => {
                let CanaryJson { replayed, failed_again } = serde_json::from_slice(value).ok()?;
                Said::Canary(id, Canary { replayed, failed_again })
            }
            partition => {
                let ProgressJson { next, acted, skipped, at_least_once } =
                    serde_json::from_slice(value).ok()?;
                Said::Progress(id, partition.parse().ok()?, Progress { next, acted, skipped, at_least_once })
            }
        })
    }

    /// The record that says it.
    pub fn write(&self) -> Written {
        let runs = |key: String, value: Vec<u8>| Written { partition: JUDGE, key, value: Some(value) };
        match self {
            Said::Decided(name, decision) => {
                let value = Some(json(&DecisionJson::of(decision)));
                Written { partition: name.partition, key: name.to_string(), value }
            }
            Said::Forgotten(name) => tombstone(name.partition, name.to_string()),
            Said::RunForgotten(id) => tombstone(JUDGE, format!("run/{id}")),
            Said::ProgressForgotten(id, partition) => tombstone(*partition, format!("run/{id}/{partition}")),
            Said::Asked(run) => runs(format!("run/{}", run.id), json(&RunJson::of(run))),
            Said::Cancelled(id, Cancelled { by, at_ms }) => {
                let cancelled = CancelledJson { by: by.clone(), at: time(*at_ms) };
                runs(format!("run/{id}/cancel"), json(&cancelled))
            }
            Said::Canary(id, Canary { replayed, failed_again }) => {
                let canary = CanaryJson { replayed: *replayed, failed_again: *failed_again };
                runs(format!("run/{id}/canary"), json(&canary))
            }
            Said::Notified { at_ms } => runs(NOTICE.to_owned(), json(&Notified { at: time(*at_ms) })),
            Said::Progress(id, partition, Progress { next, acted, skipped, at_least_once }) => {
                let progress = ProgressJson {
                    next: *next,
                    acted: *acted,
                    skipped: *skipped,
                    at_least_once: *at_least_once,
                };
                Written {
                    partition: *partition,
                    key: format!("run/{id}/{partition}"),
                    value: Some(json(&progress)),
                }
            }
        }
    }
}

/// Takes a run off. The run itself goes last: without its cancel it would go on, without what was asked for it can't.
pub fn forget_run(id: &str) -> [Written; 3] {
    let beside = |what| tombstone(JUDGE, format!("run/{id}/{what}"));
    [beside("cancel"), beside("canary"), Said::RunForgotten(id.to_owned()).write()]
}

fn tombstone(partition: i32, key: String) -> Written {
    Written { partition, key, value: None }
}

impl StepJson {
    fn of(step: &Step) -> StepJson {
        StepJson {
            state: step.state.as_str().to_owned(),
            run: step.run.clone(),
            by: step.by.clone(),
            reason: step.reason.clone(),
            at: time(step.at_ms),
            round: step.round,
        }
    }
}

impl DecisionJson {
    fn of(decision: &Decision) -> DecisionJson {
        DecisionJson {
            latest: StepJson::of(&decision.latest),
            letter_timestamp: decision.letter_timestamp_ms,
            history: decision.history.iter().map(StepJson::of).collect(),
        }
    }
}

impl RunJson {
    fn of(run: &Run) -> RunJson {
        let included = [("permanent", run.rules.include_permanent), ("parked", run.rules.include_parked)];
        RunJson {
            action: run.rules.action.as_str().to_owned(),
            by: run.by.clone(),
            reason: run.reason.clone(),
            at: time(run.at_ms),
            rate: run.rate,
            canary: run.canary,
            include: included
                .iter()
                .filter(|(_, is_in)| *is_in)
                .map(|(name, _)| (*name).to_owned())
                .collect(),
            max_replays: run.rules.max_replays,
            letters: run.letters.iter().map(|(partition, letters)| (*partition, letters.encode())).collect(),
            newest: run.newest_ms,
            value: run.value.as_ref().map(|value| STANDARD.encode(value)),
        }
    }
}

fn step(json: StepJson) -> Option<Step> {
    let state: State = json.state.parse().ok()?;
    let at_ms = json.at.timestamp_millis();
    Some(Step { state, run: json.run, by: json.by, reason: json.reason, at_ms, round: json.round })
}

fn decision(json: DecisionJson) -> Option<Decision> {
    Some(Decision {
        letter_timestamp_ms: json.letter_timestamp,
        latest: step(json.latest)?,
        history: json.history.into_iter().map(step).collect::<Option<_>>()?,
    })
}

fn asked(id: &str, json: RunJson) -> Option<Run> {
    let includes = |name: &str| json.include.iter().any(|each| each == name);
    let letters =
        json.letters.iter().map(|(partition, letters)| Some((*partition, OffsetSet::decode(letters)?)));
    Some(Run {
        id: id.to_owned(),
        rules: Rules {
            action: json.action.parse().ok()?,
            include_permanent: includes("permanent"),
            include_parked: includes("parked"),
            max_replays: json.max_replays,
        },
        by: json.by,
        reason: json.reason,
        at_ms: json.at.timestamp_millis(),
        rate: Some(json.rate).filter(|rate| rate.is_finite() && *rate > 0.0)?,
        canary: json.canary,
        letters: letters.collect::<Option<_>>()?,
        newest_ms: json.newest,
        value: json.value.map(|value| STANDARD.decode(value)).transpose().ok()?,
    })
}

fn json(value: &impl Serialize) -> Vec<u8> {
    serde_json::to_vec(value).expect("strings and finite numbers always make JSON")
}

fn time(ms: i64) -> DateTime<Utc> {
    DateTime::from_timestamp_millis(ms).unwrap_or_default()
}

/// RFC 3339, UTC, milliseconds: how answers write times.
pub fn written_time(ms: i64) -> String {
    time(ms).to_rfc3339_opts(SecondsFormat::Millis, true)
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use mailroom_actors::domain::letters::rules::Action;

    use super::*;

    fn read_back(said: &Said) -> Option<Said> {
        let written = said.write();
        Said::read(written.key.as_bytes(), written.value.as_deref())
    }

    fn step(at_ms: i64) -> Step {
        let (by, reason) = ("ada".into(), "relay was down".into());
        Step { state: State::Replayed, run: Some("r1".into()), by, reason, at_ms, round: 2 }
    }

    #[test]
    fn what_is_written_is_read_back() {
        let name = LetterName { partition: 3, offset: 17 };
        let earlier = Step { run: None, round: 1, state: State::Parked, ..step(5) };
        let decision = Decision { letter_timestamp_ms: 7, latest: step(1_000), history: vec![earlier] };
        let run = Run {
            id: "r1".into(),
            rules: Rules {
                action: Action::Replay,
                include_permanent: true,
                include_parked: false,
                max_replays: 5,
            },
            by: "http".into(),
            reason: "why".into(),
            at_ms: 12,
            rate: 2.5,
            canary: 3,
            letters: [(0, [1, 2, 9].into_iter().collect()), (4, [0].into_iter().collect())].into(),
            newest_ms: 11,
            value: Some(vec![0xff, 0]),
        };
        let progress = Progress { next: 9, acted: 2, skipped: 1, at_least_once: false };
        for (said, partition) in [
            (Said::Decided(name, decision), 3),
            (Said::Forgotten(name), 3),
            (Said::Asked(Box::new(run)), 0),
            (Said::Cancelled("r1".into(), Cancelled { by: "ada".into(), at_ms: 3 }), 0),
            (Said::Canary("r1".into(), Canary { replayed: 10, failed_again: 2 }), 0),
            (Said::Progress("r1".into(), 4, progress), 4),
            (Said::Notified { at_ms: 5 }, 0),
            (Said::RunForgotten("r1".into()), 0),
            (Said::ProgressForgotten("r1".into(), 4), 4),
        ] {
            assert_eq!(said.write().partition, partition);
            assert_eq!(read_back(&said), Some(said));
        }
    }

    #[test]
    fn a_decision_is_written_as_the_contract_has_it() {
        let decision = Decision { letter_timestamp_ms: 7, latest: step(1_000), history: vec![] };
        let written = Said::Decided(LetterName { partition: 0, offset: 5 }, decision).write();
        assert_eq!(written.key, "0-5");
        let value: serde_json::Value = serde_json::from_slice(&written.value.unwrap()).unwrap();
        let expected = serde_json::json!({"state": "replayed", "letter_timestamp": 7, "run": "r1", "by": "ada",
            "reason": "relay was down", "at": "1970-01-01T00:00:01Z", "round": 2, "history": []});
        assert_eq!(value, expected);
    }

    #[test]
    fn a_run_is_taken_off_last_of_all_that_is_said_of_it() {
        let keys = forget_run("r1").map(|written| (written.partition, written.key, written.value));
        let tombstone = |key: &str| (0, key.to_owned(), None);
        let expected = ["run/r1/cancel", "run/r1/canary", "run/r1"].map(tombstone);
        assert_eq!(keys, expected);
    }

    #[test]
    fn what_is_not_ours_says_nothing() {
        for (key, value) in [
            ("", Some("{}")),
            ("x", Some("{}")),
            ("0-1", Some("{}")),
            (
                "0-1",
                Some(
                    r#"{"state":"lost","letter_timestamp":1,"by":"","reason":"","at":"2026-01-01T00:00:00Z","round":1}"#,
                ),
            ),
            ("run/r", Some("{}")),
            ("run/r/cancel", None),
            ("run/r/canary", None),
            ("run/r/x", Some(r#"{"next":1,"acted":1,"skipped":1}"#)),
        ] {
            assert_eq!(Said::read(key.as_bytes(), value.map(str::as_bytes)), None, "{key}");
        }
    }
}
