//! Why an e-mail did not get through: where it failed, whose fault that is, and what it is called.
//!
//! This file is the two tables of the contract (sections 3 and 4): every failure has a [`Stage`], a
//! [`Class`] (whose it is, and so what happens next) and a [`Cause`] (its name for people).

use std::fmt;
use std::str::FromStr;

/// Where in the life of an e-mail something failed, in the order of that life.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Stage {
    Decode,
    Render,
    Connect,
    Greeting,
    Ehlo,
    Tls,
    Auth,
    Mail,
    Rcpt,
    Data,
    Body,
    FinalDot,
    Handler,
}

impl Stage {
    /// Every stage, in the order of an e-mail's life.
    pub const ALL: [Stage; 13] = [
        Stage::Decode,
        Stage::Render,
        Stage::Connect,
        Stage::Greeting,
        Stage::Ehlo,
        Stage::Tls,
        Stage::Auth,
        Stage::Mail,
        Stage::Rcpt,
        Stage::Data,
        Stage::Body,
        Stage::FinalDot,
        Stage::Handler,
    ];

    /// The name that dead letters and logs use.
    pub fn as_str(self) -> &'static str {
        match self {
            Stage::Decode => "decode",
            Stage::Render => "render",
            Stage::Connect => "connect",
            Stage::Greeting => "greeting",
            Stage::Ehlo => "ehlo",
            Stage::Tls => "tls",
            Stage::Auth => "auth",
            Stage::Mail => "mail",
            Stage::Rcpt => "rcpt",
            Stage::Data => "data",
            Stage::Body => "body",
            Stage::FinalDot => "final-dot",
            Stage::Handler => "handler",
        }
    }
}

impl FromStr for Stage {
    type Err = ();

    /// By the name that [`Stage::as_str`] gives.
    fn from_str(name: &str) -> Result<Stage, ()> {
        Stage::ALL.into_iter().find(|known| known.as_str() == name).ok_or(())
    }
}

impl fmt::Display for Stage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// The closed list of reasons a dead letter can name. It only ever grows.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Cause {
    Malformed,
    Invalid,
    Render,
    TooLarge,
    Expired,
    InvalidRecipient,
    BadDomain,
    InactiveMailbox,
    InvalidSender,
    Quota,
    Throttled,
    Policy,
    Protocol,
    SmtpAuth,
    SmtpUnreachable,
    Ambiguous,
    Crash,
    Unknown,
}

impl Cause {
    /// Every cause, in the contract's order.
    pub const ALL: [Cause; 18] = [
        Cause::Malformed,
        Cause::Invalid,
        Cause::Render,
        Cause::TooLarge,
        Cause::Expired,
        Cause::InvalidRecipient,
        Cause::BadDomain,
        Cause::InactiveMailbox,
        Cause::InvalidSender,
        Cause::Quota,
        Cause::Throttled,
        Cause::Policy,
        Cause::Protocol,
        Cause::SmtpAuth,
        Cause::SmtpUnreachable,
        Cause::Ambiguous,
        Cause::Crash,
        Cause::Unknown,
    ];

    /// The name that dead letters, metrics and logs use.
    pub fn as_str(self) -> &'static str {
        match self {
            Cause::Malformed => "malformed",
            Cause::Invalid => "invalid",
            Cause::Render => "render",
            Cause::TooLarge => "too_large",
            Cause::Expired => "expired",
            Cause::InvalidRecipient => "invalid_recipient",
            Cause::BadDomain => "bad_domain",
            Cause::InactiveMailbox => "inactive_mailbox",
            Cause::InvalidSender => "invalid_sender",
            Cause::Quota => "quota",
            Cause::Throttled => "throttled",
            Cause::Policy => "policy",
            Cause::Protocol => "protocol",
            Cause::SmtpAuth => "smtp_auth",
            Cause::SmtpUnreachable => "smtp_unreachable",
            Cause::Ambiguous => "ambiguous",
            Cause::Crash => "crash",
            Cause::Unknown => "unknown",
        }
    }
}

impl FromStr for Cause {
    type Err = ();

    /// By the name that [`Cause::as_str`] gives.
    fn from_str(name: &str) -> Result<Cause, ()> {
        Cause::ALL.into_iter().find(|known| known.as_str() == name).ok_or(())
    }
}

impl fmt::Display for Cause {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// Whose failure it is: the message's, the relay's, or nobody can tell. Contract, section 4.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Class {
    /// A 4xx about the message or a recipient: worth another try.
    Temporary,
    /// A 5xx about the message or a recipient, or a job that is no e-mail: never worth one.
    Permanent,
    /// The relay or the way to it: says nothing about the message.
    Infrastructure,
    /// The relay says "slower".
    Limited,
    /// Past the dot without a readable reply: it may or may not have been taken.
    Ambiguous,
}

impl Class {
    /// Every class, in the order of the metric's label values.
    pub const ALL: [Class; 5] =
        [Class::Temporary, Class::Permanent, Class::Infrastructure, Class::Limited, Class::Ambiguous];

    /// The name that metrics and logs use.
    pub fn as_str(self) -> &'static str {
        match self {
            Class::Temporary => "temporary",
            Class::Permanent => "permanent",
            Class::Infrastructure => "infrastructure",
            Class::Limited => "limited",
            Class::Ambiguous => "ambiguous",
        }
    }
}

/// An enhanced status code (RFC 3463): `5.1.1`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct EnhancedCode {
    pub class: u8,
    pub subject: u16,
    pub detail: u16,
}

impl EnhancedCode {
    /// Reads `5.1.1` at the start of `text`; returns it and what stands behind it. RFC 3463, section 2:
    /// the class is 2, 4 or 5, the two others at most three digits; a space or the end must follow.
    pub fn split_from(text: &str) -> Option<(EnhancedCode, &str)> {
        let (word, rest) = text.split_once(' ').unwrap_or((text, ""));
        let mut parts = word.split('.');
        let number = |part: Option<&str>| -> Option<u16> {
            let part = part?;
            let plain = !part.is_empty() && part.len() <= 3 && part.bytes().all(|b| b.is_ascii_digit());
            if plain { part.parse().ok() } else { None }
        };
        let class = number(parts.next())?;
        let subject = number(parts.next())?;
        let detail = number(parts.next())?;
        if parts.next().is_some() || ![2, 4, 5].contains(&class) {
            return None;
        }
        Some((EnhancedCode { class: class as u8, subject, detail }, rest))
    }
}

impl fmt::Display for EnhancedCode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}.{}", self.class, self.subject, self.detail)
    }
}

/// A whole SMTP reply: its code, its enhanced code where it has one, and the text of its lines joined
/// by a space, both codes taken off.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Reply {
    pub code: u16,
    pub enhanced: Option<EnhancedCode>,
    pub text: String,
}

impl fmt::Display for Reply {
    /// `550 5.1.1 No such user`: reply code and enhanced code once each.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.code)?;
        if let Some(enhanced) = self.enhanced {
            write!(f, " {enhanced}")?;
        }
        if !self.text.is_empty() {
            write!(f, " {}", self.text)?;
        }
        Ok(())
    }
}

/// One failure of one attempt, or of a job before any attempt.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Failure {
    pub stage: Stage,
    pub class: Class,
    pub cause: Cause,
    /// In words, with the server's own reply in it; may hold addresses: mask it before logging.
    pub reason: String,
    /// As read from the server; none where there was no reply.
    pub code: Option<u16>,
    pub enhanced: Option<EnhancedCode>,
    /// Whether an attempt was spent on it. Never for what is found before an attempt.
    pub spends_attempt: bool,
    /// The connection ended without a word, before the dot (a close or a reset): see
    /// [`Failure::is_the_connections`].
    pub closed: bool,
}

impl Failure {
    /// The relay answered, and not what was hoped for. Class and cause by the tables.
    pub fn replied(stage: Stage, reply: &Reply) -> Failure {
        Failure {
            stage,
            class: class_of_reply(stage, reply),
            cause: cause_of_reply(stage, reply),
            reason: reply.to_string(),
            code: Some(reply.code),
            enhanced: reply.enhanced,
            spends_attempt: true,
            closed: false,
        }
    }

    /// Nothing came within the deadline of `stage`.
    pub fn timed_out(stage: Stage) -> Failure {
        Failure::without_reply(stage, format!("Connection timed out (stage {stage})"))
    }

    /// The relay's host does not accept the connection.
    pub fn refused() -> Failure {
        Failure::without_reply(Stage::Connect, "Connection refused".into())
    }

    /// The connection ended: a close, a reset, any I/O error, in words.
    pub fn lost(stage: Stage, how: impl Into<String>) -> Failure {
        Failure { closed: stage != Stage::FinalDot, ..Failure::without_reply(stage, how.into()) }
    }

    /// The way to the relay is shut: DNS, TLS, a missing STARTTLS or AUTH, in words.
    pub fn unreachable(stage: Stage, how: impl Into<String>) -> Failure {
        let refused_auth = stage == Stage::Auth;
        Failure {
            cause: if refused_auth { Cause::SmtpAuth } else { Cause::SmtpUnreachable },
            ..Failure::without_reply(stage, how.into())
        }
    }

    /// What came is no SMTP reply, or not one that may stand here (354 where 250 is due, a stray reply).
    pub fn senseless(stage: Stage, what: impl Into<String>) -> Failure {
        let cause = match stage {
            Stage::FinalDot => Cause::Ambiguous,
            Stage::Connect | Stage::Greeting | Stage::Ehlo | Stage::Tls => Cause::SmtpUnreachable,
            _ => Cause::Protocol,
        };
        Failure { cause, ..Failure::without_reply(stage, what.into()) }
    }

    /// Found by ourselves before an attempt: the job is no e-mail, or not one that this relay takes.
    pub fn before_attempt(stage: Stage, cause: Cause, reason: impl Into<String>) -> Failure {
        Failure {
            stage,
            class: Class::Permanent,
            cause,
            reason: reason.into(),
            code: None,
            enhanced: None,
            spends_attempt: false,
            closed: false,
        }
    }

    /// Handling the job panicked. It costs one attempt; at `limits.crashes` of them the job is given up.
    pub fn crashed(what: impl Into<String>) -> Failure {
        Failure {
            class: Class::Temporary,
            cause: Cause::Crash,
            ..Failure::without_reply(Stage::Handler, what.into())
        }
    }

    fn without_reply(stage: Stage, reason: String) -> Failure {
        let past_the_dot = stage == Stage::FinalDot;
        Failure {
            stage,
            class: if past_the_dot { Class::Ambiguous } else { Class::Infrastructure },
            cause: if past_the_dot { Cause::Ambiguous } else { Cause::SmtpUnreachable },
            reason,
            code: None,
            enhanced: None,
            spends_attempt: true,
            closed: false,
        }
    }

    /// Whether this is the connection's end and not the e-mail's failure, on a connection that has carried
    /// an e-mail before or has been idle: a 421, any 4xx to MAIL, or a close before the dot. Relays end or
    /// refuse after so many e-mails, or so long; one fresh try on a new connection counts for nothing.
    pub fn is_the_connections(&self) -> bool {
        let before_the_dot = matches!(self.stage, Stage::Mail | Stage::Rcpt | Stage::Data | Stage::Body);
        match self.code {
            Some(421) => true,
            Some(code) => self.stage == Stage::Mail && (400..500).contains(&code),
            None => before_the_dot && self.closed,
        }
    }
}

fn class_of_reply(stage: Stage, reply: &Reply) -> Class {
    let at_mail_data_dot = matches!(stage, Stage::Mail | Stage::Data | Stage::FinalDot);
    let (subject, detail) = reply.enhanced.map_or((0, 0), |e| (e.subject, e.detail));
    match (stage, reply.code) {
        (Stage::Connect | Stage::Greeting | Stage::Ehlo | Stage::Tls | Stage::Auth, _) => {
            Class::Infrastructure
        }
        (_, 530 | 534 | 535 | 538) => Class::Infrastructure,
        (_, 421) => Class::Limited,
        _ if (subject, detail) == (4, 5) => Class::Limited,
        (_, 432 | 454) if at_mail_data_dot => Class::Limited,
        _ if at_mail_data_dot && (subject, detail) == (3, 2) => Class::Limited,
        (Stage::Mail, 400..=499) if subject == 7 => Class::Limited,
        (_, 400..=499) => Class::Temporary,
        _ => Class::Permanent,
    }
}

/// The cause table of the contract's section 3, first match wins, for what the server said.
fn cause_of_reply(stage: Stage, reply: &Reply) -> Cause {
    let at_mail_data_dot = matches!(stage, Stage::Mail | Stage::Data | Stage::FinalDot);
    let enhanced = reply.enhanced.map(|e| (e.class, e.subject, e.detail));
    match (stage, reply.code) {
        (Stage::Auth, _) => return Cause::SmtpAuth,
        (Stage::Connect | Stage::Greeting | Stage::Ehlo | Stage::Tls, _) => return Cause::SmtpUnreachable,
        (_, 530 | 534 | 535 | 538) => return Cause::SmtpAuth,
        (_, 421) => return Cause::Throttled,
        _ => {}
    }
    match enhanced {
        Some((_, 3, 2) | (_, 4, 5)) => return Cause::Throttled,
        Some((_, 1, 1 | 3 | 6)) => return Cause::InvalidRecipient,
        Some((_, 1, 2 | 10) | (_, 4, 4)) => return Cause::BadDomain,
        Some((5, 2, 1)) => return Cause::InactiveMailbox,
        Some((_, 2, 2 | 3) | (_, 3, 1)) => return Cause::Quota,
        Some((_, 1, 7 | 8)) => return Cause::InvalidSender,
        Some((_, 3, 4)) => return Cause::TooLarge,
        Some((4, 2, 1) | (4, 7, _)) => return Cause::Throttled,
        Some((5, 7, _)) => return Cause::Policy,
        Some((_, 5, _)) => return Cause::Protocol,
        _ => {}
    }
    match (stage, reply.code) {
        (Stage::Rcpt, 550 | 551 | 553) => Cause::InvalidRecipient,
        (Stage::Mail, 500..=599) => Cause::InvalidSender,
        (_, 552) => Cause::Quota,
        (_, 432 | 454) if at_mail_data_dot => Cause::Throttled,
        (_, 450..=452) => Cause::Throttled,
        _ => Cause::Unknown,
    }
}

#[cfg(test)]
#[path = "failure_tests.rs"]
mod tests;
