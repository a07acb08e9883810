//! What was said to the scripted server.

use std::time::Instant;

/// One command line.
#[derive(Clone, Debug)]
pub struct Command {
    pub at: Instant,
    pub connection: usize,
    pub encrypted: bool,
    pub line: String,
}

/// One e-mail that came up to its final dot.
#[derive(Clone, Debug)]
pub struct Delivery {
    /// When the final dot had been read.
    pub at: Instant,
    pub connection: usize,
    pub sender: String,
    /// Those whose RCPT was answered with 2xx.
    pub recipients: Vec<String>,
    /// Dots taken off, with all its line ends.
    pub data: Vec<u8>,
    /// It was answered with 250, so it is delivered.
    pub taken: bool,
}

/// Everything that was said to the server so far.
#[derive(Clone, Debug, Default)]
pub struct Log {
    pub commands: Vec<Command>,
    pub deliveries: Vec<Delivery>,
    /// Connections that were accepted.
    pub connections: usize,
    /// When each of them was.
    pub accepted_at: Vec<Instant>,
    /// The most that were open at the same time, those among them that were told to go.
    pub most_open: usize,
    /// Those that are over.
    pub ended: usize,
}

impl Log {
    /// The lines of all commands, in order.
    pub fn lines(&self) -> Vec<&str> {
        self.commands.iter().map(|command| command.line.as_str()).collect()
    }

    /// The commands of one connection, in order.
    pub fn commands_on(&self, connection: usize) -> Vec<&Command> {
        self.commands.iter().filter(|command| command.connection == connection).collect()
    }

    /// The deliveries that were answered with 250.
    pub fn taken(&self) -> Vec<&Delivery> {
        self.deliveries.iter().filter(|delivery| delivery.taken).collect()
    }
}
