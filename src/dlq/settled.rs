//! What became of a run's first letters: known once the workers have settled every job up to them, and each letter that
//! came of it has been read.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use mailroom_actors::domain::letters::run::Tracked;
use mailroom_actors::domain::topic_partition::TopicNames;

use super::shelf::Shelf;
use crate::config;
use crate::kafka::StartProblem;
use crate::kafka::ends::Ends;

/// See the module's text.
pub struct Settled {
    ends: Ends,
    topic: String,
    letters: String,
    shelf: Arc<Shelf>,
    /// By the run's id: where the jobs' topic ended once its first letters had been replayed.
    marks: HashMap<String, BTreeMap<i32, i64>>,
}

impl Settled {
    /// # Errors
    /// `Misconfigured`, when librdkafka does not take the properties.
    pub fn new(kafka: &config::Kafka, shelf: &Arc<Shelf>) -> Result<Settled, StartProblem> {
        Ok(Settled {
            ends: Ends::new(kafka)?,
            topic: kafka.replay_topic().to_owned(),
            letters: kafka.dlq_topic.clone(),
            shelf: Arc::clone(shelf),
            marks: HashMap::new(),
        })
    }

    /// Whether the topic of decisions has fewer partitions than the dead letter queue, or none.
    pub fn lacks_partitions(&self, decisions: &str) -> bool {
        self.ends.partitions(decisions) < self.ends.partitions(&self.letters)
    }

    /// How many records of `topic` an open transaction holds up.
    ///
    /// # Errors
    /// In words, when brokers do not answer.
    pub fn stalled_records(&self, topics: &TopicNames) -> Result<i64, String> {
        topics.names().map(|topic| self.ends.held_up(topic)).sum()
    }

    /// How many of the first letters of `run`, all of which have been replayed, have failed again; none before that is
    /// known.
    ///
    /// # Errors
    /// In words, when brokers do not answer.
    pub fn failed_again(&mut self, run: &Tracked) -> Result<Option<u64>, String> {
        let id = &run.run.id;
        let Some(marks) = self.marks.get(id) else {
            let records = self.ends.of(&self.topic)?.into_iter().filter(|end| end.high > end.low);
            let marks = records.map(|end| (end.partition, end.high)).collect();
            self.marks.insert(id.clone(), marks);
            return Ok(None);
        };
        let partitions: Vec<i32> = marks.keys().copied().collect();
        let committed = self.ends.committed(&self.topic, &partitions)?;
        let is_settled =
            |(partition, mark): (&i32, &i64)| committed.get(partition).is_some_and(|at| at >= mark);
        if !marks.iter().all(is_settled) {
            return Ok(None);
        }
        // A dead letter is acknowledged before its job's offset is committed: so all there are lie below these ends.
        let ends = self.ends.of(&self.letters)?;
        let index = self.shelf.index.read();
        let is_read =
            |partition, low, high| high == low || index.read_to(partition).is_some_and(|next| next >= high);
        if !ends.iter().all(|end| is_read(end.partition, end.low, end.high)) {
            return Ok(None);
        }
        let failed_again = index.failed_again(&run.canary_letters(), run.run.newest_ms);
        drop(index);
        self.marks.remove(id);
        Ok(Some(failed_again))
    }
}
