//! One job's claim on being settled, and the office that every claim goes back to.
//!
//! A job has exactly one [`Ticket`]. Settling consumes it; dropped unsettled (whoever held it died) it comes
//! back by the office's own channel, not by a mailbox, with all that is known of the job.

use std::sync::Arc;

use parking_lot::Mutex;
use tokio::sync::Notify;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use crate::credits::Credits;
use crate::domain::failure::Failure;
use crate::domain::history::{AttemptEnd, History, Timing};
use crate::domain::job::Record;
use crate::domain::ledger::{
    Accounts, CommitAnswer, Freed, Frontier, Hold, HoldAnswer, JobId, Ledger, Settlement, Tenure,
};
use crate::ports::{AssignedPartition, CommitOffset, OffsetLog};

/// All that is known of one taken job.
#[derive(Debug)]
pub struct Claim {
    pub job: JobId,
    pub record: Arc<Record>,
    pub history: History,
    /// Not to be attempted before.
    pub not_before: Option<Instant>,
    /// A handler or an attempt has it in hand: should it be dropped now, that is a strike.
    pub in_hand: bool,
    pub verdict: Option<Verdict>,
    /// Cancelled when the partition is revoked or the worker stops.
    cancelled: CancellationToken,
}

/// What is already certain about a job that is not settled yet; it outlives whoever found it out.
#[derive(Clone, Debug)]
pub enum Verdict {
    /// An attempt ended so; what follows is still to be decided.
    Ended(AttemptEnd, Timing),
    /// It is to become a dead letter.
    GivenUp(Failure),
    /// The brokers have acknowledged its dead letter.
    Acknowledged(Failure),
}

/// See the module's text. Dereferences to its [`Claim`].
#[derive(Debug)]
pub struct Ticket {
    claim: Option<Box<Claim>>,
    office: Arc<TicketOffice>,
}

impl Ticket {
    /// Says where the job is now. False: it is not ours any more; let go of the ticket.
    pub fn hold(&self, hold: Hold) -> bool {
        self.office.hold(self.job, hold)
    }

    /// Whether the job is still ours: not settled, taken back or lost.
    pub fn is_current(&self) -> bool {
        self.office.held(self.job).is_some()
    }

    /// Whether its final dot may have been sent, as far as the ledger still knows the job.
    pub fn is_past_the_dot(&self) -> bool {
        self.office.held(self.job) == Some(Hold::PastTheDot)
    }

    /// Resolves when the partition is revoked or the worker stops.
    pub fn cancellation(&self) -> CancellationToken {
        self.cancelled.clone()
    }

    /// The promise is kept: the relay took the e-mail, or the brokers its dead letter. Called by the mailer
    /// and by DeadLetters, nobody else. False when the job was not ours any more.
    pub fn settle(mut self, settlement: Settlement) -> bool {
        let claim = self.claim.take().expect("a ticket has its claim until it is settled or dropped");
        self.office.settle(claim.job, settlement)
    }
}

impl std::ops::Deref for Ticket {
    type Target = Claim;

    fn deref(&self) -> &Claim {
        self.claim.as_ref().expect("a ticket has its claim until it is settled or dropped")
    }
}

impl std::ops::DerefMut for Ticket {
    fn deref_mut(&mut self) -> &mut Claim {
        self.claim.as_mut().expect("a ticket has its claim until it is settled or dropped")
    }
}

impl Drop for Ticket {
    fn drop(&mut self) {
        if let Some(claim) = self.claim.take() {
            self.office.take_in(claim);
        }
    }
}

/// The ledger with its lock, the credits, and the channel that dropped tickets return on. It outlives every
/// actor; each generation is handed the same one.
pub struct TicketOffice {
    ledger: Mutex<Ledger>,
    credits: Arc<Credits>,
    /// A token a partition: cancelled when the partition goes.
    tokens: Mutex<std::collections::BTreeMap<i32, CancellationToken>>,
    offset_log: Arc<dyn OffsetLog>,
    returned: async_channel::Sender<Box<Claim>>,
    returns: async_channel::Receiver<Box<Claim>>,
    /// Told whenever a job of a partition that is being revoked may have been the last.
    quiet: Notify,
}

impl std::fmt::Debug for TicketOffice {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("TicketOffice").finish_non_exhaustive()
    }
}

impl TicketOffice {
    pub fn new(credits: Arc<Credits>, offset_log: Arc<dyn OffsetLog>) -> Arc<TicketOffice> {
        // Never more returns than tickets, and never more tickets than credits.
        let (returned, returns) = async_channel::unbounded();
        Arc::new(TicketOffice {
            ledger: Mutex::default(),
            credits,
            tokens: Mutex::default(),
            offset_log,
            returned,
            returns,
            quiet: Notify::new(),
        })
    }

    /// These partitions are ours from now on.
    pub fn assign(&self, partitions: &[AssignedPartition]) {
        for assigned in partitions {
            let freed = {
                let mut ledger = self.ledger.lock();
                let freed = ledger.forget(assigned.partition);
                ledger.assign(assigned.partition, assigned.committed);
                freed
            };
            self.credits.clear(assigned.partition, i64::MAX);
            self.release(&freed);
            if let Some(old) = self.tokens.lock().insert(assigned.partition, CancellationToken::new()) {
                old.cancel();
            }
        }
        self.quiet.notify_waiters();
    }

    /// Takes these records; returns the tickets of those whose partition is ours.
    pub fn take(self: &Arc<Self>, records: Vec<Record>) -> Vec<Ticket> {
        let mut tickets = Vec::with_capacity(records.len());
        let mut refused = Freed::default();
        {
            let mut ledger = self.ledger.lock();
            let tokens = self.tokens.lock();
            for record in records {
                let bytes = record.size();
                let taken = ledger.take(record.partition, record.offset, record.timestamp_ms, bytes);
                let (Some(job), Some(token)) = (taken, tokens.get(&record.partition)) else {
                    refused.bytes_of_each.push(bytes);
                    continue;
                };
                let claim = Claim {
                    job,
                    record: Arc::new(record),
                    history: History::default(),
                    not_before: None,
                    in_hand: false,
                    verdict: None,
                    cancelled: token.clone(),
                };
                tickets.push(Ticket { claim: Some(Box::new(claim)), office: Arc::clone(self) });
            }
        }
        self.release(&refused);
        tickets
    }

    /// See [`Ledger::seen_up_to`].
    pub fn seen_up_to(&self, partition: i32, next: i64) {
        self.ledger.lock().seen_up_to(partition, next);
    }

    /// See [`Ledger::set_watermarks`].
    pub fn set_watermarks(&self, partition: i32, low: i64, high: i64) {
        self.ledger.lock().set_watermarks(partition, low, high);
    }

    /// Begins to give up these partitions: takes back what is before the dot, and tells whoever has it.
    /// Returns what is to be waited for and let go of.
    pub fn revoke(&self, partitions: &[i32]) -> Vec<Tenure> {
        let (revoked, freed) = self.ledger.lock().revoke(partitions);
        self.release(&freed);
        let tokens = self.tokens.lock();
        for token in partitions.iter().filter_map(|partition| tokens.get(partition)) {
            token.cancel();
        }
        revoked
    }

    /// Resolves when nothing of these is past the dot or being dead-lettered.
    pub async fn wait_until_quiet(&self, tenures: &[Tenure]) {
        loop {
            let notified = self.quiet.notified();
            tokio::pin!(notified);
            notified.as_mut().enable();
            if !self.ledger.lock().is_busy(tenures) {
                return;
            }
            notified.await;
        }
    }

    /// Whether none of these lasts any more.
    pub fn is_over(&self, tenures: &[Tenure]) -> bool {
        self.ledger.lock().is_over(tenures)
    }

    /// Lets go of these, as far as they are not over; returns what of them is still to be committed.
    pub fn let_go(&self, tenures: &[Tenure]) -> Vec<CommitOffset> {
        let (last, freed) = self.ledger.lock().let_go(tenures);
        self.release(&freed);
        self.quiet.notify_waiters();
        last.into_iter().map(to_commit).collect()
    }

    /// These partitions are gone already; whoever has a job of them is told.
    pub fn lose(&self, partitions: &[i32]) {
        for partition in partitions {
            let freed = self.ledger.lock().forget(*partition);
            self.release(&freed);
            if let Some(token) = self.tokens.lock().remove(partition) {
                token.cancel();
            }
        }
        self.quiet.notify_waiters();
    }

    /// Asks for the commit of what moved, unless one is unanswered.
    pub fn commit(&self) {
        let due = self.ledger.lock().begin_commit();
        if !due.is_empty() {
            let unsent = Unsent(self);
            self.offset_log.commit(due.into_iter().map(to_commit).collect());
            std::mem::forget(unsent);
        }
    }

    /// See [`Ledger::commit_answered`].
    pub fn commit_answered(&self, answer: CommitAnswer) {
        self.ledger.lock().commit_answered(answer);
    }

    pub fn partitions(&self) -> Vec<i32> {
        self.ledger.lock().partitions()
    }

    /// The books and the gauges of this moment, all at once.
    pub fn snapshot(&self) -> Snapshot {
        let ledger = self.ledger.lock();
        Snapshot {
            accounts: ledger.accounts(),
            lags: ledger.lags(),
            backlog: ledger.backlog(),
            oldest_unfinished_ms: ledger.oldest_unfinished_ms(),
            intake_is_full: self.credits.is_full(),
        }
    }

    /// The tickets that were dropped unsettled, for the consumer's generation that asks.
    pub fn returns(&self) -> async_channel::Receiver<Box<Claim>> {
        self.returns.clone()
    }

    /// Makes a ticket of a returned claim again.
    pub fn reissue(self: &Arc<Self>, claim: Box<Claim>) -> Ticket {
        Ticket { claim: Some(claim), office: Arc::clone(self) }
    }

    fn hold(&self, job: JobId, hold: Hold) -> bool {
        let answer = self.ledger.lock().hold(job, hold);
        if let HoldAnswer::TakenBack(bytes) = answer {
            self.release(&Freed { bytes_of_each: vec![bytes] });
            self.quiet.notify_waiters();
        }
        answer == HoldAnswer::Held
    }

    fn held(&self, job: JobId) -> Option<Hold> {
        self.ledger.lock().held(job)
    }

    fn settle(&self, job: JobId, settlement: Settlement) -> bool {
        let Some(bytes) = self.ledger.lock().settle(job, settlement) else { return false };
        if self.credits.release(bytes) {
            self.offset_log.read_on();
        }
        self.quiet.notify_waiters();
        true
    }

    /// A dropped ticket comes back: to be dispatched again when it is still ours.
    fn take_in(&self, claim: Box<Claim>) {
        if self.held(claim.job).is_some() {
            // The office holds a receiver itself, so the channel is never closed.
            let _ = self.returned.try_send(claim);
        }
    }

    fn release(&self, freed: &Freed) {
        let mut wanted = false;
        for bytes in &freed.bytes_of_each {
            wanted |= self.credits.release(*bytes);
        }
        if wanted {
            self.offset_log.read_on();
        }
    }
}

/// A commit that a panic kept from being sent is not outstanding: it stays to be done.
struct Unsent<'a>(&'a TicketOffice);

impl Drop for Unsent<'_> {
    fn drop(&mut self) {
        self.0.commit_answered(CommitAnswer::Refused);
    }
}

/// What the metrics show of the office.
#[derive(Clone, Debug)]
pub struct Snapshot {
    pub accounts: Accounts,
    pub lags: Vec<(i32, i64)>,
    pub backlog: i64,
    pub oldest_unfinished_ms: Option<i64>,
    pub intake_is_full: bool,
}

fn to_commit(frontier: Frontier) -> CommitOffset {
    CommitOffset { partition: frontier.partition, offset: frontier.offset, metadata: String::new() }
}
