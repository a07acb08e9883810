//! One open connection to the relay, from its login to its last e-mail.

use futures::FutureExt as _;
use futures::future::LocalBoxFuture;
use mailroom_actors::domain::failure::{Failure, Stage};
use mailroom_actors::ports::{self, BodyType, Email, Gate, Outcome};
use tokio::net::TcpStream;

use super::answers::Answers;
use super::ehlo::Extensions;
use super::line::Line;
use super::login::{Goal, Login};
use super::session::{Want, Wire};
use super::stream::Stream;
use super::tls::Tls;
use super::transaction::Transaction;
use crate::config::Timeouts;

/// A connection that has logged in.
pub struct SmtpConnection {
    line: Line,
    wire: Wire,
    answers: Answers,
    extensions: Extensions,
    /// Whether the commands of one e-mail may go out together.
    pipelining: bool,
    usable: bool,
    carried: u32,
    /// Commands refused since the last e-mail that was taken.
    refusals: u32,
}

impl SmtpConnection {
    /// Goes from an open TCP connection to one that is ready for MAIL. Without `tls` nothing is encrypted;
    /// with it everything is, from the start or by STARTTLS as `goal` says. From then on all that the relay
    /// says is told to `answers`.
    ///
    /// # Errors
    /// Of stage `greeting`, `ehlo`, `tls` or `auth`.
    pub async fn open(
        tcp: TcpStream,
        tls: Option<&Tls>,
        goal: Goal,
        timeouts: Timeouts,
        pipelining: bool,
        answers: &Answers,
    ) -> Result<SmtpConnection, Failure> {
        let mut line = Line::new(Stream::Plain(tcp), timeouts);
        if goal.encrypted {
            line = encrypt(line, tls).await?;
        }
        let mut wire = Wire::default();
        let mut login = Login::new(&mut wire, goal);
        while line.converse(&mut login, &NoGate).await == Want::StartTls {
            line = encrypt(line, tls).await?;
            login.encrypted();
        }
        let extensions = login.result()?;
        wire.logged_in(answers.clone());
        let answers = answers.clone();
        Ok(SmtpConnection {
            line,
            wire,
            answers,
            extensions,
            pipelining,
            usable: true,
            carried: 0,
            refusals: 0,
        })
    }

    async fn offer(&mut self, email: &Email, to: &[usize], gate: &dyn Gate) -> ports::Transaction {
        // Until the end is known, and for ever when this future is dropped before.
        if !std::mem::replace(&mut self.usable, false) {
            let failure = Failure::lost(Stage::Mail, "the connection can't be used any more (stage mail)");
            return ports::Transaction { outcomes: vec![Outcome::Failed(failure); to.len()] };
        }
        let _awaited = self.answers.await_one();
        let piece_bytes = self.line.piece_bytes();
        let mut transaction =
            Transaction::new(&mut self.wire, email, to, &self.extensions, self.pipelining, piece_bytes);
        self.line.converse(&mut transaction, gate).await;
        let ending = transaction.result();
        if ending.carried {
            self.carried += 1;
            self.refusals = 0;
        } else {
            self.refusals += ending.refusals;
        }
        self.usable = ending.usable;
        ending.transaction
    }
}

impl ports::Connection for SmtpConnection {
    fn send<'a>(
        &'a mut self,
        email: &'a Email,
        to: &'a [usize],
        gate: &'a dyn Gate,
    ) -> LocalBoxFuture<'a, ports::Transaction> {
        self.offer(email, to, gate).boxed_local()
    }

    fn is_usable(&self) -> bool {
        self.usable
    }

    fn body_type(&self) -> BodyType {
        if self.extensions.eight_bit_mime { BodyType::EightBitMime } else { BodyType::SevenBit }
    }

    fn carried(&self) -> u32 {
        self.carried
    }

    fn refused_in_a_row(&self) -> u32 {
        self.refusals
    }

    fn quit(self: Box<Self>) -> LocalBoxFuture<'static, ()> {
        async move {
            // In the middle of something QUIT would be taken for something else.
            if self.usable {
                self.line.part(b"QUIT\r\n").await;
            }
        }
        .boxed_local()
    }
}

async fn encrypt(line: Line, tls: Option<&Tls>) -> Result<Line, Failure> {
    let tls = tls.ok_or_else(|| Failure::unreachable(Stage::Tls, "TLS is not set up"))?;
    line.encrypt(tls).await
}

/// For the login, which has no final dot.
pub(super) struct NoGate;

impl Gate for NoGate {
    fn pass_the_dot(&self) -> bool {
        false
    }
}
