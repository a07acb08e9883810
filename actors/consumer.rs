//! Takes records, owns the ready queue, and commits what is settled.

use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use actix::prelude::*;
use tokio::time::Instant;

use crate::deadline::Deadline;
use crate::domain::failure::{Failure, Stage};
use crate::domain::history::{AttemptEnd, Timing};
use crate::domain::ledger::{CommitAnswer, Hold, Tenure};
use crate::domain::pace::Circuit;
use crate::domain::topic_partition::TopicPartition;
use crate::guard::DeathGuard;
use crate::line::Line;
use crate::messages::{
    AreYouAlive, Ask, Drain, Drained, Escalate, Event, HandOver, MailerGone, Publish, Purge, Resized,
    RetryDue,
};
use crate::office::TicketOffice;
use crate::pool::Pool;
use crate::ports::{Composer, OffsetLog, OffsetLogEvent, WallClock};
use crate::seldom::Seldom;
use crate::throttle::Throttle;
use crate::ticket::{Claim, Ticket, Verdict};
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
    pub hand_overs: Line<HandOver>,
    pub throttle: Arc<Throttle>,
    pub vitals: Arc<Vitals>,
    pub clock: Arc<dyn WallClock>,
    pub composer: Arc<dyn Composer>,
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
    /// Whether the circuit was not closed when it was last looked at.
    relay_is_away: Option<bool>,
    /// Commits that were refused.
    refusals: Seldom,
    /// When the pool is looked at for the next probe.
    probe_at: Option<Instant>,
}

/// A commit that is refused again and again is told at most so often.
const BETWEEN_LINES: Duration = Duration::from_secs(1);

impl Consumer {
    pub fn new(parts: ConsumerParts, guard: DeathGuard) -> Consumer {
        let (office, throttle) = (Arc::clone(&parts.office), Arc::clone(&parts.throttle));
        Consumer {
            pool: Pool::new(office, throttle, Arc::clone(&parts.vitals)),
            parts,
            guard,
            letters: Vec::new(),
            draining: false,
            drained_in_time: None,
            relay_is_away: None,
            refusals: Seldom::new(BETWEEN_LINES),
            probe_at: None,
        }
    }

    /// Hands out what may be handed out now, and sees to it that somebody looks again when a probe is due.
    fn dispatch(&mut self, ctx: &mut Context<Self>) {
        if self.draining {
            // What came of an attempt is concluded all the same.
            return self.pool.run_errands();
        }
        self.pool.dispatch();
        let is_away = self.parts.throttle.circuit() != Circuit::Closed;
        let was_away = self.relay_is_away.replace(is_away);
        if was_away != Some(is_away) {
            self.parts.office.take_one_at_a_time(is_away);
            if is_away {
                self.parts.hand_overs.send(HandOver);
                tracing::warn!(
                    failures = self.parts.throttle.failures_in_a_row(),
                    "circuit open: the relay fails whatever the e-mail; no more jobs are taken"
                );
            } else if was_away.is_some() {
                tracing::info!("circuit closed: the relay answers again");
            }
        }
        // One that is due and was not made now is made when something changes: all that may is dispatched after.
        let next = self.parts.throttle.next_probe().filter(|at| *at > Instant::now());
        if let Some(at) = next
            && next != self.probe_at
        {
            ctx.run_later(at.saturating_duration_since(Instant::now()), |consumer, ctx| {
                consumer.probe_at = None;
                consumer.dispatch(ctx);
            });
            self.probe_at = next;
        }
    }

    /// Resolves when what is being given up is settled, or time is up: to whether it was in time.
    fn quiet(&self, revoked: Vec<Tenure>, until: Instant) -> impl Future<Output = bool> + 'static {
        let office = Arc::clone(&self.parts.office);
        async move { tokio::time::timeout_at(until, office.wait_until_quiet(&revoked)).await.is_ok() }
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
                Failure::lost(Stage::FinalDot, "handling stopped after the final dot")
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

    /// Gives everything up, waits for what can't be taken back, commits, leaves.
    fn drain(&mut self, until: Instant, ctx: &mut Context<Self>) {
        self.draining = true;
        self.parts.offset_log.stop_reading();
        let revoked = self.parts.office.stop();
        self.purge();
        let quiet = self.quiet(revoked, until);
        ctx.spawn(quiet.into_actor(self).map(|in_time, consumer, _| {
            consumer.drained_in_time = Some(in_time);
            let office = &consumer.parts.office;
            let last = office.let_go(&office.stop());
            consumer.parts.offset_log.leave(last);
        }));
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
            consumer.parts.office.look_at_the_intake();
            if let Some(pause) = consumer.parts.office.take_ended_pause() {
                tracing::info!(by = pause.by, "the pause is over: jobs are taken again");
            }
            if !consumer.draining {
                consumer.letters.extend(consumer.pool.take_expired());
            }
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
                let numbers: Vec<TopicPartition> =
                    partitions.iter().map(|assigned| assigned.partition).collect();
                if self.draining {
                    self.parts.office.revoke(&numbers);
                }
                self.parts.metrics.send(Event::Rebalanced);
            }
            OffsetLogEvent::Records(topic, records) => {
                crate::kill_point::reach("after-poll");
                // Before any lock is held.
                let (composer, clock) = (&*self.parts.composer, &*self.parts.clock);
                let with_deadline = |record| {
                    let deadline = Deadline::of(&record, composer, clock);
                    (record, deadline)
                };
                let tickets = self.parts.office.take(topic, records.into_iter().map(with_deadline).collect());
                let (given_up, new) = tickets.into_iter().partition(|ticket| ticket.verdict.is_some());
                self.letters.extend::<Vec<_>>(given_up);
                self.pool.add_new(new);
                self.dispatch(ctx);
            }
            OffsetLogEvent::SeenUpTo { partition, next } => self.parts.office.seen_up_to(partition, next),
            OffsetLogEvent::Revoking { partitions, reply } => {
                let revoked = self.parts.office.revoke(&partitions);
                self.purge();
                self.parts.metrics.send(Event::Rebalanced);
                tracing::info!(partitions = ?partitions, "partitions revoked");
                let office = Arc::clone(&self.parts.office);
                let quiet = self.quiet(revoked.clone(), Instant::now() + self.parts.drain_timeout);
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
                    .into_actor(self)
                    // A job of another partition may have waited for the mark of one of these.
                    .map(|(), consumer, ctx| consumer.dispatch(ctx)),
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
                self.dispatch(ctx);
            }
            OffsetLogEvent::Committed(result) => {
                self.parts.metrics.send(Event::Committed { ok: result.is_ok() });
                self.parts.office.commit_answered(match &result {
                    Ok(()) => CommitAnswer::Taken,
                    Err(refusal) if refusal.not_ours => CommitAnswer::NotOurs,
                    Err(refusal) if refusal.metadata_too_large => CommitAnswer::TooLarge,
                    Err(_) => CommitAnswer::Refused,
                });
                if let Err(refusal) = result
                    && self.refusals.may_say(Instant::now()).is_some()
                {
                    tracing::warn!(reason = %refusal.reason, not_ours = refusal.not_ours, "commit refused");
                }
                // An attempt may have waited for it.
                self.dispatch(ctx);
            }
            OffsetLogEvent::Watermarks(watermarks) => {
                for mark in watermarks {
                    self.parts.office.set_watermarks(mark.partition, mark.low, mark.high);
                }
            }
            OffsetLogEvent::Turned => self.parts.vitals.poll_thread_turned(),
            OffsetLogEvent::OutOfRange { partition, due } => self.parts.vitals.records_gone(partition, due),
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
    fn handle(&mut self, claim: Box<Claim>, ctx: &mut Context<Self>) {
        self.take_back(claim);
        self.dispatch(ctx);
    }
}

impl Handler<Ask> for Consumer {
    type Result = ();

    fn handle(&mut self, ask: Ask, ctx: &mut Context<Self>) {
        self.pool.ask(ask);
        if self.parts.office.is_guarded() {
            // The mark of the attempt that has ended is taken off before anything else.
            self.parts.office.commit_soon();
        }
        self.dispatch(ctx);
    }
}

impl Handler<RetryDue> for Consumer {
    type Result = ();

    fn handle(&mut self, RetryDue(ticket): RetryDue, ctx: &mut Context<Self>) {
        if ticket.hold(if ticket.is_due() { Hold::Queued } else { Hold::Waiting }) {
            self.pool.add_first(ticket);
            self.dispatch(ctx);
        }
    }
}

impl Handler<Resized> for Consumer {
    type Result = ();

    fn handle(&mut self, _: Resized, ctx: &mut Context<Self>) {
        self.dispatch(ctx);
    }
}

impl Handler<MailerGone> for Consumer {
    type Result = ();

    fn handle(&mut self, MailerGone(mailer): MailerGone, ctx: &mut Context<Self>) {
        self.pool.gone(mailer);
        self.dispatch(ctx);
    }
}

impl Handler<Drain> for Consumer {
    type Result = ();

    fn handle(&mut self, Drain { until }: Drain, ctx: &mut Context<Self>) {
        self.drain(until, ctx);
    }
}

impl Handler<AreYouAlive> for Consumer {
    type Result = ();

    fn handle(&mut self, _: AreYouAlive, _: &mut Context<Self>) {
        self.guard.alive();
    }
}
