//! Where letters are acted on: this worker's partitions of the queue, by Kafka.
//!
//! All that blocks happens on one thread: a transaction takes some 5 ms, and each partition has one a second at most.

use std::sync::atomic::{AtomicI64, Ordering};
use std::sync::{Arc, mpsc};
use std::time::Duration;

use futures::FutureExt;
use futures::future::LocalBoxFuture;
use mailroom_actors::domain::failure::Cause;
use mailroom_actors::domain::job::Record;
use mailroom_actors::domain::letters::decision::State;
use mailroom_actors::domain::letters::owner::{Batch, Opened, Task};
use mailroom_actors::domain::letters::redrive::{Due, Redrive};
use mailroom_actors::domain::letters::run::Tracked;
use mailroom_actors::domain::letters::runs::Leftovers;
use mailroom_actors::ports::{Census, Fetched, LetterLog, NotWritten};
use tokio::sync::oneshot;

use super::clerk::{Clerk, Work};
use super::due::DueLetters;
use super::notice;
use super::reader::Reader;
use super::shelf::Shelf;
use crate::config;
use crate::kafka::StartProblem;
use crate::kafka::membership::Membership;
use crate::kafka::threads::Thread;

/// So long a stop waits for what is being written.
const LONGEST_TRANSACTION: Duration = Duration::from_secs(6);
/// See the module's text.
pub struct KafkaLetterLog {
    shelf: Arc<Shelf>,
    /// First to go: what it is at is ended while the partitions are still this worker's.
    thread: Thread,
    membership: Membership,
    /// None where the redriver is off.
    due: Option<DueLetters>,
    /// Who hears of parked letters.
    notify: Option<String>,
    replay_topic: String,
    /// Letters a second, of all partitions together.
    rate: f64,
    work: mpsc::Sender<Work>,
    /// Records of the main queue that an open transaction holds up, as last looked.
    stalled: Arc<AtomicI64>,
    /// Keeps the shelf up to date.
    reader: Reader,
}

impl KafkaLetterLog {
    /// Joins the group that shares out the queue's partitions. `redrive` is none where it is off; `reader` keeps `shelf` up
    /// to date.
    ///
    /// # Errors
    /// `Misconfigured`, when librdkafka does not take the properties.
    pub fn start(
        kafka: &config::Kafka,
        dlq: &config::Dlq,
        redrive: Option<Redrive>,
        notify: Option<String>,
        shelf: &Arc<Shelf>,
        reader: Reader,
    ) -> Result<KafkaLetterLog, StartProblem> {
        let stalled = Arc::new(AtomicI64::new(0));
        let mut clerk = Clerk::new(kafka, dlq.transactions, shelf, Arc::clone(&stalled))?;
        let (work, to_do) = mpsc::channel::<Work>();
        let thread =
            Thread::start("dlq-owner", LONGEST_TRANSACTION, move |stopped| clerk.run(&to_do, stopped))
                .map_err(|error| {
                    StartProblem::Away(format!("no thread for the dead letter queue: {error}"))
                })?;
        let due = redrive.map(|redrive| DueLetters::start(redrive, shelf)).transpose();
        let due = due.map_err(|error| StartProblem::Away(format!("no thread for the redriver: {error}")))?;
        let membership = Membership::join(kafka)?;
        Ok(KafkaLetterLog {
            shelf: Arc::clone(shelf),
            thread,
            membership,
            due,
            notify,
            replay_topic: kafka.replay_topic().to_owned(),
            rate: dlq.rate,
            work,
            stalled,
            reader,
        })
    }

    /// Has `act` done on the thread.
    fn ask<T: Send + 'static>(
        &self,
        act: impl FnOnce(&mut Clerk) -> Result<T, NotWritten> + Send + 'static,
    ) -> LocalBoxFuture<'static, Result<T, NotWritten>> {
        let (reply, answer) = oneshot::channel();
        // Where the thread has panicked the answer says so.
        let _ = self.work.send(Box::new(move |clerk| drop(reply.send(act(clerk)))));
        let panicked = NotWritten::Failed("the thread of the dead letter queue has panicked".into());
        answer.map(|answer| answer.unwrap_or(Err(panicked))).boxed_local()
    }

    fn ask_in_words<T: Send + 'static>(
        &self,
        act: impl FnOnce(&mut Clerk) -> Result<T, String> + Send + 'static,
    ) -> LocalBoxFuture<'static, Result<T, String>> {
        let answer = self.ask(move |clerk| act(clerk).map_err(NotWritten::Failed));
        let words = |problem| match problem {
            NotWritten::Failed(words) => words,
            NotWritten::TooLarge(_) | NotWritten::TooLargeTogether => "a record is too large".to_owned(),
        };
        answer.map(move |answer| answer.map_err(words)).boxed_local()
    }
}

impl Drop for KafkaLetterLog {
    /// Ends what is under way, so that no transaction is left open, and begins nothing of what waits; within bounds, for
    /// brokers may be away.
    fn drop(&mut self) {
        self.thread.stop();
        self.reader.stop();
        self.due.iter().for_each(DueLetters::stop);
        self.membership.stop();
        // It waits for work no longer.
        self.work = mpsc::channel().0;
    }
}

impl LetterLog for KafkaLetterLog {
    fn partitions(&self) -> Vec<i32> {
        self.membership.partitions()
    }

    fn census(&self) -> Census {
        let index = self.shelf.index.read_recursive();
        let causes = || Cause::ALL.into_iter().map(Some).chain([None]);
        let count = |state, cause| i64::try_from(index.count(state, cause)).unwrap_or(i64::MAX);
        let letters = State::ALL.into_iter().flat_map(|state| causes().map(move |cause| (state, cause)));
        Census {
            letters: letters.map(|(state, cause)| (state, cause, count(state, cause))).collect(),
            oldest_waiting_ms: index.oldest_waiting_ms(),
            stalled_records: self.stalled.load(Ordering::Relaxed),
        }
    }

    fn runs(&self) -> Vec<Tracked> {
        if self.shelf.decisions_are_known() { self.shelf.runs_under_way() } else { Vec::new() }
    }

    fn due(&self, partition: i32, now_ms: i64) -> Vec<Due> {
        self.due.as_ref().map_or_else(Vec::new, |due| due.of(partition, now_ms))
    }

    fn notice(&self, now_ms: i64) -> Option<Record> {
        let to = self.notify.as_ref()?;
        let parked = self.shelf.parked_since_the_notice(now_ms).filter(|parked| *parked > 0)?;
        let in_all = self.shelf.index.read_recursive().count_all(State::Parked);
        Some(notice::job(to, parked, in_all, now_ms, &self.replay_topic))
    }

    fn redrive_rate(&self) -> f64 {
        self.rate / self.shelf.index.read_recursive().partitions().max(1) as f64
    }

    fn left_below(&self, partition: i32) -> Option<i64> {
        self.shelf.left_below(partition)
    }

    fn leftovers(&self, partition: i32, now_ms: i64) -> Option<Leftovers> {
        self.shelf.decisions_are_known().then(|| self.shelf.leftovers(partition, now_ms))
    }

    fn open(&self, partition: i32) -> LocalBoxFuture<'static, Result<Opened, String>> {
        self.ask_in_words(move |clerk| clerk.open(partition))
    }

    fn close(&self, partition: i32) {
        // As in `ask`.
        let _ = self.work.send(Box::new(move |clerk| clerk.close(partition)));
    }

    fn fetch(&self, partition: i32, tasks: &[Task]) -> LocalBoxFuture<'static, Result<Fetched, String>> {
        let wanted = tasks.iter().map(|task| (task.offset, task.decided_at)).collect();
        self.ask_in_words(move |clerk| clerk.fetch(partition, &wanted))
    }

    fn write(
        &self,
        partition: i32,
        batch: Arc<Batch>,
    ) -> LocalBoxFuture<'static, Result<Vec<i64>, NotWritten>> {
        self.ask(move |clerk| clerk.write(partition, &batch))
    }

    fn failed_again(&self, run: &Tracked) -> LocalBoxFuture<'static, Result<Option<u64>, String>> {
        let run = run.clone();
        self.ask_in_words(move |clerk| clerk.settled.failed_again(&run))
    }
}
