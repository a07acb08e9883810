//! Which job goes to which mailer: due retries first, then new ones, to whoever is idle; while the relay is away
//! only a probe, every now and then, with the job whose turn it is.
//!
//! A plain struct that the consumer owns. Nothing ever queues behind a slow e-mail, since a mailer has a
//! job only when it asked for one.

use std::collections::{BTreeSet, VecDeque};
use std::sync::Arc;

use tokio::time::Instant;

use crate::domain::pace::Circuit;
use crate::guard::ChildId;
use crate::messages::{Ask, Deliver};
use crate::office::TicketOffice;
use crate::throttle::Throttle;
use crate::ticket::{Ticket, Verdict};
use crate::vitals::Vitals;

pub struct Pool {
    retries: VecDeque<Ticket>,
    new: VecDeque<Ticket>,
    /// No attempt is due: to be kept until it is, or concluded.
    errands: VecDeque<Ticket>,
    /// Not due, kept here while the circuit is open: the next probe may be made with one of them.
    later: VecDeque<Ticket>,
    /// No job in here expires before; none: none does.
    next_expiry: Option<Instant>,
    idle: VecDeque<Ask>,
    working: BTreeSet<ChildId>,
    office: Arc<TicketOffice>,
    throttle: Arc<Throttle>,
    vitals: Arc<Vitals>,
}

impl Pool {
    pub fn new(office: Arc<TicketOffice>, throttle: Arc<Throttle>, vitals: Arc<Vitals>) -> Pool {
        // Those who work on while there is a new consumer count.
        let working = vitals.working();
        Pool {
            retries: VecDeque::new(),
            new: VecDeque::new(),
            errands: VecDeque::new(),
            later: VecDeque::new(),
            next_expiry: None,
            idle: VecDeque::new(),
            working,
            office,
            throttle,
            vitals,
        }
    }

    pub fn add_new(&mut self, tickets: Vec<Ticket>) {
        tickets.iter().for_each(|ticket| self.expect(ticket));
        self.new.extend(tickets);
    }

    /// A retry that is due, a job that waits for that, or one that came back.
    pub fn add_first(&mut self, ticket: Ticket) {
        self.expect(&ticket);
        if ticket.verdict.is_some() {
            self.errands.push_back(ticket);
        } else if ticket.is_due() {
            self.retries.push_back(ticket);
        } else {
            self.later.push_back(ticket);
        }
    }

    fn expect(&mut self, ticket: &Ticket) {
        let at = ticket.deadline.map(|deadline| deadline.at);
        self.next_expiry = self.next_expiry.into_iter().chain(at).min();
    }

    /// The jobs whose time has passed while they waited for an attempt, given up. To be called every now and then: it
    /// costs nothing while no time has passed.
    pub fn take_expired(&mut self) -> Vec<Ticket> {
        if self.next_expiry.is_none_or(|at| Instant::now() < at) {
            return Vec::new();
        }
        let mut expired = Vec::new();
        for queue in [&mut self.retries, &mut self.new, &mut self.later] {
            for mut ticket in std::mem::take(queue) {
                match ticket.expired() {
                    Some(failure) => {
                        ticket.verdict = Some(Verdict::GivenUp(failure));
                        expired.push(ticket);
                    }
                    None => queue.push_back(ticket),
                }
            }
        }
        // What is on an errand comes back, and is looked at then.
        let left = self.retries.iter().chain(&self.new).chain(&self.later);
        self.next_expiry = left.filter_map(|ticket| Some(ticket.deadline?.at)).min();
        self.tell_ready();
        expired
    }

    /// The mailer is idle; a second question of the same one takes the place of the first. Whoever has a
    /// connection open is asked first: relays take only so many.
    pub fn ask(&mut self, ask: Ask) {
        if ask.again && self.working.contains(&ask.mailer) {
            return;
        }
        self.gone(ask.mailer);
        if ask.is_connected {
            self.idle.push_front(ask);
        } else {
            self.idle.push_back(ask);
        }
    }

    /// The mailer is gone, or not to be given jobs any more: another one may work in its place.
    pub fn gone(&mut self, mailer: ChildId) {
        if self.working.remove(&mailer) {
            self.vitals.rests(mailer);
        } else {
            self.idle.retain(|ask| ask.mailer != mailer);
        }
    }

    /// Drops the jobs that are not ours any more.
    pub fn purge(&mut self) {
        self.retries.retain(Ticket::is_current);
        self.new.retain(Ticket::is_current);
        self.errands.retain(Ticket::is_current);
        self.later.retain(Ticket::is_current);
    }

    /// Hands out what may be handed out now. To be called whenever anything has changed.
    pub fn dispatch(&mut self) {
        self.run_errands();
        while self.hand_out_one() {}
        self.tell_ready();
    }

    fn tell_ready(&self) {
        self.vitals.set_ready(self.retries.len() + self.new.len());
    }

    /// Hands out what takes no attempt: all that is left to do while the worker stops.
    pub fn run_errands(&mut self) {
        if self.throttle.circuit() == Circuit::Closed {
            self.errands.extend(self.later.drain(..));
        }
        while !self.errands.is_empty() {
            let Some(ask) = self.next_idle() else { return };
            if let Some(ticket) = self.errands.pop_front() {
                self.works(ask.mailer);
                ask.recipient.do_send(Deliver { ticket, permit: None });
            }
        }
    }

    /// False when no attempt may be made now, by whom or for whatever reason.
    fn hand_out_one(&mut self) -> bool {
        let is_open = self.throttle.circuit() != Circuit::Closed;
        if self.idle.is_empty() || (self.office.is_guarded() && !self.working.is_empty()) {
            return false;
        }
        if !is_open {
            let next = self.retries.front().or(self.new.front());
            if next.is_some_and(|ticket| !ticket.is_due()) {
                return self.put_off_one();
            }
        } else if self.throttle.next_probe().is_none_or(|at| Instant::now() < at) {
            return false;
        }
        let Some(ticket) = (if is_open { self.take_for_a_probe() } else { self.take_next() }) else {
            return false;
        };
        if !ticket.may_be_attempted() {
            // It goes as soon as its mark is acknowledged.
            self.retries.push_front(ticket);
            return false;
        }
        let Some(permit) = self.throttle.begin(self.working.len()) else {
            self.retries.push_front(ticket);
            return false;
        };
        let Some(ask) = self.next_idle() else {
            self.retries.push_front(ticket);
            return false;
        };
        self.works(ask.mailer);
        ask.recipient.do_send(Deliver { ticket, permit: Some(permit) });
        true
    }

    fn take_next(&mut self) -> Option<Ticket> {
        self.retries.pop_front().or_else(|| self.new.pop_front())
    }

    /// A restored job at the front waits for its time: a mailer keeps it until then.
    fn put_off_one(&mut self) -> bool {
        let Some(ask) = self.next_idle() else { return false };
        let Some(ticket) = self.take_next() else {
            self.idle.push_front(ask);
            return false;
        };
        self.works(ask.mailer);
        ask.recipient.do_send(Deliver { ticket, permit: None });
        true
    }

    /// Of those that are due the one whose last attempt or probe is longest ago, else the one due next.
    fn take_for_a_probe(&mut self) -> Option<Ticket> {
        let all = self.retries.drain(..).chain(self.new.drain(..)).chain(self.later.drain(..));
        let (mut due, later): (Vec<Ticket>, Vec<Ticket>) = all.partition(Ticket::is_due);
        self.later = later.into();
        // Those never tried first, in the order in which they came.
        due.sort_by_key(|ticket| ticket.last_tried);
        self.retries = due.into();
        if let Some(ticket) = self.retries.pop_front() {
            return Some(ticket);
        }
        let next = self.later.iter().enumerate().min_by_key(|(_, ticket)| ticket.not_before)?.0;
        self.later.swap_remove_back(next)
    }

    fn next_idle(&mut self) -> Option<Ask> {
        while let Some(ask) = self.idle.pop_front() {
            if ask.recipient.connected() {
                return Some(ask);
            }
        }
        None
    }

    fn works(&mut self, mailer: ChildId) {
        self.working.insert(mailer);
        self.vitals.works(mailer);
    }
}
