//! What the world must provide, and what it may tell: the only doors of this crate.
//!
//! `src/` implements these for Kafka, SMTP and the job's form; the tests implement them in memory.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use chrono::{DateTime, Utc};
use futures::future::LocalBoxFuture;
use tokio::sync::oneshot;

use crate::domain::failure::{Cause, Failure};
pub use crate::domain::history::Outcome;
use crate::domain::job::{DeadLetter, Record};
use crate::domain::letters::decision::State;
use crate::domain::letters::owner::{Batch, Letter, Opened, Task};
use crate::domain::letters::redrive::Due;
use crate::domain::letters::refusal::Refusal;
use crate::domain::letters::run::Tracked;
use crate::domain::letters::runs::Leftovers;
use crate::domain::topic_partition::{Topic, TopicPartition};

/// How the bodies of an e-mail may be written: the body-type of RFC 6152.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum BodyType {
    /// Transfer encodings of 7-bit text only: every relay takes them.
    #[default]
    SevenBit,
    /// Text may stand as it is: the relay offers 8BITMIME.
    EightBitMime,
}

/// An e-mail, ready for the wire but for dot-stuffing.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Email {
    /// With angle brackets. The same on every attempt.
    pub message_id: String,
    /// The bare address of `MAIL FROM`.
    pub sender: String,
    /// The bare addresses of the envelope, no address twice, always in the same order for the same job.
    /// 1 to 100.
    pub recipients: Vec<String>,
    /// Headers and body: CRLF line ends only, lines of at most 998 bytes, ends with CRLF. 7-bit, but for bodies
    /// where `body_type` says so, and for addresses where `header_needs_smtputf8` does.
    pub data: Vec<u8>,
    /// Whether a byte over 127 stands in a body.
    pub body_type: BodyType,
    /// Whether it would be written otherwise for the other body type.
    pub depends_on_body_type: bool,
    /// An address in the header is not ASCII before its @ (RFC 6531). The sender's and the recipients' own
    /// addresses are apart from this.
    pub header_needs_smtputf8: bool,
}

/// Makes e-mails of jobs. Called in an attempt's task, for large records on the blocking pool.
pub trait Composer: Send + Sync + 'static {
    /// The e-mail that `record` asks for, written for a relay that takes `body_type`, or why it is none (a failure
    /// found before an attempt: stage `decode` or `render`).
    fn compose(&self, record: &Record, body_type: BodyType) -> Result<Email, Failure>;

    /// Until when the e-mail may be sent, asked once when the job is taken, `now` by the wall clock; none: for ever,
    /// also where the record is no job. Never panics on purpose; whoever calls is prepared for it.
    fn expiry(&self, record: &Record, now: DateTime<Utc>) -> Option<Expiry>;

    /// Why no job can be read from `record` (a failure of stage `decode`), asked of one that has expired: what is no job
    /// never expires. None where there is a job. Never panics on purpose; whoever calls is prepared for it.
    fn why_no_job(&self, record: &Record) -> Option<Failure>;

    /// The job's tags as the log shows them, a JSON object, addresses in it masked; none where it has none, or
    /// can't be read.
    fn tags(&self, record: &Record) -> Option<String>;
}

/// When a job is no longer to be sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Expiry {
    /// From now; zero when that time has passed.
    pub left: Duration,
    /// What set it, for the reason: `expires_at` or `email.max_age`.
    pub set_by: &'static str,
}

/// Asked once, right before the first byte of the final dot goes out.
pub trait Gate {
    /// True: the e-mail is past the dot from now on. False: it has been taken back (a revoke, a stop), and
    /// the final dot must not be sent: drop the connection.
    fn pass_the_dot(&self) -> bool;
}

/// The relay: opens connections that are ready for MAIL (TLS and AUTH done).
pub trait Relay: 'static {
    /// A connection, or the failure of stage `connect` to `auth`. Keeps its own deadlines.
    fn connect(&self) -> LocalBoxFuture<'static, Result<Box<dyn Connection>, Failure>>;
}

/// One open connection to the relay, kept between e-mails. Dropping it closes it at once.
pub trait Connection: Send {
    /// Offers `email` to those of its recipients whose indices are in `to` (ascending, not empty), in one
    /// transaction. Keeps its own deadlines. Dropping the future leaves the connection unusable.
    fn send<'a>(
        &'a mut self,
        email: &'a Email,
        to: &'a [usize],
        gate: &'a dyn Gate,
    ) -> LocalBoxFuture<'a, Transaction>;

    /// Whether another e-mail may be sent over it. False after any doubt.
    fn is_usable(&self) -> bool;

    /// What bodies the relay takes over it.
    fn body_type(&self) -> BodyType;

    /// How many e-mails it has carried to a 250.
    fn carried(&self) -> u32;

    /// How many commands in a row the relay has refused (4xx or 5xx to MAIL, a RCPT, DATA or the message) since
    /// it last took an e-mail over this connection. Relays slow down or end a connection for that.
    fn refused_in_a_row(&self) -> u32;

    /// Says QUIT and closes, waiting for the answer 5 s at most.
    fn quit(self: Box<Self>) -> LocalBoxFuture<'static, ()>;
}

/// What came of one transaction: an outcome for each index in `to`, in the same order.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Transaction {
    pub outcomes: Vec<Outcome>,
}

/// Where jobs come from and commits go to: the consumer group. Its events come by the [`OffsetLogEvent`]s
/// of one channel, in order. No call waits for anything.
pub trait OffsetLog: Send + Sync + 'static {
    /// Commits these offsets; answered by [`OffsetLogEvent::Committed`]. Never called while an earlier call
    /// is unanswered.
    fn commit(&self, offsets: Vec<CommitOffset>);

    /// There are credits again after there were none: read on.
    fn read_on(&self);

    /// Take no more records from now on; goes on serving commits and the group until [`OffsetLog::leave`].
    fn stop_reading(&self);

    /// Commits these offsets synchronously, leaves the group, ends; answered by [`OffsetLogEvent::Left`],
    /// after which there are no more events.
    fn leave(&self, last: Vec<CommitOffset>);
}

/// The next offset to read of one partition: everything below it is settled.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CommitOffset {
    pub partition: TopicPartition,
    pub offset: i64,
    /// What is known beyond the offset; empty when nothing is.
    pub metadata: String,
}

/// One partition that this worker has been given.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AssignedPartition {
    pub partition: TopicPartition,
    /// The group's committed offset; none for a new group, which begins at the earliest record.
    pub committed: Option<i64>,
    /// As it was committed; empty when nothing was.
    pub metadata: String,
    /// The partition's first offset and the one behind its last record (or transaction marker), as found now.
    pub low: i64,
    pub high: i64,
}

/// Where the partition's log ends, and what is committed, as Kafka's own tools see it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Watermarks {
    pub partition: TopicPartition,
    pub low: i64,
    pub high: i64,
}

/// What the consumer group tells, in the order in which it happened.
#[derive(Debug)]
pub enum OffsetLogEvent {
    /// These partitions are ours from now on (cooperative: beside those we have).
    Assigned(Vec<AssignedPartition>),
    /// Records of that topic, in order for each partition. Each was admitted by [`crate::credits::Credits`].
    Records(Topic, Vec<Record>),
    /// Everything below `next` has been handed over: what lies between the last record and it (transaction
    /// markers, compacted records) is nothing to wait for. Sent behind those records.
    SeenUpTo { partition: TopicPartition, next: i64 },
    /// These partitions are about to be given up. The poll thread waits for the offsets to commit, at most
    /// `worker.drain_timeout`; when `reply` is dropped it asks again.
    Revoking { partitions: Vec<TopicPartition>, reply: oneshot::Sender<Vec<CommitOffset>> },
    /// These partitions are gone already (the session expired): nothing more may be committed.
    Lost(Vec<TopicPartition>),
    /// The answer to [`OffsetLog::commit`].
    Committed(Result<(), CommitRefusal>),
    /// Fresh watermarks, at least every 15 s, of assigned partitions, also while nothing is read.
    Watermarks(Vec<Watermarks>),
    /// The thread that polls has come round once more (about once a second, whatever the brokers do). While none comes
    /// it stands still.
    Turned,
    /// `due` was to be read next of this partition and is not in its log any more: records are gone, or the topic was
    /// made anew. It is read on from the earliest record there is; for the actors the partition is lost and assigned again.
    OutOfRange { partition: TopicPartition, due: i64 },
    /// A broker answered something just now (at most one such event a second).
    Reachable,
    /// No broker answers, or the group can't be joined; in words, without secrets. Not fatal.
    Unreachable(String),
    /// The consumer can't go on: the process must end and be started anew.
    Fatal(String),
    /// The answer to [`OffsetLog::leave`]: whether the last commit was taken.
    Left(Result<(), String>),
}

/// A commit that was not taken.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CommitRefusal {
    /// In words.
    pub reason: String,
    /// The partitions are certainly no longer ours (fenced, assignment lost): never try again. Else it
    /// stays dirty and is tried again while the partition is ours.
    pub not_ours: bool,
    /// The broker takes no metadata of that size (`offset.metadata.max.bytes`).
    pub metadata_too_large: bool,
}

/// The dead letter queue.
pub trait DeadLetterLog: 'static {
    /// Encodes the letter and returns once the brokers have acknowledged it (`acks=all`), or why not.
    /// Each call is one try; the caller tries again for ever.
    fn publish(&self, letter: Arc<DeadLetter>) -> LocalBoxFuture<'static, Result<(), String>>;
}

/// The partitions of the dead letter queue in which this worker, and no other, acts on letters; and what is known of the
/// runs that ask for it.
pub trait LetterLog: 'static {
    /// Those that are this worker's now.
    fn partitions(&self) -> Vec<i32>;

    /// What lies on the queue now, as far as it is known.
    fn census(&self) -> Census;

    /// Runs under way, the oldest first, as far as they have been heard of.
    fn runs(&self) -> Vec<Tracked>;

    /// What is due to the redriver in that partition; nothing where it is off.
    fn due(&self, partition: i32, now_ms: i64) -> Vec<Due>;

    /// Letters a second that the redriver may act on in each partition.
    fn redrive_rate(&self) -> f64;

    /// Where the partition of the queue begins, once letters have left it since it was last swept; none where there is
    /// nothing to sweep.
    fn left_below(&self, partition: i32) -> Option<i64>;

    /// What is to be taken off that partition of the decisions topic of runs whose letters have left the queue, as far as they
    /// have been heard of; none before that topic has been read.
    fn leftovers(&self, partition: i32, now_ms: i64) -> Option<Leftovers>;

    /// The e-mail, as a job, about letters that were parked since somebody was last told; none where nobody is to be told,
    /// nothing was parked, or that was less than an hour ago.
    fn notice(&self, now_ms: i64) -> Option<Record>;

    /// Shuts every rival out, then reads the partition's decisions to their end.
    ///
    /// # Errors
    /// In words; to be tried again later.
    fn open(&self, partition: i32) -> LocalBoxFuture<'static, Result<Opened, String>>;

    /// Lets go of what [`LetterLog::open`] made.
    fn close(&self, partition: i32);

    /// The letters of these tasks, or the first of them where they are many bytes.
    ///
    /// # Errors
    /// In words; nothing was changed.
    fn fetch(&self, partition: i32, tasks: &[Task]) -> LocalBoxFuture<'static, Result<Fetched, String>>;

    /// Writes all of the batch or nothing, and returns where each act's decision lies.
    ///
    /// # Errors
    /// [`NotWritten`]. Whether it was written may be unknown: the partition must be opened anew.
    fn write(
        &self,
        partition: i32,
        batch: Arc<Batch>,
    ) -> LocalBoxFuture<'static, Result<Vec<i64>, NotWritten>>;

    /// How many of the first letters of `run` have failed again, once all of them are settled; none before.
    ///
    /// # Errors
    /// In words; to be asked again.
    fn failed_again(&self, run: &Tracked) -> LocalBoxFuture<'static, Result<Option<u64>, String>>;
}

/// The answer to [`LetterLog::census`].
#[derive(Clone, Debug, Default)]
pub struct Census {
    /// How many letters are in each state for each cause, every pair once; without a cause: that can't be read.
    pub letters: Vec<(State, Option<Cause>, i64)>,
    /// The time stamp of the oldest that waits, milliseconds since the epoch.
    pub oldest_waiting_ms: Option<i64>,
    /// Records of the main queue that an open transaction holds up.
    pub stalled_records: i64,
}

/// The answer to [`LetterLog::fetch`].
#[derive(Clone, Debug, Default)]
pub struct Fetched {
    /// By offset; what is not in here, and was asked for below `below`, has left the queue.
    pub letters: HashMap<i64, Letter>,
    /// Letters from this offset on were not fetched.
    pub below: i64,
}

/// Why a batch was not written.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum NotWritten {
    /// The brokers take no records this large; none are named where it is none of those that the batch can do without.
    TooLarge(Vec<Refusal>),
    /// Records that went together are too large, one of them at least. Once it is opened anew they go one by one, which takes
    /// longer: fewer should.
    TooLargeTogether,
    /// In words.
    Failed(String),
}

/// The wall clock, for time stamps only: nothing is decided by it.
pub trait WallClock: Send + Sync + 'static {
    fn now(&self) -> DateTime<Utc>;
}

/// Randomness for jitter: a number from 0 up to, not including, 1.
pub trait Jitter: Send + Sync + 'static {
    fn fraction(&self) -> f64;
}
