//! What the scripted server is told to do wrong, and when.

use std::collections::HashMap;
use std::sync::Mutex;
use std::time::Duration;

use super::ScriptedSmtp;

/// A step of a connection at which a rule may hold.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum At {
    Greeting,
    Ehlo,
    Starttls,
    /// Instead of the TLS handshake.
    Handshake,
    Auth,
    /// A line that answers a 334.
    AuthAnswer,
    Mail,
    Rcpt,
    Data,
    /// After the 354, before the e-mail is read.
    Text,
    /// After the final dot.
    Dot,
    Rset,
    Quit,
    /// Any other command.
    Other,
}

/// What the server does, one after the other.
#[derive(Clone, Debug)]
pub enum Act {
    /// Says these bytes, as they are.
    Say(Vec<u8>),
    /// Says them one by one, with a pause before each.
    Drip(Vec<u8>, Duration),
    /// Says them again and again until the client has had enough.
    Repeat(Vec<u8>),
    Pause(Duration),
    /// Waits until the test calls [`ScriptedSmtp::release`] with this name.
    Hold(&'static str),
    /// Reads on, and says nothing more.
    Silence,
    /// Neither reads nor says anything more.
    Stall,
    Close,
    /// Ends the connection so that the client's next use of it fails (RST).
    Reset,
    /// What it would have done without the rule.
    GoOn,
}

/// A reply line.
pub fn say(line: &str) -> Act {
    Act::Say(format!("{line}\r\n").into_bytes())
}

/// What a rule may look at.
#[derive(Clone, Debug)]
pub struct Moment<'a> {
    /// From 1, in the order in which they were accepted.
    pub connection: usize,
    /// Connections open now, this one among them.
    pub open: usize,
    /// E-mails that this connection has taken.
    pub mails_here: usize,
    /// E-mails that were taken over all connections.
    pub mails: usize,
    /// At [`At::Rcpt`] the address.
    pub recipient: Option<&'a str>,
    /// The command's line.
    pub line: &'a str,
}

type Condition = Box<dyn Fn(&Moment<'_>) -> bool + Send + Sync>;

pub(super) struct Rule {
    at: At,
    conditions: Vec<Condition>,
    times: Option<usize>,
    times_per_recipient: Option<usize>,
    pub(super) acts: Vec<Act>,
    held: Mutex<(usize, HashMap<String, usize>)>,
}

/// How the server encrypts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Encryption {
    None,
    Starttls,
    Tls,
}

/// What the server will do. Of several rules the first that holds counts.
pub struct Script {
    pub(super) encryption: Encryption,
    pub(super) keywords: Vec<String>,
    pub(super) names: Vec<String>,
    pub(super) expired: bool,
    pub(super) rules: Vec<Rule>,
}

impl Default for Script {
    fn default() -> Script {
        Script::new()
    }
}

impl Script {
    /// A server in plain text that offers PIPELINING, 8BITMIME and AUTH, and takes everything.
    pub fn new() -> Script {
        let keywords = ["PIPELINING", "8BITMIME", "AUTH PLAIN LOGIN XOAUTH2"].map(str::to_owned).to_vec();
        let names = vec!["localhost".to_owned(), "127.0.0.1".to_owned()];
        Script { encryption: Encryption::None, keywords, names, expired: false, rules: Vec::new() }
    }

    /// Its EHLO keywords; STARTTLS comes by itself with [`Encryption::Starttls`].
    pub fn keywords(mut self, keywords: &[&str]) -> Script {
        self.keywords = keywords.iter().map(|keyword| (*keyword).to_owned()).collect();
        self
    }

    pub fn encryption(mut self, encryption: Encryption) -> Script {
        self.encryption = encryption;
        self
    }

    /// The names of its certificate; without this `localhost` and `127.0.0.1`.
    pub fn certificate_for(mut self, names: &[&str]) -> Script {
        self.names = names.iter().map(|name| (*name).to_owned()).collect();
        self
    }

    /// Its certificate is of the past.
    pub fn expired_certificate(mut self) -> Script {
        self.expired = true;
        self
    }

    /// At this step the server does this, instead of what it would do. The functions below narrow the rule
    /// that was added last.
    pub fn on(mut self, at: At, acts: Vec<Act>) -> Script {
        self.rules.push(Rule {
            at,
            conditions: Vec::new(),
            times: None,
            times_per_recipient: None,
            acts,
            held: Mutex::default(),
        });
        self
    }

    /// Only the first so many times.
    pub fn times(mut self, times: usize) -> Script {
        self.last_rule().times = Some(times);
        self
    }

    /// Only the first so many times for each recipient.
    pub fn times_per_recipient(mut self, times: usize) -> Script {
        self.last_rule().times_per_recipient = Some(times);
        self
    }

    pub fn when(mut self, condition: impl Fn(&Moment<'_>) -> bool + Send + Sync + 'static) -> Script {
        self.last_rule().conditions.push(Box::new(condition));
        self
    }

    pub fn for_recipient(self, address: &str) -> Script {
        let address = address.to_owned();
        self.when(move |moment| moment.recipient == Some(address.as_str()))
    }

    /// Connections count from 1.
    pub fn on_connection(self, number: usize) -> Script {
        self.when(move |moment| moment.connection == number)
    }

    /// Once the connection has taken so many e-mails.
    pub fn after_mails(self, count: usize) -> Script {
        self.when(move |moment| moment.mails_here >= count)
    }

    /// No more than so many connections at a time: others are told so, and closed.
    pub fn at_most_open(self, count: usize, reply: &str) -> Script {
        self.on(At::Greeting, vec![say(reply), Act::Close]).when(move |moment| moment.open > count)
    }

    fn last_rule(&mut self) -> &mut Rule {
        self.rules.last_mut().expect("a rule is added before it is narrowed")
    }

    /// Starts the server on a free port of 127.0.0.1.
    pub fn start(self) -> ScriptedSmtp {
        ScriptedSmtp::start(self)
    }
}

impl Rule {
    /// Whether it holds now; counts that it did.
    pub(super) fn holds(&self, at: At, moment: &Moment<'_>) -> bool {
        if self.at != at || !self.conditions.iter().all(|condition| condition(moment)) {
            return false;
        }
        let (total, by_recipient) = &mut *self.held.lock().expect("no panic under this lock");
        let here = by_recipient.entry(moment.recipient.unwrap_or_default().to_owned()).or_default();
        if self.times.is_some_and(|times| *total >= times)
            || self.times_per_recipient.is_some_and(|times| *here >= times)
        {
            return false;
        }
        *total += 1;
        *here += 1;
        true
    }
}
