//! The checks behind the health answers: a part's state in, its verdict with words and an action out.

use std::collections::BTreeMap;
use std::time::Duration;

use chrono::{DateTime, SecondsFormat, Utc};
use mailroom_actors::domain::failure::Cause;
use mailroom_actors::domain::pace::Circuit;
use mailroom_actors::messages::{
    ActorState, ActorStatus, DeadLettersStatus, IntakeStatus, KafkaStatus, MailerState, PoolStatus,
    RecordsGone, RelayStatus, Status,
};

use super::{ACTOR_SILENCE, DEAD_LETTERS_FAILING, KAFKA_QUIET, KAFKA_SILENCE};
use super::{ActorCheck, CheckStatus, Entry, PartCheck};
use crate::mask::mask_text;

/// All checks of one moment.
pub(super) struct Checks {
    parts: Vec<(&'static str, PartCheck)>,
    actors: Vec<(&'static str, ActorCheck)>,
}

impl Checks {
    pub(super) fn of(status: &Status) -> Checks {
        let parts = vec![
            ("kafka", kafka(&status.kafka)),
            ("smtp", relay(&status.relay)),
            ("dlq", dead_letters(&status.dead_letters)),
            ("pool", pool(&status.pool, &status.intake)),
            ("consumer", consumer(status)),
        ];
        let actors = status.actors.iter().map(|one| (one.name, actor(one, status.stopping))).collect();
        Checks { parts, actors }
    }

    /// What is left to say when the supervisor does not answer.
    pub(super) fn unknown() -> Checks {
        let unknown = || warn("not known: the supervisor does not answer", "see actor:supervisor");
        let parts = ["kafka", "smtp", "dlq", "pool", "consumer"].map(|name| (name, unknown()));
        Checks { parts: parts.into(), actors: vec![("supervisor", silent_supervisor())] }
    }

    /// Problem and action of each actor that fails.
    pub(super) fn failing_actors(&self) -> impl Iterator<Item = (String, String)> {
        let failing = self.actors.iter().filter(|(_, check)| check.status == CheckStatus::Fail);
        failing.map(|(name, check)| (check.problem(name), check.action.clone().unwrap_or_default()))
    }

    /// Problem and action of each other part that fails.
    pub(super) fn failing_parts(&self) -> impl Iterator<Item = (String, String)> {
        let failing = self.parts.iter().filter(|(_, check)| check.status == CheckStatus::Fail);
        failing.map(|(name, check)| {
            (format!("{name}: {}", check.output), check.action.clone().unwrap_or_default())
        })
    }

    pub(super) fn worst(&self) -> CheckStatus {
        let parts = self.parts.iter().map(|(_, check)| check.status);
        let actors = self.actors.iter().map(|(_, check)| check.status);
        parts.chain(actors).max().unwrap_or(CheckStatus::Pass)
    }

    pub(super) fn into_map(self) -> BTreeMap<String, [Entry; 1]> {
        let parts = self.parts.into_iter().map(|(name, check)| (name.to_owned(), [Entry::Part(check)]));
        let actors =
            self.actors.into_iter().map(|(name, check)| (format!("actor:{name}"), [Entry::Actor(check)]));
        parts.chain(actors).collect()
    }
}

impl ActorCheck {
    /// What is wrong with the actor of this name, in words.
    pub(super) fn problem(&self, name: &str) -> String {
        match (self.state, &self.last_error) {
            ("stopped", Some(error)) => format!("actor {name} has stopped: {error}"),
            ("stopped", None) => format!("actor {name} has stopped"),
            (_, Some(error)) => format!("actor {name} does not answer: {error}"),
            (_, None) => format!("actor {name} does not answer"),
        }
    }
}

/// The supervisor's entry when it does not answer: it runs, for all that is known.
pub(super) fn silent_supervisor() -> ActorCheck {
    ActorCheck {
        status: CheckStatus::Fail,
        state: ActorState::Running.as_str(),
        restarts: 0,
        last_error: Some("no answer in time".into()),
        action: Some(RESTART.into()),
    }
}

const RESTART: &str = "restart the worker; its last log lines say what went wrong, please report them";

fn kafka(kafka: &KafkaStatus) -> PartCheck {
    const ACTION: &str = "see that the brokers run, that kafka.brokers names them, and that kafka.properties \
                          holds the security settings they ask for";
    let because = because(&kafka.last_error);
    match kafka.silent_for {
        None => fail(format!("no broker has answered yet{because}"), ACTION),
        Some(silent) if silent >= KAFKA_SILENCE => {
            fail(format!("no broker has answered for {}{because}", seconds(silent)), ACTION)
        }
        Some(silent) if silent >= KAFKA_QUIET => {
            warn(format!("no broker has answered for {}{because}", seconds(silent)), ACTION)
        }
        Some(silent) => match &kafka.records_gone {
            None => pass(format!("a broker answered {} ago", seconds(silent))),
            Some(gone) => records_gone(gone),
        },
    }
}

fn records_gone(gone: &RecordsGone) -> PartCheck {
    let RecordsGone { partition, due, ago, times } = gone;
    let again = if *times > 1 { format!(", {times} times since the start") } else { String::new() };
    warn(
        format!(
            "{} ago offset {due} of partition {partition} was to be read next and is not in the topic{again}: \
             records are gone, it was read on from the earliest",
            seconds(*ago)
        ),
        "where kafka.topic was made anew: nothing, what it holds is sent; else its retention was over before this \
         group had read it: keep records for longer, and have what was lost sent again (the log line \
         \"offset out of range\" has the offsets); this warning ends an hour after the last time",
    )
}

fn consumer(status: &Status) -> PartCheck {
    let (kafka, intake) = (&status.kafka, &status.intake);
    if status.stopping {
        fail(
            "the worker is stopping",
            "nothing: it finishes what is in hand and ends; start it again if it is wanted",
        )
    } else if !kafka.joined {
        let action = if kafka.silent_for.is_none_or(|silent| silent >= KAFKA_QUIET) {
            "see kafka: no broker answers; the worker joins the group by itself once one does"
        } else {
            "wait for the group to rebalance; when it stays so, see that the group's coordinator (a broker) answers, \
             kafka.group may be joined (rights), and kafka.topic exists"
        };
        fail(format!("not in the consumer group{}", because(&kafka.last_error)), action)
    } else if kafka.partitions == 0 {
        warn(
            "in the consumer group, without a partition",
            "run fewer replicas than kafka.topic has partitions, or give the topic more; as a spare this \
             worker is fine",
        )
    } else if let Some(pause) = &intake.paused {
        let until = pause.until().map_or_else(
            || "until it is resumed".to_owned(),
            |until| format!("until {}", until.to_rfc3339_opts(SecondsFormat::Secs, true)),
        );
        warn(
            format!("paused by hand (by {}) {until}: {}", pause.by, mask_text(&pause.reason)),
            "when the reason is gone: POST /consumer/resume, with the token of http.admin_token; what is in hand is \
             finished meanwhile",
        )
    } else if let Some(hang) = intake.commits_hang_for {
        warn(
            format!("no commit has been taken for {}: no more jobs are taken until one is", seconds(hang)),
            "see that the brokers run, above all the group's coordinator; the mail in hand is sent meanwhile",
        )
    } else if intake.is_careful {
        warn(
            "working one job at a time: the process ended too often without getting past what was in hand",
            "nothing now: the job that ends the process will be dead-lettered as crash; then see its letter, \
             the log before each end, and whether the worker has memory enough",
        )
    } else if intake.is_full {
        pass(format!(
            "in the consumer group, with {}; as many jobs in hand as limits.in_flight and \
             limits.in_flight_bytes allow, more are taken as these are done",
            count(kafka.partitions, "partition")
        ))
    } else {
        pass(format!("in the consumer group, with {}", count(kafka.partitions, "partition")))
    }
}

fn relay(relay: &RelayStatus) -> PartCheck {
    let last = match relay.last_success {
        Some(at) => {
            let at = DateTime::<Utc>::from(at).to_rfc3339_opts(SecondsFormat::Secs, true);
            format!("last e-mail taken at {at}")
        }
        None => "no e-mail taken yet".to_owned(),
    };
    if relay.failures_in_a_row == 0 && relay.circuit == Circuit::Closed {
        return pass(last);
    }
    let failures = count(relay.failures_in_a_row, "attempt");
    let circuit = match (relay.circuit, relay.next_probe) {
        (Circuit::Closed, _) => String::new(),
        (Circuit::Open, Some(wait)) => {
            format!("circuit open: no jobs are taken, the relay is tried again in {}; ", seconds(wait))
        }
        (Circuit::Open | Circuit::HalfOpen, _) => {
            "circuit open: no jobs are taken, the relay is being tried now; ".to_owned()
        }
    };
    let action = match relay.last_cause {
        Some(Cause::SmtpAuth) => {
            "see that smtp.username and smtp.password are right, and that the account may send; the mail in \
             hand waits and goes out by itself then"
        }
        Some(Cause::Throttled) => {
            "the relay asks for less: set smtp.max_rate or a smaller mailers.size, or have its limits raised; \
             the mail in hand waits and goes out by itself then"
        }
        Some(Cause::SmtpUnreachable) => {
            "see that the relay runs and can be reached from here: smtp.host, smtp.port, smtp.security; the \
             mail in hand waits and goes out by itself then"
        }
        _ => {
            "see that the relay runs and takes this worker's mail: smtp.host, smtp.port, smtp.security, \
             smtp.username; what it says is in the output"
        }
    };
    warn(
        format!("{circuit}the last {failures} failed at the relay{}; {last}", because(&relay.last_error)),
        action,
    )
}

fn dead_letters(letters: &DeadLettersStatus) -> PartCheck {
    const ACTION: &str = "see that kafka.dlq_topic exists, has a leader, and may be written to (rights, \
                          quota, record size); the letters are kept and tried again until then";
    let waiting = count(letters.under_way, "dead letter");
    match letters.failing_for {
        None => pass(format!("{waiting} under way")),
        Some(failing) => {
            let output = format!(
                "nothing could be published for {}; {waiting} waiting{}",
                seconds(failing),
                because(&letters.last_error)
            );
            if failing >= DEAD_LETTERS_FAILING { fail(output, ACTION) } else { warn(output, ACTION) }
        }
    }
}

fn pool(pool: &PoolStatus, intake: &IntakeStatus) -> PartCheck {
    let output =
        format!("{}, {} busy, {} allowed to work", count(pool.size, "mailer"), pool.busy, pool.allowed);
    let restarting = pool.mailers.iter().filter(|mailer| mailer.state == MailerState::Restarting).count();
    if restarting > 0 {
        warn(
            format!("{output}, {restarting} restarting"),
            "nothing now: they come back by themselves; please report the panic that the log shows",
        )
    } else if intake.is_careful {
        warn(output, "see consumer: one job at a time is worked on")
    } else if pool.allowed < pool.size {
        warn(
            output,
            "the relay asked for less, or failed: see smtp; the pool returns to its size as mail goes out",
        )
    } else {
        pass(output)
    }
}

fn actor(actor: &ActorStatus, stopping: bool) -> ActorCheck {
    let silent = actor.silent_for > ACTOR_SILENCE;
    let (status, action) = match actor.state {
        ActorState::Stopped if stopping => (CheckStatus::Pass, None),
        ActorState::Stopped => (CheckStatus::Fail, Some(RESTART)),
        ActorState::Running | ActorState::Restarting if silent => (CheckStatus::Fail, Some(RESTART)),
        ActorState::Restarting => (
            CheckStatus::Warn,
            Some("nothing now: it comes back by itself; please report the panic that the log shows"),
        ),
        ActorState::Running => (CheckStatus::Pass, None),
    };
    ActorCheck {
        status,
        state: actor.state.as_str(),
        restarts: actor.restarts,
        last_error: actor.last_error.as_deref().map(|error| mask_text(error).into_owned()),
        action: action.map(str::to_owned),
    }
}

fn pass(output: impl Into<String>) -> PartCheck {
    PartCheck { status: CheckStatus::Pass, output: output.into(), action: None }
}

fn warn(output: impl Into<String>, action: &str) -> PartCheck {
    PartCheck { status: CheckStatus::Warn, output: output.into(), action: Some(action.into()) }
}

fn fail(output: impl Into<String>, action: &str) -> PartCheck {
    PartCheck { status: CheckStatus::Fail, output: output.into(), action: Some(action.into()) }
}

/// `: Connection refused`, addresses masked; empty without an error.
fn because(error: &Option<String>) -> String {
    error.as_deref().map(|error| format!(": {}", mask_text(error))).unwrap_or_default()
}

fn seconds(time: Duration) -> String {
    format!("{} s", time.as_secs())
}

/// `1 mailer`, `2 mailers`.
fn count(number: impl TryInto<u64>, noun: &str) -> String {
    let number = number.try_into().unwrap_or(u64::MAX);
    if number == 1 { format!("1 {noun}") } else { format!("{number} {noun}s") }
}
