//! What may never be seen: O1 to O5 of the faults' list, each checked the moment it can be.

use mailroom_actors::domain::job::DeadLetter;
use mailroom_actors::domain::metadata::Metadata;
use mailroom_actors::ports::CommitOffset;

use crate::member::index;
use crate::plan::Broken;
use crate::world::World;

#[derive(Clone, Debug)]
pub struct Violation {
    pub oracle: &'static str,
    pub what: String,
    /// The length of the log when it was seen.
    pub at: usize,
}

/// What a worker was told this long before its end must be in a commit by then, when nothing held commits up.
const COMMITTED_WITHIN_MS: u64 = 2_500;
/// An actor that died may take this long to be back and to note what it was told.
const BACK_WITHIN_MS: u64 = 5_000;

impl World {
    pub fn violate(&mut self, oracle: &'static str, what: String) {
        let line = format!("VIOLATION {oracle}: {what}");
        self.note(line);
        let at = self.log.len();
        self.violations.push(Violation { oracle, what, at });
    }

    /// The relay has taken a copy. `orphan`: whoever sent it no longer owned the job by then, or never came
    /// to know: another copy may follow.
    pub fn took_copy(&mut self, job: usize, recipient: usize, orphan: bool) {
        self.counts.copies += 1;
        let letter_unclear = self.jobs[job].letter_unclear;
        let found = &mut self.jobs[job].recipients[recipient];
        found.copies += 1;
        let repeated = found.copies > 1;
        let excused = !repeated || found.may_repeat || orphan;
        let both = found.named && !found.unclear && !letter_unclear && !orphan;
        found.may_repeat = orphan;
        found.unclear |= orphan || repeated;
        if !orphan {
            // Of this one nobody knows yet.
            found.told_at = None;
        }
        let copies = found.copies;
        self.counts.repeated += u32::from(repeated);
        if !excused {
            let what = format!("job {job}: recipient {recipient} has copy {copies}");
            self.violate("O3", what);
        }
        if both {
            let what = format!("job {job}: recipient {recipient} is named in a dead letter, and gets it");
            self.violate("O2", what);
        }
        if self.plan.broken == Broken::EachEmailIsTakenTwice && copies == 1 {
            self.took_copy(job, recipient, orphan);
        }
    }

    /// The worker that owns the job knows that this recipient is served.
    pub fn told_of_copy(&mut self, job: usize, recipient: usize) {
        let now = self.now();
        self.jobs[job].recipients[recipient].told_at = Some(now);
    }

    pub fn stored_letter(&mut self, job: usize, letter: &DeadLetter, orphan: bool) {
        self.counts.letters += 1;
        self.check_attempts(job, letter);
        let found = &mut self.jobs[job];
        found.letters += 1;
        let excused = found.letters == 1 || found.letter_may_repeat || orphan;
        found.letter_may_repeat = orphan;
        if !orphan {
            // Of this one nobody knows yet.
            found.letter_told_at = None;
        }
        found.letter_unclear |= orphan;
        let crashed = letter.failure.cause.as_str() == "crash"
            && !found.panicked
            && !found.suspected
            && self.counts.panics == 0;
        let mut wrong = Vec::new();
        for (index, recipient) in found.recipients.iter_mut().enumerate() {
            if letter.served.contains(index) {
                if recipient.copies == 0 {
                    wrong.push(("O1", format!("the letter says that recipient {index} has it")));
                }
                continue;
            }
            recipient.named = true;
            if recipient.copies > 0 && !recipient.unclear && !orphan {
                wrong.push(("O2", format!("the letter names recipient {index}, who has it")));
            }
        }
        if !excused {
            wrong.push(("O3", format!("letter number {}", found.letters)));
        }
        if crashed {
            wrong.push((
                "contract",
                "dead-lettered `crash`, and never panicked nor was the one being tried when its worker ended"
                    .into(),
            ));
        }
        for (oracle, what) in wrong {
            self.violate(oracle, format!("job {job}: {what}"));
        }
    }

    pub fn told_of_letter(&mut self, job: usize) {
        let now = self.now();
        self.jobs[job].letter_told_at = Some(now);
    }

    /// The partition leaves this worker in a way that may cost what is in no commit: that may come again.
    pub fn forgive(&mut self, partition: usize, incarnation: usize, now: u64) {
        let covered_at = self.group.partitions[partition].covered_at;
        let (trouble_at, burnt_at) =
            (self.incarnations[incarnation].trouble_at, self.incarnations[incarnation].burnt_at);
        let interval = self.plan.commit_interval_ms;
        let may_be_unknown = |told_at: Option<u64>| {
            let Some(told_at) = told_at else { return true };
            let shaken = burnt_at.is_some_and(|burnt| told_at + 10 >= burnt.saturating_sub(BACK_WITHIN_MS));
            let overdue = told_at + COMMITTED_WITHIN_MS + interval < now && trouble_at < told_at;
            shaken || (told_at >= covered_at && !overdue)
        };
        for (_, number) in self.group.partitions[partition].records.clone() {
            let job = &mut self.jobs[number];
            for recipient in &mut job.recipients {
                if recipient.copies > 0 && may_be_unknown(recipient.told_at) {
                    recipient.may_repeat = true;
                    recipient.unclear = true;
                }
            }
            if job.letters > 0 && may_be_unknown(job.letter_told_at) {
                job.letter_may_repeat = true;
                job.letter_unclear = true;
            }
        }
    }

    /// The partition was left by a worker that died, or lost it, while its commits named a job that was being
    /// tried: the next one can't but take that for the culprit.
    pub fn suspect(&mut self, partition: usize) {
        let found = &self.group.partitions[partition];
        let Some((offset, text)) = &found.committed else { return };
        let Ok(Metadata { open: true, trying: Some(trying), .. }) = Metadata::decode(text, *offset) else {
            return;
        };
        let Ok(index) = found.records.binary_search_by_key(&trying, |(at, _)| *at) else { return };
        let job = found.records[index].1;
        self.jobs[job].suspected = true;
    }

    pub fn first_unfinished(&self, partition: usize) -> i64 {
        let found = &self.group.partitions[partition];
        let first = found.records.iter().find(|(_, job)| !self.jobs[*job].is_finished());
        first.map_or(found.end, |(offset, _)| *offset)
    }

    /// O4, as the broker stores a commit of the partition's owner.
    pub fn check_commit(&mut self, commit: &CommitOffset) {
        let partition = index(commit.partition);
        let before = self.group.partitions[partition].committed.as_ref().map(|(offset, _)| *offset);
        if before.is_some_and(|before| commit.offset < before) {
            let what = format!("partition {partition}: committed {before:?} goes back to {}", commit.offset);
            self.violate("O4", what);
        }
        let unfinished = self.first_unfinished(partition);
        if commit.offset > unfinished {
            let what = format!("partition {partition}: {} committed, {unfinished} unfinished", commit.offset);
            self.violate("O4", what);
        }
    }

    /// Everything is settled, and committed to the end.
    pub fn is_quiet(&self) -> bool {
        let committed = self.group.partitions.iter().all(|partition| {
            let offset = partition.committed.as_ref().map(|(offset, _)| *offset);
            offset == Some(partition.end) || partition.records.is_empty()
        });
        committed && self.jobs.iter().all(|job| job.is_safe() && job.is_finished())
    }

    /// O1, O4 and progress when all is over.
    pub fn unfinished(&self) -> Vec<String> {
        let mut left = Vec::new();
        for (number, job) in self.jobs.iter().enumerate() {
            if !job.is_safe() {
                left.push(format!("O1 job {number}, offset {}, is lost: {job:?}", job.offset));
            } else if !job.is_finished() {
                left.push(format!("O7 job {number} is not finished: {job:?}"));
            }
        }
        for (number, partition) in self.group.partitions.iter().enumerate() {
            let committed = partition.committed.as_ref().map(|(offset, _)| *offset);
            if committed != Some(partition.end) && !partition.records.is_empty() {
                left.push(format!(
                    "O4 partition {number} ends at {}, committed {committed:?}",
                    partition.end
                ));
            }
        }
        left
    }
}
