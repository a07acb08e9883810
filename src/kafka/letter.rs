//! A dead letter in the form in which it is put on the topic.

use std::sync::Arc;

use bytes::Bytes;
use mailroom_actors::domain::job::DeadLetter;

/// One record for `kafka.dlq_topic`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct EncodedLetter {
    pub key: Option<Bytes>,
    pub value: Vec<u8>,
    /// In order, doubles too.
    pub headers: Vec<(String, Option<Vec<u8>>)>,
    /// Milliseconds since the epoch.
    pub timestamp_ms: i64,
    /// How small it can be without a loss of the job itself.
    pub lean_size: usize,
}

impl EncodedLetter {
    /// Bytes of key, value and headers: what a broker's limit is compared with, but for its own framing.
    pub fn size(&self) -> usize {
        let headers: usize =
            self.headers.iter().map(|(name, value)| name.len() + value.as_ref().map_or(0, Vec::len)).sum();
        self.key.as_ref().map_or(0, Bytes::len) + self.value.len() + headers
    }
}

/// Makes the record of a letter whose [`EncodedLetter::size`] is at most the given number of bytes, or as
/// small as it can be: headers and history shrink first, then the original message becomes the `omitted`
/// stub. It is `usize::MAX` until the broker has refused the letter as too large. May panic: that is caught.
pub type Encoder = Arc<dyn Fn(&DeadLetter, usize) -> EncodedLetter + Send + Sync>;
