//! Sends one e-mail at a time: asks for a job, attempts it, then settles it, tries again later, or gives up.

use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::time::Duration;

use actix::prelude::*;
use futures::FutureExt;
use tokio::time::Instant;

use crate::attempt::{Kept, Tools, attempt};
use crate::deadline::Deadline;
use crate::domain::expiry;
use crate::domain::history::Decision;
use crate::domain::ledger::{Hold, Settlement};
use crate::domain::pace::Circuit;
use crate::domain::retry::RetryPolicy;
use crate::guard::DeathGuard;
use crate::line::Line;
use crate::messages::{
    AreYouAlive, Ask, AskAgain, Attempted, Deliver, Event, HandOver, Publish, Purge, Retire, RetryDue,
};
use crate::ports::Jitter;
use crate::tags;
use crate::ticket::{Ticket, Verdict};

/// What each generation of each mailer is made of.
#[derive(Clone)]
pub struct MailerParts {
    pub tools: Tools,
    pub asks: Line<Ask>,
    pub retries: Line<RetryDue>,
    pub dead_letters: Line<Publish>,
    pub jitter: Arc<dyn Jitter>,
    pub policy: RetryPolicy,
    /// `limits.crashes`.
    pub crash_limit: u32,
}

pub struct Mailer {
    parts: MailerParts,
    guard: DeathGuard,
    /// Kept open between e-mails.
    connection: Option<Kept>,
    /// The one before, saying QUIT: another is opened only then, so that there are never more than mailers.
    closing: Option<actix_rt::task::JoinHandle<()>>,
    busy: bool,
    retiring: bool,
    /// The retries of its own e-mails, the earliest on top.
    waiting: BinaryHeap<Reverse<Waiting>>,
    /// The one delayed message to itself, and when it comes.
    timer: Option<(Instant, SpawnHandle)>,
}

/// Mailer → itself, delayed: the earliest retry is due.
#[derive(Message)]
#[rtype(result = "()")]
struct WakeUp;

struct Waiting {
    due: Instant,
    ticket: Ticket,
}

impl PartialEq for Waiting {
    fn eq(&self, other: &Self) -> bool {
        self.due == other.due
    }
}

impl Eq for Waiting {}

impl PartialOrd for Waiting {
    fn partial_cmp(&self, other: &Self) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for Waiting {
    fn cmp(&self, other: &Self) -> std::cmp::Ordering {
        self.due.cmp(&other.due)
    }
}

impl Mailer {
    pub fn new(parts: MailerParts, guard: DeathGuard) -> Mailer {
        Mailer {
            parts,
            guard,
            connection: None,
            closing: None,
            busy: false,
            retiring: false,
            waiting: BinaryHeap::new(),
            timer: None,
        }
    }

    fn ask(&mut self, ctx: &mut Context<Self>) {
        if self.retiring {
            return self.end(ctx);
        }
        self.send_ask(false, ctx);
    }

    fn send_ask(&self, again: bool, ctx: &Context<Self>) {
        self.parts.asks.send(Ask {
            mailer: self.guard.child(),
            is_connected: self.connection.is_some(),
            again,
            recipient: ctx.address().recipient(),
        });
    }

    /// Decides what follows a job's attempt, and does it. What came of the attempt stays on the ticket until
    /// the decision is written there: should this panic, the next mailer concludes again.
    fn conclude(&mut self, mut ticket: Ticket, ctx: &mut Context<Self>) {
        let (end, timing) = match &ticket.verdict {
            Some(Verdict::Ended(end, timing)) => (end.clone(), *timing),
            Some(Verdict::GivenUp(_) | Verdict::Acknowledged(_)) => {
                return self.parts.dead_letters.send(Publish(ticket));
            }
            // The attempt's task died before it knew: dropped in hand, the ticket comes back as a strike.
            None => return,
        };
        let fraction = self.parts.jitter.fraction();
        let crash_limit = self.parts.crash_limit;
        let mut history = ticket.history.clone();
        let is_probe = std::mem::take(&mut ticket.is_probe);
        let decision = history.conclude(end, timing, &self.parts.policy, crash_limit, fraction, is_probe);
        let left = ticket.deadline.map(Deadline::time_left);
        let next_probe = self.parts.tools.throttle.next_probe();
        let next_probe = next_probe.map_or(Duration::ZERO, |at| at.saturating_duration_since(Instant::now()));
        let decision = expiry::in_time(decision, next_probe, left, history.last_failure.as_ref());
        if decision == Decision::Delivered {
            return self.settle(ticket, history.attempts_spent);
        }
        ticket.history = history;
        ticket.in_hand = false;
        ticket.remember();
        match decision {
            Decision::RetryAfter(wait) => {
                ticket.verdict = None;
                self.wait(ticket, wait, ctx);
            }
            Decision::DeadLetter(failure) => {
                ticket.verdict = Some(Verdict::GivenUp(failure));
                if ticket.hold(Hold::DeadLettering) {
                    self.parts.dead_letters.send(Publish(ticket));
                }
            }
            Decision::ProbeFailed => {
                ticket.verdict = None;
                self.parts.retries.send(RetryDue(ticket));
            }
            Decision::LetGo | Decision::Delivered => {}
        }
    }

    fn settle(&self, ticket: Ticket, attempts: u32) {
        crate::kill_point::reach("after-250-before-settle");
        let record = Arc::clone(&ticket.record);
        if !ticket.settle(Settlement::Sent) {
            tracing::warn!(
                partition = record.partition,
                offset = record.offset,
                "e-mail sent after its partition was taken away; it may be sent again"
            );
            return;
        }
        crate::kill_point::reach("after-settle-before-commit");
        let now = self.parts.tools.clock.now();
        let age_ms = record.timestamp_ms.map(|ms| (now.timestamp_millis() - ms).max(0));
        let latency = age_ms.map(|ms| Duration::from_millis(ms.unsigned_abs()));
        self.parts.tools.metrics.send(Event::Delivered { latency, is_replay: record.is_replay() });
        tracing::info!(
            topic = %record.topic,
            partition = record.partition,
            offset = record.offset,
            attempts,
            latency_ms = age_ms,
            tags = tags::shown(&record, &*self.parts.tools.composer),
            "e-mail sent"
        );
    }

    fn wait(&mut self, mut ticket: Ticket, wait: Duration, ctx: &mut Context<Self>) {
        if !ticket.hold(Hold::Waiting) {
            return;
        }
        let failure = ticket.history.last_failure.as_ref();
        tracing::debug!(
            partition = ticket.record.partition,
            offset = ticket.record.offset,
            attempts = ticket.history.attempts_spent,
            stage = failure.map(|f| f.stage.as_str()),
            cause = failure.map(|f| f.cause.as_str()),
            wait_ms = u64::try_from(wait.as_millis()).unwrap_or(u64::MAX),
            "attempt failed, another follows"
        );
        let due = Instant::now() + wait;
        ticket.not_before = Some(due);
        self.keep(ticket, due, ctx);
    }

    /// Keeps a job until it is due; a retiring mailer lets it go, and another one will keep it. While the relay is
    /// away the consumer keeps it.
    fn keep(&mut self, ticket: Ticket, due: Instant, ctx: &mut Context<Self>) {
        if self.retiring {
            return;
        }
        if self.parts.tools.throttle.circuit() != Circuit::Closed {
            return self.parts.retries.send(RetryDue(ticket));
        }
        self.waiting.push(Reverse(Waiting { due, ticket }));
        self.set_timer(ctx);
    }

    /// One delayed message, for the earliest retry or the end of an idle connection. One that comes earlier than
    /// needed is left as it is: it finds nothing to do, and this is called again.
    fn set_timer(&mut self, ctx: &mut Context<Self>) {
        let retry = self.waiting.peek().map(|Reverse(waiting)| waiting.due);
        let idle =
            self.connection.as_ref().map(|kept| kept.since + self.parts.tools.connections.idle_timeout);
        let Some(due) = retry.into_iter().chain(idle).min() else { return };
        if let Some((earlier, handle)) = &self.timer {
            if *earlier <= due {
                return;
            }
            ctx.cancel_future(*handle);
        }
        let handle = ctx.notify_later(WakeUp, due.saturating_duration_since(Instant::now()));
        self.timer = Some((due, handle));
    }

    /// Says QUIT, lets go of everything, and stops.
    fn end(&mut self, ctx: &mut Context<Self>) {
        self.waiting.clear();
        let closing = self.closing.take();
        let connection = self.connection.take();
        let end = async move {
            closed(closing).await;
            if let Some(Kept { connection, .. }) = connection {
                connection.quit().await;
            }
        };
        ctx.wait(end.into_actor(self).map(|(), _, ctx| ctx.stop()));
    }
}

/// Waits until the connection is closed, where one is being.
async fn closed(closing: Option<actix_rt::task::JoinHandle<()>>) {
    if let Some(closing) = closing {
        // However that ended, the connection is gone.
        let _ = closing.await;
    }
}

impl Actor for Mailer {
    type Context = Context<Self>;

    fn started(&mut self, ctx: &mut Context<Self>) {
        self.ask(ctx);
    }
}

impl Handler<Deliver> for Mailer {
    type Result = ();

    fn handle(&mut self, Deliver { mut ticket, permit }: Deliver, ctx: &mut Context<Self>) {
        if self.retiring || self.busy {
            return;
        }
        ticket.in_hand = true;
        if ticket.verdict.is_some() {
            self.conclude(ticket, ctx);
            return self.ask(ctx);
        }
        let Some(permit) = permit else {
            ticket.in_hand = false;
            let due = ticket.not_before.unwrap_or_else(Instant::now);
            if ticket.hold(Hold::Waiting) {
                self.keep(ticket, due, ctx);
            }
            return self.ask(ctx);
        };
        if !ticket.hold(Hold::Working) {
            return self.ask(ctx);
        }
        self.busy = true;
        ticket.is_probe = permit.is_probe();
        let connection = self.connection.take();
        let closing = self.closing.take();
        let tools = self.parts.tools.clone();
        let mailer = ctx.address();
        actix_rt::spawn(async move {
            closed(closing).await;
            let attempted =
                AssertUnwindSafe(attempt(&mut ticket, permit, connection, &tools)).catch_unwind().await;
            let connection = attempted.unwrap_or(None);
            mailer.do_send(Attempted { ticket, connection });
        });
    }
}

impl Handler<Attempted> for Mailer {
    type Result = ();

    fn handle(&mut self, Attempted { mut ticket, connection }: Attempted, ctx: &mut Context<Self>) {
        self.busy = false;
        let now = Instant::now();
        ticket.last_tried = Some(now);
        match connection {
            Some(connection) if self.parts.tools.connections.is_over(&*connection) => {
                self.closing = Some(actix_rt::spawn(connection.quit()));
            }
            Some(connection) => {
                self.connection = Some(Kept { connection, since: now });
                self.set_timer(ctx);
            }
            None => {}
        }
        self.conclude(ticket, ctx);
        self.ask(ctx);
    }
}

impl Handler<WakeUp> for Mailer {
    type Result = ();

    fn handle(&mut self, _: WakeUp, ctx: &mut Context<Self>) {
        self.timer = None;
        let now = Instant::now();
        while self.waiting.peek().is_some_and(|Reverse(waiting)| waiting.due <= now) {
            if let Some(Reverse(Waiting { ticket, .. })) = self.waiting.pop() {
                self.parts.retries.send(RetryDue(ticket));
            }
        }
        let idle_timeout = self.parts.tools.connections.idle_timeout;
        if let Some(kept) = self.connection.take_if(|kept| kept.since + idle_timeout <= now) {
            self.closing = Some(actix_rt::spawn(kept.connection.quit()));
            // The consumer takes it for one with a connection.
            self.send_ask(true, ctx);
        }
        self.set_timer(ctx);
    }
}

impl Handler<HandOver> for Mailer {
    type Result = ();

    fn handle(&mut self, _: HandOver, _: &mut Context<Self>) {
        for Reverse(Waiting { ticket, .. }) in std::mem::take(&mut self.waiting) {
            self.parts.retries.send(RetryDue(ticket));
        }
    }
}

impl Handler<Purge> for Mailer {
    type Result = ();

    fn handle(&mut self, _: Purge, _: &mut Context<Self>) {
        self.waiting.retain(|Reverse(waiting)| waiting.ticket.is_current());
    }
}

impl Handler<AskAgain> for Mailer {
    type Result = ();

    fn handle(&mut self, _: AskAgain, ctx: &mut Context<Self>) {
        if !self.busy {
            self.ask(ctx);
        }
    }
}

impl Handler<Retire> for Mailer {
    type Result = ();

    fn handle(&mut self, _: Retire, ctx: &mut Context<Self>) {
        self.retiring = true;
        self.waiting.clear();
        if !self.busy {
            self.end(ctx);
        }
    }
}

impl Handler<AreYouAlive> for Mailer {
    type Result = ();

    fn handle(&mut self, _: AreYouAlive, _: &mut Context<Self>) {
        self.guard.alive();
    }
}
