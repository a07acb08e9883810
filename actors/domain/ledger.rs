//! Which jobs of which partitions are taken and not settled, and so what may be committed.
//!
//! Jobs finish in any order; the *frontier* of a partition is its first offset that is not settled (or what
//! was seen up to, when all is settled), and never passes an unsettled one. Offsets have gaps (compaction,
//! transaction markers), so nothing here ever counts "+ 1" but behind the last record itself.
//!
//! Every entry belongs to an assignment of its partition: what arrives for an older one changes nothing.

use std::collections::{BTreeMap, VecDeque};

/// One assignment of one partition to this worker; a partition that comes back has a new one.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct AssignmentId(pub u64);

/// One partition for as long as one assignment of it lasts.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Tenure {
    pub partition: i32,
    pub assignment: AssignmentId,
}

/// Names one taken job.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct JobId {
    pub partition: i32,
    pub assignment: AssignmentId,
    pub offset: i64,
}

/// Where a taken job is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Hold {
    /// In the ready queue, or on its way to a mailer.
    Queued,
    /// A mailer has it, before the dot.
    Working,
    /// It waits for its retry to come due.
    Waiting,
    /// Its final dot may have been sent: only the relay's answer can tell.
    PastTheDot,
    /// Its dead letter is being published.
    DeadLettering,
}

impl Hold {
    /// A revoke or stop takes back what is not yet past the dot, and awaits the rest.
    fn can_be_taken_back(self) -> bool {
        matches!(self, Hold::Queued | Hold::Working | Hold::Waiting)
    }
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
    pub sent: u64,
    pub dead_lettered: u64,
    pub expired: u64,
    /// Given back unsettled at a revoke or stop.
    pub returned: u64,
    pub in_flight: u64,
    /// Of those in flight: waiting for their retry.
    pub waiting: u64,
}

#[derive(Debug)]
struct Entry {
    offset: i64,
    timestamp_ms: Option<i64>,
    bytes: usize,
    /// None once settled, or taken back.
    hold: Option<Hold>,
    settled: bool,
}

#[derive(Debug)]
struct Partition {
    assignment: AssignmentId,
    /// In the order of their offsets; settled ones at the front are gone.
    entries: VecDeque<Entry>,
    /// Everything below it was handed over.
    next: Option<i64>,
    /// The frontier that the broker last acknowledged, or had when the partition was assigned.
    committed: Option<i64>,
    /// Being given up: what is before the dot was taken back, nothing more is taken.
    revoking: bool,
    /// A commit was answered "not yours": nothing more is committed in this assignment.
    fenced: bool,
    /// Low and high watermark, once they were told.
    watermarks: Option<(i64, i64)>,
}

impl Partition {
    /// The next offset to read after a restart: everything below it is settled. None before anything was
    /// seen.
    fn frontier(&self) -> Option<i64> {
        self.entries.front().map(|entry| entry.offset).or(self.next)
    }

    fn find(&mut self, offset: i64) -> Option<&mut Entry> {
        let index = self.entries.binary_search_by_key(&offset, |entry| entry.offset).ok()?;
        self.entries.get_mut(index)
    }

    fn drop_settled_front(&mut self) {
        while self.entries.front().is_some_and(|entry| entry.settled) {
            self.entries.pop_front();
        }
    }

    fn commitable(&self) -> Option<i64> {
        let frontier = self.frontier()?;
        let moved = self.committed.is_none_or(|committed| frontier > committed);
        (moved && !self.fenced).then_some(frontier)
    }
}

/// One partition's next offset, to be committed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Frontier {
    pub partition: i32,
    pub assignment: AssignmentId,
    pub offset: i64,
}

/// All partitions of this worker, and the books.
#[derive(Debug, Default)]
pub struct Ledger {
    partitions: BTreeMap<i32, Partition>,
    accounts: Accounts,
    last_assignment: u64,
    /// What was sent to be committed and is not answered yet; at most one commit is.
    outstanding: Option<Vec<Frontier>>,
    last_settled_timestamp_ms: Option<i64>,
}

impl Ledger {
    /// The partition is ours; records of it may be taken from now on. An older assignment of it must have been
    /// forgotten.
    pub fn assign(&mut self, partition: i32, committed: Option<i64>) -> AssignmentId {
        debug_assert!(
            !self.partitions.contains_key(&partition),
            "an older assignment must be forgotten first"
        );
        self.last_assignment += 1;
        let assignment = AssignmentId(self.last_assignment);
        self.partitions.insert(
            partition,
            Partition {
                assignment,
                entries: VecDeque::new(),
                next: committed,
                committed,
                revoking: false,
                fenced: false,
                watermarks: None,
            },
        );
        assignment
    }

    /// Takes a record. None when its partition is not ours (any more), or the offset was seen already.
    pub fn take(&mut self, partition: i32, offset: i64, ms: Option<i64>, bytes: usize) -> Option<JobId> {
        let found = self.partitions.get_mut(&partition)?;
        if found.revoking || found.next.is_some_and(|next| offset < next) {
            return None;
        }
        let hold = Some(Hold::Queued);
        found.entries.push_back(Entry { offset, timestamp_ms: ms, bytes, hold, settled: false });
        found.next = Some(offset + 1);
        self.accounts.consumed += 1;
        self.accounts.in_flight += 1;
        Some(JobId { partition, assignment: found.assignment, offset })
    }

    /// Everything below `next` was handed over, records or not.
    pub fn seen_up_to(&mut self, partition: i32, next: i64) {
        if let Some(found) = self.partitions.get_mut(&partition)
            && !found.revoking
        {
            found.next = Some(found.next.map_or(next, |seen| seen.max(next)));
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
        let Some(entry) = found.find(job.offset) else { return HoldAnswer::Gone };
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
        let index = found.entries.binary_search_by_key(&job.offset, |entry| entry.offset).ok()?;
        found.entries.get(index)?.hold
    }

    /// The job is settled; returns its bytes. None when it was taken back or lost before: then nothing
    /// changes, and nothing of it will be committed.
    pub fn settle(&mut self, job: JobId, settlement: Settlement) -> Option<usize> {
        let found =
            self.partitions.get_mut(&job.partition).filter(|found| found.assignment == job.assignment)?;
        let entry = found.find(job.offset)?;
        let before = entry.hold.take()?;
        entry.settled = true;
        let (timestamp_ms, bytes) = (entry.timestamp_ms, entry.bytes);
        found.drop_settled_front();
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
    pub fn revoke(&mut self, partitions: &[i32]) -> (Vec<Tenure>, Freed) {
        let mut revoked = Vec::new();
        let mut freed = Freed::default();
        for partition in partitions {
            let Some(found) = self.partitions.get_mut(partition) else { continue };
            found.revoking = true;
            revoked.push(Tenure { partition: *partition, assignment: found.assignment });
            for entry in &mut found.entries {
                if entry.hold.is_some_and(Hold::can_be_taken_back) {
                    freed.add(take_back(entry, &mut self.accounts));
                }
            }
        }
        (revoked, freed)
    }

    /// Whether any job of these is past the dot or being dead-lettered. What is over by now is not busy.
    pub fn is_busy(&self, tenures: &[Tenure]) -> bool {
        tenures
            .iter()
            .filter_map(|tenure| self.of(*tenure))
            .any(|found| found.entries.iter().any(|entry| entry.hold.is_some()))
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
        for Tenure { partition, assignment } in tenures.iter().copied() {
            let Some(found) = self.of(Tenure { partition, assignment }) else { continue };
            last.extend(found.commitable().map(|offset| Frontier { partition, assignment, offset }));
            freed.bytes_of_each.append(&mut self.forget(partition).bytes_of_each);
        }
        (last, freed)
    }

    /// The partition is gone, whoever had it; what is still unsettled is given back.
    pub fn forget(&mut self, partition: i32) -> Freed {
        let mut freed = Freed::default();
        if let Some(mut found) = self.partitions.remove(&partition) {
            for entry in &mut found.entries {
                freed.add(take_back(entry, &mut self.accounts));
            }
        }
        freed
    }

    /// What is to be committed now; empty when nothing moved, or while a commit is unanswered.
    pub fn begin_commit(&mut self) -> Vec<Frontier> {
        if self.outstanding.is_some() {
            return Vec::new();
        }
        let due: Vec<Frontier> = self
            .partitions
            .iter()
            .filter(|(_, found)| !found.revoking)
            .filter_map(|(partition, found)| {
                let offset = found.commitable()?;
                Some(Frontier { partition: *partition, assignment: found.assignment, offset })
            })
            .collect();
        if !due.is_empty() {
            self.outstanding = Some(due.clone());
        }
        due
    }

    /// The outstanding commit was answered. `Taken` moves what is committed; `Refused` leaves it dirty;
    /// `NotOurs` ends commits for these assignments.
    pub fn commit_answered(&mut self, answer: CommitAnswer) {
        for frontier in self.outstanding.take().unwrap_or_default() {
            let Some(found) = self.partitions.get_mut(&frontier.partition) else { continue };
            if found.assignment != frontier.assignment {
                continue;
            }
            match answer {
                CommitAnswer::Taken => {
                    found.committed =
                        Some(found.committed.map_or(frontier.offset, |c| c.max(frontier.offset)));
                }
                CommitAnswer::Refused => {}
                CommitAnswer::NotOurs => found.fenced = true,
            }
        }
    }

    pub fn set_watermarks(&mut self, partition: i32, low: i64, high: i64) {
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

    pub fn partitions(&self) -> Vec<i32> {
        self.partitions.keys().copied().collect()
    }

    /// Lag of each partition as Kafka's own tools count it: high watermark − committed, or − the first
    /// record where nothing is committed. None before the watermarks are known.
    pub fn lags(&self) -> Vec<(i32, i64)> {
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
        self.partitions
            .values()
            .filter_map(|found| {
                let (low, high) = found.watermarks?;
                Some((high - found.next.unwrap_or(low)).max(0))
            })
            .sum()
    }

    /// The Kafka timestamp of the oldest job not settled; with nothing in hand and a backlog, of the last
    /// one settled.
    pub fn oldest_unfinished_ms(&self) -> Option<i64> {
        let unsettled = self.partitions.values().flat_map(|found| &found.entries);
        let oldest =
            unsettled.filter(|entry| entry.hold.is_some()).filter_map(|entry| entry.timestamp_ms).min();
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
    NotOurs,
}

/// Gives the entry back unsettled: it holds the frontier where it is. Returns its bytes when it had a hold.
fn take_back(entry: &mut Entry, accounts: &mut Accounts) -> Option<usize> {
    let before = entry.hold.take()?;
    accounts.waiting -= u64::from(before == Hold::Waiting);
    accounts.in_flight -= 1;
    accounts.returned += 1;
    Some(entry.bytes)
}

#[cfg(test)]
#[path = "ledger_tests.rs"]
mod tests;
