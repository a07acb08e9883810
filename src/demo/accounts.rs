//! The demo's books: what became of each job, told by the mail server and the dead letter queue and never by
//! the service itself.

use std::collections::HashMap;
use std::fmt;
use std::sync::Arc;

use mailroom_actors::domain::failure::Cause;
use parking_lot::Mutex;

/// The books as the producer, the mail server and the reader of dead letters share them.
pub type SharedAccounts = Arc<Mutex<Accounts>>;

/// One account for each recipient; every job of the demo has a recipient of its own.
#[derive(Debug, Default)]
pub struct Accounts {
    jobs: HashMap<String, Account>,
    /// Accounts that are open.
    open: usize,
    /// Deliveries and dead letters that belong to no job of ours.
    strangers: u64,
}

#[derive(Debug, Default)]
struct Account {
    /// The queue did not acknowledge the job.
    refused: bool,
    delivered: u64,
    /// The Message-ID of the first delivery.
    message_id: String,
    /// A later delivery had another Message-ID.
    renamed: bool,
    /// The causes of its dead letters.
    dead_letters: Vec<Cause>,
}

impl Account {
    fn is_settled(&self) -> bool {
        self.delivered > 0 || !self.dead_letters.is_empty()
    }

    /// Produced and not settled yet. A job that the queue refused and that is seen all the same was produced.
    fn is_open(&self) -> bool {
        !self.refused && !self.is_settled()
    }
}

impl Accounts {
    /// A job for this recipient goes to the queue now.
    pub fn produced(&mut self, recipient: &str) {
        if self.jobs.insert(recipient.to_owned(), Account::default()).is_none_or(|account| !account.is_open())
        {
            self.open += 1;
        }
    }

    /// The queue did not acknowledge the job of this recipient.
    pub fn refused(&mut self, recipient: &str) {
        self.enter(recipient, |account| account.refused = true);
    }

    /// The mail server took an e-mail for this recipient.
    pub fn delivered(&mut self, recipient: &str, message_id: &str) {
        self.enter(recipient, |account| {
            if account.delivered == 0 {
                account.message_id = message_id.to_owned();
            }
            account.renamed |= account.message_id != message_id;
            account.delivered += 1;
        });
    }

    /// The dead letter queue holds a letter for this recipient; none: for nobody that can be told.
    pub fn dead_lettered(&mut self, recipient: Option<&str>, cause: Cause) {
        match recipient {
            Some(recipient) => self.enter(recipient, |account| account.dead_letters.push(cause)),
            None => self.strangers += 1,
        }
    }

    fn enter(&mut self, recipient: &str, note: impl FnOnce(&mut Account)) {
        let Some(account) = self.jobs.get_mut(recipient) else {
            self.strangers += 1;
            return;
        };
        let was_open = account.is_open();
        note(account);
        if was_open && !account.is_open() {
            self.open -= 1;
        }
    }

    /// How many jobs were produced and are neither delivered nor dead-lettered yet.
    pub fn open(&self) -> usize {
        self.open
    }

    /// The sums of all accounts.
    pub fn verdict(&self) -> Verdict {
        let count = |test: fn(&Account) -> bool| self.jobs.values().filter(|account| test(account)).count();
        let first_cause =
            |cause| self.jobs.values().filter(|a| a.dead_letters.first() == Some(&cause)).count();
        Verdict {
            produced: count(|a| !a.refused || a.is_settled()),
            delivered: count(|a| a.delivered > 0),
            dead_lettered: count(|a| !a.dead_letters.is_empty()),
            by_cause: Cause::ALL
                .map(|cause| (cause, first_cause(cause)))
                .into_iter()
                .filter(|(_, n)| *n > 0)
                .collect(),
            delivered_twice: count(|a| a.delivered > 1),
            renamed: count(|a| a.renamed),
            both: count(|a| a.delivered > 0 && !a.dead_letters.is_empty()),
            missing: self.open,
            strangers: self.strangers,
        }
    }
}

/// What the demo ends with. Every number but the last counts jobs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Verdict {
    pub produced: usize,
    pub delivered: usize,
    pub dead_lettered: usize,
    /// Of each job's first letter, in the contract's order; causes without a job are left out.
    pub by_cause: Vec<(Cause, usize)>,
    pub delivered_twice: usize,
    /// Delivered twice, under two Message-IDs: no receiver could tell that it is the same e-mail.
    pub renamed: usize,
    /// Delivered and dead-lettered.
    pub both: usize,
    /// Neither delivered nor dead-lettered.
    pub missing: usize,
    /// E-mails and letters that belong to no job.
    pub strangers: u64,
}

impl Verdict {
    /// Whether every job was delivered or dead-lettered, and nothing came that was no job.
    pub fn is_good(&self) -> bool {
        self.missing == 0 && self.strangers == 0
    }

    /// 0 when every job is accounted for, else 1.
    pub fn exit_code(&self) -> u8 {
        u8::from(!self.is_good())
    }
}

impl fmt::Display for Verdict {
    /// The table, one number a line, and a last line in words without a newline at its end.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let by_cause = self.by_cause.iter().map(|(cause, jobs)| (format!("  {cause}"), *jobs as u64));
        let rows = [
            ("jobs produced".to_owned(), self.produced as u64),
            ("delivered".to_owned(), self.delivered as u64),
            ("dead-lettered".to_owned(), self.dead_lettered as u64),
        ];
        let rest = [
            ("delivered twice".to_owned(), self.delivered_twice as u64),
            ("  under another Message-ID".to_owned(), self.renamed as u64),
            ("delivered and dead-lettered".to_owned(), self.both as u64),
            ("missing".to_owned(), self.missing as u64),
            ("e-mails and letters of no job".to_owned(), self.strangers),
        ];
        for (name, count) in rows.into_iter().chain(by_cause).chain(rest) {
            writeln!(f, "{name:<32}{count:>9}")?;
        }
        f.write_str(if self.is_good() {
            "every job is accounted for"
        } else {
            "NOT every job is accounted for"
        })
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn with(recipients: &[&str]) -> Accounts {
        let mut accounts = Accounts::default();
        for recipient in recipients {
            accounts.produced(recipient);
        }
        accounts
    }

    #[test]
    fn the_table_accounts_for_every_job() {
        let mut accounts = with(&["a", "b", "c", "d", "e"]);
        accounts.delivered("a", "<1>");
        accounts.dead_lettered(Some("b"), Cause::Throttled);
        accounts.dead_lettered(Some("b"), Cause::Throttled);
        accounts.delivered("c", "<3>");
        accounts.delivered("c", "<3>");
        accounts.delivered("d", "<4>");
        accounts.delivered("d", "<other>");
        accounts.dead_lettered(Some("d"), Cause::InvalidRecipient);
        let verdict = accounts.verdict();
        assert_eq!(
            verdict,
            Verdict {
                produced: 5,
                delivered: 3,
                dead_lettered: 2,
                by_cause: vec![(Cause::InvalidRecipient, 1), (Cause::Throttled, 1)],
                delivered_twice: 2,
                renamed: 1,
                both: 1,
                missing: 1,
                strangers: 0,
            }
        );
        assert_eq!(verdict.exit_code(), 1);
        let table = verdict.to_string();
        assert!(table.contains("\n  throttled                             1\n"), "{table}");
        assert!(table.contains("\nmissing                                 1\n"), "{table}");
        assert!(table.ends_with("\nNOT every job is accounted for"), "{table}");
        accounts.delivered("e", "<5>");
        assert_eq!(accounts.verdict().exit_code(), 0);
        assert!(accounts.verdict().to_string().ends_with("\nevery job is accounted for"));
    }

    #[test]
    fn a_job_that_the_queue_refused_is_not_missing_and_counts_once_it_is_seen() {
        let mut accounts = with(&["a"]);
        accounts.refused("a");
        assert_eq!((accounts.verdict().produced, accounts.verdict().exit_code()), (0, 0));
        accounts.delivered("a", "<1>");
        assert_eq!((accounts.verdict().produced, accounts.verdict().delivered), (1, 1));
    }

    #[test]
    fn what_belongs_to_no_job_is_no_good_end() {
        let entries: [fn(&mut Accounts); 3] = [
            |accounts| accounts.delivered("b", "<2>"),
            |accounts| accounts.dead_lettered(Some("b"), Cause::Quota),
            |accounts| accounts.dead_lettered(None, Cause::Unknown),
        ];
        for entry in entries {
            let mut accounts = with(&["a"]);
            accounts.delivered("a", "<1>");
            entry(&mut accounts);
            assert_eq!((accounts.verdict().strangers, accounts.verdict().exit_code()), (1, 1));
        }
    }

    proptest! {
        #[test]
        fn the_open_ones_are_those_that_nothing_has_been_seen_of(
            entries in proptest::collection::vec((0usize..4, 0usize..6), 0..60)
        ) {
            let names = ["a", "b", "c", "d", "e", "f"];
            let mut accounts = with(&names);
            let mut seen = [false; 6];
            for (entry, job) in entries {
                seen[job] = true;
                match entry {
                    0 => accounts.delivered(names[job], "<1>"),
                    1 => accounts.delivered(names[job], "<2>"),
                    2 => accounts.dead_lettered(Some(names[job]), Cause::Quota),
                    _ => accounts.refused(names[job]),
                }
            }
            let unseen = seen.iter().filter(|seen| !**seen).count();
            prop_assert_eq!(accounts.open(), unseen);
            let verdict = accounts.verdict();
            prop_assert_eq!(verdict.missing, unseen);
            prop_assert_eq!(verdict.produced, verdict.delivered + verdict.dead_lettered - verdict.both + unseen);
        }
    }
}
