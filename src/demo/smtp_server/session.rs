//! The server's side of an SMTP conversation as plain states: lines in, what to do next out (RFC 5321).

use std::sync::Arc;
use std::time::{Duration, Instant};

use super::mailboxes::{Mailboxes, Welcome};

/// The largest e-mail that the server takes, in bytes; it says so in SIZE (RFC 1870).
pub(super) const MAX_MESSAGE_BYTES: usize = 10 * 1024 * 1024;
/// RFC 5321, section 4.5.3.1.8: no fewer than 100.
const MAX_RECIPIENTS: usize = 100;

pub(super) const GREETING: &str = "220 mail.customers.example ESMTP the demo's mail server\r\n";

const EHLO_REPLY: &str = "250-mail.customers.example\r\n250-PIPELINING\r\n250-8BITMIME\r\n\
                          250-ENHANCEDSTATUSCODES\r\n250 SIZE 10485760\r\n";

/// What the server does after a command.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Step {
    /// Answers with this, line ends included.
    Reply(String),
    /// Answers with this, line ends included, but only after a while.
    LateReply(String, Duration),
    /// Answers 354 and reads the e-mail up to the lone dot.
    ReadMessage,
    /// Says nothing any more, and keeps the connection.
    Silence,
    /// Answers with this and closes.
    Close(String),
}

/// One connection's state.
pub(super) struct Session {
    mailboxes: Arc<Mailboxes>,
    greeted: bool,
    /// MAIL was taken and the transaction is not over.
    in_transaction: bool,
    recipients: Vec<String>,
    silent_at_data: bool,
}

impl Session {
    pub(super) fn new(mailboxes: Arc<Mailboxes>) -> Session {
        Session {
            mailboxes,
            greeted: false,
            in_transaction: false,
            recipients: Vec::new(),
            silent_at_data: false,
        }
    }

    /// Takes one command, with or without its line end.
    pub(super) fn command(&mut self, line: &[u8]) -> Step {
        let line = String::from_utf8_lossy(line);
        let line = line.trim_end();
        let (verb, rest) = line.split_once(' ').unwrap_or((line, ""));
        match verb.to_ascii_uppercase().as_str() {
            "EHLO" if !rest.is_empty() => {
                self.reset();
                self.greeted = true;
                Step::Reply(EHLO_REPLY.into())
            }
            "HELO" if !rest.is_empty() => {
                self.reset();
                self.greeted = true;
                reply("250 mail.customers.example")
            }
            "EHLO" | "HELO" => reply("501 5.5.4 Say who you are"),
            "MAIL" => self.mail(rest),
            "RCPT" => self.rcpt(rest),
            "DATA" => self.data(),
            "RSET" => {
                self.reset();
                reply("250 2.0.0 Ok")
            }
            "NOOP" => reply("250 2.0.0 Ok"),
            "VRFY" => reply("252 2.0.0 Send some mail, and see"),
            "QUIT" => Step::Close("221 2.0.0 Bye\r\n".into()),
            _ => reply("500 5.5.2 What is that?"),
        }
    }

    fn mail(&mut self, rest: &str) -> Step {
        if !self.greeted || self.in_transaction {
            return reply("503 5.5.1 Not now");
        }
        let Some((_, parameters)) = path(rest, "FROM:") else {
            return reply("501 5.5.4 MAIL FROM:<address> it is");
        };
        let size = parameters.split(' ').find_map(|p| p.strip_prefix("SIZE=")).and_then(|n| n.parse().ok());
        if size.is_some_and(|bytes: usize| bytes > MAX_MESSAGE_BYTES) {
            return reply("552 5.3.4 Too large");
        }
        if !self.mailboxes.mood.has_room(Instant::now()) {
            return reply("454 4.7.0 Throttling failure: Maximum sending rate exceeded");
        }
        self.in_transaction = true;
        match self.mailboxes.mood.delay() {
            Some(delay) => Step::LateReply("250 2.1.0 Ok\r\n".into(), delay),
            None => reply("250 2.1.0 Ok"),
        }
    }

    fn rcpt(&mut self, rest: &str) -> Step {
        if !self.in_transaction {
            return reply("503 5.5.1 MAIL first");
        }
        let Some((recipient, _)) = path(rest, "TO:").filter(|(recipient, _)| !recipient.is_empty()) else {
            return reply("501 5.5.4 RCPT TO:<address> it is");
        };
        if self.recipients.len() >= MAX_RECIPIENTS {
            return reply("452 4.5.3 Too many recipients");
        }
        match self.mailboxes.welcome(recipient) {
            Welcome::Refused(text) => return reply(text),
            Welcome::Silence => return Step::Silence,
            Welcome::TakenThenSilence => self.silent_at_data = true,
            Welcome::Taken => {}
        }
        self.recipients.push(recipient.to_owned());
        reply("250 2.1.5 Ok")
    }

    fn data(&mut self) -> Step {
        if !self.in_transaction {
            reply("503 5.5.1 MAIL first")
        } else if self.recipients.is_empty() {
            reply("554 5.5.1 No valid recipients")
        } else if self.silent_at_data {
            Step::Silence
        } else {
            Step::ReadMessage
        }
    }

    /// The lone dot came: takes or refuses the e-mail, and returns the answer. `message` is none where it was
    /// longer than the server takes.
    pub(super) fn message(&mut self, message: Option<&[u8]>) -> &'static str {
        let recipients = std::mem::take(&mut self.recipients);
        self.reset();
        match message {
            None => "552 5.3.4 Too large\r\n",
            Some(message) => {
                self.mailboxes.deliver(recipients, &message_id(message));
                "250 2.0.0 Ok: taken\r\n"
            }
        }
    }

    fn reset(&mut self) {
        self.in_transaction = false;
        self.recipients.clear();
        self.silent_at_data = false;
    }
}

fn reply(text: &str) -> Step {
    Step::Reply(format!("{text}\r\n"))
}

/// The address in `FROM:<address> parameters`, and the parameters.
fn path<'a>(rest: &'a str, keyword: &str) -> Option<(&'a str, &'a str)> {
    let (head, tail) = rest.split_at_checked(keyword.len())?;
    if !head.eq_ignore_ascii_case(keyword) {
        return None;
    }
    let (address, parameters) = tail.trim_start().strip_prefix('<')?.split_once('>')?;
    Some((address, parameters.trim()))
}

/// The Message-ID among the e-mail's headers, with angle brackets; empty where there is none.
fn message_id(message: &[u8]) -> String {
    let headers = message.split(|byte| *byte == b'\n').take_while(|line| !line.trim_ascii().is_empty());
    for line in headers {
        let Some((name, value)) = line.split_at_checked("Message-ID:".len()) else { continue };
        if name.eq_ignore_ascii_case(b"Message-ID:") {
            return String::from_utf8_lossy(value.trim_ascii()).into_owned();
        }
    }
    String::new()
}
