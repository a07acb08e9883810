//! A job's tags, read of records whose other fields nobody has looked at yet.

use std::borrow::Cow;
use std::collections::BTreeMap;

use memchr::memmem;

use super::shape::Glimpse;
use super::{ESCAPED_LETTER, check_tags, json};

/// The tags, where the record's value is JSON that has usable ones; else an empty map. Costs next to nothing where
/// there are none.
pub fn tags(value: &[u8]) -> BTreeMap<String, String> {
    if memmem::find(value, b"\"tags\"").is_none() && memmem::find(value, ESCAPED_LETTER).is_none() {
        return BTreeMap::new();
    }
    match json::read(value) {
        Ok(job) => owned(Glimpse::of(job).tags),
        Err(_) => BTreeMap::new(),
    }
}

/// Empty where a tag is over its limit.
pub(super) fn owned(tags: BTreeMap<Cow<'_, str>, Cow<'_, str>>) -> BTreeMap<String, String> {
    match check_tags(&tags) {
        Ok(()) => tags.into_iter().map(|(name, value)| (name.into_owned(), value.into_owned())).collect(),
        Err(_) => BTreeMap::new(),
    }
}
