//! What blocks in the work on letters, on a thread of its own: partitions are opened, letters fetched, batches written. A
//! transaction takes some 5 ms.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicBool, AtomicI64, Ordering};
use std::sync::{Arc, mpsc};
use std::time::{Duration, Instant};

use mailroom_actors::domain::job::Record;
use mailroom_actors::domain::letters::name::LetterName;
use mailroom_actors::domain::letters::owner::{Batch, Known, Opened};
use mailroom_actors::domain::letters::refusal::Refusal;
use mailroom_actors::domain::letters::run::Progress;
use mailroom_actors::ports::{Fetched, NotWritten};

use super::records::{self, Said, Written};
use super::replay;
use super::settled::Settled;
use super::shelf::Shelf;
use crate::config;
use crate::kafka::StartProblem;
use crate::kafka::fetch::Fetcher;
use crate::kafka::scribe::{Entry, Outgoing, Part, Scribe, Unwritten};
use crate::kafka::topics;

/// A million decisions are read in 1.3 s.
const READ_TIMEOUT: Duration = Duration::from_secs(60);
const FETCH_TIMEOUT: Duration = Duration::from_secs(10);
/// Between two looks at whether the main queue stalls.
const BETWEEN_LOOKS: Duration = Duration::from_secs(15);
/// So many bytes of letters are fetched for one batch, and one letter more: a transaction of more may not end in time.
const MAX_FETCHED_BYTES: usize = 4 * 1024 * 1024;

/// See the module's text.
pub(super) struct Clerk {
    kafka: config::Kafka,
    transactional: bool,
    fetcher: Fetcher,
    pub settled: Settled,
    scribes: HashMap<i32, Scribe>,
    /// Partitions whose records are sent one by one for now: among the last ones there was one that is too large.
    singly: BTreeSet<i32>,
    stalled: Arc<AtomicI64>,
}

pub(super) type Work = Box<dyn FnOnce(&mut Clerk) + Send>;

impl Clerk {
    /// `stalled` is kept up to date.
    ///
    /// # Errors
    /// `Misconfigured`, when librdkafka does not take the properties.
    pub fn new(
        kafka: &config::Kafka,
        transactional: bool,
        shelf: &Arc<Shelf>,
        stalled: Arc<AtomicI64>,
    ) -> Result<Clerk, StartProblem> {
        Ok(Clerk {
            fetcher: Fetcher::new(kafka),
            settled: Settled::new(kafka, shelf)?,
            kafka: kafka.clone(),
            transactional,
            scribes: HashMap::new(),
            singly: BTreeSet::new(),
            stalled,
        })
    }

    /// The partition is given up.
    pub fn close(&mut self, partition: i32) {
        self.scribes.remove(&partition);
    }

    /// Does what there is to do until nobody can ask any more; looks at the main queue now and then.
    pub fn run(&mut self, to_do: &mpsc::Receiver<Work>, stopped: &AtomicBool) {
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

    pub fn open(&mut self, partition: i32) -> Result<Opened, String> {
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
    pub fn fetch(&mut self, partition: i32, wanted: &BTreeMap<i64, Option<i64>>) -> Result<Fetched, String> {
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
            let mut letter = replay::letter(record, self.kafka.replay_topic());
            letter.before = before.remove(&offset);
            (offset, letter)
        });
        Ok(Fetched { letters: letters.collect(), below })
    }

    pub fn write(&mut self, partition: i32, batch: &Batch) -> Result<Vec<i64>, NotWritten> {
        let scribe = self.scribes.get(&partition);
        let scribe = scribe.ok_or_else(|| NotWritten::Failed("the partition was given up".into()))?;
        let acts =
            batch.acts.iter().map(|act| (act.job.as_ref(), Said::Decided(act.letter, act.decision.clone())));
        let notice =
            batch.notice.iter().map(|notice| (Some(&notice.job), Said::Notified { at_ms: notice.at_ms }));
        let progress = batch.progress.iter().map(|(id, progress)| {
            let at_least_once = progress.at_least_once || !self.transactional;
            Said::Progress(id.clone(), partition, Progress { at_least_once, ..*progress })
        });
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
