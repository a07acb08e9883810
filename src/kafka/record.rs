//! One of librdkafka's messages as a record of our own.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;

use bytes::Bytes;
use mailroom_actors::domain::job::Record;
use rdkafka::Message;
use rdkafka::message::{BorrowedHeaders, BorrowedMessage, Header, Headers, OwnedHeaders};

/// A copy, exactly as Kafka had it; but a header whose name is not UTF-8 is left out, since neither a dead
/// letter nor rdkafka (which panics on it) can name it.
pub(super) fn copy(message: &BorrowedMessage<'_>, topic: &Arc<str>) -> Record {
    Record {
        topic: Arc::clone(topic),
        partition: message.partition(),
        offset: message.offset(),
        timestamp_ms: message.timestamp().to_millis(),
        key: message.key().map(Bytes::copy_from_slice),
        value: message.payload().map(Bytes::copy_from_slice),
        headers: message.headers().map(headers).unwrap_or_default(),
    }
}

/// The headers of a record that is to be put on a topic, in this order.
pub(super) fn to_headers<'a>(
    headers: impl ExactSizeIterator<Item = (&'a str, Option<&'a [u8]>)>,
) -> OwnedHeaders {
    let made = OwnedHeaders::new_with_capacity(headers.len());
    headers.fold(made, |made, (key, value)| made.insert(Header { key, value }))
}

fn headers(of: &BorrowedHeaders) -> Vec<(String, Option<Bytes>)> {
    (0..of.count())
        .filter_map(|index| {
            let read = || {
                let header = of.try_get(index)?;
                Some((header.key.to_owned(), header.value.map(Bytes::copy_from_slice)))
            };
            catch_unwind(AssertUnwindSafe(read)).unwrap_or_else(|_| {
                tracing::warn!("a header whose name is not utf-8 is left out");
                None
            })
        })
        .collect()
}
