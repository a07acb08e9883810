//! One attempt of one job, in a task of its own: compose, connect where needed, offer, report.
//!
//! A panic in here costs this attempt and no actor. The ticket stays outside of what can panic, and what
//! came of the attempt is written on it before anybody is told.

use std::panic::AssertUnwindSafe;
use std::rc::Rc;
use std::sync::Arc;

use futures::FutureExt;
use tokio::time::Instant;

use crate::domain::failure::{Failure, Stage};
use crate::domain::history::{AttemptEnd, History, Outcome, Timing};
use crate::domain::job::Record;
use crate::domain::ledger::Hold;
use crate::guard::last_panic;
use crate::messages::Event;
use crate::ports::{Composer, Connection, Email, Gate, Relay, WallClock};
use crate::ticket::{Ticket, Verdict};
use crate::vitals::Vitals;

/// What every attempt needs.
#[derive(Clone)]
pub struct Tools {
    pub relay: Rc<dyn Relay>,
    pub composer: Arc<dyn Composer>,
    pub clock: Arc<dyn WallClock>,
    pub metrics: crate::line::Line<Event>,
    pub vitals: Arc<Vitals>,
}

/// Records larger than this are composed on the blocking pool.
const COMPOSED_IN_PLACE_BYTES: usize = 64 * 1024;

/// Makes the attempt and writes its end on the ticket. Returns the connection where it may be used again.
/// The ticket must be held as `Working`.
pub async fn attempt(
    ticket: &mut Ticket,
    connection: Option<Box<dyn Connection>>,
    tools: &Tools,
) -> Option<Box<dyn Connection>> {
    let at = tools.clock.now();
    let began = Instant::now();
    let (end, kept) = run(ticket, connection, tools).await;
    let took = began.elapsed();
    tell(&end, took, tools);
    let timing = Timing { at, took_ms: u64::try_from(took.as_millis()).unwrap_or(u64::MAX) };
    ticket.verdict = Some(Verdict::Ended(end, timing));
    kept
}

async fn run(
    ticket: &Ticket,
    connection: Option<Box<dyn Connection>>,
    tools: &Tools,
) -> (AttemptEnd, Option<Box<dyn Connection>>) {
    let gate = TicketGate(ticket);
    let record = Arc::clone(&ticket.record);
    let work = AssertUnwindSafe(offer(record, &ticket.history, connection, tools, &gate)).catch_unwind();
    tokio::pin!(work);
    let cancellation = ticket.cancellation();
    let cancelled = cancellation.cancelled();
    tokio::pin!(cancelled);
    let mut is_cancelled = false;
    loop {
        tokio::select! {
            biased;
            result = &mut work => return match result {
                Ok(ended) => ended,
                Err(_) if ticket.is_past_the_dot() => {
                    (AttemptEnd::Failed(Failure::lost(Stage::FinalDot, panic_text())), None)
                }
                Err(_) => (AttemptEnd::Failed(Failure::crashed(panic_text())), None),
            },
            () = &mut cancelled, if !is_cancelled => {
                // What is past the dot is awaited; the rest is given up unsent, its connection with it.
                is_cancelled = true;
                if !ticket.is_past_the_dot() {
                    return (AttemptEnd::TakenBack, None);
                }
            }
        }
    }
}

fn panic_text() -> String {
    format!("handling the job panicked: {}", last_panic().as_deref().unwrap_or("no text"))
}

/// Asks the ledger, under its lock, whether the e-mail may go past the dot.
struct TicketGate<'a>(&'a Ticket);

impl Gate for TicketGate<'_> {
    fn pass_the_dot(&self) -> bool {
        self.0.hold(Hold::PastTheDot)
    }
}

async fn offer(
    record: Arc<Record>,
    history: &History,
    mut connection: Option<Box<dyn Connection>>,
    tools: &Tools,
    gate: &TicketGate<'_>,
) -> (AttemptEnd, Option<Box<dyn Connection>>) {
    let email = match compose(record, tools).await {
        Ok(email) => email,
        Err(failure) => return (AttemptEnd::Failed(failure), connection),
    };
    let mut to = history.to_ask(email.recipients.len());
    let mut ended: Vec<(usize, Outcome)> = Vec::with_capacity(to.len());
    let mut free_try_is_left = true;
    loop {
        let mut open = match connection.take() {
            Some(open) => open,
            None => match tools.relay.connect().await {
                Ok(open) => open,
                Err(failure) if ended.is_empty() => return (AttemptEnd::Failed(failure), None),
                Err(failure) => {
                    ended.extend(to.iter().map(|index| (*index, Outcome::Failed(failure.clone()))));
                    return (answered(&email, ended), None);
                }
            },
        };
        let used_before = open.carried() > 0;
        let transaction = open.send(&email, &to, gate).await;
        connection = open.is_usable().then_some(open);
        let is_the_connections = |outcome: &Outcome| match outcome {
            Outcome::Failed(failure) => failure.is_the_connections(),
            _ => false,
        };
        let connection_ended = used_before
            && !transaction.outcomes.is_empty()
            && transaction.outcomes.iter().all(is_the_connections);
        if connection_ended && free_try_is_left && gate.0.hold(Hold::Working) {
            free_try_is_left = false;
            connection = None;
            continue;
        }
        let some_were_taken = transaction.outcomes.contains(&Outcome::Accepted);
        let (again, done): (Vec<_>, Vec<_>) = to
            .iter()
            .copied()
            .zip(transaction.outcomes)
            .partition(|(_, outcome)| some_were_taken && is_too_many_recipients(outcome));
        ended.extend(done);
        if again.is_empty() || !gate.0.hold(Hold::Working) {
            ended.extend(again);
            return (answered(&email, ended), connection);
        }
        // The rest of a transaction that took some and said "too many recipients" follows at once.
        to = again.into_iter().map(|(index, _)| index).collect();
    }
}

fn answered(email: &Email, outcomes: Vec<(usize, Outcome)>) -> AttemptEnd {
    AttemptEnd::Answered { recipients: email.recipients.len(), outcomes }
}

fn is_too_many_recipients(outcome: &Outcome) -> bool {
    matches!(outcome, Outcome::Failed(failure) if failure.stage == Stage::Rcpt && failure.code == Some(452))
}

async fn compose(record: Arc<Record>, tools: &Tools) -> Result<Email, Failure> {
    if record.size() <= COMPOSED_IN_PLACE_BYTES {
        return tools.composer.compose(&record);
    }
    let composer = Arc::clone(&tools.composer);
    match tokio::task::spawn_blocking(move || composer.compose(&record)).await {
        Ok(composed) => composed,
        Err(error) => match error.try_into_panic() {
            Ok(panic) => std::panic::resume_unwind(panic),
            Err(_) => Err(Failure::crashed("the runtime ended while composing")),
        },
    }
}

/// Tells the metrics and the vitals of an attempt that was made; what was found before one is none.
fn tell(end: &AttemptEnd, took: std::time::Duration, tools: &Tools) {
    let failure = match end {
        AttemptEnd::TakenBack => return,
        AttemptEnd::Failed(failure) => Some(failure),
        AttemptEnd::Answered { outcomes, .. } => {
            let taken = outcomes.iter().any(|(_, outcome)| *outcome == Outcome::Accepted);
            let mut failures = outcomes.iter().filter_map(|(_, outcome)| match outcome {
                Outcome::Failed(failure) => Some(failure),
                _ => None,
            });
            if taken { None } else { failures.next_back() }
        }
    };
    let Some(failure) = failure else {
        tools.vitals.relay_answered(true, tools.clock.now().into());
        return tools.metrics.send(Event::Attempted { class: None, took });
    };
    if !failure.spends_attempt {
        return;
    }
    use crate::domain::failure::Class;
    match failure.class {
        Class::Temporary | Class::Permanent => tools.vitals.relay_answered(false, tools.clock.now().into()),
        Class::Infrastructure | Class::Limited | Class::Ambiguous => {
            tools.vitals.relay_failed(failure.reason.clone());
        }
    }
    tools.metrics.send(Event::Attempted { class: Some(failure.class), took });
}
