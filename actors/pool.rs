//! Which job goes to which mailer: due retries first, then new ones, to whoever is idle.
//!
//! A plain struct that the consumer owns. Nothing ever queues behind a slow e-mail, since a mailer has a
//! job only when it asked for one.

use std::collections::{BTreeSet, VecDeque};
use std::sync::Arc;

use crate::guard::ChildId;
use crate::messages::{Ask, Deliver};
use crate::ticket::Ticket;
use crate::vitals::Vitals;

pub struct Pool {
    retries: VecDeque<Ticket>,
    new: VecDeque<Ticket>,
    idle: VecDeque<Ask>,
    working: BTreeSet<ChildId>,
    /// How many may work now.
    allowed: usize,
    vitals: Arc<Vitals>,
}

impl Pool {
    pub fn new(allowed: usize, vitals: Arc<Vitals>) -> Pool {
        vitals.set_working(BTreeSet::new());
        Pool {
            retries: VecDeque::new(),
            new: VecDeque::new(),
            idle: VecDeque::new(),
            working: BTreeSet::new(),
            allowed,
            vitals,
        }
    }

    pub fn add_new(&mut self, tickets: Vec<Ticket>) {
        self.new.extend(tickets);
        self.dispatch();
    }

    /// A retry that is due, or a job that came back.
    pub fn add_first(&mut self, ticket: Ticket) {
        self.retries.push_back(ticket);
        self.dispatch();
    }

    /// The mailer is idle; a second question of the same one takes the place of the first.
    pub fn ask(&mut self, ask: Ask) {
        self.forget(ask.mailer);
        self.idle.push_back(ask);
        self.dispatch();
    }

    /// The mailer is gone, or not to be given jobs any more: another one may work in its place.
    pub fn gone(&mut self, mailer: ChildId) {
        self.forget(mailer);
        self.dispatch();
    }

    fn forget(&mut self, mailer: ChildId) {
        if self.working.remove(&mailer) {
            self.vitals.rests(mailer);
        } else {
            self.idle.retain(|ask| ask.mailer != mailer);
        }
    }

    pub fn allow(&mut self, mailers: usize) {
        self.allowed = mailers;
        self.dispatch();
    }

    /// Drops the jobs that are not ours any more.
    pub fn purge(&mut self) {
        self.retries.retain(Ticket::is_current);
        self.new.retain(Ticket::is_current);
    }

    fn dispatch(&mut self) {
        while self.working.len() < self.allowed {
            if self.retries.is_empty() && self.new.is_empty() {
                return;
            }
            let Some(ask) = self.idle.pop_front() else { return };
            if !ask.recipient.connected() {
                continue;
            }
            let next = self.retries.pop_front().or_else(|| self.new.pop_front());
            let ticket = next.expect("one of the two queues is not empty");
            self.working.insert(ask.mailer);
            self.vitals.works(ask.mailer);
            ask.recipient.do_send(Deliver(ticket));
        }
    }
}
