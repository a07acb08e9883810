//! Where letters are acted on: this worker's partitions of the queue, by Kafka.
//!
//! All that blocks happens on one thread: a transaction takes some 5 ms, and each partition has one a second at most.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicBool, AtomicI64, Ordering};
use std::sync::{Arc, mpsc};
use std::time::{Duration, Instant};

use futures::FutureExt;
use futures::future::LocalBoxFuture;
use mailroom_actors::domain::failure::Cause;
use mailroom_actors::domain::job::Record;
use mailroom_actors::domain::letters::decision::State;
use mailroom_actors::domain::letters::name::LetterName;
use mailroom_actors::domain::letters::owner::{Batch, Known, MAX_BATCH, Opened, Task};
use mailroom_actors::domain::letters::redrive::{Due, Redrive};
use mailroom_actors::domain::letters::refusal::Refusal;
use mailroom_actors::domain::letters::run::Tracked;
use mailroom_actors::domain::letters::runs::Leftovers;
use mailroom_actors::ports::{Census, Fetched, LetterLog, NotWritten};
use parking_lot::Mutex;
use tokio::sync::oneshot;

use super::notice;
use super::reader::Reader;
use super::records::{self, Said, Written};
use super::replay;
use super::settled::Settled;
use super::shelf::Shelf;
use crate::config;
use crate::kafka::StartProblem;
use crate::kafka::fetch::Fetcher;
use crate::kafka::membership::Membership;
use crate::kafka::scribe::{Entry, Outgoing, Part, Scribe, Unwritten};
use crate::kafka::threads::Thread;
use crate::kafka::topics;

/// A million decisions are read in 1.3 s.
const READ_TIMEOUT: Duration = Duration::from_secs(60);
const FETCH_TIMEOUT: Duration = Duration::from_secs(10);
/// Between two looks at whether the main queue stalls.
const BETWEEN_LOOKS: Duration = Duration::from_secs(15);
/// A million letters are looked through in some milliseconds, on the thread that sends e-mails.
const BETWEEN_SCANS: Duration = Duration::from_secs(5);
/// So long a stop waits for what is being written.
const LONGEST_TRANSACTION: Duration = Duration::from_secs(6);
/// So many bytes of letters are fetched for one batch, and one letter more: a transaction of more may not end in time.
const MAX_FETCHED_BYTES: usize = 4 * 1024 * 1024;

/// See the module's text.
pub struct KafkaLetterLog {
    shelf: Arc<Shelf>,
    /// First to go: what it is at is ended while the partitions are still this worker's.
    thread: Thread,
    membership: Membership,
    redrive: Option<Redrive>,
    /// Who hears of parked letters.
    notify: Option<String>,
    /// When the index was last looked through in vain for letters that are due.
    nothing_due: Mutex<HashMap<i32, Instant>>,
    replay_topic: String,
    /// Letters a second, of all partitions together.
    rate: f64,
    work: mpsc::Sender<Work>,
    /// Records of the main queue that an open transaction holds up, as last looked.
    stalled: Arc<AtomicI64>,
    /// Keeps the shelf up to date.
    reader: Reader,
}

type Work = Box<dyn FnOnce(&mut Desk) + Send>;

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
        let mut desk = Desk {
            fetcher: Fetcher::new(kafka),
            settled: Settled::new(kafka, kafka.replay_topic(), shelf)?,
            kafka: kafka.clone(),
            replay_topic: kafka.replay_topic().to_owned(),
            transactional: dlq.transactions,
            scribes: HashMap::new(),
            singly: BTreeSet::new(),
            stalled: Arc::clone(&stalled),
        };
        let (work, to_do) = mpsc::channel::<Work>();
        let thread =
            Thread::start("dlq-owner", LONGEST_TRANSACTION, move |stopped| desk.run(&to_do, stopped))
                .map_err(|error| {
                    StartProblem::Away(format!("no thread for the dead letter queue: {error}"))
                })?;
        let membership = Membership::join(kafka)?;
        Ok(KafkaLetterLog {
            shelf: Arc::clone(shelf),
            thread,
            membership,
            redrive,
            notify,
            nothing_due: Mutex::default(),
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
        act: impl FnOnce(&mut Desk) -> Result<T, NotWritten> + Send + 'static,
    ) -> LocalBoxFuture<'static, Result<T, NotWritten>> {
        let (reply, answer) = oneshot::channel();
        // Where the thread has panicked the answer says so.
        let _ = self.work.send(Box::new(move |desk| drop(reply.send(act(desk)))));
        let panicked = NotWritten::Failed("the thread of the dead letter queue has panicked".into());
        answer.map(|answer| answer.unwrap_or(Err(panicked))).boxed_local()
    }

    fn ask_in_words<T: Send + 'static>(
        &self,
        act: impl FnOnce(&mut Desk) -> Result<T, String> + Send + 'static,
    ) -> LocalBoxFuture<'static, Result<T, String>> {
        let answer = self.ask(move |desk| act(desk).map_err(NotWritten::Failed));
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
        let Some(redrive) = self.redrive.as_ref().filter(|_| self.shelf.is_complete()) else {
            return Vec::new();
        };
        let mut nothing_due = self.nothing_due.lock();
        if nothing_due.get(&partition).is_some_and(|looked| looked.elapsed() < BETWEEN_SCANS) {
            return Vec::new();
        }
        let due = self.shelf.index.read_recursive().due(partition, redrive, now_ms, MAX_BATCH);
        match due.is_empty() {
            true => drop(nothing_due.insert(partition, Instant::now())),
            false => drop(nothing_due.remove(&partition)),
        }
        due
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
        self.ask_in_words(move |desk| desk.open(partition))
    }

    fn close(&self, partition: i32) {
        // As in `ask`.
        let _ = self.work.send(Box::new(move |desk| drop(desk.scribes.remove(&partition))));
    }

    fn fetch(&self, partition: i32, tasks: &[Task]) -> LocalBoxFuture<'static, Result<Fetched, String>> {
        let wanted = tasks.iter().map(|task| (task.offset, task.decided_at)).collect();
        self.ask_in_words(move |desk| desk.fetch(partition, &wanted))
    }

    fn write(
        &self,
        partition: i32,
        batch: Arc<Batch>,
    ) -> LocalBoxFuture<'static, Result<Vec<i64>, NotWritten>> {
        self.ask(move |desk| desk.write(partition, &batch))
    }

    fn failed_again(&self, run: &Tracked) -> LocalBoxFuture<'static, Result<Option<u64>, String>> {
        let run = run.clone();
        self.ask_in_words(move |desk| desk.settled.failed_again(&run))
    }
}

/// What the thread has.
struct Desk {
    kafka: config::Kafka,
    replay_topic: String,
    transactional: bool,
    fetcher: Fetcher,
    settled: Settled,
    scribes: HashMap<i32, Scribe>,
    /// Partitions whose records are sent one by one for now: among the last ones there was one that is too large.
    singly: BTreeSet<i32>,
    stalled: Arc<AtomicI64>,
}

impl Desk {
    /// Does what there is to do until nobody can ask any more; looks at the main queue now and then.
    fn run(&mut self, to_do: &mpsc::Receiver<Work>, stopped: &AtomicBool) {
        let mut looked = Instant::now();
        loop {
            match to_do.recv_timeout(BETWEEN_LOOKS) {
                // What waits in the queue is not begun any more.
                Ok(_) if stopped.load(Ordering::Acquire) => return,
                Ok(work) => {
                    // Whoever asked hears of it, for nobody answers; what it was at may be half done.
                    if catch_unwind(AssertUnwindSafe(|| work(self))).is_err() {
                        self.scribes.clear();
                    }
                }
                Err(mpsc::RecvTimeoutError::Timeout) => {}
                Err(mpsc::RecvTimeoutError::Disconnected) => return,
            }
            if looked.elapsed() >= BETWEEN_LOOKS {
                looked = Instant::now();
                if self.kafka.create_topics && self.settled.lacks_partitions(&self.kafka.decisions_topic) {
                    topics::follow_partitions(&self.kafka);
                }
                match self.settled.stalled_records(&self.kafka.topics()) {
                    Ok(records) => self.stalled.store(records, Ordering::Relaxed),
                    // What is not known is not alarming; that brokers are away is told elsewhere.
                    Err(error) => {
                        self.stalled.store(0, Ordering::Relaxed);
                        tracing::debug!(%error, "the queue's ends are not known just now");
                    }
                }
            }
        }
    }

    fn open(&mut self, partition: i32) -> Result<Opened, String> {
        // One after the other: librdkafka takes a second client of the same id for a rival.
        self.scribes.remove(&partition);
        let singly = self.singly.contains(&partition);
        let scribe = Scribe::open(&self.kafka, partition, self.transactional, singly)?;
        let mut opened = Opened::default();
        self.fetcher.read_all(&self.kafka.decisions_topic, partition, READ_TIMEOUT, |record| match record
            .key()
            .and_then(|key| Said::read(key, record.value()))
        {
            Some(Said::Decided(letter, decision)) if letter.partition == partition => {
                let known = Known {
                    letter_timestamp_ms: decision.letter_timestamp_ms,
                    state: decision.latest.state,
                    decided_at: record.offset(),
                };
                opened.known.insert(letter.offset, known);
            }
            Some(Said::Forgotten(letter)) if letter.partition == partition => {
                opened.known.remove(&letter.offset);
            }
            Some(Said::Notified { at_ms }) => opened.notified_ms = Some(at_ms),
            Some(Said::Progress(id, of, progress)) if of == partition => {
                opened.progress.insert(id, progress);
            }
            Some(Said::ProgressForgotten(id, of)) if of == partition => drop(opened.progress.remove(&id)),
            Some(Said::RunForgotten(id)) => drop(opened.forgotten_runs.insert(id)),
            Some(Said::Asked(run)) => drop(opened.forgotten_runs.remove(&run.id)),
            _ => {}
        })?;
        self.scribes.insert(partition, scribe);
        Ok(opened)
    }

    /// `wanted`: letters, and where their last decisions lie.
    fn fetch(&mut self, partition: i32, wanted: &BTreeMap<i64, Option<i64>>) -> Result<Fetched, String> {
        let offsets: BTreeSet<i64> = wanted.keys().copied().collect();
        let (records, below) = self.fetcher.fetch_up_to(
            &self.kafka.dlq_topic,
            partition,
            &offsets,
            MAX_FETCHED_BYTES,
            FETCH_TIMEOUT,
        )?;
        let decided_at: BTreeSet<i64> =
            wanted.range(..below).filter_map(|(_, decided_at)| *decided_at).collect();
        let decisions =
            self.fetcher.fetch(&self.kafka.decisions_topic, partition, &decided_at, FETCH_TIMEOUT)?;
        // Without it the letter's history would begin anew: the brokers may say that a transaction has ended before it can
        // be read.
        if decisions.len() < decided_at.len() {
            return Err("not all decisions that were made can be read yet".into());
        }
        let mut before: HashMap<i64, _> = decisions
            .into_iter()
            .filter_map(|record| match Said::read(record.key.as_deref()?, record.value.as_deref())? {
                Said::Decided(letter, decision) => Some((letter.offset, decision)),
                _ => None,
            })
            .collect();
        let letters = records.into_iter().map(|record| {
            let offset = record.offset;
            let mut letter = replay::letter(record, &self.replay_topic);
            letter.before = before.remove(&offset);
            (offset, letter)
        });
        Ok(Fetched { letters: letters.collect(), below })
    }

    fn write(&mut self, partition: i32, batch: &Batch) -> Result<Vec<i64>, NotWritten> {
        let scribe = self.scribes.get(&partition);
        let scribe = scribe.ok_or_else(|| NotWritten::Failed("the partition was given up".into()))?;
        let acts =
            batch.acts.iter().map(|act| (act.job.as_ref(), Said::Decided(act.letter, act.decision.clone())));
        let notice =
            batch.notice.iter().map(|notice| (Some(&notice.job), Said::Notified { at_ms: notice.at_ms }));
        let progress =
            batch.progress.iter().map(|(id, progress)| Said::Progress(id.clone(), partition, *progress));
        let forgotten =
            batch.forgotten.iter().map(|offset| Said::Forgotten(LetterName { partition, offset: *offset }));
        let canaries = batch.canaries.iter().map(|(id, canary)| Said::Canary(id.clone(), *canary));
        let left_progress =
            batch.leftovers.progress.iter().map(|id| Said::ProgressForgotten(id.clone(), partition));
        let left_runs = batch.leftovers.runs.iter().flat_map(|id| records::forget_run(id));
        let entries: Vec<Entry> = acts
            .chain(notice)
            .chain(progress.chain(forgotten).chain(canaries).chain(left_progress).map(|said| (None, said)))
            .map(|(job, said)| (job, said.write()))
            .chain(left_runs.map(|written| (None, written)))
            .map(|(job, written)| Entry {
                job: job.map(outgoing),
                said: decision(written, &self.kafka.decisions_topic),
            })
            .collect();
        let mut offsets = scribe.write(&entries).map_err(|unwritten| match unwritten {
            Unwritten::Failed(error) => {
                // Who has lost the partition meanwhile hears no more of it.
                tracing::debug!(partition, %error, "a batch was not written");
                NotWritten::Failed(error)
            }
            Unwritten::TooLargeTogether => {
                self.singly.insert(partition);
                NotWritten::TooLargeTogether
            }
            Unwritten::TooLarge(Part::Job, places) => NotWritten::TooLarge(
                places.into_iter().filter_map(|place| Refusal::of_job_at(place, batch)).collect(),
            ),
            Unwritten::TooLarge(Part::Said, places) => {
                let acts = places.into_iter().filter_map(|place| batch.acts.get(place));
                NotWritten::TooLarge(acts.map(Refusal::of_decision).collect())
            }
        })?;
        self.singly.remove(&partition);
        offsets.truncate(batch.acts.len());
        Ok(offsets)
    }
}

fn outgoing(job: &Record) -> Outgoing {
    Outgoing {
        topic: job.topic.to_string(),
        partition: None,
        key: job.key.clone(),
        value: job.value.clone(),
        headers: job.headers.clone(),
    }
}

fn decision(written: Written, topic: &str) -> Outgoing {
    Outgoing {
        topic: topic.to_owned(),
        partition: Some(written.partition),
        key: Some(written.key.into()),
        value: written.value.map(Into::into),
        headers: Vec::new(),
    }
}
