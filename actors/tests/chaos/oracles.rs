//! What may never be seen: O1 to O5 of the faults' list, each checked the moment it can be.

use mailroom_actors::domain::job::DeadLetter;
use mailroom_actors::ports::CommitOffset;

use crate::plan::Broken;
use crate::world::World;

#[derive(Clone, Debug)]
pub struct Violation {
    pub oracle: &'static str,
    pub what: String,
    /// The length of the log when it was seen.
    pub at: usize,
    /// It can't be kept without commit metadata: the job, or one of its recipients, was finished beyond the
    /// first unfinished job when its partition changed hands.
    pub needs_metadata: bool,
}

/// What a worker was told this long before its end must be in a commit by then, when nothing held commits up.
const COMMITTED_WITHIN_MS: u64 = 2_500;
/// An actor that died may take this long to be back and to note what it was told.
const BACK_WITHIN_MS: u64 = 5_000;

impl World {
    pub fn violate(&mut self, oracle: &'static str, what: String, needs_metadata: bool) {
        let kind = if needs_metadata { " (for want of metadata)" } else { "" };
        let line = format!("VIOLATION {oracle}: {what}{kind}");
        self.note(line);
        let at = self.log.len();
        self.violations.push(Violation { oracle, what, at, needs_metadata });
    }

    /// The relay has taken a copy. `orphan`: whoever sent it no longer owned the job by then, or never came
    /// to know: another copy may follow.
    pub fn took_copy(&mut self, job: usize, recipient: usize, orphan: bool) {
        self.counts.copies += 1;
        let beyond = self.was_finished_beyond(job);
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
            self.violate("O3", what, beyond);
        }
        if both {
            let what = format!("job {job}: recipient {recipient} is named in a dead letter, and gets it");
            self.violate("O2", what, beyond);
        }
        if self.plan.broken == Broken::EachEmailIsTakenTwice && copies == 1 {
            self.took_copy(job, recipient, orphan);
        }
    }

    /// The worker that owns the job knows that this recipient is served.
    pub fn told_of_copy(&mut self, job: usize, recipient: usize) {
        let now = self.now();
        let epoch = self.group.partitions[self.jobs[job].partition].epoch;
        self.jobs[job].recipients[recipient].told_at = Some(now);
        self.jobs[job].recipients[recipient].epoch = Some(epoch);
        self.note_whether_beyond(job);
    }

    /// What was known of the job in an earlier assignment of its partition was known beyond an unfinished one.
    fn was_finished_beyond(&self, job: usize) -> bool {
        let job = &self.jobs[job];
        let partition = &self.group.partitions[job.partition];
        let epochs = job.recipients.iter().map(|recipient| recipient.epoch).chain([job.letter_epoch]);
        let earlier = epochs.flatten().any(|epoch| epoch != partition.epoch);
        earlier && (job.beyond || job.offset >= partition.unfinished_at_hand_over)
    }

    fn note_whether_beyond(&mut self, job: usize) {
        let partition = &self.group.partitions[self.jobs[job].partition];
        let committed = partition.committed.as_ref().map_or(partition.low, |(offset, _)| *offset);
        let known = |job: usize| self.jobs[job].is_finished_in(partition.epoch);
        let offset = self.jobs[job].offset;
        let mut before = partition.records.iter().filter(|(at, _)| (committed..=offset).contains(at));
        let beyond = before.any(|(_, job)| !known(*job));
        self.jobs[job].beyond |= beyond;
    }

    pub fn stored_letter(&mut self, job: usize, letter: &DeadLetter, orphan: bool) {
        self.counts.letters += 1;
        let beyond = self.was_finished_beyond(job);
        let max_attempts = 3;
        if letter.attempts_spent > max_attempts {
            self.violate("contract", format!("job {job}: {} attempts spent", letter.attempts_spent), false);
        }
        let found = &mut self.jobs[job];
        found.letters += 1;
        let excused = found.letters == 1 || found.letter_may_repeat || orphan;
        found.letter_may_repeat = orphan;
        found.letter_unclear |= orphan;
        if !orphan {
            // Of this one nobody knows yet.
            found.letter_told_at = None;
        }
        let crashed = letter.failure.cause.as_str() == "crash" && !found.panicked && self.counts.panics == 0;
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
            wrong.push(("contract", "dead-lettered `crash`, and never panicked".into()));
        }
        for (oracle, what) in wrong {
            self.violate(oracle, format!("job {job}: {what}"), beyond && oracle != "O1");
        }
    }

    pub fn told_of_letter(&mut self, job: usize) {
        let now = self.now();
        self.jobs[job].letter_told_at = Some(now);
        self.jobs[job].letter_epoch = Some(self.group.partitions[self.jobs[job].partition].epoch);
        self.note_whether_beyond(job);
    }

    /// The partition leaves this worker in a way that may cost what is in no commit: that may come again.
    pub fn forgive(&mut self, partition: usize, incarnation: usize, now: u64) {
        self.note_hand_over(partition);
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

    /// Notes what an offset alone can tell the next owner.
    pub fn note_hand_over(&mut self, partition: usize) {
        let first = self.first_unfinished(partition);
        self.group.partitions[partition].unfinished_at_hand_over = first;
    }

    pub fn first_unfinished(&self, partition: usize) -> i64 {
        let found = &self.group.partitions[partition];
        let first = found.records.iter().find(|(_, job)| !self.jobs[*job].is_finished());
        first.map_or(found.end, |(offset, _)| *offset)
    }

    /// O4, as the broker stores a commit of the partition's owner.
    pub fn check_commit(&mut self, commit: &CommitOffset) {
        let partition = usize::try_from(commit.partition).unwrap();
        let before = self.group.partitions[partition].committed.as_ref().map(|(offset, _)| *offset);
        if before.is_some_and(|before| commit.offset < before) {
            let what = format!("partition {partition}: committed {before:?} goes back to {}", commit.offset);
            self.violate("O4", what, false);
        }
        let unfinished = self.first_unfinished(partition);
        if commit.offset > unfinished {
            let what = format!("partition {partition}: {} committed, {unfinished} unfinished", commit.offset);
            self.violate("O4", what, false);
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
                left.push(format!("O1 job {number} is lost: {job:?}"));
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
