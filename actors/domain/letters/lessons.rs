//! What the writes to a partition have taught: how many letters go into one, and how long to wait after a failure.

use std::time::Duration;

use super::owner::{Batch, MAX_BATCH};

/// The wait after a failure; each further one doubles it, up to [`LONGEST_WAIT`].
const SHORTEST_WAIT: Duration = Duration::from_secs(1);
const LONGEST_WAIT: Duration = Duration::from_secs(30);
/// So many at most where records must be sent one by one: each waits for an answer.
const ONE_BY_ONE: usize = 100;

/// Kept while the partition is this worker's, however often it is opened anew.
#[derive(Clone, Debug)]
pub struct Lessons {
    most: usize,
    wait: Duration,
}

impl Default for Lessons {
    fn default() -> Lessons {
        Lessons { most: MAX_BATCH, wait: SHORTEST_WAIT }
    }
}

impl Lessons {
    /// So many letters fit into a batch, as far as is known.
    pub fn most(&self) -> usize {
        self.most
    }

    /// What can't be written in time must become smaller; whether it was that nobody knows: brokers that were away for a
    /// moment look the same. Only a batch that was as large as it might be shows that more may fit. It grows slowly: each
    /// batch that is too much holds the queue's readers up for seconds.
    pub fn written(&mut self, batch: &Batch) {
        self.wait = SHORTEST_WAIT;
        if batch.concluded + batch.forgotten.len() >= self.most {
            self.most = (self.most + self.most.div_ceil(8)).min(MAX_BATCH);
        }
    }

    pub fn not_written(&mut self, batch: &Batch) {
        self.most = (self.most.min(batch.size()) / 2).max(1);
    }

    /// Somewhere among them is one that is too large: which, is found out one by one.
    pub fn too_large_together(&mut self) {
        self.most = self.most.min(ONE_BY_ONE);
    }

    /// How long to wait after one more failure. Only a good write shows that it was the last.
    pub fn next_wait(&mut self) -> Duration {
        let wait = self.wait;
        self.wait = (wait * 2).min(LONGEST_WAIT);
        wait
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn batch(size: i64) -> Batch {
        Batch { forgotten: (0..size).collect(), ..Batch::default() }
    }

    #[test]
    fn what_fails_becomes_smaller_down_to_one_and_grows_again_once_it_fits() {
        let mut lessons = Lessons::default();
        lessons.not_written(&batch(40));
        assert_eq!(lessons.most(), 20);
        lessons.written(&batch(19));
        assert_eq!(lessons.most(), 20);
        lessons.written(&batch(20));
        assert_eq!(lessons.most(), 23);
        for _ in 0..9 {
            lessons.not_written(&batch(2_000));
        }
        assert_eq!(lessons.most(), 1);
        for _ in 0..60 {
            lessons.written(&batch(2_000));
        }
        assert_eq!(lessons.most(), MAX_BATCH);
        lessons.too_large_together();
        assert_eq!(lessons.most(), ONE_BY_ONE);
    }

    #[test]
    fn waits_double_until_something_is_written() {
        let mut lessons = Lessons::default();
        let waits: Vec<u64> = (0..7).map(|_| lessons.next_wait().as_secs()).collect();
        assert_eq!(waits, [1, 2, 4, 8, 16, 30, 30]);
        lessons.written(&batch(1));
        assert_eq!(lessons.next_wait(), SHORTEST_WAIT);
    }
}
