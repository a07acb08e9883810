//! Puts dead letters on their topic and returns once all in-sync replicas have them.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::thread;
use std::time::{Duration, Instant};

use futures::future::LocalBoxFuture;
use mailroom_actors::domain::job::DeadLetter;
use mailroom_actors::ports::DeadLetterLog;
use parking_lot::Mutex;
use rdkafka::ClientConfig;
use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use rdkafka::message::{Header, OwnedHeaders};
use rdkafka::producer::future_producer::DeliveryFuture;
use rdkafka::producer::{FutureProducer, FutureRecord, Producer};

use super::client_log::ClientLog;
use super::letter::{EncodedLetter, Encoder};
use super::problem::StartProblem;
use super::properties;
use crate::config;

/// Above this a letter is encoded and copied on the blocking pool, not on the actors' thread.
const INLINE_BYTES: usize = 64 * 1024;
/// A letter that the broker finds too large is offered again in three quarters of its size, and so on.
const SMALLEST_LIMIT: usize = 1024;
const FIRST_REBUILD_WAIT: Duration = Duration::from_secs(1);
const LONGEST_REBUILD_WAIT: Duration = Duration::from_secs(30);

/// The dead letter topic. One idempotent producer, replaced by a new one, not too often, when it can't go on.
#[derive(Clone)]
pub struct KafkaDeadLetters {
    shared: Arc<Shared>,
}

struct Shared {
    topic: String,
    encoder: Encoder,
    properties: ClientConfig,
    current: Mutex<Current>,
}

struct Current {
    producer: Arc<Disposable>,
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
        let producer = build(&properties).map_err(|e| StartProblem::from_creation(&e))?;
        let current = Current { producer, broken: false, rebuilt_at: None, wait: FIRST_REBUILD_WAIT };
        Ok(KafkaDeadLetters {
            shared: Arc::new(Shared {
                topic: config.dlq_topic.clone(),
                encoder,
                properties,
                current: Mutex::new(current),
            }),
        })
    }
}

impl DeadLetterLog for KafkaDeadLetters {
    /// One try: at most `delivery.timeout.ms` (15 s) for each size in which the letter is offered.
    fn publish(&self, letter: Arc<DeadLetter>) -> LocalBoxFuture<'static, Result<(), String>> {
        let shared = Arc::clone(&self.shared);
        Box::pin(async move {
            let mut limit = usize::MAX;
            let mut last_size = usize::MAX;
            loop {
                let (producer, enqueued) = shared.enqueue(&letter, limit).await?;
                let (size, delivery) = enqueued;
                let error = match delivery {
                    Ok(delivery) => match delivery.await {
                        Ok(Ok(_)) => {
                            shared.worked();
                            return Ok(());
                        }
                        Ok(Err((error, _))) => error,
                        Err(_) => KafkaError::Canceled,
                    },
                    Err(error) => error,
                };
                // No smaller than before: the encoder can't shorten it any further.
                let is_shorter = size < std::mem::replace(&mut last_size, size);
                if is_too_large(&error) && limit > SMALLEST_LIMIT && is_shorter {
                    limit = (size.min(limit) / 4 * 3).max(SMALLEST_LIMIT);
                    tracing::warn!(
                        size,
                        limit,
                        "the broker takes no dead letter this large: it is shortened"
                    );
                    continue;
                }
                return Err(shared.failed(&producer, &error));
            }
        })
    }
}

type Enqueued = (usize, Result<DeliveryFuture, KafkaError>);

impl Shared {
    /// Encodes the letter in at most `limit` bytes and gives it to the producer.
    async fn enqueue(
        self: &Arc<Self>,
        letter: &Arc<DeadLetter>,
        limit: usize,
    ) -> Result<(Arc<Disposable>, Enqueued), String> {
        let producer = self.producer()?;
        let (shared, letter_kept, used) = (Arc::clone(self), Arc::clone(letter), Arc::clone(&producer));
        let work = move || shared.encode_and_produce(&letter_kept, limit, &used);
        let enqueued = if letter.record.size() <= INLINE_BYTES {
            work()
        } else {
            match tokio::task::spawn_blocking(work).await {
                Ok(enqueued) => enqueued,
                Err(error) => Err(format!("the dead letter could not be encoded: {error}")),
            }
        };
        Ok((producer, enqueued?))
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
        Ok((encoded.size(), produce(producer.get(), &self.topic, &encoded)))
    }

    /// The producer to use now; a broken one is replaced once its wait is over.
    fn producer(&self) -> Result<Arc<Disposable>, String> {
        let mut current = self.current.lock();
        let due = current.rebuilt_at.is_none_or(|at| at.elapsed() >= current.wait);
        if current.broken && due {
            if current.rebuilt_at.is_some() {
                current.wait = (current.wait * 2).min(LONGEST_REBUILD_WAIT);
            }
            current.rebuilt_at = Some(Instant::now());
            current.producer = build(&self.properties).map_err(|e| e.to_string())?;
            current.broken = false;
            tracing::info!(topic = self.topic, "the dead letter producer is made anew");
        }
        Ok(Arc::clone(&current.producer))
    }

    fn worked(&self) {
        let mut current = self.current.lock();
        current.wait = FIRST_REBUILD_WAIT;
        current.broken = false;
    }

    /// Why, in words; and the producer is done for where it can't go on.
    fn failed(&self, producer: &Arc<Disposable>, error: &KafkaError) -> String {
        let fatal = producer.get().client().fatal_error();
        if fatal.is_some() || is_remembered(error) {
            let mut current = self.current.lock();
            if Arc::ptr_eq(&current.producer, producer) {
                current.broken = true;
            }
        }
        let why = fatal.map_or_else(|| error.to_string(), |(_, text)| text);
        format!("{}: {why}", self.topic)
    }
}

fn produce(
    producer: &FutureProducer<ClientLog>,
    topic: &str,
    letter: &EncodedLetter,
) -> Result<DeliveryFuture, KafkaError> {
    let mut headers = OwnedHeaders::new_with_capacity(letter.headers.len());
    for (key, value) in &letter.headers {
        headers = headers.insert(Header { key, value: value.as_deref() });
    }
    let mut record = FutureRecord::<[u8], [u8]>::to(topic)
        .payload(letter.value.as_slice())
        .timestamp(letter.timestamp_ms)
        .headers(headers);
    if let Some(key) = &letter.key {
        record = record.key(key.as_ref());
    }
    producer.send_result(record).map_err(|(error, _)| error)
}

fn is_too_large(error: &KafkaError) -> bool {
    matches!(
        error.rdkafka_error_code(),
        Some(RDKafkaErrorCode::MessageSizeTooLarge | RDKafkaErrorCode::InvalidMessageSize)
    )
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

fn build(properties: &ClientConfig) -> Result<Arc<Disposable>, KafkaError> {
    let producer = properties.create_with_context(ClientLog::new("dead letters"))?;
    Ok(Arc::new(Disposable(Some(producer))))
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
