//! An offset log that joins its group only once the topics are known to be there; brokers may be away for long.

use std::sync::Arc;

use async_channel::Sender;
use mailroom_actors::ports::{CommitOffset, OffsetLog, OffsetLogEvent};
use parking_lot::Mutex;

use super::KafkaOffsetLog;

/// Stands for the consumer group from the start; until [`LateOffsetLog::join`] there is nothing to commit, and
/// leaving is done at once.
pub struct LateOffsetLog {
    state: Mutex<State>,
    events: Sender<OffsetLogEvent>,
}

enum State {
    Waiting,
    Joined(Arc<KafkaOffsetLog>),
    /// The worker stopped before there was a group to join.
    Left,
}

impl LateOffsetLog {
    pub fn new(events: Sender<OffsetLogEvent>) -> LateOffsetLog {
        LateOffsetLog { state: Mutex::new(State::Waiting), events }
    }

    /// From now on everything goes to what `start` returns; it is not called when the worker has stopped.
    ///
    /// # Errors
    /// `start`'s own.
    pub fn join<E>(&self, start: impl FnOnce() -> Result<KafkaOffsetLog, E>) -> Result<(), E> {
        let mut state = self.state.lock();
        if matches!(*state, State::Waiting) {
            *state = State::Joined(Arc::new(start()?));
        }
        Ok(())
    }

    /// Tells the actors that no broker answers yet.
    pub fn unreachable(&self, why: String) {
        // Nobody listens any more when the worker is ending.
        let _ = self.events.try_send(OffsetLogEvent::Unreachable(why));
    }

    fn joined(&self) -> Option<Arc<KafkaOffsetLog>> {
        match &*self.state.lock() {
            State::Joined(log) => Some(Arc::clone(log)),
            State::Waiting | State::Left => None,
        }
    }
}

impl OffsetLog for LateOffsetLog {
    fn commit(&self, offsets: Vec<CommitOffset>) {
        if let Some(log) = self.joined() {
            log.commit(offsets);
        }
    }

    fn read_on(&self) {
        if let Some(log) = self.joined() {
            log.read_on();
        }
    }

    fn stop_reading(&self) {
        if let Some(log) = self.joined() {
            log.stop_reading();
        }
    }

    fn leave(&self, last: Vec<CommitOffset>) {
        if let Some(log) = self.joined() {
            return log.leave(last);
        }
        *self.state.lock() = State::Left;
        // As above.
        let _ = self.events.try_send(OffsetLogEvent::Left(Ok(())));
    }
}
