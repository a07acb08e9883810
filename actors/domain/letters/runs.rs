//! The runs that the decisions topic tells of, in whatever order its partitions are read; and which of its records about them
//! may be taken off again.
//!
//! What was asked for goes first, and what the owners did of it only when it is gone: so nobody who has read all there is
//! ever finds a run without its progress, and begins it once more. Who reads the one partition later than the other may, for
//! a moment; but by then each letter of that progress has left the queue, and nothing can be done to it again.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::offsets::OffsetSet;
use super::run::{Canary, Cancelled, JUDGE, Progress, Run, Standing, Tracked};

/// A run is told of for 30 days at least, also when its letters leave at once: for who waits for its end, for who asks for it
/// again by the same key, and for who wants to know what was done.
pub const RUNS_KEPT_MS: i64 = 30 * 24 * 3_600_000;

/// See the module's text.
#[derive(Debug, Default)]
pub struct Runs(BTreeMap<String, Notes>);

/// What was heard of a run.
#[derive(Debug, Default)]
struct Notes {
    asked: Option<Arc<Run>>,
    progress: BTreeMap<i32, Progress>,
    canary: Option<Canary>,
    cancelled: Option<Cancelled>,
    /// It was seen to be done, cancelled or stopped.
    is_over: bool,
}

/// What is to be taken off one partition of the decisions topic, by the runs' ids.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Leftovers {
    /// What was asked for, with its cancel and what became of its first letters.
    pub runs: Vec<String>,
    /// What the owner of the partition did of a run that is gone.
    pub progress: Vec<String>,
}

impl Leftovers {
    pub fn is_empty(&self) -> bool {
        self.runs.is_empty() && self.progress.is_empty()
    }
}

impl Runs {
    /// Of two with the same name the first counts: the second is the same request, sent again.
    pub fn ask(&mut self, run: Run) {
        let notes = self.0.entry(run.id.clone()).or_default();
        notes.asked.get_or_insert_with(|| Arc::new(run));
    }

    pub fn cancel(&mut self, id: String, cancelled: Cancelled) {
        self.0.entry(id).or_default().cancelled.get_or_insert(cancelled);
    }

    pub fn judge(&mut self, id: String, canary: Canary) {
        self.0.entry(id).or_default().canary = Some(canary);
    }

    pub fn progress(&mut self, id: String, partition: i32, progress: Progress) {
        self.0.entry(id).or_default().progress.insert(partition, progress);
    }

    /// The run was taken off, with its cancel and what became of its first letters.
    pub fn forget(&mut self, id: &str) {
        if let Some(notes) = self.0.get_mut(id) {
            *notes = Notes { progress: std::mem::take(&mut notes.progress), ..Notes::default() };
        }
        self.drop_empty(id);
    }

    /// What the owner of a partition did of it was taken off.
    pub fn forget_progress(&mut self, id: &str, partition: i32) {
        if let Some(notes) = self.0.get_mut(id) {
            notes.progress.remove(&partition);
        }
        self.drop_empty(id);
    }

    fn drop_empty(&mut self, id: &str) {
        if self.0.get(id).is_some_and(Notes::is_empty) {
            self.0.remove(id);
        }
    }

    pub fn get(&self, id: &str) -> Option<Tracked> {
        self.0.get(id).and_then(Notes::tracked)
    }

    /// The newest first.
    pub fn all(&self) -> Vec<Tracked> {
        let mut runs: Vec<Tracked> = self.0.values().filter_map(Notes::tracked).collect();
        runs.sort_by(|a, b| (b.run.at_ms, &b.run.id).cmp(&(a.run.at_ms, &a.run.id)));
        runs
    }

    /// Those that are under way, the oldest first.
    pub fn under_way(&mut self) -> Vec<Tracked> {
        let mut runs = Vec::new();
        for notes in self.0.values_mut().filter(|notes| !notes.is_over) {
            let Some(run) = notes.tracked() else { continue };
            // None of these goes on again.
            notes.is_over = run.standing() != Standing::Running;
            if !notes.is_over {
                runs.push(run);
            }
        }
        runs.sort_by(|a, b| (a.run.at_ms, &a.run.id).cmp(&(b.run.at_ms, &b.run.id)));
        runs
    }

    /// What the owner of that partition is to take off. `low` says where a partition of the queue begins, 0 where that is not
    /// known.
    pub fn leftovers(&self, partition: i32, low: impl Fn(i32) -> i64, now_ms: i64) -> Leftovers {
        let mut leftovers = Leftovers::default();
        for (id, notes) in &self.0 {
            match &notes.asked {
                Some(run) if partition == JUDGE && is_history(run, &low, now_ms) => {
                    leftovers.runs.push(id.clone());
                }
                Some(_) => {}
                // The run may be one that is not read yet: but of letters that have left nothing can be done twice.
                None => {
                    let progress = notes.progress.get(&partition);
                    if progress.is_some_and(|progress| progress.next <= low(partition)) {
                        leftovers.progress.push(id.clone());
                    }
                }
            }
        }
        leftovers
    }
}

/// It is old, and nothing can be done to its letters any more, whether or not it was.
fn is_history(run: &Run, low: impl Fn(i32) -> i64, now_ms: i64) -> bool {
    let has_left =
        |(partition, letters): (&i32, &OffsetSet)| letters.count_below(low(*partition)) == letters.len();
    now_ms - run.at_ms >= RUNS_KEPT_MS && run.letters.iter().all(has_left)
}

impl Notes {
    fn tracked(&self) -> Option<Tracked> {
        Some(Tracked {
            run: Arc::clone(self.asked.as_ref()?),
            progress: self.progress.clone(),
            canary: self.canary,
            cancelled: self.cancelled.clone(),
        })
    }

    fn is_empty(&self) -> bool {
        let Notes { asked, progress, canary, cancelled, is_over: _ } = self;
        asked.is_none() && progress.is_empty() && canary.is_none() && cancelled.is_none()
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
#[path = "runs_tests.rs"]
mod tests;
