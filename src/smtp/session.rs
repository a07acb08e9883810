//! How a conversation with the relay meets a connection: bytes in, bytes out, no socket and no clock.
//!
//! A [`Conversation`] says what it [wants](Want) next; whoever drives it writes, reads, or asks the gate,
//! tells what came of it through the [`Wire`], and asks again. The same machine runs over TCP, over TLS and
//! in tests over plain byte strings.

use super::answers::Answers;
use super::reply::{Inbox, NoReply, REPLY_BYTES, RawReply};

/// Which of `smtp.timeouts` holds for the step at hand.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Limit {
    Greeting,
    /// Each reply to a command, of a pipelined group too.
    Command,
    /// The 354, and each write of the e-mail.
    Data,
    FinalDot,
    /// What comes after the e-mail's outcome is known: never longer than a few seconds.
    Courtesy,
}

/// What a conversation wants from its connection next.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Want {
    /// Write what is [pending](Wire::pending), or flush it where all of it is written.
    Write,
    /// Read whatever comes.
    Read,
    /// Ask whether the final dot may be sent, and answer with [`Conversation::gate_answered`].
    AskGate,
    /// Make the connection a TLS one, and answer with [`super::login::Login::encrypted`].
    StartTls,
    /// It is over.
    Nothing,
}

/// One conversation as a state machine.
pub trait Conversation {
    /// Works through what has come in, and says what is wanted next.
    fn want(&mut self) -> Want;

    /// The answer to [`Want::AskGate`].
    fn gate_answered(&mut self, open: bool);

    /// The deadline of the step at hand has passed.
    fn expired(&mut self);

    /// The limit of the step at hand.
    fn limit(&self) -> Limit;

    fn wire(&mut self) -> &mut Wire;
}

/// What goes out and what came in: the state that outlives a conversation, so that buffers are reused.
#[derive(Debug, Default)]
pub struct Wire {
    pub inbox: Inbox,
    outgoing: Vec<u8>,
    /// Bytes of `outgoing` that the connection has taken.
    written: usize,
    /// Whether the connection still holds some of them back.
    unflushed: bool,
    /// How the connection ended, when it has.
    ended: Option<String>,
    /// Counts steps: a new one has a new deadline.
    step: u64,
    /// Where replies are told of, once the connection has logged in.
    answers: Option<Answers>,
}

/// The next thing that came in.
#[derive(Debug)]
pub enum Heard<'a> {
    Reply(RawReply<'a>),
    /// It is no reply.
    Garbage(String),
    /// The connection ended, and everything before that has been read.
    Ended(String),
    /// Nothing more yet.
    Nothing,
}

impl Wire {
    // ---- For whoever drives the conversation ----------------------------------------------------------

    /// What is to be written.
    pub fn pending(&self) -> &[u8] {
        &self.outgoing[self.written..]
    }

    /// The connection has taken this many bytes of what is pending.
    pub fn wrote(&mut self, count: usize) {
        self.written += count;
        self.unflushed = true;
    }

    /// The connection holds nothing back.
    pub fn flushed(&mut self) {
        self.unflushed = false;
    }

    pub fn received(&mut self, bytes: &[u8]) {
        self.inbox.push(bytes);
    }

    /// The connection has ended, in words; nothing more can be written or read.
    pub fn ended(&mut self, how: impl Into<String>) {
        self.ended.get_or_insert(how.into());
        self.unflushed = false;
    }

    /// The connection has logged in: this, and each reply from now on, is told to `answers`.
    pub fn logged_in(&mut self, answers: Answers) {
        answers.hear();
        self.answers = Some(answers);
    }

    /// Changes whenever the deadline begins anew.
    pub fn step(&self) -> u64 {
        self.step
    }

    // ---- For conversations ----------------------------------------------------------------------------

    /// A new step begins: its deadline counts from now.
    pub fn next_step(&mut self) {
        self.step += 1;
    }

    /// The empty buffer for the next thing to write; a step begins with it.
    pub fn say(&mut self) -> &mut Vec<u8> {
        self.next_step();
        self.outgoing.clear();
        self.written = 0;
        self.unflushed = false;
        &mut self.outgoing
    }

    /// Gives memory back that only a large e-mail or group needed.
    pub fn trim(&mut self) {
        self.outgoing.clear();
        self.written = 0;
        self.outgoing.shrink_to(16 * 1024);
    }

    /// Whether everything said has left.
    pub fn is_sent(&self) -> bool {
        self.written == self.outgoing.len() && !self.unflushed
    }

    /// Whether something is said of which nothing has left: what comes in now is no answer to it.
    pub fn is_untouched(&self) -> bool {
        self.written == 0 && !self.outgoing.is_empty()
    }

    pub fn has_ended(&self) -> bool {
        self.ended.is_some()
    }

    pub fn written(&self) -> usize {
        self.written
    }

    pub fn said(&self) -> usize {
        self.outgoing.len()
    }

    /// Whether anything has come in that nobody has read: bytes, or the end.
    pub fn has_news(&self) -> bool {
        !self.inbox.is_empty() || self.ended.is_some()
    }

    /// Whether more has come in than a relay can have to say before it has been asked.
    pub fn is_flooded(&self) -> bool {
        self.inbox.len() > REPLY_BYTES
    }

    pub fn hear(&mut self) -> Heard<'_> {
        match self.inbox.next_reply() {
            Ok(Some(reply)) => {
                self.step += 1;
                if let Some(answers) = &self.answers {
                    answers.hear();
                }
                Heard::Reply(reply)
            }
            Err(NoReply(why)) => Heard::Garbage(why),
            Ok(None) => match &self.ended {
                Some(how) => Heard::Ended(how.clone()),
                None => Heard::Nothing,
            },
        }
    }
}
