//! The recipients of one transaction, and what is known of each.

use mailroom_actors::domain::failure::Failure;
use mailroom_actors::ports::{Email, Outcome};

use super::ehlo::Extensions;
use super::envelope;

/// Those of an e-mail's recipients that a transaction is for, by their place among them.
#[derive(Debug)]
pub struct Recipients<'a> {
    email: &'a Email,
    /// Indices into the e-mail's recipients; `fates` has one entry for each.
    to: &'a [usize],
    fates: Vec<Fate>,
}

/// What is known of one recipient.
#[derive(Clone, Debug)]
enum Fate {
    /// Found before anything was sent; it is never named to the relay.
    Unfit(Failure),
    Open,
    /// 250 or 251 to its RCPT.
    Taken,
    Over(Outcome),
}

impl<'a> Recipients<'a> {
    pub fn new(email: &'a Email, to: &'a [usize]) -> Recipients<'a> {
        Recipients { email, to, fates: vec![Fate::Open; to.len()] }
    }

    pub fn indices(&self) -> &'a [usize] {
        self.to
    }

    pub fn address(&self, place: usize) -> &'a str {
        &self.email.recipients[self.to[place]]
    }

    /// Fails those that this relay can't be told of, before anything is sent.
    pub fn leave_out_the_unfit(&mut self, extensions: &Extensions) {
        for place in 0..self.fates.len() {
            if let Err(failure) = envelope::check_recipient(self.address(place), extensions) {
                self.fates[place] = Fate::Unfit(failure);
            }
        }
    }

    /// The first place from `from` on whose recipient is named to the relay.
    pub fn next(&self, from: usize) -> Option<usize> {
        (from..self.fates.len()).find(|place| !matches!(self.fates[*place], Fate::Unfit(_)))
    }

    /// The relay took this recipient. False when it had already refused the e-mail for it.
    pub fn take(&mut self, place: usize) -> bool {
        let is_open = matches!(self.fates[place], Fate::Open);
        if is_open {
            self.fates[place] = Fate::Taken;
        }
        is_open
    }

    /// The relay refused this recipient; an earlier failure stands.
    pub fn refuse(&mut self, place: usize, failure: Failure) {
        if matches!(self.fates[place], Fate::Open) {
            self.fates[place] = Fate::Over(Outcome::Failed(failure));
        }
    }

    pub fn anybody_taken(&self) -> bool {
        self.fates.iter().any(|fate| matches!(fate, Fate::Taken))
    }

    /// Gives `outcome` to everyone who has none yet.
    pub fn conclude(&mut self, outcome: &Outcome) {
        for fate in &mut self.fates {
            if matches!(fate, Fate::Open | Fate::Taken) {
                *fate = Fate::Over(outcome.clone());
            }
        }
    }

    /// In the order of the indices. Everyone has been given one by then.
    pub fn into_outcomes(self) -> Vec<Outcome> {
        let outcome = |fate| match fate {
            Fate::Unfit(failure) => Outcome::Failed(failure),
            Fate::Over(outcome) => outcome,
            Fate::Open | Fate::Taken => unreachable!("a transaction that is over has concluded for everyone"),
        };
        self.fates.into_iter().map(outcome).collect()
    }
}
