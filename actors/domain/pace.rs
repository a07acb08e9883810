//! How many mailers may work now: one number, like TCP's window, and the circuit that shuts it altogether.

use std::time::Duration;

use super::failure::Class;

/// The `breaker.*` keys of the configuration.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Breaker {
    /// So many failures in a row open the circuit; 0: none do.
    pub failures: u32,
    /// From the opening, or the end of a failed probe, to the next probe.
    pub probe_interval: Duration,
}

/// A permission to make one attempt.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Turn {
    /// Whether the attempt is the probe of an open circuit.
    pub probe: bool,
    round: u64,
}

/// Whether the relay is worth attempts. Contract, section 4, promise 4.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Circuit {
    Closed,
    /// A probe is under way.
    HalfOpen,
    Open,
}

/// What one attempt showed of the relay.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Seen {
    /// It took the e-mail.
    Taken,
    /// It gave some other answer about the message: temporary or permanent.
    Answered,
    Infrastructure,
    Limited,
    Ambiguous,
    /// No word from the relay: the attempt was taken back, panicked, or never began.
    Nothing,
}

impl Seen {
    /// What a failure of this class shows; none: the relay took the e-mail. A failure that was found before
    /// the attempt is [`Seen::Nothing`], whatever its class.
    pub fn of(class: Option<Class>) -> Seen {
        match class {
            None => Seen::Taken,
            Some(Class::Temporary | Class::Permanent) => Seen::Answered,
            Some(Class::Infrastructure) => Seen::Infrastructure,
            Some(Class::Limited) => Seen::Limited,
            Some(Class::Ambiguous) => Seen::Ambiguous,
        }
    }
}

/// How many may work, from what the attempts showed. Times are given as the time since any fixed moment.
#[derive(Clone, Debug)]
pub struct Pace {
    /// The pool's; at least 1.
    size: usize,
    breaker: Breaker,
    state: State,
    /// How many may work while the circuit is closed: from 1 to `size`.
    window: usize,
    growth: Growth,
    /// E-mails that count towards the next growth.
    through: usize,
    failures_in_a_row: u32,
    /// Raised by each halving and each opening: a turn tells by it whether it is from before.
    round: u64,
    /// The first round since the circuit opened last. Turns of earlier ones are stragglers: they change nothing.
    first_round: u64,
    /// Attempts of this round that are under way.
    under_way: usize,
    /// Attempts from before the last halving that are under way: while there are any, nothing halves again.
    before_halving: usize,
    /// Stragglers that are under way. One past the dot may take ten minutes to find out that it is lost; it
    /// takes up no place among those that may work, or it would hold up all mail once the relay is back.
    stragglers: usize,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    Closed,
    HalfOpen,
    Open { next_probe: Duration },
}

/// How a window that is smaller than the pool grows again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Growth {
    /// After a halving: by one for each round of e-mails that were taken.
    ByOne,
    /// After the circuit has closed: to twice as many for each round of e-mails that got through.
    Doubling,
}

impl Pace {
    /// A closed circuit, and all of `size` (at least 1) may work.
    pub fn new(size: usize, breaker: Breaker) -> Pace {
        let size = size.max(1);
        Pace {
            size,
            breaker,
            state: State::Closed,
            window: size,
            growth: Growth::ByOne,
            through: 0,
            failures_in_a_row: 0,
            round: 0,
            first_round: 0,
            under_way: 0,
            before_halving: 0,
            stragglers: 0,
        }
    }

    /// The pool has another size (at least 1). Where all of it could work, all of it can; what is allowed is
    /// cut to a smaller size.
    pub fn resize(&mut self, size: usize) {
        let full = self.window == self.size && self.growth == Growth::ByOne;
        self.size = size.max(1);
        self.window = if full { self.size } else { self.window.min(self.size) };
    }

    /// How many may work: none while the circuit is open, the probe alone while one is under way.
    pub fn allowed(&self) -> usize {
        match self.state {
            State::Closed => self.window,
            State::HalfOpen => 1,
            State::Open { .. } => 0,
        }
    }

    pub fn circuit(&self) -> Circuit {
        match self.state {
            State::Closed => Circuit::Closed,
            State::HalfOpen => Circuit::HalfOpen,
            State::Open { .. } => Circuit::Open,
        }
    }

    /// Infrastructure, limited and ambiguous endings since the last answer about an e-mail; failed probes
    /// count on.
    pub fn failures_in_a_row(&self) -> u32 {
        self.failures_in_a_row
    }

    /// One more attempt may begin, `working` being under way; none: not now. While the circuit is open only
    /// a probe may, one at a time, each `breaker.probe_interval` after the opening or the end of the one before.
    pub fn begin(&mut self, working: usize, now: Duration) -> Option<Turn> {
        match self.state {
            State::Closed => {
                // Whatever was not told has ended all the same.
                self.before_halving = self.before_halving.min(working);
                self.stragglers = self.stragglers.min(working);
                if working >= self.size || working - self.stragglers >= self.window {
                    return None;
                }
                self.under_way += 1;
                Some(Turn { probe: false, round: self.round })
            }
            State::Open { next_probe } if now >= next_probe => {
                self.state = State::HalfOpen;
                Some(Turn { probe: true, round: self.round })
            }
            State::Open { .. } | State::HalfOpen => None,
        }
    }

    /// The attempt that had this turn has ended. To be told once for each, in any order.
    pub fn ended(&mut self, turn: Turn, seen: Seen, now: Duration) {
        if turn.probe {
            return self.probe_ended(turn, seen, now);
        }
        if turn.round < self.first_round {
            self.stragglers = self.stragglers.saturating_sub(1);
            return;
        }
        let of_this_round = turn.round == self.round;
        let under_way = if of_this_round { &mut self.under_way } else { &mut self.before_halving };
        *under_way = under_way.saturating_sub(1);
        match seen {
            Seen::Taken | Seen::Answered => {
                self.failures_in_a_row = 0;
                if of_this_round && (seen == Seen::Taken || self.growth == Growth::Doubling) {
                    self.one_got_through();
                }
            }
            Seen::Limited => {
                if of_this_round && self.before_halving == 0 {
                    self.halve();
                }
                self.one_failed(now);
            }
            Seen::Infrastructure | Seen::Ambiguous => self.one_failed(now),
            Seen::Nothing => {}
        }
    }

    /// When a probe may next begin; none unless the circuit is open and no probe is under way.
    pub fn next_probe(&self) -> Option<Duration> {
        match self.state {
            State::Open { next_probe } => Some(next_probe),
            State::Closed | State::HalfOpen => None,
        }
    }

    fn probe_ended(&mut self, turn: Turn, seen: Seen, now: Duration) {
        if self.state != State::HalfOpen || turn.round != self.round {
            return;
        }
        match seen {
            Seen::Taken | Seen::Answered => {
                self.state = State::Closed;
                self.failures_in_a_row = 0;
                self.window = 1;
                self.growth = Growth::Doubling;
                self.through = 0;
            }
            Seen::Infrastructure | Seen::Limited | Seen::Ambiguous => self.one_failed(now),
            Seen::Nothing => self.state = State::Open { next_probe: now },
        }
    }

    fn one_got_through(&mut self) {
        self.through += 1;
        if self.through < self.window {
            return;
        }
        self.through = 0;
        let more = match self.growth {
            Growth::ByOne => self.window.saturating_add(1),
            Growth::Doubling => self.window.saturating_mul(2),
        };
        self.window = more.min(self.size);
        if self.window == self.size {
            self.growth = Growth::ByOne;
        }
    }

    fn halve(&mut self) {
        self.window = (self.window / 2).max(1);
        self.growth = Growth::ByOne;
        self.through = 0;
        self.round += 1;
        self.before_halving = std::mem::take(&mut self.under_way);
    }

    fn one_failed(&mut self, now: Duration) {
        self.failures_in_a_row = self.failures_in_a_row.saturating_add(1);
        let enough = self.breaker.failures > 0 && self.failures_in_a_row >= self.breaker.failures;
        if self.state == State::Closed && !enough {
            return;
        }
        if self.state == State::Closed {
            self.round += 1;
            self.first_round = self.round;
            self.stragglers += std::mem::take(&mut self.under_way) + std::mem::take(&mut self.before_halving);
        }
        self.state = State::Open { next_probe: now.saturating_add(self.breaker.probe_interval) };
    }
}

#[cfg(test)]
#[path = "pace_tests.rs"]
mod tests;
