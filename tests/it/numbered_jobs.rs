//! Jobs with a number, one recipient each, and the account of what became of them.

use std::collections::{BTreeMap, BTreeSet};
use std::io::Write;
use std::time::Duration;

use crate::harness::{Answer, Queue, RecordingSmtp, Settings, Step, TestWorker};

/// Short enough for tests to wait for its end, long enough for a busy machine.
pub const SESSION: Duration = Duration::from_secs(4);

/// Jobs `from..to`.
pub fn jobs(numbers: std::ops::Range<usize>) -> impl Iterator<Item = String> {
    numbers.map(|n| job_for(&address(n)))
}

pub fn job_for(recipient: &str) -> String {
    format!(r#"{{"to": "{recipient}", "text": "Hello, this is for you alone."}}"#)
}

pub fn address(n: usize) -> String {
    format!("user{n:05}@example.com")
}

/// A worker's settings with a short session, so that what a killed one leaves behind is soon another's.
pub fn settings(queue: &Queue<'_>, relay: &RecordingSmtp) -> Settings {
    Settings::new(queue, relay.port()).session(SESSION)
}

/// A relay that takes its time for each e-mail, so that the middle of many lasts long enough to be met.
pub fn unhurried_relay(wait: Duration) -> RecordingSmtp {
    RecordingSmtp::with(move |step| match step {
        Step::Dot(_) => Answer::AcceptAfter(wait),
        _ => Answer::Accept,
    })
}

/// Who got how many copies, and who is named in dead letters.
pub struct Account {
    copies: BTreeMap<String, usize>,
    dead: BTreeSet<String>,
}

impl Account {
    pub fn of(relay: &RecordingSmtp, queue: &Queue<'_>) -> Account {
        let mut dead = BTreeSet::new();
        for letter in queue.dead_letters() {
            let recipients = letter.value["recipients"].as_array().expect("an array").clone();
            dead.extend(recipients.iter().map(|to| to.as_str().expect("an address").to_owned()));
        }
        Account { copies: relay.copies(), dead }
    }

    /// O1 and O2: each recipient was served or is named in a dead letter, and not both.
    pub fn nobody_is_lost(&self, recipients: impl IntoIterator<Item = String>) {
        for recipient in recipients {
            let served = self.copies.contains_key(&recipient);
            let dead = self.dead.contains(&recipient);
            assert!(served || dead, "{recipient} is lost");
            assert!(!(served && dead), "{recipient} was served, and is in the dead letters");
        }
    }

    pub fn dead(&self) -> Vec<&str> {
        self.dead.iter().map(String::as_str).collect()
    }

    /// O3: copies − 1, summed.
    pub fn repeats(&self) -> usize {
        self.copies.values().map(|copies| copies - 1).sum()
    }

    pub fn repeated(&self) -> Vec<&str> {
        let repeated = self.copies.iter().filter(|(_, copies)| **copies > 1);
        repeated.map(|(recipient, _)| recipient.as_str()).collect()
    }

    pub fn is_exact(&self, recipients: impl IntoIterator<Item = String>) {
        self.nobody_is_lost(recipients);
        assert_eq!(self.repeated(), Vec::<&str>::new(), "these were sent more than once");
    }
}

/// How many e-mails a worker did not take again, since an earlier one had finished them.
pub fn skipped(worker: &TestWorker) -> usize {
    worker.metrics().sum("mailroom_resends_skipped_total") as usize
}

/// A figure for the log of the run. The test harness does not keep it back.
pub fn report(text: std::fmt::Arguments<'_>) {
    writeln!(std::io::stderr(), "measured: {text}").expect("stderr is open");
}
