//! A relay that takes every e-mail, or answers as a test's rule says, and remembers each attempt with its times.

use std::collections::BTreeMap;
use std::io::{self, BufRead, BufReader, BufWriter, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

/// What the client has just done.
#[derive(Clone, Copy, Debug)]
pub enum Step<'a> {
    Connected,
    /// RCPT for this address.
    Recipient(&'a str),
    /// The end of the e-mail for these addresses.
    Dot(&'a [String]),
}

/// What a rule answers to a step.
#[derive(Clone, Debug)]
pub enum Answer {
    /// As a relay that is well.
    Accept,
    /// A reply of one line instead.
    Reply(&'static str),
    /// Accept, after this long.
    AcceptAfter(Duration),
    /// Nothing more on this connection, until the client closes it.
    Silence,
}

/// One transaction, from its MAIL on.
#[derive(Clone, Debug)]
pub struct Attempt {
    pub began: Instant,
    /// The whole MAIL command.
    pub mail: String,
    /// When its outcome was about to be written: the first refused step, or the reply to the dot.
    pub ended: Option<Instant>,
    /// The addresses that it was offered for, and those of them that RCPT was accepted for.
    pub recipients: Vec<String>,
    pub accepted: Vec<String>,
    /// The e-mail, when it was taken, dots unstuffed.
    pub taken: Option<Vec<u8>>,
}

impl Attempt {
    pub fn is_for(&self, recipient: &str) -> bool {
        self.recipients.iter().any(|of| of == recipient)
    }

    /// The Message-ID of the e-mail that was taken.
    pub fn message_id(&self) -> Option<String> {
        let message = mail_parser::MessageParser::default().parse(self.taken.as_deref()?)?;
        message.message_id().map(str::to_owned)
    }
}

type Rule = dyn Fn(Step<'_>) -> Answer + Send + Sync;

pub struct RecordingSmtp {
    port: u16,
    attempts: Arc<Mutex<Vec<Attempt>>>,
    unknown: Arc<Mutex<Vec<String>>>,
}

impl RecordingSmtp {
    /// A relay that takes everything.
    pub fn start() -> RecordingSmtp {
        RecordingSmtp::with(|_| Answer::Accept)
    }

    /// A relay that asks the rule at each connection, RCPT and final dot.
    pub fn with(rule: impl Fn(Step<'_>) -> Answer + Send + Sync + 'static) -> RecordingSmtp {
        RecordingSmtp::offering(&["PIPELINING", "8BITMIME"], rule)
    }

    /// As [`RecordingSmtp::with`], with these extensions in its answer to EHLO.
    pub fn offering(
        extensions: &[&str],
        rule: impl Fn(Step<'_>) -> Answer + Send + Sync + 'static,
    ) -> RecordingSmtp {
        let listener = TcpListener::bind(("127.0.0.1", 0)).expect("a port is free");
        let port = listener.local_addr().expect("a bound socket has an address").port();
        let attempts = Arc::default();
        let unknown = Arc::default();
        let mut greeting = vec!["recorder"];
        greeting.extend(extensions);
        let (last, others) = greeting.split_last().expect("the server's name at least");
        let others: String = others.iter().map(|line| format!("250-{line}\r\n")).collect();
        let ehlo: Arc<str> = format!("{others}250 {last}").into();
        let rule: Arc<Rule> = Arc::new(rule);
        let (recorded, unheard) = (Arc::clone(&attempts), Arc::clone(&unknown));
        // It listens for as long as the tests run; connections end with the worker that made them.
        std::thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                let session = Session {
                    rule: Arc::clone(&rule),
                    ehlo: Arc::clone(&ehlo),
                    attempts: Arc::clone(&recorded),
                    unknown: Arc::clone(&unheard),
                };
                std::thread::spawn(move || {
                    // A client that goes away in the middle is what some tests are about.
                    let _ = session.serve(&stream);
                });
            }
        });
        RecordingSmtp { port, attempts, unknown }
    }

    pub fn port(&self) -> u16 {
        self.port
    }

    pub fn attempts(&self) -> Vec<Attempt> {
        self.attempts.lock().expect("no session panics").clone()
    }

    /// What was no command, or not in its place: an e-mail that ended too early, say.
    pub fn out_of_place(&self) -> Vec<String> {
        self.unknown.lock().expect("no session panics").clone()
    }

    pub fn attempts_for(&self, recipient: &str) -> Vec<Attempt> {
        self.attempts().into_iter().filter(|attempt| attempt.is_for(recipient)).collect()
    }

    /// How many e-mails were taken, repeats counted.
    pub fn taken(&self) -> usize {
        self.attempts
            .lock()
            .expect("no session panics")
            .iter()
            .filter(|attempt| attempt.taken.is_some())
            .count()
    }

    /// How often each recipient was sent an e-mail that was taken.
    pub fn copies(&self) -> BTreeMap<String, usize> {
        let mut copies = BTreeMap::new();
        for attempt in self.attempts.lock().expect("no session panics").iter() {
            if attempt.taken.is_some() {
                for recipient in &attempt.accepted {
                    *copies.entry(recipient.clone()).or_default() += 1;
                }
            }
        }
        copies
    }
}

struct Session {
    rule: Arc<Rule>,
    ehlo: Arc<str>,
    attempts: Arc<Mutex<Vec<Attempt>>>,
    unknown: Arc<Mutex<Vec<String>>>,
}

impl Session {
    fn serve(&self, stream: &TcpStream) -> io::Result<()> {
        stream.set_nodelay(true)?;
        let mut input = BufReader::new(stream);
        let mut output = BufWriter::new(stream);
        if !answer(&mut output, &self.ask(Step::Connected), "220 recorder ESMTP")? {
            return wait_for_end(&mut output, &mut input);
        }
        let mut attempt = None;
        let mut line = String::new();
        loop {
            // Replies to a group of commands leave together, as from a real server.
            if input.buffer().is_empty() {
                output.flush()?;
            }
            line.clear();
            if input.read_line(&mut line)? == 0 {
                return Ok(());
            }
            let command = line.trim_end();
            let verb = command.get(..4).unwrap_or(command).to_ascii_uppercase();
            let goes_on = match (verb.as_str(), attempt) {
                ("EHLO", _) => reply(&mut output, &self.ehlo)?,
                ("HELO", _) => reply(&mut output, "250 recorder")?,
                ("MAIL", _) => {
                    attempt = Some(self.begin(command));
                    reply(&mut output, "250 2.1.0 ok")?
                }
                ("RCPT", Some(number)) => self.recipient(&mut output, between_brackets(command), number)?,
                ("DATA", Some(number)) => self.data(&mut input, &mut output, number)?,
                ("RCPT" | "DATA", None) => {
                    self.note(command);
                    reply(&mut output, "503 5.5.1 MAIL first")?
                }
                ("RSET", _) => {
                    attempt = None;
                    reply(&mut output, "250 2.0.0 ok")?
                }
                ("NOOP", _) => reply(&mut output, "250 2.0.0 ok")?,
                ("QUIT", _) => {
                    reply(&mut output, "221 2.0.0 bye")?;
                    return output.flush();
                }
                _ => {
                    self.note(command);
                    reply(&mut output, "500 5.5.2 what?")?
                }
            };
            if !goes_on {
                return wait_for_end(&mut output, &mut input);
            }
        }
    }

    fn note(&self, command: &str) {
        self.unknown.lock().expect("no session panics").push(command.to_owned());
    }

    fn begin(&self, mail: &str) -> usize {
        let mut attempts = self.attempts.lock().expect("no session panics");
        attempts.push(Attempt {
            began: Instant::now(),
            mail: mail.to_owned(),
            ended: None,
            recipients: Vec::new(),
            accepted: Vec::new(),
            taken: None,
        });
        attempts.len() - 1
    }

    fn change<T>(&self, number: usize, change: impl FnOnce(&mut Attempt) -> T) -> T {
        change(&mut self.attempts.lock().expect("no session panics")[number])
    }

    fn recipient(&self, output: &mut impl Write, address: String, number: usize) -> io::Result<bool> {
        let answered = self.ask(Step::Recipient(&address));
        self.change(number, |attempt| {
            attempt.recipients.push(address.clone());
            match answered {
                Answer::Reply(_) => attempt.ended = Some(Instant::now()),
                _ => attempt.accepted.push(address),
            }
        });
        answer(output, &answered, "250 2.1.5 ok")
    }

    fn data(&self, input: &mut impl BufRead, output: &mut impl Write, number: usize) -> io::Result<bool> {
        let recipients = self.change(number, |attempt| attempt.accepted.clone());
        if recipients.is_empty() {
            return reply(output, "503 5.5.1 no valid recipients");
        }
        reply(output, "354 go on")?;
        output.flush()?;
        let message = read_message(input)?;
        let answered = self.ask(Step::Dot(&recipients));
        self.change(number, |attempt| match answered {
            Answer::Silence => {}
            Answer::Reply(_) => attempt.ended = Some(Instant::now()),
            Answer::Accept | Answer::AcceptAfter(_) => {
                attempt.ended = Some(Instant::now());
                attempt.taken = Some(message);
            }
        });
        answer(output, &answered, "250 2.0.0 taken")
    }

    /// What the rule says, its wait already done.
    fn ask(&self, step: Step<'_>) -> Answer {
        let answer = (self.rule)(step);
        if let Answer::AcceptAfter(wait) = answer {
            std::thread::sleep(wait);
        }
        answer
    }
}

/// Writes the reply; false when nothing more is to be said.
fn answer(output: &mut impl Write, answer: &Answer, accepted: &str) -> io::Result<bool> {
    match answer {
        Answer::Accept | Answer::AcceptAfter(_) => reply(output, accepted),
        Answer::Reply(text) => reply(output, text),
        Answer::Silence => Ok(false),
    }
}

fn reply(output: &mut impl Write, text: &str) -> io::Result<bool> {
    output.write_all(text.as_bytes())?;
    output.write_all(b"\r\n")?;
    Ok(true)
}

fn wait_for_end(output: &mut impl Write, input: &mut impl io::Read) -> io::Result<()> {
    output.flush()?;
    io::copy(input, &mut io::sink()).map(|_| ())
}

fn between_brackets(command: &str) -> String {
    let from = command.find('<').map_or(0, |at| at + 1);
    let to = command.find('>').unwrap_or(command.len());
    command[from..to].to_owned()
}

fn read_message(input: &mut impl BufRead) -> io::Result<Vec<u8>> {
    let mut message = Vec::new();
    let mut line = Vec::new();
    loop {
        line.clear();
        if input.read_until(b'\n', &mut line)? == 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        if line == b".\r\n" {
            return Ok(message);
        }
        message.extend_from_slice(line.strip_prefix(b".").unwrap_or(&line));
    }
}
