//! The SMTP side: the conversation with the relay (RFC 5321), and the connections that carry it.
//!
//! [`session`] says how a conversation meets a connection; [`login`] and [`transaction`] are the two
//! conversations, as state machines without a socket or a clock; [`line`] gives them TCP, TLS and
//! deadlines; [`connection`] and [`relay`] are what the worker holds; [`answers`] knows what is said on all
//! connections together; [`inspect`] looks at the relay without an e-mail.

mod answers;
mod body;
mod connection;
mod deadline;
mod dial;
mod ehlo;
mod envelope;
pub mod inspect;
mod line;
mod login;
mod recipients;
pub mod relay;
mod reply;
mod sasl;
mod session;
mod stream;
mod tls;
mod transaction;

#[cfg(test)]
mod over_tcp;
#[cfg(test)]
#[path = "../../tests/it/scripted_smtp/mod.rs"]
#[allow(dead_code, reason = "the integration tests use all of it")]
mod scripted_smtp;
#[cfg(test)]
mod without_a_socket;

pub use ehlo::Extensions;
pub use relay::SmtpRelay;
