//! One attempt of one job, in a task of its own: compose, connect where needed, offer, report.
//!
//! A panic in here costs this attempt and no actor. The ticket stays outside of what can panic, and what
//! came of the attempt is written on it before anybody is told.

use std::cell::{Cell, RefCell};
use std::panic::AssertUnwindSafe;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use futures::FutureExt;
use tokio::time::Instant;

use crate::domain::expiry;
use crate::domain::failure::{Cause, Class, Failure, Stage};
use crate::domain::history::{AttemptEnd, History, Outcome, Timing};
use crate::domain::job::Record;
use crate::domain::ledger::Hold;
use crate::domain::pace::Seen;
use crate::guard::{last_panic, note_panic};
use crate::messages::Event;
use crate::ports::{BodyType, Composer, Connection, Email, Gate, Relay, WallClock};
use crate::throttle::{Permit, Throttle};
use crate::ticket::{Ticket, Verdict};
use crate::vitals::Vitals;

/// How long a connection is kept.
#[derive(Clone, Copy, Debug)]
pub struct ConnectionLife {
    /// `smtp.max_emails_per_connection`.
    pub max_emails: u32,
    /// `smtp.idle_timeout`.
    pub idle_timeout: Duration,
}

impl ConnectionLife {
    /// A connection that has met so many refusals in a row is changed for a new one: Postfix delays its answers
    /// from the tenth on, and ends it at the twentieth.
    const MAX_REFUSED: u32 = 8;

    /// Whether no other e-mail is to go over it.
    pub fn is_over(self, connection: &dyn Connection) -> bool {
        connection.carried() >= self.max_emails || connection.refused_in_a_row() >= Self::MAX_REFUSED
    }
}

/// What every attempt needs.
#[derive(Clone)]
pub struct Tools {
    pub relay: Rc<dyn Relay>,
    pub composer: Arc<dyn Composer>,
    pub clock: Arc<dyn WallClock>,
    pub metrics: crate::line::Line<Event>,
    pub vitals: Arc<Vitals>,
    pub throttle: Arc<Throttle>,
    pub connections: ConnectionLife,
    /// Makes a failure's reason fit for a log line: addresses masked.
    pub mask: Rc<dyn Fn(&str) -> String>,
}

/// So many failures of the relay in a row are told in the log, once.
const FAILURES_WORTH_A_LINE: u32 = 3;
/// A connection that was not used for this long may have been closed by the relay meanwhile.
const IDLE: Duration = Duration::from_secs(1);

/// A connection that was kept, and since when it has been waiting.
pub struct Kept {
    pub connection: Box<dyn Connection>,
    pub since: Instant,
}

impl Kept {
    /// Whether what looks like a failure may be this connection's end: it has carried an e-mail, or been idle.
    fn may_have_ended(&self) -> bool {
        self.connection.carried() > 0 || self.since.elapsed() >= IDLE
    }
}

/// Records larger than this are composed on the blocking pool.
const COMPOSED_IN_PLACE_BYTES: usize = 64 * 1024;

/// Makes the attempt that `permit` allows, and writes its end on the ticket. Returns the connection where it may
/// be used again. The ticket must be held as `Working`.
pub async fn attempt(
    ticket: &mut Ticket,
    permit: Permit,
    connection: Option<Kept>,
    tools: &Tools,
) -> Option<Box<dyn Connection>> {
    let at = tools.clock.now();
    let began = Instant::now();
    let waited = Cell::new(Duration::ZERO);
    let (end, kept) = run(ticket, connection, tools, &waited).await;
    let is_probe = permit.is_probe();
    let failures = tools.throttle.failures_in_a_row();
    permit.ended(seen(&end, is_probe));
    say_how_the_relay_is(failures, tools);
    let took = began.elapsed().saturating_sub(waited.get());
    let timing = Timing { at, took_ms: u64::try_from(took.as_millis()).unwrap_or(u64::MAX) };
    ticket.verdict = Some(Verdict::Ended(end, timing));
    kept
}

async fn run(
    ticket: &Ticket,
    connection: Option<Kept>,
    tools: &Tools,
    waited: &Cell<Duration>,
) -> (AttemptEnd, Option<Box<dyn Connection>>) {
    let began = Instant::now();
    let gate = TicketGate { ticket, opened: Cell::new(false) };
    // Beside what may panic: what is known by then of an e-mail with several recipients is not forgotten.
    let known = RefCell::new(Known::default());
    let record = Arc::clone(&ticket.record);
    let work = offer(record, &ticket.history, connection, tools, &gate, &known, waited);
    let work = AssertUnwindSafe(work).catch_unwind();
    tokio::pin!(work);
    let cancellation = ticket.cancellation();
    let cancelled = cancellation.cancelled();
    tokio::pin!(cancelled);
    let mut is_cancelled = false;
    loop {
        tokio::select! {
            biased;
            result = &mut work => {
                return result.unwrap_or_else(|_| {
                    let failure = if gate.opened.get() {
                        Failure::lost(Stage::FinalDot, panic_text())
                    } else {
                        Failure::crashed(panic_text())
                    };
                    tell_failure(&failure, began.elapsed(), tools);
                    (known.take().ended_by(failure), None)
                });
            }
            () = &mut cancelled, if !is_cancelled => {
                // What is past the dot is awaited; the rest is given up unsent, its connection with it.
                is_cancelled = true;
                if !gate.opened.get() {
                    return (known.take().taken_back(), None);
                }
            }
        }
    }
}

/// What is known so far of the recipients of one e-mail in one attempt.
#[derive(Default)]
struct Known {
    recipients: usize,
    /// Those that are still being asked for.
    asked: Vec<usize>,
    ended: Vec<(usize, Outcome)>,
}

impl Known {
    fn answered(self) -> AttemptEnd {
        AttemptEnd::Answered { recipients: self.recipients, outcomes: self.ended }
    }

    /// The attempt is cut off for whoever has no outcome yet.
    fn taken_back(mut self) -> AttemptEnd {
        if self.ended.is_empty() {
            return AttemptEnd::TakenBack;
        }
        self.ended.extend(self.asked.iter().map(|index| (*index, Outcome::TakenBack)));
        self.answered()
    }

    /// The attempt ends with this failure for whoever has no outcome yet.
    fn ended_by(mut self, failure: Failure) -> AttemptEnd {
        if self.ended.is_empty() {
            return AttemptEnd::Failed(failure);
        }
        self.ended.extend(self.asked.iter().map(|index| (*index, Outcome::Failed(failure.clone()))));
        self.answered()
    }
}

fn panic_text() -> String {
    format!("handling the job panicked: {}", last_panic().as_deref().unwrap_or("no text"))
}

/// Asks the ledger, under its lock, whether the e-mail may go past the dot; remembers that it did.
struct TicketGate<'a> {
    ticket: &'a Ticket,
    opened: Cell<bool>,
}

impl TicketGate<'_> {
    /// Another transaction of the same attempt may begin: the job is still ours, and before the dot. What is known
    /// by now is remembered before a revoke can take the job back.
    fn close_again(&self, known: &Known) -> bool {
        let mut served = self.ticket.history.served;
        let accepted = known.ended.iter().filter(|(_, outcome)| *outcome == Outcome::Accepted);
        accepted.for_each(|(index, _)| served.insert(*index));
        self.ticket.remember_served(served);
        let ours = self.ticket.hold(Hold::Working);
        if ours {
            self.opened.set(false);
        }
        ours
    }
}

impl Gate for TicketGate<'_> {
    fn pass_the_dot(&self) -> bool {
        let passes = self.ticket.hold(Hold::PastTheDot);
        self.opened.set(self.opened.get() || passes);
        if passes {
            crate::kill_point::reach("after-the-dot");
        }
        passes
    }
}

async fn offer(
    record: Arc<Record>,
    history: &History,
    connection: Option<Kept>,
    tools: &Tools,
    gate: &TicketGate<'_>,
    known: &RefCell<Known>,
    waited: &Cell<Duration>,
) -> (AttemptEnd, Option<Box<dyn Connection>>) {
    if let Some(failure) = gate.ticket.expired() {
        // Composing may panic, or find something else: what has expired is neither.
        return (AttemptEnd::Failed(failure), connection.map(|kept| kept.connection));
    }
    // Never larger than written for 7 bits: what is too large for this is so whatever a new connection takes.
    let body_type = connection.as_ref().map_or(BodyType::EightBitMime, |kept| kept.connection.body_type());
    let mut email = match compose(&record, body_type, tools).await {
        Ok(email) => Composed { email, body_type },
        Err(failure) => {
            tell_failure(&failure, Duration::ZERO, tools);
            return (AttemptEnd::Failed(failure), connection.map(|kept| kept.connection));
        }
    };
    let recipients = email.email.recipients.len();
    let mut to = history.to_ask(recipients);
    *known.borrow_mut() = Known { recipients, asked: to.clone(), ended: Vec::new() };
    if to.is_empty() {
        // As the commits have it: of a recreated topic they may tell what was so of another job.
        return (known.take().answered(), connection.map(|kept| kept.connection));
    }
    let mut may_have_ended = connection.as_ref().is_some_and(Kept::may_have_ended);
    let mut free_try_is_left = true;
    let mut connection = connection.map(|kept| kept.connection);
    loop {
        if let Some(failure) = gate.ticket.expired() {
            return (known.take().ended_by(failure), connection);
        }
        let began = Instant::now();
        let mut open = match connection.take() {
            Some(open) => open,
            None => match tools.relay.connect().await {
                Ok(open) => open,
                Err(failure) => {
                    tell_failure(&failure, began.elapsed(), tools);
                    return (known.take().ended_by(failure), None);
                }
            },
        };
        if let Err(failure) = email.fit(open.body_type(), &record, tools).await {
            return (known.take().ended_by(failure), Some(open));
        }
        let slot = match wait_for_a_slot(gate.ticket, &tools.throttle).await {
            Ok(slot) => slot,
            Err(failure) => return (known.take().ended_by(failure), Some(open)),
        };
        waited.set(waited.get() + slot);
        may_have_ended |= slot >= IDLE;
        // Connecting, composing anew and waiting for a slot take their time.
        if let Some(failure) = gate.ticket.expired() {
            return (known.take().ended_by(failure), Some(open));
        }
        crate::kill_point::reach("before-mail");
        let transaction = open.send(&email.email, &to, gate).await;
        let took = began.elapsed().saturating_sub(slot);
        connection = open.is_usable().then_some(open);
        let some_were_taken = transaction.outcomes.contains(&Outcome::Accepted);
        let is_free =
            free_try_is_left && may_have_ended && transaction.outcomes.iter().any(is_the_connections);
        let outcomes = to.iter().copied().zip(transaction.outcomes.iter().cloned());
        // Who is to be asked again at once, and what is known of the others.
        let (again, done): (Vec<_>, Vec<_>) = outcomes.partition(|(_, outcome)| {
            (is_free && is_the_connections(outcome)) || (some_were_taken && is_too_many_recipients(outcome))
        });
        let next: Vec<usize> = again.iter().map(|(index, _)| *index).collect();
        // Noted before anything else: a panic from here on must not make a clear answer an ambiguous ending.
        {
            let mut known = known.borrow_mut();
            known.ended.extend(done);
            known.asked.clone_from(&next);
        }
        if !is_free {
            tell_outcomes(&transaction.outcomes, took, tools);
        }
        if again.is_empty() || !gate.close_again(&known.borrow()) {
            let mut known = known.take();
            known.ended.extend(again);
            return (known.answered(), connection);
        }
        if is_free {
            free_try_is_left = false;
            connection = None;
        }
        if let Some(worn) = connection.take_if(|open| tools.connections.is_over(&**open)) {
            worn.quit().await;
        }
        // What follows a 452 goes over a connection that has just carried an e-mail.
        may_have_ended = connection.is_some();
        to = next;
    }
}

/// Returns how long that was. Where the slot would come too late for the job, none is taken, and it has expired.
async fn wait_for_a_slot(ticket: &Ticket, throttle: &Throttle) -> Result<Duration, Failure> {
    let slot = throttle.wait_for_a_slot(ticket.deadline.map(|deadline| deadline.at)).await;
    match (slot, ticket.deadline) {
        (None, Some(deadline)) => {
            let last = ticket.history.last_failure.as_ref();
            Err(ticket.expired().unwrap_or_else(|| expiry::too_late(deadline.set_by, last)))
        }
        (slot, _) => Ok(slot.unwrap_or_default()),
    }
}

/// What an attempt that ended so showed of the relay: the best word that it gave about anyone of the recipients,
/// but that a "slower" counts first after "taken", unless it was a probe: that asks whether the relay answers.
fn seen(end: &AttemptEnd, is_probe: bool) -> Seen {
    let of = |failure: &Failure| match failure {
        Failure { spends_attempt: false, .. } | Failure { cause: Cause::Crash, .. } => Seen::Nothing,
        Failure { class, .. } => Seen::of(Some(*class)),
    };
    let outcomes = match end {
        AttemptEnd::TakenBack => return Seen::Nothing,
        AttemptEnd::Failed(failure) => return of(failure),
        AttemptEnd::Answered { outcomes, .. } => outcomes,
    };
    let all: Vec<Seen> = outcomes
        .iter()
        .map(|(_, outcome)| match outcome {
            Outcome::Accepted => Seen::Taken,
            Outcome::Failed(failure) => of(failure),
            Outcome::TakenBack => Seen::Nothing,
        })
        .collect();
    let mut best = [Seen::Taken, Seen::Limited, Seen::Answered, Seen::Ambiguous, Seen::Infrastructure];
    if is_probe {
        best.swap(1, 2);
    }
    best.into_iter().find(|seen| all.contains(seen)).unwrap_or(Seen::Nothing)
}

fn is_the_connections(outcome: &Outcome) -> bool {
    matches!(outcome, Outcome::Failed(failure) if failure.is_the_connections())
}

fn is_too_many_recipients(outcome: &Outcome) -> bool {
    matches!(outcome, Outcome::Failed(failure) if failure.stage == Stage::Rcpt && failure.code == Some(452))
}

/// An e-mail, and the body type that it was composed for.
struct Composed {
    email: Email,
    body_type: BodyType,
}

impl Composed {
    /// Composes it anew where the connection wants it otherwise: so what goes over the wire is what the relay offers, however
    /// the connection came to be.
    async fn fit(&mut self, body_type: BodyType, record: &Arc<Record>, tools: &Tools) -> Result<(), Failure> {
        if self.email.depends_on_body_type && self.body_type != body_type {
            *self = Composed { email: compose(record, body_type, tools).await?, body_type };
        }
        Ok(())
    }
}

async fn compose(record: &Arc<Record>, body_type: BodyType, tools: &Tools) -> Result<Email, Failure> {
    if record.size() <= COMPOSED_IN_PLACE_BYTES {
        return tools.composer.compose(record, body_type);
    }
    let (composer, record) = (Arc::clone(&tools.composer), Arc::clone(record));
    match tokio::task::spawn_blocking(move || composer.compose(&record, body_type)).await {
        Ok(composed) => composed,
        Err(error) => match error.try_into_panic() {
            // It was noted on the pool's thread; what is left says no more than that.
            Ok(panic) => {
                note_panic("in composing".into());
                std::panic::resume_unwind(panic)
            }
            Err(_) => Err(Failure::crashed("the runtime ended while composing")),
        },
    }
}

/// Tells of one transaction: ok where any recipient was taken. One that was taken back counts for nothing.
fn tell_outcomes(outcomes: &[Outcome], took: Duration, tools: &Tools) {
    if outcomes.contains(&Outcome::Accepted) {
        tools.metrics.send(Event::Attempted { class: None, took });
        return tell_of_the_relay(None, tools);
    }
    if outcomes.contains(&Outcome::TakenBack) {
        return;
    }
    let mut failures = outcomes.iter().filter_map(|outcome| match outcome {
        Outcome::Failed(failure) if failure.spends_attempt => Some(failure),
        _ => None,
    });
    if let Some(failure) = failures.next_back() {
        tell_failure(failure, took, tools);
    }
}

/// Tells of an attempt that failed as a whole; what was found before it is none.
fn tell_failure(failure: &Failure, took: Duration, tools: &Tools) {
    if failure.spends_attempt {
        tools.metrics.send(Event::Attempted { class: Some(failure.class), took });
        tell_of_the_relay(Some(failure), tools);
    }
}

/// Notes how the relay is.
fn tell_of_the_relay(failure: Option<&Failure>, tools: &Tools) {
    match failure.map(|failure| (failure, failure.class)) {
        Some((failure, Class::Infrastructure | Class::Limited | Class::Ambiguous)) => {
            tools.vitals.relay_failed(failure);
        }
        // An answer about the e-mail; a panic of ours says nothing about the relay either.
        Some(_) => {}
        None => tools.vitals.relay_took_one(tools.clock.now().into()),
    }
}

/// Says once when the relay begins to fail, and once when it is back: `before` failures in a row, the attempt that
/// has just ended not counted.
fn say_how_the_relay_is(before: u32, tools: &Tools) {
    let now = tools.throttle.failures_in_a_row();
    if before < FAILURES_WORTH_A_LINE && now >= FAILURES_WORTH_A_LINE {
        let Some((stage, reason)) = tools.vitals.relay_failure() else { return };
        tracing::warn!(
            failures = now,
            stage = stage.as_str(),
            reason = (tools.mask)(&reason),
            "the relay fails, whatever the e-mail"
        );
    } else if before >= FAILURES_WORTH_A_LINE && now == 0 {
        tracing::info!(failures = before, "the relay works again");
    }
}
