//! Tables of states and the verdicts they must get.

use std::time::UNIX_EPOCH;

use mailroom_actors::domain::failure::Cause;
use mailroom_actors::domain::pace::Circuit;
use mailroom_actors::messages::{ActorState, DeadLettersStatus, MailerState, RecordsGone, RelayStatus};

use super::CheckStatus::{Fail, Pass, Warn};
use super::*;
use crate::http::tests::healthy;

type Change = fn(&mut Status);

/// What is changed in a healthy worker, the check that must notice, live, ready, and the check's status.
fn cases() -> Vec<(&'static str, Change, &'static str, bool, bool, CheckStatus)> {
    vec![
        ("nothing", |_| (), "kafka", true, true, Pass),
        ("kafka never answered", |s| s.kafka.silent_for = None, "kafka", true, false, Fail),
        ("kafka silent for 9 s", |s| s.kafka.silent_for = secs(9), "kafka", true, true, Pass),
        ("kafka silent for 10 s", |s| s.kafka.silent_for = secs(10), "kafka", true, true, Warn),
        ("kafka silent for 24 s", |s| s.kafka.silent_for = secs(24), "kafka", true, true, Warn),
        ("kafka silent for 25 s", |s| s.kafka.silent_for = secs(25), "kafka", true, false, Fail),
        ("records gone", |s| s.kafka.records_gone = gone(), "kafka", true, true, Warn),
        (
            "records gone and kafka silent",
            |s| {
                s.kafka.records_gone = gone();
                s.kafka.silent_for = secs(25);
            },
            "kafka",
            true,
            false,
            Fail,
        ),
        ("group not joined", |s| s.kafka.joined = false, "consumer", true, false, Fail),
        ("no partition", |s| s.kafka.partitions = 0, "consumer", true, true, Warn),
        ("stopping", |s| s.stopping = true, "consumer", true, false, Fail),
        ("letters fail for 1 s", |s| s.dead_letters = failing(1), "dlq", true, true, Warn),
        ("letters fail for 24 s", |s| s.dead_letters = failing(24), "dlq", true, true, Warn),
        ("letters fail for 25 s", |s| s.dead_letters = failing(25), "dlq", true, false, Fail),
        ("letters under way", |s| s.dead_letters.under_way = 7, "dlq", true, true, Pass),
        ("relay failing", |s| s.relay = relay_failing(), "smtp", true, true, Warn),
        ("circuit open", |s| s.relay.circuit = Circuit::Open, "smtp", true, true, Warn),
        ("a probe under way", |s| s.relay.circuit = Circuit::HalfOpen, "smtp", true, true, Warn),
        ("commits hang", |s| s.intake.commits_hang_for = secs(7), "consumer", true, true, Warn),
        ("in hand all that may be", |s| s.intake.is_full = true, "consumer", true, true, Pass),
        ("one job at a time", |s| s.intake.is_careful = true, "consumer", true, true, Warn),
        ("relay fine again", |s| s.relay.last_error = Some("x".into()), "smtp", true, true, Pass),
        ("fewer mailers allowed", |s| s.pool.allowed = 1, "pool", true, true, Warn),
        ("no mailer allowed", |s| s.pool.allowed = 0, "pool", true, true, Warn),
        (
            "a mailer restarting",
            |s| s.pool.mailers[0].state = MailerState::Restarting,
            "pool",
            true,
            true,
            Warn,
        ),
        (
            "actor restarting",
            |s| s.actors[1].state = ActorState::Restarting,
            "actor:consumer",
            true,
            true,
            Warn,
        ),
        ("actor stopped", |s| s.actors[1].state = ActorState::Stopped, "actor:consumer", false, false, Fail),
        ("actor silent for 30 s", |s| silent(s, 30), "actor:consumer", true, true, Pass),
        ("actor silent for 31 s", |s| silent(s, 31), "actor:consumer", false, false, Fail),
        (
            "actor restarting for 31 s",
            |s| {
                s.actors[1].state = ActorState::Restarting;
                silent(s, 31);
            },
            "actor:consumer",
            false,
            false,
            Fail,
        ),
        (
            "actor stopped while stopping",
            |s| {
                s.stopping = true;
                s.actors[1].state = ActorState::Stopped;
                silent(s, 100);
            },
            "actor:consumer",
            true,
            false,
            Pass,
        ),
        (
            "actor wedged while stopping",
            |s| {
                s.stopping = true;
                silent(s, 31);
            },
            "actor:consumer",
            false,
            false,
            Fail,
        ),
        ("actor restarted", |s| s.actors[1].restarts = 2, "actor:consumer", true, true, Pass),
    ]
}

#[test]
fn who_is_not_in_the_group_since_no_broker_answers_is_sent_to_the_brokers_and_not_to_the_group() {
    for (silent_for, wanted) in [
        (None, "see kafka"),
        (secs(60), "see kafka"),
        (secs(10), "see kafka"),
        (secs(1), "the group's coordinator (a broker) answers, kafka.group may be joined"),
    ] {
        let mut status = healthy();
        (status.kafka.joined, status.kafka.silent_for) = (false, silent_for);
        let report = report(Some(&status), "1");
        let Entry::Part(consumer) = &report.checks["consumer"][0] else { panic!("a part") };
        let action = consumer.action.as_deref().unwrap();
        assert!(action.contains(wanted), "{silent_for:?}: {action}");
    }
}

fn secs(seconds: u64) -> Option<Duration> {
    Some(Duration::from_secs(seconds))
}

fn silent(status: &mut Status, seconds: u64) {
    status.actors[1].silent_for = Duration::from_secs(seconds);
}

fn failing(seconds: u64) -> DeadLettersStatus {
    DeadLettersStatus { under_way: 2, failing_for: secs(seconds), last_error: Some("leader away".into()) }
}

fn gone() -> Option<RecordsGone> {
    Some(RecordsGone { partition: 3.into(), due: 17, ago: Duration::from_secs(60), times: 2 })
}

fn relay_failing() -> RelayStatus {
    RelayStatus {
        circuit: Circuit::Closed,
        next_probe: None,
        last_cause: Some(Cause::SmtpUnreachable),
        failures_in_a_row: 3,
        last_error: Some("550 5.1.1 <ada@example.com>: no".into()),
        last_success: Some(UNIX_EPOCH + Duration::from_secs(1)),
    }
}

fn status_and_action(entry: &Entry) -> (CheckStatus, Option<&str>) {
    match entry {
        Entry::Part(check) => (check.status, check.action.as_deref()),
        Entry::Actor(check) => (check.status, check.action.as_deref()),
    }
}

#[test]
fn each_state_has_its_verdicts() {
    for (name, change, check, is_live, is_ready, expected) in cases() {
        let mut status = healthy();
        change(&mut status);
        assert_eq!(live(&status).passes(), is_live, "live: {name}");
        assert_eq!(ready(&status).passes(), is_ready, "ready: {name}");
        let report = report(Some(&status), "1.2.3");
        assert_eq!(status_and_action(&report.checks[check][0]).0, expected, "{check}: {name}");
        assert_eq!(report.passes(), is_ready, "health: {name}");
    }
}

#[test]
fn whatever_does_not_pass_says_what_to_do_and_what_passes_does_not() {
    for (name, change, ..) in cases() {
        let mut status = healthy();
        change(&mut status);
        for (check, [entry]) in &report(Some(&status), "1.2.3").checks {
            let (status, action) = status_and_action(entry);
            assert_eq!(action.is_some_and(|action| !action.is_empty()), status != Pass, "{check}: {name}");
        }
        for verdict in [live(&status), ready(&status)] {
            let texts = [verdict.error, verdict.hint].map(|text| text.is_some_and(|text| !text.is_empty()));
            assert_eq!(texts, [verdict.status == Fail; 2], "{name}");
        }
    }
}

#[test]
fn the_report_is_as_bad_as_its_worst_check() {
    for (name, change, ..) in cases() {
        let mut status = healthy();
        change(&mut status);
        let report = report(Some(&status), "1.2.3");
        let worst = report.checks.values().map(|[entry]| status_and_action(entry).0).max();
        assert_eq!(Some(report.status), worst, "{name}");
    }
}

#[test]
fn everything_wrong_is_said_at_once() {
    let mut status = healthy();
    status.kafka.silent_for = None;
    status.dead_letters = failing(60);
    status.actors[0].state = ActorState::Stopped;
    status.actors[0].last_error = Some("budget spent".into());
    let error = ready(&status).error.unwrap();
    assert_eq!(
        error,
        "actor supervisor has stopped: budget spent; kafka: no broker has answered yet; \
         dlq: nothing could be published for 60 s; 2 dead letters waiting: leader away"
    );
}

#[test]
fn addresses_in_errors_are_masked() {
    let mut status = healthy();
    let error = || Some("refused <ada@example.com>, bob@example.org".to_owned());
    status.relay = relay_failing();
    status.kafka = mailroom_actors::messages::KafkaStatus { last_error: error(), ..Default::default() };
    status.dead_letters = DeadLettersStatus { last_error: error(), ..failing(60) };
    for actor in &mut status.actors {
        actor.last_error = error();
        actor.state = ActorState::Stopped;
    }
    let texts = [
        serde_json::to_string(&report(Some(&status), "1.2.3")).unwrap(),
        serde_json::to_string(&ready(&status)).unwrap(),
        serde_json::to_string(&live(&status)).unwrap(),
    ];
    for text in texts {
        assert!(text.contains("a***@example.com"), "{text}");
        assert!(!text.contains("ada@") && !text.contains("bob@"), "{text}");
    }
}

#[test]
fn the_relays_last_success_is_a_time_in_utc() {
    let mut status = healthy();
    status.relay = relay_failing();
    let json = serde_json::to_value(report(Some(&status), "1.2.3")).unwrap();
    assert_eq!(
        json["checks"]["smtp"][0]["output"],
        "the last 3 attempts failed at the relay: 550 5.1.1 <a***@example.com>: no; \
         last e-mail taken at 1970-01-01T00:00:01Z"
    );
}

#[test]
fn without_an_answer_the_supervisor_fails_and_nothing_else_is_claimed() {
    let report = report(None, "1.2.3");
    assert!(!report.passes());
    assert_eq!(status_and_action(&report.checks["actor:supervisor"][0]).0, Fail);
    for name in ["kafka", "smtp", "dlq", "pool", "consumer"] {
        let (status, action) = status_and_action(&report.checks[name][0]);
        assert_eq!((status, action), (Warn, Some("see actor:supervisor")), "{name}");
    }
    assert!(!Verdict::no_answer().passes());
}
