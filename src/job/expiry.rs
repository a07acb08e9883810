//! When a job expires, also asked of records whose other fields nobody has looked at yet.

use chrono::{DateTime, Utc};
use mailroom_actors::domain::failure::Failure;
use memchr::memmem;

use super::members::{invalid, members, string};
use super::{ESCAPED_LETTER, json};

/// The job's `expires_at`, where the record's value is JSON with a readable one; whatever else is wrong with it.
/// Costs next to nothing where there is none.
pub fn expires_at(value: &[u8]) -> Option<DateTime<Utc>> {
    if memmem::find(value, b"expires_at").is_none() && memmem::find(value, ESCAPED_LETTER).is_none() {
        return None;
    }
    let [given] = members(json::read(value).ok()?, &["expires_at"], "").ok()?;
    read(&string(given?, "expires_at").ok()?).ok()
}

/// # Errors
/// Invalid: it is no RFC 3339 time.
pub(super) fn read(text: &str) -> Result<DateTime<Utc>, Failure> {
    DateTime::parse_from_rfc3339(text)
        .map(DateTime::from)
        .map_err(|_| invalid("expires_at: is not an RFC 3339 time such as 2026-11-24T02:07:47Z"))
}
