//! The last dead letters as the demo shows them: why each was given up, addresses masked, no bodies.

use std::collections::VecDeque;
use std::sync::Arc;

use mailroom_actors::domain::letters::decision::State;
use parking_lot::Mutex;
use serde::Deserialize;

use crate::mask::{mask_address, mask_text};

/// So many are kept, the newest first.
pub const MOST_LETTERS: usize = 200;

/// The last letters as their reader and the live view share them.
pub type LastLetters = Arc<Mutex<VecDeque<Letter>>>;

/// One dead letter (contract, section 3). What a letter does not say is empty.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(default)]
pub struct Letter {
    /// Its place in the dead letter topic.
    #[serde(skip)]
    pub offset: i64,
    /// What has become of it, where that is known.
    #[serde(skip)]
    pub state: Option<State>,
    pub cause: String,
    pub stage: String,
    pub error_reason: String,
    pub smtp_code: Option<u16>,
    pub enhanced_code: Option<String>,
    pub recipients: Vec<String>,
    pub retry_count: u32,
    pub failed_at: String,
    pub worker_id: String,
    pub attempts: Vec<Attempt>,
    pub source: Source,
    pub idempotency_key: String,
    pub message_id: String,
}

/// One attempt that was spent.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(default)]
pub struct Attempt {
    pub number: u32,
    pub at: String,
    pub stage: String,
    pub error: String,
    pub took_ms: u64,
}

/// Where the job lies.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(default)]
pub struct Source {
    pub topic: String,
    pub partition: i32,
    pub offset: i64,
}

impl Letter {
    /// Reads a record's value; none where it is no letter.
    pub fn read(offset: i64, value: &[u8]) -> Option<Letter> {
        let mut letter: Letter = serde_json::from_slice(value).ok()?;
        letter.offset = offset;
        letter.error_reason = mask_text(&letter.error_reason).into_owned();
        letter.recipients.iter_mut().for_each(|address| *address = mask_address(address));
        letter.attempts.iter_mut().for_each(|attempt| attempt.error = mask_text(&attempt.error).into_owned());
        Some(letter)
    }

    /// The first recipient, and how many more there are.
    pub fn whom(&self) -> String {
        match self.recipients.as_slice() {
            [] => "-".into(),
            [only] => only.clone(),
            [first, others @ ..] => format!("{first} +{}", others.len()),
        }
    }
}

/// Puts the letter before the others, and lets the oldest go.
pub fn keep(letters: &LastLetters, letter: Letter) {
    let mut letters = letters.lock();
    letters.push_front(letter);
    letters.truncate(MOST_LETTERS);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_letter_is_shown_with_masked_addresses_and_without_its_body() {
        let value = br#"{"original_message": {"to": "ada@example.com", "otp": "493021"}, "cause": "policy",
            "error_reason": "550 ada@example.com is not welcome", "recipients": ["ada@example.com", "b@example.com"],
            "smtp_code": 550, "enhanced_code": null, "retry_count": 1,
            "attempts": [{"number": 1, "at": "", "stage": "rcpt", "error": "550 ada@example.com", "took_ms": 3}]}"#;
        let letter = Letter::read(7, value).unwrap();
        assert_eq!((letter.offset, letter.whom().as_str()), (7, "a***@example.com +1"));
        let all = format!("{letter:?}");
        assert!(!all.contains("ada@") && !all.contains("493021"), "{all}");
        assert_eq!(Letter::read(8, b"{"), None);
    }

    #[test]
    fn the_newest_are_kept_and_come_first() {
        let letters = LastLetters::default();
        for offset in 0..300 {
            keep(&letters, Letter { offset, ..Letter::default() });
        }
        let letters = letters.lock();
        assert_eq!((letters.len(), letters[0].offset), (MOST_LETTERS, 299));
    }
}
