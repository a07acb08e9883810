//! What is wanted of a job before it is read in full, or after: its end, its tags. Cheap for jobs that have none.

use std::borrow::Cow;
use std::collections::BTreeMap;

use chrono::{DateTime, Utc};
use memchr::memmem;

use super::shape::Glimpse;
use super::{check_tags, json, read_time};

/// The `expires_at` of a job; none where it has none, or is no job.
pub fn expires_at(value: &[u8]) -> Option<DateTime<Utc>> {
    if !may_name(value, b"expires_at") {
        return None;
    }
    let text = Glimpse::of(json::read(value).ok()?).expires_at?;
    read_time(&text).ok()
}

/// The tags of a job; none where it has none, or they can't be read.
pub fn tags(value: &[u8]) -> Option<BTreeMap<Cow<'_, str>, Cow<'_, str>>> {
    if !may_name(value, b"tags") {
        return None;
    }
    let tags = Glimpse::of(json::read(value).ok()?).tags;
    (!tags.is_empty() && check_tags(&tags).is_ok()).then_some(tags)
}

/// Whether the member may be there: a name can also be written with escapes.
fn may_name(value: &[u8], member: &[u8]) -> bool {
    memmem::find(value, member).is_some() || memmem::find(value, b"\\u").is_some()
}
