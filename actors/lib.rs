//! What the Mailroom worker does: supervised actors over plain domain code; no Kafka, SMTP or HTTP in here.
//!
//! ```text
//! email-queue ─► Consumer ─► ready queue ◄─asks── Mailer ─250─► Ticket::settle ─► Ledger ─► commit
//!                                ▲                 │  ▲
//!                                │                 │  └── wake-up (delayed message to itself)
//!                                └── due retry ────┤
//!                                                  └─ exhausted / permanent ─► DeadLetters ─ack─► Ticket::settle
//! email-queue ◄── job, decision ── DlqOwner ◄── runs, the redriver's plan ── email-dlq      (one transaction)
//!                    Supervisor: starts, watches, restarts, resizes, stops      Metrics ◄─ every actor's events
//! ```
//!
//! # Invariants
//!
//! 1. A ticket is settled in two places: by a mailer after the relay's 250, and by DeadLetters after the
//!    broker's acknowledgement. So a committed offset means a kept promise.
//! 2. An offset is committed only when every offset seen before it is settled. Offsets have gaps, so what
//!    was seen is told by the poll thread, behind the records it handed over.
//! 3. A job has exactly one ticket. If what holds it dies, the ticket comes back. Supervision is per job,
//!    not per actor.
//! 4. What must survive a death lives outside the actor and is handed to each generation by the factory:
//!    the ticket office (ledger, credits, the channel that tickets return on), the throttle, the metrics, the
//!    vitals. The
//!    supervisor's own death ends the process.
//! 5. Every queue, wait, retry, reply, byte count and restart has a bound, and the bound has a name. What is
//!    queued between actors is bounded by the credits: nothing is taken beyond them.
//! 6. A result belongs to an assignment: what arrives after its partition was revoked changes nothing.
//! 7. Only the owner of a partition of the dead letter queue decides on its letters, and what it decides is written
//!    together with what it does. After any failure it begins anew with what is written.
//! 8. Time is passed in, or tokio's: everything here runs under its paused clock.
//!
//! # Reading order

pub mod messages;
pub mod ports;

pub mod domain;

pub mod credits;
pub mod deadline;
pub mod office;
pub mod pause;
pub mod throttle;
pub mod ticket;

pub mod attempt;
pub mod consumer;
pub mod dead_letters;
pub mod dlq_owner;
mod dlq_turn;
pub mod mailer;
pub mod metrics;
pub mod pool;

pub mod guard;
pub mod kill_point;
pub mod line;
pub mod seldom;
pub mod supervisor;
pub mod tags;
pub mod vitals;
