//! The letter log before brokers have answered: nothing is this worker's yet.

use std::cell::OnceCell;
use std::rc::Rc;
use std::sync::Arc;

use futures::FutureExt;
use futures::future::LocalBoxFuture;
use mailroom_actors::domain::job::Record;
use mailroom_actors::domain::letters::owner::{Batch, Opened, Task};
use mailroom_actors::domain::letters::redrive::Due;
use mailroom_actors::domain::letters::run::Tracked;
use mailroom_actors::domain::letters::runs::Leftovers;
use mailroom_actors::ports::{Census, Fetched, LetterLog, NotWritten};

/// Stands in until it is filled; a copy is the same one.
#[derive(Clone, Default)]
pub struct LateLetterLog(Rc<OnceCell<Box<dyn LetterLog>>>);

const NOT_JOINED: &str = "the group of the dead letter queue is not joined yet";

impl LateLetterLog {
    /// From now on that one is asked. Of two the first stays.
    pub fn fill(&self, log: impl LetterLog) {
        // A second one is dropped, and leaves its group.
        let _ = self.0.set(Box::new(log));
    }

    pub fn is_filled(&self) -> bool {
        self.0.get().is_some()
    }
}

impl LetterLog for LateLetterLog {
    fn partitions(&self) -> Vec<i32> {
        self.0.get().map_or_else(Vec::new, |log| log.partitions())
    }

    fn census(&self) -> Census {
        self.0.get().map_or_else(Census::default, |log| log.census())
    }

    fn runs(&self) -> Vec<Tracked> {
        self.0.get().map_or_else(Vec::new, |log| log.runs())
    }

    fn due(&self, partition: i32, now_ms: i64) -> Vec<Due> {
        self.0.get().map_or_else(Vec::new, |log| log.due(partition, now_ms))
    }

    fn notice(&self, now_ms: i64) -> Option<Record> {
        self.0.get().and_then(|log| log.notice(now_ms))
    }

    fn redrive_rate(&self) -> f64 {
        self.0.get().map_or(0.0, |log| log.redrive_rate())
    }

    fn left_below(&self, partition: i32) -> Option<i64> {
        self.0.get().and_then(|log| log.left_below(partition))
    }

    fn leftovers(&self, partition: i32, now_ms: i64) -> Option<Leftovers> {
        self.0.get()?.leftovers(partition, now_ms)
    }

    fn open(&self, partition: i32) -> LocalBoxFuture<'static, Result<Opened, String>> {
        self.0.get().map_or_else(|| async { Err(NOT_JOINED.into()) }.boxed_local(), |log| log.open(partition))
    }

    fn close(&self, partition: i32) {
        if let Some(log) = self.0.get() {
            log.close(partition);
        }
    }

    fn fetch(&self, partition: i32, tasks: &[Task]) -> LocalBoxFuture<'static, Result<Fetched, String>> {
        let not_joined = || async { Err(NOT_JOINED.into()) }.boxed_local();
        self.0.get().map_or_else(not_joined, |log| log.fetch(partition, tasks))
    }

    fn write(
        &self,
        partition: i32,
        batch: Arc<Batch>,
    ) -> LocalBoxFuture<'static, Result<Vec<i64>, NotWritten>> {
        let not_joined = || async { Err(NotWritten::Failed(NOT_JOINED.into())) }.boxed_local();
        self.0.get().map_or_else(not_joined, |log| log.write(partition, batch))
    }

    fn failed_again(&self, run: &Tracked) -> LocalBoxFuture<'static, Result<Option<u64>, String>> {
        self.0.get().map_or_else(|| async { Ok(None) }.boxed_local(), |log| log.failed_again(run))
    }
}
