//! What happens in the demo at which time: `relay-down@5s..10s`, as it is said on the command line.

use std::str::FromStr;
use std::time::Duration;

use super::levers::Lever;

/// One lever, and when it is pulled after the start.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Step {
    pub at: Duration,
    pub lever: Lever,
}

/// One event as it is said: what it begins with, and what it ends with where it lasts until a given time.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Event {
    pub begin: Step,
    pub end: Option<Step>,
}

/// The forms of an event, for help and errors.
const FORMS: &str = "relay-down@FROM, slow@FROM, too-many@FROM, pause@FROM (each with ..UNTIL where it \
                     ends), kill-mailer@AT, pool=SIZE@AT, replay@AT";
/// As large as the demo's pool may become.
pub const MOST_MAILERS: usize = 4096;

impl FromStr for Event {
    type Err = String;

    /// Reads one event.
    ///
    /// # Errors
    /// In words that say what is allowed.
    fn from_str(text: &str) -> Result<Event, String> {
        let Some((what, when)) = text.split_once('@') else {
            return Err(format!("it has no time; there are {FORMS}; a time is 5s, 1m30s or 500ms"));
        };
        let (from, until) = match when.split_once("..") {
            Some((from, until)) => (time(from)?, Some(time(until)?)),
            None => (time(when)?, None),
        };
        let lasting: fn(bool) -> Lever = match what {
            "relay-down" => Lever::RelayDown,
            "slow" => Lever::Slow,
            "too-many" => Lever::TooMany,
            "pause" => Lever::Pause,
            _ => {
                let lever = at_one_moment(what)?;
                if until.is_some() {
                    return Err(format!("{what} happens at one moment: {what}@{}", when_written(when)));
                }
                return Ok(Event { begin: Step { at: from, lever }, end: None });
            }
        };
        if until.is_some_and(|until| until <= from) {
            return Err("it ends before it begins; both times count from the start of the demo".into());
        }
        let end = until.map(|at| Step { at, lever: lasting(false) });
        Ok(Event { begin: Step { at: from, lever: lasting(true) }, end })
    }
}

/// The first of two times.
fn when_written(when: &str) -> &str {
    when.split("..").next().unwrap_or(when)
}

fn at_one_moment(what: &str) -> Result<Lever, String> {
    if what == "kill-mailer" {
        return Ok(Lever::KillMailer);
    }
    if what == "replay" {
        return Ok(Lever::Replay);
    }
    let Some(size) = what.strip_prefix("pool=") else {
        return Err(format!("{what:?} is nothing that can happen; there are {FORMS}"));
    };
    match size.parse() {
        Ok(size @ 1..=MOST_MAILERS) => Ok(Lever::Pool(size)),
        _ => Err(format!("a pool of {size:?} mailers can't be; 1 to {MOST_MAILERS} are allowed")),
    }
}

fn time(text: &str) -> Result<Duration, String> {
    humantime::parse_duration(text).map_err(|_| format!("{text:?} is no time; a time is 5s, 1m30s or 500ms"))
}

/// The events as steps, the earliest first; of the same time as they were said.
pub fn steps(events: &[Event]) -> Vec<Step> {
    let mut steps: Vec<Step> =
        events.iter().flat_map(|event| std::iter::once(event.begin).chain(event.end)).collect();
    steps.sort_by_key(|step| step.at);
    steps
}

/// When the relay goes down for the first time where nothing else was said, for how long, and how long it is up
/// between. Attempts come at 0, 1 and 3 s: what is first tried at the beginning of it is dead-lettered, the rest
/// is saved.
const FIRST_OUTAGE: Duration = Duration::from_secs(8);
const OUTAGE: Duration = Duration::from_millis(4_500);
const BETWEEN_OUTAGES: Duration = Duration::from_secs(35);

/// What happens where nothing was said: the relay is down now and then, for ever.
pub fn outages() -> impl Iterator<Item = Step> {
    (0u32..).flat_map(|number| {
        let at = FIRST_OUTAGE + (OUTAGE + BETWEEN_OUTAGES) * number;
        let step = |at, down| Step { at, lever: Lever::RelayDown(down) };
        [step(at, true), step(at + OUTAGE, false)]
    })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn read(text: &str) -> Vec<(u64, Lever)> {
        let events: Vec<Event> = text.split(',').map(|event| event.parse().unwrap()).collect();
        steps(&events).into_iter().map(|step| (step.at.as_secs(), step.lever)).collect()
    }

    #[test]
    fn events_become_steps_in_the_order_of_time() {
        use Lever::{KillMailer, Pause, Pool, RelayDown, Replay, Slow, TooMany};
        let expected = [
            (2, Slow(true)),
            (3, Pool(16)),
            (5, RelayDown(true)),
            (6, Pause(true)),
            (7, KillMailer),
            (7, TooMany(true)),
            (10, RelayDown(false)),
            (11, Pause(false)),
            (12, Replay),
            (90, TooMany(false)),
        ];
        assert_eq!(
            read(
                "relay-down@5s..10s,slow@2s,kill-mailer@7s,pool=16@3s,too-many@7s..1m30s,pause@6s..11s,replay@12s"
            ),
            expected
        );
    }

    #[test]
    fn a_mistake_is_answered_with_what_is_allowed() {
        for (text, told) in [
            ("slow", "it has no time; there are relay-down@FROM"),
            ("relay-dwn@5s", "\"relay-dwn\" is nothing that can happen; there are relay-down@FROM"),
            ("slow@soon", "\"soon\" is no time; a time is 5s"),
            ("slow@5", "\"5\" is no time"),
            ("slow@5s..", "\"\" is no time"),
            ("slow@5s..5s", "it ends before it begins"),
            ("kill-mailer@5s..6s", "kill-mailer happens at one moment: kill-mailer@5s"),
            ("replay@5s..6s", "replay happens at one moment: replay@5s"),
            ("pool=0@1s", "1 to 4096 are allowed"),
            ("pool=many@1s", "1 to 4096 are allowed"),
            ("pool@1s", "\"pool\" is nothing that can happen"),
            ("", "it has no time"),
        ] {
            let error = text.parse::<Event>().unwrap_err();
            assert!(error.contains(told), "{text}: {error}");
        }
    }

    #[test]
    fn left_alone_the_relay_is_down_for_the_first_time_after_eight_seconds_and_comes_back() {
        let steps: Vec<(u128, Lever)> =
            outages().take(4).map(|step| (step.at.as_millis(), step.lever)).collect();
        let down = Lever::RelayDown;
        assert_eq!(
            steps,
            [(8_000, down(true)), (12_500, down(false)), (47_500, down(true)), (52_000, down(false))]
        );
    }

    proptest! {
        #[test]
        fn no_text_makes_the_reading_panic(text in "[a-z=@.0-9-]{0,30}|.*") {
            let _ = text.parse::<Event>();
        }
    }
}
