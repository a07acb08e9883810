//! The consumer actor's end of the poll thread: commands go one way, events come back by the channel.

use std::sync::Arc;
use std::sync::mpsc::Sender;

use mailroom_actors::ports::{CommitOffset, OffsetLog};

use super::bell::Bell;

/// What the poll thread may be told.
#[derive(Debug)]
pub(super) enum Command {
    Commit(Vec<CommitOffset>),
    StopReading,
    Leave(Vec<CommitOffset>),
}

/// The consumer group, as the actors see it. Dropped without a `leave`, it leaves without a commit.
#[derive(Debug)]
pub struct KafkaOffsetLog {
    commands: Sender<Command>,
    bell: Arc<Bell>,
}

impl KafkaOffsetLog {
    pub(super) fn new(commands: Sender<Command>, bell: Arc<Bell>) -> KafkaOffsetLog {
        KafkaOffsetLog { commands, bell }
    }

    fn tell(&self, command: Command) {
        // The thread is gone only after it has said so by `Left` or `Fatal`: nothing is owed any more.
        let _ = self.commands.send(command);
        self.bell.ring();
    }
}

impl OffsetLog for KafkaOffsetLog {
    fn commit(&self, offsets: Vec<CommitOffset>) {
        self.tell(Command::Commit(offsets));
    }

    fn read_on(&self) {
        self.bell.ring();
    }

    fn stop_reading(&self) {
        self.tell(Command::StopReading);
    }

    fn leave(&self, last: Vec<CommitOffset>) {
        self.tell(Command::Leave(last));
    }
}

impl Drop for KafkaOffsetLog {
    fn drop(&mut self) {
        self.bell.ring();
    }
}
