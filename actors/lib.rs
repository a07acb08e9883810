//! What the Mailroom worker does: supervised actors over plain domain code.

pub mod credits;
pub mod domain;
pub mod messages;
pub mod ports;
