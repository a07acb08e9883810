//! Drives a conversation over a stream: writes, reads, asks the gate, and keeps the deadline of each step.

use std::future::poll_fn;
use std::io;
use std::task::{Context, Poll};
use std::time::Duration;

use mailroom_actors::domain::failure::{Failure, Stage};
use mailroom_actors::ports::Gate;
use tokio::time::timeout;
use tokio_rustls::rustls::pki_types::CertificateDer;

use super::deadline::Deadline;
use super::session::{Conversation, Limit, Want, Wire};
use super::stream::Stream;
use super::tls::Tls;
use crate::config::Timeouts;

/// How long the relay may take for what no e-mail waits for: RSET, QUIT.
pub const COURTESY: Duration = Duration::from_secs(5);
/// Bytes of one read.
const READ_BYTES: usize = 4 * 1024;
/// Reads after a failed write, to find what the relay said before it hung up.
const LAST_READS: usize = 16;

/// A stream, and what driving conversations over it needs.
pub struct Line {
    stream: Stream,
    timeouts: Timeouts,
    deadline: Deadline,
    /// The step, and its limit, that the deadline is set for.
    timed: (u64, Limit),
    /// Something came in since the last write, and was not acknowledged by one.
    unacknowledged: bool,
    read: Box<[u8; READ_BYTES]>,
}

impl Line {
    pub fn new(stream: Stream, timeouts: Timeouts) -> Line {
        Line {
            stream,
            timeouts,
            deadline: Deadline::after(timeouts.command),
            timed: (0, Limit::Command),
            unacknowledged: false,
            read: Box::new([0; READ_BYTES]),
        }
    }

    /// The same line, encrypted. The handshake has the limit of a command.
    ///
    /// # Errors
    /// Of stage `tls`.
    pub async fn encrypt(self, tls: &Tls) -> Result<Line, Failure> {
        let Stream::Plain(tcp) = self.stream else { return Ok(self) };
        let tls = match timeout(self.timeouts.command, tls.handshake(tcp)).await {
            Ok(shaken) => shaken?,
            Err(_) => return Err(Failure::timed_out(Stage::Tls)),
        };
        Ok(Line { stream: Stream::Tls(Box::new(tls)), ..self })
    }

    /// The certificates that the relay has shown, its own first; none without TLS.
    pub fn certificates(&self) -> &[CertificateDer<'static>] {
        match &self.stream {
            Stream::Plain(_) => &[],
            Stream::Tls(tls) => tls.get_ref().1.peer_certificates().unwrap_or_default(),
        }
    }

    /// Bytes of an e-mail in one write.
    pub fn piece_bytes(&self) -> usize {
        self.stream.piece_bytes()
    }

    /// Drives the conversation until it is over, or wants TLS; returns which.
    pub async fn converse(&mut self, conversation: &mut impl Conversation, gate: &dyn Gate) -> Want {
        poll_fn(|context| self.poll_converse(context, conversation, gate)).await
    }

    /// Says `words` and waits for any answer, then closes; for as long as a courtesy may take.
    pub async fn part(mut self, words: &[u8]) {
        let parting = async {
            let mut written = 0;
            while written < words.len() {
                written += poll_fn(|context| self.stream.poll_write(context, &words[written..])).await?;
            }
            poll_fn(|context| self.stream.poll_flush(context)).await?;
            poll_fn(|context| self.stream.poll_read(context, &mut *self.read)).await?;
            poll_fn(|context| self.stream.poll_shutdown(context)).await
        };
        // Whatever came of it, the connection is closed now, and no e-mail depends on it.
        let _: Result<io::Result<()>, _> = timeout(COURTESY, parting).await;
    }

    fn poll_converse(
        &mut self,
        context: &mut Context<'_>,
        conversation: &mut impl Conversation,
        gate: &dyn Gate,
    ) -> Poll<Want> {
        loop {
            let want = conversation.want();
            let timed = (conversation.wire().step(), conversation.limit());
            if timed != self.timed {
                self.timed = timed;
                self.deadline.set(self.duration(timed.1));
            }
            let stalled = match want {
                Want::Nothing | Want::StartTls => return Poll::Ready(want),
                Want::Read => self.poll_read(context, conversation.wire()).is_pending(),
                // What the relay says before it is asked is heard before it is asked. While nothing has
                // come this is no system call.
                Want::Write | Want::AskGate if self.poll_read(context, conversation.wire()).is_ready() => {
                    false
                }
                Want::AskGate => {
                    conversation.gate_answered(gate.pass_the_dot());
                    false
                }
                Want::Write => self.poll_write(context, conversation.wire()).is_pending(),
            };
            if !stalled {
                continue;
            }
            if want == Want::Read && std::mem::take(&mut self.unacknowledged) {
                self.stream.acknowledge_now();
            }
            match self.deadline.poll_passed(context) {
                Poll::Pending => return Poll::Pending,
                Poll::Ready(()) => conversation.expired(),
            }
        }
    }

    /// Ready when something has come in: bytes, or the end.
    fn poll_read(&mut self, context: &mut Context<'_>, wire: &mut Wire) -> Poll<()> {
        match self.stream.poll_read(context, &mut *self.read) {
            Poll::Pending => return Poll::Pending,
            Poll::Ready(Ok(0)) => wire.ended("Connection closed by the relay"),
            Poll::Ready(Ok(count)) => {
                wire.received(&self.read[..count]);
                self.unacknowledged = true;
            }
            Poll::Ready(Err(error)) => wire.ended(lost(&error)),
        }
        Poll::Ready(())
    }

    /// Ready when something has been taken, or everything flushed, or the connection is found to have ended.
    fn poll_write(&mut self, context: &mut Context<'_>, wire: &mut Wire) -> Poll<()> {
        if !wire.pending().is_empty() {
            match self.stream.poll_write(context, wire.pending()) {
                Poll::Pending => return Poll::Pending,
                Poll::Ready(Ok(0)) => {
                    wire.ended("Connection closed by the relay");
                    return Poll::Ready(());
                }
                Poll::Ready(Ok(count)) => {
                    wire.wrote(count);
                    self.unacknowledged = false;
                    if !wire.pending().is_empty() {
                        return Poll::Ready(());
                    }
                }
                Poll::Ready(Err(error)) => {
                    self.write_failed(context, wire, &error);
                    return Poll::Ready(());
                }
            }
        }
        match self.stream.poll_flush(context) {
            Poll::Pending => return Poll::Pending,
            Poll::Ready(Ok(())) => wire.flushed(),
            Poll::Ready(Err(error)) => self.write_failed(context, wire, &error),
        }
        Poll::Ready(())
    }

    fn write_failed(&mut self, context: &mut Context<'_>, wire: &mut Wire, error: &io::Error) {
        if self.stream.hides_what_it_sent() {
            wire.wrote(wire.pending().len());
        }
        for _ in 0..LAST_READS {
            if wire.has_ended() || self.poll_read(context, wire).is_pending() {
                break;
            }
        }
        wire.ended(lost(error));
    }

    fn duration(&self, limit: Limit) -> Duration {
        match limit {
            Limit::Greeting => self.timeouts.greeting,
            Limit::Command => self.timeouts.command,
            Limit::Data => self.timeouts.data,
            Limit::FinalDot => self.timeouts.final_dot,
            Limit::Courtesy => self.timeouts.command.min(COURTESY),
        }
    }
}

fn lost(error: &io::Error) -> String {
    format!("Connection lost: {error}")
}
