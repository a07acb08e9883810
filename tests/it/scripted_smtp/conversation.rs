//! One connection to the scripted server, from its greeting to its end.

use std::io::{self, Read, Write};
use std::net::{Shutdown, TcpStream};
use std::time::{Duration, Instant};

use tokio_rustls::rustls::{ServerConnection, StreamOwned};

use super::Shared;
use super::log::{Command, Delivery};
use super::script::{Act, At, Encryption, Moment};

enum Stream {
    Plain(TcpStream),
    Tls(Box<StreamOwned<ServerConnection, TcpStream>>),
    /// Between the two, or reset.
    Gone,
}

/// One connection, from greeting to end.
pub(super) struct Conversation<'a> {
    shared: &'a Shared,
    number: usize,
    /// Connections that were open when this one was accepted, it among them.
    open: usize,
    stream: Stream,
    /// Read and not yet looked at.
    input: Vec<u8>,
    sender: Option<String>,
    recipients: Vec<String>,
    mails: usize,
}

/// How a step ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Step {
    /// The first reply, or 0 where there was none.
    Said(u16),
    /// By a rule's `GoOn`, or because there was no rule.
    Usual,
}

fn over() -> io::Error {
    io::ErrorKind::ConnectionAborted.into()
}

impl<'a> Conversation<'a> {
    pub(super) fn new(shared: &'a Shared, socket: TcpStream, number: usize, open: usize) -> Conversation<'a> {
        // Only slower without it.
        let _ = socket.set_nodelay(true);
        let stream = Stream::Plain(socket);
        let (input, recipients) = (Vec::new(), Vec::new());
        Conversation { shared, number, open, stream, input, sender: None, recipients, mails: 0 }
    }

    /// Answers until the client leaves, or a rule ends it.
    pub(super) fn hold(&mut self) -> io::Result<()> {
        if self.shared.script.encryption == Encryption::Tls {
            self.encrypt()?;
        }
        self.answer(At::Greeting, "", None, "220 scripted.example ESMTP")?;
        while let Some(line) = self.read_command()? {
            let line = String::from_utf8_lossy(&line).trim_end_matches(['\r', '\n']).to_owned();
            self.note_command(&line);
            let (verb, rest) = line.split_once(' ').unwrap_or((&line, ""));
            match verb.to_ascii_uppercase().as_str() {
                "EHLO" => self.ehlo(&line)?,
                "STARTTLS" => self.starttls(&line)?,
                "AUTH" => self.auth(&line, rest)?,
                "MAIL" => {
                    self.recipients.clear();
                    self.sender = Some(address_of(rest));
                    if self.answer(At::Mail, &line, None, "250 2.1.0 ok")? / 100 != 2 {
                        self.sender = None;
                    }
                }
                "RCPT" => self.rcpt(&line, rest)?,
                "DATA" => self.data(&line)?,
                "RSET" => {
                    self.answer(At::Rset, &line, None, "250 2.0.0 reset")?;
                    self.forget();
                }
                "QUIT" => {
                    self.answer(At::Quit, &line, None, "221 2.0.0 bye")?;
                    return Ok(());
                }
                _ => {
                    self.answer(At::Other, &line, None, "500 5.5.2 what?")?;
                }
            }
        }
        Ok(())
    }

    fn ehlo(&mut self, line: &str) -> io::Result<()> {
        let mut keywords = self.shared.script.keywords.clone();
        let is_plain = matches!(self.stream, Stream::Plain(_));
        if is_plain && self.shared.script.encryption == Encryption::Starttls {
            keywords.push("STARTTLS".into());
        }
        keywords.insert(0, "scripted.example".into());
        let last = keywords.len() - 1;
        let lines = keywords.iter().enumerate().map(|(place, keyword)| {
            let mark = if place == last { ' ' } else { '-' };
            format!("250{mark}{keyword}")
        });
        let usual = lines.collect::<Vec<_>>().join("\r\n");
        self.forget();
        self.answer(At::Ehlo, line, None, &usual).map(|_| ())
    }

    fn starttls(&mut self, line: &str) -> io::Result<()> {
        if self.answer(At::Starttls, line, None, "220 2.0.0 go")? == 220 {
            self.input.clear();
            self.encrypt()?;
        }
        Ok(())
    }

    fn auth(&mut self, line: &str, rest: &str) -> io::Result<()> {
        let asks = rest.eq_ignore_ascii_case("LOGIN");
        let usual = if asks { "334 VXNlcm5hbWU6" } else { "235 2.7.0 ok" };
        let mut code = self.answer(At::Auth, line, None, usual)?;
        let mut answers = 0;
        while code == 334 {
            let Some(answer) = self.read_line()? else { return Err(over()) };
            let answer = String::from_utf8_lossy(&answer).trim_end().to_owned();
            self.note_command(&answer);
            answers += 1;
            let usual = if asks && answers == 1 { "334 UGFzc3dvcmQ6" } else { "235 2.7.0 ok" };
            code = self.answer(At::AuthAnswer, &answer, None, usual)?;
        }
        Ok(())
    }

    fn rcpt(&mut self, line: &str, rest: &str) -> io::Result<()> {
        let address = address_of(rest);
        let usual = if self.sender.is_some() { "250 2.1.5 ok" } else { "503 5.5.1 MAIL first" };
        let code = self.answer(At::Rcpt, line, Some(&address), usual)?;
        if code / 100 == 2 {
            self.recipients.push(address);
        }
        Ok(())
    }

    fn data(&mut self, line: &str) -> io::Result<()> {
        let usual = if self.recipients.is_empty() { "503 5.5.1 RCPT first" } else { "354 go" };
        if self.answer(At::Data, line, None, usual)? != 354 {
            return Ok(());
        }
        self.run_rule(At::Text, "", None, "")?;
        let mut data = Vec::new();
        loop {
            let Some(line) = self.read_line()? else { return Err(over()) };
            if line == b".\r\n" {
                break;
            }
            data.extend_from_slice(line.strip_prefix(b".").unwrap_or(&line));
        }
        let delivery = Delivery {
            at: Instant::now(),
            connection: self.number,
            sender: self.sender.clone().unwrap_or_default(),
            recipients: self.recipients.clone(),
            data,
            taken: false,
        };
        let mut place = 0;
        self.shared.note(|log| {
            place = log.deliveries.len();
            log.deliveries.push(delivery);
        });
        // Written down before it is said: who has the 250 finds the e-mail in the log.
        let acts = self.rule(At::Dot, "", None);
        self.forget();
        let code = acts.as_deref().map_or(250, first_code);
        if code == 250 {
            self.mails += 1;
            self.shared.note(|log| log.deliveries[place].taken = true);
        }
        self.run(acts, "250 2.0.0 taken").map(|_| ())
    }

    fn forget(&mut self) {
        self.sender = None;
        self.recipients.clear();
    }

    fn note_command(&self, line: &str) {
        let command = Command {
            at: Instant::now(),
            connection: self.number,
            encrypted: matches!(self.stream, Stream::Tls(_)),
            line: line.to_owned(),
        };
        self.shared.note(|log| log.commands.push(command));
    }

    /// Does what the script says, else the usual; returns the code that was said first.
    fn answer(&mut self, at: At, line: &str, recipient: Option<&str>, usual: &str) -> io::Result<u16> {
        self.run_rule(at, line, recipient, usual)
    }

    fn run_rule(&mut self, at: At, line: &str, recipient: Option<&str>, usual: &str) -> io::Result<u16> {
        let acts = self.rule(at, line, recipient);
        self.run(acts, usual)
    }

    fn rule(&self, at: At, line: &str, recipient: Option<&str>) -> Option<Vec<Act>> {
        let moment = Moment {
            connection: self.number,
            open: self.open,
            mails_here: self.mails,
            mails: self.shared.log().taken().len(),
            recipient,
            sender: self.sender.as_deref(),
            line,
        };
        let rule = self.shared.script.rules.iter().find(|rule| rule.holds(at, &moment));
        rule.map(|rule| rule.acts.clone())
    }

    /// The code that was said first; the usual reply's where it was said, and 0 where nothing was.
    fn run(&mut self, acts: Option<Vec<Act>>, usual: &str) -> io::Result<u16> {
        let mut first = 0;
        for act in acts.unwrap_or_else(|| vec![Act::GoOn]) {
            let step = self.act(act, usual)?;
            let code = match step {
                Step::Usual => code_of(usual.as_bytes()),
                Step::Said(code) => code,
            };
            if first == 0 {
                first = code;
            }
        }
        Ok(first)
    }

    fn act(&mut self, act: Act, usual: &str) -> io::Result<Step> {
        match act {
            Act::Say(bytes) => {
                self.write(&bytes)?;
                return Ok(Step::Said(code_of(&bytes)));
            }
            Act::GoOn => {
                if !usual.is_empty() {
                    self.write(format!("{usual}\r\n").as_bytes())?;
                }
                return Ok(Step::Usual);
            }
            Act::Drip(bytes, pause) => {
                for byte in &bytes {
                    self.pause(pause)?;
                    self.write(&[*byte])?;
                }
                return Ok(Step::Said(code_of(&bytes)));
            }
            Act::Repeat(bytes) => loop {
                self.write(&bytes)?;
            },
            Act::Pause(pause) => self.pause(pause)?,
            Act::Hold(name) => {
                let released =
                    || self.shared.released.lock().expect("no panic under this lock").contains(&name);
                self.shared.wait_for(released);
            }
            Act::Silence => {
                while self.read_some()? {
                    self.input.clear();
                }
                return Err(over());
            }
            Act::Stall => {
                self.shared.wait_for(|| false);
                return Err(over());
            }
            Act::Close => {
                self.close();
                return Err(over());
            }
            Act::Reset => {
                self.reset();
                return Err(over());
            }
        }
        if self.shared.is_stopping() { Err(over()) } else { Ok(Step::Said(0)) }
    }

    fn pause(&self, pause: Duration) -> io::Result<()> {
        std::thread::sleep(pause);
        if self.shared.is_stopping() { Err(over()) } else { Ok(()) }
    }

    fn encrypt(&mut self) -> io::Result<()> {
        self.run_rule(At::Handshake, "", None, "")?;
        let Stream::Plain(tcp) = std::mem::replace(&mut self.stream, Stream::Gone) else {
            return Err(over());
        };
        let tls = ServerConnection::new(self.shared.tls.clone()).map_err(io::Error::other)?;
        let mut stream = StreamOwned::new(tls, tcp);
        while stream.conn.is_handshaking() {
            stream.conn.complete_io(&mut stream.sock)?;
        }
        self.stream = Stream::Tls(Box::new(stream));
        Ok(())
    }

    /// Ends the connection in order: all that was said still arrives.
    fn close(&mut self) {
        match &mut self.stream {
            Stream::Plain(tcp) => drop(tcp.shutdown(Shutdown::Write)),
            Stream::Tls(tls) => {
                tls.conn.send_close_notify();
                let _ = tls.flush();
                let _ = tls.sock.shutdown(Shutdown::Write);
            }
            Stream::Gone => {}
        }
    }

    fn reset(&mut self) {
        let tcp = match std::mem::replace(&mut self.stream, Stream::Gone) {
            Stream::Plain(tcp) => tcp,
            Stream::Tls(tls) => tls.sock,
            Stream::Gone => return,
        };
        // The other handle of the same socket would keep it open.
        self.shared.sockets.lock().expect("no panic under this lock").remove(&self.number);
        let socket = tokio::net::TcpSocket::from_std_stream(tcp);
        let _ = socket.set_zero_linger();
    }

    fn write(&mut self, bytes: &[u8]) -> io::Result<()> {
        match &mut self.stream {
            Stream::Plain(tcp) => tcp.write_all(bytes),
            Stream::Tls(tls) => tls.write_all(bytes).and_then(|()| tls.flush()),
            Stream::Gone => Err(over()),
        }
    }

    /// Reads what there is; false at the end.
    fn read_some(&mut self) -> io::Result<bool> {
        let mut buffer = [0; 16 * 1024];
        let count = match &mut self.stream {
            Stream::Plain(tcp) => tcp.read(&mut buffer)?,
            Stream::Tls(tls) => tls.read(&mut buffer)?,
            Stream::Gone => return Err(over()),
        };
        self.input.extend_from_slice(&buffer[..count]);
        Ok(count > 0)
    }

    /// The next line, unless the client has been idle for longer than the script allows.
    fn read_command(&mut self) -> io::Result<Option<Vec<u8>>> {
        let Some((after, goodbye)) = &self.shared.script.idle else { return self.read_line() };
        self.limit_reads(Some(*after))?;
        let line = self.read_line();
        if let Err(error) = &line
            && matches!(error.kind(), io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut)
        {
            self.write(goodbye)?;
            self.close();
            return Ok(None);
        }
        self.limit_reads(None)?;
        line
    }

    fn limit_reads(&self, limit: Option<Duration>) -> io::Result<()> {
        match &self.stream {
            Stream::Plain(tcp) => tcp.set_read_timeout(limit),
            Stream::Tls(tls) => tls.sock.set_read_timeout(limit),
            Stream::Gone => Ok(()),
        }
    }

    /// The next line with its end; none when there will be none.
    fn read_line(&mut self) -> io::Result<Option<Vec<u8>>> {
        let mut searched = 0;
        loop {
            if let Some(at) = self.input[searched..].iter().position(|byte| *byte == b'\n') {
                let rest = self.input.split_off(searched + at + 1);
                return Ok(Some(std::mem::replace(&mut self.input, rest)));
            }
            searched = self.input.len();
            if !self.read_some()? {
                return Ok(None);
            }
        }
    }
}

fn first_code(acts: &[Act]) -> u16 {
    let said = acts.iter().find_map(|act| match act {
        Act::Say(bytes) | Act::Drip(bytes, _) => Some(code_of(bytes)),
        Act::GoOn => Some(250),
        Act::Close | Act::Reset | Act::Silence | Act::Stall | Act::Repeat(_) => Some(0),
        Act::Pause(_) | Act::Hold(_) => None,
    });
    said.unwrap_or(0)
}

fn code_of(bytes: &[u8]) -> u16 {
    let digits = bytes.get(..3).and_then(|digits| std::str::from_utf8(digits).ok());
    digits.and_then(|digits| digits.parse().ok()).unwrap_or(0)
}

/// The address between the angle brackets.
fn address_of(parameters: &str) -> String {
    let inside = parameters.split_once('<').and_then(|(_, rest)| rest.rsplit_once('>'));
    inside.map_or(String::new(), |(address, _)| address.to_owned())
}
