//! One e-mail: MAIL, RCPT, DATA, the e-mail and its final dot, with an outcome for each recipient.
//!
//! Where the relay offers PIPELINING, MAIL to DATA go out in one write (RFC 2920). Only the exact replies
//! count: 250 to MAIL, 250 or 251 to RCPT, 354 to DATA, and 250 after the final dot.

use mailroom_actors::domain::failure::{Cause, Failure, Reply, Stage};
use mailroom_actors::ports::{self, Email, Outcome};

use super::body::{Body, FINAL_DOT};
use super::ehlo::Extensions;
use super::envelope::{self, Parameters};
use super::recipients::Recipients;
use super::session::{Conversation, Heard, Limit, Want, Wire};

/// Codes after which the relay ends the connection.
const CLOSING: u16 = 421;

/// The conversation about one e-mail.
pub struct Transaction<'a> {
    wire: &'a mut Wire,
    email: &'a Email,
    recipients: Recipients<'a>,
    state: State,
    /// MAIL, RCPT and DATA went out together.
    grouped: bool,
    body: Option<Body<'a>>,
    /// Bytes of the e-mail in one write.
    piece_bytes: usize,
    /// A recipient was taken although MAIL was refused: nothing can be relied upon.
    absurd: bool,
    /// Whether the connection may carry another e-mail.
    usable: bool,
    /// Commands that were refused.
    refusals: u32,
}

/// What is awaited, or being written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    Mail,
    /// By the recipient's place among those that were asked for.
    Rcpt(usize),
    Data,
    /// The e-mail goes out; `last` once the piece with the final dot is being written.
    Body {
        last: bool,
    },
    FinalDot,
    /// A dot with nothing before it, since DATA was answered 354 with nobody to deliver to (RFC 2920,
    /// section 3.1).
    LoneDot,
    Rset,
    Over,
}

/// How a transaction ended.
#[derive(Debug)]
pub struct Ending {
    pub transaction: ports::Transaction,
    /// Whether the connection may carry another e-mail.
    pub usable: bool,
    /// Whether the relay took the e-mail for anybody.
    pub carried: bool,
    /// Commands that were refused.
    pub refusals: u32,
}

impl<'a> Transaction<'a> {
    /// Offers `email` to those of its recipients that `to` names, over a connection on which nothing is
    /// under way. With `pipelining` the commands go out together where the relay offers it.
    pub fn new(
        wire: &'a mut Wire,
        email: &'a Email,
        to: &'a [usize],
        extensions: &Extensions,
        pipelining: bool,
        piece_bytes: usize,
    ) -> Transaction<'a> {
        let mut transaction = Transaction {
            wire,
            email,
            recipients: Recipients::new(email, to),
            state: State::Mail,
            grouped: pipelining && extensions.pipelining,
            body: None,
            piece_bytes,
            absurd: false,
            usable: true,
            refusals: 0,
        };
        match transaction.prepare(extensions) {
            Ok(parameters) => transaction.begin(parameters),
            Err(failure) => transaction.end_unsent(failure),
        }
        transaction
    }

    /// What came of it; to be asked once nothing more is wanted.
    pub fn result(self) -> Ending {
        let outcomes = self.recipients.into_outcomes();
        Ending {
            usable: self.usable && !self.wire.has_news(),
            carried: outcomes.contains(&Outcome::Accepted),
            refusals: self.refusals,
            transaction: ports::Transaction { outcomes },
        }
    }

    // ---- Beginning ------------------------------------------------------------------------------------

    fn prepare(&mut self, extensions: &Extensions) -> Result<Parameters, Failure> {
        let body = Body::check(&self.email.data)
            .map_err(|why| Failure::before_attempt(Stage::Render, Cause::Invalid, why))?;
        self.body = Some(body);
        let parameters = envelope::check(self.email, self.recipients.indices(), extensions)?;
        self.recipients.leave_out_the_unfit(extensions);
        Ok(parameters)
    }

    fn begin(&mut self, parameters: Parameters) {
        let Some(first) = self.recipients.next(0) else {
            self.state = State::Over;
            return;
        };
        let out = self.wire.say();
        envelope::write_mail(out, &self.email.sender, parameters);
        if self.grouped {
            let mut place = Some(first);
            while let Some(here) = place {
                envelope::write_rcpt(out, self.recipients.address(here));
                place = self.recipients.next(here + 1);
            }
            out.extend_from_slice(b"DATA\r\n");
        }
    }

    fn end_unsent(&mut self, failure: Failure) {
        self.recipients.conclude(&Outcome::Failed(failure));
        self.state = State::Over;
    }

    // ---- Where it stands ------------------------------------------------------------------------------

    fn stage(&self) -> Stage {
        match self.state {
            State::Mail => Stage::Mail,
            State::Rcpt(_) => Stage::Rcpt,
            State::Data => Stage::Data,
            State::Body { last } if last && self.dot_has_begun() => Stage::FinalDot,
            State::Body { .. } => Stage::Body,
            State::FinalDot => Stage::FinalDot,
            // Every outcome is known by then.
            State::LoneDot | State::Rset | State::Over => Stage::Data,
        }
    }

    /// Whether a byte of the final `CRLF.CRLF` may have left.
    fn dot_has_begun(&self) -> bool {
        self.wire.written() + FINAL_DOT.len() > self.wire.said()
    }

    // ---- Endings --------------------------------------------------------------------------------------

    /// It is over for everyone, and for the connection.
    fn abandon(&mut self, outcome: &Outcome) {
        self.recipients.conclude(outcome);
        self.usable = false;
        self.state = State::Over;
    }

    fn fail(&mut self, failure: Failure) {
        self.abandon(&Outcome::Failed(failure));
    }

    fn finish(&mut self) {
        self.wire.trim();
        self.state = State::Over;
    }

    // ---- The relay's answers --------------------------------------------------------------------------

    fn on_reply(&mut self, code: u16, reply: Option<Reply>) {
        let positive = code < 400;
        if !positive {
            self.refusals += 1;
        }
        match (self.state, code) {
            (State::Mail, 250) => self.after_mail(),
            (State::Rcpt(place), 250 | 251) => {
                self.absurd |= !self.recipients.take(place);
                self.after_rcpt(place);
            }
            (State::Data, 354) => self.after_data(),
            (State::FinalDot, 250) => {
                self.recipients.conclude(&Outcome::Accepted);
                self.finish();
            }
            (State::LoneDot, 250) | (State::Rset, 250) => self.finish(),
            (_, CLOSING) => self.fail(failure_of(self.stage(), reply)),
            (State::LoneDot, _) if !positive => self.finish(),
            (State::LoneDot | State::Rset, _) => self.abandon_tidying(),
            (State::Mail, _) if !positive => {
                self.recipients.conclude(&Outcome::Failed(failure_of(Stage::Mail, reply)));
                if self.grouped { self.after_mail() } else { self.say_rset() }
            }
            (State::Rcpt(place), _) if !positive => {
                self.recipients.refuse(place, failure_of(Stage::Rcpt, reply));
                self.after_rcpt(place);
            }
            (State::Data, _) if !positive => {
                self.recipients.conclude(&Outcome::Failed(failure_of(Stage::Data, reply)));
                self.say_rset();
            }
            (State::FinalDot, _) if !positive => {
                self.recipients.conclude(&Outcome::Failed(failure_of(Stage::FinalDot, reply)));
                self.finish();
            }
            _ => self.fail(failure_of(self.stage(), reply)),
        }
    }

    fn after_mail(&mut self) {
        let first = self.recipients.next(0).expect("MAIL is only said with somebody to deliver to");
        self.go_on_to(State::Rcpt(first));
    }

    fn after_rcpt(&mut self, place: usize) {
        match self.recipients.next(place + 1) {
            Some(next) => self.go_on_to(State::Rcpt(next)),
            None if self.grouped || self.recipients.anybody_taken() => self.go_on_to(State::Data),
            None => self.say_rset(),
        }
    }

    fn after_data(&mut self) {
        if self.recipients.anybody_taken() {
            self.state = State::Body { last: false };
            self.wire.say();
        } else if self.absurd {
            self.abandon_tidying();
        } else {
            self.wire.say().extend_from_slice(b".\r\n");
            self.state = State::LoneDot;
        }
    }

    /// Awaits the next answer; where the commands don't go out together, says the command first.
    fn go_on_to(&mut self, next: State) {
        self.state = next;
        if self.grouped {
            return;
        }
        let out = self.wire.say();
        match next {
            State::Rcpt(place) => envelope::write_rcpt(out, self.recipients.address(place)),
            _ => out.extend_from_slice(b"DATA\r\n"),
        }
    }

    /// The relay is to forget what it has of an e-mail that was refused before its text.
    fn say_rset(&mut self) {
        self.wire.say().extend_from_slice(b"RSET\r\n");
        self.state = State::Rset;
    }

    fn abandon_tidying(&mut self) {
        self.usable = false;
        self.state = State::Over;
    }

    /// The relay spoke before it was asked: while a command or the e-mail still waits to be written.
    fn on_interruption(&mut self, code: u16, reply: Option<Reply>) {
        let stage = self.stage();
        match reply {
            Some(reply) if code >= 400 => self.fail(Failure::replied(stage, &reply)),
            Some(reply) => self.fail(Failure::senseless(stage, format!("an unasked reply: {reply}"))),
            None => self.fail(Failure::senseless(stage, format!("an unasked {code}"))),
        }
    }

    fn write_piece(&mut self) {
        let body = self.body.as_mut().expect("only a checked e-mail is sent");
        let last = body.is_last(self.piece_bytes);
        body.write_piece(self.piece_bytes, self.wire.say());
        self.state = State::Body { last };
    }

    // ---- One step -------------------------------------------------------------------------------------

    /// What is wanted, or none when what has come in is to be heard first.
    fn want_unheard(&mut self) -> Option<Want> {
        let sent = self.wire.is_sent();
        match self.state {
            State::Over => return Some(Want::Nothing),
            State::Body { last: true } if sent => {
                self.state = State::FinalDot;
                self.wire.next_step();
                return None;
            }
            State::Body { last } if !self.wire.has_news() => {
                return Some(if !sent {
                    Want::Write
                } else if !last && self.next_piece_is_last() {
                    Want::AskGate
                } else {
                    self.write_piece();
                    Want::Write
                });
            }
            _ => {}
        }
        if sent || self.wire.has_ended() || self.is_unasked() && self.wire.has_news() {
            return None;
        }
        if self.wire.is_flooded() {
            self.fail(Failure::senseless(self.stage(), "more replies than commands"));
            return Some(Want::Nothing);
        }
        Some(Want::Write)
    }

    /// Whether what comes in now answers nothing: the command for it, or the final dot, has not left.
    fn is_unasked(&self) -> bool {
        matches!(self.state, State::Body { .. }) || self.wire.is_untouched()
    }

    fn next_piece_is_last(&self) -> bool {
        self.body.as_ref().is_some_and(|body| body.is_last(self.piece_bytes))
    }
}

/// The failure that a reply is which was not hoped for: a refusal, or something that may not stand here.
fn failure_of(stage: Stage, reply: Option<Reply>) -> Failure {
    match reply {
        Some(reply) if reply.code >= 400 => Failure::replied(stage, &reply),
        Some(reply) => Failure::senseless(stage, format!("an answer that may not stand here: {reply}")),
        None => Failure::senseless(stage, "an answer that may not stand here"),
    }
}

impl Conversation for Transaction<'_> {
    fn want(&mut self) -> Want {
        loop {
            if let Some(want) = self.want_unheard() {
                return want;
            }
            let unasked = self.is_unasked();
            let (state, stage) = (self.state, self.stage());
            match self.wire.hear() {
                Heard::Reply(reply) => {
                    let code = reply.code;
                    // What was hoped for needs no words.
                    let hoped = !unasked && is_hoped_for(state, code);
                    let words = (!hoped).then(|| reply.to_reply());
                    if unasked { self.on_interruption(code, words) } else { self.on_reply(code, words) }
                }
                Heard::Garbage(why) => self.fail(Failure::senseless(stage, why)),
                Heard::Ended(how) => self.fail(Failure::lost(stage, format!("{how} (stage {stage})"))),
                Heard::Nothing => return Want::Read,
            }
        }
    }

    fn gate_answered(&mut self, open: bool) {
        if open {
            self.write_piece();
        } else {
            self.abandon(&Outcome::TakenBack);
        }
    }

    fn expired(&mut self) {
        self.fail(Failure::timed_out(self.stage()));
    }

    fn limit(&self) -> Limit {
        match self.state {
            State::Mail | State::Rcpt(_) => Limit::Command,
            State::Data => Limit::Data,
            State::Body { last } if last && self.dot_has_begun() => Limit::FinalDot,
            State::Body { .. } => Limit::Data,
            State::FinalDot => Limit::FinalDot,
            State::LoneDot | State::Rset | State::Over => Limit::Courtesy,
        }
    }

    fn wire(&mut self) -> &mut Wire {
        self.wire
    }
}

fn is_hoped_for(state: State, code: u16) -> bool {
    match state {
        State::Mail | State::FinalDot | State::LoneDot | State::Rset => code == 250,
        State::Rcpt(_) => matches!(code, 250 | 251),
        State::Data => code == 354,
        State::Body { .. } | State::Over => false,
    }
}
