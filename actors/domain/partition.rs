//! One partition for as long as one assignment of it lasts: its unsettled jobs, its frontier, and what its
//! commits say.
//!
//! The *frontier* is the first offset that is not settled (or what was seen up to, when all is), and never
//! passes an unsettled one. Offsets have gaps (compaction, transaction markers), so nothing here ever counts
//! "+ 1" but behind a record itself. What is seen and not among the unsettled jobs is finished.

use std::collections::{BTreeMap, BTreeSet};

use super::job::RecipientSet;
use super::ledger::{AssignmentId, Hold};
use super::metadata::{MAX_CHARACTERS, Metadata, Past};

/// A taken job that is not settled.
#[derive(Debug)]
pub(super) struct Job {
    pub timestamp_ms: Option<i64>,
    pub bytes: usize,
    /// None once it was taken back: it holds the frontier where it is.
    pub hold: Option<Hold>,
    pub past: Past,
}

/// How a partition was found when it was assigned.
#[derive(Clone, Copy, Debug)]
pub struct Found<'a> {
    /// The group's committed offset; none for a new group, which begins at `low`.
    pub committed: Option<i64>,
    /// As it was committed; empty when nothing was.
    pub metadata: &'a str,
    pub low: i64,
    /// Behind the last record.
    pub high: i64,
}

/// Whether a record is a job to be done.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Taken {
    /// It is; what has happened to it before.
    Job {
        past: Past,
        /// Its handling ended the process: it is not to be attempted again.
        ended_the_process: bool,
    },
    /// It was finished before a restart.
    AlreadyFinished,
    /// Its partition is not ours (any more), or it was seen already.
    NotOurs,
}

/// What a commit of this partition says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Statement {
    pub offset: i64,
    pub text: String,
    taken_to: i64,
    trying: Option<i64>,
}

#[derive(Debug)]
pub(super) struct Partition {
    pub assignment: AssignmentId,
    pub jobs: BTreeMap<i64, Job>,
    /// Everything below it was handed over.
    pub next: i64,
    /// What was found unfinished and is not taken yet.
    restored: BTreeMap<i64, Past>,
    /// Behind the last that is finished, this time or before.
    finished_to: i64,
    /// How many unsettled jobs have a history.
    with_past: usize,
    /// Nothing at or above it is handed over before a commit that says so is acknowledged.
    taken_to: i64,
    unclean_ends: u32,
    /// `limits.crashes`.
    crash_limit: u32,
    /// Once the frontier is here the unclean ends before count no more.
    progress_at: i64,
    trying: Option<i64>,
    /// Jobs that ended the process: not to be attempted again, but dead-lettered.
    culprits: BTreeSet<i64>,
    /// What the brokers have acknowledged.
    acknowledged: Option<Statement>,
    /// The committed offset, as far as it is known.
    pub committed: Option<i64>,
    /// Something may have to be committed.
    changed: bool,
    /// Being given up: what is before the dot was taken back, nothing more is taken.
    pub revoking: bool,
    /// A commit was answered "not yours": nothing more is committed in this assignment.
    pub fenced: bool,
    /// Low and high watermark, once they were told.
    pub watermarks: Option<(i64, i64)>,
}

impl Partition {
    /// So far ahead of what was taken the next records are announced.
    const BLOCK: i64 = 1024;
    /// Bits of one character of the metadata.
    const BITS: i64 = 6;

    pub fn new(assignment: AssignmentId, found: Found<'_>, crash_limit: u32) -> Partition {
        let offset = found.committed.unwrap_or(found.low);
        let fresh = Metadata { taken_to: offset, finished_to: offset, ..Metadata::default() };
        let metadata = found.committed.and_then(|_| Metadata::decode(found.metadata, offset).ok());
        let mut metadata = metadata.unwrap_or(fresh);
        metadata.culprits.extend(metadata.trying.filter(|_| metadata.open));
        let mut partition = Partition {
            assignment,
            jobs: BTreeMap::new(),
            next: offset,
            restored: metadata.unfinished,
            finished_to: metadata.finished_to,
            with_past: 0,
            taken_to: metadata.taken_to,
            unclean_ends: metadata.unclean_ends.saturating_add(u32::from(metadata.open)),
            crash_limit,
            progress_at: metadata.taken_to.min(found.high),
            trying: None,
            culprits: metadata.culprits,
            acknowledged: None,
            committed: found.committed,
            changed: true,
            revoking: false,
            fenced: false,
            watermarks: Some((found.low, found.high)),
        };
        partition.progressed();
        partition
    }

    /// The next offset to read after a restart: everything below it is settled.
    pub fn frontier(&self) -> i64 {
        self.jobs.keys().next().copied().unwrap_or(self.next)
    }

    pub fn take(&mut self, offset: i64, timestamp_ms: Option<i64>, bytes: usize) -> Taken {
        if self.revoking || offset < self.next {
            return Taken::NotOurs;
        }
        let past = self.restored.remove(&offset);
        if past.is_none() && offset < self.finished_to {
            self.see(offset + 1);
            return Taken::AlreadyFinished;
        }
        let past = past.unwrap_or_default();
        self.with_past += usize::from(!past.is_empty());
        // Over a gap in front of it the frontier moves, but never past itself.
        self.changed |= self.jobs.is_empty();
        self.jobs.insert(offset, Job { timestamp_ms, bytes, hold: Some(Hold::Queued), past });
        self.see(offset + 1);
        Taken::Job { past, ended_the_process: self.culprits.contains(&offset) }
    }

    /// Everything below `next` was handed over, records or not.
    pub fn see(&mut self, next: i64) {
        if next <= self.next {
            return;
        }
        let all_was_settled = self.jobs.is_empty();
        self.next = next;
        if !self.restored.is_empty() {
            // What was not among the records is gone for good.
            self.restored = self.restored.split_off(&next);
        }
        if all_was_settled || self.is_short() {
            self.changed = true;
            self.progressed();
        }
    }

    /// The job is settled: taken off the books.
    pub fn remove(&mut self, offset: i64) {
        if let Some(job) = self.jobs.remove(&offset) {
            self.with_past -= usize::from(!job.past.is_empty());
            self.culprits.remove(&offset);
            self.finished_to = self.finished_to.max(offset + 1);
            self.changed = true;
            self.attempt_ended(offset);
            self.progressed();
        }
    }

    /// What has happened to the job by now. Whoever was served stays so.
    pub fn remember(&mut self, offset: i64, mut past: Past) {
        let Some(job) = self.jobs.get_mut(&offset) else { return };
        past.served = RecipientSet::from_bits(past.served.bits() | job.past.served.bits());
        if job.past != past {
            self.with_past -= usize::from(!job.past.is_empty());
            self.with_past += usize::from(!past.is_empty());
            job.past = past;
            self.changed = true;
        }
    }

    fn progressed(&mut self) {
        if self.unclean_ends > 0 && self.frontier() >= self.progress_at {
            self.unclean_ends = 0;
            self.changed = true;
        }
    }

    // ---- One job at a time ---------------------------------------------------------------------------

    /// Its jobs are attempted one by one, each marked before.
    pub fn is_careful(&self) -> bool {
        self.unclean_ends >= self.crash_limit
    }

    /// Wants this mark; true when the brokers have acknowledged it.
    pub fn mark(&mut self, trying: Option<i64>) -> bool {
        if self.trying != trying {
            self.trying = trying;
            self.changed = true;
        }
        self.acknowledged.as_ref().is_some_and(|statement| statement.trying == trying)
    }

    pub fn is_marked(&self) -> bool {
        self.trying.is_some() || self.acknowledged.as_ref().is_some_and(|s| s.trying.is_some())
    }

    /// The job is not being attempted any more.
    pub fn attempt_ended(&mut self, offset: i64) {
        if self.trying == Some(offset) {
            self.trying = None;
            self.changed = true;
        }
    }

    // ---- Commits -------------------------------------------------------------------------------------

    /// Records have nearly all been taken that may be: a commit that announces more is wanted soon.
    pub fn is_short(&self) -> bool {
        !self.revoking && self.taken_to - self.next < Self::BLOCK / 4
    }

    /// What is to be committed, where that is not what was acknowledged last. `max_characters` is what the
    /// broker takes.
    pub fn statement(&mut self, max_characters: usize) -> Option<Statement> {
        if self.fenced || !std::mem::take(&mut self.changed) {
            return None;
        }
        let offset = self.frontier();
        let mut text = self.metadata().encode(offset, max_characters);
        if !self.revoking && self.taken_to - self.next < Self::BLOCK / 2 {
            // At worst every other job of what is announced finishes first: there is to be room for that.
            let room = i64::try_from(max_characters / 4 * 3).unwrap_or(i64::MAX);
            let left = room.saturating_sub(i64::try_from(text.len()).unwrap_or(i64::MAX)).max(0);
            let most = match max_characters {
                0 => i64::MAX,
                _ => self.finished_to.max(offset).saturating_add(left.saturating_mul(Self::BITS)),
            };
            let announced = (self.next + Self::BLOCK).min(most);
            if announced > self.taken_to {
                self.taken_to = announced;
                text = self.metadata().encode(offset, max_characters);
            }
        }
        let statement = Statement { offset, text, taken_to: self.taken_to, trying: self.trying };
        (self.acknowledged.as_ref() != Some(&statement)).then_some(statement)
    }

    fn metadata(&self) -> Metadata {
        let mut unfinished = self.restored.clone();
        unfinished.extend(self.jobs.range(..self.finished_to).map(|(offset, job)| (*offset, job.past)));
        if self.with_past > 0 {
            let beyond = self.jobs.range(self.finished_to..).filter(|(_, job)| !job.past.is_empty());
            unfinished.extend(beyond.map(|(offset, job)| (*offset, job.past)));
        }
        Metadata {
            open: !self.revoking,
            taken_to: self.taken_to,
            unclean_ends: self.unclean_ends,
            trying: self.trying,
            culprits: self.culprits.range(self.frontier()..).copied().collect(),
            finished_to: self.finished_to,
            unfinished,
        }
    }

    /// The brokers have taken it. Returns up to where records may be handed over.
    pub fn acknowledge(&mut self, statement: Statement) -> i64 {
        let cleared_to = statement.taken_to;
        self.committed = Some(self.committed.map_or(statement.offset, |c| c.max(statement.offset)));
        self.acknowledged = Some(statement);
        cleared_to
    }

    /// What was to be committed was not.
    pub fn refuse(&mut self) {
        self.changed = true;
    }

    /// It is being given up: nothing more is taken.
    pub fn revoke(&mut self) {
        self.changed |= !self.revoking;
        self.revoking = true;
    }
}

const _: () = assert!(MAX_CHARACTERS as i64 / 4 * 3 * Partition::BITS > 10_000 + Partition::BLOCK);
