//! A run: an act on the letters that matched when it was asked for. The owners of the partitions carry it out, each its
//! own, and what they have done is written with what they do: so it goes on after a crash where it was.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::offsets::OffsetSet;
use super::rules::Rules;

/// The partition that holds what is about a run as a whole: its owner judges canaries, tells of parked letters, and takes off
/// what was asked for.
pub const JUDGE: i32 = 0;

/// What was asked for; it never changes.
#[derive(Clone, Debug, PartialEq)]
pub struct Run {
    pub id: String,
    pub rules: Rules,
    /// Who: `http`, or a login.
    pub by: String,
    pub reason: String,
    /// When, milliseconds since the epoch.
    pub at_ms: i64,
    /// Letters a second, of all partitions together; more than 0.
    pub rate: f64,
    /// So many letters go first, and the others only if at most half of them failed again; 0: all go at once.
    pub canary: u64,
    /// What matched, by partition.
    pub letters: BTreeMap<i32, OffsetSet>,
    /// Letters with a newer time stamp are not meant: the queue was made anew since.
    pub newest_ms: i64,
    /// Replaces the job's bytes, where the run is of one letter that was edited.
    pub value: Option<Vec<u8>>,
}

/// What the owner of a partition has done of a run.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Progress {
    /// What the run has below this offset is dealt with.
    pub next: i64,
    /// Acted on: replayed, discarded or restored.
    pub acted: u64,
    pub skipped: u64,
    /// Without transactions: some letter may have been acted on twice.
    pub at_least_once: bool,
}

/// What became of the first letters of a run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Canary {
    pub replayed: u64,
    pub failed_again: u64,
}

impl Canary {
    /// At most half failed again.
    pub fn passed(self) -> bool {
        self.failed_again * 2 <= self.replayed
    }
}

/// That a run was cancelled: it goes no further.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Cancelled {
    pub by: String,
    pub at_ms: i64,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Standing {
    Running,
    Done,
    Cancelled,
    /// Too many of its first letters failed again.
    Stopped,
}

impl Standing {
    pub fn as_str(self) -> &'static str {
        match self {
            Standing::Running => "running",
            Standing::Done => "done",
            Standing::Cancelled => "cancelled",
            Standing::Stopped => "stopped",
        }
    }
}

/// A run and what is known of it.
#[derive(Clone, Debug, PartialEq)]
pub struct Tracked {
    pub run: Arc<Run>,
    pub progress: BTreeMap<i32, Progress>,
    pub canary: Option<Canary>,
    pub cancelled: Option<Cancelled>,
}

impl Tracked {
    pub fn new(run: Arc<Run>) -> Tracked {
        Tracked { run, progress: BTreeMap::new(), canary: None, cancelled: None }
    }

    pub fn standing(&self) -> Standing {
        if self.left() == 0 {
            Standing::Done
        } else if self.cancelled.is_some() {
            Standing::Cancelled
        } else if self.canary.is_some_and(|canary| !canary.passed()) {
            Standing::Stopped
        } else {
            Standing::Running
        }
    }

    pub fn total(&self) -> u64 {
        self.run.letters.values().map(OffsetSet::len).sum()
    }

    pub fn acted(&self) -> u64 {
        self.progress.values().map(|progress| progress.acted).sum()
    }

    pub fn skipped(&self) -> u64 {
        self.progress.values().map(|progress| progress.skipped).sum()
    }

    /// Whether some letter of it may have been acted on twice, for all that is known.
    pub fn is_at_least_once(&self) -> bool {
        self.progress.values().any(|progress| progress.at_least_once)
    }

    /// How many are not dealt with.
    pub fn left(&self) -> u64 {
        let dealt_with = |(partition, letters): (&i32, &OffsetSet)| {
            self.progress.get(partition).map_or(0, |progress| letters.count_below(progress.next))
        };
        self.total() - self.run.letters.iter().map(dealt_with).sum::<u64>()
    }

    /// Letters a second that the owner of this partition may act on: its share of the rate, so that all partitions end
    /// together and the rate holds without a word between the owners.
    pub fn share(&self, partition: i32) -> f64 {
        let ours = self.run.letters.get(&partition).map_or(0, OffsetSet::len);
        self.run.rate * ours as f64 / self.total().max(1) as f64
    }

    /// The next letters of this partition that the owner may act on now, at most `limit`.
    pub fn next(&self, partition: i32, limit: usize) -> Vec<i64> {
        let Some(letters) = self.run.letters.get(&partition).filter(|_| self.standing() == Standing::Running)
        else {
            return Vec::new();
        };
        let from = self.progress.get(&partition).map_or(i64::MIN, |progress| progress.next);
        let end = if self.waits_for_its_canary() { self.canary_end(partition) } else { i64::MAX };
        letters.iter_from(from).take_while(|offset| *offset < end).take(limit).collect()
    }

    /// Its first letters are dealt with, and what became of them is to be found out.
    pub fn asks_for_its_canary(&self) -> bool {
        let is_through = |partition: &i32| {
            let end = self.canary_end(*partition);
            end == i64::MIN || self.progress.get(partition).is_some_and(|progress| progress.next >= end)
        };
        self.standing() == Standing::Running
            && self.waits_for_its_canary()
            && self.run.letters.keys().all(is_through)
    }

    /// The first letters of the run, by partition.
    pub fn canary_letters(&self) -> BTreeMap<i32, OffsetSet> {
        let letters = |(partition, letters): (&i32, &OffsetSet)| {
            let end = self.canary_end(*partition);
            (*partition, letters.iter_from(i64::MIN).take_while(|offset| *offset < end).collect())
        };
        self.run.letters.iter().map(letters).collect()
    }

    fn waits_for_its_canary(&self) -> bool {
        self.canary.is_none() && (1..self.total()).contains(&self.run.canary)
    }

    /// Behind the last of its first letters in that partition; the least number where there are none.
    fn canary_end(&self, partition: i32) -> i64 {
        let before: u64 = self.run.letters.range(..partition).map(|(_, letters)| letters.len()).sum();
        let ours = usize::try_from(self.run.canary.saturating_sub(before)).unwrap_or(usize::MAX);
        let letters = self.run.letters.get(&partition);
        letters
            .and_then(|letters| letters.iter_from(i64::MIN).take(ours).last())
            .map_or(i64::MIN, |last| last + 1)
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
#[path = "run_tests.rs"]
pub(super) mod tests;
