//! Wakes a parked thread: rung by librdkafka's callbacks, by commands, and by the reply of an actor.

use std::sync::{Arc, OnceLock};
use std::task::Wake;
use std::thread::{self, Thread};

/// Rung before its thread listens, it is heard all the same: such a thread begins with a full turn.
#[derive(Debug, Default)]
pub(super) struct Bell {
    thread: OnceLock<Thread>,
}

impl Bell {
    /// The calling thread is the one to wake from now on. Called once.
    pub fn listen_here(&self) {
        self.thread.get_or_init(thread::current);
    }

    /// Wakes the thread from `park_timeout`, or keeps it from parking the next time.
    pub fn ring(&self) {
        if let Some(thread) = self.thread.get() {
            thread.unpark();
        }
    }
}

impl Wake for Bell {
    fn wake(self: Arc<Self>) {
        self.ring();
    }
}
