//! Publishes what is given up, for as long as it takes, and settles it once the brokers have acknowledged.

use std::cell::RefCell;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use actix::prelude::*;
use futures::FutureExt;
use tokio::time::Instant;

use crate::domain::failure::{Cause, Failure};
use crate::domain::job::{DeadLetter, Record};
use crate::domain::ledger::{Hold, Settlement};
use crate::guard::DeathGuard;
use crate::line::Line;
use crate::messages::{AreYouAlive, Event, Publish, Published};
use crate::ports::{Composer, DeadLetterLog, WallClock};
use crate::seldom::Seldom;
use crate::tags;
use crate::ticket::{Ticket, Verdict};
use crate::vitals::Vitals;

/// What each generation of the publisher is made of.
#[derive(Clone)]
pub struct DeadLettersParts {
    pub log: Rc<dyn DeadLetterLog>,
    pub metrics: Line<Event>,
    pub vitals: Arc<Vitals>,
    pub clock: Arc<dyn WallClock>,
    /// Knows the job's tags, and whether there is a job at all.
    pub composer: Arc<dyn Composer>,
    /// Makes a failure's reason fit for a log line: addresses masked.
    pub mask: Rc<dyn Fn(&str) -> String>,
}

pub struct DeadLetters {
    parts: DeadLettersParts,
    guard: DeathGuard,
    under_way: usize,
    refusals: Rc<RefCell<Seldom>>,
}

/// Of thousands of letters that are refused, a line a second.
const BETWEEN_LINES: Duration = Duration::from_secs(1);
/// The wait after the first refused publish; each further one doubles it, up to [`LONGEST_WAIT`].
const SHORTEST_WAIT: Duration = Duration::from_millis(100);
const LONGEST_WAIT: Duration = Duration::from_secs(5);

impl DeadLetters {
    pub fn new(parts: DeadLettersParts, guard: DeathGuard) -> DeadLetters {
        parts.vitals.letters_under_way(0);
        let refusals = Rc::new(RefCell::new(Seldom::new(BETWEEN_LINES)));
        DeadLetters { parts, guard, under_way: 0, refusals }
    }

    fn settle(&self, ticket: Ticket, failure: &Failure) {
        let record = Arc::clone(&ticket.record);
        let attempts = ticket.history.attempts_spent;
        let settlement = match failure.cause {
            Cause::Expired => Settlement::Expired,
            _ => Settlement::DeadLettered,
        };
        if !ticket.settle(settlement) {
            return;
        }
        crate::kill_point::reach("after-acknowledgement-before-commit");
        self.parts.metrics.send(Event::DeadLettered { cause: failure.cause, is_replay: record.is_replay() });
        let reason = (self.parts.mask)(&failure.reason);
        tracing::info!(
            topic = %record.topic,
            partition = record.partition,
            offset = record.offset,
            attempts,
            cause = failure.cause.as_str(),
            stage = failure.stage.as_str(),
            reason,
            tags = tags::shown(&record, &*self.parts.composer),
            "e-mail dead-lettered"
        );
    }
}

impl Actor for DeadLetters {
    type Context = Context<Self>;
}

impl Handler<Publish> for DeadLetters {
    type Result = ();

    fn handle(&mut self, Publish(mut ticket): Publish, ctx: &mut Context<Self>) {
        let failure = match &ticket.verdict {
            Some(Verdict::Acknowledged(failure)) => {
                let failure = failure.clone();
                return self.settle(ticket, &failure);
            }
            Some(Verdict::GivenUp(failure)) => {
                what_it_really_is(failure, &ticket.record, &*self.parts.composer).unwrap_or(failure.clone())
            }
            // Not for us: dropped, it comes back to the consumer, which knows where it belongs.
            Some(Verdict::Ended(..)) | None => return,
        };
        if !ticket.hold(Hold::DeadLettering) {
            return;
        }
        self.under_way += 1;
        self.parts.vitals.letters_under_way(self.under_way);
        let letter = Arc::new(DeadLetter {
            record: Arc::clone(&ticket.record),
            failure: failure.clone(),
            attempts_spent: ticket.history.attempts_spent,
            attempts: ticket.history.attempts.clone(),
            served: ticket.history.served,
            failed_at: self.parts.clock.now(),
        });
        let (parts, refusals) = (self.parts.clone(), Rc::clone(&self.refusals));
        let publisher = ctx.address();
        actix_rt::spawn(async move {
            publish(&letter, &ticket, &parts, &refusals).await;
            ticket.verdict = Some(Verdict::Acknowledged(failure));
            publisher.do_send(Published(ticket));
        });
    }
}

/// The failure of a record that was given up as expired before anybody had looked into it, and is no job at all. Should
/// looking panic, it has expired.
fn what_it_really_is(failure: &Failure, record: &Record, composer: &dyn Composer) -> Option<Failure> {
    if failure.cause != Cause::Expired {
        return None;
    }
    catch_unwind(AssertUnwindSafe(|| composer.why_no_job(record))).ok().flatten()
}

/// Returns once the brokers have acknowledged the letter, or the job is not ours any more.
async fn publish(
    letter: &Arc<DeadLetter>,
    ticket: &Ticket,
    parts: &DeadLettersParts,
    refusals: &RefCell<Seldom>,
) {
    let mut wait = SHORTEST_WAIT;
    while ticket.is_current() {
        let began = Instant::now();
        let tried = AssertUnwindSafe(async {
            // Behind the publish, so that it is under way.
            let point = async { crate::kill_point::reach("while-dead-lettering") };
            futures::join!(parts.log.publish(Arc::clone(letter)), point).0
        })
        .catch_unwind()
        .await;
        let error = match tried {
            Ok(Ok(())) => return parts.vitals.letter_acknowledged(),
            Ok(Err(error)) => error,
            Err(_) => "publishing panicked".into(),
        };
        parts.metrics.send(Event::PublishFailed);
        let unsaid = refusals.borrow_mut().may_say(Instant::now());
        if let Some(unsaid) = unsaid {
            tracing::warn!(
                partition = letter.record.partition,
                offset = letter.record.offset,
                error = %error,
                wait_ms = u64::try_from(wait.as_millis()).unwrap_or(u64::MAX),
                more_refused = unsaid,
                "dead letter not published, trying again"
            );
        }
        parts.vitals.letter_refused(error, began);
        tokio::time::sleep(wait).await;
        wait = (wait * 2).min(LONGEST_WAIT);
    }
}

impl Handler<Published> for DeadLetters {
    type Result = ();

    fn handle(&mut self, Published(ticket): Published, _: &mut Context<Self>) {
        self.under_way = self.under_way.saturating_sub(1);
        self.parts.vitals.letters_under_way(self.under_way);
        if let Some(Verdict::Acknowledged(failure)) = &ticket.verdict {
            let failure = failure.clone();
            self.settle(ticket, &failure);
        }
    }
}

impl Handler<AreYouAlive> for DeadLetters {
    type Result = ();

    fn handle(&mut self, _: AreYouAlive, _: &mut Context<Self>) {
        self.guard.alive();
    }
}
