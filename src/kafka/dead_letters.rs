//! Puts dead letters on their topic and returns once all in-sync replicas have them.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::thread;
use std::time::{Duration, Instant};

use futures::future::LocalBoxFuture;
use mailroom_actors::domain::job::DeadLetter;
use mailroom_actors::ports::DeadLetterLog;
use mailroom_actors::seldom::Seldom;
use parking_lot::Mutex;
use rdkafka::ClientConfig;
use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use rdkafka::producer::future_producer::DeliveryFuture;
use rdkafka::producer::{FutureProducer, FutureRecord, Producer};

use super::client_log::ClientLog;
use super::letter::{EncodedLetter, Encoder};
use super::problem::{StartProblem, is_too_large};
use super::{properties, record};
use crate::config;

/// Above this a letter is encoded and copied on the blocking pool, not on the actors' thread.
const INLINE_BYTES: usize = 64 * 1024;
/// A letter is not made smaller than this.
const SMALLEST_LIMIT: usize = 512;
/// Room for the smaller ones of the job's headers, before it is offered without any.
const SMALL_HEADERS: usize = 1024;
const BETWEEN_LINES: Duration = Duration::from_secs(1);
const FIRST_REBUILD_WAIT: Duration = Duration::from_secs(1);
const LONGEST_REBUILD_WAIT: Duration = Duration::from_secs(30);

/// The dead letter topic. One idempotent producer, replaced by a new one, not too often, when it can't go on;
/// and a second one for letters that were found too large.
///
/// A broker measures a whole batch: in one with others a letter is refused though it is small. So what was
/// refused is offered again alone, by a producer that makes no batches, before anything is taken from it.
#[derive(Clone)]
pub struct KafkaDeadLetters {
    shared: Arc<Shared>,
}

struct Shared {
    topic: String,
    encoder: Encoder,
    batching: Slot,
    /// Made when it is needed first.
    alone: Slot,
    shortened: Mutex<Seldom>,
}

/// A producer's place.
struct Slot {
    properties: ClientConfig,
    current: Mutex<Current>,
}

struct Current {
    producer: Option<Arc<Disposable>>,
    /// It can't go on: fatal, or librdkafka refuses the topic from what it remembers.
    broken: bool,
    rebuilt_at: Option<Instant>,
    wait: Duration,
}

impl KafkaDeadLetters {
    /// Makes the producer; it connects by itself, now or when brokers are there.
    ///
    /// # Errors
    /// `Misconfigured`, when librdkafka does not take the properties.
    pub fn new(config: &config::Kafka, encoder: Encoder) -> Result<KafkaDeadLetters, StartProblem> {
        let properties = properties::producer(config);
        let mut one_by_one = properties.clone();
        one_by_one.set("batch.num.messages", "1");
        let batching = Slot::new(properties);
        batching.producer().map_err(|e| StartProblem::from_creation(&e))?;
        Ok(KafkaDeadLetters {
            shared: Arc::new(Shared {
                topic: config.dlq_topic.clone(),
                encoder,
                batching,
                alone: Slot::new(one_by_one),
                shortened: Mutex::new(Seldom::new(BETWEEN_LINES)),
            }),
        })
    }
}

impl DeadLetterLog for KafkaDeadLetters {
    /// One try: at most `delivery.timeout.ms` (15 s) for each size in which the letter is offered.
    fn publish(&self, letter: Arc<DeadLetter>) -> LocalBoxFuture<'static, Result<(), String>> {
        let shared = Arc::clone(&self.shared);
        Box::pin(async move {
            match shared.offer(&letter, usize::MAX, |shared| &shared.batching).await {
                Ok(()) => return Ok(()),
                Err(Refused::TooLarge { .. }) => {}
                Err(Refused::Failed(why)) => return Err(why),
            }
            let mut limit = usize::MAX;
            let mut last_size = usize::MAX;
            loop {
                match shared.offer(&letter, limit, |shared| &shared.alone).await {
                    Ok(()) => return Ok(()),
                    Err(Refused::TooLarge { size, lean_size, why }) => {
                        // No smaller than before: it can't be shortened any further.
                        if size >= std::mem::replace(&mut last_size, size) || limit <= SMALLEST_LIMIT {
                            return Err(why);
                        }
                        limit = next_limit(size, lean_size);
                        shared.say_shortened(size, limit);
                    }
                    Err(Refused::Failed(why)) => return Err(why),
                }
            }
        })
    }
}

/// Three quarters of what was refused, and so on; but first all that can go without a loss of the job itself.
pub(super) fn next_limit(refused: usize, lean_size: usize) -> usize {
    let smaller = refused / 4 * 3;
    let lean = [lean_size + SMALL_HEADERS, lean_size].into_iter().find(|&lean| lean < refused);
    smaller.max(lean.unwrap_or(0)).max(SMALLEST_LIMIT)
}

/// A letter that was not taken.
enum Refused {
    TooLarge { size: usize, lean_size: usize, why: String },
    Failed(String),
}

struct Enqueued {
    size: usize,
    lean_size: usize,
    delivery: Result<DeliveryFuture, KafkaError>,
}

impl Shared {
    /// Offers the letter once, in at most `limit` bytes.
    async fn offer(
        self: &Arc<Self>,
        letter: &Arc<DeadLetter>,
        limit: usize,
        slot: fn(&Shared) -> &Slot,
    ) -> Result<(), Refused> {
        let slot = slot(self);
        let producer = slot.producer().map_err(|error| Refused::Failed(error.to_string()))?;
        let enqueued = self.enqueue(letter, limit, &producer).await.map_err(Refused::Failed)?;
        let error = match enqueued.delivery {
            Ok(delivery) => match delivery.await {
                Ok(Ok(_)) => {
                    slot.worked(&producer);
                    return Ok(());
                }
                Ok(Err((error, _))) => error,
                Err(_) => KafkaError::Canceled,
            },
            Err(error) => error,
        };
        let why = format!("{}: {}", self.topic, slot.failed(&producer, &error));
        if is_too_large(&error) {
            return Err(Refused::TooLarge { size: enqueued.size, lean_size: enqueued.lean_size, why });
        }
        Err(Refused::Failed(why))
    }

    /// Encodes the letter in at most `limit` bytes and gives it to the producer.
    async fn enqueue(
        self: &Arc<Self>,
        letter: &Arc<DeadLetter>,
        limit: usize,
        producer: &Arc<Disposable>,
    ) -> Result<Enqueued, String> {
        let (shared, letter_kept, used) = (Arc::clone(self), Arc::clone(letter), Arc::clone(producer));
        let work = move || shared.encode_and_produce(&letter_kept, limit, &used);
        if letter.record.size() <= INLINE_BYTES {
            return work();
        }
        match tokio::task::spawn_blocking(work).await {
            Ok(enqueued) => enqueued,
            Err(error) => Err(format!("the dead letter could not be encoded: {error}")),
        }
    }

    fn encode_and_produce(
        &self,
        letter: &DeadLetter,
        limit: usize,
        producer: &Disposable,
    ) -> Result<Enqueued, String> {
        // What the panic says may hold a part of the job.
        let encoded = catch_unwind(AssertUnwindSafe(|| (self.encoder)(letter, limit)))
            .map_err(|_| "encoding the dead letter panicked".to_owned())?;
        let (size, lean_size) = (encoded.size(), encoded.lean_size);
        Ok(Enqueued { size, lean_size, delivery: produce(producer.get(), &self.topic, &encoded) })
    }

    /// Of many at most one line a second.
    fn say_shortened(&self, size: usize, limit: usize) {
        if self.shortened.lock().may_say(tokio::time::Instant::now()).is_some() {
            tracing::warn!(size, limit, "the broker takes no dead letter this large: it is shortened");
        }
    }
}

impl Slot {
    fn new(properties: ClientConfig) -> Slot {
        let current = Current { producer: None, broken: false, rebuilt_at: None, wait: FIRST_REBUILD_WAIT };
        Slot { properties, current: Mutex::new(current) }
    }

    /// The producer to use now; a broken one is replaced once its wait is over.
    fn producer(&self) -> Result<Arc<Disposable>, KafkaError> {
        let mut current = self.current.lock();
        let due = current.rebuilt_at.is_none_or(|at| at.elapsed() >= current.wait);
        if let Some(producer) = &current.producer
            && !(current.broken && due)
        {
            return Ok(Arc::clone(producer));
        }
        if current.broken {
            if current.rebuilt_at.is_some() {
                current.wait = (current.wait * 2).min(LONGEST_REBUILD_WAIT);
            }
            current.rebuilt_at = Some(Instant::now());
            tracing::info!("the dead letter producer is made anew");
        }
        let producer =
            Arc::new(Disposable(Some(self.properties.create_with_context(ClientLog::new("dead letters"))?)));
        current.producer = Some(Arc::clone(&producer));
        current.broken = false;
        Ok(producer)
    }

    fn worked(&self, producer: &Arc<Disposable>) {
        let mut current = self.current.lock();
        if current.is(producer) {
            current.wait = FIRST_REBUILD_WAIT;
            current.broken = false;
        }
    }

    /// Why, in words; and the producer is done for where it can't go on.
    fn failed(&self, producer: &Arc<Disposable>, error: &KafkaError) -> String {
        let fatal = producer.get().client().fatal_error();
        if fatal.is_some() || is_remembered(error) {
            let mut current = self.current.lock();
            if current.is(producer) {
                current.broken = true;
            }
        }
        fatal.map_or_else(|| error.to_string(), |(_, text)| text)
    }
}

impl Current {
    fn is(&self, producer: &Arc<Disposable>) -> bool {
        self.producer.as_ref().is_some_and(|current| Arc::ptr_eq(current, producer))
    }
}

fn produce(
    producer: &FutureProducer<ClientLog>,
    topic: &str,
    letter: &EncodedLetter,
) -> Result<DeliveryFuture, KafkaError> {
    let headers = record::to_headers(letter.headers.iter().map(|(key, value)| (&**key, value.as_deref())));
    let mut record = FutureRecord::<[u8], [u8]>::to(topic)
        .payload(letter.value.as_slice())
        .timestamp(letter.timestamp_ms)
        .headers(headers);
    if let Some(key) = &letter.key {
        record = record.key(key.as_ref());
    }
    producer.send_result(record).map_err(|(error, _)| error)
}

/// What librdkafka goes on answering by itself without asking a broker again.
fn is_remembered(error: &KafkaError) -> bool {
    matches!(
        error.rdkafka_error_code(),
        Some(
            RDKafkaErrorCode::TopicAuthorizationFailed
                | RDKafkaErrorCode::ClusterAuthorizationFailed
                | RDKafkaErrorCode::UnknownTopic
                | RDKafkaErrorCode::UnknownTopicOrPartition
                | RDKafkaErrorCode::UnknownPartition
                | RDKafkaErrorCode::Fatal
        )
    )
}

/// A producer whose end, which may block for half a second and more, happens on a thread of its own.
struct Disposable(Option<FutureProducer<ClientLog>>);

impl Disposable {
    fn get(&self) -> &FutureProducer<ClientLog> {
        self.0.as_ref().expect("it is taken out by the drop only")
    }
}

impl Drop for Disposable {
    fn drop(&mut self) {
        let producer = self.0.take();
        if let Err(error) = thread::Builder::new().name("kafka-close".into()).spawn(move || drop(producer)) {
            tracing::warn!(%error, "no thread to close a producer on");
        }
    }
}
