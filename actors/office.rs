//! The office that every ticket comes from and goes back to: the ledger with its lock, the credits, the intake.
//!
//! It outlives every actor; each generation is handed the same one.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use tokio::sync::Notify;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use crate::credits::{Credits, Intake};
use crate::deadline::Deadline;
use crate::domain::failure::Failure;
use crate::domain::history::History;
use crate::domain::job::Record;
use crate::domain::ledger::{
    Accounts, CommitAnswer, Freed, Frontier, Hold, HoldAnswer, JobId, Ledger, Settlement, Tenure,
};
use crate::domain::metadata::Past;
use crate::domain::partition::{Found, Taken};
use crate::domain::retry::RetryPolicy;
use crate::domain::topic_partition::{Topic, TopicPartition};
use crate::pause::Pause;
use crate::ports::{AssignedPartition, CommitOffset, OffsetLog};
use crate::ticket::{Claim, Ticket, Verdict};

/// See the module's text.
pub struct TicketOffice {
    ledger: Mutex<Ledger>,
    credits: Arc<Credits>,
    assignments: Mutex<BTreeMap<TopicPartition, Assignment>>,
    /// How long a restored job waits, and how many attempts it may have spent.
    policy: RetryPolicy,
    offset_log: Arc<dyn OffsetLog>,
    intake: Mutex<Hindrances>,
    /// Since when there has been a backlog without a break.
    backlog_since: Mutex<Option<Instant>>,
    returned: async_channel::Sender<Box<Claim>>,
    returns: async_channel::Receiver<Box<Claim>>,
    /// Told whenever a job of a partition that is being revoked may have been the last.
    quiet: Notify,
}

/// What keeps the worker from taking jobs, beside the limits.
#[derive(Debug, Default)]
struct Hindrances {
    paused: Option<Pause>,
    relay_is_away: bool,
    /// When the first commit was asked for that no answer has said to be taken.
    uncommitted_since: Option<Instant>,
    /// The last commit was refused: the next one waits for its time, however urgent.
    refused: bool,
}

/// A commit that is not taken for so long stops the intake: whatever is sent from then on would be sent again,
/// should the partitions be lost.
const COMMIT_PATIENCE: Duration = Duration::from_secs(5);

impl Hindrances {
    fn commits_hang_for(&self) -> Option<Duration> {
        self.uncommitted_since.map(|since| since.elapsed()).filter(|waited| *waited >= COMMIT_PATIENCE)
    }

    /// Nothing is taken for a probe either while intake is paused by hand.
    fn intake(&self) -> Intake {
        match (self.paused().is_some() || self.commits_hang_for().is_some(), self.relay_is_away) {
            (true, _) => Intake::Shut,
            (false, true) => Intake::OneInHand,
            (false, false) => Intake::Open,
        }
    }

    fn paused(&self) -> Option<&Pause> {
        self.paused.as_ref().filter(|pause| !pause.is_over())
    }
}

/// What the tickets of one partition have in common.
struct Assignment {
    /// Cancelled when the partition goes.
    token: CancellationToken,
    since: Instant,
}

impl std::fmt::Debug for TicketOffice {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("TicketOffice").finish_non_exhaustive()
    }
}

impl TicketOffice {
    /// `crash_limit` is `limits.crashes`.
    pub fn new(
        credits: Arc<Credits>,
        offset_log: Arc<dyn OffsetLog>,
        policy: RetryPolicy,
        crash_limit: u32,
    ) -> Arc<TicketOffice> {
        // Never more returns than tickets, and never more tickets than credits.
        let (returned, returns) = async_channel::unbounded();
        Arc::new(TicketOffice {
            ledger: Mutex::new(Ledger::new(crash_limit)),
            credits,
            assignments: Mutex::default(),
            policy,
            offset_log,
            intake: Mutex::default(),
            backlog_since: Mutex::default(),
            returned,
            returns,
            quiet: Notify::new(),
        })
    }

    /// These partitions are ours from now on. Their records may be taken once a commit has said so.
    pub fn assign(&self, partitions: &[AssignedPartition]) {
        for assigned in partitions {
            self.credits.close(assigned.partition);
            let found = Found {
                committed: assigned.committed,
                metadata: &assigned.metadata,
                low: assigned.low,
                high: assigned.high,
            };
            let freed = {
                let mut ledger = self.ledger.lock();
                let freed = ledger.forget(assigned.partition);
                ledger.assign(assigned.partition, found);
                freed
            };
            self.release(&freed);
            let assignment = Assignment { token: CancellationToken::new(), since: Instant::now() };
            if let Some(old) = self.assignments.lock().insert(assigned.partition, assignment) {
                old.token.cancel();
            }
        }
        self.quiet.notify_waiters();
        self.commit();
    }

    /// Takes these records of that topic, each with its deadline; returns the tickets of those that are jobs of ours to be done.
    pub fn take(self: &Arc<Self>, topic: Topic, records: Vec<(Record, Option<Deadline>)>) -> Vec<Ticket> {
        let mut tickets = Vec::with_capacity(records.len());
        let mut refused = Freed::default();
        {
            let mut ledger = self.ledger.lock();
            let assignments = self.assignments.lock();
            for (record, deadline) in records {
                let bytes = record.size();
                let partition = TopicPartition { topic, number: record.partition };
                let (taken, job) = ledger.take(partition, record.offset, record.timestamp_ms, bytes);
                let (Taken::Job { past, ended_the_process }, Some(assignment)) =
                    (taken, assignments.get(&partition))
                else {
                    refused.bytes_of_each.push(bytes);
                    continue;
                };
                let spent = past.attempts + u32::from(ended_the_process);
                let history = History::restored(spent, past.served, self.policy.max_attempts);
                let wait = self.policy.wait_before(history.attempts_spent + 1, 0.0);
                let not_before = (history.attempts_spent > 0).then(|| assignment.since + wait);
                let given_up = if ended_the_process {
                    Some(Failure::crashed("handling the job ended the process"))
                } else {
                    deadline.and_then(|deadline| deadline.given_up(not_before))
                };
                let claim = Claim {
                    job,
                    record: Arc::new(record),
                    not_before,
                    deadline,
                    history,
                    last_tried: None,
                    is_probe: false,
                    in_hand: false,
                    verdict: given_up.map(Verdict::GivenUp),
                    cancelled: assignment.token.clone(),
                };
                tickets.push(Ticket::new(Box::new(claim), Arc::clone(self)));
            }
        }
        self.release(&refused);
        self.commit_if_urgent();
        tickets
    }

    /// See [`Ledger::seen_up_to`].
    pub fn seen_up_to(&self, partition: TopicPartition, next: i64) {
        self.ledger.lock().seen_up_to(partition, next);
    }

    /// See [`Ledger::set_watermarks`].
    pub fn set_watermarks(&self, partition: TopicPartition, low: i64, high: i64) {
        let backlog = {
            let mut ledger = self.ledger.lock();
            ledger.set_watermarks(partition, low, high);
            ledger.backlog()
        };
        self.backlog_lasts_for(backlog);
    }

    /// Begins to give up these partitions: takes back what is before the dot, and tells whoever has it.
    /// Returns what is to be waited for and let go of.
    pub fn revoke(&self, partitions: &[TopicPartition]) -> Vec<Tenure> {
        let (revoked, freed) = self.ledger.lock().revoke(partitions);
        self.revoked(&revoked, &freed);
        revoked
    }

    /// Begins to give up all there is; whatever ends the process from now on, it was no job.
    pub fn stop(&self) -> Vec<Tenure> {
        let (revoked, freed) = self.ledger.lock().stop();
        self.revoked(&revoked, &freed);
        self.commit();
        revoked
    }

    fn revoked(&self, revoked: &[Tenure], freed: &Freed) {
        self.release(freed);
        let assignments = self.assignments.lock();
        for tenure in revoked {
            self.credits.close(tenure.partition);
            if let Some(assignment) = assignments.get(&tenure.partition) {
                assignment.token.cancel();
            }
        }
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
    pub fn lose(&self, partitions: &[TopicPartition]) {
        for partition in partitions {
            let freed = self.ledger.lock().forget(*partition);
            self.credits.close(*partition);
            self.release(&freed);
            if let Some(assignment) = self.assignments.lock().remove(partition) {
                assignment.token.cancel();
            }
        }
        self.quiet.notify_waiters();
    }

    /// Asks for the commit of what moved, unless one is unanswered. To be called every `kafka.commit_interval`.
    pub fn commit(&self) {
        let (due, is_committing) = {
            let mut ledger = self.ledger.lock();
            (ledger.begin_commit(), ledger.is_committing())
        };
        {
            let mut intake = self.intake.lock();
            intake.refused = false;
            // Where nothing is, what could not be committed before is no longer ours to commit.
            let since = intake.uncommitted_since;
            intake.uncommitted_since = is_committing.then(|| since.unwrap_or_else(Instant::now));
        }
        if !due.is_empty() {
            let unsent = Unsent(self);
            self.offset_log.commit(due.into_iter().map(to_commit).collect());
            std::mem::forget(unsent);
        }
    }

    /// As [`TicketOffice::commit`], without waiting for its time, unless the last one was refused.
    pub fn commit_soon(&self) {
        if !self.intake.lock().refused {
            self.commit();
        }
    }

    /// Asks for a commit without waiting for its time, where something can't go on without it.
    pub fn commit_if_urgent(&self) {
        let is_urgent = self.ledger.lock().commit_is_urgent();
        if is_urgent {
            self.commit_soon();
        }
    }

    /// See [`Ledger::commit_answered`].
    pub fn commit_answered(&self, answer: CommitAnswer) {
        let cleared = self.ledger.lock().commit_answered(answer);
        for (partition, to) in &cleared {
            self.credits.clear(*partition, *to);
        }
        if !cleared.is_empty() {
            self.offset_log.read_on();
        }
        self.intake.lock().refused = matches!(answer, CommitAnswer::Refused | CommitAnswer::TooLarge);
        if matches!(answer, CommitAnswer::Taken | CommitAnswer::NotOurs) {
            self.intake.lock().uncommitted_since = None;
            self.look_at_the_intake();
        }
        if answer == CommitAnswer::Taken {
            self.commit_if_urgent();
        }
    }

    /// While the relay is away one job is taken when none is in hand, to try it with.
    pub fn take_one_at_a_time(&self, only_one: bool) {
        self.intake.lock().relay_is_away = only_one;
        self.look_at_the_intake();
    }

    /// Takes no more jobs from now on, until the pause is over or [`TicketOffice::resume`] is called. It takes the
    /// place of an earlier pause.
    pub fn pause(&self, pause: Pause) {
        self.intake.lock().paused = Some(pause);
        self.look_at_the_intake();
    }

    /// Ends the pause; returns the one that there was.
    pub fn resume(&self) -> Option<Pause> {
        let ended = self.intake.lock().paused.take().filter(|pause| !pause.is_over());
        self.look_at_the_intake();
        ended
    }

    /// The pause by hand, as far as there is one.
    pub fn paused(&self) -> Option<Pause> {
        self.intake.lock().paused().cloned()
    }

    /// The pause whose time is up, once. To be called every now and then.
    pub fn take_ended_pause(&self) -> Option<Pause> {
        self.intake.lock().paused.take_if(|pause| pause.is_over())
    }

    /// Stops the intake while commits are not taken, opens it when a pause is over. To be called every now and then.
    pub fn look_at_the_intake(&self) {
        let intake = self.intake.lock().intake();
        if self.credits.set_intake(intake) {
            self.offset_log.read_on();
        }
    }

    /// How long no commit has been taken, where that has stopped the intake.
    pub fn commits_hang_for(&self) -> Option<Duration> {
        self.intake.lock().commits_hang_for()
    }

    /// Whether the worker is to make one attempt at a time in all.
    pub fn is_guarded(&self) -> bool {
        self.ledger.lock().is_guarded()
    }

    pub fn partitions(&self) -> Vec<TopicPartition> {
        self.ledger.lock().partitions()
    }

    /// Whether intake has to wait for `limits.in_flight` or `limits.in_flight_bytes`.
    pub fn is_full(&self) -> bool {
        self.credits.is_full()
    }

    /// How long there has been a backlog, as far as was looked; none where there is none.
    fn backlog_lasts_for(&self, backlog: i64) -> Option<Duration> {
        let mut since = self.backlog_since.lock();
        *since = if backlog > 0 { since.or_else(|| Some(Instant::now())) } else { None };
        since.map(|since| since.elapsed())
    }

    /// The books and the gauges of this moment, all at once.
    pub fn snapshot(&self) -> Snapshot {
        let (is_paused, commits_hang) = {
            let intake = self.intake.lock();
            (intake.paused().is_some(), intake.commits_hang_for().is_some())
        };
        let ledger = self.ledger.lock();
        let (accounts, backlogs) = (ledger.accounts(), Topic::ALL.map(|topic| ledger.backlog_of(topic)));
        let waited = self.backlog_lasts_for(backlogs.iter().sum());
        Snapshot {
            lags: ledger.lags(),
            oldest_unfinished_ms: ledger.oldest_unfinished_ms(),
            backlog_lasts_for: waited.filter(|_| accounts.in_flight == 0),
            accounts,
            backlogs,
            is_paused,
            intake_is_limited: commits_hang || self.is_full(),
        }
    }

    /// The tickets that were dropped unsettled, for the consumer's generation that asks.
    pub fn returns(&self) -> async_channel::Receiver<Box<Claim>> {
        self.returns.clone()
    }

    /// Makes a ticket of a returned claim again.
    pub fn reissue(self: &Arc<Self>, claim: Box<Claim>) -> Ticket {
        Ticket::new(claim, Arc::clone(self))
    }

    /// See [`Ledger::remember`].
    pub(crate) fn remember(&self, job: JobId, past: Past) {
        self.ledger.lock().remember(job, past);
    }

    /// See [`Ledger::may_attempt`]. Where not, the commit that it takes is under way.
    pub(crate) fn may_attempt(&self, job: JobId) -> bool {
        let may = self.ledger.lock().may_attempt(job);
        if !may {
            self.commit_soon();
        }
        may
    }

    pub(crate) fn hold(&self, job: JobId, hold: Hold) -> bool {
        let answer = self.ledger.lock().hold(job, hold);
        if let HoldAnswer::TakenBack(bytes) = answer {
            self.release(&Freed { bytes_of_each: vec![bytes] });
            self.quiet.notify_waiters();
        }
        answer == HoldAnswer::Held
    }

    pub(crate) fn held(&self, job: JobId) -> Option<Hold> {
        self.ledger.lock().held(job)
    }

    pub(crate) fn settle(&self, job: JobId, settlement: Settlement) -> bool {
        let Some(bytes) = self.ledger.lock().settle(job, settlement) else { return false };
        if self.credits.release(bytes) {
            self.offset_log.read_on();
        }
        self.quiet.notify_waiters();
        true
    }

    /// A dropped ticket comes back: to be dispatched again when it is still ours.
    pub(crate) fn take_in(&self, claim: Box<Claim>) {
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
    pub lags: Vec<(TopicPartition, i64)>,
    /// Records that are not taken yet, by topic as in [`Topic::ALL`].
    pub backlogs: [i64; 2],
    pub oldest_unfinished_ms: Option<i64>,
    /// How long there has been a backlog while nothing is in hand.
    pub backlog_lasts_for: Option<Duration>,
    /// Intake is paused by hand.
    pub is_paused: bool,
    /// Intake waits for room under `limits.*`, or for a commit to be taken.
    pub intake_is_limited: bool,
}

fn to_commit(frontier: Frontier) -> CommitOffset {
    CommitOffset {
        partition: frontier.partition,
        offset: frontier.offset(),
        metadata: frontier.text().to_owned(),
    }
}
