//! What a job is called: its idempotency key, and the Message-ID that is made of it.

use std::borrow::Cow;
use std::collections::BTreeMap;

use mailroom_actors::domain::job::{IDEMPOTENCY_KEY, Record};
use sha2::{Digest, Sha256};

use super::shape::Glimpse;
use super::{Mailbox, json, mailbox, tags};

/// Hex digits of the hash that go into a Message-ID: 128 bits.
const MESSAGE_ID_DIGITS: usize = 32;

/// What can be said of any record, even one that is no job.
#[derive(Debug, PartialEq, Eq)]
pub struct Identity {
    pub idempotency_key: String,
    /// With angle brackets; the same that the e-mail of a readable job carries.
    pub message_id: String,
    /// The job's tags; empty where they can't be read.
    pub tags: BTreeMap<String, String>,
}

impl Identity {
    /// Reads as much as can be read: `id`, `tags` and `from` count where they are fit on their own.
    pub fn of(record: &Record, default_from: &Mailbox) -> Identity {
        let glimpse = record.value.as_deref().and_then(|value| json::read(value).ok()).map(Glimpse::of);
        let Glimpse { id, tags: given_tags, from } = glimpse.unwrap_or_default();
        let from = from.and_then(|given| mailbox(&given, "from").ok());
        let idempotency_key = key(id.filter(|id| is_usable(id)), record).into_owned();
        Identity {
            message_id: message_id(&idempotency_key, from.as_ref().unwrap_or(default_from)),
            idempotency_key,
            tags: tags::owned(given_tags),
        }
    }
}

/// `<`, a hash of the key, `@`, the domain of `from`, `>`: the same on every attempt, replica and replay.
pub fn message_id(idempotency_key: &str, from: &Mailbox) -> String {
    let hash = Sha256::digest(idempotency_key.as_bytes());
    let domain = from.address.domain();
    let mut out = String::with_capacity(MESSAGE_ID_DIGITS + domain.len() + 3);
    out.push('<');
    for byte in hash.iter().take(MESSAGE_ID_DIGITS / 2) {
        for nibble in [byte >> 4, byte & 15] {
            out.push(char::from(b"0123456789abcdef"[usize::from(nibble)]));
        }
    }
    out.push('@');
    out.push_str(domain);
    out.push('>');
    out
}

/// The job's own `id`, else the last usable header (as Kafka's clients read doubles), else the record's
/// name.
pub(super) fn key<'a>(id: Option<Cow<'a, str>>, record: &'a Record) -> Cow<'a, str> {
    id.or_else(|| header(record).map(Cow::Borrowed)).unwrap_or_else(|| Cow::Owned(record.name()))
}

pub(super) fn is_usable(id: &str) -> bool {
    (1..=super::MAX_ID_BYTES).contains(&id.len())
}

fn header(record: &Record) -> Option<&str> {
    let values = record.headers.iter().rev().filter(|(name, _)| name == IDEMPOTENCY_KEY);
    values.filter_map(|(_, value)| std::str::from_utf8(value.as_deref()?).ok()).find(|id| is_usable(id))
}
