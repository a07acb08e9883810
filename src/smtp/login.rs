//! From the greeting to a connection that is ready for MAIL: EHLO, STARTTLS, AUTH.
//!
//! HELO is never tried, nothing is ever sent in plain text that should have been encrypted, and nothing is
//! pipelined.

use std::io::Write as _;

use lettre::transport::smtp::authentication::Mechanism;
use mailroom_actors::domain::failure::{Failure, Stage};

use super::ehlo::Extensions;
use super::reply::RawReply;
use super::sasl::Sasl;
use super::session::{Conversation, Heard, Limit, Want, Wire};

/// What is to be reached.
pub struct Goal {
    pub helo_name: String,
    /// The connection is to become a TLS one by STARTTLS.
    pub starttls: bool,
    /// It is a TLS one from the start.
    pub encrypted: bool,
    /// None: mail is sent without logging in.
    pub sasl: Option<Sasl>,
    /// `smtp.allow_plaintext_auth`.
    pub allow_plaintext_auth: bool,
}

/// The conversation before the first e-mail.
pub struct Login<'a> {
    wire: &'a mut Wire,
    goal: Goal,
    state: State,
    extensions: Extensions,
    /// Whether `extensions` are those of an EHLO behind which nothing is encrypted any more.
    offered: bool,
    failure: Option<Failure>,
}

/// What is awaited.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    Greeting,
    Ehlo,
    Starttls,
    Handshake,
    /// 235, after everything has been said.
    Auth,
    /// The same for XOAUTH2, which tells its error in a 334 first.
    Xoauth2,
    /// LOGIN's two questions.
    UsernameAsked,
    PasswordAsked,
    Over,
}

impl<'a> Login<'a> {
    pub fn new(wire: &'a mut Wire, goal: Goal) -> Login<'a> {
        wire.say();
        Login {
            wire,
            goal,
            state: State::Greeting,
            extensions: Extensions::default(),
            offered: false,
            failure: None,
        }
    }

    /// The answer to [`Want::StartTls`]: everything is encrypted from here on. What was learnt before is
    /// forgotten.
    pub fn encrypted(&mut self) {
        self.goal.encrypted = true;
        self.extensions = Extensions::default();
        self.say_ehlo();
    }

    /// What the relay offers, or why it can't be used; to be asked once nothing more is wanted.
    pub fn result(self) -> Result<Extensions, Failure> {
        match self.failure {
            Some(failure) => Err(failure),
            None => Ok(self.extensions),
        }
    }

    /// What the relay offers, once it has said so where it counts: with STARTTLS only behind it.
    pub fn offered(&self) -> Option<&Extensions> {
        self.offered.then_some(&self.extensions)
    }

    fn stage(&self) -> Stage {
        match self.state {
            State::Greeting => Stage::Greeting,
            State::Ehlo => Stage::Ehlo,
            State::Starttls | State::Handshake => Stage::Tls,
            State::Auth | State::Xoauth2 | State::UsernameAsked | State::PasswordAsked | State::Over => {
                Stage::Auth
            }
        }
    }

    fn fail(&mut self, failure: Failure) {
        self.failure.get_or_insert(failure);
        self.state = State::Over;
    }

    fn say_ehlo(&mut self) {
        let out = self.wire.say();
        write!(out, "EHLO {}\r\n", self.goal.helo_name).expect("a Vec takes everything");
        self.state = State::Ehlo;
    }

    fn say(&mut self, line: &str, next: State) {
        let out = self.wire.say();
        out.extend_from_slice(line.as_bytes());
        out.extend_from_slice(b"\r\n");
        self.state = next;
    }

    fn on_reply(&mut self, answer: Answer) {
        match (self.state, answer.code) {
            (State::Greeting, 220) => self.say_ehlo(),
            (State::Ehlo, 250) => {
                self.extensions = answer.extensions.unwrap_or_default();
                self.after_ehlo();
            }
            (State::Starttls, 220) if self.wire.inbox.is_empty() => {
                self.state = State::Handshake;
                self.wire.next_step();
            }
            (State::Starttls, 220) => {
                let what = "plain text behind the reply to STARTTLS: someone may be injecting it";
                self.fail(Failure::senseless(Stage::Tls, what));
            }
            (State::UsernameAsked, 334) => {
                let username = self.sasl().login_username();
                self.say(&username, State::PasswordAsked);
            }
            (State::PasswordAsked, 334) => {
                let password = self.sasl().login_password();
                self.say(&password, State::Auth);
            }
            // The refusal itself comes once this has been answered by an empty line.
            (State::Xoauth2, 334) => self.say("", State::Auth),
            (State::Auth | State::Xoauth2, 235) => self.finish(),
            _ => self.fail(answer.into_failure(self.stage())),
        }
    }

    fn after_ehlo(&mut self) {
        if self.goal.starttls && !self.goal.encrypted {
            if self.extensions.starttls {
                self.say("STARTTLS", State::Starttls);
            } else {
                self.fail(Failure::unreachable(
                    Stage::Tls,
                    "the relay does not offer STARTTLS; set smtp.security to \"tls\" with its TLS port",
                ));
            }
            return;
        }
        self.offered = true;
        let Some(sasl) = &self.goal.sasl else { return self.finish() };
        if !self.goal.encrypted && !self.goal.allow_plaintext_auth {
            return self.fail(Failure::unreachable(
                Stage::Auth,
                "the password is not sent without TLS; set smtp.security, or smtp.allow_plaintext_auth",
            ));
        }
        match sasl.choose(&self.extensions) {
            Ok(mechanism) => self.say_auth(mechanism),
            Err(why) => self.fail(Failure::unreachable(Stage::Auth, why)),
        }
    }

    fn say_auth(&mut self, mechanism: Mechanism) {
        let awaited = match mechanism {
            Mechanism::Plain => State::Auth,
            Mechanism::Login => State::UsernameAsked,
            Mechanism::Xoauth2 => State::Xoauth2,
        };
        let mut line = format!("AUTH {mechanism}");
        if let Some(payload) = self.sasl().initial_response(mechanism) {
            line.push(' ');
            line.push_str(&payload);
        }
        self.say(&line, awaited);
    }

    fn sasl(&self) -> &Sasl {
        self.goal.sasl.as_ref().expect("AUTH is only said with something to log in with")
    }

    fn finish(&mut self) {
        if self.wire.inbox.is_empty() {
            self.wire.trim();
            self.state = State::Over;
        } else {
            let stage = self.stage();
            self.fail(Failure::senseless(stage, "more replies than commands"));
        }
    }
}

/// A reply, copied out of the inbox.
struct Answer {
    code: u16,
    reply: mailroom_actors::domain::failure::Reply,
    extensions: Option<Extensions>,
}

impl Answer {
    fn of(reply: &RawReply<'_>, state: State) -> Answer {
        let extensions = (state == State::Ehlo).then(|| Extensions::of(reply));
        Answer { code: reply.code, reply: reply.to_reply(), extensions }
    }

    fn into_failure(self, stage: Stage) -> Failure {
        if self.code >= 400 {
            Failure::replied(stage, &self.reply)
        } else {
            Failure::senseless(stage, format!("an answer that may not stand here: {}", self.reply))
        }
    }
}

impl Conversation for Login<'_> {
    fn want(&mut self) -> Want {
        loop {
            match self.state {
                State::Over => return Want::Nothing,
                State::Handshake => return Want::StartTls,
                _ => {}
            }
            // A relay that speaks before it has been asked is not answered.
            let unasked = self.wire.is_untouched() && self.wire.has_news();
            if !self.wire.is_sent() && !self.wire.has_ended() && !unasked {
                if !self.wire.is_flooded() {
                    return Want::Write;
                }
                let stage = self.stage();
                self.fail(Failure::senseless(stage, "more replies than commands"));
                continue;
            }
            let (state, stage) = (self.state, self.stage());
            match self.wire.hear() {
                Heard::Reply(reply) => {
                    let answer = Answer::of(&reply, state);
                    if unasked {
                        self.fail(answer.into_failure(stage));
                    } else {
                        self.on_reply(answer);
                    }
                }
                Heard::Garbage(why) => self.fail(Failure::senseless(stage, why)),
                Heard::Ended(how) => self.fail(Failure::lost(stage, format!("{how} (stage {stage})"))),
                Heard::Nothing => return Want::Read,
            }
        }
    }

    fn gate_answered(&mut self, _open: bool) {}

    fn expired(&mut self) {
        self.fail(Failure::timed_out(self.stage()));
    }

    fn limit(&self) -> Limit {
        if self.state == State::Greeting { Limit::Greeting } else { Limit::Command }
    }

    fn wire(&mut self) -> &mut Wire {
        self.wire
    }
}
