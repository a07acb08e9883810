//! What the scripted server is told to do wrong, and when.

use std::collections::{HashMap, VecDeque};
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

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
    /// Connections that were open when this one was accepted, it among them: of many that come at once the
    /// first are let in, as a relay's one listener does.
    pub open: usize,
    /// E-mails that this connection has taken.
    pub mails_here: usize,
    /// E-mails that were taken over all connections.
    pub mails: usize,
    /// At [`At::Rcpt`] the address.
    pub recipient: Option<&'a str>,
    /// From [`At::Mail`] to [`At::Dot`] the address of `MAIL FROM`, by which a test tells e-mails apart.
    pub sender: Option<&'a str>,
    /// The command's line.
    pub line: &'a str,
}

type Condition = Box<dyn Fn(&Moment<'_>) -> bool + Send + Sync>;

pub(super) struct Rule {
    at: At,
    conditions: Vec<Condition>,
    times: Option<usize>,
    times_per_recipient: Option<usize>,
    times_per_sender: Option<usize>,
    pub(super) acts: Vec<Act>,
    held: Mutex<Held>,
}

/// How often a rule has held.
#[derive(Debug, Default)]
struct Held {
    total: usize,
    by_recipient: HashMap<String, usize>,
    by_sender: HashMap<String, usize>,
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
    pub(super) idle: Option<(Duration, Vec<u8>)>,
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
        Script {
            encryption: Encryption::None,
            keywords,
            names,
            expired: false,
            idle: None,
            rules: Vec::new(),
        }
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
            times_per_sender: None,
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

    /// Only the first so many times for each sender.
    pub fn times_per_sender(mut self, times: usize) -> Script {
        self.last_rule().times_per_sender = Some(times);
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

    pub fn for_sender(self, address: &str) -> Script {
        let address = address.to_owned();
        self.when(move |moment| moment.sender == Some(address.as_str()))
    }

    /// Only every so manyth time that everything else holds.
    pub fn one_in(self, count: usize) -> Script {
        let seen = AtomicUsize::new(0);
        self.when(move |_| (seen.fetch_add(1, Ordering::SeqCst) + 1).is_multiple_of(count))
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

    /// No more than so many times in each second: this is what the others get.
    pub fn at_most_a_second(self, count: usize, at: At, reply: &str) -> Script {
        let let_through = Mutex::new(VecDeque::new());
        self.on(at, vec![say(reply)]).when(move |_| {
            let now = Instant::now();
            let mut let_through = let_through.lock().expect("no panic under this lock");
            while let_through.front().is_some_and(|at| now.duration_since(*at) >= Duration::from_secs(1)) {
                let_through.pop_front();
            }
            let is_over = let_through.len() >= count;
            if !is_over {
                let_through.push_back(now);
            }
            is_over
        })
    }

    /// Connections that say nothing for so long between two commands are told `reply`, and closed.
    pub fn close_idle(mut self, after: Duration, reply: &str) -> Script {
        self.idle = Some((after, format!("{reply}\r\n").into_bytes()));
        self
    }

    fn last_rule(&mut self) -> &mut Rule {
        self.rules.last_mut().expect("a rule is added before it is narrowed")
    }

    /// Starts the server on a free port of 127.0.0.1.
    pub fn start(self) -> ScriptedSmtp {
        self.start_on(0)
    }

    /// Starts it on this port, which must be free: one that another server had before.
    pub fn start_on(self, port: u16) -> ScriptedSmtp {
        ScriptedSmtp::start(self, port)
    }
}

impl Rule {
    /// Whether it holds now; counts that it did.
    pub(super) fn holds(&self, at: At, moment: &Moment<'_>) -> bool {
        if self.at != at || !self.conditions.iter().all(|condition| condition(moment)) {
            return false;
        }
        let count = |key: Option<&str>, held: &mut HashMap<String, usize>, times: Option<usize>| {
            let here = held.entry(key.unwrap_or_default().to_owned()).or_default();
            *here += 1;
            times.is_none_or(|times| *here <= times)
        };
        let held = &mut *self.held.lock().expect("no panic under this lock");
        held.total += 1;
        let by_recipient = count(moment.recipient, &mut held.by_recipient, self.times_per_recipient);
        let by_sender = count(moment.sender, &mut held.by_sender, self.times_per_sender);
        self.times.is_none_or(|times| held.total <= times) && by_recipient && by_sender
    }
}
