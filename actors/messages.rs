//! Every message that one actor, or the service around them, may send another, each with "from → to".

use std::time::{Duration, SystemTime};

use actix::prelude::*;

use crate::domain::failure::{Cause, Class};
use crate::domain::pace::Circuit;
use crate::domain::topic_partition::TopicPartition;
use crate::guard::{ActorName, ChildId};
use crate::pause::Pause;
use crate::ports::Connection;
use crate::throttle::Permit;
use crate::ticket::Ticket;

// ---- Between the actors --------------------------------------------------------------------------------

/// Mailer → Consumer: I have nothing to do; give me one job.
#[derive(Message)]
#[rtype(result = "()")]
pub struct Ask {
    pub mailer: ChildId,
    /// It has a connection to the relay open.
    pub is_connected: bool,
    /// It has asked before, and only has no connection any more: of no interest where it was given a job meanwhile.
    pub again: bool,
    pub recipient: Recipient<Deliver>,
}

/// Consumer → Mailer: one job. With a permit it is to be attempted (a new one, a due retry, a probe); without one
/// it is to be kept until it is due, or its attempt's end to be concluded.
#[derive(Message)]
#[rtype(result = "()")]
pub struct Deliver {
    pub ticket: Ticket,
    pub permit: Option<Permit>,
}

/// Mailer → Consumer: this retry has come due, and any idle mailer may take it; or it is not due yet, and the
/// relay may be tried with it.
#[derive(Message)]
#[rtype(result = "()")]
pub struct RetryDue(pub Ticket);

/// an attempt's task → its Mailer: it has ended; the ticket's verdict says how.
#[derive(Message)]
#[rtype(result = "()")]
pub struct Attempted {
    pub ticket: Ticket,
    /// The connection, where it may be used again.
    pub connection: Option<Box<dyn Connection>>,
}

/// Mailer → DeadLetters, Consumer → DeadLetters: publish this job's dead letter; its verdict says why.
#[derive(Message)]
#[rtype(result = "()")]
pub struct Publish(pub Ticket);

/// a publishing task → DeadLetters: the brokers have acknowledged it.
#[derive(Message)]
#[rtype(result = "()")]
pub struct Published(pub Ticket);

/// Supervisor → Consumer: another number of mailers may work.
#[derive(Message)]
#[rtype(result = "()")]
pub struct Resized;

/// Supervisor → Consumer: this generation of a mailer is gone.
#[derive(Message)]
#[rtype(result = "()")]
pub struct MailerGone(pub ChildId);

/// Consumer → Supervisor → each Mailer: partitions are gone; let go of the jobs that are not ours any more.
#[derive(Clone, Copy, Message)]
#[rtype(result = "()")]
pub struct Purge;

/// Consumer → Supervisor → each Mailer: the relay is away; hand over the jobs that wait, so that it can be tried
/// with any of them.
#[derive(Clone, Copy, Message)]
#[rtype(result = "()")]
pub struct HandOver;

/// Supervisor → Mailer: the consumer is a new one; ask again if you are idle.
#[derive(Clone, Copy, Message)]
#[rtype(result = "()")]
pub struct AskAgain;

/// Supervisor → Mailer: finish what you have, close the connection, and end.
#[derive(Clone, Copy, Message)]
#[rtype(result = "()")]
pub struct Retire;

/// Supervisor → Consumer: take no more, take back what is before the dot, await the rest, commit, leave.
#[derive(Message)]
#[rtype(result = "()")]
pub struct Drain {
    /// `worker.drain_timeout` from the stop on, however often the consumer dies meanwhile.
    pub until: tokio::time::Instant,
}

/// Consumer → Supervisor: the group is left.
#[derive(Message)]
#[rtype(result = "()")]
pub struct Drained {
    /// Nothing was past the dot or under way to the dead letter queue any more.
    pub in_time: bool,
    pub committed: Result<(), String>,
}

/// Consumer → Supervisor: the process can't go on.
#[derive(Message)]
#[rtype(result = "()")]
pub struct Escalate(pub String);

/// Supervisor → each: are you alive? Answered through the [`crate::guard::DeathGuard`].
#[derive(Message)]
#[rtype(result = "()")]
pub struct AreYouAlive;

/// every actor → Metrics: this happened.
#[derive(Clone, Debug, Message)]
#[rtype(result = "()")]
pub enum Event {
    /// An attempt ended: ok (none), or its class.
    Attempted {
        class: Option<Class>,
        took: Duration,
    },
    /// An e-mail was taken, so long after its record's Kafka timestamp.
    Delivered {
        latency: Option<Duration>,
        is_replay: bool,
    },
    DeadLettered {
        cause: Cause,
        is_replay: bool,
    },
    PublishFailed,
    /// Letters that were acted on, and their jobs put back on the queue; and those that were left.
    Replays {
        published: u64,
        skipped: u64,
    },
    /// Letters whose jobs the queue does not take.
    ReplaysRefused {
        count: u64,
    },
    Committed {
        ok: bool,
    },
    Rebalanced,
    Restarted(ActorName),
    Pool {
        size: usize,
    },
}

// ---- The service → Supervisor ------------------------------------------------------------------------

/// http → Supervisor: how is everything?
#[derive(Message)]
#[rtype(result = "Status")]
pub struct GetStatus;

/// http → Supervisor: make the pool this large.
#[derive(Message)]
#[rtype(result = "Result<PoolStatus, SizeOutOfBounds>")]
pub struct Resize {
    pub size: usize,
}

/// http → Supervisor: take no more jobs, and finish those in hand. Pausing again replaces.
#[derive(Message)]
#[rtype(result = "IntakeByHand")]
pub struct PauseIntake {
    pub reason: String,
    /// By which way it came: `http`.
    pub by: &'static str,
    /// From now on; none: until intake is resumed.
    pub duration: Option<Duration>,
}

/// http → Supervisor: take jobs again, as far as nothing else hinders it.
#[derive(Message)]
#[rtype(result = "IntakeByHand")]
pub struct ResumeIntake {
    /// As in [`PauseIntake`].
    pub by: &'static str,
}

/// Whether intake is paused by hand now: the answer to [`PauseIntake`] and [`ResumeIntake`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct IntakeByHand(pub Option<Pause>);

/// app → Supervisor: drain, commit, leave. The answer comes through [`crate::supervisor::Ended`].
#[derive(Message)]
#[rtype(result = "()")]
pub struct Stop;

/// http → Metrics: the Prometheus text (version 0.0.4) of this moment.
#[derive(Message)]
#[rtype(result = "Result<String, String>")]
pub struct Scrape {
    /// What `/health/ready` says now.
    pub ready: bool,
    /// What the log writer has dropped since the start.
    pub log_lines_dropped: u64,
    /// How often the HTTP listener was started again.
    pub http_restarts: u64,
}

/// A pool size that `PUT /pool` may not have.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SizeOutOfBounds {
    pub min: usize,
    pub max: usize,
}

// ---- What the supervisor knows ------------------------------------------------------------------------

/// Everything that `/health`, `/health/live`, `/health/ready` and `/pool` are made of.
#[derive(Clone, Debug)]
pub struct Status {
    pub stopping: bool,
    pub pool: PoolStatus,
    pub actors: Vec<ActorStatus>,
    pub kafka: KafkaStatus,
    pub relay: RelayStatus,
    pub intake: IntakeStatus,
    pub dead_letters: DeadLettersStatus,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PoolStatus {
    pub size: usize,
    pub min: usize,
    pub max: usize,
    pub busy: usize,
    /// How many may work now.
    pub allowed: usize,
    pub mailers: Vec<MailerStatus>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MailerStatus {
    pub id: usize,
    pub state: MailerState,
    pub restarts: u64,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum MailerState {
    Idle,
    Busy,
    /// Idle, with jobs to do, and not allowed to work now.
    Held,
    Restarting,
}

impl MailerState {
    pub fn as_str(self) -> &'static str {
        match self {
            MailerState::Idle => "idle",
            MailerState::Busy => "busy",
            MailerState::Held => "held",
            MailerState::Restarting => "restarting",
        }
    }
}

/// One actor as the supervisor sees it: `supervisor`, `consumer`, `dead_letters`, `metrics`, `mailer`
/// (all mailers in one).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ActorStatus {
    pub name: &'static str,
    pub state: ActorState,
    pub restarts: u64,
    pub last_error: Option<String>,
    /// How long it has owed the supervisor an answer to the question whether it is alive; zero while it owes none.
    pub silent_for: Duration,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ActorState {
    Running,
    Restarting,
    Stopped,
}

impl ActorState {
    pub fn as_str(self) -> &'static str {
        match self {
            ActorState::Running => "running",
            ActorState::Restarting => "restarting",
            ActorState::Stopped => "stopped",
        }
    }
}

/// Whether jobs are taken, and if not, why.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct IntakeStatus {
    /// By hand; none: it is not.
    pub paused: Option<Pause>,
    /// No commit has been taken for so long: no more jobs are, until one is.
    pub commits_hang_for: Option<Duration>,
    /// `limits.in_flight` or `limits.in_flight_bytes` is reached.
    pub is_full: bool,
    /// Some partition is worked through one job at a time, since the process ended too often over it.
    pub is_careful: bool,
}

/// The consumer group, as far as readiness depends on it.
#[derive(Clone, Debug, Default)]
pub struct KafkaStatus {
    /// How long since a broker last answered; none before the first time.
    pub silent_for: Option<Duration>,
    pub partitions: usize,
    pub joined: bool,
    pub last_error: Option<String>,
    /// Where records were gone when they were to be read, the last time within an hour.
    pub records_gone: Option<RecordsGone>,
}

/// A partition that could not be read on where the group was.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RecordsGone {
    pub partition: TopicPartition,
    /// The offset that was due next.
    pub due: i64,
    pub ago: Duration,
    /// How often that happened, to any partition, since the process began.
    pub times: u64,
}

/// What the last attempts said of the relay.
#[derive(Clone, Debug)]
pub struct RelayStatus {
    pub circuit: Circuit,
    /// Failures of class infrastructure, limited or ambiguous in a row.
    pub failures_in_a_row: u32,
    /// Until the next probe; none unless the circuit is open and no probe is under way.
    pub next_probe: Option<Duration>,
    pub last_error: Option<String>,
    /// What the last failure is called.
    pub last_cause: Option<Cause>,
    pub last_success: Option<SystemTime>,
}

/// The dead letter queue, as far as readiness depends on it.
#[derive(Clone, Debug, Default)]
pub struct DeadLettersStatus {
    /// Letters that wait for the brokers' acknowledgement.
    pub under_way: usize,
    /// How long publishing has failed without a success between; none while it works.
    pub failing_for: Option<Duration>,
    pub last_error: Option<String>,
}
