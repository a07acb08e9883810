//! Tells the actors whether any broker answers, at most once a second each way.

use std::time::Duration;

use async_channel::Sender;
use mailroom_actors::ports::OffsetLogEvent;
use mailroom_actors::seldom::Seldom;
use parking_lot::Mutex;
use tokio::time::Instant;

const BETWEEN_EVENTS: Duration = Duration::from_secs(1);

/// Shared by all threads that hear from brokers.
#[derive(Debug)]
pub(super) struct Pulse {
    events: Sender<OffsetLogEvent>,
    told: Mutex<Told>,
}

#[derive(Debug)]
struct Told {
    reachable: Seldom,
    unreachable: Seldom,
}

impl Pulse {
    pub fn new(events: Sender<OffsetLogEvent>) -> Pulse {
        let seldom = || Seldom::new(BETWEEN_EVENTS);
        Pulse { events, told: Mutex::new(Told { reachable: seldom(), unreachable: seldom() }) }
    }

    /// A broker answered something just now.
    pub fn answered(&self) {
        if self.told.lock().reachable.may_say(Instant::now()).is_some() {
            self.send(OffsetLogEvent::Reachable);
        }
    }

    /// No broker answers, or the group can't be joined: `why` in words, without secrets.
    pub fn silent(&self, why: String) {
        if self.told.lock().unreachable.may_say(Instant::now()).is_some() {
            tracing::warn!(reason = why, "kafka does not answer");
            self.send(OffsetLogEvent::Unreachable(why));
        }
    }

    fn send(&self, event: OffsetLogEvent) {
        // Nobody listens any more: then nobody wants to know.
        let _ = self.events.send_blocking(event);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_told_again_within_a_second_is_kept_back() {
        let (sender, events) = async_channel::unbounded();
        let pulse = Pulse::new(sender);
        let begun = Instant::now();
        for _ in 0..3 {
            pulse.answered();
            pulse.silent("connection refused".into());
        }
        assert!(begun.elapsed() < BETWEEN_EVENTS, "the machine stood still; nothing was shown");
        assert_eq!(events.len(), 2);
    }
}
