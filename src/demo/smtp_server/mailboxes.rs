//! Whom the demo's mail server knows: what it says to each recipient, and where what it takes is told.

use std::collections::HashMap;
use std::sync::Arc;

use parking_lot::Mutex;

use super::mood::Mood;
use super::{Delivery, OnDelivery};
use crate::demo::traffic::Scenario;

/// The server's view of all recipients.
pub(super) struct Mailboxes {
    on_delivery: OnDelivery,
    pub(super) mood: Arc<Mood>,
    /// How often those were told to come back later whose e-mail has not been taken yet.
    sent_away: Mutex<HashMap<String, u32>>,
}

/// What becomes of a `RCPT TO`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Welcome {
    Taken,
    /// Taken, but DATA will not be answered.
    TakenThenSilence,
    Refused(&'static str),
    Silence,
}

impl Mailboxes {
    pub(super) fn new(on_delivery: OnDelivery, mood: Arc<Mood>) -> Mailboxes {
        Mailboxes { on_delivery, mood, sent_away: Mutex::default() }
    }

    /// What the server says to this recipient now.
    pub(super) fn welcome(&self, recipient: &str) -> Welcome {
        match Scenario::of_recipient(recipient) {
            Scenario::Fine => Welcome::Taken,
            Scenario::InvalidAddress => Welcome::Refused("550 5.1.1 No such user"),
            Scenario::Limited => self.taken_after(recipient, 3),
            Scenario::LimitedOnce => self.taken_after(recipient, 1),
            Scenario::SilentAtRcpt => Welcome::Silence,
            Scenario::SilentAtData => Welcome::TakenThenSilence,
        }
    }

    /// Taken once the recipient was sent away so often.
    fn taken_after(&self, recipient: &str, refusals: u32) -> Welcome {
        let mut sent_away = self.sent_away.lock();
        let times = sent_away.entry(recipient.to_owned()).or_default();
        if *times == refusals {
            sent_away.remove(recipient);
            return Welcome::Taken;
        }
        *times += 1;
        Welcome::Refused("451 4.7.1 Too many requests")
    }

    /// The e-mail was taken for these recipients.
    pub(super) fn deliver(&self, recipients: Vec<String>, message_id: &str) {
        for recipient in recipients {
            (self.on_delivery)(Delivery { recipient, message_id: message_id.to_owned() });
        }
    }
}
