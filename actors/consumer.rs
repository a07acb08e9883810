//! Takes records, owns the ready queue, and commits what is settled.

use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use actix::prelude::*;

use crate::domain::failure::Failure;
use crate::domain::history::{AttemptEnd, Timing};
use crate::domain::ledger::{CommitAnswer, Hold, Tenure};
use crate::guard::DeathGuard;
use crate::line::Line;
use crate::messages::{
    Allow, AreYouAlive, Ask, Drain, Drained, Escalate, Event, MailerGone, Publish, Purge, RetryDue,
};
use crate::pool::Pool;
use crate::ports::{OffsetLog, OffsetLogEvent, WallClock};
use crate::ticket::{Claim, Ticket, TicketOffice, Verdict};
use crate::vitals::Vitals;

/// What each generation of the consumer is made of.
#[derive(Clone)]
pub struct ConsumerParts {
    pub office: Arc<TicketOffice>,
    pub offset_log: Arc<dyn OffsetLog>,
    /// Boxed, since the channel's receiver may not move once polled.
    pub events: Pin<Box<async_channel::Receiver<OffsetLogEvent>>>,
    pub dead_letters: Line<Publish>,
    pub metrics: Line<Event>,
    pub drained: Line<Drained>,
    pub escalate: Line<Escalate>,
    pub purges: Line<Purge>,
    pub vitals: Arc<Vitals>,
    pub clock: Arc<dyn WallClock>,
    pub commit_interval: Duration,
    pub drain_timeout: Duration,
}

pub struct Consumer {
    parts: ConsumerParts,
    pool: Pool,
    guard: DeathGuard,
    /// Dead letters that came back, to be handed over at the next tick.
    letters: Vec<Ticket>,
    draining: bool,
    /// Set once all is drained: whether that was in time.
    drained_in_time: Option<bool>,
}

impl Consumer {
    pub fn new(parts: ConsumerParts, allowed: usize, guard: DeathGuard) -> Consumer {
        let pool = Pool::new(allowed, Arc::clone(&parts.vitals));
        Consumer { parts, pool, guard, letters: Vec::new(), draining: false, drained_in_time: None }
    }

    /// Resolves when what is being given up is settled, or time is up: to whether it was in time.
    fn quiet(&self, revoked: Vec<Tenure>) -> impl Future<Output = bool> + 'static {
        let office = Arc::clone(&self.parts.office);
        let limit = self.parts.drain_timeout;
        async move { tokio::time::timeout(limit, office.wait_until_quiet(&revoked)).await.is_ok() }
    }

    /// Drops the jobs that are not ours any more, here and in the mailers.
    fn purge(&mut self) {
        self.pool.purge();
        self.letters.retain(Ticket::is_current);
        self.parts.purges.send(Purge);
    }

    /// A ticket that was dropped comes back. Nobody had it in hand: it is simply dispatched again. Somebody
    /// had: a strike, which past the dot is an ambiguous ending.
    fn take_back(&mut self, claim: Box<Claim>) {
        let mut ticket = self.parts.office.reissue(claim);
        if ticket.in_hand && ticket.verdict.is_none() {
            let failure = if ticket.is_past_the_dot() {
                Failure::lost(crate::domain::failure::Stage::FinalDot, "handling stopped after the final dot")
            } else {
                Failure::crashed("handling the job panicked")
            };
            let timing = Timing { at: self.parts.clock.now(), took_ms: 0 };
            ticket.verdict = Some(Verdict::Ended(AttemptEnd::Failed(failure), timing));
        }
        ticket.in_hand = false;
        match ticket.verdict {
            // Not at once: while DeadLetters is down it would only come back, again and again.
            Some(Verdict::GivenUp(_) | Verdict::Acknowledged(_)) => self.letters.push(ticket),
            Some(Verdict::Ended(..)) => self.pool.add_first(ticket),
            None if ticket.hold(Hold::Queued) => self.pool.add_first(ticket),
            None => {}
        }
    }
}

impl Actor for Consumer {
    type Context = Context<Self>;

    fn started(&mut self, ctx: &mut Context<Self>) {
        ctx.set_mailbox_capacity(usize::MAX >> 1);
        ctx.add_stream(self.parts.office.returns());
        ctx.add_stream(self.parts.events.clone());
        ctx.run_interval(self.parts.commit_interval, |consumer, _| {
            consumer.parts.office.commit();
            for ticket in std::mem::take(&mut consumer.letters) {
                consumer.parts.dead_letters.send(Publish(ticket));
            }
        });
    }
}

impl StreamHandler<OffsetLogEvent> for Consumer {
    fn handle(&mut self, event: OffsetLogEvent, ctx: &mut Context<Self>) {
        match event {
            OffsetLogEvent::Assigned(partitions) => {
                self.parts.office.assign(&partitions);
                self.parts.vitals.joined(true);
                if partitions.is_empty() {
                    // A spare: in the group, and without a partition.
                    return;
                }
                let numbers: Vec<i32> = partitions.iter().map(|assigned| assigned.partition).collect();
                if self.draining {
                    self.parts.office.revoke(&numbers);
                }
                self.parts.metrics.send(Event::Rebalanced);
            }
            OffsetLogEvent::Records(records) => {
                let tickets = self.parts.office.take(records);
                self.pool.add_new(tickets);
            }
            OffsetLogEvent::SeenUpTo { partition, next } => self.parts.office.seen_up_to(partition, next),
            OffsetLogEvent::Revoking { partitions, reply } => {
                let revoked = self.parts.office.revoke(&partitions);
                self.purge();
                self.parts.metrics.send(Event::Rebalanced);
                tracing::info!(partitions = ?partitions, "partitions revoked");
                let office = Arc::clone(&self.parts.office);
                let quiet = self.quiet(revoked.clone());
                ctx.spawn(
                    async move {
                        if !quiet.await {
                            tracing::warn!("the drain time ran out; what is unanswered may be sent again");
                        }
                        if !revoked.is_empty() && office.is_over(&revoked) {
                            // A stop has let go of them meanwhile, and commits them as it leaves (or they are
                            // lost): an empty answer would have them given up before that.
                            return;
                        }
                        // Nobody waits any more when the poll thread's own time ran out first.
                        let _ = reply.send(office.let_go(&revoked));
                    }
                    .into_actor(self),
                );
            }
            OffsetLogEvent::Lost(partitions) => {
                self.parts.office.lose(&partitions);
                if self.parts.office.partitions().is_empty() {
                    self.parts.vitals.joined(false);
                }
                self.purge();
                self.parts.metrics.send(Event::Rebalanced);
                tracing::warn!(partitions = ?partitions, "partitions lost; what was in hand is another worker's now");
            }
            OffsetLogEvent::Committed(result) => {
                self.parts.metrics.send(Event::Committed { ok: result.is_ok() });
                self.parts.office.commit_answered(match &result {
                    Ok(()) => CommitAnswer::Taken,
                    Err(refusal) if refusal.not_ours => CommitAnswer::NotOurs,
                    Err(_) => CommitAnswer::Refused,
                });
                if let Err(refusal) = result {
                    tracing::warn!(reason = %refusal.reason, not_ours = refusal.not_ours, "commit refused");
                }
            }
            OffsetLogEvent::Watermarks(watermarks) => {
                for mark in watermarks {
                    self.parts.office.set_watermarks(mark.partition, mark.low, mark.high);
                }
            }
            OffsetLogEvent::Reachable => self.parts.vitals.broker_answered(),
            OffsetLogEvent::Unreachable(error) => self.parts.vitals.broker_failed(error),
            OffsetLogEvent::Fatal(reason) => self.parts.escalate.send(Escalate(reason)),
            OffsetLogEvent::Left(committed) => {
                let in_time = self.drained_in_time.unwrap_or(false);
                self.parts.drained.send(Drained { in_time, committed });
            }
        }
    }

    fn finished(&mut self, _: &mut Context<Self>) {
        if self.drained_in_time.is_none() {
            self.parts.escalate.send(Escalate("the Kafka poll thread has ended".into()));
        }
    }
}

impl StreamHandler<Box<Claim>> for Consumer {
    fn handle(&mut self, claim: Box<Claim>, _: &mut Context<Self>) {
        self.take_back(claim);
    }
}

impl Handler<Ask> for Consumer {
    type Result = ();

    fn handle(&mut self, ask: Ask, _: &mut Context<Self>) {
        self.pool.ask(ask);
    }
}

impl Handler<RetryDue> for Consumer {
    type Result = ();

    fn handle(&mut self, RetryDue(ticket): RetryDue, _: &mut Context<Self>) {
        if ticket.hold(Hold::Queued) {
            self.pool.add_first(ticket);
        }
    }
}

impl Handler<Allow> for Consumer {
    type Result = ();

    fn handle(&mut self, Allow(mailers): Allow, _: &mut Context<Self>) {
        self.pool.allow(mailers);
    }
}

impl Handler<MailerGone> for Consumer {
    type Result = ();

    fn handle(&mut self, MailerGone(mailer): MailerGone, _: &mut Context<Self>) {
        self.pool.gone(mailer);
    }
}

impl Handler<Drain> for Consumer {
    type Result = ();

    fn handle(&mut self, _: Drain, ctx: &mut Context<Self>) {
        self.draining = true;
        self.parts.offset_log.stop_reading();
        let revoked = self.parts.office.revoke(&self.parts.office.partitions());
        self.purge();
        let quiet = self.quiet(revoked);
        ctx.spawn(quiet.into_actor(self).map(|in_time, consumer, _| {
            consumer.drained_in_time = Some(in_time);
            let office = &consumer.parts.office;
            let last = office.let_go(&office.revoke(&office.partitions()));
            consumer.parts.offset_log.leave(last);
        }));
    }
}

impl Handler<AreYouAlive> for Consumer {
    type Result = ();

    fn handle(&mut self, _: AreYouAlive, _: &mut Context<Self>) {
        self.guard.alive();
    }
}
