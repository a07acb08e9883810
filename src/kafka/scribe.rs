//! Writes records of several topics all together or not at all: one transactional producer a partition of the dead letter
//! queue, so that of two workers that take themselves for its owner only the latter can write.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use bytes::Bytes;
use parking_lot::Mutex;
use rdkafka::ClientContext;
use rdkafka::config::RDKafkaLogLevel;
use rdkafka::error::KafkaError;
use rdkafka::producer::{BaseProducer, BaseRecord, DeliveryResult, Producer, ProducerContext};
use rdkafka::{ClientConfig, Message};

use super::client_log::ClientLog;
use super::problem::is_too_large;
use super::{properties, record};
use crate::config;

/// How long the brokers may take to shut a rival out: his transaction may have to end first.
const INIT_TIMEOUT: Duration = Duration::from_secs(30);
/// How long a transaction may last in all; the brokers end one that lasts 5 s (`transaction.timeout.ms`).
const WRITE_TIMEOUT: Duration = Duration::from_secs(5);
/// The transaction is open meanwhile. To wait in `BaseProducer::poll` of rdkafka 0.39 takes a core: it spins through the last
/// millisecond of its time limit, whatever comes.
const BETWEEN_LOOKS: Duration = Duration::from_micros(500);
/// An abort is asked for so long at a time, and between two times what was reported is taken.
const ABORT_SLICE: Duration = Duration::from_millis(20);
/// Records go together up to this: few requests, and no topic takes less. A larger one goes alone.
const TOGETHER_BYTES: &str = "65536";
/// How long the first waits for the others.
const GATHERING_MS: &str = "2";

/// One record to be written.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Outgoing {
    pub topic: String,
    /// None: by the key.
    pub partition: Option<i32>,
    pub key: Option<Bytes>,
    pub value: Option<Bytes>,
    pub headers: Vec<(String, Option<Bytes>)>,
}

/// A record and, beside it, the job whose replay it tells.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entry {
    pub job: Option<Outgoing>,
    pub said: Outgoing,
}

/// Which record of an entry.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Part {
    Job,
    Said,
}

/// Why not all was written, or it is not known. Either way the scribe is done for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Unwritten {
    /// The brokers take no records as large as those of these entries, by their places.
    TooLarge(Part, Vec<usize>),
    /// Records that went together are too large, one of them at least: a scribe that sends them one by one finds out which.
    TooLargeTogether,
    Failed(String),
}

/// The writer for one partition.
pub struct Scribe {
    producer: BaseProducer<Receipts>,
    transactional: bool,
    singly: bool,
}

impl Scribe {
    /// Makes the producer, and shuts every rival out that writes for the same partition. Records that are sent `singly` are
    /// found by their places where they are too large; else they are sent together, which keeps transactions short. Blocks,
    /// 30 s at most.
    ///
    /// # Errors
    /// In words.
    pub fn open(
        config: &config::Kafka,
        partition: i32,
        transactional: bool,
        singly: bool,
    ) -> Result<Scribe, String> {
        let mut properties = properties::producer(config);
        properties.set("partitioner", "murmur2_random");
        if singly {
            properties.set("batch.num.messages", "1");
        } else {
            properties.set("batch.size", TOGETHER_BYTES);
        }
        // What goes alone would wait for others in vain.
        let gathers = transactional && !singly;
        properties.set("linger.ms", if gathers { GATHERING_MS } else { "0" });
        if transactional {
            within_a_transaction(&mut properties, &format!("{}-dlq-{partition}", config.group));
        }
        let producer: BaseProducer<Receipts> = properties
            .create_with_context(Receipts::new())
            .map_err(|error| format!("no producer for the dead letter queue's decisions: {error}"))?;
        if transactional {
            producer.init_transactions(INIT_TIMEOUT).map_err(|error| {
                let why =
                    producer.context().log.take_error().map_or_else(|| error.to_string(), |(_, text)| text);
                format!("the brokers begin no transaction: {why}")
            })?;
        }
        Ok(Scribe { producer, transactional, singly })
    }

    /// Writes all entries, and returns the offsets of what is said. Without transactions each job is acknowledged before
    /// what is said of it is sent, and both before the next job. Blocks, 5 s at most; without transactions until what is
    /// begun by then is done.
    ///
    /// # Errors
    /// [`Unwritten`].
    pub fn write(&self, entries: &[Entry]) -> Result<Vec<i64>, Unwritten> {
        let deadline = Instant::now() + WRITE_TIMEOUT;
        if !self.transactional {
            return self.put_one_after_the_other(entries, deadline);
        }
        let failed = |error: KafkaError| Unwritten::Failed(error.to_string());
        self.producer.begin_transaction().map_err(failed)?;
        let left = || deadline.saturating_duration_since(Instant::now()).max(Duration::from_millis(100));
        match self.put_within_the_transaction(entries, deadline) {
            Ok(offsets) => {
                mailroom_actors::kill_point::reach("dlq-before-the-commit");
                self.producer.commit_transaction(left()).map_err(failed)?;
                mailroom_actors::kill_point::reach("dlq-after-the-commit");
                Ok(offsets)
            }
            Err(unwritten) => {
                // Else the brokers end it after 5 s, and readers of the queue wait so long.
                if let Err(error) = self.abort(deadline.max(Instant::now() + Duration::from_millis(100))) {
                    tracing::debug!(%error, "a transaction could not be ended");
                }
                Err(unwritten)
            }
        }
    }

    /// librdkafka waits until all that is out has been reported on, and hands the reports to nobody but who polls.
    fn abort(&self, deadline: Instant) -> Result<(), KafkaError> {
        loop {
            match self.producer.abort_transaction(ABORT_SLICE) {
                Err(KafkaError::Transaction(error)) if error.is_retriable() && Instant::now() < deadline => {
                    self.wait_for_reports();
                }
                result => return result,
            }
        }
    }

    /// From its first job to the commit all of the queue's readers wait: so the jobs come last.
    fn put_within_the_transaction(
        &self,
        entries: &[Entry],
        deadline: Instant,
    ) -> Result<Vec<i64>, Unwritten> {
        let offsets = self.put(Part::Said, said(0, entries), deadline)?;
        self.put(Part::Job, jobs(0, entries), deadline)?;
        Ok(offsets)
    }

    fn put_one_after_the_other(&self, entries: &[Entry], deadline: Instant) -> Result<Vec<i64>, Unwritten> {
        let mut offsets = Vec::with_capacity(entries.len());
        for entries in entries.chunk_by(|_, next| next.job.is_none()) {
            // Between a job and what is said of it that would send the job once more.
            if Instant::now() >= deadline {
                return Err(Unwritten::Failed("not all was acknowledged in time".into()));
            }
            let first = offsets.len();
            self.put(Part::Job, jobs(first, entries), Instant::now() + WRITE_TIMEOUT)?;
            offsets.extend(self.put(Part::Said, said(first, entries), Instant::now() + WRITE_TIMEOUT)?);
        }
        Ok(offsets)
    }

    /// Returns the offset of each record once all are acknowledged.
    fn put<'a>(
        &self,
        part: Part,
        records: impl Iterator<Item = (usize, &'a Outgoing)>,
        deadline: Instant,
    ) -> Result<Vec<i64>, Unwritten> {
        self.producer.context().clear();
        let mut count = 0;
        for (place, record) in records {
            match self.enqueue(record, place) {
                Ok(()) => {}
                Err(error) if is_too_large(&error) => return Err(Unwritten::TooLarge(part, vec![place])),
                Err(error) => return Err(Unwritten::Failed(error.to_string())),
            }
            count += 1;
            if count % 100 == 0 {
                self.take_reports();
            }
        }
        mailroom_actors::kill_point::reach("dlq-within-the-transaction");
        // Once one of a transaction has failed nothing more is heard of the others.
        while self.producer.context().count() < count && !self.producer.context().has_failed() {
            if Instant::now() >= deadline {
                return Err(Unwritten::Failed("the brokers do not acknowledge in time".into()));
            }
            self.wait_for_reports();
        }
        match self.producer.context().take() {
            Ok(offsets) => Ok(offsets),
            Err(Failed::TooLarge(_)) if !self.singly && count > 1 => Err(Unwritten::TooLargeTogether),
            Err(Failed::TooLarge(places)) => Err(Unwritten::TooLarge(part, places)),
            Err(Failed::Otherwise(error)) => Err(Unwritten::Failed(error)),
        }
    }

    fn wait_for_reports(&self) {
        std::thread::sleep(BETWEEN_LOOKS);
        self.take_reports();
    }

    /// Each poll takes one event: the report on the records of one batch, or something else that has come meanwhile.
    fn take_reports(&self) {
        let mut before = None;
        while before != Some(self.producer.context().events()) {
            before = Some(self.producer.context().events());
            self.producer.poll(Duration::ZERO);
        }
    }

    fn enqueue(&self, record: &Outgoing, place: usize) -> Result<(), KafkaError> {
        let headers = record.headers.iter().map(|(key, value)| (&**key, value.as_deref()));
        let mut outgoing =
            BaseRecord::<[u8], [u8], Box<usize>>::with_opaque_to(&record.topic, Box::new(place));
        outgoing.partition = record.partition;
        outgoing.key = record.key.as_deref();
        outgoing.payload = record.value.as_deref();
        outgoing.headers = Some(record::to_headers(headers));
        self.producer.send(outgoing).map_err(|(error, _)| error)
    }
}

/// With their places, of which the first is `from`.
fn jobs(from: usize, entries: &[Entry]) -> impl Iterator<Item = (usize, &Outgoing)> {
    (from..).zip(entries).filter_map(|(place, entry)| Some((place, entry.job.as_ref()?)))
}

fn said(from: usize, entries: &[Entry]) -> impl Iterator<Item = (usize, &Outgoing)> {
    (from..).zip(entries).map(|(place, entry)| (place, &entry.said))
}

fn within_a_transaction(properties: &mut ClientConfig, id: &str) {
    properties.set("transactional.id", id).set("transaction.timeout.ms", "5000");
    // None of these may be longer than the transaction, whatever the user's own properties say.
    properties.remove("message.timeout.ms");
    properties.set("socket.timeout.ms", "4900");
    properties.set("delivery.timeout.ms", "4500").set("request.timeout.ms", "4500");
}

enum Failed {
    /// These, by their places.
    TooLarge(Vec<usize>),
    /// In words.
    Otherwise(String),
}

/// What became of the records of one write.
struct Receipts {
    log: ClientLog,
    events: AtomicU64,
    receipts: Mutex<BTreeMap<usize, Result<i64, KafkaError>>>,
}

impl Receipts {
    fn new() -> Receipts {
        Receipts { log: ClientLog::new("dlq owner"), events: AtomicU64::new(0), receipts: Mutex::default() }
    }

    /// How many have come, of any kind.
    fn events(&self) -> u64 {
        self.events.load(Ordering::Relaxed)
    }

    fn heard(&self) {
        self.events.fetch_add(1, Ordering::Relaxed);
    }

    fn clear(&self) {
        self.receipts.lock().clear();
    }

    fn count(&self) -> usize {
        self.receipts.lock().len()
    }

    fn has_failed(&self) -> bool {
        self.receipts.lock().values().any(Result::is_err)
    }

    fn take(&self) -> Result<Vec<i64>, Failed> {
        let receipts = std::mem::take(&mut *self.receipts.lock());
        let too_large = receipts.iter().filter(|(_, of)| of.as_ref().is_err_and(is_too_large));
        let too_large: Vec<usize> = too_large.map(|(place, _)| *place).collect();
        if !too_large.is_empty() {
            return Err(Failed::TooLarge(too_large));
        }
        receipts.into_values().collect::<Result<_, _>>().map_err(|error| Failed::Otherwise(error.to_string()))
    }
}

impl ClientContext for Receipts {
    fn log(&self, level: RDKafkaLogLevel, facility: &str, text: &str) {
        self.heard();
        self.log.log(level, facility, text);
    }

    fn error(&self, error: KafkaError, reason: &str) {
        self.heard();
        self.log.error(error, reason);
    }

    fn stats_raw(&self, _: &[u8]) {
        self.heard();
    }
}

impl ProducerContext for Receipts {
    type DeliveryOpaque = Box<usize>;

    fn delivery(&self, result: &DeliveryResult<'_>, place: Box<usize>) {
        self.heard();
        let receipt = match result {
            Ok(message) => Ok(message.offset()),
            Err((error, _)) => Err(error.clone()),
        };
        self.receipts.lock().insert(*place, receipt);
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
#[path = "tests/scribe.rs"]
mod tests;
