//! A turn of a partition of the dead letter queue: its letters are fetched, judged, and what is concluded of them is written.

use std::collections::BTreeSet;
use std::sync::Arc;

use crate::dlq_owner::DlqOwnerParts;
use crate::domain::letters::owner::{Batch, Notice, Owner, Task};
use crate::domain::letters::refusal::Refusal;
use crate::domain::letters::run::{Canary, Tracked};
use crate::domain::letters::runs::Leftovers;
use crate::ports::NotWritten;

/// One batch of a partition.
pub struct Turn {
    pub parts: DlqOwnerParts,
    pub partition: i32,
    pub tasks: Vec<Task>,
    pub refused: BTreeSet<Refusal>,
    pub gone: Vec<i64>,
    pub leftovers: Leftovers,
    /// Runs whose first letters are to be judged.
    pub canaries: Vec<Tracked>,
    pub notice: Option<Notice>,
}

impl Turn {
    pub fn is_nothing(&self) -> bool {
        let nobody = self.tasks.is_empty() && self.gone.is_empty() && self.leftovers.is_empty();
        nobody && self.canaries.is_empty() && self.notice.is_none()
    }

    pub async fn carry_out(mut self, mut owner: Box<Owner>) -> Result<Turned, Failure> {
        let log = &self.parts.log;
        let fetched = match self.tasks.is_empty() {
            true => Default::default(),
            false => log.fetch(self.partition, &self.tasks).await.map_err(Failure::Before)?,
        };
        self.tasks.retain(|task| task.offset < fetched.below);
        let now_ms = self.parts.clock.now().timestamp_millis();
        let mut batch =
            owner.conclude(self.tasks, &fetched.letters, &self.refused, self.parts.max_replays, now_ms);
        batch.forgotten = self.gone;
        batch.leftovers = self.leftovers;
        batch.notice = self.notice;
        for run in &self.canaries {
            match log.failed_again(run).await {
                Ok(Some(failed_again)) => {
                    let canary = Canary { replayed: run.acted(), failed_again };
                    batch.canaries.insert(run.run.id.clone(), canary);
                }
                Ok(None) => {}
                // Asked again at the next turn; other runs go on.
                Err(error) => {
                    tracing::debug!(%error, "what became of a run's first letters is not known yet")
                }
            }
        }
        if batch.is_empty() {
            return Ok(Turned { owner, batch: None });
        }
        let batch = Arc::new(batch);
        match log.write(self.partition, Arc::clone(&batch)).await {
            Ok(decided_at) => {
                owner.written(&batch, &decided_at);
                Ok(Turned { owner, batch: Some(batch) })
            }
            Err(why) => Err(Failure::NotWritten(batch, why)),
        }
    }
}

pub struct Turned {
    pub owner: Box<Owner>,
    pub batch: Option<Arc<Batch>>,
}

pub enum Failure {
    NotWritten(Arc<Batch>, NotWritten),
    /// In words.
    Before(String),
}
