//! Durations as options and in answers, written as in the configuration.

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

/// In days where there is one, and what is over: `60d`, `1d 12h`, `90m` is `1h 30m`. Months have no length.
pub(super) fn in_days(duration: Duration) -> String {
    const DAY: u64 = 24 * 60 * 60;
    let days = duration.as_secs() / DAY;
    let rest = duration - Duration::from_secs(days * DAY);
    match (days, rest.is_zero()) {
        (0, _) => humantime::format_duration(rest).to_string(),
        (_, true) => format!("{days}d"),
        (_, false) => format!("{days}d {}", humantime::format_duration(rest)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_duration_is_told_in_days_and_read_back_as_it_was() {
        let hours = |hours: u64| Duration::from_secs(hours * 3600);
        for (duration, told) in [
            (Duration::from_millis(500), "500ms"),
            (Duration::from_secs(90 * 60), "1h 30m"),
            (hours(23), "23h"),
            (hours(24), "1d"),
            (hours(36), "1d 12h"),
            (hours(7 * 24), "7d"),
            (hours(60 * 24), "60d"),
            (hours(365 * 24) + Duration::from_millis(1), "365d 1ms"),
        ] {
            assert_eq!(in_days(duration), told);
            assert_eq!(read(told), Ok(duration), "{told}");
        }
        assert_eq!(in_days(Duration::ZERO), "0s");
        assert_eq!(in_days(Duration::from_millis(i64::MAX as u64)), "106751991167d 7h 12m 55s 807ms");
    }
}
