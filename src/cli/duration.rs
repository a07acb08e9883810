//! Durations as options, written as in the configuration.

use std::time::Duration;

use crate::config::kind::{Kind, Raw, Value};

/// The most that an option takes: a year, as durations are written.
const MAX: Duration = Duration::from_secs(31_557_600);

/// Reads `"15m"`; at least 1 ms, at most a year.
pub(super) fn read(text: &str) -> Result<Duration, String> {
    let kind = Kind::Duration { min: Duration::from_millis(1), max: MAX };
    match kind.read(&Raw::untyped(text)) {
        Some(Value::Duration(duration)) => Ok(duration),
        _ => Err(kind.allowed()),
    }
}
