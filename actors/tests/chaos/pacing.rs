//! What may never be seen of a worker's pace: promises 4 and 5 of the contract, where they can be seen from outside.

use std::sync::Arc;
use std::time::Duration;

use mailroom_actors::domain::failure::{Cause, Class};
use mailroom_actors::domain::job::DeadLetter;
use mailroom_actors::domain::pace::Circuit;
use mailroom_actors::throttle::Throttle;

use crate::world::World;

const MAX_ATTEMPTS: u32 = 3;
/// So long after the circuit has opened everybody knows.
const KNOWN_AFTER_MS: u64 = 200;
/// What began before a pool was made smaller has ended by then.
const RESIZED_WITHIN_MS: u64 = 30_000;
/// An actor that died leaves its attempt behind, which goes on as long as a slow dot.
const LEFT_BEHIND_MS: u64 = 30_000;

/// One worker's pace, as the relay sees it.
pub struct Pacing {
    throttle: Arc<Throttle>,
    pub connections: usize,
    /// When the pool got which size.
    sizes: Vec<(u64, usize)>,
    open_since: Option<u64>,
    last_probe_at: Option<u64>,
    last_sent_at: Option<u64>,
}

impl Pacing {
    pub fn new(throttle: Arc<Throttle>, now: u64, mailers: usize) -> Pacing {
        Pacing {
            throttle,
            connections: 0,
            sizes: vec![(now, mailers)],
            open_since: None,
            last_probe_at: None,
            last_sent_at: None,
        }
    }

    pub fn resized(&mut self, now: u64, mailers: usize) {
        self.sizes.push((now, mailers));
    }

    /// A probe may have been taken back, or have died: the next one need not wait.
    pub fn disturbed(&mut self) {
        self.last_probe_at = None;
    }

    fn most_mailers(&self, now: u64) -> usize {
        let ended = |index: usize| self.sizes.get(index + 1).map_or(u64::MAX, |(at, _)| *at);
        let counts =
            |(index, _): &(usize, &(u64, usize))| ended(*index) >= now.saturating_sub(RESIZED_WITHIN_MS);
        self.sizes.iter().enumerate().filter(counts).map(|(_, (_, size))| *size).max().unwrap_or(0)
    }
}

impl World {
    pub fn look_at_circuits(&mut self) {
        let now = self.now();
        for found in self.incarnations.iter_mut().filter(|found| found.alive) {
            let open = found.pacing.throttle.circuit() != Circuit::Closed;
            if open && found.pacing.open_since.is_none() {
                self.counts.opened += 1;
            }
            found.pacing.open_since = open.then(|| found.pacing.open_since.unwrap_or(now));
        }
    }

    /// The worker makes an e-mail of the job: this is how each attempt begins.
    pub fn attempt_begins(&mut self, incarnation: usize, job: usize) {
        self.check_in_time(incarnation, job, "is attempted");
        let may_expire = self.may_soon_expire(incarnation, job);
        let now = self.now();
        let interval = self.plan.probe_interval_ms;
        let found = &mut self.jobs[job];
        found.limited += u32::from(std::mem::take(&mut found.is_limited));
        let pacing = &mut self.incarnations[incarnation].pacing;
        let circuit = pacing.throttle.circuit();
        self.jobs[job].is_probe = circuit == Circuit::HalfOpen;
        let complaint = match circuit {
            Circuit::Closed => {
                pacing.last_probe_at = None;
                None
            }
            Circuit::HalfOpen => {
                self.counts.probes += 1;
                let last = pacing.last_probe_at.replace(now);
                let too_soon = last.filter(|last| now < last + interval);
                if matches!(self.jobs[job].making, crate::job::Making::Works) && !may_expire {
                    too_soon.map(|last| format!("job {job} is a probe {} ms after another one", now - last))
                } else {
                    // It is no attempt, or shows nothing.
                    pacing.last_probe_at = None;
                    None
                }
            }
            Circuit::Open => {
                // One that was allowed before it opened may be a moment late.
                let next = pacing.throttle.next_probe().map(|at| at - Duration::from_millis(interval));
                let late = next.is_some_and(|opened| opened.elapsed() > Duration::from_millis(40));
                late.then(|| format!("job {job} is attempted while the circuit is open"))
            }
        };
        if let Some(what) = complaint {
            self.violate("circuit", format!("worker {incarnation}: {what}"));
        }
    }

    /// A record is taken while `in_hand` others are.
    pub fn check_intake(&mut self, incarnation: usize, in_hand: usize) {
        let pacing = &self.incarnations[incarnation].pacing;
        let open_since = pacing.open_since.filter(|_| pacing.throttle.circuit() != Circuit::Closed);
        if in_hand > 0 && open_since.is_some_and(|since| since + KNOWN_AFTER_MS < self.now()) {
            let what = format!("worker {incarnation} takes a job, has {in_hand}, and the circuit is open");
            self.violate("circuit", what);
        }
    }

    pub fn connected(&mut self, incarnation: usize) {
        let now = self.now();
        let found = &mut self.incarnations[incarnation];
        found.pacing.connections += 1;
        let (connections, most) = (found.pacing.connections, found.pacing.most_mailers(now));
        let left_behind = found.burnt_at.is_some_and(|at| at + LEFT_BEHIND_MS > now);
        if connections > most && !left_behind {
            self.violate(
                "connections",
                format!("worker {incarnation}: {connections} at once, with {most} mailers"),
            );
        }
    }

    /// An e-mail goes to MAIL.
    pub fn sends(&mut self, incarnation: usize, job: usize) {
        self.check_in_time(incarnation, job, "goes to MAIL");
        let now = self.now();
        let Some(last) = self.incarnations[incarnation].pacing.last_sent_at.replace(now) else { return };
        let Some(rate) = self.plan.max_rate else { return };
        let apart = u64::from(1_000 / rate).saturating_sub(1);
        if now < last + apart {
            self.violate("rate", format!("worker {incarnation}: two e-mails {} ms apart", now - last));
        }
    }

    /// A letter is stored: its attempts were spent, and on what spends one.
    pub fn check_attempts(&mut self, job: usize, letter: &DeadLetter) {
        let spent = letter.attempts_spent;
        let found = &self.jobs[job];
        let crashed = letter.failure.cause == Cause::Crash;
        let mut wrong = Vec::new();
        if spent > MAX_ATTEMPTS {
            wrong.push(format!("{spent} attempts spent"));
        }
        let tried_again = letter.failure.spends_attempt && letter.failure.class != Class::Permanent;
        if tried_again && !crashed && spent < MAX_ATTEMPTS {
            wrong.push(format!("given up after {spent} attempts"));
        }
        let relays = matches!(letter.failure.class, Class::Infrastructure | Class::Limited);
        if relays && !crashed && found.is_probe {
            wrong.push("given up after a failed probe".into());
        }
        let limited = found.limited + u32::from(found.is_limited);
        // A panic before the e-mail is made spends one, too.
        let most = (found.made + self.counts.panics).saturating_sub(limited);
        if found.recipients.len() == 1 && !crashed && limited < 100 && spent > most {
            wrong.push(format!("{spent} attempts spent of {}, and {limited} met a limit", found.made));
        }
        self.counts.crashes += u32::from(crashed);
        self.counts.innocents += u32::from(crashed && !found.panicked);
        for what in wrong {
            self.violate("attempts", format!("job {job}: {what}"));
        }
    }
}
