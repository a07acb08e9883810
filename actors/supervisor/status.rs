//! What the supervisor answers when it is asked how everything is.

use std::time::Duration;

use super::{Child, Supervisor};
use crate::guard::{ActorName, ChildId};
use crate::messages::{ActorState, ActorStatus, IntakeStatus, MailerState, MailerStatus, PoolStatus, Status};

/// The thread that polls stands still for that long only when something is wrong: it comes round many times a second.
const WORTH_A_WORD: Duration = Duration::from_secs(10);

impl Child {
    /// How long it has owed an answer to whether it is alive.
    fn silent_for(&self) -> Duration {
        self.owes_since.map_or(Duration::ZERO, |since| since.elapsed())
    }
}

impl Supervisor {
    pub(super) fn status(&self) -> Status {
        let (vitals, office) = (&self.consumer.vitals, &self.consumer.office);
        Status {
            stopping: self.stopping,
            pool: self.pool_status(),
            actors: self.actor_statuses(),
            kafka: vitals.kafka(office.partitions().len()),
            relay: vitals.relay(&self.consumer.throttle),
            intake: IntakeStatus {
                paused: office.paused(),
                commits_hang_for: office.commits_hang_for(),
                is_full: office.is_full(),
                is_careful: office.is_guarded(),
            },
            dead_letters: vitals.dead_letters(),
        }
    }

    pub(super) fn pool_status(&self) -> PoolStatus {
        let working = self.consumer.vitals.working();
        let allowed = self.consumer.throttle.allowed(self.consumer.office.is_guarded());
        let held = self.consumer.vitals.ready() > 0 && working.len() >= allowed;
        let mailers = (0..self.size).filter_map(|slot| {
            let child = self.children.get(&(ActorName::Mailer, slot))?;
            let id = ChildId { name: ActorName::Mailer, slot, generation: child.generation };
            let state = match child.state {
                ActorState::Restarting | ActorState::Stopped => MailerState::Restarting,
                ActorState::Running if working.contains(&id) => MailerState::Busy,
                ActorState::Running if held => MailerState::Held,
                ActorState::Running => MailerState::Idle,
            };
            Some(MailerStatus { id: slot, state, restarts: child.restarts })
        });
        PoolStatus {
            size: self.size,
            min: 1,
            max: self.settings.mailers_max,
            busy: working.len(),
            allowed,
            mailers: mailers.collect(),
        }
    }

    /// One line an actor; all mailers in one.
    pub(super) fn actor_statuses(&self) -> Vec<ActorStatus> {
        let mut statuses = vec![ActorStatus {
            name: ActorName::Supervisor.as_str(),
            state: if self.stopping { ActorState::Stopped } else { ActorState::Running },
            restarts: 0,
            last_error: None,
            silent_for: Duration::ZERO,
        }];
        let owner = self.dlq_owner.is_some().then_some(ActorName::DlqOwner);
        let always = [ActorName::Consumer, ActorName::Mailer, ActorName::DeadLetters, ActorName::Metrics];
        for name in always.into_iter().chain(owner) {
            let of_name = self.children.iter().filter(|((of, _), child)| *of == name && !child.retiring);
            let children: Vec<&Child> = of_name.map(|(_, child)| child).collect();
            let state = if children.is_empty() || children.iter().any(|c| c.state == ActorState::Stopped) {
                ActorState::Stopped
            } else if children.iter().any(|c| c.state == ActorState::Restarting) {
                ActorState::Restarting
            } else {
                ActorState::Running
            };
            statuses.push(ActorStatus {
                name: name.as_str(),
                state,
                restarts: children.iter().map(|c| c.restarts).sum(),
                last_error: children.iter().rev().find_map(|c| c.last_error.clone()),
                silent_for: children.iter().map(|child| child.silent_for()).max().unwrap_or_default(),
            });
        }
        self.add_the_poll_thread(&mut statuses);
        statuses
    }

    /// The thread that polls is the consumer's other half: where it stands still longer, the consumer does.
    fn add_the_poll_thread(&self, statuses: &mut [ActorStatus]) {
        let still = self.consumer.vitals.poll_thread_still_for();
        let consumer = statuses.iter_mut().find(|status| status.name == ActorName::Consumer.as_str());
        if let Some(consumer) = consumer.filter(|consumer| still > consumer.silent_for) {
            consumer.silent_for = still;
            if still >= WORTH_A_WORD {
                consumer.last_error = Some("the thread that polls Kafka stands still".into());
            }
        }
    }
}
