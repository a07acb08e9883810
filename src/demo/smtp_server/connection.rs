//! One connection of the demo's mail server: bytes between the socket and the conversation.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use bytes::{Buf, BytesMut};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::sync::watch;

use super::mailboxes::Mailboxes;
use super::session::{GREETING, MAX_MESSAGE_BYTES, Session, Step};

/// The longest line, its end included. RFC 5321 asks for 1,000; ours are never longer.
const MAX_LINE_BYTES: usize = 64 * 1024;
/// How long a connection may take to go when the server goes down.
const LINGER: Duration = Duration::from_millis(200);

/// Serves until the client leaves, or until `open_house` is over. What was taken is answered before that.
pub(super) async fn serve(stream: TcpStream, mailboxes: Arc<Mailboxes>, mut open_house: watch::Receiver<()>) {
    // Only speed is lost without it.
    let _ = stream.set_nodelay(true);
    let mut wire = Wire { stream, input: BytesMut::new(), output: BytesMut::from(GREETING) };
    let client_left = tokio::select! {
        biased;
        // An error is the client's abrupt way to leave.
        _ = converse(&mut wire, Session::new(mailboxes)) => true,
        // Never changes: the error says that the sender is gone.
        _ = open_house.changed() => false,
    };
    if !client_left {
        // However it ends, the connection is dropped next.
        let _ = tokio::time::timeout(LINGER, wire.part()).await;
    }
}

async fn converse(wire: &mut Wire, mut session: Session) -> io::Result<()> {
    while let Some(line) = wire.line().await? {
        match session.command(&line) {
            Step::Reply(reply) => wire.say(&reply),
            Step::LateReply(reply, delay) => {
                wire.flush().await?;
                tokio::time::sleep(delay).await;
                wire.say(&reply);
            }
            Step::ReadMessage => {
                wire.say("354 Go ahead\r\n");
                let Some(message) = read_message(wire).await? else { return Ok(()) };
                wire.say(session.message(message.as_deref()));
            }
            Step::Silence => {
                wire.flush().await?;
                return wire.ignore_the_rest().await;
            }
            Step::Close(reply) => {
                wire.say(&reply);
                wire.flush().await?;
                return wire.stream.shutdown().await;
            }
        }
    }
    Ok(())
}

/// The e-mail up to the lone dot, dots unstuffed: `Some(None)` when it was too large, `None` when the client
/// left before the dot.
async fn read_message(wire: &mut Wire) -> io::Result<Option<Option<Vec<u8>>>> {
    let mut message = Vec::new();
    let mut fits = true;
    while let Some(line) = wire.line().await? {
        if &line[..] == b".\r\n" {
            return Ok(Some(fits.then_some(message)));
        }
        let line = line.strip_prefix(b".").unwrap_or(&line);
        fits &= message.len() + line.len() <= MAX_MESSAGE_BYTES;
        if fits {
            message.extend_from_slice(line);
        }
    }
    Ok(None)
}

/// The socket with what was read and not used yet, and what is to be said and not written yet.
struct Wire {
    stream: TcpStream,
    input: BytesMut,
    output: BytesMut,
}

impl Wire {
    fn say(&mut self, text: &str) {
        self.output.extend_from_slice(text.as_bytes());
    }

    /// The next line, its end included; none when the client has left. What is to be said is written only when
    /// no whole line is left to answer, so the answers to pipelined commands go in one write.
    async fn line(&mut self) -> io::Result<Option<BytesMut>> {
        let mut searched = 0;
        loop {
            if let Some(end) = self.input[searched..].iter().position(|byte| *byte == b'\n') {
                return Ok(Some(self.input.split_to(searched + end + 1)));
            }
            searched = self.input.len();
            if searched > MAX_LINE_BYTES {
                return Err(io::Error::other("the line is too long"));
            }
            self.flush().await?;
            if self.stream.read_buf(&mut self.input).await? == 0 {
                return Ok(None);
            }
        }
    }

    /// Writes what is to be said. When it is cancelled nothing is lost or said twice.
    async fn flush(&mut self) -> io::Result<()> {
        while self.output.has_remaining() {
            self.stream.write_buf(&mut self.output).await?;
        }
        Ok(())
    }

    /// Reads and throws away, until the client leaves.
    async fn ignore_the_rest(&mut self) -> io::Result<()> {
        loop {
            self.input.clear();
            if self.stream.read_buf(&mut self.input).await? == 0 {
                return Ok(());
            }
        }
    }

    /// Says what is still to be said, then closes our side first and waits for the client's: a close with
    /// unread bytes would reset the connection, and could take the last answer with it.
    async fn part(&mut self) -> io::Result<()> {
        self.flush().await?;
        self.stream.shutdown().await?;
        self.ignore_the_rest().await
    }
}
