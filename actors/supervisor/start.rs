//! What the supervisor is made of: the numbers, the world, and how they become actors.

use std::collections::BTreeMap;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use actix::prelude::*;
use tokio::sync::oneshot;
use tokio::time::Instant;

use super::{Lines, Supervisor};
use crate::attempt::{ConnectionLife, Tools};
use crate::consumer::ConsumerParts;
use crate::dead_letters::DeadLettersParts;
use crate::dlq_owner::DlqOwnerParts;
use crate::domain::retry::RetryPolicy;
use crate::line::Line;
use crate::mailer::MailerParts;
use crate::messages::Scrape;
use crate::metrics::{Families, MetricsParts};
use crate::office::TicketOffice;
use crate::ports::{Composer, DeadLetterLog, Jitter, LetterLog, OffsetLog, OffsetLogEvent, Relay, WallClock};
use crate::throttle::Throttle;
use crate::vitals::Vitals;

/// The numbers that the actors are set up with.
#[derive(Clone, Debug)]
pub struct Settings {
    pub mailers: usize,
    pub mailers_max: usize,
    pub retry: RetryPolicy,
    /// `limits.crashes`.
    pub crash_limit: u32,
    pub commit_interval: Duration,
    pub drain_timeout: Duration,
    pub dlq_topic: String,
    pub connections: ConnectionLife,
    /// `dlq.max_replays`.
    pub max_replays: u32,
}

/// The world, and what outlives every actor.
pub struct World {
    pub office: Arc<TicketOffice>,
    pub offset_log: Arc<dyn OffsetLog>,
    pub offset_events: async_channel::Receiver<OffsetLogEvent>,
    pub relay: Rc<dyn Relay>,
    pub composer: Arc<dyn Composer>,
    pub dead_letter_log: Rc<dyn DeadLetterLog>,
    /// None: nothing is done to letters here.
    pub letter_log: Option<Rc<dyn LetterLog>>,
    pub clock: Arc<dyn WallClock>,
    pub jitter: Arc<dyn Jitter>,
    pub families: Families,
    pub vitals: Arc<Vitals>,
    pub throttle: Arc<Throttle>,
    /// Masks the addresses in a failure's reason, for the log.
    pub mask: Rc<dyn Fn(&str) -> String>,
}

/// How it all ended. When the supervisor itself dies the sender is dropped without one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Ended {
    pub exit_code: u8,
    pub reason: String,
}

/// Starts everything on the calling arbiter. The receiver gets how it ended.
pub fn start(settings: Settings, world: World) -> (Addr<Supervisor>, Line<Scrape>, oneshot::Receiver<Ended>) {
    let (sender, ended) = oneshot::channel();
    let lines = Lines::default();
    let scrapes = Line::default();
    let (signals, signalled) = async_channel::unbounded();
    let supervisor = Supervisor {
        consumer: ConsumerParts {
            office: Arc::clone(&world.office),
            offset_log: Arc::clone(&world.offset_log),
            events: Box::pin(world.offset_events),
            dead_letters: lines.publish.clone(),
            metrics: lines.events.clone(),
            drained: lines.drained.clone(),
            escalate: lines.escalate.clone(),
            purges: lines.purges.clone(),
            hand_overs: lines.hand_overs.clone(),
            throttle: Arc::clone(&world.throttle),
            vitals: Arc::clone(&world.vitals),
            clock: Arc::clone(&world.clock),
            composer: Arc::clone(&world.composer),
            commit_interval: settings.commit_interval,
            drain_timeout: settings.drain_timeout,
        },
        mailer: MailerParts {
            tools: Tools {
                relay: world.relay,
                composer: Arc::clone(&world.composer),
                clock: Arc::clone(&world.clock),
                metrics: lines.events.clone(),
                vitals: Arc::clone(&world.vitals),
                throttle: Arc::clone(&world.throttle),
                connections: settings.connections,
                mask: Rc::clone(&world.mask),
            },
            asks: lines.asks.clone(),
            retries: lines.retries.clone(),
            dead_letters: lines.publish.clone(),
            jitter: world.jitter,
            policy: settings.retry.clone(),
            crash_limit: settings.crash_limit,
        },
        dead_letters: DeadLettersParts {
            log: world.dead_letter_log,
            metrics: lines.events.clone(),
            vitals: Arc::clone(&world.vitals),
            clock: Arc::clone(&world.clock),
            composer: world.composer,
            mask: Rc::clone(&world.mask),
        },
        dlq_owner: world.letter_log.clone().map(|log| DlqOwnerParts {
            log,
            clock: Arc::clone(&world.clock),
            metrics: lines.events.clone(),
            mask: Rc::clone(&world.mask),
            max_replays: settings.max_replays,
        }),
        metrics: MetricsParts {
            families: world.families,
            dlq_topic: settings.dlq_topic.clone(),
            office: world.office,
            vitals: world.vitals,
            throttle: world.throttle,
            letter_log: world.letter_log,
            clock: world.clock,
        },
        lines,
        scrapes: Line::clone(&scrapes),
        children: BTreeMap::new(),
        generations: 0,
        signals,
        signalled: Box::pin(signalled),
        started: Instant::now(),
        size: settings.mailers,
        stopping: false,
        drain_until: None,
        ended: Some(sender),
        settings,
    };
    (supervisor.start(), scrapes, ended)
}
