//! Whom the demo's mail server knows: what it says to each recipient, and where what it takes is told.

use std::collections::HashSet;
use std::sync::Arc;

use parking_lot::Mutex;

use super::mood::Mood;
use super::{Delivery, OnDelivery};
use crate::demo::traffic::Scenario;

/// The server's view of all recipients.
pub(super) struct Mailboxes {
    on_delivery: OnDelivery,
    pub(super) mood: Arc<Mood>,
    /// Recipients that were told once to come back later, and have not been back yet.
    sent_away: Mutex<HashSet<String>>,
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
        const TOO_MANY: Welcome = Welcome::Refused("451 4.7.1 Too many requests");
        match Scenario::of_recipient(recipient) {
            Scenario::Fine => Welcome::Taken,
            Scenario::InvalidAddress => Welcome::Refused("550 5.1.1 No such user"),
            Scenario::Limited => TOO_MANY,
            Scenario::LimitedOnce => {
                let mut sent_away = self.sent_away.lock();
                if sent_away.remove(recipient) {
                    Welcome::Taken
                } else {
                    sent_away.insert(recipient.to_owned());
                    TOO_MANY
                }
            }
            Scenario::SilentAtRcpt => Welcome::Silence,
            Scenario::SilentAtData => Welcome::TakenThenSilence,
        }
    }

    /// The e-mail was taken for these recipients.
    pub(super) fn deliver(&self, recipients: Vec<String>, message_id: &str) {
        for recipient in recipients {
            (self.on_delivery)(Delivery { recipient, message_id: message_id.to_owned() });
        }
    }
}
