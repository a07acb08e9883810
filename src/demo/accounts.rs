//! The demo's books: what became of every job, by what the mail server took and what lies on the topics, and never by
//! what the service says of itself.

use std::collections::BTreeMap;
use std::fmt;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::sync::Arc;

use mailroom_actors::domain::failure::Cause;
use parking_lot::Mutex;

/// Different reasons that are counted apart; the rest are counted together.
const MOST_REASONS: usize = 24;
const OTHER_REASONS: &str = "other reasons";

/// The books as the producer, the mail server and the reader of dead letters share them.
pub type SharedAccounts = Arc<Mutex<Accounts>>;

/// One account for each job handed to the queue; 16 bytes each, so a day at 20 jobs a second is 28 MB.
#[derive(Debug, Default)]
pub struct Accounts {
    jobs: Vec<Account>,
    /// Jobs that the queue did not take, and that nothing has been seen of.
    refused: u64,
    /// Jobs with a delivery, or with a dead letter that was not replayed.
    settled: u64,
    replays: Replays,
    /// Deliveries, dead letters and replays that belong to no job of ours.
    strangers: u64,
    /// Jobs by the cause (its index in the contract's list) and the reason of their first dead letter.
    reasons: BTreeMap<(usize, String), u64>,
}

#[derive(Clone, Copy, Debug, Default)]
struct Account {
    refused: bool,
    delivered: u16,
    /// Delivered more than once, and not always under the same Message-ID.
    renamed: bool,
    dead_lettered: u16,
    /// How often it was put back on the queue.
    replayed: u16,
    /// Of the Message-ID of the first delivery.
    message_id_hash: u64,
}

impl Account {
    fn is_seen(&self) -> bool {
        self.delivered > 0 || self.dead_lettered > 0 || self.replayed > 0
    }

    /// A replay opens the account again: until its job is delivered, or is one more dead letter.
    fn is_settled(&self) -> bool {
        self.delivered > 0 || self.dead_lettered > self.replayed
    }

    fn is_replayed_and_open(&self) -> bool {
        self.replayed > 0 && !self.is_settled()
    }
}

/// What has come of replays so far.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Replays {
    /// Jobs put back on the queue; one that was put back twice counts twice.
    pub replayed: u64,
    /// Jobs whose last replay nothing has come of yet.
    pub open: u64,
    /// Dead letters of jobs that had one before.
    pub failed_again: u64,
}

impl Accounts {
    /// Opens the account of a job that goes to the queue now, and returns the job's number: 0, 1, 2 …
    pub fn open(&mut self) -> u64 {
        self.jobs.push(Account::default());
        self.jobs.len() as u64 - 1
    }

    /// The queue did not acknowledge job `number`. Should it be seen all the same, it counts as produced.
    pub fn refused(&mut self, number: u64) {
        let Some(account) = usize::try_from(number).ok().and_then(|index| self.jobs.get_mut(index)) else {
            return;
        };
        if !account.refused && !account.is_seen() {
            self.refused += 1;
        }
        account.refused = true;
    }

    /// The mail server took the e-mail of job `number` (none: of no job of ours).
    pub fn delivered(&mut self, number: Option<u64>, message_id: &str) {
        let mut hasher = DefaultHasher::new();
        message_id.hash(&mut hasher);
        let hash = hasher.finish();
        self.settle(number, |account| {
            if account.delivered == 0 {
                account.message_id_hash = hash;
            }
            account.renamed |= account.message_id_hash != hash;
            account.delivered = account.delivered.saturating_add(1);
        });
    }

    /// The dead letter topic holds a letter of job `number` (none: of no job of ours).
    pub fn dead_lettered(&mut self, number: Option<u64>, cause: Cause, reason: &str) {
        let mut first = false;
        self.settle(number, |account| {
            first = account.dead_lettered == 0;
            account.dead_lettered = account.dead_lettered.saturating_add(1);
        });
        if !first && !self.is_stranger(number) {
            self.replays.failed_again += 1;
        }
        if first {
            let index = Cause::ALL.iter().position(|one| *one == cause).expect("ALL holds every cause");
            let mut key = (index, reason.to_owned());
            if self.reasons.len() >= MOST_REASONS && !self.reasons.contains_key(&key) {
                key.1 = OTHER_REASONS.to_owned();
            }
            *self.reasons.entry(key).or_default() += 1;
        }
    }

    /// The main queue holds job `number` once more (none: no job of ours), by a replay of its dead letter.
    pub fn replayed(&mut self, number: Option<u64>) {
        self.settle(number, |account| account.replayed = account.replayed.saturating_add(1));
        if !self.is_stranger(number) {
            self.replays.replayed += 1;
        }
    }

    /// What has come of replays so far.
    pub fn replays(&self) -> Replays {
        self.replays
    }

    fn is_stranger(&self, number: Option<u64>) -> bool {
        number.is_none_or(|number| number >= self.jobs.len() as u64)
    }

    fn settle(&mut self, number: Option<u64>, note: impl FnOnce(&mut Account)) {
        let index = number.and_then(|number| usize::try_from(number).ok());
        let Some(account) = index.and_then(|index| self.jobs.get_mut(index)) else {
            self.strangers += 1;
            return;
        };
        if account.refused && !account.is_seen() {
            self.refused -= 1;
        }
        let before = *account;
        note(account);
        self.settled = self.settled + u64::from(account.is_settled()) - u64::from(before.is_settled());
        self.replays.open = self.replays.open + u64::from(account.is_replayed_and_open())
            - u64::from(before.is_replayed_and_open());
    }

    /// How many jobs are on the queue or in the service's hands.
    pub fn under_way(&self) -> u64 {
        self.jobs.len() as u64 - self.refused - self.settled
    }

    /// Jobs by the cause and reason of their first dead letter, in the contract's order of causes.
    pub fn by_reason(&self) -> Vec<(Cause, String, u64)> {
        let reasons = self.reasons.iter();
        reasons.map(|((cause, reason), jobs)| (Cause::ALL[*cause], reason.clone(), *jobs)).collect()
    }

    /// The sums of all accounts.
    pub fn totals(&self) -> Totals {
        let count =
            |test: fn(&Account) -> bool| self.jobs.iter().filter(|account| test(account)).count() as u64;
        Totals {
            produced: self.jobs.len() as u64 - self.refused,
            delivered: count(|account| account.delivered > 0),
            dead_lettered: count(|account| account.dead_lettered > 0),
            by_reason: self.by_reason(),
            delivered_twice: count(|account| account.delivered > 1),
            renamed: count(|account| account.renamed),
            dead_lettered_twice: count(|account| account.dead_lettered > account.replayed.saturating_add(1)),
            replayed_and_delivered: count(|account| account.replayed > 0 && account.delivered > 0),
            failed_again: count(|account| {
                account.replayed > 0 && account.delivered == 0 && account.is_settled()
            }),
            replayed_twice: count(|account| account.replayed > account.dead_lettered),
            both: count(|account| {
                account.delivered > 0 && account.dead_lettered > 0 && account.replayed == 0
            }),
            missing: self.under_way(),
            strangers: self.strangers,
            refused: self.refused,
        }
    }
}

/// The table that the demo ends with; every number but the last two counts jobs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Totals {
    /// Acknowledged by the queue, or seen later.
    pub produced: u64,
    pub delivered: u64,
    pub dead_lettered: u64,
    /// Cause and reason of the first letter of each job, in the contract's order of causes.
    pub by_reason: Vec<(Cause, String, u64)>,
    pub delivered_twice: u64,
    /// Delivered twice, and not under one Message-ID: a receiver could not tell that it is the same.
    pub renamed: u64,
    /// More often than it was replayed, and once.
    pub dead_lettered_twice: u64,
    /// Put back on the queue after a dead letter, and delivered.
    pub replayed_and_delivered: u64,
    /// Put back on the queue after a dead letter, and dead-lettered again.
    pub failed_again: u64,
    /// More often than it was dead-lettered.
    pub replayed_twice: u64,
    /// Delivered and dead-lettered, and never replayed.
    pub both: u64,
    /// Produced or replayed, and then neither delivered nor dead-lettered.
    pub missing: u64,
    /// Deliveries, letters and replays of no job of ours.
    pub strangers: u64,
    /// Jobs that the queue did not take; they are not among the produced.
    pub refused: u64,
}

impl Totals {
    /// Jobs by the cause of their first letter, in the contract's order; causes without a job are left out.
    pub fn by_cause(&self) -> Vec<(Cause, u64)> {
        let mut causes: Vec<(Cause, u64)> = Vec::new();
        for (cause, _, jobs) in &self.by_reason {
            match causes.last_mut() {
                Some((last, sum)) if last == cause => *sum += jobs,
                _ => causes.push((*cause, *jobs)),
            }
        }
        causes
    }

    /// Whether every job produced was delivered or dead-lettered, and nothing else was.
    pub fn all_accounted_for(&self) -> bool {
        self.missing == 0 && self.strangers == 0
    }
}

impl fmt::Display for Totals {
    /// One row a line, numbers right-aligned, without a newline at the end.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fn row(f: &mut fmt::Formatter<'_>, name: &str, count: u64) -> fmt::Result {
            writeln!(f, "{name:<44}{count:>9}")
        }
        row(f, "jobs produced", self.produced)?;
        row(f, "delivered", self.delivered)?;
        row(f, "dead-lettered", self.dead_lettered)?;
        for (cause, jobs) in self.by_cause() {
            row(f, &format!("  {cause}"), jobs)?;
            for (_, reason, jobs) in self.by_reason.iter().filter(|(of, ..)| *of == cause) {
                row(f, &format!("    {reason}"), *jobs)?;
            }
        }
        if self.replayed_and_delivered + self.failed_again > 0 {
            row(f, "replayed and delivered", self.replayed_and_delivered)?;
            row(f, "replayed and dead-lettered again", self.failed_again)?;
        }
        row(f, "delivered twice", self.delivered_twice)?;
        if self.renamed > 0 {
            row(f, "  under another Message-ID", self.renamed)?;
        }
        row(f, "dead-lettered twice", self.dead_lettered_twice)?;
        if self.replayed_twice > 0 {
            row(f, "replayed more often than dead-lettered", self.replayed_twice)?;
        }
        row(f, "delivered and dead-lettered", self.both)?;
        row(f, "missing", self.missing)?;
        if self.refused > 0 {
            row(f, "not taken by the queue", self.refused)?;
        }
        if self.strangers > 0 {
            row(f, "e-mails and letters of no job", self.strangers)?;
        }
        f.write_str(if self.all_accounted_for() {
            "every job is accounted for"
        } else {
            "NOT every job is accounted for"
        })
    }
}

#[cfg(test)]
mod tests;
