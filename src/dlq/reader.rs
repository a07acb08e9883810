//! Reads the dead letter queue and the decisions topic onto a [`Shelf`], and goes on with what comes.

use std::sync::Arc;

use mailroom_actors::domain::letters::name::LetterName;

use super::letter::{self, REPLAY_ID};
use super::records::Said;
use super::shelf::Shelf;
use crate::config;
use crate::kafka::StartProblem;
use crate::kafka::follow::{Following, Listener, LogEnds, Seen, follow};

/// Both topics being read; dropping it ends that.
pub struct Reader {
    letters: Following,
    decisions: Following,
}

impl Reader {
    /// Ends soon; dropping it waits for that.
    pub fn stop(&self) {
        self.letters.stop();
        self.decisions.stop();
    }
}

impl Drop for Reader {
    fn drop(&mut self) {
        // Both, before one is waited for.
        self.stop();
    }
}

/// Begins to read onto `shelf`, the newest `letters` letters.
///
/// # Errors
/// `Misconfigured`, when librdkafka does not take the properties.
pub fn start(config: &config::Kafka, letters: usize, shelf: &Arc<Shelf>) -> Result<Reader, StartProblem> {
    let newest = Some(letters as u64);
    Ok(Reader {
        letters: follow(config, &config.dlq_topic, newest, Letters(Arc::clone(shelf)))?,
        decisions: follow(config, &config.decisions_topic, None, Decisions(Arc::clone(shelf)))?,
    })
}

struct Letters(Arc<Shelf>);

impl Listener for Letters {
    const TRANSACTIONAL: bool = false;

    fn begins(&self, log: &LogEnds, first: i64) {
        let letters = usize::try_from(log.high - first).unwrap_or(0);
        self.0.index.write().begins(log.partition, log.low, first, letters);
    }

    fn record(&self, record: &Seen<'_>) {
        let name = LetterName { partition: record.partition(), offset: record.offset() };
        letter::summarise(record.value().unwrap_or_default(), record.timestamp_ms(), |summary| {
            // Headers are read one by one. A letter of ours that was not replayed says so in its value.
            let may_be_replayed = summary.source.is_none() || summary.replay_count > 0;
            let from = may_be_replayed.then(|| record.header(REPLAY_ID).and_then(letter::named_by)).flatten();
            self.0.index.write().add(name, summary, from);
        });
    }

    fn begins_anew(&self, partition: i32) {
        tracing::warn!(
            partition,
            "the dead letter queue was made anew, or letters were deleted before they were read"
        );
        self.0.letters_begin_anew(partition);
    }

    fn deleted_below(&self, partition: i32, low: i64) {
        self.0.letters_left(partition, low);
    }

    fn caught_up(&self) {
        self.0.letters_are_read();
    }
}

struct Decisions(Arc<Shelf>);

impl Listener for Decisions {
    const TRANSACTIONAL: bool = true;

    fn begins(&self, _log: &LogEnds, _first: i64) {}

    fn record(&self, record: &Seen<'_>) {
        if let Some(said) = record.key().and_then(|key| Said::read(key, record.value())) {
            self.0.hear(said, record.offset());
        }
    }

    fn begins_anew(&self, _partition: i32) {}

    fn deleted_below(&self, _partition: i32, _low: i64) {}

    fn caught_up(&self) {
        self.0.decisions_are_read();
    }
}
