//! Which jobs of which partitions are taken and not settled, what may be committed, and the books.
//!
//! Jobs finish in any order; each [`Partition`] knows what that means for its commits. Every job belongs to an
//! assignment of its partition: what arrives for an older one changes nothing.

use std::collections::BTreeMap;

use super::metadata::{MAX_CHARACTERS, Past};
pub use super::partition::{AssignmentId, Hold};
use super::partition::{Found, Job, Partition, Statement, Taken};
use super::topic_partition::{Topic, TopicPartition};

/// One partition for as long as one assignment of it lasts.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Tenure {
    pub partition: TopicPartition,
    pub assignment: AssignmentId,
}

/// Names one taken job.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct JobId {
    pub partition: TopicPartition,
    pub assignment: AssignmentId,
    pub offset: i64,
}

/// How a job was settled.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Settlement {
    Sent,
    DeadLettered,
    Expired,
}

/// The books: consumed = sent + dead-lettered + expired + in flight + returned, always.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Accounts {
    pub consumed: u64,
    /// Of those consumed: from the topic of replayed jobs.
    pub consumed_replays: u64,
    pub sent: u64,
    pub dead_lettered: u64,
    pub expired: u64,
    /// Given back unsettled at a revoke or stop.
    pub returned: u64,
    pub in_flight: u64,
    /// Of those in flight: waiting for their retry.
    pub waiting: u64,
    /// Finished before a restart, and so not taken again: no part of the sum.
    pub resends_skipped: u64,
}

impl Accounts {
    /// Jobs consumed of one of the topics.
    pub fn consumed_of(&self, topic: Topic) -> u64 {
        match topic {
            Topic::Queue => self.consumed - self.consumed_replays,
            Topic::Replays => self.consumed_replays,
        }
    }
}

/// One partition's next offset, to be committed with what is known beyond it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Frontier {
    pub partition: TopicPartition,
    pub assignment: AssignmentId,
    statement: Statement,
}

impl Frontier {
    pub fn offset(&self) -> i64 {
        self.statement.offset
    }

    /// The metadata: see [`super::metadata::Metadata`].
    pub fn text(&self) -> &str {
        &self.statement.text
    }
}

/// All partitions of this worker, and the books.
#[derive(Debug)]
pub struct Ledger {
    partitions: BTreeMap<TopicPartition, Partition>,
    accounts: Accounts,
    last_assignment: u64,
    /// What was sent to be committed and is not answered yet; at most one commit is.
    outstanding: Option<Vec<Frontier>>,
    last_settled_timestamp_ms: Option<i64>,
    /// `limits.crashes`.
    crash_limit: u32,
    /// The longest metadata that the broker takes, as far as is known.
    max_characters: usize,
    /// Some partition is, or was until its mark is off, worked through one job at a time.
    guarded: bool,
    /// All is being given up: what is revoked may be committed all the same.
    stopping: bool,
}

impl Ledger {
    /// With less room not even the state of a partition fits.
    const FEWEST_CHARACTERS: usize = 64;

    /// `crash_limit` is `limits.crashes`.
    pub fn new(crash_limit: u32) -> Ledger {
        Ledger {
            partitions: BTreeMap::new(),
            accounts: Accounts::default(),
            last_assignment: 0,
            outstanding: None,
            last_settled_timestamp_ms: None,
            crash_limit,
            max_characters: MAX_CHARACTERS,
            guarded: false,
            stopping: false,
        }
    }

    /// The partition is ours. Its records may be taken once a commit has announced them. An older assignment
    /// of it must have been forgotten.
    pub fn assign(&mut self, partition: TopicPartition, found: Found<'_>) -> AssignmentId {
        debug_assert!(
            !self.partitions.contains_key(&partition),
            "an older assignment must be forgotten first"
        );
        self.last_assignment += 1;
        let assignment = AssignmentId(self.last_assignment);
        let assigned = Partition::new(assignment, found, self.crash_limit);
        self.guarded |= assigned.is_careful();
        self.partitions.insert(partition, assigned);
        assignment
    }

    /// Takes a record. None of it is ours where the answer is not [`Taken::Job`].
    pub fn take(
        &mut self,
        partition: TopicPartition,
        offset: i64,
        ms: Option<i64>,
        bytes: usize,
    ) -> (Taken, JobId) {
        let Some(found) = self.partitions.get_mut(&partition) else {
            return (Taken::NotOurs, JobId { partition, assignment: AssignmentId(0), offset });
        };
        let taken = found.take(offset, ms, bytes);
        match taken {
            Taken::Job { .. } => {
                self.accounts.consumed += 1;
                self.accounts.consumed_replays += u64::from(partition.topic == Topic::Replays);
                self.accounts.in_flight += 1;
            }
            Taken::AlreadyFinished => self.accounts.resends_skipped += 1,
            Taken::NotOurs => {}
        }
        (taken, JobId { partition, assignment: found.assignment, offset })
    }

    /// Everything below `next` was handed over, records or not.
    pub fn seen_up_to(&mut self, partition: TopicPartition, next: i64) {
        if let Some(found) = self.partitions.get_mut(&partition)
            && !found.revoking
        {
            found.see(next);
        }
    }

    /// Says where the job is now. While its partition is revoked a job that is past the dot may still
    /// become a dead letter; anything else takes it back.
    pub fn hold(&mut self, job: JobId, hold: Hold) -> HoldAnswer {
        let Some(found) = self.partitions.get_mut(&job.partition) else { return HoldAnswer::Gone };
        let revoking = found.revoking;
        if found.assignment != job.assignment {
            return HoldAnswer::Gone;
        }
        if !matches!(hold, Hold::Working | Hold::PastTheDot) {
            found.attempt_ended(job.offset);
        }
        let Some(entry) = found.jobs.get_mut(&job.offset) else { return HoldAnswer::Gone };
        let Some(before) = entry.hold else { return HoldAnswer::Gone };
        if revoking && hold.can_be_taken_back() {
            return take_back(entry, &mut self.accounts).map_or(HoldAnswer::Gone, HoldAnswer::TakenBack);
        }
        entry.hold = Some(hold);
        self.accounts.waiting -= u64::from(before == Hold::Waiting);
        self.accounts.waiting += u64::from(hold == Hold::Waiting);
        HoldAnswer::Held
    }

    /// Where the job is; none when it has been settled, taken back or lost.
    pub fn held(&self, job: JobId) -> Option<Hold> {
        let found = self.partitions.get(&job.partition).filter(|p| p.assignment == job.assignment)?;
        found.jobs.get(&job.offset)?.hold
    }

    /// What has happened to the job by now; the next commit says so. It counts also for a job that was just
    /// taken back.
    pub fn remember(&mut self, job: JobId, past: Past) {
        if let Some(found) = self.partitions.get_mut(&job.partition)
            && found.assignment == job.assignment
        {
            found.remember(job.offset, past);
        }
    }

    /// The job is settled; returns its bytes. None when it was taken back or lost before: then nothing
    /// changes, and nothing of it will be committed.
    pub fn settle(&mut self, job: JobId, settlement: Settlement) -> Option<usize> {
        let found =
            self.partitions.get_mut(&job.partition).filter(|found| found.assignment == job.assignment)?;
        let entry = found.jobs.get_mut(&job.offset)?;
        let before = entry.hold.take()?;
        let (timestamp_ms, bytes) = (entry.timestamp_ms, entry.bytes);
        found.remove(job.offset);
        self.last_settled_timestamp_ms = timestamp_ms;
        self.accounts.waiting -= u64::from(before == Hold::Waiting);
        self.accounts.in_flight -= 1;
        match settlement {
            Settlement::Sent => self.accounts.sent += 1,
            Settlement::DeadLettered => self.accounts.dead_lettered += 1,
            Settlement::Expired => self.accounts.expired += 1,
        }
        Some(bytes)
    }

    /// Begins to give up these partitions: what is before the dot is taken back. Returns what is being given
    /// up, and the credits that became free.
    pub fn revoke(&mut self, partitions: &[TopicPartition]) -> (Vec<Tenure>, Freed) {
        let mut revoked = Vec::new();
        let mut freed = Freed::default();
        for partition in partitions {
            let Some(found) = self.partitions.get_mut(partition) else { continue };
            found.revoke();
            revoked.push(Tenure { partition: *partition, assignment: found.assignment });
            let mut ended = Vec::new();
            for (offset, job) in &mut found.jobs {
                if job.hold.is_some_and(Hold::can_be_taken_back) {
                    freed.add(take_back(job, &mut self.accounts));
                    ended.push(*offset);
                }
            }
            ended.into_iter().for_each(|offset| found.attempt_ended(offset));
        }
        (revoked, freed)
    }

    /// All is being given up. Returns what [`Ledger::revoke`] does.
    pub fn stop(&mut self) -> (Vec<Tenure>, Freed) {
        self.stopping = true;
        self.revoke(&self.partitions())
    }

    /// Whether any job of these is past the dot or being dead-lettered. What is over by now is not busy.
    pub fn is_busy(&self, tenures: &[Tenure]) -> bool {
        tenures
            .iter()
            .filter_map(|tenure| self.of(*tenure))
            .any(|found| found.jobs.values().any(|job| job.hold.is_some()))
    }

    /// Whether none of these lasts any more.
    pub fn is_over(&self, tenures: &[Tenure]) -> bool {
        tenures.iter().all(|tenure| self.of(*tenure).is_none())
    }

    /// Lets go of these, unless they are over by now; what is still unsettled is given back. Returns what is
    /// to be committed last.
    pub fn let_go(&mut self, tenures: &[Tenure]) -> (Vec<Frontier>, Freed) {
        let mut last = Vec::new();
        let mut freed = Freed::default();
        let max_characters = self.max_characters;
        for tenure in tenures {
            let Tenure { partition, assignment } = *tenure;
            if self.of(*tenure).is_none() {
                continue;
            }
            let Some(found) = self.partitions.get_mut(&partition) else { continue };
            // It ends cleanly, whatever is still unanswered.
            found.mark(None);
            found.refuse();
            let statement = found.statement(max_characters);
            last.extend(statement.map(|statement| Frontier { partition, assignment, statement }));
            freed.bytes_of_each.append(&mut self.forget(partition).bytes_of_each);
        }
        (last, freed)
    }

    /// The partition is gone, whoever had it; what is still unsettled is given back.
    pub fn forget(&mut self, partition: TopicPartition) -> Freed {
        let mut freed = Freed::default();
        if let Some(mut found) = self.partitions.remove(&partition) {
            for job in found.jobs.values_mut() {
                freed.add(take_back(job, &mut self.accounts));
            }
        }
        self.look_at_the_guard();
        freed
    }

    // ---- One job at a time ---------------------------------------------------------------------------

    /// Whether the job may be attempted now. While any partition is worked through carefully that takes a mark
    /// in its commits, acknowledged, and no other: the mark is wanted from now on, and the next commit is due.
    pub fn may_attempt(&mut self, job: JobId) -> bool {
        if !self.guarded {
            return true;
        }
        let is_fenced = |found: &Partition| found.fenced && found.is_careful();
        let mut may = !self.partitions.get(&job.partition).is_some_and(is_fenced);
        for (number, found) in self.partitions.iter_mut().filter(|(_, found)| !found.fenced) {
            let tries = *number == job.partition && found.is_careful() && !found.revoking;
            may &= (!found.is_careful() && !found.is_marked()) || found.mark(tries.then_some(job.offset));
        }
        may
    }

    fn look_at_the_guard(&mut self) {
        self.guarded =
            self.guarded && self.partitions.values().any(|found| found.is_careful() || found.is_marked());
    }

    /// Whether the worker is to make one attempt at a time in all.
    pub fn is_guarded(&self) -> bool {
        self.guarded
    }

    // ---- Commits -------------------------------------------------------------------------------------

    /// A commit should not wait for its time: records of a partition can't be taken without it, or an attempt
    /// can't be made.
    pub fn commit_is_urgent(&self) -> bool {
        self.outstanding.is_none() && (self.guarded || self.partitions.values().any(Partition::is_short))
    }

    /// Whether a commit is unanswered.
    pub fn is_committing(&self) -> bool {
        self.outstanding.is_some()
    }

    /// What is to be committed now; empty when nothing changed, or while a commit is unanswered.
    pub fn begin_commit(&mut self) -> Vec<Frontier> {
        if self.outstanding.is_some() {
            return Vec::new();
        }
        let (stopping, max_characters) = (self.stopping, self.max_characters);
        let ours = self.partitions.iter_mut().filter(|(_, found)| stopping || !found.revoking);
        let due: Vec<Frontier> = ours
            .filter_map(|(partition, found)| {
                let statement = found.statement(max_characters)?;
                Some(Frontier { partition: *partition, assignment: found.assignment, statement })
            })
            .collect();
        if !due.is_empty() {
            self.outstanding = Some(due.clone());
        }
        due
    }

    /// The outstanding commit was answered. `Taken` moves what is committed, and returns up to where records
    /// may be handed over now; `Refused` leaves it dirty; `NotOurs` ends commits for these assignments.
    pub fn commit_answered(&mut self, answer: CommitAnswer) -> Vec<(TopicPartition, i64)> {
        let mut cleared = Vec::new();
        if answer == CommitAnswer::TooLarge {
            // Halved until it is taken; where nothing is, the plain offset is left.
            self.max_characters = match self.max_characters / 2 {
                half if half >= Self::FEWEST_CHARACTERS => half,
                _ => 0,
            };
        }
        for frontier in self.outstanding.take().unwrap_or_default() {
            let Some(found) = self.partitions.get_mut(&frontier.partition) else { continue };
            if found.assignment != frontier.assignment {
                continue;
            }
            match answer {
                CommitAnswer::Taken => {
                    let to = found.acknowledge(frontier.statement);
                    if !found.revoking {
                        cleared.push((frontier.partition, to));
                    }
                }
                CommitAnswer::Refused | CommitAnswer::TooLarge => found.refuse(),
                CommitAnswer::NotOurs => found.fenced = true,
            }
        }
        self.look_at_the_guard();
        cleared
    }

    pub fn set_watermarks(&mut self, partition: TopicPartition, low: i64, high: i64) {
        if let Some(found) = self.partitions.get_mut(&partition) {
            found.watermarks = Some((low, high));
        }
    }

    pub fn accounts(&self) -> Accounts {
        self.accounts
    }

    fn of(&self, tenure: Tenure) -> Option<&Partition> {
        self.partitions.get(&tenure.partition).filter(|found| found.assignment == tenure.assignment)
    }

    pub fn partitions(&self) -> Vec<TopicPartition> {
        self.partitions.keys().copied().collect()
    }

    /// Lag of each partition as Kafka's own tools count it: high watermark − committed, or − the first
    /// record where nothing is committed. None before the watermarks are known.
    pub fn lags(&self) -> Vec<(TopicPartition, i64)> {
        self.partitions
            .iter()
            .filter_map(|(partition, found)| {
                let (low, high) = found.watermarks?;
                Some((*partition, (high - found.committed.unwrap_or(low)).max(0)))
            })
            .collect()
    }

    /// Records that are not taken yet: high watermark − next to take, summed.
    pub fn backlog(&self) -> i64 {
        Topic::ALL.iter().map(|topic| self.backlog_of(*topic)).sum()
    }

    /// Of one of the topics.
    pub fn backlog_of(&self, topic: Topic) -> i64 {
        let of_topic = self.partitions.iter().filter(|(partition, _)| partition.topic == topic);
        let missing = of_topic.filter_map(|(_, found)| {
            let (_, high) = found.watermarks?;
            Some((high - found.next).max(0))
        });
        missing.sum()
    }

    /// The Kafka timestamp of the oldest job not settled; with nothing in hand and a backlog, of the last
    /// one settled.
    pub fn oldest_unfinished_ms(&self) -> Option<i64> {
        let unsettled = self.partitions.values().flat_map(|found| found.jobs.values());
        let oldest = unsettled.filter(|job| job.hold.is_some()).filter_map(|job| job.timestamp_ms).min();
        match oldest {
            Some(oldest) => Some(oldest),
            None if self.accounts.in_flight == 0 && self.backlog() > 0 => self.last_settled_timestamp_ms,
            None => None,
        }
    }
}

/// Whether a job may be where somebody says it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum HoldAnswer {
    Held,
    /// It was given back just now (its bytes are free): whoever has it must let go.
    TakenBack(usize),
    /// It was settled, taken back or lost before: whoever has it must let go.
    Gone,
}

/// Credits that became free: how many jobs, how many bytes.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Freed {
    pub bytes_of_each: Vec<usize>,
}

impl Freed {
    fn add(&mut self, bytes: Option<usize>) {
        self.bytes_of_each.extend(bytes);
    }
}

/// What became of the outstanding commit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CommitAnswer {
    Taken,
    Refused,
    /// The broker takes no metadata of that size.
    TooLarge,
    NotOurs,
}

/// Gives the entry back unsettled: it holds the frontier where it is. Returns its bytes when it had a hold.
fn take_back(entry: &mut Job, accounts: &mut Accounts) -> Option<usize> {
    let before = entry.hold.take()?;
    accounts.waiting -= u64::from(before == Hold::Waiting);
    accounts.in_flight -= 1;
    accounts.returned += 1;
    Some(entry.bytes)
}

#[cfg(test)]
#[path = "ledger_tests.rs"]
mod tests;
