//! One job's claim on being settled.
//!
//! A job has exactly one [`Ticket`]. Settling consumes it; dropped unsettled (whoever held it died) it comes
//! back by the office's own channel, not by a mailbox, with all that is known of the job.

use std::sync::Arc;

use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use crate::deadline::Deadline;
use crate::domain::expiry;
use crate::domain::failure::Failure;
use crate::domain::history::{AttemptEnd, History, Timing};
use crate::domain::job::{RecipientSet, Record};
use crate::domain::ledger::{Hold, JobId, Settlement};
use crate::domain::metadata::Past;
use crate::office::TicketOffice;

/// All that is known of one taken job.
#[derive(Debug)]
pub struct Claim {
    pub job: JobId,
    pub record: Arc<Record>,
    pub history: History,
    /// Not to be attempted before.
    pub not_before: Option<Instant>,
    /// No attempt begins from then on.
    pub deadline: Option<Deadline>,
    /// When its last attempt or probe ended.
    pub last_tried: Option<Instant>,
    /// It is tried to see whether the relay is back: a failure of the relay spends no attempt.
    pub is_probe: bool,
    /// A handler or an attempt has it in hand: should it be dropped now, that is a strike.
    pub in_hand: bool,
    pub verdict: Option<Verdict>,
    /// Cancelled when the partition is revoked or the worker stops.
    pub(crate) cancelled: CancellationToken,
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
    /// To be made by the office, once for each job that it takes, and once for each claim that came back.
    pub(crate) fn new(claim: Box<Claim>, office: Arc<TicketOffice>) -> Ticket {
        Ticket { claim: Some(claim), office }
    }

    /// Says where the job is now. False: it is not ours any more; let go of the ticket.
    pub fn hold(&self, hold: Hold) -> bool {
        self.office.hold(self.job, hold)
    }

    /// Whether it may be attempted by now, as far as its own wait goes.
    pub fn is_due(&self) -> bool {
        self.not_before.is_none_or(|due| due <= Instant::now())
    }

    /// The failure of a job whose time has passed; none while an attempt may begin.
    pub fn expired(&self) -> Option<Failure> {
        let deadline = self.deadline.filter(|deadline| deadline.has_passed())?;
        Some(expiry::past(deadline.set_by, self.history.last_failure.as_ref()))
    }

    /// Whether the job is still ours: not settled, taken back or lost.
    pub fn is_current(&self) -> bool {
        self.office.held(self.job).is_some()
    }

    /// Whether its final dot may have been sent, as far as the ledger still knows the job.
    pub fn is_past_the_dot(&self) -> bool {
        self.office.held(self.job) == Some(Hold::PastTheDot)
    }

    /// The next commits say what has happened to it, so that a restart knows.
    pub fn remember(&self) {
        self.remember_served(self.history.served);
    }

    /// As [`Ticket::remember`], where by now these recipients have it.
    pub fn remember_served(&self, served: RecipientSet) {
        let past = Past { attempts: self.history.attempts_spent, served };
        self.office.remember(self.job, past);
    }

    /// Whether it may be attempted now. Where not, the commit that it takes is under way.
    pub fn may_be_attempted(&self) -> bool {
        self.office.may_attempt(self.job)
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
