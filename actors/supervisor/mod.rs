//! Starts, watches, restarts, resizes and stops all the others; the only file that knows every actor.
//!
//! Each child is built by a factory, under a generation number. Its [`DeathGuard`] says when it is gone; it
//! is built anew within its restart budget, else the process ends. What must survive a death (the ticket
//! office, the metrics, the vitals) is handed to each generation.

mod start;
mod status;

use std::collections::BTreeMap;
use std::pin::Pin;
use std::time::Duration;

use actix::prelude::*;
use tokio::sync::oneshot;
use tokio::time::Instant;

pub use start::{Ended, Settings, World, start};

use crate::consumer::{Consumer, ConsumerParts};
use crate::dead_letters::{DeadLetters, DeadLettersParts};
use crate::dlq_owner::{DlqOwner, DlqOwnerParts};
use crate::domain::restart::{Restart, RestartBudget};
use crate::guard::{ActorName, ChildId, ChildSignal, DeathGuard};
use crate::line::Line;
use crate::mailer::{Mailer, MailerParts};
use crate::messages::{
    ActorState, AreYouAlive, Ask, AskAgain, Drain, Drained, Escalate, Event, GetStatus, HandOver,
    IntakeByHand, MailerGone, PauseIntake, PoolStatus, Publish, Purge, Resize, Resized, ResumeIntake, Retire,
    RetryDue, Scrape, SizeOutOfBounds, Stop,
};
use crate::metrics::{Metrics, MetricsParts};
use crate::pause::{Pause, PauseEnd};

/// What the supervisor keeps of one child.
struct Child {
    generation: u64,
    budget: RestartBudget,
    restarts: u64,
    last_error: Option<String>,
    /// Since when it has owed an answer to whether it is alive: a question, or its restart, is outstanding.
    owes_since: Option<Instant>,
    state: ActorState,
    /// Only for mailers: told to end; its death is no failure.
    retiring: bool,
    address: Option<Address>,
}

enum Address {
    Consumer(Addr<Consumer>),
    DeadLetters(Addr<DeadLetters>),
    DlqOwner(Addr<DlqOwner>),
    Metrics(Addr<Metrics>),
    Mailer(Addr<Mailer>),
}

/// The lines between the actors, the same for all generations.
#[derive(Clone, Default)]
struct Lines {
    asks: Line<Ask>,
    retries: Line<RetryDue>,
    publish: Line<Publish>,
    events: Line<Event>,
    drained: Line<Drained>,
    escalate: Line<Escalate>,
    purges: Line<Purge>,
    hand_overs: Line<HandOver>,
}

pub struct Supervisor {
    settings: Settings,
    consumer: ConsumerParts,
    mailer: MailerParts,
    dead_letters: DeadLettersParts,
    /// None where nothing is done to letters.
    dlq_owner: Option<DlqOwnerParts>,
    metrics: MetricsParts,
    lines: Lines,
    scrapes: Line<Scrape>,
    children: BTreeMap<(ActorName, usize), Child>,
    /// Counts up over all children, so that none is ever taken for another.
    generations: u64,
    signals: async_channel::Sender<ChildSignal>,
    /// Boxed, since the channel's receiver may not move once polled.
    signalled: Pin<Box<async_channel::Receiver<ChildSignal>>>,
    started: Instant,
    size: usize,
    stopping: bool,
    /// Set by a stop: when the consumer waits no longer for what is past the dot.
    drain_until: Option<Instant>,
    ended: Option<oneshot::Sender<Ended>>,
}

/// How often each child is asked whether it is alive.
const HEARTBEAT: Duration = Duration::from_secs(1);
/// How long mailers may take to say QUIT once all is committed.
const GOODBYE: Duration = Duration::from_millis(500);

impl Supervisor {
    /// Builds the next generation of a child and connects its lines.
    fn spawn(&mut self, name: ActorName, slot: usize) {
        self.generations += 1;
        let generation = self.generations;
        let guard = DeathGuard::new(ChildId { name, slot, generation }, self.signals.clone());
        let address = match name {
            ActorName::Consumer => {
                let consumer = Consumer::new(self.consumer.clone(), guard).start();
                self.lines.asks.connect(&consumer);
                self.lines.retries.connect(&consumer);
                self.tell_mailers(AskAgain);
                if let Some(until) = self.drain_until {
                    consumer.do_send(Drain { until });
                }
                Address::Consumer(consumer)
            }
            ActorName::DeadLetters => {
                let publisher = DeadLetters::new(self.dead_letters.clone(), guard).start();
                self.lines.publish.connect(&publisher);
                Address::DeadLetters(publisher)
            }
            ActorName::DlqOwner => {
                let Some(parts) = self.dlq_owner.clone() else { return };
                Address::DlqOwner(DlqOwner::new(parts, guard).start())
            }
            ActorName::Metrics => {
                let metrics = Metrics::new(self.metrics.clone(), guard).start();
                self.lines.events.connect(&metrics);
                self.scrapes.connect(&metrics);
                Address::Metrics(metrics)
            }
            ActorName::Mailer => Address::Mailer(Mailer::new(self.mailer.clone(), guard).start()),
            ActorName::Supervisor | ActorName::Http => return,
        };
        let child = self.children.entry((name, slot)).or_insert_with(|| Child {
            generation,
            budget: RestartBudget::default(),
            restarts: 0,
            last_error: None,
            owes_since: None,
            state: ActorState::Running,
            retiring: false,
            address: None,
        });
        child.generation = generation;
        child.owes_since = None;
        child.state = ActorState::Running;
        child.retiring = false;
        child.address = Some(address);
    }

    fn mailers(&self) -> impl Iterator<Item = &Addr<Mailer>> {
        self.children.values().filter_map(|child| match &child.address {
            Some(Address::Mailer(mailer)) => Some(mailer),
            _ => None,
        })
    }

    fn tell_mailers<M>(&self, message: M)
    where
        M: Message<Result = ()> + Send + Copy + 'static,
        Mailer: Handler<M>,
    {
        self.mailers().for_each(|mailer| mailer.do_send(message));
    }

    fn tell_consumer<M>(&self, message: M)
    where
        M: Message<Result = ()> + Send + 'static,
        Consumer: Handler<M>,
    {
        let child = self.children.get(&(ActorName::Consumer, 0));
        if let Some(Address::Consumer(consumer)) = child.and_then(|child| child.address.as_ref()) {
            consumer.do_send(message);
        }
    }

    fn died(&mut self, id: ChildId, panic: Option<String>, ctx: &mut Context<Self>) {
        if id.name == ActorName::Mailer {
            // Also where no consumer is there to hear it.
            self.consumer.vitals.rests(id);
            self.tell_consumer(MailerGone(id));
        }
        let Some(child) = self.children.get_mut(&(id.name, id.slot)) else { return };
        if child.generation != id.generation {
            return;
        }
        child.address = None;
        if child.retiring || (self.stopping && panic.is_none()) {
            self.children.remove(&(id.name, id.slot));
            if id.name == ActorName::Mailer && id.slot < self.size && !self.stopping {
                // The pool has grown again meanwhile: only now is the old connection closed.
                self.spawn(id.name, id.slot);
            }
            return;
        }
        let what = panic.unwrap_or_else(|| "ended by itself".into());
        child.state = ActorState::Restarting;
        child.owes_since.get_or_insert_with(Instant::now);
        child.last_error = Some(what.clone());
        child.restarts += 1;
        let next = child.budget.died(self.started.elapsed());
        let name = id.name.as_str();
        match next {
            Restart::After(wait) => {
                tracing::error!(actor = name, slot = id.slot, error = %what, "actor died, starting it again");
                if wait.is_zero() {
                    self.restart(id);
                } else {
                    ctx.run_later(wait, move |supervisor, _| supervisor.restart(id));
                }
            }
            Restart::Spent => {
                child.state = ActorState::Stopped;
                let reason = format!("actor {name} died too often: {what}");
                self.end(Ended { exit_code: 1, reason }, ctx);
            }
        }
    }

    /// Starts the child again, unless it is not wanted any more; told only then, for it may be the metrics.
    fn restart(&mut self, id: ChildId) {
        let child = self.children.get(&(id.name, id.slot));
        let waits =
            |child: &Child| child.generation == id.generation && child.state == ActorState::Restarting;
        if child.is_some_and(waits) {
            self.spawn(id.name, id.slot);
            self.lines.events.send(Event::Restarted(id.name));
        }
    }

    /// Tells how it ended, once, and lets every actor go.
    fn end(&mut self, ended: Ended, ctx: &mut Context<Self>) {
        if let Some(sender) = self.ended.take() {
            if ended.exit_code != 0 {
                tracing::error!(reason = %ended.reason, "giving up");
            }
            self.stopping = true;
            // Nobody waits for it any more when the process is ending anyway.
            let _ = sender.send(ended);
            ctx.stop();
        }
    }

    fn resize(&mut self, size: usize) {
        for slot in size..self.size {
            let Some(child) = self.children.get_mut(&(ActorName::Mailer, slot)) else { continue };
            if let Some(Address::Mailer(mailer)) = &child.address {
                child.retiring = true;
                mailer.do_send(Retire);
                let id = ChildId { name: ActorName::Mailer, slot, generation: child.generation };
                tracing::debug!(slot, "mailer retires");
                // An idle one is given nothing more; a busy one is counted until it has ended.
                if !self.consumer.vitals.working().contains(&id) {
                    self.tell_consumer(MailerGone(id));
                }
            } else {
                // It was waiting to be started again: that is not wanted any more.
                self.children.remove(&(ActorName::Mailer, slot));
            }
        }
        for slot in self.size..size {
            let retires = self.children.get(&(ActorName::Mailer, slot)).is_some_and(|child| child.retiring);
            if !retires {
                self.spawn(ActorName::Mailer, slot);
            }
        }
        self.size = size;
        self.consumer.throttle.resize(size);
        self.tell_consumer(Resized);
        self.lines.events.send(Event::Pool { size });
    }
}

impl Actor for Supervisor {
    type Context = Context<Self>;

    fn started(&mut self, ctx: &mut Context<Self>) {
        self.lines.drained.connect(&ctx.address());
        self.lines.escalate.connect(&ctx.address());
        self.lines.purges.connect(&ctx.address());
        self.lines.hand_overs.connect(&ctx.address());
        ctx.add_stream(self.signalled.clone());
        self.spawn(ActorName::Metrics, 0);
        self.spawn(ActorName::DeadLetters, 0);
        self.spawn(ActorName::DlqOwner, 0);
        self.spawn(ActorName::Consumer, 0);
        for slot in 0..self.size {
            self.spawn(ActorName::Mailer, slot);
        }
        self.lines.events.send(Event::Pool { size: self.size });
        ctx.run_interval(HEARTBEAT, |supervisor, _| {
            supervisor.consumer.vitals.look_at_the_poll_thread();
            // One question at a time: what counts is how long it is owed an answer, not how long ago the last one was.
            // So a process that stood still as a whole takes none of its actors for dead, and a mailbox that nobody
            // reads does not fill with questions.
            for child in supervisor.children.values_mut().filter(|child| child.owes_since.is_none()) {
                child.owes_since = Some(Instant::now());
                match &child.address {
                    Some(Address::Consumer(actor)) => actor.do_send(AreYouAlive),
                    Some(Address::DeadLetters(actor)) => actor.do_send(AreYouAlive),
                    Some(Address::DlqOwner(actor)) => actor.do_send(AreYouAlive),
                    Some(Address::Metrics(actor)) => actor.do_send(AreYouAlive),
                    Some(Address::Mailer(actor)) => actor.do_send(AreYouAlive),
                    None => {}
                }
            }
        });
    }
}

impl StreamHandler<ChildSignal> for Supervisor {
    fn handle(&mut self, signal: ChildSignal, ctx: &mut Context<Self>) {
        match signal {
            ChildSignal::Alive(id) => {
                if let Some(child) = self.children.get_mut(&(id.name, id.slot))
                    && child.generation == id.generation
                {
                    child.owes_since = None;
                }
            }
            ChildSignal::Died { child, panic } => self.died(child, panic, ctx),
        }
    }
}

impl Handler<GetStatus> for Supervisor {
    type Result = MessageResult<GetStatus>;

    fn handle(&mut self, _: GetStatus, _: &mut Context<Self>) -> Self::Result {
        MessageResult(self.status())
    }
}

impl Handler<Resize> for Supervisor {
    type Result = Result<PoolStatus, SizeOutOfBounds>;

    fn handle(&mut self, Resize { size }: Resize, _: &mut Context<Self>) -> Self::Result {
        let max = self.settings.mailers_max;
        if size < 1 || size > max {
            return Err(SizeOutOfBounds { min: 1, max });
        }
        if !self.stopping {
            tracing::info!(from = self.size, to = size, "pool resized");
            self.resize(size);
        }
        Ok(self.pool_status())
    }
}

impl Handler<PauseIntake> for Supervisor {
    type Result = MessageResult<PauseIntake>;

    fn handle(&mut self, pause: PauseIntake, _: &mut Context<Self>) -> Self::Result {
        let PauseIntake { reason, by, duration } = pause;
        let now = self.consumer.clock.now();
        let pause = Pause { reason, by, end: duration.and_then(|wait| PauseEnd::after(wait, now)) };
        tracing::warn!(
            by,
            reason = (self.mailer.tools.mask)(&pause.reason),
            until = pause.until().map(|at| at.to_rfc3339()),
            "intake paused by hand: no more jobs are taken, those in hand are finished"
        );
        self.consumer.office.pause(pause);
        MessageResult(IntakeByHand(self.consumer.office.paused()))
    }
}

impl Handler<ResumeIntake> for Supervisor {
    type Result = MessageResult<ResumeIntake>;

    fn handle(&mut self, ResumeIntake { by }: ResumeIntake, _: &mut Context<Self>) -> Self::Result {
        if let Some(pause) = self.consumer.office.resume() {
            let reason = (self.mailer.tools.mask)(&pause.reason);
            tracing::info!(by, reason, "intake resumed by hand: jobs are taken again");
        }
        MessageResult(IntakeByHand(self.consumer.office.paused()))
    }
}

impl Handler<Stop> for Supervisor {
    type Result = ();

    fn handle(&mut self, _: Stop, _: &mut Context<Self>) {
        if !self.stopping {
            tracing::info!("stopping: no new attempts, what is past the dot is awaited");
            self.stopping = true;
            let until = Instant::now() + self.settings.drain_timeout;
            self.drain_until = Some(until);
            self.tell_consumer(Drain { until });
            let owner = self.children.get(&(ActorName::DlqOwner, 0));
            if let Some(Address::DlqOwner(owner)) = owner.and_then(|child| child.address.as_ref()) {
                owner.do_send(Retire);
            }
        }
    }
}

impl Handler<Drained> for Supervisor {
    type Result = ();

    fn handle(&mut self, drained: Drained, ctx: &mut Context<Self>) {
        self.tell_mailers(Retire);
        let ended = match drained {
            Drained { in_time: true, committed: Ok(()) } => {
                Ended { exit_code: 0, reason: "drained, committed and left the group".into() }
            }
            Drained { in_time: false, .. } => Ended {
                exit_code: 1,
                reason: "worker.drain_timeout ran out; what was unanswered may be sent again".into(),
            },
            Drained { committed: Err(error), .. } => {
                Ended { exit_code: 1, reason: format!("the last commit was not taken: {error}") }
            }
        };
        let deadline = Instant::now() + GOODBYE;
        ctx.run_interval(Duration::from_millis(10), move |supervisor, ctx| {
            if supervisor.mailers().next().is_none() || Instant::now() >= deadline {
                supervisor.end(ended.clone(), ctx);
            }
        });
    }
}

impl Handler<Purge> for Supervisor {
    type Result = ();

    fn handle(&mut self, _: Purge, _: &mut Context<Self>) {
        self.tell_mailers(Purge);
    }
}

impl Handler<HandOver> for Supervisor {
    type Result = ();

    fn handle(&mut self, _: HandOver, _: &mut Context<Self>) {
        self.tell_mailers(HandOver);
    }
}

impl Handler<Escalate> for Supervisor {
    type Result = ();

    fn handle(&mut self, Escalate(reason): Escalate, ctx: &mut Context<Self>) {
        self.end(Ended { exit_code: 1, reason }, ctx);
    }
}
