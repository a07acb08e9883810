//! One connection of the demo's mail server: commands in, replies out, e-mails told. RFC 5321.

use std::io;

use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::TcpStream;
use tokio::sync::watch;

use super::OnDelivery;
use crate::demo::traffic::Kind;

/// The longest line, its end included; the RFC asks for 1,000.
const MAX_LINE_BYTES: u64 = 64 * 1024;
const MAX_MESSAGE_BYTES: usize = 10 * 1024 * 1024;
const GREETING: &str = "220 mail.example.com ESMTP\r\n";
const OFFERS: &str = "250-mail.example.com\r\n250-PIPELINING\r\n250-8BITMIME\r\n250-ENHANCEDSTATUSCODES\r\n250 SIZE 10485760\r\n";

/// Serves until the client leaves, or `open_house` is over; what was taken has been answered by then.
pub(super) async fn hold(stream: TcpStream, on_delivery: OnDelivery, open_house: watch::Receiver<()>) {
    // Only speed is lost without it.
    let _ = stream.set_nodelay(true);
    let mut conversation = Conversation {
        stream: BufReader::new(stream),
        open_house,
        replies: GREETING.to_owned(),
        on_delivery,
        in_transaction: false,
        recipients: Vec::new(),
    };
    // However it ends, the connection is dropped; an error is the client's abrupt way to leave.
    let _ = conversation.run().await;
}

struct Conversation {
    stream: BufReader<TcpStream>,
    open_house: watch::Receiver<()>,
    /// What is to be said and not written yet.
    replies: String,
    on_delivery: OnDelivery,
    /// MAIL was taken, and its e-mail is neither taken nor given up.
    in_transaction: bool,
    recipients: Vec<String>,
}

impl Conversation {
    async fn run(&mut self) -> io::Result<()> {
        while let Some(line) = self.line().await? {
            let line = String::from_utf8_lossy(&line).into_owned();
            let line = line.trim_end();
            let verb = line.split(' ').next().unwrap_or_default().to_ascii_uppercase();
            match verb.as_str() {
                "EHLO" => {
                    self.reset();
                    self.replies.push_str(OFFERS);
                }
                "HELO" | "RSET" => {
                    self.reset();
                    self.say("250 2.0.0 Ok");
                }
                "NOOP" => self.say("250 2.0.0 Ok"),
                "MAIL" if self.in_transaction => self.say("503 5.5.1 One at a time"),
                "MAIL" if address(line).is_none() => self.say("501 5.5.4 MAIL FROM:<address> it is"),
                "MAIL" => {
                    self.in_transaction = true;
                    self.say("250 2.1.0 Ok");
                }
                "RCPT" if !self.in_transaction => self.say("503 5.5.1 MAIL first"),
                "RCPT" => match address(line).filter(|address| !address.is_empty()) {
                    None => self.say("501 5.5.4 RCPT TO:<address> it is"),
                    Some(recipient) => match Kind::of_address(recipient) {
                        Kind::Nobody => self.say("550 5.1.1 No such user"),
                        Kind::Limited => self.say("451 4.7.1 Too many requests"),
                        Kind::Slow => return self.keep_silent().await,
                        Kind::Fine => {
                            self.recipients.push(recipient.to_owned());
                            self.say("250 2.1.5 Ok");
                        }
                    },
                },
                "DATA" if !self.in_transaction => self.say("503 5.5.1 MAIL first"),
                "DATA" if self.recipients.is_empty() => self.say("554 5.5.1 No valid recipients"),
                "DATA" => {
                    self.say("354 Go ahead");
                    if !self.take_message().await? {
                        return Ok(());
                    }
                }
                "QUIT" => {
                    self.say("221 2.0.0 Bye");
                    return self.flush().await;
                }
                _ => self.say("500 5.5.2 What is that?"),
            }
        }
        Ok(())
    }

    fn say(&mut self, reply: &str) {
        self.replies.push_str(reply);
        self.replies.push_str("\r\n");
    }

    fn reset(&mut self) {
        self.in_transaction = false;
        self.recipients.clear();
    }

    /// Reads the e-mail up to the lone dot, tells it, and answers. False when the client left before the dot.
    async fn take_message(&mut self) -> io::Result<bool> {
        let mut message_id = None;
        let mut in_headers = true;
        let mut bytes = 0;
        loop {
            let Some(line) = self.line().await? else { return Ok(false) };
            if line == b".\r\n" {
                break;
            }
            bytes += line.len();
            in_headers &= !line.trim_ascii().is_empty();
            if in_headers && message_id.is_none() {
                message_id = header(&line, b"Message-ID:");
            }
        }
        if bytes > MAX_MESSAGE_BYTES {
            self.say("552 5.3.4 Too large");
        } else {
            let message_id = message_id.unwrap_or_default();
            for recipient in &self.recipients {
                (self.on_delivery)(recipient, &message_id);
            }
            self.say("250 2.0.0 Ok: taken");
        }
        self.reset();
        // Not left to the next read, which the end of the open house cuts short.
        self.flush().await?;
        Ok(true)
    }

    /// The next line with its end; none when the client has left or the open house is over. Replies are
    /// written only when no whole command is left to answer, so those to pipelined commands go in one write.
    async fn line(&mut self) -> io::Result<Option<Vec<u8>>> {
        if !self.stream.buffer().contains(&b'\n') {
            self.flush().await?;
        }
        let mut line = Vec::new();
        let mut limited = (&mut self.stream).take(MAX_LINE_BYTES);
        tokio::select! {
            read = limited.read_until(b'\n', &mut line) => { read?; }
            // Never changes: an error says that the house is closed.
            _ = self.open_house.changed() => return Ok(None),
        }
        // Without its end it is too long, or the last that came.
        Ok(line.ends_with(b"\n").then_some(line))
    }

    /// Says nothing any more, until the client leaves.
    async fn keep_silent(&mut self) -> io::Result<()> {
        self.flush().await?;
        while self.line().await?.is_some() {}
        Ok(())
    }

    async fn flush(&mut self) -> io::Result<()> {
        let replies = std::mem::take(&mut self.replies);
        self.stream.get_mut().write_all(replies.as_bytes()).await
    }
}

/// The address between the angle brackets of MAIL and RCPT.
fn address(line: &str) -> Option<&str> {
    Some(line.split_once(":<")?.1.split_once('>')?.0)
}

fn header(line: &[u8], name: &[u8]) -> Option<String> {
    let (found, value) = line.split_at_checked(name.len())?;
    found.eq_ignore_ascii_case(name).then(|| String::from_utf8_lossy(value.trim_ascii()).into_owned())
}
